"""The kinds of parameter a search space is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.choice_values import SCALARS, as_choice, choice_from_json, choice_key
from fasthpo.space.decimals import meant, meant_bound, rounding_error
from fasthpo.space.parameter import (
    LARGEST_INTEGER,
    Lattice,
    Numeric,
    Parameter,
    Value,
    When,
    check_boolean,
    check_finite,
    check_integer,
    check_points,
)
from fasthpo.space.prior import Prior
from fasthpo.values import FloatArray, element, masked, shown

_MAX_LISTED = 8  # choices shown in an error message
_MOST_DIGITS = 22  # decimals that rounding can give; larger powers of ten are no exact float64
_SLACK = 1e-6  # of a step, that a value may be off


class Continuous(Numeric):
    """A float between `low` and `high`, both included, on a linear scale.

    Args:
        low: smallest value, or the name of a parameter, or an expression of such, that it must not be below: see
            `SearchSpace.require`.
        high: largest value, or the same; equal to `low` it makes a constant.
        step: distance between neighbouring values; it must divide `high - low`. None: any float. Values are the
            decimals that bounds and step mean: `Continuous(0, 0.1 * 3, step=0.1)` has the values 0.0, 0.1, 0.2 and 0.3.
        n_points: how many evenly spaced values a grid tries. Only grids read it.
        when: active only if every named parent has one of the listed values.
        prior: a guess of the best value, or a `Prior` that says how sure it is; None: nothing is believed.

    Raises:
        InvalidSearchSpace: bounds out of order or not finite, or a step that does not fit.

    Example:
        >>> Continuous(0.0, 0.1, step=0.02).count
        6
    """

    __slots__ = ("n_points",)
    kind = "continuous"
    fields = ("low", "high", "step", "n_points")
    n_points: int | None

    def __init__(
        self,
        low: float | str,
        high: float | str,
        step: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
        prior: Any = None,
    ) -> None:
        super().__init__(when)
        self._set("log", False)
        self._set("step", None if step is None else check_finite("step", step))
        self._set("n_points", check_points(n_points))
        if self._leave_open(low, high):
            self._set("prior", Prior.stated(prior))  # its guess is looked at when the bounds are known
            return
        self._set("low", check_finite("low", low))
        self._set("high", check_finite("high", high))
        self._check_order()
        if self.step is not None:
            self._check_step(self.step)
        if self.low == self.high:
            self._set("lattice", self._constant())
        elif self.step is not None:
            self._set("lattice", self._stepped(self.step))
        self._believe(prior)

    def _check_step(self, step: float) -> None:
        if step <= 0:
            raise InvalidSearchSpace(f"step must be positive, got step={step}")
        if self.n_points is not None:
            raise InvalidSearchSpace(f"give step or n_points, not both, got step={step}, n_points={self.n_points}")
        if self.low == self.high:
            return
        bounds = f"got low={self.low}, high={self.high}, step={step}"
        spacing = math.ulp(max(abs(self.low), abs(self.high)))
        steps = (self.high - self.low) / step
        if step <= 4 * spacing or steps >= LARGEST_INTEGER:
            raise InvalidSearchSpace(f"step must be larger, or neighbouring values would be the same float, {bounds}")
        # a step such as 0.333333333 is meant to fit, and bounds are rounded, too; a quarter of a step is no slip
        tolerance = min(max(1e-8 * max(1.0, steps), spacing / step), 0.25)
        if steps < 0.5 or abs(steps - round(steps)) > tolerance:
            fit = self.low + math.floor(steps) * step
            hint = f"; high={fit:.12g} would fit" if fit > self.low else ""
            raise InvalidSearchSpace(f"step must divide high - low, {bounds}{hint}")

    def _stepped(self, step: float) -> Lattice:
        last = round((self.high - self.low) / step)
        largest = max(abs(self.low), abs(self.high))
        # bounds such as 0.1 * 3 are computed; what they mean counts, but no value lies beyond them
        error = min(rounding_error(largest), 1e-3 * step)
        anchor, end = meant_bound(self.low, error), meant_bound(self.high, error)
        step = meant(step, rounding_error(step))
        low, high = max(self.low, anchor), min(self.high, end)
        exponents = [Decimal(repr(x)).normalize().as_tuple().exponent for x in (anchor, step)]
        digits = max(0, *(-e for e in exponents if isinstance(e, int)))
        decimal = digits <= _MOST_DIGITS and largest * 10.0**digits < LARGEST_INTEGER
        return Lattice(low, high, last, step, anchor, 0, decimal, 10.0**digits if decimal else 1.0)

    @property
    def count(self) -> int | None:
        if self.low == self.high:
            return 1
        return None if self.lattice is None else int(self.lattice.last) + 1

    def encode(self, value: Any) -> float:
        if self.step is None or self.low == self.high:
            return self._number(value)
        slack = _SLACK * self.step
        number = self._number(value, slack)
        nearest = float(self.at(self.cell(np.array(number))))
        if abs(nearest - number) > slack:
            raise InvalidParameters(f"must be low + k * step (low={self.low}, step={self.step}), got {shown(value)}")
        return nearest

    def decode(self, column_value: float) -> Value:
        return float(column_value)


class LogUniform(Numeric):
    """A float between `low` and `high`, both included, on a logarithmic scale.

    Args:
        low: smallest value, positive; or the name of a parameter, or an expression of such, that it must not be below:
            see `SearchSpace.require`.
        high: largest value, or the same; equal to `low` it makes a constant.
        n_points: how many values a grid tries, evenly spaced in the logarithm. Only grids read it.
        when: active only if every named parent has one of the listed values.
        prior: a guess of the best value, or a `Prior` that says how sure it is; None: nothing is believed.

    Raises:
        InvalidSearchSpace: bounds out of order, not finite, or not positive.

    Example:
        >>> LogUniform(1e-5, 1e-1).contains(1e-3)
        True
    """

    __slots__ = ("n_points",)
    kind = "log_uniform"
    fields = ("low", "high", "n_points")
    n_points: int | None

    def __init__(
        self,
        low: float | str,
        high: float | str,
        n_points: int | None = None,
        when: When | None = None,
        prior: Any = None,
    ) -> None:
        super().__init__(when)
        self._set("log", True)
        self._set("step", None)
        self._set("n_points", check_points(n_points))
        if self._leave_open(low, high):
            self._set("prior", Prior.stated(prior))  # its guess is looked at when the bounds are known
            return
        self._set("low", check_finite("low", low))
        self._set("high", check_finite("high", high))
        self._check_order()
        if self.low == self.high:
            self._set("lattice", self._constant())
        self._believe(prior)

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
        low: smallest value, or the name of a parameter, or an expression of such, that it must not be below: see
            `SearchSpace.require`.
        high: largest value, or the same; equal to `low` it makes a constant.
        step: distance between neighbouring values; it must divide `high - low`.
        log: search on a logarithmic scale (`low` must be positive, and more than half a step).
        when: active only if every named parent has one of the listed values.
        prior: a guess of the best value, or a `Prior` that says how sure it is; None: nothing is believed.

    Raises:
        InvalidSearchSpace: bounds out of order or beyond 2**53, or a step that does not fit.

    Example:
        >>> Discrete(8, 128, 8).count
        16
    """

    __slots__ = ()
    is_whole = True
    kind = "discrete"
    fields = ("low", "high", "step", "log")

    def __init__(
        self,
        low: int | str,
        high: int | str,
        step: int = 1,
        log: bool = False,
        when: When | None = None,
        prior: Any = None,
    ) -> None:
        super().__init__(when)
        self._set("step", check_integer("step", step))
        self._set("log", check_boolean("log", log))
        if self._leave_open(low, high):
            self._set("prior", Prior.stated(prior))  # its guess is looked at when the bounds are known
            return
        self._set("low", check_integer("low", low))
        self._set("high", check_integer("high", high))
        self._check_order()
        assert isinstance(self.step, int) and isinstance(self.low, int) and isinstance(self.high, int)
        if self.step < 1:
            raise InvalidSearchSpace(f"step must be at least 1, got step={self.step}")
        if beyond := (self.high - self.low) % self.step:
            hint = f"; high={self.high - beyond} would fit" if self.high - beyond > self.low else ""
            raise InvalidSearchSpace(
                f"step must divide high - low, got low={self.low}, high={self.high}, step={self.step}{hint}"
            )
        if self.log and self.high > self.low and self.low * 2 <= self.step:
            raise InvalidSearchSpace(
                f"low must be more than half a step on a log scale, got low={self.low}, step={self.step}"
            )
        last = (self.high - self.low) // self.step
        middle = last // 2
        low, high, step = float(self.low), float(self.high), float(self.step)
        self._set("lattice", Lattice(low, high, last, step, self.low + middle * self.step, middle, False, 1.0))
        self._believe(prior)

    @property
    def count(self) -> int:
        if self.lattice is None:
            raise InvalidSearchSpace("only a search space knows the bounds, as they depend on other parameters")
        return int(self.lattice.last) + 1

    def encode(self, value: Any) -> float:
        number = self._number(value)
        assert self.step is not None
        if not number.is_integer() or (int(number) - self.low) % self.step:
            raise InvalidParameters(f"must be low + k * step (low={self.low}, step={self.step}), got {shown(value)}")
        return number

    def decode(self, column_value: float) -> Value:
        return int(column_value)


class Categorical(Parameter):
    """One of several choices without order: strings, booleans, numbers, None, or tuples or frozensets of these.

    Args:
        choices: at least one choice, in order, none twice. `1`, `1.0` and `True` are three choices, nan is one.
        when: active only if every named parent has one of the listed values.
        prior: a guess of the best value, or a `Prior` that says how sure it is; None: nothing is believed.

    Raises:
        InvalidSearchSpace: no choices, a repeated one, or one of another type.

    Example:
        >>> Categorical(["adam", "sgd", None]).count
        3
    """

    __slots__ = ("_index", "_loose_index", "choices")
    kind = "categorical"
    fields = ("choices",)
    is_ordered = False
    choices: tuple[Value, ...]
    _index: dict[Any, int]
    _loose_index: dict[Any, int]  # in which 1 and 1.0 are the same

    def __init__(self, choices: Sequence[Value], when: When | None = None, prior: Any = None) -> None:
        super().__init__(when)
        # the order of a set differs from run to run
        no_list = isinstance(choices, (str, bytes, set, frozenset, Mapping)) or not hasattr(choices, "__iter__")
        if no_list or getattr(choices, "shape", None) == ():  # an array that is one value
            raise InvalidSearchSpace(f"choices must be a list of values, got choices={shown(choices)}")
        listed = tuple(map(as_choice, choices))
        if not listed:
            raise InvalidSearchSpace("choices must hold at least one value, got none")
        index: dict[Any, int] = {}
        loose: dict[Any, int] = {}
        for i, choice in enumerate(listed):
            if index.setdefault(choice_key(choice), i) != i:
                raise InvalidSearchSpace(f"choices must differ from each other, got {shown(choice)} twice")
            loose.setdefault(choice_key(choice, exactly=False), i)
        self._set("choices", listed)
        self._set("_index", index)
        self._set("_loose_index", loose)
        self._set("lattice", Lattice(0.0, len(listed) - 1.0, len(listed) - 1, 1.0, 0.0, 0, False, 1.0))
        self._believe(prior)

    @property
    def count(self) -> int:
        return len(self.choices)

    def encode(self, value: Any) -> float:
        value = element(value)
        if isinstance(value, (list, dict)):  # of a file, in which a tuple is a list
            value = choice_from_json(value)
        try:
            found = self._index.get((type(value), value))
            if found is not None and isinstance(value, SCALARS):
                return float(found)
            choice = as_choice(value)
            found = self._index.get(choice_key(choice))
            if found is None:  # 1 for the choice 1.0 is meant; True for it is not
                found = self._loose_index.get(choice_key(choice, exactly=False))
        except Exception:  # no choice, unhashable, or whatever comparing it raises
            found = None
        if found is None:
            listed = ", ".join(map(shown, self.choices[:_MAX_LISTED])) + (", ..." if self.count > _MAX_LISTED else "")
            raise InvalidParameters(f"must be one of [{listed}], got {shown(value)}")
        return float(found)

    def decode(self, column_value: float) -> Value:
        return self.choices[int(column_value)]

    @masked
    def from_unit(self, unit: FloatArray) -> FloatArray:
        return np.floor(np.minimum(unit * self.count, self.count - 1))

    def axis(self) -> list[float]:
        from fasthpo.kernels.axes import choice_axis  # imports numba

        return choice_axis(self.count)
