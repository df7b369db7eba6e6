"""A study's trials as columns: arrays that double when full, no Python object a trial.

The study is the only writer. Samplers and pruners read the columns, and what they keep besides is derived from the
table: it also stores the order of the tells, so that it can be rebuilt exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fasthpo.space.allowed import check_allowed
from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.constraints import Constraints
from fasthpo.trials.earlier import Earlier
from fasthpo.trials.evaluations import Evaluations
from fasthpo.trials.front import Front
from fasthpo.trials.lineage import Fork, Lineage
from fasthpo.trials.metrics import Metrics
from fasthpo.trials.objectives import Direction, Objectives, Values
from fasthpo.trials.reports import Reports
from fasthpo.trials.savepoint import Savepoint
from fasthpo.trials.segments import OpenSegment, Segments
from fasthpo.trials.trial import TrialState
from fasthpo.trials.tried import tried_points
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow, grow_rows

NO_DRAW = -1  # of a trial whose parameters no sampler drew
NO_BRACKET = -1  # of a trial that no multi-fidelity strategy has started
INFRASTRUCTURE = "infrastructure: "  # `errors` begin so of trials that failed because of what they ran on
TRIAL_COLUMNS = ("values", "states", "starts", "ends", "resources", "draws", "brackets")
_STATES = tuple(TrialState)  # by number: an index costs a third of what the enumeration's own look-up costs
_FILL = {
    "values": np.nan,
    "starts": np.nan,
    "ends": np.nan,
    "resources": np.nan,
    "draws": NO_DRAW,
    "brackets": NO_BRACKET,
}


class KeptElsewhere(Protocol):
    """What trials were that the table has otherwise, as the space was changed since; see `former.Former`."""

    numbers: IntArray  # of those outside of the space
    parts: tuple[Any, ...]  # by former space
    fixed: dict[str, Value]

    def are_outside(self, numbers: IntArray) -> npt.NDArray[np.bool_]: ...
    def is_outside(self, number: int) -> bool: ...
    def outside(self, number: int) -> tuple[TrialTable, int] | None: ...
    def began_with(self, number: int) -> dict[str, Value] | None: ...


def has_point(rows: FloatArray) -> npt.NDArray[np.bool_]:
    """Which of the rows (n, d) of trials that were asked for are points of the space: those outside have nothing."""
    found: npt.NDArray[np.bool_] = (rows == rows).any(axis=1)
    return found


class TrialTable:
    """All trials of a study. The public arrays are read-only views of the first `len(table)` entries.

    Args:
        space: the search space; parameter j is row j of `params`.
        directions: "minimize" or "maximize" for each of the m objectives; a direction alone is that of one.
        noisy: whether the best trial is found by all evaluations of its point; of one objective.
        earlier: what is known of earlier studies; None for nothing.
    """

    def __init__(
        self,
        space: SearchSpace,
        directions: Direction | Sequence[Direction],
        noisy: bool = False,
        earlier: Earlier | None = None,
    ) -> None:
        if space.relations:
            check_allowed(space)
        space._take_up()
        self.space = space
        self.objectives = Objectives(directions)
        self.reports = Reports(self.objectives.count)
        self.segments = Segments(self.objectives.count)
        self.metrics = Metrics()
        self.lineage = Lineage()
        self.front = Front(self)
        self.errors: dict[int, str] = {}
        self.tried = tried_points(space)
        self.counts = dict.fromkeys(TrialState, 0)
        self.evaluations = Evaluations(self) if noisy else None
        self.earlier = earlier
        self.former: KeptElsewhere | None = None  # of a study whose space was changed
        self._best_number: int | None = None  # the trial with the best value
        self.savepoint = Savepoint()
        self._length = 0
        self._told = 0
        self._params: FloatArray = np.full((len(space), FIRST_CAPACITY), np.nan)
        self._has_several = self.objectives.count > 1
        shape = (FIRST_CAPACITY, self.objectives.count) if self._has_several else (FIRST_CAPACITY,)
        self._values: FloatArray = np.full(shape, np.nan)
        self._constraints = Constraints()
        self._states: npt.NDArray[np.int8] = np.zeros(FIRST_CAPACITY, np.int8)
        self._starts: FloatArray = np.full(FIRST_CAPACITY, np.nan)
        self._ends: FloatArray = np.full(FIRST_CAPACITY, np.nan)
        self._resources: FloatArray = np.full(FIRST_CAPACITY, np.nan)
        self._draws: IntArray = np.full(FIRST_CAPACITY, NO_DRAW, np.int64)
        self._brackets: npt.NDArray[np.int32] = np.full(FIRST_CAPACITY, NO_BRACKET, np.int32)
        self._tell_order: IntArray = np.zeros(FIRST_CAPACITY, np.int64)
        # the running trials, and where in that list each of them stands
        self._running: IntArray = np.zeros(FIRST_CAPACITY, np.int64)
        self._running_place: IntArray = np.zeros(FIRST_CAPACITY, np.int64)
        self._running_length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def best_number(self) -> int | None:
        """The best trial; None if none has completed with a finite value, or if there are several objectives."""
        return self._best_number if self.evaluations is None else self.evaluations.best_number

    @property
    def direction(self) -> Direction:
        """ "minimize" or "maximize"; of several objectives `directions` tells."""
        return self.objectives.direction

    @property
    def directions(self) -> tuple[Direction, ...]:
        """ "minimize" or "maximize" for each objective, (m,)."""
        return self.objectives.directions

    # --- views

    def _view(self, array: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
        view = array[:length]
        view.flags.writeable = False
        return view

    @property
    def params(self) -> FloatArray:
        """Parameters, shape (d, n); NaN where inactive."""
        view = self._params[:, : self._length]
        view.flags.writeable = False
        return view

    @property
    def values(self) -> FloatArray:
        """Objective values, shape (n,), under several objectives (n, m); NaN where there is none."""
        return self._view(self._values, self._length)  # type: ignore[return-value]

    @property
    def constraints(self) -> FloatArray:
        """What trials were told of the k constraints, shape (n, k); NaN where none were told, and k = 0 before any."""
        return self._constraints.values(self._length)

    @property
    def violations(self) -> FloatArray:
        """By how much each trial breaks its constraints in all, the sum of those above 0, shape (n,).

        0 is feasible; NaN where no constraints were told, which counts as feasible, too.
        """
        return self._constraints.violations(self._length)

    @property
    def has_constraints(self) -> bool:
        """Whether any trial was told constraints."""
        return self._constraints.count > 0

    @property
    def has_vectors(self) -> bool:
        """Whether trials have several values, or constraints."""
        return self._has_several or self._constraints.count > 0

    def violation(self, number: int) -> float:
        """By how much one trial breaks its constraints; 0 if it was told none."""
        return self._constraints.violation(number)

    @property
    def states(self) -> npt.NDArray[np.int8]:
        """`TrialState` of each trial, shape (n,)."""
        return self._view(self._states, self._length)  # type: ignore[return-value]

    @property
    def starts(self) -> FloatArray:
        """Start times, seconds since the epoch, shape (n,)."""
        return self._view(self._starts, self._length)  # type: ignore[return-value]

    @property
    def ends(self) -> FloatArray:
        """End times, seconds since the epoch, shape (n,)."""
        return self._view(self._ends, self._length)  # type: ignore[return-value]

    @property
    def resources(self) -> FloatArray:
        """Resource that each trial is or was to be trained to, NaN where the strategy gives none, shape (n,)."""
        return self._view(self._resources, self._length)  # type: ignore[return-value]

    @property
    def draws(self) -> IntArray:
        """The sampler's draw behind each trial, -1 where none was, shape (n,)."""
        return self._view(self._draws, self._length)  # type: ignore[return-value]

    @property
    def brackets(self) -> npt.NDArray[np.int32]:
        """The bracket of a multi-fidelity strategy that each trial is in, -1 for none, shape (n,)."""
        return self._view(self._brackets, self._length)  # type: ignore[return-value]

    @property
    def tell_order(self) -> IntArray:
        """Numbers of the finished trials in the order in which they were told, shape (finished,)."""
        return self._view(self._tell_order, self._told)  # type: ignore[return-value]

    @property
    def running(self) -> IntArray:
        """Numbers of the running trials, ascending (a copy; costs as much as there are running trials)."""
        return np.sort(self._running[: self._running_length])

    def state(self, number: int) -> TrialState:
        """The state of one trial."""
        return _STATES[self._states.item(number)]

    def error(self, number: int) -> str | None:
        """Why a trial failed; None if it did not."""
        error = self.errors.get(number)
        return None if error is None else error.removeprefix(INFRASTRUCTURE)

    def is_lost(self, number: int) -> bool:
        """Whether a trial failed because of what it ran on, which says nothing of its point, or lies outside."""
        if self.former is not None and self.former.is_outside(number):
            return True
        return self.errors.get(number, "").startswith(INFRASTRUCTURE)

    def are_lost(self, numbers: IntArray) -> npt.NDArray[np.bool_]:
        """The same of trials (k,)."""
        lost = np.zeros(len(numbers), np.bool_) if self.former is None else self.former.are_outside(numbers)
        if self.errors:
            failed = np.flatnonzero((self._states[numbers] == TrialState.FAILED) & ~lost)
            lost[failed] = [self.is_lost(number) for number in numbers[failed].tolist()]
        return lost

    def resource(self, number: int) -> int:
        """The resource of one trial that has one."""
        return int(self._resources.item(number))

    def bracket(self, number: int) -> int:
        """The bracket of one trial, -1 for none."""
        return self._brackets.item(number)

    def times(self, number: int) -> tuple[float, float, float]:
        """When a trial started and ended, in seconds since the epoch, and for how many seconds it has run."""
        start, end = float(self._starts[number]), float(self._ends[number])
        segments = self.segments.of(number)
        # negative where an earlier version, or another program, went by a clock that was set meanwhile
        if len(segments) < 2:
            return start, end, 0.0 if end < start else end - start
        return start, end, float((self.segments.end[segments] - self.segments.start[segments]).clip(min=0.0).sum())

    @property
    def latest_time(self) -> float:
        """The latest time at which a trial started or ended, 0 if none has; looks at all of them."""
        columns = self.starts, self.ends, self.segments.column("start"), self.segments.column("end")
        return float(max(np.fmax.reduce(column, initial=0.0) for column in columns))

    # --- writing; only its history calls these

    def _note(self, number: int, with_params: bool = False) -> None:
        """Remember what a trial's entries were before the call that is about to change them."""
        savepoint = self.savepoint
        extent = savepoint.extent
        if extent is None or number >= extent[0] or number in savepoint.entries:
            return
        columns = (  # in the order of TRIAL_COLUMNS
            self._values[number].copy() if self._has_several else self._values.item(number),
            self._states.item(number),
            self._starts.item(number),
            self._ends.item(number),
            self._resources.item(number),
            self._draws.item(number),
            self._brackets.item(number),
        )
        params = self._params[:, number].copy() if with_params else None
        savepoint.entries[number] = columns, params, self.segments.open.get(number)

    def _make_room(self, extra: int) -> None:
        needed = self._length + extra
        capacity = len(self._values)
        if needed <= capacity:
            return
        while capacity < needed:
            capacity *= 2
        self._params = grow(self._params, capacity, np.nan)  # type: ignore[assignment]
        for name in ("values", "states", "starts", "ends", "resources", "draws", "brackets", "tell_order", "running"):
            setattr(self, f"_{name}", grow_rows(getattr(self, f"_{name}"), capacity, _FILL.get(name, 0)))
        self._constraints.make_room(capacity)
        self._running_place = grow(self._running_place, capacity)  # type: ignore[assignment]

    def append(self, rows: FloatArray, draws: IntArray | int, state: TrialState, start: float) -> int:
        """Add trials with parameters `rows` (n, d), RUNNING or WAITING; the number of the first of them."""
        n = len(rows)
        self._make_room(n)
        first = self._length
        if n == 1 and isinstance(draws, int) and state == TrialState.RUNNING:  # the usual case, without arrays of one
            self._params[:, first] = rows[0]
            self._draws[first] = draws
            self._states[first] = state
            self._starts[first] = start
            self._length = first + 1
            self.counts[state] += 1
            self._list_one(first)
            if self.tried is not None:
                self.tried.add(rows)
            return first
        new = slice(first, first + n)
        self._params[:, new] = rows.T
        self._draws[new] = draws
        self._states[new] = state
        self._length += n
        self.counts[state] += n
        if state == TrialState.RUNNING:
            self._starts[new] = start
            self._enter_running(np.arange(first, first + n), rows)
        return first

    def widen(self, space: SearchSpace) -> None:
        """The space has further parameters behind those that it had, which no trial has yet, or wider ones."""
        if len(space) > len(self._params):
            more = np.full((len(space) - len(self._params), self._params.shape[1]), np.nan)
            self._params = np.concatenate([self._params, more])
        self.space = space

    def rewrite(self, number: int, row: FloatArray) -> None:
        """A RUNNING trial has the parameters `row` (d,)."""
        self._note(number, with_params=True)
        self._params[:, number] = row

    def start(self, number: int, row: FloatArray, start: float) -> None:
        """A WAITING trial begins to run with the parameters `row` (d,)."""
        self._note(number, with_params=True)
        self._params[:, number] = row
        self._starts[number] = start
        self._move(number, TrialState.RUNNING)
        self._enter_running(np.array([number]), row[None, :])

    def set_fork(self, number: int, fork: Fork) -> None:
        """A trial enters a population."""
        savepoint = self.savepoint
        if savepoint.extent is not None and number < savepoint.extent[0] and number not in savepoint.forks:
            savepoint.forks[number] = self.lineage.of(number)
        self.lineage.set(number, fork)

    def reached(self, number: int) -> int:
        """The resource to which a trial's weights have been trained, in its own legs or its parent's."""
        return self.segments.reached(number) or self.lineage.step(number)

    def open_segment(self, number: int, bracket: int, resource: int, start: float) -> None:
        """A new RUNNING trial, or a PAUSED one that runs again, is to be trained to `resource`."""
        self._note(number)
        self._resources[number] = resource
        self._brackets[number] = bracket
        self.segments.open[number] = OpenSegment(start, len(self.reports))
        if self._states.item(number) == TrialState.PAUSED:
            self._move(number, TrialState.RUNNING)
            self._list_one(number)

    def close_segment(self, number: int, state: TrialState, value: Values, charge: int, end: float) -> None:
        """The leg of a RUNNING trial has ended and left it in `state`; of PAUSED trials this is all, see `finish`."""
        self._note(number)
        resource = self.resource(number)
        start = self.segments.open.pop(number).start
        self.segments.append(number, resource, value, charge, state, start, end, self.violation(number))
        if state == TrialState.PAUSED:
            self._leave_running(number)
            self._move(number, state)
            self._values[number] = value
            self._ends[number] = end

    def add_segments(self, numbers: IntArray, resource: int, values: FloatArray, states: npt.NDArray[np.int8]) -> None:
        """Trials whose results are known have been trained to `resource`, in no bracket and at no cost."""
        self._resources[numbers] = resource
        for number, value, state in zip(numbers.tolist(), values.tolist(), states.tolist(), strict=True):
            moment = float(self._starts[number])
            violation = self.violation(number)
            self.segments.append(number, resource, value, 0, TrialState(state), moment, moment, violation)

    def requeue(self, number: int) -> None:
        """A RUNNING trial was broken off; it is WAITING to be asked again."""
        self._note(number)
        self.segments.open.pop(number, None)
        self._leave_running(number)
        self._move(number, TrialState.WAITING)

    def _enter_running(self, numbers: IntArray, rows: FloatArray) -> None:
        self._list_running(numbers)
        if self.tried is not None:
            self.tried.add(rows)

    def _list_one(self, number: int) -> None:
        place = self._running_length
        self._running[place] = number
        self._running_place[number] = place
        self._running_length = place + 1

    def _list_running(self, numbers: IntArray) -> None:
        place = self._running_length
        self._running[place : place + len(numbers)] = numbers
        self._running_place[numbers] = np.arange(place, place + len(numbers))
        self._running_length += len(numbers)

    def _leave_running(self, number: int) -> None:
        last = self._running_length - 1
        place, moved = self._running_place[number], self._running[last]
        self._running[place] = moved
        self._running_place[moved] = place
        self._running_length = last

    def _move(self, number: int, state: TrialState) -> None:
        self.counts[self.state(number)] -= 1
        self.counts[state] += 1
        self._states[number] = state

    def finish(self, number: int, state: TrialState, value: Values, end: float) -> None:
        """A RUNNING trial ends; `value` is NaN if it has none, and (m,) under several objectives."""
        self._note(number)
        self._leave_running(number)
        self._move(number, state)
        self._values[number] = value
        self._ends[number] = end
        self._tell_order[self._told] = number
        self._told += 1
        if state == TrialState.FAILED:
            self.reports.note_failure(number)
        if state == TrialState.COMPLETE and self._is_better(number):
            self._best_number = number

    def _is_better(self, number: int) -> bool:
        if self._has_several or (self._constraints.count and self._constraints.violation(number) > 0):
            return False
        best = self._best_number
        value = float(self._values[number])
        if best is None:
            return math.isfinite(value)
        return self.objectives.is_better(value, number, float(self._values[best]), best)

    def set_metrics(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep further metrics of a trial."""
        if self.savepoint.extent is not None:
            self.savepoint.metrics.append((number, self.metrics.place_of(number), len(self.metrics)))
        self.metrics.set(number, metrics)

    def set_constraints(self, numbers: IntArray, rows: FloatArray) -> None:
        """Keep what trials were told of the constraints, (k,) each; a row of NaN says that one was told none."""
        savepoint = self.savepoint
        if savepoint.extent is not None:
            savepoint.constraints.append((numbers, self.constraints[numbers]))
        self._constraints.set(numbers, rows, len(self._values))

    def finish_many(self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray, end: float) -> None:
        """RUNNING trials end together, as `finish` would end them one after the other."""
        if self.savepoint.extent is not None:
            old = {name: getattr(self, f"_{name}")[numbers] for name in ("values", "states", "ends")}
            self.savepoint.columns.append((numbers, old))
        self._states[numbers] = states
        self._values[numbers] = values
        self._ends[numbers] = end
        self._tell_order[self._told : self._told + len(numbers)] = numbers
        self._told += len(numbers)
        self.counts[TrialState.RUNNING] -= len(numbers)
        for state in (TrialState.COMPLETE, TrialState.FAILED):
            self.counts[state] += int((states == state).sum())
        for number in numbers[states == TrialState.FAILED].tolist():
            self.reports.note_failure(number)
        running = self._running[: self._running_length]
        self._set_running(running[self._states[running] == TrialState.RUNNING])
        self._improve_best(numbers)

    def _set_running(self, numbers: IntArray) -> None:
        self._running[: len(numbers)] = numbers
        self._running_place[numbers] = np.arange(len(numbers))
        self._running_length = len(numbers)

    def _improve_best(self, numbers: IntArray) -> None:
        if self._has_several:
            return
        complete = numbers[self._states[numbers] == TrialState.COMPLETE]
        if self.has_constraints:
            complete = complete[self._constraints.are_feasible(complete)]
        best = self.objectives.best(self._values, complete)
        if best is not None and self._is_better(best):
            self._best_number = best

    def forget_draws(self) -> None:
        """No trial so far counts as a draw of the sampler, which starts anew."""
        self._draws[: self._length] = NO_DRAW

    def restore(self, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take over saved columns, which the caller has checked; what runs, or once ran, counts as tried."""
        states = columns["states"]
        self._make_room(len(states))
        self._length = len(states)
        self._told = len(columns["tell_order"])
        for name, column in columns.items():
            if name == "params":
                self._params[:, : self._length] = column
            elif name == "constraints":
                self._constraints = Constraints.of(grow_rows(column, len(self._values), np.nan))  # type: ignore[arg-type]
            else:
                getattr(self, f"_{name}")[: len(column)] = column
        asked = (states != TrialState.WAITING) | ~np.isnan(columns["starts"])
        if self.tried is not None and asked.any():
            rows = np.ascontiguousarray(self._params[:, : self._length].T[asked])
            self.tried.add(rows[has_point(rows)])
        for state in TrialState:
            self.counts[state] = int((states == state).sum())
        self._set_running(np.flatnonzero(states == TrialState.RUNNING))
        self._improve_best(self.tell_order)
