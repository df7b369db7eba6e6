"""NSGA-II: who survives a generation, and how two parents make a child.

Deb, Pratap, Agarwal, Meyarivan: A fast and elitist multiobjective genetic algorithm: NSGA-II. IEEE Transactions on
Evolutionary Computation 6, 2002. Crossover is uniform: a child has each parameter from either parent. Mutation
takes place on the unit axes of the search space, so that a logarithmic parameter is changed by its logarithm; of a
stepped one the cell is taken in which the child lies.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, IntArray, Space, WordArray
from ..axes import (
    CATEGORICAL,
    COARSE,
    CONSTANT,
    CONTINUOUS,
    COUNT,
    KIND,
    cell_at,
    cell_of_coordinate,
    coordinate_of_value,
    deciding,
    is_active,
    position_of_coordinate,
    position_of_value,
    value_of_cell,
    value_of_coordinate,
)
from ..compiling import kernel
from ..uniforms import fill_uniforms, set_draw
from .dominance import constrained_layers, crowding_distances

_HEAD = 4  # uniform numbers of a child for itself; four more a parameter


@kernel
def survivors(losses: FloatArray, penalties: FloatArray, chosen: IntArray) -> None:
    """The members of a generation that the next one is bred from, best first.

    They are ordered by their layers; inside a layer those come first whose neighbours are far apart.

    Args:
        losses: (n, m), finite where there is no penalty.
        penalties: (n,); see `dominance.constrained_layers`.
        chosen: int64 (k,), k at most n, written.
    """
    n = len(losses)
    layers, distances = np.empty(n, np.int64), np.zeros(n)
    count = constrained_layers(losses, penalties, layers)
    members = np.empty(n, np.int64)
    filled = 0
    for layer in range(count):
        size = 0
        for i in range(n):
            if layers[i] == layer:
                members[size] = i
                size += 1
        if penalties[members[0]] == 0.0:
            crowding_distances(losses, members[:size], distances)
        nearest = np.empty(size)
        for i in range(size):
            nearest[i] = -distances[members[i]]
        order = np.argsort(nearest, kind="mergesort")
        for i in range(size):
            if filled == len(chosen):
                return
            chosen[filled] = members[order[i]]
            filled += 1


@kernel
def mutate(x: float, spread: float, unit: float) -> float:
    """A number near another, both from 0 to 1, by polynomial mutation.

    Deb, Goyal: A combined genetic adaptive search (GeneAS) for engineering design. 1996.

    Args:
        x: the other.
        spread: the distribution index: the larger, the nearer.
        unit: a uniform number in [0, 1).
    """
    power = 1.0 / (spread + 1.0)
    if unit < 0.5:
        rest = 2.0 * unit + (1.0 - 2.0 * unit) * (1.0 - x) ** (spread + 1.0)
        change = rest**power - 1.0
    else:
        rest = 2.0 * (1.0 - unit) + 2.0 * (unit - 0.5) * x ** (spread + 1.0)
        change = 1.0 - rest**power
    return min(max(x + change, 0.0), 1.0)


@kernel
def coordinate_at(axis: FloatArray, position: float) -> float:
    """The coordinate of a numeric axis at a position."""
    if axis[KIND] == CONTINUOUS:
        return position
    cell = cell_at(axis, position)
    return cell if axis[KIND] == COARSE else position_of_value(axis, value_of_cell(axis, cell))


@kernel
def bred_coordinate(axis: FloatArray, a: float, b: float, mutates: bool, spread: float, units: FloatArray) -> float:
    """A child's coordinate on one axis: that of either parent, by chance, or one near it.

    Args:
        axis: (10,).
        a, b: coordinates of the parents, NaN where inactive.
        mutates: whether the child differs from them here.
        spread: of mutations; see `mutate`.
        units: uniform numbers, (2,).
    """
    kind = axis[KIND]
    if kind == CONSTANT:
        return 0.0
    if a != a and b != b:  # no parent knows the parameter
        if kind == CATEGORICAL:
            return min(math.floor(units[0] * axis[COUNT]), axis[COUNT] - 1.0)
        return coordinate_at(axis, units[0])
    own = b if a != a or (b == b and units[0] < 0.5) else a
    if not mutates:
        return own
    if kind == CATEGORICAL:
        other = min(math.floor(units[1] * (axis[COUNT] - 1.0)), axis[COUNT] - 2.0)
        return other + 1.0 if other >= own else other
    there = coordinate_at(axis, mutate(position_of_coordinate(axis, own), spread, units[1]))
    if kind == CONTINUOUS or there != own:
        return there
    cell = cell_of_coordinate(axis, own)  # another cell at least
    step = 1.0 if units[1] >= 0.5 else -1.0
    if not 0.0 <= cell + step <= axis[COUNT] - 1.0:
        step = -step
    return cell + step if kind == COARSE else position_of_value(axis, value_of_cell(axis, cell + step))


@kernel
def breed(
    space: Space,
    population: FloatArray,
    spread: float,
    key: WordArray,
    draws: WordArray,
    rows: FloatArray,
) -> None:
    """Children of a population, as rows of column values.

    Each parent is the better of two members that are drawn. A parameter is either parent's, and one of
    those that are active mutates on average.

    Args:
        space: the search space.
        population: coordinates of its members, best first, (k, d), NaN where inactive.
        spread: of mutations; see `mutate`.
        key: of the random stream, (5,), changed.
        draws: of the children, uint64 (c,).
        rows: (c, d), written; NaN where inactive.
    """
    axes, conditions = space.axes, space.conditions
    size, d = population.shape
    numbers = np.empty(_HEAD + 4 * d)
    decided = np.empty(d)
    for i in range(len(draws)):
        set_draw(key, draws[i])
        fill_uniforms(key, numbers)
        # members are in order, so the smaller index is the better one
        first = min(int(min(numbers[0], numbers[1]) * size), size - 1)
        second = min(int(min(numbers[2], numbers[3]) * size), size - 1)
        free = 0  # parameters of the first parent that can mutate
        for j in range(d):
            free += axes[j, KIND] != CONSTANT and population[first, j] == population[first, j]
        decided[:] = np.nan
        for j in space.order:
            rows[i, j] = np.nan
            if len(conditions) and not is_active(j, decided, conditions, space.allowed):
                continue
            units = numbers[_HEAD + 4 * j : _HEAD + 4 * (j + 1)]
            a, b = population[first, j], population[second, j]
            coordinate = bred_coordinate(axes[j], a, b, units[2] * free < 1.0, spread, units)
            rows[i, j] = value_of_coordinate(axes[j], coordinate)
            if len(conditions):
                decided[j] = deciding(axes[j], coordinate)


@kernel
def coordinates_of(axes: FloatArray, params: FloatArray, numbers: IntArray, coordinates: FloatArray) -> None:
    """Write the coordinates of trials (k, d), NaN where inactive.

    Args:
        axes: (d, 10).
        params: column values (d, n).
        numbers: which trials, int64 (k,).
        coordinates: (k, d), written.
    """
    for i in range(len(numbers)):
        for j in range(len(axes)):
            coordinates[i, j] = coordinate_of_value(axes[j], params[j, numbers[i]])
