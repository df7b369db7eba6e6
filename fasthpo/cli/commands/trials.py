"""`fasthpo trials`: a study's trials as a table."""

from __future__ import annotations

from pathlib import Path

import click

from fasthpo.cli.options import json_option, study_argument

_HEAD = 20


@click.command("trials", short_help="List, sort and filter trials.")
@study_argument
@click.option("--sort", default="number", metavar="COLUMN", help="By this column; `best`: by value, best first.")
@click.option("--descending", is_flag=True, help="From the largest to the smallest.")
@click.option(
    "--filter", "filters", multiple=True, metavar="FILTER",
    help="Only trials for which it holds, such as 'lr<=0.01', 'state=failed', 'error~memory'; several: all hold.",
)  # fmt: skip
@click.option("--head", type=click.IntRange(1), default=_HEAD, show_default=True, help="So many of them.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--columns", metavar="NAME,...", help="These columns.")
@json_option
def command(
    study: Path, sort: str, descending: bool, filters: tuple[str, ...], head: int, everything: bool,
    columns: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List trials.

    Columns are number, state, value, duration, start, end, reports (how many), error, the parameters and the
    metrics by their names (params.NAME and metrics.NAME where a name is taken), under a multi-fidelity strategy
    resource, and outside (yes or no) where the search space was changed. A filter compares with < <= > >= = != or ~
    (contains); trials without such a value never fit. Durations are compared in seconds.

    \b
    Example:
      fasthpo trials hyperopt_results/digits --sort best --head 5
      fasthpo trials hyperopt_results/digits --filter state=failed --columns number,error
    """
    from fasthpo.cli.columns import Columns
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json, print_table

    found = Columns(look_at(study).study)
    chosen = found.usual if columns is None else found.named(_names(columns, set(found.by_name)))
    fitting = found.sorted(found.matching(filters), sort, descending)
    numbers = fitting[: None if everything else head].tolist()
    if as_json:
        chosen = found.all if columns is None else chosen
        trials = [{found.short(column): column.value(number) for column in chosen} for number in numbers]
        print_json({"total": len(found.table), "matching": len(fitting), "trials": trials})
        return
    left = [j for j, column in enumerate(chosen) if column.keys is None or column.name == "state"]
    print_table(
        [found.short(column) for column in chosen],
        [[column.cell(number) for column in chosen] for number in numbers],
        left,
    )
    if len(numbers) < len(fitting):
        click.echo(f"({len(numbers)} of {len(fitting)} trials; --head N or --all for more)", err=True)


def _names(columns: str, known: set[str]) -> list[str]:
    """The names in a list of them; one that is in use may have a comma in it."""
    names: list[str] = []
    parts = columns.split(",")
    while parts:
        taken = next((k for k in range(len(parts), 1, -1) if ",".join(parts[:k]).strip() in known), 1)
        names.append(",".join(parts[:taken]).strip())
        parts = parts[taken:]
    return names
