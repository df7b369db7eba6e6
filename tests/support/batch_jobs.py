"""A cluster that starts jobs at once: processes of this machine behind submitit's interface, submitted in no time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import psutil
from submitit.core import core


def run(function: Any, folder: str, log: str) -> None:
    """What a job does."""
    os.environ |= {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": str(os.getpid()), "SUBMITIT_FOLDER": folder}
    os.setsid()
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

    def told_to_end(signum: int, frame: object) -> None:  # as submitit does
        assert function.checkpoint() is None
        raise RuntimeError("Job not requeued")

    signal.signal(signal.SIGUSR2, told_to_end)
    with contextlib.suppress(RuntimeError):
        function()


class ClusterJob(core.Job[Any]):
    """A job; what can be pickled of it finds the process, as that of a cluster does."""

    def __init__(self, folder: Path, process: Any, function: Any, log: Path) -> None:
        self.process, self.function, self.log = process, function, log
        self.given_state: str | None = None
        super().__init__(folder, str(process.pid))

    def _register_in_watcher(self) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "process": None}

    def stderr(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def done(self, force_check: bool = False) -> bool:
        if self.process is not None:
            return not self.process.is_alive()
        return not psutil.pid_exists(int(self.job_id))

    @property
    def state(self) -> str:
        return self.given_state or "FAILED"

    def cancel(self, check: bool = True) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.job_id), signal.SIGKILL)


class ClusterExecutor(core.Executor):
    """Where jobs are submitted."""

    job_class = ClusterJob

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["fasthpo.execution.batch_worker", "submitit", "cloudpickle"])
        self.jobs: list[ClusterJob] = []
        self.names: list[str] = []
        self.refusals: list[Exception] = []

    def _internal_process_submissions(self, delayed_submissions: list[Any]) -> list[Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        (one,) = delayed_submissions
        self.names.append(self.parameters["name"])
        return [self.start(one.function)]

    def start(self, function: Any) -> ClusterJob:
        """Start a job, or start it once more."""
        log = self.folder / f"{len(self.jobs)}.log"
        log.touch()
        process = self.context.Process(target=run, args=(function, str(self.folder), str(log)))
        process.start()
        job = ClusterJob(self.folder, process, function, log)
        self.jobs.append(job)
        return job

    def _convert_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        return params

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        self.parameters.update(kwargs)
