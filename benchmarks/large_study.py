"""A study of 50,000 trials with a cheap objective: who ends sooner, and who ends lower?

    python benchmarks/large_study.py [--trials 50000] [--seeds 2] [--limit 60] [--picture large_study.png]

One after the other in one process: `AutoSampler` asked and told one by one, and in batches of 64; CMA-ES of the package
cmaes, restarted with twice the population whenever it stops (the library alone, without a study around it); the CMA-ES
and TPE samplers of Rustuna and of Optuna. Each has the same functions of 10 and 20 parameters, with their optimum at
another place a seed. Whoever is not done after --limit seconds is broken off, and its line says how far it came. The
seconds are those of the optimiser, without the objective's. Columns: seconds, microseconds a trial, and the best value
above the optimum, as medians over the seeds. The picture shows the best value against trials and against seconds.
It needs `pip install cmaes rustuna optuna matplotlib`.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import cmaes
import numpy as np
import optuna
import rustuna

import fasthpo

LOW, HIGH = -5.0, 5.0
POINTS = 300  # of a curve
Function = Callable[[np.ndarray], float]
Curve = list[tuple[int, float, float]]  # trials, seconds, best value


def rosenbrock(x: np.ndarray) -> float:
    z = x + 1
    return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())


def ellipsoid(x: np.ndarray) -> float:
    """Its axes are not those of the box; the longest is a thousand times the shortest."""
    d = len(x)
    turned = _rotation(d) @ x
    return float(10.0 ** (6 * np.arange(d) / (d - 1)) @ turned**2)


def rastrigin(x: np.ndarray) -> float:
    return float((x**2 + 10 - 10 * np.cos(2 * np.pi * x)).sum())


def _rotation(d: int, known: dict[int, np.ndarray] = {}) -> np.ndarray:  # noqa: B006
    if d not in known:
        known[d] = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0]
    return known[d]


FUNCTIONS: dict[str, tuple[Function, int]] = {
    "rosenbrock, 20-D": (rosenbrock, 20),
    "ellipsoid, 10-D": (ellipsoid, 10),
    "rastrigin, 10-D": (rastrigin, 10),
}

# --- optimisers: a generator hands out points (k, d), and is sent their values (k,)

Optimizer = Iterator[np.ndarray]


def fasthpo_one_by_one(d: int, seed: int) -> Optimizer:
    names = [f"x{j}" for j in range(d)]
    study = fasthpo.Study({name: fasthpo.Continuous(LOW, HIGH) for name in names}, sampler=fasthpo.AutoSampler(seed))
    while True:
        trial = study.ask()
        values = yield np.array([list(trial.params.values())])
        study.tell(trial, values[0])


def fasthpo_in_batches(d: int, seed: int) -> Optimizer:
    names = [f"x{j}" for j in range(d)]
    study = fasthpo.Study({name: fasthpo.Continuous(LOW, HIGH) for name in names}, sampler=fasthpo.AutoSampler(seed))
    while True:
        batch = study.ask_batch(64)
        params = batch.params
        values = yield np.stack([params[name] for name in names], axis=1)
        study.tell_batch(batch.numbers, values)


def cmaes_alone(d: int, seed: int) -> Optimizer:
    random, population = np.random.default_rng(seed), None
    while True:
        strategy = cmaes.CMA(
            mean=random.uniform(LOW, HIGH, d) if population else np.zeros(d),
            sigma=(HIGH - LOW) / 6,
            bounds=np.tile([LOW, HIGH], (d, 1)),
            seed=int(random.integers(2**31)),
            population_size=population,
        )
        while not strategy.should_stop():
            told = []
            for _ in range(strategy.population_size):
                point = strategy.ask()
                values = yield point[None]
                told.append((point, float(values[0])))
            strategy.tell(told)
        population = 2 * strategy.population_size


def optuna_study(make: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[int, int], Optimizer]:
    def run(d: int, seed: int) -> Optimizer:
        study = optuna.create_study(sampler=make(seed))
        while True:
            trial = study.ask()
            values = yield np.array([[trial.suggest_float(f"x{j}", LOW, HIGH) for j in range(d)]])
            study.tell(trial, float(values[0]))

    return run


def rustuna_study(make: Callable[[int], object]) -> Callable[[int, int], Optimizer]:
    def run(d: int, seed: int) -> Optimizer:
        study = rustuna.create_study(sampler=make(seed))
        while True:
            trial = study.ask()
            values = yield np.array([[trial.suggest_float(f"x{j}", LOW, HIGH) for j in range(d)]])
            study.tell(trial.number, float(values[0]))

    return run


OPTIMIZERS: dict[str, Callable[[int, int], Optimizer]] = {
    "fasthpo, in batches": fasthpo_in_batches,
    "fasthpo, one by one": fasthpo_one_by_one,
    "cmaes": cmaes_alone,
    "Rustuna CMA-ES": rustuna_study(lambda seed: rustuna.samplers.CmaEsSampler(seed=seed)),
    "Rustuna TPE": rustuna_study(lambda seed: rustuna.samplers.TPESampler(seed=seed)),
    "Optuna CMA-ES": optuna_study(lambda seed: optuna.samplers.CmaEsSampler(seed=seed)),
    "Optuna TPE": optuna_study(lambda seed: optuna.samplers.TPESampler(seed=seed)),
}


def curve(name: str, function: Function, d: int, trials: int, seed: int, limit: float) -> Curve:
    """How the best value falls; at most `limit` seconds of the optimiser's own time."""
    optimum = np.random.default_rng(seed).uniform(-3, 3, d)
    optimizer = OPTIMIZERS[name](d, seed)
    every, best, count, spent, found = trials / POINTS, math.inf, 0, 0.0, []
    start = time.perf_counter()
    points = next(optimizer)
    while True:
        spent += time.perf_counter() - start
        values = np.array([function(point - optimum) for point in points])
        best, count = min(best, float(values.min())), count + len(points)
        if count >= len(found) * every:
            found.append((count, spent, best))
        if count >= trials or spent > limit:
            return [*found, (count, spent, best)]
        start = time.perf_counter()
        points = optimizer.send(values)  # type: ignore[attr-defined]


def draw(curves: dict[str, dict[str, list[Curve]]], path: Path) -> None:
    """Medians over the seeds, against trials and against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 2, squeeze=False)
    colours = ["#0072b2", "#56b4e9", "#d55e00", "#009e73", "#8fd3b6", "#cc79a7", "#e7b8d0"]  # Okabe and Ito's
    for row, (title, of) in zip(axes, curves.items(), strict=True):
        for (name, runs), colour in zip(of.items(), colours, strict=True):
            length = min(map(len, runs))
            trials, seconds, best = (
                np.median([[point[k] for point in run[:length]] for run in runs], axis=0) for k in range(3)
            )
            for axis, x in zip(row, (trials, seconds), strict=True):
                axis.plot(x, np.maximum(best, 1e-12), color=colour, label=name, linewidth=2 if "fast" in name else 1.3)
        for axis, label in zip(row, ("trials", "seconds of the optimiser"), strict=True):
            axis.set(xscale="log", yscale="log", xlabel=label, ylabel="best value above the optimum", title=title)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_xlim(left=50)
        row[1].set_xlim(left=0.01)
    axes[0, 1].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in OPTIMIZERS:  # what is compiled or imported first is not counted
        curve(name, rosenbrock, 20, 300, 0, 30.0)
        curve(name, rosenbrock, 10, 300, 0, 30.0)
    curves: dict[str, dict[str, list[Curve]]] = {}
    for title, (function, d) in FUNCTIONS.items():
        print(f"\n{title}, {args.trials:,} trials, {args.seeds} seeds")
        print(f"{'':22s}{'seconds':>9s}{'us a trial':>12s}{'best value':>12s}")
        of = curves[title] = {}
        for name in OPTIMIZERS:
            runs = of[name] = [curve(name, function, d, args.trials, seed, args.limit) for seed in range(args.seeds)]
            count, seconds, best = np.median([run[-1] for run in runs], axis=0)
            note = "" if count >= args.trials else f"   broken off after {count:,.0f} trials"
            print(f"{name:22s}{seconds:9.2f}{1e6 * seconds / count:12.1f}{best:12.2g}{note}", flush=True)
    if args.picture:
        draw(curves, args.picture)


if __name__ == "__main__":
    main()
