"""Where pruned trials stand among the others: by how many were better at the step where they were given up."""

from __future__ import annotations

import numpy as np

from fasthpo.parameter import FloatArray
from fasthpo.reports import NONE, IntArray
from fasthpo.samplers.split import Key
from fasthpo.table import TrialTable

_Curve = tuple[IntArray, FloatArray]


class Places:
    """Ranks of complete and pruned trials together; keeps the learning curves of the trials that it was last asked of.

    Complete trials have the ranks of their losses among themselves. A pruned one has the rank that it had among all of
    them at its last step, by the best loss so far; to put all pruned trials last would have them look worse than they
    were, above all where a search has narrowed down and those given up are hardly worse than the others.
    """

    def __init__(self) -> None:
        self._curves: dict[int, _Curve] = {}

    def ranks(self, table: TrialTable, keys: list[Key]) -> FloatArray:
        """Ranks (n,) from 1/2 to n - 1/2, the best first; equal trials share the mean.

        Args:
            table: the trials.
            keys: of complete and pruned ones, in ascending order.
        """
        scores = np.empty(len(keys))
        first = 0
        for last in range(1, len(keys) + 1):
            if last == len(keys) or keys[last][:3] != keys[first][:3]:
                scores[first:last] = (first + last - 1) / 2
                first = last
        if keys and keys[-1][0]:
            self._place(table, keys, scores)
            _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
            scores = (np.cumsum(counts) - (counts + 1) / 2)[places]
        return scores + 0.5

    def _place(self, table: TrialTable, keys: list[Key], scores: FloatArray) -> None:
        """Write the scores of pruned trials."""
        from fasthpo.kernels.curves import share_better

        numbers = [key[3] for key in keys]
        self._curves = {number: self._curves.get(number) or _curve(table, number) for number in numbers}
        curves = [self._curves[number] for number in numbers]
        steps, bests = (np.concatenate(parts) for parts in zip(*curves, strict=True))
        starts = np.cumsum([0, *(len(curve[0]) for curve in curves)])
        n, complete = len(keys), sum(not key[0] for key in keys)
        for i in range(complete, n):
            has_curve = starts[i + 1] > starts[i]
            # never before the best one: it was given up
            scores[i] = max(share_better(steps, bests, starts, complete, i) * (n - 1), 0.5) if has_curve else n


def _curve(table: TrialTable, number: int) -> _Curve:
    """A trial's steps and its best loss up to each, NaN counting as infinite."""
    if table.reports.latest(number) == NONE:
        return np.empty(0, np.int64), np.empty(0)
    reports = table.reports.of(number)
    losses = table.sign * np.array(list(reports.values()))
    losses[np.isnan(losses)] = np.inf
    return np.array(list(reports), np.int64), np.minimum.accumulate(losses)
