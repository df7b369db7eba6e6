"""A search space in the arrays that the Parzen kernels read (see `kernels/axes.py`)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.parameter import FloatArray, Lattice, Numeric, Parameter
from fasthpo.parameters import Categorical
from fasthpo.reports import IntArray
from fasthpo.search_space import SearchSpace

COARSE_LIMIT = 8  # a stepped parameter of at most so many cells is looked up cell by cell
_STRAIGHT = 1e-6  # a logarithm over a range that is relatively narrower is a straight line, but for its rounding
_NONE = Lattice(*[np.empty(0)] * len(Lattice._fields))


class EncodedSpace(NamedTuple):
    """The arrays of a space; `kernels/axes.py` says what they mean.

    `stepped` are the numeric parameters with a step, and `lattice` says where their values lie: the kernels' own values
    may be off by a rounding error.
    """

    axes: FloatArray
    order: IntArray
    conditions: IntArray
    allowed: FloatArray
    conditional: npt.NDArray[np.bool_]
    stepped: IntArray
    lattice: Lattice

    def on_lattice(self, rows: FloatArray) -> FloatArray:
        """Rows (..., d) from a kernel, their stepped values made the space's own, in place; NaN where inactive."""
        stepped = self.stepped
        if len(stepped):
            given = rows[..., stepped]
            active = ~np.isnan(given)
            lattice = self.lattice
            values = lattice.at(lattice.cell(np.where(active, given, lattice.low)))
            rows[..., stepped] = np.where(active, values, np.nan)
        return rows


def _axis(parameter: Parameter) -> list[float]:
    from fasthpo.kernels.axes import CATEGORICAL, COARSE, CONSTANT, CONTINUOUS, FINE

    count = parameter.count
    if isinstance(parameter, Categorical):
        return [CONSTANT if parameter.count == 1 else CATEGORICAL, parameter.count, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert isinstance(parameter, Numeric)
    low, high = float(parameter.low), float(parameter.high)
    log = float(parameter.log and high > low * (1 + _STRAIGHT))
    if count == 1:
        return [CONSTANT, 1.0, low, high, 1.0, log, 0.0, 1.0]
    step = float(parameter.step or 0.0)
    first, last = low - step / 2, high + step / 2
    offset, end = (math.log(first), math.log(last)) if log else (first, last)
    kind = CONTINUOUS if count is None else COARSE if count <= COARSE_LIMIT else FINE
    return [kind, count or 0.0, low, high, step, log, offset, end - offset]


def encode(space: SearchSpace) -> EncodedSpace:
    """The arrays of a space."""
    conditions: list[tuple[int, int, int, int]] = []
    allowed: list[float] = []
    for child, needed in enumerate(space.conditions):
        for condition in needed:
            cells = space.parameters[condition.parent].cell(condition.allowed)
            conditions.append((child, condition.parent, len(allowed), len(allowed) + len(cells)))
            allowed += [float(cell) for cell in cells]
    finite = [(j, p.lattice) for j, p in enumerate(space.parameters) if p.lattice and not isinstance(p, Categorical)]
    return EncodedSpace(
        np.array([_axis(parameter) for parameter in space.parameters], np.float64),
        np.array(space.order, np.int64),
        np.array(conditions, np.int64).reshape(-1, 4),
        np.array(allowed, np.float64),
        np.array([bool(needed) for needed in space.conditions]),
        np.array([j for j, _ in finite], np.int64),
        Lattice(*(np.array(field) for field in zip(*(lattice for _, lattice in finite), strict=True)))
        if finite
        else _NONE,
    )
