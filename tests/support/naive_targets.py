"""What a Gaussian process learns of trials, in the obvious way."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import fmean, median

from scipy.special import ndtri

from fasthpo.samplers.ranks import WORST, SortKey


def normal(ranks: list[float]) -> list[float]:
    scores = [-float(ndtri(rank / len(ranks))) for rank in ranks]
    return [score - fmean(scores) for score in scores]


def between(rank: float, known: list[tuple[float, float]]) -> float:
    """The target at a rank on straight lines through those of complete trials, level beyond the first and the last."""
    before = [pair for pair in known if pair[0] <= rank]
    after = [pair for pair in known if pair[0] >= rank]
    if not before or not after:
        return (after or before)[0 if after else -1][1]
    (a, left), (b, right) = before[-1], after[0]
    return left if a == b else left + (right - left) * (rank - a) / (b - a)


def _rounded(scale: Fraction) -> float | Fraction:
    """The nearest float, which is 0 for the smallest of all; what is too large for a float stays."""
    return scale if scale > Fraction(1.7e308) else float(scale)


def logarithmic(keys: list[SortKey], ranks: list[float]) -> list[float]:
    """Normal scores where there is no scale."""
    complete = [(rank, key[2]) for key, rank in zip(keys, ranks, strict=True) if key[0] == 0]
    losses = [Fraction(loss) for _, loss in complete]
    scale = Fraction(_rounded(median(losses) - min(losses))) if losses else 0
    if len(losses) < 3 or scale == 0:
        return normal(ranks)
    furthest = [min((loss - min(losses)) / scale, 5) for loss in losses]
    known = [(rank, -math.log(1 + distance)) for (rank, _), distance in zip(complete, furthest, strict=True)]
    worst = min(target for _, target in known)
    targets = [
        worst
        if key[0] == WORST
        else known[[r for r, _ in known].index(rank)][1]
        if key[0] == 0
        else between(rank, known)
        for key, rank in zip(keys, ranks, strict=True)
    ]
    centred = [target - fmean(targets) for target in targets]
    spread = math.sqrt(fmean(target**2 for target in centred))
    return [target / spread for target in centred]
