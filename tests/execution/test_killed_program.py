"""A program that is killed leaves no worker behind, whatever that is doing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent by itself")

_SCRIPT = """
import multiprocessing, os, subprocess, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor
import fasthpo

way, where = sys.argv[1:]

def say(number):
    os.write(1, b"%d\\n" % number)  # in one piece, as several processes share the pipe

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def objective(trial):
    if "child" in way:
        say(subprocess.Popen(["sleep", "1000"]).pid)
    say(os.getpid())
    if "busy" in way:
        pow(7, 10**9 + 7, 10**400_000)  # holds the interpreter's lock for hours
    threading.Event().wait()

class Forking(fasthpo.HyperparameterCallback):
    def on_trial_start(self, trial):
        if trial.number == 1 and "forked" in way:  # it has a copy of all that the program has open
            pid = os.fork()
            if not pid:
                threading.Event().wait()
            say(-pid)

def main():
    tuner = fasthpo.HyperparameterTuner.with_random_search(
        fasthpo.TunerConfig("s", max_trials=1000), {"x": fasthpo.Continuous(0, 1)}
    ).add_callback(Forking())
    options = {"workers": 2}
    if where != "own":
        options["executor"] = ProcessPoolExecutor(2, multiprocessing.get_context(where))
    if "thread" not in way:
        return tuner.optimize(objective, **options)
    thread = threading.Thread(target=tuner.optimize, args=(objective,), kwargs=options)
    thread.start()
    thread.join()

if __name__ == "__main__":
    main()
"""


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def wait_until_gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(pid).wait(timeout=20)
    assert is_gone(pid)


def kill(folder: Path, repository: Path, way: str, where: str, lines: int) -> None:
    """Kill the program once so many processes are at work, and see them end."""
    (folder / "script.py").write_text(_SCRIPT)
    pids: list[int] = []
    with subprocess.Popen(
        [sys.executable, "script.py", way, where], stdout=subprocess.PIPE, encoding="utf-8", cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repository)}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            while len(pids) < lines:
                pids.append(int(process.stdout.readline()))
            workers = [pid for pid in pids if pid > 0]
            assert not any(map(is_gone, workers))
            process.kill()
            for pid in workers:
                wait_until_gone(pid)
        finally:
            process.kill()
            for pid in pids:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(abs(pid)).kill()


@pytest.mark.parametrize(
    ("way", "lines"), [("busy", 2), ("busy in a thread", 2), ("busy with a child", 4), ("forked and busy", 3)]
)
def test_workers_that_hold_the_interpreter_end_with_a_program_that_is_killed(
    way: str, lines: int, tmp_path: Path, repository: Path
) -> None:
    kill(tmp_path, repository, way, "own", lines)


@pytest.mark.parametrize(
    ("way", "method"),
    [
        ("idle", "fork"), ("idle", "spawn"), ("idle", "forkserver"),
        pytest.param("busy", "fork", marks=linux), pytest.param("busy", "spawn", marks=linux),
    ],
)  # fmt: skip
def test_workers_of_an_executor_end_with_a_program_that_is_killed(
    way: str, method: str, tmp_path: Path, repository: Path
) -> None:
    kill(tmp_path, repository, way, method, 2)


_THREAD = """
import multiprocessing, os, threading
from concurrent.futures import ProcessPoolExecutor
import fasthpo

def objective(trial):
    return float(os.getpid())

def main():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        tuner = fasthpo.HyperparameterTuner.with_random_search(
            fasthpo.TunerConfig("s", max_trials=2), {"x": fasthpo.Continuous(0, 1)}
        )
        thread = threading.Thread(target=tuner.optimize, args=(objective,), kwargs={"executor": executor})
        thread.start()
        thread.join()
        for _ in range(10):
            assert executor.submit(os.getpid).result() == int(tuner.study.values[0])
    print("well")

if __name__ == "__main__":
    main()
"""


@linux
def test_workers_of_an_executor_outlive_the_thread_that_has_started_them(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "script.py").write_text(_THREAD)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    assert done.stdout == "well\n", done.stderr
