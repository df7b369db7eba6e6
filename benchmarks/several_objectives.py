"""Several objectives, beside Optuna and Rustuna in the same run: the cost of an ask + tell, and long NSGA-II studies.

    python benchmarks/several_objectives.py [--trials 100000] [--small]

ZDT1 of 20 parameters, whose first two objectives both are to be low. TPE starts from 10,000 and 1,000,000 known trials
(Optuna's from 1,000: its cost grows with them). The whole studies ask and tell one trial after the other; the function
itself, which costs all of them the same, is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from libraries import readable

PARAMETERS = 20
NAMES = [f"x{j}" for j in range(PARAMETERS)]
Step = Callable[[], float]


def values(points: np.ndarray) -> np.ndarray:
    """The objectives (..., 2) of points (..., 20)."""
    g = 1 + 9 * points[..., 1:].mean(-1)
    return np.stack([points[..., 0], g * (1 - np.sqrt(points[..., 0] / g))], -1)


def fasthpo_study(sampler: str, known: int = 0) -> Any:
    import fasthpo

    study = fasthpo.Study(
        {name: fasthpo.Continuous(0.0, 1.0) for name in NAMES},
        directions=["minimize", "minimize"],
        sampler=getattr(fasthpo, sampler)(seed=1),
    )
    if known:
        points = np.random.default_rng(0).random((known, PARAMETERS))
        study.add_trials({name: points[:, j] for j, name in enumerate(NAMES)}, values(points))
    return study


def fasthpo_step(study: Any) -> Step:
    def step() -> float:
        start = time.perf_counter()
        trial = study.ask()
        params = [trial[name] for name in NAMES]
        between = time.perf_counter()
        told = values(np.array(params)).tolist()
        again = time.perf_counter()
        study.tell(trial, told)
        return between - start + time.perf_counter() - again

    return step


def suggesting_step(study: Any) -> Step:
    """Of Optuna and Rustuna, whose trials are asked for each parameter."""

    def step() -> float:
        start = time.perf_counter()
        trial = study.ask()
        params = [trial.suggest_float(name, 0.0, 1.0) for name in NAMES]
        between = time.perf_counter()
        told = values(np.array(params)).tolist()
        again = time.perf_counter()
        study.tell(trial.number, told)
        return between - start + time.perf_counter() - again

    return step


def rustuna_study() -> Any:
    import rustuna

    return rustuna.create_study(directions=["minimize"] * 2, sampler=rustuna.samplers.NSGAIISampler(seed=1))


def optuna_study(sampler: str, known: int = 0) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=getattr(optuna.samplers, sampler)(seed=1))
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in NAMES}
    points = np.random.default_rng(0).random((known, PARAMETERS))
    study.add_trials(
        optuna.trial.create_trial(params=dict(zip(NAMES, point, strict=True)), distributions=space, values=told)
        for point, told in zip(points.tolist(), values(points).tolist(), strict=True)
    )
    return study


def ask_and_tell(label: str, step: Step, rounds: int) -> float:
    for _ in range(10):
        step()
    seconds = [step() for _ in range(rounds)]
    print(f"{label:44s} median {readable(statistics.median(seconds)):>9s}   mean {readable(sum(seconds) / rounds):>9s}")
    return statistics.median(seconds)


def whole_study(label: str, step: Step, trials: int) -> float:
    seconds = sum(step() for _ in range(trials))
    print(f"{label:44s} {readable(seconds):>9s}, {readable(seconds / trials)} a trial")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000, help="of a whole NSGA-II study")
    parser.add_argument("--small", action="store_true", help="leave out Optuna, and the million trials")
    arguments = parser.parse_args()
    sizes = (10_000, 100_000) if arguments.small else (10_000, 1_000_000)
    times = []
    for known in sizes:
        step = fasthpo_step(fasthpo_study("TPESampler", known))
        times.append(ask_and_tell(f"fasthpo TPE, {known:,} trials", step, 305))
    print(f"{'the last to the first':44s} {times[-1] / times[0]:.2f}   (wanted: at most 500 us each, and 1.5)")
    if not arguments.small:
        ask_and_tell("Optuna TPE, 1,000 trials", suggesting_step(optuna_study("TPESampler", 1000)), 10)
    ours = whole_study("fasthpo NSGA-II", fasthpo_step(fasthpo_study("NSGAIISampler")), arguments.trials)
    theirs = whole_study("Rustuna NSGA-II", suggesting_step(rustuna_study()), arguments.trials)
    print(f"{'ours to theirs':44s} {ours / theirs:.2f}   (wanted: below 1)")
    if not arguments.small:
        step = suggesting_step(optuna_study("NSGAIISampler"))
        whole_study("Optuna NSGA-II, a hundredth of the trials", step, arguments.trials // 100)


if __name__ == "__main__":
    main()
