"""How much a point that may come out as low as its lower confidence bounds would improve a front.

The acquisition of Ponweiser, Wagner, Biermann, Vincze: Multiobjective optimization on a limited budget of evaluations
using model-assisted S-metric selection. PPSN 2008: the hypervolume that the vector of lower confidence bounds adds to
the front; where it adds none, how far it is from doing so, as a negative number.
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import FloatArray, WordArray
from ..compiling import kernel
from ..uniforms import fill_uniforms
from .hypervolume import volume_of_many

_AUGMENTATION = 0.05  # of the weighted sum, so that of points with one largest loss the better one is found


@kernel
def draw_weights(key: WordArray, weights: FloatArray) -> None:
    """Draw weights (m,) whose sum is 1, all such alike, from the random stream of a key (5,)."""
    m = len(weights)
    numbers = np.empty(m + m % 2)
    fill_uniforms(key, numbers)
    for j in range(m):
        weights[j] = -math.log(1.0 - numbers[j])
    weights /= weights.sum()


@kernel
def weighted(bounds: FloatArray, weights: FloatArray) -> float:
    """The negative of the largest weighted loss, and a little of their sum: the augmented Tchebycheff function.

    For more objectives than a hypervolume can be taken of: weights that are drawn anew each time lead all over the
    front (Knowles: ParEGO. IEEE Transactions on Evolutionary Computation 10, 2006).

    Args:
        bounds, weights: (m,).
    """
    largest, total = -np.inf, 0.0
    for j in range(len(bounds)):
        largest = max(largest, weights[j] * bounds[j])
        total += weights[j] * bounds[j]
    return -(largest + _AUGMENTATION * total)


@kernel
def improvement(bounds: FloatArray, front: FloatArray, reference: FloatArray) -> float:
    """The hypervolume that a point adds to a front; negative if it is dominated, by how much it would have to be lower.

    Args:
        bounds: the point, (m,).
        front: points none of which dominates another, in ascending order of their first losses, (k, m).
        reference: (m,).
    """
    k, m = front.shape
    missing = 0.0
    for j in range(m):
        missing = max(missing, bounds[j] - reference[j])
    for i in range(k):
        worst = np.inf
        for j in range(m):
            worst = min(worst, bounds[j] - front[i, j])
        missing = max(missing, worst)
    if missing > 0.0:
        return -missing
    if m == 2:
        # the strips to the right of the point, between one point of the front and the next
        total, left, top = 0.0, bounds[0], reference[1]
        for i in range(k):
            x, y = front[i, 0], front[i, 1]
            if x > left:
                right = min(x, reference[0])
                total += (right - left) * max(top - bounds[1], 0.0)
                left = right
            top = min(top, y)
            if top <= bounds[1] or left >= reference[0]:
                break
        if top > bounds[1] and left < reference[0]:
            total += (reference[0] - left) * (top - bounds[1])
        return total
    limited = np.empty((k, m))
    alone = 1.0
    for j in range(m):
        span = reference[j] - bounds[j]
        alone *= span
        for i in range(k):
            limited[i, j] = min(max(front[i, j] - bounds[j], 0.0) / span, 1.0) if span > 0.0 else 1.0
    count = 0
    for i in range(k):
        inside = True
        for j in range(m):
            inside = inside and limited[i, j] < 1.0
        if inside:
            limited[count] = limited[i]
            count += 1
    return alone * max(1.0 - volume_of_many(limited[:count]), 0.0)
