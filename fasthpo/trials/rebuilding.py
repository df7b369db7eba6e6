"""A history made of columns: of a file's, another space's, another library's, or its own before a call broke off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.earlier import Earlier
from fasthpo.trials.frozen import Columns
from fasthpo.trials.history import History
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.metrics import Metrics
from fasthpo.trials.objectives import Direction
from fasthpo.trials.segments import COLUMNS as SEGMENT_COLUMNS
from fasthpo.trials.segments import OpenSegment
from fasthpo.trials.table import TRIAL_COLUMNS, KeptElsewhere, TrialTable
from fasthpo.trials.trial import TrialState


def rebuild(
    space: SearchSpace,
    directions: Sequence[Direction],
    columns: Columns,
    waiting: Iterable[int] = (),
    open_segments: Iterable[tuple[int, float, int]] = (),
    noisy: bool = False,
    earlier: Earlier | None = None,
    former: KeptElsewhere | None = None,
) -> History:
    """The history that columns describe, which the caller has checked.

    Args:
        space, directions: of the study.
        columns: the trials.
        waiting: the numbers of those that wait, in the order in which they will be asked.
        open_segments: (number, start, reports) of the running ones under a multi-fidelity strategy, see `OpenSegment`.
        noisy, earlier: as of `TrialTable`.
        former: of a study whose space was changed, what the columns have otherwise.
    """
    table = TrialTable(space, directions, noisy, earlier)
    table.former = former
    table.restore({"params": columns.params, **columns.trials, "tell_order": columns.tell_order})
    table.reports.fill(columns.reports["trial"], columns.reports["step"], columns.reports["value"])
    table.reports.failures = dict(columns.failures)
    segments = (column.tolist() for column in columns.segments.values())
    for trial, resource, value, charge, state, start, end, violation in zip(*segments, strict=True):
        table.segments.append(trial, resource, value, charge, TrialState(state), start, end, violation)
    for number, start, reports in open_segments:
        table.segments.open[number] = OpenSegment(start, reports)
    table.metrics = Metrics.of_measured(columns.metrics)
    table.errors = dict(columns.errors)
    if columns.lineage:
        table.lineage.fill(columns.lineage)
    history = History(table)
    history.waiting.extend(waiting)
    return history


def settled(history: History) -> History:
    """A history without what a call that was broken off has begun to change; equal to the old one if nothing was.

    Args:
        history: the old one, whose arrays and queues may be half changed; see `Savepoint`.
    """
    table, savepoint = history.table, history.table.savepoint
    n, told, reported, ended, draws = savepoint.extent or history.extent
    trials = {name: getattr(table, f"_{name}")[:n].copy() for name in TRIAL_COLUMNS}
    constraints = table._constraints.column
    if constraints is not None:
        trials["constraints"] = constraints[:n].copy()
    params, segments = table._params[: len(table.space), :n].copy(), dict(table.segments.open)
    metrics = table.metrics.frozen()
    waiting = list(history.waiting)
    if savepoint.extent is not None:
        for numbers, columns in reversed(savepoint.columns):
            earlier = numbers < n
            for name, old in columns.items():
                trials[name][numbers[earlier]] = old[earlier]
        for numbers, told_before in reversed(savepoint.constraints):
            if not told_before.shape[1]:
                trials.pop("constraints", None)
            elif constraints is not None:
                earlier = numbers < n
                trials["constraints"][numbers[earlier]] = told_before[earlier]
        for number, (entries, row, leg) in savepoint.entries.items():
            for name, entry in zip(TRIAL_COLUMNS, entries, strict=True):
                trials[name][number] = entry
            if row is not None:
                params[:, number] = np.nan
                params[: len(row), number] = row
            segments.pop(number, None)
            if leg is not None:
                segments[number] = leg
        for number, place, names in reversed(savepoint.metrics):
            del metrics.names[names:]
            if number < len(metrics.place):
                metrics.place[number] = place
        started = set(savepoint.started)
        waiting = savepoint.started + [number for number in waiting if number < n and number not in started]
    reports = table.reports.until(reported)
    columns_of_segments = {name: table.segments.column(name)[:ended].copy() for name in SEGMENT_COLUMNS}
    failed = trials["states"] == TrialState.FAILED
    errors = {number: text for number, text in table.errors.items() if number < n and failed[number]}
    failures = {number: i for number, i in table.reports.failures.items() if number < n and failed[number]}
    lineage = {} if table.lineage.is_empty else table.lineage.columns(n)
    for number, fork in savepoint.forks.items() if savepoint.extent is not None and lineage else ():
        for name, value in zip(lineage, (NO_PARENT,) * len(lineage) if fork is None else fork, strict=True):
            lineage[name][number] = value
    columns = Columns(
        params,
        trials,
        metrics.measured(n),
        table._tell_order[:told].copy(),
        reports,
        columns_of_segments,
        errors,
        failures,
        lineage,
    )
    open_segments = [(number, leg.start, leg.reports) for number, leg in sorted(segments.items()) if number < n]
    noisy = table.evaluations is not None
    same = rebuild(table.space, table.directions, columns, waiting, open_segments, noisy, table.earlier, table.former)
    same.next_draw, same.attributes = draws, dict(history.attributes)
    same.trial_attributes = {number: dict(one) for number, one in history.trial_attributes.items() if number < n}
    running = set(same.table.running.tolist())  # their parameters are what they began with
    same.rewritten_rows = {
        number: row for number, row in history.rewritten_rows.items() if number < n and number not in running
    }
    return same
