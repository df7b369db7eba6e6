"""What every parameter of a search space is, and every numeric one.

A parameter knows how its values are written into a column of float64: a number as itself, a categorical choice as
its index. It validates on construction, and never again.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.choice_values import choice_to_json
from fasthpo.space.comparisons import Comparison, condition_value
from fasthpo.space.prior import Prior
from fasthpo.values import FloatArray, exact, masked, number, plain, shown, steady_repr

Value: TypeAlias = str | bool | int | float | tuple[Any, ...] | frozenset[Any] | None
"""What a parameter can be: plain Python values only."""
When: TypeAlias = Mapping[str, Sequence[Value] | Value | Comparison]

LARGEST_INTEGER = 2**53  # beyond it float64 columns would merge neighbouring integers


def check_finite(name: str, value: Any) -> float:
    """The number itself, as a float; `InvalidSearchSpace` if it is none, or not finite."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSearchSpace(f"{name} must be a number, got {name}={shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidSearchSpace(f"{name} must be finite, got {name}={shown(value)}")
    return number + 0.0  # -0.0 is 0.0


def check_integer(name: str, value: Any) -> int:
    """The integer itself; `InvalidSearchSpace` if it is none, or too large for a float64 column."""
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidSearchSpace(f"{name} must be an integer, got {name}={shown(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array of one element has __index__, but no index
        raise InvalidSearchSpace(f"{name} must be an integer, got {name}={shown(value)}") from None
    if abs(number) > LARGEST_INTEGER:
        raise InvalidSearchSpace(f"{name} must lie within -2**53 and 2**53, got {name}={shown(number)}")
    return number


def check_boolean(name: str, value: Any) -> bool:
    """The boolean itself; `InvalidSearchSpace` if it is none."""
    value = plain(value)
    if not isinstance(value, bool):
        raise InvalidSearchSpace(f"{name} must be True or False, got {name}={shown(value)}")
    return value


def check_points(value: Any) -> int | None:
    """`n_points` of a grid; `InvalidSearchSpace` if it is neither None nor a positive integer."""
    if value is None:
        return None
    number = check_integer("n_points", value)
    if number < 1:
        raise InvalidSearchSpace(f"n_points must be at least 1, got n_points={shown(number)}")
    return number


def _normal_when(when: When | None) -> dict[str, tuple[Value, ...] | Comparison]:
    if when is None:
        return {}
    if not isinstance(when, Mapping):
        raise InvalidSearchSpace(
            f"when must map a parameter's name to its values, such as {{'optimizer': ['sgd']}}, got when={shown(when)}"
        )
    normal: dict[str, tuple[Value, ...] | Comparison] = {}
    for parent, values in when.items():
        if not isinstance(parent, str) or not parent:
            raise InvalidSearchSpace(f"when must name a parameter, got {shown(parent)}")
        if isinstance(values, Comparison):
            normal[exact(parent)] = values
            continue
        several = isinstance(values, (list, tuple, set, frozenset, range)) or (
            isinstance(values, np.ndarray) and values.ndim > 0
        )
        listed = tuple(map(condition_value, values)) if several else (condition_value(values),)  # type: ignore[arg-type]
        if not listed:
            raise InvalidSearchSpace(f"when must list at least one value of {parent!r}, got none")
        normal[exact(parent)] = listed
    return normal


def _text(value: Any) -> str:
    """A value as a text that differs for different ones, whatever the order in which a frozenset happens to be."""
    return repr(choice_to_json(value))


class Lattice(NamedTuple):
    """Where the values of finite parameters lie: numbers for one parameter, arrays (d,) for those of a space.

    Value k is `anchor + (k - shift) * step`, rounded to a multiple of `1 / tens` where that is a `decimal`; the last
    one is `high`, and none is below `low`: both are bounds or, where these were computed, what they mean. An anchor in
    the middle keeps a range of more than 2**53 integers exact.
    """

    low: Any
    high: Any
    last: Any  # count - 1
    step: Any
    anchor: Any
    shift: Any
    decimal: Any
    tens: Any

    @masked
    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        """The column values of the cells `index` (..., d)."""
        values = self.anchor + (index - self.shift) * self.step
        # 0.1 * 3 is 0.30000000000000004; show the decimal that the user's step means
        values = np.where(self.decimal, np.rint(values * self.tens) / self.tens, values)
        inside: FloatArray = np.maximum(np.where(index >= self.last, self.high, values), self.low)
        return inside + 0.0  # -0.0 is 0.0

    @masked
    def cell(self, column_values: FloatArray) -> npt.NDArray[np.int64]:
        """The nearest cell of each column value (..., d); none may be NaN."""
        steps = np.rint((column_values - self.anchor) / self.step)
        nearest: npt.NDArray[np.int64] = steps.astype(np.int64) + self.shift
        return nearest


class Parameter(ABC):
    """One dimension of a search space. Immutable; two parameters are equal when their definitions are."""

    __slots__ = ("lattice", "prior", "when")
    kind: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    is_ordered: ClassVar[bool] = True  # whether it makes sense that values are near each other, or far
    is_whole: ClassVar[bool] = False  # whether its values are integers
    choices: tuple[Value, ...] | None = None  # its values, where a column holds their indices
    when: Mapping[str, tuple[Value, ...] | Comparison]
    lattice: Lattice | None  # None for a continuum
    prior: Prior | None  # what the user believes of it

    def __init__(self, when: When | None) -> None:
        self._set("prior", None)
        self._set("when", MappingProxyType(_normal_when(when)))
        self._set("lattice", None)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one to change {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._from_fields, ({**self.arguments(), "when": dict(self.when), **self._belief()},)

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Parameter:
        return cls(**fields)

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes to make it again, but for `when`."""
        return {name: getattr(self, name) for name in self.fields}

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest column value; infinite where there is no bound."""
        return (-math.inf, math.inf) if self.lattice is None else (float(self.lattice.low), float(self.lattice.high))

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest column value that samplers suggest, both finite."""
        return self.bounds

    def under(self, when: When) -> Parameter:
        """The same parameter under these conditions only."""
        return self._from_fields({**self.arguments(), "when": dict(when), **self._belief()})

    def _believe(self, prior: Any) -> None:
        """Take up a prior, as the last step of being made: its guess must be one of the parameter's values."""
        self._set("prior", Prior.of(self, prior))

    def _belief(self) -> dict[str, Any]:
        """The prior as an argument, if there is one."""
        return {} if self.prior is None else {"prior": self.prior}

    @property
    @abstractmethod
    def count(self) -> int | None:
        """The number of distinct values; None for a continuum."""

    @abstractmethod
    def encode(self, value: Any) -> float:
        """The column value of `value`. Raises `InvalidParameters` for a value outside the parameter."""

    @abstractmethod
    def decode(self, column_value: float) -> Value:
        """The plain Python value that a column value stands for."""

    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        """The column values of the cells `index` (0 to count - 1)."""
        assert self.lattice is not None
        return self.lattice.at(index)

    def cell(self, column_values: FloatArray) -> npt.NDArray[np.int64]:
        """The cell of each column value; the inverse of `at`."""
        assert self.lattice is not None
        return self.lattice.cell(column_values)

    @abstractmethod
    def from_unit(self, unit: FloatArray) -> FloatArray:
        """The column values at quantiles `unit` in [0, 1) of the parameter's prior distribution."""

    @abstractmethod
    def axis(self) -> list[float]:
        """Its geometry as samplers see it: a row that a function of `kernels/axes.py` makes."""

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the parameter's values."""
        try:
            self.encode(value)
        except InvalidParameters:
            return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """The definition in plain JSON values; `parameter_from_dict` reads it."""
        definition = {"type": self.kind, **{name: choice_to_json(one) for name, one in self.arguments().items()}}
        if self.when:
            definition["when"] = {
                parent: one.to_json() if isinstance(one, Comparison) else choice_to_json(one)
                for parent, one in self.when.items()
            }
        if self.prior is not None:
            definition["prior"] = {"value": choice_to_json(self.prior.value), "confidence": self.prior.confidence}
        return definition

    def _identity(self) -> tuple[Any, ...]:
        # repr tells 1, 1.0 and True apart, which == does not
        when = sorted(
            (parent, repr(one.to_json()) if isinstance(one, Comparison) else sorted(map(_text, one)))
            for parent, one in self.when.items()
        )
        belief = None if self.prior is None else (_text(self.prior.value), self.prior.confidence)
        return type(self), _text(tuple(self.arguments().values())), repr(when), belief

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, Parameter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        shown = [f"{name}={steady_repr(value)}" for name, value in self.arguments().items()]
        if self.when:
            when = {parent: one if isinstance(one, Comparison) else list(one) for parent, one in self.when.items()}
            shown.append(f"when={steady_repr(when)}")
        shown += [f"{name}={value!r}" for name, value in self._belief().items()]
        return f"{type(self).__name__}({', '.join(shown)})"


def _is_no_name(text: str) -> bool:
    """Whether a text is empty, or a number written as one."""
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


class Numeric(Parameter):
    """A parameter whose values are ordered numbers between `low` and `high`, both included.

    A bound may depend on other parameters. Then `depends` has it as a text, beside None for one that does not. In a
    search space `low` and `high` are the outer bounds, see `dependent_bounds`; elsewhere what is not known is NaN.
    """

    __slots__ = ("depends", "high", "log", "low", "step")
    low: float
    high: float
    step: float | None
    log: bool
    depends: tuple[str | None, ...]

    def __init__(self, when: When | None) -> None:
        super().__init__(when)
        self._set("depends", ())

    def _leave_open(self, low: Any, high: Any) -> bool:
        """Take note of bounds of which one depends on other parameters; False if none does."""
        ends = tuple(exact(end) if isinstance(end, str) else None for end in (low, high))
        self._set("depends", () if ends == (None, None) else ends)
        if not self.depends:
            return False
        check = check_integer if self.is_whole else check_finite
        for end, value, text in zip(("low", "high"), (low, high), ends, strict=True):
            if text is not None and _is_no_name(text):
                raise InvalidSearchSpace(f"{end} must be a number, got {end}={value!r}; a text names other parameters")
            self._set(end, math.nan if text is not None else check(end, value))
        return True

    def closed(self, low: float, high: float) -> Self:
        """The same with outer bounds, if its own depend on other parameters."""
        made = type(self)(**{**self.arguments(), "low": low, "high": high, "when": dict(self.when), **self._belief()})
        made._set("depends", self.depends)
        return made

    def arguments(self) -> dict[str, Any]:
        given = super().arguments()
        for name, text in zip(("low", "high"), self.depends, strict=False):
            if text is not None:
                given[name] = text
        return given

    def _check_order(self) -> None:
        if self.low > self.high:
            raise InvalidSearchSpace(f"low must be less than high, got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise InvalidSearchSpace(f"low must be positive on a log scale, got low={self.low}")
        if not math.isfinite(float(self.high) - float(self.low)):
            raise InvalidSearchSpace(f"high - low must be finite, got low={self.low}, high={self.high}")

    def _number(self, value: Any, slack: float = 0.0) -> float:
        try:
            found = number(value)
        except (TypeError, OverflowError):
            raise InvalidParameters(f"must be a finite number, got {shown(value)}") from None
        if self.low != self.low or self.high != self.high:
            raise InvalidParameters("has bounds that only a search space knows, as they depend on other parameters")
        if isinstance(found, float) and not math.isfinite(found):
            raise InvalidParameters(f"must be a finite number, got {shown(value)}")
        if not self.low - slack <= found <= self.high + slack:
            raise InvalidParameters(f"must lie between {self.low} and {self.high}, got {shown(found)}")
        return float(found)

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def axis(self) -> list[float]:
        from fasthpo.kernels.axes import numeric_axis  # imports numba

        return numeric_axis(self.low, self.high, self.step, self.log, self.count)

    def _constant(self) -> Lattice:
        return Lattice(self.low, self.high, 0, 1.0, self.low, 0, False, 1.0)

    @masked
    def from_unit(self, unit: FloatArray) -> FloatArray:
        if self.low == self.high:
            return np.full(np.shape(unit), float(self.low))
        count = self.count
        if count is None:
            if self.log:
                low, high = math.log(self.low), math.log(self.high)
                values = np.exp(low + unit * (high - low))
            else:
                values = self.low + unit * (self.high - self.low)
        elif self.log:
            assert self.step is not None
            # each value owns the stretch of the log axis from half a step below it to half a step above
            half = self.step / 2
            low, high = math.log(self.low - half), math.log(self.high + half)
            cells = np.rint((np.exp(low + unit * (high - low)) - self.low) / self.step)
            values = self.at(np.clip(cells, 0, count - 1).astype(np.int64))
        else:
            values = self.at(np.minimum(unit * count, count - 1).astype(np.int64))
        # exp(log(0.1)) is 0.10000000000000002: rounding must not carry a value over its bound
        return np.clip(values, self.low, self.high)

    @masked
    def to_unit(self, column_values: FloatArray) -> FloatArray:
        """The quantiles in [0, 1] of column values of a continuum; the inverse of `from_unit`."""
        low, high = self.bounds
        if self.log:
            low, high, column_values = math.log(low), math.log(high), np.log(column_values)
        inside: FloatArray = np.clip((column_values - low) / (high - low), 0.0, 1.0)
        return inside
