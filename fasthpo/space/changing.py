"""Points of one search space as points of another one, in which a study goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters, InvalidSearchSpace, InvalidValue
from fasthpo.space.choice_values import as_choice, choice_key
from fasthpo.space.parameter import Numeric, Parameter, Value
from fasthpo.space.partial import encode_partial
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, exact, shown

_NUMBERS = (int, float)
_SLACK = 1e-6  # of a step, by which a value may miss a parameter's


class Carried(NamedTuple):
    """What points of one space are in another one.

    Attributes:
        rows: in the other space, (n, d); NaN where a point lies outside of it.
        are_inside: whether it is a point of that, (n,).
        are_same: whether all its values are there, and no others, (n,).
        lacking: by name of a parameter, which points, (n,), lie outside only because nobody said what they had there.
    """

    rows: FloatArray
    are_inside: npt.NDArray[np.bool_]
    are_same: npt.NDArray[np.bool_]
    lacking: dict[str, npt.NDArray[np.bool_]]


def carry(
    old: SearchSpace, rows: FloatArray, new: SearchSpace, said: Mapping[str, Value], fixed: Mapping[str, Value]
) -> Carried:
    """Points of one space as points of another: values keep their meaning, a choice is the same choice wherever it is.

    A point lies inside if each value that the new space asks for is one of the parameter's, and the relations hold.
    What is not asked for is left out; where it is fixed from now on, it must have been that.

    Args:
        old: the space of the points.
        rows: the points, (n, d).
        new: the other one.
        said: by name, what these points had of a parameter that they lack.
        fixed: by name, what all points of the new space have where they lack it.

    Raises:
        InvalidSearchSpace: a parameter's values were of another kind.
    """
    n = len(rows)
    found = np.full((n, len(new)), np.nan)
    outside, same = np.zeros(n, np.bool_), np.ones(n, np.bool_)
    lacking: dict[str, npt.NDArray[np.bool_]] = {}
    for j in new.order:
        name, parameter = new.names[j], new.parameters[j]
        active = np.ones(n, np.bool_)
        for condition in new.conditions[j]:
            active &= condition.allowed.hold(found[:, condition.parent])
        had = np.zeros(n, np.bool_)
        if name in old:
            before, column = old[name], rows[:, old.position[name]]
            had = ~np.isnan(column)
            if had.any():
                _check_kind(name, before, parameter)
                values = translated(before, parameter, column)
                found[active, j] = values[active]
                outside |= active & had & np.isnan(values)
                same &= active | ~had
        fresh = active & ~had
        if not fresh.any():
            continue
        same &= ~fresh
        if name not in said:
            lacking[name] = fresh
        elif parameter.contains(said[name]):
            found[fresh, j] = parameter.encode(said[name])
        else:
            outside |= fresh
    for name in old.names:
        if name not in new:
            same &= np.isnan(rows[:, old.position[name]])
    for name in {*said, *fixed}:
        column = rows[:, old.position[name]] if name in old else np.full(n, np.nan)
        lacks = np.isnan(column)
        is_as_said = name in said and name in fixed and choice_key(said[name]) == choice_key(fixed[name])
        if not is_as_said:  # points of the new space that lack it had another value
            same &= ~lacks
        if name in fixed:
            left_out = np.isnan(found[:, new.position[name]]) if name in new else np.ones(n, np.bool_)
            differs = lacks & (name in said and not is_as_said)
            if name in old:
                differs |= ~lacks & ~_equals(old[name], column, fixed[name])
            outside |= left_out & differs
    outside |= ~new.allows(found)
    found[outside] = np.nan
    lacking = {name: some & ~outside for name, some in lacking.items()}
    return Carried(found, ~outside, same & ~outside, {name: some for name, some in lacking.items() if some.any()})


def carry_part(old: SearchSpace, row: FloatArray, new: SearchSpace, fixed: Mapping[str, Value]) -> FloatArray | None:
    """A point of which only some values are given, `row` (d,), in another space; None if it lies outside of it."""
    part = {name: old[name].decode(x) for name, x in zip(old.names, row.tolist(), strict=True) if x == x}
    for name in [name for name in part if name not in new]:
        del part[name]
        if name in fixed and not _equals(old[name], row[[old.position[name]]], fixed[name]).all():
            return None
    try:
        return encode_partial(new, part)
    except InvalidParameters:
        return None


def checked_defaults(defaults: Any) -> dict[str, Value]:
    """What a user said that trials had of parameters that they lack, by name.

    Raises:
        InvalidValue: it is no mapping of names to values that a parameter can have.
    """
    if defaults is None:
        return {}
    if not isinstance(defaults, Mapping):
        raise InvalidValue(f"defaults must map names of parameters to values, got defaults={shown(defaults)}")
    found = {}
    for name, value in defaults.items():
        if not isinstance(name, str):
            raise InvalidValue(f"defaults must map names of parameters to values, got the name {shown(name)}")
        try:
            found[exact(name)] = as_choice(value)
        except InvalidSearchSpace as error:
            raise InvalidValue(f"the default of {name!r} must be a value that a parameter can have: {error}") from None
    return found


def check_known(defaults: Mapping[str, Value], spaces: list[SearchSpace]) -> None:
    """Make sure that defaults are of parameters that some space has, and of their kind.

    Raises:
        InvalidValue: one is not.
    """
    for name, value in defaults.items():
        having = [space[name] for space in spaces if name in space]
        if not having:
            names = list(dict.fromkeys(name for space in spaces for name in space))
            raise InvalidValue(f"defaults name {name!r}, which no space of the study has or had; these do: {names}")
        numbers_only = all(parameter.choices is None for parameter in having)
        if numbers_only and (type(value) not in _NUMBERS or value != value):
            raise InvalidValue(f"the default of {name!r} must be a number, as its values are, got {shown(value)}")


def translated(old: Parameter, new: Parameter, column: FloatArray) -> FloatArray:
    """Column values (n,) of one parameter as ones of another; NaN where that has no such value, or none was there."""
    if old._identity()[:2] == new._identity()[:2] and old.bounds == new.bounds:
        return column
    found = np.full(len(column), np.nan)
    if old.choices is not None:
        codes = np.array([_encoded(new, choice) for choice in old.choices])
        had = ~np.isnan(column)
        found[had] = codes[column[had].astype(np.int64)]
        return found
    if new.choices is not None:
        values, place = np.unique(column, return_inverse=True)
        codes = np.array([np.nan if x != x else _encoded(new, old.decode(x)) for x in values.tolist()])
        return codes[place] if len(values) else found
    low, high = new.bounds
    with np.errstate(invalid="ignore"):
        fits = (column >= low) & (column <= high)
    if new.lattice is None or low == high:
        found[fits] = column[fits]
        return found
    step = getattr(new, "step", None) or 1.0
    with np.errstate(invalid="ignore"):
        near = np.flatnonzero((column >= low - _SLACK * step) & (column <= high + _SLACK * step))
    values = new.at(new.cell(np.clip(column[near], low, high)))
    is_one = values == column[near]
    found[near[is_one]] = values[is_one]
    for i in near[~is_one].tolist():
        found[i] = _encoded(new, old.decode(column[i]))
    return found


def _encoded(parameter: Parameter, value: Value) -> float:
    """The column value of a value; NaN if it is none of the parameter's."""
    if isinstance(parameter, Numeric) and type(value) not in _NUMBERS:
        return np.nan
    try:
        return parameter.encode(value)
    except InvalidParameters:
        return np.nan


def _equals(parameter: Parameter, column: FloatArray, value: Value) -> npt.NDArray[np.bool_]:
    """Where a column (n,) has a value."""
    equal: npt.NDArray[np.bool_] = column == _encoded(parameter, value)
    return equal


def _check_kind(name: str, before: Parameter, now: Parameter) -> None:
    """Make sure that values can be the same, of numbers and of choices."""
    if (before.choices is None) == (now.choices is None):
        return
    choices = before.choices or now.choices or ()
    if not any(type(choice) in _NUMBERS for choice in choices):
        raise InvalidSearchSpace(
            f"{name!r} was {before!r} and can't become {now!r}: no value of the one is a value of the other; give the "
            "new parameter another name"
        )
