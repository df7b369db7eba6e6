"""The density l of the few *below* points, whose kernels each have a bandwidth of their own.

It is taken relative to the prior density of the space, so that the prior component of a mixture is exactly 1. Sums run
over the points outside and the candidates inside, which compiles to vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray
from ..axes import CATEGORICAL, COARSE, CONSTANT, CONTINUOUS, COUNT, FINE, KIND
from ..compiling import REORDER, kernel
from ..exponential import exponential, logarithm
from ..normal import LOG_SQRT_2_PI, between_inlined
from .densities import Below
from .parzen import BANDWIDTH, COORDINATE, EDGE_HIGH, EDGE_LOW, HEIGHT, LEAST_MASS, POINT, POSITION, PRIOR, log_choice


@kernel(fastmath=REORDER)
def gaussian_terms(
    x: FloatArray, priors: FloatArray, position: float, factor: float, constant: float, terms: FloatArray
) -> None:
    """terms = constant - factor (x - position)^2 - priors."""
    for i in range(len(x)):
        difference = x[i] - position
        terms[i] = constant - factor * difference * difference - priors[i]


@kernel(fastmath={"contract"})
def cell_terms(
    lows: FloatArray,
    highs: FloatArray,
    priors: FloatArray,
    position: float,
    bandwidth: float,
    height: float,
    terms: FloatArray,
) -> None:
    """terms = log(mass of the kernel from `lows` to `highs`) - priors."""
    inverse = 1.0 / bandwidth
    for i in range(len(lows)):
        mass = between_inlined((lows[i] - position) * inverse, (highs[i] - position) * inverse)
        terms[i] = logarithm(max(mass, LEAST_MASS)) + height - priors[i]


@kernel(fastmath={"contract"})
def narrow_cell_terms(
    lows: FloatArray,
    highs: FloatArray,
    priors: FloatArray,
    position: float,
    bandwidth: float,
    height: float,
    terms: FloatArray,
) -> None:
    """As `cell_terms`, of cells of at most a quarter of the bandwidth, by a series around their middle.

    Relative error below 1e-8 within three bandwidths.
    """
    inverse = 1.0 / bandwidth
    constant = height - LOG_SQRT_2_PI
    for i in range(len(lows)):
        width = (highs[i] - lows[i]) * inverse
        middle = (0.5 * (lows[i] + highs[i]) - position) * inverse
        z = middle * middle
        w = width * width
        # Hermite polynomials: the derivatives of the density
        series = 1.0 + w * ((z - 1.0) / 24.0 + w * (z * z - 6.0 * z + 3.0) / 1920.0)
        terms[i] = logarithm(width * max(series, 0.5)) - 0.5 * z + constant - priors[i]


@kernel
def log_relative(
    axis: FloatArray, points: FloatArray, masses: FloatArray, query: FloatArray, terms: FloatArray
) -> None:
    """log(kernel / prior) of every point at every candidate, on one axis.

    Args:
        axis: (8,); not CONSTANT.
        points, masses: with their kernels on this axis, (6, b) and (b, c); see `parzen.fit`.
        query: the candidates on this axis, (4, m); see `parzen.describe`.
        terms: (b, m), written for active points; of an inactive candidate, anything.
    """
    kind = axis[KIND]
    b, m = terms.shape
    x, priors = query[COORDINATE], query[PRIOR]
    lows, highs = query[EDGE_LOW], query[EDGE_HIGH]
    own = log_choice(axis[COUNT], b + 1.0, True)
    other = log_choice(axis[COUNT], b + 1.0, False)
    widest = 0.0
    if kind == FINE:
        for i in range(m):
            if x[i] == x[i]:
                widest = max(widest, highs[i] - lows[i])
    for k in range(b):
        point = points[POINT, k]
        if point != point:
            continue
        position, bandwidth, height = points[POSITION, k], points[BANDWIDTH, k], points[HEIGHT, k]
        if kind == CATEGORICAL:
            for i in range(m):
                terms[k, i] = (own if x[i] == point else other) - priors[i]
        elif kind == COARSE:
            for i in range(m):
                if x[i] == x[i]:
                    terms[k, i] = masses[k, int(x[i])]
        elif kind == CONTINUOUS:
            gaussian_terms(x, priors, position, 0.5 / (bandwidth * bandwidth), height, terms[k])
        elif widest <= 0.25 * bandwidth:
            narrow_cell_terms(lows, highs, priors, position, bandwidth, height, terms[k])
        else:
            cell_terms(lows, highs, priors, position, bandwidth, height, terms[k])


@kernel(fastmath=REORDER)
def add_active(terms: FloatArray, x: FloatArray, sums: FloatArray) -> None:
    """sums += terms where the candidate x is active."""
    for i in range(len(x)):
        sums[i] += terms[i] if x[i] == x[i] else 0.0


@kernel(fastmath=REORDER)
def add_exponentials(terms: FloatArray, shifts: FloatArray, weight: float, sums: FloatArray) -> None:
    """sums += weight exp(terms - shifts)."""
    for i in range(len(terms)):
        sums[i] += weight * exponential(terms[i] - shifts[i])


@kernel(fastmath=REORDER)
def add_gaussians(x: FloatArray, priors: FloatArray, points: FloatArray, weights: FloatArray, sums: FloatArray) -> None:
    """sums += weights times kernel / prior of the active points (6, b), on a CONTINUOUS axis: all in one pass."""
    for k in range(points.shape[1]):
        if points[POINT, k] != points[POINT, k]:
            continue
        position, height, weight = points[POSITION, k], points[HEIGHT, k], weights[k]
        factor = 0.5 / (points[BANDWIDTH, k] * points[BANDWIDTH, k])
        for i in range(len(x)):
            difference = x[i] - position
            sums[i] += weight * exponential(height - factor * difference * difference - priors[i])


@kernel(fastmath={"contract"})
def add_log_ratio(x: FloatArray, sums: FloatArray, scale: float, out: FloatArray) -> None:
    """out += log(sums / scale) where the candidate x is active."""
    for i in range(len(x)):
        out[i] += logarithm(sums[i] / scale) if x[i] == x[i] else 0.0


@kernel
def below_joint(axes: FloatArray, below: Below, queries: FloatArray, out: FloatArray) -> None:
    """log(l / prior) of each candidate under the product kernels of a few points.

    Args:
        axes: (d, 10).
        below: l.
        queries: the candidates, (d, 4, m); see `parzen.describe`.
        out: (m,), written.
    """
    points, masses, weights = below.points, below.masses, below.weights
    d, _, b = points.shape
    m = len(out)
    terms = np.zeros((b, m))
    exponents = np.zeros((b + 1, m))
    for j in range(d):
        if axes[j, KIND] == CONSTANT:
            continue
        log_relative(axes[j], points[j], masses[j], queries[j], terms)
        for k in range(b):
            if points[j, POINT, k] == points[j, POINT, k]:
                add_active(terms[k], queries[j, COORDINATE], exponents[k])
    largest = np.zeros(m)
    sums = np.zeros(m)
    scale = 0.0
    for k in range(b):
        for i in range(m):
            largest[i] = max(largest[i], exponents[k, i])
    for k in range(b + 1):
        add_exponentials(exponents[k], largest, weights[k], sums)
        scale += weights[k]
    for i in range(m):
        out[i] = largest[i] + math.log(sums[i] / scale)


@kernel
def below_independent(axes: FloatArray, below: Below, queries: FloatArray, out: FloatArray) -> None:
    """log(l / prior) of each candidate where every parameter has a mixture of its own.

    A parameter's mixture holds the points in which it is active, and the prior. Arguments as `below_joint`.
    """
    points, masses, weights = below.points, below.masses, below.weights
    d, _, b = points.shape
    m = len(out)
    terms = np.zeros((b, m))
    sums = np.empty(m)
    none = np.zeros(m)
    for i in range(m):
        out[i] = 0.0
    for j in range(d):
        if axes[j, KIND] == CONSTANT:
            continue
        scale = float(weights[b])
        for k in range(b):
            if points[j, POINT, k] == points[j, POINT, k]:
                scale += weights[k]
        for i in range(m):
            sums[i] = weights[b]
        if axes[j, KIND] == CONTINUOUS:
            add_gaussians(queries[j, COORDINATE], queries[j, PRIOR], points[j], weights, sums)
        else:
            log_relative(axes[j], points[j], masses[j], queries[j], terms)
            for k in range(b):
                if points[j, POINT, k] == points[j, POINT, k]:
                    add_exponentials(terms[k], none, weights[k], sums)
        add_log_ratio(queries[j, COORDINATE], sums, scale, out)
