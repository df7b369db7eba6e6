"""In batch jobs, through an executor of submitit's: on SLURM, or in processes of this machine that behave alike.

The run and its jobs share a file system, and nothing else: a firewall between machines does not matter, and a job
outlives the run's process. In the executor's folder there is one for the run, and in it:

    heartbeat             changes while the run's process lives
    objective-...         its pickle
    1/, 2/, ...           a folder for each job
        job               submitit's handle and the first trial, pickled
        from-job, to-job  messages, see `message_files`

If the run's process is killed, its jobs train their trials to the end. When the study goes on, in the same directory,
jobs and results of trials that are asked again are found here and taken over.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pickle
import queue
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fasthpo.errors import StorageError, WorkersFailed
from fasthpo.execution.backends.base import Backend, Ended, FailureKind, Job, Limits
from fasthpo.execution.batch_worker import FROM_JOB, HEARTBEAT, TO_JOB, BatchWorker, Order
from fasthpo.execution.message_files import MessageFile, append
from fasthpo.execution.messages import CorruptMessage, Message, Says, Told, unpack_ended
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.pool import in_a_line
from fasthpo.execution.study_server import StudyServer
from fasthpo.execution.submission import JobEnded, Refused, Submission, Submitted, seconds_of
from fasthpo.system.headline import message_of
from fasthpo.system.log import logger
from fasthpo.trials.trial import Trial

_PERIOD = 10.0  # seconds between two signs of life
_PATIENCE = 60.0  # seconds without one after which a job takes this process for gone
_SHARE = 0.05  # of the time since a job said something last, that its next message may wait
_SHORTEST, _LONGEST = 0.02, 1.0  # seconds that it may wait in any case
_MOST_REFUSALS = 20  # in a row, with half a minute between them, after which the run ends
_MOST_READS = 200  # files opened a second, on average


class _First(NamedTuple):
    """What the file `job` holds, as `_BatchJob` has it."""

    handle: Any
    job: Job


@dataclass(eq=False)
class _BatchJob:
    """A job of the cluster's, as far as this process knows."""

    name: int
    folder: Path
    file: MessageFile
    first: Job  # the attempt that it was submitted for
    trials_left: int  # that it may be given, after that one
    handle: Any = None  # submitit's, once it was submitted
    start: int | None = None  # which start of it is speaking
    asked: int = 0  # its question that is to be answered by a trial, if it is idle
    job: Job | None = None  # the attempt that it has, or will get when it asks
    begun: bool = False  # whether it was given that
    spoke: float = field(default_factory=time.monotonic)
    due: float = 0.0  # when it is to be looked at
    retires: bool = False  # it gets no further trial
    is_earlier: bool = False  # an earlier process has submitted it
    has_ended: bool = False
    answered: dict[int, int] = field(default_factory=dict)  # by that process: the last question of each start


class BatchJobs(Backend):
    """Trials in batch jobs, each of which trains one trial or several, one after the other.

    Args:
        objective: pickled by cloudpickle.
        spec: what is to be made of that which the objective returns.
        server: the study's.
        executor: submitit's; stays the caller's.
        workers: how many jobs there are at the same time.
        limits: what a trial may take. With one, each trial runs in a process that its job starts.
        trials_per_job: how many trials a job trains; None for as many as there are.
        study: the study's name, and where it is kept, if it is.

    Raises:
        StorageError: the executor's folder can't be written to.
    """

    def __init__(
        self,
        objective: bytes,
        spec: OutcomeSpec,
        server: StudyServer,
        executor: Any,
        workers: int,
        limits: Limits,
        trials_per_job: int | None,
        study: tuple[bytes, Path | None],
    ) -> None:
        self._server = server
        self._workers = workers
        self._trials_per_job = sys.maxsize if trials_per_job is None else trials_per_job
        self._order = Order(Job(0, 0, {}, None, 0), f"objective-{secrets.token_hex(8)}", spec, limits)
        self._seconds = seconds_of(executor)
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs: dict[int, _BatchJob] = {}
        self._left: list[_BatchJob] = []  # that an earlier process has left, with an attempt that nobody has asked for
        self._attempts: dict[int, _BatchJob] = {}  # by ticket: those that run
        self._ended: list[Ended] = []
        self._has_submitted, self._refusals = False, 0  # those in a row
        self._folder = _folder(executor, study)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / self._order.objective).write_bytes(objective)
            self._beat()
        except OSError as error:
            raise StorageError(f"the executor's folder can't be written to: {error}") from error
        self._names = itertools.count(1 + max(map(int, _job_folders(self._folder)), default=0))
        self._tickets = itertools.count(time.time_ns())  # which no earlier process has used
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name="fasthpo-heartbeat", daemon=True)
        self._heart.start()
        self._submission = Submission(executor, self._events.put, "fasthpo" if study[1] is None else study[1].name)
        self._take_over()

    def _beat(self) -> None:
        temporary = self._folder / f".{HEARTBEAT}-{os.getpid()}"
        temporary.write_text(secrets.token_hex(8))
        temporary.replace(self._folder / HEARTBEAT)

    def _beat_on(self) -> None:
        while not self._over.wait(_PERIOD):
            with contextlib.suppress(OSError):  # the file system may have its moments
                self._beat()

    @property
    def capacity(self) -> int:
        return self._workers

    # --- what an earlier process has left

    def _take_over(self) -> None:
        """Find the jobs that an earlier process of this study has left, and which trials they have."""
        for name in sorted(map(int, _job_folders(self._folder))):
            folder = self._folder / str(name)
            try:
                found = self._found(name, folder)
            except Exception as error:  # it was killed as it submitted the job, or another version has written it
                logger.warning("job %d of an earlier run can't be followed, and is to end: %s", name, in_a_line(error))
                shutil.rmtree(folder, ignore_errors=True)  # of which the job takes notice
                continue
            self._left.append(found)
            self._jobs[name] = found
            self._submission.adopt(name, found.handle)
        if self._left:
            logger.info("there are %d jobs of an earlier run", len(self._left))

    def _found(self, name: int, folder: Path) -> _BatchJob:
        """A job that an earlier process has left."""
        first = _First(*pickle.loads((folder / "job").read_bytes()))
        found = _BatchJob(name, folder, MessageFile(folder / FROM_JOB, bounded=True), first.job, 0, first.handle)
        found.job, found.is_earlier, found.retires = first.job, True, True
        for start, question, reply in MessageFile(folder / TO_JOB).read():
            found.answered[start] = question
            if reply[0] == Told.JOB:
                found.job, found.begun = pickle.loads(reply[1]).job, True
        if found.begun:  # it gets no other trial, and is not to wait for one
            for start, _, question, body in MessageFile(folder / FROM_JOB, bounded=True).read():
                if body[0] == Says.READY and question > found.answered.get(start, 0):
                    found.answered[start] = question
                    append(folder / TO_JOB, [[start, question, [Told.OVER]]])
        return found

    def _of_earlier(self, job: Job) -> _BatchJob | None:
        """The job of an earlier process that has just this attempt."""
        for found in reversed(self._left):  # the latest attempt first
            if found.job is not None and _same_attempt(found.job, job):
                self._left.remove(found)
                return found
        if self._left and job.number > max(found.job.number for found in self._left if found.job is not None):
            self._give_up_left()  # trials that were running are asked for first
        return None

    def _give_up_left(self) -> None:
        """Nobody will ask for the trials of these jobs."""
        for found in self._left:
            self._submission.cancel(found.name)
            found.job = None
            if found.has_ended:
                del self._jobs[found.name]
        self._left.clear()

    # --- trials to jobs

    def submit(self, trial: Trial, alone: bool = False) -> None:
        job = Job.of(trial, next(self._tickets), alone=False)
        found = self._of_earlier(job)
        if found is not None:
            assert found.job is not None
            logger.info("trial %d is that of job %s, of an earlier run", trial.number, found.handle.job_id)
            self._attempts[found.job.ticket] = found
            if found.has_ended:
                self._on_job_ended(found, "", "")
            return
        idle = next((one for one in self._jobs.values() if one.asked and not one.retires), None)
        if idle is None:
            self._submit(job)
        else:
            idle.job, idle.trials_left = job, idle.trials_left - 1
            self._attempts[job.ticket] = idle
            self._give(idle)

    def _submit(self, job: Job) -> None:
        """Have a batch job submitted whose first trial this is."""
        name = next(self._names)
        folder = self._folder / str(name)
        try:
            folder.mkdir(mode=0o700)
            for file in (FROM_JOB, TO_JOB):
                (folder / file).touch()
        except OSError as error:
            raise StorageError(f"the executor's folder can't be written to: {error}") from error
        incoming = MessageFile(folder / FROM_JOB, bounded=True)
        made = _BatchJob(name, folder, incoming, job, self._trials_per_job - 1, job=job)
        self._jobs[name] = self._attempts[job.ticket] = made
        self._submission.submit(name, self._worker(folder), str(job.number))

    def _worker(self, folder: Path) -> BatchWorker:
        return BatchWorker(folder, list(sys.path), _PATIENCE, self._seconds)

    def _give(self, batch: _BatchJob) -> None:
        """Give a worker that asks for one the attempt that is meant for it."""
        assert batch.job is not None
        batch.begun = True
        self._reply(batch, [Told.JOB, pickle.dumps(self._order._replace(job=batch.job))])

    def _reply(self, batch: _BatchJob, reply: Message) -> None:
        question, batch.asked = batch.asked, 0
        self._answer(batch, question, reply)

    def _answer(self, batch: _BatchJob, question: int, reply: Message) -> None:
        try:
            append(batch.folder / TO_JOB, [[batch.start, question, reply]])
        except OSError as error:  # it would wait for ever
            logger.warning("job %s can't be told anything, and is cancelled: %s", batch.name, message_of(error))
            self._submission.cancel(batch.name)

    # --- what jobs say

    def wait(self, timeout: float | None = None) -> list[Ended]:
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            self._read_all()
            if self._ended:
                break
            now = time.monotonic()
            moments = [batch.due for batch in self._jobs.values()] + ([] if until is None else [until])
            try:
                event = self._events.get(timeout=max(0.0, min(moments, default=now + _LONGEST) - now))
            except queue.Empty:
                if until is not None and time.monotonic() >= until:
                    break
                continue
            if event is None:
                break
            self._on_event(event)
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        self._events.put(None)

    def _read_all(self) -> None:
        """Read what has come of all jobs that it is time to look at."""
        shortest = max(_SHORTEST, len(self._jobs) / _MOST_READS)
        for batch in tuple(self._jobs.values()):
            if batch.due <= time.monotonic() and batch not in self._left:
                self._read(batch)
                now = time.monotonic()
                batch.due = now + max(shortest, min(_LONGEST, _SHARE * (now - batch.spoke)))

    def _read(self, batch: _BatchJob) -> None:
        try:
            messages = batch.file.read()
            if messages:
                batch.spoke = time.monotonic()
            for message in messages:
                self._on_message(batch, message)
        except OSError:
            pass  # the file system may have its moments; if the job is gone, too, that will be noticed
        except CorruptMessage as error:
            self._submission.cancel(batch.name)
            self._retire(batch, f"its job was cancelled, because {error}")

    def _on_message(self, batch: _BatchJob, message: Message) -> None:
        match message:
            case [int(start), int(ticket), int(question), [int(), *_] as body]:
                pass
            case _:
                raise CorruptMessage("what it wrote is no message")
        if question and question <= batch.answered.get(start, 0):
            batch.start = start
            if body[0] == Says.SUGGEST and self._attempts.get(ticket) is batch:
                assert batch.job is not None
                self._server.take(batch.job.number, body)  # a study that was loaded has not been asked; same answer
            return
        if body[0] == Says.READY:
            self._on_ready(batch, start, question, body)
            return
        if body[0] == Says.UNLOADABLE:
            raise WorkersFailed(f"a worker {body[-1]}")
        if ticket not in self._attempts or self._attempts[ticket] is not batch:
            return  # it was given up
        assert batch.job is not None
        if body[0] == Says.DONE:
            self._end(batch, unpack_ended(body[-1], batch.job.number))
            return
        reply = self._server.take(batch.job.number, body)
        if reply is not None:
            self._answer(batch, question, reply)

    def _on_ready(self, batch: _BatchJob, start: int, question: int, body: Message) -> None:
        """A worker has nothing to do: it has just started, or its trial has ended."""
        if batch.begun and batch.job is not None and start != batch.start:
            self._lose(batch, "its job was started once more")
            batch.trials_left += 1  # in the place of the one that it has lost
        batch.start, batch.asked = start, question
        if batch.job is not None:
            self._give(batch)
        elif batch.retires or batch.trials_left <= 0 or body[-1] is not True or len(self._working()) > self._workers:
            self._retire(batch)

    def _working(self) -> list[_BatchJob]:
        return [batch for batch in self._jobs.values() if not batch.retires]

    def _retire(self, batch: _BatchJob, why: str = "") -> None:
        """Give a job no further trial."""
        if batch.job is not None:
            self._lose(batch, why)
        batch.retires = True
        if batch.asked:
            self._reply(batch, [Told.OVER])

    def _end(self, batch: _BatchJob, ended: Ended) -> None:
        assert batch.job is not None
        self._attempts.pop(batch.job.ticket, None)
        batch.job, batch.begun = None, False
        self._ended.append(ended)

    def _lose(self, batch: _BatchJob, why: str, kind: FailureKind = FailureKind.LOST) -> None:
        assert batch.job is not None
        self._end(batch, Ended(batch.job.number, failure=kind, error=why))

    # --- what becomes of jobs

    def _on_event(self, event: Submitted | Refused | JobEnded) -> None:
        batch = self._jobs[event.name]
        match event:
            case Submitted(_, job):
                batch.handle, self._has_submitted, self._refusals = job, True, 0
                with contextlib.suppress(Exception):  # without it no later process takes it over
                    (batch.folder / "job").write_bytes(pickle.dumps(tuple(_First(job, batch.first))))
            case Refused(_, error):
                why = f"submitit can't submit a job: {type(error).__name__}: {in_a_line(error)}"
                self._refusals += 1
                if self._refusals >= (_MOST_REFUSALS if self._has_submitted else 1):
                    raise WorkersFailed(why) from error
                logger.warning("%s; it is tried again", why)
            case JobEnded(_, state, log):
                self._on_job_ended(batch, state, log)

    def _on_job_ended(self, batch: _BatchJob, state: str, log: str) -> None:
        batch.has_ended = True
        if batch in self._left:
            return  # if its trial is asked for, it may have ended well
        self._read(batch)
        lost = batch.job
        if lost is not None and batch.is_earlier:  # it may have been lost while nobody saw to it
            self._attempts.pop(lost.ticket, None)
            self._server.repeat(lost.number)
            self._submit(lost._replace(ticket=next(self._tickets)))
        elif lost is not None:
            kind = FailureKind.MEMORY if state.startswith("OUT_OF_ME") else FailureKind.LOST
            why = f"its job {batch.handle.job_id} has ended ({state})" + (f": {log}" if log else "")
            self._lose(batch, why, kind)
        del self._jobs[batch.name]
        shutil.rmtree(batch.folder, ignore_errors=True)

    def abort(self) -> None:
        for batch in self._jobs.values():
            if batch.job is not None:
                self._submission.cancel(batch.name)

    def close(self) -> None:
        self.abort()
        for batch in self._jobs.values():
            self._retire(batch, "the run is over")
        self._submission.close()
        self._over.set()
        self._heart.join()
        shutil.rmtree(self._folder, ignore_errors=True)  # by which also those hear of it that are not to be reached


def _same_attempt(one: Job, other: Job) -> bool:
    """Whether two processes mean the same; where parameters are asked for, a job has those of attempts before it."""
    params = one.params if one.learns_space else other.params
    return one == other._replace(ticket=one.ticket, params=params)


def _job_folders(folder: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path.name for path in folder.iterdir() if path.name.isdigit())


def _folder(executor: Any, study: tuple[bytes, Path | None]) -> Path:
    """The folder of a run: that of the same study in the same place is the same one."""
    identity, place = study
    parts = itertools.takewhile(lambda part: "%" not in part, Path(executor.folder).absolute().parts)
    named = secrets.token_bytes(8) if place is None else identity + os.fsencode(place)
    return Path(*parts) / "fasthpo" / hashlib.sha256(named).hexdigest()[:24]
