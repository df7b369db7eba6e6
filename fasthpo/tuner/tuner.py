"""The tuner: runs an objective through a study."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from fasthpo.errors import InvalidValue, TrialStateError
from fasthpo.execution.forks import forks_end
from fasthpo.execution.interrupts import Interrupts
from fasthpo.execution.objective import Objective, OutcomeSpec
from fasthpo.execution.options import Execution
from fasthpo.execution.study_server import StudyServer
from fasthpo.samplers.auto import AutoSampler
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.asha import ASHA
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.hyperband import Hyperband
from fasthpo.strategies.single_fidelity import GridSearch, RandomSearch
from fasthpo.strategies.successive_halving import SuccessiveHalving
from fasthpo.study.study import Study
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.log import RepeatedWarnings, logger
from fasthpo.system.paths import given_path
from fasthpo.tuner.callbacks import HyperparameterCallback, LoggingCallback
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.directory import StudyFiles
from fasthpo.tuner.early_stopping import EarlyStopping
from fasthpo.tuner.in_worker import early_stopping, reduced_tuner
from fasthpo.tuner.progress import Progress
from fasthpo.tuner.results import StopReason, StudyStatistics, TuningResult, busy_seconds
from fasthpo.tuner.resuming import Wanted
from fasthpo.tuner.run import Run
from fasthpo.values import check_flag, shown


class HyperparameterTuner:
    """Calls an objective with one trial after the other and keeps what comes out.

    Nothing is written to disk before `optimize`. `tuner.study` is the study behind it, for `enqueue`, `add_trials`
    and everything else that a `Study` does.

    Args:
        config: what to do and for how long.
        space: what to search; None: what the objective asks for, by `trial.suggest_float` and its kin, see `Study`.
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

    def __init__(self, config: TunerConfig, space: SearchSpace | Mapping[str, Any] | None, strategy: Strategy) -> None:
        if not isinstance(config, TunerConfig):
            raise InvalidValue(f"config must be a TunerConfig, got {shown(config)}")
        if not isinstance(strategy, Strategy):
            hint = ": Strategy(sampler) makes one of a sampler" if isinstance(strategy, Sampler) else ""
            raise InvalidValue(
                f"strategy must be a Strategy, such as RandomSearch(seed=0), got {shown(strategy)}{hint}"
            )
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
        if config.max_total_resource is not None and config.max_total_resource < strategy.max_resource:
            raise InvalidValue(
                "max_total_resource must be at least the strategy's max_resource, or no trial could be trained to the "
                f"end, got max_total_resource={config.max_total_resource}, max_resource={strategy.max_resource}"
            )
        pruner = None if config.pruning is None else config.pruning.make_pruner()
        self._config = config
        self._files = StudyFiles(config)
        self._study = Study(
            space,
            strategy=strategy,
            directions=config.directions,
            pruner=pruner,
            noisy=config.noisy,
            # one that is there already knows what it learns from, and the earlier ones may be gone
            learn_from=() if config.learn_from and self._files.hold_a_study() else config.learn_from,
        )
        self._logging = LoggingCallback()
        self._callbacks: list[HyperparameterCallback] = [self._logging]
        self._stop = threading.Event()
        self._busy = threading.Lock()
        renew_in_forked(self, _stop=threading.Event)
        self._seconds = 0.0  # that optimize has run
        self._left: list[int] = []  # numbers of trials that were running when a signal ended a run

    @classmethod
    def with_bayesian_optimization(
        cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any] | None = None
    ) -> Self:
        """A tuner that learns where to look from the trials so far (see `AutoSampler`), seeded by `config.seed`."""
        return cls(config, space, Strategy(AutoSampler(config.seed)))

    @classmethod
    def with_random_search(cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any] | None = None) -> Self:
        """A tuner that draws every trial at random, seeded by `config.seed`."""
        return cls(config, space, RandomSearch(seed=config.seed))

    @classmethod
    def with_grid_search(cls, config: TunerConfig, space: SearchSpace | Mapping[str, Any] | None = None) -> Self:
        """A tuner that tries every point of a grid, in order; continuous parameters need `n_points` or a step."""
        return cls(config, space, GridSearch(seed=config.seed))

    @classmethod
    def with_successive_halving(
        cls,
        config: TunerConfig,
        space: SearchSpace | Mapping[str, Any] | None,
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
        space: SearchSpace | Mapping[str, Any] | None,
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
        space: SearchSpace | Mapping[str, Any] | None,
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
            raise InvalidValue(f"callback must be an instance of HyperparameterCallback, got {shown(callback)}")
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
            with forks_end():
                getattr(callback, hook)(*arguments)

    # --- for objectives

    def early_stopping(self) -> EarlyStopping:
        """A new `EarlyStopping` for one trial, from `config.early_stopping` and the study's direction.

        Raises:
            InvalidValue: the config has none.
        """
        return early_stopping(self._config)

    def stop(self) -> None:
        """End the run after the trials that are running; from a callback, the objective, or another thread."""
        self._stop.set()

    # --- the run

    def optimize(
        self,
        objective: Objective,
        workers: int | None = None,
        *,
        devices: str | Sequence[str] | Mapping[str, int] | None = None,
        backend: str | None = None,
        executor: Executor | Callable[[], Executor] | Any | None = None,
        trial_timeout: float | timedelta | None = None,
        trial_memory: int | None = None,
        retries: int | Mapping[str, int] = 0,
        resources_per_trial: Mapping[str, float] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        trials_per_job: int | None = 1,
    ) -> TuningResult:
        """Run trials until the study is finished. Called again it goes on.

        A trial fails, and the study goes on, if the objective raises an exception, calls `sys.exit()`, returns NaN,
        anything that is no result, or `TrialResult.failure`, or if its worker is lost. Raising `TrialPruned` prunes it.

        By default trials run one after the other where `optimize` is called. With more workers, devices or a limit they
        run in processes that are started afresh and stay for many trials. There the objective is a copy: what it
        changes outside of itself changes in the copy only, and of a tuner it sees `config`, `early_stopping()` and
        `stop()`. Callbacks are called where `optimize` was.

        Worker processes have the script's `sys.argv`, Python's flags and the environment. The script is not run again
        in them, so it needs no `if __name__ == "__main__"`: functions, classes and values of it that the objective
        uses go along, and can be pickled there by their names, also for processes that a trial spawns. What the
        objective does not name is not there. Modules are imported anew; what the script has set in them, `initializer`
        has to set once more.

        Ctrl-C ends the run: in this process at once (the running trial fails), with workers after the trials that
        are running, and pressed twice at once. In a tuner that runs inside an objective it ends both. What a signal
        handler of yours raises to end the program (`sys.exit()`, or anything for SIGTERM and its like) ends the run,
        too, and comes out of `optimize` once the files are written; trials that were running are run again when the
        study goes on. Of a process that an objective forks off, nothing but the objective runs.

        When the program ends, its worker processes and what these have started end, also if it is killed; on Windows
        not those that are stuck in compiled code. So do the processes of a `ProcessPoolExecutor` of yours; those that
        are stuck in compiled code then on Linux only, if the program's main thread has started them, and not by a
        forkserver. Workers of Ray, Dask and MPI belong to these: there a trial ends at its next report.

        Args:
            objective: called with a `Trial`, which is also a mapping of its parameters. Returns a number (with several
                objectives a list of numbers), a mapping of metrics (`config.objective_metric` names the objective or
                the objectives), or a `TrialResult`.
            workers: how many trials run at the same time; by default 1, or as many as there are slots on GPUs, or as an
                executor or a Ray cluster has room for.
            devices: binds each worker to a device, which is the only one that it sees: "auto" for all GPUs, "cpu",
                a list such as ["cuda:0", "cuda:1"], or {"cuda:0": 2} for two workers that share one.
            backend: "inline", "threads" (for objectives that release the GIL), "processes" or "ray".
            executor: a `concurrent.futures.Executor` to run trials in, such as loky's, Dask's or mpi4py's; it stays
                yours. Or a function without arguments that makes one, which is called again when one breaks, as loky's
                and the standard library's do when a worker dies: the trials that ran there are lost, see `retries`,
                and the study goes on. What it made is shut down at the end of the run. Or an executor of submitit's,
                for batch jobs on SLURM; see the guide, "Clusters".
            trial_timeout: seconds after which a trial's process is ended and the trial fails.
            trial_memory: bytes of memory above which a trial's process is ended and the trial fails. Python and what is
                imported count. It is looked at twenty times a second.
            retries: how often a trial is tried again, under its number and with its `checkpoint_dir`, if its worker is
                lost; or a mapping for each kind of failure: {"lost": 2, "error": 1, "timeout": 0, "memory": 0,
                "cuda_memory": 1}. A number given for "cuda_memory" always holds. Without one, a trial that finds a GPU
                full is tried once more if other trials may have used it meanwhile: if several run at a time and
                `devices` has not given each a GPU of its own. It then has this machine's GPU, or without `devices` all
                of this machine, for itself; not so on Ray and in executors that reach beyond this machine.
            resources_per_trial: what a trial needs on Ray: {"cpu": 2, "gpu": 0.5}, "memory" in bytes, or other names.
            initializer: called wherever trials run, before the first of them, as in `concurrent.futures`: once in each
                worker process, in each thread, or in this process. In a worker it comes before the imports of modules
                that the objective uses.
            initargs: the initializer's arguments.
            trials_per_job: of a submitit executor, how many trials a job trains, one after the other; None for as many
                as there are.

        Raises:
            InvalidValue: the study would never end, or an argument is wrong, or the objective can't be sent to workers.
            MissingPackage: `backend="ray"`, and Ray is not installed.
            StudyExists: the study's directory holds another study.
            AllTrialsFailed: 10 trials have run (`TunerConfig.max_initial_failures`) and every one has failed; its cause
                is the last failure.
            WorkersFailed: workers can't be started or can't load the objective, the initializer fails, or the executor
                is broken.
            StorageError: files can't be written.
        """
        if not callable(objective):
            raise InvalidValue(f"objective must be callable with a trial, got {shown(objective)}")
        execution = Execution.of(
            workers, devices, backend, executor, trial_timeout, trial_memory, retries, resources_per_trial, initializer,
            initargs, trials_per_job,
        )  # fmt: skip
        total = self._expected_trials()
        if not self._busy.acquire(blocking=False):
            raise TrialStateError("optimize is running already; call it again when it has returned")
        try:
            self._files.prepare(self._study)
            return self._run(objective, execution, total)
        finally:
            self._busy.release()

    def _expected_trials(self) -> int | None:
        """How many trials there will be in all, None if only time or a stop ends them."""
        space, sampler = self._study.space, self._study.sampler
        config, strategy = self._config, self._study.strategy
        ends = strategy is not None and strategy.is_population
        limits = [config.max_trials]
        if not (ends or space.is_open):
            limits += [space.size, sampler.draw_limit(space)]
        known = [limit for limit in limits if limit is not None]
        if not (known or ends) and config.max_duration is config.max_cost is config.max_total_resource is None:
            raise InvalidValue(
                "the search space is infinite, so the study would never end: set TunerConfig(max_trials=...) or "
                "max_duration (math.inf to run until Ctrl-C or tuner.stop()), max_cost, or under a multi-fidelity "
                "strategy max_total_resource"
            )
        return min(known, default=None)

    def _run(self, objective: Objective, execution: Execution, total: int | None) -> TuningResult:
        config = self._config
        begin = time.monotonic()
        before = self._seconds
        reason: StopReason | None = None
        failure: BaseException | None = None
        self._stop.clear()
        with (
            RepeatedWarnings(),
            Interrupts() as interrupts,
            Progress(config.study_name, self._study, total, config.max_seconds) as progress,
        ):
            try:
                interrupts.allow()
                self._notify("on_study_start", config)
                interrupts.hold()
                reason = self._run_trials(objective, execution, interrupts, progress)
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
        if reason == StopReason.INTERRUPTED or interrupts.count:
            interrupts.pass_on(at_once=failure is None)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame
        assert reason is not None
        return TuningResult(self._study, config.study_name, statistics, reason, config.objective_metrics)

    def _run_trials(
        self, objective: Objective, execution: Execution, interrupts: Interrupts, progress: Progress
    ) -> StopReason:
        server = StudyServer(self._study, self.stop)
        config = self._config
        spec = OutcomeSpec(config.objective_metrics, len(config.directions), config.limits)
        with execution.make_backend(objective, spec, server, interrupts) as made:
            if not made.breaks_off:
                interrupts.count_first(2, made.wake)
            run = Run(
                self._study, config, made, server, execution.retries, self._notify, interrupts,
                self._stop.is_set, progress.update, self._left,
            )  # fmt: skip
            return run.to_the_end()

    def __reduce__(self) -> tuple[Any, ...]:
        """An objective that uses its tuner takes a stand-in along to a worker."""
        return reduced_tuner(self._config)

    # --- files

    def save_checkpoint(self) -> Path:
        """Write the study to `checkpoint.msgpack` in its directory, whatever `save_checkpoints` says; the file's path.

        Raises:
            StudyExists: the directory holds another study.
            StudyInUse: the study is open for writing elsewhere.
            StorageError: the file can't be written.
        """
        return self._files.save(self._study)

    def _write_files(self, statistics: StudyStatistics, reason: StopReason | None) -> None:
        if self._config.save_checkpoints:
            try:
                self._files.close(self._study)
            finally:
                self._files.export(self._study, statistics, reason)

    def load_checkpoint(
        self,
        path: str | Path,
        widen: bool = False,
        *,
        change_space: bool = False,
        defaults: Mapping[str, Any] | None = None,
    ) -> Self:
        """Go on with a saved study; the tuner.

        The checkpoint's sampler goes on with its own seed and options, so that nothing is drawn twice, if it is of
        the kind that this tuner's strategy has; else the tuner's takes over. Pruning is as this tuner's config says.
        Trials that were running when the study was saved are run again first.

        Args:
            path: a checkpoint file, or a study's directory.
            widen: go on in this tuner's search space, with more choices or wider bounds; it must hold every trial.
            change_space: go on in this tuner's search space, whatever was tried. Trials outside of it stay as they
                were, and nothing is learnt from them; see `Study.load`.
            defaults: with `change_space`, by name what trials had of parameters that they lack; see `Study.load`.

        Raises:
            TrialStateError: this tuner has trials already, or is running.
            FileNotFoundError: there is no study.
            CorruptCheckpoint: the file is damaged, or its search space or directions differ from this tuner's.
            InvalidSearchSpace: with `widen`, a trial does not lie in this tuner's search space; with `change_space`,
                one lacks a parameter that has no default.
            InvalidValue: there are defaults without `change_space`, or one makes no sense.
        """
        if self._busy.locked():
            raise TrialStateError("load_checkpoint must come before optimize, which is running")
        if len(self._study):
            raise TrialStateError(
                f"load_checkpoint must come before the first trial, but this tuner has {len(self._study)}"
            )
        wanted = Wanted(check_flag("widen", widen), check_flag("change_space", change_space), defaults)
        if defaults is not None and not wanted.changes:
            raise InvalidValue("defaults are of a space that changes: say change_space=True, too")
        self._study = self._files.load(self._study, given_path("path", path), wanted)
        self._seconds = busy_seconds(self._study._whole)
        return self
