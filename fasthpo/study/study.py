"""The study: ask, report, tell. The only writer of its table of trials."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, Self

import numpy as np
import numpy.typing as npt

from fasthpo.errors import (
    CorruptCheckpoint,
    InvalidSearchSpace,
    InvalidValue,
    NotCopyable,
    StudyExists,
    StudyReadOnly,
    TrialStateError,
    UnknownTrial,
)
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.changing import checked_defaults
from fasthpo.space.choice_values import choice_from_json, choice_to_json
from fasthpo.space.encoding import Batch, encode_columns
from fasthpo.space.open_space import OpenSpace
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.partial import encode_partial
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file, storage_errors
from fasthpo.storage.definition import Given, Parts, define
from fasthpo.storage.directory import (
    CHECKPOINT_FILE,
    JOURNAL_FILES,
    DirectoryMark,
    Loaded,
    directory_for_study,
    exists,
    holds_study,
)
from fasthpo.storage.durability import Durability, check_durability
from fasthpo.storage.opening import Opened, Wanted, follow, keep_on, open_study, writer_lock
from fasthpo.storage.regular import refuse_irregular
from fasthpo.storage.snapshot_reader import check_written
from fasthpo.storage.snapshot_writer import ID_SIZE, VERSION, Head, write_snapshot
from fasthpo.storage.store import ClosedStore
from fasthpo.storage.weights import Checkpoints, Keep
from fasthpo.strategies.base import Strategy
from fasthpo.study.asking import GIVEN, declared, enqueued_values, split_given, value_for
from fasthpo.study.digest import known_of
from fasthpo.study.followers import Followers
from fasthpo.study.moving import keep_again, move
from fasthpo.study.parts import check_noisy, check_objectives, check_parts, check_type
from fasthpo.study.reader import StudyReader
from fasthpo.study.state import CHANGING, IDLE, REPORTING, WRITING, StudyState
from fasthpo.system.html import paragraph, titled
from fasthpo.system.log import logger
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.costs import add_to_cost, checked_cost, cost_column
from fasthpo.trials.frozen import Frozen
from fasthpo.trials.history import History
from fasthpo.trials.json_values import MOST_NESTED, as_json
from fasthpo.trials.metrics import MOST_METRICS
from fasthpo.trials.notes import RESERVED
from fasthpo.trials.objectives import Direction, Values, check_direction, check_directions
from fasthpo.trials.outcome import (
    NAN_ERROR,
    batch_arrays,
    constraint_row,
    constraint_rows,
    error_text,
    final_states,
    metric_numbers,
    outcome,
    value_vector,
)
from fasthpo.trials.rebuilding import settled
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import INFRASTRUCTURE, NO_DRAW, TrialTable
from fasthpo.trials.trial import COST, Trial, TrialState
from fasthpo.values import (
    FloatArray,
    IntArray,
    as_number,
    check_count,
    check_flag,
    check_text,
    element,
    plain,
    shown,
    whole,
)

if TYPE_CHECKING:
    import optuna

    from fasthpo.exchange.optuna_live import LiveCopy

_RUNNING = int(TrialState.RUNNING)
_MOST_AT_ONCE = 10**7  # trials of a batch, each of which takes 100 bytes and more
_INTERRUPTED = "interrupted: it was running when the study broke off"


class Study(StudyReader):
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
        space: what to search; None: what the objective asks for as it runs, by `trial.suggest_float` and its kin. The
            space is then learnt as it is met, see the guide on define-by-run; `study.space` has what is known of it.
        sampler: where to look next; by default `AutoSampler()`.
        strategy: which trial next and how far, with a sampler of its own; give a strategy or a sampler, not both.
        direction: "minimize" (as it is by default) or "maximize".
        pruner: when to give a trial up; by default never. A built-in one may be given to several studies; one of your
            own follows the study that it was given to last.
        directions: of several objectives, "minimize" or "maximize" for each, in the place of `direction`. Then a trial
            is told a list of values and reports such lists, `study.values` is (n, m), and `best_trials` are the front.
            Samplers, pruners and multi-fidelity strategies say whether they work on several (`has_several_objectives`).
        noisy: the objective gives other values for the same point, and the best value may be a lucky one. Then up to a
            fifth of the trials evaluate again what looks best, up to four times a point, before it is believed; and
            `best_trial` is found by all evaluations of a point (`estimate`): of the best point's trials it is the one
            in the middle. With one objective, and every trial trained in full.
        learn_from: at most 16 earlier studies of related tasks (another data set, another seed, a space that overlaps),
            or the paths where they are kept. Then up to five of the first ten trials start at good points of theirs,
            taken by the parameters' names, as long as these studies agree with what is seen by then. They are compared
            by rank, so that scales and directions may differ; there must be as many objectives. What is taken of them
            is kept with the study, at most 64 points of each. Any sampler learns from them that does not try points of
            its own only, as a grid does.
        storage: the directory in which to keep the study, made if it is missing; None: in memory only, see also `save`.
            `Study.load` goes on with it, once this one is closed (`close`, or `with`) or its process has ended.
        durability: "tell", "interval", "system" or a number of seconds, see above.

    Raises:
        InvalidValue: an unknown direction, both a sampler and a strategy, or a part that works on one objective only;
            or an earlier study says nothing of this one: no finite value, no common parameter, no point in the space.
        InvalidSearchSpace: the sampler can't work on this space.
        FileNotFoundError: there is no earlier study at a path.
        CorruptCheckpoint: an earlier study's file is damaged.
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

        A study of a related task starts where that one was good.

        >>> related = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1), learn_from=[study])
        >>> related.ask().params == study.best_params
        True
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, Any] | None = None,
        sampler: Sampler | None = None,
        strategy: Strategy | None = None,
        direction: str | None = None,
        pruner: Pruner | None = None,
        *,
        directions: Sequence[str] | None = None,
        noisy: bool = False,
        learn_from: Iterable[StudyReader | str | Path] = (),
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
        check_durability(durability)
        check_parts(sampler, strategy, pruner)
        if strategy is not None:
            sampler = strategy.sampler
        if sampler is None:
            from fasthpo.samplers.auto import AutoSampler

            sampler = AutoSampler()
        if direction is not None and directions is not None:
            raise InvalidValue(
                f"give direction, of one objective, or directions, of several, got direction={shown(direction)} and "
                f"directions={shown(directions)}"
            )
        known = (
            (check_direction("minimize" if direction is None else direction),)
            if directions is None
            else check_directions(directions)
        )
        check_objectives(len(known), sampler, strategy, pruner)
        if space is None:
            space = OpenSpace()
        given_space = space if isinstance(space, SearchSpace) else SearchSpace(space)
        noisy = check_flag("noisy", noisy)
        check_noisy(noisy, given_space, len(known), strategy)
        history = History(TrialTable(given_space, known, noisy, known_of(learn_from, given_space, known, sampler)))
        searched = given_space.learnt.space if isinstance(given_space, OpenSpace) else given_space
        if searched is not None:
            sampler.check_space(searched)
        self.sampler: Sampler = sampler
        self.strategy = strategy
        self._has_several = len(known) > 1
        self._id = new_id()
        self._live_copies: list[LiveCopy] = []
        self._loaded: Loaded | None = None  # of a study that follows another one
        checkpoints = Checkpoints(removes_retired=strategy is not None and strategy.is_population)
        followers = Followers(sampler, strategy, pruner, checkpoints)
        self._state = StudyState(self, history, sampler, strategy, followers, checkpoints)
        if storage is not None:
            self.keep_at(storage, durability)

    @property
    def table(self) -> TrialTable:
        """The trials as columns, as samplers and pruners see them: of one outside of a changed space that it failed."""
        return self._state.table

    @property
    def _lock(self) -> threading.RLock:
        return self._state.lock

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return self._state.table.space

    @property
    def direction(self) -> Direction:
        """Whether values are to be small or large.

        Raises:
            InvalidValue: there are several objectives; see `directions`.
        """
        return self._state.table.direction

    @property
    def pruner(self) -> Pruner | None:
        """What gives trials up; None: nothing does. Another one takes up all that has happened."""
        return self._state.followers.pruner.pruner

    @pruner.setter
    def pruner(self, pruner: Pruner | None) -> None:
        check_type("pruner", pruner, Pruner, "MedianPruner()")
        check_objectives(self.table.objectives.count, self.sampler, self.strategy, pruner)
        state = self._state
        with state.lock, state.change(notes_only=True):
            state.followers.replace_pruner(pruner, state.history)
            state.store.redefine(self._definition())
            state.hand_over(strict=True)

    @property
    def checkpoints(self) -> Checkpoints:
        """Where trials' weights are."""
        return self._state.checkpoints

    @property
    def attributes(self) -> dict[str, Any]:
        """What was noted down with `set_attribute`, by name (a copy)."""
        return dict(self._state.history.attributes)

    @property
    def storage(self) -> Path | None:
        """The directory in which the study is kept; None for one in memory, and after `close`."""
        return self._state.store.directory

    @property
    def resource_spent(self) -> int:
        """What all legs that have ended have cost, under a multi-fidelity strategy."""
        return self.table.segments.spent

    @property
    def resource_committed(self) -> int:
        """What has been spent, and what the running trials will cost."""
        with self._state.lock:
            return self._state.scheduler.committed

    # --- ask

    def ask(self, *, repeat: Trial | int | None = None) -> Trial:
        """A running trial: the first enqueued one, else what the strategy wants next.

        Under a multi-fidelity strategy that may be a trial that was paused, with its number and parameters, to be
        trained further: `trial.resource` says how far.

        Args:
            repeat: a trial, or its number, whose parameters this one is to have: another evaluation of the same point,
                for an objective that is noisy. Its state does not matter. See `estimate`, and `noisy` of `Study`.

        Raises:
            SpaceExhausted: every point of a finite space, or of the grid, has been suggested.
            NoTrialToStart: under a population, until running trials are told, or when it has come to its end.
            StorageError: the weights with which the trial begins can't be copied.
            UnknownTrial: the study gave out no such number.
            TrialStateError: the trial waits, and has no parameters yet.
            InvalidValue: a trial is to be repeated under a multi-fidelity strategy, which says which trial comes next,
                or it lies outside of the search space, as that was changed.
        """
        again = None if repeat is None else self._number(repeat)
        if again is not None and isinstance(self.space, OpenSpace):
            self._check_repeatable(again)
            return self.ask_for(self.trial_params(again))
        state = self._state
        with state.lock, state.change():
            state.followers.pruner.check()
            if again is None:
                state.learn(1)
                number = state.scheduler.need_next()
            else:
                self._check_repeatable(again)
                number = state.scheduler.repeat(again)
            state.asked.forget(number)
            state.history.commit()
            state.hand_over()
            return Trial(number, self)

    def _check_repeatable(self, number: int) -> None:
        self._check_number(number)
        if self._state.scheduler.strategy is not None:
            raise InvalidValue(
                f"{type(self.strategy).__name__} says which trial comes next, so none can be asked for again, got "
                f"repeat={number}"
            )
        if self.trial_is_outside(number):
            raise InvalidValue(
                f"trial {number} can't be repeated, as {shown(self.trial_params(number))} lies outside of the search "
                "space as it is now"
            )
        if self.table.state(number) == TrialState.WAITING:
            raise TrialStateError(f"trial {number} is WAITING, and has no parameters yet that could be repeated")

    def ask_within(self, budget: float = math.inf, new: bool = True) -> Trial | None:
        """As `ask`, within limits; for the end of a study under a multi-fidelity strategy.

        Args:
            budget: how much resource the trial may cost now.
            new: whether a trial may start that never ran. If not, rungs that wait for new trials go on with those that
                they have, so that the best is trained to the end.

        Returns:
            None if what comes next would cost more, or if no paused trial can go on (before the running ones have
            ended). A population gives None until members that run were told, and when it has come to its end.

        Raises:
            SpaceExhausted: as `ask`.
            InvalidValue: `budget` is no number, or `new` no boolean.
        """
        budget, new = as_number("budget", budget), check_flag("new", new)
        if math.isnan(budget):
            raise InvalidValue("budget must be a number, got budget=nan")
        state = self._state
        with state.lock, state.change():
            state.followers.pruner.check()
            state.learn(1)
            number = state.scheduler.next(budget, new)
            if number is not None:
                state.asked.forget(number)
            state.history.commit()
            state.hand_over()
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
        state = self._state
        with state.lock, state.change():
            state.followers.pruner.check()
            state.learn(n)
            if n and self.space.is_open and state.history.projection is None and n > len(state.scheduler.waiting):
                raise InvalidValue(
                    "a batch needs a space that is known: ask for single trials until the first one has ended, or "
                    "declare the space, Study(space)"
                )
            asked = state.scheduler.next_many(n)
            state.history.commit()
            state.hand_over()
            if len(asked) < n:
                logger.info("ask_batch(%d) returns %d trials: no further point is left", n, len(asked))
            rows = np.ascontiguousarray(state.table.params[:, asked].T)
            return Batch(self.space, asked, rows, state.table.resources[asked])

    def ask_for(self, params: Mapping[str, Any], parameters: Mapping[str, Parameter] | None = None) -> Trial:
        """A running trial with given parameters, before those that wait; the sampler makes no suggestion for it.

        Args:
            params: the values of all its parameters.
            parameters: of a study that learns its space, what their values are of; it may lack those that are known.

        Raises:
            InvalidParameters: it is no point of the space.
            InvalidSearchSpace: a parameter was asked for with another type, scale or other choices before.
            InvalidValue: the study has a multi-fidelity strategy, which says itself what runs next.
        """
        state = self._state
        if state.scheduler.strategy is not None:
            raise InvalidValue(f"a {type(self.strategy).__name__} says itself what runs next: enqueue the point")
        with state.lock, state.change():
            state.followers.pruner.check()
            space = self.space
            if isinstance(space, OpenSpace):
                for name, parameter in (parameters or {}).items():
                    space = space.with_parameter(name, parameter)
                state.history.widened(space.as_stale())
            row = space.encode(params)
            number = state.history.asked(row, NO_DRAW, state.scheduler.clock.now())
            state.history.commit()
            state.hand_over()
            return Trial(number, self)

    def enqueue(self, params: Mapping[str, Any]) -> int:
        """Have a point tried before anything the sampler suggests; the number of the waiting trial.

        Args:
            params: values of some or all parameters; the others are drawn from the prior when the trial is asked for.
                If the space is learnt as it is met, the trial gets them when it asks for parameters of these names; the
                nearest ones where it asks for others.

        Raises:
            InvalidParameters: a value outside the space, or two that exclude each other.
        """
        state = self._state
        with state.lock, state.change():
            state.followers.pruner.check()
            others: dict[str, Value] = {}
            if isinstance(self.space, OpenSpace):
                row, others = split_given(self.space, enqueued_values(params))
            else:
                row = encode_partial(self.space, params)
            number = state.history.enqueued(row)
            for name, value in others.items():
                state.history.noted_on(number, GIVEN + name, choice_to_json(value))
            state.history.commit()
            state.hand_over()
            return number

    # --- parameters that an objective asks for

    def suggest(self, number: int, name: str, parameter: Parameter) -> Value:
        """As `Trial.suggest_float` and its kin.

        Raises:
            TrialStateError: the trial does not run.
            InvalidSearchSpace: the name was asked for with another type, scale or other choices before.
            InvalidParameters: the study's space was declared, and has no such parameter here; or what was enqueued is
                none of the choices.
        """
        number, name = self._number(number), check_text("a parameter's name", name)
        state = self._state
        with state.lock:
            self._check_running(number, "suggest")
            space = self.space
            if not isinstance(space, OpenSpace):
                return declared(space, self.trial_params(number), name, parameter)
            asked = state.asked.of(number)
            before = asked.get(name)
            if before is not None and before.parameter is parameter:
                return before.value
            wider = space.with_parameter(name, parameter)
            if wider is not space:
                with state.change():
                    state.history.widened(wider)
                    state.hand_over()
            if before is not None:
                if not parameter.contains(before.value):
                    logger.warning(
                        "trial %d has asked for %r before, with %r; it keeps the value %s",
                        number, name, before.parameter, shown(before.value),
                    )  # fmt: skip
                return before.value
            found = asked[name] = value_for(state.history, self.sampler.seed, number, name, parameter)
            return found.value

    def trial_params(self, number: int) -> dict[str, Value]:
        if not self.space.is_open:
            return super().trial_params(number)
        with self._lock:
            asked = self._state.asked.values(number)
            if asked is not None and self.table.state(number) == TrialState.RUNNING:
                return asked
            given = {}
            if self.table.state(number) == TrialState.WAITING:
                noted = self._state.history.trial_attributes.get(number, {})
                given = {
                    name.removeprefix(GIVEN): choice_from_json(one)
                    for name, one in noted.items()
                    if name.startswith(GIVEN)
                }
            return {**super().trial_params(number), **given}

    def _settle_parameters(self, number: int) -> None:
        """A trial ends or pauses with the parameters that it has asked for."""
        state = self._state
        row = state.asked.row(number, self.space)
        if row is not None and not np.array_equal(row, self.table.params[:, number], equal_nan=True):
            state.history.rewritten(number, row)

    # --- report

    def report(self, number: int, value: float | Sequence[float], step: int) -> None:
        """As `Trial.report`."""
        if type(number) is not int:
            number = self._number(number)
        reported: Values
        if self._has_several:
            reported = value_vector(value, self.table.objectives.count)
        else:
            reported = value if type(value) is float else as_number("value", value)
        if type(step) is not int:
            step = element(step)
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
            raise InvalidValue(f"step must be an integer that is not negative, got step={shown(step)}")
        state = self._state
        with state.lock:
            outer = IDLE if state.stage == IDLE else state.enter_within()
            state.stage = REPORTING  # a report is there as soon as it is counted: nothing is noted down to go back
            try:
                table, pruner = state.table, state.followers.pruner
                state.store.open()
                if pruner.claim.lost is not None:
                    pruner.check()
                # the check itself is slower: it is for saying what is wrong
                if not 0 <= number < len(table) or table._states.item(number) != _RUNNING:
                    self._check_running(number, "report")
            except BaseException:  # nothing has changed
                state.stage = outer
                state.close_if_wanted()
                raise
            try:
                earlier = state.history.reported(number, step, reported)
                if earlier != NONE:
                    state.stage = outer
                    state.close_if_wanted()
                    kept = table.reports.value_at(earlier)
                    if not np.array_equal(kept, reported, equal_nan=True):
                        logger.warning("trial %d has reported %s at step %d; %s is ignored", number, kept, step, value)
                    return
                state.stage = CHANGING
                if pruner.pruner is not None:
                    pruner.pruner.on_report(table, number, step, reported)
                state.stage = WRITING
                state.store.hand_over_soon()
                state.stage = outer
            except BaseException as error:
                state.leave(error, outer)
                raise
            if state.closes:
                state.close_if_wanted()

    def should_prune(self, number: int) -> bool:
        """As `Trial.should_prune`."""
        if type(number) is not int:
            number = self._number(number)
        state = self._state
        with state.lock:
            outer = IDLE if state.stage == IDLE else state.enter_within()
            table, pruner = state.table, state.followers.pruner
            if not 0 <= number < len(table) or table._states.item(number) != _RUNNING:
                self._check_running(number, "should_prune")
            if pruner.claim.lost is not None:
                pruner.check()
            state.stage = CHANGING  # what the pruner keeps
            try:
                answer = pruner.pruner is not None and pruner.pruner.should_prune(table, number)
                if answer and table.evaluations is not None:  # a mean without the bad ones would be too good
                    answer = not table.evaluations.is_repeat(number)
                state.stage = outer
            except BaseException as error:
                state.leave(error, outer)
                raise
            if state.closes:
                state.close_if_wanted()
            return answer

    # --- tell

    def tell(
        self,
        trial: Trial | int,
        value: float | Sequence[float] | None = None,
        state: TrialState | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        infrastructure: bool = False,
        constraints: Sequence[float] | None = None,
        cost: float | None = None,
    ) -> TrialState:
        """End a running trial; the state it got. Below the last rung of a multi-fidelity strategy that is PAUSED.

        Args:
            trial: the trial or its number.
            value: what the objective reached, under a multi-fidelity strategy at `trial.resource`. NaN makes the trial
                FAILED, an infinity is COMPLETE and ranks worst. A PRUNED trial without a value keeps its last valid
                report. Of several objectives a list of m numbers; one that is NaN makes the trial FAILED, and a trial
                with an infinity is not on the front.
            state: `TrialState.PRUNED` or `FAILED`, where it is not COMPLETE.
            metrics: further numbers to keep with the trial; a study has at most 1,000 different names.
            error: why it failed, a string; of more than 60,000 characters the middle is left out.
            infrastructure: of a FAILED trial, that the machine or the worker was to blame (it went away, say), not the
                trial's parameters. Then samplers learn nothing from it; any other failure counts as the worst result
                there is. An `error` that begins with "infrastructure: " says the same.
            constraints: numbers that are at most 0 where a limit is kept, such as [memory - 8.0, latency - 50.0]; none
                is NaN. All trials of a study have as many, or none. A trial with one above 0 is not feasible: it is
                never the best nor on the front, and samplers take it for worse than all that are; the less, the smaller
                the sum of those above 0 is. A trial without constraints counts as feasible. Under a multi-fidelity
                strategy the latest ones told count: with one objective for the best trial only, with several also for
                which trials go on.
            cost: what the trial has cost, at least 0 and finite, in any unit that is the same for all (seconds, GPU
                hours, money); kept as its metric `cost`. A trial that failed or was pruned has a cost, too. Of one that
                goes on after a pause, what it has cost since: the metric is the sum. See `cost_spent`.

        Raises:
            UnknownTrial: the study gave out no such number.
            TrialStateError: the trial is not running, for instance because it was told before.
            InvalidValue: the value does not go with the state, or an argument is not what it must be.
            StorageError: the study has been told, but its files can't be written; see `Study`.
        """
        number = self._number(trial)
        count = len(self.directions) if self._has_several else 1
        final, result = outcome(value, state, count)
        kept, error = metric_numbers(metrics), error_text(error)
        spent = checked_cost(cost, kept)
        if spent is not None:
            kept[COST] = spent
        infrastructure = check_flag("infrastructure", infrastructure)
        if infrastructure and final != TrialState.FAILED:
            raise InvalidValue(f"infrastructure is for a trial that FAILED, got infrastructure={infrastructure!r}")
        live = self._state
        with live.lock, live.change():
            self._check_running(number, "tell")
            limits = None if constraints is None else constraint_row(constraints, live.table._constraints.count)
            if final == TrialState.PRUNED and result is None:
                result = self._last_valid_report(number)
            add_to_cost(live.table, number, kept)
            for name in live.table.metrics.beyond(kept) if kept else ():
                logger.warning("metric %r is not kept: a study has at most %d different ones", name, MOST_METRICS)
                del kept[name]
            why = None
            if final == TrialState.FAILED:
                missing = f"the objective's value was {value}" if count == 1 else "a value of an objective was nan"
                why = error or ("no reason was given" if result is None and value is None else missing)
                why = INFRASTRUCTURE + why if infrastructure else why
            now = live.scheduler.clock.now()
            final = self._told(number, final, now, math.nan if result is None else result, kept, why, limits)
            live.ended([number])
            live.asked.forget(number)
            live.hand_over(strict=True)
            if not live.followers.pruner.has_shown:
                live.followers.pruner.look_for_reports([number])
            return final

    def _told(
        self,
        number: int,
        told: TrialState,
        now: float,
        value: Values,
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        constraints: FloatArray | None = None,
    ) -> TrialState:
        """A running trial ends, or pauses if the strategy has further rungs for it; the state it got."""
        scheduler = self._state.scheduler
        state = scheduler.state_at_end(number, told)
        charge = scheduler.charge_at_end(number, state)
        if self.space.is_open:
            self._settle_parameters(number)
        self._state.history.told(number, state, value, now, charge, metrics, error, constraints)
        return state

    def tell_batch(
        self, numbers: Any, values: Any, *, constraints: Any = None, costs: Any = None
    ) -> npt.NDArray[np.int8]:
        """End several running trials; their states, int8 (n,).

        Args:
            numbers: trial numbers, n integers without repetition.
            values: what they reached, n numbers, by position; NaN, or nothing (masked, a null), means failed. Of m
                objectives a table of shape (n, m), a row a trial.
            constraints: as of `tell`, a table of shape (n, k), a row a trial; all of a row NaN for one that is told
                none.
            costs: as the cost of `tell`, n numbers, by position; NaN for a trial that is told none.

        Raises:
            UnknownTrial, TrialStateError, InvalidValue: as `tell`; then no trial of the batch was told.
            StorageError: as `tell`.
        """
        state = self._state
        asked, reached = batch_arrays(numbers, values, state.table.objectives.count)
        with state.lock, state.change():
            for number in asked[(asked < 0) | (asked >= len(state.table))][:1]:
                raise UnknownTrial(f"the study has no trial {number}; it has given out {len(state.table)} numbers")
            for number in asked[state.table.states[asked] != TrialState.RUNNING][:1]:
                self._check_running(int(number), "tell_batch")
            limits = constraint_rows(constraints, len(asked), state.table._constraints.count)
            spent = cost_column(costs, len(asked))
            final = final_states(reached)
            for number in asked.tolist() if self.space.is_open else ():
                self._settle_parameters(number)
            now = state.scheduler.clock.now()
            if state.scheduler.strategy is None and spent is None:
                state.history.told_many(asked, final, reached, now, limits)
            else:
                self._tell_each(asked, final, now, reached, limits, spent)
            ended: list[int] = asked.tolist()
            state.ended(ended)
            for number in ended if self.space.is_open else ():
                state.asked.forget(number)
            state.hand_over(strict=True)
            if not state.followers.pruner.has_shown:
                state.followers.pruner.look_for_reports(ended)
            return final

    def _tell_each(
        self,
        numbers: IntArray,
        states: npt.NDArray[np.int8],
        now: float,
        values: FloatArray,
        constraints: FloatArray | None,
        costs: FloatArray | None,
    ) -> None:
        """Running trials end one after the other; their states are written into `states`."""
        for i, number in enumerate(numbers.tolist()):
            ended_as = TrialState(int(states[i]))
            error = NAN_ERROR if ended_as == TrialState.FAILED else None
            row = None if constraints is None or math.isnan(constraints[i, 0]) else constraints[i]
            metrics = {} if costs is None or math.isnan(costs[i]) else {COST: float(costs[i])}
            add_to_cost(self.table, number, metrics)
            states[i] = self._told(number, ended_as, now, values[i], metrics, error, row)

    def add_trials(
        self, params: Mapping[str, Any], values: Any, *, constraints: Any = None, costs: Any = None
    ) -> IntArray:
        """Add trials whose results are known, in bulk; their numbers, int64 (n,).

        Under a multi-fidelity strategy they count as trained to its max_resource, at no cost.

        Args:
            params: a column of n values a parameter (choices, not indices, for a categorical; None or NaN where a
                parameter is inactive). Columns are taken by position, whatever labels they have.
            values: what they reached, n numbers, by position; NaN, or nothing (masked, a null), means failed. Of m
                objectives a table of shape (n, m), a row a trial.
            constraints, costs: as of `tell_batch`; under a multi-fidelity strategy there are no costs.

        Raises:
            InvalidParameters: a column is missing, or a value lies outside the space; then nothing was added.
            InvalidValue: values are not n numbers.
            StorageError: as `tell`.
        """
        rows = encode_columns(self.space, params)
        state = self._state
        _, reached = batch_arrays(np.arange(len(rows)), values, state.table.objectives.count)
        with state.lock, state.change():
            state.followers.pruner.check()
            strategy, now = state.scheduler.strategy, state.scheduler.clock.now()  # they took no time
            if isinstance(self.space, OpenSpace):  # what they show of it is learnt with the next question
                state.history.widened(self.space.as_stale())
            limits = constraint_rows(constraints, len(rows), state.table._constraints.count)
            spent = cost_column(costs, len(rows))
            if spent is not None:
                if strategy is not None:
                    raise InvalidValue("trials that are added under a multi-fidelity strategy cost nothing, got costs")
                return self._add_with_costs(rows, now, reached, limits, spent)
            numbers = state.history.added(
                rows,
                final_states(reached),
                reached,
                now,
                now,
                None if strategy is None else strategy.max_resource,
                limits,
            )
            state.ended(numbers.tolist())
            state.hand_over(strict=True)
        return numbers

    def _add_with_costs(
        self, rows: FloatArray, now: float, values: FloatArray, constraints: FloatArray | None, costs: FloatArray
    ) -> IntArray:
        """Trials enter the study that have ended, and what they have cost; their numbers."""
        if not len(rows):
            return np.empty(0, np.int64)
        state = self._state
        first = state.history.asked_many(rows, np.full(len(rows), NO_DRAW), now)
        numbers = np.arange(first, first + len(rows))
        self._tell_each(numbers, final_states(values), now, values, constraints, costs)
        state.ended(numbers.tolist())
        state.hand_over(strict=True)
        return numbers

    def _last_valid_report(self, number: int) -> Values | None:
        reports = self.table.reports.of(number).values()
        if self._has_several:
            valid = [np.array(values) for values in reports if not any(map(math.isnan, values))]
        else:
            valid = [value for value in reports if value == value]
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
            if self.trial_is_outside(number):
                state, hint = self.trial_state(number), "it lies outside of the search space, as that was changed"
            raise TrialStateError(f"{call} needs a running trial, but trial {number} is {state.name}: {hint}")

    # --- attributes and weights

    def set_attribute(self, name: str, value: Any) -> None:
        """Note something down with the study, such as the version of the data it is about.

        Args:
            name: a string.
            value: None, a bool, int, float or str, or lists and string-keyed dicts of these, at most 100 in each other.

        Raises:
            InvalidValue: it is none of these, or its JSON has more than 10 million characters.
        """
        name = check_text("an attribute's name", name)
        if name.startswith(RESERVED):
            raise InvalidValue(f"names of attributes that begin with {RESERVED!r} are taken, got {shown(name)}")
        plain_value = as_json(name, value)
        state = self._state
        with state.lock, state.change(notes_only=True):
            state.history.noted(name, plain_value)
            state.hand_over(strict=True)

    def set_trial_attribute(self, number: int, name: str, value: Any) -> None:
        """As `Trial.set_attribute`; also of a trial that has ended."""
        number, name = self._number(number), check_text("an attribute's name", name)
        plain_value = as_json(name, value, MOST_NESTED - 2)  # files have it in two objects
        state = self._state
        with state.lock, state.change(notes_only=True):
            self._check_number(number)
            state.history.noted_on(number, name, plain_value)
            state.hand_over(strict=True)

    def trial_attributes(self, number: int) -> dict[str, Any]:
        """As `Trial.attributes`."""
        return self._state.history.trial_attributes.get(self._number(number), {})

    def keep_checkpoints(self, keep: Keep) -> None:
        """Say which trials' weights (`Trial.checkpoint_dir`) stay; those of the others are removed as the study goes.

        Trials that run, wait, or are paused and may still be promoted keep theirs in any case, and the best trial, too.

        Args:
            keep: "all", as every study begins; "best": the best completed trial's; or n: those of the n best.

        Raises:
            InvalidValue: `keep` is something else.
        """
        state = self._state
        with state.lock, state.change():
            state.store.check()  # or another study's weights might be removed
            state.checkpoints.keep(keep, state.table, state.followers.strategy.may_go_on)

    def trial_start_resource(self, number: int) -> int:
        return self._state.scheduler.start_resource(number)

    def trial_checkpoint_dir(self, number: int) -> Path:
        """As `Trial.checkpoint_dir`.

        Raises:
            UnknownTrial: the study gave out no such number.
        """
        number = check_count("number", number)
        self._check_number(number)
        with self._state.lock:
            self._state.store.check()  # or another study's weights might be overwritten
            return self._state.checkpoints.of(number)

    # --- in a directory

    def keep_at(self, path: str | Path, durability: Durability = "interval", overwrite: bool = False) -> None:
        """From now on keep the study in a directory, with all that it has so far; as `Study(..., storage=path)`.

        A study that was kept elsewhere is left there as it is, and its trials' weights are copied: so a study goes on
        whose disk is full or has failed. If weights can't be read any more, `save` and `Study.load` go on without them.

        Args:
            path: the directory; made if it is missing.
            durability: see `Study`.
            overwrite: remove a study that the directory holds, with its trials' weights; nothing else is removed.

        Raises:
            StudyExists: the directory holds a study, or weights that one has left; or weights that can't be removed,
                because they are links or lie behind one.
            StudyInUse: another study has the directory.
            StudyReadOnly: this one follows another process's study, or was closed.
            OSError: the files can't be written, or weights can't be copied; the study stays where it was.
        """
        seconds, overwrite = check_durability(durability), check_flag("overwrite", overwrite)
        directory = absolute(given_path("path", path))  # the process may go elsewhere
        state = self._state
        with state.lock:
            state.own()
            state.store.wait()
            with state.change(moves=True), directory_for_study(directory):
                move(state, self._id, self._definition(), directory, seconds, overwrite)

    def _keep_again(self, directory: Path, mark: DirectoryMark) -> None:
        """Keep the study in a directory that holds an earlier state of it; see `keep_again`."""
        with self._state.lock:
            keep_again(self._state, self._id, self._definition(), directory, mark)

    def _definition(self) -> str:
        return define(
            self.space, self.directions, Parts(self.sampler, self.pruner, self.strategy), self.noisy, self.table.earlier
        )

    @property
    def _has_place(self) -> bool:
        """Whether the directory is still the study's; True for one in memory."""
        return self._state.store.is_in_place()

    def _let_go(self) -> None:
        """Write everything and let others have the study's directory; the study goes on in memory."""
        self._state.let_go()

    def sync(self) -> None:
        """Have everything on the disk before this returns, whatever the durability; nothing for a study in memory.

        Raises:
            StorageError: it can't be written.
        """
        state = self._state
        with state.lock, state.writing():
            state.store.sync()

    def compact(self) -> None:
        """Make a checkpoint of the whole study now, which loads faster and is smaller than a journal.

        It is made by itself whenever the journal has grown to twice the size of the last one, and on `close`.

        Raises:
            StudyReadOnly: this process was forked from the one that keeps the study.
            StorageError: it can't be written; the journal goes on.
        """
        state = self._state
        with state.lock, state.writing():
            state.store.compact()

    def close(self) -> None:
        """Write everything, and let others have the study; it can still be read and saved, but not changed.

        A signal handler may call this in the middle of another call of the study, and then return or exit: the study is
        closed as soon as that call has ended, or was taken back.

        Raises:
            StorageError: what was told can't be written; the study stays open.
        """
        self._state.close()
        self._loaded = None
        for copy in self._live_copies:
            copy.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- files

    def save(self, path: str | Path) -> Path:
        """Write the whole study to a file, replacing an older one at once and as a whole; its path.

        The file is a copy: what happens later is not in it. To have a study kept all the time, give it a `storage`.

        Args:
            path: the file, or an existing directory that is to hold `checkpoint.msgpack`.

        Raises:
            StudyExists: that directory is where a study is kept.
            StorageError: the file can't be written.
        """
        path = given_path("path", path)
        target = path / CHECKPOINT_FILE if path.is_dir() else path
        if target.name == CHECKPOINT_FILE and any(exists(target.parent / name) for name in JOURNAL_FILES):
            raise StudyExists(f"{target.parent} is where a study is kept; save to another place")
        if path.is_dir():
            refuse_irregular(target)
        with storage_errors(f"{target} can't be written"), atomic_file(absolute(target)) as file:
            frozen, head = self._frozen()
            columns = write_snapshot(file, frozen, head)
            file.flush()
            check_written(Path(file.name), frozen, columns, head)
        return target

    def _write(self, file: BinaryIO) -> None:
        """Write the whole study, as it is now, as a checkpoint."""
        write_snapshot(file, *self._frozen())

    def _frozen(self) -> tuple[Frozen, Head]:
        """The study as it is now, and what a file of it begins with."""
        with self._state.lock:
            return Frozen(self._state.settled_history()), Head(VERSION, 0, self._id, self._definition())

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        strategy: Strategy | None = None,
        space: SearchSpace | Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        read_only: bool = False,
        recover: bool = False,
        interrupted: Literal["retry", "fail", "keep"] = "retry",
        durability: Durability = "interval",
    ) -> Self:
        """A study that was kept or saved; it goes on as if it had never stopped.

        A directory is opened for writing: what happens from now on is kept there. A file is read into memory.

        Args:
            path: the directory of a study, or a file that `save` wrote.
            sampler: the sampler to go on with; needed if the study used one of your own.
            pruner: the pruner to go on with; needed if the study used one of your own.
            strategy: the strategy to go on with, with its sampler; needed if the study used one of your own.
            space: another search space to go on in. Values keep their meaning. A trial that is no point of it stays in
                the study as it was, but nothing is learnt from it, it is not the best one, and it is not asked again
                (`Trial.is_outside`); in a space that holds it, it counts again. A grid starts anew, and repeats
                nothing.
            defaults: by name, what trials had of a parameter that they lack; needed for one that is new. Of a
                parameter that is gone, what it is from now on: trials that had another value lie outside. Without
                it they count, whatever they had.
            read_only: only look; the study may be open in another process, whose progress `refresh` takes up.
            recover: of a damaged study, go on with what is intact and comes before the damage. The damaged files are
                kept under another name.
            interrupted: what becomes of trials that were running when the study broke off. "retry": they are asked
                again first, with their numbers, parameters and resources; the reports they had made are dropped.
                "fail": they have failed, and keep their reports. "keep": they are running still, by their numbers and
                with their reports, as whoever runs them has not broken off.
            durability: see `Study`.

        Raises:
            FileNotFoundError: there is no study.
            StudyInUse: another process, or this one, has it open for writing.
            CorruptCheckpoint: a file is damaged, or not of a version known here.
            InvalidValue: the study used a part of your own and none is given, or an argument is wrong.
            InvalidSearchSpace: a parameter of `space` is new, trials lack it, and it has no default; or its values are
                of another kind than before.
            OSError: a file can't be read.

        Example:
            >>> import fasthpo, os, tempfile
            >>> space = {"rate": fasthpo.LogUniform(1e-5, 1.0)}
            >>> directory = tempfile.TemporaryDirectory()
            >>> path = os.path.join(directory.name, "study")
            >>> with fasthpo.Study(space, storage=path) as study:
            ...     _ = study.add_trials({"rate": [0.5, 0.01]}, [1.0, 2.0])
            >>> narrower = {"rate": fasthpo.LogUniform(1e-5, 0.1), "momentum": fasthpo.Continuous(0.0, 0.99)}
            >>> with fasthpo.Study.load(path, space=narrower, defaults={"momentum": 0.9}) as study:
            ...     study.best_params, study.trials[0].is_outside, study.trials[0].params, study.trials[0].value
            ({'rate': 0.01, 'momentum': 0.9}, True, {'rate': 0.5}, 1.0)
            >>> directory.cleanup()
        """
        then = plain(interrupted)
        if not isinstance(then, str) or then not in ("retry", "fail", "keep"):
            raise InvalidValue(f"interrupted must be 'retry', 'fail' or 'keep', got interrupted={shown(interrupted)}")
        read_only, recover = check_flag("read_only", read_only), check_flag("recover", recover)
        if read_only and (space is not None or defaults is not None):
            raise InvalidValue("a study that is only read can't get another space")
        said = checked_defaults(defaults)
        seconds = check_durability(durability)
        check_parts(sampler, strategy, pruner)
        if space is not None and not isinstance(space, SearchSpace):
            space = SearchSpace(space)
        path = absolute(given_path("path", path))
        lock = writer_lock(path, read_only)
        try:
            wanted = Wanted(space, said, then == "retry")
            opened = open_study(path, Given(sampler, pruner, strategy), wanted, recover)
            study = cls._of(opened, is_given=any(one is not None for one in (sampler, strategy, space, defaults)))
            state, loaded = study._state, opened.loaded
            again: list[int] = []
            if then == "retry" and not read_only:
                again = state.history.requeued()
                if again:
                    state.take_up(state.history)
            if not read_only:
                state.followers.sampler.replay()
            if lock is not None:
                definition = study._definition()
                store = keep_on(opened, lock, state.history, state.lock, seconds, definition, bool(again))
                state.keep_in(store)
            if not read_only:
                state.followers.weights.recount()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if loaded.damage is not None:
            logger.warning("%s", loaded.damage)
        if read_only:
            refusal = StudyReadOnly(f"{path} was opened with read_only=True and can't be changed")
            state.keep_in(ClosedStore(refusal))
            study._loaded = loaded
            return study
        if loaded.torn:
            logger.warning(
                "%s: the last %d bytes are dropped: a record that was not written to its end when the study broke off",
                loaded.journal, loaded.torn,
            )  # fmt: skip
        if then == "fail":
            for number in study.table.running.tolist():
                study.checkpoints.tidy(number)
                study.tell(number, state=TrialState.FAILED, error=_INTERRUPTED, infrastructure=True)
        return study

    @classmethod
    def _of(cls, opened: Opened, is_given: bool) -> Self:
        """The study that was opened, in memory.

        Args:
            opened: what was read.
            is_given: whether the user has given parts or a space for it.
        """
        parts, table = opened.parts, opened.history.table
        own = None if parts.strategy is not None else parts.sampler
        try:
            noisy = table.evaluations is not None
            made = cls(table.space, own, parts.strategy, None, parts.pruner, directions=table.directions, noisy=noisy)
        except (InvalidSearchSpace, InvalidValue) as error:
            if is_given:
                raise
            raise CorruptCheckpoint(f"{opened.path}: the parts do not go with the study: {error}") from error
        made._id = opened.loaded.head.study_id
        made._take_up(opened.path, opened.history)
        if opened.weights is not None:
            made.checkpoints.use(opened.weights)
        return made

    def _take_up(self, path: Path, history: History) -> None:
        """Go on with a history that was read."""
        try:
            self._state.take_up(history)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise CorruptCheckpoint(f"{path}: its {type(self.strategy).__name__} can't go on: {error}") from error

    def refresh(self) -> bool:
        """Take up what the writer of a study opened with `read_only=True` has done since; whether there was anything.

        Handles of trials stay valid; views of columns show what they showed.

        Raises:
            InvalidValue: the study was not opened with `read_only=True` from a directory.
            FileNotFoundError: there is no study any more.
            CorruptCheckpoint: a file is damaged, or of another study.
        """
        state = self._state
        with state.lock:
            if self._loaded is None or self._loaded.directory is None:
                raise InvalidValue("refresh is for a study that was loaded from a directory with read_only=True")
            loaded, directory = self._loaded, self._loaded.directory
            self._loaded = loaded._replace(journal=None)  # if this is broken off, all of it is read the next time
            state.history.begin()
            try:
                newer = follow(loaded)
                if newer is not None and newer.history is not state.history:
                    self._take_up(directory, newer.history)
                elif newer is not None:  # the pruner was told of none of it
                    state.followers.pruner.attach(state.history)
                state.history.commit()
            except BaseException:
                state.take_up(settled(state.history))
                raise
            self._loaded = newer or loaded
            return newer is not None

    def to_optuna(self, storage: Any = None, study_name: str | None = None, live: bool = False) -> optuna.Study:
        """A study of Optuna's with the same trials, for its plots, its dashboard and its analyses.

        See `fasthpo.exchange.optuna.to_optuna`.

        With `live` the trials are shown there while they run, by `optuna-dashboard study.log` for instance. A thread
        writes what is new about once a second, at most 250 new trials at a time; what is missing is written on `close`
        or when the program ends. It needs one twentieth of the time of a core at most. If the file can't be written,
        the log says so, and the study goes on. A study that was loaded goes on in the same file, where no trial is
        there twice. There a PAUSED trial is running, until it ends.

        Args:
            storage: of Optuna's: a URL such as "sqlite:///study.db" or a storage object; None: in memory. With `live`
                the path of a journal file of Optuna's, made if it is missing; it may hold other studies, too.
            study_name: the study's name there; None: Optuna makes one up, with `live` one that a loaded study has, too.
            live: whether to go on with what happens from now on.

        Raises:
            MissingPackage: Optuna is not installed.
            InvalidValue: with `live`: `storage` is no path, or has another study of that name.
            OSError: with `live`: the file can't be read or written.

        Example:
            >>> import fasthpo, os, tempfile
            >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     theirs = study.to_optuna(os.path.join(directory, "study.log"), live=True)
            ...     _ = study.tell(study.ask(), 0.5)
            ...     study.close()
            ...     theirs.best_value
            0.5
        """
        from fasthpo.exchange.optuna import to_optuna

        if check_flag("live", live):
            from fasthpo.exchange.optuna_live import LiveCopy
            from fasthpo.study.showing import Showing

            if not isinstance(storage, (str, Path)) or "://" in str(storage):
                raise InvalidValue(
                    "a live copy is kept in a journal file of Optuna's, such as storage='study.log', got "
                    f"storage={shown(storage)}"
                )
            copy = LiveCopy(Showing(self), self._id.hex(), absolute(given_path("storage", storage)), study_name)
            self._live_copies.append(copy)
            return copy.study()
        with self._state.lock:
            return to_optuna(self._whole, self.attributes, self.trials, storage, study_name)

    @classmethod
    def from_optuna(
        cls,
        study: optuna.Study,
        *,
        space: SearchSpace | None = None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        storage: str | Path | None = None,
        durability: Durability = "interval",
    ) -> Self:
        """A study with the trials of one of Optuna's, to go on here.

        Optuna's space is made up as it runs. A parameter that all completed trials have is taken to be there always,
        with the widest bounds that it was given. Any other is conditional: on the first parameter with countable values
        of which it depends, which is to say that it was there exactly when that one had certain values. If there is
        none, say the space yourself. See `fasthpo.exchange.optuna.from_optuna`.

        Args:
            study: Optuna's.
            space: the search space; None: as above, or the one that `to_optuna` noted down.
            sampler, pruner, storage, durability: as of a `Study`.

        Raises:
            MissingPackage: Optuna is not installed.
            InvalidSearchSpace: the space can't be found out, or a trial is no point of it.
            InvalidValue: the study has several objectives, and the sampler or the pruner works on one only.
        """
        from fasthpo.exchange.optuna import from_optuna

        found = from_optuna(study, space)
        made = cls(found.space, sampler, directions=found.directions, pruner=pruner)
        made._state.take_up(found.history)
        made._state.followers.sampler.replay()
        for name, value in found.attributes.items():
            made.set_attribute(name, value)
        if storage is not None:
            made.keep_at(storage, durability)
        return made

    def __reduce__(self) -> NoReturn:
        raise NotCopyable(
            "a study can't be pickled or copied, as it is the only writer of its trials: write it with "
            "study.save(path), and take that up with fasthpo.Study.load(path)"
        )

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{count:,} {state.name}" for state, count in self.counts.items() if count)
        number = self.table.best_number
        best = [] if number is None else [paragraph("Best:"), Trial(number, self)._repr_html_()]
        return titled(repr(self), paragraph(counts or "no trials yet"), *best)

    def __repr__(self) -> str:
        kind = type(self.sampler).__name__
        if self.table.objectives.count > 1:
            front = len(self.best_trials)
            return f"Study({len(self)} trials, {', '.join(self.directions)}, {kind}, {front} on the front)"
        number = self.table.best_number
        best = "none" if number is None else f"{self.table.values[number]:.6g} (trial {number})"
        return f"Study({len(self)} trials, {self.direction}, {kind}, best={best})"


def new_id() -> bytes:
    """A name for a study that no other has."""
    return secrets.token_bytes(ID_SIZE)
