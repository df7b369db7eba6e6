"""In the caller's own thread, one trial after the other: the simplest, and what a debugger follows."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from fasthpo.execution.attempt import forget_peak, run_attempt
from fasthpo.execution.base import Backend, Ended
from fasthpo.execution.desk import Desk
from fasthpo.execution.tidying import free_gpu_memory
from fasthpo.interrupts import Interrupts
from fasthpo.objective import Objective
from fasthpo.trial import Trial


class Inline(Backend):
    """Calls the objective where `wait` is called. Ctrl-C breaks the objective off, as it would any other code.

    Args:
        objective: what to call.
        metric: which entry of a mapping is the objective's value.
        desk: the study's.
        interrupts: says when Ctrl-C may be raised.
    """

    breaks_off: ClassVar[bool] = True

    def __init__(self, objective: Objective, metric: str | None, desk: Desk, interrupts: Interrupts) -> None:
        self._objective = objective
        self._metric = metric
        self._desk = desk
        self._interrupts = interrupts
        self._waiting: deque[Trial] = deque()

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, trial: Trial, alone: bool = False) -> None:
        self._waiting.append(self._desk.handle(trial))

    def wait(self, timeout: float | None = None) -> list[Ended]:
        free_gpu_memory()  # of the trial before, whose exception, and all that its frames hold, is let go by now
        forget_peak()
        try:
            self._interrupts.allow()
            return [run_attempt(self._objective, self._waiting.popleft(), self._metric)]
        finally:
            self._interrupts.hold()

    def close(self) -> None:
        free_gpu_memory()
