"""Are populations better than searches for constants? At equal numbers of epochs, over paired seeds.

    python benchmarks/population_quality.py --task schedule              a task whose best schedule is known: seconds
    python benchmarks/population_quality.py --task digits --seeds 10     a convolutional network on images of digits
    python benchmarks/population_quality.py --task words                 a transformer that tells languages of words
    python benchmarks/population_quality.py --task sequence              a recurrent network that adds up a sequence

Each method has as many epochs in all as training `--members` networks to the end takes. Random search, TPE and ASHA
may choose among schedules of the learning rate (constant, linear and cosine to zero); populations begin with constants.
What is compared is the loss on data of its own (test) of the trial that is best on validation data; of the known task
the loss itself, with what the best schedule comes to. Columns: median over the seeds, mean, how often a method is
better than PopulationTraining with the same seed, and the p of Wilcoxon's signed rank test, two-sided.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.stats import wilcoxon

import fasthpo

METHODS = ("random", "tpe", "asha", "pbt", "pb2")
Measured = tuple[float, float]  # on validation and on test data


class ScheduleTask:
    """Losses that fall fastest with a rate that falls itself: the best rate after t of T epochs is 10^(-0.5 - 2 t / T).

    A rate that is d decades off keeps a share of min(0.97, 0.75 + 0.2 d^2) of the loss in an epoch, but too large a
    rate late adds noise to it, of which a smaller one rids it again.
    """

    epochs = 24
    space: ClassVar = {"rate": fasthpo.LogUniform(1e-4, 1.0)}
    schedules: ClassVar = {"shape": fasthpo.Categorical(["constant", "linear", "cosine"])}

    def best(self) -> float:
        x = 1.0
        for t in range(self.epochs):
            x = self._epoch(x, 10 ** (-0.5 - 2 * t / self.epochs), t)
        return x

    def _epoch(self, x: float, rate: float, t: int) -> float:
        d = math.log10(max(rate, 1e-9)) + 0.5 + 2 * t / self.epochs
        return x * min(0.97, 0.75 + 0.2 * d * d) + (0.002 * d * d if d > 0 else 0.0)

    def run(self, trial: Any, seed: int) -> Measured:
        file = trial.checkpoint_dir / "x"
        x = float(file.read_text()) if file.exists() else 1.0
        end = trial.resource or self.epochs
        for t in range(trial.start_resource if trial.resource else 0, end):
            shape, share = trial.get("shape", "constant"), t / self.epochs
            factor = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 + 0.5 * math.cos(math.pi * share)}[shape]
            x = self._epoch(x, trial["rate"] * factor, t)
        file.write_text(repr(x))
        return x, x


class Training:
    """A training by `fasthpo.torch.Trainer`.

    Args:
        epochs: of a full one.
        data: training, validation and test data.
        model: makes a network, given the rate of dropout.
    """

    space: ClassVar = {
        "learning_rate": fasthpo.LogUniform(1e-5, 0.1),
        "weight_decay": fasthpo.LogUniform(1e-5, 1.0),
        "dropout": fasthpo.Continuous(0.0, 0.6),
    }
    schedules: ClassVar = {"lr_scheduler_type": fasthpo.Categorical(["constant", "linear", "cosine"])}

    def __init__(self, epochs: int, data: tuple[Any, Any, Any], model: Callable[[float], Any]) -> None:
        self.epochs, self._data, self._model = epochs, data, model

    def run(self, trial: Any, seed: int) -> Measured:
        from torch import nn

        from fasthpo.torch import Trainer, TrainingArguments, hyperparams_to_training_args

        train, valid, test = self._data
        base = TrainingArguments(num_train_epochs=self.epochs, per_device_train_batch_size=64, device="cpu", seed=seed)
        args = hyperparams_to_training_args(base, trial, strict=False)
        loss = nn.CrossEntropyLoss()
        trainer = Trainer(lambda: self._model(trial["dropout"]), args, train, valid, loss, trial=trial)
        return trainer.train()["eval_loss"], trainer.evaluate(test)["eval_loss"]


def digits() -> Training:
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)

    def model(dropout: float) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout),
            nn.Linear(128, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10),
        )  # fmt: skip

    return Training(16, _thirds(x, y, (600, 400)), model)


def words() -> Training:
    """As examples/tune_transformer.py, of which the package `wordfreq` is a part, with torch's own transformer."""
    import torch
    from torch import nn
    from wordfreq import top_n_list

    languages, longest = ("de", "en", "es", "fi", "fr", "it"), 12
    lists = [[w for w in top_n_list(one, 1500) if w.isalpha() and 4 <= len(w) <= longest][:400] for one in languages]
    counts: dict[str, int] = {}
    for word in (word for one in lists for word in one):
        counts[word] = counts.get(word, 0) + 1
    pairs = [(word, label) for label, one in enumerate(lists) for word in one if counts[word] == 1]
    letters = {letter: i + 1 for i, letter in enumerate(sorted({letter for word, _ in pairs for letter in word}))}
    x = torch.tensor([[letters[letter] for letter in word] + [0] * (longest - len(word)) for word, _ in pairs])
    y = torch.tensor([label for _, label in pairs])

    class Model(nn.Module):
        def __init__(self, dropout: float) -> None:
            super().__init__()
            self.embed = nn.Embedding(len(letters) + 1, 32)
            self.place = nn.Parameter(torch.zeros(longest, 32))
            self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True)
            self.head = nn.Linear(32, len(languages))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(self.embed(ids) + self.place).mean(1))

    return Training(12, _thirds(x, y, (len(x) * 6 // 10, len(x) * 2 // 10)), Model)


def sequence() -> Training:
    """To what the two marked ones of a sequence of 8 digits, each from 0 to 3, add up modulo 4.

    A good rate learns it in these epochs, after some in which nothing is seen to be learnt.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(4, (3000, 8), generator=generator)
    marks = torch.zeros(3000, 8, dtype=torch.int64)
    for row in marks:
        row[torch.randperm(8, generator=generator)[:2]] = 1
    y = (numbers * marks).sum(1) % 4
    x = torch.cat([nn.functional.one_hot(numbers, 4), marks[..., None]], dim=2).float()

    class Model(nn.Module):
        def __init__(self, dropout: float) -> None:
            super().__init__()
            self.cells = nn.GRU(5, 32, batch_first=True)
            self.drop = nn.Dropout(dropout)
            self.head = nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.drop(self.cells(x)[0][:, -1]))

    return Training(16, _thirds(x, y, (1800, 600)), Model)


def _thirds(x: Any, y: Any, sizes: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Training, validation and test data, always the same."""
    import torch

    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, valid, test = order.split([*sizes, len(x) - sum(sizes)])
    return (x[train], y[train]), (x[valid], y[valid]), (x[test], y[test])


def search(task: Any, method: str, seed: int, members: int, interval: int) -> float:
    """The test loss of the trial that is best on validation data."""
    sampler: Any = (fasthpo.TPESampler if method == "tpe" else fasthpo.RandomSampler)(seed=seed)
    epochs, budget = task.epochs, members * task.epochs
    space = task.space if method in ("pbt", "pb2") else {**task.space, **task.schedules}
    strategy: Any = None
    if method in ("pbt", "pb2"):
        kind: Any = fasthpo.PopulationTraining if method == "pbt" else fasthpo.PB2
        strategy = kind(epochs, members, interval, sampler=sampler)
    elif method == "asha":
        strategy = fasthpo.ASHA(epochs, max(1, epochs // 9), 3, sampler=sampler)
    with tempfile.TemporaryDirectory() as directory:
        study = fasthpo.Study(space, None if strategy else sampler, strategy, storage=Path(directory) / "study")
        found: dict[int, Measured] = {}
        while True:
            if strategy is None:
                trial = study.ask() if len(study) < members else None
            else:
                trial = study.ask_within(budget - study.resource_spent)
            if trial is None:
                break
            found[trial.number] = task.run(trial, seed)
            study.tell(trial, found[trial.number][0])
        study.close()
    finite = {number: one for number, one in found.items() if math.isfinite(one[0])}
    return min(finite.values())[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["schedule", "digits", "words", "sequence"], default="schedule")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--interval", type=int, default=2)
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    if given.task == "schedule":
        task: Any = ScheduleTask()
        print(f"the best schedule comes to {task.best():.4g}")
    else:
        import torch

        torch.set_num_threads(1)
        task = {"digits": digits, "words": words, "sequence": sequence}[given.task]()
    losses: dict[str, list[float]] = {}
    for method in given.methods.split(","):
        begin = time.perf_counter()
        losses[method] = [search(task, method, seed, given.members, given.interval) for seed in range(given.seeds)]
        print(f"{method}: {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"\n{given.task}, {given.members} x {task.epochs} epochs, {given.seeds} seeds")
    print(f"{'':>8} {'median':>9} {'mean':>9}  better than pbt     p")
    for method, mine in losses.items():
        line = f"{method:>8} {np.median(mine):9.4g} {np.mean(mine):9.4g}"
        if method != "pbt" and "pbt" in losses and len(mine) > 1:
            difference = np.array(mine) - losses["pbt"]
            p = wilcoxon(difference).pvalue if difference.any() else 1.0
            line += f"  {int((difference < 0).sum()):>6} of {len(mine)}   {p:9.3f}"
        print(line)


if __name__ == "__main__":
    main()
