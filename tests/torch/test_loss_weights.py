"""Losses that are means over something else than samples, such as valid tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fasthpo.errors import InvalidValue
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer
from tests.support.torch_training import FakeTrial, arguments, same, weights

TOKENS, CLASSES, IGNORED = 6, 5, -100
LOSS = nn.CrossEntropyLoss()  # the mean over the tokens that are not ignored


def texts(samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and what comes next; texts end anywhere, and the last ones have hardly a valid token."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(CLASSES, (samples, TOKENS), generator=generator)
    y = (x + torch.randint(2, x.shape, generator=generator)) % CLASSES
    lengths = torch.randint(1, TOKENS + 1, (samples, 1), generator=generator)
    lengths[-samples // 4 :] = 0
    return x, y.where(torch.arange(TOKENS) < lengths, IGNORED)


TRAIN, EVAL = texts(40, 0), texts(22, 1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(CLASSES, 4), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x)).transpose(1, 2)  # (samples, classes, tokens)


def valid(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (targets != IGNORED).sum()


def plain(**changed: Any) -> TrainingArguments:
    fields = {"optimizer": "sgd", "lr_scheduler_type": "constant", "warmup_ratio": 0.0, "learning_rate": 0.5}
    return arguments(**{**fields, **changed})


@pytest.mark.parametrize("size", [3, 7, 22])
def test_the_evaluation_is_a_mean_over_tokens(size: int) -> None:
    """Whatever the size of its batches, of which some have no valid token, so that their loss is NaN."""
    args = plain(per_device_eval_batch_size=size)
    one = Trainer(Model, args, TRAIN, EVAL, LOSS, loss_weight=valid)
    with torch.no_grad():
        expected = LOSS(one.model(EVAL[0]), EVAL[1]).item()
    assert one.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [3, 22])
def test_the_evaluation_of_many_models_at_once(size: int) -> None:
    args = plain(per_device_eval_batch_size=size, gradient_accumulation_steps=1, per_device_train_batch_size=40)
    rates = [0.1, 0.5, 1.0]
    many = VectorizedTrainer(Model, args, TRAIN, EVAL, LOSS, loss_weight=valid)
    for rate, result in zip(rates, many.train([{"learning_rate": rate} for rate in rates]), strict=True):
        own = plain(learning_rate=rate, gradient_accumulation_steps=1, per_device_train_batch_size=40)
        one = Trainer(Model, own, TRAIN, EVAL, LOSS)  # all in one batch, in training and evaluation
        assert result.value == pytest.approx(one.train()["eval_loss"], rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_accumulated_batches_are_one_large_batch(precision: str) -> None:
    """The gradient is that of the mean over all valid tokens of a step; batches without any change nothing."""
    args = plain(precision=precision, num_train_epochs=4)
    small = Trainer(Model, plain(precision=precision, num_train_epochs=4, per_device_train_batch_size=4,
                                 gradient_accumulation_steps=10), TRAIN, EVAL, LOSS, loss_weight=valid)  # fmt: skip
    large = Trainer(Model, plain(precision=precision, num_train_epochs=4, per_device_train_batch_size=40,
                                 gradient_accumulation_steps=1), TRAIN, EVAL, LOSS, loss_weight=valid)  # fmt: skip
    without = Trainer(Model, args, TRAIN, EVAL, LOSS)
    small.train(), large.train(), without.train()
    assert small.step == large.step == 4
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    for a, b in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_without_accumulation_nothing_changes() -> None:
    runs = [
        Trainer(
            Model, plain(gradient_accumulation_steps=1, per_device_train_batch_size=20), TRAIN, EVAL, LOSS, **others
        )
        for others in ({}, {"loss_weight": valid})
    ]
    for one in runs:
        one.train()
    assert same(weights(runs[0].model), weights(runs[1].model))


def test_a_step_without_any_weight_is_left_out() -> None:
    """Weights, momentum and history are as if it had not been; an evaluation without any is no number."""
    nothing = (TRAIN[0], torch.full_like(TRAIN[1], IGNORED))
    one = Trainer(Model, plain(momentum=0.9, weight_decay=0.1), nothing, nothing, LOSS, loss_weight=valid)
    before = weights(one.model)
    assert math.isnan(one.train()["eval_loss"])
    assert same(before, weights(one.model))


def test_a_weight_of_outputs_and_of_numbers() -> None:
    """It is asked once for each batch, with the outputs; it may return any number."""
    seen = []

    def weight(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        seen.append(tuple(outputs.shape))
        return 2.0

    args = plain(gradient_accumulation_steps=1, per_device_eval_batch_size=11, num_train_epochs=1)
    one = Trainer(Model, args, TRAIN, EVAL, lambda outputs, targets: targets.float().mean() + 0 * outputs.sum(),
                  loss_weight=weight, trial=FakeTrial())  # fmt: skip
    halves = [EVAL[1][:11].float().mean().item(), EVAL[1][11:].float().mean().item()]
    assert one.train()["eval_loss"] == pytest.approx(sum(halves) / 2)
    assert seen == [(10, CLASSES, TOKENS)] * 4 + [(11, CLASSES, TOKENS)] * 2


@pytest.mark.parametrize("kind", [Trainer, VectorizedTrainer])
@pytest.mark.parametrize(("weight", "message"), [
    (3, "loss_weight must be None or a function of outputs and targets, got 3"),
    (lambda outputs, targets: -1, "what loss_weight returns must be finite and not negative, got -1"),
    (lambda outputs, targets: math.nan, "what loss_weight returns must be finite and not negative, got nan"),
    (lambda outputs, targets: None, "what loss_weight returns must be a number, got None"),
    (lambda outputs, targets: targets, "what loss_weight returns must be a number, got tensor"),
])  # fmt: skip
def test_what_is_no_weight(kind: Any, weight: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        made = kind(Model, plain(gradient_accumulation_steps=1), TRAIN, EVAL, LOSS, loss_weight=weight)
        made.train() if kind is Trainer else made.train([{}])
