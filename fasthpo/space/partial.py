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
from fasthpo.values import FloatArray

_STREAM = 1  # of the numbers that complete a point


def encode_partial(space: SearchSpace, params: Mapping[str, Any]) -> FloatArray:
    """The row (d,) of the given parameters, NaN for the others.

    Raises:
        InvalidParameters: a value lies outside the space, or a given parameter is inactive whatever the others are.
    """
    row = space.encode_part(params)
    _allowed_parents(space, row)
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
    """The row (d,) with everything that is not given drawn from the prior; depends on (seed, number) only."""
    if not np.isnan(row).any():
        return row
    allowed = _allowed_parents(space, row)
    unit = uniforms(seed, np.array([number]), _STREAM, len(space))[0]
    full = row.copy()
    for j in space.order:
        if not all(c.allowed.holds(full[c.parent]) for c in space.conditions[j]):
            full[j] = np.nan
        elif np.isnan(row[j]):
            if j in allowed:
                full[j] = _drawn(space.parameters[j], allowed[j], float(unit[j]))
            else:
                full[j] = space.parameters[j].from_unit(unit[j : j + 1])[0]
    return full


def _drawn(parameter: Parameter, allowed: Ranges, unit: float) -> float:
    """The column value at a quantile of those that are allowed."""
    if parameter.count is not None:
        return allowed.value(parameter, int(unit * allowed.count(parameter)))
    assert isinstance(parameter, Numeric)
    low, high = allowed.ends()[0]  # of a continuum there is one range
    first, last = parameter.to_unit(np.array([low, high])).tolist()
    value = float(parameter.from_unit(np.array([first + unit * (last - first)]))[0])
    return min(max(value, low), high)
