"""What the tests of torch training share: data, models, and a trial that needs no study."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fasthpo.torch import TrainingArguments

torch.set_num_threads(1)  # the models are too small to gain from more, and tests may run beside each other

# 76 samples: the last batch of an epoch and the last group of accumulated batches are smaller than the others
SAMPLES = 76


def classes(
    samples: int = SAMPLES, features: int = 8, n_classes: int = 3, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy vectors around a centre for each class."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n_classes, features, generator=torch.Generator().manual_seed(99))
    targets = torch.randint(n_classes, (samples,), generator=generator)
    return centres[targets] + torch.randn(samples, features, generator=generator), targets


class Pairs(torch.utils.data.Dataset):
    """A map-style data set; `named` makes its samples mappings. (Here, because worker processes import it.)"""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, named: bool) -> None:
        self._inputs, self._targets, self._named = inputs, targets, named

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, row: int) -> Any:
        x, y = self._inputs[row], self._targets[row]
        return {"input": x, "labels": y} if self._named else (x, y)


def mlp(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def cnn() -> nn.Module:
    """With what has a state besides weights: batch norm's running statistics, and dropout's random numbers."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 4)),
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


class Transformer(nn.Module):
    """One encoder layer over the vector's numbers as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, dropout=0.2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x[..., None])).mean(1))


MODELS = {"mlp": lambda: mlp(0.2), "cnn": cnn, "transformer": Transformer}


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return (outputs.argmax(1) == targets).float().mean().item()


class FakeTrial:
    """What a `Trial` is to a trainer, with what multi-fidelity strategies add to it."""

    def __init__(
        self,
        resource: int | None = None,
        checkpoint_dir: Path | None = None,
        start_resource: int = 0,
        prune_at: int | None = None,
    ) -> None:
        self.number = 7
        self.resource, self.start_resource, self.checkpoint_dir = resource, start_resource, checkpoint_dir
        self.reports: dict[int, float] = {}
        self._prune_at = prune_at

    def report(self, value: float, step: int) -> None:
        self.reports.setdefault(step, value)

    def should_prune(self) -> bool:
        return self._prune_at is not None and max(self.reports) >= self._prune_at


def arguments(output_dir: Path | None = None, **changed: Any) -> TrainingArguments:
    """Everything that has a state at once: momentum, warmup, a schedule, accumulation, clipping."""
    fields: dict[str, Any] = {
        "learning_rate": 0.05, "per_device_train_batch_size": 10, "num_train_epochs": 3, "optimizer": "adamw", "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.2, "gradient_accumulation_steps": 3, "max_grad_norm": 1.0, "weight_decay": 0.01, "device": "cpu",
    }  # fmt: skip
    return TrainingArguments(output_dir, **{**fields, **changed})


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal, bit by bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Noisy(torch.utils.data.Dataset):
    """Augmented with all three global generators. (Here, because worker processes import it.)"""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, row: int) -> Any:
        noise = torch.randn(8) * random.random() + np.random.rand()
        return self._inputs[row] + 0.1 * noise, self._targets[row]
