"""`fasthpo check`: whether a study's files are intact, and what can be had of damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fasthpo.cli.options import json_option, study_argument


@click.command("check", short_help="Verify a study's files.")
@study_argument
@json_option
def command(study: Path, as_json: bool) -> int:
    """Read all files of a study and verify every number in them; the exit code is 1 if they are damaged.

    Nothing is changed, and the study may be running. What can be recovered of a damaged study is said; to go on with
    that: `fasthpo.Study.load(path, recover=True)`, which keeps the damaged files under another name.

    \b
    Example:
      fasthpo check hyperopt_results/digits
    """
    from fasthpo.cli.exits import DONE, NO
    from fasthpo.cli.text import print_json

    found = _checked(study)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return DONE if found["intact"] else NO


def _checked(given: Path) -> dict[str, Any]:
    from fasthpo.cli.exits import one_line
    from fasthpo.errors import CorruptCheckpoint
    from fasthpo.storage.directory import STUDY_FILES, exists, read_study
    from fasthpo.storage.lock import read_owner
    from fasthpo.system.paths import absolute, given_path

    path = absolute(given_path("STUDY", given))
    damage: CorruptCheckpoint | None = None
    loaded = None
    try:
        loaded = read_study(path)
    except CorruptCheckpoint as error:
        damage = error
    recovered: dict[str, Any] | None = None
    if damage is not None:
        try:
            partly = read_study(path, partly=True)
            recovered = {**_counts(partly), "lost": partly.damage}
        except CorruptCheckpoint:
            recovered = None
    directory = path if path.is_dir() else None
    files = [path] if directory is None else [directory / name for name in STUDY_FILES if exists(directory / name)]
    owner = None if directory is None else read_owner(directory)
    return {
        "path": str(path),
        "intact": damage is None,
        "files": {file.name: file.stat().st_size for file in files},
        "writer": None if owner is None else {**owner._asdict(), "may_live": owner.may_live},
        **({} if loaded is None else _counts(loaded)),
        # a record that is just being written, or was when its writer was killed; the next writer drops it
        "unfinished_bytes": 0 if loaded is None else loaded.torn,
        "damage": None if damage is None else one_line(damage),
        "recoverable": recovered,
    }


def _counts(loaded: Any) -> dict[str, Any]:
    table = loaded.history.table
    return {
        "trials": len(table),
        "ended": len(table.tell_order),
        "running": len(table.running),
        "reports": len(table.reports),
        "generation": loaded.head.generation,
        "version": loaded.head.version,
    }


def _print(found: dict[str, Any]) -> None:
    from fasthpo.cli.text import print_pairs, printable, size

    writer, recovered = found["writer"], found["recoverable"]
    torn = found["unfinished_bytes"]
    left = "" if writer is None or writer["may_live"] else ", which is gone: the next one to open it goes on"
    trials = f"{found['trials']} ({found['ended']} ended, {found['running']} running)" if found["intact"] else ""
    print_pairs(
        [
            ("study", printable(found["path"])),
            ("files", ", ".join(f"{name} ({size(count)})" for name, count in found["files"].items())),
            ("trials", trials),
            ("reports", str(found.get("reports", ""))),
            ("open in", "" if writer is None else printable(f"process {writer['process']} on {writer['host']}{left}")),
            ("unfinished", f"a last record of {size(torn)}, which holds nothing that was told" if torn else ""),
            ("result", click.style("intact", fg="green") if found["intact"] else click.style("damaged", fg="red")),
        ]
    )  # fmt: skip
    if found["intact"]:
        return
    click.echo(printable(found["damage"]))
    if recovered is None:
        click.echo("Nothing can be recovered.")
        return
    click.echo(
        f"Recoverable: {recovered['trials']} trials, of which {recovered['ended']} have ended, by "
        f"fasthpo.Study.load({found['path']!r}, recover=True)."
    )
