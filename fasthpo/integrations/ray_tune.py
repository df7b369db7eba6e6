"""fasthpo inside Ray Tune: its samplers as a search algorithm, `FastSearch`.

The trials are a study of ours in memory, which Tune's loop asks and tells: `suggest` costs the same however many trials
there are, and a file of `save` is a file of a study, of which nothing is run when it is read.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    from ray.tune.result import DEFAULT_METRIC, TRAINING_ITERATION
    from ray.tune.search import Searcher
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("Ray Tune is not installed: pip install 'fasthpo[tune]'") from error

from fasthpo.errors import InvalidSearchSpace, InvalidValue, SpaceExhausted
from fasthpo.integrations.tune_space import TuneSpace
from fasthpo.samplers import builtin
from fasthpo.samplers.auto import AutoSampler
from fasthpo.samplers.base import Sampler
from fasthpo.study.study import Study
from fasthpo.system.log import logger
from fasthpo.trials.reports import NONE
from fasthpo.trials.trial import TrialState
from fasthpo.values import as_number, plain, shown

_NOTES = "ray_tune"  # the study's attribute with what is kept besides
_MOST_FAILED = 100_000  # trials that failed, of which Tune may still run each again
_FAILED = "it failed in Ray Tune"
_REMOVED = "Ray Tune ended it before it had a result"


class FastSearch(Searcher):  # type: ignore[misc]
    """A sampler of fasthpo's as a search algorithm of Ray Tune's: `tune.TuneConfig(search_alg=FastSearch())`.

    The space is the `param_space` of the `Tuner`, or `space`: Tune's domains and constants, in dicts, lists and tuples
    in each other. What a `tune.choice` chooses from may have domains in it, too, which are there with that choice only.
    `tune.grid_search` is refused, and what `tune.sample_from` gives is drawn by Tune itself. A quantized logarithmic
    parameter, `tune.qloguniform(a, b, q)`, is searched as a multiple of q, and `tune.qrandn` is rounded to one.

    What counts is the last result of a trial. One that fails, or whose metric is missing, NaN or no number, counts as
    the worst there is. One that Tune ends at a smaller `training_iteration` than others have reached, as ASHA does, is
    a pruned one: it is compared with what the others had there. If all points of a finite space have been suggested,
    the experiment ends.

    A suggestion costs the same however many trials there are. With a seed, and results that come in the same order,
    suggestions are the same; a search that was restored goes on as it would have.

    `max_concurrent_trials` of Tune's, and its `ConcurrencyLimiter`, limit how many trials run; the sampler needs no
    limit, as it knows of those that run.

    Args:
        space: what is searched, if not the `param_space` of the `Tuner`; also a `SearchSpace`, or parameters of
            fasthpo's among Tune's domains. Where the `when` of one does not hold, it is missing in the config.
        metric: what is to be small or large, or a list of several metrics, of which the sampler looks for the best
            compromises; None: that of the `TuneConfig`.
        mode: "min" or "max", or a list with one for each metric; None: that of the `TuneConfig`.
        points_to_evaluate: configs that are tried first. What is missing in one is drawn; "model/layers" may stand for
            {"model": {"layers": ...}}.
        evaluated_rewards: the metrics of these configs, if they are known; then they are not tried, but learnt from.
        sampler: where to look next, with its seed; by default `AutoSampler()`. It is copied.
        seed: of the default sampler, 0 to 2**64 - 1; None draws one.

    Raises:
        InvalidValue: an argument is not what it must be, or there is no metric or mode when the search begins.
        InvalidSearchSpace: something in the space can't be searched.
        InvalidParameters: a point is not one of the space's.

    Example:
        >>> from fasthpo.integrations.ray_tune import FastSearch
        >>> from ray import tune
        >>> search = FastSearch({"x": tune.uniform(-5, 5)}, metric="loss", mode="min", seed=0)
        >>> for number in range(40):  # what a Tuner does
        ...     config = search.suggest(f"trial_{number}")
        ...     search.on_trial_complete(f"trial_{number}", {"loss": (config["x"] - 2) ** 2})
        >>> abs(search.study.best_params["x"] - 2) < 0.5
        True
    """

    _metric: Any
    _mode: Any

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        sampler: Sampler | None = None,
        seed: int | None = None,
    ) -> None:
        if sampler is not None and not isinstance(sampler, Sampler):
            raise InvalidValue(f"sampler must be one of fasthpo's, such as TPESampler(), got {shown(sampler)}")
        if sampler is not None and seed is not None:
            raise InvalidValue(f"give the seed to the sampler, not beside it, got seed={shown(seed)} and {sampler!r}")
        metric, mode = _several("metric", metric), _several("mode", mode)
        _check_modes(metric, mode)
        super().__init__(metric=metric, mode=mode)
        self._sampler = AutoSampler(seed) if sampler is None else sampler
        self._points = _listed("points_to_evaluate", points_to_evaluate)
        self._rewards = _listed("evaluated_rewards", evaluated_rewards)
        if self._rewards and len(self._rewards) != len(self._points):
            raise InvalidValue(
                "evaluated_rewards must be as many as points_to_evaluate, got "
                f"{len(self._rewards)} for {len(self._points)}"
            )
        self._given = None if space is None else TuneSpace(space, with_constants=True)
        self._space = self._given
        self._study: Study | None = None
        self._running: dict[str, int] = {}  # numbers of the study's trials
        self._failed: dict[str, int] = {}
        self._furthest = 0  # the largest training_iteration there was
        if space is not None and metric is not None and mode is not None:
            self._begin()

    # --- what Tune calls

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take up the metric, the mode and the space of a `Tuner`.

        Raises:
            InvalidValue: they are not those that were given before, or one of them is missing.
            InvalidSearchSpace: the space is not that on which the search has begun, or can't be searched.
        """
        own = _several("metric", metric), _several("mode", mode)
        for name, given, new in zip(("metric", "mode"), (self._metric, self._mode), own, strict=True):
            if given is not None and new is not None and given != new:
                raise InvalidValue(
                    f"the search has {name}={given!r}, but the TuneConfig has {name}={new!r}: say it once"
                )
        metric, mode = own[0] or self._metric, own[1] or self._mode
        _check_modes(metric, mode)
        if self._given is None:
            found = TuneSpace(config, with_constants=False)
            if self._study is not None and found.space != self._study.space:
                raise InvalidSearchSpace(
                    f"the search has begun on another space: make a new FastSearch, or give it {self._study.space!r}"
                )
            self._space = found
        self._metric, self._mode = metric, mode
        if self._study is None:
            self._begin()
        return self._given is None  # if it is not, Tune refuses a param_space in which there is something to be found

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of a new trial, without what is the same in all trials of a `param_space`.

        Returns:
            "FINISHED" if there is no further point.

        Raises:
            InvalidValue: there is no metric, mode or space yet.
        """
        study, space = self.study, self._found_space()
        if trial_id in self._running:
            return space.config(study.trials[self._running[trial_id]].params)
        study.sampler.heed_pruner(study.table, True)  # what Tune's scheduler ends ranks low
        try:
            trial = study.ask()
        except SpaceExhausted as error:
            logger.info("the search is over: %s", error)
            finished: str = self.FINISHED
            return finished
        self._running[trial_id] = trial.number
        return space.config(trial.params)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A trial has a result, and goes on."""
        number = self._running.get(trial_id)
        if number is None:
            return
        try:
            value = self._value(result)
        except InvalidValue:  # the last result is what counts
            return
        self._report(number, value, _step(result))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, with its last result if there is one."""
        number = self._running.get(trial_id)
        if number is None:
            self._complete_again(trial_id, result, error)
            return
        state = self._told(number, result, error)
        if state == TrialState.FAILED:
            self._failed[trial_id] = number
            if len(self._failed) > _MOST_FAILED:
                del self._failed[next(iter(self._failed))]
        del self._running[trial_id]

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: float | Sequence[float] | None,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """Learn from a trial of which the result is known; from one that was ended early nothing is learnt.

        Args:
            parameters: its config.
            value: its metric, or metrics.
            error: whether it failed.
            pruned: whether it was ended early.
            intermediate_values: are not looked at.

        Raises:
            InvalidParameters: it is no point of the space.
        """
        study, space = self.study, self._found_space()
        if pruned:
            return
        count = study.table.objectives.count
        missing = math.nan if count == 1 else [math.nan] * count
        point = space.params(parameters)
        study.space.validate(point)
        columns = {name: [point.get(name)] for name in study.space}
        study.add_trials(columns, [missing if error or value is None else value])

    def save(self, checkpoint_path: str) -> None:
        """Write the search to a file, which `fasthpo.Study.load` reads, too."""
        study = self.study
        notes = {
            "metric": self._metric,
            "mode": self._mode,
            "running": self._running,
            "failed": self._failed,
            "furthest": self._furthest,
            "config": None if self._space is None else self._space.to_plain(),
        }
        try:
            study.set_attribute(_NOTES, notes)
        except InvalidValue:  # a config that is too large, or nested too deeply
            study.set_attribute(_NOTES, {**notes, "config": None})
        study.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Go on with a search that was saved; nothing that is in the file is run.

        If there are objects in the space, such as functions to choose from, which no such file can hold, it has to be
        given again, by `space` or `param_space`. Of a `param_space` a `Tuner` keeps them itself.

        Raises:
            InvalidValue: the file is of another metric or mode, or of no search.
            InvalidSearchSpace: it is of another space.
            CorruptCheckpoint: it is damaged.
            FileNotFoundError: there is none.
        """
        own = None if type(self._sampler) in builtin().values() else copy.deepcopy(self._sampler)
        study = Study.load(checkpoint_path, sampler=own, interrupted="keep")
        notes = _notes(study, checkpoint_path)
        for name, given in (("metric", self._metric), ("mode", self._mode)):
            if given is not None and notes[name] != given:
                raise InvalidValue(f"the search has {name}={given!r}, but {checkpoint_path} has {name}={notes[name]!r}")
        if self._space is not None and self._space.space != study.space:
            raise InvalidSearchSpace(f"{checkpoint_path} has another space: {study.space!r}")
        if self._space is None and notes["config"] is not None:
            self._space = TuneSpace.from_plain(notes["config"], study.space)
        self._study, self._sampler = study, study.sampler
        self._metric, self._mode = notes["metric"], notes["mode"]
        self._running, self._failed, self._furthest = notes["running"], notes["failed"], notes["furthest"]

    # --- what is kept

    @property
    def study(self) -> Study:
        """The trials so far, to look at: `search.study.to_pandas()`, or `fasthpo.plots.history(search.study)`.

        Raises:
            InvalidValue: the search has not begun.
        """
        if self._study is None:
            return self._begin()
        return self._study

    def _found_space(self) -> TuneSpace:
        if self._space is None:
            raise InvalidSearchSpace(
                "this search was restored from a file that does not hold its space: give it again, as "
                "FastSearch(space) or as param_space"
            )
        return self._space

    def _begin(self) -> Study:
        """Make the study.

        Raises:
            InvalidValue: it is not known what is searched, or for what.
        """
        for name, given in (("space", self._space), ("mode", self._mode)):
            if given is None:
                raise InvalidValue(
                    f"the search has no {name}: give it to FastSearch or to the Tuner, which hands metric and mode on "
                    "together with a param_space only"
                )
        assert self._space is not None
        if self._metric is None:
            self._metric = DEFAULT_METRIC  # that of a trainable which returns a number
        _check_modes(self._metric, self._mode)
        self._study = study = Study(self._space.space, copy.deepcopy(self._sampler), directions=_directions(self._mode))
        try:
            for point, reward in zip(self._points, self._rewards, strict=False):
                self.add_evaluated_point(point, reward)
            for point in () if self._rewards else self._points:
                study.enqueue(self._space.params(point))
        except BaseException:
            self._study = None
            raise
        return study

    def _value(self, result: Mapping[str, Any]) -> float | list[float]:
        """What a result says of the metric, or metrics.

        Raises:
            InvalidValue: one is missing, or no number.
        """
        names = self._metric if isinstance(self._metric, list) else [self._metric]
        missing = [name for name in names if result.get(name) is None]
        if missing:
            raise InvalidValue(f"its result has no {missing[0]!r}")
        values = [as_number(name, result[name]) for name in names]
        return values if isinstance(self._metric, list) else values[0]

    def _report(self, number: int, value: float | list[float], step: int | None) -> bool:
        """Note down what a trial had reached at an iteration; whether it is another one than the last that is known.

        Tune may run a trial again from a checkpoint, or from its beginning: then the earlier reports stay.
        """
        if step is None:
            return False
        study = self.study
        self._furthest = max(self._furthest, step)
        reports = study.table.reports
        last = -1 if reports.latest(number) == NONE else int(reports.highest[number])
        if step > last:
            study.report(number, value, step)
        return step != last

    def _told(self, number: int, result: Mapping[str, Any] | None, error: bool) -> TrialState:
        """Tell the study how a trial has ended; the state that it got."""
        study = self.study
        if error:
            return study.tell(number, state=TrialState.FAILED, error=_FAILED)
        if not result:  # while it was paused, or before it began
            if study.trials[number].reports:
                return study.tell(number, state=TrialState.PRUNED)
            return study.tell(number, state=TrialState.FAILED, error=_REMOVED, infrastructure=True)
        try:
            value = self._value(result)
        except InvalidValue as problem:
            logger.warning("trial %d counts as failed: %s", number, problem)
            return study.tell(number, state=TrialState.FAILED, error=str(problem))
        # Tune hands a result to `on_trial_result` only if it lets the trial go on, so a trial that ended by itself has
        # shown its last one there
        step = _step(result)
        if self._report(number, value, step) and step is not None and step < self._furthest:
            return study.tell(number, value, TrialState.PRUNED)
        return study.tell(number, value)

    def _complete_again(self, trial_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """A trial has ended that is not running: Tune has run one again that had failed, or it is not ours."""
        number = self._failed.get(trial_id)
        if number is None:
            logger.warning("trial %s is not running in this search; its result is not looked at", trial_id)
            return
        if error or not result:
            return
        study = self.study
        try:
            value = self._value(result)
        except InvalidValue:
            return
        params = study.trials[number].params
        study.add_trials({name: [params.get(name)] for name in study.space}, [value])
        del self._failed[trial_id]

    # --- pickled, as a Tuner does with all that it has

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_study": None}
        if self._study is not None:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "search"
                self.save(str(path))
                state["_study"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state["_study"]
        self.__dict__.update({**state, "_study": None})
        if saved is not None:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "search"
                path.write_bytes(saved)
                self.restore(str(path))


def _notes(study: Study, path: str) -> dict[str, Any]:
    """What `save` has noted down with a study.

    Raises:
        InvalidValue: it is not what that writes.
    """
    notes = study.attributes.get(_NOTES)
    if not isinstance(notes, dict) or set(notes) != {"metric", "mode", "running", "failed", "furthest", "config"}:
        raise InvalidValue(f"{path} has a study, but none that FastSearch has written")
    metric, mode = _several("metric", notes["metric"]), _several("mode", notes["mode"])
    _check_modes(metric, mode)
    states = study.states
    numbers = {name: notes[name].values() if isinstance(notes[name], dict) else [-1] for name in ("running", "failed")}
    wanted = {"running": TrialState.RUNNING, "failed": TrialState.FAILED}
    is_sound = (
        _directions(mode) == list(study.directions)
        and type(notes["furthest"]) is int
        and all(
            type(one) is int and 0 <= one < len(study) and states[one] == wanted[name]
            for name, ones in numbers.items()
            for one in ones
        )
    )
    if not is_sound:
        raise InvalidValue(f"{path} does not go together: its trials are not those of which it has the ids")
    return notes


def _directions(mode: Any) -> list[str]:
    return ["minimize" if one == "min" else "maximize" for one in (mode if isinstance(mode, list) else [mode])]


def _step(result: Mapping[str, Any]) -> int | None:
    """The iteration at which a result was made; None if it does not say."""
    step = plain(result.get(TRAINING_ITERATION))
    return step if type(step) is int and step >= 0 else None


def _several(name: str, given: Any) -> Any:
    """A metric or mode: a string, a list of strings, or None.

    Raises:
        InvalidValue: it is something else.
    """
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if given is not None and (not listed or not all(isinstance(one, str) and one for one in listed)):
        raise InvalidValue(f"{name} must be a string or a list of strings, got {name}={shown(given)}")
    return listed if len(listed) > 1 else listed[0]


def _check_modes(metric: Any, mode: Any) -> None:
    """Make sure that metrics and modes go together.

    Raises:
        InvalidValue: they do not.
    """
    for one in mode if isinstance(mode, list) else [mode]:
        if one not in (None, "min", "max"):
            raise InvalidValue(f"mode must be 'min' or 'max', got mode={shown(mode)}")
    if metric is None or mode is None:
        return
    if isinstance(metric, list) != isinstance(mode, list) or (isinstance(metric, list) and len(metric) != len(mode)):
        raise InvalidValue(f"mode must say one thing for each metric, got metric={metric!r}, mode={mode!r}")


def _listed(name: str, given: Any) -> list[Any]:
    if given is not None and not isinstance(given, list | tuple):
        raise InvalidValue(f"{name} must be a list, got {shown(given)}")
    return list(given or [])
