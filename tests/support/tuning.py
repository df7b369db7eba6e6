"""What the tests of the tuner share."""

from __future__ import annotations

from typing import Any

from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.single_fidelity import BayesianOptimization, GridSearch, RandomSearch
from fasthpo.trials.trial import Trial
from fasthpo.tuner.callbacks import LoggingCallback
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.results import TuningResult
from fasthpo.tuner.tuner import HyperparameterTuner

SPACE = SearchSpace({"x": Continuous(-5.0, 5.0), "rate": LogUniform(1e-5, 1e-1)})
GRID = SearchSpace({"a": Discrete(0, 4), "b": Categorical(["p", "q"])})
STRATEGIES = {"random": RandomSearch, "bayesian": BayesianOptimization, "grid": GridSearch}


def make(
    max_trials: int | None = 5, space: SearchSpace = SPACE, strategy: Strategy | None = None, **config: Any
) -> HyperparameterTuner:
    made = TunerConfig("s", max_trials=max_trials, **config)
    return HyperparameterTuner(made, space, strategy or RandomSearch(seed=0)).remove_callback(LoggingCallback)


def parabola(trial: Trial) -> float:
    return float((trial["x"] - 2) ** 2)


def states(tuner: HyperparameterTuner) -> list[str]:
    return [trial.state.name for trial in tuner.study.trials]


def params_of(result: TuningResult) -> list[dict[str, Any]]:
    return [trial.params for trial in result.trials]
