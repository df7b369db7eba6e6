"""Slow, obvious twins of the pruners but for the percentile's: every decision anew from all reports."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.stats

from fasthpo.trials.table import TrialTable

Event = tuple[int, int | None, float | None]  # (trial, step, value), or (trial, None, None): it has failed


def losses(table: TrialTable, number: int) -> dict[int, float]:
    """A trial's losses by step, ascending; NaN ranks worst."""
    curve = {step: table.objectives.loss(1.0) * value for step, value in table.reports.of(number).items()}
    return {step: math.inf if math.isnan(loss) else loss for step, loss in curve.items()}


def threshold(table: TrialTable, number: int, lower: float | None, upper: float | None, min_steps: int) -> bool:
    """The decision of `ThresholdPruner`."""
    reports = table.reports.of(number)
    if not reports or max(reports) < min_steps:
        return False
    value = reports[max(reports)]
    low, high = -math.inf if lower is None else lower, math.inf if upper is None else upper
    return not low <= value <= high


def patience_over(table: TrialTable, number: int, patience: int, min_delta: float) -> bool:
    """The decision of `PatientPruner(None, ...)`."""
    curve = list(losses(table, number).values())
    before, after = curve[: -patience - 1], curve[-patience - 1 :]
    if not before:
        return False
    if min(before) == min(after):  # also where both are infinite
        return True
    return not min(before) - min(after) > min_delta


def signed_rank(differences: list[float]) -> float:
    """P(W >= the one found), from the definition: every choice of signs for at most 50 pairs without ties or zeros."""
    d = np.array(differences, float)
    ordinary = len(np.unique(np.abs(d))) == len(d) and (d != 0).all()
    method = "exact" if len(d) <= 50 and ordinary else "asymptotic"
    ranked = np.sign(d) * scipy.stats.rankdata(np.abs(d), "dense")  # the same ranks without infinities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(scipy.stats.wilcoxon(ranked, zero_method="zsplit", alternative="greater", method=method).pvalue)


def wilcoxon(table: TrialTable, number: int, p_threshold: float, n_startup_steps: int) -> bool:
    """The decision of `WilcoxonPruner`."""
    if table.best_number is None:
        return False
    own, best = losses(table, number), losses(table, table.best_number)
    common = [step for step in own if step in best]
    if not common or len(common) < n_startup_steps:
        return False
    differences = [0.0 if own[step] == best[step] else own[step] - best[step] for step in common]
    if not sum(differences) > 0:
        return False
    return signed_rank(differences) < p_threshold


class Halving:
    """The rungs of `SuccessiveHalvingPruner`, told events in the order in which they came."""

    def __init__(self, events: Iterable[Event], sign: float, min_resource: int, eta: int) -> None:
        self.rungs: dict[int, dict[int, float]] = {}
        self.stopped: set[int] = set()
        for number, step, value in events:
            if step is None or value is None:
                for rung in self.rungs.values():
                    rung.pop(number, None)
                continue
            level = min_resource
            while level <= step:
                rung = self.rungs.setdefault(level, {})
                if number not in rung:
                    rung[number] = math.inf if math.isnan(value) else sign * value
                    best = sorted(rung, key=lambda other, rung=rung: (rung[other], other))
                    if number not in best[: max(1, len(rung) // eta)]:
                        self.stopped.add(number)
                level *= eta


def events_of(table: TrialTable) -> list[Event]:
    """What a pruner that takes up a table can know: all reports and failures in their order."""
    n, reports = len(table.reports), table.reports
    events: list[Event] = []
    columns: Any = zip(reports.trial.tolist(), reports.step[:n].tolist(), reports.value.tolist(), strict=True)
    for i, event in enumerate([*columns, None]):
        events += [(number, None, None) for number, before in reports.failures.items() if before == i]
        events += [] if event is None else [event]
    return events
