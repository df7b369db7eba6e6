"""In any `concurrent.futures.Executor`: loky's, Dask's, mpi4py's. Trials speak with the study over TCP."""

from __future__ import annotations

import pickle
import socket
import sys
import threading
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

from fasthpo.errors import WorkersFailed
from fasthpo.execution.backends.base import Backend, Ended, FailureKind, Job, Limits
from fasthpo.execution.connection import (
    LOOPBACK,
    Connection,
    ConnectionChannel,
    ConnectionServer,
    Gone,
    Said,
    connect,
    fetch,
)
from fasthpo.execution.exclusive_queue import ExclusiveQueue
from fasthpo.execution.following import follow_starter
from fasthpo.execution.gpu_memory import MemoryCleaner
from fasthpo.execution.main_module import Source, own_main, remove_files, use_main
from fasthpo.execution.messages import CorruptMessage, Message, Says, Told, pack_ended, unpack_ended
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.own_process import work_in_own_process
from fasthpo.execution.pool import Given, Pool, in_a_line, is_local, workers_of
from fasthpo.execution.study_server import StudyServer
from fasthpo.execution.unpickling import Unloadable, load
from fasthpo.execution.worker_main import work
from fasthpo.system.forked import renew_in_forked
from fasthpo.trials.trial import Trial

_SMALL = 2**14  # bytes of a pickled objective that goes along with each job; a larger one is fetched once a process


class Task(NamedTuple):
    """A job, and all that its function has to know, wherever the executor runs it."""

    hosts: tuple[str, ...]
    port: int
    key: bytes
    size: int  # bytes of the pickled objective
    objective: bytes | None  # the same, if it is small
    spec: OutcomeSpec
    limits: Limits
    job: Job
    is_local: bool  # whether it runs in a process that the run's has started


# --- in the executor's processes


class _Loaded(NamedTuple):
    """The objective that this process has got last."""

    key: bytes  # of its run
    objective: Any  # its pickle, if trials are to run in processes of their own
    main: ModuleType | None  # the `__main__` that came with it


_loaded: _Loaded | None = None
_loading = threading.Lock()  # Dask's workers have several threads
_tidier = MemoryCleaner()
_follows = False  # whether this process ends with the one that has started it
renew_in_forked(sys.modules[__name__], _loading=threading.Lock, _follows=bool)
_wires = threading.local()  # .wire: the connection that this thread has; .run: the key of the run it leads to


def _connected(task: Task) -> ConnectionChannel:
    """A line to the study: the connection of this thread's last trial, if that was of the same run."""
    wire = _wires.wire if getattr(_wires, "run", None) == task.key else None
    if wire is None or not wire.is_silent():
        if hasattr(_wires, "wire"):
            _wires.wire.close()
        _wires.run = None
        _wires.wire = wire = connect(task.hosts, task.port, task.key)
        _wires.run = task.key
    return ConnectionChannel(wire)


def run_task(packed: bytes) -> None:
    """What the executor calls: run one attempt at a trial, and tell the study how it ended.

    The executor itself brings no result back: it might lose that with a worker, or run what was lost with a worker
    again, which would take the trial from worker to worker.
    """
    global _follows  # noqa: PLW0603  (once a process)
    task: Task = pickle.loads(packed)
    job = task.job
    if task.is_local and not _follows:
        _follows = True
        follow_starter()
    line = _connected(task)
    if not line.request([Says.HELLO, job.ticket]):
        return  # it ran already
    with own_main:
        try:
            objective = _load(task)
        except Unloadable as error:
            line.request([Says.UNLOADABLE, str(error)])
            return
        if task.limits:  # nothing was asked: if something comes, it is the end of the run
            ended = work_in_own_process(objective, job, line, task.spec, task.limits, lambda: not line.wire.is_silent())
        else:
            ended = work(objective, job, line, task.spec)
    line.request([Says.DONE, pack_ended(ended)])
    if not task.limits:
        _tidier.tidy()


def _load(task: Task) -> Any:
    """The objective; its pickle, if trials are to run in processes of their own."""
    global _loaded  # noqa: PLW0603  (one a process, for all trials of a run)

    def get() -> bytes:
        return fetch(task.hosts, task.port, task.key, task.size)

    with _loading:
        if _loaded is None or _loaded.key != task.key:
            pickled = get() if task.objective is None else task.objective
            if task.limits:
                _loaded = _Loaded(task.key, pickled, None)
            else:
                objective = load(pickled, Source(task.key, get))
                _loaded = _Loaded(task.key, objective, sys.modules["__main__"])
        elif _loaded.main is not None:
            use_main(_loaded.main)
        return _loaded.objective


# --- in the run's process


class _Done(NamedTuple):
    """A future has ended."""

    ticket: int
    future: Future[Any]


class _Running(NamedTuple):
    """A job that was submitted and has not ended."""

    job: Job
    future: Future[Any]


class Tasks(Backend):
    """Hands each trial to an executor as a task of its own.

    Args:
        objective: pickled by cloudpickle.
        spec: what is to be made of that which the objective returns.
        server: the study's.
        executor: stays the caller's, and is not shut down; or a function without arguments that makes one, which is
            replaced when it breaks.
        workers: how many tasks it is given at the same time; None for as many as it says that it has workers.
        limits: what a trial may take. With one, each trial runs in a process that its task starts.
    """

    def __init__(
        self,
        objective: bytes,
        spec: OutcomeSpec,
        server: StudyServer,
        executor: Given,
        workers: int | None,
        limits: Limits,
    ) -> None:
        self._objective = objective
        self._server = server
        self._pool = Pool(executor)
        try:
            self._workers = workers_of(self._pool.executor) if workers is None else workers
            self._local = is_local(self._pool.executor)
            hosts = (LOOPBACK,) if self._local else _hosts()
            self._board = ConnectionServer(LOOPBACK if self._local else "")
        except BaseException:
            self._pool.close()
            raise
        self._task = Task(
            hosts,
            self._board.port,
            self._board.key,
            len(objective),
            objective if len(objective) <= _SMALL else None,
            spec,
            limits,
            Job(0, 0, {}, None, 0),
            self._local,
        )
        self._turns: ExclusiveQueue[Job] = ExclusiveQueue()
        self._running: dict[int, _Running] = {}  # by ticket
        self._begun: set[int] = set()  # tickets of those that a worker has begun
        self._ticket = 0
        self._wired: dict[Connection, int] = {}  # the ticket of the job that speaks through it
        self._ended: list[Ended] = []

    @property
    def capacity(self) -> int:
        return self._workers

    def submit(self, trial: Trial, alone: bool = False) -> None:
        alone = alone and self._local  # one trial is not to keep a whole cluster waiting
        self._turns.add(Job.of(trial, 0, alone), alone)
        self._start()

    def _start(self) -> None:
        for job in self._turns.take():
            self._hand_over(job)

    def _hand_over(self, job: Job) -> None:
        self._ticket += 1
        ticket = self._ticket
        job = job._replace(ticket=ticket)
        future = self._pool.submit(run_task, pickle.dumps(self._task._replace(job=job)))
        self._running[ticket] = _Running(job, future)
        future.add_done_callback(lambda future: self._board.post(_Done(ticket, future)))

    def wait(self, timeout: float | None = None) -> list[Ended]:
        self._start()
        for event in self._board.wait(timeout):
            match event:
                case Said(wire, message):
                    self._on_message(wire, message)
                case Gone(wire, error):
                    self._on_gone(wire, error)
                case _Done(ticket, future):
                    self._on_done(ticket, future)
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        self._board.wake()

    def _end(self, ticket: int, ended: Ended) -> None:
        job = self._running.pop(ticket).job
        self._begun.discard(ticket)
        self._turns.end()
        self._ended.append(replace(ended, shared=self._workers > 1 and not job.alone))

    def _lose(self, ticket: int, why: str) -> None:
        self._end(ticket, Ended(self._running[ticket].job.number, failure=FailureKind.LOST, error=why))

    def _on_done(self, ticket: int, future: Future[Any]) -> None:
        """A future has ended, which says something of its trial only if that has not ended."""
        self._pool.has_finished(future)
        if ticket in self._running:
            self._hear_out(ticket)
        if ticket not in self._running:
            return
        broken = not future.cancelled() and isinstance(future.exception(), BrokenExecutor)
        if broken and ticket not in self._begun and self._pool.is_replaceable:
            job = self._running.pop(ticket).job  # the next executor can have it, as if nothing had been
            self._turns.end()
            self._turns.add(job, job.alone)
        else:
            self._lose(ticket, _why_lost(future))

    def _hear_out(self, ticket: int) -> None:
        """Deal with the last words of a trial whose future has ended."""
        wire = next((wire for wire, spoken_for in self._wired.items() if spoken_for == ticket), None)
        while wire in self._wired:
            wire.socket.settimeout(0)
            for event in self._board.read(wire):
                match event:
                    case Said(_, message):
                        self._on_message(wire, message)
                    case Gone(_, error):
                        self._on_gone(wire, error)

    def _on_message(self, wire: Connection, message: Message) -> None:
        try:
            match message:
                case [Says.HELLO, int(ticket)]:
                    begins = ticket in self._running and ticket not in self._begun
                    if begins:
                        self._wired[wire] = ticket
                        self._begun.add(ticket)
                        self._pool.has_begun()
                    wire.send([Told.REPLY, begins])
                case [Says.FETCH]:
                    self._board.hand_out(wire, self._objective)
                case _ if self._wired.get(wire) in self._running:
                    self._on_news(wire, self._wired[wire], message)
                case _:
                    raise CorruptMessage("its trial is not running")
        except CorruptMessage as error:
            self._on_gone(wire, error)
        except OSError:  # it is lost, which its future will say
            pass

    def _on_news(self, wire: Connection, ticket: int, message: Message) -> None:
        number = self._running[ticket].job.number
        reply: Message | None = [Told.REPLY, True]
        match message:
            case [Says.UNLOADABLE, str(why)]:
                raise WorkersFailed(f"a worker {why}")
            case [Says.DONE, result]:
                self._end(ticket, unpack_ended(result, number))
            case _:
                reply = self._server.take(number, message)
        if reply is not None:
            wire.send(reply)

    def _on_gone(self, wire: Connection, error: CorruptMessage | None) -> None:
        """A connection has ended. That says nothing of its trial, unless it was for what it sent."""
        self._board.hang_up(wire)
        ticket = self._wired.pop(wire, 0)
        if ticket not in self._running:
            return
        if error is None:
            self._pool.look()
        else:
            self._running[ticket].future.cancel()
            self._lose(ticket, f"its worker was given up, because {error}")

    def abort(self) -> None:
        for running in self._running.values():
            running.future.cancel()

    def close(self) -> None:
        self.abort()
        self._board.close()  # what still runs ends at its next report
        self._pool.close(at_once=bool(self._running))
        remove_files(self._board.key)


def _why_lost(future: Future[Any]) -> str:
    """Why a task has ended that did not say how its trial did."""
    try:
        future.result()
    except BrokenExecutor as error:  # this trial, or one beside it, is why
        return f"the executor broke while it ran: {type(error).__name__}: {in_a_line(error)}"
    except (Exception, CancelledError) as error:
        return f"its worker was lost: {type(error).__name__}: {in_a_line(error)}"
    return "its worker was lost while it ran"


def _hosts() -> tuple[str, ...]:
    """Addresses of this machine, in the order in which a worker is to try them."""
    import psutil

    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.address != LOOPBACK
    ]
    return (LOOPBACK, *found)
