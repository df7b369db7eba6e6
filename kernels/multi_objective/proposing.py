"""Candidates around a front, compared by how much their lower confidence bounds would improve it."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, Space, WordArray
from ..axes import (
    CATEGORICAL,
    COARSE,
    CONSTANT,
    CONTINUOUS,
    COUNT,
    KIND,
    cell_at,
    cell_of_coordinate,
    deciding,
    is_active,
    position_of_value,
    positions_of_candidates,
    value_of_cell,
    value_of_coordinate,
)
from ..compiling import kernel
from ..gaussian_process import contains_point
from ..normal import normal_cdf, normal_quantile
from ..tpe.densities import Below
from ..tpe.draws import draw_candidates, draw_coordinate, pick
from ..tpe.parzen import POINT
from ..uniforms import fill_uniforms
from .improvement import draw_weights, improvement, weighted
from .processes import Processes, predict_losses
from .ranking import MOST_MEASURED

PARTS = 3  # of the candidates that are drawn: from the joint density, from the independent one, crossed with a point
_KEPT = 0.5  # of a crossed candidate's parameters
_LARGEST_STEP, _DECADES = 0.3, 2.5  # of a climbing candidate, as a share of the axis; the smallest is so much smaller
_CHANGED = 2.0  # parameters that differ from the candidate that it climbs from, on average
_HALF_BIT = 2.0**-54  # keeps a uniform number from being 0


@kernel
def draw_crossed(space: Space, below: Below, key: WordArray, candidates: FloatArray) -> None:
    """Candidates that have about half of their parameters from one point of below, the others from the density.

    Args:
        space, below: the search space and l.
        key: of the random stream, (5,).
        candidates: coordinates (m, d), written; NaN where inactive.
    """
    axes, conditions, points = space.axes, space.conditions, below.points
    m, d = candidates.shape
    b = points.shape[2]
    numbers = np.empty(m * 2 * (d + 1))
    fill_uniforms(key, numbers)
    decided = np.empty(d)
    for i in range(m):
        units = numbers[i * 2 * (d + 1) : (i + 1) * 2 * (d + 1)]
        base = min(int(units[0] * b), b - 1)
        decided[:] = np.nan
        for j in space.order:
            candidates[i, j] = np.nan
            if len(conditions) and not is_active(j, decided, conditions, space.allowed):
                continue
            unit = units[2 * j + 2]
            if unit < _KEPT and b > 0 and points[j, POINT, base] == points[j, POINT, base]:
                candidates[i, j] = points[j, POINT, base]
            else:
                unit = unit / _KEPT if unit < _KEPT else (unit - _KEPT) / (1.0 - _KEPT)
                candidates[i, j] = draw_coordinate(axes[j], points[j], pick(below.cumulative, unit), units[2 * j + 3])
            if len(conditions):
                decided[j] = deciding(axes[j], candidates[i, j])


@kernel
def step_from(axis: FloatArray, coordinate: float, size: float, unit: float) -> float:
    """A coordinate near another: a Gaussian step, in shares of the axis, but another cell or choice at least.

    A step over the end of the axis leads to the end.
    """
    kind = axis[KIND]
    if kind == CONSTANT:
        return coordinate
    if kind == CATEGORICAL:
        other = math.floor(unit * (axis[COUNT] - 1.0))
        return other + 1.0 if other >= coordinate else other
    z = normal_quantile(min(unit + _HALF_BIT, 1.0 - 2.0 * _HALF_BIT))
    if kind == CONTINUOUS:
        return min(max(coordinate + size * z, 0.0), 1.0)
    cell = cell_of_coordinate(axis, coordinate)
    position = position_of_value(axis, value_of_cell(axis, cell))
    there = cell_at(axis, min(max(position + size * z, 0.0), 1.0))
    if there == cell:
        there = min(max(cell + math.copysign(1.0, z), 0.0), axis[COUNT] - 1.0)
    return there if kind == COARSE else position_of_value(axis, value_of_cell(axis, there))


@kernel
def draw_near(space: Space, below: Below, key: WordArray, base: FloatArray, candidates: FloatArray) -> None:
    """Candidates that differ from others in a few parameters, by steps of sizes of all orders.

    Args:
        space, below: the search space and l, from which parameters are drawn that were inactive.
        key: of the random stream, (5,).
        base: which candidates they start from, coordinates (k, d): one after the other.
        candidates: (m, d), written.
    """
    axes, conditions = space.axes, space.conditions
    d = len(axes)
    numbers = np.empty(len(candidates) * 2 * (d + 1))
    fill_uniforms(key, numbers)
    decided = np.empty(d)
    share = min(_CHANGED / d, 0.5)
    for i in range(len(candidates)):
        units = numbers[i * 2 * (d + 1) : (i + 1) * 2 * (d + 1)]
        start, row = base[i % len(base)], candidates[i]
        size = _LARGEST_STEP * 10.0 ** (-_DECADES * units[0])
        sure = min(int(units[1] * d), d - 1)
        decided[:] = np.nan
        for j in space.order:
            row[j] = np.nan
            if len(conditions) and not is_active(j, decided, conditions, space.allowed):
                continue
            if start[j] != start[j]:
                row[j] = draw_coordinate(
                    axes[j], below.points[j], pick(below.cumulative, units[2 * j + 2]), units[2 * j + 3]
                )
            elif j == sure or units[2 * j + 2] < share:
                row[j] = step_from(axes[j], start[j], size, units[2 * j + 3])
            else:
                row[j] = start[j]
            if len(conditions):
                decided[j] = deciding(axes[j], row[j])


@kernel
def score(
    axes: FloatArray,
    processes: Processes,
    objectives: int,
    front: FloatArray,
    reference: FloatArray,
    weights: FloatArray,
    confidence: float,
    candidates: FloatArray,
    scores: FloatArray,
) -> None:
    """The scores of candidates, coordinates (m, d): see `propose`; (m,), written."""
    m, d = candidates.shape
    positions = np.empty((d, m))
    positions_of_candidates(axes, candidates, positions)
    means, deviations = np.empty((len(processes.centers), m)), np.empty((len(processes.centers), m))
    predict_losses(processes, positions, means, deviations)
    bounds = np.empty(objectives)
    for i in range(m):
        for j in range(objectives):
            bounds[j] = means[j, i] - confidence * deviations[j, i]
        measured = objectives <= MOST_MEASURED
        scores[i] = improvement(bounds, front, reference) if measured else weighted(bounds, weights)
        if objectives < len(means):  # the last process is that of feasibility
            feasible = normal_cdf(-means[objectives, i] / max(deviations[objectives, i], 1e-12))
            if measured and scores[i] > 0.0:
                scores[i] *= feasible
            else:
                scores[i] -= 1.0 - feasible
        if contains_point(processes.points, processes.size, positions, i):
            scores[i] = -np.inf


@kernel
def propose(
    space: Space,
    below: Below,
    processes: Processes,
    front: FloatArray,
    reference: FloatArray,
    confidence: float,
    drawn: int,
    climbers: int,
    children: int,
    keys: WordArray,
    values: FloatArray,
    scores: FloatArray,
) -> None:
    """Draw candidates from l, and near the best of them, and score them: one call an ask.

    Args:
        space, below: the search space and l.
        processes: of the objectives and, if trials are infeasible, of feasibility.
        front: losses of the best trials, (k, m); see `improvement.improvement`.
        reference: (m,).
        confidence: posterior standard deviations between the mean and the lower confidence bound.
        drawn: how many candidates are drawn from l, a multiple of `PARTS`.
        climbers: how many of the best candidates each round of climbing starts from.
        children: how many candidates it tries near each of them.
        keys: of the random streams, (PARTS + rounds + 1, 5), of the parts, the rounds of climbing, and the weights.
        values: column values of the candidates, (c, d), written.
        scores: (c,), written.
    """
    axes, objectives = space.axes, len(reference)
    c, d = values.shape
    candidates = np.empty((c, d))
    part = drawn // PARTS
    draw_candidates(space, below, True, 0.0, keys[0], candidates[:part])
    draw_candidates(space, below, False, 0.0, keys[1], candidates[part : 2 * part])
    draw_crossed(space, below, keys[2], candidates[2 * part : drawn])
    weights = np.empty(objectives)
    draw_weights(keys[-1], weights)
    score(axes, processes, objectives, front, reference, weights, confidence, candidates[:drawn], scores[:drawn])
    done = drawn
    while done < c:
        last = min(done + children * climbers, c)
        best = np.argsort(-scores[:done], kind="mergesort")[:climbers]
        base = np.empty((len(best), d))
        for i in range(len(best)):
            base[i] = candidates[best[i]]
        draw_near(space, below, keys[PARTS + (done - drawn) // (children * climbers)], base, candidates[done:last])
        some = slice(done, last)
        score(axes, processes, objectives, front, reference, weights, confidence, candidates[some], scores[some])
        done = last
    for i in range(c):
        for j in range(d):
            values[i, j] = value_of_coordinate(axes[j], candidates[i, j])
