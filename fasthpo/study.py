"""The study: ask, report, tell. The only writer of its table of trials."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.columns import Batch, encode_columns
from fasthpo.errors import (
    InvalidValue,
    NoCompletedTrials,
    SpaceExhausted,
    TrialStateError,
    UnknownTrial,
)
from fasthpo.outcome import batch_arrays, outcome
from fasthpo.parameter import FloatArray, Value, plain
from fasthpo.partial import complete_row, encode_partial
from fasthpo.pruners.base import Pruner
from fasthpo.reports import NONE, IntArray
from fasthpo.samplers.base import Sampler
from fasthpo.search_space import SearchSpace
from fasthpo.storage import snapshot
from fasthpo.strategies.base import Strategy
from fasthpo.table import NO_DRAW, TrialTable, check_direction
from fasthpo.trial import Trial, TrialSequence, TrialState, as_number

logger = logging.getLogger("fasthpo")

_REDRAWS = 32  # draws of points tried already before the next untried point is taken instead


class Study:
    """A search over a space: `ask` for a trial, `report` while it runs, `tell` what came out.

    Safe to use from several threads. The cost of a call does not depend on how many trials there are, unless a
    sampler's own docstring says so.

    Args:
        space: what to search.
        sampler: where to look next; by default `TPESampler()`.
        strategy: which trial next and how far, with a sampler of its own; give a strategy or a sampler, not both.
        direction: "minimize" or "maximize".
        pruner: when to give a trial up; by default never.

    Raises:
        InvalidValue: an unknown direction, or both a sampler and a strategy.
        InvalidSearchSpace: the sampler can't work on this space.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
        >>> for _ in range(30):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, (trial["x"] - 2) ** 2)
        >>> abs(study.best_params["x"] - 2) < 0.5
        True
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, Any],
        sampler: Sampler | None = None,
        strategy: Strategy | None = None,
        direction: str = "minimize",
        pruner: Pruner | None = None,
    ) -> None:
        if sampler is not None and strategy is not None:
            raise InvalidValue("give a sampler or a strategy (which has a sampler of its own), got both")
        _check_type("sampler", sampler, Sampler)
        _check_type("strategy", strategy, Strategy)
        _check_type("pruner", pruner, Pruner)
        if strategy is not None:
            sampler = strategy.sampler
        if sampler is None:
            from fasthpo.samplers.tpe import TPESampler

            sampler = TPESampler()
        self.space = space if isinstance(space, SearchSpace) else SearchSpace(space)
        self.direction = check_direction(direction)
        self.sampler: Sampler = sampler
        self.strategy = strategy
        self.pruner = pruner
        sampler.check_space(self.space)
        self.table = TrialTable(self.space, self.direction)
        if pruner is not None:
            pruner.attach(self.table)
        self._next_draw = 0
        self._waiting: deque[int] = deque()
        self._lock = threading.RLock()

    # --- ask

    def ask(self) -> Trial:
        """A new running trial: the first enqueued one, else where the sampler wants to look.

        Raises:
            SpaceExhausted: every point of a finite space, or of the grid, has been suggested.
        """
        with self._lock:
            if self._waiting:
                return Trial(self._start_waiting(), self)
            row, draw = self._suggest()
            return Trial(self.table.append(row[None, :], draw, TrialState.RUNNING, time.time()), self)

    def ask_batch(self, n: int) -> Batch:
        """`n` new running trials at once: what `n` calls of `ask` would suggest, or fewer if the space ends.

        Args:
            n: how many, not negative.

        Returns:
            `batch.numbers` (n,), `batch.params` (a column a parameter), `batch[i]` (a dict).
        """
        n = plain(n)
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise InvalidValue(f"n must be an integer that is not negative, got n={n!r}")
        with self._lock:
            numbers = [self._start_waiting() for _ in range(min(n, len(self._waiting)))]
            rest = n - len(numbers)
            if rest and self.sampler.ignores_history and self.table.tried is None:
                asked = np.concatenate([np.array(numbers, np.int64), self._append_batch(rest)])
            else:
                try:
                    for _ in range(rest):
                        row, draw = self._suggest()
                        numbers.append(self.table.append(row[None, :], draw, TrialState.RUNNING, time.time()))
                except SpaceExhausted as end:
                    logger.info("ask_batch(%d) returns %d trials: %s", n, len(numbers), end)
                asked = np.array(numbers, np.int64)
            return Batch(self.space, asked, np.ascontiguousarray(self.table.params[:, asked].T))

    def _append_batch(self, n: int) -> IntArray:
        limit = self.sampler.draw_limit(self.space)
        if limit is not None:
            n = max(0, min(n, limit - self._next_draw))
        draws = np.arange(self._next_draw, self._next_draw + n)
        first = self.table.append(self.sampler.suggest_batch(self.table, draws), draws, TrialState.RUNNING, time.time())
        self._next_draw += n
        return np.arange(first, first + n)

    def _suggest(self) -> tuple[FloatArray, int]:
        """A row that was not tried before (on a finite space), and the draw it came from."""
        tried = self.table.tried
        if tried is None:
            return self._draw()
        if tried.is_full:
            raise SpaceExhausted(f"all {tried.cells.size} points of the search space have been suggested")
        for _ in range(_REDRAWS):
            row, draw = self._draw()
            if not tried.holds(row):
                return row, draw
        cell = int(tried.cells.index(row[None, :])[0])
        return tried.cells.point(tried.next_untried(cell)), draw

    def _draw(self) -> tuple[FloatArray, int]:
        draw = self._next_draw
        suggestion = self.sampler.suggest(self.table, draw)
        row = suggestion if isinstance(suggestion, np.ndarray) else self.space.encode(suggestion)
        self._next_draw = draw + 1
        return row, draw

    def enqueue(self, params: Mapping[str, Any]) -> int:
        """Have a point tried before anything the sampler suggests; the number of the waiting trial.

        Args:
            params: values of some or all parameters; the others are drawn from the prior when the trial is asked for.

        Raises:
            InvalidParameters: a value outside the space, or two that exclude each other.
        """
        row = encode_partial(self.space, params)
        with self._lock:
            number = self.table.append(row[None, :], NO_DRAW, TrialState.WAITING, np.nan)
            self._waiting.append(number)
            return number

    def _start_waiting(self) -> int:
        number = self._waiting.popleft()
        row = complete_row(self.space, self.table.params[:, number], self.sampler.seed, number)
        self.table.start(number, row, time.time())
        return number

    # --- report

    def report(self, number: int, value: float, step: int) -> None:
        """As `Trial.report`."""
        reported = as_number("value", value)
        step = plain(step)
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
            raise InvalidValue(f"step must be an integer that is not negative, got step={step!r}")
        with self._lock:
            self._check_running(number, "report")
            earlier = self.table.reports.find(number, step)
            if earlier != NONE:
                kept = self.table.reports.value[earlier]
                if not (kept == reported or (kept != kept and reported != reported)):
                    logger.warning("trial %d has reported %s at step %d; %s is ignored", number, kept, step, value)
                return
            self.table.reports.append(number, step, reported)
            if self.pruner is not None:
                self.pruner.on_report(self.table, number, step, reported)

    def should_prune(self, number: int) -> bool:
        """As `Trial.should_prune`."""
        with self._lock:
            self._check_running(number, "should_prune")
            return self.pruner is not None and self.pruner.should_prune(self.table, number)

    # --- tell

    def tell(
        self,
        trial: Trial | int,
        value: float | None = None,
        state: TrialState | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> TrialState:
        """End a running trial; the state it got.

        Args:
            trial: the trial or its number.
            value: what the objective reached. NaN makes the trial FAILED, an infinity is COMPLETE and ranks worst.
                A PRUNED trial without a value keeps its last valid report.
            state: `TrialState.PRUNED` or `FAILED`, where it is not COMPLETE.
            metrics: further numbers to keep with the trial.
            error: why it failed.

        Raises:
            UnknownTrial: the study gave out no such number.
            TrialStateError: the trial is not running, for instance because it was told before.
            InvalidValue: the value is no number, or does not go with the state.
        """
        number = self._number(trial)
        final, result = outcome(value, state)
        kept = {str(name): as_number(f"metric {name!r}", one) for name, one in (metrics or {}).items()}
        with self._lock:
            self._check_running(number, "tell")
            if final == TrialState.PRUNED and result is None:
                result = self._last_valid_report(number)
            self.table.finish(number, final, np.nan if result is None else result, time.time())
            if kept:
                self.table.set_metrics(number, kept)
            if final == TrialState.FAILED:
                self.table.errors[number] = error or f"the objective's value was {value}"
            self._after_end(number)
            return final

    def tell_batch(self, numbers: Any, values: Any) -> npt.NDArray[np.int8]:
        """End several running trials; their states, int8 (n,).

        Args:
            numbers: trial numbers, n integers without repetition.
            values: what they reached, n numbers; NaN means failed.

        Raises:
            UnknownTrial, TrialStateError, InvalidValue: as `tell`; then no trial of the batch was told.
        """
        asked, reached = batch_arrays(numbers, values)
        with self._lock:
            for number in asked[(asked < 0) | (asked >= len(self.table))][:1]:
                raise UnknownTrial(f"the study has no trial {number}; it has given out {len(self.table)} numbers")
            states = self.table.states[asked]
            for number in asked[states != TrialState.RUNNING][:1]:
                self._check_running(int(number), "tell_batch")
            final = np.where(np.isnan(reached), np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))
            self._finish_many(asked, final, reached)
            return final

    def _finish_many(self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray) -> None:
        self.table.finish_many(numbers, states, values, time.time())
        for number in numbers[states == TrialState.FAILED].tolist():
            self.table.errors[number] = "the objective's value was nan"
        if self.pruner is not None or type(self.sampler).observe is not Sampler.observe:
            for number in numbers.tolist():
                self._after_end(number)

    def add_trials(self, params: Mapping[str, Any], values: Any) -> IntArray:
        """Add trials whose results are known, in bulk; their numbers, int64 (n,).

        Args:
            params: a column of n values a parameter (choices, not indices, for a categorical; None or NaN where a
                parameter is inactive).
            values: what they reached, n numbers; NaN means failed.

        Raises:
            InvalidParameters: a column is missing, or a value lies outside the space; then nothing was added.
            InvalidValue: values are not n numbers.
        """
        rows = encode_columns(self.space, params)
        numbers, reached = batch_arrays(np.arange(len(rows)), values)
        with self._lock:
            first = self.table.append(rows, NO_DRAW, TrialState.RUNNING, time.time())
            numbers = numbers + first
            final = np.where(np.isnan(reached), np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))
            self._finish_many(numbers, final, reached)
        return numbers

    def _after_end(self, number: int) -> None:
        if self.pruner is not None:
            self.pruner.on_end(self.table, number)
        self.sampler.observe(self.table, number)

    def _last_valid_report(self, number: int) -> float | None:
        valid = [value for value in self.table.reports.of(number).values() if value == value]
        return valid[-1] if valid else None

    def _number(self, trial: Trial | int) -> int:
        if isinstance(trial, Trial):
            if trial._source is not self:
                raise UnknownTrial(f"trial {trial.number} belongs to another study")
            return trial.number
        number = plain(trial)
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidValue(f"trial must be a Trial or its number, got {trial!r}")
        return number

    def _check_number(self, number: int) -> None:
        if not 0 <= number < len(self.table):
            raise UnknownTrial(f"the study has no trial {number}; it has given out {len(self.table)} numbers")

    def _check_running(self, number: int, call: str) -> None:
        self._check_number(number)
        state = self.table.state(number)
        if state != TrialState.RUNNING:
            hint = "ask for it first" if state == TrialState.WAITING else "it has been told already"
            raise TrialStateError(f"{call} needs a running trial, but trial {number} is {state.name}: {hint}")

    # --- results

    def __len__(self) -> int:
        return len(self.table)

    @property
    def trials(self) -> TrialSequence:
        """All trials by number; handles are made when they are looked at."""
        return TrialSequence(self)

    @property
    def best_trial(self) -> Trial:
        """The COMPLETE trial with the best finite value; of equals the earliest.

        Raises:
            NoCompletedTrials: there is none yet.
        """
        number = self.table.best_number
        if number is None:
            counts = {state.name: count for state, count in self.table.counts.items() if count}
            raise NoCompletedTrials(
                f"no trial has completed with a finite value yet; trials so far: {counts or 'none'}"
            )
        return Trial(number, self)

    @property
    def best_value(self) -> float:
        """The value of `best_trial`."""
        return float(self.table.values[self.best_trial.number])

    @property
    def best_params(self) -> dict[str, Value]:
        """The parameters of `best_trial`."""
        return self.best_trial.params

    @property
    def columns(self) -> Mapping[str, FloatArray]:
        """Parameters by name, read-only views (n,): NaN where inactive, indices for categoricals."""
        params = self.table.params
        return {name: params[j] for j, name in enumerate(self.space.names)}

    @property
    def values(self) -> FloatArray:
        """Objective values, a read-only view (n,): NaN where there is none."""
        return self.table.values

    @property
    def states(self) -> npt.NDArray[np.int8]:
        """`TrialState` of each trial, a read-only view (n,)."""
        return self.table.states

    def __repr__(self) -> str:
        best = self.table.best_number
        shown = "none" if best is None else f"{self.table.values[best]:.6g} (trial {best})"
        return f"Study({len(self)} trials, {self.direction}, {type(self.sampler).__name__}, best={shown})"

    # --- what a Trial handle reads (see `TrialSource`)

    def trial_params(self, number: int) -> dict[str, Value]:
        with self._lock:
            if self.table.state(number) == TrialState.WAITING:  # partly given: the rest is not known yet
                row = self.table.params[:, number]
                names = [name for name, x in zip(self.space.names, row, strict=True) if x == x]
                return {name: self.space[name].decode(row[self.space.position[name]]) for name in names}
            return self.space.decode(self.table.params[:, number])

    def trial_state(self, number: int) -> TrialState:
        return self.table.state(number)

    def trial_value(self, number: int) -> float | None:
        value = float(self.table.values[number])
        return None if value != value else value

    def trial_reports(self, number: int) -> dict[int, float]:
        return self.table.reports.of(number)

    def trial_metrics(self, number: int) -> dict[str, float]:
        columns = self.table.metrics.items()
        return {name: float(c[number]) for name, c in columns if number < len(c) and c[number] == c[number]}

    def trial_error(self, number: int) -> str | None:
        return self.table.errors.get(number)

    def trial_times(self, number: int) -> tuple[float, float]:
        return float(self.table.starts[number]), float(self.table.ends[number])

    def trial_resource(self, number: int) -> float | None:
        resource = float(self.table.resources[number])
        return None if resource != resource else resource

    def trial_checkpoint_dir(self, number: int) -> Path | None:
        return None

    # --- keeping

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint file, replacing an older one at once and as a whole; its path.

        Args:
            path: the file, or an existing directory that is to hold `checkpoint.msgpack`.
        """
        with self._lock:
            return snapshot.save(Path(path), self.table, self.sampler, self.pruner, self._next_draw, self._waiting)

    @classmethod
    def load(cls, path: str | Path, *, sampler: Sampler | None = None, pruner: Pruner | None = None) -> Study:
        """The study that `save` wrote; it goes on as if it had never stopped.

        Trials that were running are asked again first, with their numbers and parameters; their reports are dropped.

        Args:
            path: the file, or the directory that holds `checkpoint.msgpack`.
            sampler: the sampler to go on with; needed if the study used one of your own.
            pruner: the pruner to go on with; needed if the study used one of your own.

        Raises:
            FileNotFoundError: there is no such file.
            CorruptCheckpoint: the file is damaged, or not a checkpoint of a version known here.
            InvalidValue: the study used a sampler or pruner of your own and none is given.
        """
        saved = snapshot.load(Path(path), sampler, pruner)
        study = cls(saved.table.space, saved.sampler, None, saved.table.direction, saved.pruner)
        study.table = saved.table
        study._next_draw = saved.next_draw
        study._waiting = deque(saved.waiting)
        if study.pruner is not None:
            study.pruner.attach(study.table)
        if type(study.sampler).observe is not Sampler.observe:
            for number in study.table.tell_order.tolist():
                study.sampler.observe(study.table, number)
        return study


def _check_type(what: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidValue(f"{what} must be a {kind.__name__}, such as {kind.__name__}(...), got {value!r}")
