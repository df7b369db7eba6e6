"""The joint density g of the many *above* points, under product kernels of one bandwidth.

It is taken relative to the prior density of the space. An observation enters by a single exponential, whose exponent
is a polynomial of degree two in its coordinates. Written out, the part that depends on both candidate and observation
is a product of two matrices, coefficients (candidates) times features (observations): one fused multiply-add a
parameter. The features of a tile of observations are laid out once for all candidates, and stay in the first-level
cache.

The joint density of a point, given an observation, is a product over the parameters that are active in the point;
where a parameter is active in the point but not in the observation, the factor is the prior. As the parents say which
parameters are active, this integrates to 1 over a tree of conditions.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import REORDER, kernel
from .exponential import exponential
from .parzen import (
    CATEGORICAL,
    COARSE,
    CONSTANT,
    COUNT,
    FINE,
    KIND,
    LOG,
    LOG_SQRT_2_PI,
    cell_edges,
    cell_log_masses,
    cell_of_coordinate,
    log_choice,
    log_prior,
)

_TILE = 128  # observations laid out together
_BLOCK = 4  # candidates, and features, multiplied at a time: their 16 coefficients stay in registers
_MIDDLE = 0.5  # positions are measured from here: small squares cancel little


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
    constant = math.log(width) - 0.5 * math.log(variance) - LOG_SQRT_2_PI - log_prior(axis, coordinate)
    return constant, 0.5 / variance, middle


@kernel
def count_features(axis, conditional):  # type: ignore[no-untyped-def]
    """How many features an axis has; see `lay_out`."""
    kind = axis[KIND]
    if kind == CONSTANT or kind == CATEGORICAL:
        return 0
    if kind == COARSE:
        return int(axis[COUNT])
    if conditional:
        return 4
    return 2 if kind == FINE and axis[LOG] != 0.0 else 1


@kernel
def set_coefficients(axis, conditional, bandwidth, x, coefficients):  # type: ignore[no-untyped-def]
    """What a candidate at x multiplies the features of an axis with; the constant that it adds to every exponent.

    Args:
        axis: (8,).
        conditional: whether the parameter has conditions.
        bandwidth: of the kernels.
        x: coordinate of the candidate, active.
        coefficients: of the axis's features, (f,), written.
    """
    kind = axis[KIND]
    if kind == COARSE:
        cell_log_masses(axis, x, bandwidth, coefficients)
        return 0.0
    constant, factor, middle = above_constants(axis, x, bandwidth)
    at = middle - _MIDDLE
    shared = constant - factor * at * at
    if conditional:
        coefficients[0] = shared
        coefficients[1] = 2.0 * factor * at
        coefficients[2] = -factor
        coefficients[3] = 1.0
        return 0.0
    coefficients[0] = 2.0 * factor * at
    if len(coefficients) == 2:
        coefficients[1] = -factor
    return shared


@kernel(fastmath=REORDER)
def lay_out_square(coordinates, factor, squares, positions):  # type: ignore[no-untyped-def]
    """positions = coordinates from the middle; squares -= factor positions^2."""
    for t in range(len(coordinates)):
        position = coordinates[t] - _MIDDLE
        positions[t] = position
        squares[t] -= factor * position * position


@kernel
def lay_out(axis, conditional, bandwidth, coordinates, log_norms, base, features):  # type: ignore[no-untyped-def]
    """Write the features of a tile of observations on one axis.

    They are: of COARSE, whether the observation lies in each cell; of a conditional numeric axis, whether it is active,
    its position, the square of that, and -log Z, all 0 where it is inactive; of any other numeric axis its position,
    and, where the factor of the square depends on the candidate (FINE on a log scale), the square.

    Args:
        axis, conditional, bandwidth: see `set_coefficients`.
        coordinates: of the observations (n,).
        log_norms: -log Z of each on this axis, (n,); needed for a conditional axis only.
        base: what does not depend on the candidate, (n,), added to.
        features: (f * _TILE,), written.
    """
    kind = axis[KIND]
    n = len(coordinates)
    if kind == COARSE:
        features[:] = 0.0
        for t in range(n):
            if coordinates[t] == coordinates[t]:
                features[int(coordinates[t]) * _TILE + t] = 1.0
    elif conditional:
        for t in range(n):
            active = coordinates[t] == coordinates[t]
            position = coordinates[t] - _MIDDLE if active else 0.0
            features[t] = 1.0 if active else 0.0
            features[_TILE + t] = position
            features[2 * _TILE + t] = position * position
            features[3 * _TILE + t] = log_norms[t] if active else 0.0
    elif len(features) == 2 * _TILE:
        for t in range(n):
            position = coordinates[t] - _MIDDLE
            features[t] = position
            features[_TILE + t] = position * position
    else:
        _, factor, _ = above_constants(axis, 0.0, bandwidth)
        lay_out_square(coordinates, factor, base, features)


@kernel(fastmath=REORDER)
def multiply_add(exponents, features, coefficients):  # type: ignore[no-untyped-def]
    """exponents += coefficients features, for _BLOCK candidates and _BLOCK features of a tile.

    Args:
        exponents: (_BLOCK * _TILE,), changed.
        features: (_BLOCK * _TILE,).
        coefficients: (_BLOCK, _BLOCK).
    """
    # one flat array each, read at constant distances: so the compiler needs few checks for overlap, and vectorises
    a0, a1, a2, a3 = coefficients[0, 0], coefficients[0, 1], coefficients[0, 2], coefficients[0, 3]
    b0, b1, b2, b3 = coefficients[1, 0], coefficients[1, 1], coefficients[1, 2], coefficients[1, 3]
    c0, c1, c2, c3 = coefficients[2, 0], coefficients[2, 1], coefficients[2, 2], coefficients[2, 3]
    d0, d1, d2, d3 = coefficients[3, 0], coefficients[3, 1], coefficients[3, 2], coefficients[3, 3]
    for t in range(_TILE):
        p, q = features[t], features[_TILE + t]
        r, s = features[2 * _TILE + t], features[3 * _TILE + t]
        exponents[t] += a0 * p + a1 * q + a2 * r + a3 * s
        exponents[_TILE + t] += b0 * p + b1 * q + b2 * r + b3 * s
        exponents[2 * _TILE + t] += c0 * p + c1 * q + c2 * r + c3 * s
        exponents[3 * _TILE + t] += d0 * p + d1 * q + d2 * r + d3 * s


@kernel
def add_choice(exponents, coordinates, x, own, other):  # type: ignore[no-untyped-def]
    """exponents += own or other, as the observation's choice is x or not; nothing where it is inactive."""
    for t in range(len(coordinates)):
        coordinate = coordinates[t]
        term = own if coordinate == x else other
        exponents[t] += term if coordinate == coordinate else 0.0


@kernel(fastmath=REORDER)
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
    starts = np.zeros(d + 1, np.int64)  # where the features of an axis begin
    for j in range(d):
        starts[j + 1] = starts[j] + count_features(axes[j], conditional[j])
    # whole blocks, filled up with zeros
    rows = (m + _BLOCK - 1) // _BLOCK * _BLOCK
    columns = (starts[d] + _BLOCK - 1) // _BLOCK * _BLOCK
    coefficients = np.zeros((rows, columns))
    shared = np.zeros(m)  # what all observations have in common
    own, other = np.zeros((m, d)), np.zeros((m, d))
    for i in range(m):
        out[i] = 0.0
        for j in range(d):
            x = candidates[i, j]
            if x != x:
                continue
            if axes[j, KIND] == CATEGORICAL:
                prior = log_prior(axes[j], x)
                own[i, j] = log_choice(axes[j, COUNT], components, True) - prior
                other[i, j] = log_choice(axes[j, COUNT], components, False) - prior
            elif axes[j, KIND] != CONSTANT:
                own_features = coefficients[i, starts[j] : starts[j + 1]]
                shared[i] += set_coefficients(axes[j], conditional[j], bandwidth, x, own_features)
    base = np.zeros(_TILE)
    features = np.zeros(columns * _TILE)
    exponents = np.zeros(rows * _TILE)
    for first in range(0, n, _TILE):
        size = min(_TILE, n - first)
        last = first + size
        base[:size] = offsets[first:last]
        for j in range(d):
            if starts[j + 1] > starts[j]:
                norms = log_norms[j, first:last] if conditional[j] else offsets[first:last]
                own_features = features[starts[j] * _TILE : starts[j + 1] * _TILE]
                lay_out(axes[j], conditional[j], bandwidth, coordinates[j, first:last], norms, base, own_features)
        for i in range(m):
            exponents[i * _TILE : (i + 1) * _TILE] = base
        for i in range(0, rows, _BLOCK):
            block = exponents[i * _TILE : (i + _BLOCK) * _TILE]
            for k in range(0, columns, _BLOCK):
                part = features[k * _TILE : (k + _BLOCK) * _TILE]
                multiply_add(block, part, coefficients[i : i + _BLOCK, k : k + _BLOCK])
        for i in range(m):
            row = exponents[i * _TILE : i * _TILE + size]
            for j in range(d):
                if axes[j, KIND] == CATEGORICAL and candidates[i, j] == candidates[i, j]:
                    add_choice(row, coordinates[j, first:last], candidates[i, j], own[i, j], other[i, j])
            out[i] += sum_exponentials(row, shared[i])
    for i in range(m):
        out[i] = math.log((1.0 + out[i]) / components)
