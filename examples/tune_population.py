"""Learn a schedule of the learning rate, weight decay and dropout while a population trains on images of digits.

    python examples/tune_population.py                  # 12 networks for 24 epochs, a few minutes on two cores
    python examples/tune_population.py --stacked        # the same as one computation, several times as fast
    python examples/tune_population.py --pb2            # a model suggests how to go on, in the place of chance
    python examples/tune_population.py --workers 2      # two networks at a time; the same population
    python examples/tune_population.py --resume         # go on where a run was stopped

A third of scikit-learn's images is held out. Of the rest, every network trains on two thirds, and every other epoch
those that stand worst on the last third are replaced by copies of the best, which go on with other parameters. What is
found is a schedule: it is printed, written to schedule.json, and used once more, to train one network from scratch on
all images but the held-out ones. The last line says what that reaches on those.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import fasthpo
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args, replay

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-4, 0.1),
        "weight_decay": fasthpo.LogUniform(1e-5, 0.3),
        "dropout": fasthpo.Continuous(0.0, 0.6),
    }
)
Images = tuple[torch.Tensor, torch.Tensor]


def load_images() -> tuple[Images, Images, Images]:
    """Training, validation and held-out images with their digits; the split is always the same."""
    digits = load_digits()
    rest, held_out, rest_y, held_out_y = train_test_split(
        digits.images, digits.target, test_size=1 / 3, stratify=digits.target, random_state=0
    )
    train, valid, train_y, valid_y = train_test_split(rest, rest_y, test_size=1 / 3, stratify=rest_y, random_state=0)

    def tensors(images: Any, labels: Any) -> Images:
        return torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(labels)

    return tensors(train, train_y), tensors(valid, valid_y), tensors(held_out, held_out_y)


def network(dropout: float = 0.0) -> nn.Module:
    """A convolution and two linear layers, for images of 8 x 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout),
        nn.Linear(128, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10),
    )  # fmt: skip


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def arguments(epochs: int, seed: int, **others: Any) -> TrainingArguments:
    return TrainingArguments(num_train_epochs=epochs, per_device_train_batch_size=32, device="cpu", seed=seed, **others)


def make_strategy(args: argparse.Namespace) -> fasthpo.Strategy:
    kind = fasthpo.PB2 if args.pb2 else fasthpo.PopulationTraining
    sampler = fasthpo.RandomSampler(seed=args.seed)
    return kind(max_resource=args.epochs, population=args.population, interval=args.interval, sampler=sampler)


def tune(args: argparse.Namespace, directory: Path, train: Images, valid: Images) -> fasthpo.Study:
    """Train each network by itself, several at a time with workers."""

    def objective(trial: fasthpo.Trial) -> float:
        own = hyperparams_to_training_args(arguments(args.epochs, args.seed), trial, strict=False)
        made = lambda: network(trial["dropout"])  # noqa: E731
        trainer = Trainer(made, own, train, valid, nn.CrossEntropyLoss(), {"accuracy": accuracy}, trial)
        return trainer.train()["eval_loss"]

    config = fasthpo.TunerConfig(
        directory.name, output_dir=directory.parent, save_checkpoints=True, overwrite=not args.resume
    )
    tuner = fasthpo.HyperparameterTuner(config, SPACE, make_strategy(args))
    if args.resume:
        tuner.load_checkpoint(directory)
    print(tuner.optimize(objective, workers=args.workers))
    return tuner.study


def tune_stacked(args: argparse.Namespace, directory: Path, train: Images, valid: Images) -> fasthpo.Study:
    """Train all networks as one computation."""
    if args.resume:
        study = fasthpo.Study.load(directory)
    else:
        study = fasthpo.Study(SPACE, strategy=make_strategy(args))
        study.keep_at(directory, overwrite=True)
    base, metrics = arguments(args.epochs, args.seed), {"accuracy": accuracy}
    trainer = VectorizedTrainer(network, base, train, valid, nn.CrossEntropyLoss(), metrics)
    trainer.train_population(study)
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--population", type=int, default=12, help="networks (default 12)")
    parser.add_argument("--epochs", type=int, default=24, help="for which each is trained (default 24)")
    parser.add_argument("--interval", type=int, default=2, help="epochs between two comparisons (default 2)")
    parser.add_argument("--pb2", action="store_true", help="have a Gaussian process suggest how to go on")
    parser.add_argument("--stacked", action="store_true", help="train all networks as one computation")
    parser.add_argument("--workers", type=int, default=1, help="networks at the same time, in processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output-dir")
    args = parser.parse_args()

    torch.set_num_threads(1)  # so small a network is slower on more, and its sums would depend on how many
    train, valid, held_out = load_images()
    directory = args.output_dir / f"population-{args.seed}"
    study = (tune_stacked if args.stacked else tune)(args, directory, train, valid)
    schedule = study.schedule()
    for piece in schedule:
        params = ", ".join(f"{name} {value:.3g}" for name, value in piece.params.items())
        print(f"epochs {piece.start:>3} to {piece.end:>3}: {params}")
    print(f"schedule: {schedule.to_json(directory / 'schedule.json')}")
    try:
        fasthpo.plots.lineages(study).savefig(directory / "lineages.png")
        print(f"picture: {directory / 'lineages.png'}")
    except fasthpo.MissingPackage as error:
        print(f"no picture: {error}")
    study.close()

    # the schedule once more, from scratch, now on the validation images, too
    both = torch.cat([train[0], valid[0]]), torch.cat([train[1], valid[1]])

    def again(trial: fasthpo.Trial) -> nn.Module:
        own = hyperparams_to_training_args(arguments(args.epochs, args.seed, do_eval=False), trial, strict=False)
        trainer = Trainer(lambda: network(trial["dropout"]), own, both, None, nn.CrossEntropyLoss(), trial=trial)
        trainer.train()
        return trainer.model

    with tempfile.TemporaryDirectory() as scratch:
        model = replay(schedule, again, scratch).eval()
    with torch.no_grad():
        print(f"held-out accuracy: {accuracy(model(held_out[0]), held_out[1]):.4f}")


if __name__ == "__main__":
    main()
