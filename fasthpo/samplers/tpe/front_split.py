"""Which trials TPE calls good under several objectives: those of the first non-dominated layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fasthpo.samplers.penalties import FAILED
from fasthpo.samplers.tpe.split import below_count, least_bandwidth
from fasthpo.values import FloatArray, IntArray

_MOST_KEPT = 100  # trials, before all but half of them are dropped


class Told(NamedTuple):
    """Trials that have ended."""

    numbers: IntArray  # (n,)
    losses: FloatArray  # (n, m)
    penalties: FloatArray  # (n,); see `penalties`

    def at(self, places: Any) -> Told:
        """Some of them, by their places."""
        return Told(self.numbers[places], self.losses[places], self.penalties[places])

    @staticmethod
    def joined(parts: list[Told]) -> Told:
        """Several one after the other."""
        return Told(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class FrontSplit:
    """The below trials of all told so far, under several objectives; a tell costs the same however many there are.

    Trials without a penalty (see `penalties`) come first, in non-dominated layers; behind them are the others, by their
    penalties. Below are the first `below_count` in this order: whole layers, and of the last one those that add most
    hypervolume, one after the other (with more than four objectives, those whose neighbours are furthest apart). A
    trial that came to no finite losses is never below, and does not count.

    Fewer than `_MOST_KEPT` trials are compared. When there are so many, the first half of them by the same rule stays:
    one that is dropped could be below only after most of those had been dominated by others that do not dominate it.

    Args:
        objectives: how many there are.
    """

    def __init__(self, objectives: int) -> None:
        from fasthpo.kernels.multi_objective import ranking

        self._ranking = ranking
        self._kept = Told(np.empty(_MOST_KEPT, np.int64), np.empty((_MOST_KEPT, objectives)), np.empty(_MOST_KEPT))
        self._length = 0
        self._count = 0
        self.below: list[int] = []  # the numbers of the below trials
        self.least_bandwidth = least_bandwidth(0)
        self.changed = True  # anything that l is made of, since whoever reads this set it to False

    def __len__(self) -> int:
        """How many trials have come to finite losses."""
        return self._count

    def weights(self) -> FloatArray:
        """Weights of the below trials and, last, of the prior: all weigh alike."""
        return np.ones(len(self.below) + 1)

    def first(self, count: int) -> Told:
        """The first trials, at most `count`, and at most as many as are kept."""
        return self._kept.at(self._first(min(count, self._length)))

    def keep(self, told: Told) -> None:
        """Trials have finished, in this order; `settle` says who is below then."""
        if told.penalties.max(initial=0.0) == FAILED:
            told = told.at(np.flatnonzero(told.penalties < FAILED))
        self._count += len(told.numbers)
        done = 0
        while done < len(told.numbers):
            place = self._length
            some = told.at(slice(done, done + _MOST_KEPT - place))
            done += len(some.numbers)
            self._length = place + len(some.numbers)
            for kept, new in zip(self._kept, some, strict=True):
                kept[place : self._length] = new
            if self._length == _MOST_KEPT:
                stay = np.sort(self._first(_MOST_KEPT // 2))
                self._length = len(stay)
                for kept in self._kept:
                    kept[: len(stay)] = kept[stay]

    def settle(self) -> tuple[list[int], list[int]]:
        """The trials that enter and leave below, since the last call."""
        least = least_bandwidth(self._count)
        if least != self.least_bandwidth:
            self.least_bandwidth = least
            self.changed = True
        below = self.first(below_count(self._count)).numbers.tolist()
        if below == self.below:
            return [], []
        old, new = set(self.below), set(below)
        self.below = below
        self.changed = True
        return sorted(new - old), sorted(old - new)

    def _first(self, count: int) -> IntArray:
        """Which of the trials kept are the first `count`."""
        n, kept, chosen = self._length, self._kept, np.empty(count, np.int64)
        self._ranking.first_by_layers(kept.losses[:n], kept.penalties[:n], chosen)
        return chosen
