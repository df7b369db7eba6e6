"""Points of which only some parameters are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fasthpo.errors import InvalidParameters
from fasthpo.kernels.streams import uniforms
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


def _allowed_parents(space: SearchSpace, row: FloatArray) -> dict[int, FloatArray]:
    """The values that parents which are not given may take, so that each given parameter is active."""
    allowed: dict[int, FloatArray] = {}
    for j in reversed(space.order):
        if np.isnan(row[j]) and j not in allowed:
            continue
        for condition in space.conditions[j]:
            parent = condition.parent
            if np.isnan(row[parent]):
                allowed[parent] = np.intersect1d(allowed.get(parent, condition.allowed), condition.allowed)
            elif row[parent] not in condition.allowed:
                allowed[parent] = np.empty(0)
            if parent in allowed and not len(allowed[parent]):
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
        if not all((full[c.parent] == c.allowed).any() for c in space.conditions[j]):
            full[j] = np.nan
        elif np.isnan(row[j]):
            if j in allowed:
                full[j] = allowed[j][int(unit[j] * len(allowed[j]))]
            else:
                full[j] = space.parameters[j].from_unit(unit[j : j + 1])[0]
    return full
