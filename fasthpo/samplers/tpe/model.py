"""TPE's model of a study: the observations, kept in the arrays that the Parzen kernels read."""

from __future__ import annotations

import numpy as np

from fasthpo.kernels.arrays import WordArray
from fasthpo.kernels.streams import uniforms
from fasthpo.kernels.tpe.densities import Above, Below, Tables
from fasthpo.samplers.encoding import encode_space, positions_of_rows
from fasthpo.samplers.gaussian_process import MOST_POINTS, GaussianProcess
from fasthpo.samplers.penalties import losses_and_penalties
from fasthpo.samplers.ranks import sort_keys
from fasthpo.samplers.tpe.cost_model import CostModel
from fasthpo.samplers.tpe.fidelities import Fidelities
from fasthpo.samplers.tpe.front_fidelities import FrontFidelities
from fasthpo.samplers.tpe.front_split import FrontSplit, Told
from fasthpo.samplers.tpe.observations import Observations
from fasthpo.samplers.tpe.restricted import RestrictedSearch
from fasthpo.samplers.tpe.several_objectives import STREAMS, FrontSearch
from fasthpo.samplers.tpe.split import Split
from fasthpo.space.prior import Priors
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_CANDIDATE_STREAM = 2
_INDEPENDENT_STREAM = 3
_CROSSED_STREAM = 4
_PRIOR_STREAM = 53
_LED = 24  # candidates where good values are believed to be
_TAKEN = 0.5  # of the parameters that have priors, for each of these candidates
_FEWEST_TO_AGREE = 5  # trials
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
        pruned_by_rank: whether the pruner gives up trials that rank low at their step.
    """

    def __init__(self, table: TrialTable, multivariate: bool, exact: bool, pruned_by_rank: bool = False) -> None:
        from fasthpo.kernels import gaussian_process, improvement  # imports numba
        from fasthpo.kernels.tpe import above_tabulated, batches, parzen, scoring

        self._kernels, self._improvement = gaussian_process, improvement
        self._tabulated, self._batches, self._parzen, self._scoring = above_tabulated, batches, parzen, scoring
        self.table = table
        self.multivariate = multivariate
        self._encoded = encoded = encode_space(table.space)
        d = len(table.space)
        self._observations = Observations(encoded.space, _ABOVE_BANDWIDTH, None if exact else MOST_OBSERVATIONS)
        self._gaussian_process = GaussianProcess(encoded, pruned_by_rank)
        most_cells = max([1, *encoded.cells[encoded.numeric].tolist()])
        self._cells: FloatArray = np.zeros((d, most_cells, most_cells))
        parzen.tabulate_cells(encoded.space.axes, _ABOVE_BANDWIDTH, self._cells)
        self._tables = Tables(
            np.zeros((d, above_tabulated.POINTS), np.int64),
            np.zeros(int(encoded.cells.sum()), np.int64),
            np.cumsum(encoded.cells) - encoded.cells,
            np.zeros(d, np.int64),
        )
        self._cost_model: CostModel | None = None  # made when first asked
        self._agreement: tuple[FloatArray, FloatArray] | None = None  # of priors, after the weights of a fit
        self._split = Split()
        self._front_split: FrontSplit | None = None  # in its place under several objectives
        self._front_search: FrontSearch | None = None  # and in that of the process
        if table.objectives.count > 1:
            self._front_split = FrontSplit(table.objectives.count)
            if multivariate:
                self._front_search = FrontSearch(encoded, table.objectives.count, self._front_split)
        self._fidelities: Fidelities | FrontFidelities
        if table.objectives.count == 1:
            self._fidelities = Fidelities(encoded, enough=d + 1)
        else:
            self._fidelities = FrontFidelities(encoded, d + 1, table.objectives.count, multivariate)
        self._below_numbers: IntArray = np.empty(0, np.int64)
        self._below = Below(np.zeros((d, 6, 0)), np.zeros((d, 0, most_cells)), np.ones(1), np.ones(1))
        self._restricted: RestrictedSearch | None = None  # where there are relations
        self._seen = 0
        self._told = 0
        self._count_above = 0  # trials that count in g
        self._waiting: list[int] = []
        self._due: dict[int, int] = {}  # how many times more trials count than g knows

    @property
    def is_ready(self) -> bool:
        """Under a multi-fidelity strategy, whether a resource has enough trials; else True."""
        return not len(self.table.segments) or self._fidelities.is_ready

    @property
    def has_below(self) -> bool:
        """Whether there is a trial below: none is while none has come to a finite value."""
        return len(self._below_numbers) > 0

    def catch_up(self) -> None:
        """Take in the trials told since the last call."""
        split: Split | FrontSplit = self._split
        if len(self.table.segments):
            self._take_legs()
            split = self._fidelities.current
        elif self._front_split is not None:
            self._take_vectors(self._front_split)
            split = self._front_split
        else:
            self._take_trials()
        if split.changed:
            self._fit(split)
            split.changed = False

    def catch_up_above(self) -> None:
        """Bring g up to date, which only some suggestions need: all that is new costs little more than one trial."""
        table = self.table
        length = len(table)
        if length > self._seen:
            self._enter(self._seen, length)
            self._seen = length
        if self._waiting:
            started = [n for n in self._waiting if table.states[n] != TrialState.WAITING]
            self._waiting = [n for n in self._waiting if table.states[n] == TrialState.WAITING]
            for number in started:
                self._count(number, 1)
        due = sorted(self._due.items())
        self._due.clear()
        first = 0
        for last in range(1, len(due) + 1):
            number, sign = due[last - 1]
            self._count_above += sign
            if self.multivariate:
                self._observations.set_counting(table, number, sign > 0)
            start = due[first][0]
            if last == len(due) or due[last] != (start + last - first, sign):
                self._tabulate(start, start + last - first, sign)
                first = last

    def _take_trials(self) -> None:
        """Trials that were told, each trained in full."""
        new = self._new_told()
        if len(new):
            keys = sort_keys(self.table, new)
            if self.multivariate:
                self._gaussian_process.add(keys)
            self._move(*self._split.add(keys))

    def _new_told(self) -> IntArray:
        """The trials told since the last call, (k,), but for those that say nothing of their points."""
        new = self.table.tell_order[self._told :]
        self._told += len(new)
        lost = self.table.are_lost(new)
        if not lost.any():
            return new
        for number in new[lost].tolist():
            self._count(number, -1)
        return new[~lost]

    def _take_vectors(self, split: FrontSplit) -> None:
        """Trials that were told, under several objectives."""
        new = self._new_told()
        told = Told(new, *losses_and_penalties(self.table, new))
        if self._front_search is None:
            split.keep(told)
        else:
            self._front_search.add(told)
        self._move(*split.settle())

    def _take_legs(self) -> None:
        """Legs that were told, under a multi-fidelity strategy."""
        segments = self.table.segments
        for leg in range(self._told, len(segments)):
            number = int(segments.trial[leg])
            if segments.state[leg] == TrialState.FAILED and self.table.is_lost(number):
                if segments.previous[leg] == NONE:  # else it keeps what it was told before
                    self._count(number, -1)
            elif segments.state[leg] != TrialState.PRUNED:
                self._move(*self._fidelities.add(self.table, leg))
        self._told = len(segments)

    def _move(self, enter: list[int], leave: list[int]) -> None:
        """Trials enter and leave below."""
        for number in enter:
            self._count(number, -1)
        for number in leave:
            self._count(number, 1)

    def _enter(self, first: int, last: int) -> None:
        """Trials from `first` to before `last` are new; all but the WAITING ones count as above."""
        self._tabulate(first, last, 1)
        self._count_above += last - first
        if self.multivariate:
            self._observations.add(self.table, first, last)
        if self.table.counts[TrialState.WAITING]:
            waiting = first + np.flatnonzero(self.table.states[first:last] == TrialState.WAITING)
            self._count_above -= len(waiting)
            self._waiting += waiting.tolist()

    def _count(self, number: int, sign: int) -> None:
        """A trial begins (sign = 1) or ceases (-1) to count as above."""
        due = self._due.get(number, 0) + sign
        if due:
            self._due[number] = due
        else:
            del self._due[number]

    def _tabulate(self, first: int, last: int, sign: int) -> None:
        self._tabulated.count_observations(
            self._encoded.space.axes,
            _ABOVE_BANDWIDTH,
            self.table.params,
            self.table.states,
            first,
            last,
            sign,
            self._tables,
        )

    def _fit(self, split: Split | FrontSplit) -> None:
        numbers: IntArray = np.array(split.below, np.int64)
        weights = split.weights()
        points = np.zeros((len(self._cells), 6, len(numbers)))
        masses = np.zeros((len(self._cells), len(numbers), self._cells.shape[1]))
        old = self._below_numbers, self._below.points, self._below.masses
        self._parzen.fit(
            self._encoded.space.axes, self.table.params, numbers, split.least_bandwidth, *old, points, masses
        )
        self._below_numbers, self._below = numbers, Below(points, masses, weights, np.cumsum(weights))

    def density_candidates(
        self, seed: int, draw: int, count: int, joint: bool, every: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (count, d) of column values, and their scores (count,): all exact, or just the best."""
        self.catch_up_above()
        key = np.array(_key(seed, draw, _CANDIDATE_STREAM), np.uint64)
        values, scores = np.empty((count, len(self._cells))), np.empty(count)
        self._scoring.propose(
            self._encoded.space, self._below, self._above(self._tables), joint, every, key, values, scores
        )
        return values, scores

    def independent_batch(self, seed: int, draws: IntArray, count: int) -> FloatArray:
        """Suggestions (k, d), each the best of `count` candidates of the independent model, for consecutive asks."""
        self.catch_up_above()
        key = np.array(_key(seed, 0, _CANDIDATE_STREAM), np.uint64)
        columns = np.empty((len(self._cells), len(draws)))
        # the trials will be counted when they are in the table, with values that are the space's own
        tables = Tables(*(array.copy() for array in self._tables))
        above = self._above(tables)
        self._batches.propose_batch(
            self._encoded.space, self._below, above, key, draws.astype(np.uint64), count, columns
        )
        return self.rounded(np.ascontiguousarray(columns.T))

    def _above(self, tables: Tables) -> Above:
        """The density g, as the kernels take it."""
        observations, count = self._observations, self._count_above
        weight = observations.weight(count)
        return Above(
            observations.tiles, observations.length, weight, tables, self._cells, count + 1.0, _ABOVE_BANDWIDTH
        )

    def gaussian_process_candidates(self, seed: int, draw: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (3 count, d) of column values, and their upper confidence bounds (3 count,)."""
        front_search = self._front_search
        if isinstance(self._fidelities, FrontFidelities) and len(self.table.segments):
            front_search = self._fidelities.search
        if front_search is not None:
            front_search.catch_up(self.table)
            streams = range(_CANDIDATE_STREAM, _CANDIDATE_STREAM + STREAMS)
            keys = np.array([_key(seed, draw, stream) for stream in streams], np.uint64)
            return front_search.candidates(self._below, keys, count)
        gaussian_process = self._current_gaussian_process()
        confidence, keys = self._confidence(gaussian_process), self._keys(seed, draw)
        values, bounds = np.empty((3 * count, len(self._cells))), np.empty(3 * count)
        self._scoring.propose_by_gaussian_process(
            self._encoded.space, self._below, gaussian_process.arrays, confidence, keys, values, bounds
        )
        return values, bounds

    def improvement_candidates(
        self, seed: int, draw: int, count: int, moves: bool = True
    ) -> tuple[FloatArray, FloatArray]:
        """The same, scored by the logarithm of the expected improvement; some are moved to where it is higher."""
        gaussian_process, keys = self._current_gaussian_process(), self._keys(seed, draw)
        values, improvements = np.empty((3 * count, len(self._cells))), np.empty(3 * count)
        self._scoring.propose_by_improvement(
            self._encoded.space,
            self._below,
            gaussian_process.arrays,
            self._encoded.movable if moves else np.zeros_like(self._encoded.movable),
            keys,
            values,
            improvements,
        )
        return values, improvements

    def agreement(self, priors: Priors) -> FloatArray:
        """How far the trials agree with each prior, from 0 to 1, (p,).

        That is twice the correlation of its logarithm with the trials' order, over those of the Gaussian process, or
        the latest if there is none, in which the parameter is active; 1 while there are few.
        """
        weights = None
        if self.multivariate:
            gaussian_process = self._current_gaussian_process()
            weights = gaussian_process.arrays.alpha  # others with each fit, and only then
            if self._agreement is not None and self._agreement[0] is weights:
                return self._agreement[1]
            numbers = gaussian_process.ranked()
        else:
            numbers = [key[3] for key in sorted(sort_keys(self.table, self.table.tell_order[-MOST_POINTS:]))]
        rows = self.table.params[:, np.array(numbers, np.int64)].T
        active = ~np.isnan(rows[:, priors.parameters])
        counts = active.sum(axis=0)
        order = np.where(active, np.arange(len(numbers))[:, None], 0.0)
        beliefs = priors.logarithms(rows)
        order = np.where(active, order - order.sum(axis=0) / np.maximum(counts, 1), 0.0)
        beliefs = np.where(active, beliefs - beliefs.sum(axis=0) / np.maximum(counts, 1), 0.0)
        scales = np.sqrt((order**2).sum(axis=0) * (beliefs**2).sum(axis=0))
        agreement = np.clip(-2.0 * (order * beliefs).sum(axis=0) / np.maximum(scales, 1e-300), 0.0, 1.0)
        found: FloatArray = np.where((counts >= _FEWEST_TO_AGREE) & (scales > 0), agreement, 1.0)
        self._agreement = None if weights is None else (weights, found)
        return found

    def led_candidates(
        self, seed: int, draw: int, rows: FloatArray, scores: FloatArray, priors: Priors, by_improvement: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates (m, d), their scores (m,), and some more where good values are believed to be.

        These are the first ones, with other values of some of the parameters that have priors.
        """
        count, d = min(_LED, len(rows)), rows.shape[1]
        units = uniforms(seed, np.array([draw]), _PRIOR_STREAM, 3 * count * d).reshape(3, count, d)
        space = self.table.space
        taken = np.zeros((count, d), bool)
        taken[:, priors.parameters] = units[2][:, priors.parameters] < _TAKEN
        moved = np.where(taken, priors.shifted(units[0]), units[1])
        led = rows[:count].copy()
        taken |= np.isnan(led)
        for j in np.flatnonzero(taken.any(axis=0)).tolist():
            led[taken[:, j], j] = space.parameters[j].from_unit(moved[taken[:, j], j])
        led = space.deactivate(led)
        gaussian_process = self._current_gaussian_process()
        means, deviations = np.empty(count), np.empty(count)
        self._kernels.predict(gaussian_process.arrays, positions_of_rows(self._encoded, led), means, deviations)
        if by_improvement:
            best, deviations = self._improvement.best_mean(gaussian_process.arrays), np.maximum(deviations, 1e-9)
            heights = [self._improvement.log_h(z)[0] for z in ((means - best) / deviations).tolist()]
            found = np.log(deviations) + np.array(heights)
        else:
            found = means + self._confidence(gaussian_process) * deviations
        return np.concatenate([rows, led]), np.concatenate([scores, found])

    def per_cost(self, rows: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Candidates (m, d), and their scores (m,), logarithms, less the logarithm of the cost that is expected."""
        if self._cost_model is None:
            self._cost_model = CostModel(self.table, self._encoded)
        return rows, scores - self._cost_model.logarithms(rows)

    def climbed(self, rows: FloatArray, seed: int, draw: int) -> tuple[FloatArray, FloatArray]:
        """Candidates (m, d) that relations allow, with some that are moved to where more improvement is expected."""
        if self._restricted is None:
            self._restricted = RestrictedSearch(self.table.space, self._encoded)
        return self._restricted.climbed(self._current_gaussian_process().arrays, rows, seed, draw)

    @property
    def sees_slopes(self) -> bool:
        """Whether expected improvement is worth climbing; see `GaussianProcess`."""
        return self._current_gaussian_process().sees_slopes

    def gaussian_process_batch(self, seed: int, draws: IntArray, count: int) -> FloatArray:
        """Suggestions (k, d), each the best by its bound of 3 `count` candidates, for the first k of several asks."""
        gaussian_process = self._current_gaussian_process()
        confidence, keys = self._confidence(gaussian_process), self._keys(seed, 0)
        words = draws[: gaussian_process.room(self.table)].astype(np.uint64)
        columns = np.empty((len(self._cells), len(words)))
        self._batches.propose_batch_by_gaussian_process(
            self._encoded.space, self._below, gaussian_process.arrays, confidence, keys, words, 3 * count, columns
        )
        return self.rounded(np.ascontiguousarray(columns.T))

    def _current_gaussian_process(self) -> GaussianProcess:
        gaussian_process = self._gaussian_process
        if isinstance(self._fidelities, Fidelities) and len(self.table.segments):
            gaussian_process = self._fidelities.gaussian_process
        gaussian_process.catch_up(self.table)
        return gaussian_process

    @staticmethod
    def _confidence(gaussian_process: GaussianProcess) -> float:
        """Posterior standard deviations between the mean and the upper confidence bound."""
        return (_CONFIDENCE_AMONG_FAILURES if gaussian_process.has_failures else _CONFIDENCE) * gaussian_process.share

    @staticmethod
    def _keys(seed: int, draw: int) -> WordArray:
        """The random streams of the three kinds of candidates."""
        streams = (_CANDIDATE_STREAM, _INDEPENDENT_STREAM, _CROSSED_STREAM)
        return np.array([_key(seed, draw, stream) for stream in streams], np.uint64)

    def rounded(self, rows: FloatArray) -> FloatArray:
        """Candidates (..., d) whose stepped values are the space's own."""
        return self._encoded.on_lattice(rows)


def _key(seed: int, draw: int, stream: int) -> tuple[int, ...]:
    """A random stream as the kernels take it."""
    return seed & 0xFFFFFFFF, seed >> 32, draw & 0xFFFFFFFF, draw >> 32, stream
