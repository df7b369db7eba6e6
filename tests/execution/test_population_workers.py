"""Populations whose members train in other processes, some of which die."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import TrialState
from tests.support.population import alive, die, is_to_die, make, require_same, run, train, train_until, tune


def library(tmp_path: Path) -> dict[str, Any]:
    return {"executor": lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))}


def batch_jobs(tmp_path: Path) -> dict[str, Any]:
    if os.name == "nt":
        pytest.skip("submitit is for POSIX")
    pytest.importorskip("submitit")
    from tests.support.batch_jobs import ClusterExecutor

    return {"executor": ClusterExecutor(tmp_path / "jobs"), "workers": 2, "trials_per_job": None}


DOORS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "processes": lambda tmp_path: {"workers": 2},
    "the library's executor": library,
    "batch jobs": batch_jobs,
}


@pytest.fixture(params=list(DOORS))
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("fasthpo.execution.submission._LOOK", 0.05)
    return DOORS[request.param](tmp_path)


def test_workers_that_die_change_nothing_if_their_trials_are_tried_again(where: dict[str, Any], tmp_path: Path) -> None:
    alone = make(tmp_path / "alone")
    run(alone)
    study = tune(tmp_path, die, **where, retries=3)  # some may be lost beside others
    require_same(study, alone)
    assert list(study.checkpoints.root.glob("trial-*/died"))


def test_a_worker_that_dies_costs_its_member_one_interval(where: dict[str, Any], tmp_path: Path) -> None:
    study = tune(tmp_path, die, **where)
    failed = [trial for trial in study.trials if trial.state == TrialState.FAILED]
    assert failed and study.table.counts[TrialState.COMPLETE] == 6
    for trial in failed:  # one that only ran where an executor broke, too
        after = next(one for one in study.trials if one.member == trial.member and one.number > trial.number)
        assert after.fork_step == trial.resource and after.parent not in {None, trial.number}
    assert {path.name for path in study.checkpoints.root.iterdir()} == {f"trial-{number}" for number in alive(study)}
    if "executor" in where and "workers" not in where:  # which of them that is depends on what ran beside it
        return
    alone = make(tmp_path / "alone")
    while (trial := alone.ask_within()) is not None:
        if is_to_die(trial):
            train_until(trial, 8)
            alone.tell(trial, state=TrialState.FAILED, error="its worker died")
        else:
            alone.tell(trial, train(trial))
    require_same(study, alone)


@pytest.mark.parametrize("where", [{"backend": "threads", "workers": 3}, {"workers": 3}], ids=["threads", "processes"])
def test_members_of_an_asynchronous_population_have_the_weights_of_their_lineage(
    where: dict[str, Any], tmp_path: Path
) -> None:
    study = tune(tmp_path, config={"synchronous": False}, **where)
    assert study.table.counts[TrialState.COMPLETE] == 6 and not study.table.counts[TrialState.FAILED]
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            pieces = study.schedule(trial)
            trained = [[piece.trial, piece.params["rate"]] for piece in pieces for _ in range(piece.start, piece.end)]
            assert json.loads((trial.checkpoint_dir / "weights.json").read_text())["epochs"] == trained


def train_in_a_slot(trial: fasthpo.Trial) -> float:
    """As `train`; notes which GPU the process sees, and that torch sees as many, if they are there."""
    trial.set_attribute("gpu", os.environ["CUDA_VISIBLE_DEVICES"])
    if os.environ["CUDA_VISIBLE_DEVICES"] and os.environ.get("GPUS_ARE_REAL"):
        import torch

        return float(torch.tensor(train(trial), device="cuda", dtype=torch.float64))
    return train(trial)


@pytest.mark.parametrize(
    ("devices", "seen"),
    [
        ({"cpu": 2}, {""}),
        (["cuda:0", "cuda:1"], {"0", "1"}),
        pytest.param({"cuda:0": 2}, {"0"}, marks=pytest.mark.gpu),
    ],
)
def test_members_that_outnumber_devices_take_turns(
    devices: Any, seen: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(devices, list):  # two that are only said to be there
        monkeypatch.setattr("fasthpo.execution.devices.gpu_count", lambda: 2)
    else:
        monkeypatch.setenv("GPUS_ARE_REAL", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    alone = make(tmp_path / "alone")
    run(alone)
    study = tune(tmp_path, train_in_a_slot, devices=devices)
    require_same(study, alone)
    assert {trial.attributes["gpu"] for trial in study.trials} == seen
