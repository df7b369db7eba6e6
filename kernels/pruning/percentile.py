"""Running percentiles: insert in O(log n), read in O(1), exactly.

A set of values stands in one float64 array, `heaps`, so that a kernel call passes one array. Two heaps share it, split
at the rank of the percentile: `low`, a max-heap of the smallest values, grows from the left end, and `high`, a min-heap
of the rest, from the right end:

    size | size of low | cursor | low[0] low[1] ...  free  ... high[1] high[0]

`low` holds floor((size - 1) q) + 1 values, so its top is the order statistic just below the percentile at the
fraction q. The order statistics next to the split are the tops and the better of the tops' children; with these the
percentile of all values *but one* is exact too. The percentile is linear between order statistics (type 7 of Hyndman
and Fan 1996, doi 10.2307/2684934, the default of `numpy.percentile`). Values may be infinite, never NaN.

The cursor counts how many of the ended trials, in the order in which they ended, the set has taken up. It takes
them up when it is next looked at, so the end of a trial costs the same however many sets there are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..arrays import FloatArray, IntArray
from ..compiling import kernel

NarrowArray = npt.NDArray[np.unsignedinteger]

SIZE, LOW_SIZE, CURSOR, HEADER = 0, 1, 2, 3
KEEP, PRUNE, FULL, LATE = 0, 1, 2, 3  # what `report` and `judge` answer

# Both heaps are one piece of code: on side s, entry i stands at origin - s * i and the order is that of s * value.
_LOW, _HIGH = -1, 1
_OVERFLOW = 2.0**1023  # half of the smallest number beyond float64


def low_size(size: int, q: float) -> int:
    """How many of `size` values belong to the lower heap."""
    return math.floor((size - 1) * q) + 1 if size else 0


def build(values: FloatArray, q: float, cursor: int = 0) -> FloatArray:
    """The heaps of `values` (n,), sorted ascending, with room for a few more: a sorted array is a heap."""
    size = len(values)
    low = low_size(size, q)
    heaps = np.empty(HEADER + size + size // 4 + 4)
    heaps[SIZE], heaps[LOW_SIZE], heaps[CURSOR] = size, low, cursor
    heaps[HEADER : HEADER + low] = values[:low][::-1]
    heaps[len(heaps) - (size - low) :] = values[low:][::-1]
    return heaps


def widen(heaps: FloatArray) -> FloatArray:
    """A copy of the heaps with room for a quarter more values."""
    size, low = int(heaps[SIZE]), int(heaps[LOW_SIZE])
    wider = np.empty(len(heaps) + size // 4 + 4)
    wider[: HEADER + low] = heaps[: HEADER + low]
    wider[len(wider) - (size - low) :] = heaps[len(heaps) - (size - low) :]
    return wider


def contents(heaps: FloatArray) -> FloatArray:
    """The values in the heaps, sorted ascending."""
    size, low = int(heaps[SIZE]), int(heaps[LOW_SIZE])
    return np.sort(np.concatenate([heaps[HEADER : HEADER + low], heaps[len(heaps) - (size - low) :]]))


# --- one heap


@kernel
def _origin(heaps: FloatArray, side: int) -> int:
    return HEADER if side == _LOW else len(heaps) - 1


@kernel
def _rise(heaps: FloatArray, side: int, i: int, value: float) -> None:
    """Put `value` at entry i or above, where its parent ranks no worse."""
    origin = _origin(heaps, side)
    while i > 0:
        parent = (i - 1) // 2
        above = heaps[origin - side * parent]
        if side * above <= side * value:
            break
        heaps[origin - side * i] = above
        i = parent
    heaps[origin - side * i] = value


@kernel
def _sink(heaps: FloatArray, side: int, n: int, i: int, value: float) -> None:
    """Put `value` at entry i or below, where its children rank no better, in a heap of n entries."""
    origin = _origin(heaps, side)
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and side * heaps[origin - side * (child + 1)] < side * heaps[origin - side * child]:
            child += 1
        below = heaps[origin - side * child]
        if side * below >= side * value:
            break
        heaps[origin - side * i] = below
        i = child
    heaps[origin - side * i] = value


@kernel
def _take(heaps: FloatArray, side: int, n: int) -> float:
    """Remove the top of a heap of n entries."""
    origin = _origin(heaps, side)
    top: float = heaps[origin]
    _sink(heaps, side, n - 1, 0, heaps[origin - side * (n - 1)])
    return top


# --- both heaps


@kernel
def insert(heaps: FloatArray, value: float, q: float) -> bool:
    """Add a value; False, and nothing done, if the heaps are full."""
    size, low = int(heaps[SIZE]), int(heaps[LOW_SIZE])
    if size == len(heaps) - HEADER:
        return False
    if low > 0 and value < heaps[HEADER]:
        _rise(heaps, _LOW, low, value)
        low += 1
    else:
        _rise(heaps, _HIGH, size - low, value)
    size += 1
    target = math.floor((size - 1) * q) + 1
    while low < target:
        moved = _take(heaps, _HIGH, size - low)
        _rise(heaps, _LOW, low, moved)
        low += 1
    while low > target:
        moved = _take(heaps, _LOW, low)
        low -= 1
        _rise(heaps, _HIGH, size - low - 1, moved)
    heaps[SIZE] = size
    heaps[LOW_SIZE] = low
    return True


@kernel
def replace(heaps: FloatArray, old: float, new: float) -> None:
    """Put the smaller value `new` in the place of one `old`, which the heaps hold. A linear search: O(n)."""
    size, low = int(heaps[SIZE]), int(heaps[LOW_SIZE])
    for i in range(low):
        if heaps[HEADER + i] == old:
            _sink(heaps, _LOW, low, i, new)
            return
    for i in range(size - low):
        if heaps[len(heaps) - 1 - i] == old:
            top = heaps[HEADER]
            if new >= top:
                _rise(heaps, _HIGH, i, new)
            else:
                _rise(heaps, _HIGH, i, top)
                _sink(heaps, _LOW, low, 0, new)
            return


@kernel
def _order_statistic(heaps: FloatArray, i: int) -> float:
    """The i-th smallest value, counted from 0, for i at most two places below the split or one above it."""
    size, low = int(heaps[SIZE]), int(heaps[LOW_SIZE])
    if i < low:
        side, n, depth = _LOW, low, low - 1 - i
    else:
        side, n, depth = _HIGH, size - low, i - low
    origin = _origin(heaps, side)
    top: float = heaps[origin]
    if depth == 0:
        return top
    second: float = heaps[origin - side]
    if n > 2 and side * heaps[origin - 2 * side] < side * second:
        second = heaps[origin - 2 * side]
    return second


@kernel
def interpolate(a: float, b: float, fraction: float) -> float:
    """The point at `fraction` in [0, 1) from a to b >= a, rounded as numpy.percentile does, but never NaN."""
    if fraction == 0.0 or a == b or a == -math.inf:
        return a
    if b == math.inf:
        return b
    if 0.5 * b - 0.5 * a >= _OVERFLOW:
        return a * (1.0 - fraction) + b * fraction
    if fraction >= 0.5:
        return b - (b - a) * (1.0 - fraction)
    return a + (b - a) * fraction


@kernel
def percentile(heaps: FloatArray, q: float) -> float:
    """The percentile at the fraction q of all values; NaN if there is none."""
    size = int(heaps[SIZE])
    if size == 0:
        return math.nan
    rank = (size - 1) * q
    k = math.floor(rank)
    a = _order_statistic(heaps, k)
    b = _order_statistic(heaps, k + 1) if k + 1 < size else a
    return interpolate(a, b, rank - k)


@kernel
def _other(heaps: FloatArray, i: int, own: float) -> float:
    """The i-th smallest value when one `own` is left out."""
    value: float = _order_statistic(heaps, i)
    if value >= own:
        value = _order_statistic(heaps, i + 1)
    return value


@kernel
def percentile_of_others(heaps: FloatArray, q: float, own: float) -> float:
    """The percentile at the fraction q of all values but one `own`, which the heaps hold; NaN if it is alone."""
    others = int(heaps[SIZE]) - 1
    if others < 1:
        return math.nan
    rank = (others - 1) * q
    k = math.floor(rank)
    a = _other(heaps, k, own)
    b = _other(heaps, k + 1, own) if k + 1 < others else a
    return interpolate(a, b, rank - k)


# --- trials in heaps, a pair of them a step. best[number] is a trial's best loss (NaN: none yet), highest[number] its
# --- largest step, and ended_order[:ended] are the numbers of the trials that are carried forward, in the order in
# --- which they ended


@kernel
def rank_nan_worst(loss: float) -> float:
    """A loss as it stands in the heaps."""
    return math.inf if math.isnan(loss) else loss


@kernel
def better(a: float, b: float) -> float:
    """The smaller of two losses; NaN only if both are."""
    return b if b < a or math.isnan(a) else a


@kernel
def catch_up(
    heaps: FloatArray, best: FloatArray, highest: IntArray, ended_order: IntArray, ended: int, step: int, q: float
) -> bool:
    """Take up the trials that ended before `step`; False if the heaps are full first (call again with wider ones)."""
    cursor = int(heaps[CURSOR])
    while cursor < ended:
        number = ended_order[cursor]
        if highest[number] < step and not insert(heaps, rank_nan_worst(best[number]), q):
            heaps[CURSOR] = cursor
            return False
        cursor += 1
    heaps[CURSOR] = cursor
    return True


@kernel
def judge(
    heaps: FloatArray, best: FloatArray, highest: IntArray, ended_order: IntArray, ended: int, number: int, q: float
) -> int:
    """PRUNE if a trial is worse than the percentile of the others at its largest step, else KEEP.

    FULL: call again with wider heaps.
    """
    own = best[number]
    if math.isnan(own):
        return PRUNE
    if not catch_up(heaps, best, highest, ended_order, ended, highest[number], q):
        return FULL
    return PRUNE if own > percentile_of_others(heaps, q, own) else KEEP


@kernel
def report(
    heaps: FloatArray,
    best: FloatArray,
    highest: IntArray,
    ended_order: IntArray,
    ended: int,
    number: int,
    step: int,
    loss: float,
    q: float,
) -> int:
    """Note a trial's report, enter its best loss into the step's heaps, and judge it.

    `highest` knows of the report already. LATE: the trial has reported at a later step, nothing done; FULL: call again
    with wider heaps.
    """
    if step < highest[number]:
        return LATE
    if not catch_up(heaps, best, highest, ended_order, ended, step, q):
        return FULL
    loss = better(best[number], loss)
    if not insert(heaps, rank_nan_worst(loss), q):
        return FULL
    best[number] = loss
    return judge(heaps, best, highest, ended_order, ended, number, q)


@kernel
def running_best(
    last: IntArray,
    step: NarrowArray,
    gap: NarrowArray,
    loss: FloatArray,
    best: FloatArray,
    out: FloatArray,
) -> None:
    """For each report its trial's best loss over the steps up to its own.

    Args:
        last: by trial, the index of its latest report, or -1.
        step, gap, loss: columns of the reports, (n,): gap[i] before report i stands its trial's previous one, 0: none.
        best: by trial, filled on return where a trial has reported.
        out: (n,), filled on return; NaN where all losses so far are NaN.
    """
    chain = np.empty(64, np.int64)
    for number in range(len(last)):
        count, i = 0, last[number]
        if i < 0:
            continue
        while True:
            if count == len(chain):
                longer = np.empty(2 * count, np.int64)
                for k in range(count):
                    longer[k] = chain[k]
                chain = longer
            k = count
            while k > 0 and step[chain[k - 1]] < step[i]:  # descending by step; mostly they are already
                chain[k] = chain[k - 1]
                k -= 1
            chain[k] = i
            count += 1
            if gap[i] == 0:
                break
            i -= np.int64(gap[i])
        so_far = math.nan
        for k in range(count - 1, -1, -1):
            so_far = better(so_far, loss[chain[k]])
            out[chain[k]] = so_far
        best[number] = so_far
