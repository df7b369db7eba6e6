"""Having every kernel compiled: small studies that use each sampler, pruner, strategy and picture, in all their ways.

A kernel is compiled for the types it is called with, so nothing but real calls says what is needed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthpo import pruners, samplers, strategies
from fasthpo.errors import SpaceExhausted
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.median import MedianPruner
from fasthpo.pruners.patient import PatientPruner
from fasthpo.report.pictures import pictures_of
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.samplers.tpe import TPESampler
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.normal import Normal
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.hyperband import Hyperband
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState

_TRIALS = 40
_BATCH = 24
_MANY = 2_500  # trials, more than are drawn one by one
MIXED = SearchSpace(
    {
        "x": Continuous(-1.0, 1.0),
        "n": Discrete(1, 100, log=True),
        "c": Categorical(["a", True, 1, None]),
        "m": LogUniform(1e-3, 1.0, when={"c": ["a", 1]}),
        "g": Normal(0.0, 1.0),
    }
)
SMOOTH = SearchSpace({"x": Continuous(-1.0, 1.0), "y": LogUniform(1e-3, 1.0)})
FINITE = SearchSpace(
    {
        "x": Continuous(-1.0, 1.0, step=0.25),
        "n": Discrete(1, 10),
        "c": Categorical(["a", "b"]),
        "m": Discrete(1, 3, when={"c": ["a"]}),
    }
)


RESTRICTED = SearchSpace({"x": Continuous(-1.0, 1.0), "y": Continuous("x", 1.0)})
GRID = SearchSpace({"x": Continuous(-1.0, 1.0, n_points=10), "n": Discrete(1, 10), "c": Categorical(["a", "b"])})


class Compiled(NamedTuple):
    """What was done.

    Attributes:
        kernels: how many there are that have been called.
        compiled: for how many types one was compiled now.
        found: for how many it was on disk.
    """

    kernels: int
    compiled: int
    found: int


def compile_all() -> Compiled:
    """Have every kernel compiled, or taken from the disk, for all types that it is called with."""
    for sampler, spaces in _samplers():
        for space in spaces:
            _search(Study(space, sampler=sampler(), pruner=MedianPruner()))
    for pruner in _pruners():
        _search(Study(MIXED, sampler=RandomSampler(seed=0), pruner=pruner(), direction="maximize"))
    for strategy in _strategies():
        _search(Study(MIXED, strategy=strategy(), direction="maximize"))
    for sampler, spaces in _samplers():
        if sampler().has_several_objectives:
            for space in spaces:
                _search_several(Study(space, sampler=sampler(), directions=["minimize", "maximize"]))
    for pruner in _pruners():
        if (one := pruner()).has_several_objectives:
            _search_several(Study(MIXED, RandomSampler(0), pruner=one, directions=["minimize", "maximize"]))
    for strategy in _strategies():
        _search_several(Study(MIXED, strategy=strategy(), directions=["minimize", "maximize"]))
    for directions in (["minimize"], ["minimize", "maximize"]):
        _look_at(Study(MIXED, sampler=RandomSampler(seed=0), directions=directions))
    used = [dispatcher for dispatcher in dispatchers() if dispatcher.signatures]
    return Compiled(
        len(used),
        sum(sum(one.stats.cache_misses.values()) for one in used),
        sum(sum(one.stats.cache_hits.values()) for one in used),
    )


def dispatchers() -> list[Any]:
    """The compiled functions of all kernel modules that have been imported."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("fasthpo.kernels"):
            for value in vars(module).values():
                if hasattr(value, "signatures") and hasattr(value, "py_func"):
                    found[id(value)] = value
    return list(found.values())


def _samplers() -> Iterator[tuple[Callable[[], Sampler], tuple[SearchSpace, ...]]]:
    for name, kind in samplers.builtin().items():
        options: list[dict[str, Any]] = [{}]
        if name == "tpe":
            options += [{"multivariate": False}, {"exact": True}]
        elif name == "grid":
            options += [{"shuffle": True}]
        spaces = (FINITE, GRID) if name == "grid" else (MIXED, SMOOTH, FINITE)
        for chosen in options:
            yield partial(kind, seed=0, **chosen), spaces
        if name in ("tpe", "cma_es"):  # which look at allowed points before they suggest
            yield partial(kind, seed=0), (RESTRICTED,)


def _pruners() -> Iterator[Callable[[], Pruner]]:
    options: dict[str, dict[str, Any]] = {
        "percentile": {"percentile": 30.0, "pool": "completed"},
        "threshold": {"lower": -5.0},
        "patient": {"wrapped_pruner": None, "patience": 1},
        "wilcoxon": {"p_threshold": 0.4},
    }
    for name, kind in pruners.builtin().items():
        yield partial(kind, **options.get(name, {}))
    yield lambda: PatientPruner(MedianPruner(n_startup_trials=2), patience=0)


def _strategies() -> Iterator[Callable[[], Strategy]]:
    kind: Any
    for kind in strategies.builtin().values():
        if kind.is_population:  # which asks for fewer trials than are tried here, and compiles nothing
            continue
        for sampler in (TPESampler(seed=0), RandomSampler(seed=0)):
            yield partial(kind, 9, sampler=sampler)
    yield lambda: Hyperband(9, sampler=RandomSampler(seed=0), asynchronous=True)


def _search(study: Study) -> None:
    """Trials that end in all ways, one by one and in batches, with a few that go on running."""
    try:
        study.enqueue({"c": "a"} if "c" in study.space else {"x": 0.5})
        for i in range(_TRIALS):
            _end(study, study.ask().number, i)
            if i == _TRIALS // 2:
                study.ask()  # a trial that runs while others are asked for
        batch = study.ask_batch(_BATCH)
        study.tell_batch(batch.numbers, [math.sin(number) for number in batch.numbers.tolist()])
        study.ask()
    except SpaceExhausted:
        pass


def _search_several(study: Study) -> None:
    """Trials of two objectives with a constraint, and the front that they form."""
    try:
        for i in range(_TRIALS):
            trial = study.ask()
            x = float(trial.params["x"] or 0.0)  # type: ignore[arg-type]
            values = [x + math.sin(i), x - math.cos(i)]
            for step in range(3) if study.pruner is not None else ():
                trial.report(values, step)
                trial.should_prune()
            study.tell(trial, values, constraints=[math.sin(2 * i)])
        batch = study.ask_batch(_BATCH)
        study.tell_batch(batch.numbers, [[math.sin(n), math.cos(n)] for n in batch.numbers.tolist()])
        study.ask()
    except SpaceExhausted:
        pass
    study.hypervolume([3.0, -3.0])


def _look_at(study: Study) -> None:
    """All pictures of a study that is large enough for its trials to be counted in cells."""
    batch = study.ask_batch(_MANY)
    values = np.sin(np.arange(_MANY, dtype=float))
    study.tell_batch(batch.numbers, values if len(study.directions) == 1 else np.stack([values, values[::-1]], axis=1))
    if len(study.directions) == 1:
        _search(study)
    pictures_of(study)


def _end(study: Study, number: int, turn: int) -> None:
    trial = study.trials[number]
    value = float(trial.params["x"] or 0.0) + math.sin(turn)  # type: ignore[arg-type]
    for step in range(4):
        trial.report(math.nan if turn % 11 == 3 else value + step / 10, 10 * (trial.resource or 0) + step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    if turn % 13 == 7:
        study.tell(trial, state=TrialState.FAILED, error="it did not work")
    else:
        study.tell(trial, math.inf if turn % 13 == 5 else value)
