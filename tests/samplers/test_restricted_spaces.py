"""No sampler suggests what relations forbid or what lies beyond a bound, alone, in batches or after a resumption."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, Sampler, SearchSpace, Study
from fasthpo.errors import InvalidSearchSpace, SpaceExhausted
from fasthpo.trials.table import TrialTable


def make_space() -> SearchSpace:
    space = SearchSpace(
        {
            "low": Discrete(1, 10),
            "high": Discrete(1, 10),
            "lr": LogUniform(1e-4, 1e-1, n_points=5),
            "last_lr": LogUniform(1e-6, "lr", n_points=4),
            "optimizer": Categorical(["adam", "sgd", "lion"]),
            "amsgrad": Categorical([True, False], when={"optimizer": "adam"}),
            "momentum": Continuous(0.0, 1.0, n_points=4, when={"optimizer": "sgd"}),
        }
    )
    space.require("low <= high").forbid({"optimizer": "adam", "amsgrad": True}).forbid({"optimizer": "lion"})
    return space.require("momentum * lr < 0.05 or high > 5")


def loss(p: Mapping[str, Any]) -> float:
    distance = ((p["low"] - 7) / 3) ** 2 + ((p["high"] - 7) / 3) ** 2 + math.log10(p["lr"] / 1e-2) ** 2
    return distance + math.log10(p["last_lr"] / 1e-2) ** 2 + float(p.get("momentum", 0.5))


SAMPLERS = {
    "random": lambda: fasthpo.RandomSampler(seed=1),
    "qmc": lambda: fasthpo.QMCSampler(seed=1),
    "grid": lambda: fasthpo.GridSampler(seed=1),
    "tpe": lambda: fasthpo.TPESampler(seed=1),
    "independent tpe": lambda: fasthpo.TPESampler(multivariate=False, seed=1),
    "auto": lambda: fasthpo.AutoSampler(seed=1),
    "cma_es": lambda: fasthpo.CmaEsSampler(seed=1),
    "nsga_ii": lambda: fasthpo.NSGAIISampler(population_size=10, seed=1),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_suggest_what_is_allowed_and_batches_and_resumptions_the_same(name: str, tmp_path: Path) -> None:
    whole = Study(make_space(), sampler=SAMPLERS[name]())
    kept = Study(make_space(), sampler=SAMPLERS[name](), storage=tmp_path / "study")
    asked: list[dict[str, Any]] = []
    for i in range(36):
        if i == 20:
            kept.close()
            kept = Study.load(tmp_path / "study")
            assert kept.space == make_space()
        trial, same = whole.ask(), kept.ask()
        assert trial.params == same.params and whole.space.contains(trial.params)
        asked.append(dict(trial.params))
        for study, one in ((whole, trial), (kept, same)):
            study.tell(one, loss(one) if i % 7 else math.nan)
    batch = whole.ask_batch(12)
    assert [batch[i] for i in range(12)] == [dict(kept.ask().params) for _ in range(12)]
    assert all(whole.space.contains(batch[i]) for i in range(12))
    assert not any(p["optimizer"] == "lion" or p.get("amsgrad") for p in asked)
    kept.close()


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_grid_tries_each_allowed_point_once(shuffle: bool) -> None:
    space = SearchSpace(
        {
            "a": Continuous(0.0, 1.0, n_points=4),
            "b": Continuous(0.0, "a", n_points=4),
            "n": Discrete(1, 4),
            "kind": Categorical(["x", "y"]),
            "m": Discrete(1, 3, when={"kind": "x"}),
        }
    )
    space.forbid({"kind": "x", "m": 1, "a": (0.3, 0.7)}).require("n % 2 == 0 or kind == 'y'")
    study = Study(space, sampler=fasthpo.GridSampler(shuffle=shuffle, seed=3))
    study.enqueue({"a": 1.0, "b": 0.0, "n": 1, "kind": "y"})
    expected = [
        {"a": a, "b": b, "n": n, "kind": kind, **({} if m is None else {"m": m})}
        for a, b, n, (kind, m) in itertools.product(
            (0.0, 1 / 3, 2 / 3, 1.0), (0.0, 1 / 3, 2 / 3, 1.0), range(1, 5), (("x", 1), ("x", 2), ("x", 3), ("y", None))
        )
        if b <= a and (n % 2 == 0 or kind == "y") and not (m == 1 and 0.3 <= a <= 0.7)
    ]
    tried = []
    with pytest.raises(SpaceExhausted):
        while True:
            tried.append(dict(study.ask().params))
    assert sorted(map(repr, tried)) == sorted(map(repr, expected))
    with pytest.raises(InvalidSearchSpace, match="give more n_points"):
        Study(SearchSpace({"a": Continuous(0.0, 1.0, n_points=2)}).require("0 < a < 1"), sampler=fasthpo.GridSampler())
    many = SearchSpace({f"p{i}": Discrete(1, 99) for i in range(9)}).require("p0 + p1 + p2 + p3 < 99")
    with pytest.raises(InvalidSearchSpace, match="96059601 combinations, and at most 1048576 are listed"):
        Study(many, sampler=fasthpo.GridSampler())


def test_each_point_of_a_finite_restricted_space_is_suggested_once() -> None:
    for sampler in (fasthpo.TPESampler(seed=0), fasthpo.RandomSampler(seed=0), fasthpo.NSGAIISampler(seed=0)):
        space = SearchSpace({"a": Discrete(1, 8), "b": Discrete(1, "a"), "c": Categorical(["x", "y"])})
        study = Study(space.require("a + b != 9 or c == 'x'"), sampler=sampler)
        seen = set()
        with pytest.raises(SpaceExhausted, match="all 68 points"):
            while True:
                trial = study.ask()
                seen.add(tuple(trial.params.values()))
                study.tell(trial, trial["a"] - trial["b"])
        assert len(seen) == space.size == 68


def test_points_that_are_too_many_to_count_are_not_suggested_twice() -> None:
    # of ten million combinations 792 are allowed
    space = SearchSpace({f"p{i}": Discrete(0, 9) for i in range(7)}).require(
        " + ".join(f"p{i}" for i in range(7)) + " <= 5"
    )
    assert space.size is None
    study = Study(space, sampler=fasthpo.TPESampler(seed=0))
    points = set()
    for _ in range(40):
        trial = study.ask()
        points.add(tuple(trial.params.values()))
        study.tell(trial, trial["p0"])
    assert len(points) == 40


class Ignorant(Sampler):
    """A user's sampler that knows nothing of relations."""

    def suggest(self, table: TrialTable, draw: int) -> dict[str, Any]:
        random = np.random.default_rng([self.seed, draw])
        return {"low": int(random.integers(1, 10)), "high": int(random.integers(1, 10)), "near": 9}


class Stubborn(Sampler):
    """One that always suggests the same, which is forbidden."""

    def suggest(self, table: TrialTable, draw: int) -> dict[str, Any]:
        return {"low": 9, "high": 1, "near": 1}


@pytest.mark.parametrize("sampler", [Ignorant(seed=0), Stubborn(seed=0)])
def test_samplers_of_the_users_own_need_not_know_of_relations(sampler: Sampler) -> None:
    space = SearchSpace({"low": Discrete(1, 9), "high": Discrete(1, 9), "near": Discrete(1, "low")})
    study = Study(space.require("low < high"), sampler=sampler)
    for _ in range(30):
        assert space.contains(study.ask().params)


@pytest.mark.parametrize("sampler", [fasthpo.TPESampler, fasthpo.NSGAIISampler, fasthpo.RandomSampler])
def test_several_objectives_and_rungs_keep_to_relations(sampler: type[Any]) -> None:
    study = Study(make_space(), directions=["minimize", "maximize"], sampler=sampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        assert study.space.contains(trial.params)
        study.tell(trial, [loss(trial), trial["low"]], constraints=[trial["high"] - 8])
    rungs = Study(
        make_space(), strategy=fasthpo.ASHA(sampler=sampler(seed=0), min_resource=1, max_resource=4, reduction_factor=2)
    )
    for _ in range(60):
        trial = rungs.ask()
        assert rungs.space.contains(trial.params)
        trial.report(loss(trial), int(trial.resource or 0))
        rungs.tell(trial, loss(trial))


def test_the_best_point_on_a_border_is_climbed_to() -> None:
    space = SearchSpace({"low": Continuous(0.0, 1.0), "high": Continuous(0.0, 1.0)}).require("low <= high")
    study = Study(space, sampler=fasthpo.TPESampler(seed=2))
    for _ in range(40):
        trial = study.ask()
        study.tell(trial, (trial["low"] - 0.7) ** 2 + (trial["high"] - 0.4) ** 2 - 0.045)
    assert study.best_value < 1e-3  # random search comes to 1e-2


@pytest.mark.parametrize("kinds", [["a", "b", "c"], ["c", "a", "b"], ["a", "c", "b"]])
def test_forbidden_branches_are_left_out(kinds: list[str]) -> None:
    space = SearchSpace(
        {
            "kind": Categorical(kinds),
            "x": Continuous(0.0, 1.0, when={"kind": "a"}),
            "y": Continuous(0.0, 1.0, when={"kind": "b"}),
        }
    )
    study = Study(space.forbid({"kind": "c"}).require("kind != 'b' or y < 0.5"), sampler=fasthpo.AutoSampler(seed=0))
    seen = set()
    for _ in range(60):
        trial = study.ask()
        seen.add(trial["kind"])
        assert trial.params.get("y", 0.0) < 0.5
        study.tell(trial, trial.params.get("x", 1.0))
    assert seen == {"a", "b"}


def test_the_only_branch_that_relations_allow_is_searched_on() -> None:
    space = SearchSpace(
        {
            "kind": Categorical(["a", "b"]),
            "x": Continuous(0.0, 1.0, when={"kind": "a"}),
            "y": Continuous(0.0, 1.0, when={"kind": "b"}),
        }
    )
    study = Study(space.forbid({"kind": "a"}), sampler=fasthpo.AutoSampler(seed=0))
    for _ in range(60):
        trial = study.ask()
        study.tell(trial, trial["y"])
    assert study.best_value < 0.1
