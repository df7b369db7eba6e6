"""TPE's model of a study: the observations, kept in the arrays that the Parzen kernels read."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthpo.parameter import FloatArray
from fasthpo.reports import NONE, IntArray
from fasthpo.samplers.encoding import encode
from fasthpo.samplers.gaussian_process import GaussianProcess
from fasthpo.samplers.ranks import sort_key
from fasthpo.samplers.tpe.fidelities import Fidelities
from fasthpo.samplers.tpe.observations import Observations
from fasthpo.samplers.tpe.split import Split
from fasthpo.table import TrialTable
from fasthpo.trial import TrialState

_CANDIDATE_STREAM = 2
_INDEPENDENT_STREAM = 3
_CROSSED_STREAM = 4
_CONFIDENCE = 3.0  # posterior standard deviations between mean and upper confidence bound, if it holds all trials
_CONFIDENCE_AMONG_FAILURES = 2.0  # the same where trials fail: what is unknown may do so, too
_ABOVE_BANDWIDTH = 0.15  # of g, as a share of a parameter's range
MOST_OBSERVATIONS = 4096  # of the joint g, unless it is to be exact


class Model:
    """The observations of one table; a function of the table's trials and their order of tells.

    Args:
        table: the trials.
        multivariate: whether the parameters are to be modelled jointly, too, and a Gaussian process is to be kept.
        exact: whether the joint g is to hold all trials, however many.
    """

    def __init__(self, table: TrialTable, multivariate: bool, exact: bool) -> None:
        from fasthpo.kernels.axes import CATEGORICAL, COARSE, COUNT, KIND
        from fasthpo.kernels.tpe.above_tabulated import POINTS
        from fasthpo.kernels.tpe.parzen import tabulate_cells

        self.table = table
        self._arrays = encode(table.space)
        d = len(table.space)
        most = None if exact else MOST_OBSERVATIONS
        self.multivariate = multivariate
        self._observations = Observations(self._arrays, _ABOVE_BANDWIDTH, most)
        self._gaussian_process = GaussianProcess(self._arrays)
        self._tables: IntArray = np.zeros((d, POINTS), np.int64)
        self._active: IntArray = np.zeros(d, np.int64)
        sizes = [int(a[COUNT]) if a[KIND] in (COARSE, CATEGORICAL) else 0 for a in self._arrays.axes]
        most_cells = max([1, *(int(a[COUNT]) for a in self._arrays.axes if a[KIND] == COARSE)])
        self._cells: FloatArray = np.zeros((d, most_cells, most_cells))
        tabulate_cells(self._arrays.axes, _ABOVE_BANDWIDTH, self._cells)
        self._starts: IntArray = np.cumsum([0, *sizes])[:-1]
        self._histogram: IntArray = np.zeros(sum(sizes), np.int64)
        self._split = Split()
        self._fidelities = Fidelities(self._arrays, enough=d + 1)
        self._below: IntArray = np.empty(0, np.int64)
        self._points: FloatArray = np.zeros((d, 6, 0))
        self._masses: FloatArray = np.zeros((d, 0, most_cells))
        self._weights = self._cumulative = np.ones(1)
        self._seen = 0
        self._told = 0
        self._above = 0  # trials that count in g
        self._waiting: list[int] = []
        self._due: dict[int, int] = {}  # how many times more trials count than the tables know

    @property
    def is_ready(self) -> bool:
        """Under a multi-fidelity strategy, whether a resource has enough trials; else True."""
        return not len(self.table.legs) or self._fidelities.is_ready

    @property
    def has_below(self) -> bool:
        """Whether there is a trial below: none is while none has come to a finite value."""
        return len(self._below) > 0

    def catch_up(self) -> None:
        """Take in the trials asked for and told since the last call."""
        table, split = self.table, self._split
        length = len(table)
        if length > self._seen:
            self._enter(self._seen, length)
            self._seen = length
        if self._waiting:
            started = [n for n in self._waiting if table.states[n] != TrialState.WAITING]
            self._waiting = [n for n in self._waiting if table.states[n] == TrialState.WAITING]
            for number in started:
                self._count(number, 1)
        if len(table.legs):
            self._take_legs()
            split = self._fidelities.current
        else:
            self._take_trials()
        self._tabulate_due()
        if split.changed:
            self._fit(split)
            split.changed = False

    def _take_trials(self) -> None:
        """Trials that were told, each trained in full."""
        table = self.table
        order = table.tell_order
        for number in order[self._told :].tolist():
            if table.is_lost(number):
                self._count(number, -1)
            else:
                key = sort_key(table, number)
                if self.multivariate:
                    self._gaussian_process.add(key)
                self._move(*self._split.add(key))
        self._told = len(order)

    def _take_legs(self) -> None:
        """Legs that were told, under a multi-fidelity strategy."""
        legs = self.table.legs
        for leg in range(self._told, len(legs)):
            number = int(legs.trial[leg])
            if legs.state[leg] == TrialState.FAILED and self.table.is_lost(number):
                if legs.previous[leg] == NONE:  # else it keeps what it was told before
                    self._count(number, -1)
            elif legs.state[leg] != TrialState.PRUNED:
                self._move(*self._fidelities.add(self.table, leg))
        self._told = len(legs)

    def _move(self, enter: list[int], leave: list[int]) -> None:
        """Trials enter and leave below."""
        for number in enter:
            self._count(number, -1)
        for number in leave:
            self._count(number, 1)

    def _enter(self, first: int, last: int) -> None:
        """Trials from `first` to before `last` are new; all but the WAITING ones count as above."""
        if last - first == 1:
            self._due[first] = 1
        else:
            self._tabulate(first, last, 1)
        self._above += last - first
        if self.multivariate:
            self._observations.add(self.table, first, last)
        if self.table.counts[TrialState.WAITING]:
            waiting = first + np.flatnonzero(self.table.states[first:last] == TrialState.WAITING)
            self._above -= len(waiting)
            self._waiting += waiting.tolist()

    def _count(self, number: int, sign: int) -> None:
        """A trial begins (sign = 1) or ceases (-1) to count as above."""
        self._due[number] = self._due.get(number, 0) + sign
        self._above += sign
        if self.multivariate:
            self._observations.set_counting(self.table, number, sign > 0)

    def _tabulate_due(self) -> None:
        """Bring the tables up to date. A trial that began and went below since last time leaves them as they are."""
        for number, sign in self._due.items():
            if sign:
                self._tabulate(number, number + 1, sign)
        self._due.clear()

    def _tabulate(self, first: int, last: int, sign: int) -> None:
        from fasthpo.kernels.tpe.above_tabulated import count_observations

        count_observations(
            self._arrays.axes,
            _ABOVE_BANDWIDTH,
            self.table.params,
            self.table.states,
            first,
            last,
            sign,
            self._tables,
            self._histogram,
            self._starts,
            self._active,
        )

    def _fit(self, split: Split) -> None:
        from fasthpo.kernels.tpe.parzen import fit

        below = np.array(split.below, np.int64)
        self._weights = split.weights()
        self._cumulative = np.cumsum(self._weights)
        old = self._below, self._points, self._masses
        self._below = below
        self._points = np.zeros((len(self._arrays.axes), 6, len(below)))
        self._masses = np.zeros((len(self._cells), len(below), self._cells.shape[1]))
        fit(self._arrays.axes, self.table.params, below, split.least_bandwidth, *old, self._points, self._masses)

    def density_candidates(
        self, seed: int, draw: int, count: int, joint: bool, every: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (count, d) of column values, and their scores (count,): all exact, or just the best."""
        from fasthpo.kernels.tpe.scoring import propose

        key = np.array(_key(seed, draw, _CANDIDATE_STREAM), np.uint64)
        values, scores = np.empty((count, len(self._arrays.axes))), np.empty(count)
        tables = self._tables, self._histogram, self._active
        propose(*self._densities(*tables), joint, every, key, values, scores)
        return values, scores

    def independent_batch(self, seed: int, draws: IntArray, count: int) -> FloatArray:
        """Suggestions (k, d), each the best of `count` candidates of the independent model, for consecutive asks."""
        from fasthpo.kernels.tpe.batches import propose_batch

        key = np.array(_key(seed, 0, _CANDIDATE_STREAM), np.uint64)
        columns = np.empty((len(self._arrays.axes), len(draws)))
        # the trials will be counted when they are in the table, with values that are the space's own
        tables = self._tables.copy(), self._histogram.copy(), self._active.copy()
        propose_batch(*self._densities(*tables), key, draws.astype(np.uint64), count, columns)
        return self.rounded(np.ascontiguousarray(columns.T))

    def _densities(self, tables: IntArray, histogram: IntArray, active: IntArray) -> tuple[Any, ...]:
        """The space, l and g, as the kernels take them."""
        arrays, observations = self._arrays, self._observations
        return (
            arrays.axes,
            arrays.order,
            arrays.conditions,
            arrays.allowed,
            arrays.conditional,
            self._cells,
            self._points,
            self._masses,
            self._weights,
            self._cumulative,
            observations.rows,
            observations.factors,
            observations.direct,
            observations.store,
            observations.offsets,
            observations.length,
            observations.weight(self._above),
            tables,
            histogram,
            self._starts,
            active,
            self._above + 1.0,
            _ABOVE_BANDWIDTH,
        )

    def gaussian_process_candidates(self, seed: int, draw: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (3 count, d) of column values, and their upper confidence bounds (3 count,)."""
        from fasthpo.kernels.tpe.scoring import propose_by_gaussian_process

        gaussian_process = self._current_gaussian_process()
        values, bounds = np.empty((3 * count, len(self._arrays.axes))), np.empty(3 * count)
        propose_by_gaussian_process(*self._gaussian_process_arrays(gaussian_process, seed, draw), values, bounds)
        return values, bounds

    def gaussian_process_batch(self, seed: int, draws: IntArray, count: int) -> FloatArray:
        """Suggestions (k, d), each the best by its bound of 3 `count` candidates, for the first k of several asks."""
        from fasthpo.kernels.tpe.batches import propose_batch_by_gaussian_process

        gaussian_process = self._current_gaussian_process()
        draws = draws[: gaussian_process.room(self.table)]
        columns = np.empty((len(self._arrays.axes), len(draws)))
        propose_batch_by_gaussian_process(
            *self._gaussian_process_arrays(gaussian_process, seed, 0), draws.astype(np.uint64), 3 * count, columns
        )
        return self.rounded(np.ascontiguousarray(columns.T))

    def _current_gaussian_process(self) -> GaussianProcess:
        gaussian_process = self._fidelities.gaussian_process if len(self.table.legs) else self._gaussian_process
        gaussian_process.catch_up(self.table)
        return gaussian_process

    def _gaussian_process_arrays(self, gaussian_process: GaussianProcess, seed: int, draw: int) -> tuple[Any, ...]:
        """The space, l and a Gaussian process, as the kernels take them."""
        arrays = self._arrays
        streams = (_CANDIDATE_STREAM, _INDEPENDENT_STREAM, _CROSSED_STREAM)
        return (
            arrays.axes,
            arrays.order,
            arrays.conditions,
            arrays.allowed,
            self._points,
            self._cumulative,
            np.array([_key(seed, draw, stream) for stream in streams], np.uint64),
            gaussian_process.categorical,
            gaussian_process.hyperparameters,
            gaussian_process.points,
            gaussian_process.size,
            gaussian_process.output_scale,
            gaussian_process.cholesky,
            gaussian_process.alpha,
            (_CONFIDENCE_AMONG_FAILURES if gaussian_process.has_failures else _CONFIDENCE) * gaussian_process.share,
        )

    def rounded(self, rows: FloatArray) -> FloatArray:
        """Candidates (..., d) whose stepped values are the space's own."""
        return self._arrays.on_lattice(rows)


def _key(seed: int, draw: int, stream: int) -> tuple[int, ...]:
    """A random stream as the kernels take it."""
    return seed & 0xFFFFFFFF, seed >> 32, draw & 0xFFFFFFFF, draw >> 32, stream
