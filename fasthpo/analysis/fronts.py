"""What a study of several objectives has reached: its front (the Pareto front), and the hypervolume over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fasthpo.analysis.clouds import Cloud, cloud, thinned
from fasthpo.analysis.progress import objective_name
from fasthpo.analysis.scales import Scale, value_scale
from fasthpo.analysis.trial_data import TrialData, check_objective, trial_data
from fasthpo.errors import InvalidValue
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, as_number, elements, shown

MOST_SHOWN = 3  # objectives, each pair of which is a picture
_MOST_ON_FRONT = 1_000
_MOST_MOMENTS = 200


class ParetoFront(NamedTuple):
    """The trials that no other one is better than in every objective.

    Attributes:
        title: of the study.
        directions: of the objectives shown, (k,).
        scales: of these, (k,).
        pairs: which two of these each of `clouds` shows, on its x and its y axis.
        clouds: the completed trials that break no constraint.
        number: those on the front, or an even choice of them, in the order of the first objective, int64 (f,).
        values: theirs, of the objectives shown, (f, k).
        on_front: how many trials are on the front.
        infeasible: how many completed trials break a constraint, and so can't be on it.
        infeasible_clouds: these; `clouds` has the others.
    """

    title: str
    directions: tuple[str, ...]
    scales: tuple[Scale, ...]
    pairs: tuple[tuple[int, int], ...]
    clouds: tuple[Cloud, ...]
    number: IntArray
    values: FloatArray
    on_front: int
    infeasible: int
    infeasible_clouds: tuple[Cloud, ...]


def pareto_front(study: StudyReader, objectives: Sequence[int] | None = None) -> ParetoFront:
    """The front of a study of several objectives, for each pair of them.

    Args:
        study: what was run.
        objectives: two or three to be shown; None: all, or the first three. The front is that of all.

    Raises:
        InvalidValue: no study, one of a single objective, or no such objectives.
    """
    data = trial_data(study)
    _check_several(data)
    chosen = _check_objectives(data, objectives)
    some = np.flatnonzero(data.in_state(TrialState.COMPLETE))
    all_losses = np.stack([data.losses(k) for k in range(len(data.directions))], axis=1)
    scales = tuple(value_scale(objective_name(data, k), data.values[some, k], all_losses[some, k]) for k in chosen)
    feasible = np.flatnonzero(data.feasible)
    on_front = feasible[front_rows(all_losses[feasible])]
    on_front = on_front[np.argsort(data.values[on_front, chosen[0]], kind="stable")]
    kept = on_front[thinned(len(on_front), _MOST_ON_FRONT)]
    pairs = tuple((a, b) for a in range(len(chosen)) for b in range(a + 1, len(chosen)))
    broken = data.violations[some] > 0
    clouds, infeasible_clouds = (
        tuple(
            cloud(
                data.values[group, chosen[a]], data.values[group, chosen[b]],
                all_losses[group, chosen[a]], group, scales[a], scales[b],
            )
            for a, b in pairs
        )
        for group in (some[~broken], some[broken])
    )  # fmt: skip
    return ParetoFront(
        data.title, tuple(data.directions[k] for k in chosen), scales, pairs, clouds, kept,
        data.values[kept][:, chosen], len(on_front), int(broken.sum()), infeasible_clouds,
    )  # fmt: skip


class HypervolumeHistory(NamedTuple):
    """How the hypervolume grew.

    Attributes:
        title: of the study.
        reference: the point that all of it is better than, (m,).
        trials: how many there are.
        number: after which trials it was found, int64 (k,).
        hypervolume: of the front of all trials up to there, (k,).
    """

    title: str
    reference: FloatArray
    trials: int
    number: IntArray
    hypervolume: FloatArray


def hypervolume_history(study: StudyReader, reference: Any = None) -> HypervolumeHistory:
    """How much of the space between a reference and what is best the trials' front dominates, as it grew.

    Args:
        study: what was run.
        reference: a value for each objective, m finite numbers; None: the worst that trials reached, those aside that
            are more than three times as far from the best as nine in ten.

    Raises:
        InvalidValue: no study, one of a single objective, or no such reference.
    """
    from fasthpo.kernels.multi_objective.hypervolume import hypervolume  # imports numba

    data = trial_data(study)
    _check_several(data)
    several = len(data.directions)
    signs = np.array([1.0 if one == "minimize" else -1.0 for one in data.directions])
    feasible = np.flatnonzero(data.feasible)
    losses = data.values[feasible] * signs
    if reference is None:
        scales = [value_scale("", data.values[feasible, k], losses[:, k]) for k in range(several)]
        point = np.array([one.high if sign > 0 else one.low for one, sign in zip(scales, signs, strict=True)])
    else:
        point = _check_reference(reference, several)
    moments = thinned(len(data), _MOST_MOMENTS)
    reached = np.searchsorted(feasible, moments, "right")
    volumes = np.zeros(len(moments))
    front = np.empty((0, several))
    for k, (begin, end) in enumerate(pairwise([0, *reached.tolist()])):
        if end > begin:
            candidates = np.concatenate([front, losses[begin:end]])
            front = candidates[front_rows(candidates)]
        volumes[k] = hypervolume(front, point * signs) if len(front) else 0.0
    return HypervolumeHistory(data.title, point, len(data), moments, volumes)


def front_rows(losses: FloatArray) -> IntArray:
    """The rows of (n, m) that no other dominates, of equal ones the first, as `Study.front` has them; ascending."""
    from fasthpo.kernels.multi_objective.dominance import front  # imports numba

    kept = np.empty(len(losses), np.int64)
    if not len(losses):
        return kept
    found = np.sort(kept[: front(np.ascontiguousarray(losses), kept)])
    return found[np.sort(np.unique(losses[found], axis=0, return_index=True)[1])]


def _check_several(data: TrialData) -> None:
    if len(data.directions) < 2:
        raise InvalidValue("a front is that of a study of several objectives; this one has a single one: see history")


def _check_objectives(data: TrialData, objectives: Sequence[int] | None) -> list[int]:
    if objectives is None:
        return list(range(min(len(data.directions), MOST_SHOWN)))
    if isinstance(objectives, (str, bytes)) or not hasattr(objectives, "__iter__"):
        raise InvalidValue(f"objectives must list two or three indices, got objectives={shown(objectives)}")
    found = [check_objective(data, one) for one in objectives]
    if not 2 <= len(found) <= MOST_SHOWN or len(set(found)) < len(found):
        raise InvalidValue(f"objectives must list two or three different ones, got objectives={shown(objectives)}")
    return found


def _check_reference(reference: Any, several: int) -> FloatArray:
    try:
        point = np.array([as_number("reference", one) for one in elements(reference)])
    except TypeError:
        point = np.empty(0)
    if len(point) != several or not np.isfinite(point).all():
        raise InvalidValue(f"reference must be {several} finite numbers, got reference={shown(reference)}")
    return point
