"""A pruner that hears of nothing prunes nothing, which is said once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import fasthpo
from fasthpo.torch import Trainer, VectorizedTrainer
from tests.support.torch_training import arguments, classes, mlp

SPACE = {"learning_rate": fasthpo.LogUniform(1e-3, 0.1)}
WARNING = "no trial has reported a value, so that MedianPruner can't prune any"
DATA = classes()


def tuner(**changed: Any) -> fasthpo.HyperparameterTuner:
    fields: dict[str, Any] = {"max_trials": 5, "seed": 0, "save_checkpoints": False, "pruning": fasthpo.PruningConfig()}
    return fasthpo.HyperparameterTuner.with_random_search(fasthpo.TunerConfig("s", **{**fields, **changed}), SPACE)


def study(**changed: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), pruner=fasthpo.MedianPruner(), **changed)


def deaf(trial: fasthpo.Trial) -> float:
    return trial["learning_rate"]


def trained(trial: fasthpo.Trial) -> float:
    Trainer(mlp, arguments(max_steps=1), DATA, DATA, nn.CrossEntropyLoss()).train()
    return 0.0


def trained_without_evaluation(trial: fasthpo.Trial) -> float:
    Trainer(mlp, arguments(max_steps=1, do_eval=False), DATA, None, nn.CrossEntropyLoss(), trial=trial).train()
    return 0.0


@pytest.mark.parametrize("objective", [deaf, trained, trained_without_evaluation])
@pytest.mark.parametrize("how", [{}, {"workers": 2, "backend": "threads"}])
def test_an_objective_that_never_reports(objective: Any, how: dict, caplog: pytest.LogCaptureFixture) -> None:
    tuner().optimize(objective, **how)
    assert caplog.text.count(WARNING) == caplog.text.count("can't prune") == 1


def test_worker_processes(caplog: pytest.LogCaptureFixture) -> None:
    tuner(max_trials=2).optimize(deaf, workers=2)
    assert caplog.text.count(WARNING) == 1


def test_ask_and_tell(caplog: pytest.LogCaptureFixture) -> None:
    one = study()
    for i in range(4):
        one.tell(one.ask(), None if i == 0 else 1.0, state=fasthpo.TrialState.FAILED if i == 0 else None)
        assert caplog.text.count(WARNING) == (i > 0)  # a trial that has failed may have had no time to report
    assert "trial 1 has ended" in caplog.text


def test_batches(caplog: pytest.LogCaptureFixture) -> None:
    one = study()
    for _ in range(2):
        one.tell_batch(one.ask_batch(3).numbers, [float("nan"), 1.0, 2.0])
    assert caplog.text.count(WARNING) == 1


def test_trials_that_pause(caplog: pytest.LogCaptureFixture) -> None:
    one = fasthpo.Study(SPACE, strategy=fasthpo.ASHA(max_resource=9), pruner=fasthpo.MedianPruner())
    assert one.tell(one.ask(), 1.0) == fasthpo.TrialState.PAUSED
    assert caplog.text.count(WARNING) == 1


def test_nothing_is_said_of_others(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A pruner that has heard something; a study without one; results that are only added."""

    def reporting(trial: fasthpo.Trial) -> float:
        trial.report(1.0, 0)
        return 1.0

    tuner().optimize(reporting)
    tuner(pruning=None).optimize(deaf)
    args = arguments(max_steps=1, gradient_accumulation_steps=1)
    VectorizedTrainer(mlp, args, DATA, DATA, nn.CrossEntropyLoss()).tune(study(), 3)
    kept = study(storage=tmp_path / "s")
    kept.add_trials({"learning_rate": [0.01, 0.02]}, [1.0, 2.0])
    asked = kept.ask()
    asked.report(1.0, 0)
    kept.tell(asked, 1.0)
    kept.close()
    again = fasthpo.Study.load(tmp_path / "s")
    again.tell(again.ask(), 1.0)
    again.close()
    assert "can't prune" not in caplog.text
