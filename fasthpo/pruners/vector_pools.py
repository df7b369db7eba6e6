"""What the percentile pruner keeps under several objectives: a bounded sample of best vectors a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow, grow_rows

if TYPE_CHECKING:
    from fasthpo.kernels.pruning.vectors import Pool


class VectorPools:
    """The pool of a step: best vectors so far of the trials that reported there or ended before.

    A trial that ends is only written down in `order`; each pool takes it up when it is next looked at. What a pool
    holds does not depend on the order in which trials came to it (see `kernels/pruning/vectors.py`).

    Args:
        table: one without reports; if it has some, `take_up` reads them.
        q: the percentile, as a fraction.
        min_steps: there is no pool of a smaller step.
    """

    def __init__(self, table: TrialTable, q: float, min_steps: int) -> None:
        from fasthpo.kernels.pruning import vectors  # imports numba

        self._kernels = vectors
        self._q = q
        self._min_steps = min_steps
        self._objectives = table.objectives.count
        self._pools: dict[int, Pool] = {}
        self._best: FloatArray = np.full((max(FIRST_CAPACITY, len(table.reports.last)), self._objectives), np.nan)
        self._ended = 0
        self._order: IntArray = np.zeros(FIRST_CAPACITY, np.int64)

    def take_up(self, table: TrialTable) -> None:
        """Read the reports that the table has already."""
        from fasthpo.kernels.pruning.percentile import running_best

        reports, n = table.reports, len(table.reports)
        losses = table.objectives.losses(reports.value)
        best = np.empty((n, self._objectives))
        for j in range(self._objectives):
            of_trials, of_reports = self._best[:, j].copy(), np.empty(n)
            running_best(reports.last, reports.step[:n], reports.gap[:n], losses[:, j].copy(), of_trials, of_reports)
            self._best[:, j], best[:, j] = of_trials, of_reports
        for number in table.tell_order.tolist():
            self.end(table, number)
        steps, trials = reports.step[:n].astype(np.int64), reports.trial
        counted = np.flatnonzero(steps >= self._min_steps)
        counted = counted[np.argsort(steps[counted], kind="stable")]
        borders = np.flatnonzero(np.diff(steps[counted])) + 1
        for some in np.split(counted, borders) if len(counted) else []:
            self._pools[int(steps[some[0]])] = self._kernels.build(trials[some], best[some])

    def report(self, table: TrialTable, number: int, step: int, value: FloatArray) -> None:
        """A running trial has reported."""
        if number >= len(self._best):
            self._best = grow_rows(self._best, max(number + 1, 2 * len(self._best)), np.nan)  # type: ignore[assignment]
        if step < table.reports.highest[number]:
            self._report_late(table, number, step)
            return
        self._kernels.fold(self._best[number], table.objectives.losses(value))
        if step >= self._min_steps:
            self._offer(step, number, self._best[number])

    def _offer(self, step: int, number: int, best: FloatArray) -> None:
        pool = self._pools.get(step)
        if pool is None:
            self._pools[step] = pool = self._kernels.empty(self._objectives)
        if self._kernels.is_full(pool):
            self._pools[step] = pool = self._kernels.widen(pool)
        self._kernels.offer(pool, number, best)

    def _report_late(self, table: TrialTable, number: int, late: int) -> None:
        """A report at a step before the trial's largest: it may better the trial's entries at later steps."""
        best = np.full(self._objectives, np.nan)
        for step, value in table.reports.of(number).items():
            self._kernels.fold(best, table.objectives.losses(np.array(value)))
            if step < max(late, self._min_steps):
                continue
            if step == late:
                self._offer(step, number, best)
            else:
                self._kernels.replace(self._pools[step], number, best)
        self._best[number] = best

    def end(self, table: TrialTable, number: int) -> None:
        """A trial has ended."""
        if table.reports.latest(number) == NONE or table.state(number) not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        if self._ended == len(self._order):
            self._order = grow(self._order, 2 * self._ended)  # type: ignore[assignment]
        self._order[self._ended] = number
        self._ended += 1

    def is_worse(self, table: TrialTable, number: int) -> bool:
        """Whether the running trial is to be given up."""
        if table.reports.latest(number) == NONE:
            return False
        highest = table.reports.highest
        step = highest.item(number)
        pool = self._pools.get(step)
        if pool is None:  # too small a step
            return False
        while not self._kernels.catch_up(pool, self._best, highest, self._order, self._ended, step):
            self._pools[step] = pool = self._kernels.widen(pool)
        return bool(self._kernels.is_worse(pool, number, self._best[number], self._q))
