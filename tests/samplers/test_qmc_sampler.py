"""Quasi-random search: evenly spread, and a draw depends on its index only."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import qmc

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, QMCSampler, SearchSpace, Study
from fasthpo.trials.table import TrialTable

SPACE = SearchSpace(
    {"x": Continuous(0, 1), "l": LogUniform(1e-4, 1), "n": Discrete(1, 10), "c": Categorical(["a", "b"])}
)


def test_points_are_sobol_points_through_the_prior() -> None:
    space = SearchSpace({"x": Continuous(0, 1), "y": Continuous(-2, 2)})
    study = Study(space, sampler=QMCSampler(seed=4))
    points = np.array([list(study.ask().params.values()) for _ in range(512)])
    expected = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(4), bits=32).random(512)
    np.testing.assert_array_equal(points, expected * [1, 4] - [0, 2])


def test_one_point_in_each_stratum() -> None:
    study = Study(SPACE, sampler=QMCSampler(seed=0))
    batch = study.ask_batch(64)
    assert np.array_equal(np.sort(np.floor(batch.params["x"] * 64)), np.arange(64))
    strata = np.floor(np.log(batch.params["l"] / 1e-4) / np.log(1e4) * 64)
    assert np.array_equal(np.sort(strata), np.arange(64))


def test_a_draw_depends_on_its_index_only() -> None:
    table = TrialTable(SPACE, "minimize")
    sampler = QMCSampler(seed=1)
    forward = [sampler.suggest(table, k).tolist() for k in range(600)]
    backward = [sampler.suggest(table, k).tolist() for k in reversed(range(600))]
    assert backward[::-1] == forward
    assert QMCSampler(seed=1).suggest(table, 599).tolist() == forward[599]
    batch = QMCSampler(seed=1).suggest_batch(table, np.arange(300, 560))
    assert batch.tolist() == forward[300:560]
    assert QMCSampler(seed=2).suggest(table, 0).tolist() != forward[0]


def test_unscrambled_begins_at_the_lowest_corner() -> None:
    params = Study(SPACE, sampler=QMCSampler(scramble=False)).ask().params
    assert params["x"] == 0.0 and params["n"] == 1


def test_too_many_parameters_are_refused() -> None:
    space = SearchSpace({f"x{j}": Continuous(0, 1) for j in range(21_202)})
    with pytest.raises(fasthpo.InvalidSearchSpace, match="21201 parameters, got 21202"):
        Study(space, sampler=QMCSampler())


def test_no_order_of_draws_makes_scipy_warn() -> None:
    table = TrialTable(SPACE, "minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scramble in (True, False):
            sampler = QMCSampler(seed=3, scramble=scramble)
            rows = {k: sampler.suggest(table, k).tolist() for k in (700, 3, 256, 255, 10_000, 0, 701)}
            for draws in ([0], [255, 256], [3, 700, 701], [0, 3, 10_000]):
                assert sampler.suggest_batch(table, np.array(draws))[-1].tolist() == rows.get(draws[-1])
            assert sampler.suggest_batch(table, np.empty(0, np.int64)).shape == (0, len(SPACE))


def test_conditions_hold_and_choices_come_evenly() -> None:
    space = SearchSpace({"c": Categorical(["a", "b"]), "x": Continuous(0, 1, when={"c": ["b"]}), "y": LogUniform(1, 4)})
    batch = Study(space, sampler=QMCSampler(seed=0)).ask_batch(512)
    assert (batch.params["c"] == "a").sum() == 256
    assert np.array_equal(batch.active["x"], batch.params["c"] == "b")
    for i in range(512):
        space.validate(batch[i])


def test_a_finite_space_is_used_up_without_repetition() -> None:
    space = SearchSpace({"n": Discrete(1, 5), "c": Categorical(["a", "b"])})
    study = Study(space, sampler=QMCSampler(seed=0))
    assert len({repr(study.ask().params) for _ in range(10)}) == 10
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


def test_it_resumes_at_its_position(tmp_path: Path) -> None:
    study = Study(SPACE, sampler=QMCSampler())
    for _ in range(300):
        study.tell(study.ask(), 1.0)
    loaded = Study.load(study.save(tmp_path / "study.msgpack"))
    assert [loaded.ask().params for _ in range(5)] == [study.ask().params for _ in range(5)]


def test_one_sampler_may_serve_two_spaces() -> None:
    sampler = QMCSampler(seed=5)
    one, other = TrialTable(SPACE, "minimize"), TrialTable(SearchSpace({"x": Continuous(0, 1)}), "minimize")
    expected = [[QMCSampler(seed=5).suggest(table, k).tolist() for table in (one, other)] for k in (0, 300, 1)]
    assert [[sampler.suggest(table, k).tolist() for table in (one, other)] for k in (0, 300, 1)] == expected


def test_options_make_the_same_sampler() -> None:
    sampler = QMCSampler(scramble=False, seed=8)
    assert sampler.options() == {"seed": 8, "scramble": False} == QMCSampler(**sampler.options()).options()
    with pytest.raises(fasthpo.InvalidValue, match="scramble must be True or False, got scramble=1"):
        QMCSampler(scramble=1)  # type: ignore[arg-type]
