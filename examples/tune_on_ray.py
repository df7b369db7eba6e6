"""Tune a small torch network on Ray: trials are Ray tasks, on this machine or on a cluster.

    python examples/tune_on_ray.py                        # starts Ray on this machine; a minute on two cores
    RAY_ADDRESS=host:6379 python examples/tune_on_ray.py --output-dir /shared  # joins a cluster

A cluster's machines need fasthpo and, for the weights, an output directory that all of them see.
The images are scikit-learn's digits, a third of them held out. The study stays in this program; trials report to it,
are pruned by it, and are tried again if their worker or their machine is lost. `--gpus 0.25` lets four trials share a
GPU.
"""

from __future__ import annotations

import argparse
import os
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


def images() -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Images and their digits: to train on, to validate on, and held out."""
    pixels, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
    rest, held_out = train_test_split(range(len(x)), test_size=1 / 3, stratify=digits, random_state=0)
    train, valid = train_test_split(rest, test_size=1 / 3, stratify=digits[rest], random_state=0)
    return [x[train], y[train]], [x[valid], y[valid]], [x[held_out], y[held_out]]


def make_network(trial: fasthpo.Trial) -> nn.Module:
    width, dropout = trial["width"], trial["dropout"]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))


@torch.no_grad()
def evaluate(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    scores = network.eval()(x)
    return nn.functional.cross_entropy(scores, y).item(), (scores.argmax(1) == y).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--cpus", type=float, default=1.0, help="cores for each trial (default 1)")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs for each trial, or a part of one (default 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    args = parser.parse_args()
    train, valid, held_out = images()

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        """Runs in Ray's workers, which get a copy of what it uses: the images, the functions above, `args`."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(args.seed)
        (x, y), (valid_x, valid_y) = ([part.to(device) for part in parts] for parts in (train, valid))
        network = make_network(trial).to(device)
        optimizer = torch.optim.SGD(
            network.parameters(), trial["learning_rate"], trial["momentum"], weight_decay=trial["weight_decay"]
        )
        for epoch in range(args.epochs):
            network.train()
            for batch in torch.randperm(len(x), device=device).split(BATCH_SIZE):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
            loss, _ = evaluate(network, valid_x, valid_y)
            trial.report(loss, step=epoch)
            if trial.should_prune():
                raise fasthpo.TrialPruned
        torch.save(network.cpu().state_dict(), trial.checkpoint_dir / "weights.pt")
        loss, accuracy = evaluate(network, valid[0], valid[1])
        return {"loss": loss, "accuracy": accuracy, "process": os.getpid()}

    config = fasthpo.TunerConfig(
        "digits-on-ray",
        objective_metric="loss",
        max_trials=args.trials,
        pruning=fasthpo.PruningConfig(strategy="median", min_steps=3),
        output_dir=args.output_dir,
        save_checkpoints=True,
        overwrite=True,
        seed=args.seed,
    )
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, SPACE)
    resources = {"cpu": args.cpus, "gpu": args.gpus}
    result = tuner.optimize(objective, backend="ray", resources_per_trial=resources, retries=2)
    print(result)
    processes = {trial.metrics["process"] for trial in result.trials if "process" in trial.metrics}
    print(f"worker processes: {len(processes)}")
    network = make_network(result.best_trial)
    network.load_state_dict(torch.load(result.best_trial.checkpoint_dir / "weights.pt", weights_only=True))
    _, accuracy = evaluate(network, *held_out)
    print(f"held-out accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    main()
