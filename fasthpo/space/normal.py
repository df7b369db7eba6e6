"""Numbers that are normally distributed: a guess at the best value, and how far off it may be."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.parameter import Numeric, Value, When, check_finite, check_points
from fasthpo.values import FloatArray, element, masked, shown

_REACH = 5.0  # standard deviations from the mean, beyond which samplers suggest nothing: 6e-7 of the distribution
_WIDER = 4.0  # how many times as wide the distribution is that is uniform to samplers that learn; see ABLATIONS.md
_FLAT = 1e6  # standard deviations, as multiples of the range, from which on a float64 can't tell it from uniform


class NormalNumber(Numeric):
    """What both kinds are: the number itself, or its logarithm, has a normal distribution that is cut off at bounds.

    Where there is no bound `low` or `high` is the least or largest value there is, and infinite if there is none.
    """

    __slots__ = ("_reach", "mean", "n_points", "sd")
    fields = ("mean", "sd", "low", "high", "n_points")
    _is_log: ClassVar[bool]
    _open: ClassVar[tuple[float, float]]  # the bounds where none is given
    mean: float
    sd: float
    n_points: int | None
    _reach: tuple[float, float]

    def __init__(
        self,
        mean: float,
        sd: float,
        low: float | None = None,
        high: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
    ) -> None:
        super().__init__(when)
        self._set("mean", check_finite("mean", mean))
        self._set("sd", check_finite("sd", sd))
        if self.sd <= 0:
            raise InvalidSearchSpace(f"sd must be positive, got sd={self.sd}")
        self._set("low", self._open[0] if low is None else check_finite("low", low))
        self._set("high", self._open[1] if high is None else check_finite("high", high))
        self._set("log", self._is_log)
        self._set("step", None)
        self._set("n_points", check_points(n_points))
        if self.low >= self.high:
            raise InvalidSearchSpace(f"low must be less than high, got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise InvalidSearchSpace(f"low must be positive on a log scale, got low={self.low}")
        self._set("_reach", self._checked_reach())

    def _checked_reach(self) -> tuple[float, float]:
        """The least and the largest value that samplers suggest: there are different floats in between."""
        given = ", ".join(f"{name}={one}" for name, one in self.arguments().items() if one is not None)
        low, high = (math.log(self.low), _log(self.high)) if self.log else (self.low, self.high)
        if not low <= self.mean <= high:
            what = "exp(mean)" if self.log else "mean"
            raise InvalidSearchSpace(f"{what} must lie between low and high, got {given}")
        ends = max(low, self.mean - _REACH * self.sd), min(high, self.mean + _REACH * self.sd)
        first, middle, last = (_exp(t) if self.log else t for t in (ends[0], ends[0] / 2 + ends[1] / 2, ends[1]))
        first, last = max(first, self.low), min(last, self.high)  # exp(log(0.1)) is 0.10000000000000002
        if not math.isfinite(last - first) or first == math.ulp(0.0):
            raise InvalidSearchSpace(
                f"values within {_REACH:g} sd of the mean must fit into floats, got {given}; give low and high, "
                "or a smaller sd"
            )
        if not first < middle < last:
            raise InvalidSearchSpace(f"sd must be larger, or all values would be the same float, got {given}")
        return first, last

    def arguments(self) -> dict[str, Any]:
        given = super().arguments()
        for name, end in zip(("low", "high"), self._open, strict=True):
            if given[name] == end:
                given[name] = None
        return given

    @property
    def reach(self) -> tuple[float, float]:
        return self._reach

    @property
    def count(self) -> int | None:
        return None

    def encode(self, value: Any) -> float:
        return self._number(value)

    def decode(self, column_value: float) -> Value:
        return float(column_value)

    def _axis(self, wider: float) -> list[float]:
        """The axis on which a distribution so many times as wide is uniform."""
        from fasthpo.kernels.axes import normal_axis  # imports numba

        low, high = self._reach
        span = math.log(high) - math.log(low) if self.log else high - low
        return normal_axis(low, high, self.log, self.mean, wider * min(self.sd, _FLAT * span))

    def axis(self) -> list[float]:
        return self._axis(_WIDER)

    @masked
    def from_unit(self, unit: FloatArray) -> FloatArray:
        from fasthpo.kernels.axes import values_of_coordinates  # imports numba

        values = np.empty(unit.shape)
        values_of_coordinates(np.array(self._axis(1.0)), np.ascontiguousarray(unit), values)
        return values

    @masked
    def to_unit(self, column_values: FloatArray) -> FloatArray:
        from fasthpo.kernels.axes import coordinates_of_values  # imports numba

        unit = np.empty(column_values.shape)
        coordinates_of_values(np.array(self._axis(1.0)), np.ascontiguousarray(column_values), unit)
        return unit


def _log(value: float) -> float:
    return math.inf if value == math.inf else math.log(value)


def _exp(number: float) -> float:
    try:
        return math.exp(number)
    except OverflowError:
        return math.inf


class Normal(NormalNumber):
    """A float that is most likely near `mean`: normally distributed, cut off at the bounds that there are.

    Random, quasi-random and first suggestions follow the distribution. Samplers that learn go on from there where good
    trials lead, in steps that grow with the distance from the mean. None suggests values more than five standard
    deviations from the mean; those given (`enqueue`, `add_trials`, `tell`) may lie anywhere within the bounds.

    Args:
        mean: the likeliest value.
        sd: the standard deviation, before it is cut off; about two thirds of all values lie so near to the mean.
        low: smallest value; None: there is none.
        high: largest value; None: there is none.
        n_points: how many values a grid tries: the middles of so many parts of equal probability. Only grids read it.
        when: active only if every named parent has one of the listed values, or meets the comparison.

    Raises:
        InvalidSearchSpace: a number that is not finite, an sd that is not positive, bounds out of order, or a mean that
            does not lie between them.

    Example:
        >>> Normal(0.9, 0.05, high=1.0).contains(0.87)
        True
    """

    __slots__ = ()
    kind = "normal"
    _is_log = False
    _open = (-math.inf, math.inf)


class LogNormal(NormalNumber):
    """A positive float of which the natural logarithm is normally distributed, cut off at the bounds that there are.

    All is as with `Normal`, on a logarithmic scale.

    Args:
        mean: of the logarithm: `math.log(1e-3)` where 1e-3 is the likeliest order of magnitude.
        sd: the standard deviation of the logarithm, before it is cut off: `math.log(10)` for a factor of ten.
        low: smallest value, positive; None: there is none.
        high: largest value; None: there is none.
        n_points: how many values a grid tries: the middles of so many parts of equal probability. Only grids read it.
        when: active only if every named parent has one of the listed values, or meets the comparison.

    Raises:
        InvalidSearchSpace: as `Normal`; `exp(mean)` must lie between the bounds, and `low` must be positive.

    Example:
        >>> import math
        >>> LogNormal(math.log(1e-3), math.log(10), high=1.0).contains(3e-4)
        True
    """

    __slots__ = ()
    kind = "log_normal"
    _is_log = True
    _open = (math.ulp(0.0), math.inf)

    def encode(self, value: Any) -> float:
        try:
            return self._number(value)
        except InvalidParameters:
            if (self.low, self.high) != self._open:
                raise
            raise InvalidParameters(f"must be a positive, finite number, got {shown(element(value))}") from None
