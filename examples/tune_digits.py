"""Tune a small convolutional network on scikit-learn's images of digits, then test it on images it never saw.

    python examples/tune_digits.py                      # 150 trials, two to four minutes on two cores
    python examples/tune_digits.py --sampler random     # the same budget of random search
    python examples/tune_digits.py --resume             # go on where a run was stopped
    python examples/tune_digits.py --workers 2          # two trials at a time
    python examples/tune_digits.py --objectives accuracy,parameters --trials 60      # accurate and small

A third of the images is held out. On the rest, each trial trains with its own learning rate, weight decay, batch size,
optimizer, width and dropout, reports its validation loss after every epoch, is pruned if it falls behind the median of
the others, and stops early if it gets no better. The best parameters then train three networks on all the images but
the held-out ones, and the last line says what they reach on those together.

With several objectives no trial is pruned or stops early, and the run ends with the front: the networks that no other
one is better than in every objective, as a table and, if matplotlib is there, as a picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import fasthpo
from fasthpo.torch import Trainer, TrainingArguments, hyperparams_to_training_args

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-6, 10.0),
        "weight_decay": fasthpo.LogUniform(1e-8, 1.0),
        "batch_size": fasthpo.Discrete(32, 512, 32),
        "optimizer": fasthpo.Categorical(["adamw", "sgd"]),
        "momentum": fasthpo.Continuous(0.0, 0.99, when={"optimizer": ["sgd"]}),
        "width": fasthpo.Discrete(2, 32, 2),
        "dropout": fasthpo.Continuous(0.0, 0.9),
    }
)
# with several objectives: sizes that differ by factors, and fewer networks that learn nothing
ALL_SIZES = fasthpo.SearchSpace(
    {
        "width": fasthpo.Discrete(2, 32, log=True),
        **{name: one for name, one in SPACE.items() if name != "width"},
        "learning_rate": fasthpo.LogUniform(1e-3, 1.0),
        "dropout": fasthpo.Continuous(0.0, 0.5),
    }
)
# by the name that --objectives has for it: the metric, which way it is to go, and what a picture calls it
OBJECTIVES = {
    "accuracy": ("accuracy", "maximize", "validation accuracy"),
    "loss": ("eval_loss", "minimize", "validation loss"),
    "parameters": ("parameters", "minimize", "number of parameters"),
}
# in a picture: what spreads an axis out, its ends (None: as they are), and its ticks
SCALES = {
    "accuracy": ("logit", (0.07, 0.995), [0.1, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99]),
    "parameters": ("log", (600, None), [1000, 2000, 5000, 10_000, 20_000]),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Images = tuple[torch.Tensor, torch.Tensor]


def load_images() -> tuple[Images, Images, Images]:
    """Training, validation and held-out images with their digits; the split is always the same."""
    digits = load_digits()
    rest, held_out, rest_y, held_out_y = train_test_split(
        digits.images, digits.target, test_size=1 / 3, stratify=digits.target, random_state=0
    )
    train, valid, train_y, valid_y = train_test_split(rest, rest_y, test_size=1 / 3, stratify=rest_y, random_state=0)

    def tensors(images: Any, labels: Any) -> Images:
        pixels = torch.tensor(images, dtype=torch.float32, device=DEVICE).unsqueeze(1) / 16
        return pixels, torch.tensor(labels, device=DEVICE)

    return tensors(train, train_y), tensors(valid, valid_y), tensors(held_out, held_out_y)


class Network(nn.Sequential):
    """Two convolutions and a linear layer, for images of 8 x 8 pixels."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * 16, 10),
        )


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def arguments(params: Mapping[str, Any], epochs: int, seed: int) -> TrainingArguments:
    """Those of the parameters that say how to train; the others describe the network."""
    base = TrainingArguments(num_train_epochs=epochs, lr_scheduler_type="linear", seed=seed)
    return hyperparams_to_training_args(base, params, strict=False)


@torch.no_grad()
def vote(networks: Sequence[nn.Module], images: torch.Tensor) -> torch.Tensor:
    """The logarithm of the networks' mean prediction, but for a constant."""
    return torch.stack([network.eval()(images).log_softmax(1) for network in networks]).logsumexp(0)


def tune(args: argparse.Namespace, train: Images, valid: Images) -> fasthpo.TuningResult:
    metrics, directions, _ = zip(*(OBJECTIVES[name] for name in args.objectives), strict=True)
    is_one = len(metrics) == 1
    config = fasthpo.TunerConfig(
        "-".join(["digits", *([] if args.objectives == ["loss"] else args.objectives), args.sampler, str(args.seed)]),
        direction=directions,
        objective_metric=metrics,
        max_trials=args.trials,
        pruning=fasthpo.PruningConfig(strategy="median", min_steps=2) if is_one else None,
        early_stopping=(
            fasthpo.EarlyStoppingConfig(patience=3, min_delta=0.001, restore_best_weights=True) if is_one else None
        ),
        output_dir=args.output_dir,
        save_checkpoints=True,
        overwrite=not args.resume,
        seed=args.seed,
    )
    space = SPACE if is_one else ALL_SIZES
    if args.sampler == "tpe":
        tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space)
    else:
        tuner = fasthpo.HyperparameterTuner.with_random_search(config, space)
    if args.resume:
        tuner.load_checkpoint(config.study_dir)

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        trainer = Trainer(
            lambda: Network(trial["width"], trial["dropout"]),
            arguments(trial, args.epochs, args.seed),
            train,
            valid,
            nn.CrossEntropyLoss(),
            {"accuracy": accuracy},
            trial,
            early_stopping=tuner.early_stopping() if len(args.objectives) == 1 else None,
        )
        measured = trainer.train()  # loss and accuracy of the best epoch, on the validation images
        parameters = sum(one.numel() for one in trainer.model.parameters())
        return {**measured, "accuracy": measured["eval_accuracy"], "parameters": parameters}

    return tuner.optimize(objective, workers=args.workers)


def save_picture(study_dir: Path, objectives: Sequence[str]) -> Path:
    """Save a picture of the front, over the first two objectives, where small differences of good ones are seen."""
    study = fasthpo.Study.load(study_dir, read_only=True)
    figure = fasthpo.plots.pareto_front(study, [0, 1])
    (axes,) = figure.axes
    for axis, name in zip("xy", objectives, strict=False):
        _, goal, title = OBJECTIVES[name]
        axes.set(**{f"{axis}label": f"{title} ({goal})"})
        if name in SCALES:
            scale, limits, ticks = SCALES[name]
            axes.set(**{f"{axis}scale": scale, f"{axis}lim": limits})
            low, high = getattr(axes, f"get_{axis}lim")()
            ticks = [tick for tick in ticks if low <= tick <= high]
            axes.set(**{f"{axis}ticks": ticks, f"{axis}ticklabels": [f"{tick:,}" for tick in ticks]})
    axes.minorticks_off()
    figure.savefig(study_dir / "front.png")
    return study_dir / "front.png"


def chosen_objectives(text: str) -> list[str]:
    names = text.split(",")
    if len(set(names)) < len(names) or not OBJECTIVES.keys() >= set(names) or (len(names) == 1 and names != ["loss"]):
        raise argparse.ArgumentTypeError(f"loss, or several of {', '.join(OBJECTIVES)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=12, help="epochs of a full training (default 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sampler", choices=["tpe", "random"], default="tpe")
    parser.add_argument(
        "--objectives", type=chosen_objectives, default=["loss"], metavar="NAME,NAME",
        help=f"several of {', '.join(OBJECTIVES)} (default: the validation loss alone)",
    )  # fmt: skip
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    parser.add_argument("--workers", type=int, default=1, help="trials at the same time, in processes of their own")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output-dir")
    args = parser.parse_args()

    torch.set_num_threads(1)  # so small a network is slower on more, and its sums would depend on how many
    train, valid, held_out = load_images()
    result = tune(args, train, valid)
    print(result)
    study_dir = args.output_dir / result.study_name
    print(f"files: {study_dir}")
    if len(args.objectives) > 1:
        try:
            print(f"picture: {save_picture(study_dir, args.objectives)}")
        except fasthpo.MissingPackage as error:
            print(f"no picture: {error}")
        return

    # the best parameters once more, now on the validation images, too: three networks, whose votes are averaged
    both = torch.cat([train[0], valid[0]]), torch.cat([train[1], valid[1]])
    best = result.best_params
    networks = []
    for seed in range(args.seed, args.seed + 3):
        final = replace(arguments(best, args.epochs, seed), do_eval=False)
        trainer = Trainer(lambda: Network(best["width"], best["dropout"]), final, both, None, nn.CrossEntropyLoss())
        trainer.train()
        networks.append(trainer.model)
    print(f"held-out accuracy: {accuracy(vote(networks, held_out[0]), held_out[1]):.4f}")


if __name__ == "__main__":
    main()
