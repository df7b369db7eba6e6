"""`fasthpo report`: a study as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from fasthpo.cli.options import json_option, study_argument


@click.command("report", short_help="Write a study as one HTML page.")
@study_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The page."
)
@json_option
def command(study: Path, output: Path, as_json: bool) -> None:
    """Write all that a study found as one HTML page: pictures, best trials, failures, search space, configuration.

    The page needs no network and no other file. It holds all trials of a small study; of a large one the best, and
    those in its pictures.

    \b
    Example:
      fasthpo report hyperopt_results/digits -o report.html
    """
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json, printable, size
    from fasthpo.report import write_report

    looked = look_at(study)
    path = write_report(looked.study, output, looked.name)
    count = path.stat().st_size
    if as_json:
        print_json({"study": looked.name, "output": str(path), "bytes": count})
    else:
        click.echo(f"{printable(str(path))} ({size(count)})")
