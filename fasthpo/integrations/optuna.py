"""fasthpo inside Optuna: its samplers as `FastSampler`, its pruners as `FastPruner`.

Both follow a study by what is new in it, whichever process it comes from, and keep nothing that can't be made again
from Optuna's trials: they can be pickled, and a study that is loaded goes on with new ones.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

try:
    import optuna
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("Optuna is not installed: pip install 'fasthpo[optuna]'") from error

from fasthpo.errors import InvalidParameters, InvalidValue, SpaceExhausted
from fasthpo.exchange.optuna import from_optuna, infer_space, to_distribution, to_optuna
from fasthpo.integrations.define_by_run import Column, learn, nearest
from fasthpo.integrations.optuna_trials import News, StudyReplaced, in_order, seconds
from fasthpo.kernels.streams import uniforms
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.claims import any_prunes_by_rank
from fasthpo.samplers.auto import AutoSampler
from fasthpo.samplers.base import Sampler
from fasthpo.space.kinds import Continuous
from fasthpo.space.partial import complete_row
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.weights import Checkpoints
from fasthpo.study.scheduler import Scheduler
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.log import logger
from fasthpo.trials.history import History
from fasthpo.trials.table import INFRASTRUCTURE, NO_DRAW, TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, shown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# the others were here before there was a sampler
__all__ = ["FastPruner", "FastSampler", "from_optuna", "infer_space", "to_distribution", "to_optuna"]

_FAILED = "it failed in Optuna"
_OTHERWISE = INFRASTRUCTURE + "the objective went on with other parameters"  # than were suggested, which says nothing
_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAIL": TrialState.FAILED}
_CONSTRAINTS = "constraints"  # the trial's system attribute in which Optuna looks for what `constraints_func` returned


class FastSampler(optuna.samplers.BaseSampler):
    """A sampler of fasthpo's in a study of Optuna's: `optuna.create_study(sampler=FastSampler())`.

    The search space is what the trials so far show. Parameters met later, wider ranges and branches are taken in when
    the first trial with them has ended. A parameter that is there in some trials only is conditional on those before
    it, where their values say in which; one of which they do not is searched by itself, as is one that is fixed in a
    trial. Where a trial asks for a narrower range than others did, it gets the value nearest to what was suggested.
    The first trial is random.

    A suggestion depends on the trials so far, the seed and the number of the trial: threads and processes that share a
    study make other ones, also with the same seed, and a study that is loaded goes on as it would have. Trials of other
    processes are known from Optuna's storage when they have ended, or have all their parameters.

    Failed trials count as the worst result, unlike in Optuna's own samplers, which take no notice of them.

    A suggestion looks at trials that are new only. If all points of a finite space have been suggested, they are
    suggested again; with a `GridSampler`, `study.optimize` ends then.

    Args:
        sampler: where to look next, with its seed; by default `AutoSampler()`. It is copied for each study.
        seed: of the default sampler, 0 to 2**64 - 1; None draws one.
        constraints_func: as of Optuna's samplers: called with each trial that was completed or pruned, it returns
            numbers that are at most 0 where a limit is kept.

    Raises:
        InvalidValue: an argument is not what it must be; on the first suggestion: the sampler does not work on several
            objectives.
        InvalidSearchSpace: on a suggestion: the sampler can't work on the space, or a range is infinite.

    Example:
        >>> import optuna
        >>> from fasthpo.integrations.optuna import FastSampler
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=FastSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("x", -5, 5) - 2) ** 2, n_trials=40)
        >>> abs(study.best_params["x"] - 2) < 0.5
        True
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        *,
        seed: int | None = None,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
    ) -> None:
        if sampler is not None and not isinstance(sampler, Sampler):
            hint = "; Optuna's own samplers need no FastSampler" if _is_optunas(sampler, "samplers") else ""
            raise InvalidValue(f"sampler must be one of fasthpo's, such as TPESampler(), got {shown(sampler)}{hint}")
        if sampler is not None and seed is not None:
            raise InvalidValue(f"give the seed to the sampler, not beside it, got seed={shown(seed)} and {sampler!r}")
        if constraints_func is not None and not callable(constraints_func):
            raise InvalidValue(f"constraints_func must be a function, got {shown(constraints_func)}")
        self.sampler = AutoSampler(seed) if sampler is None else sampler
        self.constraints_func = constraints_func
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._searches: weakref.WeakKeyDictionary[Any, dict[int, _Search]] = weakref.WeakKeyDictionary()
        renew_in_forked(self, _lock=threading.RLock)

    def __getstate__(self) -> dict[str, Any]:
        return {"sampler": self.sampler, "constraints_func": self.constraints_func}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return f"FastSampler({self.sampler!r})"

    @contextlib.contextmanager
    def _search(self, study: optuna.Study) -> Iterator[_Search]:
        """What is known of a study; what comes out of this is forgotten if it is broken off, and learnt anew."""
        with self._lock:
            searches = self._searches.setdefault(study._storage, {})
            search = searches.get(study._study_id)
            if search is None:
                directions = [direction.name.lower() for direction in study.directions]
                if len(directions) > 1 and not self.sampler.has_several_objectives:
                    raise InvalidValue(f"{type(self.sampler).__name__} works on one objective, got {len(directions)}")
                search = searches[study._study_id] = _Search(self.sampler, directions)
            try:
                yield search
            except BaseException:
                searches.pop(study._study_id, None)
                raise

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        with self._search(study) as search:
            search.catch_up(study)
            return {name: search.columns[name].distribution for name in search.suggest(trial)}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with self._search(study) as search:
            return {name: value for name, value in search.suggest(trial).items() if name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        with self._search(study) as search:
            return search.suggest_alone(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if self.constraints_func is not None and state.name in ("COMPLETE", "PRUNED"):
            constraints = [float(number) for number in self.constraints_func(trial)]
            if any(map(math.isnan, constraints)):
                raise InvalidValue(f"constraints must be numbers, got {constraints}")
            study._storage.set_trial_system_attr(trial._trial_id, _CONSTRAINTS, constraints)
        with self._search(study) as search:
            grid_is_done = search.is_done
        if grid_is_done:
            with contextlib.suppress(RuntimeError):  # the trial was asked for outside of `study.optimize`
                study.stop()

    def reseed_rng(self) -> None:
        """Nothing: what is drawn depends on the trial's number, and on no state of a generator."""


def _is_optunas(part: object, module: str) -> bool:
    return (type(part).__module__ or "").startswith(f"optuna.{module}")


class _Search:
    """What one study has shown, and the models that make suggestions for it.

    Attributes:
        columns: the parameters known, by name.
    """

    def __init__(self, sampler: Sampler, directions: Sequence[str]) -> None:
        self._sampler = sampler
        self._directions = directions
        self._begin()

    def _begin(self) -> None:
        self._news = News()
        self.columns: dict[str, Column] = {}
        self._model: _Model | None = None
        self._alone: dict[str, _Model] = {}  # of parameters by themselves
        self._suggested: dict[int, dict[str, Any]] = {}
        self._loose: frozenset[str] = frozenset()
        # the space is learnt anew after a trial that does not fit; if each does not, after ever more of them
        self._is_stale = False
        self._count = self._learnt_at = 0
        self._gap = 1

    @property
    def is_done(self) -> bool:
        """Whether the grid of a grid sampler has come to its end."""
        return self._model is not None and self._model.is_done

    def catch_up(self, study: optuna.Study) -> None:
        """Take in what is new."""
        try:
            trials = self._news.read(study)
        except StudyReplaced:
            self._begin()
            trials = self._news.read(study)
        ended = [trial for trial in trials if trial.state.is_finished()]
        for trial in in_order(ended) if len(ended) > 1 else ended:
            self._take(trial)
        is_due = self._is_stale and self._count - self._learnt_at >= self._gap
        # more trials may show when a parameter is there that is modelled by itself
        if is_due or (self._alone and self._count >= 2 * self._learnt_at):
            self._learn(study)
        if self._model is not None:
            for trial in trials:
                if not trial.state.is_finished():
                    self._model.take(trial)

    def _take(self, trial: FrozenTrial) -> None:
        self._suggested.pop(trial.number, None)
        self._count += 1
        if not trial.distributions:
            return
        columns = self.columns
        for name, distribution in trial.distributions.items():
            column = columns.get(name)
            if column is None or not column.holds(distribution):
                self._is_stale = True
        if self._model is not None and not self._model.take(trial) and trial.state.name == "COMPLETE":
            self._is_stale |= self._loose <= trial.params.keys()
        for name in self._alone.keys() & trial.params.keys():
            self._alone[name].take(trial)

    def _learn(self, study: optuna.Study) -> None:
        since = self._count - self._learnt_at
        self._gap = 1 if since > 4 * self._gap else min(2 * self._gap, max(self._count // 20, 1))
        self._learnt_at, self._is_stale = self._count, False
        ended = self._news.ended(study)
        space, self.columns, self._loose = learn(ended)
        self._alone.clear()
        self._model = None if space is None else self._made(space, study, ended)

    def _made(
        self, space: SearchSpace, study: optuna.Study, trials: Sequence[FrozenTrial], repeats: bool = False
    ) -> _Model:
        """A model of the whole space, or of a parameter alone, that has taken in what has ended."""
        sampler = copy.deepcopy(self._sampler)
        model = _Model(space, self.columns, sampler, self._directions, _prunes_by_rank(study), repeats)
        for trial in trials:
            model.take(trial)
        return model

    def suggest(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values for a trial, of those parameters that are known to be there with them."""
        values = self._suggested.get(trial.number)
        if values is None:
            values = {} if self._model is None else self._model.suggest(trial)
            self._suggested[trial.number] = values
        return values

    def suggest_alone(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """The value of a parameter that `suggest` did not say, or that was outside of the range asked for."""
        number, values = trial.number, self._suggested.get(trial.number, {})
        if name in values:
            value = values[name]
        elif name in self.columns:
            model = self._alone.get(name)
            if model is None:
                trials = [one for one in self._news.ended(study) if name in one.params]
                space = SearchSpace({name: self.columns[name].when({})})
                model = self._alone[name] = self._made(space, study, trials, repeats=True)
            value = model.suggest(trial)[name]
        else:
            column = Column(name, [distribution])
            unit = uniforms(self._sampler.seed, np.array([number]), zlib.crc32(name.encode()), 1)
            value = column.decode(float(column.parameter.from_unit(unit[:, 0])[0]))
        return nearest(value, distribution)


def _prunes_by_rank(study: optuna.Study) -> bool:
    pruner = study.pruner
    if isinstance(pruner, FastPruner):
        return any_prunes_by_rank(pruner.pruner)
    return isinstance(pruner, optuna.pruners.PercentilePruner)


class _Model:
    """A space's trials as columns, and the sampler that follows them.

    Args:
        space: of parameters that are among the columns.
        columns: translate their values.
        sampler: the model's own.
        directions: of the objectives.
        prunes_by_rank: whether the study's pruner gives up trials that rank low at their step.
        repeats: whether points may be suggested again before all have been.
    """

    def __init__(
        self,
        space: SearchSpace,
        columns: Mapping[str, Column],
        sampler: Sampler,
        directions: Sequence[Any],
        prunes_by_rank: bool,
        repeats: bool,
    ) -> None:
        sampler.check_space(space)
        self._space = space
        self._columns = [columns[name] for name in space.names]
        self._sampler = sampler
        self._table = table = TrialTable(space, directions)
        self._history = History(table)
        self._scheduler = Scheduler(self._history, sampler, None, Checkpoints())
        self._limit = sampler.draw_limit(space)
        self._running: dict[int, int] = {}  # the rows of trials that run
        self._repeats = repeats
        sampler.heed_pruner(table, prunes_by_rank)

    @property
    def is_done(self) -> bool:
        """Whether there is an end of the sampler's draws, and it has been reached."""
        if self._limit is None:
            return False
        tried = self._table.tried
        return self._history.next_draw >= self._limit or (tried is not None and tried.is_exhausted)

    # --- what is suggested

    def suggest(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values for a trial, which runs with them from now on."""
        number = self._running[trial.number] = self._next(trial)
        return {
            column.name: column.decode(x)
            for column, x in zip(self._columns, self._table.params[:, number].tolist(), strict=True)
            if x == x  # NaN where a parameter is not there
        }

    def _next(self, trial: FrozenTrial) -> int:
        """Start a trial; the number of its row."""
        history, draw = self._history, _draw(trial)
        if self._limit is None:
            history.next_draw = trial.number
        if not self._repeats and draw != NO_DRAW:
            try:
                number = self._scheduler.next()
                assert number is not None  # nothing limits it
                return number
            except SpaceExhausted as error:
                logger.info("%s; they are suggested again from now on", error)
        if self._limit is None:
            suggestion = self._sampler.suggest(self._table, trial.number)
            row = suggestion if isinstance(suggestion, np.ndarray) else self._space.encode(suggestion)
            return history.asked(row, draw, _start(trial))
        row = complete_row(self._space, np.full(len(self._space), np.nan), self._sampler.seed, trial.number)
        return history.asked(row, NO_DRAW, _start(trial))

    # --- what has happened

    def take(self, trial: FrozenTrial) -> bool:
        """A trial runs or has ended; whether it is one of the space, or may become one."""
        number = self._running.get(trial.number)
        has_ended = trial.state.is_finished()
        if number is not None and not has_ended:
            return True
        row = self._row(trial)
        if row is None and number is not None:
            del self._running[trial.number]
            self._tell(number, TrialState.FAILED, _OTHERWISE, trial)
        if row is None:
            return not has_ended
        if number is None:
            number = self._history.asked(row, _draw(trial), _start(trial))
        elif not np.array_equal(self._table.params[:, number], row, equal_nan=True):
            # the history is in memory: there is no journal that would have to hear of it
            self._table.requeue(number)
            self._table.start(number, row, _start(trial))
        if not has_ended:
            self._running[trial.number] = number
            return True
        self._running.pop(trial.number, None)
        state = _STATES[trial.state.name]
        self._tell(number, state, _FAILED if state == TrialState.FAILED else None, trial)
        return True

    def _row(self, trial: FrozenTrial) -> FloatArray | None:
        """The row of a trial; None if it is no point of the space."""
        params = trial.params
        row = np.array(
            [column.encode(params[column.name]) if column.name in params else math.nan for column in self._columns]
        )
        missing = row != row
        if any(isnan and column.name in params for column, isnan in zip(self._columns, missing.tolist(), strict=True)):
            return None
        is_whole = not missing.any() or (self._space.is_conditional and self._is_point(row, missing))
        if is_whole or not trial.state.is_finished() or trial.state.name == "COMPLETE":
            return row if is_whole else None
        try:  # it has ended before it had all its parameters
            return complete_row(self._space, row, self._sampler.seed, trial.number)
        except InvalidParameters:
            return None

    def _is_point(self, row: FloatArray, missing: npt.NDArray[np.bool_]) -> bool:
        """Whether those parameters are missing whose conditions do not hold."""
        for j in self._space.order:
            active = all(allowed.holds(row[parent]) for parent, allowed in self._space.conditions[j])
            if active == bool(missing[j]):
                return False
        return True

    def _tell(self, number: int, state: TrialState, error: str | None, trial: FrozenTrial) -> None:
        history, count = self._history, self._table.objectives.count
        value: Any = math.nan if count == 1 else np.full(count, np.nan)
        constraints = None
        if error is None:
            if count == 1:
                for step, reported in trial.intermediate_values.items():
                    history.reported(number, step, float(reported))
            value = _value(trial, count)
            constraints = _violation(trial)
        end = seconds(trial.datetime_complete or trial.datetime_start)
        history.told(number, state, value, end, error=error, constraints=constraints)
        self._sampler.observe(self._table, number)


def _draw(trial: FrozenTrial) -> int:
    """The sampler's draw behind a trial; it has drawn none for one that is fixed, in part at least."""
    return NO_DRAW if "fixed_params" in trial.system_attrs else trial.number


def _start(trial: FrozenTrial) -> float:
    return seconds(trial.datetime_start or trial.datetime_complete)


def _value(trial: FrozenTrial, count: int) -> Any:
    """The value of a trial, or its values (m,); NaN if it has none."""
    values = trial.values
    if values is not None and len(values) == count:
        return float(values[0]) if count == 1 else np.array(values, np.float64)
    if count > 1:
        return np.full(count, np.nan)
    known = [value for _, value in sorted(trial.intermediate_values.items()) if not math.isnan(value)]
    return float(known[-1]) if known else math.nan


def _violation(trial: FrozenTrial) -> FloatArray | None:
    """By how much a trial breaks its constraints in all, which is what samplers look at; None if it has none."""
    told = [float(number) for number in trial.constraints.values()]
    if not told or any(map(math.isnan, told)):
        return None
    return np.array([sum(number for number in told if number > 0) or max(told)])


class FastPruner(optuna.pruners.BasePruner):
    """A pruner of fasthpo's in a study of Optuna's: `optuna.create_study(pruner=FastPruner(fasthpo.MedianPruner()))`.

    It decides what it would decide in a study of fasthpo's with the same reports and ends. A decision looks at the
    trials that run, and at those that have ended since the last one; the trials of a study that was loaded are taken in
    with the first decision. Other processes' reports are known from Optuna's storage.

    Args:
        pruner: when to give a trial up. It is copied for each study.

    Raises:
        InvalidValue: the pruner is not one of fasthpo's.

    Example:
        >>> import fasthpo, optuna
        >>> from fasthpo.integrations.optuna import FastPruner
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", 0, 1)
        ...     for step in range(5):
        ...         trial.report(x / (step + 1), step)
        ...         if trial.should_prune():
        ...             raise optuna.TrialPruned
        ...     return x
        >>> study = optuna.create_study(pruner=FastPruner(fasthpo.MedianPruner(n_startup_trials=3)))
        >>> study.optimize(objective, n_trials=20)
        >>> any(trial.state.name == "PRUNED" for trial in study.trials)
        True
    """

    def __init__(self, pruner: Pruner) -> None:
        if not isinstance(pruner, Pruner):
            hint = "; Optuna's own pruners need no FastPruner" if _is_optunas(pruner, "pruners") else ""
            raise InvalidValue(f"pruner must be one of fasthpo's, such as MedianPruner(), got {shown(pruner)}{hint}")
        self.pruner = pruner
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._copies: weakref.WeakKeyDictionary[Any, dict[int, _Reports]] = weakref.WeakKeyDictionary()
        renew_in_forked(self, _lock=threading.RLock)

    def __getstate__(self) -> dict[str, Any]:
        return {"pruner": self.pruner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return f"FastPruner({self.pruner!r})"

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        with self._lock:
            copies = self._copies.setdefault(study._storage, {})
            reports = copies.get(study._study_id)
            if reports is None:
                reports = copies[study._study_id] = _Reports(self.pruner, study.direction.name.lower())
            try:
                return reports.should_prune(study, trial)
            except StudyReplaced:
                del copies[study._study_id]
                return self.prune(study, trial)
            except BaseException:  # it was broken off: the reports are read anew
                copies.pop(study._study_id, None)
                raise


class _Reports:
    """The reports and ends of one study of Optuna's, and a pruner that follows them."""

    def __init__(self, pruner: Pruner, direction: Any) -> None:
        self._news = News()
        space = SearchSpace({"x": Continuous(0.0, 0.0)})  # a pruner looks at no parameters
        self._table = table = TrialTable(space, direction)
        self._history = History(table)
        self._pruner = copy.deepcopy(pruner)
        self._pruner.attach(table)
        self._numbers: dict[int, int] = {}  # of trials that run
        self._steps: dict[int, set[int]] = {}  # that were taken in of them

    def should_prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        trials = self._news.read(study)
        for one in trials:
            if one.number not in self._numbers:
                self._numbers[one.number] = self._history.asked(np.zeros(1), NO_DRAW, 0.0)
                self._steps[one.number] = set()
        for one in in_order([one for one in trials if one.state.is_finished()]):
            self._report(one)
            self._end(one)
        for one in trials:
            if not one.state.is_finished() and one.number != trial.number:
                self._report(one)
        if trial.number not in self._numbers:  # it has ended
            return False
        self._report(trial)
        return self._pruner.should_prune(self._table, self._numbers[trial.number])

    def _report(self, trial: FrozenTrial) -> None:
        """Take in what a trial has reported since."""
        reported, steps = trial.intermediate_values, self._steps[trial.number]
        new = len(reported) - len(steps)
        if new <= 0:
            return
        latest = list(islice(reversed(reported.items()), new))[::-1]
        if any(step in steps for step, _ in latest):  # a storage that hands them out in another order
            latest = [(step, value) for step, value in reported.items() if step not in steps]
        number = self._numbers[trial.number]
        for step, value in latest:
            self._history.reported(number, step, float(value))
            self._pruner.on_report(self._table, number, step, float(value))
            steps.add(step)

    def _end(self, trial: FrozenTrial) -> None:
        number = self._numbers.pop(trial.number)
        del self._steps[trial.number]
        state = _STATES[trial.state.name]
        has_failed = state == TrialState.FAILED
        value = math.nan if has_failed else _value(trial, 1)
        end = seconds(trial.datetime_complete or trial.datetime_start)
        self._history.told(number, state, value, end, error=_FAILED if has_failed else None)
        self._pruner.on_end(self._table, number)
