"""Pruners of fasthpo's inside Optuna decide what they decide in a study of fasthpo's."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import TrialState

optuna = pytest.importorskip("optuna")
from fasthpo.integrations.optuna import FastPruner  # noqa: E402

PRUNERS: list[Callable[[], fasthpo.Pruner]] = [
    lambda: fasthpo.MedianPruner(n_startup_trials=3),
    lambda: fasthpo.PercentilePruner(30.0, n_startup_trials=2, min_steps=1),
    lambda: fasthpo.PercentilePruner(50.0, n_startup_trials=2, pool="completed"),
    lambda: fasthpo.PatientPruner(fasthpo.MedianPruner(n_startup_trials=2), patience=1),
    lambda: fasthpo.ThresholdPruner(upper=0.9),
    lambda: fasthpo.WilcoxonPruner(p_threshold=0.2, n_startup_steps=2),
    lambda: fasthpo.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def event(dice: random.Random, theirs: Any, ours: fasthpo.Study, running: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Something happens in both studies; what each of them decides."""
    if len(running) < 3:
        asked = theirs.ask(), ours.ask()
        running.append((*asked, dice.random()))
        return None, None
    place = dice.randrange(len(running))
    theirs_trial, our_trial, level = running[place]
    step = len(our_trial.reports)
    if step == 8 or dice.random() < 0.04:
        del running[place]
        if dice.random() < 0.2:
            theirs.tell(theirs_trial, state=optuna.trial.TrialState.FAIL)
            ours.tell(our_trial, state=TrialState.FAILED)
        else:
            theirs.tell(theirs_trial, level)
            ours.tell(our_trial, level)
        return None, None
    value = float("nan") if dice.random() < 0.03 else level + 0.3 * dice.random()
    theirs_trial.report(value, step)
    our_trial.report(value, step)
    decisions = theirs_trial.should_prune(), our_trial.should_prune()
    if decisions[1]:
        del running[place]
        theirs.tell(theirs_trial, state=optuna.trial.TrialState.PRUNED)
        ours.tell(our_trial, state=TrialState.PRUNED)
    return decisions


@pytest.mark.parametrize("make", PRUNERS, ids=lambda make: repr(make())[:40])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_pruner_decides_as_in_a_study_of_fasthpos_also_after_the_study_was_loaded(
    make: Callable[[], fasthpo.Pruner], direction: str
) -> None:
    dice = random.Random(0)
    storage = optuna.storages.InMemoryStorage()
    theirs = optuna.create_study(study_name="s", storage=storage, pruner=FastPruner(make()), direction=direction)
    sampler = fasthpo.RandomSampler(seed=0)
    ours = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler, pruner=make(), direction=direction)
    running: list[tuple[Any, Any]] = []
    pruned = 0
    for i in range(700):
        if i == 350:  # what the pruner has kept is lost
            theirs = optuna.load_study(study_name="s", storage=storage, pruner=FastPruner(make()))
            running = [
                (optuna.trial.Trial(theirs, theirs_trial._trial_id), our_trial, level)
                for theirs_trial, our_trial, level in running
            ]
        decided, expected = event(dice, theirs, ours, running)
        assert decided == expected
        pruned += bool(decided)
    assert pruned > 5


def test_reports_of_another_process_are_known(tmp_path: Path) -> None:
    def opened() -> Any:
        path = str(tmp_path / "j")
        lock = optuna.storages.journal.JournalFileOpenLock(path)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path, lock_obj=lock))
        pruner = FastPruner(fasthpo.MedianPruner(n_startup_trials=2))
        return optuna.create_study(study_name="s", storage=storage, pruner=pruner, load_if_exists=True)

    here, there = opened(), opened()
    for value in (0.1, 0.2, 0.3):
        trial = there.ask()
        trial.report(value, 1)  # never asking whether to prune
        there.tell(trial, value)
    good, bad = here.ask(), here.ask()
    bad.report(0.9, 1)
    assert bad.should_prune()
    good.report(0.05, 1)
    assert not good.should_prune()
    here.tell(bad, state=optuna.trial.TrialState.PRUNED)
    assert not here.pruner.prune(here, here.trials[bad.number])  # it has ended


def test_a_decision_reads_no_trial_again_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, pruner=FastPruner(fasthpo.MedianPruner()))

    def run(count: int) -> None:
        for i in range(count):
            trial = study.ask()
            for step in range(3):
                trial.report(i % 7, step)
                if trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, i % 7)

    run(100)
    read: list[int] = []
    get_trial = storage.get_trial
    monkeypatch.setattr(storage, "get_trial", lambda trial_id: read.append(trial_id) or get_trial(trial_id))
    run(10)
    assert min(read) >= 99
