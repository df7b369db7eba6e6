"""PED-ANOVA: a parameter matters as far as the best trials are distributed over it otherwise than all are.

Watanabe, Bansal, Hutter: PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces. IJCAI
2023, doi 10.24963/ijcai.2023/488. The densities are sums of normal distributions around the trials, of a width by
Scott's rule, on a grid of at most 50 cells (their appendix, and Optuna's implementation).
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel

_SCOTT = 1.059
_NORMAL_RANGE = 1.34  # of a normal distribution of width 1, between its quartiles
_LEAST_WIDTH = 0.5 / 1.64  # of the normals, in cells: nine tenths of one then lie in its own cell
_NOWHERE_ZERO = 1e-12
_HALF = math.sqrt(0.5)


@kernel
def normal_width(counts: IntArray) -> float:
    """Scott's rule for observations in cells: 1.059 min(range between the quartiles / 1.34, deviation) n^-0.2."""
    total, mean = 0, 0.0
    for cell in range(len(counts)):
        total += counts[cell]
        mean += cell * counts[cell]
    mean /= total
    square = 0.0
    for cell in range(len(counts)):
        square += counts[cell] * (cell - mean) ** 2
    deviation = math.sqrt(square / max(1, total - 1))
    first, third, last = -1, -1, 0
    seen = 0
    for cell in range(len(counts)):
        if counts[cell] == 0:
            continue
        seen += counts[cell]
        last = cell
        if first < 0 and seen >= total // 4:
            first = cell
        if third < 0 and seen > total * 3 // 4:
            third = cell
    if third < 0:
        third = last
    width = _SCOTT * min((third - first) / _NORMAL_RANGE, deviation) * total**-0.2
    return max(width, _LEAST_WIDTH)


@kernel
def density_of_numbers(counts: IntArray, density: FloatArray) -> None:
    """Write the density of observations on a grid: a normal around each, and one around the middle for the prior.

    Args:
        counts: of the observations in each cell, int64 (g,), at least one in all.
        density: (g,), written; its sum is 1.
    """
    g = len(counts)
    width = normal_width(counts)
    total = 1.0
    for cell in range(g):
        total += counts[cell]
    density[:] = 0.0
    for centre in range(g + 1):
        weight, middle, spread = 1.0, 0.5 * (g - 1), float(g)
        if centre < g:
            weight, middle, spread = float(counts[centre]), float(centre), width
        if weight == 0.0:
            continue
        below = math.erf((-0.5 - middle) / spread * _HALF)
        inside = math.erf((g - 0.5 - middle) / spread * _HALF) - below
        for cell in range(g):
            above = math.erf((cell + 0.5 - middle) / spread * _HALF)
            density[cell] += weight / total * (above - below) / inside
            below = above


@kernel
def density_of_choices(counts: IntArray, density: FloatArray) -> None:
    """Write the density of observations over choices, a little of each given to all; as `density_of_numbers`."""
    g = len(counts)
    seen, total = 0, 1.0
    for choice in range(g):
        seen += counts[choice] > 0
        total += counts[choice]
    spread = 1.0 / (seen + 1)  # that the prior gives to each choice, beside 1 for the one observed
    for choice in range(g):
        density[choice] = 1.0 / (g * total)
    for observed in range(g):
        if counts[observed] > 0:
            for choice in range(g):
                share = (spread + (1.0 if choice == observed else 0.0)) / (1.0 + g * spread)
                density[choice] += counts[observed] / total * share


@kernel
def divergence(top: IntArray, all_of_them: IntArray, is_ordered: bool) -> float:
    """The Pearson divergence of the best trials' density from that of all: sum_c q(c) (p(c) / q(c) - 1)^2 (eq. 8).

    Args:
        top: of the best trials, counts in the cells of a grid, int64 (g,), at least one in all.
        all_of_them: of all trials, int64 (g,).
        is_ordered: whether cells are near each other or far, or choices.
    """
    g = len(top)
    p, q = np.empty(g), np.empty(g)
    if is_ordered:
        density_of_numbers(top, p)
        density_of_numbers(all_of_them, q)
    else:
        density_of_choices(top, p)
        density_of_choices(all_of_them, q)
    total = 0.0
    for cell in range(g):
        below = q[cell] + _NOWHERE_ZERO
        total += below * ((p[cell] + _NOWHERE_ZERO) / below - 1.0) ** 2
    return total
