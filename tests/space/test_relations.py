"""Forbidden combinations, relations and bounds that depend on others: what a space with them is."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import (
    AutoSampler,
    Categorical,
    CmaEsSampler,
    Continuous,
    Discrete,
    LogUniform,
    Normal,
    NSGAIISampler,
    Ordinal,
    SearchSpace,
    SearchSpaceBuilder,
    Study,
    TPESampler,
    at_least,
    at_most,
    not_in,
)
from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.kernels.streams import uniforms
from fasthpo.space.allowed import prior_rows


def make_space() -> SearchSpace:
    space = SearchSpace(
        {
            "low": Discrete(1, 6),
            "high": Discrete(2, 7),
            "optimizer": Categorical(["adam", "sgd"]),
            "amsgrad": Categorical([True, False], when={"optimizer": "adam"}),
            "decay": Continuous(0.0, 1.0, step=0.25),
            "depth": Discrete(1, "high", when={"optimizer": "sgd"}),
            "free": Categorical(["a", "b"]),
        }
    )
    space.require("low <= high").forbid({"amsgrad": True, "decay": [0.0, 1.0]})
    return space.require("depth * low != 4")


def all_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Every point that is allowed, by trying all combinations of values, present or not."""
    values = [[parameter.decode(x) for x in parameter.at(np.arange(parameter.count))] for parameter in space.parameters]
    options = [[*own, ...] if parameter.when else own for own, parameter in zip(values, space.parameters, strict=True)]
    points = (
        {name: value for name, value in zip(space.names, combination, strict=True) if value is not ...}
        for combination in itertools.product(*options)
    )
    return [
        point
        for point in points
        if (point["optimizer"] == "adam") == ("amsgrad" in point)
        and (point["optimizer"] == "sgd") == ("depth" in point)
        and point["low"] <= point["high"]
        and not (point.get("amsgrad", False) and point["decay"] in (0.0, 1.0))
        and point.get("depth", 0) <= point["high"]
        and point.get("depth", 0) * point["low"] != 4
    ]


def test_allowed_points_are_counted_and_numbered_as_by_trying_all() -> None:
    space = make_space()
    expected = all_points(space)
    cells = space.cells
    assert cells is not None and space.size == len(expected) == cells.size
    numbered = [space.decode(cells.point(index)) for index in range(cells.size)]
    assert sorted(map(repr, numbered)) == sorted(map(repr, expected))
    rows = np.array([space.encode(point) for point in numbered])
    assert list(cells.index(rows)) == list(range(cells.size))
    assert space.allows(rows).all()
    forbidden = rows[:1].copy()
    forbidden[0, :2] = 6, 2
    assert list(cells.index(forbidden)) == []


def test_a_space_of_fifty_parameters_is_counted_exactly() -> None:
    names = [f"p{i}" for i in range(50)]
    space = SearchSpace({name: Discrete(1, 10) for name in names}).require("p3 < p40").forbid({"p7": 1, "p8": (1, 2)})
    assert space.size == 10**46 * 45 * 98
    many = SearchSpace({name: Discrete(1, 10) for name in names}).require(" + ".join(names) + " < 240")
    assert many.size is None  # ten to the power of fifty sums are not tried
    study = Study(many)
    assert sum(study.ask().params.values()) < 240  # type: ignore[arg-type]


def test_relations_survive_files_copies_and_the_order_in_which_they_were_told() -> None:
    space = make_space()
    for same in (
        pickle.loads(pickle.dumps(space)),
        copy.deepcopy(space),
        SearchSpace.from_json(space.to_json()),
        SearchSpace(space),
        SearchSpace(dict(space)).require("depth * low != 4").forbid(
            {"decay": (1.0, 0.0), "amsgrad": [True]}
        ).require("low <= high"),
        eval(repr(space), {name: globals()[name] for name in ("SearchSpace", "Discrete", "Categorical", "Continuous")}),
    ):  # fmt: skip
        assert same == space and hash(same) == hash(space) and same.size == space.size
    assert space != SearchSpace(dict(space)) and space != SearchSpace(space).forbid({"free": "a"})
    assert SearchSpace(dict(space)).to_dict().keys() == set(space.names)  # as it ever was
    assert [str(relation) for relation in space.relations] == [
        "depth <= high",
        "low <= high",
        "forbid({'amsgrad': True, 'decay': (0.0, 1.0)})",
        "depth * low != 4",
    ]
    assert "low &lt;= high" in space._repr_html_()


def test_a_parameter_may_be_called_relations() -> None:
    space = SearchSpace({"relations": Discrete(1, 3), "parameters": Discrete(1, 3)})
    assert SearchSpace.from_dict(space.to_dict()) == space
    assert SearchSpace.from_dict(space.require("relations < parameters").to_dict()).size == 3
    with pytest.raises(InvalidSearchSpace, match=r"'parameters': \.\.\., 'relations'"):
        SearchSpace.from_dict({"x": Discrete(1, 3).to_dict(), "relations": []})
    for wrong in ({"require": 3}, {"forbid": "x"}, {"demand": "x < 1"}, "x < 1", None):
        with pytest.raises(InvalidSearchSpace):
            SearchSpace.from_dict({"parameters": {"x": Discrete(1, 3).to_dict()}, "relations": [wrong]})


def test_the_builder_takes_relations_before_the_parameters() -> None:
    builder = SearchSpaceBuilder().require("low <= high").forbid({"low": 1})
    assert builder.discrete("low", 1, "high").discrete("high", 1, 3).build().size == 3


@pytest.mark.parametrize(
    ("combination", "message"),
    [
        ({}, "a mapping of names to values"),
        (None, "a mapping of names to values"),
        ("low", "a mapping of names to values"),
        ({"q": 1}, "'q' is forbidden, but no parameter"),
        ({"low": 9}, "must lie between 1 and 6, got 9"),
        ({"optimizer": "adamw"}, "must be one of"),
        ({"optimizer": []}, "at least one value"),
        ({"lr": 0.01}, "infinitely many values, a range is forbidden"),
        ({"lr": (0.1, 0.01)}, "begins with its lower end"),
        ({"lr": (2, 3)}, "must lie between 0.0001 and 1.0"),
        ({"lr": ("a", "b")}, "has two numbers"),
        ({"lr": (0.1, 0.2, 0.3)}, "infinitely many values"),
    ],
)
def test_what_is_no_combination_is_refused(combination: Any, message: str) -> None:
    space = SearchSpace({**make_space(), "lr": LogUniform(1e-4, 1.0)})
    with pytest.raises(InvalidSearchSpace, match=message):
        space.forbid(combination)
    assert [str(one) for one in space.relations] == ["depth <= high"]


def test_a_range_is_forbidden_with_its_ends() -> None:
    space = SearchSpace({"lr": LogUniform(1e-4, 1.0), "n": Discrete(1, 2)}).forbid({"lr": (0.1, np.inf), "n": 2})
    points = [{"lr": lr, "n": n} for lr in (0.09, 0.1, 0.5, 1.0) for n in (1, 2)]
    assert [space.contains(point) for point in points] == [True, True, True, False, True, False, True, False]
    assert space == SearchSpace.from_json(space.to_json())


def test_relations_know_ordinals_normal_numbers_comparisons_and_tuples() -> None:
    space = SearchSpace(
        {
            "size": Ordinal([16, 32, 64]),
            "level": Ordinal(["low", "middle", "high"]),
            "shape": Categorical([(8, 8), (16, 4), "flat"]),
            "x": Normal(0.0, 1.0),
            "y": Continuous(0.0, 1.0, when={"x": at_least(0.0)}),
            "n": Discrete(1, 9),
        }
    )
    space.require("size * n <= 128").require("y <= x").forbid({"shape": (8, 8), "level": at_least("middle")})
    space.forbid({"shape": [(16, 4), "flat"], "x": at_most(-1.0)}).forbid({"n": not_in([1, 2]), "level": "high"})
    assert SearchSpace.from_json(space.to_json()) == space == pickle.loads(pickle.dumps(space))
    assert str(space.relations[2]) == "forbid({'level': at_least('middle'), 'shape': ((8, 8),)})"
    good = {"size": 16, "level": "low", "shape": (8, 8), "x": -2.0, "n": 8}
    assert space.contains(good)
    for change in (
        {"size": 64},
        {"x": 0.1, "y": 0.2},
        {"level": "middle"},
        {"shape": "flat"},
        {"shape": "flat", "x": -0.5, "level": "high"},
    ):
        assert not space.contains({**good, **change}), change
    rows = prior_rows(space, uniforms(5, np.arange(500), 0, 6), 5, np.arange(500))
    assert space.allows(rows).all()
    for sampler in (TPESampler(seed=0), AutoSampler(seed=0)):
        study = Study(SearchSpace(space), sampler=sampler)
        for _ in range(20):
            trial = study.ask()
            assert space.contains(trial.params)
            study.tell(trial, float(trial["x"]) ** 2)  # type: ignore[arg-type]


def test_a_space_with_no_point_or_hardly_any_is_refused_with_its_share() -> None:
    x = {"x": Continuous(0.0, 1.0), "n": Discrete(1, 300), "m": Discrete(1, 300)}
    for relations, message in (
        (["x == 0.5"], "of 270272 random ones 0 are allowed by require.'x == 0.5'., so less than 0.0011 %"),
        (["n < m", "m < n"], "no point of the search space is allowed by require.'n < m'., require.'m < n'."),
    ):
        space = SearchSpace(x)
        for relation in relations:
            space.require(relation)
        with pytest.raises(InvalidSearchSpace, match=message):
            Study(space)
    # two points of ninety thousand are found all the same, as they can be listed
    space = SearchSpace(x).require("n == 200 and m in (3, 4)")
    trial = Study(space).ask()
    assert trial["n"] == 200 and trial["m"] in (3, 4)
    assert Study(SearchSpace(x).require("n + m == 600")).ask()["n"] == 300


def test_relations_stay_as_they_are_once_a_study_has_taken_the_space_up() -> None:
    space = SearchSpace({"x": Continuous(0.0, 1.0)})
    Study(space)
    for tell in (lambda: space.require("x < 0.5"), lambda: space.forbid({"x": (0.0, 0.5)})):
        with pytest.raises(InvalidSearchSpace, match="before a study takes up the space"):
            tell()
    assert SearchSpace(space).require("x < 0.5").contains({"x": 0.4})


def test_the_prior_with_relations_is_the_prior_given_that_they_hold() -> None:
    space = SearchSpace(
        {
            "a": Discrete(1, 5),
            "b": Discrete(1, 5),
            "kind": Categorical(["u", "v"]),
            "c": Discrete(1, 4, when={"kind": "u"}),
            "d": Discrete(1, 3),
        }
    )
    space.require("a < b").require("c == d")
    n = 20_000
    rows = prior_rows(space, uniforms(7, np.arange(n), 0, 5), 7, np.arange(n))
    assert space.allows(rows).all()
    pairs, counts = np.unique(rows[:, :2], axis=0, return_counts=True)
    assert len(pairs) == 10 and np.abs(counts / n - 0.1).max() < 0.01
    # of the allowed points with kind u a quarter is left, and all of those with v
    assert abs((rows[:, 2] == 0).mean() - 0.2) < 0.015
    drawn = rows[rows[:, 2] == 1][:, 4]
    assert np.abs(np.bincount(drawn.astype(int), minlength=4)[1:] / len(drawn) - 1 / 3).max() < 0.015
    some = np.array([5, 77, 19_999])
    assert np.array_equal(prior_rows(space, uniforms(7, some, 0, 5), 7, some), rows[some], equal_nan=True)


def make_dependent() -> SearchSpace:
    return SearchSpace(
        {
            "layers": Discrete(1, "most"),
            "most": Discrete(1, 20),
            "least_lr": LogUniform(1e-6, "lr / 2"),
            "lr": LogUniform(1e-4, 1e-1),
            "kind": Categorical(["a", "b"]),
            "m": Continuous(0.0, 0.5, when={"kind": "b"}),
            "rest": Continuous("m", "m + 0.5"),
            "stepped": Continuous(0.0, "most / 2", step=0.5),
            "units": Discrete(8, "8 * most", 8, log=True),
        }
    )


def test_a_bound_that_depends_on_others_spreads_the_prior_over_the_trials_own_range() -> None:
    space = make_dependent()
    bounds = [(space[name].low, space[name].high) for name in ("layers", "least_lr", "rest", "stepped", "units")]  # type: ignore[attr-defined]
    assert bounds == [(1, 20), (1e-6, 0.05), (0.0, 1.0), (0.0, 10.0), (8, 160)]
    n = 20_000
    rows = space.from_unit(uniforms(3, np.arange(n), 0, len(space)))
    assert space.allows(rows).all()
    column = {name: rows[:, j] for j, name in enumerate(space.names)}
    five = column["layers"][column["most"] == 5]
    assert np.abs(np.bincount(five.astype(int), minlength=6)[1:] / len(five) - 0.2).max() < 0.06
    share = np.log(column["least_lr"] / 1e-6) / np.log(column["lr"] / 2 / 1e-6)
    assert np.abs(np.quantile(share, [0.01, 0.25, 0.5, 0.75, 0.99]) - [0.01, 0.25, 0.5, 0.75, 0.99]).max() < 0.02
    # while m is inactive the outer bounds hold
    without = column["rest"][np.isnan(column["m"])]
    assert without.max() > 0.99 and without.min() < 0.01
    assert set(np.unique(column["stepped"][column["most"] == 3])) == {0.0, 0.5, 1.0, 1.5}
    assert set(np.unique(column["units"][column["most"] == 2])) == {8.0, 16.0}


def test_a_chain_of_bounds_needs_no_second_draw_and_is_counted() -> None:
    space = SearchSpace({f"w{i}": Discrete(1, f"w{i - 1}" if i else 8) for i in range(5)})
    assert space.size == 792  # 12 over 5: falling sequences
    assert Study(SearchSpace({f"w{i}": Discrete(1, f"w{i - 1}" if i else 999) for i in range(40)})).ask()["w39"] >= 1


def test_beyond_its_bound_a_suggestion_is_put_on_it() -> None:
    space = make_dependent()
    rows = prior_rows(space, uniforms(4, np.arange(200), 0, len(space)), 4, np.arange(200))
    beyond = rows.copy()
    beyond[:, space.position["layers"]] = 20
    beyond[:, space.position["stepped"]] = 10.0
    beyond[:, space.position["least_lr"]] = 0.05
    inside = space.put_inside(beyond)
    assert space.allows(inside).all() and not space.allows(beyond).all()
    assert np.array_equal(inside[:, space.position["layers"]], rows[:, space.position["most"]])
    assert np.array_equal(space.put_inside(rows), rows, equal_nan=True)


def test_what_becomes_active_or_not_as_a_value_is_put_on_its_bound_has_a_value_or_none() -> None:
    space = SearchSpace(
        {
            "layers": Discrete(1, "most"),
            "most": Discrete(1, 9),
            "deep": Continuous(0.0, 1.0, when={"layers": at_least(4)}),
            "flat": Continuous(0.0, "most", when={"layers": at_most(3)}),
        }
    )
    inside = space.put_inside(np.array([[9.0, 2.0, 0.7, np.nan], [9.0, 8.0, 0.7, np.nan]]))
    assert [space.decode(row) for row in inside] == [
        {"layers": 2, "most": 2, "flat": 1.0},
        {"layers": 8, "most": 8, "deep": 0.7},
    ]
    for sampler in (TPESampler(seed=0), CmaEsSampler(seed=0), NSGAIISampler(population_size=8, seed=0)):
        study = Study(SearchSpace(space), sampler=sampler)
        for _ in range(30):
            trial = study.ask()
            assert space.contains(trial.params)
            study.tell(trial, trial["layers"] - trial.params.get("deep", 0.0))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": Discrete(1, "b"), "b": Discrete(1, "a")}, "bounds must not form a cycle, got one among 'a' .'b'., 'b'"),
        ({"a": Discrete(1, "a")}, "must not form a cycle"),
        (
            {"a": Discrete(5, "b"), "b": Discrete(1, 9)},
            "nothing lies between the bounds of 'a', 5 and 1, where .'b': 1",
        ),
        ({"a": Continuous("b", "b - 1"), "b": Continuous(0, 1)}, "nothing lies between the bounds of 'a'"),
        ({"a": Discrete("2 * b + 1", 9, 2), "b": Discrete(1, 5)}, "nothing lies between the bounds of 'a', 11 and 9"),
        ({"a": Discrete(1, "c"), "b": Discrete(1, 9)}, "(?s)high of 'a': 'c' is no parameter.*\\^"),
        ({"a": Discrete(1, "b +"), "b": Discrete(1, 9)}, "(?s)high of 'a': .*can't be read"),
        ({"a": Discrete(1, "b < 3"), "b": Discrete(1, 9)}, "a bound must be a number, got true or false"),
        ({"a": Continuous(0, "b"), "b": Categorical(["x", "y"])}, "a bound must be a number, got a choice"),
        ({"a": LogUniform("b", 1), "b": Continuous(0, 1)}, "'a', between the outermost of its bounds: low must be pos"),
        (
            {"a": Discrete(1, "b", when={"c": 1}), "c": Discrete(1, "a"), "b": Discrete(1, 3)},
            "conditions and bounds must not form a cycle",
        ),
    ],
)
def test_bounds_that_can_not_be_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        SearchSpace(parameters)


def test_outside_of_a_space_such_a_parameter_has_no_bounds() -> None:
    one = Discrete(1, "most")
    assert repr(one) == "Discrete(low=1, high='most', step=1, log=False)" and one == make_dependent()["layers"]
    with pytest.raises(InvalidSearchSpace, match="only a search space knows the bounds"):
        _ = one.count
    with pytest.raises(InvalidParameters, match="only a search space knows"):
        one.encode(3)
    for make in (lambda: Continuous("", 1), lambda: Continuous("0", 1), lambda: Discrete(None, "x")):  # type: ignore[arg-type]
        with pytest.raises(InvalidSearchSpace, match="must be a"):
            make()


def test_a_point_that_breaks_a_relation_is_no_point_of_the_space() -> None:
    space = make_space()
    good = {"low": 1, "high": 2, "optimizer": "sgd", "decay": 0.0, "depth": 2, "free": "a"}
    assert space.contains(good)
    for change, relation in (({"low": 3}, "low <= high"), ({"depth": 3}, "depth <= high"), ({"low": 2}, "!= 4")):
        with pytest.raises(InvalidParameters, match=f"(?s)must keep to .*{relation}"):
            space.validate({**good, **change})


def test_a_bound_is_told_where_the_other_ones_parameter_is_inactive() -> None:
    space = SearchSpace(
        {
            "kind": Categorical(["x", "y"]),
            "least": Discrete(1, 3, when={"kind": "x"}),
            "most": Discrete(3, 9),
            "depth": Discrete("least", "most"),
        }
    )
    with pytest.raises(InvalidParameters, match=r"must keep to least <= depth <= most, got \{'most': 4, 'depth': 6\}"):
        space.validate({"kind": "y", "most": 4, "depth": 6})
    with pytest.raises(InvalidParameters, match="must keep to least <= depth <= most"):
        Study(space, sampler=fasthpo.RandomSampler(seed=0)).enqueue({"most": 4, "depth": 6})
    assert space.contains({"kind": "y", "most": 4, "depth": 4})


def test_equal_sets_are_forbidden_alike_and_read_alike() -> None:
    one, same = frozenset([8, 0, 16]), frozenset([16, 8, 0])
    assert one == same and repr(one) != repr(same)  # as between processes, of sets of strings
    spaces = [
        SearchSpace(
            {
                "layers": Categorical([choice, ("a", choice)]),
                "depth": Discrete(1, 4, when={"layers": [choice]}),
                "width": Discrete(1, 4, when={"layers": not_in([choice])}),
            }
        ).forbid({"layers": [choice], "depth": 3})
        for choice in (one, same)
    ]
    assert spaces[0] == spaces[1] and repr(spaces[0]) == repr(spaces[1])
    assert spaces[0]._repr_html_() == spaces[1]._repr_html_()
