"""A Gaussian process over a few points: its posterior mean and deviation elsewhere, and its hyperparameters.

The covariance of two points is s (k(r) + noise if they are the same point), with the Matérn kernel of smoothness 5/2,

    k(r) = (1 + q + q^2 / 3) exp(-q),  q = sqrt(5) r,  r^2 = sum_j weight_j d_j^2,  weight_j = length_scale_j^-2

(Rasmussen, Williams: Gaussian processes for machine learning, 2006, equations 2.25, 2.26, 4.17, 5.1). The distance
d_j of two points on an axis is that of their positions on the unit axis; of two choices 0 or 1; of a parameter that is
active in one of them only 1, in neither 0. `hyperparameters` are the logarithms of the length scales and, last, of the
noise; the output scale s is the one of the highest marginal likelihood. Sums are of a fixed order, and no library of
linear algebra is called, so a result depends on the numbers that go in only, not on threads or on what is installed.

Arrays hold an axis a row: points (d, n), candidates (d, m). A matrix is given as its lower half.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .arrays import BoolArray, FloatArray
from .compiling import REORDER, kernel
from .exponential import exponential

LEAST_NOISE = 1e-6  # added to the noise, so that points that lie together leave the matrix regular
_LEAST_SCALE = 1e-3  # of s, for points of equal value
_LEAST_PIVOT = 1e-10
_SAME = 1e-12  # positions that differ by less may stand for the same value
# of the search for hyperparameters: first, smallest and largest step, and what a step grows and shrinks by (Riedmiller,
# Braun 1993; the first step for logarithms of length scales)
_FIRST_STEP, _LEAST_STEP, _MOST_STEP, _GROWTH, _SHRINKAGE = 0.3, 1e-3, 1.0, 1.2, 0.5
_LOWEST_NOISE, _HIGHEST_NOISE = -11.0, 1.0  # logarithms


class FittedProcess(NamedTuple):
    """A Gaussian process that is fitted to points; see `fit`.

    Points past the length of `alpha` are pending: they have no value yet, and only make it certain that there will be
    one.
    """

    categorical: BoolArray  # whether an axis holds choices, (d,)
    hyperparameters: FloatArray  # (d + 1,)
    points: FloatArray  # (d, size), or with room for more
    size: int  # how many points there are, the pending ones included
    output_scale: float
    cholesky: FloatArray  # with a row for each of the points
    alpha: FloatArray  # (n,)


@kernel(fastmath=REORDER)
def add_squared_distances(is_categorical: bool, x: float, points: FloatArray, weight: float, sums: FloatArray) -> None:
    """sums += weight d^2 between x and each of the points (n,) on one axis."""
    if x != x:
        for k in range(len(sums)):
            sums[k] += weight if points[k] == points[k] else 0.0
    elif is_categorical:
        for k in range(len(sums)):
            sums[k] += weight if points[k] != x else 0.0
    else:
        for k in range(len(sums)):
            difference = points[k] - x
            sums[k] += weight * (difference * difference if points[k] == points[k] else 1.0)


@kernel(fastmath=REORDER)
def matern(sums: FloatArray) -> None:
    """sums = k(r), given r^2."""
    for k in range(len(sums)):
        q = math.sqrt(5.0 * sums[k])
        sums[k] = (1.0 + q + q * q * (1.0 / 3.0)) * exponential(-q)


@kernel(fastmath=REORDER)
def matern_derivative(squared_distances: FloatArray, factors: FloatArray) -> None:
    """factors *= d k / d (r^2), given r^2."""
    for k in range(len(factors)):
        q = math.sqrt(5.0 * squared_distances[k])
        factors[k] *= -(5.0 / 6.0) * (1.0 + q) * exponential(-q)


@kernel(fastmath=REORDER)
def sum_squared_distances(is_categorical: bool, x: float, points: FloatArray, factors: FloatArray) -> float:
    """sum of factors d^2 between x and the points on one axis."""
    total = 0.0
    if x != x:
        for k in range(len(factors)):
            total += factors[k] if points[k] == points[k] else 0.0
    elif is_categorical:
        for k in range(len(factors)):
            total += factors[k] if points[k] != x else 0.0
    else:
        for k in range(len(factors)):
            difference = points[k] - x
            total += factors[k] * (difference * difference if points[k] == points[k] else 1.0)
    return total


@kernel(fastmath=REORDER)
def dot(a: FloatArray, b: FloatArray) -> float:
    """The scalar product of two vectors, of the length of the first."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@kernel(fastmath=REORDER)
def add_scaled(factor: float, a: FloatArray, sums: FloatArray) -> None:
    """sums += factor a, over the length of a."""
    for k in range(len(a)):
        sums[k] += factor * a[k]


@kernel(fastmath=REORDER)
def add_scaled_four(a: float, b: float, c: float, e: float, rows: FloatArray, first: int, sums: FloatArray) -> None:
    """sums += a, b, c and e times the four rows from `first` on, over the length of the sums."""
    row_a, row_b, row_c, row_e = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
    for k in range(len(sums)):
        sums[k] += a * row_a[k] + b * row_b[k] + c * row_c[k] + e * row_e[k]


@kernel(fastmath=REORDER)
def dot_four(rows: FloatArray, first: int, vector: FloatArray) -> tuple[float, float, float, float]:
    """The scalar products of four rows, from `first` on, with a vector, over its length."""
    row_a, row_b, row_c, row_e = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
    a = b = c = e = 0.0
    for k in range(len(vector)):
        x = vector[k]
        a += row_a[k] * x
        b += row_b[k] * x
        c += row_c[k] * x
        e += row_e[k] * x
    return a, b, c, e


@kernel
def cholesky_row(cholesky: FloatArray, i: int) -> None:
    """Turn row i of a matrix into that of its Cholesky factor, the rows above it being factored."""
    row = cholesky[i]
    for j in range(i):
        row[j] = (row[j] - dot(row[:j], cholesky[j])) / cholesky[j, j]
    row[i] = math.sqrt(max(row[i] - dot(row[:i], row), _LEAST_PIVOT))


@kernel
def cholesky_rows(cholesky: FloatArray, count: int) -> None:
    """Turn the first rows of a matrix into its Cholesky factor, four at a time, which halves what is read."""
    fours = count - count % 4
    for i in range(0, fours, 4):
        for j in range(i):
            a, b, c, e = dot_four(cholesky, i, cholesky[j, :j])
            pivot = cholesky[j, j]
            cholesky[i, j] = (cholesky[i, j] - a) / pivot
            cholesky[i + 1, j] = (cholesky[i + 1, j] - b) / pivot
            cholesky[i + 2, j] = (cholesky[i + 2, j] - c) / pivot
            cholesky[i + 3, j] = (cholesky[i + 3, j] - e) / pivot
        for k in range(i, i + 4):
            row = cholesky[k]
            for j in range(i, k):
                row[j] = (row[j] - dot(row[:j], cholesky[j])) / cholesky[j, j]
            row[k] = math.sqrt(max(row[k] - dot(row[:k], row), _LEAST_PIVOT))
    for i in range(fours, count):
        cholesky_row(cholesky, i)


@kernel
def solve_lower(cholesky: FloatArray, vector: FloatArray) -> None:
    """vector = cholesky^-1 vector."""
    for i in range(len(vector)):
        vector[i] = (vector[i] - dot(cholesky[i, :i], vector)) / cholesky[i, i]


@kernel
def solve_lower_transposed(cholesky: FloatArray, vector: FloatArray) -> None:
    """vector = cholesky^-T vector."""
    for i in range(len(vector) - 1, -1, -1):
        vector[i] /= cholesky[i, i]
        add_scaled(-vector[i], cholesky[i, :i], vector)


@kernel
def invert_lower(cholesky: FloatArray, inverse: FloatArray) -> None:
    """inverse = cholesky^-1, a row at a time; above the diagonal it is 0."""
    for i in range(len(cholesky)):
        row = inverse[i]
        row[:] = 0.0
        fours = i - i % 4
        for k in range(0, fours, 4):
            a, b, c, e = cholesky[i, k], cholesky[i, k + 1], cholesky[i, k + 2], cholesky[i, k + 3]
            add_scaled_four(-a, -b, -c, -e, inverse, k, row[: k + 4])
        for k in range(fours, i):
            add_scaled(-cholesky[i, k], inverse[k, : k + 1], row)
        row[i] = 1.0
        for k in range(i + 1):
            row[k] /= cholesky[i, i]


@kernel
def multiply_transposed(lower: FloatArray, product: FloatArray) -> None:
    """The lower half of product = lower^T lower, of a matrix that is 0 above its diagonal."""
    n = len(lower)
    for i in range(n):
        row = product[i, : i + 1]
        row[:] = 0.0
        fours = n - (n - i) % 4
        for k in range(i, fours, 4):
            add_scaled_four(lower[k, i], lower[k + 1, i], lower[k + 2, i], lower[k + 3, i], lower, k, row)
        for k in range(fours, n):
            add_scaled(lower[k, i], lower[k, : i + 1], row)


@kernel
def covariance_row(
    categorical: BoolArray, hyperparameters: FloatArray, points: FloatArray, i: int, row: FloatArray
) -> None:
    """Correlations of point i with those before it, and its own variance with the noise, in row[: i + 1]."""
    d = len(categorical)
    row[:i] = 0.0
    for j in range(d):
        add_squared_distances(categorical[j], points[j, i], points[j, :i], math.exp(-2.0 * hyperparameters[j]), row[:i])
    matern(row[:i])
    row[i] = 1.0 + math.exp(hyperparameters[d]) + LEAST_NOISE


@kernel
def extend_cholesky(
    categorical: BoolArray, hyperparameters: FloatArray, points: FloatArray, i: int, cholesky: FloatArray
) -> None:
    """Append point i to the Cholesky factor of the kernel matrix of the points before it.

    Args:
        categorical: whether an axis holds choices, bool (d,).
        hyperparameters: (d + 1,).
        points: (d, n), n > i.
        i: which point.
        cholesky: (n, n), row i written.
    """
    covariance_row(categorical, hyperparameters, points, i, cholesky[i])
    cholesky_row(cholesky, i)


@kernel
def fit(
    categorical: BoolArray,
    hyperparameters: FloatArray,
    points: FloatArray,
    targets: FloatArray,
    cholesky: FloatArray,
    alpha: FloatArray,
) -> float:
    """Fit the process to the values of points, its hyperparameters being given.

    Args:
        categorical, hyperparameters, points: see `extend_cholesky`.
        targets: values of the first points (n,), of mean 0.
        cholesky: (n, n) or larger, its first n rows written: the Cholesky factor L of the kernel matrix K / s.
        alpha: (n,), written: s K^-1 targets, by which the mean weights the correlations with each point.

    Returns:
        the output scale.
    """
    n = len(targets)
    for i in range(n):
        covariance_row(categorical, hyperparameters, points, i, cholesky[i])
        alpha[i] = targets[i]
    cholesky_rows(cholesky, n)
    solve_lower(cholesky, alpha)
    output_scale = max(dot(alpha, alpha) / n, _LEAST_SCALE)
    solve_lower_transposed(cholesky, alpha)
    return output_scale


@kernel
def predict(gaussian_process: FittedProcess, candidates: FloatArray, means: FloatArray, deviations: FloatArray) -> None:
    """The posterior mean and standard deviation of the value at each candidate.

    Args:
        gaussian_process: the Gaussian process.
        candidates: (d, m).
        means, deviations: (m,), written.
    """
    categorical, hyperparameters, points = (
        gaussian_process.categorical,
        gaussian_process.hyperparameters,
        gaussian_process.points,
    )
    count, cholesky, alpha = gaussian_process.size, gaussian_process.cholesky, gaussian_process.alpha
    d = len(categorical)
    row = np.empty(count)
    for i in range(len(means)):
        row[:] = 0.0
        for j in range(d):
            add_squared_distances(
                categorical[j], candidates[j, i], points[j, :count], math.exp(-2.0 * hyperparameters[j]), row
            )
        matern(row)
        means[i] = dot(alpha, row)
        solve_lower(cholesky, row)
        deviations[i] = math.sqrt(gaussian_process.output_scale * max(1.0 - dot(row, row), 0.0))


@kernel
def contains_point(points: FloatArray, count: int, candidates: FloatArray, i: int) -> bool:
    """Whether candidate i, of (d, m), is one of the first `count` points, but for rounding."""
    d = len(points)
    for k in range(count):
        j = 0
        while j < d and (
            abs(points[j, k] - candidates[j, i]) <= _SAME
            or (points[j, k] != points[j, k] and candidates[j, i] != candidates[j, i])
        ):
            j += 1
        if j == d:
            return True
    return False


@kernel
def negative_log_posterior(
    categorical: BoolArray,
    hyperparameters: FloatArray,
    points: FloatArray,
    targets: FloatArray,
    prior_means: FloatArray,
    prior_deviations: FloatArray,
    gradient: FloatArray,
) -> float:
    """The negative logarithm of the posterior density of hyperparameters, but for a constant.

    That is the negative log marginal likelihood of the targets, with the output scale that makes it lowest, and the
    negative log prior, which is normal.

    Args:
        categorical, hyperparameters, points: see `extend_cholesky`.
        targets: (n,), of mean 0.
        prior_means, prior_deviations: means and standard deviations of the prior, (d + 1,).
        gradient: by the hyperparameters, (d + 1,), written; or of length 0, for the density alone.
    """
    d, n = points.shape
    squared_distances, cholesky = np.zeros((n, n)), np.zeros((n, n))
    noise = math.exp(hyperparameters[d])
    for i in range(n):
        for j in range(d):
            weight = math.exp(-2.0 * hyperparameters[j])
            add_squared_distances(categorical[j], points[j, i], points[j, :i], weight, squared_distances[i, :i])
        cholesky[i, :i] = squared_distances[i, :i]
        matern(cholesky[i, :i])
        cholesky[i, i] = 1.0 + noise + LEAST_NOISE
    cholesky_rows(cholesky, n)
    alpha = targets.copy()
    solve_lower(cholesky, alpha)
    total = dot(alpha, alpha)
    output_scale = max(total / n, _LEAST_SCALE)
    total = 0.5 * total / output_scale + 0.5 * n * math.log(output_scale)
    for i in range(n):
        total += math.log(cholesky[i, i])
    for t in range(d + 1):
        off = (hyperparameters[t] - prior_means[t]) / prior_deviations[t]
        total += 0.5 * off * off
    if len(gradient) == 0:
        return total
    solve_lower_transposed(cholesky, alpha)
    # the derivative by an entry of the kernel matrix is half of (its inverse minus alpha alpha^T / s)
    inverse = np.empty((n, n))
    invert_lower(cholesky, inverse)
    matrix_gradient = np.empty((n, n))
    multiply_transposed(inverse, matrix_gradient)
    gradient[:] = 0.0
    for i in range(n):
        row = matrix_gradient[i, :i]
        gradient[d] += 0.5 * noise * (matrix_gradient[i, i] - alpha[i] * alpha[i] / output_scale)
        add_scaled(-alpha[i] / output_scale, alpha[:i], row)
        matern_derivative(squared_distances[i, :i], row)
        for j in range(d):
            weight = math.exp(-2.0 * hyperparameters[j])
            gradient[j] -= 2.0 * weight * sum_squared_distances(categorical[j], points[j, i], points[j, :i], row)
    for t in range(d + 1):
        gradient[t] += (hyperparameters[t] - prior_means[t]) / prior_deviations[t] ** 2
    return total


@kernel
def optimize_hyperparameters(
    categorical: BoolArray,
    hyperparameters: FloatArray,
    points: FloatArray,
    targets: FloatArray,
    prior_means: FloatArray,
    prior_deviations: FloatArray,
    steps: int,
) -> None:
    """Lower `negative_log_posterior` by a few steps, each hyperparameter's step its own; the best seen are kept.

    The method is Rprop, which needs no line search (Riedmiller, Braun: A direct adaptive method for faster
    backpropagation learning. 1993; for Gaussian processes, Blum, Riedmiller: Optimization of Gaussian process
    hyperparameters using Rprop. 2013).

    Args:
        hyperparameters: where to begin, (d + 1,), changed.
        steps: how many.
        (others): see `negative_log_posterior`.
    """
    count = len(hyperparameters)
    current, gradient, previous = hyperparameters.copy(), np.zeros(count), np.zeros(count)
    step = np.full(count, _FIRST_STEP)
    lowest = np.inf
    for step_number in range(steps):
        wanted = gradient if step_number < steps - 1 else gradient[:0]  # the last point is not left
        value = negative_log_posterior(categorical, current, points, targets, prior_means, prior_deviations, wanted)
        if value < lowest:
            lowest = value
            for t in range(count):
                hyperparameters[t] = current[t]
        for t in range(len(wanted)):
            product = gradient[t] * previous[t]
            if product > 0.0:
                step[t] = min(step[t] * _GROWTH, _MOST_STEP)
            elif product < 0.0:
                step[t] = max(step[t] * _SHRINKAGE, _LEAST_STEP)
                gradient[t] = 0.0
            if gradient[t] != 0.0:
                current[t] -= math.copysign(step[t], gradient[t])
            previous[t] = gradient[t]
        current[count - 1] = min(max(current[count - 1], _LOWEST_NOISE), _HIGHEST_NOISE)
