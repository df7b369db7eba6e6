"""Candidate scoring: log l(x) - log g(x), and what it is made of.

l is the density of the few *below* points, g that of the many *above* points; both are taken relative to the prior
density of the space, so that the prior component of a mixture is exactly 1 and sums need no scaling. The kernels of g
all have one bandwidth, so an observation enters it by a single exponential over all axes.

The joint density of a point, given an observation, is a product over the parameters that are active in the point;
where a parameter is active in the point but not in the observation, the factor is the prior. As the parents say which
parameters are active, this integrates to 1 over a tree of conditions.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import kernel
from .exponential import exponential
from .parzen import (
    CATEGORICAL,
    COARSE,
    CONSTANT,
    CONTINUOUS,
    COUNT,
    FINE,
    KIND,
    LEAST_MASS,
    between,
    cell_edges,
    cell_log_masses,
    cell_of_coordinate,
    draw_candidates,
    log_choice,
    log_inside,
    log_prior,
    neighbour_bandwidths,
    observe,
    position_of_coordinate,
    value_of_coordinate,
)
from .tables import above_independent

_LOG_SQRT_2_PI = 0.9189385332046727
_TILE = 256  # observations whose exponents are summed up together: they stay in the first-level cache
# sums may be reordered, products and sums contracted; NaN and infinities keep their meaning
_FAST = {"reassoc", "contract", "nsz", "arcp"}


@kernel
def prepare_points(axes, points, bandwidths, positions, log_norms):  # type: ignore[no-untyped-def]
    """What the kernels of a few points need for every candidate alike.

    Args:
        axes: (d, 8).
        points, bandwidths: (d, b).
        positions: of the points on numeric axes, (d, b), written.
        log_norms: log Z of a numeric kernel, and of a continuous one log(bandwidth sqrt(2 pi)) too, (d, b), written.
    """
    d, b = points.shape
    for j in range(d):
        kind = axes[j, KIND]
        if kind in (CATEGORICAL, CONSTANT):
            continue
        for k in range(b):
            if points[j, k] == points[j, k]:
                positions[j, k] = position_of_coordinate(axes[j], points[j, k])
                log_norms[j, k] = log_inside(positions[j, k], bandwidths[j, k])
                if kind == CONTINUOUS:
                    log_norms[j, k] += math.log(bandwidths[j, k]) + _LOG_SQRT_2_PI


@kernel
def add_choice(exponents, coordinates, x, own, other):  # type: ignore[no-untyped-def]
    """exponents += own or other, as the observation's choice is x or not; nothing where it is inactive."""
    for t in range(len(exponents)):
        coordinate = coordinates[t]
        if coordinate == x:
            exponents[t] += own
        elif coordinate == coordinate:
            exponents[t] += other


@kernel
def add_log_relative(axis, points, bandwidths, positions, log_norms, x, terms):  # type: ignore[no-untyped-def]
    """Add log(kernel / prior) at coordinate x of one axis to `terms` (b,), of each point that is active there."""
    kind = axis[KIND]
    if kind == CONSTANT:
        return
    prior = log_prior(axis, x)
    b = len(points)
    if kind == CATEGORICAL:
        own = log_choice(axis[COUNT], b + 1.0, True) - prior
        other = log_choice(axis[COUNT], b + 1.0, False) - prior
        add_choice(terms, points, x, own, other)
    elif kind == CONTINUOUS:
        for k in range(b):
            if points[k] == points[k]:
                z = (x - positions[k]) / bandwidths[k]
                terms[k] -= 0.5 * z * z + log_norms[k] + prior
    else:
        low, high = cell_edges(axis, cell_of_coordinate(axis, x))
        for k in range(b):
            if points[k] == points[k]:
                mass = between((low - positions[k]) / bandwidths[k], (high - positions[k]) / bandwidths[k])
                terms[k] += math.log(max(mass, LEAST_MASS)) - log_norms[k] - prior


@kernel
def log_sum(terms, weights):  # type: ignore[no-untyped-def]
    """log of sum(weights * exp(terms)) / sum(weights), scaled by the largest term."""
    largest = terms[0]
    for k in range(1, len(terms)):
        largest = max(largest, terms[k])
    total = 0.0
    scale = 0.0
    for k in range(len(terms)):
        total += weights[k] * math.exp(terms[k] - largest)
        scale += weights[k]
    return largest + math.log(total / scale)


@kernel
def below_joint(axes, points, bandwidths, weights, candidates, out):  # type: ignore[no-untyped-def]
    """log(l / prior) of each candidate under the product kernels of a few points.

    Args:
        axes: (d, 8).
        points, bandwidths: (d, b).
        weights: of the points and, last, the prior, (b + 1,).
        candidates: coordinates (m, d), NaN where inactive.
        out: (m,), written.
    """
    d, b = points.shape
    positions = np.empty((d, b))
    log_norms = np.empty((d, b))
    prepare_points(axes, points, bandwidths, positions, log_norms)
    terms = np.empty(b + 1)
    for i in range(len(candidates)):
        for k in range(b + 1):
            terms[k] = 0.0
        for j in range(d):
            x = candidates[i, j]
            if x == x:
                add_log_relative(axes[j], points[j], bandwidths[j], positions[j], log_norms[j], x, terms[:b])
        out[i] = log_sum(terms, weights)


@kernel
def below_independent(axes, points, bandwidths, weights, candidates, out):  # type: ignore[no-untyped-def]
    """log(l / prior) of each candidate where every parameter has a mixture of its own.

    A parameter's mixture holds the points in which it is active, and the prior. Arguments as `below_joint`.
    """
    d, b = points.shape
    positions = np.empty((d, b))
    log_norms = np.empty((d, b))
    prepare_points(axes, points, bandwidths, positions, log_norms)
    terms = np.zeros(b + 1)
    active = np.zeros(b + 1)
    active[b] = weights[b]
    for i in range(len(candidates)):
        out[i] = 0.0
        for j in range(d):
            x = candidates[i, j]
            if x != x or axes[j, KIND] == CONSTANT:
                continue
            for k in range(b):
                terms[k] = 0.0
            add_log_relative(axes[j], points[j], bandwidths[j], positions[j], log_norms[j], x, terms[:b])
            for k in range(b):
                active[k] = weights[k] if points[j, k] == points[j, k] else 0.0
            out[i] += log_sum(terms, active)


@kernel
def above_constants(axis, coordinate, bandwidth):  # type: ignore[no-untyped-def]
    """(c, v, x) such that log(kernel / prior) of a numeric observation at p is c - v (x - p)^2 - log Z(p).

    For a FINE axis the mass of the cell is its width times the density, at its middle x, of a Gaussian as wide as the
    kernel convolved with the cell: of variance bandwidth^2 + width^2 / 12. For a cell as wide as the bandwidth that is
    off by 0.1 % in the middle of the kernel and by less than 1 % at three bandwidths; narrower cells are closer.
    """
    variance = bandwidth * bandwidth
    width = 1.0
    middle = coordinate
    if axis[KIND] == FINE:
        low, high = cell_edges(axis, cell_of_coordinate(axis, coordinate))
        width = high - low
        middle = 0.5 * (low + high)
        variance += width * width / 12.0
    constant = math.log(width) - 0.5 * math.log(variance) - _LOG_SQRT_2_PI - log_prior(axis, coordinate)
    return constant, 0.5 / variance, middle


@kernel(fastmath=_FAST)
def subtract_squares(exponents, coordinates, x, factor):  # type: ignore[no-untyped-def]
    """exponents -= factor (x - coordinates)^2, over the observations of one unconditional axis."""
    for t in range(len(exponents)):
        difference = x - coordinates[t]
        exponents[t] -= factor * difference * difference


@kernel(fastmath=_FAST)
def add_conditional(exponents, coordinates, log_norms, x, constant, factor):  # type: ignore[no-untyped-def]
    """exponents += constant + log_norms - factor (x - coordinates)^2 where the observation is active."""
    for t in range(len(exponents)):
        difference = x - coordinates[t]
        term = constant + log_norms[t] - factor * difference * difference
        exponents[t] += term if coordinates[t] == coordinates[t] else 0.0


@kernel
def add_cells(exponents, coordinates, log_masses):  # type: ignore[no-untyped-def]
    """exponents += log_masses[cell]; nothing where the observation is inactive."""
    for t in range(len(exponents)):
        if coordinates[t] == coordinates[t]:
            exponents[t] += log_masses[int(coordinates[t])]


@kernel(fastmath=_FAST)
def sum_exponentials(exponents, constant):  # type: ignore[no-untyped-def]
    """sum of exp(exponents + constant)."""
    total = 0.0
    for t in range(len(exponents)):
        total += exponential(exponents[t] + constant)
    return total


@kernel
def above_joint(  # type: ignore[no-untyped-def]
    axes, conditional, bandwidth, coordinates, log_norms, offsets, components, candidates, out
):
    """log(g / prior) of each candidate under product kernels of one bandwidth; exact, linear in n.

    Args:
        axes: (d, 8).
        conditional: bool (d,).
        bandwidth: of all numeric kernels.
        coordinates: of the observations (d, n), NaN where inactive.
        log_norms: see `parzen.observe`, (d, n); needed for conditional parameters only.
        offsets: the sum of -log Z of each observation that counts, -inf for one that does not, (n,).
        components: how many observations count, the prior included.
        candidates: coordinates (m, d), NaN where inactive.
        out: (m,), written.
    """
    d, n = coordinates.shape
    m = len(candidates)
    constants = np.zeros((m, d))
    factors = np.zeros((m, d))
    middles = np.zeros((m, d))
    largest = 1
    for j in range(d):
        if axes[j, KIND] == COARSE:
            largest = max(largest, int(axes[j, COUNT]))
    masses = np.empty((m, d, largest))
    shared = np.zeros(m)  # what all observations have in common
    for i in range(m):
        out[i] = 0.0
        for j in range(d):
            kind = axes[j, KIND]
            x = candidates[i, j]
            if x != x:
                continue
            if kind == CONTINUOUS or kind == FINE:
                constants[i, j], factors[i, j], middles[i, j] = above_constants(axes[j], x, bandwidth)
                if not conditional[j]:
                    shared[i] += constants[i, j]
            elif kind == COARSE:
                cell_log_masses(axes[j], x, bandwidth, masses[i, j, : int(axes[j, COUNT])])
            elif kind == CATEGORICAL:
                prior = log_prior(axes[j], x)
                constants[i, j] = log_choice(axes[j, COUNT], components, True) - prior
                factors[i, j] = log_choice(axes[j, COUNT], components, False) - prior
    tile = np.empty(_TILE)
    for first in range(0, n, _TILE):
        last = min(first + _TILE, n)
        exponents = tile[: last - first]
        for i in range(m):
            for t in range(last - first):
                exponents[t] = offsets[first + t]
            for j in range(d):
                kind = axes[j, KIND]
                x = candidates[i, j]
                if x != x or kind == CONSTANT:
                    continue
                observed = coordinates[j, first:last]
                if kind == CATEGORICAL:
                    add_choice(exponents, observed, x, constants[i, j], factors[i, j])
                elif kind == COARSE:
                    add_cells(exponents, observed, masses[i, j])
                elif conditional[j]:
                    norms = log_norms[j, first:last]
                    add_conditional(exponents, observed, norms, middles[i, j], constants[i, j], factors[i, j])
                else:
                    subtract_squares(exponents, observed, middles[i, j], factors[i, j])
            out[i] += sum_exponentials(exponents, shared[i])
    for i in range(m):
        out[i] = math.log((1.0 + out[i]) / components)


@kernel
def propose(  # type: ignore[no-untyped-def]
    axes, order, conditions, allowed, conditional, below, least, weights, coordinates, log_norms, offsets,
    tables, histogram, starts, active, components, above_bandwidth, joint, key, values, scores,
):  # fmt: skip
    """Draw candidates from l and score them: one call an ask.

    Args:
        axes, order, conditions, allowed, conditional: the space; see `parzen`.
        below: trial numbers of the below points, int64 (b,).
        least: smallest bandwidth of l on each axis, (d,).
        weights: of the below points and, last, the prior, (b + 1,).
        coordinates, log_norms, offsets: the observations of g; see `above_joint`.
        tables, histogram, starts, active: the same, tabulated; see `tables.count_observations`.
        components: how many observations of g there are, the prior included.
        above_bandwidth: bandwidth of g.
        joint: model the parameters jointly, by product kernels; else each for itself.
        key: of the random stream, uint64 (5,).
        values: column values of the candidates, (m, d), written.
        scores: log l - log g of the candidates, (m,), written.
    """
    d = len(axes)
    m = len(scores)
    points = np.empty((d, len(below)))
    for k in range(len(below)):
        for j in range(d):
            points[j, k] = coordinates[j, below[k]]
    bandwidths = np.empty(points.shape)
    neighbour_bandwidths(axes, points, least, bandwidths)
    candidates = np.empty((m, d))
    cumulative = np.empty(len(weights))
    total = 0.0
    for k in range(len(weights)):
        total += weights[k]
        cumulative[k] = total
    draw_candidates(axes, order, conditions, allowed, points, bandwidths, cumulative, joint, key, candidates)
    above = np.empty(m)
    if joint:
        below_joint(axes, points, bandwidths, weights, candidates, scores)
        above_joint(axes, conditional, above_bandwidth, coordinates, log_norms, offsets, components, candidates, above)
    else:
        below_independent(axes, points, bandwidths, weights, candidates, scores)
        above_independent(axes, above_bandwidth, tables, histogram, starts, active, components, candidates, above)
    for i in range(m):
        scores[i] -= above[i]
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])


__all__ = ["observe", "propose"]
