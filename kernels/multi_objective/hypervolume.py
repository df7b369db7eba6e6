"""The hypervolume: how much of the space between a set of points and a reference point the set dominates.

A point counts only if it is better than the reference point in every objective; NaN is never better. All sums are over
points that were moved and scaled so that each objective reaches from 0, its lowest loss that counts, to 1, the
reference: then losses of any size can be compared, and the result is multiplied by the ranges.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel
from .dominance import front


@kernel
def inside(losses: FloatArray, reference: FloatArray, rows: IntArray) -> int:
    """Write the numbers of the points that count to the beginning of `rows` (n,); how many there are."""
    count = 0
    for i in range(len(losses)):
        counts = True
        for j in range(len(reference)):
            counts = counts and losses[i, j] < reference[j]
        if counts:
            rows[count] = i
            count += 1
    return count


@kernel
def scale_to_unit(losses: FloatArray, reference: FloatArray, rows: IntArray, units: FloatArray) -> float:
    """Move and scale points so that 1 is the reference and 0 the lowest loss of any of them.

    Args:
        losses, reference: (n, m), (m,).
        rows: of the points that count, int64 (k,), k at least 1.
        units: (k, m), written.

    Returns:
        the volume of a unit: infinity if it is too large for a float, then with `units` that are not to be used if a
        loss or the reference is infinite.
    """
    volume = 1.0
    for j in range(len(reference)):
        lowest = reference[j]
        for i in range(len(rows)):
            lowest = min(lowest, losses[rows[i], j])
        divisor = 2.0 if reference[j] - lowest == np.inf else 1.0  # the difference of two floats may overflow
        span = reference[j] / divisor - lowest / divisor
        volume *= span * divisor
        for i in range(len(rows)):
            units[i, j] = (losses[rows[i], j] / divisor - lowest / divisor) / span
    return volume


@kernel
def area(units: FloatArray) -> float:
    """The hypervolume of points with two objectives, to the reference (1, 1): by a sweep over them, O(n log n)."""
    order = np.argsort(units[:, 0], kind="mergesort")
    total, lowest = 0.0, 1.0
    for i in range(len(order)):
        x, y = units[order[i], 0], units[order[i], 1]
        if y < lowest:
            total += (1.0 - x) * (lowest - y)
            lowest = y
    return total


@kernel
def volume_of_three(units: FloatArray) -> float:
    """The hypervolume of points with three objectives, to the reference (1, 1, 1): a sweep over the last one, O(n^2).

    What is dominated at a height is the area over a staircase, to which each point adds a step and may hide others.
    """
    n = len(units)
    order = np.argsort(units[:, 2], kind="mergesort")
    xs, ys = np.empty(n + 2), np.empty(n + 2)  # the staircase, x ascending and y descending, with an end on each side
    xs[0], ys[0], xs[1], ys[1] = -np.inf, 1.0, 1.0, -np.inf
    size = 2
    covered, total = 0.0, 0.0
    for i in range(n):
        x, y, z = units[order[i], 0], units[order[i], 1], units[order[i], 2]
        low, high = 0, size - 1  # the last step at or left of x
        while low < high:
            middle = (low + high + 1) // 2
            if xs[middle] <= x:
                low = middle
            else:
                high = middle - 1
        if ys[low] <= y:
            continue  # hidden by that step
        first = low + 1 if xs[low] < x else low  # steps from there on that the point hides
        last, left, top, gain = first, x, ys[first - 1], 0.0
        while ys[last] >= y:
            gain += (xs[last] - left) * (top - y)
            left, top = xs[last], ys[last]
            last += 1
        gain += (xs[last] - left) * (top - y)
        covered += gain
        total += gain * (1.0 - z)
        shift = first + 1 - last  # of the steps behind; the hidden ones make room for one
        if shift > 0:
            for k in range(size - 1, last - 1, -1):
                xs[k + shift], ys[k + shift] = xs[k], ys[k]
        elif shift < 0:
            for k in range(last, size):
                xs[k + shift], ys[k + shift] = xs[k], ys[k]
        size += shift
        xs[first], ys[first] = x, y
    return total


@kernel
def volume_of_many(units: FloatArray) -> float:
    """The hypervolume of points with any number of objectives, to the reference (1, ..., 1).

    Points are taken from the worst to the best by the last objective. What one adds to those after it is what it
    dominates alone, without what they dominate inside of that; as they are better in the last objective, that is a
    hypervolume of one objective less (While, Bradstreet, Barone: A fast way of calculating exact hypervolumes. IEEE
    Transactions on Evolutionary Computation 16, 2012).
    """
    n, m = units.shape
    if n == 0:
        return 0.0
    if m == 1:
        return 1.0 - units[:, 0].min()
    if m == 2:
        return area(units)
    if m == 3:
        return volume_of_three(units)
    kept = np.empty(n, np.int64)
    size = front(units, kept)
    lasts = np.empty(size)
    for i in range(size):
        lasts[i] = -units[kept[i], m - 1]
    order = np.argsort(lasts, kind="mergesort")
    total = 0.0
    for i in range(size):
        row = kept[order[i]]
        limited = np.empty((size - 1 - i, m - 1))
        alone = 1.0
        for j in range(m - 1):
            alone *= 1.0 - units[row, j]
            for k in range(size - 1 - i):
                limited[k, j] = max(units[row, j], units[kept[order[i + 1 + k]], j])
        total += (1.0 - units[row, m - 1]) * (alone - volume_of_many(limited))
    return total


@kernel
def hypervolume(losses: FloatArray, reference: FloatArray) -> float:
    """The hypervolume that points dominate, to about 1e-15 of the box from the lowest losses to the reference.

    Args:
        losses: (n, m), m at least 1.
        reference: (m,).
    """
    rows = np.empty(len(losses), np.int64)
    count = inside(losses, reference, rows)
    if count == 0:
        return 0.0
    units = np.empty((count, len(reference)))
    volume = scale_to_unit(losses, reference, rows[:count], units)
    if not math.isfinite(units.sum()):
        return np.inf
    share = volume_of_many(units)
    return share * volume if share > 0.0 else 0.0  # the volume of a unit may be infinity


@kernel
def gain_of(point: FloatArray, others: FloatArray, skipped: int) -> float:
    """What a point dominates that none of some others does, the reference being (1, ..., 1).

    Args:
        point: (m,).
        others: (k, m).
        skipped: which of the others is left out; -1 for none.
    """
    k, m = others.shape
    limited = np.empty((k, m))
    count = 0
    alone = 1.0
    for j in range(m):
        alone *= 1.0 - point[j]
    for i in range(k):
        if i != skipped:
            hides = True
            for j in range(m):
                limited[count, j] = max(point[j], others[i, j])
                hides = hides and others[i, j] <= point[j]
            if hides:
                return 0.0
            count += 1
    return max(alone - volume_of_many(limited[:count]), 0.0)


@kernel
def contributions(losses: FloatArray, reference: FloatArray, exclusive: FloatArray) -> None:
    """What each point of a front dominates that no other one of it does: the hypervolume that the front would lose.

    Points that are dominated are not on the front: they have no contribution, and take nothing from that of others.
    With two objectives it is the rectangle between a point's neighbours on the front, O(n log n) in all. With more it
    takes n hypervolumes.

    Args:
        losses: (n, m), m at least 1.
        reference: (m,).
        exclusive: (n,), written; 0 for a point that is not on the front, or equal to another. Infinite if anything is.
    """
    n, m = losses.shape
    rows = np.empty(n, np.int64)
    count = inside(losses, reference, rows)
    exclusive[:] = 0.0
    if count == 0:
        return
    units = np.empty((count, m))
    volume = scale_to_unit(losses, reference, rows[:count], units)
    if not math.isfinite(units.sum()):
        for i in range(count):
            exclusive[rows[i]] = np.inf
        return
    kept = np.empty(count, np.int64)
    size = front(units, kept)
    on_front = np.empty((size, m))
    for i in range(size):
        for j in range(m):
            on_front[i, j] = units[kept[i], j]
    for i in range(size):
        if m == 2:
            right = on_front[i + 1, 0] if i + 1 < size else 1.0
            top = on_front[i - 1, 1] if i > 0 else 1.0
            gain = (right - on_front[i, 0]) * (top - on_front[i, 1])
        else:
            gain = gain_of(on_front[i], on_front, i)
        exclusive[rows[kept[i]]] = gain * volume if gain > 0.0 else 0.0


@kernel
def choose_of_two(units: FloatArray, order: IntArray, found: IntArray) -> int:
    """As `choose_of_many`, of points with two objectives: what each adds is a rectangle between its chosen neighbours.

    Args:
        order: the candidates, in ascending order of their first losses.
        (others): see `choose_of_many`.
    """
    size = len(order)
    rights, tops = np.ones(size), np.ones(size)  # where the next chosen point on each side bounds the rectangle
    is_free = np.ones(size, np.bool_)
    for taken in range(len(found)):
        best, most = -1, 0.0
        for i in range(size):
            gain = (rights[i] - units[order[i], 0]) * (tops[i] - units[order[i], 1])
            if is_free[i] and (gain > most or (gain == most and best >= 0 and order[i] < order[best])):
                best, most = i, gain
        if best < 0:
            return taken
        found[taken] = order[best]
        is_free[best] = False
        for i in range(best):
            rights[i] = min(rights[i], units[order[best], 0])
        for i in range(best + 1, size):
            tops[i] = min(tops[i], units[order[best], 1])
    return len(found)


@kernel
def choose_of_many(units: FloatArray, candidates: IntArray, found: IntArray) -> int:
    """Greedily choose points by the hypervolume that each adds, the reference being (1, ..., 1).

    As what a point adds only shrinks, it is computed anew only for a point that added more than the best one when it
    was last looked at.

    Args:
        units: (n, m).
        candidates: which rows may be chosen, ascending, int64 (c,); none of them dominates another.
        found: int64 (k,); the chosen ones are written to its beginning.

    Returns:
        how many were chosen; others add nothing.
    """
    size, m = len(candidates), units.shape[1]
    gains = np.ones(size)
    for i in range(size):
        for j in range(m):
            gains[i] *= 1.0 - units[candidates[i], j]
    already = np.empty((len(found), m))
    for taken in range(len(found)):
        best, most = -1, 0.0
        for i in range(size):
            if gains[i] > most:
                gains[i] = min(gain_of(units[candidates[i]], already[:taken], -1), gains[i])
                if gains[i] > most:
                    best, most = i, gains[i]
        if best < 0:
            return taken
        found[taken] = candidates[best]
        for j in range(m):
            already[taken, j] = units[candidates[best], j]
        gains[best] = 0.0
    return len(found)


@kernel
def select_by_hypervolume(losses: FloatArray, reference: FloatArray, chosen: IntArray) -> int:
    """Choose points of the front one after the other, each the one that adds most hypervolume to those before it.

    So at least 1 - 1 / e of the hypervolume of the best such choice is reached (Guerreiro, Fonseca, Paquete: Greedy
    hypervolume subset selection in low dimensions. Evolutionary Computation 24, 2016). Of equal ones the first is
    taken; points that add nothing come last, in order.

    Args:
        losses: (n, m), m at least 1.
        reference: (m,).
        chosen: numbers of points, int64 (k,), k at most n, written.

    Returns:
        how many of the chosen points add hypervolume.
    """
    n, m = losses.shape
    rows = np.empty(n, np.int64)
    count = inside(losses, reference, rows)
    is_chosen = np.zeros(n, np.bool_)
    taken = 0
    if count > 0 and len(chosen) > 0:
        units = np.empty((count, m))
        scale_to_unit(losses, reference, rows[:count], units)
        if not math.isfinite(units.sum()):
            units[:] = 0.0  # nothing can be told apart
        kept = np.empty(count, np.int64)
        size = front(units, kept)
        found = np.empty(len(chosen), np.int64)
        taken = (
            choose_of_two(units, kept[:size], found) if m == 2 else choose_of_many(units, np.sort(kept[:size]), found)
        )
        for k in range(taken):
            chosen[k] = rows[found[k]]
            is_chosen[chosen[k]] = True
    filled = taken
    for i in range(n):
        if filled == len(chosen):
            break
        if not is_chosen[i]:
            chosen[filled] = i
            filled += 1
    return taken
