"""Batches of TPE: what as many single asks would give, whatever runs, ends and waits."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from scipy.stats import wilcoxon

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study, TPESampler, TrialState
from fasthpo.samplers.tpe import sampler as tpe

SPACES = {
    "continuous": SearchSpace({f"x{j}": Continuous(0, 1) for j in range(3)}),
    "mixed": SearchSpace(
        {
            "x": Continuous(-5, 5),
            "l": LogUniform(1e-5, 1e-1),
            "n": Discrete(1, 1000, log=True),
            "k": Discrete(1, 8),
            "s": Continuous(0, 1, step=0.1),
            "fine": Continuous(0, 10, step=0.01),
            "c": Categorical(["a", "b", "c"]),
            "m": Continuous(0, 1, when={"c": ["b"]}),
            "only": Continuous(7, 7),
        }
    ),
    "finite": SearchSpace({"k": Discrete(1, 30), "c": Categorical(["a", "b", "c"])}),
}
MODES = pytest.mark.parametrize("multivariate", [True, False])


def study_of(space: SearchSpace, multivariate: bool, told: int, running: int, seed: int = 0) -> Study:
    """So many random trials with results, and then so many that run"""
    study = Study(space, sampler=TPESampler(seed=seed, multivariate=multivariate))
    rows = space.from_unit(np.random.default_rng(seed).random((told, len(space))))
    columns = {name: [space.decode(row).get(name) for row in rows] for name in space.names}
    study.add_trials(columns, np.round(np.random.default_rng(seed).normal(size=told), 1))
    for _ in range(running):
        study.ask()
    return study


def check_same(single: Study, batch: Study) -> None:
    for column in ("params", "draws", "states"):
        np.testing.assert_array_equal(getattr(single.table, column), getattr(batch.table, column))
    assert single._state.scheduler.history.next_draw == batch._state.scheduler.history.next_draw


@MODES
@pytest.mark.parametrize("space", SPACES)
def test_a_batch_is_what_single_asks_give(space: str, multivariate: bool) -> None:
    """From the random start on, with other trials running, and tells between the batches."""
    random = np.random.default_rng(0)
    single, batch = (study_of(SPACES[space], multivariate, told=0, running=2) for _ in range(2))
    for size in (5, 1, 10, 13, 0, 7):
        numbers = batch.ask_batch(size).numbers
        assert [single.ask().number for _ in range(size)] == numbers.tolist()
        check_same(single, batch)
        for number in random.permutation(numbers)[: size - size // 4]:
            value = float(random.choice([1.0, 2.0, math.nan, random.normal()]))
            single.tell(int(number), value)
            batch.tell(int(number), value)
    assert single.table.counts[TrialState.COMPLETE] > 12


@MODES
@pytest.mark.parametrize("told", [20, 240])
def test_a_long_batch_is_what_single_asks_give(told: int, multivariate: bool) -> None:
    """Beyond the running trials that the process knows, and those among which it looks for them."""
    single, batch = (study_of(SPACES["mixed"], multivariate, told, running=3) for _ in range(2))
    for _ in range(60):
        single.ask()
    assert len(batch.ask_batch(60)) == 60
    check_same(single, batch)
    assert single.ask().params == batch.ask().params


def test_the_independent_model_is_asked_for_parts_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpe, "_MOST_AT_ONCE", 7)
    single, batch = (study_of(SPACES["mixed"], False, 30, running=0) for _ in range(2))
    for _ in range(20):
        single.ask()
    batch.ask_batch(20)
    check_same(single, batch)


def test_waiting_trials_come_first_in_a_batch() -> None:
    single, batch = (study_of(SPACES["mixed"], True, 30, running=0) for _ in range(2))
    for study in (single, batch):
        study.enqueue({"x": 1.0})
        study.enqueue({"k": 3})
    for _ in range(12):
        single.ask()
    asked = batch.ask_batch(12)
    assert asked[0]["x"] == 1.0 and asked[1]["k"] == 3
    check_same(single, batch)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes a minute")
@MODES
def test_points_of_a_batch_keep_apart(multivariate: bool) -> None:
    """Points that a sampler suggests without knowing of each other lie closer together."""

    def spread(aware: bool, seed: int) -> float:
        study = study_of(SPACES["continuous"], multivariate, 40, 0, seed)
        if aware:
            points = np.array(list(study.ask_batch(12).params.values())).T
        else:
            points = np.array([study.sampler.suggest(study.table, draw) for draw in range(12)])
        apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 10 * np.eye(12)
        return float(apart.min(axis=1).mean())

    aware, unaware = ([spread(a, seed) for seed in range(30)] for a in (True, False))
    assert wilcoxon(aware, unaware, alternative="greater").pvalue < 0.001
    assert np.mean(aware) > 1.1 * np.mean(unaware)


def test_another_sampler_goes_on_after_a_batch() -> None:
    study = study_of(SPACES["mixed"], True, 30, running=0)
    study.ask_batch(11)
    anew = TPESampler(seed=0)
    for draw in range(11, 20):
        np.testing.assert_array_equal(anew.suggest(study.table, draw), study.sampler.suggest(study.table, draw))


def test_a_sampler_without_batches_says_so() -> None:
    class Middle(fasthpo.Sampler):
        def suggest(self, table: Any, draw: int) -> dict[str, Any]:
            return {"x": 0.5}

    sampler = Middle(seed=0)
    study = Study({"x": Continuous(0, 1)}, sampler=sampler)
    assert (study.ask_batch(3).params["x"] == 0.5).all()
    with pytest.raises(TypeError, match="Middle makes one suggestion at a time"):
        sampler.suggest_batch(study.table, np.arange(3))
