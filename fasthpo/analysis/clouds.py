"""Trials as points in a plane: one by one where they are few, counted in cells where they are many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.analysis.scales import Scale
from fasthpo.values import FloatArray, IntArray

MOST_POINTS = 2_000
_COLUMNS, _ROWS = 120, 80


class Cloud(NamedTuple):
    """Trials in a plane. Either there are points, or cells.

    Attributes:
        x, y: of the points, as values, (k,); empty where cells are given.
        number: the trial at each point, int64 (k,).
        x_edges, y_edges: of the cells, as values, (columns + 1,) and (rows + 1,); None where points are given.
        trials: how many each cell has, int64 (rows, columns).
        best: the best trial in each cell, -1 where there is none, int64 (rows, columns).
    """

    x: FloatArray
    y: FloatArray
    number: IntArray
    x_edges: FloatArray | None = None
    y_edges: FloatArray | None = None
    trials: IntArray | None = None
    best: IntArray | None = None

    @property
    def total(self) -> int:
        """How many trials there are."""
        return len(self.x) if self.trials is None else int(self.trials.sum())


def cloud(
    x: FloatArray,
    y: FloatArray,
    losses: FloatArray,
    numbers: IntArray,
    x_scale: Scale,
    y_scale: Scale,
    *,
    most: int = MOST_POINTS,
    columns: int = _COLUMNS,
    rows: int = _ROWS,
) -> Cloud:
    """The cloud of points (x, y); those of which a coordinate is NaN are left out.

    Args:
        x, y: values (n,).
        losses: of the trials (n,): which is the best of a cell.
        numbers: of the trials, int64 (n,).
        x_scale, y_scale: the bounds. What lies outside stands at them.
        most: how many points there may be.
        columns, rows: how many cells there are otherwise.
    """
    there = ~(np.isnan(x) | np.isnan(y))
    x, y, losses, numbers = x[there], y[there], losses[there], numbers[there]
    x_places, y_places = x_scale.places(x), y_scale.places(y)
    if len(x) <= most:
        return Cloud(x_scale.values(x_places), y_scale.values(y_places), numbers)
    from fasthpo.kernels.binning import NOBODY, count_in_cells  # imports numba

    x_edges, y_edges = x_scale.edges(columns), y_scale.edges(rows)
    count = np.zeros((len(y_edges) - 1, len(x_edges) - 1), np.int64)
    best = np.full(count.shape, NOBODY, np.int64)
    ranks = np.where(np.isnan(losses), np.inf, losses)
    count_in_cells(x_places, y_places, ranks, x_edges[0], x_edges[-1], y_edges[0], y_edges[-1], count, best)
    best = np.where(best == NOBODY, NOBODY, numbers[best])
    none = np.empty(0)
    return Cloud(none, none, np.empty(0, np.int64), x_scale.values(x_edges), y_scale.values(y_edges), count, best)


def thinned(length: int, most: int) -> IntArray:
    """At most `most` indices of a sequence, evenly spread, its ends among them."""
    if length <= most:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, most).round().astype(np.int64))
