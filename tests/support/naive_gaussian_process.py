"""A Gaussian process as the textbook writes it: one pair of points, one parameter at a time; matrices with SciPy."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
from scipy.stats import multivariate_normal, norm


def squared_gap(a: float, b: float, is_choice: bool) -> float:
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else 1.0
    return float(a != b) if is_choice else (a - b) ** 2


def covariance(choices: np.ndarray, parameters: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of points a (d, n) with points b (d, m), noise left out."""
    lengthscales = np.exp(parameters[:-1])
    matrix = np.empty((a.shape[1], b.shape[1]))
    for i in range(a.shape[1]):
        for k in range(b.shape[1]):
            gaps = [squared_gap(a[j, i], b[j, k], choices[j]) for j in range(len(choices))]
            r = math.sqrt(sum(gap / length**2 for gap, length in zip(gaps, lengthscales, strict=True)))
            matrix[i, k] = (1 + math.sqrt(5) * r + 5 * r * r / 3) * math.exp(-math.sqrt(5) * r)
    return matrix


def with_noise(choices: np.ndarray, parameters: np.ndarray, points: np.ndarray, least: float) -> np.ndarray:
    noise = math.exp(parameters[-1]) + least
    matrix: np.ndarray = covariance(choices, parameters, points, points) + noise * np.eye(points.shape[1])
    return matrix


def best_scale(matrix: np.ndarray, targets: np.ndarray) -> float:
    """The factor of a covariance matrix under which the targets are likeliest."""
    return max(float(targets @ scipy.linalg.solve(matrix, targets, assume_a="pos")) / len(targets), 1e-3)


def predictions(
    choices: np.ndarray,
    parameters: np.ndarray,
    points: np.ndarray,
    targets: np.ndarray,
    candidates: np.ndarray,
    least: float,
    awaited: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations at candidates (d, m); `awaited` (d, r) are points whose values will be known."""
    matrix = with_noise(choices, parameters, points, least)
    scale = best_scale(matrix, targets)
    means = covariance(choices, parameters, candidates, points) @ scipy.linalg.solve(matrix, targets, assume_a="pos")
    known = np.concatenate([points, awaited], axis=1)
    cross = covariance(choices, parameters, candidates, known)
    explained = cross @ scipy.linalg.solve(with_noise(choices, parameters, known, least), cross.T, assume_a="pos")
    return means, np.sqrt(scale * np.maximum(1 - np.diag(explained), 0))


def log_posterior(
    choices: np.ndarray,
    parameters: np.ndarray,
    points: np.ndarray,
    targets: np.ndarray,
    centres: np.ndarray,
    spreads: np.ndarray,
    least: float,
) -> float:
    """The log density of parameters given the targets, but for a constant that depends on how many there are."""
    matrix = with_noise(choices, parameters, points, least)
    likelihood = multivariate_normal(cov=best_scale(matrix, targets) * matrix).logpdf(targets)
    return float(likelihood + norm(centres, spreads).logpdf(parameters).sum())
