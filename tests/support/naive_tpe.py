"""TPE's densities as the textbook writes them: one observation, one parameter, one term at a time, with SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import truncnorm

from fasthpo import Categorical, SearchSpace


def _position(parameter: Any, value: float) -> float:
    low, high = _ends(parameter)
    return (_scaled(parameter, value) - low) / (high - low)


def _scaled(parameter: Any, value: float) -> float:
    return math.log(value) if parameter.log else value


def _ends(parameter: Any) -> tuple[float, float]:
    half = (parameter.step or 0) / 2
    return _scaled(parameter, parameter.low - half), _scaled(parameter, parameter.high + half)


def _truncated(position: float, bandwidth: float) -> Any:
    return truncnorm((0 - position) / bandwidth, (1 - position) / bandwidth, loc=position, scale=bandwidth)


def log_kernel(parameter: Any, value: float, position: float, bandwidth: float) -> float:
    """Log density (of a stepped parameter: log mass) at `value` of a kernel at `position`."""
    kernel = _truncated(position, bandwidth)
    if parameter.step is None:
        return float(kernel.logpdf(_position(parameter, value)))
    low, high = _ends(parameter)
    below = (_scaled(parameter, value - parameter.step / 2) - low) / (high - low)
    above = (_scaled(parameter, value + parameter.step / 2) - low) / (high - low)
    if above - below < 1e-6 * bandwidth:  # a difference of the distribution function would lose all digits
        return float(kernel.logpdf((below + above) / 2) + math.log(above - below))
    mass = kernel.cdf(above) - kernel.cdf(below) if below < position else kernel.sf(below) - kernel.sf(above)
    return math.log(max(mass, 1e-300))


def log_prior(parameter: Any, value: float) -> float:
    """Log density (mass) of a parameter's prior component."""
    if parameter.count == 1:
        return 0.0
    if isinstance(parameter, Categorical):
        return -math.log(parameter.count)
    return log_kernel(parameter, value, 0.5, 1.0)


def log_observation(parameter: Any, value: float, observed: float, bandwidth: float, components: float) -> float:
    """Log density (mass) at `value` under one observation; the prior if the observation is inactive (NaN)."""
    if parameter.count == 1:
        return 0.0
    if math.isnan(observed):
        return log_prior(parameter, value)
    if isinstance(parameter, Categorical):
        weight = 1 / components
        return math.log(((value == observed) + weight) / (1 + parameter.count * weight))
    return log_kernel(parameter, value, _position(parameter, observed), bandwidth)


def bandwidths(space: SearchSpace, rows: np.ndarray, least: float) -> np.ndarray:
    """Bandwidths (n, d) from the gaps between neighbouring observations (n, d)."""
    widths = np.ones(rows.shape)
    for j, parameter in enumerate(space.parameters):
        if isinstance(parameter, Categorical) or parameter.count == 1:
            continue
        active = [k for k in range(len(rows)) if not math.isnan(rows[k, j])]
        positions = {k: _position(parameter, rows[k, j]) for k in active}
        ranked = sorted(active, key=lambda k: (positions[k], k))
        for r, k in enumerate(ranked):
            neighbours = [positions[ranked[i]] for i in (r - 1, r + 1) if 0 <= i < len(ranked)] or [0.0, 1.0]
            gap = max(abs(positions[k] - other) for other in neighbours)
            widths[k, j] = min(max(gap, least), 1.0)
    return widths


def log_density(
    space: SearchSpace, row: np.ndarray, rows: np.ndarray, widths: np.ndarray, weights: np.ndarray, joint: bool
) -> float:
    """log(density / prior density) at `row` (d,) of the mixture of `rows` (n, d) and, last in `weights`, the prior."""
    n, d = rows.shape
    active = [j for j in range(d) if not math.isnan(row[j])]
    parameters = space.parameters
    if joint:
        terms = [
            sum(log_observation(parameters[j], row[j], rows[k, j], widths[k, j], n + 1) for j in active)
            for k in range(n)
        ]
        terms.append(sum(log_prior(parameters[j], row[j]) for j in active))
        total = float(logsumexp(terms, b=weights / weights.sum()))
        return total - terms[-1]
    total = 0.0
    for j in active:
        used = [k for k in range(n) if not math.isnan(rows[k, j])]
        terms = [log_observation(parameters[j], row[j], rows[k, j], widths[k, j], n + 1) for k in used]
        terms.append(log_prior(parameters[j], row[j]))
        mixing = np.array([*weights[used], weights[-1]])
        total += float(logsumexp(terms, b=mixing / mixing.sum())) - terms[-1]
    return total
