"""`fasthpo compact`: a study's files made small."""

from __future__ import annotations

from pathlib import Path

import click

from fasthpo.cli.options import json_option, study_argument


@click.command("compact", short_help="Make a study's files small.")
@study_argument
@json_option
def command(study: Path, as_json: bool) -> None:
    """Replace a study's journal by a checkpoint, which is smaller and loads faster.

    The study must not be running. Its trials stay as they are, those included that were running when it broke off.

    \b
    Example:
      fasthpo compact hyperopt_results/digits
    """
    from fasthpo.cli.text import print_json, printable, size
    from fasthpo.storage.opening import compact_study
    from fasthpo.system.paths import absolute, given_path

    path = absolute(given_path("STUDY", study))
    before, after = compact_study(path)
    if as_json:
        print_json({"path": str(path), "bytes_before": before, "bytes_after": after})
    else:
        click.echo(f"{printable(str(path))}: {size(before)} before, {size(after)} now")
