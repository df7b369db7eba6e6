"""A Gaussian process over a few points: what it predicts elsewhere, and the lengthscales that explain the points best.

The covariance of two points is s (k(r) + noise if they are the same point), with the Matérn kernel of smoothness 5/2,

    k(r) = (1 + q + q^2 / 3) exp(-q),  q = sqrt(5) r,  r^2 = sum_j weight_j gap_j^2,  weight_j = lengthscale_j^-2

(Rasmussen, Williams: Gaussian processes for machine learning, 2006, equations 2.25, 2.26, 4.17, 5.1). The gap of two
points on an axis is that of their positions on the unit axis; of two choices 0 or 1; of a parameter that is active in
one of them only 1, in neither 0. `parameters` are the logarithms of the lengthscales and, last, of the noise; s is the
one that explains the points best. Sums are of a fixed order, and no library of linear algebra is called, so a result
depends on the numbers that go in only, not on threads or on what is installed.

Arrays hold an axis a row: points (d, n), candidates (d, m). A matrix is given as its lower half.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import REORDER, kernel
from .exponential import exponential
from .normal import normal_quantile

LEAST_NOISE = 1e-6  # added to the noise, so that points that lie together leave the matrix regular
_LEAST_SCALE = 1e-3  # of s, for points of equal value
_LEAST_PIVOT = 1e-10
# of the search for parameters: first, smallest and largest step, and what a step grows and shrinks by (Riedmiller,
# Braun 1993; the first step for logarithms of lengthscales)
_FIRST_STEP, _LEAST_STEP, _MOST_STEP, _GROWTH, _SHRINKAGE = 0.3, 1e-3, 1.0, 1.2, 0.5
_LOWEST_NOISE, _HIGHEST_NOISE = -11.0, 1.0  # logarithms


@kernel
def normal_scores(ranks, scores):  # type: ignore[no-untyped-def]
    """Quantiles of the normal distribution at ranks from 1/2 to n - 1/2, negative (a low rank is good), of mean 0."""
    n = len(ranks)
    mean = 0.0
    for k in range(n):
        scores[k] = -normal_quantile(ranks[k] / n)
        mean += scores[k] / n
    for k in range(n):
        scores[k] -= mean


@kernel(fastmath=REORDER)
def add_gaps(is_choice, x, points, weight, sums):  # type: ignore[no-untyped-def]
    """sums += weight gap^2 between x and each of the points (n,) on one axis."""
    if x != x:
        for k in range(len(sums)):
            sums[k] += weight if points[k] == points[k] else 0.0
    elif is_choice:
        for k in range(len(sums)):
            sums[k] += weight if points[k] != x else 0.0
    else:
        for k in range(len(sums)):
            gap = points[k] - x
            sums[k] += weight * (gap * gap if points[k] == points[k] else 1.0)


@kernel(fastmath=REORDER)
def correlate(sums):  # type: ignore[no-untyped-def]
    """sums = k(r), given r^2."""
    for k in range(len(sums)):
        q = math.sqrt(5.0 * sums[k])
        sums[k] = (1.0 + q + q * q * (1.0 / 3.0)) * exponential(-q)


@kernel(fastmath=REORDER)
def steepness(squares, factors):  # type: ignore[no-untyped-def]
    """factors *= d k / d (r^2), given r^2."""
    for k in range(len(factors)):
        q = math.sqrt(5.0 * squares[k])
        factors[k] *= -(5.0 / 6.0) * (1.0 + q) * exponential(-q)


@kernel(fastmath=REORDER)
def sum_gaps(is_choice, x, points, factors):  # type: ignore[no-untyped-def]
    """sum of factors gap^2 between x and the points on one axis."""
    total = 0.0
    if x != x:
        for k in range(len(factors)):
            total += factors[k] if points[k] == points[k] else 0.0
    elif is_choice:
        for k in range(len(factors)):
            total += factors[k] if points[k] != x else 0.0
    else:
        for k in range(len(factors)):
            gap = points[k] - x
            total += factors[k] * (gap * gap if points[k] == points[k] else 1.0)
    return total


@kernel(fastmath=REORDER)
def dot(a, b):  # type: ignore[no-untyped-def]
    """The scalar product of two vectors, of the length of the first."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@kernel(fastmath=REORDER)
def add_scaled(scale, a, sums):  # type: ignore[no-untyped-def]
    """sums += scale a, over the length of a."""
    for k in range(len(a)):
        sums[k] += scale * a[k]


@kernel
def factor_row(factor, i):  # type: ignore[no-untyped-def]
    """Turn row i of a matrix into that of its Cholesky factor, the rows above it being factored."""
    row = factor[i]
    for j in range(i):
        row[j] = (row[j] - dot(row[:j], factor[j])) / factor[j, j]
    row[i] = math.sqrt(max(row[i] - dot(row[:i], row), _LEAST_PIVOT))


@kernel
def forward(factor, vector):  # type: ignore[no-untyped-def]
    """vector = factor^-1 vector."""
    for i in range(len(vector)):
        vector[i] = (vector[i] - dot(factor[i, :i], vector)) / factor[i, i]


@kernel
def backward(factor, vector):  # type: ignore[no-untyped-def]
    """vector = factor^-T vector."""
    for i in range(len(vector) - 1, -1, -1):
        vector[i] /= factor[i, i]
        add_scaled(-vector[i], factor[i, :i], vector)


@kernel
def invert(factor, inverse):  # type: ignore[no-untyped-def]
    """inverse = factor^-1, a row at a time."""
    for i in range(len(factor)):
        row = inverse[i]
        row[:] = 0.0
        for k in range(i):
            add_scaled(-factor[i, k], inverse[k, : k + 1], row)
        row[i] = 1.0
        for k in range(i + 1):
            row[k] /= factor[i, i]


@kernel
def extend(choices, parameters, points, i, factor):  # type: ignore[no-untyped-def]
    """Append point i to the Cholesky factor of the points before it.

    Args:
        choices: whether an axis holds choices, bool (d,).
        parameters: (d + 1,).
        points: (d, n), n > i.
        i: which point.
        factor: (n, n), row i written.
    """
    d = len(choices)
    row = factor[i]
    row[:i] = 0.0
    for j in range(d):
        add_gaps(choices[j], points[j, i], points[j, :i], math.exp(-2.0 * parameters[j]), row[:i])
    correlate(row[:i])
    row[i] = 1.0 + math.exp(parameters[d]) + LEAST_NOISE
    factor_row(factor, i)


@kernel
def condition(choices, parameters, points, targets, factor, pull):  # type: ignore[no-untyped-def]
    """Learn the values of points.

    Args:
        choices, parameters, points: see `extend`.
        targets: values of the first points (n,), of mean 0.
        factor: (n, n) or larger, its first n rows written: the Cholesky factor.
        pull: (n,), written: what the correlations with each point are weighted by in the mean.

    Returns:
        s.
    """
    n = len(targets)
    for i in range(n):
        extend(choices, parameters, points, i, factor)
        pull[i] = targets[i]
    forward(factor, pull)
    scale = max(dot(pull, pull) / n, _LEAST_SCALE)
    backward(factor, pull)
    return scale


@kernel
def predict(choices, parameters, points, known, scale, factor, pull, candidates, means, deviations):  # type: ignore[no-untyped-def]
    """The mean and standard deviation of the value at each candidate.

    Args:
        choices, parameters, points: see `extend`.
        known: how many of the points there are.
        scale, factor, pull: from `condition`; points past the length of `pull`, of which the factor has rows, have no
            value yet: they only make it certain that there will be one.
        candidates: (d, m).
        means, deviations: (m,), written.
    """
    d = len(choices)
    row = np.empty(known)
    for i in range(len(means)):
        row[:] = 0.0
        for j in range(d):
            add_gaps(choices[j], candidates[j, i], points[j, :known], math.exp(-2.0 * parameters[j]), row)
        correlate(row)
        means[i] = dot(pull, row)
        forward(factor, row)
        deviations[i] = math.sqrt(scale * max(1.0 - dot(row, row), 0.0))


@kernel
def is_known(points, known, candidates, i):  # type: ignore[no-untyped-def]
    """Whether candidate i, of (d, m), is one of the first `known` points."""
    d = len(points)
    for k in range(known):
        j = 0
        while j < d and (
            points[j, k] == candidates[j, i] or (points[j, k] != points[j, k] and candidates[j, i] != candidates[j, i])
        ):
            j += 1
        if j == d:
            return True
    return False


@kernel
def misfit(choices, parameters, points, targets, centres, spreads, slopes):  # type: ignore[no-untyped-def]
    """How badly parameters explain the points: the negative logarithm of their posterior density, but for a constant.

    The likelihood is that of the targets, with the s that makes it largest; the prior of each parameter is normal.

    Args:
        choices, parameters, points: see `extend`.
        targets: (n,), of mean 0.
        centres, spreads: means and standard deviations of the prior, (d + 1,).
        slopes: derivatives by the parameters, (d + 1,), written.
    """
    d, n = points.shape
    squares, factor = np.zeros((n, n)), np.zeros((n, n))
    noise = math.exp(parameters[d])
    for i in range(n):
        for j in range(d):
            weight = math.exp(-2.0 * parameters[j])
            add_gaps(choices[j], points[j, i], points[j, :i], weight, squares[i, :i])
        factor[i, :i] = squares[i, :i]
        correlate(factor[i, :i])
        factor[i, i] = 1.0 + noise + LEAST_NOISE
        factor_row(factor, i)
    pull = targets.copy()
    forward(factor, pull)
    total = dot(pull, pull)
    scale = max(total / n, _LEAST_SCALE)
    total = 0.5 * total / scale + 0.5 * n * math.log(scale)
    for i in range(n):
        total += math.log(factor[i, i])
    backward(factor, pull)
    # the derivative by an entry of the matrix is half of (its inverse minus pull pull^T / s)
    inverse = np.empty((n, n))
    invert(factor, inverse)
    entries = np.zeros((n, n))
    for k in range(n):
        for i in range(k + 1):
            add_scaled(inverse[k, i], inverse[k, : i + 1], entries[i])
    slopes[:] = 0.0
    for i in range(n):
        row = entries[i, :i]
        slopes[d] += 0.5 * noise * (entries[i, i] - pull[i] * pull[i] / scale)
        add_scaled(-pull[i] / scale, pull[:i], row)
        steepness(squares[i, :i], row)
        for j in range(d):
            weight = math.exp(-2.0 * parameters[j])
            slopes[j] -= 2.0 * weight * sum_gaps(choices[j], points[j, i], points[j, :i], row)
    for t in range(d + 1):
        off = (parameters[t] - centres[t]) / spreads[t]
        total += 0.5 * off * off
        slopes[t] += off / spreads[t]
    return total


@kernel
def explain(choices, parameters, points, targets, centres, spreads, steps):  # type: ignore[no-untyped-def]
    """Improve the parameters by a few steps downhill, each parameter's step its own; the best seen are kept.

    The method is Rprop, which needs no line search (Riedmiller, Braun: A direct adaptive method for faster
    backpropagation learning. 1993; for Gaussian processes, Blum, Riedmiller: Optimization of Gaussian process
    hyperparameters using Rprop. 2013).

    Args:
        parameters: where to begin, (d + 1,), changed.
        steps: how many.
        (others): see `misfit`.
    """
    count = len(parameters)
    here, slopes, last = parameters.copy(), np.zeros(count), np.zeros(count)
    step = np.full(count, _FIRST_STEP)
    least = np.inf
    for _ in range(steps):
        value = misfit(choices, here, points, targets, centres, spreads, slopes)
        if value < least:
            least = value
            for t in range(count):
                parameters[t] = here[t]
        for t in range(count):
            turn = slopes[t] * last[t]
            if turn > 0.0:
                step[t] = min(step[t] * _GROWTH, _MOST_STEP)
            elif turn < 0.0:
                step[t] = max(step[t] * _SHRINKAGE, _LEAST_STEP)
                slopes[t] = 0.0
            if slopes[t] != 0.0:
                here[t] -= math.copysign(step[t], slopes[t])
            last[t] = slopes[t]
        here[count - 1] = min(max(here[count - 1], _LOWEST_NOISE), _HIGHEST_NOISE)
