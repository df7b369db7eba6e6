"""Points counted in cells, against a loop over the cells."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.kernels.binning import NOBODY, count_in_cells

coordinate = st.one_of(st.floats(-2.0, 3.0), st.just(math.nan), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@given(st.lists(st.tuples(coordinate, coordinate, st.sampled_from([0.0, 1.0, math.inf])), max_size=60))
def test_each_point_is_counted_once_and_the_best_of_a_cell_is_its_lowest_rank(points):
    x, y, rank = (np.array(column, float) for column in zip(*points, strict=True)) if points else (np.empty(0),) * 3
    count, best = np.zeros((3, 4), np.int64), np.full((3, 4), NOBODY)
    count_in_cells(x, y, rank, 0.0, 1.0, 0.0, 1.0, count, best)
    inside: dict[tuple[int, int], list[int]] = {}
    for i in range(len(x)):
        if not (math.isnan(x[i]) or math.isnan(y[i])):
            row, column = (min(max(int(c * cells), 0), cells - 1) for c, cells in ((y[i], 3), (x[i], 4)))
            inside.setdefault((row, column), []).append(i)
    for row in range(3):
        for column in range(4):
            here = inside.get((row, column), [])
            assert count[row, column] == len(here)
            assert best[row, column] == (min(here, key=lambda i: (rank[i], i)) if here else NOBODY)
