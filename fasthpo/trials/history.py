"""What has happened in a study, and nothing else: from this it goes on, whatever process it was in.

Each transition of a trial is written here, once: what the study does live, and what the journal does again when it is
read, are the same verbs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.space.open_space import OpenSpace
from fasthpo.trials.lineage import Fork
from fasthpo.trials.objectives import Values
from fasthpo.trials.outcome import NAN_ERROR
from fasthpo.trials.projection import Projection
from fasthpo.trials.reports import NONE, Reports
from fasthpo.trials.savepoint import Extent
from fasthpo.trials.table import NO_DRAW, TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray


class Segment(NamedTuple):
    """What a trial that starts is to do under a multi-fidelity strategy."""

    bracket: int
    resource: int  # to train to
    start: float  # seconds since the epoch
    fork: Fork | None = None  # of a trial that enters a population


class Recorder:
    """Hears of each transition right after it, to make a record of it. This one makes none.

    It serves a history in memory, or one that is just being read; see `fasthpo.storage.records.JournalRecorder`.
    """

    def asked(self, number: int, is_new: bool) -> None:
        """A trial runs: a new one, else one that waited or was paused."""

    def asked_many(self, first: int, count: int) -> None:
        """New trials run that were asked for together, without a multi-fidelity strategy."""

    def enqueued(self, number: int) -> None:
        """A trial waits."""

    def reported(self, number: int, step: int, value: Values) -> None:
        """A running trial has reported."""

    def told(
        self,
        number: int,
        state: int,
        value: Values,
        charge: int | None,
        metrics: Mapping[str, float] | None,
        error: str | None,
        constraints: FloatArray | None,
    ) -> None:
        """A running trial has ended or paused; its end stands in the table."""

    def told_many(
        self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray, constraints: FloatArray | None
    ) -> None:
        """Running trials have ended together, without a multi-fidelity strategy."""

    def added(self, first: int, values: FloatArray, resource: int | None, constraints: FloatArray | None) -> None:
        """Trials with known results have entered the study."""

    def requeued(self) -> None:
        """All running trials wait to be asked anew."""

    def noted(self, name: str, value: Any) -> None:
        """An attribute of the study has a value, of plain JSON."""

    def noted_on(self, number: int, name: str, value: Any) -> None:
        """An attribute of a trial has a value, of plain JSON."""

    def widened(self) -> None:
        """The space has grown, or more of it was learnt."""

    def rewritten(self, number: int) -> None:
        """A running trial has other parameters than it began with."""


class History:
    """A study's trials, the queue of those that wait to be asked for, its sampler's draws and its attributes.

    What a sampler, pruner or strategy keeps can be rebuilt from it, so it is all that files of a study hold, besides
    the definition of the space and the parts.

    Args:
        table: the trials.

    Attributes:
        recorder: hears of every transition; whoever keeps the history puts its own here.
        waiting: numbers of the WAITING trials in the order in which they will be asked.
        next_draw: how many draws the sampler has made.
        attributes: what the user noted down with the study, JSON values by name.
        trial_attributes: the same of trials that have any, by number.
        rewritten_rows: of a space that is learnt: the rows with which trials began that went on with others, by number,
            since it was learnt last.
        projection: the trials as points of what was learnt; None if there is no such space.
    """

    def __init__(self, table: TrialTable) -> None:
        self.table = table
        self.recorder = Recorder()
        self.waiting: deque[int] = deque()
        self.next_draw = 0
        self.attributes: dict[str, Any] = {}
        self.trial_attributes: dict[int, dict[str, Any]] = {}
        self.rewritten_rows: dict[int, list[float]] = {}
        self.projection: Projection | None = None

    @property
    def seen(self) -> TrialTable:
        """The trials as samplers see them."""
        return self.table if self.projection is None else self.projection

    # --- transitions

    def asked(self, row: FloatArray, draw: int, start: float, segment: Segment | None = None) -> int:
        """A new trial runs; its number.

        Args:
            row: its parameters (d,).
            draw: of the sampler, or `NO_DRAW`.
            start: seconds since the epoch.
            segment: under a multi-fidelity strategy.
        """
        number = self.table.append(row[None, :], draw, TrialState.RUNNING, start)
        if segment is not None:
            self._open(number, segment)
        self.recorder.asked(number, True)
        return number

    def _open(self, number: int, segment: Segment) -> None:
        if segment.fork is not None:
            self.table.set_fork(number, segment.fork)
        self.table.open_segment(number, segment.bracket, segment.resource, segment.start)

    def asked_many(self, rows: FloatArray, draws: IntArray, start: float) -> int:
        """New trials with parameters `rows` (n, d) run, without a multi-fidelity strategy; the first one's number."""
        first = self.table.append(rows, draws, TrialState.RUNNING, start)
        self.recorder.asked_many(first, len(rows))
        return first

    def asked_again(self, number: int, row: FloatArray, start: float, segment: Segment | None = None) -> None:
        """The first of the trials that wait runs, with all its parameters `row` (d,)."""
        if self.table.savepoint.extent is not None:
            self.table.savepoint.started.append(number)
        self.waiting.popleft()
        self.table.start(number, row, start)
        if segment is not None:
            self._open(number, segment)
        self.recorder.asked(number, False)

    def resumed(self, number: int, segment: Segment) -> None:
        """A paused trial runs again."""
        self._open(number, segment)
        self.recorder.asked(number, False)

    def reported(self, number: int, step: int, value: Values) -> int:
        """A running trial has reported; `NONE`, or the index of an earlier report at that step, which stands."""
        earlier = self.table.reports.append(number, step, value)
        if earlier == NONE:
            self.recorder.reported(number, step, value)
        return earlier

    def told(
        self,
        number: int,
        state: TrialState,
        value: Values,
        end: float,
        charge: int | None = None,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        constraints: FloatArray | None = None,
    ) -> None:
        """A running trial has ended, or paused.

        Args:
            state: what it becomes.
            value: NaN if it has none; under several objectives (m,).
            end: seconds since the epoch.
            charge: the resource that its segment has cost, under a multi-fidelity strategy.
            metrics: further numbers to keep.
            error: why it failed.
            constraints: what it is told of them, (k,); None for nothing.
        """
        table = self.table
        if constraints is not None:
            table.set_constraints(np.array([number]), constraints[None, :])
        if metrics:
            table.set_metrics(number, metrics)
        if error is not None:
            table.errors[number] = error
        if charge is not None:
            table.close_segment(number, state, value, charge, end)
        if state != TrialState.PAUSED:
            table.finish(number, state, value, end)
        self.recorder.told(number, int(state), value, charge, metrics, error, constraints)

    def told_many(
        self,
        numbers: IntArray,
        states: npt.NDArray[np.int8],
        values: FloatArray,
        end: float,
        constraints: FloatArray | None = None,
    ) -> None:
        """Running trials have ended together, COMPLETE or FAILED, without a multi-fidelity strategy.

        Args:
            numbers, states: of the trials, (n,).
            values: (n,), under several objectives (n, m).
            end: seconds since the epoch.
            constraints: (n, k), a row of NaN for a trial that is told none; None for nothing.
        """
        if constraints is not None:
            self.table.set_constraints(numbers, constraints)
        self._finish_many(numbers, states, values, end)
        self.recorder.told_many(numbers, states, values, constraints)

    def added(
        self,
        rows: FloatArray,
        states: npt.NDArray[np.int8],
        values: FloatArray,
        start: float,
        end: float,
        resource: int | None,
        constraints: FloatArray | None = None,
    ) -> IntArray:
        """Trials whose results are known enter the study, COMPLETE or FAILED; their numbers.

        Args:
            rows: their parameters (n, d).
            resource: what they count as trained to, under a multi-fidelity strategy.
            constraints: as of `told_many`.
        """
        first = self.table.append(rows, NO_DRAW, TrialState.RUNNING, start)
        numbers = np.arange(first, first + len(rows))
        if constraints is not None:
            self.table.set_constraints(numbers, constraints)
        if resource is not None:
            self.table.add_segments(numbers, resource, values, states)
        self._finish_many(numbers, states, values, end)
        self.recorder.added(first, values, resource, constraints)
        return numbers

    def _finish_many(self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray, end: float) -> None:
        self.table.finish_many(numbers, states, values, end)
        self.table.errors.update(dict.fromkeys(numbers[states == TrialState.FAILED].tolist(), NAN_ERROR))

    def enqueued(self, row: FloatArray) -> int:
        """A trial with the parameters `row` (d,), NaN where not given, waits to be asked for; its number."""
        number = self.table.append(row[None, :], NO_DRAW, TrialState.WAITING, np.nan)
        self.waiting.append(number)
        self.recorder.enqueued(number)
        return number

    def requeued(self) -> list[int]:
        """Every running trial waits to be asked anew, before any other; the reports of its broken off leg are dropped.

        Returns:
            The numbers of these trials, ascending.
        """
        table = self.table
        running: list[int] = table.running.tolist()
        if not running:
            return running
        reports, count = table.reports, len(table.reports)
        # of each trial the reports before its `end` are kept
        end = np.full(len(table), count)
        for number in running:
            leg = table.segments.open.get(number)
            end[number] = 0 if leg is None else leg.reports
        trial, step, value = reports.trial, reports.step[:count].astype(np.int64), reports.value
        kept = np.arange(count) < end[trial]
        if not kept.all():
            before = np.append(0, np.cumsum(kept))  # of the first i reports, how many are kept
            table.reports = Reports(table.objectives.count)
            table.reports.fill(trial[kept], step[kept], value[kept])
            table.reports.failures = {number: int(before[i]) for number, i in reports.failures.items()}
        for number in running:
            table.requeue(number)
        self.waiting.extendleft(reversed(running))
        self.recorder.requeued()
        return running

    def noted(self, name: str, value: Any) -> None:
        """The study has an attribute, a value of plain JSON."""
        self.attributes[name] = value
        self.recorder.noted(name, value)

    def noted_on(self, number: int, name: str, value: Any) -> None:
        """A trial has an attribute, a value of plain JSON."""
        self.trial_attributes.setdefault(number, {})[name] = value
        self.recorder.noted_on(number, name, value)

    def widened(self, space: OpenSpace) -> None:
        """The space has further or wider parameters, or more of it was learnt."""
        known = self.table.space
        assert isinstance(known, OpenSpace)
        if space.learnt.told != known.learnt.told:
            self.rewritten_rows.clear()
            if space.learnt.restarts:
                self.next_draw = 0
                self.table.forget_draws()
        self.table.widen(space)
        self.recorder.widened()

    def rewritten(self, number: int, row: FloatArray) -> None:
        """A running trial has the parameters `row` (d,), which are others than it began with."""
        space = self.table.space
        if isinstance(space, OpenSpace) and space.learnt.space is not None:
            self.rewritten_rows.setdefault(number, self.table._params[:, number].tolist())
        self.table.rewrite(number, row)
        self.recorder.rewritten(number)

    # --- what a call changes

    @property
    def extent(self) -> Extent:
        """How much of everything there is."""
        table = self.table
        return table._length, table._told, table.reports._length, table.segments._length, self.next_draw

    def begin(self) -> None:
        """A call begins to change the history; see `Savepoint`."""
        self.table.savepoint.begin(self.extent)

    def commit(self) -> None:
        """The call's change is complete."""
        self.table.savepoint.extent = None

    @property
    def is_untouched(self) -> bool:
        """Whether the call that has begun has changed nothing that counts, or its change is complete."""
        savepoint = self.table.savepoint
        before = savepoint.extent
        return before is None or (savepoint.is_empty and before[:4] == self.extent[:4])
