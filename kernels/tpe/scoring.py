"""Candidates, scored by log l(x) - log g(x), or by the upper confidence bound of a Gaussian process."""

from __future__ import annotations

import math

import numpy as np

from ..axes import positions_of_candidates, value_of_coordinate
from ..compiling import kernel
from ..gaussian_process import contains_point, predict
from .above import above_joint
from .above_tabulated import above_independent
from .below import below_independent, below_joint
from .draws import draw_candidates
from .parzen import describe

_KEPT = 0.5  # of the best point's parameters
_TRIED = 3.0  # standard deviations that a candidate which was tried is put back


@kernel
def propose(  # type: ignore[no-untyped-def]
    axes, order, conditions, allowed, conditional, cells, points, masses, weights, cumulative, rows, factors, direct,
    store, offsets, n, weight, tables, histogram, starts, active, components, above_bandwidth, joint, every, key,
    values, scores,
):  # fmt: skip
    """Draw candidates from l and score them: one call an ask.

    Args:
        axes, order, conditions, allowed, conditional: the space; see `kernels/axes.py`.
        cells: masses of cells at the bandwidth of g; see `parzen.tabulate_cells`.
        points, masses: of l, with their kernels; see `parzen.fit`.
        weights, cumulative: of the kernels of l and, last, of the prior, (b + 1,).
        rows, factors, direct, store, offsets, n, weight: the observations of g; see `above.above_joint`.
        tables, histogram, starts, active: the same, tabulated; see `above_tabulated.count_observations`.
        components: how many observations of g there are, the prior included.
        above_bandwidth: bandwidth of g.
        joint: model the parameters jointly, by product kernels; else each for itself.
        every: whether every score must be exact, not the highest one only.
        key: of the random stream, uint64 (5,).
        values: column values of the candidates, (m, d), written.
        scores: log l - log g of the candidates, (m,), written; see `above.above_joint`.
    """
    d = len(axes)
    m = len(scores)
    candidates = np.empty((m, d))
    draw_candidates(axes, order, conditions, allowed, points, cumulative, joint, 0.0, key, candidates)
    queries = np.empty((d, 4, m))
    describe(axes, candidates, queries)
    below = np.empty(m)
    if joint:
        below_joint(axes, points, masses, weights, queries, below)
        above_joint(
            axes, conditional, above_bandwidth, rows, factors, direct, cells, store, offsets, n, weight, components,
            queries, below, every, scores,
        )  # fmt: skip
    else:
        below_independent(axes, points, masses, weights, queries, below)
        above_independent(axes, tables, histogram, starts, active, components, cells, queries, below, scores)
    for i in range(m):
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])


@kernel
def propose_by_gaussian_process(  # type: ignore[no-untyped-def]
    axes, order, conditions, allowed, points, cumulative, keys, categorical, hyperparameters, trials, count,
    output_scale, cholesky, alpha, confidence, values, acquisition,
):  # fmt: skip
    """Draw candidates from l and score them by the upper confidence bound of a Gaussian process.

    A third of the candidates are drawn from the joint density and a third from the independent one; those of the last
    third have half of their parameters from the best point, which is the first, and the others from the independent
    density. A candidate that was tried already is put far back.

    Args:
        axes, order, conditions, allowed: the space; see `kernels/axes.py`.
        points, cumulative: of l; see `propose`.
        keys: of the three parts' random streams, uint64 (3, 5).
        categorical, hyperparameters, trials, count, output_scale, cholesky, alpha: the Gaussian process, `trials` being
            its points; see `gaussian_process.predict`.
        confidence: posterior standard deviations between the mean and the bound.
        values: column values of the candidates, (m, d), written; m is a multiple of three.
        acquisition: the upper confidence bound of each candidate, (m,), written.
    """
    d = len(axes)
    m = len(acquisition)
    candidates = np.empty((m, d))
    part = m // len(keys)
    for k in range(len(keys)):
        drawn = candidates[k * part : (k + 1) * part]
        kept = _KEPT if k == 2 else 0.0
        draw_candidates(axes, order, conditions, allowed, points, cumulative, k == 0, kept, keys[k], drawn)
    positions = np.empty((d, m))
    positions_of_candidates(axes, candidates, positions)
    deviations = np.empty(m)
    predict(
        categorical, hyperparameters, trials, count, output_scale, cholesky, alpha, positions, acquisition, deviations
    )
    for i in range(m):
        if contains_point(trials, count, positions, i):
            acquisition[i] -= _TRIED * math.sqrt(output_scale)
        else:
            acquisition[i] += confidence * deviations[i]
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])
