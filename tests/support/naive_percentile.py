"""Slow, obvious twins of the running percentile and of the pruners: everything anew from the raw reports."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState


def percentile(values: list[float], q: float) -> float:
    """The percentile at the fraction q, linear between order statistics; NaN if there are no values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    rank = (len(ordered) - 1) * q
    k = math.floor(rank)
    if rank == k or ordered[k] == ordered[k + 1]:
        return ordered[k]
    low, high = ordered[k], ordered[k + 1]
    if math.isinf(low) or math.isinf(high):  # where numpy would take inf - inf
        return low if low == -math.inf else math.inf
    if math.isinf(high - low):  # and where it would overflow
        return low * (1 - (rank - k)) + high * (rank - k)
    return float(np.quantile(ordered, q))


def best_loss(table: TrialTable, number: int, step: int) -> float:
    """The smallest loss a trial reported at steps <= step, NaN ignored; NaN if there is none."""
    losses = [table.objectives.loss(1.0) * value for at, value in table.reports.of(number).items() if at <= step]
    losses = [loss for loss in losses if not math.isnan(loss)]
    return min(losses) if losses else math.nan


def pool(table: TrialTable, step: int) -> dict[int, float]:
    """By trial, the entries of the pool at a step that some trial reported."""
    entries = {}
    for number in range(len(table)):
        steps = list(table.reports.of(number))
        ended = table.state(number) in (TrialState.COMPLETE, TrialState.PRUNED)
        if step in steps or (ended and steps and max(steps) < step):
            loss = best_loss(table, number, step)
            entries[number] = math.inf if math.isnan(loss) else loss
    return entries


def should_prune(table: TrialTable, number: int, percent: float, n_startup_trials: int, min_steps: int) -> bool:
    """The decision of `PercentilePruner(pool="all")`."""
    ended = sum(table.state(other) in (TrialState.COMPLETE, TrialState.PRUNED) for other in range(len(table)))
    steps = list(table.reports.of(number))
    if not steps or max(steps) < min_steps or ended < n_startup_trials:
        return False
    own = best_loss(table, number, max(steps))
    if math.isnan(own):
        return True
    others = pool(table, max(steps))
    del others[number]
    return own > percentile(list(others.values()), percent / 100)


def completed_pool(table: TrialTable, step: int) -> list[float]:
    """The values that completed trials reported at a step, NaN ignored."""
    values = [
        table.reports.of(n).get(step, math.nan) for n in range(len(table)) if table.state(n) == TrialState.COMPLETE
    ]
    return [value for value in values if not math.isnan(value)]


def should_prune_completed(
    table: TrialTable, number: int, percent: float, n_startup_trials: int, min_steps: int
) -> bool:
    """The decision of `PercentilePruner(pool="completed")`."""
    completed = sum(table.state(other) == TrialState.COMPLETE for other in range(len(table)))
    steps = list(table.reports.of(number))
    if not steps or max(steps) < min_steps or completed < max(1, n_startup_trials):
        return False
    own = best_loss(table, number, max(steps))
    if math.isnan(own):
        return True
    q = percent / 100 if table.direction == "minimize" else (100 - percent) / 100
    return own > table.objectives.loss(1.0) * percentile(completed_pool(table, max(steps)), q)
