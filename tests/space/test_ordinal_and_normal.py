"""Choices with an order, numbers with a distribution, and choices of any plain data."""

from __future__ import annotations

import copy
import enum
import json
import math
import pickle
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm, truncnorm

import fasthpo
from fasthpo import Categorical, Continuous, InvalidParameters, InvalidSearchSpace, LogNormal, Normal, Ordinal
from fasthpo.kernels.streams import uniforms
from fasthpo.space.definitions import parameter_from_dict
from fasthpo.space.encoding import decode_column, encode_columns

NAN = math.nan
ODD_CHOICES = [(64, 64), (64.5, (1, "a")), (), None, NAN, math.inf, frozenset({1, 2}), True, 1, 1.0, "1", "nan"]
Sizes = namedtuple("Sizes", ["first", "second"])


class Kind(enum.Enum):
    A = "a"


REFUSED = [
    (lambda: Ordinal([]), "at least one value, got none"),
    (lambda: Ordinal([16, 32, 16]), "differ from each other, got 16 twice"),
    (lambda: Ordinal({16, 32}), "choices must be a list of values"),
    (lambda: Ordinal([[16], [32]]), r"got \[16\] of type list; make it a tuple"),
    (lambda: Categorical([{1}]), "of type set; make it a frozenset"),
    (lambda: Categorical([{"a": 1}]), "of type dict; make it a tuple of pairs"),
    (lambda: Categorical([(1, [2])]), r"got \[2\] of type list; make it a tuple"),
    (lambda: Categorical([Kind.A]), "of type Kind; use a string"),
    (lambda: Categorical([int]), "of type type; use a string"),
    (lambda: Categorical([1 + 2j]), "of type complex; use a string"),
    (lambda: Categorical([np.array([1, 2])]), "of type ndarray; use a string"),
    (lambda: Categorical([(1, 2), (np.int64(1), 2)]), r"differ from each other, got \(1, 2\) twice"),
    (lambda: Categorical([NAN, np.float32("nan")]), "differ from each other, got nan twice"),
    (lambda: Normal(0.0, 0.0), "sd must be positive, got sd=0.0"),
    (lambda: Normal(0.0, -1.0), "sd must be positive, got sd=-1.0"),
    (lambda: Normal(NAN, 1.0), "mean must be finite, got mean=nan"),
    (lambda: Normal("0", 1.0), "mean must be a number, got mean='0'"),
    (lambda: Normal(0.0, math.inf), "sd must be finite, got sd=inf"),
    (lambda: Normal(0.0, 1.0, 1.0, -1.0), "low must be less than high, got low=1.0, high=-1.0"),
    (lambda: Normal(0.0, 1.0, 0.0, 0.0), "low must be less than high, got low=0.0, high=0.0"),
    (lambda: Normal(2.0, 1.0, high=1.0), "mean must lie between low and high, got mean=2.0, sd=1.0, high=1.0"),
    (lambda: Normal(0.0, 1.0, low=-math.inf), "low must be finite"),
    (lambda: Normal(0.0, 1e308), "values within 5 sd of the mean must fit into floats"),
    (lambda: Normal(1e17, 1e-3), "sd must be larger, or all values would be the same float"),
    (lambda: Normal(0.0, 1.0, n_points=0), "n_points must be at least 1"),
    (lambda: LogNormal(0.0, 1.0, low=0.0), "low must be positive on a log scale, got low=0.0"),
    (lambda: LogNormal(0.0, 1.0, low=2.0), r"exp\(mean\) must lie between low and high, got mean=0.0, sd=1.0, low=2.0"),
    (lambda: LogNormal(700.0, 10.0), "must fit into floats.*give low and high, or a smaller sd"),
    (lambda: LogNormal(0.0, 200.0), "must fit into floats"),
    (lambda: LogNormal(0.0, 200.0, high=10.0), "must fit into floats"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_impossible_parameters_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        make()


PARAMETERS = [
    Ordinal([16, 32, 64, 256]),
    Ordinal(["small", (1, 2), None]),
    Ordinal(["only"]),
    Categorical(ODD_CHOICES),
    Normal(0.5, 0.1),
    Normal(0.5, 0.1, low=0.0, n_points=4),
    Normal(0, 1, -1, 3),
    LogNormal(-7.0, 2.3),
    LogNormal(-7.0, 2.3, high=1.0, n_points=3),
    Continuous(0, 1, when={"a": fasthpo.at_least(3), "b": fasthpo.not_in([(1, NAN)]), "c": fasthpo.between(1, 2)}),
    Continuous(0, 1, when={"a": fasthpo.at_most("m"), "b": [(1, 2), frozenset({3})]}),
]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: type(parameter).__name__)
def test_a_parameter_is_the_same_after_json_pickle_and_copy(parameter: fasthpo.Parameter) -> None:
    text = json.dumps(parameter.to_dict(), allow_nan=False)
    for again in (parameter_from_dict(json.loads(text)), pickle.loads(pickle.dumps(parameter)), copy.copy(parameter)):
        assert again == parameter and hash(again) == hash(parameter) and repr(again) == repr(parameter)
        assert again.bounds == parameter.bounds and again.reach == parameter.reach
    assert parameter != Ordinal([16, 32, 64, 255]) and parameter != Normal(0.5, 0.2)


def test_what_is_written_differently_is_another_parameter() -> None:
    assert Ordinal([1, 2]) != Categorical([1, 2]) and Ordinal([1, 2]) != Ordinal([2, 1])
    assert Categorical([(1, 2)]) != Categorical([(1, 2.0)]) and Categorical([(1,)]) != Categorical([(True,)])
    assert Categorical([frozenset("abc")]) == Categorical([frozenset("cba")])
    conditions = (fasthpo.not_in([frozenset(text)]) for text in ("abcdefgh", "hgfedcba"))
    assert len({Ordinal([1], when={"a": condition}) for condition in conditions}) == 1
    assert Normal(0, 1) == Normal(0.0, 1.0) and Normal(0, 1) != Normal(0, 1, high=9.0)


def test_each_choice_is_found_again_whatever_it_is() -> None:
    parameter = Categorical(ODD_CHOICES)
    for index, choice in enumerate(ODD_CHOICES):
        assert parameter.encode(choice) == index and repr(parameter.decode(index)) == repr(choice)
    assert parameter.encode(np.int64(1)) == 8 and parameter.encode(np.float32("nan")) == 4
    assert parameter.encode((np.int8(64), 64.0)) == 0 and parameter.encode([64, 64]) == 0  # a list as of a file
    for other in ((True, 64), (64,), (64, 64, 64), frozenset({1}), -math.inf, [[]], {"float": "none"}):
        with pytest.raises(InvalidParameters, match="must be one of"):
            parameter.encode(other)
    assert Categorical([Sizes(1, np.int64(2))]).choices == ((1, 2),)
    assert type(Categorical([Sizes(1, 2)]).choices[0]) is tuple


def test_columns_hold_choices_and_missing_ones_are_told_apart() -> None:
    choices = [(1, 2), (3, 4), None, NAN]  # tuples of one length, which NumPy would take for a table
    space = fasthpo.SearchSpace(
        {"a": Categorical(choices), "b": Ordinal([(1,), (2,)], when={"a": [(1, 2), NAN]}), "x": Normal(0, 1)}
    )
    rows = encode_columns(space, {"a": choices, "b": [(1,), None, NAN, (2,)], "x": np.array([0.0, 9.0, -40.0, 1e300])})
    assert rows[:, 0].tolist() == [0, 1, 2, 3] and repr(rows[:, 1].tolist()) == "[0.0, nan, nan, 1.0]"
    assert rows[:, 2].tolist() == [0.0, 9.0, -40.0, 1e300]
    assert repr(decode_column(space.parameters[0], rows[:, 0]).tolist()) == repr(choices)
    assert [repr(space.decode(row)["a"]) for row in rows] == list(map(repr, choices))
    for bad in (math.inf, NAN):
        with pytest.raises(InvalidParameters, match="'x' at position 1 must be a finite number"):
            encode_columns(space, {"a": [None, None], "x": np.array([0.0, bad])})


def test_bounds_of_a_distribution_are_those_that_were_given() -> None:
    assert Normal(0, 1).contains(-1e300) and not Normal(0, 1).contains(math.inf)
    assert Normal(0.9, 0.05, high=1.0).contains(1.0) and not Normal(0.9, 0.05, high=1.0).contains(1.0000001)
    assert LogNormal(0, 1).contains(1e-320)
    with pytest.raises(InvalidParameters, match="must be a positive, finite number, got 0"):
        LogNormal(0, 1).encode(0)
    with pytest.raises(InvalidParameters, match=r"must lie between 0.5 and inf, got 0.1"):
        LogNormal(0, 1, low=0.5).encode(0.1)


DISTRIBUTIONS = [
    (Normal(3.0, 2.0), norm(3.0, 2.0)),
    (Normal(0.9, 0.05, high=1.0), truncnorm(-np.inf, 2.0, 0.9, 0.05)),
    (Normal(0.0, 1e200, -1.0, 3.0), truncnorm(-1e-9, 3e-9, 0.0, 1e9)),  # as good as uniform
    (Normal(1.0, 1.0, 1.0, 1.5), truncnorm(0.0, 0.5, 1.0, 1.0)),
    (LogNormal(-7.0, 2.0), norm(-7.0, 2.0)),
    (LogNormal(-7.0, 2.0, 1e-4, 1.0), truncnorm((math.log(1e-4) + 7) / 2, 3.5, -7.0, 2.0)),
]


@pytest.mark.parametrize(("parameter", "expected"), DISTRIBUTIONS, ids=[repr(one) for one, _ in DISTRIBUTIONS])
def test_draws_have_the_distribution_that_scipy_says(parameter: Any, expected: Any) -> None:
    """The slow twin: SciPy's truncated normal distribution."""
    units = uniforms(5, np.arange(20_000), 0, 1)[:, 0]
    values = parameter.from_unit(units)
    low, high = parameter.reach
    assert (values >= low).all() and (values <= high).all()
    numbers = np.log(values) if parameter.log else values
    assert kstest(numbers, expected.cdf).pvalue > 0.01
    # cut off at five standard deviations, which the twin is not
    assert np.abs(expected.cdf(numbers) - units).max() < 3e-7
    assert np.abs(parameter.to_unit(values) - units).max() < 1e-9


@settings(max_examples=60, deadline=None)
@given(
    mean=st.floats(-1e6, 1e6), sd=st.floats(1e-3, 1e6), below=st.floats(0, 9), above=st.floats(0.1, 9),
    value=st.floats(-1e9, 1e9), unit=st.floats(0, 1),
)  # fmt: skip
def test_axes_lead_there_and_back(
    mean: float, sd: float, below: float, above: float, value: float, unit: float
) -> None:
    from fasthpo.kernels.axes import coordinate_of_value, value_of_coordinate

    parameter = Normal(mean, sd, mean - below * sd, mean + above * sd)
    low, high = parameter.reach
    for axis in (np.array(parameter.axis()), np.array(parameter._axis(1.0))):
        there = value_of_coordinate(axis, unit)
        assert low <= there <= high
        assert coordinate_of_value(axis, there) == pytest.approx(unit, abs=1e-6)
        inside = min(max(value, low), high)
        assert 0.0 <= coordinate_of_value(axis, value) <= 1.0  # also beyond
        back = value_of_coordinate(axis, coordinate_of_value(axis, inside))
        assert back == pytest.approx(inside, abs=1e-7 * sd + 1e-9 * abs(mean))


def test_the_builder_makes_them() -> None:
    built = (
        fasthpo.SearchSpaceBuilder()
        .ordinal("size", [16, 32, 64])
        .normal("x", 0.0, 1.0, high=2.0, when={"size": fasthpo.at_least(32)})
        .log_normal("rate", -7.0, 2.3, n_points=3)
        .build()
    )
    assert built == fasthpo.SearchSpace(
        {
            "size": Ordinal([16, 32, 64]),
            "x": Normal(0.0, 1.0, high=2.0, when={"size": fasthpo.at_least(32)}),
            "rate": LogNormal(-7.0, 2.3, n_points=3),
        }
    )
    assert built.size is None and built["size"].count == 3
    html = built._repr_html_()
    assert "at least 32" in html and "LogNormal" in html
