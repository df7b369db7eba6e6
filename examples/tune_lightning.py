"""Tune a network that Lightning trains, on scikit-learn's images of digits, and test it on images it never saw.

    python examples/tune_lightning.py                       # 24 trials, two at a time, some minutes on two cores
    python examples/tune_lightning.py --workers 1           # one after the other, in this process
    python examples/tune_lightning.py --trials 4 --epochs 2 # in short

Each trial reports its validation loss after every epoch and is pruned if it falls behind the median of the others.
Lightning keeps the weights of its best epoch in the trial's own directory, and fasthpo those of the best trial only. At
the end these are loaded again, and the last line says what they reach on the third of the images that was held out.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fasthpo
from fasthpo.integrations.lightning import LightningCallback

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 1e-1),
        "weight_decay": fasthpo.LogUniform(1e-6, 1e-1),
        "batch_size": fasthpo.Discrete(16, 256, 16),
        "width": fasthpo.Discrete(4, 32, 4),
        "optimizer": fasthpo.Categorical(["adamw", "sgd"]),
        "momentum": fasthpo.Continuous(0.0, 0.99, when={"optimizer": ["sgd"]}),
    }
)


class Digits(lightning.LightningModule):
    """Two convolutions and a linear layer; it keeps its parameters in its checkpoints."""

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        batch_size: int,
        width: int,
        optimizer: str,
        momentum: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def validation_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        logits = self(images)
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        own = self.hparams
        if own.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), own.learning_rate, own.momentum, weight_decay=own.weight_decay)
        return torch.optim.AdamW(self.parameters(), own.learning_rate, weight_decay=own.weight_decay)


def load_images() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Training, validation and held-out images with their digits; the split is always the same."""
    digits = load_digits()
    rest, held_out, rest_y, held_out_y = train_test_split(
        digits.images, digits.target, test_size=1 / 3, stratify=digits.target, random_state=0
    )
    train, valid, train_y, valid_y = train_test_split(rest, rest_y, test_size=1 / 3, stratify=rest_y, random_state=0)

    def tensors(images: Any, labels: Any) -> TensorDataset:
        return TensorDataset(torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(labels))

    return tensors(train, train_y), tensors(valid, valid_y), tensors(held_out, held_out_y)


def quiet() -> None:
    """No messages of Lightning's, and one thread: so small a network is slower on more."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # such as that a loader could have workers of its own
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
    torch.set_num_threads(1)


class Objective:
    """Trains a trial's network; each process reads the images once."""

    def __init__(self, epochs: int, seed: int) -> None:
        self.epochs, self.seed = epochs, seed
        self.data: tuple[TensorDataset, TensorDataset] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "data": None}

    def __call__(self, trial: fasthpo.Trial) -> dict[str, float]:
        quiet()
        if self.data is None:
            self.data = load_images()[:2]
        train, valid = self.data
        lightning.seed_everything(self.seed, verbose=False)
        best = ModelCheckpoint(trial.checkpoint_dir, "best", monitor="val_loss", enable_version_counter=False)
        trainer = lightning.Trainer(
            max_epochs=self.epochs,
            accelerator="auto",
            devices=1,  # a GPU a trial: optimize(..., devices="auto") says which
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[LightningCallback(trial, "val_loss"), best],
        )
        trainer.fit(
            Digits(**trial),
            DataLoader(train, trial["batch_size"], shuffle=True),
            DataLoader(valid, len(valid)),
        )  # raises TrialPruned for a trial that has fallen behind
        return {"val_loss": float(best.best_model_score), "last_loss": float(trainer.callback_metrics["val_loss"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time, in processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    args = parser.parse_args()
    quiet()

    config = fasthpo.TunerConfig(
        f"lightning-{args.seed}",
        direction="minimize",
        objective_metric="val_loss",
        max_trials=args.trials,
        pruning=fasthpo.PruningConfig(strategy="median", min_steps=2),
        output_dir=args.output_dir,
        save_checkpoints=True,
        keep_checkpoints="best",
        overwrite=True,
        seed=args.seed,
    )
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, SPACE)
    result = tuner.optimize(Objective(args.epochs, args.seed), workers=args.workers)
    print(result)

    # a checkpoint of one's own, but nothing else than tensors and plain values is needed of it
    saved = torch.load(result.best_trial.checkpoint_dir / "best.ckpt", weights_only=True)
    network = Digits(**result.best_params)
    network.load_state_dict(saved["state_dict"])
    images, labels = load_images()[2].tensors
    with torch.no_grad():
        right = (network.eval()(images).argmax(1) == labels).double().mean().item()
    print(f"held-out accuracy: {right:.4f}")


if __name__ == "__main__":
    main()
