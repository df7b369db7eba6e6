"""`fasthpo show`: a study in one screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fasthpo.cli.options import json_option, study_argument

if TYPE_CHECKING:
    from fasthpo.cli.studies import Looked
    from fasthpo.tuner.results import StudyStatistics


_MOST = 10  # trials of a front, and reasons of failures


@click.command("show", short_help="Sum a study up.")
@study_argument
@json_option
def command(study: Path, as_json: bool) -> None:
    """Sum a study up: trials by state, the best one, what failed and why.

    \b
    Example:
      fasthpo show hyperopt_results/digits
    """
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json
    from fasthpo.tuner.results import StudyStatistics, busy_seconds

    looked = look_at(study)
    statistics = StudyStatistics.of(looked.study, busy_seconds(looked.study.table))
    if as_json:
        print_json(_record(looked, statistics))
    else:
        _print(looked, statistics)


def _record(looked: Looked, statistics: StudyStatistics) -> dict[str, Any]:
    from fasthpo.analysis import failures
    from fasthpo.cli.best import best_record
    from fasthpo.exchange.json_files import about_directions

    table, writer = looked.study.table, looked.writer
    return {
        "study": looked.name,
        "path": str(looked.path),
        **about_directions(table),
        "writer": None if writer is None else writer._asdict(),
        "trials": {state.name: count for state, count in looked.study.counts.items()},
        **({} if table.former is None else {"outside": int(looked.study.outside.sum())}),
        "statistics": statistics.to_dict(),
        "best": best_record(looked.study),
        "failures": [group._asdict() for group in failures(looked.study)],
        "definition": looked.definition,
        "attributes": looked.study.attributes,
    }


def _print(looked: Looked, statistics: StudyStatistics) -> None:
    import numpy as np

    from fasthpo.analysis import failures
    from fasthpo.analysis.progress import latest_gains, told_cost
    from fasthpo.cli.best import print_best
    from fasthpo.cli.studies import described
    from fasthpo.cli.text import duration, moment, print_pairs, print_table, printable, shorter, shown
    from fasthpo.trials.trial import TrialState

    table, of, writer = looked.study.table, statistics, looked.writer
    made = looked.definition
    counts = [f"{count} {state.name.lower()}" for state, count in looked.study.counts.items() if count]
    outside = int(looked.study.outside.sum())
    first = float(np.fmin.reduce(table.starts, initial=np.inf)) if len(table) else np.nan
    last = table.latest_time or np.nan
    pairs = [
        ("study", click.style(printable(looked.name), bold=True)),
        ("path", printable(str(looked.path))),
        ("direction" if len(table.directions) == 1 else "directions", ", ".join(table.directions)),
        ("trials", f"{len(table)}" + (f" ({', '.join(counts)})" if counts else "")),
        ("outside", f"{outside}, which the search space has excluded since" if outside else ""),
        ("infeasible", str(of.infeasible_trials) if table.has_constraints else ""),
        ("first, last", f"{moment(first)}, {moment(last)}" if np.isfinite(first) and last == last else ""),
        ("busy", duration(of.total_duration) if of.total_duration else ""),
        ("average trial", "" if of.average_trial_duration is None else duration(of.average_trial_duration)),
        ("resource spent", str(of.resource_spent) if of.rungs else ""),
        ("cost spent", told_cost(looked.study)),
        ("saved by pruning", shown(of.resource_saved) if of.resource_saved else ""),
        ("sampler", printable(described(made["sampler"]))),
        ("pruner", printable(described(made["pruner"]))),
        ("strategy", printable(described(made["strategy"]))),
        ("learns from", "" if table.earlier is None else str(table.earlier)),
        ("open in", "" if writer is None else printable(f"process {writer.process} on {writer.host}, {writer.since}")),
    ]  # fmt: skip
    print_pairs(pairs)
    click.echo()
    print_best(looked.study, _MOST)
    if gained := latest_gains(looked.study):
        click.echo(gained)
    if of.rungs:
        click.echo()
        head = ("bracket", "resource", "told", "promoted", "pruned", "failed", "running", "best")
        rows = [
            [str(r.bracket), str(r.resource), str(r.told), str(r.promoted), str(r.pruned), str(r.failed),
             str(r.running), "" if r.best_value is None else shown(r.best_value)] for r in of.rungs
        ]  # fmt: skip
        print_table(head, rows)
    groups = failures(looked.study)
    if groups:
        click.echo()
        click.echo(click.style(f"Failures: {looked.study.counts[TrialState.FAILED]}", bold=True))
        rows = [
            [f"{group.trials}x", shorter(printable(group.reason), 100), str(group.last)] for group in groups[:_MOST]
        ]
        print_table(("", "reason", "last"), rows, left=[1])
        if len(groups) > _MOST:
            click.echo(f"and {len(groups) - _MOST} more reasons")
