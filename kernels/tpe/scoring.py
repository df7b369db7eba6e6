"""Candidates, scored by log l(x) - log g(x), or by the upper confidence bound of a Gaussian process."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import BoolArray, FloatArray, Space, WordArray
from ..axes import CONSTANT, KIND, LOW, coordinate_of_value, positions_of_candidates, value_of_coordinate
from ..compiling import kernel
from ..gaussian_process import FittedProcess, contains_point, predict
from ..improvement import ascend, best_mean, log_h
from .above import above_joint
from .above_tabulated import above_independent
from .below import below_independent, below_joint
from .densities import Above, Below
from .draws import draw_candidates
from .parzen import describe

_KEPT = 0.5  # of the best point's parameters
_TRIED = 3.0  # standard deviations that a candidate which was tried is put back
_TRIED_LOGARITHM = 1e3  # the same, of the logarithm of its expected improvement
_MOVED = 3  # candidates that are moved to where more improvement is to be expected
_LEAST_DEVIATION = 1e-9


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
def draw_parts(
    space: Space, held: Space, below: Below, keys: WordArray, candidates: FloatArray, positions: FloatArray
) -> None:
    """Draw candidates for a Gaussian process from l.

    A third of them are drawn from the joint density and a third from the independent one; those of the last third have
    half of their parameters from the best point, which is the first, and the others from the independent density.

    Args:
        space: the search space.
        held: the same, with a CONSTANT axis for each parameter that is to have one value.
        below: l, in the latter space.
        keys: of the three parts' random streams, (3, 5).
        candidates: coordinates (m, d), written; m is a multiple of three.
        positions: where they are for the Gaussian process, (d, m), written.
    """
    axes = space.axes
    m, d = candidates.shape
    part = m // len(keys)
    for k in range(len(keys)):
        drawn = candidates[k * part : (k + 1) * part]
        kept = _KEPT if k == 2 else 0.0
        draw_candidates(held, below, k == 0, kept, keys[k], drawn)
    for j in range(d):
        if held.axes[j, KIND] == CONSTANT and axes[j, KIND] != CONSTANT:
            for i in range(m):
                candidates[i, j] = coordinate_of_value(axes[j], held.axes[j, LOW])
    positions_of_candidates(axes, candidates, positions)


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
    positions = np.empty((d, m))
    draw_parts(space, held, below, keys, candidates, positions)
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

    A candidate that was tried already is put far back.

    Args:
        space, below, gaussian_process: the search space, l and the Gaussian process.
        confidence: posterior standard deviations between the mean and the bound.
        keys: of the three parts' random streams, (3, 5).
        values: column values of the candidates, (m, d), written; m is a multiple of three.
        acquisition: the upper confidence bound of each candidate, (m,), written.
    """
    propose_in_branch(space, space, below, gaussian_process, confidence, keys, values, acquisition)


@kernel
def score_improvements(
    gaussian_process: FittedProcess, best: float, positions: FloatArray, improvements: FloatArray
) -> None:
    """The logarithm of the expected improvement on `best` at several points; one that was tried is put far back.

    Args:
        gaussian_process: the Gaussian process.
        best: a value.
        positions: (d, m).
        improvements: (m,), written.
    """
    deviations = np.empty(len(improvements))
    predict(gaussian_process, positions, improvements, deviations)
    for i in range(len(improvements)):
        deviation = max(deviations[i], _LEAST_DEVIATION)
        improvements[i] = math.log(deviation) + log_h((improvements[i] - best) / deviation)[0]
        if contains_point(gaussian_process.points, gaussian_process.size, positions, i):
            improvements[i] -= _TRIED_LOGARITHM


@kernel
def propose_by_improvement(
    space: Space,
    below: Below,
    gaussian_process: FittedProcess,
    movable: BoolArray,
    keys: WordArray,
    values: FloatArray,
    improvements: FloatArray,
) -> None:
    """Draw candidates from l, score them by their expected improvement, and move the best few to where it is higher.

    A candidate that was tried already is put far back.

    Args:
        space, below, gaussian_process, keys, values: see `propose_by_gaussian_process`.
        movable: which axes are continuous, (d,).
        improvements: the logarithm of the expected improvement on the best mean at a known point, (m,), written.
    """
    axes = space.axes
    d = len(axes)
    m = len(improvements)
    candidates, positions = np.empty((m, d)), np.empty((d, m))
    draw_parts(space, space, below, keys, candidates, positions)
    best = best_mean(gaussian_process)
    score_improvements(gaussian_process, best, positions, improvements)
    moved = np.zeros(m, np.bool_)
    for _ in range(min(_MOVED, m)):
        chosen = -1
        for i in range(m):
            if not moved[i] and (chosen < 0 or improvements[i] > improvements[chosen]):
                chosen = i
        moved[chosen] = True
        point = positions[:, chosen].copy()
        improvements[chosen] = ascend(gaussian_process, best, movable, point)
        positions[:, chosen] = point
        if contains_point(gaussian_process.points, gaussian_process.size, positions, chosen):
            improvements[chosen] -= _TRIED_LOGARITHM
        for j in range(d):
            if movable[j]:
                candidates[chosen, j] = point[j]
    for i in range(m):
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])
