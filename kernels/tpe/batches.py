"""Several suggestions in one call: each is made with those before it running, as if they were asked for one by one."""

from __future__ import annotations

import numpy as np

from ..axes import positions_of_values
from ..compiling import kernel
from ..gaussian_process import extend_cholesky
from ..uniforms import set_draw
from .above_tabulated import count_observations
from .scoring import propose, propose_by_gaussian_process


@kernel
def choose(values, scores, column, columns):  # type: ignore[no-untyped-def]
    """Write the candidate with the highest score, the first of them, as a column."""
    best = 0
    for i in range(len(scores)):
        if scores[i] > scores[best]:
            best = i
    for j in range(len(columns)):
        columns[j, column] = values[best, j]


@kernel
def propose_batch(  # type: ignore[no-untyped-def]
    axes, order, conditions, allowed, conditional, cells, points, masses, weights, cumulative, rows, factors, direct,
    store, offsets, n, weight, tables, histogram, starts, active, components, above_bandwidth, key, draws, count,
    columns,
):  # fmt: skip
    """Suggestions of the independent model.

    Args:
        tables, histogram, active: changed: afterwards all suggestions but the last count in them.
        draws: of the suggestions, uint64 (k,).
        count: of candidates a suggestion.
        columns: column values of the suggestions, (d, k), written.
        (others): see `scoring.propose`.
    """
    states = np.zeros(len(draws), np.int8)
    values, scores = np.empty((count, len(axes))), np.empty(count)
    for s in range(len(draws)):
        if s > 0:
            count_observations(
                axes, above_bandwidth, columns, states, s - 1, s, 1, tables, histogram, starts, active
            )  # fmt: skip
        set_draw(key, draws[s])
        propose(
            axes, order, conditions, allowed, conditional, cells, points, masses, weights, cumulative, rows, factors,
            direct, store, offsets, n, weight, tables, histogram, starts, active, components + s, above_bandwidth,
            False, False, key, values, scores,
        )  # fmt: skip
        choose(values, scores, s, columns)


@kernel
def propose_batch_by_gaussian_process(  # type: ignore[no-untyped-def]
    axes, order, conditions, allowed, points, cumulative, keys, categorical, hyperparameters, trials, known,
    output_scale, cholesky, alpha, confidence, draws, count, columns,
):  # fmt: skip
    """Suggestions of the Gaussian process.

    Args:
        trials: with room for all suggestions but the last, written there.
        cholesky: so, too.
        draws: of the suggestions, uint64 (k,).
        count: of candidates a suggestion.
        columns: column values of the suggestions, (d, k), written.
        (others): see `scoring.propose_by_gaussian_process`; `known` is how many of the trials there are.
    """
    values, scores = np.empty((count, len(axes))), np.empty(count)
    number = np.empty(1, np.int64)
    for s in range(len(draws)):
        if s > 0:
            number[0] = s - 1
            positions_of_values(axes, columns, number, known, trials)
            extend_cholesky(categorical, hyperparameters, trials, known, cholesky)
            known += 1
        for key in keys:
            set_draw(key, draws[s])
        propose_by_gaussian_process(
            axes, order, conditions, allowed, points, cumulative, keys, categorical, hyperparameters, trials, known,
            output_scale, cholesky, alpha, confidence, values, scores,
        )  # fmt: skip
        choose(values, scores, s, columns)
