"""The kinds of parameter a search space is made of.

A parameter knows how its values are written into a column of float64: a number as itself, a categorical choice as
its index. It validates on construction, and never again.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters, InvalidSearchSpace

Value: TypeAlias = str | bool | int | float | None
"""What a parameter can be: plain Python values only."""
When: TypeAlias = Mapping[str, Sequence[Value] | Value]
FloatArray: TypeAlias = npt.NDArray[np.float64]

_LARGEST_INTEGER = 2**53  # beyond it float64 columns would merge neighbouring integers
_MAX_LISTED = 8  # choices shown in an error message


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def _finite(name: str, value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSearchSpace(f"{name} must be a number, got {name}={value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidSearchSpace(f"{name} must be finite, got {name}={value!r}")
    return number


def _integer(name: str, value: Any) -> int:
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidSearchSpace(f"{name} must be an integer, got {name}={value!r}")
    number = operator.index(value)
    if abs(number) > _LARGEST_INTEGER:
        raise InvalidSearchSpace(f"{name} must lie within -2**53 and 2**53, got {name}={number}")
    return number


def _boolean(name: str, value: Any) -> bool:
    value = plain(value)
    if not isinstance(value, bool):
        raise InvalidSearchSpace(f"{name} must be True or False, got {name}={value!r}")
    return value


def _points(value: Any) -> int | None:
    if value is None:
        return None
    number = _integer("n_points", value)
    if number < 1:
        raise InvalidSearchSpace(f"n_points must be at least 1, got n_points={number}")
    return number


def _normal_when(when: When | None) -> dict[str, tuple[Value, ...]]:
    if when is None:
        return {}
    if not isinstance(when, Mapping):
        raise InvalidSearchSpace(
            f"when must map a parameter's name to its values, such as {{'optimizer': ['sgd']}}, got when={when!r}"
        )
    normal: dict[str, tuple[Value, ...]] = {}
    for parent, values in when.items():
        if not isinstance(parent, str) or not parent:
            raise InvalidSearchSpace(f"when must name a parameter, got {parent!r}")
        several = isinstance(values, (list, tuple, set, frozenset, range, np.ndarray))
        listed = tuple(plain(v) for v in values) if several else (plain(values),)  # type: ignore[union-attr]
        if not listed:
            raise InvalidSearchSpace(f"when must list at least one value of {parent!r}, got none")
        normal[parent] = listed
    return normal


class Parameter(ABC):
    """One dimension of a search space. Immutable; two parameters are equal when their definitions are."""

    __slots__ = ("when",)
    kind: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]

    def __init__(self, when: When | None) -> None:
        self._set("when", _normal_when(when))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one to change {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.to_dict(),)

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

    @abstractmethod
    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        """The column values of the cells `index` (0 to count - 1)."""

    @abstractmethod
    def cell(self, column_values: FloatArray) -> npt.NDArray[np.int64]:
        """The cell of each column value; the inverse of `at`."""

    @abstractmethod
    def from_unit(self, unit: FloatArray) -> FloatArray:
        """The column values at quantiles `unit` in [0, 1) of the parameter's prior distribution."""

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the parameter's values."""
        try:
            self.encode(value)
        except InvalidParameters:
            return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """The definition in plain JSON values; `parameter_from_dict` reads it."""
        definition: dict[str, Any] = {"type": self.kind}
        for name in self.fields:
            value = getattr(self, name)
            definition[name] = list(value) if isinstance(value, tuple) else value
        if self.when:
            definition["when"] = {parent: list(values) for parent, values in self.when.items()}
        return definition

    def _identity(self) -> tuple[Any, ...]:
        # repr tells 1, 1.0 and True apart, which == does not
        return type(self), repr([getattr(self, name) for name in self.fields]), repr(sorted(self.when.items()))

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, Parameter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.fields]
        if self.when:
            shown.append(f"when={ {parent: list(values) for parent, values in self.when.items()} }")
        return f"{type(self).__name__}({', '.join(shown)})"


class Numeric(Parameter):
    """A parameter whose values are ordered numbers between `low` and `high`, both included."""

    __slots__ = ("high", "log", "low", "step")
    low: float
    high: float
    step: float | None
    log: bool

    def _check_order(self) -> None:
        if self.low > self.high:
            raise InvalidSearchSpace(f"low must be less than high, got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise InvalidSearchSpace(f"low must be positive on a log scale, got low={self.low}")
        if not math.isfinite(float(self.high) - float(self.low)):
            raise InvalidSearchSpace(f"high - low must be finite, got low={self.low}, high={self.high}")

    def _number(self, value: Any) -> float:
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InvalidParameters(f"must be a finite number, got {value!r}")
        if not self.low <= value <= self.high:
            raise InvalidParameters(f"must lie between {self.low} and {self.high}, got {value!r}")
        return float(value)

    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        assert self.step is not None or self.low == self.high
        return np.minimum(self.low + index * (self.step or 0.0), self.high)

    def cell(self, column_values: FloatArray) -> npt.NDArray[np.int64]:
        if not self.step or self.low == self.high:
            return np.zeros(np.shape(column_values), np.int64)
        return np.rint((column_values - self.low) / self.step).astype(np.int64)

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


class Continuous(Numeric):
    """A float between `low` and `high`, both included, on a linear scale.

    Args:
        low: smallest value.
        high: largest value; equal to `low` it makes a constant.
        step: distance between neighbouring values; it must divide `high - low`. None: any float.
        n_points: how many evenly spaced values a grid tries. Only grids read it.
        when: active only if every named parent has one of the listed values.

    Raises:
        InvalidSearchSpace: bounds out of order or not finite, or a step that does not fit.

    Example:
        >>> Continuous(0.0, 0.1, step=0.02).count
        6
    """

    __slots__ = ("_digits", "n_points")
    kind = "continuous"
    fields = ("low", "high", "step", "n_points")

    def __init__(
        self,
        low: float,
        high: float,
        step: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
    ) -> None:
        super().__init__(when)
        self._set("low", _finite("low", low))
        self._set("high", _finite("high", high))
        self._set("log", False)
        self._set("step", None if step is None else _finite("step", step))
        self._set("n_points", _points(n_points))
        self._check_order()
        digits = 17
        if self.step is not None:
            if self.step <= 0:
                raise InvalidSearchSpace(f"step must be positive, got step={self.step}")
            steps = (self.high - self.low) / self.step
            if not steps < _LARGEST_INTEGER or abs(steps - round(steps)) > 1e-8 * max(1.0, steps):
                fit = self.low + math.floor(steps) * self.step
                raise InvalidSearchSpace(
                    f"step must divide high - low, got low={self.low}, high={self.high}, step={self.step}; "
                    f"high={fit:.12g} would fit"
                )
            if n_points is not None:
                raise InvalidSearchSpace(f"give step or n_points, not both, got step={step}, n_points={n_points}")
            exponents = [Decimal(repr(x)).normalize().as_tuple().exponent for x in (self.low, self.step)]
            digits = max(0, *(-e for e in exponents if isinstance(e, int)))
        self._set("_digits", digits)

    @property
    def count(self) -> int | None:
        if self.low == self.high:
            return 1
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        values = super().at(index)
        # 0.1 * 3 is 0.30000000000000004; show the decimal that the user's step means
        return np.clip(np.round(values, self._digits), self.low, self.high) if self._digits < 16 else values

    def encode(self, value: Any) -> float:
        number = self._number(value)
        if self.step is None or self.low == self.high:
            return number
        nearest = float(self.at(self.cell(np.array([number])))[0])
        if abs(nearest - number) > 1e-6 * self.step:
            raise InvalidParameters(f"must be low + k * step (low={self.low}, step={self.step}), got {value!r}")
        return nearest

    def decode(self, column_value: float) -> Value:
        return float(column_value)


class LogUniform(Numeric):
    """A float between `low` and `high`, both included, on a logarithmic scale.

    Args:
        low: smallest value, positive.
        high: largest value; equal to `low` it makes a constant.
        n_points: how many values a grid tries, evenly spaced in the logarithm. Only grids read it.
        when: active only if every named parent has one of the listed values.

    Raises:
        InvalidSearchSpace: bounds out of order, not finite, or not positive.

    Example:
        >>> LogUniform(1e-5, 1e-1).contains(1e-3)
        True
    """

    __slots__ = ("n_points",)
    kind = "log_uniform"
    fields = ("low", "high", "n_points")

    def __init__(self, low: float, high: float, n_points: int | None = None, when: When | None = None) -> None:
        super().__init__(when)
        self._set("low", _finite("low", low))
        self._set("high", _finite("high", high))
        self._set("log", True)
        self._set("step", None)
        self._set("n_points", _points(n_points))
        self._check_order()

    @property
    def count(self) -> int | None:
        return 1 if self.low == self.high else None

    def encode(self, value: Any) -> float:
        return self._number(value)

    def decode(self, column_value: float) -> Value:
        return float(column_value)


class Discrete(Numeric):
    """An integer `low, low + step, ..., high`, both ends included.

    Args:
        low: smallest value.
        high: largest value; equal to `low` it makes a constant.
        step: distance between neighbouring values; it must divide `high - low`.
        log: search on a logarithmic scale (`low` must be positive, and more than half a step).
        when: active only if every named parent has one of the listed values.

    Raises:
        InvalidSearchSpace: bounds out of order or beyond 2**53, or a step that does not fit.

    Example:
        >>> Discrete(8, 128, 8).count
        16
    """

    __slots__ = ()
    kind = "discrete"
    fields = ("low", "high", "step", "log")

    def __init__(self, low: int, high: int, step: int = 1, log: bool = False, when: When | None = None) -> None:
        super().__init__(when)
        self._set("low", _integer("low", low))
        self._set("high", _integer("high", high))
        self._set("step", _integer("step", step))
        self._set("log", _boolean("log", log))
        self._check_order()
        assert isinstance(self.step, int) and isinstance(self.low, int) and isinstance(self.high, int)
        if self.step < 1:
            raise InvalidSearchSpace(f"step must be at least 1, got step={self.step}")
        if (self.high - self.low) % self.step:
            raise InvalidSearchSpace(
                f"step must divide high - low, got low={self.low}, high={self.high}, step={self.step}; "
                f"high={self.high - (self.high - self.low) % self.step} would fit"
            )
        if self.log and self.high > self.low and self.low * 2 <= self.step:
            raise InvalidSearchSpace(
                f"low must be more than half a step on a log scale, got low={self.low}, step={self.step}"
            )

    @property
    def count(self) -> int:
        assert self.step is not None
        return int((self.high - self.low) // self.step) + 1

    def encode(self, value: Any) -> float:
        number = self._number(value)
        assert self.step is not None
        if not number.is_integer() or (number - self.low) % self.step:
            raise InvalidParameters(f"must be low + k * step (low={self.low}, step={self.step}), got {value!r}")
        return number

    def decode(self, column_value: float) -> Value:
        return int(column_value)


class Categorical(Parameter):
    """One of several choices without order: strings, booleans, integers, floats or None.

    Args:
        choices: at least one choice, none twice. `1`, `1.0` and `True` are three choices.
        when: active only if every named parent has one of the listed values.

    Raises:
        InvalidSearchSpace: no choices, a repeated one, or one of another type.

    Example:
        >>> Categorical(["adam", "sgd", None]).count
        3
    """

    __slots__ = ("_index", "choices")
    kind = "categorical"
    fields = ("choices",)
    choices: tuple[Value, ...]

    def __init__(self, choices: Sequence[Value], when: When | None = None) -> None:
        super().__init__(when)
        if isinstance(choices, (str, bytes)) or not hasattr(choices, "__iter__"):
            raise InvalidSearchSpace(f"choices must be a list of values, got choices={choices!r}")
        listed = tuple(plain(c) for c in choices)
        if not listed:
            raise InvalidSearchSpace("choices must hold at least one value, got none")
        index: dict[tuple[type, Value], int] = {}
        for i, choice in enumerate(listed):
            if choice is not None and not isinstance(choice, (str, bool, int, float)):
                raise InvalidSearchSpace(
                    f"a choice must be a str, bool, int, float or None, got {choice!r} of type "
                    f"{type(choice).__name__}; use a string and look the object up in your objective"
                )
            if isinstance(choice, float) and not math.isfinite(choice):
                raise InvalidSearchSpace(f"a choice must be finite, got {choice!r}")
            if index.setdefault((type(choice), choice), i) != i:
                raise InvalidSearchSpace(f"choices must differ from each other, got {choice!r} twice")
        self._set("choices", listed)
        self._set("_index", index)

    @property
    def count(self) -> int:
        return len(self.choices)

    def encode(self, value: Any) -> float:
        value = plain(value)
        try:
            found = self._index.get((type(value), value))
        except TypeError:  # unhashable
            found = None
        if found is None and isinstance(value, (int, float)) and not isinstance(value, bool):
            # 1 for the choice 1.0 is meant; True for it is not
            equal = [i for (kind, choice), i in self._index.items() if kind in (int, float) and choice == value]
            found = equal[0] if equal else None
        if found is None:
            shown = ", ".join(map(repr, self.choices[:_MAX_LISTED])) + (", ..." if self.count > _MAX_LISTED else "")
            raise InvalidParameters(f"must be one of [{shown}], got {value!r}")
        return float(found)

    def decode(self, column_value: float) -> Value:
        return self.choices[int(column_value)]

    def at(self, index: npt.NDArray[np.int64]) -> FloatArray:
        return np.asarray(index, np.float64)

    def cell(self, column_values: FloatArray) -> npt.NDArray[np.int64]:
        return np.asarray(column_values, np.int64)

    def from_unit(self, unit: FloatArray) -> FloatArray:
        return np.floor(np.minimum(unit * self.count, self.count - 1))


_KINDS: dict[str, type[Parameter]] = {c.kind: c for c in (Continuous, LogUniform, Discrete, Categorical)}


def parameter_from_dict(definition: Mapping[str, Any]) -> Parameter:
    """The parameter that `Parameter.to_dict` described.

    Raises:
        InvalidSearchSpace: not such a description.
    """
    if not isinstance(definition, Mapping) or definition.get("type") not in _KINDS:
        raise InvalidSearchSpace(f"a parameter's type must be one of {sorted(_KINDS)}, got {definition!r}")
    kind = _KINDS[definition["type"]]
    arguments = {str(k): v for k, v in definition.items() if k != "type"}
    unknown = set(arguments) - set(kind.fields) - {"when"}
    if unknown:
        raise InvalidSearchSpace(f"{kind.__name__} has no field {sorted(unknown)}; it has {list(kind.fields)}")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise InvalidSearchSpace(f"incomplete definition of {kind.__name__}: {error}") from error


def _rebuild(definition: Mapping[str, Any]) -> Parameter:
    return parameter_from_dict(definition)
