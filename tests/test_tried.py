"""The set of tried points against a Python set, in spaces of all sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import finite_spaces

import fasthpo
from fasthpo import Categorical, Discrete, GridSampler, RandomSampler, SearchSpace, Study
from fasthpo.tried import TriedPoints

SMALL = SearchSpace({"a": Discrete(1, 7), "b": Categorical(["x", "y"]), "c": Discrete(0, 4, when={"b": ["x"]})})
LARGE = SearchSpace({"a": Discrete(1, 10**6), "b": Categorical(["x", "y", "z"]), "c": Discrete(0, 1)})  # a hash table
HUGE = SearchSpace({f"p{j}": Categorical([0, 1]) for j in range(70)})  # beyond 64 bits


@pytest.mark.parametrize("space", [SMALL, LARGE, HUGE], ids=["small", "large", "huge"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_a_set(space: SearchSpace, data: st.DataObject) -> None:
    size = space.size
    cells = st.one_of(
        st.integers(0, size - 1), st.integers(0, min(size, 40) - 1), st.integers(max(0, size - 40), size - 1)
    )
    tried, expected = TriedPoints(space.cells), set()
    for cell in data.draw(st.lists(cells, max_size=60)):
        assert (cell in tried) == (cell in expected)
        tried.add_cell(cell)
        expected.add(cell)
        assert cell in tried and len(tried) == len(expected)
    for cell in data.draw(st.lists(cells, max_size=10)):
        assert (cell in tried) == (cell in expected)
    if len(expected) < size:
        start = data.draw(cells)
        following = start
        while following in expected:
            following = (following + 1) % size
        assert tried.next_untried(start) == following and not tried.is_full


@settings(max_examples=50, deadline=None)
@given(finite_spaces())
def test_it_is_full_when_every_point_is_in(space: SearchSpace) -> None:
    tried = TriedPoints(space.cells)
    rows = np.array([space.cells.point(i) for i in range(space.size)])
    for i in range(space.size):
        assert not tried.is_full
        tried.add(rows[: i + 1])  # those before are in already
        assert len(tried) == i + 1
    assert tried.is_full


def test_a_table_that_grows_keeps_everything() -> None:
    tried = TriedPoints(LARGE.cells)
    cells = np.unique(np.random.default_rng(0).integers(0, LARGE.size, 5000)).tolist()
    for cell in cells:
        tried.add_cell(cell)
    assert len(tried) == len(cells)
    assert all(cell in tried for cell in cells)
    assert not any(cell + 1 in tried for cell in cells if cell + 1 not in set(cells))


def test_points_of_a_huge_space_that_differ_by_a_multiple_of_a_prime_are_two_points() -> None:
    tried = TriedPoints(HUGE.cells)
    tried.add_cell(1)
    assert not any(1 + k * (2**61 - 1) in tried for k in range(1, 500))
    assert 2**61 not in tried
    row = HUGE.encode({f"p{j}": int(j == 69) for j in range(70)})
    tried.add(row[None, :])
    assert len(tried) == 1 and HUGE.size - 1 not in tried


@pytest.mark.parametrize("shift", [0, 1, 20, 31, 45])
def test_regular_cells_do_not_pile_up(shift: int) -> None:
    # such as points that differ in their first parameters only
    space = SearchSpace({f"p{j}": Categorical([0, 1]) for j in range(60)})
    tried = TriedPoints(space.cells)
    for k in range(4000):
        tried.add_cell(k << shift)
    taken = "".join("x" if slot != 2**64 - 1 else " " for slot in tried._slots.tolist())
    assert taken.count("x") == 4000
    assert max(map(len, taken.split())) < 60  # about 20 for random keys


@pytest.mark.parametrize("sampler", [RandomSampler(seed=0), GridSampler(shuffle=True, seed=0)], ids=lambda s: s.name)
def test_a_study_uses_a_space_up_without_repetition(sampler: Any) -> None:
    study = Study(SMALL, sampler=sampler)
    points = [repr(study.ask().params) for _ in range(SMALL.size)]
    assert SMALL.size == 42 and len(set(points)) == 42
    with pytest.raises(fasthpo.SpaceExhausted, match="all 42 points"):
        study.ask()
    assert len(study.ask_batch(3)) == 0
