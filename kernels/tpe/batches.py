"""Several suggestions in one call: each is made with those before it running, as if they were asked for one by one."""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, Space, WordArray
from ..axes import positions_of_values
from ..compiling import kernel
from ..gaussian_process import FittedProcess, extend_cholesky
from ..uniforms import set_draw
from .above_tabulated import count_observations
from .densities import Above, Below
from .scoring import propose, propose_by_gaussian_process


@kernel
def choose(values: FloatArray, scores: FloatArray, column: int, columns: FloatArray) -> None:
    """Write the candidate with the highest score, the first of them, as a column."""
    best = 0
    for i in range(len(scores)):
        if scores[i] > scores[best]:
            best = i
    for j in range(len(columns)):
        columns[j, column] = values[best, j]


@kernel
def propose_batch(
    space: Space, below: Below, above: Above, key: WordArray, draws: WordArray, count: int, columns: FloatArray
) -> None:
    """Suggestions of the independent model.

    Args:
        space, below, above: the search space, l and g. Its tables are changed: afterwards all suggestions but the last
            count in them.
        key: see `scoring.propose`.
        draws: of the suggestions, uint64 (k,).
        count: of candidates a suggestion.
        columns: column values of the suggestions, (d, k), written.
    """
    states = np.zeros(len(draws), np.int8)
    values, scores = np.empty((count, len(space.axes))), np.empty(count)
    for s in range(len(draws)):
        if s > 0:
            count_observations(space.axes, above.bandwidth, columns, states, s - 1, s, 1, above.tables)
        set_draw(key, draws[s])
        with_those_before = Above(
            above.tiles, above.length, above.weight, above.tables, above.cells, above.components + s, above.bandwidth
        )
        propose(space, below, with_those_before, False, False, key, values, scores)
        choose(values, scores, s, columns)


@kernel
def propose_batch_by_gaussian_process(
    space: Space,
    below: Below,
    gaussian_process: FittedProcess,
    confidence: float,
    keys: WordArray,
    draws: WordArray,
    count: int,
    columns: FloatArray,
) -> None:
    """Suggestions of the Gaussian process.

    Args:
        space, below, gaussian_process: the search space, l and the Gaussian process. Its points and its Cholesky factor
            have room for all suggestions but the last, which are written there.
        confidence, keys: see `scoring.propose_by_gaussian_process`.
        draws: of the suggestions, uint64 (k,).
        count: of candidates a suggestion.
        columns: column values of the suggestions, (d, k), written.
    """
    values, scores = np.empty((count, len(space.axes))), np.empty(count)
    number = np.empty(1, np.int64)
    for s in range(len(draws)):
        if s > 0:
            number[0] = s - 1
            last = gaussian_process.size
            positions_of_values(space.axes, columns, number, last, gaussian_process.points)
            extend_cholesky(
                gaussian_process.categorical,
                gaussian_process.hyperparameters,
                gaussian_process.points,
                last,
                gaussian_process.cholesky,
            )
            gaussian_process = FittedProcess(
                gaussian_process.categorical,
                gaussian_process.hyperparameters,
                gaussian_process.points,
                last + 1,
                gaussian_process.output_scale,
                gaussian_process.cholesky,
                gaussian_process.alpha,
            )
        for key in keys:
            set_draw(key, draws[s])
        propose_by_gaussian_process(space, below, gaussian_process, confidence, keys, values, scores)
        choose(values, scores, s, columns)
