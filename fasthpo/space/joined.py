"""One space with all that several have, to show trials of all of them together; any trial may lack any of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.choice_values import choice_key
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.open_space import OpenSpace
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray


def joined(spaces: Sequence[SearchSpace], rows: Sequence[FloatArray]) -> tuple[OpenSpace, list[FloatArray]]:
    """A space for the points of several, and these in it, in the same order.

    Parameters of one name become one that has their values, as they were: integers, other numbers, or choices.

    Args:
        spaces: the first one's parameters come first.
        rows: the points of each, (k, d).
    """
    parameters: dict[str, Parameter] = {}
    for name in dict.fromkeys(name for space in spaces for name in space):
        columns = [(s[name], r[:, s.position[name]]) for s, r in zip(spaces, rows, strict=True) if name in s]
        parameters[name] = _one_for(columns)
    space = OpenSpace(parameters)
    found = []
    for old, points in zip(spaces, rows, strict=True):
        some = np.full((len(points), len(space)), np.nan)
        for j, (name, parameter) in enumerate(space.items()):
            if name in old:
                some[:, j] = _in(parameter, old[name], points[:, old.position[name]])
        found.append(some)
    return space, found


def _one_for(columns: Sequence[tuple[Parameter, FloatArray]]) -> Parameter:
    """A parameter with the values of several, and what is in their columns."""
    first = columns[0][0]
    if all(_is_like(parameter, first) for parameter, _ in columns):
        return _unconditional(first)
    if any(parameter.choices is not None for parameter, _ in columns):
        return Categorical(list(_values(columns).values()))
    given = np.concatenate([column[~np.isnan(column)] for _, column in columns])
    bounds = [end for parameter, _ in columns for end in parameter.bounds if math.isfinite(end)]
    low, high = min([*bounds, *given.tolist()]), max([*bounds, *given.tolist()])
    is_log = all(getattr(parameter, "log", False) for parameter, _ in columns)
    if all(parameter.is_whole for parameter, _ in columns):
        return Discrete(int(low), int(high), log=is_log)
    try:
        return LogUniform(low, high) if is_log else Continuous(low, high)
    except InvalidSearchSpace:  # too far apart for a range
        return Categorical(list(_values(columns).values()))


def _is_like(parameter: Parameter, other: Parameter) -> bool:
    """Whether two parameters have the same values, wherever they are active."""
    return parameter._identity()[:2] == other._identity()[:2] and parameter.bounds == other.bounds


def _unconditional(parameter: Parameter) -> Parameter:
    if not getattr(parameter, "depends", ()):
        return parameter.under({})
    low, high = parameter.bounds  # the outer ones
    is_log = bool(getattr(parameter, "log", False))
    if parameter.is_whole:
        return Discrete(int(low), int(high), log=is_log)
    return LogUniform(low, high) if is_log else Continuous(low, high)


def _values(columns: Sequence[tuple[Parameter, FloatArray]]) -> dict[object, Value]:
    """All choices, and the numbers that are there, by what tells them apart."""
    found: dict[object, Value] = {}
    for parameter, column in columns:
        if parameter.choices is not None:
            found |= {choice_key(choice): choice for choice in parameter.choices}
        else:
            numbers = np.unique(column[~np.isnan(column)]).tolist()
            found |= {choice_key(one): one for one in map(parameter.decode, numbers)}
    return found


def _in(parameter: Parameter, old: Parameter, column: FloatArray) -> FloatArray:
    """Column values (n,) of one parameter as those of one that has all of them."""
    if parameter.choices is None and old.choices is None:
        return column
    codes = {x: _code(parameter, old.decode(x)) for x in np.unique(column[~np.isnan(column)]).tolist()}
    return np.array([codes.get(x, np.nan) for x in column.tolist()])


def _code(parameter: Parameter, value: Value) -> float:
    try:
        return parameter.encode(value)
    except InvalidParameters as error:  # pragma: no cover
        raise AssertionError(f"{parameter!r} was made to have {value!r}") from error
