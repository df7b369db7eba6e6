"""What relations and dependent bounds are worth: regret after so many evaluations, paired seeds.

    python benchmarks/relations.py [--seeds 20] [--evaluations 60] [--samplers TPE Auto]

The first table has the same tasks four ways: the relation is part of the space; the user tells forbidden points as
failed, and they count (`failed`), or don't, as they cost nothing (`failed free`); random search that knows the
relation. The second has bounds that depend on other parameters, and the way around them: a parameter from 0 to 1 that
the objective scales into the trial's range.

Figures are the mean of log10(regret) over the seeds; p is Wilcoxon's signed rank test over all pairs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wilcoxon

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study

Point = dict[str, Any]
_LEAST = 1e-9


class Task(NamedTuple):
    """Parameters, the relations between them, and the regret of an allowed point."""

    parameters: dict[str, Any]
    relations: list[str | dict[str, Any]]
    regret: Callable[[Point], float]


def _scaled(unit: float, low: float, high: float, log: bool) -> float:
    return low * (high / low) ** unit if log else low + unit * (high - low)


UNIT = Continuous(0.0, 1.0)
INTERVAL = {"low": UNIT, "high": UNIT, "x": UNIT}
RESTRICTED = {
    "layers": Task(
        {"least": Discrete(1, 12), "most": Discrete(1, 12), "x": UNIT},
        ["least <= most"],
        lambda p: ((p["most"] - 9) / 4) ** 2 + ((p["least"] - 4) / 4) ** 2 + (p["x"] - 0.3) ** 2,
    ),
    "interval, best inside": Task(
        INTERVAL, ["low <= high"], lambda p: (p["low"] - 0.35) ** 2 + (p["high"] - 0.45) ** 2 + (p["x"] - 0.3) ** 2
    ),
    "interval, best on the border": Task(
        INTERVAL,
        ["low <= high"],
        lambda p: (p["low"] - 0.7) ** 2 + (p["high"] - 0.4) ** 2 + (p["x"] - 0.3) ** 2 - 0.045,
    ),
    "memory": Task(
        {"batch": Discrete(8, 512, 8, log=True), "width": Discrete(16, 1024, log=True), "lr": LogUniform(1e-5, 1.0)},
        ["batch * width <= 2**14"],
        lambda p: (
            0.3 * (math.log10(p["lr"]) + 2.5 - 0.3 * math.log2(p["batch"] / 64)) ** 2
            + 0.1 * max(math.log2(2**14 / p["batch"] / p["width"]), 0.0)
            + 0.05 * abs(math.log2(p["batch"] / 64))
        ),
    ),
    "combinations": Task(
        {
            "optimizer": Categorical(["sgd", "adam", "lion"]),
            "schedule": Categorical(["constant", "cosine", "step"]),
            "nesterov": Categorical([True, False], when={"optimizer": "sgd"}),
            "lr": LogUniform(1e-5, 1.0),
            "decay": LogUniform(1e-6, 1e-1),
        },
        [
            {"optimizer": "adam", "schedule": ["constant", "step"]},
            {"optimizer": "lion", "lr": (1e-3, 1.0)},
            {"nesterov": True, "decay": (1e-3, 1e-1)},
        ],
        lambda p: (
            0.2 * (math.log10(p["lr"]) + {"sgd": 1.0, "adam": 3.0, "lion": 4.0}[p["optimizer"]]) ** 2
            + 0.1 * (math.log10(p["decay"]) + 3.5) ** 2
            + {"sgd": 0.1, "adam": 0.0, "lion": 0.15}[p["optimizer"]]
            + 0.05 * (p["schedule"] != "cosine")
        ),
    ),
    "simplex of five": Task(
        {f"x{i}": UNIT for i in range(5)},
        [" + ".join(f"x{i}" for i in range(5)) + " <= 1"],
        lambda p: sum((p[f"x{i}"] - 0.1 - 0.05 * i) ** 2 for i in range(5)),
    ),
}
BOUNDS: dict[str, tuple[dict[str, Any], dict[str, tuple[float, str, bool]], Callable[[Point], float]]] = {
    "layers": (
        {"most": Discrete(1, 12), "least": Discrete(1, "most"), "x": UNIT},
        {"least": (1, "most", False)},
        RESTRICTED["layers"].regret,
    ),
    "interval, best inside": (
        {"high": UNIT, "low": Continuous(0.0, "high"), "x": UNIT},
        {"low": (0, "high", False)},
        RESTRICTED["interval, best inside"].regret,
    ),
    "interval, best on the border": (
        {"high": UNIT, "low": Continuous(0.0, "high"), "x": UNIT},
        {"low": (0, "high", False)},
        RESTRICTED["interval, best on the border"].regret,
    ),
    "interval, best at a share": (
        {"high": UNIT, "low": Continuous(0.0, "high"), "x": UNIT},
        {"low": (0, "high", False)},
        lambda p: (p["low"] / max(p["high"], 1e-9) - 0.7) ** 2 + (p["high"] - 0.4) ** 2 + (p["x"] - 0.3) ** 2,
    ),
    "rates": (
        {"lr": LogUniform(1e-5, 1.0), "last": LogUniform(1e-5, "lr"), "x": UNIT},
        {"last": (1e-5, "lr", True)},
        lambda p: (
            ((math.log10(p["lr"]) + 2) / 2) ** 2
            + ((math.log10(p["last"] / p["lr"]) + 1.5) / 2) ** 2
            + (p["x"] - 0.3) ** 2
        ),
    ),
    "widths": (
        {f"w{i}": Discrete(8, f"w{i - 1}" if i else 256) for i in range(5)},
        {f"w{i}": (8, f"w{i - 1}", False) for i in range(1, 5)},
        lambda p: sum(((p[f"w{i}"] - best) / 128) ** 2 for i, best in enumerate((200, 120, 100, 60, 30))),
    ),
}


def _space(task: Task, related: bool) -> SearchSpace:
    space = SearchSpace(task.parameters)
    for one in task.relations if related else []:
        space.require(one) if isinstance(one, str) else space.forbid(one)
    return space


def restricted(task: Task, way: str, sampler: str, seed: int, evaluations: int) -> float:
    """log10 of the best regret."""
    judge = _space(task, True)
    kind = "Random" if way == "random" else sampler
    study = Study(_space(task, way in ("relation", "random")), sampler=getattr(fasthpo, f"{kind}Sampler")(seed=seed))
    best, left = 1.0, evaluations
    while left and len(study) < 20 * evaluations:
        trial = study.ask()
        if judge.contains(trial.params):
            regret = task.regret(trial.params)
            best = min(best, regret)
            study.tell(trial, regret)
            left -= 1
        else:
            study.tell(trial, math.nan)
            left -= way == "failed"
    return math.log10(max(best, _LEAST))


def bounded(name: str, way: str, sampler: str, seed: int, evaluations: int) -> float:
    """log10 of the best regret."""
    parameters, depends, regret = BOUNDS[name]
    inner = {one: UNIT if one in depends and way == "scaled" else kind for one, kind in parameters.items()}
    study = Study(SearchSpace(inner), sampler=getattr(fasthpo, f"{sampler}Sampler")(seed=seed))
    best = 1.0
    for _ in range(evaluations):
        trial = study.ask()
        point = dict(trial.params)
        for one, (low, high, log) in (depends if way == "scaled" else {}).items():
            if isinstance(parameters[one], Discrete):
                point[one] = min(int(low + point[one] * (point[high] - low + 1)), point[high])
            else:
                point[one] = _scaled(point[one], low, point[high], log)
        value = regret(point)
        best = min(best, value)
        study.tell(trial, value)
    return math.log10(max(best, _LEAST))


def _table(title: str, names: list[str], ways: list[str], run: Callable[[str, str], list[float]]) -> None:
    print(f"\n{title}\n\n| Task | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    everything: dict[str, list[float]] = {way: [] for way in ways}
    for name in names:
        found = {way: run(name, way) for way in ways}
        for way in ways:
            everything[way] += found[way]
        cells = [
            f"{np.mean(found[way]):.2f}"
            + ("" if way == ways[0] else f" ({int((np.array(found[ways[0]]) < found[way]).sum())})")
            for way in ways
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    means = [f"{np.mean(everything[way]):.2f}" for way in ways]
    print(f"| mean | {' | '.join(means)} |")
    p = ["" if way == ways[0] else f"{wilcoxon(everything[ways[0]], everything[way]).pvalue:.2g}" for way in ways]
    print(f"| p | {' | '.join(p)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--samplers", nargs="+", default=["TPE", "Auto"])
    options = parser.parse_args()
    n, seeds = options.evaluations, range(options.seeds)
    for sampler in options.samplers:
        _table(
            f"{sampler}, relations, {n} evaluations; in brackets on how many seeds the relation was better",
            list(RESTRICTED),
            ["relation", "failed", "failed free", "random"],
            lambda name, way, s=sampler: [restricted(RESTRICTED[name], way, s, seed, n) for seed in seeds],
        )
        _table(
            f"{sampler}, bounds, {n} evaluations; in brackets on how many seeds the bound was better",
            list(BOUNDS),
            ["bound", "scaled"],
            lambda name, way, s=sampler: [bounded(name, way, s, seed, n) for seed in seeds],
        )


if __name__ == "__main__":
    main()
