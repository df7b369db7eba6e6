"""The best of a study, or the front of several objectives, as JSON and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fasthpo.cli.text import print_pairs, print_table, printable, shown

if TYPE_CHECKING:
    from fasthpo.study.reader import StudyReader
    from fasthpo.trials.trial import Trial


def best_record(study: StudyReader) -> Any:
    """The best trial's number, value, parameters and metrics; None if none has completed with a finite value.

    Of several objectives the same of each trial on the front, as a list.
    """
    found = [_record(trial, study) for trial in study.best_trials]
    if len(study.directions) > 1:
        return found
    return found[0] if found else None


def _record(trial: Trial, study: StudyReader) -> dict[str, Any]:
    values, constraints = trial.objective_values() or (), trial.constraints
    return {
        "number": trial.number,
        **({"value": values[0]} if len(values) == 1 else {"values": list(values)}),
        **({"estimate": study.estimate(trial)._asdict()} if study.noisy else {}),
        "params": trial.params,
        "metrics": trial.metrics,
        **({} if constraints is None else {"constraints": list(constraints)}),
    }


def print_best(study: StudyReader, most: int | None = None) -> None:
    """Print the best trial or the front, or that there is none.

    Args:
        study: any.
        most: trials of a front; None: all.
    """
    best = best_record(study)
    if not best:
        kept = " and kept its constraints" if study.table.has_constraints else ""
        click.echo(f"No trial has completed with a finite value{kept}.")
    elif isinstance(best, list):
        _print_front(study, most)
    else:
        from fasthpo.analysis.progress import best_estimate

        click.echo(click.style(f"Best trial: {best['number']}", bold=True))
        exact = [(name, printable(repr(x) if isinstance(x, float) else str(x))) for name, x in best["params"].items()]
        metrics = [(f"metric {name}", shown(x)) for name, x in best["metrics"].items()]
        print_pairs([("value", repr(best["value"])), ("estimate", best_estimate(study)), *exact, *metrics], indent="  ")


def _print_front(study: StudyReader, most: int | None) -> None:
    from fasthpo.cli.columns import Columns

    columns = Columns(study)
    front = columns.sorted(study.front()[0], "values_0", study.directions[0] == "maximize")
    chosen = [*columns.named(["number", *columns.values]), *columns.params]
    head = f"On the front: {len(front)} trials, none of which is better than another in every objective"
    click.echo(click.style(head, bold=True))
    rows = [[column.cell(number) for column in chosen] for number in front[:most].tolist()]
    print_table([columns.short(column) for column in chosen], rows)
    if len(rows) < len(front):
        click.echo(f"({len(rows)} of {len(front)}; all: fasthpo best)", err=True)
