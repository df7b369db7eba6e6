"""What a study's values mean: which of two is better, and the losses that samplers, pruners and strategies compare.

A loss is a value turned so that the lower one is the better one. Nothing else in the library needs to know in which
direction a study goes.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.values import FloatArray, IntArray, plain, shown

Direction = Literal["minimize", "maximize"]


def check_direction(direction: str) -> Direction:
    """The direction itself.

    Raises:
        InvalidValue: neither "minimize" nor "maximize".
    """
    known = plain(direction)
    if not isinstance(known, str) or known not in ("minimize", "maximize"):
        raise InvalidValue(f"direction must be 'minimize' or 'maximize', got direction={shown(direction)}")
    return known  # type: ignore[return-value]


class Objectives:
    """What is searched for: so far one value, to be small or large.

    Args:
        direction: "minimize" or "maximize".
    """

    def __init__(self, direction: Direction) -> None:
        self.direction: Direction = direction
        self._sign = 1.0 if direction == "minimize" else -1.0

    def loss(self, value: float) -> float:
        """The loss of a value; NaN of a missing one."""
        return self._sign * value

    def ranked_loss(self, value: float) -> float:
        """The same, but a missing value ranks worst: infinity."""
        return self._sign * value if value == value else math.inf

    def losses(self, values: FloatArray) -> FloatArray:
        """The losses of values (n,); NaN of missing ones."""
        return self._sign * values

    def ranked_losses(self, values: FloatArray) -> FloatArray:
        """The same, but missing values rank worst: infinity."""
        return np.where(np.isnan(values), np.inf, self._sign * values)

    def value(self, loss: float) -> float:
        """The value that has a loss."""
        return self._sign * loss

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
