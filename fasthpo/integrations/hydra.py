"""Hydra: `python app.py --multirun hydra/sweeper=fasthpo 'x=interval(0, 1)'` searches, and never waits for a batch.

A launcher's `launch` returns when all jobs of a batch have ended, and changes what belongs to the whole process. So it
is called with one job at a time, for each of `n_jobs` in a process of its own, and whichever job ends makes room for
the next. Needs `fasthpo[hydra]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

try:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString, RangeSweep
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobStatus, setup_globals
    from omegaconf import OmegaConf
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("Hydra is not installed: pip install 'fasthpo[hydra]'") from error

from fasthpo import samplers
from fasthpo.errors import InvalidSearchSpace, InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.directory import holds_study
from fasthpo.strategies.base import Strategy
from fasthpo.trials.trial import Trial
from fasthpo.tuner.config import PruningConfig, TunerConfig
from fasthpo.tuner.results import TuningResult
from fasthpo.tuner.tuner import HyperparameterTuner
from fasthpo.values import shown

RESULTS = "optimization_results.yaml"
_MOST_CHECKS = 100  # jobs that are composed before the first one runs
_current: ContextVar[Trial | None] = ContextVar("_current", default=None)


def current_trial() -> Trial | None:
    """The trial that a Hydra app is run for: to report values while it trains, and to be pruned.

    None if the app was not started by this sweeper, or if its launcher runs jobs elsewhere, as joblib's and submitit's
    do: there a trial has its final value only.

    Example:
        >>> from fasthpo.integrations.hydra import current_trial
        >>> trial = current_trial()
        >>> if trial is not None:
        ...     trial.report(0.5, step=1)
        ...     if trial.should_prune():
        ...         raise fasthpo.TrialPruned
    """
    return _current.get()


class HydraSweep:
    """One call of a Hydra app with `--multirun hydra/sweeper=fasthpo`.

    Args:
        options: `hydra.sweeper`'s:

            direction: "minimize" or "maximize"; of several objectives a list.
            n_trials: how many jobs there are in all, those of a study that is gone on with included.
            n_jobs: how many run at the same time.
            sampler: a name ("auto", "random", "tpe", "qmc", "cma_es", "nsga_ii", "grid"), or a mapping of `name` and
                the sampler's own arguments.
            pruner: a strategy of `PruningConfig` by its name, or a mapping of its arguments; for apps that report to
                `current_trial()`.
            seed: of the sampler.
            storage: directory of the study. If it holds one, that goes on. By default `fasthpo` in the directory of
                the sweep.
            metric: of an app that returns a mapping, the name of the objective; of several a list.
            max_duration: seconds after which no further job starts.
            trial_timeout: seconds after which a job is ended and has failed.
            retries: how often a job is tried again, as in `HyperparameterTuner.optimize`.
            devices: a device for each job, as in `HyperparameterTuner.optimize`.
            params: overrides as on the command line, by their keys; the command line overrides them.
        hydra_context, task_function, config: what Hydra gives a sweeper.
    """

    def __init__(self, options: Mapping[str, Any], hydra_context: Any, task_function: Any, config: Any) -> None:
        self._options = {
            name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for name, value in options.items()
        }
        self._context = hydra_context
        self._config = config
        self._directory = Path(str(config.hydra.sweep.dir))  # also makes its time of day known to all jobs
        self._job = _Job(hydra_context, task_function, config)

    def run(self, arguments: Sequence[str]) -> TuningResult:
        """Run jobs to the end of the study.

        Args:
            arguments: overrides of the command line.

        Raises:
            InvalidValue, InvalidSearchSpace: an option or an override can't be used.
            AllTrialsFailed: the first 10 jobs have failed.
        """
        options = self._options
        given = [f"{key}={value}" for key, value in options["params"].items()]
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        overrides = {one.get_key_element(): one for one in parser.parse_overrides([*given, *arguments])}
        swept = {key: one for key, one in overrides.items() if one.is_sweep_override()}
        if not swept:
            raise InvalidSearchSpace(
                "there is nothing to search: give at least one override such as 'x=interval(0, 1)' or 'x=choice(a, b)'"
            )
        space = SearchSpace({key: parameter_of(one) for key, one in swept.items()})
        self._job.texts = {
            (key, type(choice), choice): text
            for key, one in swept.items() if one.is_choice_sweep() for choice, text in choices_of(one)
        }  # fmt: skip
        self._job.fixed = [
            f"{key}={one.get_value_element_as_str()}" for key, one in overrides.items() if key not in swept
        ]
        self._check(space)
        self._directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, self._directory / "multirun.yaml")
        tuner = self._tuner(space)
        jobs = options["n_jobs"]
        result = tuner.optimize(
            self._job,
            workers=jobs,
            devices=options["devices"],
            backend="inline" if jobs == 1 and not (options["devices"] or options["trial_timeout"]) else "processes",
            trial_timeout=options["trial_timeout"],
            retries=options["retries"],
        )
        self._save(result)
        return result

    def _check(self, space: SearchSpace) -> None:
        """Have Hydra compose jobs that have each choice once, so that a wrong key is heard of now, in Hydra's words."""
        choices = {key: one.choices or (getattr(one, "low", None),) for key, one in space.items()}
        for i in range(min(_MOST_CHECKS, max(map(len, choices.values())))):
            values = {key: of[i % len(of)] for key, of in choices.items()}
            self._context.config_loader.load_sweep_config(self._config, self._job.overrides(values))

    def _tuner(self, space: SearchSpace) -> HyperparameterTuner:
        options = self._options
        place = Path(options["storage"] or self._directory / "fasthpo").absolute()
        pruner = options["pruner"]
        config = TunerConfig(
            place.name,
            direction=options["direction"],
            objective_metric=options["metric"],
            max_trials=options["n_trials"],
            max_duration=options["max_duration"],
            pruning=None if pruner is None else PruningConfig(**_arguments("pruner", pruner, "strategy")),
            output_dir=place.parent,
            save_checkpoints=True,
        )
        tuner = HyperparameterTuner(config, space, Strategy(_sampler(options["sampler"], options["seed"])))
        return tuner.load_checkpoint(place) if holds_study(place) else tuner

    def _save(self, result: TuningResult) -> None:
        """Write the result as Hydra's Optuna sweeper does."""
        study = result.study
        found: dict[str, Any] = {"name": "fasthpo"}
        if not len(study.table.front.numbers):
            return  # no job has come to anything
        if len(study.directions) == 1:
            found |= {"best_params": result.best_params, "best_value": result.best_value}
        else:
            numbers, values = result.front()
            found["solutions"] = [
                {"params": study.trials[number].params, "values": reached}
                for number, reached in zip(numbers.tolist(), values.tolist(), strict=True)
            ]
        OmegaConf.save(OmegaConf.create(found), self._directory / RESULTS)


class _Job:
    """The objective: has Hydra's launcher run one job. A copy in a worker process sets Hydra up there first."""

    def __init__(self, hydra_context: Any, task_function: Any, config: Any) -> None:
        self._given = {"hydra_context": hydra_context, "task_function": task_function, "config": config}
        self._launcher = Plugins.instance().instantiate_launcher(**self._given)
        self._singletons: Any = None
        self.fixed: list[str] = []
        self.texts: dict[tuple[str, type, Value], str] = {}  # how choices are written

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_launcher": None, "_singletons": Singleton.get_state()}

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a job."""
        texts = {key: self.texts.get((key, type(value), value), str(value)) for key, value in values.items()}
        return [*self.fixed, *(f"{key}={text}" for key, text in texts.items())]

    def __call__(self, trial: Trial) -> Any:
        if self._launcher is None:
            setup_globals()
            Singleton.set_state(self._singletons)
            self._launcher = Plugins.instance().instantiate_launcher(**self._given)
        overrides = self.overrides(trial)
        token = _current.set(trial)
        try:
            (job,) = self._launcher.launch([overrides], initial_job_idx=trial.number)
        finally:
            _current.reset(token)
        if job.status is JobStatus.FAILED:
            raise job._return_value  # `return_value` would write to stderr first, also for a trial that is pruned
        return job.return_value


def parameter_of(override: Override) -> Parameter:
    """The parameter that an override which sweeps stands for.

    `choice(...)`, lists and globs are `Categorical`; `range(...)` is `Discrete`, or `Continuous` with a step, without
    its end, as everywhere in Hydra; `interval(...)` is `Continuous`, with the tag `log` `LogUniform`, and
    `int(interval(...))` is `Discrete`, both ends included.

    Raises:
        InvalidSearchSpace: it has a value or bounds that can't be searched over.
    """
    key, value = override.get_key_element(), override.value()
    try:
        if isinstance(value, RangeSweep):
            return _range(value)
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            if isinstance(low, int) and isinstance(high, int):
                return Discrete(low, high, log="log" in value.tags)
            assert low is not None and high is not None
            return LogUniform(low, high) if "log" in value.tags else Continuous(low, high)
        return Categorical([choice for choice, _ in choices_of(override)])
    except InvalidSearchSpace as error:
        raise InvalidSearchSpace(f"{key}: {error}") from None


def choices_of(override: Override) -> list[tuple[Value, str]]:
    """The choices of an override, each with how an override is to have it: a string may need its quotes.

    Lists and mappings are choices by what is written.
    """
    value = override.value()
    if isinstance(value, ChoiceSweep):
        value.shuffle = False  # which would be another order each time; a sampler draws anyway
    texts = list(override.sweep_string_iterator())
    choices = [one.text if isinstance(one, QuotedString) else one for one in override.sweep_iterator()]
    is_plain = [one is None or isinstance(one, (str, bool, int, float)) for one in choices]
    return [(one if plain else text, text) for one, plain, text in zip(choices, is_plain, texts, strict=True)]


def _range(value: RangeSweep) -> Parameter:
    assert value.start is not None and value.stop is not None
    start, stop, step = value.start, value.stop, value.step
    if step == 0 or any(isinstance(one, float) and not math.isfinite(one) for one in (start, stop, step)):
        raise InvalidSearchSpace(f"range({start}, {stop}, {step}) must have finite numbers and a step that is not 0")
    if all(isinstance(one, int) for one in (start, stop, step)):
        values = range(int(start), int(stop), int(step))
        if not values:
            raise InvalidSearchSpace(f"range({start}, {stop}, {step}) has no values")
        least, most = sorted((values[0], values[-1]))
        return Discrete(least, most, abs(int(step)) if least < most else 1)
    from decimal import ROUND_CEILING, Decimal

    low, end, distance = (Decimal(str(one)) for one in (start, stop, step))
    count = int(((end - low) / distance).to_integral_value(ROUND_CEILING))
    if count < 1:
        raise InvalidSearchSpace(f"range({start}, {stop}, {step}) has no values")
    first, last = sorted((float(low), float(low + (count - 1) * distance)))
    return Continuous(first, last, step=float(abs(distance)) if count > 1 else None)


def _arguments(what: str, given: Any, key: str) -> dict[str, Any]:
    """The arguments that a name or a mapping stands for."""
    if isinstance(given, str):
        return {key: given}
    if not isinstance(given, Mapping):
        raise InvalidValue(f"hydra.sweeper.{what} must be a name or a mapping, got {shown(given)}")
    return {key if name == "name" else str(name): value for name, value in given.items()}


def _sampler(given: Any, seed: int | None) -> Sampler:
    arguments = _arguments("sampler", given, "name")
    name = arguments.pop("name", None)
    kinds = samplers.builtin()
    if name not in kinds:
        raise InvalidValue(f"hydra.sweeper.sampler must be one of {sorted(kinds)}, got {shown(name)}")
    try:
        return kinds[name](**{"seed": seed, **arguments})
    except TypeError as error:
        raise InvalidValue(f"hydra.sweeper.sampler: {error}") from None
