"""The numbering of a finite space against brute force."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, SearchSpace
from fasthpo.space.enumeration import INACTIVE, Cells
from tests.support.spaces import all_points, finite_spaces


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


def entangled(flags: int) -> SearchSpace:
    """A child for each pair of flags, active when both are on."""
    names = [f"f{i}" for i in range(flags)]
    space = {name: Categorical([False, True]) for name in names}
    for a, b in itertools.combinations(names, 2):
        space[a + b] = Discrete(1, 3, when={a: [True], b: [True]})
    return SearchSpace(space)


def test_parents_shared_in_all_ways_are_counted() -> None:
    for flags in range(2, 8):
        patterns = itertools.product([0, 1], repeat=flags)
        assert entangled(flags).size == sum(3 ** (sum(p) * (sum(p) - 1) // 2) for p in patterns)


def test_conditions_too_entangled_to_count_are_refused_in_time() -> None:
    space = entangled(24)
    start = time.perf_counter()
    with pytest.raises(fasthpo.InvalidSearchSpace, match=r"can't be counted.*got 276 such parameters"):
        fasthpo.Study(space)
    assert time.perf_counter() - start < 20  # 2**24 patterns would take hours
    # with a continuum in it nothing needs to be counted
    mixed = SearchSpace({**space, "x": Continuous(0, 1)})
    assert mixed.size is None and 0 <= fasthpo.Study(mixed, sampler=fasthpo.RandomSampler(seed=0)).ask()["x"] < 1


@settings(max_examples=100, deadline=None)
@given(finite_spaces())
def test_cells_become_the_values_that_each_parameter_gives_them(space: SearchSpace) -> None:
    cells = space.cells
    some = range(0, space.size, max(1, space.size // 20))
    digits = np.array([cells.digits(i) for i in some])
    rows = cells.rows(digits)
    for j, parameter in enumerate(space.parameters):
        active = digits[:, j] != INACTIVE
        assert np.array_equal(active, ~np.isnan(rows[:, j]))
        assert rows[active, j].tolist() == parameter.at(digits[active, j]).tolist()
    for row, i in zip(rows, some, strict=True):
        assert np.array_equal(cells.point(i), row, equal_nan=True)


def test_nothing_in_nothing_out() -> None:
    for space in (SearchSpace({"a": Discrete(1, 3)}), entangled(2)):
        assert len(space.cells.index(np.empty((0, len(space))))) == 0


def test_a_grid_may_count_otherwise_than_the_space() -> None:
    space = SearchSpace({"a": Continuous(0, 1, n_points=4), "b": Discrete(1, 3), "c": Discrete(1, 2, when={"b": [2]})})
    cells = Cells(space, [4, 3, 2])
    digits = [cells.digits(i) for i in range(cells.size)]
    assert cells.size == 16 and [cells.number(one) for one in digits] == list(range(16))
    assert {tuple(one) for one in digits} == {
        (a, b, c) for a in range(4) for b, c in [(0, -1), (1, 0), (1, 1), (2, -1)]
    }


def test_more_integers_than_a_float_counts() -> None:
    space = SearchSpace({"a": Discrete(-(2**53), 2**53), "b": Categorical(["x", "y"])})
    points = [(-(2**53), "x"), (-1, "y"), (1, "x"), (2, "y"), (2**53 - 1, "x"), (2**53, "y")]
    rows = np.array([space.encode({"a": a, "b": b}) for a, b in points])
    index = [2 * (a + 2**53) + (b == "y") for a, b in points]
    assert list(space.cells.index(rows)) == index and space.size == 2 * (2**54 + 1)
    assert [tuple(space.decode(space.cells.point(i)).values()) for i in index] == points


def test_a_space_keeps_its_numbers_through_a_copy() -> None:
    space = entangled(4)
    row = space.cells.point(100)
    copied = pickle.loads(pickle.dumps(space))
    assert list(copied.cells.index(row[None, :])) == [100]


def test_numbering_needs_no_compiler() -> None:
    program = (
        "import sys, fasthpo as f\n"
        "space = f.SearchSpace({'a': f.Discrete(1, 9), 'b': f.Categorical([0, 1]), 'c': f.Discrete(1, 3, when={'b': 1})})\n"
        "f.Study(space, sampler=f.RandomSampler(seed=0)).ask()\n"
        "f.Study(space, sampler=f.GridSampler()).ask()\n"
        "f.Study(f.SearchSpace({'x': f.Continuous(0, 1, n_points=3)}), sampler=f.GridSampler()).ask()\n"
        "assert not {'numba', 'torch', 'scipy.stats'} & set(sys.modules), sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
