"""The geometry of a search space: the axes of its parameters, their unit intervals and cells, and their conditions.

A search space is a float64 array `axes` (d, 10), one row a parameter, with the columns named below. Numeric parameters
live on a unit axis: position = (value - offset) / span, of the logarithm on a log scale, and of the mass between the
mean and the value on a normal one. A stepped parameter owns the axis from half a step below its lowest value to half a
step above its highest, a *cell* a value. The *coordinate* of a point on an axis is

    CONTINUOUS, FINE    its position (FINE: that of the cell's value)
    COARSE              its cell, 0 to count - 1
    CATEGORICAL         the index of its choice
    CONSTANT            0

and NaN where the parameter is inactive.
"""

from __future__ import annotations

import math

import numpy as np

from .arrays import FloatArray, IntArray
from .compiling import kernel
from .normal import normal_excess, quantile_of_excess

# columns of `axes`; the last two are 0 where the scale is not a normal one
KIND, COUNT, LOW, HIGH, STEP, LOG, OFFSET, SPAN, MEAN, DEVIATION = range(10)
# kinds of axis
CONTINUOUS, FINE, COARSE, CATEGORICAL, CONSTANT = range(5)

COARSE_LIMIT = 8  # a stepped parameter of at most so many cells is looked up cell by cell
_STRAIGHT = 1e-6  # a logarithm over a range that is relatively narrower is a straight line, but for its rounding
LEAST_WIDTH = 2.0**-52  # of a cell: beyond 2^52 cells the edges of neighbours are the same float


def choice_axis(count: int) -> list[float]:
    """The row of a parameter with `count` choices that have no order."""
    return [CONSTANT if count == 1 else CATEGORICAL, count, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def constant_axis(value: float) -> list[float]:
    """The row of a parameter that has one value."""
    return [CONSTANT, 1.0, value, value, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def normal_axis(low: float, high: float, log: bool, mean: float, deviation: float) -> list[float]:
    """The row of a continuum on whose unit axis a normal distribution is uniform.

    Args:
        low, high: its bounds.
        log: whether it is the logarithm that has the distribution.
        mean, deviation: of the distribution.
    """
    first, last = (math.log(low), math.log(high)) if log else (low, high)
    offset, end = normal_excess((first - mean) / deviation), normal_excess((last - mean) / deviation)
    return [CONTINUOUS, 0.0, low, high, 0.0, float(log), offset, end - offset, mean, deviation]


def numeric_axis(low: float, high: float, step: float | None, log: bool, count: int | None) -> list[float]:
    """The row of a parameter whose values are numbers.

    Args:
        low, high: its bounds.
        step: the distance between neighbouring values; None for a continuum.
        log: whether its scale is logarithmic.
        count: how many values it has; None for a continuum.
    """
    low, high, is_log = float(low), float(high), float(log and high > low * (1 + _STRAIGHT))
    if count == 1:
        return [CONSTANT, 1.0, low, high, 1.0, is_log, 0.0, 1.0, 0.0, 0.0]
    distance = float(step or 0.0)
    first, last = low - distance / 2, high + distance / 2
    offset, end = (math.log(first), math.log(last)) if is_log else (first, last)
    kind = CONTINUOUS if count is None else COARSE if count <= COARSE_LIMIT else FINE
    return [kind, count or 0.0, low, high, distance, is_log, offset, end - offset, 0.0, 0.0]


@kernel
def is_numeric(axis: FloatArray) -> bool:
    """Whether it is an axis of numbers, of more than one."""
    return axis[KIND] == CONTINUOUS or axis[KIND] == FINE or axis[KIND] == COARSE


@kernel
def has_positions(axis: FloatArray) -> bool:
    """Whether coordinates are positions on the unit axis."""
    return axis[KIND] == CONTINUOUS or axis[KIND] == FINE


@kernel
def has_cells(axis: FloatArray) -> bool:
    """Whether coordinates are few and whole numbers: cells or choices, 0 to count - 1."""
    return axis[KIND] == COARSE or axis[KIND] == CATEGORICAL


@kernel
def position_of_value(axis: FloatArray, value: float) -> float:
    """The position of a value on a numeric axis."""
    if axis[LOG] != 0.0:
        value = math.log(value)
    if axis[DEVIATION] != 0.0:
        value = normal_excess((value - axis[MEAN]) / axis[DEVIATION])
    return (value - axis[OFFSET]) / axis[SPAN]


@kernel
def value_of_cell(axis: FloatArray, cell: float) -> float:
    """The value of a cell of a stepped axis."""
    return min(axis[LOW] + cell * axis[STEP], axis[HIGH])


@kernel
def cell_edges(axis: FloatArray, cell: float) -> tuple[float, float]:
    """The positions of the lower and upper edge of a cell."""
    if axis[LOG] == 0.0:
        low, high = cell / axis[COUNT], (cell + 1.0) / axis[COUNT]
    else:
        value = axis[LOW] + cell * axis[STEP]
        low = (math.log(value - 0.5 * axis[STEP]) - axis[OFFSET]) / axis[SPAN]
        high = (math.log(value + 0.5 * axis[STEP]) - axis[OFFSET]) / axis[SPAN]
    return low, max(high, low + LEAST_WIDTH)


@kernel
def cell_at(axis: FloatArray, position: float) -> float:
    """The cell of a stepped axis that holds `position`."""
    if axis[LOG] == 0.0:
        cell = math.floor(position * axis[COUNT])
    else:
        cell = np.rint((math.exp(axis[OFFSET] + position * axis[SPAN]) - axis[LOW]) / axis[STEP])
    return min(max(cell, 0.0), axis[COUNT] - 1.0)


@kernel
def cell_of_coordinate(axis: FloatArray, coordinate: float) -> float:
    """The cell, or the index of the choice, that a coordinate stands for (0 on a continuous axis)."""
    if axis[KIND] == FINE:
        return cell_at(axis, coordinate)
    if axis[KIND] == CONTINUOUS:
        return 0.0
    return coordinate


@kernel
def position_of_coordinate(axis: FloatArray, coordinate: float) -> float:
    """The position that a coordinate of a numeric axis stands for."""
    if axis[KIND] == COARSE:
        return position_of_value(axis, value_of_cell(axis, coordinate))
    return coordinate


@kernel
def coordinate_of_value(axis: FloatArray, value: float) -> float:
    """The coordinate of a column value (NaN stays NaN)."""
    kind = axis[KIND]
    if kind == CATEGORICAL or value != value:
        return value
    if kind == CONSTANT:
        return 0.0
    if kind == COARSE or kind == FINE:
        cell = np.rint((value - axis[LOW]) / axis[STEP])
        if kind == COARSE:
            return cell
        value = value_of_cell(axis, cell)  # which may differ from it by rounding
    return min(max(position_of_value(axis, value), 0.0), 1.0)


@kernel
def value_of_coordinate(axis: FloatArray, coordinate: float) -> float:
    """The column value of a coordinate, inside the bounds whatever the rounding (NaN stays NaN)."""
    kind = axis[KIND]
    if kind == CATEGORICAL or coordinate != coordinate:
        return coordinate
    if kind == CONSTANT:
        return axis[LOW]
    if kind == CONTINUOUS:
        value = axis[OFFSET] + coordinate * axis[SPAN]
        if axis[DEVIATION] != 0.0:
            value = axis[MEAN] + axis[DEVIATION] * quantile_of_excess(value)
        if axis[LOG] != 0.0:
            value = math.exp(value)
    else:
        value = value_of_cell(axis, cell_of_coordinate(axis, coordinate))
    return min(max(value, axis[LOW]), axis[HIGH])


@kernel
def values_of_coordinates(axis: FloatArray, coordinates: FloatArray, values: FloatArray) -> None:
    """Write the column values of coordinates on one axis, (n,)."""
    for i in range(len(values)):
        values[i] = value_of_coordinate(axis, coordinates[i])


@kernel
def coordinates_of_values(axis: FloatArray, values: FloatArray, coordinates: FloatArray) -> None:
    """Write the coordinates of column values on one axis, (n,)."""
    for i in range(len(values)):
        coordinates[i] = coordinate_of_value(axis, values[i])


@kernel
def positions_of_values(
    axes: FloatArray, params: FloatArray, numbers: IntArray, first: int, points: FloatArray
) -> None:
    """Write the positions (or choices) of trials, NaN where inactive.

    Args:
        axes: (d, 10); see `parzen`.
        params: column values (d, n).
        numbers: which trials, int64 (k,).
        first: the column of the first of them.
        points: (d, first + k) or longer, written from column `first` on.
    """
    for j in range(len(axes)):
        for i in range(len(numbers)):
            x = coordinate_of_value(axes[j], params[j, numbers[i]])
            points[j, first + i] = position_of_coordinate(axes[j], x) if x == x else x


@kernel
def positions_of_candidates(axes: FloatArray, candidates: FloatArray, points: FloatArray) -> None:
    """As `positions_of_values`, of coordinates (m, d); points (d, m), written."""
    for j in range(len(axes)):
        coarse = axes[j, KIND] == COARSE
        for i in range(len(candidates)):
            x = candidates[i, j]
            points[j, i] = position_of_coordinate(axes[j], x) if coarse and x == x else x


@kernel
def deciding(axis: FloatArray, coordinate: float) -> float:
    """What conditions look at: the value on a continuous axis, the cell or the index of the choice on any other.

    Not the position, whose rounding could move a value over the end of a range.
    """
    if axis[KIND] == CONTINUOUS:
        return value_of_coordinate(axis, coordinate)
    return cell_of_coordinate(axis, coordinate)


@kernel
def is_active(j: int, decided: FloatArray, conditions: IntArray, allowed: FloatArray) -> bool:
    """Whether the conditions of parameter j hold.

    Args:
        j: the parameter.
        decided: `deciding` of each parameter known so far, NaN where inactive, (d,).
        conditions: rows (child, parent, first, last) into `allowed`, int64 (c, 4).
        allowed: ranges of the parents, (r, 2).
    """
    for c in range(len(conditions)):
        if conditions[c, 0] != j:
            continue
        holds = False
        for a in range(conditions[c, 2], conditions[c, 3]):
            holds = holds or allowed[a, 0] <= decided[conditions[c, 1]] <= allowed[a, 1]
        if not holds:
            return False
    return True
