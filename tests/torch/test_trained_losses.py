"""A loss with parameters of its own is trained, saved and restored beside the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.errors import InvalidValue
from fasthpo.torch import Trainer, VectorizedTrainer
from tests.support.torch_training import FakeTrial, arguments, classes, mlp, same, weights

TRAIN, EVAL = classes(), classes(40, seed=1)


class Stop(BaseException):
    """Ends a training as a kill does, from inside."""


class Tempered(nn.Module):
    """Cross-entropy with a temperature that is learned, dropout, and a count of the batches trained on."""

    def __init__(self, left: int = 1000) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.register_buffer("batches", torch.tensor(0))
        self.dropout = nn.Dropout(0.5)
        self.left = left

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.left -= 1
            if self.left < 0:
                raise Stop
            self.batches += 1
        return nn.functional.cross_entropy(self.dropout(outputs) / self.temperature, targets)


def test_it_is_the_plain_loop() -> None:
    """Bit by bit what torch's optimizer over both makes of them; the gradients are clipped together."""
    args = arguments(gradient_accumulation_steps=1, lr_scheduler_type="constant", warmup_ratio=0, max_grad_norm=0.1)

    def plain() -> nn.Module:
        made = Tempered()
        made.dropout.p = 0.0
        return made

    loss, by_hand = plain(), plain()
    one = Trainer(mlp, args, TRAIN, EVAL, loss)
    one.train()
    torch.manual_seed(args.seed)
    model = mlp()
    both = [*model.parameters(), *by_hand.parameters()]
    optimizer = torch.optim.AdamW(both, lr=0.05, weight_decay=0.01, fused=True)
    for epoch in range(3):
        for inputs, targets in one._batches.epoch(epoch):
            by_hand(model(inputs), targets).backward()
            nn.utils.clip_grad_norm_(both, 0.1)
            optimizer.step()
            optimizer.zero_grad()
    assert same(weights(one.model), weights(model))
    assert same(weights(loss), weights(by_hand))
    assert loss.temperature.item() != 2.0 and loss.frozen.item() == 1.0


def test_it_is_evaluated_as_the_model_is() -> None:
    """In evaluation mode, without dropout; afterwards each part is in the mode that it was in."""
    loss = Tempered()
    loss.register_module("quiet", nn.Dropout(0.5).eval())
    one = Trainer(mlp, arguments(), TRAIN, EVAL, loss)
    one.model[2].eval()
    assert one.evaluate() == one.evaluate()
    assert loss.training and loss.dropout.training and not loss.quiet.training
    assert one.model.training and not one.model[2].training


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resumed_bit_by_bit(optimizer: str, tmp_path: Path) -> None:
    def make(path: Path, left: int = 1000) -> Trainer:
        args = arguments(path, optimizer=optimizer, momentum=0.9, save_steps=1)
        stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=2))
        return Trainer(lambda: mlp(0.2), args, TRAIN, EVAL, Tempered(left), early_stopping=stopper)

    expected = make(tmp_path / "whole")
    result = expected.train()
    for batch in (0, 3, 10, 17):
        path = tmp_path / str(batch)
        with pytest.raises(Stop):
            make(path, batch).train()
        resumed = make(path)
        assert resumed.train(resume=True) == result
        assert same(weights(resumed.model), weights(expected.model))
        assert same(weights(resumed._loss), weights(expected._loss))


def test_the_best_ones_are_restored() -> None:
    """With the model's weights, so that an evaluation says what the best one said."""
    kept = []

    class Spying(FakeTrial):
        def report(self, value: float, step: int) -> None:
            super().report(value, step)
            kept.append(weights(one._loss))

    stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=3))
    args = arguments(num_train_epochs=40, learning_rate=0.3, lr_scheduler_type="constant")
    one = Trainer(mlp, args, TRAIN, EVAL, Tempered(), trial=Spying(), early_stopping=stopper)
    result = one.train()
    assert stopper.best_step is not None and len(kept) == stopper.best_step + 3 < 40
    assert same(weights(one._loss), kept[stopper.best_step - 1]) and not same(weights(one._loss), kept[-1])
    assert one.evaluate() == result


def test_a_loss_that_holds_the_model() -> None:
    """Its parameters are the optimizer's once."""
    model = mlp()

    class Penalty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(outputs, targets) + 1e-3 * self.model[0].weight.square().sum()

    one = Trainer(model, arguments(), TRAIN, EVAL, Penalty())
    assert len(one._optimizer.param_groups[0]["params"]) == len(list(model.parameters()))
    assert one.train()["eval_loss"] < 1


def test_functions_made_of_a_module() -> None:
    """They would hide its parameters; those of the model are trained anyway."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.loss = mlp(), Tempered()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    for loss in (Tempered().forward, partial(Tempered())):
        with pytest.raises(
            InvalidValue, match=r"loss must have no parameters .* not be trained; .* module itself, .*Tempered"
        ):
            Trainer(mlp, arguments(), TRAIN, EVAL, loss)
    model = Own()
    Trainer(model, arguments(), TRAIN, EVAL, partial(model.loss)).train()
    assert model.loss.temperature.item() != 2.0
    Trainer(mlp, arguments(), TRAIN, EVAL, nn.CrossEntropyLoss().forward).train()


def test_an_optimizer_of_ones_own_may_have_them() -> None:
    model, loss = mlp(), Tempered()
    optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": loss.parameters(), "lr": 0.5}], lr=0.05)
    Trainer(model, arguments(), TRAIN, EVAL, loss, optimizer=optimizer).train()
    assert loss.temperature.item() != 2.0


def test_checkpoints_from_before_the_loss_was_saved(tmp_path: Path) -> None:
    """They go on, where the loss has no parameters: its state is what it was made with."""
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))

    def make(epochs: float) -> Trainer:
        stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=2))
        args = arguments(
            tmp_path, save_steps=3, num_train_epochs=epochs, lr_scheduler_type="constant", warmup_ratio=0.0
        )
        return Trainer(mlp, args, TRAIN, EVAL, loss, early_stopping=stopper)

    expected = make(3)
    result = expected.train()
    (tmp_path / "training.pt").unlink()
    make(1).train()
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    assert state["fasthpo"] == 3
    del state["loss"]
    state["early_stopping"]["weights"] = state["early_stopping"]["weights"]["model"]
    torch.save({**state, "fasthpo": 1}, tmp_path / "training.pt")
    resumed = make(3)
    assert resumed.train(resume=True) == result and len(resumed.history) == 3
    assert same(weights(resumed.model), weights(expected.model))


def test_a_checkpoint_of_another_loss_is_refused(tmp_path: Path) -> None:
    args = arguments(tmp_path, save_steps=3)
    Trainer(mlp, args, TRAIN, EVAL, Tempered()).train()
    for other in (nn.functional.cross_entropy, nn.CrossEntropyLoss()):
        with pytest.raises(InvalidValue, match="holds the weights of another model"):
            Trainer(mlp, args, TRAIN, EVAL, other).train(resume=True)


def test_many_at_once_refuse_it() -> None:
    def many(loss: Any) -> VectorizedTrainer:
        return VectorizedTrainer(mlp, arguments(gradient_accumulation_steps=1), TRAIN, EVAL, loss)

    for loss in (Tempered(), Tempered().forward, partial(Tempered())):
        with pytest.raises(
            InvalidValue, match=r"loss must have no parameters that require a gradient but .*: got .*Tempered"
        ):
            many(loss)
    many(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])))
