"""Candidates drawn from l."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, Space, WordArray
from ..axes import (
    CATEGORICAL,
    COARSE,
    CONSTANT,
    CONTINUOUS,
    COUNT,
    KIND,
    cell_at,
    deciding,
    is_active,
    position_of_value,
    value_of_cell,
)
from ..compiling import kernel
from ..normal import truncated_normal
from ..uniforms import fill_uniforms
from .densities import Below
from .parzen import BANDWIDTH, LOWER, MASS, POINT, POSITION, PRIOR_BANDWIDTH, PRIOR_LOWER, PRIOR_MASS, PRIOR_POSITION


@kernel
def pick(cumulative: FloatArray, unit: float) -> int:
    """The index of a component, drawn by the cumulative weights with a uniform number."""
    last = len(cumulative) - 1
    threshold = unit * cumulative[last]
    k = 0
    while k < last and cumulative[k] <= threshold:
        k += 1
    return k


@kernel
def draw_coordinate(axis: FloatArray, points: FloatArray, k: int, unit: float) -> float:
    """A draw from kernel k of one axis's points (6, b), with a uniform number.

    From the prior if k is past the points, or inactive there.
    """
    b = points.shape[1]
    is_prior = k >= b or points[POINT, k] != points[POINT, k]
    kind = axis[KIND]
    if kind == CONSTANT:
        return 0.0
    if kind == CATEGORICAL:
        own = 0.0 if is_prior else 1.0 / (1.0 + axis[COUNT] / (b + 1.0))
        if unit < own:
            return points[POINT, k]
        return min(math.floor((unit - own) / (1.0 - own) * axis[COUNT]), axis[COUNT] - 1.0)
    if is_prior:
        x = truncated_normal(PRIOR_POSITION, PRIOR_BANDWIDTH, PRIOR_LOWER, PRIOR_MASS, unit)
    else:
        x = truncated_normal(points[POSITION, k], points[BANDWIDTH, k], points[LOWER, k], points[MASS, k], unit)
    if kind == CONTINUOUS:
        return x
    cell = cell_at(axis, x)
    return cell if kind == COARSE else position_of_value(axis, value_of_cell(axis, cell))


@kernel
def draw_candidates(
    space: Space, below: Below, joint: bool, kept: float, key: WordArray, candidates: FloatArray
) -> None:
    """Draw candidates from l.

    Args:
        space, below: the search space and l.
        joint: take all parameters of a candidate from one kernel; else draw a kernel anew for each.
        kept: the share of parameters that are not drawn but those of the first point, from 0 to below 1; it must be 0
            if `joint`.
        key: of the random stream; see `fill_uniforms`.
        candidates: coordinates (m, d), written; NaN where inactive.
    """
    axes, conditions, points, cumulative = space.axes, space.conditions, below.points, below.cumulative
    m, d = candidates.shape
    numbers = np.empty(m * 2 * (d + 1))
    fill_uniforms(key, numbers)
    decided = np.empty(d)
    for i in range(m):
        # a candidate's numbers, two for itself and two a parameter, do not depend on what was drawn before
        units = numbers[i * 2 * (d + 1) : (i + 1) * 2 * (d + 1)]
        component = pick(cumulative, units[0])
        for j in range(d):
            decided[j] = np.nan
        for j in space.order:
            candidates[i, j] = np.nan
            if len(conditions) and not is_active(j, decided, conditions, space.allowed):
                continue
            unit = units[2 * j + 2]
            if unit < kept and points.shape[2] > 0 and points[j, POINT, 0] == points[j, POINT, 0]:
                candidates[i, j] = points[j, POINT, 0]
            else:
                unit = unit / kept if unit < kept else (unit - kept) / (1.0 - kept)
                k = component if joint else pick(cumulative, unit)
                candidates[i, j] = draw_coordinate(axes[j], points[j], k, units[2 * j + 3])
            if len(conditions):
                decided[j] = deciding(axes[j], candidates[i, j])
