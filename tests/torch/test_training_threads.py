"""Trainings in several threads of a process come to what they come to one after the other."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.torch import Trainer, VectorizedTrainer, hyperparams_to_training_args
from tests.support.torch_training import MODELS, FakeTrial, Noisy, arguments, classes, mlp, same, weights

TRAIN, EVAL = classes(), classes(40, seed=1)
LOSS = nn.CrossEntropyLoss()


def drawn() -> tuple[Any, ...]:
    return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist()


@contextmanager
def left_alone() -> Iterator[None]:
    """Fails if the global generators are elsewhere after the block."""
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = drawn()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    yield
    assert drawn() == expected


class Drawing(nn.Module):
    """Draws in forward, with every generator, and in backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp(0.5)
        self.inner[0].weight.register_hook(lambda grad: grad + 0.01 * torch.randn_like(grad))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + random.random() + np.random.rand()


def in_threads(*jobs: Any) -> None:
    """Run functions side by side, as far as they can be."""
    raised: list[BaseException] = []

    def run(job: Any) -> None:
        try:
            job()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
        assert not one.is_alive()
    if raised:
        raise raised[0]


class Meeting(FakeTrial):
    """Each report waits until all of the trials have made it, so that they run side by side from epoch to epoch."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self._barrier = barrier

    def report(self, value: float, step: int) -> None:
        super().report(value, step)
        self._barrier.wait(30)


MAKES: dict[str, Any] = {
    **{name: (made, TRAIN) for name, made in MODELS.items()},
    "drawing": (Drawing, TRAIN),
    "augmented": (lambda: mlp(0.2), Noisy(*TRAIN)),
}


@pytest.mark.parametrize("name", MAKES)
def test_side_by_side(name: str) -> None:
    model, data = MAKES[name]

    def make(seed: int, trial: Any = None) -> Trainer:
        return Trainer(model, arguments(seed=seed), data, EVAL, LOSS, trial=trial)

    expected = [make(seed) for seed in range(4)]
    results = [one.train() for one in expected]
    barrier = threading.Barrier(4)
    runs: dict[int, tuple[Trainer, dict[str, float]]] = {}

    def job(seed: int) -> None:
        one = make(seed, Meeting(barrier))
        runs[seed] = one, one.train()

    with left_alone():
        in_threads(*(lambda seed=seed: job(seed) for seed in range(4)))
    for seed in range(4):
        one, result = runs[seed]
        assert result == results[seed]
        assert same(weights(one.model), weights(expected[seed].model))


def test_a_study_in_threads_is_the_study_inline() -> None:
    def values(**how: Any) -> dict[float, float]:
        config = fasthpo.TunerConfig("s", max_trials=8, seed=0, objective_metric="eval_loss", save_checkpoints=False)
        tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"learning_rate": fasthpo.LogUniform(1e-3, 0.3)})

        def objective(trial: fasthpo.Trial) -> dict[str, float]:
            args = hyperparams_to_training_args(arguments(), trial)
            return Trainer(MODELS["cnn"], args, TRAIN, EVAL, LOSS, trial=trial).train()

        return {trial["learning_rate"]: trial.value for trial in tuner.optimize(objective, **how).trials}

    inline = values()
    with left_alone():
        assert values(workers=4, backend="threads") == inline
    assert len(inline) == 8 and None not in inline.values()


def test_beside_many_models_at_once() -> None:
    def many() -> list[float]:
        args = arguments(gradient_accumulation_steps=1)
        made = VectorizedTrainer(lambda: mlp(0.3), args, TRAIN, EVAL, LOSS)
        return [one.value for one in made.train([{"learning_rate": 0.01}, {"learning_rate": 0.1}])]

    def alone() -> dict[str, float]:
        return Trainer(lambda: mlp(0.3), arguments(), TRAIN, EVAL, LOSS).train()

    expected = many(), alone()
    found: dict[str, Any] = {}
    with left_alone():
        in_threads(lambda: found.update(many=many()), lambda: found.update(alone=alone()))
    assert (found["many"], found["alone"]) == expected


def test_a_training_that_breaks_off_gives_them_back_too() -> None:
    def failing(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        torch.rand(1)
        raise ZeroDivisionError

    with left_alone(), pytest.raises(ZeroDivisionError):
        Trainer(mlp, arguments(), TRAIN, EVAL, failing).train()
    with left_alone(), pytest.raises(fasthpo.TrialPruned):
        Trainer(MODELS["mlp"], arguments(), TRAIN, EVAL, LOSS, trial=FakeTrial(prune_at=1)).train()


def test_a_checkpoint_outside_of_the_training(tmp_path: Path) -> None:
    """It leaves the generators alone, and holds where the training's own are, so that more epochs may follow."""

    def make(epochs: float) -> Trainer:
        args = arguments(tmp_path, num_train_epochs=epochs, lr_scheduler_type="constant", warmup_ratio=0.0)
        return Trainer(MODELS["cnn"], args, TRAIN, EVAL, LOSS)

    expected, first = make(4), make(1)
    result = expected.train()
    with left_alone():
        make(1).save()
        first.train()
        first.save()
    resumed = make(4)
    assert resumed.train(resume=True) == result
    assert same(weights(resumed.model), weights(expected.model))


def test_a_training_within_another_one() -> None:
    """In a report, and in a loss; neither changes what the other comes to."""

    def plain(trial: Any = None, loss: Any = LOSS) -> dict[str, float]:
        return Trainer(lambda: mlp(0.4), arguments(), TRAIN, EVAL, loss, trial=trial).train()

    inner: list[Any] = []

    class Training(FakeTrial):
        def report(self, value: float, step: int) -> None:
            super().report(value, step)
            inner.append(plain())

    def training(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(inner) < 5 and torch.is_grad_enabled():
            inner.append(plain())
        return LOSS(outputs, targets)

    expected = plain()
    with left_alone():
        assert plain(Training()) == expected and len(inner) == 3
        assert plain(loss=training) == expected and len(inner) == 5
    assert all(one == expected for one in inner)


def test_the_generators_of_other_devices_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training on the CPU leaves those of GPUs alone, which `torch.manual_seed` seeds, too."""

    def refused(seed: int) -> None:
        raise AssertionError("seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refused)
    Trainer(mlp, arguments(), TRAIN, EVAL, LOSS).train()
    VectorizedTrainer(mlp, arguments(gradient_accumulation_steps=1), TRAIN, EVAL, LOSS).train([{}])


@pytest.mark.gpu
def test_the_generators_of_gpus_are_given_back() -> None:
    before = torch.cuda.get_rng_state_all()
    for device in ("cpu", "cuda"):
        one = Trainer(MODELS["cnn"], arguments(device=device), TRAIN, EVAL, LOSS)
        one.train()
        assert all(map(torch.equal, torch.cuda.get_rng_state_all(), before))
