"""Everything that submitit is called for, in a thread of its own: its calls wait for SLURM, at times for minutes."""

from __future__ import annotations

import contextlib
import math
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fasthpo.errors import InvalidValue
from fasthpo.system.headline import message_of
from fasthpo.system.log import logger

_LOOK, _LOOK_HERE = 30.0, 0.5  # seconds between two looks at the jobs: SLURM's, those of this machine
_LEAVE = 10.0  # seconds for the jobs of this machine to end
_SIGNAL_DELAY = 90.0  # seconds before a job's end at which submitit tells it so, if it is not told otherwise
# states of which submitit says that a job has not ended, and which may be its last: where there is no accounting,
# submitit is told none; and a preempted job may be waiting again, or be gone
_UNSURE = ("UNKNOWN", "PREEMPTED")


def is_submitit(executor: Any) -> bool:
    """Whether something is an executor of submitit's; without importing it."""
    return not isinstance(executor, type) and any(
        kind.__module__.split(".")[0] == "submitit" and kind.__name__ == "Executor" for kind in type(executor).__mro__
    )


def check_submitit(executor: Any, workers: int | None) -> None:
    """Make sure that an executor of submitit's is one that can be used.

    Raises:
        InvalidValue: it is not.
    """
    if workers is None:
        raise InvalidValue("a submitit executor needs the number of jobs at the same time: workers=...")
    if type(executor).__name__ == "DebugExecutor" or getattr(executor, "cluster", None) == "debug":
        raise InvalidValue(
            'submitit\'s cluster="debug" runs jobs in this process, which is what optimize does without an executor'
        )


def seconds_of(executor: Any) -> float:
    """How long a job may take before it is told to end; infinite if the executor's parameters do not say."""
    parameters = executor.parameters
    minutes = parameters.get("time", parameters.get("timeout_min"))
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)):
        return math.inf
    return 60.0 * minutes - float(parameters.get("signal_delay_s", _SIGNAL_DELAY))


class Submitted(NamedTuple):
    """A job was submitted."""

    name: int  # by which the caller knows it
    job: Any  # submitit's


class Refused(NamedTuple):
    """A job can't be submitted, and it was tried for the first time or again."""

    name: int
    error: Exception


class JobEnded(NamedTuple):
    """A job is neither waiting nor running any more."""

    name: int
    state: str  # SLURM's or submitit's word
    log: str  # the last line of what it wrote to its standard error


class Submission:
    """Submits jobs, follows and cancels them.

    Args:
        executor: submitit's.
        post: takes what happens: `Submitted`, `Refused`, `JobEnded`; called in the thread.
        title: what the names of jobs begin with, if the executor's parameters do not say.
    """

    def __init__(self, executor: Any, post: Callable[[Any], None], title: str) -> None:
        self._executor = executor
        parameters = executor.parameters
        self._title = parameters.get("job_name") or parameters.get("name") or title
        self._post = post
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: dict[int, Any] = {}  # those that may be running
        self._again: list[tuple[int, Callable[[], None], str]] = []  # submissions that were refused
        self._withdrawn: set[int] = set()
        self._looked = 0.0
        self._thread = threading.Thread(target=self._serve, name="fasthpo-submission", daemon=True)
        self._thread.start()

    def submit(self, name: int, function: Callable[[], None], title: str) -> None:
        """Have a job submitted.

        Args:
            name: by which the caller knows it.
            function: what it runs.
            title: what its name for people ends with.
        """
        self._calls.put(lambda: self._submit(name, function, title))

    def adopt(self, name: int, job: Any) -> None:
        """Follow a job that another process has submitted."""
        self._calls.put(lambda: self._jobs.__setitem__(name, job))

    def cancel(self, name: int) -> None:
        """Have a job cancelled, or not submitted."""
        self._calls.put(lambda: self._cancel(name))

    def close(self) -> None:
        """End the thread, when all that was called for is done. Jobs of this machine are waited for."""
        self._calls.put(None)
        self._thread.join()
        self._end_here()

    # --- in the thread

    def _serve(self) -> None:
        while True:
            pause = _LOOK_HERE if any(map(_is_here, self._jobs.values())) else _LOOK
            with contextlib.suppress(queue.Empty):
                call = self._calls.get(timeout=max(0.0, self._looked + pause - time.monotonic()))
                if call is None:
                    return
                call()
                continue
            self._look()
            again, self._again = self._again, []
            for one in again:
                self._submit(*one)

    def _submit(self, name: int, function: Callable[[], None], title: str) -> None:
        if name in self._withdrawn:
            return
        executor = self._executor
        parameters = dict(executor.parameters)
        # which of submitit's executors calls it so; an AutoExecutor calls it "name" for all of them
        option = "job_name" if type(executor).__name__ == "SlurmExecutor" else "name"
        try:
            executor.update_parameters(**{option: f"{self._title}-{title}"})
            job = executor.submit(function)
            self._jobs[name] = job
            _ = job.job_id  # which there is not in `with executor.batch()`
        except Exception as error:
            self._jobs.pop(name, None)
            self._again.append((name, function, title))
            self._post(Refused(name, error))
            return
        finally:
            executor.parameters.clear()
            executor.parameters.update(parameters)
        self._post(Submitted(name, job))

    def _cancel(self, name: int) -> None:
        self._withdrawn.add(name)
        job = self._jobs.get(name)
        if job is not None:
            try:
                _cancel(job)
            except Exception as error:
                logger.warning("job %s can't be cancelled: %s", job.job_id, message_of(error))

    def _look(self) -> None:
        """Find out which jobs have ended."""
        fresh = False  # whether SLURM has been asked, once for all jobs
        unsure: dict[int, Any] = {}
        for name, job in tuple(self._jobs.items()):
            with contextlib.suppress(Exception):  # a moment in which SLURM or the file system does not answer
                if _has_ended(job, fresh):
                    self._end(name, "FINISHED" if job.paths.result_pickle.exists() else job.state)
                elif not _is_here(job):
                    fresh = True
                    if job.state.upper() in _UNSURE:
                        unsure[name] = job
        for name in _gone(unsure):
            self._end(name, unsure[name].state)
        self._looked = time.monotonic()

    def _end(self, name: int, state: str) -> None:
        job = self._jobs.pop(name)
        log = ""
        with contextlib.suppress(Exception):
            log = next((line.strip() for line in reversed((job.stderr() or "").splitlines()) if line.strip()), "")
        self._post(JobEnded(name, state, log[:300]))

    def _end_here(self) -> None:
        """Wait for jobs that are processes of this machine."""
        until = time.monotonic() + _LEAVE
        here = {name: job for name, job in self._jobs.items() if _is_here(job)}
        while here and time.monotonic() < until:
            here = {name: job for name, job in here.items() if not _has_ended(job, True)}
            time.sleep(0.02)
        for job in here.values():
            with contextlib.suppress(Exception):
                _cancel(job)


def _is_here(job: Any) -> bool:
    """Whether a job is a process of this machine."""
    return type(job).__name__ == "LocalJob"


def _process(job: Any) -> Any:
    """The process of a local job that another program has started, if it is still there."""
    import psutil

    try:
        process = psutil.Process(int(job.job_id))
        return process if "submitit.local._local" in process.cmdline() else None
    except (psutil.Error, ValueError):
        return None


def _has_ended(job: Any, fresh: bool) -> bool:
    """Whether a job has ended; `fresh` says that the cluster was asked just now."""
    if _is_here(job) and getattr(job, "_process", None) is None:
        return job.paths.result_pickle.exists() or _process(job) is None
    return bool(job.done(force_check=not fresh))


def _cancel(job: Any) -> None:
    if _is_here(job) and getattr(job, "_process", None) is None:
        process = _process(job)
        if process is not None:
            process.send_signal(2)  # SIGINT, as submitit does
    else:
        job.cancel(check=False)


def _gone(jobs: dict[int, Any]) -> list[int]:
    """Which of SLURM's jobs are neither waiting nor running."""
    if not jobs or shutil.which("squeue") is None:
        return []
    try:
        command = ["squeue", "--noheader", "--me", "--format=%i"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []
    return [name for name, job in jobs.items() if job.job_id not in listed]
