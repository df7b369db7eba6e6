"""In threads of this process, for objectives that spend their time in calls that release the GIL."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from fasthpo.execution.attempt import failed, forget_peak, run_attempt
from fasthpo.execution.backends.base import Backend, Ended
from fasthpo.execution.exclusive_queue import ExclusiveQueue
from fasthpo.execution.gpu_memory import free_gpu_memory
from fasthpo.execution.initializing import Initializer
from fasthpo.execution.objective import Objective, OutcomeSpec
from fasthpo.execution.study_server import StudyServer
from fasthpo.trials.trial import Trial


class _Attempt(NamedTuple):
    """A trial to run."""

    trial: Trial
    shared: bool  # whether others may run meanwhile


class Threads(Backend):
    """Calls the objective in threads, which speak with the study directly.

    A thread can't be ended from outside: one that is given up runs on until its objective returns or next reports, and
    does not keep the program from ending.

    Args:
        objective: what to call.
        spec: what is to be made of that which the objective returns.
        server: the study's.
        workers: how many threads.
        initializer: called in each of them.
    """

    def __init__(
        self,
        objective: Objective,
        spec: OutcomeSpec,
        server: StudyServer,
        workers: int,
        initializer: Initializer | None = None,
    ) -> None:
        self._objective = objective
        self._spec = spec
        self._server = server
        self._workers = workers
        self._initializer = initializer
        self._turns: ExclusiveQueue[_Attempt] = ExclusiveQueue()
        self._jobs: queue.SimpleQueue[_Attempt | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Ended | BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_broken = False  # the initializer has failed

    @property
    def capacity(self) -> int:
        return self._workers

    def submit(self, trial: Trial, alone: bool = False) -> None:
        shared = self._workers > 1 and not alone
        self._turns.add(_Attempt(self._server.handle(trial), shared), alone)

    def _start(self) -> None:
        if not self._turns.running:  # else others are using the GPU, and their peak is being measured
            free_gpu_memory()
            forget_peak()
        for attempt in self._turns.take():
            self._jobs.put(attempt)
        while len(self._threads) < self._turns.running:
            thread = threading.Thread(target=self._work, name=f"fasthpo-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        if self._initializer is not None:
            try:
                self._initializer.call()
            except BaseException as raised:
                self._done.put(raised)
                return
        while (attempt := self._jobs.get()) is not None:
            trial, shared = attempt
            try:
                ended = run_attempt(self._objective, trial, self._spec)
            except BaseException as raised:  # whatever it is, it ends the trial, not the thread
                ended = failed(trial.number, raised)
            self._done.put(replace(ended, shared=shared))
            del ended, trial, attempt  # an exception's frames hold what the objective had

    def wait(self, timeout: float | None = None) -> list[Ended]:
        self._start()  # not earlier: the exception of an attempt before, and all that its frames hold, is let go by now
        found: list[Ended] = []
        take: Callable[[], Ended | BaseException | None] = lambda: self._done.get(timeout=timeout)  # noqa: E731
        try:
            while (ended := take()) is not None:
                if not isinstance(ended, BaseException):
                    found.append(ended)
                elif not self._is_broken:
                    self._is_broken = True
                    raise ended
                take = self._done.get_nowait
        except queue.Empty:
            pass
        self._turns.end(len(found))
        return found

    def wake(self) -> None:
        self._done.put(None)

    def close(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        if not self._turns.running:
            end = time.monotonic() + 1
            for thread in self._threads:
                thread.join(max(0.0, end - time.monotonic()))
            free_gpu_memory()
