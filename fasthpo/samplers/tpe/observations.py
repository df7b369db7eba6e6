"""The observations of TPE's joint density g: all trials above, or a fair sample of them once there are many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fasthpo.kernels.arrays import Space
from fasthpo.kernels.tpe.densities import Tiles
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, grow

_WORD = 2**64 - 1


def scrambled(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A hash of trial numbers (Steele, Lea, Flood: Fast splittable pseudorandom number generators. OOPSLA 2014)."""
    z = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Observations:
    """Up to `most` observations; when there are more, those stay whose number's hash ends in one more zero bit.

    So each halving keeps a random half, and which trials are kept depends on how many there are only: a resumed study
    keeps the same ones. Half to all of `most` are in use from then on, and each stands for `weight` trials. The sum
    that they estimate is unbiased; its variance is (2^halvings - 1) times the sum of the squared terms.

    Args:
        space: the search space.
        bandwidth: of g.
        most: at least 2; None for no limit.
    """

    def __init__(self, space: Space, bandwidth: float, most: int | None) -> None:
        from fasthpo.kernels.tpe.above import TILE, arrange

        self._space = space
        self._bandwidth = bandwidth
        self._most = most
        self._tile = TILE
        rows, factors = np.empty(len(space.axes), np.int64), np.empty(len(space.axes))
        direct, count = arrange(space, bandwidth, rows, factors)
        self.tiles = Tiles(rows, factors, direct, np.zeros((1, count * TILE)), np.full(TILE, -np.inf))
        self._numbers: IntArray = np.zeros(TILE, np.int64)
        self.length = 0
        self._counting = 0
        self._mask = 0

    def weight(self, total: int) -> float:
        """How many of `total` trials that count an observation stands for."""
        return total / self._counting if self._mask and self._counting else 1.0

    def add(self, table: TrialTable, first: int, last: int) -> None:
        """Take in the trials from `first` to before `last`; those that are WAITING do not count."""
        numbers = self._kept(np.arange(first, last))
        while self._most is not None and self.length + len(numbers) > self._most:
            self._halve(table)
            numbers = self._kept(numbers)
        self._append(table, numbers)

    def _kept(self, numbers: IntArray) -> IntArray:
        if not self._mask:
            return numbers
        kept: IntArray = numbers[scrambled(numbers.astype(np.uint64)) & np.uint64(self._mask) == 0]
        return kept

    def _halve(self, table: TrialTable) -> None:
        self._mask = 2 * self._mask + 1
        counting = self._numbers[: self.length][self.tiles.offsets[: self.length] > -np.inf]
        numbers = self._kept(self._numbers[: self.length].copy())
        self.length = self._counting = 0
        self._append(table, numbers)
        out = ~np.isin(numbers, counting)
        self._counting -= int((self.tiles.offsets[: self.length][out] > -np.inf).sum())
        self.tiles.offsets[: self.length][out] = -np.inf

    def _append(self, table: TrialTable, numbers: IntArray) -> None:
        if not len(numbers):
            return
        slots = np.arange(self.length, self.length + len(numbers))
        self._make_room(self.length + len(numbers))
        self._numbers[slots] = numbers
        self.length += len(numbers)
        self._observe(table, numbers, slots)
        self._counting += len(numbers)
        if table.counts[TrialState.WAITING]:
            waiting = slots[table.states[numbers] == TrialState.WAITING]
            self.tiles.offsets[waiting] = -np.inf
            self._counting -= len(waiting)

    def _make_room(self, length: int) -> None:
        store, tiles = self.tiles.store, len(self.tiles.store)
        if length <= tiles * self._tile:
            return
        while tiles * self._tile < length:
            tiles *= 2
        longer = np.zeros((tiles, store.shape[1]))
        longer[: len(store)] = store
        offsets: FloatArray = grow(self.tiles.offsets, tiles * self._tile, -np.inf)  # type: ignore[assignment]
        self.tiles = self.tiles._replace(store=longer, offsets=offsets)
        self._numbers = grow(self._numbers, tiles * self._tile)  # type: ignore[assignment]

    def _observe(self, table: TrialTable, numbers: IntArray, slots: IntArray) -> None:
        from fasthpo.kernels.tpe.above import observe

        observe(self._space, self._bandwidth, self.tiles, table.params, numbers, slots)

    def set_counting(self, table: TrialTable, number: int, counts: bool) -> None:
        """A trial that was added begins or ceases to count."""
        slot = int(np.searchsorted(self._numbers[: self.length], number))
        if slot == self.length or self._numbers[slot] != number:
            return
        self._counting += int(counts) - int(self.tiles.offsets[slot] > -np.inf)
        if counts:
            self._observe(table, np.array([number]), np.array([slot]))
        else:
            self.tiles.offsets[slot] = -np.inf
