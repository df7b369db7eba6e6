"""Whether a study still gets better: the rule of `NoImprovement`."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, masked

_EACH = 200  # trials up to which the rule is looked at after each
_GROWTH = 1.01  # and by how much their number grows between two looks from there on: what all looks cost stays linear
_FIRST = 20  # trials whose median is one end of the spread
_BEYOND = 1.1  # so that the ends of a front dominate something, too


def scheduled(count: int) -> int:
    """At the latest of which number of trials the rule is looked at, if there are `count`; it depends on nothing else.

    So a study that is loaded again decides as the one that went on.
    """
    if count <= _EACH:
        return count
    at = int(_EACH * _GROWTH ** math.floor(math.log(count / _EACH) / math.log(_GROWTH)))
    return min(max(at, _EACH), count)


def window(count: int, patience: int, share: float) -> int:
    """How many of the last of `count` trials have to bring an improvement."""
    return max(patience, math.ceil(share * count))


def counted(table: TrialTable) -> int:
    """How many trials count: those that completed or were pruned."""
    return table.counts[TrialState.COMPLETE] + table.counts[TrialState.PRUNED]


@masked
def last_gain(table: TrialTable, count: int, last: int) -> float | None:
    """By how much the last of the first `count` trials have improved on those before.

    With one objective it is the improvement of the best value, in spreads: the distance from the median of the first
    trials to the best value now. (The median of all trials comes closer to the best as a sampler learns: then the least
    improvement would count.) With several it is the share of what the front dominates now that it did not dominate
    before (the hypervolume), up to a reference point a tenth beyond that median, or the worst on the front.

    Args:
        table: the trials.
        count: how many of those that completed or were pruned are looked at, in the order in which they ended.
        last: how many of them are the last, fewer than `count`.

    Returns:
        None if there was no best value before.
    """
    order = table.tell_order
    states = table.states[order]
    order = order[(states == TrialState.COMPLETE) | (states == TrialState.PRUNED)][:count]
    m = table.objectives.count
    losses = table.objectives.losses(table.values[order]).reshape(len(order), m) / 2  # differences may overflow
    usable = (table.states[order] == TrialState.COMPLETE) & np.isfinite(losses).all(axis=1)
    usable &= ~(table.violations[order] > 0)
    before, known = losses[: count - last][usable[: count - last]], losses[usable]
    if not len(before):
        return None
    best, median = known.min(axis=0), np.median(known[:_FIRST], axis=0)
    if m == 1:
        worst = median if median > best else known.max(axis=0)
        return float((before.min() - best[0]) / (worst[0] - best[0] if worst > best else 1.0))
    front = _front(known)
    spread = np.maximum(front.max(axis=0), median) - best
    reference = np.where(spread > 0, best + _BEYOND * spread, best + 1.0)
    now = _dominated(front, best, reference)
    return 1.0 - _dominated(_front(before), best, reference) / now if now > 0 else None


def _front(losses: FloatArray) -> FloatArray:
    from fasthpo.kernels.multi_objective.dominance import front

    losses = np.ascontiguousarray(losses)
    kept: IntArray = np.empty(len(losses), np.int64)
    return losses[kept[: front(losses, kept)]]


def _dominated(front: FloatArray, best: FloatArray, reference: FloatArray) -> float:
    """What a front dominates of the box between two points, as a share of it."""
    from fasthpo.kernels.multi_objective.hypervolume import hypervolume

    scaled = np.ascontiguousarray((front - best) / (reference - best))
    return float(hypervolume(scaled, np.ones(scaled.shape[1])))
