"""Rungs of successive halving that stops trials: enter in O(log n), and know whether the newcomer is among the best.

A *rung* holds the trials that reached it, each a pair of loss and number, in one float64 array. Pairs are ordered by
loss, equal ones by number. As in `pruning/percentile.py` two heaps share the array: `low`, a max-heap of the best
max(1, floor(n / eta)) of n trials, grows from the left end, and `high`, a min-heap of the rest, from the right end:

    low entries | high entries | low live | high live | low[0] low[1] ...  free  ... high[1] high[0]

A trial that is withdrawn stays in its heap until it comes to the top; only live trials are counted. Losses are never
NaN; numbers are below 2**53.
"""

from __future__ import annotations

import numpy as np

from ..arrays import ByteArray, FloatArray
from ..compiling import kernel

ENTRIES, LIVE, HEADER = 0, 2, 4
OUT, IN, FULL = 0, 1, 2  # what `enter` answers

# Both heaps are one piece of code: entry i of side s stands at _place(rung, s, i), its number one further on.
_LOW, _HIGH = 0, 1


def empty() -> FloatArray:
    """A rung that nobody has reached."""
    return np.zeros(HEADER + 2 * 6)


def widen(rung: FloatArray) -> FloatArray:
    """A copy of a rung with room for half as many entries more."""
    low, high = int(rung[ENTRIES + _LOW]), int(rung[ENTRIES + _HIGH])
    wider = np.empty(len(rung) + 2 * ((low + high) // 2 + 6))
    wider[: HEADER + 2 * low] = rung[: HEADER + 2 * low]
    wider[len(wider) - 2 * high :] = rung[len(rung) - 2 * high :]
    return wider


@kernel
def _place(rung: FloatArray, side: int, i: int) -> int:
    return HEADER + 2 * i if side == _LOW else len(rung) - 2 - 2 * i


@kernel
def _precedes(rung: FloatArray, side: int, loss: float, number: float, place: int) -> bool:
    """Whether a pair has to stand above the one at `place`: the worse above in `low`, the better in `high`."""
    other: float = rung[place]
    if loss != other:
        return (loss > other) == (side == _LOW)
    return (number > rung[place + 1]) == (side == _LOW)


@kernel
def _push(rung: FloatArray, side: int, loss: float, number: float) -> None:
    i = int(rung[ENTRIES + side])
    rung[ENTRIES + side] += 1.0
    rung[LIVE + side] += 1.0
    place = _place(rung, side, i)
    while i > 0:
        i = (i - 1) // 2
        parent = _place(rung, side, i)
        if not _precedes(rung, side, loss, number, parent):
            break
        rung[place] = rung[parent]
        rung[place + 1] = rung[parent + 1]
        place = parent
    rung[place] = loss
    rung[place + 1] = number


@kernel
def _drop_top(rung: FloatArray, side: int) -> None:
    """Remove the top of a heap; LIVE is the caller's to correct."""
    n = int(rung[ENTRIES + side]) - 1
    rung[ENTRIES + side] = n
    moved = _place(rung, side, n)
    loss, number = rung[moved], rung[moved + 1]
    i, place = 0, _place(rung, side, 0)
    while True:
        i = 2 * i + 1
        if i >= n:
            break
        child = _place(rung, side, i)
        if i + 1 < n:
            other = _place(rung, side, i + 1)
            if _precedes(rung, side, rung[other], rung[other + 1], child):
                i, child = i + 1, other
        if _precedes(rung, side, loss, number, child):
            break
        rung[place] = rung[child]
        rung[place + 1] = rung[child + 1]
        place = child
    if n > 0:
        rung[place] = loss
        rung[place + 1] = number


@kernel
def _clean(rung: FloatArray, side: int, withdrawn: ByteArray) -> None:
    """Remove withdrawn trials from the top of a heap."""
    while rung[ENTRIES + side] > 0.0 and withdrawn[int(rung[_place(rung, side, 0) + 1])]:
        _drop_top(rung, side)


@kernel
def _move_top(rung: FloatArray, side: int, withdrawn: ByteArray) -> None:
    """Move the first live entry of a heap to the other one."""
    _clean(rung, side, withdrawn)
    place = _place(rung, side, 0)
    loss, number = rung[place], rung[place + 1]
    _drop_top(rung, side)
    rung[LIVE + side] -= 1.0
    _push(rung, 1 - side, loss, number)


@kernel
def _balance(rung: FloatArray, withdrawn: ByteArray, eta: int) -> None:
    """Make `low` hold the best max(1, floor(n / eta)) of the n live trials."""
    n = int(rung[LIVE + _LOW] + rung[LIVE + _HIGH])
    target = min(n, max(1, n // eta))
    while rung[LIVE + _LOW] < target:
        _move_top(rung, _HIGH, withdrawn)
    while rung[LIVE + _LOW] > target:
        _move_top(rung, _LOW, withdrawn)
    _clean(rung, _LOW, withdrawn)


@kernel
def _is_low(rung: FloatArray, loss: float, number: float) -> bool:
    """Whether a pair ranks no worse than the top of `low`, which is live."""
    return rung[LIVE + _LOW] > 0.0 and not _precedes(rung, _LOW, loss, number, HEADER)


@kernel
def enter(rung: FloatArray, withdrawn: ByteArray, number: int, loss: float, eta: int) -> int:
    """Add a trial: IN if it is then among the best, else OUT. FULL: nothing done, call again with a wider rung.

    One that has been withdrawn is not added: OUT.

    Args:
        rung: the rung.
        withdrawn: by trial number, 1 for those that have been withdrawn.
        number: the trial's, for the first time.
        loss: what it reached.
        eta: a share of 1 / eta goes on.
    """
    if withdrawn[number]:
        return OUT
    if HEADER + 2 * int(rung[ENTRIES + _LOW] + rung[ENTRIES + _HIGH]) == len(rung):
        return FULL
    _push(rung, _LOW if _is_low(rung, loss, float(number)) else _HIGH, loss, float(number))
    _balance(rung, withdrawn, eta)
    return IN if _is_low(rung, loss, float(number)) else OUT


@kernel
def withdraw(rung: FloatArray, withdrawn: ByteArray, number: int, loss: float, eta: int) -> None:
    """Take a trial's entry out, which is `loss`; the trial has not been withdrawn before, and `withdrawn` is set."""
    rung[LIVE + (_LOW if _is_low(rung, loss, float(number)) else _HIGH)] -= 1.0
    _balance(rung, withdrawn, eta)
