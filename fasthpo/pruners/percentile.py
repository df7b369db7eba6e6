"""The percentile pruner: a running percentile a step, in compiled heaps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.vector_pools import VectorPools
from fasthpo.trials.reports import NONE, NarrowArray
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, as_number, check_count, grow, plain, shown

Pool = Literal["all", "completed"]


def _percentile(value: Any) -> float:
    number = as_number("percentile", value)
    if 0 < number < 1:
        raise InvalidValue(f"PercentilePruner takes 0 to 100, got percentile={number}; did you mean {100 * number:g}?")
    if not 0 <= number <= 100:
        raise InvalidValue(f"percentile must be between 0 and 100, got percentile={number}")
    return number


class _Pools(ABC):
    """What both kinds of pools share: a pool of values a step, and each trial's best loss.

    Made for a table without reports; if it has some, `take_up` reads them. From then on it follows `report` and `end`.
    """

    def __init__(self, table: TrialTable, q: float, min_steps: int) -> None:
        from fasthpo.kernels.pruning import percentile  # imports numba

        self.kernels = percentile
        self.q = q
        self.min_steps = min_steps
        self.pools: dict[int, FloatArray] = {}
        self.best: FloatArray = np.full(max(FIRST_CAPACITY, len(table.reports.last)), np.nan)

    @abstractmethod
    def take_up(self, table: TrialTable) -> None:
        """Read the reports that the table has already."""

    def _running_best(self, table: TrialTable) -> FloatArray:
        """Take up the table's reports; for each of them its trial's best loss up to its step, NaN if none."""
        reports, n = table.reports, len(table.reports)
        out = np.empty(n)
        self.kernels.running_best(
            reports.last, reports.step[:n], reports.gap[:n], table.objectives.losses(reports.value), self.best, out
        )
        return out

    def _make_room(self, number: int) -> None:
        if number >= len(self.best):
            self.best = grow(self.best, max(number + 1, 2 * len(self.best)), np.nan)  # type: ignore[assignment]

    def _widen(self, step: int) -> FloatArray:
        self.pools[step] = wider = self.kernels.widen(self.pools[step])
        return wider

    def _insert(self, step: int, value: float) -> None:
        pool = self.pools[step]
        while not self.kernels.insert(pool, value, self.q):
            pool = self._widen(step)

    def _note(self, number: int, loss: float) -> None:
        """A report that enters no pool now."""
        self.best[number] = self.kernels.better(self.best[number], loss)

    @abstractmethod
    def report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        """A running trial has reported."""

    @abstractmethod
    def end(self, table: TrialTable, number: int) -> None:
        """A trial has ended."""

    @abstractmethod
    def is_worse(self, table: TrialTable, number: int) -> bool:
        """Whether the running trial is to be given up."""


def _by_step(steps: NarrowArray, values: FloatArray) -> dict[int, FloatArray]:
    """The values at each step."""
    if not len(steps):
        return {}
    order = np.argsort(steps, kind="stable")
    steps = steps[order]
    borders = np.flatnonzero(steps[1:] != steps[:-1]) + 1
    return dict(zip(steps[np.r_[0, borders]].tolist(), np.split(values[order], borders), strict=True))


class _AllPools(_Pools):
    """The pool of a step: best losses so far of the trials that reported there or ended before.

    A trial that ends is only written down in `order`; each pool takes it up when it is next looked at.
    """

    def __init__(self, table: TrialTable, q: float, min_steps: int) -> None:
        super().__init__(table, q, min_steps)
        self.ended = 0
        self.order: IntArray = np.zeros(FIRST_CAPACITY, np.int64)
        # the answer of the latest report's kernel call, which holds until something else happens
        self.judged, self.verdict = NONE, False

    def take_up(self, table: TrialTable) -> None:
        best, reports = self._running_best(table), table.reports
        ended = table.tell_order
        states = table.states[ended]
        kept = ended[(states == TrialState.COMPLETE) | (states == TrialState.PRUNED)]
        kept = kept[kept < len(reports.last)]
        kept = kept[reports.last[kept] != NONE]
        self.ended = len(kept)
        self.order = np.zeros(max(FIRST_CAPACITY, len(kept)), np.int64)
        self.order[: len(kept)] = kept
        counted = np.flatnonzero(reports.step[: len(best)] >= self.min_steps)
        for step, values in _by_step(reports.step[counted], best[counted]).items():
            self._open(step, values, reports.highest)

    def _open(self, step: int, reported: FloatArray, highest: IntArray) -> FloatArray:
        """The pool of a new step: what was `reported` there and the trials that ended before it."""
        order = self.order[: self.ended]
        losses = np.concatenate([reported, self.best[order[highest[order] < step]]])
        losses[np.isnan(losses)] = np.inf
        losses.sort()
        self.pools[step] = pool = self.kernels.build(losses, self.q, self.ended)
        return pool  # type: ignore[no-any-return]

    def report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        if number >= len(self.best):
            self._make_room(number)
        highest, loss = table.reports.highest, table.objectives.loss(value)
        if step < self.min_steps:
            self.judged = NONE
            if step < highest[number]:
                self._report_late(table, number, step, loss)
            else:
                self._note(number, loss)
            return
        pool = self.pools.get(step)
        if pool is None:
            pool = self._open(step, np.empty(0), highest)
        while True:
            verdict = self.kernels.report(pool, self.best, highest, self.order, self.ended, number, step, loss, self.q)
            if verdict <= self.kernels.PRUNE:
                self.judged, self.verdict = number, verdict == self.kernels.PRUNE
                return
            if verdict == self.kernels.LATE:
                self.judged = NONE
                self._report_late(table, number, step, loss)
                return
            pool = self._widen(step)

    def _report_late(self, table: TrialTable, number: int, step: int, loss: float) -> None:
        """A report at a step before the trial's largest: it may better the trial's entries at later steps."""
        better, entry = self.kernels.better, self.kernels.rank_nan_worst
        without = within = math.nan  # the best so far, without and with the late report
        for other, value in table.reports.of(number).items():
            if other == step:
                within = better(within, loss)
                if step >= self.min_steps:
                    self._insert(step, entry(within))
                continue
            without = better(without, table.objectives.loss(value))
            within = better(within, table.objectives.loss(value))
            if other > step and other >= self.min_steps and entry(within) < entry(without):
                self.kernels.replace(self.pools[other], entry(without), entry(within))
        self._note(number, loss)

    def end(self, table: TrialTable, number: int) -> None:
        self.judged = NONE
        if table.reports.latest(number) == NONE or table.state(number) not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        if self.ended == len(self.order):
            self.order = grow(self.order, 2 * self.ended)  # type: ignore[assignment]
        self.order[self.ended] = number
        self.ended += 1

    def is_worse(self, table: TrialTable, number: int) -> bool:
        if number == self.judged:
            return self.verdict
        if table.reports.latest(number) == NONE:
            return False
        highest = table.reports.highest
        step = highest.item(number)
        pool = self.pools.get(step)
        if pool is None:  # too small a step
            return False
        while True:
            verdict = self.kernels.judge(pool, self.best, highest, self.order, self.ended, number, self.q)
            if verdict != self.kernels.FULL:
                return bool(verdict == self.kernels.PRUNE)
            pool = self._widen(step)


class _CompletedPools(_Pools):
    """The pool of a step: the values (not losses) that completed trials reported at it, NaN left out."""

    def take_up(self, table: TrialTable) -> None:
        self._running_best(table)
        n, reports = len(table.reports), table.reports
        values = reports.value
        counted = (reports.step[:n] >= self.min_steps) & ~np.isnan(values)
        counted &= table.states[reports.trial] == TrialState.COMPLETE
        for step, pool in _by_step(reports.step[:n][counted], values[counted]).items():
            self.pools[step] = self.kernels.build(np.sort(pool), self.q)

    def report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        self._make_room(number)
        self._note(number, table.objectives.loss(value))

    def end(self, table: TrialTable, number: int) -> None:
        if table.state(number) != TrialState.COMPLETE:
            return
        for step, value in table.reports.of(number).items():
            if step >= self.min_steps and not math.isnan(value):
                if step not in self.pools:
                    self.pools[step] = self.kernels.build(np.empty(0), self.q)
                self._insert(step, value)

    def is_worse(self, table: TrialTable, number: int) -> bool:
        if table.reports.latest(number) == NONE:
            return False
        step = table.reports.highest.item(number)
        if step < self.min_steps:
            return False
        own = self.best.item(number)
        if math.isnan(own):
            return True
        pool = self.pools.get(step)
        return pool is not None and bool(own > table.objectives.loss(self.kernels.percentile(pool, self.q)))


class PercentilePruner(Pruner):
    """Prunes a trial whose best value so far is worse than a percentile of the other trials' at the same step.

    Trial t at step s, its largest reported one, is pruned if its best value over the steps up to s is strictly worse
    than the percentile of every other trial's best over the steps up to s. The others are the trials that reported at
    s, and the completed and pruned ones whose last step came before s: without these, only survivors would be left to
    compare with, and far more than the intended share would be pruned. NaN ranks worst; a trial that has reported
    nothing but NaN is pruned. Percentiles between two values are interpolated linearly.

    Under several objectives a trial's best is a vector, best in each objective by itself: what the trial has shown
    that it can reach. It does not depend on the order of reports and is nowhere worse than any of them, so that a
    trial whose objectives trade off over time is kept rather than pruned. An objective of which a trial has reported
    nothing but NaN ranks with the worst infinity. In the place of values stand the non-dominated layers of the trial
    and the others, counted from the front on: a trial is pruned if its layer is above the percentile of the others'
    layers; on the front it never is. Constraints do not count, as they are told when a trial ends. Of more than 256
    trials at a step, 256 are compared: a sample as if at random, with the same trials at all steps. A report then
    costs O(1), and a question O(1), some twenty microseconds; the first question at a step that no trial has reached
    before goes once over the trials that have ended.

    A report costs O(log n) for n trials, a late one (at a step before the trial's largest) O(n), and a question O(1).
    Every step number has a pool of up to n values (8 bytes each), so trials should report at the same steps, such as
    epochs.

    Args:
        percentile: 0 to 100. 25 keeps the best quarter in either direction, 50 is the median.
        n_startup_trials: no pruning before so many trials have ended (completed or pruned).
        min_steps: no pruning while a trial's step is smaller.
        pool: "all" as described, or, with one objective only, "completed" for what Optuna's pruner of this name does:
            the trial's best value against the values (not the best so far) of completed trials at exactly its step, NaN
            left out; `n_startup_trials` then counts completed trials only.

    Raises:
        InvalidValue: an argument is out of its range.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)})
        >>> study = fasthpo.Study(space, pruner=fasthpo.PercentilePruner(25.0, n_startup_trials=4))
        >>> trials = [study.ask() for _ in range(5)]
        >>> for loss, trial in enumerate(trials):
        ...     trial.report(float(loss), 0)
        >>> for trial in trials[:4]:
        ...     _ = study.tell(trial, 1.0)
        >>> trials[4].should_prune()
        True
    """

    prunes_by_rank = True
    name = "percentile"

    def __init__(self, percentile: float, n_startup_trials: int = 5, min_steps: int = 0, pool: Pool = "all") -> None:
        self.percentile = _percentile(percentile)
        self.n_startup_trials = check_count("n_startup_trials", n_startup_trials)
        self.min_steps = check_count("min_steps", min_steps)
        known = plain(pool)
        if not isinstance(known, str) or known not in ("all", "completed"):
            raise InvalidValue(f"pool must be 'all' or 'completed', got pool={shown(pool)}")
        self.pool: Pool = known  # type: ignore[assignment]
        self.has_several_objectives = self.pool == "all"
        self._pools: _Pools | VectorPools | None = None

    def attach(self, table: TrialTable) -> None:
        """Take up `table`; its reports are read, in one pass, when the first new one comes."""
        self._pools = None

    def _new(self, table: TrialTable) -> _Pools | VectorPools:
        q = self.percentile / 100
        if table.objectives.count > 1:
            self._pools = VectorPools(table, q, self.min_steps)
        elif self.pool == "all":
            self._pools = _AllPools(table, q, self.min_steps)
        else:  # on values, where the percentile of a maximised one flips
            q = q if table.direction == "minimize" else (100 - self.percentile) / 100
            self._pools = _CompletedPools(table, q, self.min_steps)
        return self._pools

    def _read(self, table: TrialTable) -> _Pools | VectorPools:
        pools = self._new(table)
        pools.take_up(table)
        return pools

    def on_report(self, table: TrialTable, number: int, step: int, value: Any) -> None:
        pools = self._pools
        if pools is None:
            if len(table.reports) > 1:
                self._read(table)  # finds this report in the table
                return
            pools = self._new(table)  # a new study needs no kernel to read what was before
        pools.report(table, number, step, value)

    def on_end(self, table: TrialTable, number: int) -> None:
        if self._pools is not None:
            self._pools.end(table, number)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        counts = table.counts
        if self.pool == "all":
            if counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] < self.n_startup_trials:
                return False
        elif counts[TrialState.COMPLETE] < max(1, self.n_startup_trials):
            return False
        pools = self._pools or self._read(table)
        return pools.is_worse(table, number)

    def options(self) -> dict[str, Any]:
        return {
            "percentile": self.percentile,
            "n_startup_trials": self.n_startup_trials,
            "min_steps": self.min_steps,
            "pool": self.pool,
        }
