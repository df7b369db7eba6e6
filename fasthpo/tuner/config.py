"""What a tuner is told before it starts. Everything is checked here, when it is made."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fasthpo import pruners
from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import check_seed
from fasthpo.storage.weights import Keep, check_keep
from fasthpo.system.paths import given_path
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.limits import MetricLimit
from fasthpo.trials.objectives import Direction, check_direction, check_directions
from fasthpo.values import as_number, check_count, check_flag, plain, shown

if TYPE_CHECKING:
    from fasthpo.study.reader import StudyReader

# by strategy, which is also the pruner's name: the fields that it uses, which are arguments of the pruner
PRUNING_STRATEGIES: dict[str, tuple[str, ...]] = {
    "median": ("min_steps", "n_startup_trials"),
    "percentile": ("min_steps", "percentile", "n_startup_trials"),
    "threshold": ("lower", "upper", "min_steps"),
    "patient": ("patience", "min_delta"),
    "wilcoxon": ("p_threshold", "n_startup_steps"),
    "successive_halving": ("min_resource", "reduction_factor"),
}
_FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f]')  # in file names, on Windows or everywhere
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # no file names on Windows
_LONGEST_NAME = 200  # bytes; file systems end at 255, and temporary names are longer


def _checked_name(given: Any) -> str:
    name = plain(given)
    if not isinstance(name, str) or not name.strip():
        raise InvalidValue(f"study_name must be a string that is not empty, got study_name={shown(name)}")
    why = None
    if found := _FORBIDDEN.search(name):
        why = f"it must not contain {found.group()!r}"
    elif name in (".", ".."):
        why = "it must not be a directory of its own meaning"
    elif name != name.strip() or name.endswith("."):
        why = "it must not begin or end with a space or end with a dot"
    elif _DEVICES.fullmatch(name):
        why = "Windows keeps it for a device"
    elif len(name.encode(errors="surrogatepass")) > _LONGEST_NAME:
        why = f"it must not be longer than {_LONGEST_NAME} bytes"
    if why is not None:
        raise InvalidValue(f"study_name names a directory: {why}, got study_name={shown(name)}")
    return name


def _listed(given: Any) -> list[Any] | None:
    """The entries of a list or another sequence; None of anything else."""
    if isinstance(given, (str, bytes, bytearray)) or not isinstance(given, Sequence):
        return None
    try:
        return [plain(one) for one in given]
    except Exception:  # whatever a sequence of the user's own raises
        return None


def _checked_directions(given: Any) -> tuple[Direction, ...]:
    return (check_direction(given),) if _listed(given) is None else check_directions(given)


def _checked_metrics(given: Any, count: int) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = [plain(given)] if isinstance(plain(given), str) else _listed(given)
    if names is None or any(not isinstance(name, str) or not name for name in names) or not names:
        raise InvalidValue(
            f"objective_metric must be None or a metric's name, got objective_metric={shown(given)}; of several "
            "objectives it is a list of names"
        )
    if len(names) != count or len(set(names)) != count:
        raise InvalidValue(
            "direction and objective_metric must name each objective once, and as many of them, such as "
            "direction=['maximize', 'minimize'], objective_metric=['accuracy', 'latency'], got "
            f"{count} directions and objective_metric={shown(given)}"
        )
    return tuple(names)


def _checked_constraints(given: Any) -> tuple[str, ...]:
    listed = _listed(given)
    if listed is None or len(listed) > MOST_CONSTRAINTS:
        raise InvalidValue(
            f"constraints must be a list of at most {MOST_CONSTRAINTS} texts such as 'memory_gb <= 8', got "
            f"constraints={shown(given)}"
        )
    return tuple(text for text in listed if MetricLimit.of(text))


def _checked_paths(given: Any) -> tuple[str, ...]:
    listed = None if isinstance(given, os.PathLike) else _listed(given)
    if listed is None:
        raise InvalidValue(f"learn_from must list the paths of studies, got learn_from={shown(given)}")
    return tuple(str(given_path("learn_from", one, "a list of paths of studies")) for one in listed)


def _checked_cost(cost: Any) -> float:
    found = as_number("max_cost", cost)
    if not 0 < found < math.inf:
        raise InvalidValue(f"max_cost must be a positive, finite number, got max_cost={shown(cost)}")
    return found


def _checked_duration(duration: Any) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else as_number("max_duration", duration)
    if not seconds > 0:
        raise InvalidValue(f"max_duration must be a positive number of seconds, got max_duration={shown(duration)}")
    return seconds


class _Config:
    """Frozen dataclasses that normalise what they are given, and go to a plain dict and back."""

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The config that `to_dict` described.

        Raises:
            InvalidValue: an unknown field, or a value that is not allowed.
        """
        known = list(cls.__dataclass_fields__)  # type: ignore[attr-defined]
        for name in fields:
            if name not in known:
                raise InvalidValue(f"{cls.__name__} has no field {name!r}; it has {known}")
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class PruningConfig(_Config):
    """When a trial is given up, judged by what it reports.

    Args:
        strategy: which pruner, see its class for what it does: "median" (`MedianPruner`), "percentile"
            (`PercentilePruner`), "threshold" (`ThresholdPruner`), "patient" (`PatientPruner`, where patience decides
            alone), "wilcoxon" (`WilcoxonPruner`), or "successive_halving" (`SuccessiveHalvingPruner`).
        min_steps: no pruning while a trial's step is smaller (median, percentile, threshold).
        percentile: 0 to 1 (percentile): the share of trials that is good enough to go on; 0.25 keeps the best quarter,
            0.5 is the median. (`PercentilePruner` itself takes 0 to 100.)
        n_startup_trials: no pruning before so many trials have ended, completed or pruned (median, percentile).
        lower, upper: the values allowed (threshold); None: no bound.
        patience: how many reports may pass without getting better (patient).
        min_delta: getting better means by more than this (patient).
        p_threshold: 0 to 1; the larger, the more is pruned (wilcoxon).
        n_startup_steps: no pruning of a trial with fewer steps in common with the best one (wilcoxon).
        min_resource: the step of the first rung (successive_halving).
        reduction_factor: one in so many trials passes a rung (successive_halving).

    Raises:
        InvalidValue: an argument is out of its range, or would have no effect on the chosen strategy.

    Example:
        >>> PruningConfig(strategy="percentile", percentile=0.25).make_pruner().percentile
        25.0
    """

    strategy: str = "median"
    min_steps: int = 0
    percentile: float = 0.5
    n_startup_trials: int = 5
    lower: float | None = None
    upper: float | None = None
    patience: int = 5
    min_delta: float = 0.0
    p_threshold: float = 0.1
    n_startup_steps: int = 2
    min_resource: int = 1
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        self._set(strategy=plain(self.strategy))
        if not isinstance(self.strategy, str) or self.strategy not in PRUNING_STRATEGIES:
            raise InvalidValue(
                f"strategy must be one of {list(PRUNING_STRATEGIES)}, got strategy={shown(self.strategy)}"
            )
        self._set(percentile=self._checked_share())
        used = PRUNING_STRATEGIES[self.strategy]
        for name, field in type(self).__dataclass_fields__.items():
            value = getattr(self, name)
            if name != "strategy" and name not in used and (type(value) is bool or value != field.default):
                users = [f'strategy="{other}"' for other, names in PRUNING_STRATEGIES.items() if name in names]
                raise InvalidValue(
                    f'{name} has no effect for strategy="{self.strategy}", got {name}={shown(value)}; '
                    f"it is for {' and '.join(users)}"
                )
        options = self.make_pruner().options()  # the pruner checks what it is given
        self._set(**{name: options[name] for name in used if name != "percentile"})

    def _checked_share(self) -> float:
        share = as_number("percentile", self.percentile)
        if 1 < share <= 100:
            raise InvalidValue(
                f"PruningConfig takes a percentile from 0 to 1, got percentile={share:g}; did you mean {share / 100:g}?"
            )
        if not 0 <= share <= 1 or 0 < share < 0.01:
            raise InvalidValue(f"percentile must be 0, or between 0.01 and 1, got percentile={share:g}")
        if self.strategy == "median" and share != 0.5:
            raise InvalidValue(
                f'percentile must be 0.5 for strategy="median", got percentile={share:g}; '
                'use strategy="percentile" for any other'
            )
        return share

    def make_pruner(self) -> Pruner:
        """A new pruner of this kind."""
        options = {name: getattr(self, name) for name in PRUNING_STRATEGIES[self.strategy]}
        if self.strategy == "percentile":
            options["percentile"] = round(100 * self.percentile, 10)  # 100 * 0.29 is 28.999999999999996
        if self.strategy == "patient":
            options["wrapped_pruner"] = None
        return pruners.builtin()[self.strategy](**options)

    def to_dict(self) -> dict[str, Any]:
        """The config in plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig(_Config):
    """When a training loop stops because it no longer gets better; see `EarlyStopping`.

    Args:
        patience: how many values in a row may fail to improve on the best one; at that many the loop stops.
        min_delta: an improvement must be larger than this, in the unit of the value.
        restore_best_weights: keep a copy of the weights at the best value.

    Raises:
        InvalidValue: patience below 1, or min_delta negative or not finite.
    """

    patience: int = 5
    min_delta: float = 0.0
    restore_best_weights: bool = True

    def __post_init__(self) -> None:
        delta = as_number("min_delta", self.min_delta)
        if not 0 <= delta < math.inf:
            raise InvalidValue(f"min_delta must be finite and not negative, got min_delta={delta}")
        self._set(
            patience=check_count("patience", self.patience, 1),
            min_delta=delta,
            restore_best_weights=check_flag("restore_best_weights", self.restore_best_weights),
        )

    def to_dict(self) -> dict[str, Any]:
        """The config in plain values."""
        return asdict(self)


_LEAST_GAIN, _LEAST_SHARE = 0.003, 0.03  # improvements that count; see benchmarks/ABLATIONS.md


@dataclass(frozen=True, kw_only=True)
class NoImprovement(_Config):
    """When a study has dried up: when its last trials have brought no improvement that is worth their cost.

    It has as soon as, of n trials that completed or were pruned, the last max(patience, share * n) have improved the
    best value by no more than min_improvement times the spread, which is the distance from the median of the first 20
    trials with a value to the best. The trials before them have to hold a best value. With several objectives the
    hypervolume of the front has to grow by that share of it, up to a reference point a tenth beyond that median, or
    beyond the worst on the front.

    Failed trials do not count, nor do running and paused ones. Trials are taken in the order in which they ended, so a
    study that is loaded again, or has many workers, decides by its trials alone. Beyond 200 trials the rule is looked
    at each time that their number has grown by a hundredth.

    How often it is wrong: with min_improvement=0 it ends a search that is no better than random search, and so goes on
    improving for ever, at any one look with a probability of at most 1 - share, whatever the objective is, if its
    values differ. (The best of n values drawn alike is among the first k with probability k / n.) All looks together
    end it within 400 trials with a probability of 0.97 (patience=60, share=0.5), 0.92 (100, 0.5), 0.45 (100, 0.8), or
    0.29 (50, 0.9). A search that learns is to be judged by what it would still have found. On 76 public tasks
    (`AutoSampler`, 400 trials, 3 seeds each) the defaults saved 48 % of the trials. What that gave up was 2 % of the
    distance from the best of 20 random trials to the best known value on average, and more than 5 % of it in 7.0 % of
    the studies; in four of six families of tasks it was 0 to 2 %, in two 4 and 8 %. On 15 tasks of two and three
    objectives (`TPESampler`, one seed) they saved 17 % of the trials, for 0.7 % of the hypervolume, at most 4 %.

    Args:
        patience: how many trials at least may pass without an improvement.
        share: which share of all trials may pass so at least, from 0 to less than 1.
        min_improvement: a smaller one does not count, see above; 0: every one counts. None: 0.003, or with several
            objectives 0.03.

    Raises:
        InvalidValue: patience below 1, or share or min_improvement out of its range.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(-5.0, 5.0)}, sampler=fasthpo.TPESampler(seed=0))
        >>> stop = fasthpo.NoImprovement(patience=30)
        >>> while not stop.is_reached(study):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, round((trial["x"] - 2) ** 2, 2))
        >>> study.best_value < 0.05 and len(study) < 200
        True
    """

    patience: int = 100
    share: float = 0.5
    min_improvement: float | None = None

    def __post_init__(self) -> None:
        share = as_number("share", self.share)
        least = None if self.min_improvement is None else as_number("min_improvement", self.min_improvement)
        if not 0 <= share < 1:
            raise InvalidValue(f"share must be from 0 to less than 1, got share={share}")
        if least is not None and not 0 <= least < math.inf:
            raise InvalidValue(f"min_improvement must be finite and not negative, got min_improvement={least}")
        self._set(
            patience=check_count("patience", self.patience, 1),
            share=share,
            min_improvement=least,
        )

    def is_reached(self, study: StudyReader) -> bool:
        """Whether a study has dried up.

        Raises:
            InvalidValue: it is no study.
        """
        from fasthpo.analysis.trial_data import check_study
        from fasthpo.tuner.no_improvement import counted, last_gain, scheduled, window

        check_study(study)
        with study._lock:
            table = study.table
            count = scheduled(counted(table))
            last = window(count, self.patience, self.share)
            if count <= last:
                return False
            gain = last_gain(table, count, last)
        least = self.min_improvement
        if least is None:
            least = _LEAST_GAIN if table.objectives.count == 1 else _LEAST_SHARE
        return gain is not None and gain <= least

    def to_dict(self) -> dict[str, Any]:
        """The condition in plain values."""
        return asdict(self)


_NESTED: dict[str, type[_Config]] = {
    "pruning": PruningConfig,
    "early_stopping": EarlyStoppingConfig,
    "stop_when": NoImprovement,
}


@dataclass(frozen=True)
class TunerConfig(_Config):
    """What a `HyperparameterTuner` does, and for how long.

    A study needs an end: `max_trials`, `max_duration`, `max_cost`, `max_total_resource`, or a finite space or grid.
    `max_duration=math.inf` says that it is to run until `tuner.stop()` or Ctrl-C.

    Args:
        study_name: names the study and its directory `output_dir/study_name`.
        direction: "minimize" or "maximize"; of several objectives a list with one of these for each.
        objective_metric: which metric is the objective, when the objective function returns a mapping of metrics; of
            several objectives a list of as many names as there are directions.
        constraints: limits that a trial's metrics must keep, such as ["memory_gb <= 8", "accuracy >= 0.9"], so that the
            trial may be the best or on the front: a metric that the objective function returns, or an objective by its
            name; <= or >=; and a number. A trial without the metric fails. See `Study.tell` for what they do.
        noisy: evaluate what looks best again before it is believed, as of `Study`; for one objective.
        learn_from: the paths of earlier studies of related tasks, at good points of which this one starts, as of
            `Study`. They must be there when a tuner is made.
        max_trials: how many trials the study may have in all, resumed ones included. Under a multi-fidelity strategy
            those that are paused then still go on, so that the best is trained to the end.
        max_duration: seconds (or a `timedelta`) after which `optimize` starts no new trial, counted for each call
            anew. A running trial is not cut off.
        max_cost: what all trials together may cost, resumed ones included: no trial starts once the study has cost as
            much (`Study.cost_spent`). A trial's cost is the metric `cost` that the objective returns, in any unit; if
            none returns it, the seconds that the trial ran.
        max_total_resource: how much resource all trials together may cost, under a multi-fidelity strategy. The run
            ends before the first training that would cost more than is left.
        stop_when: ends the run once the study has dried up (`NoImprovement`); the trials that run then still end, and
            under a multi-fidelity strategy paused ones stay paused. Any other limit holds, too.
        max_consecutive_failures: after how many failed trials in a row `optimize` starts no new trial; None: it goes
            on. They are counted in the order in which trials end, whatever number of workers runs them, for each call
            of `optimize` anew; a trial that is tried again (`retries`) counts once, when it has failed for good. Any
            other end of a trial begins the count anew: its value, being pruned, a pause between rungs.
        max_initial_failures: after how many failed trials `optimize` raises `AllTrialsFailed` if the study has no other
            trial that has ended, those before a resume included; None: never.
        pruning: when trials are given up (of several objectives the strategies "median", "percentile" and
            "successive_halving" can); None: never, unless the objective raises `TrialPruned` of its own accord.
        early_stopping: what `tuner.early_stopping()` hands to a training loop.
        output_dir: the directory that holds the study's directory; `~` at its beginning is the home directory.
        save_checkpoints: keep the study in its directory, every trial from the first one on (see `Study`), and write
            `trial_history.json`, `statistics.json` and `best_parameters.json` at the end of each run. Without it
            nothing is written, unless `tuner.save_checkpoint()` is called.
        keep_checkpoints: which trials' weights (`trial.checkpoint_dir`) stay: "all", "best" for those of the best
            completed trial, or n for those of the n best; the others' are removed as the study goes. Trials that run,
            or are paused and may still be promoted, keep theirs.
        seed: the seed of the sampler that `HyperparameterTuner.with_...` makes, 0 to 2**64 - 1; None draws one.
        compress_history: write `trial_history.json.gz` instead of `trial_history.json`.
        overwrite: replace a study that `output_dir/study_name` holds already, instead of refusing to.

    Raises:
        InvalidValue: a name that is no portable name of a directory, or any other argument out of its range.

    Example:
        >>> config = TunerConfig("my_study", direction="maximize", objective_metric="eval_accuracy", max_trials=50)
        >>> config.study_dir.as_posix()
        'hyperopt_results/my_study'
    """

    study_name: str
    _: KW_ONLY
    direction: str | Sequence[str] = "minimize"
    objective_metric: str | Sequence[str] | None = None
    constraints: Sequence[str] = ()
    noisy: bool = False
    learn_from: Sequence[str | Path] = ()
    max_trials: int | None = None
    max_duration: float | timedelta | None = None
    max_cost: float | None = None
    max_total_resource: int | None = None
    stop_when: NoImprovement | None = None
    max_consecutive_failures: int | None = None
    max_initial_failures: int | None = 10
    pruning: PruningConfig | None = None
    early_stopping: EarlyStoppingConfig | None = None
    output_dir: str | Path = "./hyperopt_results"
    save_checkpoints: bool = False
    keep_checkpoints: Keep = "all"
    seed: int | None = None
    compress_history: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        directions = _checked_directions(self.direction)
        metrics = _checked_metrics(self.objective_metric, len(directions))
        for name, kind in _NESTED.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise InvalidValue(f"{name} must be None or a {kind.__name__}, got {name}={shown(value)}")
        self._set(
            study_name=_checked_name(self.study_name),
            objective_metric=metrics if metrics is None or len(metrics) > 1 else metrics[0],
            direction=directions if len(directions) > 1 else directions[0],
            constraints=_checked_constraints(self.constraints),
            learn_from=_checked_paths(self.learn_from),
            max_duration=None if self.max_duration is None else _checked_duration(self.max_duration),
            max_cost=None if self.max_cost is None else _checked_cost(self.max_cost),
            output_dir=given_path("output_dir", self.output_dir, "the path of a directory"),
            keep_checkpoints=check_keep(self.keep_checkpoints),
            seed=None if self.seed is None else check_seed(self.seed),
        )
        for name in ("max_trials", "max_total_resource", "max_consecutive_failures", "max_initial_failures"):
            value = getattr(self, name)
            self._set(**{name: None if value is None else check_count(name, value, 1)})
        for name in ("noisy", "save_checkpoints", "compress_history", "overwrite"):
            self._set(**{name: check_flag(name, getattr(self, name))})
        if len(directions) > 1:
            self._refuse_what_needs_one_objective(len(directions))

    def _refuse_what_needs_one_objective(self, count: int) -> None:
        if self.early_stopping is not None:
            hint = "give a training loop an EarlyStopping(config, direction) of its own"
            raise InvalidValue(f"early_stopping needs one objective, got {count} directions: {hint}")
        if self.pruning is not None and not self.pruning.make_pruner().has_several_objectives:
            raise InvalidValue(
                f'pruning with strategy="{self.pruning.strategy}" needs one objective, got {count} directions; '
                '"median", "percentile" and "successive_halving" work on several'
            )
        if self.keep_checkpoints not in ("all", "best"):
            raise InvalidValue(
                f"with {count} objectives keep_checkpoints must be 'all', or 'best' for the trials on the front, got "
                f"keep_checkpoints={self.keep_checkpoints!r}"
            )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of each objective, (m,)."""
        return (self.direction,) if isinstance(self.direction, str) else tuple(self.direction)  # type: ignore[return-value,arg-type]

    @property
    def objective_metrics(self) -> tuple[str, ...] | None:
        """The metrics that are the objectives, (m,); None if none was named."""
        names = self.objective_metric
        return None if names is None else (names,) if isinstance(names, str) else tuple(names)

    @property
    def limits(self) -> tuple[MetricLimit, ...]:
        """The constraints, read."""
        return tuple(MetricLimit.of(text) for text in self.constraints)

    @property
    def study_dir(self) -> Path:
        """The study's directory, `output_dir/study_name`."""
        return Path(self.output_dir) / self.study_name

    @property
    def max_seconds(self) -> float:
        """`max_duration` in seconds; infinite if there is none."""
        if self.max_duration is None:
            return math.inf
        assert isinstance(self.max_duration, float)  # a timedelta became seconds on construction
        return self.max_duration

    def to_dict(self) -> dict[str, Any]:
        """The config in plain values; `from_dict` reads it."""
        fields = {**asdict(self), "output_dir": str(self.output_dir)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        made = {name: kind.from_dict(fields[name]) for name, kind in _NESTED.items() if fields.get(name) is not None}
        return super().from_dict({**fields, **made})
