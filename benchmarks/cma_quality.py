"""Is `CmaEsSampler` as good as the package cmaes? Best values of both on a few functions, and whether they differ.

    python benchmarks/cma_quality.py [--seeds 20] [--trials 200,1000,3000]

Both begin in the centre of the box, with the same step size and population, and restart with twice the population when
they stop. cmaes draws anew what lies outside the box, up to 100 times, ours once: the last function, whose optimum lies
on bounds in half of the parameters, is there to show that. For each function the optimum is at another place a seed.
Columns: the medians over the seeds, and the two-sided p of Mann and Whitney, for each number of trials. It needs
`pip install cmaes`.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cmaes
import numpy as np
from scipy.stats import mannwhitneyu

import fasthpo

SIGMA = 0.2  # of the box, whose sides are 1
Function = Callable[[np.ndarray], float]


def sphere(x: np.ndarray) -> float:
    return float(x @ x)


def ellipsoid(x: np.ndarray) -> float:
    """Its axes are not those of the box; the longest is a thousand times the shortest."""
    d = len(x)
    turned = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0] @ x
    return float(10.0 ** (6 * np.arange(d) / (d - 1)) @ turned**2)


def rastrigin(x: np.ndarray) -> float:
    return float((x**2 + 10 - 10 * np.cos(2 * np.pi * x)).sum())


def rosenbrock(x: np.ndarray) -> float:
    z = x + 1
    return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())


FUNCTIONS = (sphere, ellipsoid, rastrigin, rosenbrock)


def shifted(function: Function, d: int, seed: int) -> Function:
    """On the unit cube, which stands for [-5, 5]^d; the optimum is somewhere in [-3, 3]^d."""
    optimum = np.random.default_rng([seed, d]).uniform(-3, 3, d)
    return lambda unit: function(10 * unit - 5 - optimum)


def bounded(d: int) -> Function:
    """Falls towards half of the bounds; a sphere in the other half of the parameters."""
    half = d // 2
    return lambda unit: float(unit[:half].sum() + ((unit[half:] - 0.63) ** 2).sum())


def ours(function: Function, d: int, seed: int, marks: list[int]) -> list[float]:
    """The best values after so many trials."""
    space = {f"x{j}": fasthpo.Continuous(0.0, 1.0) for j in range(d)}
    study = fasthpo.Study(space, sampler=fasthpo.CmaEsSampler(sigma=SIGMA, seed=seed))
    best = []
    for n in range(marks[-1]):
        trial = study.ask()
        study.tell(trial, function(np.array(list(trial.params.values()))))
        if n + 1 in marks:
            best.append(study.best_value)
    return best


def theirs(function: Function, d: int, seed: int, marks: list[int]) -> list[float]:
    """As `ours`, with cmaes."""
    random = np.random.default_rng(seed)
    bounds = np.tile([0.0, 1.0], (d, 1))
    optimizer = cmaes.CMA(np.full(d, 0.5), SIGMA, bounds, seed=seed)
    values: list[float] = []
    while len(values) < marks[-1]:
        points = [optimizer.ask() for _ in range(optimizer.population_size)]
        told = [(point, function(point)) for point in points]
        values += [value for _, value in told]
        optimizer.tell(told)
        if optimizer.should_stop():
            optimizer = cmaes.CMA(
                random.random(d), SIGMA, bounds, seed=seed + 1, population_size=2 * optimizer.population_size
            )
    return [min(values[:mark]) for mark in marks]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", default="200,1000,3000")
    options = parser.parse_args()
    marks = [int(mark) for mark in options.trials.split(",")]
    warnings.simplefilter("ignore", RuntimeWarning)  # cmaes compares values of generations that were not yet
    print(f"{'':16s}" + "".join(f"{f'{mark} trials: ours':>20s}{'cmaes':>10s}{'p':>7s}" for mark in marks))
    for d in (5, 10):
        for name in (*(function.__name__ for function in FUNCTIONS), "bounded"):
            made = [bounded(d) if name == "bounded" else shifted(globals()[name], d, s) for s in range(options.seeds)]
            results = [
                np.array([run(function, d, seed, marks) for seed, function in enumerate(made)])
                for run in (ours, theirs)
            ]
            print(f"{name + f' {d}-D':16s}", end="")
            for k in range(len(marks)):
                a, b = results[0][:, k], results[1][:, k]
                p = mannwhitneyu(a, b).pvalue
                print(f"{np.median(a):20.2e}{np.median(b):10.1e}{p:7.3f}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
