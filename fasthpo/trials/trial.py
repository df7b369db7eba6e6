"""Trials: their states, the handle an objective gets, and what an objective may return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, overload

from fasthpo.errors import InvalidValue
from fasthpo.space.asking import choice_parameter, float_parameter, int_parameter
from fasthpo.space.parameter import Parameter, Value
from fasthpo.system.headline import headline
from fasthpo.system.html import paragraph, table, titled
from fasthpo.values import IntArray, as_number, check_index, check_text, elements, shown, steady_repr

NOTED = "user:"  # attributes of a trial that begin so are the user's


class TrialState(IntEnum):
    """Where a trial stands."""

    RUNNING = 0  #: asked for, not yet told
    COMPLETE = 1  #: told a value
    PRUNED = 2  #: ended early because it was not promising
    FAILED = 3  #: ended without a usable value
    WAITING = 4  #: enqueued, not yet asked for
    PAUSED = 5  #: between two rungs of a multi-fidelity strategy

    @property
    def is_finished(self) -> bool:
        """Whether the trial has ended for good."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


COST = "cost"  # the metric that is what a trial has cost


class TrialSource(Protocol):
    """What a `Trial` handle reads from and writes to; the study."""

    @property
    def directions(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def trial_params(self, number: int) -> dict[str, Value]: ...
    def trial_original_params(self, number: int) -> dict[str, Value]: ...
    def trial_is_outside(self, number: int) -> bool: ...
    def trial_state(self, number: int) -> TrialState: ...
    def trial_value(self, number: int) -> float | None: ...
    def trial_values(self, number: int) -> tuple[float, ...] | None: ...
    def trial_constraints(self, number: int) -> tuple[float, ...] | None: ...
    def trial_reports(self, number: int) -> dict[int, Any]: ...
    def trial_metrics(self, number: int) -> dict[str, float]: ...
    def trial_error(self, number: int) -> str | None: ...
    def trial_times(self, number: int) -> tuple[float, float, float]: ...
    def trial_resource(self, number: int) -> int | None: ...
    def trial_start_resource(self, number: int) -> int: ...
    def trial_fork(self, number: int) -> tuple[int, int, int, int] | None: ...
    def trial_rungs(self, number: int) -> dict[int, Any]: ...
    def trial_checkpoint_dir(self, number: int) -> Path: ...
    def trial_attributes(self, number: int) -> dict[str, Any]: ...
    @property
    def learns_space(self) -> bool: ...
    def suggest(self, number: int, name: str, parameter: Parameter) -> Value: ...
    def set_trial_attribute(self, number: int, name: str, value: Any) -> None: ...
    def report(self, number: int, value: float | Sequence[float], step: int) -> None: ...
    def should_prune(self, number: int) -> bool: ...


class Trial(Mapping[str, Value]):
    """A number and a reference to its study; also a read-only mapping of the trial's active parameters.

    Everything but `number` and the parameters is looked up when asked for, so a handle is never stale. A copy or a
    pickle of a trial is a dict of its parameters, as the study stays where it is.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study(fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)}))
        >>> trial = study.ask()
        >>> trial["x"] == trial.params["x"] == dict(**trial)["x"]
        True
    """

    __slots__ = ("_params", "_source", "number")

    def __init__(self, number: int, source: TrialSource) -> None:
        self.number = number
        self._source = source
        self._params: dict[str, Value] | None = None

    # --- a mapping of its parameters

    def _mapping(self) -> dict[str, Value]:
        if self._params is None:
            params = self._source.trial_params(self.number)
            if self._source.learns_space:  # and a trial that runs may ask for more
                return params
            self._params = params
        return self._params

    @property
    def params(self) -> dict[str, Value]:
        """The active parameters by name, as plain Python values (a new dict)."""
        return dict(self._mapping())

    @property
    def original_params(self) -> dict[str, Value]:
        """The parameters with which it began (a new dict); others than `params` only if the space was changed since.

        See `Study.load`. It has parameters that are gone, and lacks those that a default says.
        """
        return self._source.trial_original_params(self.number)

    @property
    def is_outside(self) -> bool:
        """Whether it lies outside of the search space, as that was changed since; see `Study.load`."""
        return self._source.trial_is_outside(self.number)

    def __getitem__(self, name: str) -> Any:
        return self._mapping()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Trial):
            return self.number == other.number and self._source is other._source
        return self._mapping() == other if isinstance(other, Mapping) else NotImplemented

    def __hash__(self) -> int:
        return hash((id(self._source), self.number))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.params,)

    def __repr__(self) -> str:
        values = self.objective_values()
        reached = f"value={values if values is None else values[0]}"
        if values is not None and len(values) > 1:
            reached = f"values={list(values)}"
        return f"Trial(number={self.number}, state={self.state.name}, {reached}, params={steady_repr(self._mapping())})"

    def _repr_html_(self) -> str:
        title = repr(self).partition(", params=")[0] + ")"  # what follows is a table
        error = [] if self.error is None else [paragraph(headline(self.error))]
        return titled(title, *error, table(self._mapping().items()))

    # --- what the objective uses

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A float of a study that learns its space: `fasthpo.Study()`.

        A trial that asks twice gets the same value. Later trials may ask for other bounds: the space then has all of
        them, and a trial gets a value within those that it asks for. In a study that has declared its space, the value
        of that parameter.

        Args:
            name: of the parameter.
            low, high: the bounds, both included.
            step: between neighbouring values; if it does not divide `high - low`, values end below `high`.
            log: search on a logarithmic scale.

        Raises:
            InvalidSearchSpace: bounds or step are not what they must be, or the name was asked for with another type or
                scale before.
            InvalidParameters: the study has declared its space, which has no such parameter here.
            TrialStateError: the trial has ended.

        Example:
            >>> import fasthpo
            >>> study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
            >>> for _ in range(30):
            ...     trial = study.ask()
            ...     x = trial.suggest_float("x", -5, 5)
            ...     if trial.suggest_categorical("kind", ["plain", "shifted"]) == "shifted":
            ...         x += trial.suggest_float("shift", 0, 1)
            ...     _ = study.tell(trial, (x - 2) ** 2)
            >>> list(study.space)
            ['x', 'kind', 'shift']
        """
        return self._source.suggest(self.number, name, float_parameter(low, high, step, log))  # type: ignore[return-value]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An integer from `low` to `high`, both included; see `suggest_float`."""
        return self._source.suggest(self.number, name, int_parameter(low, high, step, log))  # type: ignore[return-value]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of several choices, which must be the same in all trials; see `suggest_float`."""
        return self._source.suggest(self.number, name, choice_parameter(choices))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """`suggest_float(name, low, high)`, as programs for earlier versions of Optuna have it."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """`suggest_float(name, low, high, log=True)`, as programs for earlier versions of Optuna have it."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """`suggest_float(name, low, high, step=q)`, as programs for earlier versions of Optuna have it."""
        return self.suggest_float(name, low, high, step=q)

    def set_attribute(self, name: str, value: Any) -> None:
        """Note something down with the trial that is no number (see `metrics`), such as a path or a version.

        Args:
            name: a string.
            value: None, a bool, int, float or str, or lists and string-keyed dicts of these, at most 98 in each other.

        Raises:
            InvalidValue: it is none of these, or its JSON has more than 10 million characters.
        """
        self._source.set_trial_attribute(self.number, NOTED + name if isinstance(name, str) else name, value)

    @property
    def attributes(self) -> dict[str, Any]:
        """What was noted down with `set_attribute`, by name (a copy)."""
        noted = self._source.trial_attributes(self.number)
        return {name.removeprefix(NOTED): value for name, value in noted.items() if name.startswith(NOTED)}

    def report(self, value: float | Sequence[float], step: int) -> None:
        """Report an intermediate value.

        Args:
            value: the objective's value so far; NaN is allowed and ranks worst. Of several objectives a value for each,
                NaN for those that are not known at this step.
            step: how far the trial is (an epoch, a fold), not negative. The first value at a step stands.

        Raises:
            InvalidValue: not a number, or not one for each objective, or no such step.
            TrialStateError: the trial has ended.
        """
        self._source.report(self.number, value, step)

    def should_prune(self) -> bool:
        """Whether the study's pruner would end the trial now; then raise `TrialPruned`."""
        return self._source.should_prune(self.number)

    # --- what anyone may read

    @property
    def directions(self) -> tuple[str, ...]:
        """ "minimize" or "maximize" for each objective of the study."""
        return self._source.directions

    @property
    def state(self) -> TrialState:
        """Where the trial stands."""
        return self._source.trial_state(self.number)

    @property
    def value(self) -> float | None:
        """The objective's value: the one told, or of a pruned trial the last valid one; None if there is none.

        Raises:
            InvalidValue: the study has several objectives; see `objective_values`.
        """
        return self._source.trial_value(self.number)

    @property
    def constraints(self) -> tuple[float, ...] | None:
        """What the trial was told of its constraints: at most 0 where one is kept; None if it was told none."""
        return self._source.trial_constraints(self.number)

    def objective_value(self) -> float | None:
        """The same as `value`."""
        return self.value

    def objective_values(self) -> tuple[float, ...] | None:
        """The values of the objectives, one for each; None if there are none."""
        return self._source.trial_values(self.number)

    @property
    def reports(self) -> dict[int, Any]:
        """Intermediate values by step, in ascending order of steps: floats, of several objectives tuples of them."""
        return self._source.trial_reports(self.number)

    @property
    def metrics(self) -> dict[str, float]:
        """Further metrics that the objective returned beside its value."""
        return self._source.trial_metrics(self.number)

    @property
    def cost(self) -> float | None:
        """What the trial was told that it has cost, which is its metric `cost`; None if it was told nothing."""
        return self.metrics.get(COST)

    @property
    def error(self) -> str | None:
        """Why the trial failed (a traceback where there is one); None if it did not."""
        return self._source.trial_error(self.number)

    @property
    def start_time(self) -> float:
        """When it was asked for, in seconds since the epoch; NaN if it has not been."""
        return self._source.trial_times(self.number)[0]

    @property
    def end_time(self) -> float:
        """When it was told, in seconds since the epoch; NaN if it has not been."""
        return self._source.trial_times(self.number)[1]

    @property
    def duration(self) -> float:
        """Seconds from ask to tell, without those in which it was paused; NaN while it runs for the first time."""
        return self._source.trial_times(self.number)[2]

    @property
    def resource(self) -> int | None:
        """How far to train, in all, under a multi-fidelity strategy; None under any other.

        Example:
            >>> import fasthpo
            >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=fasthpo.ASHA(max_resource=9))
            >>> trial = study.ask()
            >>> list(range(trial.start_resource, trial.resource))  # the epochs to train now
            [0]
        """
        return self._source.trial_resource(self.number)

    @property
    def start_resource(self) -> int:
        """From where on to train: the resource that a resumed trial has reached already; 0 for a new one.

        Of a trial that began from another one's weights: at least what those had reached.
        """
        return self._source.trial_start_resource(self.number)

    def _fork(self, place: int) -> int | None:
        fork = self._source.trial_fork(self.number)
        return None if fork is None or fork[place] < 0 else fork[place]

    @property
    def parent(self) -> int | None:
        """In a population the number of the trial from whose weights this one began; None: it began from none.

        They lie in `checkpoint_dir` when it is asked for.
        """
        return self._fork(2)

    @property
    def member(self) -> int | None:
        """In a population the place of the trial, from 0; one that replaces another has the place of that."""
        return self._fork(0)

    @property
    def generation(self) -> int | None:
        """In a population 0 for a first member, and larger for those that came later.

        In a synchronous one it is how many intervals were over when the trial began, in another one how many trials
        had its place before.
        """
        return self._fork(1)

    @property
    def fork_step(self) -> int | None:
        """In a population the resource that the parent's weights had reached; None without a parent."""
        return None if self.parent is None else self._fork(3)

    @property
    def rungs(self) -> dict[int, Any]:
        """Under a multi-fidelity strategy the values told so far, by the resource at which they were reached.

        They are floats, of several objectives tuples of them.
        """
        return self._source.trial_rungs(self.number)

    @property
    def checkpoint_dir(self) -> Path:
        """A directory of the trial's own for its weights, which exists. A resumed trial finds there what it saved.

        It lies in the study's directory; in a temporary one, which goes when the program ends, if the study has none.

        Raises:
            StorageError: it can't be made, for instance because the study's directory was removed.
        """
        return self._source.trial_checkpoint_dir(self.number)


def takes_one_value(trial: Any) -> bool:
    """Whether a trial, or what stands in its place, is of a study of one objective."""
    return len(getattr(trial, "directions", ("",))) == 1


class TrialSequence(Sequence[Trial]):
    """Trials of a study as a sequence; a handle is made only for an entry that is looked at.

    Args:
        source: the study.
        numbers: of the trials, int64 (n,); None for all that the study has, also later.
    """

    def __init__(self, source: TrialSource, numbers: IntArray | None = None) -> None:
        self._source = source
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._source) if self._numbers is None else len(self._numbers)

    def _at(self, place: int) -> Trial:
        return Trial(place if self._numbers is None else int(self._numbers[place]), self._source)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(len(self)))]
        return self._at(check_index("the study" if self._numbers is None else "the front", index, len(self)))

    def __iter__(self) -> Iterator[Trial]:
        return (self._at(i) for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} trials>"


@dataclass(frozen=True)
class TrialMetrics:
    """The value an objective reached, and further metrics.

    Args:
        value: the objective's value; of several objectives a list of them, which is kept as a tuple.
        metrics: further numbers by name.

    Raises:
        InvalidValue: the value is no number and no list of numbers, or the metrics are no mapping.
    """

    value: float | Sequence[float]
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # not the tensor, which may hold a graph
        object.__setattr__(self, "value", number_or_numbers("value", self.value))
        if not isinstance(self.metrics, Mapping):
            raise InvalidValue(f"metrics must map names to numbers, got metrics={shown(self.metrics)}")

    def objective_value(self) -> float | Sequence[float]:
        """The same as `value`."""
        return self.value


def number_or_numbers(what: str, value: Any) -> float | tuple[float, ...]:
    """A number, or each of two or more in a list, as plain floats.

    Raises:
        InvalidValue: it is neither.
    """
    try:
        return as_number(what, value)
    except InvalidValue as error:
        try:
            found = numbers_of(what, value)
        except InvalidValue:
            found = ()
        if len(found) < 2:
            raise error from None
        return found


def numbers_of(what: str, values: Any) -> tuple[float, ...]:
    """A list of numbers as plain floats.

    Raises:
        InvalidValue: it is no list of numbers.
    """
    try:
        listed = elements(values)
    except TypeError as error:
        raise InvalidValue(f"{what} {error}") from None
    return tuple(as_number(f"{what}[{i}]", one) for i, one in enumerate(listed))


@dataclass(frozen=True)
class TrialResult:
    """What an objective may return: `TrialResult.success(...)` or `TrialResult.failure(...)`.

    `constraints` are at most 0 where they are kept, as those of `Study.tell`.
    """

    metrics: TrialMetrics | None = None
    error: str | None = None
    constraints: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.metrics is not None and not isinstance(self.metrics, TrialMetrics):
            raise InvalidValue(
                f"metrics must be TrialMetrics, got metrics={shown(self.metrics)}; see TrialResult.success"
            )
        object.__setattr__(self, "error", None if self.error is None else check_text("error", self.error))
        if self.constraints is not None:
            told = numbers_of("constraints", self.constraints)
            if any(one != one for one in told):
                raise InvalidValue(f"a constraint must not be NaN, got constraints={shown(self.constraints)}")
            object.__setattr__(self, "constraints", told)

    @classmethod
    def success(
        cls, metrics: TrialMetrics | float | Sequence[float], constraints: Sequence[float] | None = None
    ) -> TrialResult:
        """The trial reached `metrics` (or a bare value, or one for each objective).

        Args:
            metrics: what was reached.
            constraints: numbers that are at most 0 where a constraint is kept; all trials of a study have as many.

        Example:
            >>> TrialResult.success(TrialMetrics(0.9, metrics={"loss": 0.3})).is_success
            True
            >>> TrialResult.success(0.9, constraints=[9.5 - 8.0]).constraints  # uses 9.5 GB, and 8 are allowed
            (1.5,)
        """
        made = metrics if isinstance(metrics, TrialMetrics) else TrialMetrics(metrics)
        return cls(metrics=made, constraints=constraints)

    @classmethod
    def failure(cls, error: str) -> TrialResult:
        """The trial failed, and why."""
        return cls(error=str(error))

    @property
    def is_success(self) -> bool:
        """Whether it carries a value."""
        return self.metrics is not None
