"""In processes of our own on this machine, each bound to a device, watched, and replaced when it is lost."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from fasthpo.errors import WorkersFailed
from fasthpo.execution.backends.base import Backend, Ended, FailureKind, Job, Limits
from fasthpo.execution.connection import Connection, ConnectionServer, Gone, Said
from fasthpo.execution.devices import Slot, environment
from fasthpo.execution.following import Watchdog
from fasthpo.execution.limits import LimitWatcher, Worker
from fasthpo.execution.main_module import remove_files
from fasthpo.execution.messages import CorruptMessage, Message, Says, Told, outline, unpack_ended
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.worker_main import Order
from fasthpo.execution.worker_process import WorkerProcess
from fasthpo.trials.trial import Trial

_GRACE = 5.0  # seconds for idle workers to end by themselves
_STILLBORN = 3  # workers in a row that ended before they were ready, after which the run ends


class TakesMessages(Protocol):
    """What takes the messages of trials: the study's `StudyServer`, or a relay to it."""

    def take(self, number: int, message: Message) -> Message | None: ...


class _Exited(NamedTuple):
    """A worker process has ended."""

    worker: Worker


class Processes(Backend):
    """Worker processes that stay for many trials. One that is lost costs the trial that it had, and no other.

    Args:
        objective: pickled by cloudpickle.
        spec: what is to be made of that which the objective returns.
        server: takes the trials' messages.
        slots: where workers run, one each.
        limits: what a trial may take.
    """

    def __init__(
        self, objective: bytes, spec: OutcomeSpec, server: TakesMessages, slots: Sequence[Slot], limits: Limits
    ) -> None:
        self._objective = objective
        self._spec = spec
        self._server = server
        self._slots = slots
        self._watch = LimitWatcher(limits)
        self._board = ConnectionServer()
        self._guard = Watchdog()
        self._workers: dict[int, Worker] = {}  # by slot
        self._named: dict[int, Worker] = {}  # those that have not introduced themselves yet
        self._wired: dict[Connection, Worker] = {}
        self._started = 0
        self._stillborn = 0
        self._jobs: deque[Job] = deque()  # that wait for a worker
        self._ended: list[Ended] = []
        self._aborted = False

    @property
    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, trial: Trial, alone: bool = False) -> None:
        self.submit_job(Job.of(trial, 0, alone))

    def submit_job(self, job: Job) -> None:
        """As `submit`."""
        self._jobs.append(job)
        self._assign()

    def wait(self, timeout: float | None = None) -> list[Ended]:
        now = time.monotonic()
        until = min(self._watch.next_look(self._workers.values()), math.inf if timeout is None else now + timeout)
        exited = []
        for event in self._board.wait(None if until == math.inf else until - now):
            match event:
                case Said(wire, message):
                    self._on_message(wire, message)
                case Gone(wire, error):
                    self._on_gone(wire, error)
                case _Exited(worker):
                    exited.append(worker)
        for worker in exited:  # after what they have said
            self._on_exit(worker)
        self._watch.look(self._workers.values())
        self._assign()
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        self._board.wake()

    # --- jobs to workers

    def _assign(self) -> None:
        """Give waiting jobs to idle workers, and start as many more as jobs wait."""
        if self._aborted:
            return
        reserved = self._assign_alone()
        for worker in self._workers.values():
            if worker.idle and self._slots[worker.slot].device not in reserved:
                job = next((job for job in self._jobs if not job.alone), None)
                if job is None:
                    break
                self._give(worker, job)
        coming = sum(worker.starting or worker.idle for worker in self._workers.values())
        for slot in range(len(self._slots)):
            if coming < len(self._jobs) and slot not in self._workers:
                self._start(slot)
                coming += 1

    def _assign_alone(self) -> set[str]:
        """Give jobs that want a GPU for themselves to one that is free; the GPUs that are kept free for them."""
        working = [(self._slots[worker.slot].device, worker.job) for worker in self._workers.values() if worker.job]
        reserved = {device for device, job in working if job.alone}
        busy = Counter(device for device, _ in working)
        for job in [job for job in self._jobs if job.alone]:
            devices = {slot.device for slot in self._slots} - reserved
            if not devices:
                break
            idle = {self._slots[worker.slot].device: worker for worker in self._workers.values() if worker.idle}
            device = min(sorted(devices), key=lambda name: (busy[name], name not in idle))
            reserved.add(device)
            if device in idle and not busy[device]:
                self._give(idle[device], job)
        return reserved

    def _start(self, slot: int) -> None:
        self._started += 1
        worker = Worker(slot, self._started)
        authentication = bytes(multiprocessing.current_process().authkey)
        order = Order(
            self._board.port,
            self._board.key,
            worker.name,
            self._spec,
            len(self._objective),
            authentication,
            os.getpid(),
        )
        parts = pickle.dumps(tuple(order)), self._objective
        variables = environment(self._slots[slot], len(self._slots))
        try:
            worker.process = WorkerProcess(parts, variables, lambda: self._board.post(_Exited(worker)), self._guard)
        except OSError as error:
            raise WorkersFailed(f"a worker process can't be started: {error}") from error
        self._workers[slot] = self._named[worker.name] = worker

    def _give(self, worker: Worker, job: Job) -> None:
        assert worker.wire is not None
        self._jobs.remove(job)
        worker.job, worker.job_began = job, time.monotonic()
        with contextlib.suppress(OSError):  # it has just been lost, which is noticed in a moment
            worker.wire.send([Told.JOB, pickle.dumps(tuple(job))])

    # --- what workers say

    def _on_message(self, wire: Connection, message: Message) -> None:
        worker = self._wired.get(wire)
        try:
            if worker is None:
                self._greet(wire, message)
            elif not worker.ready:
                self._begin(worker, message)
            elif worker.job is None:
                raise CorruptMessage(f"it said {outline(message)} when it had no trial")
            elif message[0] == Says.DONE:
                self._done(worker, worker.job, message)
            elif (reply := self._server.take(worker.job.number, message)) is not None:
                wire.send(reply)
        except CorruptMessage as error:
            self._on_gone(wire, error)
        except TimeoutError:
            self._on_gone(wire, CorruptMessage("it did not take the reply that it had asked for"))
        except OSError:  # it was lost while it waited for a reply, which is noticed in a moment
            pass

    def _greet(self, wire: Connection, message: Message) -> None:
        match message:
            case [Says.HELLO, int(name)] if name in self._named:
                worker = self._wired[wire] = self._named.pop(name)
                worker.wire = wire
            case [Says.FETCH]:
                self._board.hand_out(wire, self._objective)
            case _:
                raise CorruptMessage("it is unknown here")

    def _begin(self, worker: Worker, message: Message) -> None:
        match message:
            case [Says.READY]:
                worker.ready = True
                self._stillborn = 0
            case [Says.UNLOADABLE, str(why)]:
                raise WorkersFailed(f"a worker process {why}")
            case _:
                raise CorruptMessage(f"it said {outline(message)} before it was ready")

    def _done(self, worker: Worker, job: Job, message: Message) -> None:
        match message:
            case [Says.DONE, result, bool(spoiled)]:
                self._end(worker, unpack_ended(result, job.number))
                if spoiled or self._watch.is_bloated(worker):
                    worker.lose("it has to make place for another")
            case _:
                raise CorruptMessage(f"it said {outline(message)}")

    def _end(self, worker: Worker, ended: Ended) -> None:
        assert worker.job is not None
        shared = self._slots[worker.slot].shared and not worker.job.alone
        self._ended.append(replace(ended, shared=shared))
        worker.job = None

    def _on_gone(self, wire: Connection, error: CorruptMessage | None) -> None:
        self._board.hang_up(wire)
        worker = self._wired.pop(wire, None)
        if worker is not None:
            worker.wire = None
            worker.hung_up = time.monotonic()
            if error is not None:
                worker.lose(f"its worker process was ended, because {error}")

    def _on_exit(self, worker: Worker) -> None:
        while (wire := worker.wire) is not None:  # its last words
            wire.socket.settimeout(0)
            for event in self._board.read(wire):
                match event:
                    case Said(_, message):
                        self._on_message(wire, message)
                    case Gone(_, error):
                        self._on_gone(wire, error)
        del self._workers[worker.slot]
        self._named.pop(worker.name, None)
        why = worker.process.why_ended()
        if not worker.ready and worker.verdict is None:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise WorkersFailed(
                    f"{_STILLBORN} worker processes in a row have ended before they had loaded the objective; of the "
                    f"last one, {why}"
                )
        if worker.job is not None:
            self._end(worker, worker.verdict or Ended(worker.job.number, failure=FailureKind.LOST, error=why))

    # --- the end

    def abort(self) -> None:
        self._aborted = True
        for worker in self._workers.values():
            worker.process.kill()

    def close(self) -> None:
        self._aborted = True
        for worker in self._workers.values():
            if worker.idle and worker.wire is not None:
                self._board.hang_up(worker.wire)  # at which it ends
            else:
                worker.process.kill()
        until = time.monotonic() + _GRACE
        for worker in self._workers.values():
            if not worker.process.join(max(0.0, until - time.monotonic())):
                worker.process.kill()
        for worker in self._workers.values():
            worker.process.join(_GRACE)
        self._guard.close()
        self._board.close()
        remove_files(self._board.key)
