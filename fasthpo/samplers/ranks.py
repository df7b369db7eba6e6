"""What trials are ordered by, and their ranks: pruned ones by how many were better where they were given up."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

INFEASIBLE = 2  # where a key begins of a trial that breaks a constraint
WORST = 3  # of one that came to no finite value

SortKey = tuple[int, float, float, int]


_Curve = tuple[IntArray, FloatArray]
_NOTHING: _Curve = np.empty(0, np.int64), np.empty(0)


def worst_key(number: int) -> SortKey:
    """That of a trial that came to no finite value, because it failed or diverged: all of these rank alike."""
    return WORST, 0.0, math.inf, number


def sort_key(table: TrialTable, number: int) -> SortKey:
    """What trials are ordered by: complete ones by loss, then pruned ones by how far they came and their loss.

    Behind these are those that break a constraint, by how much they break them all, and then by loss. Those without a
    finite value rank worst, failed ones among them; ties go to the earlier trial.
    """
    loss = table.objectives.loss(float(table.values[number]))
    if not math.isfinite(loss):
        return worst_key(number)
    if table.has_constraints and (violation := table.violation(number)) > 0:
        return INFEASIBLE, violation, loss, number
    if table.state(number) == TrialState.COMPLETE:
        return 0, 0.0, loss, number
    reports = table.reports
    last = float(reports.highest[number]) if reports.latest(number) != NONE else -math.inf
    return 1, -last, loss, number


def sort_keys(table: TrialTable, numbers: IntArray) -> list[SortKey]:
    """The keys of trials (k,), in their order; see `sort_key`."""
    if len(numbers) == 1:
        return [sort_key(table, numbers.item(0))]
    losses = table.objectives.losses(table.values[numbers])
    is_plain = (table.states[numbers] == TrialState.COMPLETE) & np.isfinite(losses)
    if table.has_constraints:
        is_plain &= ~(table.violations[numbers] > 0)
    keys = [(0, 0.0, loss, number) for loss, number in zip(losses.tolist(), numbers.tolist(), strict=True)]
    for k in np.flatnonzero(~is_plain).tolist():
        keys[k] = sort_key(table, keys[k][3])
    return keys


class Ranks:
    """Ranks of complete and pruned trials together; keeps the learning curves of the trials that it was last asked of.

    Complete trials are scored by how many complete ones are better. A pruned one is scored by how many of all were
    better at its last step, by the best loss so far: to have all pruned trials behind all complete ones would make them
    look worse than they were, above all where a search has narrowed down and those given up are hardly worse.

    That holds where the pruner gives up what ranks low. A trial that was given up for another reason, or whose last
    report was NaN or an infinity, stays behind the complete ones. Behind all are those that break a constraint, and
    those that came to no finite value.

    Args:
        pruned_by_rank: whether the pruner gives up what ranks low.
    """

    def __init__(self, pruned_by_rank: bool) -> None:
        self._pruned_by_rank = pruned_by_rank
        self._curves: dict[int, _Curve] = {}

    def of(self, table: TrialTable, keys: list[SortKey]) -> FloatArray:
        """Ranks (n,) from 1/2 to n - 1/2, the best first; equal trials share the mean.

        Args:
            table: the trials.
            keys: in ascending order.
        """
        scores = np.empty(len(keys))
        first = 0
        for last in range(1, len(keys) + 1):
            if last == len(keys) or keys[last][:3] != keys[first][:3]:
                scores[first:last] = (first + last - 1) / 2
                first = last
        n = sum(key[0] < INFEASIBLE for key in keys)
        if self._pruned_by_rank and n and keys[n - 1][0]:
            self._score_pruned(table, keys[:n], scores[:n])
            scores[n:] += n  # behind those that `_score_pruned` has put last
            _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
            scores = (np.cumsum(counts) - (counts + 1) / 2)[places]
        return scores + 0.5

    def _score_pruned(self, table: TrialTable, keys: list[SortKey], scores: FloatArray) -> None:
        """Write the scores of pruned trials."""
        from fasthpo.kernels.pruning.curves import count_better

        numbers = [key[3] for key in keys]
        self._curves = {number: self._curves.get(number) or _curve(table, number) for number in numbers}
        curves = [self._curves[number] for number in numbers]
        steps, bests = (np.concatenate(parts) for parts in zip(*curves, strict=True))
        starts = np.cumsum([0, *(len(curve[0]) for curve in curves)])
        n, complete = len(keys), sum(not key[0] for key in keys)
        for i in range(complete, n):
            if _ended_finite(table, numbers[i]):
                # never before the best one: it was given up
                scores[i] = max(count_better(steps, bests, starts, complete, i), 0.5)
            else:
                scores[i] += n  # behind all, in the order of the keys


def _ended_finite(table: TrialTable, number: int) -> bool:
    """Whether a trial has a finite value at its last step."""
    reports = table.reports
    return reports.latest(number) != NONE and math.isfinite(reports.value_at(int(reports.top[number])))


def _curve(table: TrialTable, number: int) -> _Curve:
    """The steps at which a trial's loss was better than before, its first and its last one, and the best loss there.

    NaN and infinities count as the worst.
    """
    if table.reports.latest(number) == NONE:
        return _NOTHING
    reports = table.reports.of(number)
    steps, losses = np.array(list(reports), np.int64), table.objectives.losses(np.array(list(reports.values())))
    losses[~np.isfinite(losses)] = np.inf
    bests = np.minimum.accumulate(losses)
    kept = np.append(True, bests[1:] < bests[:-1])
    kept[-1] = True
    return steps[kept], bests[kept]
