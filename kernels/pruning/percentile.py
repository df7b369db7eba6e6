"""Running percentiles: insert in O(log n), read in O(1), exactly.

A *pool* is a set of values in one float64 array, so that a kernel call passes one array. Two heaps share it, split at
the rank of the percentile: `low`, a max-heap of the smallest values, grows from the left end, and `high`, a min-heap
of the rest, from the right end:

    size | size of low | cursor | low[0] low[1] ...  free  ... high[1] high[0]

`low` holds floor((size - 1) q) + 1 values, so its top is the order statistic just below the percentile at the
fraction q. The order statistics next to the split are the tops and the better of the tops' children; with these the
percentile of all values *but one* is exact too. The percentile is linear between order statistics (type 7 of Hyndman
and Fan 1996, doi 10.2307/2684934, the default of `numpy.percentile`). Values may be infinite, never NaN.

The cursor counts how many of the ended trials, in the order in which they ended, the pool has taken up. A pool takes
them up when it is next looked at, so the end of a trial costs the same however many pools there are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..compiling import kernel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
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
    """A pool of `values` (n,), sorted ascending, with room for a few more: a sorted array is a heap."""
    size = len(values)
    low = low_size(size, q)
    pool = np.empty(HEADER + size + size // 4 + 4)
    pool[SIZE], pool[LOW_SIZE], pool[CURSOR] = size, low, cursor
    pool[HEADER : HEADER + low] = values[:low][::-1]
    pool[len(pool) - (size - low) :] = values[low:][::-1]
    return pool


def widen(pool: FloatArray) -> FloatArray:
    """A copy of a pool with room for a quarter more values."""
    size, low = int(pool[SIZE]), int(pool[LOW_SIZE])
    wider = np.empty(len(pool) + size // 4 + 4)
    wider[: HEADER + low] = pool[: HEADER + low]
    wider[len(wider) - (size - low) :] = pool[len(pool) - (size - low) :]
    return wider


def contents(pool: FloatArray) -> FloatArray:
    """The values of a pool, sorted ascending."""
    size, low = int(pool[SIZE]), int(pool[LOW_SIZE])
    return np.sort(np.concatenate([pool[HEADER : HEADER + low], pool[len(pool) - (size - low) :]]))


# --- one heap


@kernel
def _origin(pool: FloatArray, side: int) -> int:
    return HEADER if side == _LOW else len(pool) - 1


@kernel
def _rise(pool: FloatArray, side: int, i: int, value: float) -> None:
    """Put `value` at entry i or above, where its parent ranks no worse."""
    origin = _origin(pool, side)
    while i > 0:
        parent = (i - 1) // 2
        above = pool[origin - side * parent]
        if side * above <= side * value:
            break
        pool[origin - side * i] = above
        i = parent
    pool[origin - side * i] = value


@kernel
def _sink(pool: FloatArray, side: int, n: int, i: int, value: float) -> None:
    """Put `value` at entry i or below, where its children rank no better, in a heap of n entries."""
    origin = _origin(pool, side)
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and side * pool[origin - side * (child + 1)] < side * pool[origin - side * child]:
            child += 1
        below = pool[origin - side * child]
        if side * below >= side * value:
            break
        pool[origin - side * i] = below
        i = child
    pool[origin - side * i] = value


@kernel
def _take(pool: FloatArray, side: int, n: int) -> float:
    """Remove the top of a heap of n entries."""
    origin = _origin(pool, side)
    top: float = pool[origin]
    _sink(pool, side, n - 1, 0, pool[origin - side * (n - 1)])
    return top


# --- both heaps


@kernel
def insert(pool: FloatArray, value: float, q: float) -> bool:
    """Add a value; False, and nothing done, if the pool is full."""
    size, low = int(pool[SIZE]), int(pool[LOW_SIZE])
    if size == len(pool) - HEADER:
        return False
    if low > 0 and value < pool[HEADER]:
        _rise(pool, _LOW, low, value)
        low += 1
    else:
        _rise(pool, _HIGH, size - low, value)
    size += 1
    target = math.floor((size - 1) * q) + 1
    while low < target:
        moved = _take(pool, _HIGH, size - low)
        _rise(pool, _LOW, low, moved)
        low += 1
    while low > target:
        moved = _take(pool, _LOW, low)
        low -= 1
        _rise(pool, _HIGH, size - low - 1, moved)
    pool[SIZE] = size
    pool[LOW_SIZE] = low
    return True


@kernel
def replace(pool: FloatArray, old: float, new: float) -> None:
    """Put the smaller value `new` in the place of one `old`, which the pool holds. A linear search: O(n)."""
    size, low = int(pool[SIZE]), int(pool[LOW_SIZE])
    for i in range(low):
        if pool[HEADER + i] == old:
            _sink(pool, _LOW, low, i, new)
            return
    for i in range(size - low):
        if pool[len(pool) - 1 - i] == old:
            top = pool[HEADER]
            if new >= top:
                _rise(pool, _HIGH, i, new)
            else:
                _rise(pool, _HIGH, i, top)
                _sink(pool, _LOW, low, 0, new)
            return


@kernel
def _order_statistic(pool: FloatArray, i: int) -> float:
    """The i-th smallest value, counted from 0, for i at most two places below the split or one above it."""
    size, low = int(pool[SIZE]), int(pool[LOW_SIZE])
    if i < low:
        side, n, depth = _LOW, low, low - 1 - i
    else:
        side, n, depth = _HIGH, size - low, i - low
    origin = _origin(pool, side)
    top: float = pool[origin]
    if depth == 0:
        return top
    second: float = pool[origin - side]
    if n > 2 and side * pool[origin - 2 * side] < side * second:
        second = pool[origin - 2 * side]
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
def percentile(pool: FloatArray, q: float) -> float:
    """The percentile at the fraction q of all values; NaN if there is none."""
    size = int(pool[SIZE])
    if size == 0:
        return math.nan
    rank = (size - 1) * q
    k = math.floor(rank)
    a = _order_statistic(pool, k)
    b = _order_statistic(pool, k + 1) if k + 1 < size else a
    between: float = interpolate(a, b, rank - k)
    return between


@kernel
def _other(pool: FloatArray, i: int, own: float) -> float:
    """The i-th smallest value when one `own` is left out."""
    value: float = _order_statistic(pool, i)
    if value >= own:
        value = _order_statistic(pool, i + 1)
    return value


@kernel
def percentile_of_others(pool: FloatArray, q: float, own: float) -> float:
    """The percentile at the fraction q of all values but one `own`, which the pool holds; NaN if it is alone."""
    others = int(pool[SIZE]) - 1
    if others < 1:
        return math.nan
    rank = (others - 1) * q
    k = math.floor(rank)
    a = _other(pool, k, own)
    b = _other(pool, k + 1, own) if k + 1 < others else a
    between: float = interpolate(a, b, rank - k)
    return between


# --- trials in pools. best[number] is a trial's best loss (NaN: none yet), highest[number] its largest step, and
# --- order[:ended] are the numbers of the trials that are carried forward, in the order in which they ended


@kernel
def rank_nan_worst(loss: float) -> float:
    """A loss as it stands in a pool."""
    return math.inf if math.isnan(loss) else loss


@kernel
def better(a: float, b: float) -> float:
    """The smaller of two losses; NaN only if both are."""
    return b if b < a or math.isnan(a) else a


@kernel
def catch_up(
    pool: FloatArray, best: FloatArray, highest: IntArray, order: IntArray, ended: int, step: int, q: float
) -> bool:
    """Take up the trials that ended before `step`; False if the pool is full first (call again with a wider one)."""
    cursor = int(pool[CURSOR])
    while cursor < ended:
        number = order[cursor]
        if highest[number] < step and not insert(pool, rank_nan_worst(best[number]), q):
            pool[CURSOR] = cursor
            return False
        cursor += 1
    pool[CURSOR] = cursor
    return True


@kernel
def judge(
    pool: FloatArray, best: FloatArray, highest: IntArray, order: IntArray, ended: int, number: int, q: float
) -> int:
    """PRUNE if a trial is worse than the percentile of the others at its largest step, else KEEP.

    FULL: call again with a wider pool.
    """
    own = best[number]
    if math.isnan(own):
        return PRUNE
    if not catch_up(pool, best, highest, order, ended, highest[number], q):
        return FULL
    return PRUNE if own > percentile_of_others(pool, q, own) else KEEP


@kernel
def report(
    pool: FloatArray,
    best: FloatArray,
    highest: IntArray,
    order: IntArray,
    ended: int,
    number: int,
    step: int,
    loss: float,
    q: float,
) -> int:
    """Note a trial's report, enter its best loss into the step's pool, and judge it.

    `highest` knows of the report already. LATE: the trial has reported at a later step, nothing done; FULL: call again
    with a wider pool.
    """
    if step < highest[number]:
        return LATE
    if not catch_up(pool, best, highest, order, ended, step, q):
        return FULL
    loss = better(best[number], loss)
    if not insert(pool, rank_nan_worst(loss), q):
        return FULL
    best[number] = loss
    verdict: int = judge(pool, best, highest, order, ended, number, q)
    return verdict


@kernel
def running_best(
    last: IntArray,
    step: NarrowArray,
    gap: NarrowArray,
    value: FloatArray,
    sign: float,
    best: FloatArray,
    out: FloatArray,
) -> None:
    """For each report its trial's best loss over the steps up to its own.

    Args:
        last: by trial, the index of its latest report, or -1.
        step, gap, value: columns of the reports, (n,): gap[i] before report i stands its trial's previous one, 0: none.
        sign: sign * value is a loss.
        best: by trial, filled on return where a trial has reported.
        out: (n,), filled on return; NaN where all values so far are NaN.
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
            so_far = better(so_far, sign * value[chain[k]])
            out[chain[k]] = so_far
        best[number] = so_far
