"""Studies to Optuna and back: its plots and dashboard work on ours, and users can bring theirs.

What becomes of what:

    Continuous, LogUniform      FloatDistribution, with its log, or its step if that divides the range
    Discrete                    IntDistribution; on a log scale Optuna knows no step but 1
    Normal, LogNormal           FloatDistribution, with the bounds, or five standard deviations where there is none
    Categorical, Ordinal        CategoricalDistribution; choices that JSON does not have as they are, as JSON texts
    a WAITING trial             one that Optuna would try next, with the given parameters fixed
    a PAUSED trial              PRUNED: Optuna has no pauses
    metrics, attributes         user attributes of the trial, of the study
    several objectives          several directions, and values of a trial
    constraints                 constraints that are called "0", "1" and so on
    rungs                       intermediate values, of a trial that has made no reports
    reports of several values   nothing: Optuna knows none

What Optuna has no place for (conditions, the order of choices, normal distributions and what lies beyond five standard
deviations, grids, errors, the state PAUSED, choices that are no plain values, or which of True and 1 a trial has) goes
to user attributes that begin with "fasthpo:", from which `from_optuna` makes the same search space again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace, MissingPackage
from fasthpo.space.choice_values import choice_to_json, is_plain_json
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.normal import NormalNumber
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.partial import encode_partial
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.snapshot_writer import SEGMENT_TYPES, TRIAL_TYPES
from fasthpo.system.log import logger
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.frozen import Columns
from fasthpo.trials.history import History
from fasthpo.trials.metrics import Metrics
from fasthpo.trials.objectives import Direction, check_directions
from fasthpo.trials.rebuilding import rebuild
from fasthpo.trials.table import NO_BRACKET, NO_DRAW, TRIAL_COLUMNS, TrialTable
from fasthpo.trials.trial import Trial, TrialState

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


_SPACE, _STATE, _ERROR, _PARAMS = "fasthpo:search_space", "fasthpo:state", "fasthpo:error", "fasthpo:params"
_CHUNK = 1000  # trials handed to Optuna at once
_MOST_STEPS = 10**6  # of a distribution; rounding errors of more may be larger than Optuna allows
_MOST_VALUES = 1000  # of a parameter that others may depend on


def load_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingPackage("Optuna is not installed: pip install 'fasthpo[optuna]'") from error
    return optuna


# --- to Optuna


def to_distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's distribution of a parameter's values."""
    kinds = load_optuna().distributions
    if parameter.choices is not None:
        return kinds.CategoricalDistribution([_choice_there(one) for one in parameter.choices])  # type: ignore[no-any-return]
    if isinstance(parameter, Discrete):
        step = 1 if parameter.log else parameter.step
        return kinds.IntDistribution(parameter.low, parameter.high, log=parameter.log, step=step)  # type: ignore[no-any-return]
    if isinstance(parameter, NormalNumber):
        return kinds.FloatDistribution(*parameter.reach, log=parameter.log)  # type: ignore[no-any-return]
    assert isinstance(parameter, (Continuous, LogUniform))
    low, high, step = parameter.low, parameter.high, parameter.step
    if step is not None and low < high:
        low, high, step = _decimal_steps(parameter)
    return kinds.FloatDistribution(low, high, log=parameter.log, step=step)  # type: ignore[no-any-return]


def _decimal_steps(parameter: Continuous | LogUniform) -> tuple[float, float, float | None]:
    """Bounds and step of a stepped parameter as Optuna checks them: by their decimals, and values within 1e-8 steps.

    A step that does not divide the range so, such as 1/3, is left out.
    """
    lattice = parameter.lattice
    assert lattice is not None
    low, step = Decimal(repr(lattice.anchor)), Decimal(repr(lattice.step))
    high = Decimal(repr(float(low + lattice.last * step)))
    if lattice.last > _MOST_STEPS or (high - low) % step or abs(high - Decimal(parameter.high)) > step / 1000:
        return parameter.low, parameter.high, None
    return float(low), float(high), float(step)


def _of_distribution(value: Value, distribution: BaseDistribution) -> Value:
    """A value of a parameter as one of its distribution's, whose bounds may be off by a rounding error, or narrower."""
    if hasattr(distribution, "choices"):
        return _choice_there(value)
    if isinstance(value, float):
        low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
        return min(max(value, low), high)
    return value


def _choice_there(choice: Value) -> Value:
    """A choice as Optuna can keep it."""
    return choice if is_plain_json(choice) else json.dumps(choice_to_json(choice))


def _says_it_all(value: Value, distribution: BaseDistribution) -> bool:
    """Whether a parameter's value can be told from what Optuna has of it."""
    there = _of_distribution(value, distribution)
    if hasattr(distribution, "choices"):
        # to Optuna 1, 1.0 and True are one choice
        return there is value and distribution.choices.count(value) == 1
    return there == value or getattr(distribution, "step", None) is not None


def to_optuna(
    table: TrialTable,
    attributes: Mapping[str, Any],
    trials: Sequence[Trial],
    storage: Any = None,
    study_name: str | None = None,
) -> OptunaStudy:
    """A study of Optuna's with the same trials; later changes of one do not show in the other.

    Args:
        table, attributes, trials: our study's.
        storage: a URL such as "sqlite:///study.db", or a storage object of Optuna's; None: in memory.
        study_name: the study's name there; None: Optuna makes one up.

    Raises:
        MissingPackage: Optuna is not installed.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
        >>> _ = study.tell(study.ask(), 0.5)
        >>> study.to_optuna().best_value
        0.5
    """
    optuna = load_optuna()
    theirs: OptunaStudy = optuna.create_study(directions=list(table.directions), storage=storage, study_name=study_name)
    if not table.space.is_open:  # else what is known of it is what its trials show
        theirs.set_user_attr(_SPACE, table.space.to_json())
    for name, value in attributes.items():
        theirs.set_user_attr(name, value)
    distributions = {name: to_distribution(parameter) for name, parameter in table.space.items()}
    for begin in range(0, len(trials), _CHUNK):
        some, errors = trials[begin : begin + _CHUNK], table.errors
        theirs.add_trials([frozen_trial(optuna, trial, distributions, errors.get(trial.number)) for trial in some])
    return theirs


def frozen_trial(
    optuna: Any, trial: Trial, distributions: Mapping[str, BaseDistribution], error: str | None
) -> FrozenTrial:
    state = trial.state
    given = {} if state == TrialState.WAITING else trial.params
    params: dict[str, Any] = {name: _of_distribution(value, distributions[name]) for name, value in given.items()}
    attributes: dict[str, Any] = {**trial.metrics, **trial.attributes}
    if state == TrialState.PAUSED:
        attributes[_STATE] = state.name
    if error is not None:
        attributes[_ERROR] = error
    if not all(_says_it_all(value, distributions[name]) for name, value in given.items()):
        attributes[_PARAMS] = _in_json(given)
    kinds = {TrialState.PAUSED: "PRUNED", TrialState.FAILED: "FAIL"}
    made: FrozenTrial = optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[kinds.get(state, state.name)],
        value=None,
        values=trial.objective_values(),
        datetime_start=_moment(trial.start_time),
        datetime_complete=_moment(trial.end_time) if state.is_finished or state == TrialState.PAUSED else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=attributes,
        system_attrs={"fixed_params": _in_json(trial.params)} if state == TrialState.WAITING else {},
        intermediate_values=(trial.reports or trial.rungs) if len(trial.directions) == 1 else {},
    )
    for i, constraint in enumerate(trial.constraints or ()):
        made.set_constraint(str(i), constraint)
    return made


def _in_json(params: Mapping[str, Value]) -> dict[str, Any]:
    return {name: choice_to_json(value) for name, value in params.items()}


def _moment(seconds: float) -> datetime | None:
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds)  # of local time, as Optuna's are


# --- from Optuna


class Imported(NamedTuple):
    """What becomes of a study of Optuna's.

    Attributes:
        space, directions: of the study.
        history: its trials.
        attributes: what was noted down with it.
    """

    space: SearchSpace
    directions: tuple[Direction, ...]
    history: History
    attributes: dict[str, Any]


def from_optuna(theirs: OptunaStudy, space: SearchSpace | None = None) -> Imported:
    """The trials of a study of Optuna's, as a history.

    Trials keep their numbers, unless some must be left out: those that ended, or are running, before all their
    parameters were suggested, which a warning counts. Numeric user attributes of a trial become metrics. Times are
    taken over; what was waiting waits, and what was running is running. If trials have different constraints, none
    are taken over, which a warning says.

    Args:
        theirs: Optuna's study.
        space: as of `Study.from_optuna`.

    Raises:
        MissingPackage: Optuna is not installed.
        InvalidSearchSpace: the space can't be found out, or a trial is no point of it.
        InvalidValue: the study has too many objectives.
    """
    load_optuna()
    trials = theirs.get_trials(deepcopy=False)
    if space is None:
        noted = theirs.user_attrs.get(_SPACE)
        space = infer_space(trials) if noted is None else SearchSpace.from_json(noted)
    directions = check_directions([direction.name.lower() for direction in theirs.directions])
    kept, rows = _kept(space, trials)
    if len(kept) < len(trials):
        logger.warning(
            "%d of %d trials are left out: they ended before all their parameters were suggested",
            len(trials) - len(kept), len(trials),
        )  # fmt: skip
    columns, waiting = _columns(space, len(directions), kept, rows)
    attributes = {name: value for name, value in theirs.user_attrs.items() if name != _SPACE}
    return Imported(space, directions, rebuild(space, directions, columns, waiting), attributes)


def _kept(space: SearchSpace, trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[Any]]:
    """The trials that have all their parameters or wait, and their rows."""
    kept, rows = [], []
    for trial in trials:
        try:
            if trial.state.name == "WAITING":
                row = encode_partial(space, trial.system_attrs.get("fixed_params", {}))
            else:
                row = space.encode(trial.user_attrs.get(_PARAMS, trial.params), only_allowed=False)
        except InvalidParameters as error:
            known = set(trial.params) < set(space.names)
            if trial.state.name != "COMPLETE" and known and _is_part(space, trial.params):
                continue
            raise InvalidSearchSpace(
                f"trial {trial.number} is no point of the search space: {error}; give the space yourself, as space="
            ) from error
        kept.append(trial)
        rows.append(row)
    return kept, rows


def _is_part(space: SearchSpace, params: Mapping[str, Any]) -> bool:
    """Whether parameters, as far as they were suggested, lie in the space."""
    try:
        space.encode_part(params)
    except InvalidParameters:
        return False
    return True


def _columns(
    space: SearchSpace, objectives: int, trials: Sequence[FrozenTrial], rows: Sequence[Any]
) -> tuple[Columns, list[int]]:
    n = len(trials)
    names = {"FAIL": "FAILED"}
    states = [TrialState[names.get(trial.state.name, trial.state.name)] for trial in trials]
    made: dict[str, Any] = {name: np.full(n, np.nan) for name in TRIAL_COLUMNS}
    made |= {"draws": np.full(n, NO_DRAW), "brackets": np.full(n, NO_BRACKET), "states": np.array(states, np.int8)}
    made["values"] = np.full(n if objectives == 1 else (n, objectives), np.nan)
    reports: dict[str, list[Any]] = {"trial": [], "step": [], "value": []}
    metrics = Metrics()
    errors: dict[int, str] = {}
    for i, (trial, state) in enumerate(zip(trials, states, strict=True)):
        for step, value in sorted(trial.intermediate_values.items()):
            for name, entry in (("trial", i), ("step", step), ("value", float(value))):
                reports[name].append(entry)
        if state == TrialState.WAITING:
            continue
        made["starts"][i] = _seconds(trial.datetime_start or trial.datetime_complete)
        if state.is_finished:
            made["ends"][i] = _seconds(trial.datetime_complete or trial.datetime_start)
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            made["values"][i] = _value(trial) if objectives == 1 else _values(trial, objectives)
        if state == TrialState.FAILED:
            errors[i] = str(trial.user_attrs.get(_ERROR, "it failed in Optuna"))
        numbers = {
            name: float(value)
            for name, value in trial.user_attrs.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        for name in metrics.beyond(numbers):
            del numbers[name]
        if numbers:
            metrics.set(i, numbers)
    finished = [i for i, state in enumerate(states) if state.is_finished]
    finished.sort(key=lambda i: (made["ends"][i], i))
    columns = Columns(
        np.array(rows, np.float64).reshape(n, len(space)).T,
        {name: made[name].astype(dtype) for name, dtype in TRIAL_TYPES.items()} | _constraints(trials),
        metrics.measured(n),
        np.array(finished, np.int64),
        _report_columns(reports, objectives),
        {name: np.empty(0, dtype) for name, dtype in SEGMENT_TYPES.items()},
        errors,
        {},
        {},
    )
    return columns, [i for i, state in enumerate(states) if state == TrialState.WAITING]


def _report_columns(reports: Mapping[str, list[Any]], objectives: int) -> dict[str, Any]:
    columns = {name: np.array(column, np.float64 if name == "value" else np.int64) for name, column in reports.items()}
    if objectives > 1:  # of which Optuna has no reports
        columns = {"trial": np.empty(0, np.int64), "step": np.empty(0, np.int64), "value": np.empty((0, objectives))}
    return columns


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def _constraints(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The column of constraints, if trials have any."""
    told = {i: trial.constraints for i, trial in enumerate(trials) if trial.state.is_finished() and trial.constraints}
    names = list(next(iter(told.values()), {}))
    if any(set(constraints) != set(names) for constraints in told.values()) or len(names) > MOST_CONSTRAINTS:
        logger.warning(
            "the constraints are left out: all trials must have the same, at most %d, or none", MOST_CONSTRAINTS
        )
        return {}
    column = np.full((len(trials), len(names)), np.nan)
    for i, constraints in told.items():
        column[i] = [constraints[name] for name in names]
    return {"constraints": column} if names else {}


def _values(trial: FrozenTrial, objectives: int) -> list[float]:
    """Those of several objectives; NaN if a pruned trial has none."""
    values = trial.values
    known = values is not None and len(values) == objectives and not any(math.isnan(one) for one in values)
    return [float(one) for one in values] if known else [math.nan] * objectives


def _value(trial: FrozenTrial) -> float:
    if trial.value is not None:
        return float(trial.value)
    valid = [value for _, value in sorted(trial.intermediate_values.items()) if not math.isnan(value)]
    return valid[-1] if valid else math.nan


# --- which space a study of Optuna's has searched


def infer_space(trials: Iterable[FrozenTrial]) -> SearchSpace:
    """The space that trials of Optuna's come from, by the rule of `Study.from_optuna`.

    Raises:
        InvalidSearchSpace: it can't be found out.
    """
    found = [trial for trial in trials if trial.params]
    # one that failed or was pruned may have ended before it had all its parameters
    examples = [trial for trial in found if trial.state.name == "COMPLETE"] or found
    given: dict[str, list[BaseDistribution]] = {}
    for trial in found:
        for name, distribution in trial.distributions.items():
            if distribution not in given.setdefault(name, []):
                given[name].append(distribution)
    if not given:
        raise InvalidSearchSpace(
            "no trial has parameters to find the search space out from; give it yourself, as space="
        )
    plain = {name: _joined(name, distributions, None) for name, distributions in given.items()}
    always = {name for name in given if all(name in trial.params for trial in examples)}
    return SearchSpace(
        {
            name: parameter if name in always else _joined(name, given[name], _condition(name, plain, examples))
            for name, parameter in plain.items()
        }
    )


def _condition(name: str, plain: Mapping[str, Parameter], trials: Sequence[FrozenTrial]) -> dict[str, list[Value]]:
    """Under which values of which other parameter one is there."""
    for parent, parameter in plain.items():
        if parent == name:  # what decides is suggested first
            break
        if parameter.count is None or parameter.count > _MOST_VALUES:
            continue
        # by their text, which tells 1 from True
        seen = [(name in t.params, repr(t.params[parent]) if parent in t.params else "") for t in trials]
        there = {text for is_there, text in seen if is_there}
        if there and "" not in there and all(is_there == (text in there) for is_there, text in seen):
            values = {repr(t.params[parent]): t.params[parent] for t in trials if parent in t.params}
            return {parent: [values[text] for text in sorted(there)]}
    raise InvalidSearchSpace(
        f"{name!r} is missing in some trials, and no other parameter's values say in which; "
        "give the space yourself, as space="
    )


def _joined(name: str, distributions: Sequence[BaseDistribution], when: Any) -> Parameter:
    """The parameter whose values include those of all distributions that a name has had."""
    first = distributions[0]
    kind = type(first).__name__
    if any(type(other).__name__ != kind for other in distributions):
        raise InvalidSearchSpace(
            f"{name!r} has been of different kinds: {list(distributions)}; give the space yourself"
        )
    if kind == "CategoricalDistribution":
        choices = {repr(choice): choice for one in distributions for choice in one.choices}  # type: ignore[attr-defined]
        return Categorical(list(choices.values()), when)
    scales = {(one.log, one.step) for one in distributions}  # type: ignore[attr-defined]
    if len(scales) > 1:
        raise InvalidSearchSpace(f"{name!r} has had different scales: {list(distributions)}; give the space yourself")
    low = min(one.low for one in distributions)  # type: ignore[attr-defined]
    high = max(one.high for one in distributions)  # type: ignore[attr-defined]
    log, step = scales.pop()
    if kind == "IntDistribution":
        return Discrete(low, high, step, log, when)
    return LogUniform(low, high, when=when) if log else Continuous(low, high, step, when=when)
