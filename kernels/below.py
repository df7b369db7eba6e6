"""The density l of the few *below* points, whose kernels each have a bandwidth of their own.

It is taken relative to the prior density of the space, so that the prior component of a mixture is exactly 1. Sums run
over the points outside and the candidates inside, which compiles to vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import REORDER, kernel
from .exponential import exponential
from .parzen import (
    BANDWIDTH,
    CATEGORICAL,
    CONSTANT,
    CONTINUOUS,
    COUNT,
    HEIGHT,
    KIND,
    LEAST_MASS,
    POINT,
    POSITION,
    between,
    cell_edges,
    cell_of_coordinate,
    log_choice,
    log_prior,
)


@kernel(fastmath=REORDER)
def gaussian_terms(x, priors, position, factor, constant, terms):  # type: ignore[no-untyped-def]
    """terms = constant - factor (x - position)^2 - priors."""
    for i in range(len(x)):
        difference = x[i] - position
        terms[i] = constant - factor * difference * difference - priors[i]


@kernel
def log_relative(axis, points, x, terms):  # type: ignore[no-untyped-def]
    """log(kernel / prior) of every point at every candidate, on one axis.

    Args:
        axis: (8,); not CONSTANT.
        points: with their kernels on this axis, (6, b); see `parzen.fit`.
        x: coordinates of the candidates (m,), NaN where inactive.
        terms: (b, m), written for active points; of an inactive candidate, anything.
    """
    kind = axis[KIND]
    b, m = terms.shape
    priors = np.empty(m)
    lows, highs = np.empty(m), np.empty(m)
    for i in range(m):
        if x[i] == x[i]:
            priors[i] = log_prior(axis, x[i])
            if kind != CATEGORICAL and kind != CONTINUOUS:
                lows[i], highs[i] = cell_edges(axis, cell_of_coordinate(axis, x[i]))
    if kind == CATEGORICAL:
        own = log_choice(axis[COUNT], b + 1.0, True)
        other = log_choice(axis[COUNT], b + 1.0, False)
        for k in range(b):
            choice = points[POINT, k]
            for i in range(m):
                terms[k, i] = (own if x[i] == choice else other) - priors[i]
        return
    for k in range(b):
        if points[POINT, k] != points[POINT, k]:
            continue
        position, bandwidth, height = points[POSITION, k], points[BANDWIDTH, k], points[HEIGHT, k]
        if kind == CONTINUOUS:
            gaussian_terms(x, priors, position, 0.5 / (bandwidth * bandwidth), height, terms[k])
            continue
        for i in range(m):
            if x[i] == x[i]:
                mass = between((lows[i] - position) / bandwidth, (highs[i] - position) / bandwidth)
                terms[k, i] = math.log(max(mass, LEAST_MASS)) + height - priors[i]


@kernel(fastmath=REORDER)
def add_active(terms, x, sums):  # type: ignore[no-untyped-def]
    """sums += terms where the candidate x is active."""
    for i in range(len(x)):
        sums[i] += terms[i] if x[i] == x[i] else 0.0


@kernel(fastmath=REORDER)
def add_exponentials(terms, shifts, weight, sums):  # type: ignore[no-untyped-def]
    """sums += weight exp(terms - shifts)."""
    for i in range(len(terms)):
        sums[i] += weight * exponential(terms[i] - shifts[i])


@kernel
def below_joint(axes, points, weights, candidates, out):  # type: ignore[no-untyped-def]
    """log(l / prior) of each candidate under the product kernels of a few points.

    Args:
        axes: (d, 8).
        points: with their kernels, (d, 6, b); see `parzen.fit`.
        weights: of the points and, last, the prior, (b + 1,).
        candidates: coordinates (m, d), NaN where inactive.
        out: (m,), written.
    """
    d, _, b = points.shape
    m = len(candidates)
    x = np.empty(m)
    terms = np.empty((b, m))
    exponents = np.zeros((b + 1, m))
    for j in range(d):
        if axes[j, KIND] == CONSTANT:
            continue
        x[:] = candidates[:, j]
        log_relative(axes[j], points[j], x, terms)
        for k in range(b):
            if points[j, POINT, k] == points[j, POINT, k]:
                add_active(terms[k], x, exponents[k])
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
def below_independent(axes, points, weights, candidates, out):  # type: ignore[no-untyped-def]
    """log(l / prior) of each candidate where every parameter has a mixture of its own.

    A parameter's mixture holds the points in which it is active, and the prior. Arguments as `below_joint`.
    """
    d, _, b = points.shape
    m = len(candidates)
    x = np.empty(m)
    terms = np.empty((b, m))
    sums = np.empty(m)
    none = np.zeros(m)
    for i in range(m):
        out[i] = 0.0
    for j in range(d):
        if axes[j, KIND] == CONSTANT:
            continue
        x[:] = candidates[:, j]
        log_relative(axes[j], points[j], x, terms)
        scale = weights[b]
        for i in range(m):
            sums[i] = weights[b]
        for k in range(b):
            if points[j, POINT, k] == points[j, POINT, k]:
                add_exponentials(terms[k], none, weights[k], sums)
                scale += weights[k]
        for i in range(m):
            if x[i] == x[i]:
                out[i] += math.log(sums[i] / scale)
