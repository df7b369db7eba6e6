"""A program may have NumPy raise at every overflow and underflow (`np.seterr`), and make errors of warnings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import ASHA, Categorical, Continuous, Discrete, Hyperband, LogUniform, SearchSpace, Study, TrialState
from fasthpo.tuner.results import StudyStatistics

LEAST, MOST = 5e-324, 1.7e308


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SPACES: dict[str, dict[str, Any]] = {
    "subnormal": {"x": Continuous(0, 4 * LEAST, n_points=3), "l": LogUniform(1e-320, 1e-310, n_points=3)},
    "subnormal steps": {"x": Continuous(0, 1e-310, step=1e-311), "y": Continuous(1e-320, 3e-320, n_points=2)},
    "huge": {"x": Continuous(-8e307, 8e307, n_points=3), "l": LogUniform(LEAST, MOST, n_points=4)},
    "huge steps": {"x": Continuous(0, 1e308, step=1e307), "l": LogUniform(1e300, 1e308, n_points=3)},
    "lopsided": {"x": Continuous(-1e-310, 1e308, n_points=3), "n": Discrete(-(2**53), 2**53)},
    "narrow": {"x": Continuous(1, 1 + 2**-52, n_points=2), "l": LogUniform(1, 1 + 1e-9, n_points=3)},
    "conditional": {
        "c": Categorical(["a", "b"]),
        "l": LogUniform(LEAST, 1e-300, n_points=3, when={"c": ["a"]}),
        "n": Discrete(1, 2**53, log=True),
    },
}
LOSSES: dict[str, list[float]] = {
    "zero and the least": [0.0, LEAST, -LEAST, 2 * LEAST, 1e-320],
    "subnormal": [1e-310, -1e-310, 3e-320, 2e-308],
    "huge": [MOST, -MOST, 1e308, -1e308],
    "all": [0.0, 1.0, LEAST, -LEAST, MOST, -MOST, math.inf, -math.inf, math.nan, 1e200, 1e-300],
}
SAMPLERS: dict[str, Callable[[], fasthpo.Sampler]] = {
    "tpe": lambda: fasthpo.TPESampler(seed=0, n_startup_trials=5),
    "independent": lambda: fasthpo.TPESampler(seed=0, n_startup_trials=5, multivariate=False),
    "qmc": lambda: fasthpo.QMCSampler(seed=0),
    "random": lambda: fasthpo.RandomSampler(seed=0),
    "grid": lambda: fasthpo.GridSampler(shuffle=True, seed=0),
}
PRUNERS: list[Callable[[], fasthpo.Pruner | None]] = [
    lambda: None,
    lambda: fasthpo.MedianPruner(n_startup_trials=1),
    lambda: fasthpo.PercentilePruner(30, n_startup_trials=1),
    lambda: fasthpo.WilcoxonPruner(0.3, n_startup_steps=1),
    lambda: fasthpo.PatientPruner(fasthpo.MedianPruner(n_startup_trials=1), 1, min_delta=LEAST),
    lambda: fasthpo.ThresholdPruner(lower=-1e308),
    lambda: fasthpo.SuccessiveHalvingPruner(1, 2),
]


def go_on(study: Study, losses: list[float], trials: int, random: np.random.Generator) -> None:
    for i in range(trials):
        if i % 9 == 4:
            batch = study.ask_batch(3)
            study.tell_batch(batch.numbers, random.choice(losses, len(batch.numbers)))
            continue
        trial = study.ask()
        for step in range(trial.start_resource, trial.start_resource + 3):
            trial.report(float(random.choice(losses)), step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            value = trial.get("x", trial.get("l", 0.0)) if i % 3 else random.choice(losses)
            study.tell(trial, float(value), metrics={"m": float(random.choice(losses))})


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_call_breaks_whatever_the_ranges_and_the_losses(sampler: str, space: str, tmp_path: Path) -> None:
    made = SearchSpace(SPACES[space])
    points = [made.decode(row) for row in made.from_unit(np.array([[0.0] * len(made), [0.3] * len(made)]))]
    for i, (name, losses) in enumerate(LOSSES.items()):
        direction = ("minimize", "maximize")[i % 2]
        pruner = PRUNERS[(i + len(space) + len(sampler)) % len(PRUNERS)]()
        random = np.random.default_rng(i)
        study = Study(made, sampler=SAMPLERS[sampler](), direction=direction, pruner=pruner)
        study.add_trials({key: [point.get(key) for point in points] for key in made}, random.choice(losses, 2))
        study.enqueue(points[0])
        try:
            go_on(study, losses, 14, random)
        except fasthpo.SpaceExhausted:
            assert sampler == "grid" or made.size is not None
        for export in (study.to_json, study.to_csv, study.to_parquet):
            export(tmp_path / name)
        study.save(tmp_path / name)
        loaded = Study.load(tmp_path / name)
        assert len(loaded) == len(study) and loaded.table.best_number == study.table.best_number
        assert StudyStatistics.of(study, 1.0).to_dict() and repr(study) and repr(study.columns)


@pytest.mark.parametrize("strategy", [ASHA, Hyperband])
@pytest.mark.parametrize("space", SPACES)
def test_nor_under_a_multi_fidelity_strategy(strategy: Any, space: str, tmp_path: Path) -> None:
    for i, losses in enumerate(LOSSES.values()):
        sampler = fasthpo.TPESampler(seed=0, n_startup_trials=5)
        study = Study(SPACES[space], strategy=strategy(9, sampler=sampler), pruner=PRUNERS[i % len(PRUNERS)]())
        try:
            go_on(study, losses, 25, np.random.default_rng(i))
        except fasthpo.SpaceExhausted:
            assert study.space.size is not None
        study.save(tmp_path / "study")
        assert len(Study.load(tmp_path / "study")) == len(study)
        assert study.strategy is not None and study.strategy.summary()
