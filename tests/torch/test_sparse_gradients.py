"""Embeddings whose gradients are sparse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fasthpo.errors import InvalidValue
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer
from tests.support.torch_training import arguments, same, weights

WORDS = 30
GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randint(WORDS, (76, 4), generator=GENERATOR), torch.randn(76, 1, generator=GENERATOR)
LOSS = nn.MSELoss()


class Functional(nn.Module):
    """Whose gradients nobody knows to be sparse before they are there."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table, self.sparse = nn.Parameter(torch.randn(WORDS, 3)), sparse

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(x, self.table, sparse=self.sparse).mean(1)


MODELS = {
    "embedding": lambda sparse: nn.Sequential(nn.Embedding(WORDS, 3, sparse=sparse), nn.Flatten(), nn.Linear(12, 1)),
    "bag": lambda sparse: nn.Sequential(nn.EmbeddingBag(WORDS, 3, sparse=sparse), nn.Linear(3, 1)),
    "functional": lambda sparse: nn.Sequential(Functional(sparse), nn.Linear(3, 1)),
}


def plain(output_dir: Path | None = None, **changed: Any) -> TrainingArguments:
    fields = {"optimizer": "sgd", "weight_decay": 0.0, "max_grad_norm": None, "learning_rate": 0.1}
    return arguments(output_dir, **{**fields, **changed})


def trained(model: Any, args: TrainingArguments, **others: Any) -> Trainer:
    one = Trainer(model, args, (X, Y), (X, Y), LOSS, **others)
    one.train()
    return one


@pytest.mark.parametrize("changed", [
    {}, {"precision": "fp16"}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"max_grad_norm": 0.1}, {"optimizer": "adam"},
    {"optimizer": "adamw", "weight_decay": 0.1, "max_grad_norm": 0.1, "precision": "fp16"},
])  # fmt: skip
@pytest.mark.parametrize("name", MODELS)
def test_they_train_as_dense_ones(name: str, changed: dict) -> None:
    """With a schedule and accumulated batches, too."""
    args = plain(**changed)
    sparse, dense = (trained(lambda kind=kind: MODELS[name](kind), args) for kind in (True, False))
    tolerance = 1e-2 if args.precision == "fp16" else 1e-5
    for a, b in zip(sparse.model.parameters(), dense.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    torch.manual_seed(args.seed)
    untrained = MODELS[name](True)
    assert not any(torch.equal(a, b) for a, b in zip(sparse.model.parameters(), untrained.parameters(), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_plain_sgd_never_makes_them_dense(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: torch.Tensor) -> None:
        raise AssertionError("made dense")

    monkeypatch.setattr(torch.Tensor, "to_dense", refused)
    trained(lambda: MODELS[name](True), plain())


@pytest.mark.parametrize("changed", [
    {}, {"precision": "fp16"}, {"momentum": 0.9}, {"optimizer": "adamw"},
])  # fmt: skip
def test_resumed_bit_by_bit(changed: dict, tmp_path: Path) -> None:
    def model() -> nn.Module:
        return MODELS["embedding"](True)

    def args(**others: Any) -> TrainingArguments:
        return plain(lr_scheduler_type="constant", warmup_ratio=0.0, **changed, **others)

    expected = trained(model, args())
    trained(model, args(output_dir=tmp_path, save_steps=1, num_train_epochs=1))
    resumed = Trainer(model, args(output_dir=tmp_path), (X, Y), (X, Y), LOSS)
    assert resumed.train(resume=True) == {"eval_loss": expected.history[-1]["eval_loss"]}
    assert same(weights(resumed.model), weights(expected.model))


def test_momenta_do_not_grow() -> None:
    """As sparse ones would, by the rows of each step."""
    one = trained(lambda: MODELS["embedding"](True), plain(momentum=0.9, num_train_epochs=20))
    table = next(one.model.parameters())
    assert one._optimizer.state[table]["momentum_buffer"].layout == torch.strided


def test_many_at_once_refuse_them() -> None:
    args = plain(gradient_accumulation_steps=1)
    many = VectorizedTrainer(lambda: MODELS["embedding"](True), args, (X, Y), (X, Y), LOSS)
    with pytest.raises(InvalidValue, match=r"model must .*train it with Trainer: .*sparse"):
        many.train([{}])


def test_an_optimizer_of_ones_own() -> None:
    table, head = nn.Embedding(WORDS, 3, sparse=True), nn.Linear(12, 1)
    model = nn.Sequential(table, nn.Flatten(), head)
    model[2].requires_grad_(False)
    one = trained(model, plain(), optimizer=torch.optim.SparseAdam(table.parameters(), lr=0.05))
    assert one.history[-1]["eval_loss"] != one.history[0]["eval_loss"]
