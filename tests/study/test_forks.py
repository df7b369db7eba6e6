"""Processes that an objective or a callback forks off: they end where its code does, and change nothing of the run's."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest

from fasthpo.system.forked import renew_in_forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

# the exit code of the child, and what it does when it has been forked off
WAYS = {
    "it returns": (0, "return 7.0"),
    "it exits": (3, "sys.exit(3)"),
    "it exits well": (0, "sys.exit()"),
    "it exits with a message": (1, "sys.exit('bye')"),
    "it exits at once": (4, "os._exit(4)"),
    "it raises": (1, "raise ValueError('in the child')"),
    "it is pruned": (1, "raise fasthpo.TrialPruned"),
    "it lets go of everything": (0, "trial = tuner = None; gc.collect(); return 7.0"),
}

_SCRIPT = """
import atexit, gc, json, os, sys, warnings
from pathlib import Path
import fasthpo

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
options, kept = json.loads(sys.argv[1]), sys.argv[2] == "kept"
codes = []


def fork(trial, tuner):
    pid = os.fork()
    if not pid:
        WAY
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def objective(trial):
    mark = trial.checkpoint_dir / "mark"
    mark.write_text("")
    trial.report(0.5, step=0)
    if trial.number == 1 and not in_callback:
        parent = os.getpid()
        code = fork(trial, None)
        if os.getpid() != parent:
            return code
        assert mark.exists()
        trial.report(0.25, step=1)
        assert trial.should_prune() is False
        return code
    return 1.0

class Forking(fasthpo.HyperparameterCallback):
    def on_trial_complete(self, trial):
        if trial.number == 1 and in_callback:
            codes.append(fork(trial, tuner))

in_callback = sys.argv[3] == "callback"
config = fasthpo.TunerConfig("s", max_trials=4, seed=0, output_dir=".", save_checkpoints=kept)
tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"x": fasthpo.Continuous(0.0, 1.0)})
tuner.remove_callback(fasthpo.LoggingCallback).add_callback(Forking())
tuner.optimize(objective, **options)
atexit.register(print, "the end")
there = [(trial.checkpoint_dir / "mark").exists() for trial in tuner.study.trials]
print(json.dumps([[t.state.name for t in tuner.study.trials], list(tuner.study.values), codes, there]), flush=True)
"""


def run(folder: Path, repository: Path, way: str, options: dict[str, Any], kept: bool, where: str) -> list[Any]:
    """What the program prints, and what it is to print."""
    code, statement = WAYS[way]
    (folder / "script.py").write_text(_SCRIPT.replace("WAY", statement))
    command = [sys.executable, "script.py", json.dumps(options), "kept" if kept else "in memory", where]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, encoding="utf-8",
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = done.stdout.splitlines()
    assert out[1:] == ["the end"], done.stdout  # once
    assert ("ValueError: in the child" in done.stderr) == (way == "it raises"), done.stderr
    assert ("bye" in done.stderr) == (way == "it exits with a message")
    value = 1.0 if where == "callback" else float(code)
    expected = [["COMPLETE"] * 4, [1.0, value, 1.0, 1.0], [code] * (where == "callback"), [True] * 4]
    found: list[Any] = json.loads(out[0])
    assert found == expected
    if kept:
        import fasthpo

        assert [trial.reports for trial in fasthpo.Study.load(folder / "s", read_only=True).trials][2:] == [
            {0: 0.5}
        ] * 2
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_in_this_process_forks(way: str, tmp_path: Path, repository: Path) -> None:
    run(tmp_path, repository, way, {}, way == "it exits", "objective")


@pytest.mark.parametrize("way", ["it returns", "it exits", "it raises", "it lets go of everything"])
def test_a_trial_in_a_worker_forks(way: str, tmp_path: Path, repository: Path) -> None:
    run(tmp_path, repository, way, {"workers": 2}, way == "it exits", "objective")


def test_a_trial_in_a_thread_forks(tmp_path: Path, repository: Path) -> None:
    run(tmp_path, repository, "it exits", {"workers": 2, "backend": "threads"}, False, "objective")


@pytest.mark.parametrize("options", [{}, {"workers": 2}], ids=["inline", "processes"])
def test_a_callback_forks(options: dict[str, Any], tmp_path: Path, repository: Path) -> None:
    run(tmp_path, repository, "it exits", options, True, "callback")


# --- while other threads of the parent are at work


@pytest.mark.parametrize(
    ("kind", "where", "stride"),
    [
        ("random/median/in-full", "kept", 151),
        ("tpe-finite/none/in-full", "memory", 151),
        ("tpe/nested/hyperband", "memory", 331),
        ("cma-es/none/asha", "kept", 331),
    ],
)
def test_a_child_forked_within_another_threads_call_reads_the_study_and_ends(
    kind: str, where: str, stride: int, tmp_path: Path, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, repository / "tests" / "support" / "forking.py", kind, where, str(stride), tmp_path],
        env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, encoding="utf-8", timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) >= 10 and not done.stderr


_WITHIN = """
import os, sys, warnings
from pathlib import Path
import fasthpo

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
children = []

class Forking(fasthpo.RandomSampler):
    def suggest(self, table, draw):
        children.append(os.fork())
        return super().suggest(table, draw)

study = fasthpo.Study(
    {"x": fasthpo.Continuous(0.0, 1.0)}, Forking(seed=0), storage="s" if sys.argv[1] == "kept" else None
)
for number in range(3):
    try:
        trial = study.ask()
    except fasthpo.StudyReadOnly:
        assert not children.pop()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(children.pop(), 0)[1]) == 7
    study.tell(trial, trial["x"])
values = list(study.values)
study.close()
assert sys.argv[1] != "kept" or list(fasthpo.Study.load("s", sampler=Forking(seed=0)).values) == values
print(len(values))
"""


@pytest.mark.parametrize("where", ["kept", "in memory"])
def test_a_child_forked_by_a_sampler_is_refused_at_the_end_of_the_call(
    where: str, tmp_path: Path, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHIN, where], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("3\n", "")


_ENDING = """
import atexit, os, sys, threading, warnings
from fasthpo.system.uninterrupted import uninterrupted

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
begun, over = threading.Event(), threading.Event()

def work():
    begun.set()
    over.wait()

def fork():
    begun.wait()
    pid = os.fork()
    if not pid:
        atexit._run_exitfuncs()
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    over.set()

threading.Thread(target=fork).start()
uninterrupted(work)
"""


def test_a_child_does_not_wait_for_what_its_parent_compiles(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENDING], env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True,
        encoding="utf-8", timeout=25,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_locks_are_free_in_a_child_and_its_owners_are_not_kept_alive() -> None:
    class Owner:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            renew_in_forked(self, lock=threading.Lock)

    owner = Owner()
    with owner.lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if not pid:
            os._exit(0 if owner.lock.acquire(blocking=False) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert owner.lock.locked()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
