"""Thousands of small networks in a minute or two: they train side by side, as one computation.

    python examples/tune_many_small.py                  # 4,096 networks
    python examples/tune_many_small.py --trials 512

Each network learns to read scikit-learn's images of digits with its own learning rate, weight decay, momentum, dropout
and width; `VectorizedTrainer` trains those of one width together and drops what falls behind the median. A third of the
images is held out. The best parameters then train ten networks, alone and without early ends, whose mean accuracy on
the held-out images is the last line.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import fasthpo
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-3, 10.0),
        "weight_decay": fasthpo.LogUniform(1e-6, 1e-1),
        "momentum": fasthpo.Continuous(0.0, 0.99),
        "dropout": fasthpo.Continuous(0.0, 0.8),
        "width": fasthpo.Categorical([16, 32, 64]),
    }
)
Images = tuple[torch.Tensor, torch.Tensor]


def load_images() -> tuple[Images, Images, Images]:
    """Training, validation and held-out images with their digits; the split is always the same."""
    digits = load_digits()
    rest, held_out, rest_y, held_out_y = train_test_split(
        digits.data, digits.target, test_size=1 / 3, stratify=digits.target, random_state=0
    )
    train, valid, train_y, valid_y = train_test_split(rest, rest_y, test_size=1 / 3, stratify=rest_y, random_state=0)

    def tensors(images: Any, labels: Any) -> Images:
        return torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)

    return tensors(train, train_y), tensors(valid, valid_y), tensors(held_out, held_out_y)


def network(width: int, dropout: float = 0.5) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10))


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def test(params: Mapping[str, Any], base: TrainingArguments, images: Images, held_out: Images) -> float:
    """Mean accuracy on the held-out images of ten networks, each trained on all others from a seed of its own."""
    args = hyperparams_to_training_args(base, params, strict=False)
    reached = []
    for seed in range(10):
        trainer = Trainer(
            lambda: network(params["width"], params["dropout"]),
            replace(args, seed=seed, do_eval=False),
            images,
            None,
            nn.CrossEntropyLoss(),
            {"accuracy": accuracy},
        )
        trainer.train()
        reached.append(trainer.evaluate(held_out)["eval_accuracy"])
    return sum(reached) / len(reached)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # one stack's matrices are too small to gain from more

    train, valid, held_out = load_images()
    base = TrainingArguments(
        optimizer="sgd", lr_scheduler_type="cosine", num_train_epochs=options.epochs, seed=options.seed
    )
    pruner = fasthpo.PercentilePruner(25, n_startup_trials=20, min_steps=2)
    study = fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=options.seed), pruner=pruner)
    trainer = VectorizedTrainer(network, base, train, valid, nn.CrossEntropyLoss(), {"accuracy": accuracy})

    start = time.perf_counter()
    while len(study) < options.trials:
        trainer.tune(study, min(512, options.trials - len(study)))
        seconds = time.perf_counter() - start
        print(
            f"{len(study)} trials in {seconds:.0f} s, {len(study) / seconds:.0f} a second: best {study.best_value:.4f}"
        )
    counts = study.table.counts
    print(f"{counts[fasthpo.TrialState.PRUNED]} were pruned, {counts[fasthpo.TrialState.FAILED]} diverged")
    print(f"best: {study.best_params}, accuracy {study.best_trial.metrics['eval_accuracy']:.4f} in validation")

    both = torch.cat([train[0], valid[0]]), torch.cat([train[1], valid[1]])
    print(f"held-out accuracy: {test(study.best_params, base, both, held_out):.4f}")


if __name__ == "__main__":
    main()
