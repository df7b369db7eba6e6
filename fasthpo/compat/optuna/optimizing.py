"""Running an objective until so many trials, so much time or someone ends it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from fasthpo.compat.optuna.exceptions import says_pruned
from fasthpo.compat.optuna.freezing import frozen
from fasthpo.compat.optuna.frozen import TrialState
from fasthpo.compat.optuna.logging import get_logger
from fasthpo.compat.optuna.parts import Parts
from fasthpo.errors import SpaceExhausted
from fasthpo.execution.objective import traceback_text
from fasthpo.trials.trial import TrialState as OwnState

_SECONDS = 0.2  # between two looks for an interrupt, which does not end a wait on Windows


class Optimization:
    """The runs of one study, one at a time.

    Args:
        study: whose trials are run; an `optuna.Study`.
        parts: what belongs to it.
    """

    def __init__(self, study: Any, parts: Parts) -> None:
        self._study = study
        self._parts = parts
        self._lock = threading.Lock()
        self._runs = False
        self._stops = False
        self._left: float = 0.0  # how many trials may still start
        self._end = 0.0

    def stop(self) -> None:
        """No further trial starts.

        Raises:
            RuntimeError: nothing runs.
        """
        if not self._runs:
            raise RuntimeError("`Study.stop` is for objectives and callbacks, and nothing runs")
        self._stops = True

    def run(
        self,
        objective: Callable[[Any], Any],
        n_trials: int | None,
        timeout: float | None,
        n_jobs: int,
        catch: tuple[type[BaseException], ...],
        callbacks: Sequence[Callable[[Any, Any], None]],
        gc_after_trial: bool,
        show_progress_bar: bool,
    ) -> None:
        """See `Study.optimize`."""
        with self._lock:
            if self._runs:
                raise RuntimeError("`Study.optimize` can't be called while it runs")
            self._runs, self._stops = True, False
        self._left = float("inf") if n_trials is None else n_trials
        self._end = float("inf") if timeout is None else time.monotonic() + timeout
        threads = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        bar = _progress_bar(n_trials) if show_progress_bar else None

        def work() -> None:
            while self._may_start():
                if not self._run_one(objective, catch, callbacks):
                    return
                if gc_after_trial:
                    gc.collect()
                if bar is not None:
                    bar.update(1)

        try:
            if threads == 1:
                work()
            else:
                self._in_threads(work, threads)
        finally:
            self._runs = False
            if bar is not None:
                bar.close()

    def _in_threads(self, work: Callable[[], None], threads: int) -> None:
        begins = threading.Event()  # once all threads are there: an interrupt before that leaves no trial behind

        def begin() -> None:
            begins.wait()
            try:
                work()
            except BaseException:
                self._stops = True
                raise

        with ThreadPoolExecutor(threads, thread_name_prefix="fasthpo-trial") as pool:
            try:
                left = futures = [pool.submit(begin) for _ in range(threads)]
                begins.set()
                while left:
                    left = list(wait(left, _SECONDS).not_done)
            except BaseException:  # Ctrl-C, which reaches this thread only
                self._stops = True
                raise
            finally:
                begins.set()
        for future in futures:
            future.result()

    def _may_start(self) -> bool:
        with self._lock:
            if self._stops or self._left <= 0 or time.monotonic() >= self._end:
                return False
            self._left -= 1
            return True

    def _run_one(
        self,
        objective: Callable[[Any], Any],
        catch: tuple[type[BaseException], ...],
        callbacks: Sequence[Callable[[Any, Any], None]],
    ) -> bool:
        """Run one trial; False if there is none to run."""
        study = self._study
        try:
            trial = study.ask()
        except SpaceExhausted as end:
            get_logger().info("The study ends: %s", end)
            self._stops = True
            return False
        number, raised = trial.number, None
        try:
            values = objective(trial)
        except Exception as error:
            if says_pruned(error):
                study._tell(number, None, TrialState.PRUNED)
            else:
                raised = error
                study._tell(number, None, TrialState.FAIL, traceback_text(error))
                get_logger().warning("Trial %d failed with parameters: %s because of: %r", number, trial.params, error)
        except BaseException:  # Ctrl-C: nothing that the trial's parameters are to blame for
            if self._parts.own.trial_state(number) == OwnState.RUNNING:
                self._parts.own.tell(number, state=OwnState.FAILED, error="interrupted", infrastructure=True)
            raise
        else:
            if self._parts.own.trial_state(number) == OwnState.RUNNING:  # it may have been told by the objective
                study._tell(number, float("nan") if values is None else values, None)
        self._say(number)
        known = frozen(self._parts, number) if callbacks else None
        for callback in callbacks:
            callback(study, known)
        if raised is not None and not isinstance(raised, catch):
            raise raised
        return True

    def _say(self, number: int) -> None:
        """A line on a trial that has ended."""
        log = get_logger()
        if not log.isEnabledFor(20):
            return
        own = self._parts.own
        values, params, best = own.trial_values(number), frozen(self._parts, number).params, own.table.best_number
        state = own.trial_state(number)
        if state == OwnState.PRUNED:
            log.info("Trial %d pruned. ", number)
        elif state == OwnState.COMPLETE and values is not None and len(values) > 1:
            log.info("Trial %d finished with values: %s and parameters: %s.", number, list(values), params)
        elif state == OwnState.COMPLETE and values is not None:
            known = "" if best is None else f" Best is trial {best} with value: {own.best_value}."
            log.info("Trial %d finished with value: %s and parameters: %s.%s", number, values[0], params, known)


def _progress_bar(total: int | None) -> Any:
    """tqdm's bar, if it is installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        get_logger().warning("There is no progress bar without tqdm: pip install tqdm")
        return None
    return tqdm(total=total)
