"""Having every kernel compiled: small studies that use each sampler, pruner and strategy once, in all their ways.

A kernel is compiled for the types it is called with, so nothing but real calls says what is needed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from fasthpo import pruners, samplers, strategies
from fasthpo.errors import SpaceExhausted
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.median import MedianPruner
from fasthpo.pruners.patient import PatientPruner
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.samplers.tpe import TPESampler
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.hyperband import Hyperband
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState

_TRIALS = 40
_BATCH = 24
MIXED = SearchSpace(
    {
        "x": Continuous(-1.0, 1.0),
        "n": Discrete(1, 100, log=True),
        "c": Categorical(["a", True, 1, None]),
        "m": LogUniform(1e-3, 1.0, when={"c": ["a", 1]}),
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
    for kind in strategies.builtin().values():
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


def _end(study: Study, number: int, turn: int) -> None:
    trial = study.trials[number]
    value = float(trial.params["x"] or 0.0) + math.sin(turn)
    for step in range(4):
        trial.report(math.nan if turn % 11 == 3 else value + step / 10, 10 * (trial.resource or 0) + step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    if turn % 13 == 7:
        study.tell(trial, state=TrialState.FAILED, error="it did not work")
    else:
        study.tell(trial, math.inf if turn % 13 == 5 else value)
