"""A search space in the arrays that kernels read (see `kernels/axes.py`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.kernels.arrays import BoolArray, FloatArray, IntArray, Space
from fasthpo.space.parameter import Lattice
from fasthpo.space.search_space import SearchSpace

_NONE = Lattice(*[np.empty(0)] * len(Lattice._fields))


class EncodedSpace(NamedTuple):
    """The arrays of a space of d parameters, and what each of its axes is.

    `stepped` are the numeric parameters with a step, and `lattice` says where their values lie: the kernels' own values
    may be off by a rounding error.
    """

    space: Space
    numeric: BoolArray  # whether a parameter is a number and varies, (d,)
    continuous: BoolArray  # whether it is one without a step, (d,)
    movable: BoolArray  # whether it is one on which nothing depends, so that a change activates nothing, (d,)
    categorical: BoolArray  # whether it is a choice and varies, (d,)
    cells: IntArray  # how many cells or choices are looked up one by one, (d,); 0 for other axes
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


def positions_of_rows(space: EncodedSpace, rows: FloatArray) -> FloatArray:
    """Where rows of column values (m, d) lie for a Gaussian process, (d, m)."""
    from fasthpo.kernels.axes import positions_of_values

    points = np.zeros(rows.T.shape)
    positions_of_values(space.space.axes, np.ascontiguousarray(rows.T), np.arange(len(rows)), 0, points)
    return points


def encode_space(space: SearchSpace) -> EncodedSpace:
    """The arrays of a space: the axes of its parameters, and their conditions."""
    from fasthpo.kernels.axes import CATEGORICAL, COARSE, CONTINUOUS, COUNT, FINE, KIND

    conditions: list[tuple[int, int, int, int]] = []
    allowed: list[tuple[float, float]] = []
    for child, needed in enumerate(space.conditions):
        for condition in needed:
            parent = space.parameters[condition.parent]
            # as `kernels/axes.deciding` looks at it
            ranges = condition.allowed.ends() if parent.lattice is None else condition.allowed.cells(parent)
            conditions.append((child, condition.parent, len(allowed), len(allowed) + len(ranges)))
            allowed += ranges
    axes = np.array([parameter.axis() for parameter in space.parameters], np.float64)
    kinds = axes[:, KIND]
    stepped = np.flatnonzero((kinds == FINE) | (kinds == COARSE))
    lattices = [space.parameters[j].lattice for j in stepped]
    return EncodedSpace(
        Space(
            axes,
            np.array(space.order, np.int64),
            np.array(conditions, np.int64).reshape(-1, 4),
            np.array(allowed, np.float64).reshape(-1, 2),
            np.array([bool(needed) for needed in space.conditions]),
        ),
        (kinds == CONTINUOUS) | (kinds == FINE) | (kinds == COARSE),
        kinds == CONTINUOUS,
        (kinds == CONTINUOUS) & ~np.isin(np.arange(len(axes)), [parent for _, parent, _, _ in conditions]),
        kinds == CATEGORICAL,
        np.where((kinds == COARSE) | (kinds == CATEGORICAL), axes[:, COUNT], 0.0).astype(np.int64),
        stepped,
        Lattice(*(np.array(field) for field in zip(*(one for one in lattices if one), strict=True)))
        if lattices
        else _NONE,
    )
