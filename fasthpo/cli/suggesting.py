"""TPE samplers behind one call: a study of each library with the same history, ready to ask and tell."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fasthpo.values import FloatArray

AskTell = Callable[[], None]
_ROUNDS = 200  # asks of a measurement, if they are quick
_LEAST = 5  # asks without which there is no median
_FIRST = 50  # trials of the study in which a sampler is imported and compiled


def installed() -> dict[str, str]:
    """The libraries that can be measured here, with their versions; fasthpo is the first."""
    from fasthpo import __version__

    found = [name for name in _MAKE if name != "fasthpo" and importlib.util.find_spec(name) is not None]
    return {"fasthpo": __version__, **{name: importlib.metadata.version(name) for name in found}}


def measure(library: str, size: int, params: int, seconds: float) -> float | None:
    """The median time of an ask and a tell in a study of `size` trials; None if that can't be had in about `seconds`.

    Args:
        library: one of `installed`.
        size: trials that the study has.
        params: parameters of the space.
        seconds: for loading the study, and again for asking.
    """
    make = _MAKE[library]
    small = make(*history(_FIRST, params))
    for _ in range(8):  # every fourth suggestion of ours is of another kind
        small()
    points, losses = history(size, params)
    some = min(size, 1000)
    start = time.perf_counter()
    make(points[:some], losses[:some])
    if (time.perf_counter() - start) * size / some > 4 * seconds:
        return None
    ask_tell = make(points, losses)
    for _ in range(2):  # in which samplers catch up with the history
        ask_tell()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _ROUNDS and (len(times) < _LEAST or time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        ask_tell()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def history(trials: int, params: int) -> tuple[FloatArray, FloatArray]:
    """Points in [0, 1) of shape (trials, params), and their values on a bowl with noise."""
    random = np.random.default_rng(0)
    points = random.random((trials, params))
    return points, ((points - 0.3) ** 2).sum(1) + 0.01 * random.random(trials)


def _loss(values: list[float]) -> float:
    return math.fsum((v - 0.3) ** 2 for v in values)


def _names(points: FloatArray) -> list[str]:
    return [f"x{j}" for j in range(points.shape[1])]


def _fasthpo(points: FloatArray, losses: FloatArray) -> AskTell:
    from fasthpo.samplers.tpe import TPESampler
    from fasthpo.space.kinds import Continuous
    from fasthpo.study.study import Study

    names = _names(points)
    study = Study({name: Continuous(0.0, 1.0) for name in names}, sampler=TPESampler(seed=1))
    study.add_trials({name: points[:, j] for j, name in enumerate(names)}, losses)

    def ask_tell() -> None:
        trial = study.ask()
        study.tell(trial, _loss([trial[name] for name in names]))

    return ask_tell


def _optuna(points: FloatArray, losses: FloatArray) -> AskTell:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = _names(points)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    study.add_trials(list(_trials_of(optuna.trial.create_trial, optuna.distributions, names, points, losses)))

    def ask_tell() -> None:
        trial = study.ask()
        study.tell(trial, _loss([trial.suggest_float(name, 0.0, 1.0) for name in names]))

    return ask_tell


def _rustuna(points: FloatArray, losses: FloatArray) -> AskTell:
    rustuna: Any = importlib.import_module("rustuna")
    names = _names(points)
    study = rustuna.create_study(sampler=rustuna.samplers.TPESampler(seed=1))
    for trial in _trials_of(rustuna.create_trial, rustuna.distributions, names, points, losses):
        study.add_trial(trial)

    def ask_tell() -> None:
        trial = study.ask()
        study.tell(trial.number, _loss([trial.suggest_float(name, 0.0, 1.0) for name in names]))

    return ask_tell


def _trials_of(create: Any, kinds: Any, names: list[str], points: FloatArray, losses: FloatArray) -> Any:
    distributions = {name: kinds.FloatDistribution(0.0, 1.0) for name in names}
    for point, loss in zip(points.tolist(), losses.tolist(), strict=True):
        yield create(params=dict(zip(names, point, strict=True)), distributions=distributions, value=loss)


_MAKE: dict[str, Callable[[FloatArray, FloatArray], AskTell]] = {
    "fasthpo": _fasthpo,
    "optuna": _optuna,
    "rustuna": _rustuna,
}
