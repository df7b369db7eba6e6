"""Non-dominated layers: the points that no other is better than, then those that only these are better than, and so on.

A point *dominates* another if it is nowhere worse and somewhere better. The layer of a point is the length of the
longest chain of points of which each dominates the next and the last dominates it. Equal points share a layer. A point
with a NaN can't be compared: all of these are in one layer, the last. Infinities are numbers like others.
"""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel


@kernel
def lexicographic_order(losses: FloatArray, order: IntArray) -> None:
    """Sort numbers of rows by the rows' first loss, of equal ones by the second, and so on; equal rows stay in order.

    Args:
        losses: (n, m), without NaN in the rows of `order`.
        order: numbers of rows, int64 (k,), changed.
    """
    for j in range(losses.shape[1] - 1, -1, -1):
        column = np.empty(len(order))
        for i in range(len(order)):
            column[i] = losses[order[i], j]
        by_column = np.argsort(column, kind="mergesort")
        before = order.copy()
        for i in range(len(order)):
            order[i] = before[by_column[i]]


@kernel
def dominates(losses: FloatArray, a: int, b: int) -> bool:
    """Whether row a is nowhere worse than row b and somewhere better."""
    better = False
    for j in range(losses.shape[1]):
        if losses[a, j] > losses[b, j]:
            return False
        better = better or losses[a, j] < losses[b, j]
    return better


@kernel
def is_same(losses: FloatArray, a: int, b: int) -> bool:
    """Whether two rows are equal."""
    for j in range(losses.shape[1]):  # noqa: SIM110  (numba compiles no generators)
        if losses[a, j] != losses[b, j]:
            return False
    return True


@kernel
def comparable(losses: FloatArray) -> IntArray:
    """The numbers of the rows without NaN, in lexicographic order."""
    n, m = losses.shape
    numbers = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        whole = True
        for j in range(m):
            whole = whole and losses[i, j] == losses[i, j]
        if whole:
            numbers[count] = i
            count += 1
    order = numbers[:count].copy()
    lexicographic_order(losses, order)
    return order


@kernel
def layer_by_last_losses(losses: FloatArray, order: IntArray, layers: IntArray) -> int:
    """Layers of points with one or two objectives, in O(n log n): each needs to know the last point of each layer only.

    Args:
        losses: (n, m), m at most 2.
        order: the rows in lexicographic order, int64 (k,).
        layers: (n,), written for the rows in `order`.

    Returns:
        how many layers there are.
    """
    last = losses.shape[1] - 1
    lowest = np.empty(len(order))  # last loss of the latest point of each layer, which is the lowest there
    count = 0
    for i in range(len(order)):
        row = order[i]
        if i > 0 and is_same(losses, row, order[i - 1]):
            layers[row] = layers[order[i - 1]]
            continue
        low, high = 0, count  # the first layer none of whose points dominates this one
        while low < high:
            middle = (low + high) // 2
            if lowest[middle] <= losses[row, last]:
                low = middle + 1
            else:
                high = middle
        layers[row] = low
        lowest[low] = losses[row, last]
        count = max(count, low + 1)
    return count


@kernel
def layer_by_searching(losses: FloatArray, order: IntArray, layers: IntArray) -> int:
    """Layers of points with any number of objectives, by a binary search for the first that holds no dominating point.

    A layer's points are looked through from the latest on, as the nearest ones dominate most often (ENS-BS of Zhang,
    Tian, Cheng, Jin: An efficient approach to nondominated sorting for evolutionary multiobjective optimization. IEEE
    Transactions on Evolutionary Computation 19, 2015). Arguments as `layer_by_last_losses`.
    """
    k, m = len(order), losses.shape[1]
    latest, previous = np.full(k, -1, np.int64), np.full(k, -1, np.int64)
    rows = np.empty((k, m))  # in the order in which they are gone through
    count = 0
    for i in range(k):
        row = order[i]
        for j in range(m):
            rows[i, j] = losses[row, j]
        if i > 0 and is_same(losses, row, order[i - 1]):
            layers[row] = layers[order[i - 1]]
            continue
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            other = latest[middle]
            while other >= 0 and not dominates(rows, other, i):
                other = previous[other]
            if other >= 0:
                low = middle + 1
            else:
                high = middle
        layers[row] = low
        previous[i] = latest[low]
        latest[low] = i
        count = max(count, low + 1)
    return count


@kernel
def non_dominated_layers(losses: FloatArray, layers: IntArray) -> int:
    """Write which layer each point is in, from 0 on.

    Args:
        losses: (n, m), m at least 1.
        layers: (n,), written.

    Returns:
        how many layers there are.
    """
    order = comparable(losses)
    if losses.shape[1] <= 2:
        count = layer_by_last_losses(losses, order, layers)
    else:
        count = layer_by_searching(losses, order, layers)
    if len(order) < len(losses):
        for i in range(len(losses)):
            for j in range(losses.shape[1]):
                if losses[i, j] != losses[i, j]:
                    layers[i] = count
        count += 1
    return count


@kernel
def constrained_layers(losses: FloatArray, penalties: FloatArray, layers: IntArray) -> int:
    """Layers where some points are worse than others whatever their losses (Deb et al. 2002, section VI).

    Those without a penalty come first, in non-dominated layers. Behind them are the others by their penalties, equal
    ones in one layer; a penalty that is NaN is the largest.

    Args:
        losses: (n, m), m at least 1.
        penalties: (n,), not negative; above 0 for a point that keeps no limit, or has no losses.
        layers: (n,), written.

    Returns:
        how many layers there are.
    """
    n = len(losses)
    numbers, sizes = np.empty(n, np.int64), np.empty(n)
    free, others = 0, 0
    for i in range(n):
        if penalties[i] == 0.0:
            numbers[free] = i
            free += 1
        else:
            others += 1
            numbers[n - others] = i
            sizes[others - 1] = penalties[i] if penalties[i] == penalties[i] else np.inf
    compared, own = np.empty((free, losses.shape[1])), np.empty(free, np.int64)
    for i in range(free):
        for j in range(losses.shape[1]):
            compared[i, j] = losses[numbers[i], j]
    count = non_dominated_layers(compared, own)
    for i in range(free):
        layers[numbers[i]] = own[i]
    order = np.argsort(sizes[:others], kind="mergesort")
    for k in range(others):
        if k == 0 or sizes[order[k]] != sizes[order[k - 1]]:
            count += 1
        layers[numbers[n - 1 - order[k]]] = count - 1
    return count


@kernel
def front(losses: FloatArray, kept: IntArray) -> int:
    """Find the points that no other dominates: the first layer, at a cost of O(n) times its size at most.

    Args:
        losses: (n, m), m at least 1; a row with a NaN is not on the front.
        kept: int64 (n,); the numbers of the points on the front are written to its beginning, in lexicographic order of
            their losses.

    Returns:
        how many there are.
    """
    order = comparable(losses)
    last = losses.shape[1] - 1
    count = 0  # those found so far come before all others in lexicographic order, so none of them is dominated
    lowest = np.inf
    for i in range(len(order)):
        row = order[i]
        same = count > 0 and is_same(losses, row, kept[count - 1])
        if same:
            on_front = True
        elif last <= 1:
            on_front = count == 0 or losses[row, last] < lowest
        else:
            k = count - 1
            while k >= 0 and not dominates(losses, kept[k], row):
                k -= 1
            on_front = k < 0
        if on_front:
            kept[count] = row
            count += 1
            lowest = losses[row, last]
    return count


@kernel
def crowding_distances(losses: FloatArray, numbers: IntArray, distances: FloatArray) -> None:
    """How far apart a point's neighbours in a layer are, summed over the objectives (Deb et al. 2002, section III B).

    Args:
        losses: (n, m), finite.
        numbers: which rows are the layer, int64 (k,).
        distances: (n,), written for the rows in `numbers`; infinite for those at an end, of an objective that varies.
    """
    k = len(numbers)
    for i in range(k):
        distances[numbers[i]] = 0.0
    column = np.empty(k)
    for j in range(losses.shape[1]):
        for i in range(k):
            column[i] = losses[numbers[i], j] / 2.0  # the difference of two floats may overflow
        order = np.argsort(column, kind="mergesort")
        span = column[order[k - 1]] - column[order[0]]
        if not span > 0.0:
            continue
        distances[numbers[order[0]]] = np.inf
        distances[numbers[order[k - 1]]] = np.inf
        for i in range(1, k - 1):
            distances[numbers[order[i]]] += (column[order[i + 1]] - column[order[i - 1]]) / span
