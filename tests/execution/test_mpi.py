"""Trials in mpi4py's executor, in real MPI processes on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mpi4py")
_MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")

pytestmark = pytest.mark.skipif(_MPIEXEC is None, reason="no mpiexec")

_SCRIPT = """
import json, os, signal, sys, time
from mpi4py.futures import MPIPoolExecutor
import fasthpo

WAY = sys.argv[-1]

def objective(trial):
    x = trial["x"]
    if WAY == "kill" and trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if WAY == "hang" and trial.number == 1:
        time.sleep(600)
    if WAY == "raise" and trial.number == 1:
        raise ValueError("too large")
    for step in range(5):
        trial.report((x - 0.3) ** 2, step)
        if trial.should_prune():
            raise fasthpo.TrialPruned
    return (x - 0.3) ** 2

if __name__ == "__main__":
    pruning = fasthpo.PruningConfig(strategy="median", min_steps=1, n_startup_trials=2)
    config = fasthpo.TunerConfig("mpi", max_trials=int(sys.argv[1]), seed=0, pruning=pruning)
    space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)})
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space)
    limits = {"raise": {}, "kill": {"trial_timeout": 60.0}, "hang": {"trial_timeout": 15.0}}[WAY]
    with MPIPoolExecutor() as executor:
        tuner.optimize(objective, executor=executor, **limits)
    trials = [[trial.state.name, trial.error, sorted(trial.reports)] for trial in tuner.study.trials]
    with open("trials.json", "w") as file:
        json.dump(trials, file)
"""


def run(trials: int, way: str, folder: Path) -> list[list[Any]]:
    """The trials of a run with two MPI workers: state, error, steps reported."""
    (folder / "script.py").write_text(_SCRIPT)
    assert _MPIEXEC is not None
    command = [_MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py", str(trials), way]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    result: list[list[Any]] = json.loads((folder / "trials.json").read_text())
    return result


def test_trials_report_are_pruned_and_fail(tmp_path: Path) -> None:
    trials = run(40, "raise", tmp_path)
    assert len(trials) == 40
    assert trials[1][0] == "FAILED" and "ValueError: too large" in trials[1][1]
    ended = [state for number, (state, _, _) in enumerate(trials) if number != 1]
    assert set(ended) == {"COMPLETE", "PRUNED"}
    for state, error, steps in trials[:1] + trials[2:]:
        assert error is None
        assert steps == list(range(5)) if state == "COMPLETE" else len(steps) > 1


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize(("way", "error"), [("kill", "signal 9"), ("hang", "took longer than trial_timeout=15")])
def test_with_a_limit_a_trial_that_dies_or_hangs_costs_itself_only(way: str, error: str, tmp_path: Path) -> None:
    """MPI itself would end the whole run with a process that is killed."""
    trials = run(6, way, tmp_path)
    assert [number for number, (state, _, _) in enumerate(trials) if state == "FAILED"] == [1]
    assert len(trials) == 6 and error in trials[1][1]
