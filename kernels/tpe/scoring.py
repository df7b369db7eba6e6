"""Candidates, scored by log l(x) - log g(x), or by the upper confidence bound of a Gaussian process."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, Space, WordArray
from ..axes import CONSTANT, KIND, LOW, coordinate_of_value, positions_of_candidates, value_of_coordinate
from ..compiling import kernel
from ..gaussian_process import FittedProcess, contains_point, predict
from .above import above_joint
from .above_tabulated import above_independent
from .below import below_independent, below_joint
from .densities import Above, Below
from .draws import draw_candidates
from .parzen import describe

_KEPT = 0.5  # of the best point's parameters
_TRIED = 3.0  # standard deviations that a candidate which was tried is put back


@kernel
def propose(
    space: Space,
    below: Below,
    above: Above,
    joint: bool,
    every: bool,
    key: WordArray,
    values: FloatArray,
    scores: FloatArray,
) -> None:
    """Draw candidates from l and score them: one call an ask.

    Args:
        space, below, above: the search space, l and g.
        joint: model the parameters jointly, by product kernels; else each for itself.
        every: whether every score must be exact, not the highest one only.
        key: of the random stream, (5,).
        values: column values of the candidates, (m, d), written.
        scores: log l - log g of the candidates, (m,), written; see `above.above_joint`.
    """
    axes = space.axes
    d = len(axes)
    m = len(scores)
    candidates = np.empty((m, d))
    draw_candidates(space, below, joint, 0.0, key, candidates)
    queries = np.empty((d, 4, m))
    describe(axes, candidates, queries)
    log_below = np.empty(m)
    if joint:
        below_joint(axes, below, queries, log_below)
        above_joint(space, above, queries, log_below, every, scores)
    else:
        below_independent(axes, below, queries, log_below)
        above_independent(axes, above, queries, log_below, scores)
    for i in range(m):
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])


@kernel
def propose_in_branch(
    space: Space,
    held: Space,
    below: Below,
    gaussian_process: FittedProcess,
    confidence: float,
    keys: WordArray,
    values: FloatArray,
    acquisition: FloatArray,
) -> None:
    """As `propose_by_gaussian_process`, but some parameters have one value each.

    Args:
        space, gaussian_process: the search space, and the Gaussian process in it.
        held: the same space, with a CONSTANT axis for each parameter that has one value.
        below: l, in the latter space.
        (others): see `propose_by_gaussian_process`.
    """
    axes = space.axes
    d = len(axes)
    m = len(acquisition)
    candidates = np.empty((m, d))
    part = m // len(keys)
    for k in range(len(keys)):
        drawn = candidates[k * part : (k + 1) * part]
        kept = _KEPT if k == 2 else 0.0
        draw_candidates(held, below, k == 0, kept, keys[k], drawn)
    for j in range(d):
        if held.axes[j, KIND] == CONSTANT and axes[j, KIND] != CONSTANT:
            for i in range(m):
                candidates[i, j] = coordinate_of_value(axes[j], held.axes[j, LOW])
    positions = np.empty((d, m))
    positions_of_candidates(axes, candidates, positions)
    deviations = np.empty(m)
    predict(gaussian_process, positions, acquisition, deviations)
    for i in range(m):
        if contains_point(gaussian_process.points, gaussian_process.size, positions, i):
            acquisition[i] -= _TRIED * math.sqrt(gaussian_process.output_scale)
        else:
            acquisition[i] += confidence * deviations[i]
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])


@kernel
def propose_by_gaussian_process(
    space: Space,
    below: Below,
    gaussian_process: FittedProcess,
    confidence: float,
    keys: WordArray,
    values: FloatArray,
    acquisition: FloatArray,
) -> None:
    """Draw candidates from l and score them by the upper confidence bound of a Gaussian process.

    A third of the candidates are drawn from the joint density and a third from the independent one; those of the last
    third have half of their parameters from the best point, which is the first, and the others from the independent
    density. A candidate that was tried already is put far back.

    Args:
        space, below, gaussian_process: the search space, l and the Gaussian process.
        confidence: posterior standard deviations between the mean and the bound.
        keys: of the three parts' random streams, (3, 5).
        values: column values of the candidates, (m, d), written; m is a multiple of three.
        acquisition: the upper confidence bound of each candidate, (m,), written.
    """
    propose_in_branch(space, space, below, gaussian_process, confidence, keys, values, acquisition)
