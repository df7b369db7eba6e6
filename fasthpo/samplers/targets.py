"""What a Gaussian process learns of trials: a number each, the higher the better."""

from __future__ import annotations

import numpy as np

from fasthpo.samplers.ranks import INFEASIBLE, WORST, SortKey
from fasthpo.values import FloatArray, masked

_FURTHEST = 5.0  # losses count up to so many times the distance from the best to the median
_STEP_TO_INFEASIBLE = 0.5  # from the worst of the feasible trials down to the best of those that are not


def normal_targets(ranks: FloatArray) -> FloatArray:
    """Quantiles of the normal distribution, of mean 0, at ranks (n,) from 1/2 to n - 1/2."""
    from fasthpo.kernels.normal import normal_scores

    targets = np.empty(len(ranks))
    normal_scores(ranks, targets)
    return targets


@masked
def logarithmic_targets(keys: list[SortKey], ranks: FloatArray) -> FloatArray | None:
    """t = -log(1 + (loss - best) / (median - best)), of mean 0 and variance 1; None where the losses have no scale.

    Normal scores know of a bowl how many points lie higher, which flattens its bottom; this keeps its shape there. That
    a loss counts up to some distance only bounds what an outlier can do. A pruned trial, whose loss is not that of a
    complete one, gets what the complete ones have at its rank; one without a finite value gets the worst. Those that
    break a constraint lie below all that do not, by rank.

    Args:
        keys: of the trials, in ascending order.
        ranks: of the trials, (n,); see `Ranks`.
    """
    complete = np.array([key[0] == 0 for key in keys])
    if complete.sum() < 3:
        return None
    losses = np.array([key[2] for key in keys])[complete]
    distances = losses - losses[0]
    median = np.median(distances)
    if distances[-1] == np.inf or median == np.inf:  # then the best is so large that an eighth is exact
        distances = losses / 8 - losses[0] / 8
        median = np.median(distances)
    if not median > 0:
        return None
    known = -np.log1p(np.minimum(distances / median, _FURTHEST))
    order = np.argsort(ranks[complete], kind="stable")
    targets = np.interp(ranks, ranks[complete][order], known[order])
    lowest = known.min()
    infeasible = np.array([key[0] == INFEASIBLE for key in keys])
    if infeasible.any():
        lowest -= _STEP_TO_INFEASIBLE
        first, last = ranks[infeasible].min(), ranks[infeasible].max()
        targets[infeasible] = lowest - _STEP_TO_INFEASIBLE * (ranks[infeasible] - first) / max(last - first, 1.0)
        lowest -= _STEP_TO_INFEASIBLE
    targets[[key[0] == WORST for key in keys]] = lowest
    targets -= targets.mean()
    spread = targets.std()
    return targets / spread if spread > 0 else None
