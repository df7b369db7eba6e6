"""Relations as text: what they mean, against Python itself point by point, and what is refused."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from fasthpo import Categorical, Continuous, Discrete, LogUniform, Ordinal, SearchSpace
from fasthpo.errors import InvalidSearchSpace
from fasthpo.kernels.streams import uniforms


def make_space() -> SearchSpace:
    return SearchSpace(
        {
            "a": Discrete(1, 9),
            "b": Discrete(-4, 4),
            "x": Continuous(0.0, 1.0),
            "y": Continuous(-1.0, 1.0),
            "lr": LogUniform(1e-5, 1.0),
            "optimizer": Categorical(["adam", "sgd"]),
            "size": Ordinal(["small", "large"]),
            "flag": Categorical([True, False]),
            "other": Categorical([None, 1, "z", 2.5]),
            "width": Categorical([16, 32, 64]),
            "momentum": Continuous(0.0, 1.0, when={"optimizer": "sgd"}),
            "model.depth": Discrete(1, 5),
            "my name": Continuous(0.0, 1.0),
        }
    )


NUMBERS = ["a", "b", "x", "y", "lr", "width", "model.depth", "params['my name']", "2", "0.5", "-3"]


def written(draw: random.Random, depth: int) -> str:
    """A random expression that is true or false."""
    if depth == 0 or draw.random() < 0.3:
        return draw.choice(
            [
                f"{number(draw, 2)} {draw.choice(['<', '<=', '>', '>=', '==', '!='])} {number(draw, 2)}",
                f"{number(draw, 1)} < {number(draw, 1)} <= {number(draw, 1)}",
                "optimizer == 'sgd'",
                "'adam' != optimizer",
                "other is None",
                "other is not None",
                "other in (1, 'z')",
                "other not in (None, 2.5)",
                "flag",
                "flag == False",
                "a in (1, 3, 5)",
            ]
        )
    inner = [written(draw, depth - 1) for _ in range(3)]
    return draw.choice(
        [f"({inner[0]} and {inner[1]})", f"({inner[0]} or {inner[1]} or {inner[2]})", f"not ({inner[0]})"]
    )


def number(draw: random.Random, depth: int) -> str:
    if depth == 0 or draw.random() < 0.4:
        return draw.choice(NUMBERS)
    left, right = number(draw, depth - 1), number(draw, depth - 1)
    return draw.choice(
        [
            f"({left} {draw.choice('+-*')} {right})",
            f"({left} / a)",
            f"({left} // width)",
            f"({left} % 3)",
            f"-({left})",
            f"({left} ** 2)",
            "(a ** x)",
            "(2 ** b)",
        ]
    )


class Model:
    """What the name model.depth means to Python."""

    def __init__(self, depth: Any) -> None:
        self.depth = depth


def python_says(text: str, point: dict[str, Any]) -> bool:
    names = {name: value for name, value in point.items() if name.isidentifier()}
    scope = {**names, "params": point, "model": Model(point.get("model.depth")), "__builtins__": {}}
    return bool(eval(text, scope))


def test_expressions_mean_what_they_mean_in_python() -> None:
    space = make_space()
    rows = space.from_unit(uniforms(1, np.arange(40), 0, len(space)))
    points = [space.decode(row) for row in rows]
    draw = random.Random(3)
    read = 0
    for _ in range(160):
        text = written(draw, 2)
        try:
            (relation,) = SearchSpace(space).require(text).relations
        except InvalidSearchSpace as error:
            refused = "can never hold", "must name a parameter"
            assert any(reason in str(error) for reason in refused), (text, error)
            continue
        read += 1
        assert relation.hold(rows).tolist() == [python_says(text, point) for point in points], text
    assert read > 120


def test_a_relation_holds_where_one_of_its_parameters_is_inactive() -> None:
    space = make_space().require("momentum < 0.5 and a > 8")
    rows = space.from_unit(uniforms(1, np.arange(300), 0, len(space)))
    momentum, a = rows[:, space.position["momentum"]], rows[:, space.position["a"]]
    assert np.array_equal(space.allows(rows), np.isnan(momentum) | ((momentum < 0.5) & (a > 8)))


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("a <= bb", "'bb' is no parameter of the space, which has ['a', 'b'", "bb"),
        ("a <=", "can't be read, invalid syntax", ""),
        ("a < b c", "can't be read, invalid syntax", "c"),
        ("a / y < 2", "must not divide by zero, which lies between the bounds of what it divides by, -1 and 1", "y"),
        ("a // (b - 1) < 2", "must not divide by zero", "b - 1"),
        ("a % 0 == 1", "must not divide by zero", "0"),
        ("optimizer < 'sgd'", "'<' needs numbers, got a choice that is no number", "optimizer"),
        ("size >= 'large'", "of an Ordinal, forbid takes a part, such as fasthpo.at_least(choice)", "size"),
        ("a + optimizer < 3", "'+' needs numbers, got a choice that is no number", "optimizer"),
        ("flag + 1 < 3", "'+' needs numbers, got true or false", "flag"),
        ("flag == 1", "true or false can't be equal to a number", "1"),
        ("a == 'x'", "a number can't be equal to a choice that is no number", "'x'"),
        ("optimizer == 'sdg'", "never equal to that, but one of 'adam', 'sgd'", "'sdg'"),
        ("1 < 2", "must name a parameter", "1 < 2"),
        ("a > 100", "can never hold within the bounds", "a > 100"),
        ("not a < 100", "can never hold within the bounds", "not a < 100"),
        ("a", "must be true or false, such as 'low <= high', got a number", "a"),
        ("a and flag", "'and', 'or' and 'not' need what is true or false, got a number", "a"),
        ("__import__('os')", "a function is not allowed", "__import__('os')"),
        ("a.__class__ == 1", "'a.__class__' is no parameter", "a.__class__"),
        ("params[a] < 1", "Subscript is not allowed", "params[a]"),
        ("(lambda: a)() < 1", "a function is not allowed", "(lambda: a)()"),
        ("[i for i in (1, 2)]", "ListComp is not allowed", "[i for i in (1, 2)]"),
        (
            "a if flag else b",
            "if ... else is not allowed in a relation; write it with and, or and not",
            "a if flag else b",
        ),
        ("abs(a - b) < 2", "a function is not allowed in a relation; write abs(a) < b as -b < a < b", "abs(a - b)"),
        ("optimizer == (1, 2)", "a tuple is not allowed in a relation; a choice that is one can be named in", "(1, 2)"),
        ("a in b", "'in' needs a list of values", "b"),
        ("other is 1", "'is' compares with None only", "other is 1"),
        ("a << 2 < 9", "LShift is not allowed", "a << 2"),
        ("~a < 9", "~ is not allowed", "~a"),
        ("y ** 0.5 < 1", "needs a positive base", "y ** 0.5"),
        ("10 ** 10 ** 10 > a", "may be too large", "10 ** 10 ** 10"),
        ("1e999 > a", "must be finite", "1e999"),
        ("'é' == a", "can't be equal", "a"),
    ],
)
def test_what_is_no_relation_is_refused_and_the_place_shown(text: str, message: str, place: str) -> None:
    with pytest.raises(InvalidSearchSpace) as caught:
        make_space().require(text)
    said, shown, marks = str(caught.value).rsplit("\n", 2)
    assert message in said
    assert shown == f"    {text}"
    start = marks.index("^") - 4
    assert text[start : start + marks.count("^")] == place or (place == "" and start == len(text))


@pytest.mark.parametrize(
    "text", [None, 3, "", "  ", b"a < b", "a<" * 6000, "(" * 400 + "a" + ")" * 400, "a" + "+a" * 3000]
)
def test_what_is_no_text_of_a_relation_is_refused(text: Any) -> None:
    with pytest.raises(InvalidSearchSpace, match="relation"):
        make_space().require(text)


def test_bounds_of_expressions_hold_all_their_values() -> None:
    space = make_space()
    rows = space.from_unit(uniforms(2, np.arange(200), 0, len(space)))
    draw = random.Random(5)
    for _ in range(200):
        text = number(draw, 3)
        try:
            # a comparison that the bounds decide is refused, or true everywhere
            (relation,) = SearchSpace(space).require(f"{text} < 0.75").relations
        except InvalidSearchSpace as error:
            if "can never hold" in str(error):
                (opposite,) = SearchSpace(space).require(f"{text} >= 0.75").relations
                assert opposite.hold(rows).all(), text
            continue
        if relation._expression.certain:  # type: ignore[attr-defined]
            assert relation.hold(rows).all(), text


def test_choices_are_equal_as_those_of_one_parameter_are_whatever_object_they_are() -> None:
    choices = {"a": [math.nan, (1,), "x"], "b": [float("nan"), (1.0,), "y"], "c": [(True,), "z"]}
    space = SearchSpace({name: Categorical(listed) for name, listed in choices.items()}).require("a == b")
    assert space.contains({"a": math.nan, "b": math.nan, "c": "z"}) and space.contains({"a": (1,), "b": (1,), "c": "z"})
    assert space.size == 4 and SearchSpace.from_json(space.to_json()) == space
    with pytest.raises(InvalidSearchSpace, match="this can never hold"):
        space.require("a == c")
