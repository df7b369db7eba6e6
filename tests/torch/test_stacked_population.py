"""A population that trains as one stack: what members trained one by one come to, also when it is broken off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fasthpo
from fasthpo import InvalidValue, PopulationTraining, RandomSampler, TrialState
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args
from fasthpo.torch.stack import Stack
from tests.support.population import require_same
from tests.support.torch_training import accuracy, classes, cnn, mlp

TRAIN, EVAL = classes(), classes(40, seed=1)
SPACE = {
    "learning_rate": fasthpo.LogUniform(1e-3, 1.0),
    "weight_decay": fasthpo.LogUniform(1e-5, 0.1),
    "momentum": fasthpo.Continuous(0.0, 0.9, step=0.3),
}
LOSS = torch.nn.functional.cross_entropy


def arguments(**changed: Any) -> TrainingArguments:
    fields: dict[str, Any] = {
        "num_train_epochs": 6, "per_device_train_batch_size": 20, "optimizer": "sgd", "lr_scheduler_type": "cosine",
        "device": "cpu", **changed,
    }  # fmt: skip
    return TrainingArguments(**fields)


def trainer(model: Any = mlp, **changed: Any) -> VectorizedTrainer:
    return VectorizedTrainer(model, arguments(**changed), TRAIN, EVAL, LOSS, {"accuracy": accuracy})


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def study(storage: Path | None = None, space: Any = SPACE, pruner: Any = None, **options: Any) -> fasthpo.Study:
    given = {"max_resource": 6, "population": 6, "interval": 2, "sampler": RandomSampler(seed=4), **options}
    return fasthpo.Study(space, strategy=PopulationTraining(**given), storage=storage, pruner=pruner)


class Broken(Exception):
    """Ends a population from inside."""


class Breaks(fasthpo.Pruner):
    """Raises when it has heard of so many reports."""

    def __init__(self, left: int) -> None:
        self.left = left

    def attach(self, table: Any) -> None:
        pass

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.left -= 1
        if not self.left:
            raise Broken

    def should_prune(self, table: Any, number: int) -> bool:
        return False


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stack_comes_to_what_members_come_to_one_by_one(optimizer: str) -> None:
    stacked, alone = study(), study()
    trainer(optimizer=optimizer).train_population(stacked)
    while (trial := alone.ask_within()) is not None:
        args = hyperparams_to_training_args(arguments(optimizer=optimizer), trial)
        alone.tell(trial, Trainer(mlp, args, TRAIN, EVAL, LOSS, trial=trial).train()["eval_loss"])
    assert [trial.params for trial in stacked.trials] == [trial.params for trial in alone.trials]
    assert [trial.parent for trial in stacked.trials] == [trial.parent for trial in alone.trials]
    assert any(trial.parent is not None for trial in stacked.trials)
    for mine, theirs in zip(stacked.trials, alone.trials, strict=True):
        assert mine.rungs == pytest.approx(theirs.rungs, rel=1e-4) and list(mine.reports) == list(theirs.reports)
        assert mine.reports == pytest.approx(theirs.reports, rel=1e-4)
    assert stacked.best_trial.metrics.keys() == {"eval_loss", "eval_accuracy"}


def test_what_was_broken_off_ends_as_if_it_never_had_been(tmp_path: Path) -> None:
    space = {**SPACE, "dropout": fasthpo.Continuous(0.1, 0.5)}
    whole = study(space=space)
    trainer(cnn).train_population(whole)
    for left in (13, 31):
        directory = tmp_path / f"{left}"
        with study(directory, space) as begun:
            begun.pruner = Breaks(left)
            with pytest.raises(Broken):
                trainer(cnn).train_population(begun)
            begun.pruner = None
        with fasthpo.Study.load(directory, pruner=None) as loaded:
            if left == 31:
                (loaded.checkpoints.root / "population.pt").unlink()  # it is trained again from its beginning
            trainer(cnn).train_population(loaded)
            require_same(loaded, whole, with_weights=False)
            best = loaded.best_trial
            model = cnn()
            model.load_state_dict(torch.load(best.checkpoint_dir / "model.pt", weights_only=True))
            model.eval()
            with torch.no_grad():
                assert float(LOSS(model(EVAL[0]), EVAL[1])) == pytest.approx(best.value, rel=1e-5)


def test_one_that_diverges_is_replaced_and_leaves_the_others_alone() -> None:
    space = {"learning_rate": fasthpo.LogUniform(1e-3, 1e12)}
    mine = study(space=space, population=8, sampler=RandomSampler(seed=0))
    trainer(max_grad_norm=None).train_population(mine)
    failed = [trial for trial in mine.trials if trial.state == TrialState.FAILED]
    assert failed and all("diverged by step" in (trial.error or "") for trial in failed)
    assert math.isfinite(mine.best_value) and mine.strategy.is_complete
    fixed = study(space={"learning_rate": fasthpo.LogUniform(1e11, 1e12)}, population=2)
    trainer().train_population(fixed)  # all fail in each generation
    assert fixed.strategy.is_complete and fixed.table.counts[TrialState.FAILED] == 6
    assert [trial.parent for trial in fixed.trials] == [None] * 6


def test_what_can_not_train_as_one_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="needs a study under a synchronous population"):
        trainer().train_population(study(synchronous=False))
    with pytest.raises(InvalidValue, match="needs a study under a synchronous population"):
        trainer().train_population(fasthpo.Study(SPACE))
    with pytest.raises(InvalidValue, match=r"may differ in \['learning_rate'.*but the space has \['batch_size'\]"):
        trainer().train_population(study(space={**SPACE, "batch_size": fasthpo.Categorical([10, 20])}))
    with pytest.raises(InvalidValue, match="max_resource must not be beyond the epochs"):
        trainer(num_train_epochs=5).train_population(study())
    with study(tmp_path) as begun:
        begun.pruner = Breaks(20)
        with pytest.raises(Broken):
            trainer().train_population(begun)
        begun.pruner = None
        with pytest.raises(InvalidValue, match="trained with another arguments"):
            trainer(per_device_train_batch_size=10).train_population(begun)
        (begun.checkpoints.root / "population.pt").write_bytes(b"damaged")
        trainer().train_population(begun)
        assert begun.strategy.is_complete


def stack(device: str, optimizer: str) -> Stack:
    """Four models of one beginning, with buffers and dropout."""
    args = [arguments(optimizer=optimizer, learning_rate=0.1, momentum=0.9, weight_decay=0.01)] * 4
    return Stack(cnn().to(device), args, [0.1] * 4, LOSS)


def tensors(of: Stack) -> list[torch.Tensor]:
    """All that differs from row to row."""
    return [of.weights, *of._optimizer.moments, *of.buffers.values()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rows_are_copied_in_place_on_their_device(device: str, optimizer: str) -> None:
    """Weights, moments and buffers; nothing of them goes anywhere else, and nobody's rates go along."""
    ours = stack(device, optimizer)
    with torch.no_grad():
        for one in tensors(ours):
            one.copy_(torch.rand(one.shape) if one.is_floating_point() else torch.randint(9, one.shape))
    before = [(one.data_ptr(), one.clone()) for one in tensors(ours)]
    args = [arguments(optimizer=optimizer, learning_rate=rate, momentum=0.9) for rate in (1.0, 2.0, 3.0, 4.0)]
    ours.go_on([3, 1], [0, 2], args, None)
    assert len(before) == 5 + (optimizer == "adamw")
    for now, (address, then) in zip(tensors(ours), before, strict=True):
        assert now.device.type == device and now.data_ptr() == address
        assert torch.equal(now, then[[0, 2, 2, 0]])
    assert ours._optimizer._rates.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert ours._optimizer._rates.device.type == device


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_stack_stays_on_its_device_whatever_it_goes_on_from(device: str) -> None:
    ours = stack(device, "adamw")
    ours._let_rest(("5.bias",))
    state = stack("cpu", "adamw").state_dict()
    state["optimizer"]["decayed"] = torch.ones(state["weights"].shape[1], dtype=torch.bool)
    ours.load_state_dict(state)
    ours.go_on([0], [1], [arguments(optimizer="adamw")] * 4, [0.1] * 4)
    everything = [
        *tensors(ours),
        ours._optimizer._decayed,
        ours._optimizer._decays,
        *ours.state_dict()["buffers"].values(),
    ]
    assert {one.device.type for one in everything} == {device}


def test_a_snapshot_is_read_where_generators_have_their_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU: what is read to a GPU can't be put back into those of Python, NumPy and torch."""
    where, load = [], torch.load
    with study(tmp_path) as begun:
        begun.pruner = Breaks(20)
        with pytest.raises(Broken):
            trainer().train_population(begun)
        begun.pruner = None
        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", lambda *a, **o: where.append(o["map_location"]) or load(*a, **o))
            trainer().train_population(begun)
    assert where == ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
def test_a_population_goes_on_from_its_snapshot_on_its_device(device: str, tmp_path: Path) -> None:
    space = {**SPACE, "dropout": fasthpo.Continuous(0.1, 0.5)}
    whole = study(space=space)
    trainer(cnn, device=device).train_population(whole)
    with study(tmp_path, space) as begun:
        begun.pruner = Breaks(31)
        with pytest.raises(Broken):
            trainer(cnn, device=device).train_population(begun)
        begun.pruner = None
        trainer(cnn, device=device).train_population(begun)
        assert begun.strategy.is_complete
        for mine, theirs in zip(begun.trials, whole.trials, strict=True):
            assert mine.params == pytest.approx(theirs.params)
            assert mine.rungs == pytest.approx(theirs.rungs, rel=1e-3)  # the random numbers are the same ones
        best = torch.load(begun.best_trial.checkpoint_dir / "model.pt", weights_only=True)
        assert {one.device.type for one in best.values()} == {"cpu"}


@pytest.mark.gpu
def test_a_population_trains_on_a_gpu() -> None:
    """It comes to what it comes to on the CPU, and leaves no memory behind."""
    mine = study()
    trainer().train_population(mine)
    trainer(device="cuda").train_population(study())  # what is made once
    before = torch.cuda.memory_allocated()
    there = study()
    trainer(device="cuda").train_population(there)
    assert there.strategy.is_complete and torch.cuda.memory_allocated() == before
    ours, theirs = ([t.rungs.get(2, np.nan) for t in one.trials if t.generation == 0] for one in (mine, there))
    assert theirs == pytest.approx(ours, rel=1e-2)
