"""TPE, the tree-structured Parzen estimator: sample near good trials, away from the others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.parameter import FloatArray, plain
from fasthpo.reports import IntArray, grow
from fasthpo.samplers.axes import axes_of
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import PriorDraws
from fasthpo.samplers.split import Split, sort_key
from fasthpo.table import TrialTable
from fasthpo.trial import TrialState

_STARTUP_STREAM = 0
_CANDIDATE_STREAM = 2
_ABOVE_BANDWIDTH = 0.2  # of g, as a share of a parameter's range
_FIRST_CAPACITY = 64


class TPESampler(Sampler):
    """Models good trials by a density l and the others by g, and suggests where log l - log g is highest.

    The first `n_startup_trials` are random. Then *below* are the best ceil(0.5 sqrt(n)) of n finished trials, at most
    25; *above* are the rest and all running trials, so that parallel asks spread. In l a trial weighs as much as it is
    better than the best of above; in g all weigh alike. Candidates are drawn from l, and the best of them is suggested;
    on a finite space, the best that was not tried.

    Complete trials are ordered by value, pruned ones after them by how far they came, and failed ones left out.
    With `multivariate`, every second suggestion models the parameters jointly, by kernels that are products over them;
    the others model each parameter for itself, which finds the way out of a corner into which a few good trials that
    lie together would lead the joint model. A conditional parameter is modelled over the trials in which it was active;
    in the joint model a trial without it counts with the prior.

    The cost of an ask does not depend on the number of trials with `multivariate=False`; a joint suggestion costs
    about 0.2 us a trial at 20 parameters.

    Args:
        n_startup_trials: finished trials before the model is used, at least 1.
        n_ei_candidates: candidates an ask, at least 1. More are not better: they only sharpen the model's errors.
        multivariate: model parameters jointly in every second suggestion; else never.
        seed: 0 to 2**64 - 1; None draws one.

    Raises:
        InvalidValue: an argument is not what it must be.

    References:
        Bergstra, Bardenet, Bengio, Kegl: Algorithms for hyper-parameter optimization. NeurIPS 2011.
        Watanabe: Tree-structured Parzen estimator. arXiv 2304.11127, 2023.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
        >>> study.ask()["x"] <= 5.0
        True
    """

    name: ClassVar[str] = "tpe"

    def __init__(
        self,
        n_startup_trials: int = 10,
        n_ei_candidates: int = 24,
        multivariate: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.n_startup_trials = _positive("n_startup_trials", n_startup_trials)
        self.n_ei_candidates = _positive("n_ei_candidates", n_ei_candidates)
        if not isinstance(multivariate, bool):
            raise InvalidValue(f"multivariate must be True or False, got multivariate={multivariate!r}")
        self.multivariate = multivariate
        self._startup = PriorDraws(self.seed, _STARTUP_STREAM)
        self._model: Model | None = None

    def options(self) -> dict[str, Any]:
        return {
            "n_startup_trials": self.n_startup_trials,
            "n_ei_candidates": self.n_ei_candidates,
            "multivariate": self.multivariate,
            "seed": self.seed,
        }

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        if table.counts[TrialState.COMPLETE] + table.counts[TrialState.PRUNED] < self.n_startup_trials:
            return self._startup.row(table.space, draw)
        if self._model is None or self._model.table is not table:
            self._model = Model(table, self.multivariate)
        self._model.catch_up()
        values, scores = self._model.candidates(self.seed, draw, self.n_ei_candidates)
        best_first = np.argsort(-scores, kind="stable")
        best = best_first[0]
        if table.tried is not None:
            cells = table.tried.cells.index(values)
            best = next((i for i in best_first if int(cells[i]) not in table.tried), best)
        row: FloatArray = values[best]
        return row


def _positive(name: str, value: int) -> int:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValue(f"{name} must be an integer of at least 1, got {name}={value!r}")
    return value


class Model:
    """The observations of one table in the form that the kernels read; a function of the table's order of tells.

    Args:
        table: the trials.
        multivariate: whether normalisers are needed for the sum over all parameters only.
    """

    def __init__(self, table: TrialTable, multivariate: bool) -> None:
        from fasthpo.kernels.parzen import CATEGORICAL, COARSE, COUNT, KIND
        from fasthpo.kernels.tables import POINTS

        self.table = table
        self._multivariate = multivariate
        self._arrays = axes_of(table.space)
        d = len(table.space)
        self._needs_norms = multivariate and bool(self._arrays.conditional.any())
        self._coordinates: FloatArray = np.zeros((d, _FIRST_CAPACITY))
        self._log_norms: FloatArray = np.zeros((d, _FIRST_CAPACITY) if self._needs_norms else (0, 0))
        self._log_norm: FloatArray = np.zeros(_FIRST_CAPACITY)
        # what the kernels add to a trial's exponent: its log norm where it counts as above, else -inf
        self._offsets: FloatArray = np.full(_FIRST_CAPACITY, -np.inf)
        self._tables: IntArray = np.zeros((d, POINTS), np.int64)
        self._active: IntArray = np.zeros(d, np.int64)
        sizes = [int(a[COUNT]) if a[KIND] in (COARSE, CATEGORICAL) else 0 for a in self._arrays.axes]
        self._starts: IntArray = np.cumsum([0, *sizes])[:-1]
        self._histogram: IntArray = np.zeros(sum(sizes), np.int64)
        self._split = Split()
        self._seen = 0
        self._told = 0
        self._waiting: list[int] = []

    def catch_up(self) -> None:
        """Take in the trials asked for and told since the last call."""
        length = len(self.table)
        if length > self._seen:
            self._make_room(length)
            self._observe(self._seen, length)
            self._seen = length
        if self._waiting:
            started = [n for n in self._waiting if self.table.state(n) != TrialState.WAITING]
            self._waiting = [n for n in self._waiting if n not in started]
            for number in started:
                self._observe(number, number + 1)
        order = self.table.tell_order
        for number in order[self._told :].tolist():
            if self.table.state(number) == TrialState.FAILED:
                self._count([number], -1)
                continue
            enter, leave = self._split.add(sort_key(self.table, number))
            self._count(enter, -1)
            self._count(leave, 1)
        self._told = len(order)

    def _make_room(self, length: int) -> None:
        capacity = self._coordinates.shape[1]
        if length <= capacity:
            return
        while capacity < length:
            capacity *= 2
        self._coordinates = grow(self._coordinates, capacity)  # type: ignore[assignment]
        if self._needs_norms:
            self._log_norms = grow(self._log_norms, capacity)  # type: ignore[assignment]
        self._log_norm = grow(self._log_norm, capacity)  # type: ignore[assignment]
        self._offsets = grow(self._offsets, capacity, -np.inf)  # type: ignore[assignment]

    def _observe(self, first: int, last: int) -> None:
        from fasthpo.kernels.scoring import observe

        new = slice(first, last)
        observe(
            self._arrays.axes,
            self._arrays.conditional,
            _ABOVE_BANDWIDTH,
            self.table.params[:, new],
            self._coordinates[:, new],
            self._log_norms[:, new],
            self._log_norm[new],
        )
        waiting = self.table.states[new] == TrialState.WAITING
        self._count(first + np.flatnonzero(~waiting), 1)
        self._waiting += (first + np.flatnonzero(waiting)).tolist()

    def _count(self, numbers: IntArray | list[int], sign: int) -> None:
        """Trials begin (sign = 1) or cease (-1) to count as above."""
        from fasthpo.kernels.tables import count_observations

        if not len(numbers):
            return
        which = np.asarray(numbers, np.int64)
        self._offsets[which] = self._log_norm[which] if sign > 0 else -np.inf
        count_observations(
            self._arrays.axes,
            _ABOVE_BANDWIDTH,
            self._coordinates,
            which,
            np.full(len(which), sign, np.int64),
            self._tables,
            self._histogram,
            self._starts,
            self._active,
        )

    def candidates(self, seed: int, draw: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (count, d) of column values, and their scores (count,)."""
        from fasthpo.kernels.scoring import propose

        arrays = self._arrays
        d = len(self.table.space)
        below = self._split.below
        counts = self.table.counts
        above = counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] + counts[TrialState.RUNNING] - len(below)
        key = np.array([seed & 0xFFFFFFFF, seed >> 32, draw & 0xFFFFFFFF, draw >> 32, _CANDIDATE_STREAM], np.uint64)
        values, scores = np.empty((count, d)), np.empty(count)
        propose(
            arrays.axes,
            arrays.order,
            arrays.conditions,
            arrays.allowed,
            arrays.conditional,
            np.array(below, np.int64),
            np.full(d, 1.0 / (len(below) + 2.0)),
            self._split.weights(),
            self._coordinates[:, : self._seen],
            self._log_norms[:, : self._seen],
            self._offsets[: self._seen],
            self._tables,
            self._histogram,
            self._starts,
            self._active,
            above + 1.0,
            _ABOVE_BANDWIDTH,
            self._multivariate and draw % 2 == 0,
            key,
            values,
            scores,
        )
        for j in arrays.rounded:
            parameter = self.table.space.parameters[j]
            active = ~np.isnan(values[:, j])
            values[active, j] = parameter.at(parameter.cell(values[active, j]))
        return values, scores
