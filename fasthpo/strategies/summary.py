"""A picture of a multi-fidelity study in text: the planned brackets, and what has happened at their rungs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fasthpo.strategies.rungs import Plan
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState


class RungStatistics(NamedTuple):
    """What has happened at one rung, over all brackets that follow the same plan.

    Attributes:
        bracket: which of the strategy's plans, counted from 0.
        resource: what the rung trains to.
        told: trials that were told a value here.
        promoted: those of them that have gone on.
        pruned, failed, running: trials that ended or are now on their way here.
        best_value: the best finite value told here; None if there is none, or there are several objectives.
        resource_spent: what the legs to this rung have cost.
    """

    bracket: int
    resource: int
    told: int
    promoted: int
    pruned: int
    failed: int
    running: int
    best_value: float | None
    resource_spent: int


def rung_statistics(table: TrialTable, plans: Sequence[Plan], plan_of: Callable[[int], int]) -> list[RungStatistics]:
    """All rungs, by bracket and resource; a pass over the table.

    Args:
        table: the trials.
        plans: the brackets as planned.
        plan_of: which plan a bracket follows.
    """
    segments = table.segments
    ended, n = len(segments), len(table)  # another thread may add to both, in this order of looking at them
    trial, resource, value, charge, state = (
        segments.column(name)[:ended] for name in ("trial", "resource", "value", "charge", "state")
    )
    brackets, states, goals = (column[:n] for column in (table.brackets, table.states, table.resources))
    begun = 1 + int(brackets.max(initial=-1))
    plan = np.array([plan_of(index) for index in range(begun)] + [-1], np.int64)  # the last: of bracket -1
    segment_plan = plan[brackets[trial]]
    trial_plan = plan[brackets]
    # the resource that each trial has been given, where that leg is no failure
    given = np.where(states == TrialState.FAILED, -1.0, goals)
    found = []
    for bracket, (_, resources) in enumerate(plans):
        for rung in resources:
            here = (segment_plan == bracket) & (resource == rung)
            told = here & ((state == TrialState.PAUSED) | (state == TrialState.COMPLETE))
            top = table.objectives.best(value, np.flatnonzero(told)) if table.objectives.count == 1 else None
            best = None if top is None else float(value[top])
            found.append(
                RungStatistics(
                    bracket,
                    rung,
                    int(told.sum()),
                    int((goals[trial[told]] > rung).sum()),
                    int((here & (state == TrialState.PRUNED)).sum()),
                    int((here & (state == TrialState.FAILED)).sum()),
                    int(((trial_plan == bracket) & (given == rung) & (states == TrialState.RUNNING)).sum()),
                    best,
                    int(charge[here].sum()),
                )
            )
    return found


def schedule(plans: Sequence[Plan], reduction_factor: int, asynchronous: bool) -> list[str]:
    """The planned brackets, a line each."""
    most = max(len(plan.resources) for plan in plans)
    rows = [["bracket", *(f"rung {k}" for k in range(most))]]
    total = sum(plan.trials for plan in plans)
    for b, plan in enumerate(plans):
        if asynchronous:
            share = "" if len(plans) == 1 else f" ({plan.trials / total:.0%} of new trials)"
            cells = [f"{resource}{share if k == 0 else ''}" for k, resource in enumerate(plan.resources)]
        else:
            sizes = plan.sizes(reduction_factor)
            cells = [f"{size} x {resource}" for size, resource in zip(sizes, plan.resources, strict=True)]
        rows.append([str(b), *cells, *[""] * (most - len(cells))])
    title = "Rungs (resource):" if asynchronous else "Brackets as planned (trials x resource):"
    return [title, *aligned(rows)]


def progress(table: TrialTable, rungs: Sequence[RungStatistics]) -> list[str]:
    """What has happened at each rung, a line each."""
    has_best = ["best value"] if table.objectives.count == 1 else []
    rows = [["bracket", "resource", "told", "promoted", "pruned", "failed", "running", *has_best, "spent"]]
    for rung in rungs:
        *counts, best, spent = rung
        bests = ["-" if best is None else f"{best:.6g}"] if has_best else []
        rows.append([*map(str, counts), *bests, str(spent)])
    title = f"So far ({len(table)} trials, resource spent {table.segments.spent}):"
    return [title, *aligned(rows)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell, flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
