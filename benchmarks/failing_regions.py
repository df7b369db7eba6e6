"""Are failures avoided? TPE against random search where a part of the space always fails: failures of 100, best value.

    python benchmarks/failing_regions.py [--seeds 20] [--trials 100]

A failed trial is told NaN. Each figure is a mean over the seeds; a run without any success counts with a best value of
`NOTHING`. The last lines are of spaces in which nearly all start-up trials fail.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import mean
from typing import Any, NamedTuple

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, Sampler, SearchSpace, Study

NOTHING = 10.0  # a best value worse than any here


class Scenario(NamedTuple):
    """A space and what is minimised over it: NaN where a trial fails."""

    space: SearchSpace
    loss: Callable[[dict[str, Any]], float]


def _choice(p: dict[str, Any]) -> float:
    return math.nan if p["kind"] == "z" else abs(p["x"] - 0.3) + "wxy".index(p["kind"])


def _rate(p: dict[str, Any]) -> float:
    return math.nan if p["lr"] > 0.05 else abs(math.log10(p["lr"]) + 2)


def _memory(p: dict[str, Any]) -> float:
    if p["batch"] * p["width"] > 2**16:
        return math.nan
    loss = 0.3 * (math.log10(p["lr"]) + 2.5) ** 2 + (p["dropout"] - 0.2) ** 2
    return loss + 0.1 * math.log2(2048 / p["width"]) + 0.05 * abs(math.log2(p["batch"] / 64))


def _branch(p: dict[str, Any]) -> float:
    if p["optimizer"] == "lbfgs":
        return math.nan
    loss = 0.3 * (math.log10(p["lr"]) + 2.5) ** 2 + 0.1 * (math.log10(p["decay"]) + 4) ** 2
    return loss + ((p["momentum"] - 0.9) ** 2 if p["optimizer"] == "sgd" else 0.05 + 100 * (p["beta"] - 0.99) ** 2)


def _corner(p: dict[str, Any]) -> float:
    return math.nan if sum(p[f"x{i}"] > 0.55 for i in range(3)) > 1 else sum((x - 0.4) ** 2 for x in p.values())


def _needle(p: dict[str, Any]) -> float:
    off = max(abs(p["x"] - 0.8), abs(p["y"] - 0.3))
    return math.nan if off > 0.1 else abs(p["x"] - 0.8) + abs(p["y"] - 0.3)


def _one_choice(p: dict[str, Any]) -> float:
    return abs(p["x"] - 0.3) if p["kind"] == 7 else math.nan


def _tight(p: dict[str, Any]) -> float:
    return math.nan if p["lr"] > 1e-5 or p["batch"] > 40 else abs(math.log10(p["decay"]) + 3) + p["momentum"]


SCENARIOS = {
    "a choice that crashes": Scenario(
        SearchSpace({"kind": Categorical(list("wxyz")), "x": Continuous(0, 1)}),
        _choice,
    ),
    "a learning rate that diverges": Scenario(SearchSpace({"lr": LogUniform(1e-5, 10.0)}), _rate),
    "out of memory": Scenario(
        SearchSpace(
            {
                "batch": Discrete(8, 1024, log=True),
                "width": Discrete(16, 2048, log=True),
                "lr": LogUniform(1e-5, 1.0),
                "dropout": Continuous(0, 0.6),
            }
        ),
        _memory,
    ),
    "a branch that fails": Scenario(
        SearchSpace(
            {
                "optimizer": Categorical(["sgd", "adam", "lbfgs"]),
                "lr": LogUniform(1e-5, 1.0),
                "decay": LogUniform(1e-6, 1e-1),
                "momentum": Continuous(0, 1, when={"optimizer": ["sgd"]}),
                "beta": Continuous(0.9, 1, when={"optimizer": ["adam"]}),
                "history": Discrete(1, 50, when={"optimizer": ["lbfgs"]}),
            }
        ),
        _branch,
    ),
    "a corner of ten dimensions": Scenario(SearchSpace({f"x{i}": Continuous(0, 1) for i in range(10)}), _corner),
}

HARDLY_ANY_SUCCEED = {
    "a fifth of two ranges": Scenario(SearchSpace({"x": Continuous(0, 1), "y": Continuous(0, 1)}), _needle),
    "one choice of twelve": Scenario(
        SearchSpace({"kind": Categorical(list(range(12))), "x": Continuous(0, 1)}), _one_choice
    ),
    "the lowest of four ranges": Scenario(
        SearchSpace(
            {
                "lr": LogUniform(1e-6, 10.0),
                "batch": Discrete(1, 64),
                "decay": LogUniform(1e-6, 1.0),
                "momentum": Continuous(0, 1),
            }
        ),
        _tight,
    ),
}


def search(scenario: Scenario, sampler: Sampler, trials: int) -> tuple[int, float]:
    """How many trials failed, and the best value."""
    study = Study(scenario.space, sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, scenario.loss(trial.params))
    failed = study.table.counts[fasthpo.TrialState.FAILED]
    return failed, NOTHING if failed == trials else study.best_value


def compare(scenario: Scenario, seeds: range, trials: int) -> tuple[float, float, float, float]:
    """The mean failures of TPE and of random search, and the means of their best values."""
    tpe = [search(scenario, fasthpo.TPESampler(seed=seed), trials) for seed in seeds]
    random = [search(scenario, fasthpo.RandomSampler(seed=seed), trials) for seed in seeds]
    return (
        mean(failed for failed, _ in tpe),
        mean(failed for failed, _ in random),
        mean(best for _, best in tpe),
        mean(best for _, best in random),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    args = parser.parse_args()
    print(f"{args.trials} trials, {args.seeds} seeds{'failures':>24s}{'best value':>25s}")
    print(f"{'':30s}{'TPE':>8s}{'random':>10s}{'share':>8s}{'TPE':>9s}{'random':>9s}")
    for scenarios in (SCENARIOS, HARDLY_ANY_SUCCEED):
        shares = []
        for name, scenario in scenarios.items():
            tpe, random, best, random_best = compare(scenario, range(args.seeds), args.trials)
            shares.append(tpe / random)
            print(f"{name:30s}{tpe:8.1f}{random:10.1f}{shares[-1]:8.2f}{best:9.4f}{random_best:9.4f}", flush=True)
        print(f"{'mean share':48s}{mean(shares):8.2f}\n")


if __name__ == "__main__":
    main()
