"""Where pruned trials stand among the others, in the obvious way."""

from __future__ import annotations

import math

from scipy.stats import rankdata

from fasthpo.samplers.ranks import WORST, SortKey
from fasthpo.trials.table import TrialTable


def best_until(table: TrialTable, number: int, step: int) -> float | None:
    """The lowest loss that a trial reported up to a step; None if it reported none."""
    losses = [table.objectives.loss(1.0) * value for at, value in table.reports.of(number).items() if at <= step]
    return min((loss if math.isfinite(loss) else math.inf for loss in losses), default=None)


def count_better(table: TrialTable, keys: list[SortKey], key: SortKey) -> float:
    """How many of the other trials were better at the last step of a pruned one."""
    step = max(table.reports.of(key[3]))
    own = best_until(table, key[3], step)
    assert own is not None
    points = []
    for other in keys:
        if other[3] == key[3]:
            continue
        best = best_until(table, other[3], step)
        if best is not None:
            points.append(1.0 if best < own else 0.5 if best == own else 0.0)
        elif other[0] == 0:
            points.append(1.0)
    return sum(points) * (len(keys) - 1) / len(points) if points else len(keys) - 1


def ranks(table: TrialTable, keys: list[SortKey], pruned_by_rank: bool) -> list[float]:
    """Ranks from 1/2 up, equal ones with the mean; of those without a finite value (WORST) the last."""
    behind, keys = [key for key in keys if key[0] == WORST], [key for key in keys if key[0] != WORST]
    complete = [key[2] for key in keys if key[0] == 0]
    scores = []
    for key in keys:
        curve = table.reports.of(key[3])
        if key[0] == 0:
            equal = complete.count(key[2])
            scores.append(sum(loss < key[2] for loss in complete) + (equal - 1) / 2)
        elif pruned_by_rank and curve and math.isfinite(curve[max(curve)]):
            scores.append(max(count_better(table, keys, key), 0.5))
        else:  # behind all, equal ones together
            equal_keys = [i for i, other in enumerate(keys) if other[:3] == key[:3]]
            scores.append(len(keys) + sum(equal_keys) / len(equal_keys))
    scores += [math.inf] * len(behind)
    return [float(rank) - 0.5 for rank in rankdata(scores)]
