"""The numbering of a finite space against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from spaces import all_points, finite_spaces

from fasthpo import Categorical, Continuous, Discrete, SearchSpace


@settings(max_examples=200, deadline=None)
@given(finite_spaces())
def test_each_point_has_one_number_and_each_number_one_point(space: SearchSpace) -> None:
    points = all_points(space)
    assert space.size == len(points)
    rows = np.array([space.cells.point(i) for i in range(space.size)])
    assert {repr(space.decode(row)) for row in rows} == points
    assert list(space.cells.index(rows)) == list(range(space.size))
    for i, row in enumerate(rows):
        space.validate(space.decode(row))
        assert space.cells.number(space.cells.digits(i)) == i


def test_size_is_exact_beyond_64_bits_and_costs_nothing() -> None:
    space = SearchSpace({f"p{j}": Discrete(1, 10**9) for j in range(10)})
    assert space.size == 10**90
    index = 123456789 * 10**70 + 987654321
    assert list(space.cells.index(space.cells.point(index)[None, :])) == [index]


def test_infinite_spaces_have_no_size() -> None:
    assert SearchSpace({"a": Discrete(1, 2), "b": Continuous(0, 1)}).size is None
    assert SearchSpace({"a": Discrete(1, 2), "b": Continuous(1, 1)}).size == 2


@pytest.mark.parametrize("depth", [30])
def test_a_long_chain_of_conditions(depth: int) -> None:
    parameters = {"p0": Discrete(1, 3)}
    for j in range(1, depth):
        parameters[f"p{j}"] = Discrete(1, 3, when={f"p{j - 1}": [1, 2]})
    expected = 3
    for _ in range(depth - 1):
        expected = 2 * expected + 1  # two values let the rest be active, one ends the chain
    assert SearchSpace(parameters).size == expected


def test_many_parents_with_many_children() -> None:
    parameters = {}
    for j in range(50):
        parameters[f"p{j}"] = Categorical(["a", "b", "c"])
        parameters[f"x{j}"] = Discrete(1, 10**9, when={f"p{j}": ["a"]})
        parameters[f"y{j}"] = Discrete(1, 7, when={f"p{j}": ["a", "b"]})
    space = SearchSpace(parameters)
    assert space.size == (7 * 10**9 + 7 + 1) ** 50
    index = space.size - 12345
    assert list(space.cells.index(space.cells.point(index)[None, :])) == [index]


def test_a_child_of_five_parents_and_a_parent_of_a_billion_values() -> None:
    parents = {f"p{j}": Discrete(1, 10**9) for j in range(5)}
    space = SearchSpace({**parents, "child": Discrete(1, 10, when={name: [7] for name in parents})})
    assert space.size == 10**45 + 9
    row = space.encode({**dict.fromkeys(parents, 7), "child": 4})
    assert space.decode(space.cells.point(space.cells.index(row[None, :])[0])) == space.decode(row)
