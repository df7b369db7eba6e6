"""What a batch job runs: one trial after the other, told and asked through files that the run's process shares with it.

It outlives the run's process. A trial that has begun goes on without it to its end, and another process that goes on
with the study finds what it has said. Nothing begins while there is nobody who would hear of it.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fasthpo.errors import TrialStateError
from fasthpo.execution.backends.base import Ended, FailureKind, Job, Limits
from fasthpo.execution.gpu_memory import MemoryCleaner
from fasthpo.execution.main_module import Source
from fasthpo.execution.message_files import MessageFile, append
from fasthpo.execution.messages import Message, Says, Told, pack_ended
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.own_process import work_in_own_process
from fasthpo.execution.remote_trial import read_reply
from fasthpo.execution.unpickling import Unloadable, load
from fasthpo.execution.worker_main import work
from fasthpo.system.forked import renew_in_forked

FROM_JOB, TO_JOB, HEARTBEAT = "from-job", "to-job", "heartbeat"  # files; the last one is the run's
_GATHER = 0.1  # seconds that a report may wait for the next one, to be written with it
_SHORTEST, _LONGEST = 0.01, 0.25  # seconds between two looks for a reply
_LOOK = 2.0  # seconds between two looks whether the run's process is alive
_RESERVE = 1.2  # a further trial is begun if the job has so many times as long left as the longest so far took


class Order(NamedTuple):
    """A trial for a worker."""

    job: Job
    objective: str  # name of the file, in the run's directory
    spec: OutcomeSpec
    limits: Limits


class _Alone(Exception):
    """The run's process does not answer any more."""


class FileChannel:
    """A worker's channel to the study.

    Args:
        folder: the job's, in that of the run.
        patience: seconds after which the run's process counts as gone if it shows no sign of life.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self._outgoing = folder / FROM_JOB
        self._incoming = MessageFile(folder / TO_JOB)
        self._heartbeat = folder.parent / HEARTBEAT
        self._patience = patience
        self._lock = threading.RLock()  # reentrant for a signal's handler, which may speak, too
        renew_in_forked(self, _lock=threading.RLock)
        self._start = secrets.randbits(62)  # tells this process from an earlier one of the job, which SLURM requeues
        self._questions = 0
        self._ticket = 0
        self._waiting: list[Message] = []
        self._written = -_GATHER
        self._flusher: threading.Timer | None = None
        self._is_closed = False
        self._beat: bytes | None = None  # the last sign of life, and when it was new
        self._seen = time.monotonic()
        self.missed = False  # whether a question found nobody, so that the objective was told so

    # --- for a trial

    def begin(self, ticket: int) -> None:
        """What is said from now on is of this attempt."""
        self._ticket = ticket
        self.missed = False

    def send(self, message: Message) -> None:
        """Write a message, soon."""
        with self._lock:
            self._add(message, 0)
            if time.monotonic() - self._written >= _GATHER:
                self._flush()
            elif self._flusher is None:
                self._flusher = threading.Timer(_GATHER, self._flush_late)
                self._flusher.daemon = True
                self._flusher.start()

    def request(self, message: Message) -> Any:
        """Ask something; the answer."""
        return read_reply(self.exchange(message))

    def exchange(self, message: Message) -> Message:
        """Ask something; the reply as it came. If the run's process is gone, no trial is pruned."""
        try:
            return self.ask(message)
        except _Alone:
            if message == [Says.PRUNE]:
                return [Told.REPLY, False]
            self.missed = True
            raise TrialStateError("the process that runs the study is gone, and can't be asked") from None

    def ask(self, *messages: Message) -> Message:
        """Write messages, of which the last one is a question; the reply.

        Raises:
            _Alone: the run's process is gone.
            TrialStateError: the run is over.
        """
        with self._lock:
            self._questions += 1
            question = self._questions
            for message in messages[:-1]:
                self._add(message, 0)
            self._add(messages[-1], question)
            self._flush()
            pause, looked = _SHORTEST, -_LOOK
            while True:
                for start, answered, reply in self._read():
                    if (start, answered) == (self._start, question):
                        return list(reply)
                if time.monotonic() - looked >= _LOOK:
                    looked = time.monotonic()
                    if not self.is_heard():
                        raise _Alone
                time.sleep(pause)
                pause = min(_LONGEST, 1.2 * pause)

    def end(self, message: Message) -> None:
        """Write a last message; what is said later goes nowhere. Also called by a signal's handler."""
        with self._lock:
            self._add(message, 0)
            self._flush()
            self._is_closed = True

    def is_heard(self) -> bool:
        """Whether the run's process has shown a sign of life of late."""
        with contextlib.suppress(OSError):
            beat = self._heartbeat.read_bytes()
            if beat != self._beat:
                self._beat, self._seen = beat, time.monotonic()
        return time.monotonic() - self._seen < self._patience

    def is_over(self) -> bool:
        """Whether the run has ended and its files are gone."""
        return not self._outgoing.exists()

    def _add(self, message: Message, question: int) -> None:
        if self._is_closed:
            raise TrialStateError("the job of this trial has ended")
        self._waiting.append([self._start, self._ticket, question, message])

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            append(self._outgoing, waiting)
        except FileNotFoundError:
            raise TrialStateError("the run that this trial belongs to is over") from None
        except OSError as error:
            self._waiting = [*waiting, *self._waiting]  # for the next time
            raise TrialStateError(f"the study can't be told of this trial: {error}") from error
        self._written = time.monotonic()

    def _flush_late(self) -> None:
        with self._lock:
            self._flusher = None
            with contextlib.suppress(TrialStateError):  # the next message takes it along, or will say so
                self._flush()

    def _read(self) -> list[Message]:
        try:
            return self._incoming.read()
        except FileNotFoundError:
            raise TrialStateError("the run that this trial belongs to is over") from None
        except OSError:  # a network file system may have its moments
            return []


class BatchWorker:
    """Called in a batch job.

    Args:
        folder: the job's, in that of the run.
        path: `sys.path` of the run's process.
        patience: seconds after which that process counts as gone if it shows no sign of life.
        seconds: that the job may take before it is told to end.
    """

    def __init__(self, folder: Path, path: list[str], patience: float, seconds: float) -> None:
        self._seconds = seconds
        self._folder = folder
        self._path = path
        self._patience = patience
        self._channel: FileChannel | None = None
        self._number: int | None = None  # of the trial that is running

    def __call__(self) -> None:
        """Run the trials that the run's process gives."""
        sys.path += [entry for entry in self._path if entry not in sys.path]
        tasks, rank = _tasks_and_rank()
        if tasks > 1:
            if rank == 0:
                why = (
                    f"was started as {tasks} processes, as the executor's tasks_per_node and nodes say; a batch job is "
                    "to be one, and an objective that needs several starts them itself"
                )
                FileChannel(self._folder, self._patience).end([Says.UNLOADABLE, why])
            return
        self._channel = channel = FileChannel(self._folder, self._patience)
        with contextlib.suppress(TrialStateError, _Alone):
            self._serve(channel)

    def checkpoint(self) -> None:
        """Called by submitit, in a signal's handler, shortly before the job is ended; None: it is not requeued.

        submitit then raises an exception where the objective is, so that it has a moment to clean up.
        """
        channel, number = self._channel, self._number
        if channel is not None and number is not None:
            error = "its job was told to end: it was preempted, or its time was nearly over"
            with contextlib.suppress(TrialStateError):
                channel.end([Says.DONE, pack_ended(Ended(number, failure=FailureKind.LOST, error=error))])

    def _serve(self, channel: FileChannel) -> None:
        loaded: tuple[str, Any] = ("", None)
        tidier = MemoryCleaner()
        until, longest = time.monotonic() + self._seconds, 0.0
        reply = channel.ask([Says.READY, socket.gethostname(), True])
        while reply[0] == Told.JOB:
            order: Order = pickle.loads(reply[1])
            begin = time.monotonic()
            channel.begin(order.job.ticket)
            self._number = order.job.number
            pickled = _reader(self._folder.parent / order.objective)
            if order.limits:
                ended = work_in_own_process(pickled(), order.job, channel, order.spec, order.limits, channel.is_over)
            else:
                if loaded[0] != order.objective:
                    try:
                        loaded = order.objective, load(pickled(), Source(order.objective.encode(), pickled))
                    except Unloadable as error:
                        channel.end([Says.UNLOADABLE, f"in a batch job {error}"])
                        return
                ended = work(loaded[1], order.job, channel, order.spec)
            self._number = None
            if channel.missed and ended.failure is not None:
                return  # it failed for that: whoever goes on with the study runs it again
            longest = max(longest, time.monotonic() - begin)
            goes_on = not tidier.tidy() and time.monotonic() + _RESERVE * longest < until
            done = [Says.DONE, pack_ended(ended)]
            reply = channel.ask(done, [Says.READY, socket.gethostname(), goes_on])


def _reader(path: Path) -> Callable[[], bytes]:
    return path.read_bytes


def _tasks_and_rank() -> tuple[int, int]:
    """How many processes this job is, and which of them this one is."""
    from submitit import JobEnvironment

    environment = JobEnvironment()
    return environment.num_tasks, environment.global_rank
