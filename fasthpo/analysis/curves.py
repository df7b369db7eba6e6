"""Learning curves: what trials reported step by step, as bands over all of them and as a choice of single ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.analysis.clouds import thinned
from fasthpo.analysis.scales import Scale, plain_scale, value_scale
from fasthpo.analysis.trial_data import TrialData, check_objective, trial_data
from fasthpo.study.reader import StudyReader
from fasthpo.trials.reports import NONE
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

MOST_CURVES = 60  # so many can be told apart, if barely
_MOST_POINTS = 300  # of one curve
_MOST_BINS = 100
_MOST_REPORTS = 2_000_000  # that are sorted; of more, those of every second trial, or third
_QUANTILES = (0.1, 0.5, 0.9)


class Curve(NamedTuple):
    """The reports of one trial.

    Attributes:
        number: the trial.
        state: what has become of it.
        step, value: its reports in the order of steps, at most some hundred, (k,).
    """

    number: int
    state: TrialState
    step: FloatArray
    value: FloatArray


class LearningCurves(NamedTuple):
    """What trials reported.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        trials: how many have reported.
        step_scale, value_scale: of both axes.
        curves: all of them, or a choice: the best one, and others from all ranks.
        best: the number of the best trial, if it has reported; else None.
        band_step: the middles of groups of steps (k,).
        band: the value below which a tenth, half and nine tenths of the reports at these steps lie, (3, k).
        pruned_edges: of groups of steps (k + 1,).
        pruned: in which of them trials were pruned, int64 (k,).
    """

    title: str
    direction: str
    trials: int
    step_scale: Scale
    value_scale: Scale
    curves: tuple[Curve, ...]
    best: int | None
    band_step: FloatArray
    band: FloatArray
    pruned_edges: FloatArray
    pruned: IntArray


def learning_curves(study: StudyReader, objective: int = 0) -> LearningCurves:
    """What trials reported, step by step.

    Args:
        study: what was run.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, or no such objective.
    """
    data = trial_data(study)
    objective = check_objective(data, objective)
    table = study.table
    with study._lock:
        reports = table.reports.frozen()
        highest = table.reports.highest.copy()
        chosen = _chosen(data, objective, reports.last)
        kept = [(number, table.reports.of(number)) for number in chosen]
    step, value = reports.step[: len(reports)].astype(np.float64), reports.value
    value = value if value.ndim == 1 else value[:, objective]
    if len(reports) > _MOST_REPORTS:
        some = reports.trial % -(-len(reports) // _MOST_REPORTS) == 0
        step, value = step[some], value[some]
    sign = 1.0 if data.directions[objective] == "minimize" else -1.0
    step_scale = plain_scale("step", step, log=False)._replace(is_whole=True, step=1.0)
    scale = value_scale("reported value", value, sign * value)
    curves = tuple(_curve(data, number, values, objective) for number, values in kept)
    losses = data.contest(objective)
    best = int(losses.argmin()) if len(data) and np.isfinite(losses.min()) else None
    edges = step_scale.edges(_MOST_BINS)
    reported = np.flatnonzero(reports.last[: len(data)] != NONE)
    pruned = reported[data.states[reported] == TrialState.PRUNED]
    band_step, band = _bands(step, value, edges)
    return LearningCurves(
        data.title, data.directions[objective], len(reported), step_scale, scale, curves,
        best if best in chosen else None, band_step, band,
        edges, np.histogram(highest[pruned].astype(float), edges)[0].astype(np.int64),
    )  # fmt: skip


def _chosen(data: TrialData, objective: int, last: IntArray) -> list[int]:
    """The trials of which the single curves are shown."""
    reported = np.flatnonzero(last[: len(data)] != NONE)
    if len(reported) <= MOST_CURVES:
        return [int(number) for number in reported]
    losses = data.losses(objective)
    found: list[int] = []
    for states in ((TrialState.COMPLETE, TrialState.PAUSED), (TrialState.PRUNED,)):
        some = reported[data.in_state(*states)[reported]]
        some = some[np.argsort(losses[some], kind="stable")]  # NaN comes last
        found += some[thinned(len(some), MOST_CURVES // 2)].tolist()
    return found


def _curve(data: TrialData, number: int, reports: dict[int, float], objective: int) -> Curve:
    step = np.array(list(reports), np.float64)
    value = np.array(list(reports.values()), np.float64)
    value = value if value.ndim == 1 else value[:, objective]
    some = thinned(len(step), _MOST_POINTS)
    return Curve(number, TrialState(int(data.states[number])), step[some], value[some])


def _bands(step: FloatArray, value: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the values in each group of steps that has any."""
    there = ~np.isnan(value)
    step, value = step[there], value[there]
    group = np.clip(np.searchsorted(edges, step, "right") - 1, 0, len(edges) - 2)
    order = np.lexsort((value, group))
    value = value[order]
    size = np.bincount(group, minlength=len(edges) - 1)
    begin, some = np.cumsum(size) - size, np.flatnonzero(size)
    at = [begin[some] + np.floor(q * (size[some] - 1) + 0.5).astype(np.int64) for q in _QUANTILES]
    middle = (edges[:-1] + edges[1:]) / 2
    return middle[some], np.array([value[index] for index in at]).reshape(len(_QUANTILES), len(some))
