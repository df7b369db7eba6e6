"""Which values of a parameter meet a condition: closed ranges of its column values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fasthpo.space.parameter import Parameter
from fasthpo.values import FloatArray, IntArray


class Ranges:
    """Closed ranges of column values, in ascending order, apart from each other.

    Args:
        lows, highs: their ends, (r,) each. Those of a parameter with finitely many values are values of it.

    Example:
        >>> import fasthpo
        >>> Ranges.of_values(fasthpo.Discrete(1, 9), [1, 2, 3, 8]).ends()
        [(1.0, 3.0), (8.0, 8.0)]
    """

    __slots__ = ("highs", "lows")

    def __init__(self, lows: FloatArray, highs: FloatArray) -> None:
        self.lows = lows
        self.highs = highs

    @classmethod
    def of_values(cls, parameter: Parameter, column_values: Sequence[float]) -> Ranges:
        """Those that hold some of a parameter's finitely many values, given in ascending order."""
        cells = parameter.cell(np.array(column_values)).tolist()
        starts = [k for k, cell in enumerate(cells) if not k or cell != cells[k - 1] + 1]
        after = [*starts[1:], len(cells)]
        return cls(np.array([column_values[k] for k in starts]), np.array([column_values[k - 1] for k in after]))

    @classmethod
    def between(cls, low: float, high: float) -> Ranges:
        """The range from `low` to `high`; none if `low` is larger."""
        some = [low] if low <= high else []
        return cls(np.array(some, np.float64), np.array([high] * len(some), np.float64))

    def __bool__(self) -> bool:
        return len(self.lows) > 0

    def __eq__(self, other: object) -> bool:
        return self.ends() == other.ends() if isinstance(other, Ranges) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.ends()))

    def __repr__(self) -> str:
        return f"Ranges({self.ends()})"

    def ends(self) -> list[tuple[float, float]]:
        """The lower and the upper end of each range."""
        return list(zip(self.lows.tolist(), self.highs.tolist(), strict=True))

    def holds(self, value: float) -> bool:
        """Whether one of them holds a column value; none holds NaN."""
        return bool(((self.lows <= value) & (value <= self.highs)).any())

    def hold(self, column: FloatArray) -> npt.NDArray[np.bool_]:
        """Which column values (n,) one of them holds."""
        place = np.searchsorted(self.lows, column, "right") - 1
        found: npt.NDArray[np.bool_] = (place >= 0) & (column <= self.highs[place])
        return found

    def common(self, other: Ranges) -> Ranges:
        """What both hold."""
        if other is self:
            return self
        mine, theirs = self.ends()[::-1], other.ends()[::-1]
        lows, highs = [], []
        while mine and theirs:
            low, high = max(mine[-1][0], theirs[-1][0]), min(mine[-1][1], theirs[-1][1])
            if low <= high:
                lows.append(low)
                highs.append(high)
            (mine if mine[-1][1] <= theirs[-1][1] else theirs).pop()
        return Ranges(np.array(lows, np.float64), np.array(highs, np.float64))

    def cells(self, parameter: Parameter) -> list[tuple[int, int]]:
        """The first and the last cell of each range, of a parameter with finitely many values."""
        return list(zip(*parameter.cell(np.array([self.lows, self.highs])).tolist(), strict=True))

    def count(self, parameter: Parameter) -> int:
        """How many of a parameter's finitely many values they hold."""
        return sum(last - first + 1 for first, last in self.cells(parameter))

    def values(self, parameter: Parameter, ranks: IntArray) -> FloatArray:
        """The column values at ranks among those that they hold, of a parameter with finitely many values."""
        first, last = np.array(self.cells(parameter), np.int64).T
        after = np.cumsum(last - first + 1)
        run = np.searchsorted(after, ranks, "right")
        return parameter.at(last[run] + 1 - (after[run] - ranks))
