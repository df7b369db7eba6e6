"""What a study's values mean: which of two is better, and the losses that samplers, pruners and strategies compare.

A loss is a value turned so that the lower one is the better one. Nothing else in the library needs to know in which
direction a study goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.values import FloatArray, IntArray, plain, shown

Direction = Literal["minimize", "maximize"]
Values: TypeAlias = float | FloatArray  # of one trial: a number, or (m,) under several objectives
MOST_OBJECTIVES = 16  # a table has room for each of a trial's values, which a file must not make much of
_DIRECTIONS = ("minimize", "maximize")


def check_direction(direction: str) -> Direction:
    """The direction itself.

    Raises:
        InvalidValue: neither "minimize" nor "maximize".
    """
    known = plain(direction)
    if not isinstance(known, str) or known not in _DIRECTIONS:
        raise InvalidValue(f"direction must be 'minimize' or 'maximize', got direction={shown(direction)}")
    return known  # type: ignore[return-value]


def check_directions(directions: Any) -> tuple[Direction, ...]:
    """The directions of several objectives, or of one.

    Raises:
        InvalidValue: no list of "minimize" and "maximize", or one of none or too many.
    """
    listed: list[Any] | None = None
    if isinstance(directions, (Sequence, Iterator, np.ndarray)) and not isinstance(directions, (str, bytes, bytearray)):
        try:
            listed = [plain(one) for one in directions]
        except Exception:  # whatever a sequence of the user's own raises
            listed = None
    if listed is None or any(type(one) is not str or one not in _DIRECTIONS for one in listed):
        raise InvalidValue(
            f"directions must list 'minimize' or 'maximize' for each objective, got directions={shown(directions)}"
        )
    if not 1 <= len(listed) <= MOST_OBJECTIVES:
        raise InvalidValue(
            f"directions must be those of 1 to {MOST_OBJECTIVES} objectives, got {len(listed)}: {shown(directions)}"
        )
    return tuple(listed)


class Objectives:
    """What is searched for: one value, to be small or large, or several.

    Args:
        directions: "minimize" or "maximize" for each; a direction alone is that of one.

    Attributes:
        directions: the same, (m,).
        count: m, how many there are.
    """

    def __init__(self, directions: Direction | Sequence[Direction]) -> None:
        self.directions: tuple[Direction, ...] = (directions,) if isinstance(directions, str) else tuple(directions)
        self.count = len(self.directions)
        signs = [1.0 if direction == "minimize" else -1.0 for direction in self.directions]
        self._sign: Any = signs[0] if self.count == 1 else np.array(signs)

    @property
    def direction(self) -> Direction:
        """The direction of the one objective.

        Raises:
            InvalidValue: there are several.
        """
        if self.count > 1:
            raise InvalidValue(f"there are {self.count} objectives, each with a direction of its own: see `directions`")
        return self.directions[0]

    def loss(self, value: float) -> float:
        """The loss of a value of one objective; NaN of a missing one."""
        return self._sign * value  # type: ignore[no-any-return]

    def ranked_loss(self, value: float) -> float:
        """The same, but a missing value ranks worst: infinity."""
        return self._sign * value if value == value else math.inf

    def losses(self, values: FloatArray) -> FloatArray:
        """The losses of values (n,), of several objectives (n, m); NaN of missing ones."""
        return self._sign * values  # type: ignore[no-any-return]

    def ranked_losses(self, values: FloatArray) -> FloatArray:
        """The same, but missing values rank worst: infinity."""
        return np.where(np.isnan(values), np.inf, self._sign * values)

    def value(self, loss: float) -> float:
        """The value of one objective that has a loss."""
        return self._sign * loss  # type: ignore[no-any-return]

    def is_better(self, value: float, number: int, best: float, best_number: int) -> bool:
        """Whether a trial's value is finite, and better than the best so far; of equal ones the earlier trial wins."""
        if not math.isfinite(value):
            return False
        return number < best_number if value == best else self._sign * value < self._sign * best

    def best(self, values: FloatArray, numbers: IntArray) -> int | None:
        """Of several trials the one with the best finite value, the earliest of equals; None if none has any.

        Args:
            values: of all trials (n,).
            numbers: of those that count (k,).
        """
        finite = numbers[np.isfinite(values[numbers])]
        if not len(finite):
            return None
        losses = self._sign * values[finite]
        return int(finite[losses == losses.min()].min())
