"""Trials on a Dask cluster, a real one on this machine."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthpo import InvalidValue, Trial
from tests.support.backends import BackendTests
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def options(client: Any) -> dict[str, Any]:
    return {"executor": client.get_executor(), "workers": 2}


class TestDask(BackendTests):
    @pytest.fixture
    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options


def test_the_number_of_workers_has_to_be_said(client: Any) -> None:
    with pytest.raises(InvalidValue, match="ClientExecutor does not say how many workers it has: give optimize"):
        make().optimize(len, executor=client.get_executor())


@pytest.mark.skipif(os.name == "nt", reason="dask-jobqueue is for POSIX")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of its worker's process
def test_a_cluster_whose_workers_are_batch_jobs() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    jobqueue = pytest.importorskip("dask_jobqueue.local")
    for number, handler in handlers.items():  # which it sets to exit, when it is imported
        signal.signal(number, handler)

    def run() -> list[str]:
        options: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "1GB"}
        with (
            jobqueue.LocalCluster(**options, scheduler_options={"dashboard_address": ":0"}) as cluster,
            distributed.Client(cluster) as client,
        ):
            cluster.scale(1)
            tuner = make(3)
            tuner.optimize(lambda trial: 1.0, executor=client.get_executor(), workers=1)
        return states(tuner)

    assert run() == ["COMPLETE"] * 3
    gc.collect()  # its worker's process, which it kills and forgets


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_worker_costs_its_trial_one_attempt(options: dict[str, Any], tmp_path: Path) -> None:
    """Dask starts the worker anew; reports that are made twice count once."""

    def objective(trial: Trial) -> float:
        mark = trial.checkpoint_dir / "begun"
        trial.report(float(mark.exists()), step=0)
        if trial.number == 1 and not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    tuner = make(6, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(objective, **options, retries=1)
    assert states(tuner) == ["COMPLETE"] * 6
    assert tuner.study.trials[1].reports == {0: 0.0}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_trial_that_kills_its_worker_fails_with_a_reason(options: dict[str, Any]) -> None:
    """Dask itself would run it on one worker after the other, and lose what runs there, too."""

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    tuner = make(4)
    tuner.optimize(objective, **options)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert tuner.study.trials[1].error == "its worker was lost while it ran"


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


def test_a_large_objective_is_fetched_once_a_worker(options: dict[str, Any]) -> None:
    data = bytes(range(256)) * 400_000  # 100 MB

    tuner = make(6)
    tuner.optimize(lambda trial: float(sum(data[:256]) + len(data)), **options)
    assert set(tuner.study.values) == {102_432_640.0}


def test_a_worker_that_talks_nonsense_costs_its_trial(options: dict[str, Any]) -> None:
    def objective(trial: Trial) -> float:
        trial.report(1.0, step=0)
        if trial.number == 1:
            trial._source._line.wire.socket.sendall(b"\xc1 nonsense")
            trial.should_prune()
        return 1.0

    tuner = make(4)
    tuner.optimize(objective, **options)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert "its worker was given up, because what it sent can't be read" in (tuner.study.trials[1].error or "")
