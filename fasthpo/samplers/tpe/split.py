"""Which trials TPE calls good: the split into *below* (the best few) and *above* (the rest)."""

from __future__ import annotations

import bisect
import math

import numpy as np

from fasthpo.samplers.ranks import WORST, SortKey
from fasthpo.values import FloatArray, masked

_MOST_BELOW = 25
_LEAST_WEIGHT = 1e-12


def below_count(n: int) -> int:
    """How many of n finished trials are below: a tenth, rounded up, at most 25 (Bergstra et al. 2011; Optuna)."""
    return min(-(-n // 10), _MOST_BELOW)


def least_bandwidth(n: int) -> float:
    """The smallest bandwidth of l after n finished trials: 1 / sqrt(n) of the range, at most the whole range.

    It goes down in steps of 4 %, so that l is made anew only now and then while the below trials stay the same.
    """
    return float(2.0 ** (-math.floor(8 * math.log2(max(n, 1))) / 16))


class Split:
    """The below trials of all told so far; a tell costs O(25), whatever the number of trials.

    One that came to no finite value is never below, however few others there are, and does not count.

    While the number below still grows with the trials, all are kept in order; afterwards only those below and the best
    one above are: then a trial that falls out of them, or never enters, can't come back.
    """

    def __init__(self) -> None:
        self._ranked: list[SortKey] = []
        self._count = 0
        self._size = 0
        self.least_bandwidth = least_bandwidth(0)
        self.changed = True  # anything that l is made of, since whoever reads this set it to False

    def __len__(self) -> int:
        return self._count

    @property
    def below(self) -> list[int]:
        """The numbers of the below trials, best first."""
        return [key[3] for key in self._ranked[: self._size]]

    @masked
    def weights(self) -> FloatArray:
        """Weights of the below trials and, last, of the prior; the mean of the former is 1, and the prior's too.

        Each weighs as much as it improves on the best trial above (Watanabe 2023, section 3.2.2). Where that has no
        meaning, as between complete and pruned trials, all weigh alike.
        """
        weights = np.ones(self._size + 1)
        compared = self._ranked[: self._size + 1]
        # in order: none is pruned if the last one is not
        if len(compared) > self._size and compared[-1][0] == 0:
            halves = np.array([key[2] for key in compared]) / 2  # the difference of two floats may overflow
            gains = halves[-1] - halves[:-1]
            if len(gains) and gains[0] > 0:
                gains = np.maximum(gains / gains[0], _LEAST_WEIGHT)
                weights[:-1] = gains / gains.mean()
        return weights

    def add(self, keys: list[SortKey]) -> tuple[list[int], list[int]]:
        """Trials have finished; those that enter and leave below. A trial outside was never below or left it."""
        enter: list[int] = []
        leave: list[int] = []
        for key in keys:
            if key[0] == WORST:
                continue
            self._count += 1
            if self._size < _MOST_BELOW or key < self._ranked[-1]:
                self._place(key, enter, leave)
        least = least_bandwidth(self._count)
        if least != self.least_bandwidth:
            self.least_bandwidth = least
            self.changed = True
        return enter, leave

    def _place(self, key: SortKey, enter: list[int], leave: list[int]) -> None:
        """Put a trial among the best; add who enters and leaves below."""
        before = self._size
        self._size = below_count(self._count)
        place = bisect.bisect(self._ranked, key)
        has_grown = self._size > before  # by one
        if not has_grown and place > self._size:  # behind the best one above
            if self._size < _MOST_BELOW:
                self._ranked.insert(place, key)
            return
        self.changed = True
        self._ranked.insert(place, key)
        if self._size == _MOST_BELOW:
            del self._ranked[self._size + 1 :]
        if has_grown:  # this trial is new there, or the best one above, if that is better
            enter.append(key[3] if place < before else self._ranked[before][3])
        elif place < self._size:
            enter.append(key[3])
            leave.append(self._ranked[self._size][3])
