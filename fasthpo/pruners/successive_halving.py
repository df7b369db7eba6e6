"""Asynchronous successive halving, the type that stops trials: at each rung only the best go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.pruners.base import Pruner
from fasthpo.space.parameter import LARGEST_INTEGER
from fasthpo.trials.latest import LatestTrials
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, check_count, grow

_BEYOND = 2**63  # no step is as large
_WITHDRAWN = 1  # the mark of a trial that has failed since


class _Rung:
    """Trials that entered with a loss, in the heaps of `kernels/halving/stopping.py`."""

    def __init__(self, eta: int) -> None:
        from fasthpo.kernels.halving import stopping  # imports numba

        self._kernels = stopping
        self._eta = eta
        self._heaps: FloatArray = stopping.empty()

    def enter(self, withdrawn: npt.NDArray[np.int8], number: int, loss: float) -> bool:
        """Whether a trial that enters is among the best; by trial number, 1 for those that have been withdrawn."""
        answer = self._kernels.enter(self._heaps, withdrawn, number, loss, self._eta)
        while answer == self._kernels.FULL:
            self._heaps = self._kernels.widen(self._heaps)
            answer = self._kernels.enter(self._heaps, withdrawn, number, loss, self._eta)
        return bool(answer == self._kernels.IN)

    def withdraw(self, withdrawn: npt.NDArray[np.int8], number: int, loss: float) -> None:
        """A trial, which is among those withdrawn now, had entered with that loss."""
        self._kernels.withdraw(self._heaps, withdrawn, number, loss, self._eta)


class _LayeredRung:
    """The same of trials that entered with losses (m,), of which the latest are compared."""

    def __init__(self, eta: int, objectives: int) -> None:
        self._eta = eta
        self._latest = LatestTrials(objectives)

    def enter(self, withdrawn: npt.NDArray[np.int8], number: int, loss: FloatArray) -> bool:
        """As `_Rung.enter`."""
        if withdrawn[number]:
            return False
        place, counting = self._latest.add(number, loss), self._latest.marks != _WITHDRAWN
        return place in self._latest.first(max(1, int(counting.sum()) // self._eta), counting)

    def withdraw(self, withdrawn: npt.NDArray[np.int8], number: int, loss: FloatArray) -> None:
        """As `_Rung.withdraw`."""
        place = self._latest.find(number)
        if place is not None:
            self._latest.marks[place] = _WITHDRAWN


class _Rungs:
    """The rungs of a table, which may hold trials and reports; it then follows the table.

    A trial that has failed counts for those that entered a rung before that, so the table has to know when it failed.

    Attributes:
        reached: by trial number, how many rungs a trial has entered.
        stopped: by trial number, whether it was not among the best of a rung.
    """

    def __init__(self, table: TrialTable, levels: list[int], eta: int) -> None:
        self.levels = levels
        self.eta = eta
        self.rungs: list[_Rung | _LayeredRung] = []
        self.objectives = table.objectives.count
        capacity = max(FIRST_CAPACITY, len(table))
        self.reached, self.stopped = bytearray(capacity), bytearray(capacity)
        self.withdrawn: npt.NDArray[np.int8] = np.zeros(capacity, np.int8)
        self._replay(table)

    def _replay(self, table: TrialTable) -> None:
        """Enter the trials in the order in which they came to each rung; those that failed are there until then."""
        reports, n = table.reports, len(table.reports)
        if n == 0 or reports.step[:n].max() < self.levels[0]:
            return
        trial, step, values = reports.trial, reports.step[:n], reports.value
        losses = table.objectives.ranked_losses(values)
        # by trial, how many reports there were when it failed: 0 if that is not known, n + 1 if it has not
        left = np.where(table.states == TrialState.FAILED, 0, n + 1)
        left[list(reports.failures)] = list(reports.failures.values())
        known = left[trial] > 0
        for k, level in enumerate(self.levels):
            there = np.flatnonzero((step >= level) & known)
            if not len(there):
                return
            first = np.sort(there[np.unique(trial[there], return_index=True)[1]])
            numbers, leave = trial[first], left[trial[first]]
            leavers = np.flatnonzero(leave <= n)
            self.withdrawn[numbers[leavers]] = 0  # for this rung; they have left the one before
            places = np.append(leavers, np.arange(len(first)))
            times = np.append(leave[leavers], first)  # equal ones: who failed did so before the report
            order = np.argsort(times, kind="stable")
            enters, places = order >= len(leavers), places[order]
            events = (enters.tolist(), numbers[places].tolist(), losses[first[places]].tolist())
            for is_new, number, loss in zip(*events, strict=True):
                if is_new:
                    self._enter(k, number, loss)
                else:
                    self._leave(k, number, loss)

    def _enter(self, k: int, number: int, loss: Any) -> None:
        if k == len(self.rungs):
            self.rungs.append(_Rung(self.eta) if self.objectives == 1 else _LayeredRung(self.eta, self.objectives))
        is_among_best = self.rungs[k].enter(self.withdrawn, number, loss)
        self.reached[number] = k + 1
        if not is_among_best:
            self.stopped[number] = True

    def _loss(self, table: TrialTable, value: Any) -> Any:
        """The loss of a report, or its losses (m,); what is missing ranks worst."""
        return table.objectives.ranked_loss(value) if self.objectives == 1 else table.objectives.ranked_losses(value)

    def report(self, table: TrialTable, number: int, step: int, value: Any) -> None:
        if number >= len(self.reached):
            more = max(number + 1 - len(self.reached), len(self.reached))
            self.reached.extend(bytes(more))
            self.stopped.extend(bytes(more))
            self.withdrawn = grow(self.withdrawn, len(self.reached))  # type: ignore[assignment]
        while step >= self.levels[self.reached[number]]:
            self._enter(self.reached[number], number, self._loss(table, value))

    def withdraw(self, table: TrialTable, number: int) -> None:
        """A trial has failed: its entries no longer count."""
        if number >= len(self.reached) or not self.reached[number]:
            return
        for k, loss in enumerate(self._entries(table, number)):
            self._leave(k, number, loss)

    def _leave(self, k: int, number: int, loss: Any) -> None:
        self.withdrawn[number] = 1
        self.rungs[k].withdraw(self.withdrawn, number, loss)

    def _entries(self, table: TrialTable, number: int) -> list[Any]:
        """What a trial entered each of its rungs with."""
        reports = table.reports
        came, at = [], reports.latest(number)
        while True:
            came.append(at)
            if not reports.gap[at]:
                break
            at -= int(reports.gap[at])
        entries: list[Any] = []
        for i in reversed(came):
            while len(entries) < self.reached[number] and reports.step[i] >= self.levels[len(entries)]:
                entries.append(self._loss(table, reports.value_at(i)))
        return entries


class SuccessiveHalvingPruner(Pruner):
    """Prunes a trial that is not among the best at one of a few steps, each `reduction_factor` times the one before.

    The steps min_resource * reduction_factor^k, k = 0, 1, ..., are rungs. A trial enters a rung with the value of its
    first report at the rung's step or beyond, and goes on if it is then among the best max(1, floor(n / eta)) of the n
    trials that have entered so far, eta being the reduction factor; otherwise it is to be pruned, whatever it reports
    later. So the first trial of a rung goes on, and of the next ones, until there are 2 eta, each that is the best so
    far: a trial that is worse than one of fewer than 2 eta is not among their best floor(n / eta), however those still
    to come turn out. In the long run a share of 1 / eta passes each rung.

    Trials of equal value rank by their numbers. NaN ranks with the worst infinity. Trials that failed don't count. A
    report that is the first at several rungs enters all of them, and so does one of a trial that goes on although it is
    to be pruned: what it reached is real.

    This is asynchronous successive halving of the stopping type, after Li et al. 2020, arXiv 1810.05934; the promoting
    type, where trials pause instead, is a strategy. Optuna's pruner of the name has the same rule, but there a trial
    enters no rung beyond the one that stops it, ties go on, and a trial that is not asked about at a rung is not
    stopped there. Syne Tune lets the best floor(n / eta) + 1 go on, which stops fewer.

    Under several objectives trials are ordered by non-dominated layers and, inside a layer, along an epsilon-net that
    covers it: its first trial has the lowest first loss, and each next one is furthest from those before, where each
    loss goes from 0 to 1 in the layer (MO-ASHA: Schmucker et al. 2021, arXiv 2106.12639). Of the layer that is cut
    those go on that the net reaches first. What is NaN of a report ranks with the worst infinity, and infinities count
    as the largest numbers. Of a rung the latest 256 trials are compared, those that failed among them, but not counted.
    Constraints do not count, as they are told when a trial ends.

    A report costs O(log n) where it reaches a rung, under several objectives O(1), some hundred microseconds; elsewhere
    it costs nothing.

    Args:
        min_resource: the step of the first rung, at least 1.
        reduction_factor: eta, at least 2; the larger, the fewer trials go on.

    Raises:
        InvalidValue: an argument is out of its range.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=fasthpo.SuccessiveHalvingPruner(1, 2))
        >>> for loss in [0.5, 0.7, 0.3]:
        ...     trial = study.ask()
        ...     for epoch in (1, 2, 3):
        ...         trial.report(loss / epoch, epoch)
        ...         if trial.should_prune():
        ...             _ = study.tell(trial, state=fasthpo.TrialState.PRUNED)
        ...             break
        ...     else:
        ...         _ = study.tell(trial, loss / 3)
        >>> [trial.state.name for trial in study.trials]
        ['COMPLETE', 'PRUNED', 'COMPLETE']
    """

    name = "successive_halving"
    has_several_objectives = True

    def __init__(self, min_resource: int = 1, reduction_factor: int = 3) -> None:
        self.min_resource = check_count("min_resource", min_resource, 1, LARGEST_INTEGER)
        self.reduction_factor = check_count("reduction_factor", reduction_factor, 2, LARGEST_INTEGER)
        levels = [self.min_resource]
        while levels[-1] < _BEYOND:
            levels.append(levels[-1] * self.reduction_factor)
        self._levels = levels  # the last one is never reached
        self._rungs: _Rungs | None = None

    def attach(self, table: TrialTable) -> None:
        """Take up `table`; its reports are read, in one pass, when the first new one comes."""
        self._rungs = None

    def _read(self, table: TrialTable) -> _Rungs:
        self._rungs = _Rungs(table, self._levels, self.reduction_factor)
        return self._rungs

    def on_report(self, table: TrialTable, number: int, step: int, value: Any) -> None:
        if self._rungs is None:
            self._read(table)  # finds this report in the table
        else:
            self._rungs.report(table, number, step, value)

    def on_end(self, table: TrialTable, number: int) -> None:
        if self._rungs is not None and table.state(number) == TrialState.FAILED:
            self._rungs.withdraw(table, number)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        rungs = self._rungs or self._read(table)
        return number < len(rungs.stopped) and bool(rungs.stopped[number])

    def options(self) -> dict[str, Any]:
        return {"min_resource": self.min_resource, "reduction_factor": self.reduction_factor}
