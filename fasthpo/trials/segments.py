"""Segments: what a trial does between an ask and the next tell, under a multi-fidelity strategy.

A trial that is promoted has several: each trains it further, to a larger resource. Under any other strategy a trial is
one piece, and nothing stands here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.trials.objectives import Values
from fasthpo.trials.reports import NONE
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow, grow_unset

COLUMNS = ("trial", "resource", "value", "charge", "state", "start", "end", "violation")


class OpenSegment(NamedTuple):
    """The segment of a running trial."""

    start: float  # seconds since the epoch
    reports: int  # how many reports the study had when it began: later ones of the trial belong to this segment


class Segments:
    """The segments that have ended, as long columns in the order of the tells.

    Segment i is of `trial[i]` and went to `resource[i]`. `value[i]` is what was told, NaN if nothing was; `charge[i]`
    the resource that it cost; `state[i]` the `TrialState` that the trial got; `violation[i]` by how much it broke its
    constraints in all, as far as was known then; `previous[i]` the same trial's segment
    before it, or -1. `last[number]` is a trial's latest segment, or -1. Only the first `len(segments)` entries of the
    columns count. `open` holds the segments of the running trials, and `spent` the sum of all charges.

    Args:
        objectives: m; of several a segment has m values, and `value` is (n, m).
    """

    def __init__(self, objectives: int = 1) -> None:
        self._length = 0
        self.trial: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self.resource: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self._has_several = objectives > 1
        self.value: FloatArray = np.empty((FIRST_CAPACITY, objectives) if self._has_several else FIRST_CAPACITY)
        self.charge: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self.state: npt.NDArray[np.int8] = np.empty(FIRST_CAPACITY, np.int8)
        self.start: FloatArray = np.empty(FIRST_CAPACITY)
        self.end: FloatArray = np.empty(FIRST_CAPACITY)
        self.violation: FloatArray = np.empty(FIRST_CAPACITY)
        self.previous: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self.last: IntArray = np.full(FIRST_CAPACITY, NONE, np.int64)
        self.open: dict[int, OpenSegment] = {}
        self.spent = 0

    def __len__(self) -> int:
        return self._length

    def append(
        self,
        number: int,
        resource: int,
        value: Values,
        charge: int,
        state: TrialState,
        start: float,
        end: float,
        violation: float,
    ) -> None:
        """A trial's segment has ended."""
        i = self._length
        if i == len(self.trial):
            for name in (*COLUMNS, "previous"):
                setattr(self, name, grow_unset(getattr(self, name), 2 * i))
        if number >= len(self.last):
            self.last = grow(self.last, max(number + 1, 2 * len(self.last)), NONE)  # type: ignore[assignment]
        self.trial[i], self.resource[i], self.value[i], self.charge[i] = number, resource, value, charge
        self.state[i], self.start[i], self.end[i], self.violation[i] = state, start, end, violation
        self.previous[i] = self.last[number]
        self.last[number] = i
        self.spent += charge
        self._length = i + 1

    def latest(self, number: int) -> int:
        """The index of a trial's latest segment that has ended, or -1."""
        return int(self.last[number]) if number < len(self.last) else NONE

    def latest_until(self, number: int, resource: int) -> int:
        """The index of a trial's latest segment that has gone no further than to a resource, or -1."""
        i = self.latest(number)
        while i != NONE and self.resource[i] > resource:
            i = int(self.previous[i])
        return i

    def reached(self, number: int) -> int:
        """The resource to which a trial has been trained, as far as it was told."""
        i = self.latest(number)
        return 0 if i == NONE else int(self.resource[i])

    def of(self, number: int) -> list[int]:
        """The indices of a trial's segments, in their order."""
        found = []
        i = self.latest(number)
        while i != NONE:
            found.append(i)
            i = int(self.previous[i])
        return found[::-1]

    def values_of(self, number: int) -> dict[int, Any]:
        """The values that a trial was told, by the resource at which it reached them; of several objectives tuples."""
        found = {int(self.resource[i]): self.value[i] for i in self.of(number) if not np.isnan(self.value[i]).any()}
        return {at: tuple(value.tolist()) if self._has_several else float(value) for at, value in found.items()}

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column, without the unused entries."""
        found: npt.NDArray[Any] = getattr(self, name)[: self._length]
        return found
