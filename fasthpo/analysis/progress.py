"""How the best value came about, trial by trial, and what the last trials have gained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.analysis.clouds import Cloud, cloud, thinned
from fasthpo.analysis.scales import Scale, value_scale
from fasthpo.analysis.trial_data import TrialData, check_objective, check_study, trial_data
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, check_count, masked

_MOST_STEPS = 500
_MOST_BINS = 200
_MOST_PERCENT = 1e4  # beyond, the value before was next to 0, and the ratio says nothing


class History(NamedTuple):
    """The values of the trials in the order in which they were asked for.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        trials: how many there are.
        number_scale, value_scale: of both axes.
        complete: the trials that completed and break no constraint.
        partial: those pruned or paused, at the last value they had, where that is within the scale.
        best_number, best_value: each trial that was better than all completed ones before it, (k,).
        failed_edges: of bins of trial numbers (b + 1,).
        failed: how many trials of each bin failed, int64 (b,).
        infeasible: the trials that completed and break a constraint.
    """

    title: str
    direction: str
    trials: int
    number_scale: Scale
    value_scale: Scale
    complete: Cloud
    partial: Cloud
    best_number: IntArray
    best_value: FloatArray
    failed_edges: FloatArray
    failed: IntArray
    infeasible: Cloud


def history(study: StudyReader, objective: int = 0) -> History:
    """The values of all trials, and the best so far.

    Args:
        study: what was run.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, or no such objective.
    """
    data = trial_data(study)
    objective = check_objective(data, objective)
    values, losses = data.values[:, objective], data.losses(objective)
    complete, broken = data.in_state(TrialState.COMPLETE), data.violations > 0
    partial = data.in_state(TrialState.PRUNED, TrialState.PAUSED)
    scored = complete if complete.any() else partial
    scale = value_scale(objective_name(data, objective), values[scored], losses[scored])
    numbers = np.arange(len(data))
    number_scale = Scale("trial", -0.5, max(len(data), 1) - 0.5, is_whole=True)

    def points(some: npt.NDArray[np.bool_]) -> Cloud:
        at = numbers[some]
        return cloud(at.astype(float), values[some], losses[some], at, number_scale, scale)

    best = best_so_far(losses, data.feasible)
    edges = np.linspace(-0.5, max(len(data), 1) - 0.5, min(max(len(data), 1), _MOST_BINS) + 1)
    failed = np.histogram(numbers[data.in_state(TrialState.FAILED)], edges)[0].astype(np.int64)
    kept = best[thinned(len(best), _MOST_STEPS)]
    seen = partial & (values >= scale.low) & (values <= scale.high)
    return History(
        data.title, data.directions[objective], len(data), number_scale, scale, points(complete & ~broken),
        points(seen), kept, values[kept], edges, failed, points(complete & broken),
    )  # fmt: skip


def objective_name(data: TrialData, objective: int) -> str:
    """What the values of an objective are called."""
    return "objective value" if len(data.directions) == 1 else f"objective {objective}"


def best_so_far(losses: FloatArray, counts: npt.NDArray[np.bool_]) -> IntArray:
    """The places of those of the losses (n,) that count and are lower than all such before."""
    usable = np.where(counts, losses, np.inf)
    before = np.concatenate([[np.inf], np.minimum.accumulate(usable)[:-1]]) if len(usable) else usable
    return np.flatnonzero(usable < before)


class Gains(NamedTuple):
    """What the trials that ended last have gained.

    Attributes:
        last: how many trials are looked at.
        before: the best value before them; None if there was none.
        now: the best value; None if there is none.
        improvement: how much better, at least 0; infinite if there was none before, NaN if there is none at all.
        best_trial: the best one; None if there is none.
        since: how many trials have ended since then.
    """

    last: int
    before: float | None
    now: float | None
    improvement: float
    best_trial: int | None
    since: int

    def __str__(self) -> str:
        if self.now is None:
            return "No trial has completed with a finite value."
        ended = f"trial {self.best_trial}, {_ago(self.since)}"
        looked_at = "The last trial" if self.last == 1 else f"The last {self.last} trials"
        if self.before is None:
            return f"{looked_at} found {self.now:.6g} ({ended}); there was no value before."
        if not self.improvement:
            return f"{looked_at} gained nothing; the best is {self.now:.6g} ({ended})."
        percent = self.improvement / abs(self.before) * 100 if self.before else np.inf
        relative = f" ({percent:.2g} %)" if percent < _MOST_PERCENT else ""
        return (
            f"{looked_at} gained {self.improvement:.4g}{relative}: from {self.before:.6g} to {self.now:.6g} ({ended})."
        )


def _ago(since: int) -> str:
    return "the last one" if not since else "one trial ago" if since == 1 else f"{since} trials ago"


class FrontGains(NamedTuple):
    """What the trials that ended last have gained, with several objectives.

    Attributes:
        last: how many trials are looked at.
        added: how many of them are on the front.
        front: how many trials are on it.
        latest: the one on the front that ended last; None if the front is empty.
        since: how many trials have ended since then.
    """

    last: int
    added: int
    front: int
    latest: int | None
    since: int

    def __str__(self) -> str:
        if self.latest is None:
            return "No trial has completed with finite values."
        looked_at = "The last trial" if self.last == 1 else f"The last {self.last} trials"
        if not self.added:
            return f"{looked_at} gained nothing; the front got its latest with trial {self.latest}, {_ago(self.since)}."
        if self.added == self.front:
            return f"{looked_at} found all {self.front} on the front (trial {self.latest} is {_ago(self.since)})."
        return (
            f"{looked_at} found {self.added} of the {self.front} on the front (trial {self.latest} is "
            f"{_ago(self.since)})."
        )


def front_gains(study: StudyReader, last: int = 100) -> FrontGains:
    """What the trials that ended last have added to the front; `str` of it is a sentence.

    Args:
        study: what was run.
        last: how many trials to look at, at least 1.

    Raises:
        InvalidValue: no study, or `last` is no such number.
    """
    last = check_count("last", last, least=1)
    check_study(study)
    with study._lock:
        order, numbers = study.table.tell_order.copy(), study.table.front.numbers.copy()
    last = min(last, len(order))
    places = np.flatnonzero(np.isin(order, numbers))
    if not len(places):
        return FrontGains(last, 0, 0, None, 0)
    latest = int(places[-1])
    added = int((places >= len(order) - last).sum())
    return FrontGains(last, added, len(places), int(order[latest]), len(order) - 1 - latest)


def told_cost(study: StudyReader) -> str:
    """What all trials have cost, where any was told a cost; else empty, as what counts are seconds then."""
    costs = study.costs
    return f"{study.cost_spent:.6g}" if ((costs >= 0) & (costs < np.inf)).any() else ""


def best_label(study: StudyReader) -> str:
    """What the best values are called that completed trials had until then: of noisy ones none is the best."""
    if not study.noisy:
        return "best so far"
    return "lowest so far" if study.directions[0] == "minimize" else "highest so far"


def best_estimate(study: StudyReader) -> str:
    """What is believed of the best trial of a study with `noisy=True`, which has one; empty for any other study."""
    if not study.noisy:
        return ""
    mean, error, evaluations = study.estimate(study.best_trial)
    known = "" if np.isnan(error) else f" +- {error:.2g}"
    return f"{mean:.6g}{known}, of {evaluations} evaluation{'' if evaluations == 1 else 's'}"


def latest_gains(study: StudyReader) -> str:
    """What the last fifth of the trials that ended has gained, 10 to 100 of them, as a sentence; empty if none ended.

    Also empty if there is no best trial, or so few trials that nothing was before; and of a study with `noisy=True`,
    where the lowest value is not the best.
    """
    ended = int((~study.outside[study.table.tell_order]).sum())  # of the space as it is now, as `gains` has them
    last = min(max(10, ended // 5), 100)
    if ended <= last or study.noisy or not len(study.best_trials):
        return ""
    return str(gains(study, last) if len(study.directions) == 1 else front_gains(study, last))


@masked
def gains(study: StudyReader, last: int = 100, objective: int = 0) -> Gains:
    """What the trials that ended last have gained; `str` of it is a sentence.

    Args:
        study: what was run.
        last: how many trials to look at, at least 1.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, or `last` is no such number.

    Example:
        >>> import fasthpo
        >>> from fasthpo.analysis import gains
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
        >>> for value in [3.0, 2.0, 1.5, 1.75]:
        ...     _ = study.tell(study.ask(), value)
        >>> print(gains(study, last=2))
        The last 2 trials gained 0.5 (25 %): from 2 to 1.5 (trial 2, one trial ago).
    """
    last = check_count("last", last, least=1)
    data = trial_data(study)
    objective = check_objective(data, objective)
    order = data.tell_order
    losses = data.losses(objective)[order]
    best = best_so_far(losses, data.feasible[order])
    last = min(last, len(order))
    if not len(best):
        return Gains(last, None, None, np.nan, None, 0)
    values, first = data.values[order, objective], len(order) - last
    earlier = best[best < first]
    before = float(values[earlier[-1]]) if len(earlier) else None
    improvement = np.inf if before is None else float(losses[earlier[-1]] - losses[best[-1]])
    return Gains(
        last, before, float(values[best[-1]]), improvement, int(order[best[-1]]), len(order) - 1 - int(best[-1])
    )
