"""The intermediate values of all trials, as long columns in the order in which they came."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fasthpo.parameter import FloatArray

IntArray = npt.NDArray[np.int64]
_FIRST_CAPACITY = 64
NONE = -1


def grow(array: npt.NDArray[np.generic], capacity: int, fill: float = 0) -> npt.NDArray[np.generic]:
    """A copy with room for `capacity` entries along the last axis, the new ones set to `fill`."""
    length = array.shape[-1]
    longer = np.empty((*array.shape[:-1], capacity), array.dtype)
    longer[..., :length] = array
    longer[..., length:] = fill
    return longer


def grow_unset(array: npt.NDArray[np.generic], capacity: int) -> npt.NDArray[np.generic]:
    """As `grow`, but the new entries are not written: memory that is never used is never taken."""
    longer = np.empty(capacity, array.dtype)
    longer[: len(array)] = array
    return longer


class Reports:
    """Report i is (trial[i], step[i], value[i]); `previous[i]` is the same trial's report before it, or -1.

    `last[number]` is a trial's latest report, or -1: its reports are found without a pass over the others.
    `highest[number]` is its largest step, or -1.
    Only the first `len(reports)` entries of the columns count.
    """

    def __init__(self) -> None:
        self._length = 0
        self.trial: IntArray = np.empty(_FIRST_CAPACITY, np.int64)
        self.step: IntArray = np.empty(_FIRST_CAPACITY, np.int64)
        self.value: FloatArray = np.empty(_FIRST_CAPACITY)
        self.previous: IntArray = np.empty(_FIRST_CAPACITY, np.int64)
        self.last: IntArray = np.full(_FIRST_CAPACITY, NONE, np.int64)
        self.highest: IntArray = np.full(_FIRST_CAPACITY, NONE, np.int64)

    def __len__(self) -> int:
        return self._length

    def _make_room(self, number: int) -> None:
        if self._length == len(self.trial):
            for name in ("trial", "step", "value", "previous"):
                setattr(self, name, grow_unset(getattr(self, name), 2 * self._length))
        if number >= len(self.last):
            capacity = max(number + 1, 2 * len(self.last))
            self.last = grow(self.last, capacity, NONE)  # type: ignore[assignment]
            self.highest = grow(self.highest, capacity, NONE)  # type: ignore[assignment]

    def find(self, number: int, step: int) -> int:
        """The index of a trial's report at `step`, or -1. Costs nothing where the step is a new highest one."""
        if number >= len(self.last) or step > self.highest[number]:
            return NONE
        i = self.latest(number)
        while i != NONE and self.step[i] != step:
            i = int(self.previous[i])
        return i

    def latest(self, number: int) -> int:
        """The index of a trial's latest report, or -1."""
        return int(self.last[number]) if number < len(self.last) else NONE

    def count_since(self, number: int, first: int) -> int:
        """How many of a trial's reports have an index of at least `first`."""
        count, i = 0, self.latest(number)
        while i >= first:
            count, i = count + 1, int(self.previous[i])
        return count

    def append(self, number: int, step: int, value: float) -> None:
        """Add a report; the caller has made sure that the trial has none at that step."""
        self._make_room(number)
        i = self._length
        self.trial[i] = number
        self.step[i] = step
        self.value[i] = value
        self.previous[i] = self.last[number]
        self.last[number] = i
        self.highest[number] = max(self.highest[number], step)
        self._length = i + 1

    def of(self, number: int) -> dict[int, float]:
        """A trial's values by step, in ascending order of steps."""
        pairs = []
        i = self.latest(number)
        while i != NONE:
            pairs.append((int(self.step[i]), float(self.value[i])))
            i = int(self.previous[i])
        return dict(sorted(pairs))
