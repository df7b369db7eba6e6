"""Candidates of the Gaussian process where relations restrict the space: only what is allowed is compared.

A climb of the expected improvement would end where a relation forbids it, and the best point often lies just there. So
the best few allowed candidates are moved in two ways: along the line to where the improvement is highest, as far as
that is allowed, and then in rounds of random steps, of lengths between a third and a hundred-thousandth of the range,
of which the allowed ones compete. Steps of all lengths find their way along a border of whatever shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import EncodedSpace, positions_of_rows
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray

if TYPE_CHECKING:
    from fasthpo.kernels.gaussian_process import FittedProcess

_STREAM = 56  # and one more for each round
_CLIMBERS, _CHILDREN, _ROUNDS = 3, 16, 6
_LONGEST, _SHORTEST = 0.3, 1e-5
_ALONG = np.array([1.0, 0.75, 0.5, 0.25, 0.1, 0.03, 0.01])  # shares of the way to the highest improvement


class RestrictedSearch:
    """Compares and moves allowed candidates.

    Args:
        space: the search space, with relations.
        encoded: the same, as kernels take it.
    """

    def __init__(self, space: SearchSpace, encoded: EncodedSpace) -> None:
        from fasthpo.kernels import axes, improvement
        from fasthpo.kernels.tpe import scoring

        self._geometry, self._improvement, self._scoring = axes, improvement, scoring
        self._space = space
        self._encoded = encoded
        self._axes = encoded.space.axes
        self._movable = np.flatnonzero(encoded.movable)

    def climbed(self, process: FittedProcess, rows: FloatArray, seed: int, draw: int) -> tuple[FloatArray, FloatArray]:
        """Candidates with others that were made by moving the best of them, and the logarithms of their improvements.

        Args:
            process: the Gaussian process.
            rows: allowed points (m, d), at least one.
            seed, draw: of the suggestion.
        """
        best = self._improvement.best_mean(process)
        scores = self._scores(process, best, rows)
        for start in rows[np.argsort(-scores, kind="stable")[:_CLIMBERS]]:
            first = positions_of_rows(self._encoded, start[None, :])[:, 0]
            last = first.copy()
            self._improvement.ascend(process, best, self._encoded.movable, last)
            way = first[:, None] + _ALONG * (last - first)[:, None]
            rows, scores = self._with(process, best, rows, scores, self._moved(np.tile(start, (len(_ALONG), 1)), way))
        for turn in range(_ROUNDS):
            parents = rows[np.argsort(-scores, kind="stable")[:_CLIMBERS]]
            children = np.repeat(parents, _CHILDREN, axis=0)
            draws = draw * _CLIMBERS * _CHILDREN + np.arange(len(children))
            units = uniforms(seed, draws, _STREAM + turn, 2 * len(self._axes) + 1)
            lengths = _LONGEST * (_SHORTEST / _LONGEST) ** units[:, -1]
            d = len(self._axes)
            steps = np.where(units[:, :d] < 0.5, 2 * units[:, d : 2 * d] - 1, 0.0) * lengths[:, None]
            rows, scores = self._with(
                process, best, rows, scores, self._moved(children, positions_of_rows(self._encoded, children) + steps.T)
            )
        return rows, scores

    def _with(
        self, process: FittedProcess, best: float, rows: FloatArray, scores: FloatArray, new: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates and their scores, with those of new ones that are allowed."""
        new = self._space.put_inside(new)
        new = new[self._space.allows(new)]
        return np.concatenate([rows, new]), np.concatenate([scores, self._scores(process, best, new)])

    def _scores(self, process: FittedProcess, best: float, rows: FloatArray) -> FloatArray:
        scores = np.empty(len(rows))
        self._scoring.score_improvements(process, best, positions_of_rows(self._encoded, rows), scores)
        return scores

    def _moved(self, rows: FloatArray, positions: FloatArray) -> FloatArray:
        """Rows (m, d) with the values at positions (d, m) where they can be moved."""
        moved = rows.copy()
        for j in self._movable.tolist():
            places = np.clip(positions[j], 0.0, 1.0)
            values = np.empty(len(rows))
            self._geometry.values_of_coordinates(self._axes[j], places, values)
            moved[:, j] = values
        return moved
