"""Points of which only some parameters are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fasthpo.errors import InvalidParameters
from fasthpo.kernels.streams import uniforms
from fasthpo.space.parameter import Numeric, Parameter
from fasthpo.space.ranges import Ranges
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, shown

_STREAM = 1  # of the numbers that complete a point
_MOST_ATTEMPTS = 2**18
_MOST_AT_ONCE = 2**12


def encode_partial(space: SearchSpace, params: Mapping[str, Any]) -> FloatArray:
    """The row (d,) of the given parameters, NaN for the others.

    Raises:
        InvalidParameters: a value lies outside the space, or a given parameter is inactive whatever the others are.
    """
    row = space.encode_part(params)
    _allowed_parents(space, row)
    space._check_relations(row[None, :])  # what is given decides some, whatever the rest is
    if space.relations and completed_row(space, row, 0, 0) is None:
        raise InvalidParameters(
            f"none of {_MOST_ATTEMPTS} random values for the other parameters keeps to all of "
            f"{', '.join(map(repr, space.relations))} with {shown(dict(params))}"
        )
    return row


def _allowed_parents(space: SearchSpace, row: FloatArray) -> dict[int, Ranges]:
    """The values that parents which are not given may take, so that each given parameter is active."""
    allowed: dict[int, Ranges] = {}
    for j in reversed(space.order):
        if np.isnan(row[j]) and j not in allowed:
            continue
        for condition in space.conditions[j]:
            parent = condition.parent
            if np.isnan(row[parent]):
                known = allowed.get(parent)
                allowed[parent] = condition.allowed if known is None else known.common(condition.allowed)
            elif not condition.allowed.holds(row[parent]):
                allowed[parent] = Ranges.between(1.0, 0.0)
            if parent in allowed and not allowed[parent]:
                raise InvalidParameters(
                    f"{space.names[j]!r} needs {dict(space.parameters[j].when)}, which the other values given exclude"
                )
    return allowed


def complete_row(space: SearchSpace, row: FloatArray, seed: int, number: int) -> FloatArray:
    """The row (d,) with everything that is not given drawn from the prior; depends on (seed, number) only.

    What is drawn is drawn anew while it breaks a relation. Where nothing is to be drawn, the row is as it was: that of
    a trial that runs again may break a relation that was told since it began.
    """
    if _is_complete(space, row):
        return row
    full = completed_row(space, row, seed, number)
    if full is None:
        full = completed_row(space, row, 0, 0)  # as when the point was let in
        assert full is not None
    return full


def _is_complete(space: SearchSpace, row: FloatArray) -> bool:
    """Whether all active parameters are given."""
    return not any(
        all(condition.allowed.holds(row[condition.parent]) for condition in space.conditions[j])
        for j in np.flatnonzero(np.isnan(row)).tolist()
    )


def completed_row(
    space: SearchSpace, row: FloatArray, seed: int, number: int, attempts: int = _MOST_ATTEMPTS
) -> FloatArray | None:
    """The same; None if each of many attempts breaks a relation."""
    allowed = _allowed_parents(space, row)
    first = uniforms(seed, np.array([number]), _STREAM, len(space))
    full = _filled(space, row, allowed, first)
    if space.allows(full)[0]:
        found: FloatArray = full[0]
        return found
    chosen = first[0]
    for group in space._groups:
        width, place = 16, 0
        holds = group.hold(full)
        while not holds.any():
            place += len(holds)
            if place >= attempts:
                return None
            units = uniforms(seed, number + (np.arange(place, place + width) << 32), _STREAM, len(space))
            holds = group.hold(_filled(space, row, allowed, units))
            if holds.any():
                chosen[group.parameters] = units[holds.argmax(), group.parameters]
            width = min(2 * width, _MOST_AT_ONCE)
    found = _filled(space, row, allowed, chosen[None, :])[0]
    return found


def _filled(space: SearchSpace, row: FloatArray, allowed: dict[int, Ranges], units: FloatArray) -> FloatArray:
    """Rows (n, d): the given values of `row` (d,), all others from the prior at quantiles (n, d)."""
    full = np.tile(row, (len(units), 1))
    for j in space.order:
        if np.isnan(row[j]):
            if j in allowed:
                full[:, j] = _drawn(space.parameters[j], allowed[j], units[:, j])
            else:
                full[:, j] = space._drawn(j, units[:, j], full)
        for condition in space.conditions[j]:
            full[~condition.allowed.hold(full[:, condition.parent]), j] = np.nan
    return full


def _drawn(parameter: Parameter, allowed: Ranges, units: FloatArray) -> FloatArray:
    """The column values at quantiles (n,) of those that are allowed."""
    if parameter.count is not None:
        return allowed.values(parameter, (units * allowed.count(parameter)).astype(np.int64))
    assert isinstance(parameter, Numeric)
    low, high = allowed.ends()[0]  # of a continuum there is one range
    first, last = parameter.to_unit(np.array([low, high])).tolist()
    values: FloatArray = np.clip(parameter.from_unit(first + units * (last - first)), low, high)
    return values
