"""The study: ask, report, tell. The only writer of its table of trials."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue, NotCopyable, StudyExists, TrialStateError, UnknownTrial
from fasthpo.pruners.base import Claim, Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.encoding import Batch, encode_columns
from fasthpo.space.partial import encode_partial
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.directory import holds_study
from fasthpo.storage.durability import Durability
from fasthpo.storage.weights import Checkpoints
from fasthpo.strategies.base import Strategy
from fasthpo.study.keeping import CHANGING, IDLE, REPORTING, WRITING, Change, new_id
from fasthpo.study.loading import Loading
from fasthpo.system.log import logger
from fasthpo.system.paths import given_path
from fasthpo.trials.history import History
from fasthpo.trials.outcome import NAN_ERROR, batch_arrays, metric_numbers, outcome
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import INFRASTRUCTURE, MOST_METRICS, NO_BRACKET, NO_DRAW, TrialTable, check_direction
from fasthpo.trials.trial import Trial, TrialState
from fasthpo.values import FloatArray, IntArray, as_number, element, plain, shown, whole

_RUNNING = int(TrialState.RUNNING)
_MOST_AT_ONCE = 10**7  # trials of a batch, each of which takes 100 bytes and more


class Study(Loading):
    """A search over a space: `ask` for a trial, `report` while it runs, `tell` what came out.

    Safe to use from several threads. The cost of a call does not depend on how many trials there are, unless a
    sampler's own docstring says so.

    With `storage` the study is kept in a directory. What `tell`, `add_trials`, `ask` and `enqueue` do is handed to the
    operating system before they return, and reports at the latest with the next call. So whatever becomes of the
    process, nothing that was told is lost. What a power cut, or a crash of the system, can take, `durability` says:

    - "tell": nothing that was told; each tell waits until it is on the disk.
    - "interval": what was told during the last second, or so many seconds as are given.
    - "system": what the system has not yet written by itself, which may be all of the last half minute.

    If the disk is full, `tell` raises `StorageError`. The study in memory has what was told, the files can be loaded,
    and what is missing in them is written as soon as that works again. The same happens if the directory or the files
    were removed, renamed or replaced, by another study or a backup: these are left alone, and `save` or `keep_at` has
    the study kept elsewhere.

    Args:
        space: what to search.
        sampler: where to look next; by default `TPESampler()`.
        strategy: which trial next and how far, with a sampler of its own; give a strategy or a sampler, not both.
        direction: "minimize" or "maximize".
        pruner: when to give a trial up; by default never. A built-in one may be given to several studies; one of your
            own follows the study that it was given to last.
        storage: the directory in which to keep the study, made if it is missing; None: in memory only, see also `save`.
            `Study.load` goes on with it, once this one is closed (`close`, or `with`) or its process has ended.
        durability: "tell", "interval", "system" or a number of seconds, see above.

    Raises:
        InvalidValue: an unknown direction, or both a sampler and a strategy.
        InvalidSearchSpace: the sampler can't work on this space.
        StudyExists: the directory holds a study.
        StudyInUse: the directory is another study's, in whatever process.
        OSError: the directory can't be written.

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
        *,
        storage: str | Path | None = None,
        durability: Durability = "interval",
    ) -> None:
        if storage is not None and holds_study(given_path("storage", storage)):
            raise StudyExists(
                f"{storage} holds a study already; go on with it by Study.load({str(storage)!r}), or choose another "
                "directory"
            )
        if sampler is not None and strategy is not None:
            raise InvalidValue("give a sampler or a strategy (which has a sampler of its own), got both")
        _check_type("sampler", sampler, Sampler, "TPESampler()")
        _check_type("strategy", strategy, Strategy, "Hyperband(max_resource=81)")
        _check_type("pruner", pruner, Pruner, "MedianPruner()")
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
        self.checkpoints = Checkpoints()
        self._lock = threading.RLock()
        self._gate = None
        self._id = new_id()
        self._claim = Claim()
        self._loaded = None
        self._heard = pruner is None  # whether it has shown that the objective reports, or not
        self._stage = IDLE
        self._is_torn = False
        self._closes = False
        self._left_in = None
        self._has_strategy = None
        self._unobserved = deque()
        self._observing = None
        self._start(History(TrialTable(self.space, self.direction)))
        if storage is not None:
            self.keep_at(storage, durability)

    # --- ask

    def ask(self) -> Trial:
        """A running trial: the first enqueued one, else what the strategy wants next.

        Under a multi-fidelity strategy that may be a trial that was paused, with its number and parameters, to be
        trained further: `trial.resource` says how far.

        Raises:
            SpaceExhausted: every point of a finite space, or of the grid, has been suggested.
        """
        with self._lock, Change(self):
            self._check_pruner()
            number = self._scheduler.next()
            assert number is not None  # there is no limit
            self._history.commit()
            self._hand_over()
            return Trial(number, self)

    def ask_within(self, budget: float = math.inf, new: bool = True) -> Trial | None:
        """As `ask`, within limits; for the end of a study under a multi-fidelity strategy.

        Args:
            budget: how much resource the trial may cost now.
            new: whether a trial may start that never ran. If not, rungs that wait for new trials go on with those that
                they have, so that the best is trained to the end.

        Returns:
            None if what comes next would cost more, or if no paused trial can go on (before the running ones have
            ended).

        Raises:
            SpaceExhausted: as `ask`.
        """
        with self._lock, Change(self):
            self._check_pruner()
            number = self._scheduler.next(budget, new)
            self._history.commit()
            self._hand_over()
            return None if number is None else Trial(number, self)

    def ask_batch(self, n: int) -> Batch:
        """`n` running trials at once: what `n` calls of `ask` would give, or fewer if the space ends.

        Args:
            n: how many, not negative, at most 10 million.

        Returns:
            `batch.numbers` (n,), `batch.params` (a column a parameter), `batch[i]` (a dict), and under a multi-fidelity
            strategy `batch.resources` (n,).
        """
        n = plain(n)
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise InvalidValue(f"n must be an integer that is not negative, got n={shown(n)}")
        if n > _MOST_AT_ONCE:
            raise InvalidValue(f"n must be at most {_MOST_AT_ONCE}, got n={shown(n)}")
        with self._lock, Change(self):
            self._check_pruner()
            asked = self._scheduler.next_many(n)
            self._history.commit()
            self._hand_over()
            if len(asked) < n:
                logger.info("ask_batch(%d) returns %d trials: no further point is left", n, len(asked))
            rows = np.ascontiguousarray(self.table.params[:, asked].T)
            return Batch(self.space, asked, rows, self.table.resources[asked])

    def enqueue(self, params: Mapping[str, Any]) -> int:
        """Have a point tried before anything the sampler suggests; the number of the waiting trial.

        Args:
            params: values of some or all parameters; the others are drawn from the prior when the trial is asked for.

        Raises:
            InvalidParameters: a value outside the space, or two that exclude each other.
        """
        row = encode_partial(self.space, params)
        with self._lock, Change(self):
            self._check_pruner()
            number = self._scheduler.enqueue(row)
            self._history.commit()
            self._hand_over()
            return number

    # --- report

    def report(self, number: int, value: float, step: int) -> None:
        """As `Trial.report`."""
        reported = value if type(value) is float else as_number("value", value)
        if type(step) is not int:
            step = element(step)
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
            raise InvalidValue(f"step must be an integer that is not negative, got step={shown(step)}")
        with self._lock:
            outer = IDLE if self._stage == IDLE else self._enter_within(False)
            self._stage = REPORTING  # a report is there as soon as it is counted: nothing is noted down to go back
            try:
                table, gate = self.table, self._gate
                if gate is not None:
                    gate.open()
                if self._claim.lost is not None:
                    self._refuse_lost_pruner()
                # the check itself is slower: it is for saying what is wrong
                if not 0 <= number < len(table) or table._states.item(number) != _RUNNING:
                    self._check_running(number, "report")
            except BaseException:  # nothing has changed
                self._stage = outer
                self._close_if_wanted()
                raise
            try:
                earlier = table.reports.append(number, step, reported)
                if earlier != NONE:
                    self._stage = outer
                    self._close_if_wanted()
                    kept = table.reports.value_at(earlier)
                    if not (kept == reported or (kept != kept and reported != reported)):
                        logger.warning("trial %d has reported %s at step %d; %s is ignored", number, kept, step, value)
                    return
                if self._scheduler.log is not None:
                    self._scheduler.log.reported(number, step, reported)
                self._stage = CHANGING
                if self.pruner is not None:
                    self.pruner.on_report(table, number, step, reported)
                if gate is not None:
                    self._stage = WRITING
                    gate.hand_over_soon()
                self._stage = outer
            except BaseException as error:
                self._leave(error, outer)
                raise
            if self._closes:
                self._close_if_wanted()

    def should_prune(self, number: int) -> bool:
        """As `Trial.should_prune`."""
        with self._lock:
            outer = IDLE if self._stage == IDLE else self._enter_within(False)
            table = self.table
            if not 0 <= number < len(table) or table._states.item(number) != _RUNNING:
                self._check_running(number, "should_prune")
            if self._claim.lost is not None:
                self._refuse_lost_pruner()
            if self.pruner is None:
                return False
            self._stage = CHANGING  # what the pruner keeps
            try:
                answer = self.pruner.should_prune(table, number)
                self._stage = outer
            except BaseException as error:
                self._leave(error, outer)
                raise
            if self._closes:
                self._close_if_wanted()
            return answer

    # --- tell

    def tell(
        self,
        trial: Trial | int,
        value: float | None = None,
        state: TrialState | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        infrastructure: bool = False,
    ) -> TrialState:
        """End a running trial; the state it got. Below the last rung of a multi-fidelity strategy that is PAUSED.

        Args:
            trial: the trial or its number.
            value: what the objective reached, under a multi-fidelity strategy at `trial.resource`. NaN makes the trial
                FAILED, an infinity is COMPLETE and ranks worst. A PRUNED trial without a value keeps its last valid
                report.
            state: `TrialState.PRUNED` or `FAILED`, where it is not COMPLETE.
            metrics: further numbers to keep with the trial; a study has at most 1,000 different names.
            error: why it failed.
            infrastructure: of a FAILED trial, that the machine or the worker was to blame (it went away, say), not the
                trial's parameters. Then samplers learn nothing from it; any other failure counts as the worst result
                there is. An `error` that begins with "infrastructure: " says the same.

        Raises:
            UnknownTrial: the study gave out no such number.
            TrialStateError: the trial is not running, for instance because it was told before.
            InvalidValue: the value is no number, or does not go with the state.
            StorageError: the study has been told, but its files can't be written; see `Study`.
        """
        number = self._number(trial)
        final, result = outcome(value, state)
        kept = metric_numbers(metrics)
        if infrastructure and final != TrialState.FAILED:
            raise InvalidValue(f"infrastructure is for a trial that FAILED, got infrastructure={infrastructure!r}")
        with self._lock, Change(self):
            self._check_running(number, "tell")
            if final == TrialState.PRUNED and result is None:
                result = self._last_valid_report(number)
            if kept:
                for name in self.table.metrics_beyond(kept):
                    logger.warning("metric %r is not kept: a study has at most %d different ones", name, MOST_METRICS)
                    del kept[name]
                self.table.set_metrics(number, kept)
            if final == TrialState.FAILED:
                why = error or (
                    "no reason was given" if result is None and value is None else f"the objective's value was {value}"
                )
                self.table.errors[number] = INFRASTRUCTURE + why if infrastructure else why
            state = self._finish(number, final, np.nan if result is None else result, kept)
            self._after([number])
            self._hand_over(strict=True)
            if not self._heard:
                self._look_for_reports([number])
            return state

    def _finish(
        self, number: int, state: TrialState, value: float, metrics: Mapping[str, float] | None = None
    ) -> TrialState:
        """A running trial ends, or pauses if the strategy has further rungs for it; the state it got."""
        now, strategy, log = self._scheduler.clock.now(), self._scheduler.strategy, self._scheduler.log
        charge = None
        if strategy is not None:
            if state == TrialState.COMPLETE:
                state = strategy.state_at(self.table.resource(number))
            charge = self._charge(number, state)
            self.table.close_leg(number, state, value, charge, now)
        if state != TrialState.PAUSED:
            self.table.finish(number, state, value, now)
        if log is not None:
            error = self.table.errors[number] if state == TrialState.FAILED else None
            log.told(number, int(state), float(value), charge, metrics, error)
        return state

    def _after(self, numbers: list[int]) -> None:
        """Trials have ended or paused: that stands, and all who follow the history hear of it."""
        if type(self.sampler).observe is not Sampler.observe:
            self._unobserved.extend(numbers)
        self._history.commit()
        table, strategy = self.table, self._scheduler.strategy
        pruner = None if self._claim.lost is not None else self.pruner
        for number in numbers if strategy is not None or pruner is not None or self.checkpoints.limited else ():
            retired: list[int] = []
            if strategy is not None and table.bracket(number) != NO_BRACKET:
                strategy.on_end(number)
                retired = strategy.take_retired()
            self.checkpoints.after_end(table, number, retired)
            if pruner is not None and table.state(number) != TrialState.PAUSED:
                pruner.on_end(table, number)
        self._observe_rest()

    def _look_for_reports(self, numbers: list[int]) -> None:
        """Warn of a pruner that hears of nothing; once, when the first trial has come to its end."""
        for number in numbers:
            if self.table.state(number) in (TrialState.COMPLETE, TrialState.PAUSED):
                self._heard = True
                if not len(self.table.reports):
                    logger.warning(
                        "trial %d has ended, and no trial has reported a value, so that %s can't prune any: the "
                        "objective has to call trial.report(value, step), or to give its trial to what does, as "
                        "Trainer(..., trial=trial) does when it evaluates", number, type(self.pruner).__name__,
                    )  # fmt: skip
                return

    def _charge(self, number: int, state: TrialState) -> int:
        """What a leg has cost: all of it; of a broken off one, as many units as it made reports, if it made any."""
        leg = self.table.resource(number) - self._scheduler.start_resource(number)
        if state in (TrialState.PRUNED, TrialState.FAILED):
            reported = self.table.reports.count_since(number, self.table.legs.open[number].reports)
            return min(leg, reported) if reported else leg
        return leg

    def tell_batch(self, numbers: Any, values: Any) -> npt.NDArray[np.int8]:
        """End several running trials; their states, int8 (n,).

        Args:
            numbers: trial numbers, n integers without repetition.
            values: what they reached, n numbers, by position; NaN, or nothing (masked, a null), means failed.

        Raises:
            UnknownTrial, TrialStateError, InvalidValue: as `tell`; then no trial of the batch was told.
            StorageError: as `tell`.
        """
        asked, reached = batch_arrays(numbers, values)
        with self._lock, Change(self):
            for number in asked[(asked < 0) | (asked >= len(self.table))][:1]:
                raise UnknownTrial(f"the study has no trial {number}; it has given out {len(self.table)} numbers")
            states = self.table.states[asked]
            for number in asked[states != TrialState.RUNNING][:1]:
                self._check_running(int(number), "tell_batch")
            final = np.where(np.isnan(reached), np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))
            if self._scheduler.strategy is None:
                self._finish_many(asked, final, reached)
                if self._scheduler.log is not None:
                    self._scheduler.log.told_many(asked, final, reached)
            else:
                for i, number in enumerate(asked.tolist()):
                    if final[i] == TrialState.FAILED:
                        self.table.errors[number] = NAN_ERROR
                    final[i] = self._finish(number, TrialState(int(final[i])), float(reached[i]))
            self._after(asked.tolist())
            self._hand_over(strict=True)
            if not self._heard:
                self._look_for_reports(asked.tolist())
            return final

    def _finish_many(self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray) -> None:
        self.table.finish_many(numbers, states, values, self._scheduler.clock.now())
        for number in numbers[states == TrialState.FAILED].tolist():
            self.table.errors[number] = NAN_ERROR

    def add_trials(self, params: Mapping[str, Any], values: Any) -> IntArray:
        """Add trials whose results are known, in bulk; their numbers, int64 (n,).

        Under a multi-fidelity strategy they count as trained to its max_resource, at no cost.

        Args:
            params: a column of n values a parameter (choices, not indices, for a categorical; None or NaN where a
                parameter is inactive). Columns are taken by position, whatever labels they have.
            values: what they reached, n numbers, by position; NaN, or nothing (masked, a null), means failed.

        Raises:
            InvalidParameters: a column is missing, or a value lies outside the space; then nothing was added.
            InvalidValue: values are not n numbers.
            StorageError: as `tell`.
        """
        rows = encode_columns(self.space, params)
        numbers, reached = batch_arrays(np.arange(len(rows)), values)
        with self._lock, Change(self):
            self._check_pruner()
            first = self.table.append(rows, NO_DRAW, TrialState.RUNNING, self._scheduler.clock.now())
            numbers = numbers + first
            final = np.where(np.isnan(reached), np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))
            resource = None if self._scheduler.strategy is None else self._scheduler.strategy.max_resource
            if resource is not None:
                self.table.add_legs(numbers, resource, reached, final)
            self._finish_many(numbers, final, reached)
            if self._scheduler.log is not None:
                self._scheduler.log.added(first, reached, resource)
            self._after(numbers.tolist())
            self._hand_over(strict=True)
        return numbers

    def _last_valid_report(self, number: int) -> float | None:
        valid = [value for value in self.table.reports.of(number).values() if value == value]
        return valid[-1] if valid else None

    def _number(self, trial: Trial | int) -> int:
        if isinstance(trial, Trial):
            if trial._source is not self:
                raise UnknownTrial(f"trial {trial.number} belongs to another study")
            return trial.number
        number = whole(trial)
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidValue(f"trial must be a Trial or its number, got {shown(trial)}")
        return number

    def _check_number(self, number: int) -> None:
        if not 0 <= number < len(self.table):
            raise UnknownTrial(f"the study has no trial {shown(number)}; it has given out {len(self.table)} numbers")

    def _check_running(self, number: int, call: str) -> None:
        self._check_number(number)
        state = self.table.state(number)
        if state != TrialState.RUNNING:
            ended = "it has been told already"
            hints = {TrialState.WAITING: "ask for it first", TrialState.PAUSED: f"{ended}, and waits to be asked again"}
            hint = hints.get(state, ended)
            raise TrialStateError(f"{call} needs a running trial, but trial {number} is {state.name}: {hint}")

    @property
    def resource_spent(self) -> int:
        """What all legs that have ended have cost, under a multi-fidelity strategy."""
        return self.table.legs.spent

    @property
    def resource_committed(self) -> int:
        """What has been spent, and what the running trials will cost."""
        numbers = self.table.legs.open
        running = (self.table.resource(n) - self._scheduler.start_resource(n) for n in numbers)
        return self.table.legs.spent + sum(running)

    def trial_start_resource(self, number: int) -> int:
        """As `Trial.start_resource`."""
        return self._scheduler.start_resource(number)

    def __reduce__(self) -> NoReturn:
        raise NotCopyable(
            "a study can't be pickled or copied, as it is the only writer of its trials: write it with "
            "study.save(path), and take that up with fasthpo.Study.load(path)"
        )

    def __repr__(self) -> str:
        best = self.table.best_number
        shown = "none" if best is None else f"{self.table.values[best]:.6g} (trial {best})"
        return f"Study({len(self)} trials, {self.direction}, {type(self.sampler).__name__}, best={shown})"


def _check_type(what: str, value: object, kind: type, example: str) -> None:
    if value is not None and not isinstance(value, kind):
        hint = f": call it, {value.__name__}(...)" if isinstance(value, type) and issubclass(value, kind) else ""
        raise InvalidValue(f"{what} must be a {kind.__name__}, such as {example}, got {value!r}{hint}")
