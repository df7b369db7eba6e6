"""The set of tried points against a Python set, in spaces of all sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import (
    ASHA,
    Categorical,
    Continuous,
    Discrete,
    GridSampler,
    LogUniform,
    QMCSampler,
    RandomSampler,
    SearchSpace,
    Study,
    TPESampler,
)  # fmt: skip
from fasthpo.trials.tried import TriedPoints
from tests.support.spaces import finite_spaces

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


# --- the finite part of an infinite space

BRANCHES = {
    "a few cells beside a range": {
        "c": Categorical(["a", "b"]), "k": Discrete(1, 4, when={"c": ["a"]}), "x": Continuous(0, 1, when={"c": ["b"]})
    },
    "a single point beside a range": {"c": Categorical(["a", "b"]), "x": Continuous(0, 1, when={"c": ["b"]})},
    "conditions within conditions": {
        "c": Categorical(["a", "b", "d"]),
        "e": Categorical(["p", "q"], when={"c": ["a"]}),
        "k": Discrete(1, 3, when={"c": ["a"]}),
        "s": Continuous(0, 1, step=0.25, when={"c": ["d"]}),
        "y": Continuous(0, 1, when={"e": ["q"]}),
        "x": LogUniform(1e-3, 1, when={"c": ["b"]}),
    },
}  # fmt: skip


def finite_points(study: Study) -> list[str]:
    """The points without a value of x or y."""
    return [repr(trial.params) for trial in study.trials if not {"x", "y"} & trial.params.keys()]


def branch_loss(params: dict[str, Any]) -> float:
    """The finite part is the best."""
    return abs(params.get("k", 2) - 2) + params.get("s", 0) + 5 * params.get("x", 0) + 9 * params.get("y", 0)


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("way", ["one by one", "batches", "asha", "loaded"])
@pytest.mark.parametrize(
    "sampler", [TPESampler(seed=0), TPESampler(seed=0, multivariate=False), QMCSampler(seed=0)], ids=repr
)
def test_no_point_of_a_finite_branch_is_tried_twice(sampler: Any, way: str, branches: str, tmp_path: Path) -> None:
    space = SearchSpace(BRANCHES[branches])
    options = {"strategy": ASHA(4, sampler=sampler)} if way == "asha" else {"sampler": sampler}
    study = Study(space, **options)
    while len(study) < 60:
        if way == "loaded":
            study.save(tmp_path / "study")
            study = Study.load(tmp_path / "study")
        for number in study.ask_batch(12 if way in ("batches", "loaded") else 1).numbers.tolist():
            trial = study.trials[number]
            study.tell(trial, branch_loss(trial.params))
    points = finite_points(study)
    size = space.finite_cells.size  # type: ignore[union-attr]
    assert len(points) == len(set(points)) and size - 1 <= len(points) <= size


def test_known_points_of_a_finite_branch_are_not_tried_again() -> None:
    study = Study(BRANCHES["a few cells beside a range"], sampler=TPESampler(seed=0, multivariate=False))
    study.add_trials({"c": ["a"] * 3, "k": [1, 2, 3], "x": [None] * 3}, [0.0, 0.0, 0.0])
    study.enqueue({"c": "a", "k": 2})  # someone wants it
    for _ in range(60):
        trial = study.ask()
        study.tell(trial, branch_loss(trial.params))
    assert sorted(point[-2] for point in finite_points(study)) == ["1", "2", "2", "3", "4"]


def test_random_search_draws_are_independent_all_the_same() -> None:
    study = Study(BRANCHES["a few cells beside a range"], sampler=RandomSampler(seed=0))
    study.ask_batch(100)
    assert len(set(finite_points(study))) == 4 and 35 < len(finite_points(study)) < 65


def test_which_part_of_a_space_is_finite() -> None:
    def count(**parameters: Any) -> int | None:
        cells = SearchSpace(parameters).finite_cells
        return None if cells is None else cells.size

    assert count(x=Continuous(0, 1), k=Discrete(1, 3)) is None
    assert count(k=Discrete(1, 3)) == 3
    both = {"c": Categorical(["a", "b"]), "x": Continuous(0, 1, when={"c": ["a"]})}
    assert count(**both) == 1
    assert count(**both, k=Discrete(1, 3)) == 3
    assert count(**both, y=Continuous(0, 1, when={"c": ["b"]})) is None
    huge = {f"p{j}": Discrete(1, 10**6) for j in range(10)}
    assert count(**both, **huge) == 10**60
    study = Study(both | huge, sampler=TPESampler(seed=0))
    for _ in range(30):
        study.tell(study.ask(), 0.0)
    assert len(set(finite_points(study))) == len(finite_points(study)) > 0
