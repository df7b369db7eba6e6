"""Learning curves compared step by step: how many others were better where a trial was pruned."""

from __future__ import annotations

from ..arrays import FloatArray, IntArray
from ..compiling import kernel


@kernel
def _at(steps: IntArray, first: int, last: int, step: int) -> int:
    """The index of the last entry from `first` to before `last` whose step is at most `step`; first - 1 if none is."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if steps[middle] <= step:
            low = middle + 1
        else:
            high = middle
    return low - 1


@kernel
def count_better(steps: IntArray, bests: FloatArray, starts: IntArray, complete: int, i: int) -> float:
    """How many of the n - 1 other trials were better than trial i at its last step; equal ones count half.

    One that ended before counts with its last entry. Of those that have no entry so early, complete ones count as
    better; others are taken to be like those that can be compared.

    Args:
        steps: of all trials, one after the other, ascending in each, int64 (t,).
        bests: the lowest loss up to each step, never NaN, (t,).
        starts: trial i has the entries from starts[i] to before starts[i + 1], (n + 1,).
        complete: how many of the trials, the first ones, are complete.
        i: the trial; it has an entry.

    Returns:
        0 to n - 1; n - 1 if no other can be compared.
    """
    end = starts[i + 1] - 1
    step, own = steps[end], bests[end]
    compared, better = 0, 0.0
    for j in range(len(starts) - 1):
        if j == i:
            continue
        k = _at(steps, starts[j], starts[j + 1], step)
        if k >= starts[j]:
            compared += 1
            if bests[k] < own:
                better += 1.0
            elif bests[k] == own:
                better += 0.5
        elif j < complete:
            compared += 1
            better += 1.0
    others = len(starts) - 2.0
    return better * others / compared if compared else others
