"""Every sampler on ordinals, normal numbers, choices of tuples, and conditions on the order of a parent's values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogNormal, Normal, Ordinal, SearchSpace, Study
from fasthpo.samplers.auto.branches import Branch, branches_of, needs_of
from fasthpo.samplers.encoding import encode_space

SIZES = [16, 32, 64, 128, 512]
SPACE = SearchSpace(
    {
        "size": Ordinal(SIZES),
        "x": Normal(0.0, 1.0, n_points=4),
        "rate": LogNormal(-7.0, 2.3, high=1.0, n_points=3, when={"size": fasthpo.at_least(32)}),
        "shape": Categorical([(64, 64), (128, (1, 2)), None, math.nan], when={"x": fasthpo.at_most(1.5)}),
        "deep": Continuous(
            0.0, 0.5, n_points=3, when={"x": fasthpo.between(-1.0, 1.2), "shape": fasthpo.not_in([None])}
        ),
        "layers": Discrete(1, 8),
        "units": Discrete(8, 64, 8, log=True, when={"layers": fasthpo.at_least(3)}),
    }
)
SAMPLERS: dict[str, Callable[[], fasthpo.Sampler]] = {
    "tpe": lambda: fasthpo.TPESampler(5, seed=0),
    "tpe-univariate": lambda: fasthpo.TPESampler(5, seed=0, multivariate=False),
    "auto": lambda: fasthpo.AutoSampler(seed=0),
    "cma-es": lambda: fasthpo.CmaEsSampler(4, seed=0),
    "nsga-ii": lambda: fasthpo.NSGAIISampler(6, seed=0),
    "random": lambda: fasthpo.RandomSampler(seed=0),
    "quasi-random": lambda: fasthpo.QMCSampler(seed=0),
    "grid": lambda: fasthpo.GridSampler(shuffle=True, seed=0),
}


def loss(params: Any) -> float:
    return float(
        abs(SIZES.index(params["size"]) - 2)
        + (params["x"] - 1.0) ** 2
        + abs(math.log(params.get("rate", 1.0)) + 5)
        + params.get("deep", 0.3)
        + params.get("units", 64) / 64
    )


def begin(study: Study) -> None:
    """What is given lies further out than any sampler goes."""
    study.enqueue({"x": 9.0, "layers": 8})
    known: dict[str, list[Any]] = {"size": [512, 16], "x": [-9.0, -1e300], "rate": [1e-300, None], "layers": [1, 3]}
    study.add_trials({**known, "shape": [None, math.nan], "units": [None, 8]}, [50.0, math.inf])


def go_on(study: Study, trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, loss(trial))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_goes_on_in_a_loaded_study_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    """Its points are points of the space, near the mean, also those of a batch."""
    direction: Any = "maximize" if name in ("tpe", "cma-es", "grid") else "minimize"
    whole = Study(SPACE, sampler=SAMPLERS[name](), direction=direction)
    kept = Study(SPACE, sampler=SAMPLERS[name](), direction=direction, storage=tmp_path / "study")
    for study in (whole, kept):
        begin(study)
        go_on(study, 24)
    kept.close()
    for compacted in (False, True):
        with Study.load(tmp_path / "study") as study:
            go_on(study, 10)
            if compacted:
                study.compact()
    go_on(whole, 20)
    with Study.load(tmp_path / "study") as study:
        assert study.space == SPACE
        assert [repr(t.params) for t in study.trials] == [repr(t.params) for t in whole.trials]
        batches = [one.ask_batch(8) for one in (study, whole)]
        assert repr(list(batches[0])) == repr(list(batches[1]))
        assert all(SPACE.contains(point) for point in batches[0])
        for trial in list(study.trials)[3:]:
            assert SPACE.contains(trial.params)
            assert abs(trial["x"]) <= 5 and 1e-9 < trial.params.get("rate", 1.0) <= 1.0
        assert [study.trials[number]["x"] for number in range(3)] == [9.0, -9.0, -1e300]


@pytest.mark.parametrize("name", ["tpe", "auto", "cma-es"])
def test_what_lies_beyond_the_mean_is_found(name: str) -> None:
    """The best value is two and a half standard deviations from the guess."""
    space = SearchSpace({"x": Normal(0.0, 1.0), "rate": LogNormal(-7.0, 1.0), "z": Normal(3.0, 2.0, high=5.0)})
    study = Study(space, sampler=SAMPLERS[name]())
    for _ in range(300 if name == "cma-es" else 90):
        trial = study.ask()
        study.tell(trial, (trial["x"] - 2.5) ** 2 + (math.log(trial["rate"]) + 4.5) ** 2 + (trial["z"] - 5.0) ** 2)
    assert study.best_value < 0.01


def test_the_first_suggestions_are_near_the_mean() -> None:
    for sampler in (fasthpo.TPESampler(200, seed=1), fasthpo.QMCSampler(seed=1), fasthpo.RandomSampler(seed=1)):
        study = Study(SearchSpace({"x": Normal(10.0, 2.0)}), sampler=sampler)
        x = study.ask_batch(200).params["x"]
        assert abs(np.mean(x) - 10.0) < 0.5 and abs(np.std(x) - 2.0) < 0.4


def test_cma_es_begins_at_the_mean() -> None:
    space = SearchSpace({"x": Normal(0.9, 0.05, high=1.0), "y": Continuous(0.0, 1.0)})
    study = Study(space, sampler=fasthpo.CmaEsSampler(1000, sigma=1e-3, seed=0))
    batch = study.ask_batch(50).params
    assert np.abs(batch["x"] - 0.9).max() < 2e-3 and np.abs(batch["y"] - 0.5).max() < 1e-2


def test_an_optimum_on_the_only_bound_is_found_exactly_by_cma_es() -> None:
    study = Study(SearchSpace({"x": Normal(0.5, 0.2, high=1.0), "y": Normal(0.0, 1.0)}), sampler=SAMPLERS["cma-es"]())
    for _ in range(200):
        trial = study.ask()
        study.tell(trial, -trial["x"] + trial["y"] ** 2)
    assert study.best_params["x"] == 1.0


def test_choices_open_branches_and_what_has_an_order_does_not() -> None:
    space = SearchSpace(
        {
            "n": Discrete(1, 10**6),
            "kind": Categorical(["a", "b"], when={"n": fasthpo.at_least(11)}),
            "size": Ordinal(["s", "m", "l"]),
            "x": Continuous(0, 1, when={"kind": fasthpo.not_in(["a"]), "size": fasthpo.at_least("m")}),
        }
    )
    assert branches_of(space) == [Branch(1, 0), Branch(1, 1)]
    needs = needs_of(space, Branch(1, 0))
    assert needs[1].tolist() == [0.0] and len(needs[0]) == 64 and needs[0][0] == 11 and needs[0][-1] > 980_000
    # no value of a continuum stands for the others of a range
    assert branches_of(SPACE) == []
    for seed in range(3):
        study = Study(space, sampler=fasthpo.AutoSampler(seed=seed))
        for _ in range(60):
            trial = study.ask()
            assert space.contains(trial.params)
            study.tell(trial, trial.params.get("x", 2.0) + abs(trial["n"] - 1000) / 1e6)
        assert study.best_value < 0.1


def test_a_climb_leaves_numbers_alone_on_which_others_depend() -> None:
    encoded = encode_space(SPACE)
    assert encoded.continuous.tolist() == [False, True, True, False, True, False, False]
    assert encoded.movable.tolist() == [False, False, True, False, True, False, False]
    # the conditions of `shape` and `deep` on x are in its values, those on `size` and `layers` in cells
    assert [-np.inf, 1.5] in encoded.space.allowed.tolist() and [1.0, 4.0] in encoded.space.allowed.tolist()


def test_bohb_and_asha_take_them() -> None:
    for strategy in (fasthpo.Hyperband(max_resource=9, sampler=SAMPLERS["tpe"]()), fasthpo.ASHA(max_resource=9)):
        study = Study(SPACE, strategy=strategy)
        for _ in range(60):
            trial = study.ask()
            assert SPACE.contains(trial.params)
            study.tell(trial, loss(trial) + 1 / trial.resource)
        assert study.best_value < 50


def test_several_objectives_take_them() -> None:
    for name in ("tpe", "nsga-ii", "auto"):
        study = Study(SPACE, sampler=SAMPLERS[name](), directions=["minimize", "maximize"])
        study.enqueue({"x": 9.0})
        for _ in range(40):
            trial = study.ask()
            assert SPACE.contains(trial.params)
            study.tell(trial, [loss(trial), trial["x"]])
        assert len(study.best_trials) > 1
