"""What CMA-ES knows of a study: the distribution of the present search, learnt from one generation after the other."""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import encode_space, positions_of_rows
from fasthpo.samplers.ranks import SortKey, sort_keys, worst_key
from fasthpo.space.allowed import prior_rows
from fasthpo.system.uninterrupted import import_whole
from fasthpo.trials.table import NO_DRAW, TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

if TYPE_CHECKING:
    from fasthpo.kernels.cma_es import Distribution

FIRST_DEVIATION = 0.2  # of each parameter, as a share of its range, where nothing is known
_LEAST_KNOWN, _MOST_KNOWN = 0.01, 0.3  # where good trials are known
MOST_MEMBERS = 100_000  # of a generation
_MOST_DOUBLINGS = 9  # of the population (Auger and Hansen 2005)
_ENOUGH_KNOWN = 10  # trials with a value, for a start at the best of them
_MOST_KEPT = 64  # of the best known trials
_OLDER = 2  # generations: trials that were drawn so many before are not too old
_EACH = 4  # generations, after which it is looked whether too many are
_START_STREAM = 32  # of the points where searches begin
_STARTS = 64  # points that relations allow, of which the nearest one is taken
_UNITS = 0.73  # the chance that no parameter of several leaves its likeliest choice by the margin alone (CatCMA)
_WORD = 0xFFFFFFFF
_MOST_AHEAD = 64  # members that are drawn before they are asked for
_NONE_AHEAD: tuple[int, FloatArray] = 0, np.empty((0, 0))  # the draw of the first of them, and their rows


class Settings(NamedTuple):
    """The strategy parameters, as the kernels take them."""

    numbers: FloatArray
    weights: FloatArray  # of the members, best first
    window: int  # generations whose bests must differ


class Share(NamedTuple):
    """Which draws are the strategy's own, where it is not the only sampler."""

    stages: tuple[tuple[int, int], ...]  # a draw, and of how many from it on the last is another sampler's, at least 2

    @property
    def first(self) -> int:
        """The draw with which it begins."""
        return self.stages[0][0]

    def has(self, draw: int) -> bool:
        """Whether a draw is its own."""
        every = next((every for first, every in reversed(self.stages) if draw >= first), 1)
        return draw % every != every - 1

    def alike(self, draw: int) -> int:
        """How many draws from one on are surely its own, or not, as that one is; at least 1."""
        ends = [first - draw for first, _ in self.stages if first > draw]
        every = next((every for first, every in reversed(self.stages) if draw >= first), 0)
        if every:
            ends.append(every - 1 - draw % every or 1)
        return min(ends)


def default_population(dimensions: int) -> int:
    """Members of a generation (48)."""
    return 4 + math.floor(3 * math.log(max(dimensions, 1)))


def settings_of(numeric: int, choices: int, population: int, deviation: float) -> Settings:
    """The strategy parameters, by the equations of Hansen's tutorial (arXiv 1604.00772) and the papers in the kernels.

    Args:
        numeric: parameters that are numbers.
        choices: parameters that are choices.
        population: members of a generation, at least 4.
        deviation: the standard deviation at the start.
    """
    n = max(numeric, 1)
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))  # (49)
    good, bad = raw[: population // 2], raw[population // 2 :]
    mu_effective, mu_bad = (float(half.sum() ** 2 / (half**2).sum()) for half in (good, bad))
    c_1 = 2 / ((n + 1.3) ** 2 + mu_effective)  # (57)
    c_mu = min(1 - c_1 - 1e-8, 2 * (mu_effective - 2 + 1 / mu_effective) / ((n + 2) ** 2 + mu_effective))  # (58)
    all_bad = min(
        1 + c_1 / c_mu,  # (50)
        1 + 2 * mu_bad / (mu_effective + 2),  # (51)
        (1 - c_1 - c_mu) / (n * c_mu),  # (52)
    )
    weights = np.where(raw >= 0, raw / raw[raw > 0].sum(), raw * all_bad / -raw[raw < 0].sum())  # (53)
    c_path = (mu_effective + 2) / (n + mu_effective + 5)  # (55)
    damping = 1 + 2 * max(0.0, math.sqrt((mu_effective - 1) / (n + 1)) - 1) + c_path
    c_rank_one_path = (4 + mu_effective / n) / (n + 4 + 2 * mu_effective / n)  # (56)
    numbers = [
        mu_effective,
        c_path,
        damping,
        c_rank_one_path,
        c_1,
        c_mu,
        math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),  # E |N(0, I)|
        math.sqrt(n) + 2 * n / (n + 2),  # of Hansen 2011
        1 / (10 * n * (c_1 + c_mu)),
        1 / (n * population),
        1 - _UNITS ** (1 / max(choices, 1)),
        1e-12 * deviation,
    ]
    window = 10 + math.ceil(30 * max(numeric + choices, 1) / population)
    return Settings(np.array(numbers), weights, window)


class Evolution:
    """The search distribution of one table; a function of the table's trials and their order of tells.

    Args:
        table: the trials.
        seed: 0 to 2**64 - 1.
        population: members of a generation of the first search.
        deviation: the standard deviation at the first start, as a share of each range; None: by what is known.
        share: which draws are its own, where it is not the only sampler; None: all are.
    """

    def __init__(
        self,
        table: TrialTable,
        seed: int,
        population: int | None,
        deviation: float | None,
        share: Share | None = None,
    ) -> None:
        from fasthpo.kernels import cma_es

        self._kernels = cma_es
        self.table = table
        self._seed = seed
        self._encoded = encode_space(table.space)
        self._numeric: IntArray = np.flatnonzero(self._encoded.numeric)
        self._choices: IntArray = np.flatnonzero(self._encoded.categorical)
        counts = self._encoded.cells[self._choices]
        self._starts: IntArray = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self._variables = cma_es.Variables(self._encoded.space.axes, self._numeric, self._choices, self._starts)
        self._grows = population is None
        self._first_population = population or default_population(len(self._numeric) + len(self._choices))
        self._doublings = 0  # because of trials that run at the same time
        self._deviation = deviation
        self._share = share
        self._by_legs = len(table.segments) > 0
        self._told = 0  # trials, or legs under a multi-fidelity strategy
        self._has_begun = False  # whether a trial that was drawn from the first start was told
        self._known: list[SortKey] = []  # the best of the others
        self._count_known = 0
        self._key = np.array([seed & _WORD, seed >> 32, 0, 0, 0], np.uint64)
        self._search = 0
        self._start()

    def _start(self) -> None:
        """A search begins at a point of its own: the first one at the best that is known, or in the middle."""
        cma_es = self._kernels
        self._ahead = _NONE_AHEAD
        n, total = len(self._numeric), int(self._starts[-1])
        mean, deviation = self._middle(), FIRST_DEVIATION
        counts = np.repeat(1.0, total)
        if self._search:
            mean = uniforms(self._seed, np.array([self._search]), _START_STREAM, max(n, 1))[0, :n]
        else:
            self._next_start = self._count_known + max(self._count_known // 10, 1)
            if self._count_known >= _ENOUGH_KNOWN:
                mean, deviation = self._learn_known(counts)
            deviation = deviation if self._deviation is None else self._deviation
        if self.table.space.relations:
            mean = self._allowed_start(mean)
        self._first_deviation = deviation
        self._set_population()
        vectors, scalars, probabilities = np.zeros((5, n)), np.zeros(6), np.empty(total)
        vectors[cma_es.MEAN] = mean
        vectors[cma_es.DEVIATIONS] = vectors[cma_es.SCALES] = 1.0
        scalars[[cma_es.SIGMA, cma_es.CHOICE_STEP, cma_es.DIVISOR]] = deviation, 1.0, 1.0
        margin = float(self._settings.numbers[cma_es.CHOICE_MARGIN])
        for first, last in zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True):
            probabilities[first:last] = counts[first:last] / counts[first:last].sum()
            cma_es.keep_choice_margin(margin, probabilities[first:last])
        matrices = np.stack([np.eye(n), np.eye(n)])
        self._distribution = cma_es.Distribution(vectors, matrices, scalars, probabilities)  # which kernels change
        self._path: FloatArray = np.zeros(total)
        self._older: list[Distribution] = []
        self._best = math.inf
        self._members: dict[int | None, list[SortKey]] = {}
        self._left_out = 0
        self._is_stale = False

    def _middle(self) -> FloatArray:
        """The middle of each axis, or the mean of a normal number, (n,)."""
        from fasthpo.kernels.axes import DEVIATION, OFFSET, SPAN

        axes = self._encoded.space.axes[self._numeric]
        middle: FloatArray = np.where(axes[:, DEVIATION] > 0.0, -axes[:, OFFSET] / axes[:, SPAN], 0.5)
        return middle

    def _allowed_start(self, mean: FloatArray) -> FloatArray:
        """The nearest to a mean of some points that the relations allow: near others, most members would break them."""
        space, draws = self.table.space, self._search * _STARTS + np.arange(_STARTS)
        rows = prior_rows(space, uniforms(self._seed, draws, _START_STREAM + 1, len(space)), self._seed, draws)
        places = positions_of_rows(self._encoded, rows)[self._numeric]
        places = np.where(np.isnan(places), mean[:, None], places)
        nearest: FloatArray = places[:, ((places - mean[:, None]) ** 2).sum(axis=0).argmin()]
        return nearest

    def _set_population(self) -> None:
        """Members of the next generations, with the strategy parameters for so many."""
        doublings = min(self._search + self._doublings, _MOST_DOUBLINGS)
        self.population = min(self._first_population * 2**doublings, MOST_MEMBERS)
        self._settings = settings_of(len(self._numeric), len(self._choices), self.population, self._first_deviation)
        self._bests: FloatArray = np.full(self._settings.window, np.nan)
        self._generations = 0  # of so many members

    def _learn_known(self, counts: FloatArray) -> tuple[FloatArray, float]:
        """Where the best known trial is, and how far the best tenth spread; their choices are added to `counts`."""
        from fasthpo.kernels.axes import positions_of_values

        numbers = np.array([key[3] for key in self._known[: max(-(-self._count_known // 10), 3)]], np.int64)
        axes = self._encoded.space.axes
        points = np.empty((len(axes), len(numbers)))
        positions_of_values(axes, self.table.params, numbers, 0, points)
        for k, j in enumerate(self._choices.tolist()):
            chosen = points[j][~np.isnan(points[j])].astype(np.int64)
            np.add.at(counts, self._starts[k] + chosen, 1.0)
        places = points[self._numeric]
        mean = np.where(np.isnan(places[:, 0]), self._middle(), places[:, 0])
        active = ~np.isnan(places)
        shares = active.sum(axis=1)
        centred = np.where(
            active, places - (np.where(active, places, 0).sum(axis=1) / np.maximum(shares, 1))[:, None], 0
        )
        variances = (centred**2).sum(axis=1)[shares > 1] / shares[shares > 1]
        spread = math.sqrt(float(variances.mean())) if len(variances) else FIRST_DEVIATION
        return mean, min(max(spread, _LEAST_KNOWN), _MOST_KNOWN)

    # --- the history

    def follows(self, table: TrialTable) -> bool:
        """Whether it is made of this table's trials, as they are now: one by one or, once there are any, by legs."""
        return self.table is table and (self._by_legs or not len(table.segments) or not self._told)

    def catch_up(self) -> None:
        """Take in the trials told since the last call."""
        table, segments = self.table, self.table.segments
        self._by_legs = len(segments) > 0
        if self._by_legs:
            for leg in range(self._told, len(segments)):
                number, resource = int(segments.trial[leg]), int(segments.resource[leg])
                loss = table.objectives.loss(float(segments.value[leg]))
                usable = segments.state[leg] in (TrialState.PAUSED, TrialState.COMPLETE) and math.isfinite(loss)
                if segments.state[leg] != TrialState.FAILED or not table.is_lost(number):
                    key = (0, 0.0, loss, number) if usable else worst_key(number)
                    self._take(key, resource, table.draws.item(number))
                self._told = leg + 1
        else:
            new = table.tell_order[self._told :]
            self._take_all(new)
        if self._is_stale:
            self._start()

    def _complete_generations(self) -> None:
        """Take in what was told if it may be enough for a generation, without which no member changes."""
        new = len(self.table.tell_order) - self._told
        if self._by_legs or not self._has_begun or new >= self.population - len(self._members.get(None, ())):
            self.catch_up()

    def _take_all(self, numbers: IntArray) -> None:
        """Trials (k,) were told, each trained in full."""
        lost = self.table.are_lost(numbers)  # which say nothing of their points
        known = numbers[~lost]
        draws = iter(self.table.draws[known].tolist())
        keys = iter(sort_keys(self.table, known) if len(known) else ())
        for is_lost in lost.tolist():
            if not is_lost:
                self._take(next(keys), None, next(draws))
            self._told += 1

    def _take(self, key: SortKey, resource: int | None, draw: int) -> None:
        """A trial was told, at a resource."""
        if not self._has_begun:
            if draw == NO_DRAW or (self._share is not None and draw < self._share.first):
                self._learn(key)
                self._is_stale = True
                return
            if self._is_stale:
                self._start()
            if not self._count_own(self._distribution, np.array([key[3]])):
                # another sampler's, or drawn before the start was moved; if each moved it, with many running none
                # would ever be drawn from the start that it is compared with
                self._learn(key)
                self._is_stale = self._share is None and self._count_known >= self._next_start
                return
            self._has_begun = True
            if self._known and self._count_known < _ENOUGH_KNOWN and not self._by_legs:
                self._add(self._known[0], None)  # too few to start at, but the best of them is worth comparing with
        elif draw == NO_DRAW or (self._share is not None and not self._share.has(draw)):
            if key[0] or not key[2] < self._best:
                return
        elif self._leaves_out(key[3]):
            self._left_out += 1  # it was drawn from the search before
            return
        self._add(key, resource)

    def _add(self, key: SortKey, resource: int | None) -> None:
        """A trial is a member of the next generation."""
        if key[0] == 0:
            self._best = min(self._best, key[2])
        members = self._members.setdefault(resource, [])
        members.append(key)
        if len(members) == self.population:
            del self._members[resource]
            self._evolve(sorted(members))

    def _learn(self, key: SortKey) -> None:
        """A trial that was not drawn from the start was told before any that was."""
        if key[0] or key[2] == math.inf:
            return
        self._count_known += 1
        if len(self._known) < _MOST_KEPT or key < self._known[-1]:
            bisect.insort(self._known, key)
            del self._known[_MOST_KEPT:]

    def _leaves_out(self, number: int) -> bool:
        """Whether a trial was drawn from the search before; as many as a generation are looked for.

        A finite space may have put other points in the place of those that were drawn, so that none is known again.
        """
        if not self._search or self._older or self._left_out == self.population:
            return False
        return not self._count_own(self._distribution, np.array([number]))

    def _count_own(self, distribution: Distribution, numbers: IntArray) -> int:
        """How many trials were drawn from a distribution."""
        return int(self._kernels.count_own(self._variables, distribution, self._key, *self._drawn(numbers)))

    def _drawn(self, numbers: IntArray) -> tuple[IntArray, FloatArray]:
        """The draws of trials, -1 - number where there was none, and their rows (k, d)."""
        draws = self.table.draws[numbers]
        return np.where(draws == NO_DRAW, -1 - numbers, draws), np.ascontiguousarray(self.table.params[:, numbers].T)

    def _are_old(self, numbers: IntArray) -> bool:
        """Whether most members of a generation were drawn more than two generations before.

        So it is if more run at the same time than three generations have; then larger ones learn more from as many.
        """
        last = self._doublings + self._search >= _MOST_DOUBLINGS
        if not self._grows or self._by_legs or last or self._generations % _EACH != _EACH - 1:
            return False
        known, least = 0, len(numbers) // 2
        for distribution in (self._distribution, *reversed(self._older)):
            known += self._count_own(distribution, numbers)
            if known >= least:
                return False
        return True

    def _evolve(self, keys: list[SortKey]) -> None:
        """A generation is complete; its members, best first."""
        import_whole("scipy.linalg.cython_lapack")  # the kernel would import it, and could be broken off
        numbers = np.array([key[3] for key in keys], np.int64)
        are_old = self._are_old(numbers)
        self._ahead = _NONE_AHEAD  # the kernel changes the distribution in place
        self._older = [
            *self._older[1 - _OLDER :],
            type(self._distribution)(*(array.copy() for array in self._distribution)),
        ]
        self._generations += 1
        ends = self._kernels.evolve(
            self._variables,
            self._settings.numbers,
            self._settings.weights,
            self._distribution,
            self._path,
            self._bests,
            self._key,
            *self._drawn(numbers),
            keys[0][2] if keys[0][0] == 0 else math.inf,
        )
        if are_old:
            self._doublings += 1
        if ends:
            self._search += 1
            self._start()
        elif are_old:
            self._set_population()

    # --- members

    def row(self, draw: int) -> FloatArray:
        """A member of the present generation, (d,), by the index of its draw.

        Some are drawn ahead: a call of the kernel costs more than what it does for a member.
        """
        self._complete_generations()
        first, rows = self._ahead
        if not first <= draw < first + len(rows):
            rows = self._draw(np.arange(draw, draw + min(self.population, _MOST_AHEAD)))
            first, self._ahead = draw, (draw, rows)
        row: FloatArray = rows[draw - first].copy()
        return row

    def rows(self, draws: IntArray) -> FloatArray:
        """Members of the present generation, (k, d), by the indices of their draws (k,)."""
        self._complete_generations()
        return self._draw(draws)

    def _draw(self, draws: IntArray) -> FloatArray:
        space = self._encoded.space
        rows = np.empty((len(draws), len(space.axes)))
        self._kernels.draw_members(space, self._variables, self._distribution, self._key, draws.astype(np.uint64), rows)
        return self._encoded.on_lattice(rows)
