"""A population of trainings: what a child takes up, with which rates it goes on, and the schedule trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fasthpo
from fasthpo import InvalidValue, PopulationTraining, RandomSampler
from fasthpo.torch import Trainer, TrainingArguments, hyperparams_to_training_args, replay
from fasthpo.torch.checkpoints import FILE_NAME, load_training
from tests.support.torch_training import classes, cnn, same

TRAIN, EVAL = classes(), classes(40, seed=1)
SPACE = {
    "learning_rate": fasthpo.LogUniform(1e-4, 1.0),
    "weight_decay": fasthpo.LogUniform(1e-5, 0.1),
    "momentum": fasthpo.Continuous(0.0, 0.9, step=0.3),
}
LOSS = torch.nn.functional.cross_entropy


def made(trial: Any, own: bool = False, **others: Any) -> Trainer:
    """A trainer of everything that has a state; with `own` its optimizer is made here."""
    fields: dict[str, Any] = {
        "num_train_epochs": 6, "per_device_train_batch_size": 20, "optimizer": "sgd", "lr_scheduler_type": "cosine",
        "device": "cpu", **others,
    }  # fmt: skip
    args = hyperparams_to_training_args(TrainingArguments(**fields), trial)
    torch.manual_seed(0)
    model = cnn()
    optimizer = None
    if own:
        optimizer = torch.optim.SGD(
            model.parameters(), args.learning_rate, momentum=args.momentum, weight_decay=args.weight_decay
        )
    return Trainer(model, args, TRAIN, EVAL, LOSS, trial=trial, optimizer=optimizer)


def objective(trial: Any) -> float:
    return made(trial).train()["eval_loss"]


def own_optimizer(trial: Any) -> float:
    trainer = made(trial, own=True)
    value = trainer.train()["eval_loss"]
    (group,) = trainer._optimizer.param_groups
    assert (group["momentum"], group["weight_decay"]) == (trial["momentum"], trial["weight_decay"])
    assert trainer._schedule.state_dict()["rates"] == [trial["learning_rate"]]
    assert 0 < group["lr"] < trial["learning_rate"]  # the schedule goes on: it does not begin anew
    return value


def population(tmp_path: Path, run: Any = objective, space: Any = SPACE, **options: Any) -> fasthpo.Study:
    given = {"population": 4, "interval": 2, "sampler": RandomSampler(seed=2), **options}
    study = fasthpo.Study(space, strategy=PopulationTraining(6, **given), storage=tmp_path / "study")
    while (trial := study.ask_within()) is not None:
        study.tell(trial, run(trial))
    return study


def state(directory: Path) -> dict[str, Any]:
    return load_training(directory / FILE_NAME)


@pytest.mark.parametrize("run", [objective, own_optimizer])
def test_a_schedule_trained_again_ends_with_the_very_weights(tmp_path: Path, run: Any) -> None:
    study = population(tmp_path, run)
    places = {trial.member: trial for trial in study.trials}
    forked = 0
    for trial in places.values():
        schedule = study.schedule(trial)
        directory = tmp_path / f"again-{trial.number}"
        assert replay(schedule, run, directory) == trial.value
        one, other = state(directory), state(trial.checkpoint_dir)
        # also where weights were copied: all random numbers depend on the seed of the arguments, not on the trial
        assert same(one["model"], other["model"]) and one["step"] == other["step"] == 24
        forked += len(schedule) > 1
        steps = list(trial.reports)
        assert steps == list(range((trial.fork_step or 0) + 1, 7))  # what its parent reported is not its own
    assert forked and len(places) == 4


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_members_train_and_are_trained_again_on_their_device(device: str, tmp_path: Path) -> None:
    def run(trial: Any) -> float:
        trainer = made(trial, device=device)
        value = trainer.train()["eval_loss"]
        kept = [one for state in trainer._optimizer.state.values() for one in state.values() if torch.is_tensor(one)]
        weights = list(trainer.model.parameters())
        assert len(kept) >= (len(weights) if trial["momentum"] else 0)
        assert {one.device.type for one in (*weights, *kept)} == {device}
        return float(value)

    study = population(tmp_path, run)
    forked = [trial for trial in study.trials if trial.parent is not None and trial.value is not None]
    for trial in forked:
        again = replay(study.schedule(trial), run, tmp_path / f"{trial.number}")
        assert again == pytest.approx(trial.value, rel=1e-3)
    assert forked


def test_what_can_not_change_while_training_is_refused(tmp_path: Path) -> None:
    space = {**SPACE, "batch_size": fasthpo.Categorical([10, 20, 40])}
    with pytest.raises(InvalidValue, match=r"per_device_train_batch_size.* leave its parameter out of mutable"):
        population(tmp_path / "all", space=space, resample_probability=1.0)
    study = population(tmp_path / "some", space=space, mutable=["learning_rate"], resample_probability=1.0)
    for trial in study.trials:
        if trial.parent is not None:
            assert trial["batch_size"] == study.trials[trial.parent]["batch_size"]
            assert trial["learning_rate"] != study.trials[trial.parent]["learning_rate"]


def test_a_replay_begins_in_an_empty_directory(tmp_path: Path) -> None:
    schedule = fasthpo.Schedule((fasthpo.SchedulePiece(0, 2, 0, {}),))
    (tmp_path / "left").write_text("")
    with pytest.raises(InvalidValue, match="checkpoint_dir must be empty"):
        replay(schedule, objective, tmp_path)
    with pytest.raises(InvalidValue, match=r"schedule must be a fasthpo\.Schedule"):
        replay({"learning_rate": 0.1}, objective, tmp_path / "other")  # type: ignore[arg-type]
