"""Bounds that depend on other parameters: `Discrete(1, "max_layers")` lies between 1 and the trial's max_layers.

Outside of a trial such a parameter has outer bounds, between which it always lies: they follow from those of the
parameters that are named. Samplers see it on its outer range, where a value means the same in every trial. What the
prior gives is spread over the trial's own range, so nothing has to be drawn anew, however many bounds depend on each
other; and what lies beyond the trial's bound when it is suggested is put on the bound.

While a parameter that a bound names is inactive, the outer bound holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.expressions import Expression, names_in, read_number
from fasthpo.space.parameter import Numeric, Parameter
from fasthpo.space.relations import Relation
from fasthpo.values import FloatArray, IntArray, masked, shown

_SLACK = 1e-6  # of a step, that a bound may be off


class Ends(NamedTuple):
    """Between what a parameter lies in each of several trials, (n,); for a stepped one, its first and last cell."""

    low: FloatArray
    high: FloatArray
    first: IntArray | None
    last: IntArray | None

    @property
    def are_empty(self) -> npt.NDArray[np.bool_]:
        """Whether nothing lies between them, (n,)."""
        empty: npt.NDArray[np.bool_] = self.low > self.high
        if self.first is not None and self.last is not None:
            empty = self.first > self.last
        return empty


class Bound(Relation):
    """The bounds of one parameter, of which at least one depends on others.

    Attributes:
        child: its position.
        parents: the positions of those that they name.
    """

    def __init__(
        self, name: str, parameter: Numeric, child: int, low: Expression | None, high: Expression | None
    ) -> None:
        self.child = child
        self.parents = tuple(sorted({j for one in (low, high) if one is not None for j in one.parameters}))
        self.parameters = tuple(sorted({child, *self.parents}))
        self._name = name
        self._parameter = parameter
        self._low, self._high = low, high

    def ends(self, rows: FloatArray) -> Ends:
        """What the bounds are in the trials `rows` (n, d)."""
        parameter = self._parameter
        low = _evaluated(self._low, rows, float(parameter.low))
        high = _evaluated(self._high, rows, float(parameter.high))
        if parameter.lattice is None or parameter.lattice.last == 0:
            return Ends(low, high, None, None)
        lattice = parameter.lattice
        start, step = float(parameter.low), float(lattice.step)
        first = np.maximum(np.ceil((low - start) / step - _SLACK), 0).astype(np.int64)
        last = np.minimum(np.floor((high - start) / step + _SLACK), lattice.last).astype(np.int64)
        return Ends(low, high, first, last)

    def _speaks_of(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        active: npt.NDArray[np.bool_] = ~np.isnan(rows[:, self.child])
        return active

    def _hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        ends, values = self.ends(rows), rows[:, self.child]
        inside: npt.NDArray[np.bool_] = (values >= ends.low) & (values <= ends.high)
        if ends.first is not None and ends.last is not None:
            cells = self._parameter.cell(values)
            inside = (cells >= ends.first) & (cells <= ends.last)
        return inside

    @masked
    def from_unit(self, unit: FloatArray, rows: FloatArray) -> FloatArray:
        """The parameter's values (n,) at quantiles (n,) of its prior between the bounds of the trials `rows` (n, d)."""
        ends, parameter = self.ends(rows), self._parameter
        if ends.first is None or ends.last is None:
            low, high = ends.low, np.maximum(ends.low, ends.high)
            if parameter.log:
                values = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
            else:
                values = low + unit * (high - low)
            inside: FloatArray = np.clip(values, low, high)
            return inside
        first, last = ends.first, np.maximum(ends.first, ends.last)
        if not parameter.log:
            return parameter.at(np.minimum(first + (unit * (last - first + 1)).astype(np.int64), last))
        # each value owns the stretch of the log axis from half a step below it to half a step above
        step = float(parameter.step or 1.0)
        low, high = np.log(parameter.at(first) - step / 2), np.log(parameter.at(last) + step / 2)
        cells = np.rint((np.exp(low + unit * (high - low)) - parameter.low) / step).astype(np.int64)
        return parameter.at(np.clip(cells, first, last))

    def put_inside(self, rows: FloatArray) -> None:
        """Move the parameter's values in the trials `rows` (n, d) to the nearest bound if they lie beyond, in place."""
        active = np.flatnonzero(~np.isnan(rows[:, self.child]))
        some = rows[active]
        ends, values = self.ends(some), some[:, self.child]
        if ends.first is None or ends.last is None:
            rows[active, self.child] = np.minimum(np.maximum(values, ends.low), ends.high)
        else:
            cells = np.minimum(np.maximum(self._parameter.cell(values), ends.first), ends.last)
            rows[active, self.child] = self._parameter.at(np.maximum(cells, 0))

    def to_dict(self) -> dict[str, Any]:
        raise AssertionError("a bound stands in the definition of its parameter")

    def __repr__(self) -> str:
        low = "" if self._low is None else f"{self._low.text} <= "
        high = "" if self._high is None else f" <= {self._high.text}"
        return f"{low}{self._name}{high}"


def _evaluated(expression: Expression | None, rows: FloatArray, otherwise: float) -> FloatArray:
    """A bound's values (n,); the outer one where it is none of an expression, or a parameter named is inactive."""
    found = np.full(len(rows), otherwise)
    if expression is not None:
        active = ~np.isnan(rows[:, list(expression.parameters)]).any(axis=1)
        if active.any():
            with np.errstate(all="ignore"):
                found[active] = expression.evaluate(rows[active])
    return found


def close_bounds(parameters: Mapping[str, Parameter]) -> tuple[dict[str, Parameter], tuple[Bound, ...]]:
    """Parameters with their outer bounds, and the bounds that depend on others, each behind those that it names.

    Raises:
        InvalidSearchSpace: a bound is no expression of the others' names, or they form a cycle, or no value can lie
            between two.
    """
    waiting = {name: one for name, one in parameters.items() if isinstance(one, Numeric) and one.depends}
    if not waiting:
        return dict(parameters), ()
    closed = dict(parameters)
    position = {name: j for j, name in enumerate(parameters)}
    bounds: list[Bound] = []
    while waiting:
        ready = [
            name
            for name, one in waiting.items()
            if not any(other in waiting for text in one.depends if text for other in names_in(text))
        ]
        if not ready:
            listed = ", ".join(
                f"{name!r} ({', '.join(repr(text) for text in one.depends if text)})" for name, one in waiting.items()
            )
            raise InvalidSearchSpace(f"bounds must not form a cycle, got one among {listed}")
        for name in ready:
            parameter = waiting.pop(name)
            low, high = (
                _read(name, end, text, closed) for end, text in zip(("low", "high"), parameter.depends, strict=True)
            )
            closed[name] = one = _closed(name, parameter, low, high)
            bounds.append(Bound(name, one, position[name], low, high))
    return closed, tuple(bounds)


def _read(name: str, end: str, text: str | None, parameters: Mapping[str, Parameter]) -> Expression | None:
    if text is None:
        return None
    try:
        return read_number(text, parameters)
    except InvalidSearchSpace as error:
        raise InvalidSearchSpace(f"{end} of {name!r}: {error}") from None


def _closed(name: str, parameter: Numeric, low: Expression | None, high: Expression | None) -> Numeric:
    """The parameter between its outer bounds; those of a stepped one lie on its steps."""
    first = parameter.low if low is None else low.low
    last = parameter.high if high is None else high.high
    if parameter.is_whole:
        first, last = math.ceil(first), math.floor(last)
    step = parameter.step
    if step and first <= last:
        last = first + math.floor((last - first) / step + _SLACK) * step
    try:
        return parameter.closed(first, last)
    except InvalidSearchSpace as error:
        raise InvalidSearchSpace(f"{name!r}, between the outermost of its bounds: {error}") from None


def refuse_empty(bound: Bound, rows: FloatArray, parameters: Mapping[str, Parameter]) -> None:
    """Make sure that something lies between the bounds in the trials `rows` (n, d).

    Raises:
        InvalidSearchSpace: in one, nothing does.
    """
    ends = bound.ends(rows)
    active = ~np.isnan(rows[:, bound.child])
    empty = np.flatnonzero(ends.are_empty & active)
    if len(empty):
        first = int(empty[0])
        names = list(parameters)
        given = {
            names[j]: parameters[names[j]].decode(rows[first, j])
            for j in bound.parents
            if rows[first, j] == rows[first, j]
        }
        raise InvalidSearchSpace(
            f"nothing lies between the bounds of {names[bound.child]!r}, {ends.low[first]:g} and "
            f"{ends.high[first]:g}, where {shown(given)}"
        )
