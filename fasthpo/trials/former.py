"""What a study whose space was changed keeps of its trials, where the table has it otherwise.

The table has the trials as whoever learns from them is to see them. One that is no point of the space as it is now, an
*outside* trial, stands there as one that failed because of something that says nothing of its point (`is_lost`):
without parameters, values and reports, with what it has cost. What it really was stands here. So does what trials began
with that lie inside, but with other parameters: one of these is gone now, or came later, and a default says what it
was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.history import History
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray


class FormerTrials(NamedTuple):
    """Trials that began in one former space, and are otherwise in the table.

    Attributes:
        numbers: of those outside of the present space, ascending.
        history: these as they were, in their order.
        reports, segments: how many of the table's stood before each report and segment of these.
        kept: numbers of those inside that began with other parameters, ascending.
        rows: what these began with, (k, d), in the space of `history`.
        said: by name, what all of these had of parameters that they lack, as far as that was said.
    """

    numbers: IntArray
    history: History
    reports: IntArray
    segments: IntArray
    kept: IntArray
    rows: FloatArray
    said: Mapping[str, Value]

    @property
    def space(self) -> SearchSpace:
        """In which they began."""
        return self.history.table.space


class Former:
    """All of them. Nothing of it changes until the space is changed again.

    Args:
        parts: by space.
        fixed: by name, what all trials of the table have where they lack a parameter, as far as that was said.
    """

    def __init__(self, parts: tuple[FormerTrials, ...], fixed: Mapping[str, Value]) -> None:
        self.parts = parts
        self.fixed = dict(fixed)
        self.numbers: IntArray = np.sort(np.concatenate([np.empty(0, np.int64), *(part.numbers for part in parts)]))
        self._outside = np.zeros(int(self.numbers.max(initial=-1)) + 1, np.bool_)
        self._outside[self.numbers] = True

    def are_outside(self, numbers: IntArray) -> npt.NDArray[np.bool_]:
        """Which of the trials (k,) lie outside, (k,)."""
        found = np.zeros(len(numbers), np.bool_)
        known = numbers < len(self._outside)
        found[known] = self._outside[numbers[known]]
        return found

    def is_outside(self, number: int) -> bool:
        """Whether a trial lies outside."""
        return number < len(self._outside) and bool(self._outside[number])

    def outside(self, number: int) -> tuple[TrialTable, int] | None:
        """Where a trial stands that lies outside: in what table, and under which number there; None of one inside."""
        if not self.is_outside(number):
            return None
        for part in self.parts:
            place = _place(part.numbers, number)
            if place is not None:
                return part.history.table, place
        return None

    def began_with(self, number: int) -> dict[str, Value] | None:
        """The parameters with which a trial began, if these are no point of the present space; else None."""
        for part in self.parts:
            place = _place(part.numbers, number)
            row = None if place is None else part.history.table.params[:, place]
            if row is None and (place := _place(part.kept, number)) is not None:
                row = part.rows[place]
            if row is not None:
                space = part.space
                pairs = zip(space.items(), row.tolist(), strict=True)
                return {name: parameter.decode(x) for (name, parameter), x in pairs if x == x}
        return None


def _place(numbers: IntArray, number: int) -> int | None:
    """Where a number stands among others, ascending."""
    place = int(np.searchsorted(numbers, number))
    return place if place < len(numbers) and numbers[place] == number else None
