"""The tuner: runs an objective through a study."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from fasthpo.callbacks import HyperparameterCallback, LoggingCallback
from fasthpo.config import TunerConfig
from fasthpo.early_stopping import EarlyStopping
from fasthpo.errors import (
    AllTrialsFailed,
    InvalidValue,
    SpaceExhausted,
    StudyExists,
    TrialPruned,
    TrialStateError,
)
from fasthpo.interrupts import Interrupts
from fasthpo.objective import Objective, Outcome, read_outcome, traceback_text
from fasthpo.progress import Progress
from fasthpo.results import StopReason, StudyStatistics, TuningResult, busy_seconds
from fasthpo.resuming import resumed
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.search_space import SearchSpace
from fasthpo.storage.checkpoints import DIRECTORY
from fasthpo.storage.export import export_study
from fasthpo.storage.snapshot import FILE_NAME
from fasthpo.strategies.asha import ASHA
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.hyperband import Hyperband
from fasthpo.strategies.single_fidelity import BayesianOptimization, GridSearch, RandomSearch
from fasthpo.strategies.successive_halving import SuccessiveHalving
from fasthpo.study import Study
from fasthpo.trial import Trial, TrialState

logger = logging.getLogger("fasthpo")

_HOPELESS = 10  # trials that have all failed before the study gives up
_SAVE_INTERVAL = 30.0  # seconds between two checkpoints, at least
_SAVE_SHARE = 20  # and at least so many times what writing the last one took


class HyperparameterTuner:
    """Calls an objective with one trial after the other and keeps what comes out.

    Nothing is written to disk before `optimize`. `tuner.study` is the study behind it, for `enqueue`, `add_trials`
    and everything else that a `Study` does.

    Args:
        config: what to do and for how long.
        space: what to search.
        strategy: which trial next, such as `RandomSearch(seed=0)`.

    Raises:
        InvalidValue: an argument of the wrong kind, or a seed in `config`, which the strategy could not follow.
        InvalidSearchSpace: not a search space, or one that the strategy can't work on.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0)})
        >>> config = fasthpo.TunerConfig("parabola", max_trials=30, seed=0)
        >>> tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space)
        >>> result = tuner.optimize(lambda trial: (trial["x"] - 2) ** 2)
        >>> result.stop_reason == "max_trials" and abs(result.best_params["x"] - 2) < 0.5
        True
    """

    def __init__(self, config: TunerConfig, space: SearchSpace | Mapping[str, Any], strategy: Strategy) -> None:
        if not isinstance(config, TunerConfig):
            raise InvalidValue(f"config must be a TunerConfig, got {config!r}")
        if not isinstance(strategy, Strategy):
            raise InvalidValue(f"strategy must be a Strategy, such as RandomSearch(seed=0), got {strategy!r}")
        if config.seed is not None and config.seed != strategy.sampler.seed:
            raise InvalidValue(
                f"the strategy has a seed of its own, {strategy.sampler.seed}, so config.seed={config.seed} would have "
                "no effect: give the seed to the strategy"
            )
        if config.max_total_resource is not None and not strategy.is_multi_fidelity:
            raise InvalidValue(
                f"max_total_resource needs a strategy that knows of resources, such as Hyperband, got "
                f"{type(strategy).__name__}"
            )
        pruner = None if config.pruning is None else config.pruning.make_pruner()
        self._config = config
        self._study = Study(space, strategy=strategy, direction=config.direction, pruner=pruner)
        self._logging = LoggingCallback()
        self._callbacks: list[HyperparameterCallback] = [self._logging]
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self._seconds = 0.0  # that optimize has run
        self._owned: Path | None = None  # the checkpoint that this tuner wrote or read

    @classmethod
    def with_bayesian_optimization(cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any]) -> Self:
        """A tuner that searches with a tree-structured Parzen estimator, seeded by `config.seed`."""
        return cls(config, space, BayesianOptimization(seed=config.seed))

    @classmethod
    def with_random_search(cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any]) -> Self:
        """A tuner that draws every trial at random, seeded by `config.seed`."""
        return cls(config, space, RandomSearch(seed=config.seed))

    @classmethod
    def with_grid_search(cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any]) -> Self:
        """A tuner that tries every point of a grid, in order; continuous parameters need `n_points` or a step."""
        return cls(config, space, GridSearch(seed=config.seed))

    @classmethod
    def with_successive_halving(
        cls,
        config: TunerConfig,
        space: SearchSpace | Mapping[str, Any],
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
    ) -> Self:
        """A tuner that trains many trials a little and the best of them further; see `SuccessiveHalving`.

        `sampler` is by default random search seeded by `config.seed`.
        """
        sampler = sampler or RandomSampler(config.seed)
        return cls(config, space, SuccessiveHalving(max_resource, min_resource, reduction_factor, sampler, resumable))

    @classmethod
    def with_hyperband(
        cls,
        config: TunerConfig,
        space: SearchSpace | Mapping[str, Any],
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
        asynchronous: bool = False,
    ) -> Self:
        """A tuner that runs brackets of successive halving; see `Hyperband`. `sampler=TPESampler()` makes it BOHB.

        `sampler` is by default random search seeded by `config.seed`.
        """
        sampler = sampler or RandomSampler(config.seed)
        strategy = Hyperband(max_resource, min_resource, reduction_factor, sampler, resumable, asynchronous)
        return cls(config, space, strategy)

    @classmethod
    def with_asha(
        cls,
        config: TunerConfig,
        space: SearchSpace | Mapping[str, Any],
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
    ) -> Self:
        """A tuner that promotes trials as soon as they are among the best of their rung; see `ASHA`.

        `sampler` is by default random search seeded by `config.seed`.
        """
        sampler = sampler or RandomSampler(config.seed)
        return cls(config, space, ASHA(max_resource, min_resource, reduction_factor, sampler, resumable))

    @property
    def config(self) -> TunerConfig:
        """The config it was made with."""
        return self._config

    @property
    def study(self) -> Study:
        """The study behind the tuner."""
        return self._study

    # --- callbacks

    def add_callback(self, callback: HyperparameterCallback) -> Self:
        """Have `callback` told what happens; the tuner, so that calls can be chained.

        Callbacks are called in the order in which they were added. A `LoggingCallback` takes the place of the one
        that every tuner begins with.

        Raises:
            InvalidValue: not an instance of `HyperparameterCallback`.
        """
        if not isinstance(callback, HyperparameterCallback):
            raise InvalidValue(f"callback must be an instance of HyperparameterCallback, got {callback!r}")
        if isinstance(callback, LoggingCallback) and self._logging in self._callbacks:
            self._callbacks.remove(self._logging)
        self._callbacks.append(callback)
        return self

    def remove_callback(self, callback: HyperparameterCallback | type[HyperparameterCallback]) -> Self:
        """Take a callback out, or all callbacks of a class; the tuner.

        Raises:
            InvalidValue: there is no such callback.
        """
        gone = [one for one in self._callbacks if one is callback or type(one) is callback]
        if not gone:
            raise InvalidValue(f"the tuner has no callback {callback!r}; it has {self._callbacks}")
        self._callbacks = [one for one in self._callbacks if one not in gone]
        return self

    def _notify(self, hook: str, *arguments: Any) -> None:
        for callback in tuple(self._callbacks):
            getattr(callback, hook)(*arguments)

    # --- for objectives

    def early_stopping(self) -> EarlyStopping:
        """A new `EarlyStopping` for one trial, from `config.early_stopping` and the study's direction.

        Raises:
            InvalidValue: the config has none.
        """
        if self._config.early_stopping is None:
            raise InvalidValue(
                "no early stopping was configured: TunerConfig(..., early_stopping=EarlyStoppingConfig())"
            )
        return EarlyStopping(self._config.early_stopping, self._config.direction)

    def stop(self) -> None:
        """End the run after the trial that is running; from a callback, the objective, or another thread."""
        self._stop.set()

    # --- the run

    def optimize(self, objective: Objective, workers: int = 1) -> TuningResult:
        """Run trials until the study is finished. Called again it goes on.

        A trial fails, and the study goes on, if the objective raises an exception, returns NaN, anything that is no
        result, or `TrialResult.failure`. Raising `TrialPruned` prunes it. Ctrl-C ends the run as `stop` does, but at
        once: the trial that was running fails.

        Args:
            objective: called with a `Trial`, which is also a mapping of its parameters. Returns a number, a mapping
                of metrics (`config.objective_metric` names the objective), or a `TrialResult`.
            workers: how many trials run at the same time; so far only 1.

        Raises:
            InvalidValue: the study would never end, or an argument is wrong.
            StudyExists: the study's directory holds another study.
            AllTrialsFailed: at least 10 trials have run and every one has failed; its cause is the last failure.
            OSError: files can't be written.
        """
        if not callable(objective):
            raise InvalidValue(f"objective must be callable with a trial, got {objective!r}")
        if isinstance(workers, bool) or workers != 1:
            raise InvalidValue(f"workers must be 1, got workers={workers!r}; more at a time is yet to come")
        total = self._expected_trials()
        if not self._busy.acquire(blocking=False):
            raise TrialStateError("optimize is running already; call it again when it has returned")
        try:
            self._refuse_other_study()
            if self._config.save_checkpoints:
                self._config.study_dir.mkdir(parents=True, exist_ok=True)  # finds out now whether it can be written
                self._keep_weights()
            return self._run(objective, total)
        finally:
            self._busy.release()

    def _expected_trials(self) -> int | None:
        """How many trials there will be in all, None if only time or a stop ends them."""
        space, sampler = self._study.space, self._study.sampler
        limits = [self._config.max_trials, space.size, sampler.draw_limit(space)]
        known = [limit for limit in limits if limit is not None]
        if not known and self._config.max_duration is None and self._config.max_total_resource is None:
            raise InvalidValue(
                "the search space is infinite, so the study would never end: set TunerConfig(max_trials=...) or "
                "max_duration (math.inf to run until Ctrl-C or tuner.stop()), or under a multi-fidelity strategy "
                "max_total_resource"
            )
        return min(known, default=None)

    def _run(self, objective: Objective, total: int | None) -> TuningResult:
        config, table = self._config, self._study.table
        begin = time.monotonic()
        before = self._seconds
        reason: StopReason | None = None
        failure: BaseException | None = None
        self._stop.clear()
        with Interrupts() as interrupts, Progress(config.study_name, table, total, config.max_seconds) as progress:
            try:
                interrupts.allow()
                self._notify("on_study_start", config)
                reason = self._run_trials(objective, interrupts, progress, begin)
            except KeyboardInterrupt:
                reason = StopReason.INTERRUPTED
            except BaseException as raised:
                failure = raised
            interrupts.hold()
            self._seconds = before + time.monotonic() - begin
            statistics = StudyStatistics.of(self._study, self._seconds)
            # each of these happens, whatever went wrong before; the first error is the one that is raised
            ends: list[Callable[[], object]] = [lambda: self._write_files(statistics, reason)]
            ends += [lambda one=one: one.on_study_end(config, statistics) for one in self._callbacks]  # type: ignore[misc]
            for end in ends:
                try:
                    end()
                except Exception as raised:
                    if failure is None:
                        failure = raised
                    else:
                        logger.exception("while the run was ending because of %r", failure)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame
        assert reason is not None
        return TuningResult(self._study, config.study_name, statistics, reason)

    def _run_trials(self, objective: Objective, interrupts: Interrupts, progress: Progress, begin: float) -> StopReason:
        config, counts, study = self._config, self._study.table.counts, self._study
        next_save = begin + _SAVE_INTERVAL
        while True:
            interrupts.allow()  # raises a Ctrl-C that came meanwhile
            interrupts.hold()
            now = time.monotonic()
            if self._stop.is_set():
                return StopReason.STOPPED
            full = config.max_trials is not None and len(study) - counts[TrialState.WAITING] >= config.max_trials
            if now - begin >= config.max_seconds:
                return StopReason.MAX_DURATION
            if config.save_checkpoints and now >= next_save:
                self._save_meanwhile()
                took = time.monotonic() - now
                next_save = now + took + max(_SAVE_INTERVAL, _SAVE_SHARE * took)
            limit = math.inf if config.max_total_resource is None else config.max_total_resource
            try:
                trial = study.ask_within(limit - study.resource_committed, new=not full)
            except SpaceExhausted as end:
                logger.info("the study ends: %s", end)
                return StopReason.SPACE_EXHAUSTED
            if trial is None:
                return self._why_ended(full)
            self._run_trial(objective, trial, interrupts)
            progress.update()

    def _why_ended(self, full: bool) -> StopReason:
        """Why there is no next trial, when no trial is running."""
        strategy = self._study.strategy
        if full and (strategy is None or not strategy.is_multi_fidelity or strategy.next_leg(new=False) is None):
            return StopReason.MAX_TRIALS
        return StopReason.MAX_TOTAL_RESOURCE

    def _run_trial(self, objective: Objective, trial: Trial, interrupts: Interrupts) -> None:
        """One trial from start to end. Only what must end the run is raised; the trial has ended then, too."""
        cause: BaseException | None = None
        pruned: str | None = None
        try:
            interrupts.allow()
            self._notify("on_trial_start", trial)
            try:
                outcome = read_outcome(objective(trial), self._config.objective_metric)
            except TrialPruned as raised:
                pruned = str(raised) or self._why_pruned(trial)
            except Exception as raised:
                outcome = Outcome(None, {}, traceback_text(raised))
                cause = raised
            interrupts.hold()
        except BaseException as raised:  # Ctrl-C, SystemExit, or a callback's error
            interrupts.hold()
            interrupted = isinstance(raised, KeyboardInterrupt)
            self._study.tell(
                trial, state=TrialState.FAILED, error="interrupted" if interrupted else traceback_text(raised)
            )
            if interrupted:
                self._notify("on_trial_failed", trial, "interrupted")
            raise
        try:
            if pruned is not None:
                self._study.tell(trial, state=TrialState.PRUNED)
                interrupts.allow()
                self._notify("on_trial_pruned", trial, pruned)
            elif outcome.error is not None:
                self._study.tell(trial, state=TrialState.FAILED, metrics=outcome.metrics, error=outcome.error)
                interrupts.allow()
                self._notify("on_trial_failed", trial, outcome.error)
                self._give_up_if_hopeless(outcome.error, cause)
            else:
                self._complete(trial, outcome, interrupts)
        finally:
            interrupts.hold()
            cause = None  # its traceback refers to this frame and, through the objective's, to tensors on a GPU

    def _complete(self, trial: Trial, outcome: Outcome, interrupts: Interrupts) -> None:
        table = self._study.table
        best = None if table.best_number is None else table.values[table.best_number]
        state = self._study.tell(trial, outcome.value, metrics=outcome.metrics)
        interrupts.allow()
        if state == TrialState.PAUSED:
            self._notify("on_trial_paused", trial)
            return
        if table.best_number == trial.number:
            improvement = float("inf") if best is None else abs(float(table.values[trial.number] - best))
            if improvement > 0:  # of equal values the lower number is best, which a resumed trial may have
                self._notify("on_new_best", trial, improvement)
        self._notify("on_trial_complete", trial)

    def _why_pruned(self, trial: Trial) -> str:
        reports = self._study.table.reports
        last = reports.latest(trial.number)
        where = f"at step {reports.step[last]}" if last >= 0 else "before its first report"
        pruner = self._study.pruner
        return f"{where}, by {'the objective' if pruner is None else type(pruner).__name__}"

    def _give_up_if_hopeless(self, error: str, cause: BaseException | None) -> None:
        counts = self._study.table.counts
        failed = counts[TrialState.FAILED]
        if failed >= _HOPELESS and not counts[TrialState.COMPLETE] and not counts[TrialState.PRUNED]:
            last = (error.strip().splitlines() or [""])[-1]
            raise AllTrialsFailed(f"all {failed} trials have failed, the last one with: {last}") from cause

    # --- files

    @property
    def _checkpoint(self) -> Path:
        return self._config.study_dir / FILE_NAME

    def _refuse_other_study(self) -> None:
        path = self._checkpoint
        if self._config.overwrite or not path.exists() or self._owned == path.resolve():
            return
        raise StudyExists(
            f"{self._config.study_dir} holds a study already; go on with it by "
            f"tuner.load_checkpoint({str(path)!r}), choose another study_name, or set TunerConfig(overwrite=True)"
        )

    def _keep_weights(self) -> None:
        """Have trials keep their weights in the study's directory; those of a study that was there before go."""
        root = self._config.study_dir / DIRECTORY
        if not len(self._study):
            shutil.rmtree(root, ignore_errors=True)
        self._study.checkpoints.move_to(root)

    def save_checkpoint(self) -> Path:
        """Write the study to `checkpoint.msgpack` in its directory, whatever `save_checkpoints` says; the file's path.

        Raises:
            StudyExists: the directory holds another study.
            OSError: the file can't be written.
        """
        self._refuse_other_study()
        self._config.study_dir.mkdir(parents=True, exist_ok=True)
        path = self._study.save(self._checkpoint)
        self._owned = path.resolve()
        return path

    def _save_meanwhile(self) -> None:
        try:
            self.save_checkpoint()
        except OSError as error:  # a disk may be full for a while; the study goes on
            logger.warning("the checkpoint was not written, and is tried again later: %s", error)

    def _write_files(self, statistics: StudyStatistics, reason: StopReason | None) -> None:
        if not self._config.save_checkpoints:
            return
        self.save_checkpoint()
        numbers = {**statistics.to_dict(), "stop_reason": reason}
        export_study(
            self._config.study_dir, self._study.table, self._config.study_name, numbers, self._config.compress_history
        )

    def load_checkpoint(self, path: str | Path) -> Self:
        """Go on with a saved study; the tuner.

        The checkpoint's sampler goes on with its own seed and options, so that nothing is drawn twice, if it is of
        the kind that this tuner's strategy has; else the tuner's takes over. Pruning is as this tuner's config says.
        Trials that were running when the study was saved are run again first.

        Args:
            path: a checkpoint file, or a study's directory.

        Raises:
            TrialStateError: this tuner has trials already, or is running.
            FileNotFoundError: there is no such file.
            CorruptCheckpoint: the file is damaged, or its search space or direction differs from this tuner's.
        """
        if self._busy.locked():
            raise TrialStateError("load_checkpoint must come before optimize, which is running")
        if len(self._study):
            raise TrialStateError(
                f"load_checkpoint must come before the first trial, but this tuner has {len(self._study)}"
            )
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        self._study = resumed(self._study, path, self._config.seed)
        self._study.checkpoints.move_to(path.parent / DIRECTORY)
        self._seconds = busy_seconds(self._study.table)
        self._owned = path.resolve()
        return self
