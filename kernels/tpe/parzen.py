"""Parzen density estimation on the axes of a search space (see `kernels/axes.py`): kernels and their bandwidths.

The kernel of a numeric observation is a Gaussian truncated to the axis; that of a cell is its mass over the cell. The
prior component of a numeric axis is such a kernel at its middle, as wide as the axis (Bergstra et al., Algorithms for
hyper-parameter optimization, NeurIPS 2011; Watanabe, Tree-structured Parzen estimator, arXiv 2304.11127, section 3.3).
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, IntArray
from ..axes import (
    COARSE,
    CONTINUOUS,
    COUNT,
    KIND,
    cell_edges,
    cell_of_coordinate,
    coordinate_of_value,
    is_numeric,
    position_of_coordinate,
    position_of_value,
    value_of_cell,
)
from ..compiling import kernel
from ..exponential import logarithm
from ..normal import LOG_SQRT_2_PI, between, between_inlined

# rows of `points`, (d, 6, b): coordinate of a point, and of its kernel on a numeric axis the position, the bandwidth,
# the log of its height (1 / Z for a cell, 1 / (Z bandwidth sqrt(2 pi)) on a CONTINUOUS axis), the mass that the
# Gaussian has below the axis, and Z, that on the axis
POINT, POSITION, BANDWIDTH, HEIGHT, LOWER, MASS = range(6)

# rows of `queries`, (d, 4, m): coordinate of a candidate, the edges of its cell (FINE and COARSE), and the log density
# (mass) of the prior there
COORDINATE, EDGE_LOW, EDGE_HIGH, PRIOR = range(4)

PRIOR_POSITION = 0.5
PRIOR_BANDWIDTH = 1.0
PRIOR_LOWER = 0.3085375387259869  # Phi(-1/2)
PRIOR_MASS = 0.38292492254802624
PRIOR_LOG_INSIDE = -0.9599163336956223  # log(Phi(1/2) - Phi(-1/2)): what log_inside gives for the prior
LEAST_MASS = 1e-300  # keeps the logarithm of a cell's mass finite, and normal


@kernel
def log_inside(position: float, bandwidth: float) -> float:
    """log Z: the logarithm of the mass that a Gaussian at `position` in [0, 1] has on the unit axis."""
    return math.log(between(-position / bandwidth, (1.0 - position) / bandwidth))


@kernel
def describe(axes: FloatArray, candidates: FloatArray, queries: FloatArray) -> None:
    """Write `queries` (d, 4, m) of candidates whose coordinates are `candidates` (m, d).

    Of an inactive one only the coordinate has a meaning; its cell is the whole axis, so that sums over it stay finite.
    """
    for j in range(len(axes)):
        axis, query = axes[j], queries[j]
        for i in range(len(candidates)):
            query[COORDINATE, i] = candidates[i, j]
        kind = axis[KIND]
        if not is_numeric(axis):
            for i in range(len(candidates)):
                query[PRIOR, i] = -math.log(axis[COUNT])
        elif kind == CONTINUOUS:
            for i in range(len(candidates)):
                z = query[COORDINATE, i] - PRIOR_POSITION
                query[PRIOR, i] = -0.5 * z * z - LOG_SQRT_2_PI - PRIOR_LOG_INSIDE
        else:
            for i in range(len(candidates)):
                low, high = 0.0, 1.0
                if query[COORDINATE, i] == query[COORDINATE, i]:
                    low, high = cell_edges(axis, cell_of_coordinate(axis, query[COORDINATE, i]))
                query[EDGE_LOW, i], query[EDGE_HIGH, i] = low, high
            set_prior_masses(query[EDGE_LOW], query[EDGE_HIGH], query[PRIOR])


@kernel(fastmath={"contract"})
def set_prior_masses(lows: FloatArray, highs: FloatArray, priors: FloatArray) -> None:
    """priors = log of the mass of the prior in cells from `lows` to `highs`."""
    for i in range(len(lows)):
        mass = between_inlined(lows[i] - PRIOR_POSITION, highs[i] - PRIOR_POSITION)
        priors[i] = logarithm(max(mass, LEAST_MASS)) - PRIOR_LOG_INSIDE


@kernel
def cell_masses(axis: FloatArray, position: float, bandwidth: float, masses: FloatArray) -> None:
    """log(mass / prior mass) of each cell of a COARSE axis under a kernel; (c,), written."""
    norm = log_inside(position, bandwidth)
    for cell in range(int(axis[COUNT])):
        low, high = cell_edges(axis, float(cell))
        prior = math.log(between(low - PRIOR_POSITION, high - PRIOR_POSITION)) - PRIOR_LOG_INSIDE
        mass = between((low - position) / bandwidth, (high - position) / bandwidth)
        masses[cell] = math.log(max(mass, LEAST_MASS)) - norm - prior


@kernel
def tabulate_cells(axes: FloatArray, bandwidth: float, cells: FloatArray) -> None:
    """`cell_masses` of the COARSE axes under an observation in each cell, at one bandwidth.

    Args:
        axes: (d, 10).
        bandwidth: of the kernels.
        cells: (d, c, c), c at least the most cells of an axis, [axis, observed cell, cell], written.
    """
    for j in range(len(axes)):
        if axes[j, KIND] == COARSE:
            for observed in range(int(axes[j, COUNT])):
                position = position_of_value(axes[j], value_of_cell(axes[j], float(observed)))
                cell_masses(axes[j], position, bandwidth, cells[j, observed])


@kernel
def log_choice(count: float, components: float, is_own: bool) -> float:
    """The log probability of a choice under one categorical observation among `components` (the prior counted)."""
    weight = 1.0 / components
    return math.log(((1.0 if is_own else 0.0) + weight) / (1.0 + count * weight))


@kernel
def neighbour_bandwidths(positions: FloatArray, active: FloatArray, least: float, bandwidths: FloatArray) -> None:
    """Bandwidths of the kernels of a few points on one axis, from the gaps between them.

    A kernel is as wide as the larger of the gaps to its neighbours (outermost points look inward only; a single point
    looks to the ends of the axis), at least `least` and at most the whole axis.

    Args:
        positions: of the points (b,).
        active: coordinates of the points (b,), NaN where inactive: these are left out.
        least: smallest bandwidth.
        bandwidths: (b,), written.
    """
    b = len(positions)
    order = np.empty(b, np.int64)
    n = 0
    for k in range(b):  # insertion sort of the active points
        if active[k] != active[k]:
            continue
        place = n
        while place > 0 and positions[order[place - 1]] > positions[k]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = k
        n += 1
    for r in range(n):
        here = positions[order[r]]
        if n == 1:
            gap = max(here, 1.0 - here)
        else:
            below = here - positions[order[r - 1]] if r > 0 else 0.0
            above = positions[order[r + 1]] - here if r < n - 1 else 0.0
            gap = max(below, above)
        bandwidths[order[r]] = min(max(gap, least), PRIOR_BANDWIDTH)


@kernel
def fit(
    axes: FloatArray,
    params: FloatArray,
    numbers: IntArray,
    least: float,
    old_numbers: IntArray,
    old_points: FloatArray,
    old_masses: FloatArray,
    points: FloatArray,
    masses: FloatArray,
) -> None:
    """Make the kernels of a few points, each with a bandwidth of its own.

    When a point comes and another goes, only their neighbours' bandwidths change: all other kernels are taken over.

    Args:
        axes: (d, 10).
        params: column values of all trials (d, n), NaN where inactive.
        numbers: which trials are the points, int64 (b,).
        least: smallest bandwidth.
        old_numbers, old_points, old_masses: what was made before, of these parameters (a,), (d, 6, a), (d, a, c).
        points: (d, 6, b), written; see above.
        masses: `cell_masses` of the COARSE axes under each point, (d, b, c), written.
    """
    olds = np.empty(len(numbers), np.int64)
    for k in range(len(numbers)):
        olds[k] = -1
        for o in range(len(old_numbers)):
            if old_numbers[o] == numbers[k]:
                olds[k] = o
    for j in range(len(axes)):
        axis, point, old = axes[j], points[j], old_points[j]
        for k in range(len(numbers)):
            known = olds[k] >= 0
            point[POINT, k] = old[POINT, olds[k]] if known else coordinate_of_value(axis, params[j, numbers[k]])
        if not is_numeric(axis):
            continue
        for k in range(len(numbers)):
            known = olds[k] >= 0
            point[POSITION, k] = old[POSITION, olds[k]] if known else position_of_coordinate(axis, point[POINT, k])
        neighbour_bandwidths(point[POSITION], point[POINT], least, point[BANDWIDTH])
        for k in range(len(numbers)):
            if point[POINT, k] == point[POINT, k]:
                if olds[k] >= 0 and old[BANDWIDTH, olds[k]] == point[BANDWIDTH, k]:
                    for row in (HEIGHT, LOWER, MASS):
                        point[row, k] = old[row, olds[k]]
                    for cell in range(int(axis[COUNT]) if axis[KIND] == COARSE else 0):
                        masses[j, k, cell] = old_masses[j, olds[k], cell]
                    continue
                position, bandwidth = point[POSITION, k], point[BANDWIDTH, k]
                point[LOWER, k] = between(-math.inf, -position / bandwidth)
                point[MASS, k] = between(-position / bandwidth, (1.0 - position) / bandwidth)
                point[HEIGHT, k] = -math.log(point[MASS, k])
                if axis[KIND] == CONTINUOUS:
                    point[HEIGHT, k] -= math.log(bandwidth) + LOG_SQRT_2_PI
                elif axis[KIND] == COARSE:
                    cell_masses(axis, position, bandwidth, masses[j, k])
