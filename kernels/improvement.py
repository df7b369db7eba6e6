"""The expected improvement of a Gaussian process, as a logarithm, and its ascent along continuous axes.

A value that is normal with mean m and deviation s improves on the value b by s h(z) in expectation, where z = (m - b)
/ s, h(z) = phi(z) + z Phi(z), and phi and Phi are the density and the distribution function of the normal
distribution (Jones, Schonlau, Welch: Efficient global optimization of expensive black-box functions. 1998). Its
logarithm has a slope where the improvement itself is too small for a float (Ament et al.: Unexpected improvements to
expected improvement for Bayesian optimization. NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np

from .arrays import BoolArray, FloatArray
from .compiling import kernel
from .gaussian_process import (
    LEAST_NOISE,
    FittedProcess,
    add_scaled,
    add_squared_distances,
    dot,
    matern,
    matern_derivative,
    solve_lower,
    solve_lower_transposed,
)

_FAR = -30.0  # below it h is given by its expansion
_LEAST_VARIANCE = 1e-10  # as a share of the output scale
# of an ascent (Rprop, see `optimize_hyperparameters`): its steps, the first one's length and what it may come to, as
# shares of the range, and what a step grows and shrinks by
_STEPS, _FIRST_STEP, _RADIUS, _GROWTH, _SHRINKAGE = 12, 0.025, 0.1, 1.2, 0.5


@kernel
def log_h(z: float) -> tuple[float, float]:
    """log h(z), and its derivative."""
    if z < _FAR:
        return -0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - 2.0 * math.log(-z), -z - 2.0 / z
    below = 0.5 * math.erfc(-z / math.sqrt(2.0))
    h = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) + z * below
    return math.log(h), below / h


@kernel
def best_mean(gaussian_process: FittedProcess) -> float:
    """The highest posterior mean at a point whose value is known.

    The mean at such a point is its value less its noise times its weight, and the values follow from the weights and
    the Cholesky factor.
    """
    alpha, cholesky = gaussian_process.alpha, gaussian_process.cholesky
    n = len(alpha)
    products = np.zeros(n)  # the factor's transpose times the weights
    for i in range(n):
        add_scaled(alpha[i], cholesky[i, : i + 1], products[: i + 1])
    noise = math.exp(gaussian_process.hyperparameters[len(gaussian_process.categorical)]) + LEAST_NOISE
    best = -np.inf
    for i in range(n):
        best = max(best, dot(cholesky[i, : i + 1], products) - noise * alpha[i])
    return best


@kernel
def log_expected_improvement(
    gaussian_process: FittedProcess, best: float, point: FloatArray, movable: BoolArray, gradient: FloatArray
) -> float:
    """The logarithm of the expected improvement on `best` at a point.

    Args:
        gaussian_process: the Gaussian process.
        best: a value.
        point: positions (d,), NaN where inactive.
        movable: axes by which there is a derivative, (d,).
        gradient: (d,), written; 0 on the other axes.
    """
    categorical, hyperparameters = gaussian_process.categorical, gaussian_process.hyperparameters
    points, count, alpha = gaussian_process.points, gaussian_process.size, gaussian_process.alpha
    d = len(categorical)
    squared_distances = np.zeros(count)
    for j in range(d):
        add_squared_distances(
            categorical[j], point[j], points[j, :count], math.exp(-2.0 * hyperparameters[j]), squared_distances
        )
    row = squared_distances.copy()
    matern(row)
    mean = dot(alpha, row)
    solved = row.copy()
    solve_lower(gaussian_process.cholesky, solved)
    scale = gaussian_process.output_scale
    deviation = math.sqrt(scale * max(1.0 - dot(solved, solved), _LEAST_VARIANCE))
    z = (mean - best) / deviation
    logarithm, slope = log_h(z)
    # derivatives by the correlation with each point, then by each point's squared distance
    by_mean, by_deviation = slope / deviation, (1.0 - z * slope) / deviation
    solve_lower_transposed(gaussian_process.cholesky, solved)
    factors = np.zeros(count)
    add_scaled(by_mean, alpha, factors)
    add_scaled(-by_deviation * scale / deviation, solved, factors)
    matern_derivative(squared_distances, factors)
    for j in range(d):
        gradient[j] = 0.0
        if not movable[j] or point[j] != point[j]:
            continue
        total = 0.0
        for k in range(count):
            if points[j, k] == points[j, k]:
                total += factors[k] * (point[j] - points[j, k])
        gradient[j] = 2.0 * math.exp(-2.0 * hyperparameters[j]) * total
    return math.log(deviation) + logarithm


@kernel
def ascend(gaussian_process: FittedProcess, best: float, movable: BoolArray, point: FloatArray) -> float:
    """Move a point to where the expected improvement is higher, not far away; its logarithm there.

    Args:
        gaussian_process, best, movable: see `log_expected_improvement`.
        point: positions (d,), changed on the movable axes where it is active.
    """
    d = len(point)
    start, current = point.copy(), point.copy()
    gradient, previous, steps = np.zeros(d), np.zeros(d), np.full(d, _FIRST_STEP)
    highest = -np.inf
    for turn in range(_STEPS + 1):
        value = log_expected_improvement(gaussian_process, best, current, movable, gradient)
        if value > highest:
            highest = value
            point[:] = current
        if turn == _STEPS:
            break
        for j in range(d):
            product = gradient[j] * previous[j]
            if product > 0.0:
                steps[j] = min(steps[j] * _GROWTH, _RADIUS)
            elif product < 0.0:
                steps[j] *= _SHRINKAGE
                gradient[j] = 0.0
            if gradient[j] != 0.0:
                low, high = max(start[j] - _RADIUS, 0.0), min(start[j] + _RADIUS, 1.0)
                current[j] = min(max(current[j] + math.copysign(steps[j], gradient[j]), low), high)
            previous[j] = gradient[j]
    return highest
