"""What trackers have in common: a study's trials are written to one in a thread, and the study never waits for it.

The thread is told which trials have changed, and looks at them in the study when their turn comes. So nothing is copied
or queued where the study runs, what could not be written is written later, and what is written is always the latest.
"""

from __future__ import annotations

import atexit
import importlib
import os
import threading
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from fasthpo.errors import InvalidValue, MissingPackage
from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.study.study import Study
from fasthpo.system.headline import headline_of
from fasthpo.system.log import logger
from fasthpo.trials.trial import Trial, TrialState
from fasthpo.tuner.callbacks import HyperparameterCallback
from fasthpo.values import check_text, shown

if TYPE_CHECKING:
    from fasthpo.tuner.config import TunerConfig
    from fasthpo.tuner.results import StudyStatistics

_POLL = 5.0  # seconds between two looks at what the running trials have reported
_LONGEST_WAIT = 60.0  # seconds until a tracker that fails is tried again
_MOST_FAILURES = 3  # to write a trial, while others can be written
_GIVE_UP = 30.0  # seconds without progress after which the end of a run waits no longer


class TrackedStudy(NamedTuple):
    """What a tracker is told of a study.

    Attributes:
        name: of the study.
        identity: the same for all runs of a study that is kept and resumed, else different, hexadecimal digits.
        space: the search space.
        directions: "minimize" or "maximize", one an objective.
        objectives: what the objectives are called, one name each.
        sampler: what suggests.
        trials: how many it has when it is opened.
    """

    name: str
    identity: str
    space: SearchSpace
    directions: tuple[str, ...]
    objectives: tuple[str, ...]
    sampler: str
    trials: int


class TrackedTrial(NamedTuple):
    """A trial as it is now.

    Attributes:
        number, state: the trial's.
        params: the active parameters.
        values: of the objectives; None if there are none.
        constraints: as it was told; None if none.
        reports: values of the objectives by step.
        metrics: further ones.
        reason: why it failed or was pruned; None if neither, or if nobody has said why.
        start, end: seconds since the epoch, NaN where there is none.
        resource: how far it is trained under a multi-fidelity strategy; None under any other.
    """

    number: int
    state: TrialState
    params: dict[str, Value]
    values: tuple[float, ...] | None
    constraints: tuple[float, ...] | None
    reports: dict[int, tuple[float, ...]]
    metrics: dict[str, float]
    reason: str | None
    start: float
    end: float
    resource: int | None

    @property
    def name(self) -> str:
        """What its run is called."""
        return f"trial-{self.number}"

    @property
    def is_feasible(self) -> bool:
        """Whether it keeps its constraints."""
        return not any(one > 0 for one in self.constraints or ())


class Tracker(Protocol):
    """Where trials are written. All calls come in one thread after the other; an exception means to try again later."""

    title: str

    def open(self, study: TrackedStudy) -> Iterable[int]:
        """Trials of this study follow, which may have been here before.

        Returns:
            Numbers of trials that are not here, or not to their end, if the study has been here before: a process was
            killed before it had written them. Empty if that can't be known.
        """

    def write(self, trial: TrackedTrial) -> None:
        """Write what is new of a trial; the same trial comes again when it has changed, or for nothing."""

    def close(self) -> None:
        """No further trial comes for now. Those that are still running were left so."""


def package(module: str, extra: str) -> Any:
    """An optional package.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{module.partition('.')[0]} can't be imported ({error}): pip install 'fasthpo[{extra}]'"
        ) from error


class TrackingCallback(HyperparameterCallback):
    """Writes trials to a tracker, in a thread of its own; if that fails, a warning says so once, and the study goes on.

    What could not be written is tried again until the end of the run, which waits for the tracker as long as it gets
    on, at most half a minute for a single trial. Running trials are looked at every five seconds.

    A tuner calls it by itself (`tuner.add_callback`). With ask and tell, or to write trials that a study has already,
    call `log(trial)`, and at the end `close`, or use it in a `with` statement.

    Args:
        tracker: where trials are written.
        study_name: what the study is called there; None: the tuner's `study_name`, else the name of the directory that
            keeps the study, else "study".
    """

    def __init__(self, tracker: Tracker, study_name: str | None = None) -> None:
        self._tracker = tracker
        self._name = None if study_name is None else check_text("study_name", study_name)
        self._tuned_name: str | None = None
        self._objectives: tuple[str, ...] | None = None
        self._wake = threading.Condition()  # guards what follows
        self._changed: dict[Trial, None] = {}  # trials that are to be written, the first to come first
        self._running: dict[Trial, int] = {}  # and how many reports were seen
        self._reasons: dict[Trial, str] = {}  # of pruned trials, which the study does not keep
        self._thread: threading.Thread | None = None
        self._ends = False
        self._progress = 0.0
        self._process = os.getpid()
        self._opened: tuple[Study, TrackedStudy] | None = None  # what follows is the thread's own
        self._current: Trial | None = None  # that is being written
        self._failures: dict[Trial, int] = {}
        self._in_a_row = 0
        self._dropped = 0
        self._warned = False

    # --- hooks

    def on_study_start(self, config: TunerConfig) -> None:
        self._tuned_name, self._objectives = config.study_name, config.objective_metrics

    def on_trial_start(self, trial: Trial) -> None:
        self._note(trial)

    def on_trial_complete(self, trial: Trial) -> None:
        self._note(trial)

    def on_trial_paused(self, trial: Trial) -> None:
        self._note(trial)

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        self._note(trial, reason)

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        self._note(trial)

    def on_study_end(self, config: TunerConfig, statistics: StudyStatistics) -> None:
        self.close()

    # --- without a tuner

    def log(self, trial: Trial) -> None:
        """Have a trial written as it is; to be called again when it has changed, such as after `study.tell`.

        Args:
            trial: of a `Study`, in any state.

        Raises:
            InvalidValue: it is none.
        """
        if not isinstance(trial, Trial) or not isinstance(trial._source, Study):
            raise InvalidValue(f"trial must be a Trial of a Study, got {shown(trial)}")
        self._note(trial)

    def close(self) -> None:
        """Wait until everything is written, or the tracker gets nowhere for half a minute; then `log` begins anew."""
        thread = self._thread
        if thread is None or os.getpid() != self._process:
            return
        with self._wake:
            for trial in self._running:  # told without a hook, or left running
                self._changed[trial] = None
            self._ends = True
            self._progress = time.monotonic()
            self._wake.notify()
        while thread.is_alive():
            thread.join(0.05)
            if time.monotonic() - self._progress > _GIVE_UP:
                break
        with self._wake:
            left = len({*self._changed, *([self._current] if thread.is_alive() else [])}) + self._dropped
            if left:
                logger.warning("%s has not got the latest of %d trials", self._tracker.title, left)
            self._changed, self._running, self._reasons, self._failures = {}, {}, {}, {}
            self._thread, self._dropped, self._in_a_row = None, 0, 0
        if not thread.is_alive():
            self._ends = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- what is to be written

    def _note(self, trial: Trial, reason: str | None = None) -> None:
        if os.getpid() != self._process or self._ends:  # forked off, or a thread still hangs in the tracker
            return
        with self._wake:
            self._changed[trial] = None
            if reason is not None:
                self._reasons[trial] = reason
            if trial.state == TrialState.RUNNING:
                self._running.setdefault(trial, 0)
            else:
                self._running.pop(trial, None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"fasthpo {self._tracker.title}", daemon=True)
                self._thread.start()
                _close_at_exit(self)
            self._wake.notify()

    # --- the thread

    def _work(self) -> None:
        look = time.monotonic() + _POLL
        again = 0.0  # when a tracker that has failed is tried again
        while True:
            with self._wake:
                now = time.monotonic()
                if not self._ends and (not self._changed or now < again):
                    until = min(look, again) if self._changed else look
                    self._wake.wait(max(0.0, until - now))
                ends = self._ends
                trial = next(iter(self._changed), None) if ends or time.monotonic() >= again else None
                self._current = trial
                if trial is not None:
                    del self._changed[trial]
                    reason = self._reasons.get(trial)
            if trial is None and ends:
                self._finish()
                return
            if trial is not None:
                if self._write(trial, reason):
                    again = 0.0
                elif ends and self._in_a_row > _MOST_FAILURES:
                    self._finish()
                    return
                else:
                    again = time.monotonic() + min(_LONGEST_WAIT, 0.25 * 2**self._in_a_row)
            if time.monotonic() >= look:
                self._look_at_running()
                look = time.monotonic() + _POLL

    def _look_at_running(self) -> None:
        for trial, seen in list(self._running.items()):
            count = len(trial.reports)
            if count != seen:
                with self._wake:
                    if trial in self._running:
                        self._running[trial] = count
                        self._changed.setdefault(trial)

    def _write(self, trial: Trial, reason: str | None) -> bool:
        """Write a trial; whether it could be written."""
        try:
            self._open(trial)
            tracked = _tracked(trial, reason)
            self._tracker.write(tracked)
        except Exception as error:
            self._fail(trial, error)
            return False
        self._in_a_row = 0
        self._progress = time.monotonic()
        self._failures.pop(trial, None)
        if tracked.state.is_finished:
            with self._wake:
                self._reasons.pop(trial, None)
        return True

    def _open(self, trial: Trial) -> None:
        study: Any = trial._source
        if self._opened is not None and self._opened[0] is study:
            return
        if self._opened is not None:
            self._opened = None
            self._tracker.close()
        directions = study.directions
        storage = study.storage
        names = self._objectives
        if names is None or len(names) != len(directions):
            names = ("value",) if len(directions) == 1 else tuple(f"values_{j}" for j in range(len(directions)))
        name = self._name or self._tuned_name or (storage.name if storage is not None else "study")
        tracked = TrackedStudy(
            name, study._id.hex(), study.space, directions, names, type(study.sampler).__name__, len(study)
        )
        lacking = self._tracker.open(tracked)
        self._opened = study, tracked
        if self._tuned_name is None:  # by hand those are written that are given
            return
        with self._wake:
            for number in lacking:
                if number < len(study) and study.trial_state(number) not in (TrialState.RUNNING, TrialState.WAITING):
                    self._changed.setdefault(Trial(number, study))

    def _fail(self, trial: Trial, error: Exception) -> None:
        self._in_a_row += 1
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s could not be written to; the study goes on, and it is tried again: %s",
                self._tracker.title, headline_of(error),
            )  # fmt: skip
        logger.debug("%s failed with trial %d", self._tracker.title, trial.number, exc_info=error)
        failures = self._failures[trial] = self._failures.get(trial, 0) + 1
        if failures >= _MOST_FAILURES and self._in_a_row == 1:  # others can be written
            del self._failures[trial]
            self._dropped += 1
            return
        with self._wake:
            self._changed.setdefault(trial)  # behind the others

    def _finish(self) -> None:
        if self._opened is None:
            return
        self._opened = None
        try:
            self._tracker.close()
        except Exception as error:
            if not self._warned:
                self._warned = True
                logger.warning("%s could not be closed: %s", self._tracker.title, headline_of(error))


def _tracked(trial: Trial, reason: str | None) -> TrackedTrial:
    study: Any = trial._source
    with study._lock:
        state = trial.state
        ended = state.is_finished or state == TrialState.PAUSED
        several = len(trial.directions) > 1
        reports = trial.reports
        return TrackedTrial(
            trial.number,
            state,
            trial.params,
            trial.objective_values() if ended else None,
            trial.constraints,
            {step: tuple(value) if several else (value,) for step, value in reports.items()},
            trial.metrics,
            trial.error if state == TrialState.FAILED else reason if state == TrialState.PRUNED else None,
            trial.start_time,
            trial.end_time,
            trial.resource,
        )


def _close_at_exit(callback: TrackingCallback) -> None:
    """Have a callback closed at the end of the program, if it is still there."""
    reference = weakref.ref(callback)

    def close() -> None:
        found = reference()
        if found is not None:
            found.close()

    atexit.register(close)
    weakref.finalize(callback, atexit.unregister, close).atexit = False
