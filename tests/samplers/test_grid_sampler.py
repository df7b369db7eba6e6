"""Grid search: order, coverage, shuffling, conditions, huge grids, resuming."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, GridSampler, LogUniform, SearchSpace, Study
from fasthpo.trials.table import TrialTable
from tests.support.spaces import all_points, finite_spaces

SPACE = SearchSpace(
    {
        "n": Discrete(1, 3),
        "c": Categorical(["x", None]),
        "u": Continuous(0.0, 1.0, n_points=3),
        "l": LogUniform(0.01, 100.0, n_points=5),
        "k": Continuous(7, 7),
    }
)
VALUES = [(1, 2, 3), ("x", None), (0.0, 0.5, 1.0), (0.01, 0.1, 1.0, 10.0, 100.0), (7.0,)]


def suggestions(study: Study) -> list[dict[str, object]]:
    found = []
    while True:
        try:
            found.append(study.ask().params)
        except fasthpo.SpaceExhausted as end:
            assert "90 points of the grid" in str(end)
            return found


def test_in_order_it_is_the_product_of_all_values() -> None:
    found = suggestions(Study(SPACE, sampler=GridSampler()))
    expected = list(itertools.product(*VALUES))
    assert len(found) == len(expected)
    for point, (n, c, u, logarithmic, k) in zip(found, expected, strict=True):
        assert point == {"n": n, "c": c, "u": u, "l": pytest.approx(logarithmic, rel=1e-12), "k": k}


def test_shuffled_it_is_the_same_set_in_an_order_of_the_seed() -> None:
    ordered = suggestions(Study(SPACE, sampler=GridSampler()))
    orders = [suggestions(Study(SPACE, sampler=GridSampler(shuffle=True, seed=s))) for s in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2] != ordered
    assert {repr(p) for p in orders[0]} == {repr(p) for p in ordered}


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_equals_single_asks_and_workers_do_not_matter(shuffle: bool) -> None:
    one, many = (Study(SPACE, sampler=GridSampler(shuffle=shuffle, seed=3)) for _ in range(2))
    single = suggestions(one)
    batches = [many.ask_batch(37) for _ in range(3)]
    assert [len(b) for b in batches] == [37, 37, 16]
    assert [b[i] for b in batches for i in range(len(b))] == single


@settings(max_examples=50, deadline=None)
@given(finite_spaces())
def test_conditional_grids_cover_each_point_once(space: SearchSpace) -> None:
    for sampler in (GridSampler(), GridSampler(shuffle=True, seed=0)):
        study = Study(space, sampler=sampler)
        points = [repr(study.ask().params) for _ in range(space.size)]
        assert len(points) == len(set(points)) and set(points) == all_points(space)
        with pytest.raises(fasthpo.SpaceExhausted):
            study.ask()


def test_a_continuum_without_points_is_refused_with_the_way_out() -> None:
    with pytest.raises(fasthpo.InvalidSearchSpace, match=r"'u'.*n_points.*Continuous\(\.\.\., n_points=10\)"):
        Study(SearchSpace({"u": Continuous(0, 1)}), sampler=GridSampler())


def test_one_point_is_the_middle() -> None:
    space = SearchSpace({"u": Continuous(0, 4, n_points=1), "l": LogUniform(0.01, 100, n_points=1)})
    assert Study(space, sampler=GridSampler()).ask().params == {"u": 2.0, "l": pytest.approx(1.0)}


def test_a_huge_grid_costs_nothing() -> None:
    space = SearchSpace({f"p{j}": Continuous(0, 1, n_points=1000) for j in range(6)})  # 10^18 cells
    for shuffle in (False, True):
        study = Study(space, sampler=GridSampler(shuffle=shuffle, seed=0))
        assert study.sampler.grid_size(space) == 10**18
        assert len({repr(study.ask().params) for _ in range(50)}) == 50
    more = SearchSpace({f"p{j}": Discrete(1, 10**9) for j in range(4)})
    assert Study(more, sampler=GridSampler()).ask()["p3"] == 1
    with pytest.raises(fasthpo.InvalidSearchSpace, match="shuffled grid"):
        Study(more, sampler=GridSampler(shuffle=True))


def test_enqueued_and_known_points_use_up_no_cell_and_are_not_repeated() -> None:
    space = SearchSpace({"n": Discrete(0, 9)})
    study = Study(space, sampler=GridSampler())
    study.enqueue({"n": 5})
    study.add_trials({"n": [0, 1]}, [1.0, 2.0])
    assert [study.ask()["n"] for _ in range(8)] == [5, 2, 3, 4, 6, 7, 8, 9]


def test_it_resumes_at_its_position(tmp_path: Path) -> None:
    study = Study(SPACE, sampler=GridSampler())
    for _ in range(40):
        study.tell(study.ask(), 1.0)
    loaded = Study.load(study.save(tmp_path))
    assert suggestions(loaded) == suggestions(study)


@pytest.mark.parametrize("low_high", [(0.1, 0.3), (-1.0, 0.1), (1e-5, 1e-1), (1e-300, 1e300), (-3.7, -3.6)])
@pytest.mark.parametrize("n_points", [2, 3, 10, 5000])
def test_both_ends_are_exact_and_steps_are_even(low_high: tuple[float, float], n_points: int) -> None:
    low, high = low_high
    for kind in (Continuous, LogUniform)[: 1 + (low > 0)]:
        sampler = GridSampler()
        table = TrialTable(SearchSpace({"x": kind(low, high, n_points=n_points)}), "minimize")
        values = sampler.suggest_batch(table, np.arange(n_points))[:, 0]
        assert values[0] == low and values[-1] == high
        space = np.linspace if kind is Continuous else np.geomspace
        if high < 1e300:  # geomspace is less exact than we are
            np.testing.assert_allclose(values, space(low, high, n_points), rtol=1e-12, atol=1e-15)
        assert (np.diff(values) > 0).all()
        single = [sampler.suggest(table, k)[0] for k in {0, 1, n_points // 2, n_points - 1}]
        assert single == [values[k] for k in {0, 1, n_points // 2, n_points - 1}]


def test_points_of_a_continuum_under_a_condition() -> None:
    space = SearchSpace(
        {
            "c": Categorical(["a", "b"]),
            "x": Continuous(0, 1, n_points=3, when={"c": ["a"]}),
            "n": Discrete(1, 2),
            "l": LogUniform(1, 100, n_points=2, when={"n": [2]}),
        }
    )
    first = [{"c": "a", "x": x} for x in (0.0, 0.5, 1.0)] + [{"c": "b"}]
    second = [{"n": 1}, {"n": 2, "l": 1.0}, {"n": 2, "l": 100.0}]
    expected = {repr(space.decode(space.encode({**a, **b}))) for a in first for b in second}
    for shuffle in (False, True):
        one, many = (Study(space, sampler=GridSampler(shuffle=shuffle, seed=1)) for _ in range(2))
        points = [one.ask().params for _ in range(12)]
        assert {repr(p) for p in points} == expected and len(expected) == 12
        batch = many.ask_batch(100)
        assert [batch[i] for i in range(len(batch))] == points
        with pytest.raises(fasthpo.SpaceExhausted, match="all 12 points of the grid"):
            one.ask()


def test_the_last_cell_of_a_huge_grid() -> None:
    space = SearchSpace({f"p{j}": Continuous(0, 1, n_points=1000) for j in range(6)})
    table = TrialTable(space, "minimize")
    sampler = GridSampler()
    assert sampler.suggest(table, 10**18 - 1).tolist() == [1.0] * 6
    assert sampler.suggest(table, 999 * 10**15).tolist() == [1.0] + [0.0] * 5
    assert sampler.suggest_batch(table, np.array([0, 10**18 - 1])).tolist() == [[0.0] * 6, [1.0] * 6]
    with pytest.raises(fasthpo.SpaceExhausted, match=f"all {10**18} points of the grid"):
        sampler.suggest(table, 10**18)


def test_options_make_the_same_sampler() -> None:
    sampler = GridSampler(shuffle=True)
    again = GridSampler(**sampler.options())
    table = TrialTable(SPACE, "minimize")
    draws = np.arange(90)
    assert np.array_equal(sampler.suggest_batch(table, draws), again.suggest_batch(table, draws))
    with pytest.raises(fasthpo.InvalidValue, match="shuffle must be True or False, got shuffle=1"):
        GridSampler(shuffle=1)  # type: ignore[arg-type]


def test_one_sampler_may_serve_two_spaces() -> None:
    sampler = GridSampler()
    one, other = TrialTable(SPACE, "minimize"), TrialTable(SearchSpace({"x": Continuous(5, 6, n_points=2)}), "minimize")
    for draw in range(2):
        assert sampler.suggest(other, draw).tolist() == [5.0 + draw]
        assert sampler.suggest(one, draw)[0] == 1.0


def test_a_grid_of_a_million_cells_in_one_batch() -> None:
    space = SearchSpace({f"p{j}": Continuous(0, 9, n_points=10) for j in range(6)})
    rows = GridSampler().suggest_batch(TrialTable(space, "minimize"), np.arange(10**6))
    np.testing.assert_allclose(rows @ 10.0 ** np.arange(5, -1, -1), np.arange(10**6), atol=1e-6)
