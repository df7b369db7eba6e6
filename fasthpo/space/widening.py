"""One parameter that was asked for with several ranges: the one that holds the values of them all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import choice_key
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.parameter import Parameter, When
from fasthpo.values import shown

_SLACK = 1e-6  # of a step, by which bounds may miss a common lattice


def is_within(asked: Parameter, known: Parameter) -> bool:
    """Whether all values of a parameter are among another's of the same name.

    Raises:
        InvalidSearchSpace: they can't be one parameter.
    """
    if asked is known:
        return True
    if isinstance(asked, Categorical) and isinstance(known, Categorical):
        if list(map(choice_key, asked.choices)) != list(map(choice_key, known.choices)):
            raise InvalidSearchSpace(
                f"a parameter's choices can't change within a study, got {shown(list(asked.choices))}, which were "
                f"{shown(list(known.choices))} before"
            )
        return True
    if type(asked) is not type(known) or getattr(asked, "log", None) != getattr(known, "log", None):
        raise InvalidSearchSpace(
            f"a parameter's type and scale can't change within a study, got {asked!r}, which was {known!r} before"
        )
    one: Any = asked
    all_of: Any = known
    if one.low < all_of.low or one.high > all_of.high:
        return False
    if all_of.step is None:
        return True
    aligned = is_whole((one.low - all_of.low) / all_of.step)
    return aligned and (one.low == one.high or (one.step is not None and is_whole(one.step / all_of.step)))


def widened(known: Parameter, asked: Parameter) -> Parameter:
    """The parameter that has the values of both.

    Raises:
        InvalidSearchSpace: they can't be one parameter.
    """
    if is_within(asked, known):
        return known
    one: Any = known
    other: Any = asked
    low, high = min(one.low, other.low), max(one.high, other.high)
    if isinstance(known, Discrete):
        step = 1 if one.log else math.gcd(one.step, other.step, other.low - one.low)
        return Discrete(low, high, step, one.log)
    if isinstance(known, LogUniform):
        return LogUniform(low, high)
    steps = {part.step for part in (one, other) if part.step is not None or part.low < part.high}
    common: float | None = steps.pop() if len(steps) == 1 else None
    is_aligned = common is not None and is_whole((other.low - one.low) / common)
    return stepped(low, high, common if is_aligned else None)


def stepped(low: float, high: float, step: float | None, when: When | None = None) -> Continuous:
    """A float of this step; of none, if the bounds miss it by more than a parameter's may."""
    try:
        return Continuous(low, high, step, when=when)
    except InvalidSearchSpace:
        if step is None:
            raise
    return Continuous(low, high, when=when)


def spans(parameter: Parameter, column_value: float) -> bool:
    """Whether a column value lies between a parameter's bounds; of choices each does."""
    return parameter.choices is not None or parameter.low <= column_value <= parameter.high  # type: ignore[attr-defined]


def nearest(parameter: Parameter, column_value: float) -> float:
    """That column value of a parameter which is nearest to one of a wider range; a choice stays what it is."""
    if parameter.choices is not None:
        return column_value
    low, high = float(parameter.low), float(parameter.high)  # type: ignore[attr-defined]
    inside = min(max(column_value, low), high)
    if parameter.count is None or low == high:
        return inside
    return float(parameter.at(parameter.cell(np.array([inside])))[0])


def is_whole(number: float) -> bool:
    """Whether a number of steps is a whole one, but for what bounds may miss."""
    return abs(number - round(number)) < _SLACK
