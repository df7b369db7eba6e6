"""Parameters and search spaces: what they refuse, what they hold, and that they survive a round trip."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, InvalidParameters, InvalidSearchSpace, LogUniform, SearchSpace
from tests.support.spaces import finite_spaces

REFUSED_PARAMETERS = [
    (lambda: Continuous(1.0, 0.1), "low must be less than high, got low=1.0, high=0.1"),
    (lambda: Discrete(5, 4), "low must be less than high, got low=5, high=4"),
    (lambda: LogUniform(0.0, 1.0), "low must be positive on a log scale, got low=0.0"),
    (lambda: LogUniform(-1.0, 1.0), "low=-1.0"),
    (lambda: Discrete(0, 8, log=True), "low must be positive on a log scale, got low=0"),
    (lambda: Discrete(1, 9, 4, log=True), "more than half a step on a log scale, got low=1, step=4"),
    (lambda: Discrete(8, 127, 8), "step must divide high - low, got low=8, high=127, step=8; high=120 would fit"),
    (lambda: Discrete(1, 4, 0), "step must be at least 1, got step=0"),
    (lambda: Continuous(0, 1, step=0.3), "step must divide high - low.*high=0.9 would fit"),
    (lambda: Continuous(0, 1, step=0.0), "step must be positive, got step=0.0"),
    (lambda: Continuous(0, 1, step=-0.1), "step must be positive, got step=-0.1"),
    (lambda: Continuous(0, 1, step=0.1, n_points=3), "step or n_points, not both"),
    (lambda: Continuous(0, 1, n_points=0), "n_points must be at least 1, got n_points=0"),
    (lambda: Continuous(math.nan, 1), "low must be finite, got low=nan"),
    (lambda: Continuous(0, math.inf), "high must be finite, got high=inf"),
    (lambda: Continuous(-1.7e308, 1.7e308), "high - low must be finite"),
    (lambda: Continuous("0", 1), "low must be a number, got low='0'"),
    (lambda: Continuous(False, 1), "low must be a number, got low=False"),
    (lambda: Discrete(0.5, 2), "low must be an integer, got low=0.5"),
    (lambda: Discrete(0, 2**53 + 1), r"within -2\*\*53 and 2\*\*53"),
    (lambda: Discrete(1, 2, log=1), "log must be True or False, got log=1"),
    (lambda: Categorical([]), "at least one value, got none"),
    (lambda: Categorical("adam"), "a list of values, got choices='adam'"),
    (lambda: Categorical(["a", "b", "a"]), "differ from each other, got 'a' twice"),
    (
        lambda: Categorical([["a"]]),
        r"str, bool, int, float or None, or a tuple.*got \['a'\] of type list; make it a tuple",
    ),
    (lambda: Categorical([math.nan, np.float64("nan")]), "differ from each other, got nan twice"),
    (lambda: Continuous(0, 1, when=["a"]), "when must map"),
    (lambda: Continuous(0, 1, when={"a": []}), "at least one value of 'a', got none"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED_PARAMETERS)
def test_impossible_parameters_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        make()


AB = {"a": Categorical(["x", "y"]), "b": Discrete(1, 3)}
REFUSED_SPACES = [
    (lambda: SearchSpace({}), "at least one parameter"),
    (lambda: SearchSpace({"": Continuous(0, 1)}), "not empty, got ''"),
    (lambda: SearchSpace({" ": Continuous(0, 1)}), "not empty, got ' '"),
    (lambda: SearchSpace({1: Continuous(0, 1)}), "must be a string.*got 1"),
    (lambda: SearchSpace({"a": 3}), "'a' must be a parameter such as Continuous, Discrete or Categorical, got 3"),
    (lambda: SearchSpace([("a", 3)]), "a mapping of name to parameter"),
    (lambda: SearchSpace({**AB, "c": Continuous(0, 1, when={"z": [1]})}), "'c' depends on 'z', which is not in"),
    (lambda: SearchSpace({**AB, "c": Continuous(0, 1, when={"a": ["z"]})}), r"'a'='z', but 'a' must be one of \['x', 'y'\]"),
    (lambda: SearchSpace({**AB, "c": Continuous(0, 1, when={"b": [4]})}), "'b'=4, but 'b' must lie between 1 and 3"),
    (lambda: SearchSpace({**AB, "c": Continuous(0, 1, when={"b": [1, 1]})}), "lists 'b'=1 twice"),
    (lambda: SearchSpace({"u": Continuous(0, 1), "c": Continuous(0, 1, when={"u": [0.5]})}), "whose values are a continuum"),
    (lambda: SearchSpace({"c": Discrete(0, 1, when={"c": [1]})}), "cycle"),
    (lambda: SearchSpace({"p": Discrete(0, 1, when={"q": [1]}), "q": Discrete(0, 1, when={"p": [1]})}), "cycle, got one among 'p', 'q'"),
    (lambda: SearchSpace({**AB, "c": Discrete(0, 1, when={"a": ["x"]}), "d": Discrete(0, 1, when={"a": ["y"], "c": [1]})}), "'d' can never be active.*'a'"),
    (lambda: fasthpo.SearchSpaceBuilder().discrete("a", 0, 1).continuous("a", 0, 1), "unique, got 'a' twice"),
    (lambda: fasthpo.SearchSpaceBuilder().build(), "at least one parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED_SPACES)
def test_impossible_spaces_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message) as caught:
        make()
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, fasthpo.FastHPOError)


SPACE = SearchSpace(
    {
        "momentum": Continuous(0.0, 0.99, when={"optimizer": ["sgd"]}),  # before its parent
        "optimizer": Categorical(["adam", "sgd", None, 1, 1.5, True]),
        "nesterov": Categorical([True, False], when={"optimizer": "sgd", "layers": [2, 3]}),
        "layers": Discrete(1, 4),
        "damping": LogUniform(1e-3, 1.0, n_points=4, when={"nesterov": [True]}),
        "rate": Continuous(0.0, 1.0, step=0.1),
    }
)
POINT = {"optimizer": "sgd", "layers": 2, "momentum": 0.5, "nesterov": True, "damping": 0.1, "rate": 0.3}


def test_points_of_a_conditional_space() -> None:
    assert SPACE.contains(POINT)
    assert SPACE.contains({"optimizer": "adam", "layers": 2, "rate": 0.30000000000000004})
    assert SPACE.decode(SPACE.encode(POINT)) == POINT
    assert SPACE.decode(SPACE.encode({**POINT, "layers": np.int64(2), "rate": np.float32(0.5)}))["rate"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.35}, "'rate' must be low"),
        ({"rate": 1.1}, "'rate' must lie between 0.0 and 1.0, got 1.1"),
        ({"rate": math.nan}, "'rate' must be a finite number, got nan"),
        ({"rate": True}, "'rate' must be a finite number, got True"),
        ({"layers": 2.5}, "'layers' must be low"),
        ({"layers": "2"}, "'layers' must be a finite number, got '2'"),
        ({"optimizer": "lamb"}, "'optimizer' must be one of"),
        ({"optimizer": []}, "'optimizer' must be one of"),
        ({"optimizer": "adam"}, "'momentum' is inactive here"),
        ({"nesterov": False}, "'damping' is inactive here"),
        ({"depth": 3}, "no parameter 'depth'; it has"),
    ],
)
def test_points_outside_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        SPACE.validate({**POINT, **change})
    assert not SPACE.contains({**POINT, **change})


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(InvalidParameters, match="'rate' is missing"):
        SPACE.validate({k: v for k, v in POINT.items() if k != "rate"})


def test_choices_keep_their_types() -> None:
    space = SearchSpace({"c": Categorical([1, True, 1.5, "1", None])})
    for choice in (1, True, 1.5, "1", None):
        back = space.decode(space.encode({"c": choice}))["c"]
        assert back == choice and type(back) is type(choice)
    assert space.contains({"c": 1.0}) and not space.contains({"c": False})


def test_equality_tells_types_and_order_apart() -> None:
    assert SearchSpace({"c": Categorical([1])}) != SearchSpace({"c": Categorical([True])})
    assert SearchSpace({"c": Categorical([1])}) != SearchSpace({"c": Categorical([1.0])})
    assert SearchSpace(AB) == SearchSpace(dict(AB)) and hash(SearchSpace(AB)) == hash(SearchSpace(dict(AB)))
    assert SearchSpace(AB) != SearchSpace(dict(reversed(AB.items())))
    assert Continuous(0, 1) != LogUniform(0.5, 1) and Continuous(0, 1) != Continuous(0, 1, when={"a": ["x"]})


def test_it_is_an_ordered_immutable_mapping() -> None:
    assert list(SPACE)[:2] == ["momentum", "optimizer"] and len(SPACE) == 6
    assert SPACE["layers"].high == 4
    with pytest.raises(AttributeError, match="immutable"):
        SPACE["layers"].high = 5
    with pytest.raises(TypeError):
        SPACE["layers"] = Discrete(1, 2)  # type: ignore[index]


def test_builder_builds_the_same_space() -> None:
    built = (
        fasthpo.SearchSpaceBuilder()
        .log_uniform("lr", 1e-5, 1e-1)
        .discrete("batch", 8, 128, 8)
        .categorical("optimizer", ["adam", "adamw"])
        .continuous("decay", 0.0, 0.1, when={"optimizer": ["adamw"]})
        .build()
    )
    assert built == SearchSpace(
        {
            "lr": LogUniform(1e-5, 1e-1),
            "batch": Discrete(8, 128, 8),
            "optimizer": Categorical(["adam", "adamw"]),
            "decay": Continuous(0.0, 0.1, when={"optimizer": ["adamw"]}),
        }
    )


@pytest.mark.parametrize("space", [SPACE, SearchSpace(AB)])
def test_round_trips(space: SearchSpace) -> None:
    assert SearchSpace.from_json(space.to_json()) == space
    assert pickle.loads(pickle.dumps(space)) == space
    assert copy.deepcopy(space) == space


@settings(max_examples=100, deadline=None)
@given(finite_spaces())
def test_json_round_trip_of_any_space(space: SearchSpace) -> None:
    assert SearchSpace.from_json(space.to_json()) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        (3, "not JSON: .* not int"),
        ("[]", "a mapping"),
        ('{"a": {"type": "evil"}}', "type must be one of"),
        ('{"a": {"type": "discrete", "low": 1}}', "incomplete definition of Discrete"),
        ('{"a": {"type": "discrete", "low": 1, "high": 2, "code": "x"}}', "no field"),
        ('{"a": {"type": "continuous", "low": 2, "high": 1}}', "low must be less than high"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        SearchSpace.from_json(text)


NUMERIC = [
    Continuous(-1.0, 1.0),
    Continuous(0.0, 1.0, step=0.1),
    Continuous(1e-300, 1e300),
    Continuous(3.0, 3.0),
    LogUniform(0.1, 0.3),
    LogUniform(1e-300, 1e300),
    LogUniform(5e-324, 1e-320),
    Discrete(-3, 3),
    Discrete(1, 1000, log=True),
    Discrete(8, 128, 8),
    Discrete(-(2**53), 2**53),
]


@pytest.mark.parametrize("parameter", NUMERIC, ids=repr)
def test_every_quantile_lies_inside_the_bounds(parameter: Any) -> None:
    ends = [0.0, np.nextafter(0, 1), 0.5, 1 - 2**-53]
    unit = np.array([*ends, *np.random.default_rng(0).random(1000)])
    values = parameter.from_unit(unit)
    assert values.min() >= parameter.low and values.max() <= parameter.high
    for value in values[:50]:
        decoded = parameter.decode(float(value))
        assert parameter.contains(decoded) and parameter.encode(decoded) == value
    order = np.argsort(unit)
    assert (np.diff(values[order]) >= 0).all()


def test_stepped_floats_are_the_decimals_that_were_meant() -> None:
    parameter = Continuous(0.1, 1.0, step=0.1)
    values = parameter.at(np.arange(10)).tolist()
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert parameter.cell(np.array(values)).tolist() == list(range(10))


def test_equal_bounds_make_a_constant() -> None:
    for parameter, value in ((Continuous(2, 2), 2.0), (Discrete(2, 2), 2), (LogUniform(2, 2), 2.0)):
        assert parameter.count == 1
        space = SearchSpace({"p": parameter})
        assert fasthpo.Study(space).ask().params == {"p": value} and space.size == 1


@given(st.integers(1, 50), st.integers(1, 6), st.booleans())
def test_cells_and_values_are_inverse(count: int, step: int, log: bool) -> None:
    parameter = Discrete(step, step * count, step, log=log)
    cells = np.arange(count)
    assert parameter.cell(parameter.at(cells)).tolist() == cells.tolist()
