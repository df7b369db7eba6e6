"""A study with Optuna's interface; fasthpo's own does the work, and is its attribute `own`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

from fasthpo.compat.optuna.choices import is_plain, parameter_of_choices
from fasthpo.compat.optuna.dataframe import trials_dataframe
from fasthpo.compat.optuna.distributions import BaseDistribution, CategoricalDistribution
from fasthpo.compat.optuna.exceptions import UpdateFinishedTrialError
from fasthpo.compat.optuna.freezing import STATES, frozen
from fasthpo.compat.optuna.frozen import FrozenTrial, TrialState
from fasthpo.compat.optuna.logging import get_logger
from fasthpo.compat.optuna.notes import CONSTRAINT, CONSTRAINTS, Notes, as_constraint, violation
from fasthpo.compat.optuna.optimizing import Optimization
from fasthpo.compat.optuna.parts import Parts, objects_of
from fasthpo.compat.optuna.pruners import BasePruner, own_pruner
from fasthpo.compat.optuna.running import Trial
from fasthpo.compat.optuna.samplers import BaseSampler, GridSampler, PartialFixedSampler
from fasthpo.compat.optuna.storages.places import Storage
from fasthpo.errors import InvalidParameters, InvalidValue, SpaceExhausted
from fasthpo.execution.objective import traceback_text
from fasthpo.space.parameter import Parameter
from fasthpo.study.study import Study as OwnStudy
from fasthpo.trials.trial import TrialState as OwnState
from fasthpo.values import as_number, elements, shown

_GRID = "grid_id"  # the system attribute that says which point of a grid a trial has
_NAMES = "metric_names"
_ENDS = {TrialState.COMPLETE: None, TrialState.PRUNED: OwnState.PRUNED, TrialState.FAIL: OwnState.FAILED}


class StudyDirection(IntEnum):
    """Whether values are to be small or large."""

    NOT_SET = 0
    MINIMIZE = 1
    MAXIMIZE = 2


class StudySummary:
    """What is known of a study without opening it to go on.

    Attributes:
        study_name: its name.
        directions: of its objectives.
        best_trial: with one objective, if any trial has completed.
        n_trials: how many trials there are.
        user_attrs, system_attrs: what was noted down with it.
        datetime_start: when the first trial began.
    """

    def __init__(self, study: Study, include_best_trial: bool) -> None:
        trials = study._study
        self.study_name = study.study_name
        self.directions = study.directions
        self.n_trials = len(trials)
        self.user_attrs, self.system_attrs = study.user_attrs, study.system_attrs
        has_best = include_best_trial and len(self.directions) == 1 and trials.table.best_number is not None
        self.best_trial = study.best_trial if has_best else None
        self.datetime_start = frozen(study._parts, 0).datetime_start if len(trials) else None

    @property
    def direction(self) -> StudyDirection:
        """Of the one objective."""
        return self.directions[0]

    def __repr__(self) -> str:
        return f"StudySummary({self.study_name!r}, {self.n_trials} trials)"


class Study:
    """A study; made by `create_study` or `load_study`.

    Args:
        study_name: its name.
        storage: where it is one of several.
        study: fasthpo's own.
        sampler, pruner: as they were given; None: fasthpo's own, or none.
    """

    def __init__(
        self,
        study_name: str,
        storage: Storage,
        study: OwnStudy,
        sampler: BaseSampler | Any = None,
        pruner: BasePruner | Any = None,
    ) -> None:
        self.study_name = study_name
        self._storage = storage
        self._study = study
        self._sampler = sampler
        self._pruner = pruner
        self._objects, noted = objects_of(study)
        self._notes = Notes(study, noted)
        fixed: Mapping[str, Any] = sampler.fixed_params if isinstance(sampler, PartialFixedSampler) else {}
        self._parts = Parts(study, self._notes, self._objects, fixed)
        self._optimization = Optimization(self, self._parts)
        self._grid_places: Iterator[int] | None = None  # of a grid, that are to be tried

    @property
    def own(self) -> OwnStudy:
        """fasthpo's study, with columns, plots and exports of its own."""
        return self._study

    # --- what it is

    @property
    def sampler(self) -> Any:
        """What was given as a sampler, else fasthpo's own."""
        return self._study.sampler if self._sampler is None else self._sampler

    @property
    def pruner(self) -> Any:
        """What was given as a pruner, else fasthpo's own; it can be changed."""
        return self._study.pruner if self._pruner is None else self._pruner

    @pruner.setter
    def pruner(self, pruner: Any) -> None:
        self._study.pruner, self._pruner = own_pruner(pruner), pruner

    @property
    def directions(self) -> list[StudyDirection]:
        """Whether the values of each objective are to be small or large."""
        return [StudyDirection[direction.upper()] for direction in self._study.directions]

    @property
    def direction(self) -> StudyDirection:
        """Of the one objective."""
        self._check_single("direction")
        return self.directions[0]

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What was noted down with the study (a copy)."""
        return self._notes.of_study(system=False)

    @property
    def system_attrs(self) -> dict[str, Any]:
        """The same of `set_system_attr`."""
        return self._notes.of_study(system=True)

    def set_user_attr(self, key: str, value: Any) -> None:
        """Note something down with the study."""
        self._notes.set_on_study(False, key, value)

    def set_system_attr(self, key: str, value: Any) -> None:
        """The same, apart from what the user notes down."""
        self._notes.set_on_study(True, key, value)

    @property
    def metric_names(self) -> list[str] | None:
        """The names of the objectives, if they were given any."""
        names: list[str] | None = self.system_attrs.get(_NAMES)
        return names

    def set_metric_names(self, metric_names: list[str]) -> None:
        """Name the objectives."""
        if len(metric_names) != len(self.directions):
            raise InvalidValue(f"there are {len(self.directions)} objectives, got {len(metric_names)} names")
        self.set_system_attr(_NAMES, list(metric_names))

    # --- its trials

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.get_trials()

    def get_trials(self, deepcopy: bool = True, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials that are in one of the states."""
        wanted = None if states is None else set(states)
        own = self._study
        return [
            frozen(self._parts, number)
            for number in range(len(own))
            if wanted is None or STATES[own.trial_state(number)] in wanted
        ]

    @property
    def best_trial(self) -> FrozenTrial:
        """The best one.

        Raises:
            NoCompletedTrials: none has completed.
            RuntimeError: there are several objectives.
        """
        self._check_single("best_trial")
        return frozen(self._parts, self._study.best_trial.number)

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """Those on the front."""
        return [frozen(self._parts, trial.number) for trial in self._study.best_trials]

    @property
    def best_value(self) -> float:
        """The value of `best_trial`."""
        self._check_single("best_value")
        return self._study.best_value

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of `best_trial`."""
        return self.best_trial.params

    def _check_single(self, what: str) -> None:
        if len(self._study.directions) > 1:
            raise RuntimeError(f"{what} is for a study of one objective; with several see best_trials and directions")

    def trials_dataframe(
        self,
        attrs: tuple[str, ...] = (
            "number", "value", "datetime_start", "datetime_complete", "duration", "params", "user_attrs",
            "system_attrs", "state",
        ),
        multi_index: bool = False,
    ) -> Any:  # fmt: skip
        """The trials as a `pandas.DataFrame`.

        Raises:
            MissingPackage: pandas is not installed.
        """
        return trials_dataframe(self.trials, len(self.directions), self.metric_names, attrs, multi_index)

    # --- running

    def optimize(
        self,
        func: Callable[[Trial], Any],
        n_trials: int | None = None,
        timeout: float | None = None,
        n_jobs: int = 1,
        catch: Iterable[type[Exception]] | type[Exception] = (),
        callbacks: Iterable[Callable[[Study, FrozenTrial], None]] | None = None,
        gc_after_trial: bool = False,
        show_progress_bar: bool = False,
    ) -> None:
        """Run trials, `n_trials` of them or for `timeout` seconds, `n_jobs` at a time in threads.

        Raises:
            Exception: whatever the objective raised that `catch` does not name; its trial has failed.
        """
        caught = (catch,) if isinstance(catch, type) else tuple(catch)
        self._optimization.run(
            func, n_trials, timeout, n_jobs, caught, list(callbacks or ()), gc_after_trial, show_progress_bar
        )

    def stop(self) -> None:
        """Have `optimize` end once the trials that run have ended; from an objective or a callback."""
        self._optimization.stop()

    def ask(self, fixed_distributions: Mapping[str, BaseDistribution] | None = None) -> Trial:
        """A running trial.

        Args:
            fixed_distributions: parameters that it is to have at once.

        Raises:
            SpaceExhausted: every point of a grid was tried.
        """
        own = self._study
        with own._lock:  # a thread must not take the point of a grid that another one has enqueued for itself
            if isinstance(self._sampler, GridSampler) and not own.table.counts[OwnState.WAITING]:
                self._enqueue_next_of(self._sampler)
            trial = Trial(self, self._parts, own.ask())
        for name, distribution in (fixed_distributions or {}).items():
            trial._suggest(name, distribution)
        return trial

    def _enqueue_next_of(self, grid: GridSampler) -> None:
        if self._grid_places is None:
            tried = {self._notes.of_trial(number, "system:").get(_GRID) for number in range(len(self._study))}
            self._grid_places = iter([place for place in range(len(grid)) if place not in tried])
        place = next(self._grid_places, None)
        if place is None:
            raise SpaceExhausted(f"all {len(grid)} points of the grid have been tried")
        number = self._enqueue(grid.point(place), {})
        self._notes.set_on_trial(number, "system:", _GRID, place)

    def tell(
        self,
        trial: Trial | int,
        values: float | Sequence[float] | None = None,
        state: TrialState | None = None,
        skip_if_finished: bool = False,
    ) -> FrozenTrial:
        """End a running trial.

        Raises:
            UpdateFinishedTrialError: it has ended, and `skip_if_finished` is not set.
            InvalidValue: there is no such trial, or values and state do not go together.
        """
        number = trial.number if isinstance(trial, Trial) else trial
        own = self._study
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(own):
            raise InvalidValue(f"the study has no trial {shown(number)}")
        if own.trial_state(number).is_finished:
            if not skip_if_finished:
                raise UpdateFinishedTrialError(f"trial {number} has ended already")
            return frozen(self._parts, number)
        if state not in (None, *_ENDS):
            raise InvalidValue(f"a trial can't be told to be {state!r}")
        if state == TrialState.FAIL and values is not None:
            raise InvalidValue("a trial that has failed has no values")
        if state == TrialState.COMPLETE and values is None:
            raise InvalidValue("a trial that is complete needs values")
        if values is None and state is None:
            raise InvalidValue("give values or a state")
        self._tell(number, values, state)
        return frozen(self._parts, number)

    def _tell(self, number: int, values: Any, state: TrialState | None, error: str | None = None) -> None:
        """End a trial as it was told; with values that are none, or that are NaN, it has failed."""
        own, count = self._study, len(self._study.directions)
        reached: Any = None
        if values is not None:
            reached, problem = _read(values, count)
            if problem is not None:
                get_logger().warning("Trial %d failed: %s", number, problem)
                state, reached, error = TrialState.FAIL, None, problem
        if state == TrialState.PRUNED and count > 1 and reached is None:
            own.tell(number, state=OwnState.PRUNED)
            return
        final = None if state is None else _ENDS[state]
        constraints = None
        if final != OwnState.FAILED:
            try:
                self._note_constraints(number, reached)
            except Exception as problem:  # without them the trial would count as one that breaks none
                own.tell(number, state=OwnState.FAILED, error=traceback_text(problem))
                raise
            constraints = violation(self._notes.constraints(number).values())
        own.tell(number, reached, final, error=error, constraints=constraints)

    def _note_constraints(self, number: int, reached: Any) -> None:
        """Note down what the sampler's function says of a trial, if it has one."""
        function = getattr(self._sampler, "constraints_func", None)
        if function is None:
            return
        trial = frozen(self._parts, number)
        trial.values = None if reached is None else reached if isinstance(reached, list) else [reached]
        self._notes.set_on_trial(number, "system:", CONSTRAINTS, [as_constraint(one) for one in function(trial)])

    # --- known points and results

    def enqueue_trial(
        self, params: Mapping[str, Any], user_attrs: Mapping[str, Any] | None = None, skip_if_exists: bool = False
    ) -> None:
        """Have a point tried before anything the sampler suggests.

        Args:
            params: values of some or all parameters.
            user_attrs: of the trial.
            skip_if_exists: not if a trial has had all these values, or waits with them.
        """
        if skip_if_exists and self._has_point(params):
            get_logger().info("Trial with params %s already exists. Skipping enqueue.", dict(params))
            return
        self._enqueue(params, user_attrs or {})

    def _has_point(self, params: Mapping[str, Any]) -> bool:
        return any(
            all(name in trial.params and trial.params[name] == value for name, value in params.items())
            for trial in self.get_trials(False)
            if len(trial.params) >= len(params)
        )

    def _enqueue(self, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        given = {name: self._objects.plain(name, value) for name, value in params.items()}
        number = self._study.enqueue({name: value for name, value in given.items() if is_plain(value)})
        self._objects.give(number, {name: value for name, value in given.items() if not is_plain(value)})
        for key, noted in user_attrs.items():
            self._notes.set_on_trial(number, "user:", key, noted)
        return number

    def add_trial(self, trial: FrozenTrial) -> None:
        """A trial whose result is known enters the study, or one that waits.

        Raises:
            InvalidValue: it is running, or has not a value for each objective.
        """
        if not isinstance(trial, FrozenTrial):
            raise InvalidValue(f"trial must be a FrozenTrial, such as create_trial makes, got {shown(trial)}")
        if trial.state == TrialState.RUNNING:
            raise InvalidValue("a trial that runs can't be added")
        if trial.state == TrialState.WAITING:
            number = self._enqueue(trial.params, trial.user_attrs)
            for key, noted in trial.system_attrs.items():
                self._notes.set_on_trial(number, "system:", key, noted)
            return
        final, count = _ENDS[trial.state], len(self._study.directions)
        values: Any = None if final == OwnState.FAILED else trial.values
        if values is not None:
            values, problem = _read(values, count)
            if problem is not None:
                raise InvalidValue(f"the trial can't be added: {problem}")
        for step, value in trial.intermediate_values.items():
            if count > 1 or isinstance(step, bool) or not isinstance(step, int) or step < 0:
                raise InvalidValue(
                    "intermediate values are numbers of one objective, by steps of at least 0, got "
                    f"{shown(trial.intermediate_values)} with {count} objectives"
                )
            as_number("an intermediate value", value)
        constraints = {key: as_constraint(value) for key, value in trial.constraints.items()}
        number = self._start_known(trial)
        noted_on = ("user:", trial.user_attrs), ("system:", trial.system_attrs), (CONSTRAINT, constraints)
        for scope, attributes in noted_on:
            for key, noted in attributes.items():
                self._notes.set_on_trial(number, scope, key, noted)
        for step, value in trial.intermediate_values.items():
            self._study.report(number, value, step)
        limits = None if final == OwnState.FAILED else violation(self._notes.constraints(number).values())
        self._study.tell(number, values, final, constraints=limits)

    def _start_known(self, trial: FrozenTrial) -> int:
        """A trial runs that has the parameters of another one; its number."""
        params: dict[str, Any] = {}
        parameters: dict[str, Parameter] = {}
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            parameters[name] = distribution.parameter()
            if isinstance(distribution, CategoricalDistribution):
                self._objects.learn(name, parameter_of_choices(distribution.choices)[1])
            params[name] = self._objects.plain(name, value)
        return self._study.ask_for(params, parameters).number

    def add_trials(self, trials: Iterable[FrozenTrial]) -> None:
        """As `add_trial`, of several."""
        for trial in trials:
            self.add_trial(trial)

    def __repr__(self) -> str:
        return f"<Study {self.study_name!r}, {self._study!r}>"


class MaxTrialsCallback:
    """Ends a study once so many of its trials are in one of the states.

    Args:
        n_trials: how many.
        states: which count; None: all.
    """

    def __init__(self, n_trials: int, states: Iterable[TrialState] | None = (TrialState.COMPLETE,)) -> None:
        self._most = n_trials
        self._states = None if states is None else set(states)

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        counts = study.own.counts
        known = sum(n for state, n in counts.items() if self._states is None or STATES[state] in self._states)
        if known >= self._most:
            study.stop()


def _read(values: Any, count: int) -> tuple[Any, str | None]:
    """The value or values that an objective returned, or what is wrong with them."""
    try:
        listed = [values] if count == 1 and not isinstance(values, (list, tuple)) else list(elements(values))
        reached = [as_number("the value", one) for one in listed]
    except (InvalidValue, InvalidParameters, TypeError):
        return None, f"the value {shown(values)} can't be read as a number"
    if len(reached) != count:
        return None, f"the objective must return {count} values, got {len(reached)}"
    if any(map(math.isnan, reached)):
        return None, f"the value {shown(values)} is not acceptable"
    return (reached[0] if count == 1 else reached), None
