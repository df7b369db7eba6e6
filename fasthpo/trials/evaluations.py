"""Points of a noisy objective that are evaluated more than once: how good they are, and which one to evaluate again.

A point is named by the number of the first trial that tried it.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fasthpo.trials.objectives import Objectives
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow

_MOST = 4  # evaluations of a point, those included that run
_SHARE = 0.2  # of the trials, that evaluate a point again
_FIRST = 10  # trials, before any does
_CERTAIN = 3  # evaluations after which values that are all the same are known to be free of noise
_KEPT = 256  # points of each number of evaluations that are kept in order
_EMPTY = -1
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio; see `TriedPoints`
_WORD = 2**64 - 1


class Estimate(NamedTuple):
    """What the complete trials of one point say of it.

    Attributes:
        mean: of their values; NaN if there are none.
        error: the standard error of the mean, by what the evaluations of one point differ in the whole study; NaN while
            no point has two.
        evaluations: how many there are.
    """

    mean: float
    error: float
    evaluations: int


class PointIndex:
    """Which trial was the first at a point: an open-addressing table of trial numbers."""

    def __init__(self) -> None:
        self._slots: IntArray = np.full(256, _EMPTY, np.int64)
        self._hashes: npt.NDArray[np.uint64] = np.zeros(256, np.uint64)
        self._length = 0

    def first(self, row: FloatArray, number: int) -> int:
        """The first trial at the point `row` (d,): `number` itself, which is noted down, if there was none."""
        canonical = np.where(np.isnan(row), np.inf, row) + 0.0  # NaN and zero come with either sign
        digest = hashlib.blake2b(canonical.tobytes(), digest_size=8).digest()
        hashed = int.from_bytes(digest, "little")
        place = self._place(hashed)
        if self._slots[place] != _EMPTY:
            return int(self._slots[place])
        if 2 * (self._length + 1) > len(self._slots):
            some = np.flatnonzero(self._slots != _EMPTY)
            kept = list(zip(self._slots[some].tolist(), self._hashes[some].tolist(), strict=True))
            self._slots = np.full(2 * len(self._slots), _EMPTY, np.int64)
            self._hashes = np.zeros(len(self._slots), np.uint64)
            for one, its in kept:
                at = self._place(its)
                self._slots[at], self._hashes[at] = one, its
            place = self._place(hashed)
        self._slots[place], self._hashes[place] = number, hashed
        self._length += 1
        return number

    def _place(self, hashed: int) -> int:
        mask = len(self._slots) - 1
        place = (hashed * _GOLDEN & _WORD) >> (64 - mask.bit_length())
        while self._slots[place] != _EMPTY and self._hashes[place] != hashed:
            place = (place + 1) & mask
        return int(place)


class _Ordered:
    """The best points of those that were evaluated equally often: (mean loss, point), ascending.

    The first `_KEPT` are kept, and all if there are no more.
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []
        self.count = 0

    def add(self, mean: float, point: int) -> None:
        self.count += 1
        has_all = len(self.points) == self.count - 1
        if has_all or (self.points and (mean, point) < self.points[-1]):
            bisect.insort(self.points, (mean, point))
            del self.points[_KEPT:]

    def remove(self, mean: float, point: int) -> None:
        self.count -= 1
        place = bisect.bisect_left(self.points, (mean, point))
        if place < len(self.points) and self.points[place] == (mean, point):
            del self.points[place]


class EvaluatedTrials(Protocol):
    """What `Evaluations` reads: the table."""

    objectives: Objectives

    def __len__(self) -> int: ...
    @property
    def params(self) -> FloatArray: ...
    @property
    def values(self) -> FloatArray: ...
    @property
    def states(self) -> npt.NDArray[np.int8]: ...
    @property
    def tell_order(self) -> IntArray: ...
    @property
    def running(self) -> IntArray: ...
    def violation(self, number: int) -> float: ...


class Evaluations:
    """What is known of each point; a function of the trials, the order of their starts and that of their tells.

    A point's loss is estimated by the mean of its complete evaluations plus the standard error of that mean, s / n^0.5:
    so a single lucky value is not believed more than several that are nearly as good. s^2 is the variance of
    evaluations of one point, over all that were evaluated more than once. One that broke a constraint, or came to no
    finite value, rules its point out; failed and pruned ones say nothing.

    The point of the lowest mean is evaluated again, up to four times in all, by at most a fifth of the trials, from the
    tenth on; no more once it has turned out that values do not differ.

    Args:
        table: the trials, of one objective, which stand as `table`.
    """

    def __init__(self, table: EvaluatedTrials) -> None:
        self.table = table
        self._index = PointIndex()
        self._started = self._told = 0
        self._waiting: set[int] = set()
        self._point: IntArray = np.full(FIRST_CAPACITY, _EMPTY, np.int64)  # of each trial
        self._asked: IntArray = np.zeros(FIRST_CAPACITY, np.int64)  # of each point: its trials
        self._count: IntArray = np.zeros(FIRST_CAPACITY, np.int64)  # its complete evaluations
        self._mean: FloatArray = np.zeros(FIRST_CAPACITY)
        self._repeats = 0  # trials
        # of points that have several complete evaluations: their losses and numbers, ascending
        self._several: dict[int, list[tuple[float, int]]] = {}
        self._squares, self._freedom = 0.0, 0
        self._ordered: dict[int, _Ordered] = {}  # by how often they were evaluated; none is empty

    # --- reading

    @property
    def best_number(self) -> int | None:
        """Of the best point's evaluations the one in the middle, of an even number the worse one; None if none."""
        self._catch_up()
        point = self._best()
        if point is None:
            return None
        several = self._several.get(point)
        return point if several is None else several[len(several) // 2][1]

    def _best(self) -> int | None:
        deviation = self._deviation
        heads = [(*self._head(count), count) for count in self._ordered]
        finite = [head for head in heads if math.isfinite(head[0])]
        found = [(mean + deviation / math.sqrt(count), mean, point) for mean, point, count in finite]
        return min(found)[2] if found else None

    def estimate(self, number: int) -> Estimate:
        """What is known of a trial's point."""
        self._catch_up()
        point = int(self._point[number])
        count = int(self._count[point]) if point >= 0 else 0
        if not count:
            return Estimate(math.nan, math.nan, 0)
        error = self._deviation / math.sqrt(count) if self._freedom else math.nan
        return Estimate(self.table.objectives.value(float(self._mean[point])), error, count)

    def due(self) -> int | None:
        """The point that is to be evaluated again now; None if a new one is to be tried."""
        self._catch_up()
        if self._repeats >= _SHARE * (self._started - _FIRST) or (self._freedom >= _CERTAIN and not self._squares):
            return None
        mean, point = min(map(self._head, self._ordered), default=(math.inf, _EMPTY))
        return point if math.isfinite(mean) and self._asked[point] < _MOST else None

    def is_repeat(self, number: int) -> bool:
        """Whether a trial that runs evaluates a point that was tried before."""
        self._catch_up()
        return int(self._point[number]) != number

    @property
    def _deviation(self) -> float:
        return math.sqrt(self._squares / self._freedom) if self._freedom else 0.0

    def _head(self, count: int) -> tuple[float, int]:
        """The lowest mean of the points that were evaluated so often."""
        some = self._ordered[count]
        if not some.points:  # all that were kept have been evaluated again
            points = np.flatnonzero(self._count[: self._started] == count)
            best = points[np.argsort(self._mean[points], kind="stable")[:_KEPT]]
            some.points = list(zip(self._mean[best].tolist(), best.tolist(), strict=True))
        return some.points[0]

    # --- taking in

    def _catch_up(self) -> None:
        table = self.table
        if self._started < len(table):
            if len(table) > len(self._point):
                capacity = max(len(table), 2 * len(self._point))
                self._point = grow(self._point, capacity, _EMPTY)  # type: ignore[assignment]
                self._asked = grow(self._asked, capacity, 0)  # type: ignore[assignment]
                self._count = grow(self._count, capacity, 0)  # type: ignore[assignment]
                self._mean = grow(self._mean, capacity, 0.0)  # type: ignore[assignment]
            waits = table.states[self._started :] == TrialState.WAITING
            for number, row in enumerate(table.params[:, self._started :].T, self._started):
                if waits[number - self._started]:
                    self._waiting.add(number)
                else:
                    self._start(number, row)
            self._started = len(table)
        told = table.tell_order[self._told :].tolist()
        if self._waiting:
            for number in sorted(self._waiting.intersection([*table.running.tolist(), *told])):
                self._waiting.remove(number)
                self._start(number, table.params[:, number])
        for number in told:
            self._tell(number)
        self._told += len(told)

    def _start(self, number: int, row: FloatArray) -> None:
        if np.isnan(row).all():  # it lies outside of a space that was changed
            return
        point = self._index.first(row, number)
        self._point[number] = point
        self._asked[point] += 1
        self._repeats += point != number

    def _tell(self, number: int) -> None:
        table, point = self.table, int(self._point[number])
        if table.states[number] != TrialState.COMPLETE:
            return
        loss = table.objectives.loss(float(table.values[number]))
        if not math.isfinite(loss) or table.violation(number) > 0:
            loss = math.inf
        count, mean = int(self._count[point]), float(self._mean[point])
        if count or point != number:
            first = [(mean, point)] if count else []
            bisect.insort(self._several.setdefault(point, first), (loss, number))
        if count:
            self._ordered[count].remove(mean, point)
            if not self._ordered[count].count:
                del self._ordered[count]
        if math.isinf(loss) or (count and math.isinf(mean)):
            mean = math.inf
        else:  # Welford's update
            off = loss - mean
            mean = mean + off / (count + 1) if math.isfinite(off) else mean * (count / (count + 1)) + loss / (count + 1)
            if count:
                square = off * (loss - mean)
                self._squares += square if math.isfinite(square) else math.inf
                self._freedom += 1
        self._count[point], self._mean[point] = count + 1, mean
        self._ordered.setdefault(count + 1, _Ordered()).add(mean, point)
