"""A search keeps away from where trials fail; it learns nothing from what the machine was to blame for."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from failing_regions import HARDLY_ANY_SUCCEED, SCENARIOS, Scenario, compare

import fasthpo
from fasthpo import ASHA, Categorical, Continuous, Hyperband, RandomSampler, Study, TPESampler, TrialState
from tests.support.tuning import make

CHOICE, RATE, BRANCH = (
    SCENARIOS[name] for name in ("a choice that crashes", "a learning rate that diverges", "a branch that fails")
)


def test_tpe_fails_less_than_random_search_and_finds_better_values() -> None:
    shares = []
    for name, scenario in SCENARIOS.items():
        tpe, random, best, random_best = compare(scenario, range(4), 100)
        shares.append(tpe / random)
        assert tpe < random and best < random_best, name
    assert mean(shares) < 0.5


def test_it_finds_what_succeeds_where_nearly_all_startup_trials_fail() -> None:
    shares = []
    for name, scenario in HARDLY_ANY_SUCCEED.items():
        tpe, random, best, random_best = compare(scenario, range(4), 100)
        shares.append(tpe / random)
        assert tpe < random and best < random_best, name
    assert mean(shares) < 0.6


def fail(study: Study, trial: fasthpo.Trial) -> None:
    study.tell(trial, math.nan)


def crash(study: Study, trial: fasthpo.Trial) -> None:
    study.tell(trial, state=TrialState.FAILED, error="Traceback: boom")


def diverge(study: Study, trial: fasthpo.Trial) -> None:
    study.tell(trial, math.inf * study.table.objectives.loss(1.0))


def prune_at_once(study: Study, trial: fasthpo.Trial) -> None:
    study.tell(trial, state=TrialState.PRUNED)


def report_and_fail(study: Study, trial: fasthpo.Trial) -> None:
    for step in range(3):
        trial.report(-9.0 * study.table.objectives.loss(1.0), step)  # it looks best until it fails
    study.tell(trial, math.nan)


def failures(study: Study, scenario: Scenario, end: Callable[..., None] = fail, batch: int = 1) -> int:
    """Of 60 trials those that fail, which are ended by `end`."""
    failed = 0
    for _ in range(60 // batch):
        for number in study.ask_batch(batch).numbers.tolist():
            trial = study.trials[number]
            loss = scenario.loss(trial.params)
            failed += math.isnan(loss)
            if math.isnan(loss):
                end(study, trial)
            else:
                study.tell(trial, study.table.objectives.loss(1.0) * loss)
    return failed


@pytest.mark.parametrize("end", [fail, crash, diverge, prune_at_once, report_and_fail])
@pytest.mark.parametrize(
    "options",
    [{}, {"direction": "maximize"}, {"batch": 5}, {"exact": True}, {"multivariate": False}, {"pruner": True}],
    ids=str,
)
def test_however_a_trial_fails_its_neighbourhood_is_avoided(options: dict[str, Any], end: Any) -> None:
    options = options.copy()
    batch, parts = options.pop("batch", 1), {}
    if options.pop("pruner", False):
        parts["pruner"] = fasthpo.MedianPruner()
    if "direction" in options:
        parts["direction"] = options.pop("direction")
    for scenario, at_random in ((CHOICE, 15), (RATE, 22), (BRANCH, 20)):
        made = [
            failures(Study(scenario.space, sampler=TPESampler(seed=s, **options), **parts), scenario, end, batch)
            for s in range(3)
        ]
        assert mean(made) < 0.75 * at_random


def test_added_trials_that_failed_count_like_told_ones() -> None:
    told, added = (Study(CHOICE.space, sampler=TPESampler(seed=0)) for _ in range(2))
    random = np.random.default_rng(0)
    columns = {"kind": random.choice(list("wxyz"), 40).tolist(), "x": random.random(40).tolist()}
    values = [CHOICE.loss({"kind": k, "x": x}) for k, x in zip(*columns.values(), strict=True)]
    for kind, x, value in zip(*columns.values(), values, strict=True):
        told.enqueue({"kind": kind, "x": x})
        told.tell(told.ask(), value)
    added.add_trials(columns, values)
    for _ in range(30):
        one, other = told.ask(), added.ask()
        assert one.params == other.params
        for study, trial in ((told, one), (added, other)):
            study.tell(trial, CHOICE.loss(trial.params))
    assert sum(trial["kind"] == "z" for trial in told.trials[40:]) <= 2


@pytest.mark.parametrize("strategy", [ASHA, Hyperband])
@pytest.mark.parametrize("multivariate", [True, False])
def test_under_a_multi_fidelity_strategy_too(strategy: Any, multivariate: bool) -> None:
    shares = []
    for scenario in (CHOICE, BRANCH, HARDLY_ANY_SUCCEED["one choice of twelve"]):
        made: dict[type, float] = {}
        for kind, options in ((TPESampler, {"multivariate": multivariate}), (RandomSampler, {})):
            failed = []
            for seed in range(4):
                study = Study(scenario.space, strategy=strategy(9, sampler=kind(seed=seed, **options)))
                while (trial := study.ask_within(300 - study.resource_committed)) is not None:
                    study.tell(trial, scenario.loss(trial.params) + 0.3 / (trial.resource or 1))
                failed.append(study.table.counts[TrialState.FAILED] / len(study))
            made[kind] = mean(failed)
        assert made[TPESampler] < made[RandomSampler]
        shares.append(made[TPESampler] / made[RandomSampler])
    assert mean(shares) < 0.95


def test_a_failure_at_a_small_resource_counts_at_larger_ones() -> None:
    """A choice that always crashes never comes to the resource that the model follows."""
    sampler = TPESampler(seed=0)
    study = Study(CHOICE.space, strategy=ASHA(27, sampler=sampler))
    while (trial := study.ask_within(600 - study.resource_committed)) is not None:
        study.tell(trial, CHOICE.loss(trial.params) + 1 / (trial.resource or 1))
    model = sampler._model
    assert model is not None and model._fidelities._resource == 27
    known = {key[3] for key in model._fidelities.gaussian_process._fitted()}
    assert {trial.number for trial in study.trials if trial["kind"] == "z"} & known


# --- what the machine was to blame for


def lose(study: Study, trial: fasthpo.Trial) -> None:
    study.tell(trial, state=TrialState.FAILED, error="its node went away", infrastructure=True)


@pytest.mark.parametrize("options", [{}, {"multivariate": False}, {"exact": True}], ids=str)
def test_a_lost_trial_leaves_no_trace(options: dict[str, Any]) -> None:
    """The next suggestions are as if it had never been asked for."""
    space = {"c": Categorical(["a", "b"]), "x": Continuous(0, 1)}
    suggestions = []
    for points in ([], [{"c": "a", "x": 0.3}] * 20):
        study = Study(space, sampler=TPESampler(seed=1, **options))
        for point in points:
            study.enqueue(point)
            lose(study, study.ask())
        suggestions.append([])
        for _ in range(30):
            trial = study.ask()
            suggestions[-1].append(trial.params)
            study.tell(trial, abs(trial["x"] - 0.4))
    assert suggestions[0] == suggestions[1]


def test_only_a_failed_trial_can_be_lost() -> None:
    study = Study({"x": Continuous(0, 1)})
    first, second, third = study.ask(), study.ask(), study.ask()
    lose(study, first)
    study.tell(second, state=TrialState.FAILED, infrastructure=True)
    fail(study, third)
    assert first.error == "its node went away" and second.error == "no reason was given"
    assert [study.table.is_lost(n) for n in range(3)] == [True, True, False]
    with pytest.raises(fasthpo.InvalidValue, match="infrastructure is for a trial that FAILED"):
        study.tell(study.ask(), 1.0, infrastructure=True)
    with pytest.raises(fasthpo.InvalidValue, match="infrastructure is for a trial that FAILED"):
        study.tell(study.ask(), state=TrialState.PRUNED, infrastructure=True)


ENDS = (fail, crash, diverge, prune_at_once, report_and_fail, lose)


def go_on(study: Study, scenario: Scenario, trials: int) -> list[dict[str, Any]]:
    points = []
    for _ in range(trials):
        trial = study.ask()
        points.append(trial.params)
        loss = scenario.loss(trial.params)
        if math.isnan(loss) or trial.number % 5 == 0:
            ENDS[trial.number % len(ENDS)](study, trial)
        else:
            study.tell(trial, loss)
    return points


@pytest.mark.parametrize("strategy", [None, ASHA])
@pytest.mark.parametrize("scenario", [BRANCH, HARDLY_ANY_SUCCEED["one choice of twelve"]], ids=["branch", "one"])
@pytest.mark.parametrize("kept", ["journal", "file"])
def test_a_loaded_study_goes_on_as_one_that_never_stopped(
    tmp_path: Path, kept: str, scenario: Scenario, strategy: Any
) -> None:
    def made(**options: Any) -> Study:
        sampler = TPESampler(seed=7)
        parts = {"sampler": sampler} if strategy is None else {"strategy": strategy(9, sampler=sampler)}
        return Study(scenario.space, **parts, **options)

    never_stopped = go_on(made(), scenario, 70)
    for stop in (6, 14, 40):
        path = tmp_path / f"study-{stop}"
        study = made(storage=path if kept == "journal" else None)
        first = go_on(study, scenario, stop)
        if kept == "file":
            study.save(path)
        else:
            study.close()
        loaded = Study.load(path)
        assert [loaded.table.is_lost(n) for n in range(stop)] == [study.table.is_lost(n) for n in range(stop)]
        assert first + go_on(loaded, scenario, 70 - stop) == never_stopped
        loaded.close()


def test_what_breaks_a_run_off_is_no_fault_of_its_trials(tmp_path: Path) -> None:
    study = Study({"x": Continuous(0, 1)}, storage=tmp_path / "study")
    study.ask()
    study.close()
    with Study.load(tmp_path / "study", interrupted="fail") as loaded:
        assert loaded.trials[0].state == TrialState.FAILED and loaded.table.is_lost(0)


def test_it_stays_lost_through_optuna() -> None:
    pytest.importorskip("optuna")
    study = Study({"x": Continuous(0, 1)})
    lose(study, study.ask())
    crash(study, study.ask())
    back = Study.from_optuna(study.to_optuna(), space=study.space)
    assert [back.table.is_lost(n) for n in range(2)] == [True, False]
    assert [trial.error for trial in back.trials] == ["its node went away", "Traceback: boom"]


def _outcome(trial: fasthpo.Trial) -> float:
    if trial.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.number == 1:
        raise MemoryError
    if trial.number == 2:
        time.sleep(60)
    return float(trial["x"])


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_worker_that_was_killed_is_lost_and_a_limit_that_was_exceeded_is_a_failure() -> None:
    tuner = make(4)
    tuner.optimize(_outcome, workers=2, backend="processes", retries=0, trial_timeout=2)
    assert [tuner.study.table.is_lost(n) for n in range(4)] == [True, False, False, False]
    assert [trial.state.name for trial in tuner.study.trials] == [*["FAILED"] * 3, "COMPLETE"]


def test_an_ask_looks_only_at_failures_that_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    table = type(Study({"x": Continuous(0, 1)}).table)
    are_lost = table.are_lost

    def counted(self: Any, numbers: Any) -> Any:
        looked_at.append(len(numbers))
        return are_lost(self, numbers)

    monkeypatch.setattr(table, "are_lost", counted)
    study = Study({"x": Continuous(0, 1)}, sampler=TPESampler(seed=0, n_startup_trials=100))
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(60):
        trial = study.ask()
        lost = rng.random() < 0.9
        kept += not lost
        study.tell(trial, state=TrialState.FAILED, infrastructure=lost)
        assert study.sampler._told(study.table) == kept
    assert sum(looked_at) == 60
