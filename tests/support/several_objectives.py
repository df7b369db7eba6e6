"""Problems of two objectives, on a box and on a space of all kinds of parameters, for tests of samplers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study

BOX = SearchSpace({f"x{j}": Continuous(0.0, 1.0) for j in range(6)})
MIXED = SearchSpace(
    {
        "x": Continuous(-1.0, 1.0),
        "y": LogUniform(1e-4, 1.0, when={"c": ["a", "b"]}),
        "n": Discrete(1, 40),
        "c": Categorical(["a", "b", "d"]),
        "k": Discrete(0, 3, when={"c": "d"}),
    }
)
BOTH = ["minimize", "minimize"]


def zdt1(params: Mapping[str, Any]) -> list[float]:
    """Two losses on `BOX`, or another one from 0 to 1 (Zitzler, Deb, Thiele 2000)."""
    x = np.array([params[name] for name in params])
    g = 1 + 9 * x[1:].mean()
    return [float(x[0]), float(g * (1 - math.sqrt(x[0] / g)))]


def mixed(params: Mapping[str, Any]) -> list[float]:
    """Two losses on `MIXED`."""
    extra = abs(math.log10(params["y"]) + 2) if "y" in params else 0.5 + params["k"] / 10
    return [(params["x"] - 0.3) ** 2 + extra, params["n"] / 40 + (params["x"] + 0.5) ** 2]


def run(study: Study, objective: Any, trials: int) -> Study:
    """Ask and tell one trial after the other; the study."""
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, objective(trial.params))
    return study
