"""An order of points with several losses: layer by layer, and inside a layer along an epsilon-net.

So the first few of a layer are spread over all of it: the first is the one with the lowest first loss, and each next
one is that whose nearest neighbour among those before is furthest away (Clarkson: Nearest-neighbor searching and metric
space dimensions. 2006, section 3). Each loss is scaled to go from 0 to 1 in the layer, so that units do not count.
"""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel
from .dominance import constrained_layers

_LARGEST = float(np.finfo(np.float64).max)  # an infinity counts as this


@kernel
def _half(loss: float) -> float:
    """Half of a loss, as the difference of two floats may overflow."""
    return min(max(loss, -_LARGEST), _LARGEST) / 2.0


@kernel
def scaled_to_layer(losses: FloatArray, members: IntArray) -> FloatArray:
    """The losses of some rows, int64 (k,), as rows (k, m) that go from 0 to 1; 0 where all are equal."""
    k, m = len(members), losses.shape[1]
    scaled = np.zeros((k, m))
    for j in range(m):
        low = high = _half(losses[members[0], j])
        for i in range(k):
            half = _half(losses[members[i], j])
            low, high = min(low, half), max(high, half)
        if high > low:
            for i in range(k):
                scaled[i, j] = (_half(losses[members[i], j]) - low) / (high - low)
    return scaled


@kernel
def along_net(losses: FloatArray, members: IntArray, chosen: IntArray) -> None:
    """The first points of one layer along its epsilon-net; of equals the one that stands first in `members`.

    Args:
        losses: (n, m), without NaN in the rows of the layer.
        members: numbers of the rows that are the layer, int64 (k,), k at least 1.
        chosen: at most k numbers, written.
    """
    k, m = len(members), losses.shape[1]
    scaled = scaled_to_layer(losses, members)
    nearest = np.full(k, np.inf)  # squared distance to the nearest one chosen; below 0 for those that were
    latest = 0
    for i in range(k):
        if losses[members[i], 0] < losses[members[latest], 0]:
            latest = i
    for done in range(len(chosen)):
        chosen[done] = members[latest]
        nearest[latest] = -1.0
        following = latest
        for i in range(k):
            if nearest[i] < 0.0:
                continue
            distance = 0.0
            for j in range(m):
                apart = scaled[i, j] - scaled[latest, j]
                distance += apart * apart
            nearest[i] = min(nearest[i], distance)
            if nearest[following] < nearest[i]:
                following = i
        latest = following


@kernel
def first_along_nets(losses: FloatArray, penalties: FloatArray, chosen: IntArray) -> None:
    """The first points: whole layers, and each layer along its epsilon-net, so that the one that is cut is covered.

    Args:
        losses: (n, m).
        penalties: (n,); see `dominance.constrained_layers`. Without one, no loss is NaN.
        chosen: numbers of points, int64 (k,), k at most n, written, the first one first. Those that have a penalty are
            ordered by it, equal ones by their numbers.
    """
    n = len(losses)
    layers = np.empty(n, np.int64)
    constrained_layers(losses, penalties, layers)
    order = np.argsort(layers, kind="mergesort")
    done = 0
    while done < len(chosen):
        end = done
        while end < n and layers[order[end]] == layers[order[done]]:
            end += 1
        last = min(end, len(chosen))
        if penalties[order[done]] == 0.0:
            along_net(losses, order[done:end], chosen[done:last])
        else:
            for i in range(done, last):
                chosen[i] = order[i]
        done = end
