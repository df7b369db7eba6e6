"""Conditions on the order of a parent's values, beside an obvious twin that looks at each point by itself."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import (
    Categorical,
    Continuous,
    Discrete,
    InvalidParameters,
    InvalidSearchSpace,
    LogUniform,
    Normal,
    Ordinal,
    SearchSpace,
    at_least,
    at_most,
    between,
    not_in,
)
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.grid import Grid
from fasthpo.space.comparisons import Comparison
from fasthpo.space.enumeration import Cells
from fasthpo.space.partial import complete_row, encode_partial

PARENTS: dict[str, Any] = {
    "layers": Discrete(1, 8),
    "steps": Continuous(0.0, 0.9, step=0.1),
    "size": Ordinal(["s", "m", "l"]),
    "rate": LogUniform(1e-5, 1e-1),
    "x": Normal(0.0, 1.0),
    "kind": Categorical(["a", "b"]),
    "huge": Discrete(0, 2**52),
}


def space_of(**when: Any) -> SearchSpace:
    return SearchSpace({**PARENTS, "child": Continuous(0, 1, when=when)})


REFUSED = [
    (lambda: space_of(kind=at_least("a")), "'child' needs 'kind' at least 'a', but the choices of 'kind' have no order"),
    (lambda: space_of(size=at_least("xl")), r"depends on 'size'='xl', but 'size' must be one of \['s', 'm', 'l'\]"),
    (lambda: space_of(layers=at_least("3")), "'child' compares 'layers', a number, with '3'"),
    (lambda: space_of(layers=at_least(math.nan)), "'child' compares 'layers', a number, with nan"),
    (lambda: space_of(layers=at_least(9)), "'child' needs 'layers' at least 9, which it never is: Discrete"),
    (lambda: space_of(layers=at_most(0.5)), "'child' needs 'layers' at most 0.5, which it never is"),
    (lambda: space_of(layers=between(2.1, 2.9)), "'child' needs 'layers' between 2.1 and 2.9, which it never is"),
    (lambda: space_of(layers=between(5, 2)), "between 5 and 2, whose first is larger"),
    (lambda: space_of(size=between("l", "s")), "between 'l' and 's', whose first is larger"),
    (lambda: space_of(x=at_least(6.0)), "'child' needs 'x' at least 6.0, which it never is"),
    (lambda: space_of(kind=not_in(["a", "b"])), "'child' needs 'kind' not in 'a', 'b', which it never is"),
    (lambda: space_of(kind=not_in(["c"])), "depends on 'kind'='c'"),
    (lambda: space_of(kind=not_in(["a", "a"])), "lists 'kind'='a' twice"),
    (lambda: space_of(rate=not_in([1e-3])), "whose values are a continuum.*or a range such as fasthpo.at_least"),
    (lambda: space_of(rate=[1e-3]), "whose values are a continuum.*or a range such as fasthpo.at_least"),
    (lambda: space_of(nothing=at_least(1)), "depends on 'nothing', which is not in the space"),
    (lambda: space_of(layers={"at_least": 3}), "when must list strings"),
    (lambda: space_of(layers=[at_least(3)]), "when must list strings"),
    (lambda: at_least([3]), "when must list"),
    (lambda: SearchSpace({"a": Ordinal([(1, 2)]), "b": Discrete(1, 2, when={"a": (1, 2)})}),
     r"depends on 'a'=1.*; the tuple itself is \[\(1, 2\)\]"),
    (lambda: not_in("ab"), "not_in needs a list of values, got 'ab'"),
    (lambda: not_in([]), "not_in must list at least one value"),
    (lambda: SearchSpace({"a": Discrete(1, 3, when={"b": at_least(2)}), "b": Discrete(1, 3, when={"a": at_most(2)})}),
     "conditions must not form a cycle"),
    (lambda: SearchSpace({**PARENTS, "a": Discrete(1, 2, when={"rate": at_most(1e-3)}),
                          "b": Discrete(1, 2, when={"a": [1], "rate": at_least(1e-2)})}),
     "'b' can never be active"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_impossible_conditions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        make()


HELD: list[tuple[str, Any, list[Any], list[Any]]] = [  # a condition, values that meet it, values that do not
    ("layers", at_least(3), [3, 8], [1, 2]),
    ("layers", at_most(2.5), [1, 2], [3]),
    ("layers", between(-5, 2), [1, 2], [3, 8]),
    ("layers", not_in([1, 8]), [2, 7], [1, 8]),
    ("layers", at_least(np.int64(8)), [8], [7]),
    ("steps", at_least(0.1 * 3), [0.3, 0.1 * 3, 0.9], [0.2]),
    ("steps", between(0.25, 0.7), [0.3, 0.7], [0.2, 0.8]),
    ("size", at_least("m"), ["m", "l"], ["s"]),
    ("size", at_most("m"), ["s", "m"], ["l"]),
    ("size", not_in(["m"]), ["s", "l"], ["m"]),
    ("rate", at_most(1e-3), [1e-5, 1e-3], [1.0000001e-3, 0.1]),
    ("rate", between(1e-4, 5.0), [1e-4, 0.1], [9.9999e-5]),
    ("x", at_least(0.5), [0.5, 9.0, 1e300], [0.4999999, -40.0]),
    ("kind", not_in(["a"]), ["b"], ["a"]),
    ("huge", at_least(2**51 + 1), [2**51 + 1, 2**52], [2**51]),
]


@pytest.mark.parametrize(("parent", "condition", "meet", "miss"), HELD, ids=lambda one: repr(one)[:30])
def test_a_child_is_active_where_its_condition_holds(parent: str, condition: Any, meet: Any, miss: Any) -> None:
    space = SearchSpace({parent: PARENTS[parent], "child": Continuous(0, 1, when={parent: condition})})
    for value in meet:
        assert space.contains({parent: value, "child": 0.5}) and not space.contains({parent: value})
    for value in miss:
        assert space.contains({parent: value}) and not space.contains({parent: value, "child": 0.5})
    assert SearchSpace.from_json(space.to_json()) == space
    columns = {parent: [*meet, *miss], "child": [0.5] * len(meet) + [None] * len(miss)}
    study = fasthpo.Study(space)
    study.add_trials(columns, np.arange(float(len(meet) + len(miss))))
    assert ["child" in trial.params for trial in study.trials] == [True] * len(meet) + [False] * len(miss)
    for value in meet[:1]:
        study.enqueue({parent: value})
        assert "child" in study.ask().params
    with pytest.raises(InvalidParameters, match="'child' needs"):
        study.enqueue({parent: miss[0], "child": 0.5})
    assert "at least" in repr(condition).replace("_", " ") or condition.operator in repr(condition)


def test_what_is_not_given_is_drawn_so_that_what_is_given_is_active() -> None:
    when = {"rate": between(1e-4, 1e-3), "layers": at_least(7), "size": at_least("m"), "huge": at_least(2**51),
            "x": at_least(4.0)}  # fmt: skip
    space = space_of(**when)
    row = encode_partial(space, {"child": 0.25})
    full = np.array([complete_row(space, row, 3, number) for number in range(200)])
    found = {name: full[:, j] for j, name in enumerate(space.names)}
    assert (found["child"] == 0.25).all() and set(found["layers"]) == {7.0, 8.0} and set(found["size"]) == {1.0, 2.0}
    assert (found["rate"] >= 1e-4).all() and (found["rate"] <= 1e-3).all() and (found["x"] >= 4.0).all()
    assert np.abs(np.log10(found["rate"]).mean() + 3.5) < 0.1 and found["huge"].min() >= 2**51
    with pytest.raises(InvalidParameters, match="'child' needs"):
        encode_partial(space, {"child": 0.25, "rate": 1e-2})


def holds(parameter: Any, condition: Any, value: Any) -> bool:
    """Whether a value meets a condition, by its definition."""
    if not isinstance(condition, Comparison):
        return value in condition
    place = list(parameter.choices).index if parameter.choices is not None else lambda one: one
    if condition.operator == "not_in":
        return value not in condition.values
    low = place(condition.values[0]) if condition.operator != "at_most" else -math.inf
    high = place(condition.values[-1]) if condition.operator != "at_least" else math.inf
    return bool(low <= place(value) <= high)


@st.composite
def ranged_spaces(draw: Any) -> SearchSpace:
    """Spaces of few points whose conditions compare."""
    parameters: dict[str, Any] = {}
    for j in range(draw(st.integers(2, 5))):
        when = {}
        for parent in (
            draw(st.lists(st.sampled_from(sorted(parameters)), max_size=2, unique=True)) if parameters else []
        ):
            source = parameters[parent]
            values = [source.decode(float(x)) for x in source.at(np.arange(source.count))]
            a, b = sorted(draw(st.tuples(*[st.integers(0, len(values) - 1)] * 2)))
            options = [at_least(values[a]), at_most(values[b]), between(values[a], values[b]), [values[a]]]
            if len(values) > 1:
                options.append(not_in([values[a]]))
            when[parent] = draw(st.sampled_from(options))
        size = draw(st.integers(1, 4))
        kind = draw(st.sampled_from([Ordinal([f"o{i}" for i in range(size)]), Discrete(3, 3 + 2 * (size - 1), 2),
                                     Continuous(0.1, 0.1 * size, step=0.1)]))  # fmt: skip
        parameters[f"p{j}"] = type(kind)(**kind.arguments(), when=when)
    return SearchSpace(parameters)


def points_of(space: SearchSpace) -> list[dict[str, Any]]:
    """All points, by trying every combination of values."""
    every = [[p.decode(float(x)) for x in p.at(np.arange(p.count))] for p in space.parameters]
    found = {}
    for values in itertools.product(*every):
        point: dict[str, Any] = {}
        for j in space.order:
            parameter, name = space.parameters[j], space.names[j]
            if all(parent in point and holds(space[parent], c, point[parent]) for parent, c in parameter.when.items()):
                point[name] = values[j]
        found[repr(sorted(point.items()))] = point
    return list(found.values())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_points_are_counted_and_numbered_as_one_counts_them_by_hand(data: Any) -> None:
    try:
        space = data.draw(ranged_spaces())
    except InvalidSearchSpace as error:  # conditions that contradict each other
        assert "never be active" in str(error)
        return
    points = points_of(space)
    cells = Cells(space, [p.count for p in space.parameters])
    assert cells.size == space.size == len(points)
    rows = np.array([cells.point(index) for index in range(cells.size)])
    assert {repr(sorted(space.decode(row).items())) for row in rows} == {repr(sorted(p.items())) for p in points}
    assert list(cells.index(rows)) == list(range(cells.size))
    drawn = space.from_unit(uniforms(1, np.arange(50), 0, len(space)))
    assert all(space.contains(space.decode(row)) for row in drawn)


def test_a_parent_of_many_values_is_not_listed() -> None:
    space = SearchSpace(
        {
            "n": Discrete(0, 2**50),
            "a": Ordinal([1, 2, 3], when={"n": at_least(2**49)}),
            "b": Discrete(1, 2, when={"n": between(10, 20)}),
        }
    )
    assert space.size == 2**50 + 1 + 2 * (2**49 + 1) + 11
    row = space.cells.point(space.size - 1)
    assert list(space.cells.index(row[None])) == [space.size - 1]


def test_a_grid_has_the_points_that_conditions_on_its_numbers_leave() -> None:
    space = SearchSpace(
        {
            "x": Continuous(-1.0, 1.0, n_points=5),
            "z": Normal(0.0, 1.0, n_points=3),
            "low": Discrete(1, 3, when={"x": at_most(-0.5)}),
            "mid": Categorical(["a", "b"], when={"z": between(-0.1, 0.1), "x": at_least(0.5)}),
            "deep": Continuous(0.0, 1.0, n_points=2, when={"mid": not_in(["a"])}),
        }
    )
    grid = Grid(space)
    assert grid.size == 3 * 2 * 3 + 3 * 1 + 2 * (1 + (1 + 2) + 1)
    rows = grid.points(np.arange(grid.size))
    points = [space.decode(row) for row in rows]
    assert all(map(space.contains, points)) and len({repr(one) for one in points}) == grid.size
    assert grid.index(rows) == list(range(grid.size))
    assert {round(point["z"], 4) for point in points} == {-0.9674, 0.0, 0.9674}
    assert space.size is None


def test_a_known_point_of_a_grid_below_zero_is_found_again() -> None:
    """Its number was taken for that of an inactive parameter."""
    space = SearchSpace({"x": Continuous(-2.0, 2.0, n_points=5), "c": Discrete(1, 2),
                         "y": Discrete(1, 2, when={"c": [1]})})  # fmt: skip
    study = fasthpo.Study(space, sampler=fasthpo.GridSampler())
    study.add_trials({"x": [-1.0], "c": [1], "y": [2]}, [0.0])
    asked = [tuple(study.ask().params.values()) for _ in range(14)]
    assert (-1.0, 1, 2) not in asked and len(set(asked)) == 14
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()
