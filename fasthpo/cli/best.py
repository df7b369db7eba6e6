"""The best of a study, as JSON and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fasthpo.cli.text import print_pairs, printable, shown

if TYPE_CHECKING:
    from fasthpo.study.reader import StudyReader


def best_record(study: StudyReader) -> dict[str, Any] | None:
    """The best trial's number, value, parameters and metrics; None if none has completed with a finite value."""
    if study.table.best_number is None:
        return None
    trial = study.best_trial
    return {"number": trial.number, "value": trial.value, "params": trial.params, "metrics": trial.metrics}


def print_best(study: StudyReader) -> None:
    """Print the best trial, or that there is none."""
    best = best_record(study)
    if best is None:
        click.echo("No trial has completed with a finite value.")
        return
    click.echo(click.style(f"Best trial: {best['number']}", bold=True))
    exact = [(name, printable(repr(x) if isinstance(x, float) else str(x))) for name, x in best["params"].items()]
    metrics = [(f"metric {name}", shown(x)) for name, x in best["metrics"].items()]
    print_pairs([("value", repr(best["value"])), *exact, *metrics], indent="  ")
