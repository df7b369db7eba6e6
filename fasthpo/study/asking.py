"""What running trials have asked for, in a study that learns its space from its objective."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.kernels.streams import uniforms
from fasthpo.space.choice_values import as_choice, choice_from_json
from fasthpo.space.open_space import OpenSpace
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.space.widening import nearest, spans
from fasthpo.system.log import logger
from fasthpo.trials.history import History
from fasthpo.values import FloatArray, exact, shown

GIVEN = "given:"  # attributes of a trial that begin so are values of it that were enqueued before the space was known


class Asked(NamedTuple):
    """A parameter that a trial has asked for."""

    parameter: Parameter
    value: Value
    column_value: float


class AskedParameters:
    """By number and name, what trials have asked for that run."""

    def __init__(self) -> None:
        self._of: dict[int, dict[str, Asked]] = {}

    def of(self, number: int) -> dict[str, Asked]:
        """What a trial has asked for so far; it may be added to."""
        return self._of.setdefault(number, {})

    def values(self, number: int) -> dict[str, Value] | None:
        """The values that a trial has got; None if it has asked for nothing."""
        asked = self._of.get(number)
        return {name: one.value for name, one in asked.items()} if asked else None

    def row(self, number: int, space: SearchSpace) -> FloatArray | None:
        """The row (d,) of a trial; None if it has asked for nothing, so that what was suggested stands."""
        asked = self._of.get(number)
        if not asked:
            return None
        row = np.full(len(space), np.nan)
        for name, one in asked.items():
            row[space.position[name]] = one.column_value
        return row

    def forget(self, number: int) -> None:
        """The trial has ended, or begins anew."""
        self._of.pop(number, None)


def value_for(history: History, seed: int, number: int, name: str, parameter: Parameter) -> Asked:
    """The value of a parameter that a trial asks for, which the space holds.

    It is the one that was enqueued, else the one that was suggested if that lies in the range asked for, else one of
    the prior. It depends on the trial, on (seed, number, name) and on nothing else.

    Raises:
        InvalidParameters: what was enqueued is none of its choices.
    """
    space = history.table.space
    given = history.trial_attributes.get(number, {})
    if GIVEN + name in given:
        x = _given(name, parameter, choice_from_json(given[GIVEN + name]))
    else:
        x = float(history.table._params[space.position[name], number])
        if x == x and (parameter is space[name] or spans(parameter, x)):
            x = x if parameter is space[name] else nearest(parameter, x)
        else:  # not the nearest bound, where all would be that are suggested beyond it
            unit = uniforms(seed, np.array([number]), zlib.crc32(name.encode("utf-8", "surrogatepass")), 1)
            x = float(parameter.from_unit(unit[:, 0])[0])
    return Asked(parameter, parameter.decode(x), x)


def _given(name: str, parameter: Parameter, value: Value) -> float:
    try:
        return parameter.encode(value)
    except InvalidParameters as error:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
        if is_number and parameter.choices is None:
            x = nearest(parameter, float(value))  # type: ignore[arg-type]
            logger.warning("%r %s, as was enqueued; %s is tried", name, error, shown(parameter.decode(x)))
            return x
        raise InvalidParameters(f"{name!r} {error}, as was enqueued") from None


def declared(space: SearchSpace, params: dict[str, Value], name: str, parameter: Parameter) -> Value:
    """The value of a parameter of a space that was declared, which an objective asks for all the same.

    Raises:
        InvalidParameters: it has none here, or one outside of what is asked for.
    """
    if name not in space:
        raise InvalidParameters(
            f"the study's space has no parameter {name!r}; it has {shown(list(space))}. A study without a space, "
            "Study(), learns it from what its objective asks for"
        )
    if name not in params:
        raise InvalidParameters(f"{name!r} is inactive here (it needs {dict(space[name].when)})")
    try:
        parameter.encode(params[name])
    except InvalidParameters as error:
        raise InvalidParameters(f"{name!r} {error} by the study's space, which has {space[name]!r}") from None
    return params[name]


def enqueued_values(params: Any) -> dict[str, Value]:
    """Values that are enqueued before it is known of what they are, as plain ones.

    Raises:
        InvalidParameters: they are no mapping of names to what a parameter can be.
    """
    if not isinstance(params, Mapping):
        raise InvalidParameters(f"parameters must be a mapping of name to value, got {shown(params)}")
    found: dict[str, Value] = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidParameters(f"a parameter's name must be a string that is not empty, got {shown(name)}")
        try:
            found[exact(name)] = as_choice(value)
        except InvalidSearchSpace as error:
            raise InvalidParameters(f"{name!r} can't be enqueued: {error}") from None
    return found


def split_given(space: OpenSpace, params: dict[str, Value]) -> tuple[FloatArray, dict[str, Value]]:
    """Values that are enqueued: the row (d,) of those that the space holds, and the others, by name."""
    row, others = np.full(len(space), np.nan), {}
    for name, value in params.items():
        try:
            row[space.position[name]] = space[name].encode(value)
        except (KeyError, InvalidParameters):
            others[name] = value
    return row, others
