"""How numbers are laid out in a picture: bounds, a linear or logarithmic scale, and the labels of choices.

A *place* is where a value stands on its scale: the value itself, its decimal logarithm on a logarithmic scale, or the
index of a choice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fasthpo.space.normal import NormalNumber
from fasthpo.space.parameter import Parameter
from fasthpo.values import FloatArray, masked, steady_str

_FAR = 3.0  # how many times as far from the best as nine in ten values are: what lies beyond is not drawn to scale
_DECADES = 1000.0  # from the lowest to the highest of positive numbers, from which on their scale is logarithmic
# the same of values of which the lowest and the highest tenth do not count: less where low ones are good, which a
# linear scale would press together
_USUAL_DECADES = {1.0: 10.0, -1.0: 100.0}
_LONE = 2.0  # how many times as many decades as the usual values span, the best may lie apart from them
_LARGEST, _SMALLEST = 1e200, 1e-200  # that are drawn to scale: what draws has to add and to multiply numbers, too
_LIKELY = 0.001, 0.999  # quantiles between which the values of a parameter with a distribution are shown in any case
_LONGEST = 24  # characters of a choice's label


class Scale(NamedTuple):
    """The scale of one axis of a picture.

    Attributes:
        name: what it shows.
        low, high: its bounds, as values.
        log: whether it is logarithmic.
        labels: of choices, by index; None for numbers.
        beyond: how many values lie outside the bounds, and are drawn at them.
        is_whole: whether all values are integers.
        step: between neighbouring values; 0 for a continuum.
    """

    name: str
    low: float
    high: float
    log: bool = False
    labels: tuple[str, ...] | None = None
    beyond: int = 0
    is_whole: bool = False
    step: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The places of the bounds."""
        return (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)

    @masked
    def places(self, values: FloatArray) -> FloatArray:
        """Where values stand, those outside the bounds at them; NaN stays NaN."""
        inside = np.clip(values, self.low, self.high)
        found: FloatArray = np.log10(inside) if self.log else inside
        return found

    @masked
    def values(self, places: FloatArray) -> FloatArray:
        """The values that stand at places."""
        found: FloatArray = np.power(10.0, places) if self.log else places
        return found

    def inside(self, values: FloatArray) -> FloatArray:
        """The values, those outside the bounds at them, as they are drawn; NaN stays NaN."""
        return self.values(self.places(values))

    @masked
    def fractions(self, values: FloatArray) -> FloatArray:
        """Where values stand between the bounds, from 0 to 1; NaN stays NaN."""
        low, high = self.bounds
        places: FloatArray = self.places(values) / 2 - low / 2  # halves: the bounds may be 1e308 apart, both ways
        found: FloatArray = places / (high / 2 - low / 2)
        return found

    def edges(self, count: int) -> FloatArray:
        """The edges, as places, of at most `count` bins; one a choice, and as many values of a step in each."""
        if self.labels is not None:
            return np.arange(len(self.labels) + 1.0) - 0.5
        if self.step and not self.log:
            values = round((self.high - self.low) / self.step) + 1
            together = -(-values // count)
            edges: FloatArray = self.low + (np.arange(0.0, values + together, together) - 0.5) * self.step
            return edges[: -(-values // together) + 1]
        return np.linspace(*self.bounds, count + 1)


def label(choice: object) -> str:
    """A choice as a short text."""
    text = " ".join(steady_str(choice).split()) if str(choice).strip() else repr(choice)
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 + 1 :]}"


def parameter_scale(name: str, parameter: Parameter, column: FloatArray) -> Scale:
    """The scale of a parameter: all of its range; where that has no end, what is likely and what was tried.

    Args:
        name: of the parameter.
        parameter: what it can be.
        column: the column values of the trials, NaN where inactive, (n,).
    """
    if parameter.choices is not None:
        labels = tuple(label(choice) for choice in parameter.choices)
        return Scale(name, -0.5, len(labels) - 0.5, labels=labels, is_whole=True)
    low, high = parameter.bounds
    if isinstance(parameter, NormalNumber):
        tried = column[~np.isnan(column)]
        low, high = parameter.from_unit(np.array(_LIKELY)).tolist()
        low, high = float(tried.min(initial=low)), float(tried.max(initial=high))
    log = bool(parameter.log)  # type: ignore[attr-defined]
    if low == high:
        low, high = (low / 2, high * 2) if log else widened(low, high)
    low, high = _drawable(low, high, log)
    step = 0.0 if parameter.count is None else float(parameter.step or 0.0)  # type: ignore[attr-defined]
    return Scale(name, low, high, log, is_whole=parameter.is_whole, step=step)


def widened(low: float, high: float) -> tuple[float, float]:
    """Bounds that differ from each other, or else both a little further out."""
    extra = max(abs(low) * 0.05, 0.5)
    return (low - extra, high + extra) if low == high else (low, high)


@masked
def value_scale(name: str, values: FloatArray, losses: FloatArray, far: float = _FAR) -> Scale:
    """A scale for values of which some may be far worse than the rest, or infinite.

    It is logarithmic where all values are positive and the usual ones lie decades apart. It reaches from the best value
    to the worst, but no further than `far` times as far as nine in ten values reach.

    Args:
        name: what the values are.
        values: (n,); NaN does not count.
        losses: the same turned so that lower is better (the values, or their negatives).
        far: see above; 1 for colours, of which those that tell the usual values apart are to be many.
    """
    values, losses = values[~np.isnan(values)], losses[~np.isnan(values)]
    finite = np.isfinite(values)
    if not finite.any():
        return Scale(name, 0.0, 1.0, beyond=len(values))
    sign = 1.0 if np.array_equal(values[finite], losses[finite]) else -1.0
    low, high = _fenced(sign, losses[finite], far)
    usual = np.quantile(values[finite], [0.1, 0.9])
    least = float(values[finite].min())
    log = bool(least > 0 and usual[1] / usual[0] > _USUAL_DECADES[sign])
    log = log and math.log(usual[0] / least) <= _LONE * math.log(usual[1] / usual[0])
    if log:
        low, high = (10.0**place for place in widened(*_fenced(sign, sign * np.log10(values[finite]), far)))
    else:
        low, high = widened(low, high)
    low, high = _drawable(low, high, log)
    return Scale(name, low, high, log, beyond=_outside(values, low, high))


def _fenced(sign: float, losses: FloatArray, far: float) -> tuple[float, float]:
    """The bounds of values: from the best to the worst one that is not too far off.

    Args:
        sign: 1 if the values are the losses, or else -1.
        losses: finite, (n,).
        far: how many times as far from the best as nine in ten.
    """
    best, usual, worst = float(losses.min()), float(np.quantile(losses, 0.9)), float(losses.max())
    fence = best + far * (usual - best)
    end = fence if usual > best and fence < worst else worst
    low, high = sorted((sign * best + 0.0, sign * end + 0.0))  # -0.0 is 0.0
    return low, high


def _drawable(low: float, high: float, log: bool) -> tuple[float, float]:
    """Bounds that a picture can have."""
    least = _SMALLEST if log else -_LARGEST
    low, high = max(low, least), min(high, _LARGEST)
    return (low, high) if low < high else (least, _LARGEST)


def _outside(values: FloatArray, low: float, high: float) -> int:
    slack = 1e-9 * max(abs(low), abs(high))
    return int(((values < low - slack) | (values > high + slack)).sum())


def plain_scale(name: str, values: FloatArray, log: bool | None = None) -> Scale:
    """A scale for all of the values, none of which may be infinite; NaN does not count.

    Args:
        name: what the values are.
        values: (n,).
        log: whether it is logarithmic; None: where all are positive and lie decades apart.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Scale(name, 0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log is None:
        log = low > 0 and high / low > _DECADES
    if low == high:
        low, high = (low / 2, high * 2) if log else widened(low, high)
    return Scale(name, *_drawable(low, high, log), log)
