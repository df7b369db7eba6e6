"""Tune a torch network with Hyperband: most trainings pause after a few epochs, the best go on from weights on disk.

    python examples/tune_hyperband.py                    # half a minute on two cores
    python examples/tune_hyperband.py --sampler random   # plain Hyperband; the default, with TPE, is BOHB

The images are scikit-learn's digits. A trial is asked for again under its number when it is among the best of its rung;
it finds its network and its optimizer in `trial.checkpoint_dir` and trains from `trial.start_resource` on. The table at
the end shows what has happened at each rung.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import fasthpo

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 1.0),
        "momentum": fasthpo.Continuous(0.0, 0.99),
        "weight_decay": fasthpo.LogUniform(1e-8, 1e-1),
        "width": fasthpo.Discrete(8, 128, 8),
        "dropout": fasthpo.Continuous(0.0, 0.8),
    }
)
BATCH_SIZE = 64


def images() -> list[torch.Tensor]:
    """Training images, validation images, and the digits on them."""
    pixels, digits = load_digits(return_X_y=True)
    parts = train_test_split(pixels / 16, digits, test_size=1 / 3, stratify=digits, random_state=0)
    return [torch.tensor(part, dtype=torch.float32 if part.ndim > 1 else torch.int64) for part in parts]


class Tuning:
    """The objective, and a count of what came from disk."""

    def __init__(self) -> None:
        self.train_x, self.valid_x, self.train_y, self.valid_y = images()
        self.resumed = 0
        self.epochs_from_disk = 0

    def __call__(self, trial: fasthpo.Trial) -> dict[str, float]:
        torch.manual_seed(trial.number)
        width, dropout = trial["width"], trial["dropout"]
        network = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))
        optimizer = torch.optim.SGD(
            network.parameters(), trial["learning_rate"], trial["momentum"], weight_decay=trial["weight_decay"]
        )
        weights = trial.checkpoint_dir / "weights.pt"
        if trial.start_resource:
            saved = torch.load(weights, weights_only=True)
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            self.resumed += 1
            self.epochs_from_disk += trial.start_resource
        loss_of = nn.CrossEntropyLoss()
        for epoch in range(trial.start_resource, trial.resource):
            network.train()
            order = torch.randperm(len(self.train_x), generator=torch.Generator().manual_seed(epoch))
            for batch in order.split(BATCH_SIZE):
                optimizer.zero_grad()
                loss_of(network(self.train_x[batch]), self.train_y[batch]).backward()
                optimizer.step()
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, weights)
        network.eval()
        with torch.no_grad():
            logits = network(self.valid_x)
        right = (logits.argmax(1) == self.valid_y).double().mean().item()
        return {"loss": loss_of(logits, self.valid_y).item(), "accuracy": right}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=27, help="of a full training (default 27)")
    parser.add_argument("--budget", type=int, default=60, help="how many full trainings all trials may cost together")
    parser.add_argument("--sampler", choices=["tpe", "random"], default="tpe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    args = parser.parse_args()

    torch.set_num_threads(1)  # so small a network is slower on more
    config = fasthpo.TunerConfig(
        f"hyperband-{args.sampler}-{args.seed}",
        direction="minimize",
        objective_metric="loss",
        max_total_resource=args.budget * args.max_epochs,
        output_dir=args.output_dir,
        save_checkpoints=True,
        overwrite=True,
    )
    sampler = fasthpo.TPESampler(seed=args.seed) if args.sampler == "tpe" else fasthpo.RandomSampler(args.seed)
    tuner = fasthpo.HyperparameterTuner.with_hyperband(config, SPACE, args.max_epochs, sampler=sampler)
    tuning = Tuning()
    result = tuner.optimize(tuning)

    print(result)
    print(f"\n{tuner.study.strategy.summary()}\n")
    print(f"{tuning.resumed} trainings went on from weights on disk, which saved {tuning.epochs_from_disk} epochs")
    if result.statistics.best_value is None:
        raise SystemExit("no trial was trained to the end: raise --budget")
    print(f"validation accuracy: {result.best_trial.metrics['accuracy']:.4f}")


if __name__ == "__main__":
    main()
