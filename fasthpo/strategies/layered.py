"""A rung of asynchronous halving under several objectives: the latest trials that were told values at one resource."""

from __future__ import annotations

import numpy as np

from fasthpo.trials.latest import LatestTrials
from fasthpo.values import FloatArray, IntArray

_PROMOTED, _FAILED_LATER = 1, 2


class LayeredRung:
    """Trials in the order of `LatestTrials`: by layers and epsilon-nets, behind them those that break constraints.

    Of n trials the first floor(n / eta) may be promoted, and one more for each promoted one among them that has failed.

    Args:
        reduction_factor: eta.
        objectives: how many there are.
    """

    def __init__(self, reduction_factor: int, objectives: int) -> None:
        self._reduction_factor = reduction_factor
        self._latest = LatestTrials(objectives)
        self._top: IntArray | None = None  # places of those that may be promoted or have been, the first one first
        self.started = 0  # trials that were given the resource, without those that failed there

    def __len__(self) -> int:
        return len(self._latest)

    def end(self, number: int, losses: FloatArray, violation: float, promoted: bool = False) -> int | None:
        """A trial was told; infinite losses are never promoted. The one that gave way, if it might have been."""
        latest, left = self._latest, None
        oldest = latest.oldest
        if oldest is not None and not latest.marks[oldest] and latest.penalties[oldest] < np.inf:
            left = int(latest.numbers[oldest])
        place = latest.add(number, losses, penalty_of(losses, violation))
        latest.marks[place] = _PROMOTED if promoted else 0
        self._top = None
        return left

    def best(self) -> int | None:
        """The number of the best trial that may be promoted."""
        latest = self._latest
        if self._top is None:
            places = len(latest) // self._reduction_factor + int((latest.marks & _FAILED_LATER != 0).sum())
            self._top = latest.first(min(len(latest), places))
        return self._first_of(self._top)

    def best_of_all(self) -> int | None:
        """The number of the best trial that was not promoted, whether or not it is among the top; a pass over all."""
        return self._first_of(self._latest.first(len(self._latest)))

    def _first_of(self, places: IntArray) -> int | None:
        ready = places[(self._latest.marks[places] == 0) & (self._latest.penalties[places] < np.inf)]
        return int(self._latest.numbers[ready[0]]) if len(ready) else None

    def promote(self, number: int) -> None:
        """The trial that `best` or `best_of_all` named goes on."""
        self._mark(number, _PROMOTED)

    def free_place(self, number: int) -> None:
        """A promoted trial has failed; another may take its place."""
        self._mark(number, _FAILED_LATER)
        self._top = None

    def _mark(self, number: int, mark: int) -> None:
        place = self._latest.find(number)
        if place is not None:
            self._latest.marks[place] |= mark

    def may_go_on(self, number: int) -> bool:
        """Whether a trial that was told finite values may still be promoted."""
        return self._latest.find(number) is not None


def penalty_of(losses: FloatArray, violation: float) -> float:
    """What a trial ranks behind by: 0 if it breaks no constraint, infinity if it is never to be promoted."""
    return min(violation, float(np.finfo(float).max)) if np.isfinite(losses).all() else np.inf
