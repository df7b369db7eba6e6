"""Trials on Ray, a real one on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthpo import Trial, WorkersFailed
from tests.support.backends import BackendTests
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, resources={"licence": 1}, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def options(cluster: None) -> dict[str, Any]:
    return {"backend": "ray"}


class TestRay(BackendTests):
    @pytest.fixture
    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options


def test_resources_decide_how_many_run(options: dict[str, Any]) -> None:
    with Gate(opens_at=4) as gate:
        address = gate.address
        result = make(4).optimize(lambda trial: arrive(address) or 1.0, **options, resources_per_trial={"cpu": 0.5})
    assert result.statistics.completed_trials == 4

    def objective(trial: Trial) -> dict[str, float]:
        assigned = ray.get_runtime_context().get_assigned_resources()
        return {"loss": 1.0, "cpu": assigned["CPU"], "licence": assigned["licence"]}

    tuner = make(3, objective_metric="loss")
    tuner.optimize(objective, **options, resources_per_trial={"cpu": 2, "licence": 1})
    assert [trial.metrics for trial in tuner.study.trials] == [{"cpu": 2.0, "licence": 1.0}] * 3


def test_what_the_cluster_does_not_have(options: dict[str, Any]) -> None:
    with pytest.raises(WorkersFailed, match=r"a trial needs .*'GPU': 64.*but the Ray cluster has only"):
        make().optimize(len, **options, resources_per_trial={"gpu": 64})


def test_a_lost_worker_is_tried_again_or_fails_with_a_reason(options: dict[str, Any], tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        mark = trial.checkpoint_dir / "begun"
        trial.report(float(mark.exists()), step=0)
        trial.should_prune()  # reports that were not followed by a question may be lost with their worker
        if trial.number == 1 and not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        if trial.number == 2:
            os._exit(3)
        return 1.0

    tuner = make(6, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(objective, **options, retries=1)
    assert states(tuner) == ["COMPLETE", "COMPLETE", "FAILED", *["COMPLETE"] * 3]
    assert tuner.study.trials[1].reports == {0: 0.0}
    assert "its Ray task was lost: WorkerCrashedError" in (tuner.study.trials[2].error or "")


def test_a_trial_that_hangs(options: dict[str, Any]) -> None:
    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            trial.report(0.5, step=0)
            trial.should_prune()
            return arrive(address) or 1.0 if trial.number == 1 else 1.0

        tuner = make(4)
        tuner.optimize(objective, **options, trial_timeout=2.0)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert "took longer than trial_timeout=2 seconds" in (tuner.study.trials[1].error or "")
    assert [trial.reports for trial in tuner.study.trials] == [{0: 0.5}] * 4


def test_a_trial_that_takes_too_much_memory(options: dict[str, Any]) -> None:
    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            trial.report(0.5, step=0)
            trial.should_prune()
            if trial.number == 1:
                _ = bytearray(2**30)
                arrive(address)
            return 1.0

        tuner = make(4)
        tuner.optimize(objective, **options, trial_memory=2**29)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert "more than trial_memory=512 MiB" in (tuner.study.trials[1].error or "")
    assert tuner.study.trials[1].metrics["peak_memory"] > 2**29
    assert [trial.reports for trial in tuner.study.trials] == [{0: 0.5}] * 4


def test_a_worker_that_talks_nonsense_costs_its_trial(options: dict[str, Any]) -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 1:
            trial._source._line.request(["nonsense"])
        return 1.0

    tuner = make(4)
    tuner.optimize(objective, **options)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert "because its message can't be read: ['nonsense']" in (tuner.study.trials[1].error or "")


def test_an_objective_that_can_not_be_loaded(options: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "not_there_later.py").write_text("def objective(trial): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    import not_there_later  # type: ignore[import-not-found]

    (tmp_path / "not_there_later.py").unlink()
    tuner = make(4)
    with pytest.raises(WorkersFailed, match=r"(?s)can't load the objective:.*No module named 'not_there_later'"):
        tuner.optimize(not_there_later.objective, **options)
    assert set(states(tuner)) == {"FAILED"}


def test_the_mailbox_is_lost(options: dict[str, Any], tmp_path: Path) -> None:
    """Ray starts it anew; trials that waited for an answer are lost with it, and tried again."""

    def objective(trial: Trial) -> float:
        mark = trial.checkpoint_dir / "begun"
        trial.report(1.0, 0)
        assert not trial.should_prune()
        if trial.number == 0 and not mark.exists():
            mark.write_text("")
            ray.kill(trial._source._line._mailbox, no_restart=False)
        trial.report(1.0, 1)
        assert not trial.should_prune()
        return 1.0

    tuner = make(6, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(objective, **options, retries=3)
    assert states(tuner) == ["COMPLETE"] * 6
    assert [trial.reports for trial in tuner.study.trials] == [{0: 1.0, 1: 1.0}] * 6
