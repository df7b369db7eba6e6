"""The first few of points with several losses: whole layers and, of the last one, those that add most hypervolume.

With more than `MOST_MEASURED` objectives a hypervolume costs too much, as that grows exponentially with their number;
then those of the last layer are taken whose neighbours are furthest apart, as NSGA-II does.
"""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel
from .dominance import constrained_layers, crowding_distances
from .hypervolume import select_by_hypervolume

MOST_MEASURED = 4  # objectives
_MARGIN = 0.1  # of a reference point beyond the worst losses, as a share of their range


@kernel
def set_reference(losses: FloatArray, reference: FloatArray) -> None:
    """Write a reference point (m,) a little worse than all of some losses (n, m), n at least 1."""
    for j in range(losses.shape[1]):
        low, high = losses[0, j], losses[0, j]
        for i in range(len(losses)):
            low, high = min(low, losses[i, j]), max(high, losses[i, j])
        # the difference of two floats may overflow, and a sum beyond the largest one means no more than that one
        margin = _MARGIN * high - _MARGIN * low
        reference[j] = high + (margin if margin > 0.0 else max(abs(high), 1.0))


@kernel
def first_by_layers(losses: FloatArray, penalties: FloatArray, chosen: IntArray) -> None:
    """Choose points: whole layers and, of the last one, those that add most hypervolume, one after the other.

    Args:
        losses: (n, m).
        penalties: (n,); see `dominance.constrained_layers`. Without one, losses are finite.
        chosen: numbers of points, int64 (k,), k at most n, written: layer by layer, in ascending order in each, but the
            last one's in the order in which they were chosen.
    """
    n, m = losses.shape
    layers = np.empty(n, np.int64)
    constrained_layers(losses, penalties, layers)
    order = np.argsort(layers, kind="mergesort")
    done = 0
    while done < len(chosen):
        end = done
        while end < n and layers[order[end]] == layers[order[done]]:
            end += 1
        if end <= len(chosen) or penalties[order[done]] > 0.0:
            for i in range(done, min(end, len(chosen))):
                chosen[i] = order[i]
        else:
            members, reference = np.empty((end - done, m)), np.empty(m)
            for i in range(done, end):
                for j in range(m):
                    members[i - done, j] = losses[order[i], j]
            own = np.empty(len(chosen) - done, np.int64)
            if m > MOST_MEASURED:
                distances = np.empty(len(members))
                crowding_distances(members, np.arange(len(members)), distances)
                own[:] = np.argsort(-distances, kind="mergesort")[: len(own)]
            else:
                set_reference(members, reference)
                select_by_hypervolume(members, reference, own)
            for i in range(len(own)):
                chosen[done + i] = order[done + own[i]]
        done = end
