"""In the caller's own thread, one trial after the other: the simplest, and what a debugger follows."""

from __future__ import annotations

import sys
from collections import deque
from typing import ClassVar

from fasthpo.execution.attempt import forget_peak, run_attempt
from fasthpo.execution.backends.base import Backend, Ended
from fasthpo.execution.gpu_memory import free_gpu_memory
from fasthpo.execution.initializing import Initializer
from fasthpo.execution.interrupts import Interrupts, interruption_behind
from fasthpo.execution.objective import Objective, OutcomeSpec
from fasthpo.execution.study_server import StudyServer
from fasthpo.trials.trial import Trial


class Inline(Backend):
    """Calls the objective where `wait` is called. Ctrl-C breaks the objective off, as it would any other code, and so
    does a signal handler of the user's that raises an exception to end the program.

    Args:
        objective: what to call.
        spec: what is to be made of that which the objective returns.
        server: the study's.
        interrupts: says when Ctrl-C may be raised.
        initializer: called before the first trial.
    """

    breaks_off: ClassVar[bool] = True

    def __init__(
        self,
        objective: Objective,
        spec: OutcomeSpec,
        server: StudyServer,
        interrupts: Interrupts,
        initializer: Initializer | None = None,
    ) -> None:
        self._objective = objective
        self._spec = spec
        self._server = server
        self._interrupts = interrupts
        self._initializer = initializer
        self._waiting: deque[Trial] = deque()

    def __enter__(self) -> Inline:
        if self._initializer is not None:
            try:
                self._interrupts.allow()
                self._initializer.call()
            finally:
                self._interrupts.hold()
        return self

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, trial: Trial, alone: bool = False) -> None:
        self._waiting.append(self._server.handle(trial))

    def wait(self, timeout: float | None = None) -> list[Ended]:
        free_gpu_memory()  # of the trial before, whose exception, and all that its frames hold, is let go by now
        forget_peak()
        handled = sys.exception()  # what is being dealt with where optimize was called, if anything
        try:
            self._interrupts.allow()
            # in no variable, as this frame is one of those that a failed trial's exception keeps alive
            return [_unless_interrupted(run_attempt(self._objective, self._waiting.popleft(), self._spec), handled)]
        finally:
            self._interrupts.hold()

    def close(self) -> None:
        free_gpu_memory()


def _unless_interrupted(ended: Ended, handled: BaseException | None) -> Ended:
    """How an attempt has ended, if it was not broken off by a signal; then as if it had been called without a tuner."""
    if ended.cause is not None and (interruption := interruption_behind(ended.cause, handled)) is not None:
        raise interruption if isinstance(interruption, KeyboardInterrupt) else ended.cause
    return ended
