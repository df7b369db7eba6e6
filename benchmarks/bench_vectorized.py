"""Trials a second: many small models at once against one after the other, on your machine.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/bench_vectorized.py                     # about three minutes
    python benchmarks/bench_vectorized.py --device cuda --k 64 1024 4096

A trial trains a network on scikit-learn's images of digits and validates it after every epoch. One after the other
stands for two loops: torch's plainest, with its optimizer fused, which is faster for small models, and
`fasthpo.torch.Trainer`. All are measured in turns, several times, and the best times count: other programs can only
slow things down.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn

from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args

Data = tuple[torch.Tensor, torch.Tensor]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def plain_loop(model: Callable[[], nn.Module], args: TrainingArguments, train: Data, valid: Data) -> float:
    """What one would write by hand."""
    torch.manual_seed(args.seed)
    net = model().to(train[0].device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay, fused=True)
    for _ in range(int(args.num_train_epochs)):
        for rows in torch.randperm(len(train[0]), device=train[0].device).split(args.per_device_train_batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(train[0][rows]), train[1][rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(net(valid[0]), valid[1]).item()
    return loss


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="+", default=[1, 8, 64, 256], help="models of a stack")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    images, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32).to(options.device), torch.tensor(digits).to(options.device)
    train, valid = (x[:1200], y[:1200]), (x[1200:], y[1200:])
    base = TrainingArguments(
        num_train_epochs=options.epochs, per_device_train_batch_size=options.batch_size, device=options.device
    )
    rates = [
        {"learning_rate": 10 ** (-4 + 3 * i / max(options.k)), "weight_decay": 0.01} for i in range(max(options.k))
    ]
    loss = nn.CrossEntropyLoss()
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"{options.threads} CPU thread(s)"
    print(f"{len(train[0])} images, batches of {options.batch_size}, {options.epochs} epochs, AdamW, {where}\n")
    print(f"{'':5s}{'':24s}{'trials/s':>10s}{'x loop':>9s}{'x Trainer':>11s}")
    for name, model in (("MLP", mlp), ("CNN", cnn)):
        args = [hyperparams_to_training_args(base, one) for one in rates[:4]]
        calls: dict[str, tuple[int, Callable[[], object]]] = {
            "plain loop": (4, lambda model=model, args=args: [plain_loop(model, one, train, valid) for one in args]),
            "Trainer": (
                4,
                lambda model=model, args=args: [Trainer(model, a, train, valid, loss).train() for a in args],
            ),
        }
        for k in options.k:
            many = VectorizedTrainer(model, base, train, valid, loss, stack_size=k)
            calls[f"VectorizedTrainer, {k}"] = (k, lambda many=many, k=k: many.train(rates[:k]))
        many = VectorizedTrainer(model, base, train, valid, loss)  # stacks as large as its default makes them
        calls["VectorizedTrainer"] = (len(rates), lambda many=many: many.train(rates))
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(options.rounds):
            for label, (trials, call) in calls.items():
                best[label] = min(best[label], timed(call) / trials)
        for label, seconds in best.items():
            loop, trainer = best["plain loop"] / seconds, best["Trainer"] / seconds
            print(f"{name:5s}{label:24s}{1 / seconds:10.1f}{loop:9.2f}{trainer:11.2f}")


if __name__ == "__main__":
    main()
