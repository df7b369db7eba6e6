"""Rungs of asynchronous successive halving: which trial may be promoted, in O(log n) a decision.

A rung holds *entries*, one a trial that was told a loss there: arrays `losses` and `numbers`, in the order in which
they came. The best floor(n / eta) of its n entries are the *top*; one of them that was not promoted yet may be (Li et
al.: A system for massively parallel hyperparameter tuning. MLSys 2020, algorithm 2). Entries are ordered by (loss,
trial number). Three binary heaps of entries stand in the rows of one array `heaps`:

    TOP     the top, worst first
    REST    all other entries, best first
    READY   entries that may be promoted, best first; one that has left the top meanwhile is dropped when it is met

`flags` says of each entry which of these hold, in one byte: IN_TOP, IN_READY, PROMOTED.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..arrays import ByteArray, FloatArray, IntArray
from ..compiling import kernel

Heaps = npt.NDArray[np.int32]

TOP, REST, READY = 0, 1, 2
# entries of `sizes`: how many entries there are, the sizes of the heaps, and how many places the top has beyond
# floor(n / eta), for promoted trials that failed
ENTRIES, TOP_SIZE, REST_SIZE, READY_SIZE, EXTRA = 0, 1, 2, 3, 4
IN_TOP, IN_READY, PROMOTED = 1, 2, 4
NONE = -1


@kernel
def _before(losses: FloatArray, numbers: IntArray, heap: int, a: int, b: int) -> bool:
    """Whether entry a stands above entry b in a heap."""
    if heap == TOP:
        a, b = b, a
    return bool(losses[a] < losses[b] or (losses[a] == losses[b] and numbers[a] < numbers[b]))


@kernel
def _push(losses: FloatArray, numbers: IntArray, heaps: Heaps, sizes: IntArray, heap: int, entry: int) -> None:
    row = heaps[heap]
    i = sizes[TOP_SIZE + heap]
    sizes[TOP_SIZE + heap] = i + 1
    while i > 0:
        parent = (i - 1) // 2
        if not _before(losses, numbers, heap, entry, row[parent]):
            break
        row[i] = row[parent]
        i = parent
    row[i] = entry


@kernel
def _pop(losses: FloatArray, numbers: IntArray, heaps: Heaps, sizes: IntArray, heap: int) -> int:
    row = heaps[heap]
    n = sizes[TOP_SIZE + heap] - 1
    sizes[TOP_SIZE + heap] = n
    first, entry = row[0], row[n]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _before(losses, numbers, heap, row[child + 1], row[child]):
            child += 1
        if not _before(losses, numbers, heap, row[child], entry):
            break
        row[i] = row[child]
        i = child
    row[i] = entry
    return int(first)


@kernel
def _balance(
    losses: FloatArray, numbers: IntArray, flags: ByteArray, heaps: Heaps, sizes: IntArray, reduction_factor: int
) -> None:
    """Give the top as many entries as it should have."""
    n = sizes[ENTRIES]
    target = min(n, n // reduction_factor + sizes[EXTRA])
    while sizes[TOP_SIZE] > target:
        entry = _pop(losses, numbers, heaps, sizes, TOP)
        flags[entry] &= ~IN_TOP
        _push(losses, numbers, heaps, sizes, REST, entry)
    while sizes[TOP_SIZE] < target:
        entry = _pop(losses, numbers, heaps, sizes, REST)
        _enter_top(losses, numbers, flags, heaps, sizes, entry)


@kernel
def _enter_top(
    losses: FloatArray, numbers: IntArray, flags: ByteArray, heaps: Heaps, sizes: IntArray, entry: int
) -> None:
    flags[entry] |= IN_TOP
    _push(losses, numbers, heaps, sizes, TOP, entry)
    if not flags[entry] & (PROMOTED | IN_READY) and losses[entry] < math.inf:
        flags[entry] |= IN_READY
        _push(losses, numbers, heaps, sizes, READY, entry)


@kernel
def add(
    losses: FloatArray,
    numbers: IntArray,
    flags: ByteArray,
    heaps: Heaps,
    sizes: IntArray,
    loss: float,
    number: int,
    promoted: bool,
    reduction_factor: int,
) -> None:
    """A trial was told `loss` (not NaN) at the rung. The arrays have room for it.

    Args:
        losses, numbers, flags: of the entries, (capacity,), changed.
        heaps: (3, capacity), changed.
        sizes: (5,), changed.
        loss: infinite for one that is never to be promoted.
        number: of the trial.
        promoted: whether it has been promoted already (when a rung is built again from saved trials).
        reduction_factor: eta.
    """
    entry = sizes[ENTRIES]
    sizes[ENTRIES] = entry + 1
    losses[entry], numbers[entry] = loss, number
    flags[entry] = PROMOTED if promoted else 0
    if sizes[TOP_SIZE] > 0 and _before(losses, numbers, REST, entry, heaps[TOP, 0]):
        _enter_top(losses, numbers, flags, heaps, sizes, entry)
    else:
        _push(losses, numbers, heaps, sizes, REST, entry)
    _balance(losses, numbers, flags, heaps, sizes, reduction_factor)


@kernel
def best_ready(losses: FloatArray, numbers: IntArray, flags: ByteArray, heaps: Heaps, sizes: IntArray) -> int:
    """The best entry that may be promoted, or NONE."""
    while sizes[READY_SIZE] > 0:
        entry = heaps[READY, 0]
        if flags[entry] & IN_TOP and not flags[entry] & PROMOTED:
            return int(entry)
        _pop(losses, numbers, heaps, sizes, READY)
        flags[entry] &= ~IN_READY
    return NONE


@kernel
def free_place(
    losses: FloatArray, numbers: IntArray, flags: ByteArray, heaps: Heaps, sizes: IntArray, reduction_factor: int
) -> None:
    """A trial promoted from the rung has failed: one more of the others may be promoted in its place."""
    sizes[EXTRA] += 1
    _balance(losses, numbers, flags, heaps, sizes, reduction_factor)
