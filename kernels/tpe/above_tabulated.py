"""The density g of each parameter for itself, tabulated: an ask and a tell cost the same after any number of trials.

As all kernels of g have one bandwidth, their sum over the observations is a smooth function on the unit axis, kept on
a grid and interpolated. Categorical and COARSE parameters are counted by cell. Sums are kept as integers (fixed point),
so that they do not depend on the order in which observations came, and taking one out leaves no trace: a table is a
function of the set of observations, which makes a resumed study go on bit for bit.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import ByteArray, FloatArray, IntArray
from ..axes import CATEGORICAL, COARSE, CONSTANT, CONTINUOUS, COUNT, KIND, coordinate_of_value, has_cells
from ..compiling import kernel
from ..exponential import exponential, logarithm
from ..normal import LOG_SQRT_2_PI
from .densities import Above, Tables
from .parzen import COORDINATE, EDGE_HIGH, EDGE_LOW, PRIOR, log_inside

POINTS = 209  # of the grid: 31 a bandwidth of 0.15; interpolated over six of them, exact to 1e-9
_WAITING = 4  # of `TrialState`
_SPACING = 1.0 / (POINTS - 1.0)
_SCALE = 2.0**38  # a kernel is at most 2^3 high, so that 2^22 (four million) of them fit into 63 bits
# three-point Gauss-Legendre quadrature on [-1, 1], for the mass of a cell
_NODE = 0.7745966692414834
_OUTER = 5.0 / 18.0
_INNER = 8.0 / 18.0


@kernel(fastmath={"contract"})
def add_kernel(table: IntArray, position: float, bandwidth: float, sign: int) -> None:
    """Add (sign = 1) or take out (-1) one observation's kernel.

    Args:
        table: int64 (POINTS,), changed.
        position: of the observation, in [0, 1].
        bandwidth: of the kernel.
        sign: 1 or -1.
    """
    height = math.exp(-log_inside(position, bandwidth) - math.log(bandwidth) - LOG_SQRT_2_PI) * _SCALE
    factor = 0.5 / (bandwidth * bandwidth)
    for p in range(POINTS):
        difference = p * _SPACING - position
        table[p] += sign * int(height * exponential(-factor * difference * difference) + 0.5)


@kernel
def count_observations(
    axes: FloatArray,
    bandwidth: float,
    params: FloatArray,
    states: ByteArray,
    first: int,
    last: int,
    sign: int,
    tables: Tables,
) -> None:
    """Observations begin to count, or cease to: add them to the tables, or take them out.

    Args:
        axes: (d, 10).
        bandwidth: of all numeric kernels.
        params: column values (d, n), NaN where inactive.
        states: of the trials, int8 (n,); those that are WAITING are left out.
        first, last: which trials, from `first` to before `last`.
        sign: 1 to add, -1 to take out.
        tables: changed.
    """
    for k in range(first, last):
        if states[k] == _WAITING:
            continue
        for j in range(len(axes)):
            coordinate = coordinate_of_value(axes[j], params[j, k])
            if coordinate != coordinate:
                continue
            tables.active[j] += sign
            kind = axes[j, KIND]
            if has_cells(axes[j]):
                tables.histogram[tables.starts[j] + int(coordinate)] += sign
            elif kind != CONSTANT:
                add_kernel(tables.sums[j], coordinate, bandwidth, sign)


@kernel
def interpolate(table: IntArray, position: float) -> float:
    """The sum of kernels at a position, by Lagrange's formula over six points of the grid."""
    at = position * (POINTS - 1.0)
    first = min(max(int(at) - 2, 0), POINTS - 6)
    a = at - first  # the distances from the six points
    b, c, d, e, f = a - 1.0, a - 2.0, a - 3.0, a - 4.0, a - 5.0
    ab, cd, ef = a * b, c * d, e * f
    total = cd * ef * (a * table[first + 1] / 24.0 - b * table[first] / 120.0)
    total += ab * ef * (c * table[first + 3] - d * table[first + 2]) / 12.0
    total += ab * cd * (e * table[first + 5] / 120.0 - f * table[first + 4] / 24.0)
    return max(total, 0.0) / _SCALE


@kernel
def tabulated_mass(table: IntArray, low: float, high: float) -> float:
    """The sum of the kernels' masses from `low` to `high`."""
    middle = 0.5 * (low + high)
    reach = 0.5 * (high - low) * _NODE
    outer = interpolate(table, max(middle - reach, 0.0)) + interpolate(table, min(middle + reach, 1.0))
    return (high - low) * (_OUTER * outer + _INNER * interpolate(table, middle))


@kernel
def add_densities(
    axis: FloatArray,
    table: IntArray,
    histogram: IntArray,
    active: int,
    components: float,
    cells: FloatArray,
    query: FloatArray,
    sums: FloatArray,
) -> None:
    """sums += the sum of all kernels of one axis at each active candidate, relative to the prior.

    Args:
        axis: (8,); not CONSTANT.
        table: (POINTS,).
        histogram: of the axis's cells or choices.
        active: how many observations are active on this axis.
        components: how many observations there are, the prior included.
        cells: (c, c); see `parzen.tabulate_cells`.
        query: (4, m); see `parzen.describe`.
        sums: (m,), changed.
    """
    kind = axis[KIND]
    weight = 1.0 / components
    for i in range(len(sums)):
        x = query[COORDINATE, i]
        if x != x:
            continue
        if kind == CATEGORICAL:
            same = histogram[int(x)]
            # own and other probability (see `parzen.log_choice`), times the number of choices
            sums[i] += axis[COUNT] * (same * (1.0 + weight) + (active - same) * weight) / (1.0 + axis[COUNT] * weight)
        elif kind == COARSE:
            for c in range(len(histogram)):
                sums[i] += histogram[c] * exponential(cells[c, int(x)])
        elif kind == CONTINUOUS:
            sums[i] += interpolate(table, x) * exponential(-query[PRIOR, i])
        else:
            mass = tabulated_mass(table, query[EDGE_LOW, i], query[EDGE_HIGH, i])
            sums[i] += mass * exponential(-query[PRIOR, i])


@kernel
def above_independent(
    axes: FloatArray, above: Above, queries: FloatArray, log_below: FloatArray, scores: FloatArray
) -> None:
    """Scores log l - log g of candidates where every parameter has a mixture of its own.

    A parameter's mixture holds the observations in which it is active, and the prior.

    Args:
        axes: (d, 10).
        above: g.
        queries: the candidates, (d, 4, m); see `parzen.describe`.
        log_below: log(l / prior) of the candidates, (m,).
        scores: (m,), written.
    """
    tables = above.tables
    histogram, starts, active = tables.histogram, tables.starts, tables.active
    m = len(scores)
    sums = np.empty(m)
    for i in range(m):
        scores[i] = log_below[i]
    for j in range(len(axes)):
        kind = axes[j, KIND]
        if kind == CONSTANT:
            continue
        last = starts[j] + int(axes[j, COUNT]) if has_cells(axes[j]) else starts[j]
        own = histogram[starts[j] : last]
        for i in range(m):
            sums[i] = 1.0
        add_densities(axes[j], tables.sums[j], own, active[j], above.components, above.cells[j], queries[j], sums)
        subtract_log_ratio(queries[j, COORDINATE], sums, active[j] + 1.0, scores)


@kernel(fastmath={"contract"})
def subtract_log_ratio(x: FloatArray, sums: FloatArray, scale: float, scores: FloatArray) -> None:
    """scores -= log(sums / scale) where the candidate x is active."""
    for i in range(len(x)):
        scores[i] -= logarithm(sums[i] / scale) if x[i] == x[i] else 0.0
