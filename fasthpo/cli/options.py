"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

study_argument = click.argument("study", metavar="STUDY", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
objective_option = click.option(
    "--objective", type=click.IntRange(0), default=0, show_default=True, help="Which one, of several."
)
