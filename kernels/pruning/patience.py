"""The last reports of a trial and the best before them, kept while it runs.

A running trial has a row of two arrays, for a window of w reports:

    steps[row]     how many reports it has made | the w largest steps, ascending
    losses[row]    the best loss before these   | the losses at them

Losses are never NaN. A report costs O(w), whatever the number of reports before it.
"""

from __future__ import annotations

import math

from ..arrays import FloatArray, IntArray
from ..compiling import kernel


@kernel
def clear(steps: IntArray, losses: FloatArray, row: int) -> None:
    """A trial without reports takes the row."""
    steps[row, 0] = 0
    losses[row, 0] = math.inf


@kernel
def push(steps: IntArray, losses: FloatArray, row: int, step: int, loss: float, min_delta: float) -> bool:
    """Enter a report; whether the best of the window is not better by more than min_delta than the best before it.

    False while there is no report before the window.
    """
    window = steps.shape[1] - 1
    count = steps[row, 0]
    steps[row, 0] = count + 1
    if count < window:
        place = count + 1
        while place > 1 and steps[row, place - 1] > step:
            steps[row, place] = steps[row, place - 1]
            losses[row, place] = losses[row, place - 1]
            place -= 1
        steps[row, place] = step
        losses[row, place] = loss
        return False
    if step < steps[row, 1]:  # it comes late, before all of the window
        losses[row, 0] = min(losses[row, 0], loss)
    else:
        losses[row, 0] = min(losses[row, 0], losses[row, 1])
        place = 1
        while place < window and steps[row, place + 1] < step:
            steps[row, place] = steps[row, place + 1]
            losses[row, place] = losses[row, place + 1]
            place += 1
        steps[row, place] = step
        losses[row, place] = loss
    best = float(losses[row, 1])
    for place in range(2, window + 1):
        best = min(best, float(losses[row, place]))
    return not float(losses[row, 0]) - best > min_delta  # inf - inf is NaN: not better
