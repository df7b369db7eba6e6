"""Parameters one by one: values as exact decimals, bounds at extreme scales, definitions as JSON, nasty input."""

from __future__ import annotations

import copy
import enum
import itertools
import json
import math
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fasthpo import Categorical, Continuous, Discrete, InvalidSearchSpace, LogUniform
from fasthpo.space.definitions import parameter_from_dict
from fasthpo.space.parameter import Parameter

FLOATS = st.floats(-1e300, 1e300)
POSITIVE = st.one_of(st.floats(1e-300, 1e300), st.sampled_from([5e-324, 1e-300, 0.1, 1e300]))
INTEGERS = st.integers(-(2**53), 2**53)
CHOICES = st.one_of(
    st.text(max_size=5), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none()
)
ENDS = [0.0, 5e-324, 0.25, 0.5, 1 - 2**-53]


def _pair(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(numbers, numbers).map(sorted)


@st.composite
def discrete(draw: st.DrawFn) -> Discrete:
    low, high = draw(_pair(st.one_of(INTEGERS, st.integers(-20, 20))))
    step = draw(st.integers(1, min(max(1, high - low), 2**53)))
    high -= (high - low) % step
    return Discrete(low, high, step, log=2 * low > step and draw(st.booleans()))


@st.composite
def stepped(draw: st.DrawFn) -> tuple[Continuous, list[Fraction]]:
    """A stepped parameter, and its values as exact decimals."""
    unit = Decimal(10) ** draw(st.integers(-9, 3))
    low, step, count = draw(st.integers(-1000, 1000)), draw(st.integers(1, 50)), draw(st.integers(1, 60))
    exact = [(low + k * step) * unit for k in range(count)]
    return Continuous(float(exact[0]), float(exact[-1]), step=float(step * unit)), [Fraction(x) for x in exact]


def categorical() -> st.SearchStrategy[Categorical]:
    return st.lists(CHOICES, min_size=1, max_size=6, unique_by=lambda c: (type(c), c)).map(Categorical)


def parameters() -> st.SearchStrategy[Parameter]:
    return st.one_of(
        _pair(FLOATS).map(lambda bounds: Continuous(*bounds)),
        _pair(POSITIVE).map(lambda bounds: LogUniform(*bounds)),
        discrete(),
        stepped().map(lambda pair: pair[0]),
        categorical(),
    )


@given(stepped())
def test_stepped_values_are_the_decimals_that_are_meant(pair: tuple[Continuous, list[Fraction]]) -> None:
    parameter, exact = pair
    assert parameter.count == len(exact)
    values = parameter.at(np.arange(len(exact))).tolist()
    assert values == [float(x) for x in exact]  # the float nearest to each decimal
    assert not any(math.copysign(1.0, x) < 0 for x in values if x == 0)
    assert parameter.cell(np.array(values)).tolist() == list(range(len(exact)))
    for value in values[:5]:
        assert parameter.encode(value) == value == parameter.decode(value)


@given(discrete(), st.data())
def test_integers_and_cells_are_inverse_over_the_whole_range(parameter: Discrete, data: st.DataObject) -> None:
    last = parameter.count - 1
    cells = [0, last, last // 2, *data.draw(st.lists(st.integers(0, last), max_size=8))]
    values = [int(parameter.low + cell * parameter.step) for cell in cells]
    assert parameter.at(np.array(cells)).tolist() == values
    assert parameter.cell(np.array(values, np.float64)).tolist() == cells
    for value in values:
        assert parameter.decode(parameter.encode(value)) == value
        if parameter.step > 1:
            assert not parameter.contains(value + 1)


def test_more_integers_than_a_float_counts() -> None:
    parameter = Discrete(-(2**53), 2**53)
    values = [-(2**53), -1, 0, 1, 2, 2**53 - 1, 2**53]
    cells = [value + 2**53 for value in values]
    assert parameter.count == 2**54 + 1
    assert parameter.cell(np.array(values, np.float64)).tolist() == cells
    assert parameter.at(np.array(cells)).tolist() == values
    odd = Discrete(-(2**53), 2**53, 2)
    assert odd.contains(2) and not odd.contains(1)


@settings(max_examples=300, deadline=None)
@given(parameters(), st.lists(st.floats(0, 1, exclude_max=True), max_size=10))
def test_every_quantile_is_a_value_and_larger_ones_are_not_smaller(parameter: Parameter, unit: list[float]) -> None:
    quantiles = np.array(sorted([*ENDS, *unit]))
    values = parameter.from_unit(quantiles)
    assert np.isfinite(values).all() and (np.diff(values) >= 0).all()
    for value in values.tolist():
        decoded = parameter.decode(value)
        assert type(decoded) in (str, bool, int, float, type(None))
        assert parameter.contains(decoded)
        assert parameter.encode(decoded) == value
    if not isinstance(parameter, Categorical):
        assert values.min() >= parameter.low and values.max() <= parameter.high


@given(st.integers(1, 12), st.integers(1, 5), st.booleans())
def test_a_quantile_belongs_to_the_value_that_owns_its_stretch(count: int, step: int, log: bool) -> None:
    parameter = Discrete(3 * step, (count + 2) * step, step, log=log)
    scale = math.log if log else float
    values = [3 * step + k * step for k in range(count)]
    edges = [scale(value - step / 2) for value in values] + [scale(values[-1] + step / 2)]
    middles = [((a + b) / 2 - edges[0]) / (edges[-1] - edges[0]) for a, b in itertools.pairwise(edges)]
    assert parameter.from_unit(np.array(middles)).tolist() == values


@settings(max_examples=200, deadline=None)
@given(parameters(), st.dictionaries(st.text(min_size=1), st.lists(CHOICES, min_size=1, max_size=3), max_size=2))
def test_json_pickle_and_copies_give_an_equal_parameter(parameter: Parameter, when: dict[str, Any]) -> None:
    fields = {name: getattr(parameter, name) for name in parameter.fields}
    parameter = type(parameter)(**fields, when=when)
    text = json.dumps(parameter.to_dict(), allow_nan=False)
    copies = [
        parameter_from_dict(json.loads(text)),
        pickle.loads(pickle.dumps(parameter)),
        copy.copy(parameter),
        copy.deepcopy(parameter),
    ]
    for other in copies:
        assert other == parameter and hash(other) == hash(parameter) and repr(other) == repr(parameter)
        assert other.lattice == parameter.lattice
        assert other.when == {name: tuple(values) for name, values in when.items()}


@given(parameters(), parameters())
def test_equal_means_the_same_definition(one: Parameter, other: Parameter) -> None:
    assert (one == other) == (repr(one) == repr(other))
    assert one != 3


def test_the_order_of_a_conditions_values_makes_no_difference_their_types_do() -> None:
    one = Discrete(0, 1, when={"a": ["x", "y"], "b": 1})
    assert one == Discrete(0, 1, when={"b": [1], "a": {"y", "x"}})
    assert hash(one) == hash(Discrete(0, 1, when={"b": (1,), "a": ("y", "x")}))
    assert one != Discrete(0, 1, when={"a": ["x", "y"], "b": True})
    assert one != Discrete(0, 1, when={"a": ["x"], "b": 1})


def test_zero_has_no_sign() -> None:
    assert Continuous(-0.0, 1) == Continuous(0.0, 1)
    assert math.copysign(1.0, Continuous(-0.0, 1).low) == 1.0
    assert Discrete(-0.0, 1) == Discrete(0, 1)


@settings(max_examples=300, deadline=None)
@given(
    parameters(),
    st.one_of(
        CHOICES, st.floats(), st.lists(st.integers()), st.binary(), st.complex_numbers(), st.just(10**400), st.just({})
    ),
)
def test_contains_answers_for_any_value(parameter: Parameter, value: Any) -> None:
    inside = parameter.contains(value)
    if isinstance(parameter, Categorical):
        expected = any(
            value == choice and (type(value) is type(choice) or {type(value), type(choice)} == {int, float})
            for choice in parameter.choices
        )
        assert inside == expected
    elif isinstance(value, (str, bytes, list, dict, bool, complex, type(None))):
        assert not inside
    elif inside:
        assert parameter.low <= value <= parameter.high


def test_numpy_scalars_are_taken_as_what_they_stand_for() -> None:
    assert Continuous(np.float32(0.5), np.int64(2)) == Continuous(0.5, 2.0)
    assert Discrete(np.int8(1), np.uint64(9), np.int16(2)) == Discrete(1, 9, 2)
    assert Discrete(np.array(1), 3) == Discrete(1, 3)
    assert Categorical(np.array(["a", "b"])) == Categorical(["a", "b"])
    assert Categorical(np.arange(3)) == Categorical([0, 1, 2]) == Categorical(range(3))
    assert type(Categorical([np.bool_(True)]).choices[0]) is bool
    assert Discrete(1, 9).contains(np.float64(3)) and Categorical([1, 2]).contains(np.int64(2))


class Optimizer(enum.StrEnum):
    ADAM = "adam"


REFUSED = [
    (lambda: Continuous(1e16, 1e16 + 8, step=1), "step must be larger.*got low=1e\\+16.*step=1.0"),
    (lambda: Continuous(0, 1, step=1e-16), "step must be larger.*step=1e-16"),
    (lambda: Continuous(0, 1e9 + 0.4, step=1), "step must divide high - low, got low=0.0, high=1000000000.4"),
    (lambda: Continuous(0, 1e-12, step=1), "step must divide high - low"),
    (lambda: Continuous(0, 1, step=3), "step must divide high - low, got low=0.0, high=1.0, step=3.0$"),
    (lambda: Continuous(0, 1, step=math.inf), "step must be finite, got step=inf"),
    (lambda: Continuous(0, 1, step="0.1"), "step must be a number, got step='0.1'"),
    (lambda: Continuous(0, 10**400), "high must be finite"),
    (lambda: Continuous(Decimal("0.1"), 1), "low must be a number, got low=Decimal"),
    (lambda: Continuous(0, 1, n_points=2.5), "n_points must be an integer, got n_points=2.5"),
    (lambda: LogUniform(1, 2, n_points=True), "n_points must be an integer, got n_points=True"),
    (lambda: LogUniform(2, 1), "low must be less than high, got low=2.0, high=1.0"),
    (lambda: LogUniform(None, 1), "low must be a number, got low=None"),
    (lambda: Discrete(np.array([5]), 6), "low must be an integer, got low=array"),
    (lambda: Discrete(True, 6), "low must be an integer, got low=True"),
    (lambda: Discrete(0, math.inf), "high must be an integer, got high=inf"),
    (lambda: Discrete(-(2**53) - 1, 0), r"low must lie within -2\*\*53 and 2\*\*53, got low=-9007199254740993"),
    (lambda: Discrete(1, 4, step=-1), "step must be at least 1, got step=-1"),
    (lambda: Categorical({"a", "b"}), "choices must be a list of values, got choices={"),
    (lambda: Categorical({"a": 1}), "choices must be a list of values, got choices={'a': 1}"),
    (lambda: Categorical(3), "choices must be a list of values, got choices=3"),
    (lambda: Categorical([Optimizer.ADAM]), "a choice must be a str, bool, int, float or None.*of type Optimizer"),
    (lambda: Categorical([1, 1.5, 1]), "differ from each other, got 1 twice"),
    (lambda: Categorical([None, None]), "differ from each other, got None twice"),
    (lambda: Categorical([-(10**400)]), "a choice must be finite, got -1000"),
    (lambda: Continuous(0, 1, when={"": [1]}), "when must name a parameter, got ''"),
    (lambda: Continuous(0, 1, when={3: [1]}), "when must name a parameter, got 3"),
    (lambda: parameter_from_dict([]), "a parameter's type must be one of"),
    (lambda: parameter_from_dict({"type": []}), "a parameter's type must be one of.*got {'type': \\[\\]}"),
    (lambda: parameter_from_dict({"type": "discrete", "low": 0, "high": 1, "_set": 1}), "Discrete has no field"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_impossible_definitions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        make()


def is_bound(value: float, bound: float, largest: float) -> bool:
    """Whether a value is a bound, or the short decimal that a computed one means."""
    if value == bound:
        return True
    is_short = float(f"{value:.11e}") == value and float(f"{bound:.11e}") != bound
    return is_short and abs(value - bound) <= 4 * math.ulp(bound if value else largest)


@given(FLOATS, FLOATS, st.floats(1e-300, 1e300))
def test_a_step_is_either_refused_or_gives_different_values(low: float, high: float, step: float) -> None:
    assume(low < high)
    try:
        parameter = Continuous(low, high, step=step)
    except InvalidSearchSpace:
        return
    cells = np.unique(np.array([0, 1, parameter.count // 2, parameter.count - 2, parameter.count - 1]))
    values = parameter.at(cells)
    largest = max(abs(low), abs(high))
    assert is_bound(values[0], low, largest) and is_bound(values[-1], high, largest)
    assert low <= values.min() <= values.max() <= high
    assert parameter.cell(values).tolist() == cells.tolist()
    assert len(set(values.tolist())) == len(cells)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e3), st.integers(1, 10**6))
def test_a_step_that_fits_up_to_rounding_is_taken(low: float, step: float, steps: int) -> None:
    parameter = Continuous(low, low + step * steps, step=step)
    assert parameter.count == steps + 1
    cells = np.array([0, 1, steps // 2, steps])
    values = parameter.at(cells)
    largest = max(abs(low), abs(parameter.high))
    assert is_bound(values[0], low, largest) and is_bound(values[-1], parameter.high, largest)
    assert low <= values.min() <= values.max() <= parameter.high
    assert np.abs(values - (low + cells * step)).max() <= 1e-9 * (abs(low) + step * steps)
    assert parameter.cell(values).tolist() == cells.tolist()


def test_parameters_cannot_be_changed() -> None:
    parameter = Discrete(1, 3, when={"a": ["x"]})
    with pytest.raises(AttributeError, match="Discrete is immutable"):
        parameter.low = 0
    with pytest.raises(AttributeError, match="immutable"):
        del parameter.low
    with pytest.raises(TypeError):
        parameter.when["a"] = ("y",)  # type: ignore[index]
    with pytest.raises(AttributeError):
        parameter.extra = 1
