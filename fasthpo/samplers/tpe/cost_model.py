"""What TPE expects a trial to cost: a Gaussian process over the logarithms of the latest costs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from fasthpo.samplers.encoding import EncodedSpace, positions_of_rows
from fasthpo.samplers.gaussian_process import FIRST_LENGTH_SCALE, STEPS, length_scale_prior
from fasthpo.trials.costs import costs_of
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import COST, TrialState
from fasthpo.values import FloatArray, IntArray

if TYPE_CHECKING:
    from fasthpo.kernels.gaussian_process import FittedProcess

_MOST_POINTS = 128  # trials, the latest ones, that it is fitted to
_FEWEST_POINTS = 4
_NOISE = -3.0  # the mean of the logarithm, of the prior
_FOR_NOTHING = 10.0  # times less than the cheapest other trial, one counts that has cost nothing


class CostModel:
    """A Gaussian process over the costs of complete trials; a function of the trials in order of tells.

    Its length scales are optimised anew whenever there are a tenth more trials. Once there are more than it is fitted
    to, new ones are taken in eight at a time.

    Args:
        table: the trials.
        space: the search space.
    """

    def __init__(self, table: TrialTable, space: EncodedSpace) -> None:
        from fasthpo.kernels import gaussian_process  # imports numba

        self._kernels = gaussian_process
        self._table = table
        self._space = space
        self._prior = length_scale_prior(space, _NOISE)
        self._forget()

    def _forget(self) -> None:
        self._are_told = COST in self._table.metrics
        self._seen = self._count = self._next_optimization = 0
        self._latest: deque[int] = deque(maxlen=_MOST_POINTS)
        self._optimized_with: list[int] | None = None
        self._hyperparameters: FloatArray = np.empty(0)
        self._changed = False
        self._fitted: tuple[float, FittedProcess] | None = None  # the spread of the logarithms, and the process

    def _catch_up(self) -> None:
        table = self._table
        if self._are_told != (COST in table.metrics):  # the first trial that is told a cost: seconds count no more
            self._forget()
        new = table.tell_order[self._seen :]
        self._seen += len(new)
        new = new[table.states[new] == TrialState.COMPLETE]
        for number in new[~np.isnan(costs_of(table, new))].tolist():
            self._latest.append(number)
            self._count += 1
            self._changed |= self._count <= _MOST_POINTS or self._count % 8 == 0
            if self._count >= max(self._next_optimization, _FEWEST_POINTS):
                self._optimized_with = list(self._latest)
                self._next_optimization = self._count + max(self._count // 10, 1)
        if self._optimized_with is not None:
            points, targets, _ = self._training_data(self._optimized_with)
            self._hyperparameters = np.array([FIRST_LENGTH_SCALE] * len(points) + [_NOISE])
            self._kernels.optimize_hyperparameters(
                self._space.categorical, self._hyperparameters, points, targets, *self._prior, STEPS
            )
            self._optimized_with = None
        if self._changed and self._count >= _FEWEST_POINTS:
            self._fit()
            self._changed = False

    def _fit(self) -> None:
        points, targets, spread = self._training_data(list(self._latest))
        self._fitted = None
        if spread > 0:
            n = len(targets)
            cholesky, alpha = np.zeros((n, n)), np.empty(n)
            known = (self._space.categorical, self._hyperparameters, points)
            scale = self._kernels.fit(*known, targets, cholesky, alpha)
            self._fitted = spread, self._kernels.FittedProcess(*known, n, scale, cholesky, alpha)

    def _training_data(self, numbers: list[int]) -> tuple[FloatArray, FloatArray, float]:
        """Points (d, n), their values (n,), of mean 0 and variance 1, and what the deviation was."""
        known: IntArray = np.array(numbers, np.int64)
        costs = costs_of(self._table, known)
        logarithms = np.zeros(len(costs))
        if costs.any():
            logarithms = np.log(np.where(costs > 0, costs, max(costs[costs > 0].min() / _FOR_NOTHING, 5e-324)))
        logarithms -= logarithms.mean()
        spread = float(logarithms.std())
        points = positions_of_rows(self._space, self._table.params[:, known].T)
        return points, logarithms / (spread or 1.0), spread

    def logarithms(self, rows: FloatArray) -> FloatArray:
        """The logarithms of the costs that are expected at rows (m, d), but for a constant; (m,)."""
        self._catch_up()
        means = np.zeros(len(rows))
        if self._fitted is not None:
            spread, process = self._fitted
            self._kernels.predict(process, positions_of_rows(self._space, rows), means, np.empty(len(rows)))
            means *= spread
        return means
