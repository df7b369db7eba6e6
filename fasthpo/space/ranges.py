"""Which values of a parameter meet a condition: closed ranges of its column values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fasthpo.space.parameter import Parameter
from fasthpo.values import FloatArray


class Ranges:
    """Closed ranges of column values, in ascending order, apart from each other.

    Args:
        lows, highs: their ends, (r,) each. Those of a parameter with finitely many values are values of it.

    Example:
        >>> import fasthpo
        >>> Ranges.of_cells(fasthpo.Discrete(1, 9), [0, 1, 2, 7]).ends()
        [(1.0, 3.0), (8.0, 8.0)]
    """

    __slots__ = ("highs", "lows")

    def __init__(self, lows: FloatArray, highs: FloatArray) -> None:
        self.lows = lows
        self.highs = highs

    @classmethod
    def of_cells(cls, parameter: Parameter, cells: Iterable[int]) -> Ranges:
        """Those that hold some of a parameter's finitely many values, given by their cells in ascending order."""
        listed = np.fromiter(cells, np.int64)
        first = np.flatnonzero(np.diff(listed, prepend=-2) != 1)
        last = np.append(first[1:], len(listed)) - 1
        return cls(parameter.at(listed[first]), parameter.at(listed[last]))

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
        ends = parameter.cell(self.lows).tolist(), parameter.cell(self.highs).tolist()
        return list(zip(*ends, strict=True))

    def count(self, parameter: Parameter) -> int:
        """How many of a parameter's finitely many values they hold."""
        return sum(last - first + 1 for first, last in self.cells(parameter))

    def value(self, parameter: Parameter, rank: int) -> float:
        """The column value at a rank among those that they hold, of a parameter with finitely many values."""
        for first, last in self.cells(parameter):
            if rank <= last - first:
                return float(parameter.at(np.array(first + rank, np.int64)))
            rank -= last - first + 1
        raise IndexError(rank)
