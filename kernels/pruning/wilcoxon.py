"""The signed-rank test of Wilcoxon 1945 (doi 10.2307/3001968), one-sided: are the differences mostly positive?

The absolute differences are ranked, equal ones with the mean of their ranks. W is the sum of the ranks of the positive
differences and half of those of the zeros ("zsplit" in SciPy). If no differences are equal and none is zero, up to 50
of them are judged by the exact distribution of W, where each subset of the ranks 1 to n is equally likely; else W is
taken as normal with

    mean n (n + 1) / 4,    variance (n (n + 1) (2 n + 1) - sum over groups of t equal ones (t^3 - t) / 2) / 24.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel

LARGEST_EXACT = 50


@kernel
def _offset(n: int) -> int:
    """Where the tail of n begins in the array of `exact_tails`: the tails of 1 to n - 1 have k (k + 1) / 2 + 1 each."""
    return (n - 1) * n * (n + 1) // 6 + n - 1


@kernel
def exact_tails() -> FloatArray:
    """P(W >= w) for n = 1 to `LARGEST_EXACT` and w = 0 to n (n + 1) / 2, one after the other in a flat array."""
    tails = np.empty(_offset(LARGEST_EXACT + 1))
    most = LARGEST_EXACT * (LARGEST_EXACT + 1) // 2
    subsets = np.zeros(most + 1)  # of the ranks so far, by their sum; below 2**53, so exact
    subsets[0] = 1.0
    for n in range(1, LARGEST_EXACT + 1):
        top = n * (n + 1) // 2
        for w in range(top, n - 1, -1):
            subsets[w] += subsets[w - n]
        begin = _offset(n)
        at_least = 0.0
        for w in range(top, -1, -1):
            at_least += subsets[w]
            tails[begin + w] = at_least / 2.0**n
    return tails


@kernel
def _sink(values: FloatArray, i: int, n: int) -> None:
    """Put entry i where no larger absolute value stands below it, in a heap of n entries."""
    value = values[i]
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and abs(values[child + 1]) > abs(values[child]):
            child += 1
        if abs(values[child]) <= abs(value):
            break
        values[i] = values[child]
        i = child
    values[i] = value


@kernel
def sort_by_size(values: FloatArray) -> None:
    """Sort by absolute value, ascending, in place (heapsort)."""
    n = len(values)
    for i in range(n // 2 - 1, -1, -1):
        _sink(values, i, n)
    for last in range(n - 1, 0, -1):
        largest = values[0]
        values[0] = values[last]
        values[last] = largest
        _sink(values, 0, last)


@kernel
def p_value(differences: FloatArray, tails: FloatArray) -> float:
    """The probability of a W at least as large if differences were as often negative as positive.

    Args:
        differences: (n,), n at least 1, infinities allowed, no NaN; sorted by absolute value on return.
        tails: of `exact_tails`.
    """
    n = len(differences)
    sort_by_size(differences)
    w = ties = 0.0
    exact = n <= LARGEST_EXACT and differences[0] != 0.0
    first = 0
    while first < n:
        size = abs(differences[first])
        after = first + 1
        while after < n and abs(differences[after]) == size:
            after += 1
        rank = 0.5 * (first + 1 + after)
        for i in range(first, after):
            if differences[i] > 0.0:
                w += rank
            elif differences[i] == 0.0:
                w += 0.5 * rank
        count = float(after - first)
        if count > 1.0:
            exact = False
            ties += count * count * count - count
        first = after
    if exact:
        return tails[_offset(n) + int(w)]
    m = float(n)
    deviation = math.sqrt((m * (m + 1.0) * (2.0 * m + 1.0) - 0.5 * ties) / 24.0)
    return 0.5 * math.erfc((w - m * (m + 1.0) / 4.0) / deviation / math.sqrt(2.0))


@kernel
def enter(steps: IntArray, losses: FloatArray, count: int, step: int, loss: float) -> None:
    """Add a loss to `count` others that stand in the order of their steps."""
    place = count
    while place > 0 and steps[place - 1] > step:
        steps[place] = steps[place - 1]
        losses[place] = losses[place - 1]
        place -= 1
    steps[place] = step
    losses[place] = loss


@kernel
def is_worse(
    steps: IntArray,
    losses: FloatArray,
    count: int,
    best_steps: IntArray,
    best_losses: FloatArray,
    tails: FloatArray,
    least: int,
    threshold: float,
) -> bool:
    """Whether a trial is significantly worse than the best one at the steps that both have reported.

    Args:
        steps, losses: the trial's, the first `count` entries; steps ascending; losses without NaN.
        best_steps, best_losses: the best trial's.
        tails: of `exact_tails`.
        least: False if fewer steps are common.
        threshold: worse is what has a positive mean difference and a p-value below this.
    """
    differences = np.empty(min(count, len(best_steps)))
    n = i = j = 0
    total = 0.0
    while i < count and j < len(best_steps):
        if steps[i] < best_steps[j]:
            i += 1
        elif steps[i] > best_steps[j]:
            j += 1
        else:
            own, other = float(losses[i]), float(best_losses[j])
            difference = 0.0 if own == other else own - other  # inf - inf would be NaN
            differences[n] = difference
            total += difference
            n += 1
            i += 1
            j += 1
    if n == 0 or n < least or not total > 0.0:
        return False
    return p_value(differences[:n], tails) < threshold
