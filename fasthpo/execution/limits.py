"""Keeps worker processes to what a trial may take: time, memory, and an end once they have hung up."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from fasthpo.execution.backends.base import Ended, FailureKind, Job, Limits
from fasthpo.execution.connection import Connection
from fasthpo.execution.worker_process import WorkerProcess

PEAK = "peak_memory"  # the metric of a trial that took too much memory, in bytes
_LOOK = 0.05  # seconds between two looks at the memory of workers
_LOOK_AT_CHILDREN = 1.0  # and at that of their children, which takes longer
_LINGER = 1.0  # seconds that a worker may live after it has hung up


def over_memory(number: int, taken: int, limit: int) -> Ended:
    """A trial whose process took `taken` bytes, more than `limit`."""
    why = (
        f"its process took {taken / 2**20:.0f} MiB of memory, more than trial_memory={limit / 2**20:.0f} MiB, "
        "and was ended"
    )
    return Ended(number, metrics={PEAK: float(taken)}, failure=FailureKind.MEMORY, error=why)


class Worker:
    """A process in a slot, and what it is doing.

    It starts, is `ready`, has a `job` or none, and ends: by itself, or because there is a `verdict`.
    """

    def __init__(self, slot: int, name: int) -> None:
        self.slot = slot
        self.name = name
        self.process: WorkerProcess
        self.wire: Connection | None = None
        self.ready = False
        self.job: Job | None = None
        self.job_began = 0.0
        self.hung_up = math.inf  # when it did
        self.verdict: Ended | None = None

    @property
    def starting(self) -> bool:
        """Whether it will be ready."""
        return not self.ready and self.verdict is None and self.hung_up == math.inf

    @property
    def idle(self) -> bool:
        """Whether it can be given a job."""
        return self.ready and self.job is None and self.verdict is None and self.hung_up == math.inf

    def condemn(self, verdict: Ended) -> None:
        """End the process; `verdict` is how that ends its trial, if it has one."""
        self.verdict = self.verdict or verdict
        self.process.kill()

    def lose(self, why: str) -> None:
        """End the process, which is of no use any more."""
        self.condemn(Ended(-1 if self.job is None else self.job.number, failure=FailureKind.LOST, error=why))


class LimitWatcher:
    """Looks at workers as often as it has to.

    Memory is what the worker process holds as a whole, with Python and what was imported. What its children share with
    it or each other is not counted again.

    Args:
        limits: what a trial may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._looked = self._looked_at_children = 0.0

    def next_look(self, workers: Iterable[Worker]) -> float:
        """When there is something to look at, as of `time.monotonic`; infinite if never."""
        moment = math.inf
        for worker in workers:
            if worker.verdict is None:
                moment = min(moment, worker.hung_up + _LINGER)
                if worker.job is not None:
                    moment = min(moment, worker.job_began + (self._limits.seconds or math.inf))
                    moment = min(moment, math.inf if self._limits.bytes is None else self._looked + _LOOK)
        return moment

    def look(self, workers: Iterable[Worker]) -> None:
        """Condemn those workers that have taken too much."""
        now, limits = time.monotonic(), self._limits
        memory = limits.bytes is not None and now >= self._looked + _LOOK
        children = memory and now >= self._looked_at_children + _LOOK_AT_CHILDREN
        for worker in workers:
            if worker.verdict is not None:
                continue
            if now >= worker.hung_up + _LINGER:
                worker.lose("its worker process hung up")
            elif worker.job is None:
                continue
            elif limits.seconds is not None and now >= worker.job_began + limits.seconds:
                why = f"it took longer than trial_timeout={limits.seconds:g} seconds, and its process was ended"
                worker.condemn(Ended(worker.job.number, failure=FailureKind.TIMEOUT, error=why))
            elif memory:
                self._look_at_memory(worker, children)
        if memory:
            self._looked = now
        if children:
            self._looked_at_children = now

    def _look_at_memory(self, worker: Worker, children: bool) -> None:
        assert self._limits.bytes is not None
        found = worker.process.resident(children)
        if found > self._limits.bytes:
            assert worker.job is not None
            worker.condemn(over_memory(worker.job.number, found, self._limits.bytes))

    def is_bloated(self, worker: Worker) -> bool:
        """Whether a worker holds so much between two trials that the next one would be ended for it."""
        return self._limits.bytes is not None and worker.process.resident(False) > self._limits.bytes / 2
