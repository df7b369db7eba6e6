"""Several Gaussian processes over the same points, one an objective, asked of many candidates at once.

Each is as in `kernels/gaussian_process.py`. Here the innermost loops run over the candidates: one after the other would
take several times as long.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..arrays import BoolArray, FloatArray, IntArray
from ..compiling import REORDER, kernel
from ..gaussian_process import add_scaled, add_squared_distances, extend_cholesky, matern


class Processes(NamedTuple):
    """Gaussian processes that are fitted to the losses of the same points; see `gaussian_process.FittedProcess`.

    A loss is `centers + spreads * (value of the process)`.
    """

    categorical: BoolArray  # whether an axis holds choices, (d,)
    hyperparameters: FloatArray  # (p, d + 1)
    points: FloatArray  # (d, size), or with room for more
    size: int  # how many points there are, the pending ones included
    output_scales: FloatArray  # (p,)
    cholesky: FloatArray  # with a row for each of the points, (p, rows, rows)
    alpha: FloatArray  # (p, n)
    centers: FloatArray  # (p,)
    spreads: FloatArray  # (p,)


@kernel(fastmath=REORDER)
def subtract_products(factors: FloatArray, rows: FloatArray, count: int, target: FloatArray) -> None:
    """target -= the sum of the first `count` rows, each times its factor: four rows at a time."""
    k = 0
    while k + 4 <= count:
        a, b, c, d = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        for i in range(len(target)):
            target[i] -= a * rows[k, i] + b * rows[k + 1, i] + c * rows[k + 2, i] + d * rows[k + 3, i]
        k += 4
    while k < count:
        add_scaled(-factors[k], rows[k], target)
        k += 1


@kernel(fastmath=REORDER)
def add_squares(row: FloatArray, sums: FloatArray) -> None:
    """sums += row^2."""
    for i in range(len(row)):
        sums[i] += row[i] * row[i]


@kernel(fastmath=REORDER)
def add_four_squares(axes: IntArray, point: FloatArray, candidates: FloatArray, sums: FloatArray) -> None:
    """sums += the squared distance between a point (d,) and each of some candidates (d, c) on four axes of numbers."""
    a, b, c, d = point[axes[0]], point[axes[1]], point[axes[2]], point[axes[3]]
    of_a, of_b, of_c, of_d = candidates[axes[0]], candidates[axes[1]], candidates[axes[2]], candidates[axes[3]]
    for i in range(len(sums)):
        w, x, y, z = of_a[i] - a, of_b[i] - b, of_c[i] - c, of_d[i] - d
        sums[i] += w * w + x * x + y * y + z * z


@kernel
def split_axes(processes: Processes, candidates: FloatArray, axes: IntArray) -> int:
    """Order the axes (d,) so that those come first on which all points and candidates are numbers; how many there are.

    It is a multiple of four, so that these can be taken four at a time.
    """
    d, first, last = len(axes), 0, len(axes)
    for j in range(d):
        plain = not processes.categorical[j]
        for i in range(processes.size):
            plain = plain and processes.points[j, i] == processes.points[j, i]
        for i in range(candidates.shape[1]):
            plain = plain and candidates[j, i] == candidates[j, i]
        if plain:
            axes[first] = j
            first += 1
        else:
            last -= 1
            axes[last] = j
    return first - first % 4


@kernel
def predict_losses(processes: Processes, candidates: FloatArray, means: FloatArray, deviations: FloatArray) -> None:
    """The posterior mean and standard deviation of each loss at each candidate.

    Args:
        processes: the Gaussian processes.
        candidates: (d, c).
        means, deviations: (p, c), written.
    """
    d, c = candidates.shape
    points, size, known = processes.points, processes.size, processes.alpha.shape[1]
    rows, weights, axes = np.empty((size, c)), np.empty(d), np.empty(d, np.int64)
    scales = np.empty(d)
    fours = split_axes(processes, candidates, axes)
    point, scaled = np.empty(d), np.empty((d, c))  # by the length scales
    for p in range(len(processes.output_scales)):
        hyperparameters, cholesky, alpha = processes.hyperparameters[p], processes.cholesky[p], processes.alpha[p]
        mean, squares = means[p], deviations[p]
        for j in range(d):
            scales[j] = math.exp(-hyperparameters[j])
            weights[j] = scales[j] * scales[j]
        for s in range(fours):
            j = axes[s]
            for k in range(c):
                scaled[j, k] = candidates[j, k] * scales[j]
        mean[:] = 0.0
        squares[:] = 0.0
        for i in range(size):
            row = rows[i]
            row[:] = 0.0
            for s in range(fours):
                point[axes[s]] = points[axes[s], i] * scales[axes[s]]
            for s in range(0, fours, 4):
                add_four_squares(axes[s : s + 4], point, scaled, row)
            for s in range(fours, d):
                j = axes[s]
                add_squared_distances(processes.categorical[j], points[j, i], candidates[j], weights[j], row)
            matern(row)
            if i < known:
                add_scaled(alpha[i], row, mean)
            subtract_products(cholesky[i], rows, i, row)
            inverse = 1.0 / cholesky[i, i]
            for k in range(c):
                row[k] *= inverse
            add_squares(row, squares)
        spread = processes.spreads[p]
        for k in range(c):
            mean[k] = processes.centers[p] + spread * mean[k]
            squares[k] = spread * math.sqrt(processes.output_scales[p] * max(1.0 - squares[k], 0.0))


@kernel
def add_pending_points(processes: Processes, first: int, size: int) -> None:
    """Append the points from `first` to before `size`, which have no value yet, to all Cholesky factors."""
    for p in range(len(processes.output_scales)):
        for i in range(first, size):
            extend_cholesky(
                processes.categorical, processes.hyperparameters[p], processes.points, i, processes.cholesky[p]
            )
