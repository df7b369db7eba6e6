"""A run: starts trials in a backend as long as it may, and tells the study and the callbacks how they ended."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from fasthpo.errors import AllTrialsFailed, InvalidValue, SpaceExhausted
from fasthpo.execution.backends.base import Backend, Ended, FailureKind
from fasthpo.execution.interrupts import Interrupts, interruption_behind
from fasthpo.execution.study_server import StudyServer
from fasthpo.study.study import Study
from fasthpo.system.headline import headline, headline_of, without_numbers
from fasthpo.system.log import logger
from fasthpo.trials.trial import Trial, TrialState
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.no_improvement import counted, scheduled
from fasthpo.tuner.results import StopReason
from fasthpo.values import FloatArray

_WAIT = 0.5  # seconds that a backend is waited for at a time: on Windows, Ctrl-C is not noticed meanwhile
_MOST_KINDS = 10  # of failures, that are named when all trials have failed


class Run:
    """Runs trials until something ends the run, all in the thread that calls `to_the_end`, whatever runs beside it.

    Args:
        study: asked and told.
        config: when to end.
        backend: where trials run.
        server: what passes on their reports.
        retries: how often a trial is tried again, by what made it fail; a kind that is not there, once if other trials
            may have used the same GPU.
        notify: calls a hook of all callbacks.
        interrupts: Ctrl-C.
        stopped: whether the run was asked to end.
        meanwhile: called each time that trials have ended.
        left: numbers of RUNNING trials that a signal has left without anyone who runs them. They come first, and are
            taken out; when this run ends, those are in it that it leaves.
    """

    def __init__(
        self,
        study: Study,
        config: TunerConfig,
        backend: Backend,
        server: StudyServer,
        retries: Mapping[FailureKind, int],
        notify: Callable[..., None],
        interrupts: Interrupts,
        stopped: Callable[[], bool],
        meanwhile: Callable[[], None],
        left: list[int],
    ) -> None:
        self._study = study
        self._config = config
        self._backend = backend
        self._server = server
        self._retries = retries
        self._notify = notify
        self._interrupts = interrupts
        self._stopped = stopped
        self._meanwhile = meanwhile
        self._left = left
        self._end = math.inf
        self._running: dict[int, Trial] = {}
        self._failures: dict[int, dict[FailureKind, int]] = {}  # of trials that are tried again
        self._ended: deque[Ended] = deque()  # that have to be told
        self._reason: StopReason | None = None  # why no further trial starts, for good
        self._nothing: StopReason | None = None  # why none could, when last asked; running ones may change that
        self._last_failure: tuple[str, BaseException | None] = ("", None)
        self._looked_at = -1  # the number of trials at which it was last asked whether the study has dried up
        self._failures_in_a_row = 0  # in the order in which trials were told

    def to_the_end(self) -> StopReason:
        """Run trials; what ended the run. No trial is left running, also if this raises."""
        self._end = time.monotonic() + self._config.max_seconds
        handled = sys.exception()  # what is being dealt with where optimize was called, if anything
        try:
            while True:
                self._interrupts.allow()  # raises a Ctrl-C that came meanwhile
                self._interrupts.hold()
                self._look_for_an_end()
                if self._reason is None and not self._is_hopeless():
                    self._fill()
                if not self._running:
                    return self._why_ended()
                self._ended.extend(self._backend.wait(_WAIT))
                if self._ended:
                    while self._ended:
                        self._settle()
                    self._meanwhile()
        except BaseException as raised:
            self._break_off(raised, handled)
            raise

    def _look_for_an_end(self) -> None:
        if self._interrupts.count > 1:
            raise KeyboardInterrupt
        if self._reason is not None:
            return
        if self._interrupts.count and not self._backend.breaks_off:
            self._reason = StopReason.INTERRUPTED
            if self._running:
                logger.warning(
                    "interrupted: the run ends after the %d trials that are running; Ctrl-C again ends them now",
                    len(self._running),
                )
        elif self._stopped():
            self._reason = StopReason.STOPPED
        elif time.monotonic() >= self._end:
            self._reason = StopReason.MAX_DURATION
        elif self._config.max_cost is not None and self._study.cost_spent >= self._config.max_cost:
            self._reason = StopReason.MAX_COST
        elif self._has_dried_up():
            self._reason = StopReason.NO_IMPROVEMENT

    def _has_dried_up(self) -> bool:
        """Whether the study's last trials have brought no improvement; looked at once for each number of trials."""
        condition = self._config.stop_when
        if condition is None or (count := scheduled(counted(self._study.table))) == self._looked_at:
            return False
        self._looked_at = count
        return condition.is_reached(self._study)

    # --- starting

    def _fill(self) -> None:
        """Start trials until the backend is full or there is none to start."""
        config, study = self._config, self._study
        limit = math.inf if config.max_total_resource is None else config.max_total_resource
        while len(self._running) < self._backend.capacity and self._nothing is None:
            if self._left:
                self._start_again(self._left.pop(0))
                if self._stopped() or self._interrupts.count:
                    return
                continue
            full = config.max_trials is not None and len(study) - study.counts[TrialState.WAITING] >= config.max_trials
            try:
                trial = study.ask_within(limit - study.resource_committed, new=not full)
            except SpaceExhausted as end:
                if not self._running:
                    logger.info("the study ends: %s", end)
                self._nothing = StopReason.SPACE_EXHAUSTED
                return
            if trial is None:
                self._nothing = self._why_none(full)
                return
            self._running[trial.number] = trial
            self._interrupts.allow()
            self._notify("on_trial_start", trial)
            self._interrupts.hold()
            self._backend.submit(trial)
            if self._stopped() or self._interrupts.count:
                return

    def _start_again(self, number: int) -> None:
        """Start a trial anew that was running when a signal ended an earlier run."""
        if self._is_running(number):
            self._server.repeat(number)
            trial = self._running[number] = self._study.trials[number]
            self._interrupts.allow()
            self._notify("on_trial_start", trial)
            self._interrupts.hold()
            self._backend.submit(trial)

    def _why_none(self, full: bool) -> StopReason:
        """Why there is no next trial, if none is running."""
        strategy = self._study.strategy
        if strategy is not None and strategy.is_population and strategy.is_complete:
            return StopReason.POPULATION_COMPLETE
        if full and (strategy is None or not strategy.is_multi_fidelity or strategy.next_leg(new=False) is None):
            return StopReason.MAX_TRIALS
        return StopReason.MAX_TOTAL_RESOURCE

    def _why_ended(self) -> StopReason:
        if self._reason is None and self._is_hopeless():
            error, cause = self._last_failure
            told = self._study._whole
            failed = told.counts[TrialState.FAILED]
            raise AllTrialsFailed(_all_failed(failed, told.errors.copy().values(), error)) from cause
        reason = self._reason or self._nothing
        assert reason is not None
        return reason

    def _is_hopeless(self) -> bool:
        """Whether so many trials have failed, and none has come to anything, that the objective must be broken."""
        counts, most = self._study.counts, self._config.max_initial_failures
        if most is None or counts[TrialState.FAILED] < most or not self._last_failure[0]:
            return False
        return not counts[TrialState.COMPLETE] and not counts[TrialState.PRUNED] and not counts[TrialState.PAUSED]

    # --- ending

    def _settle(self) -> None:
        """Tell the study and the callbacks how the next of the trials that have ended did."""
        ended = self._server.end(self._ended.popleft())
        trial = self._running[ended.number]
        self._nothing = None
        if self._is_running(trial.number) and self._is_tried_again(trial, ended):
            return
        before = self._study.table.front.losses
        state = self._tell(ended)
        self._count_in_a_row(trial, state)
        self._interrupts.allow()
        try:
            if state == TrialState.PRUNED:
                self._notify("on_trial_pruned", trial, ended.pruned or self._why_pruned(trial))
            elif state == TrialState.FAILED:
                self._notify("on_trial_failed", trial, trial.error)
            elif state == TrialState.PAUSED:
                self._notify("on_trial_paused", trial)
            else:
                self._notify_complete(trial, before)
        finally:
            self._interrupts.hold()

    def _tell(self, ended: Ended) -> TrialState:
        """What the study makes of a trial that has ended; it runs no longer."""
        study, trial = self._study, self._running[ended.number]
        if not self._is_running(trial.number):
            state = study.table.state(trial.number)
            logger.warning(
                "trial %d was told before its objective ended, which is for the tuner to do; what was told stands: %s",
                trial.number, state.name,
            )  # fmt: skip
        elif ended.pruned is not None:
            state = study.tell(trial, state=TrialState.PRUNED)
        elif ended.failure is not None:
            lost = ended.failure is FailureKind.LOST
            state = study.tell(
                trial, state=TrialState.FAILED, metrics=ended.metrics, error=ended.error, infrastructure=lost
            )
            self._last_failure = (ended.error, None)
            if self._is_hopeless():  # else the exception would keep alive what the objective had in its frames
                self._last_failure = (ended.error, ended.cause)
        else:
            try:
                state = study.tell(trial, ended.value, metrics=ended.metrics, constraints=ended.constraints)
            except InvalidValue as error:  # the constraints are others than those of the trials before
                self._last_failure = (str(error), error)
                state = study.tell(trial, state=TrialState.FAILED, metrics=ended.metrics, error=str(error))
        del self._running[ended.number]
        self._failures.pop(ended.number, None)
        return state

    def _count_in_a_row(self, trial: Trial, state: TrialState) -> None:
        """End the run if as many trials have failed one after the other as may; those that run still end as usual."""
        self._failures_in_a_row = self._failures_in_a_row + 1 if state == TrialState.FAILED else 0
        if self._failures_in_a_row == self._config.max_consecutive_failures and self._reason is None:
            self._reason = StopReason.MAX_CONSECUTIVE_FAILURES
            logger.warning(
                "the run ends, because %d trials have failed in a row, the last one with: %s",
                self._failures_in_a_row, headline(trial.error or ""),
            )  # fmt: skip

    def _notify_complete(self, trial: Trial, before: FloatArray) -> None:
        """Call the hooks of a trial that has completed; `before` are the losses (f, m) of the front, or of the best."""
        front = self._study.table.front
        own = front.losses[front.numbers == trial.number]
        # of equal values the lower number is best, which a resumed trial may have
        if len(own) and not (before == own).all(axis=1).any():
            is_known = len(before) > 0 and before.shape[1] == 1
            self._notify("on_new_best", trial, abs(float(own[0, 0] - before[0, 0])) if is_known else math.inf)
        self._notify("on_trial_complete", trial)

    def _is_tried_again(self, trial: Trial, ended: Ended) -> bool:
        """Whether a trial that failed is tried once more, and if so, its start."""
        kind = ended.failure
        if kind is None or self._reason is not None or self._stopped() or self._interrupts.count:
            return False
        failures = self._failures.setdefault(trial.number, dict.fromkeys(FailureKind, 0))
        if failures[kind] >= self._retries.get(kind, int(ended.shared)):
            return False
        failures[kind] += 1
        self._server.repeat(trial.number)
        self._notify("on_trial_retried", trial, ended.error)
        self._backend.submit(trial, alone=kind is FailureKind.CUDA_MEMORY)
        return True

    def _why_pruned(self, trial: Trial) -> str:
        reports = self._study.table.reports
        last = reports.latest(trial.number)
        where = f"at step {reports.step[last]}" if last >= 0 else "before its first report"
        pruner = self._study.pruner
        return f"{where}, by {'the objective' if pruner is None else type(pruner).__name__}"

    def _break_off(self, raised: BaseException, handled: BaseException | None) -> None:
        """The run ends at once: results that have come are kept, and what is still running fails."""
        self._interrupts.hold()
        try:
            if not self._backend.breaks_off:
                self._ended.extend(self._backend.wait(0))
            self._backend.abort()
        except Exception:
            logger.exception("while the run was broken off because of %r", raised)
        for ended in self._ended:
            if ended.number in self._running and self._is_running(ended.number):
                self._tell(self._server.end(ended))
        interrupted = isinstance(raised, KeyboardInterrupt)
        if not interrupted and interruption_behind(raised, handled) is not None:
            # a signal ends the program: what was running is run again later, as if the program had been killed
            self._left.extend(number for number in self._running if self._is_running(number))
            self._running.clear()
            return
        error = "interrupted" if interrupted else f"the run was broken off by {headline_of(raised)}"
        failed = [trial for number, trial in self._running.items() if self._is_running(number)]
        for trial in failed:
            self._study.tell(trial, state=TrialState.FAILED, error=error, infrastructure=True)
        self._running.clear()
        for trial in failed if interrupted else ():
            self._notify("on_trial_failed", trial, error)

    def _is_running(self, number: int) -> bool:
        """Whether the study knows a trial as running; someone else may have told it."""
        return self._study.table.state(number) == TrialState.RUNNING


def _all_failed(failed: int, errors: Iterable[str], last: str) -> str:
    """That all trials have failed: the last one's error, and how many failed of what, the most frequent first."""
    lines = [headline(error) for error in errors]
    example = {without_numbers(line): line for line in lines}
    kinds = Counter(map(without_numbers, lines)).most_common()
    said = [
        f"all {failed} trials have failed, the last one with: {headline(last)}",
        "How many failed with what, but for numbers:",
    ]
    said += [f"{times:>8} x {example[kind]}" for kind, times in kinds[:_MOST_KINDS]]
    if others := kinds[_MOST_KINDS:]:
        said.append(f"{sum(times for _, times in others):>8} of {len(others)} other kinds")
    return "\n".join(said)
