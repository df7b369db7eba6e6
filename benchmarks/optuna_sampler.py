"""A study of Optuna's with our sampler and with Optuna's own: seconds a trial, and what of them is Optuna's.

`python benchmarks/optuna_sampler.py [--trials 10000] [--parameters 20]` runs studies in memory, each in turn:

- our `FastSampler()` for all trials;
- one that draws all parameters at once and knows nothing, for all trials: what Optuna itself costs, which no sampler
  can be faster than. Optuna's `RandomSampler` costs more, as it is asked for each parameter;
- Optuna's `TPESampler`, univariate as by default and multivariate: five trials at some sizes of the study, the rest of
  which is random; the whole is the integral of these, as a study of 10,000 takes hours.

The first trials, in which kernels are compiled or loaded, are not measured. On one of two cores, with Optuna 5.0.0, and
10,000 trials of 20 parameters:

| Sampler | All trials | A trial at the end | In the place of `FastSampler` |
|---|---|---|---|
| no model | 2.9 s | 0.24 ms | 0.6 |
| `FastSampler()` | 4.8 s | 0.33 ms | 1 |
| Optuna's `RandomSampler` | 5.8 s | 0.50 ms | 1.2 |
| Optuna's `TPESampler(multivariate=True)` | 1,260 s | 260 ms | 261 |
| Optuna's `TPESampler` | 1,320 s | 260 ms | 273 |
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import optuna

from fasthpo.integrations.optuna import FastSampler

WARM_UP = 300  # trials of another study, before anything is measured


class Floor(optuna.samplers.RandomSampler):
    """Draws all parameters of `sphere` at once."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.space = {f"x{i}": optuna.distributions.FloatDistribution(-1.0, 1.0) for i in range(parameters)}

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return self.space

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(search_space, np.random.uniform(-1.0, 1.0, len(search_space)).tolist(), strict=True))


def sphere(parameters: int, trial: optuna.Trial) -> float:
    return float(sum((trial.suggest_float(f"x{i}", -1.0, 1.0) - 0.3) ** 2 for i in range(parameters)))


def run(sampler: optuna.samplers.BaseSampler, trials: int, parameters: int) -> list[float]:
    """The seconds that each trial of a study takes."""
    study = optuna.create_study(sampler=sampler)
    took = []
    for _ in range(trials):
        begin = time.perf_counter()
        study.optimize(lambda trial: sphere(parameters, trial), n_trials=1)
        took.append(time.perf_counter() - begin)
    return took


def at_sizes(sampler: optuna.samplers.BaseSampler, sizes: list[int], parameters: int) -> list[float]:
    """The seconds that a trial takes, once a study has so many."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for size in sizes:
        study.sampler = optuna.samplers.RandomSampler(seed=size)
        study.optimize(lambda trial: sphere(parameters, trial), n_trials=size - len(study.trials))
        study.sampler = sampler
        begin = time.perf_counter()
        study.optimize(lambda trial: sphere(parameters, trial), n_trials=5)
        found.append((time.perf_counter() - begin) / 5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--parameters", type=int, default=20)
    given = parser.parse_args()
    trials, parameters = given.trials, given.parameters
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    run(FastSampler(seed=0), WARM_UP, parameters)
    sizes = [size for size in (100, 300, 1000, 3000, 5000) if size <= trials - 5] + [trials - 5]
    print(f"{trials} trials of {parameters} parameters, in memory; milliseconds a trial")
    whole: dict[str, float] = {}
    for name, sampler in (
        ("no model", Floor(parameters)),
        ("RandomSampler", optuna.samplers.RandomSampler(seed=0)),
        ("FastSampler", FastSampler(seed=0)),
    ):
        took = run(sampler, trials, parameters)
        whole[name] = sum(took)
        last = np.median(took[-trials // 10 :])
        print(f"{name:24} all {sum(took):8.1f} s   the last tenth {1e3 * last:8.2f} ms (median)")
    for name, options in (("TPESampler", {}), ("TPESampler multivariate", {"multivariate": True})):
        found = at_sizes(optuna.samplers.TPESampler(seed=0, **options), sizes, parameters)
        whole[name] = float(np.trapezoid([found[0], *found, found[-1]], [0, *sizes, trials]))
        line = ", ".join(f"{size}: {1e3 * one:.1f}" for size, one in zip(sizes, found, strict=True))
        print(f"{name:24} all {whole[name]:8.1f} s (extrapolated)   at {line} ms")
    fast, floor = whole["FastSampler"], whole["no model"]
    print(f"Optuna's own part of FastSampler's time: {100 * floor / fast:.0f} %")
    for name in ("TPESampler", "TPESampler multivariate"):
        print(f"{name} / FastSampler: {whole[name] / fast:.0f}")


if __name__ == "__main__":
    main()
