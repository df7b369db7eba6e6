"""The intermediate values of all trials, as long columns in the order in which they came.

A report is its value, its step, and how many places back its trial's report before it stands. Steps and distances are
stored in the narrowest type that holds them all, so that a report takes 10 bytes where steps are below 256 and fewer
than 255 reports of other trials come between two of a trial, and 24 bytes at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.trials.objectives import Values
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow, grow_unset

NarrowArray = npt.NDArray[np.unsignedinteger]
_CHUNK_BITS = 16  # values stand in arrays of 2**16: a long column is never copied to grow
_CHUNK, _IN_CHUNK = 1 << _CHUNK_BITS, (1 << _CHUNK_BITS) - 1
_BY_TRIAL = ("last", "highest", "top")
NONE = -1


class Reports:
    """Report i is (step[i], value[i]) of a trial whose previous report stands `gap[i]` places before it, 0: none.

    Only the first `len(reports)` entries of `step` and `gap` count; they are unsigned integers of any width: convert
    them before any arithmetic. `value` and `trial` are put together when asked for.

    By trial, up to some capacity: `last[number]` is the index of its latest report, or -1, so that its reports are
    found without a pass over the others; `highest[number]` is its largest step, or -1, and `top[number]` the index of
    the report there, or -1. `failures[number]` says of a trial that failed after having reported how many reports of
    all trials there were by then.

    Args:
        objectives: m; of several a report has m values, of which some may be NaN.
    """

    step: NarrowArray
    gap: NarrowArray
    last: IntArray
    highest: IntArray
    top: IntArray
    # single entries are read and written through memoryviews of the arrays: NumPy takes twice as long for one
    _step: memoryview[int]
    _gap: memoryview[int]
    _last: memoryview[int]
    _highest: memoryview[int]
    _top: memoryview[int]

    def __init__(self, objectives: int = 1) -> None:
        self._length = 0
        self._shape = () if objectives == 1 else (objectives,)
        for name in ("step", "gap"):
            self._put(name, np.empty(FIRST_CAPACITY, np.uint8))
        self._chunks: list[FloatArray] = []
        self._values: list[Any] = []  # of several objectives the arrays themselves, whose entries are rows
        self.failures: dict[int, int] = {}
        for name in _BY_TRIAL:
            self._put(name, np.full(FIRST_CAPACITY, NONE, np.int64))

    def _put(self, name: str, array: npt.NDArray[np.generic]) -> None:
        setattr(self, name, array)
        setattr(self, f"_{name}", memoryview(array))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._length

    def latest(self, number: int) -> int:
        """The index of a trial's latest report, or -1."""
        return self._last[number] if number < len(self._last) else NONE

    def find(self, number: int, step: int) -> int:
        """The index of a trial's report at `step`, or -1. Costs nothing where the step is a new highest one."""
        if number >= len(self._last) or step > self._highest[number]:
            return NONE
        i = self._last[number]
        while self._step[i] != step:
            gap = self._gap[i]
            if not gap:
                return NONE
            i -= gap
        return i

    def note_failure(self, number: int) -> None:
        """A trial has failed: among the reports of the others it has its place in time."""
        if self.latest(number) != NONE:
            self.failures[number] = self._length

    def count_since(self, number: int, first: int) -> int:
        """How many of a trial's reports have an index of at least `first`."""
        count, i = 0, self.latest(number)
        while i >= first and i != NONE:
            gap = self._gap[i]
            count, i = count + 1, i - gap if gap else NONE
        return count

    def value_at(self, i: int) -> Any:
        """The value of report i, of several objectives its values (m,)."""
        return self._values[i >> _CHUNK_BITS][i & _IN_CHUNK]

    def of(self, number: int) -> dict[int, Any]:
        """A trial's values by step, in ascending order of steps; of several objectives tuples of them."""
        pairs = []
        i = self.latest(number)
        while i != NONE:
            pairs.append((self._step[i], self.value_at(i)))
            gap = self._gap[i]
            i = i - gap if gap else NONE
        found = dict(sorted(pairs, key=lambda pair: pair[0]))
        return {step: tuple(values.tolist()) for step, values in found.items()} if self._shape else found

    @property
    def value(self) -> FloatArray:
        """The values, float64 (n,), of several objectives (n, m); a copy."""
        return self._first_values(self._length)

    def _first_values(self, count: int) -> FloatArray:
        return np.concatenate([np.empty((0, *self._shape)), *self._chunks])[:count]

    @property
    def trial(self) -> IntArray:
        """Each report's trial, int64 (n,); found in a few passes over all reports."""
        n = self._length
        first = np.arange(n) - self.gap[:n].astype(np.int64)  # a report of the same trial, in the end its first one
        while not np.array_equal(first, nearer := first[first]):
            first = nearer
        trials = np.flatnonzero(self.last != NONE)
        owner = np.empty(n, np.int64)
        owner[first[self.last[trials]]] = trials
        return owner[first]

    def until(self, count: int) -> dict[str, npt.NDArray[np.generic]]:
        """The first `count` reports as columns trial, step and value; copies. A report may be half appended."""
        last = self.last.copy()
        for number in np.flatnonzero(last >= count).tolist():
            i = int(last[number])
            while i >= count:
                gap = int(self.gap[i])
                i = i - gap if gap else NONE
            last[number] = i
        kept = Reports()
        kept._length, kept.last, kept.gap = count, last, self.gap
        step, value = self.step[:count].astype(np.int64), self._first_values(count)
        return {"trial": kept.trial, "step": step, "value": value}

    def frozen(self) -> Reports:
        """The reports as they are now, for reading `step`, `gap`, `value` and `trial` while others are appended.

        What has been reported never changes, and arrays that grow are replaced; only `last` and `failures` are copied.
        """
        other = Reports(*self._shape)
        other._length = self._length
        other.step, other.gap, other._chunks = self.step, self.gap, list(self._chunks)
        other.last = self.last.copy()
        other.failures = dict(self.failures)
        return other

    def append(self, number: int, step: int, value: Values) -> int:
        """Add a report, unless the trial has one at that step.

        Args:
            number: the trial's.
            step: 0 to 2**63 - 1.
            value: any number, NaN and infinities included; of several objectives (m,).

        Returns:
            The index of the trial's earlier report at `step`, in which case nothing is done; else -1.
        """
        i = self._length
        if i == len(self._step) or not i & _IN_CHUNK or number >= len(self._last):
            self._make_room(number)
        highest, last = self._highest[number], self._last[number]
        if step <= highest:
            earlier = self.find(number, step)
            if earlier != NONE:
                return earlier
        gap = 0 if last == NONE else i - last
        try:
            self._step[i] = step
            self._gap[i] = gap
        except ValueError:  # beyond the column's type
            self._widen("step", step)
            self._widen("gap", gap)
            self._step[i] = step
            self._gap[i] = gap
        self._values[-1][i & _IN_CHUNK] = value
        self._last[number] = i
        if step > highest:
            self._highest[number] = step
            self._top[number] = i
        self._length = i + 1
        return NONE

    def _make_room(self, number: int) -> None:
        if self._length == len(self.step):
            for name in ("step", "gap"):
                self._put(name, grow_unset(getattr(self, name), 2 * self._length))
        if self._length == _CHUNK * len(self._chunks):
            self._add_chunk()
        if number >= len(self.last):
            capacity = max(number + 1, 2 * len(self.last))
            for name in _BY_TRIAL:
                self._put(name, grow(getattr(self, name), capacity, NONE))

    def _add_chunk(self) -> None:
        self._chunks.append(np.empty((_CHUNK, *self._shape)))
        self._values.append(self._chunks[-1] if self._shape else memoryview(self._chunks[-1]))  # type: ignore[arg-type]

    def _widen(self, name: str, entry: int) -> None:
        column = getattr(self, name)
        wider = np.promote_types(column.dtype, np.min_scalar_type(entry))
        if wider != column.dtype:
            self._put(name, grow_unset(column[: self._length], len(column), wider))

    def fill(self, trial: IntArray, step: IntArray, value: FloatArray) -> None:
        """Take over the reports (n,) of many trials at once, as n calls of `append` would, into an empty column.

        Args:
            trial, step, value: in the order in which they came; not negative, no step twice in a trial. The values of
                several objectives are (n, m).
        """
        n = len(trial)
        by_trial = np.argsort(trial, kind="stable")
        ordered = trial[by_trial]
        differs = ordered[1:] != ordered[:-1]
        begins, ends = np.append(True, differs)[:n], np.append(differs, True)[:n]
        gap = np.empty(n, np.int64)
        gap[by_trial] = np.where(begins, 0, np.diff(by_trial, prepend=0))
        capacity = max(FIRST_CAPACITY, n)
        for name, column in (("step", step), ("gap", gap)):
            self._put(name, grow_unset(column, capacity, np.min_scalar_type(int(column.max(initial=0)))))
        for i in range(0, n, _CHUNK):
            self._add_chunk()
            self._chunks[-1][: n - i] = value[i : i + _CHUNK]
        self._length = n
        if n:
            self._make_room(int(ordered[-1]))
            by_step = np.lexsort((step, trial))  # has the trials in the same order
            self.last[ordered[ends]] = by_trial[ends]
            self.highest[ordered[ends]] = step[by_step[ends]]
            self.top[ordered[ends]] = by_step[ends]
