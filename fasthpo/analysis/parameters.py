"""How values, and times, depend on the parameters: one at a time, all side by side, and two together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fasthpo.analysis.clouds import Cloud, cloud, thinned
from fasthpo.analysis.importances import most_important
from fasthpo.analysis.progress import objective_name
from fasthpo.analysis.scales import Scale, parameter_scale, value_scale
from fasthpo.analysis.trial_data import (
    TrialData,
    check_objective,
    check_parameter,
    check_parameters,
    trial_data,
)
from fasthpo.errors import InvalidValue
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

MOST_PANELS = 12
MOST_COORDINATES = 15
_TOP_LINES, _OTHER_LINES = 50, 250
_MOST_POINTS = 1_000  # of one of several panels
_COLUMNS, _ROWS = 60, 50
_TREND_BINS, _TREND_TRIALS = 20, 8  # at most; and of so many trials each on average
_JITTER = 0.3  # of the distance between two choices, to each side
_GOLDEN = 0.6180339887498949
_GRID = 48  # cells of a contour along an axis
_WIDTH = 0.06  # of the axis: how far a trial's value says something of its neighbourhood
_LEAST_WEIGHT = 0.1  # of a trial, below which nothing is known of a place


class Panel(NamedTuple):
    """One parameter's part of a picture.

    Attributes:
        name: of the parameter.
        scale: of the parameter.
        cloud: the trials in which it was active; points of choices lie beside each other at random.
        trend: the middles of bins of the parameter, as values, (k,).
        median, best: of what the trials of each bin reached, (k,); the best that breaks no constraint, else NaN.
        inactive: how many trials did not have it.
    """

    name: str
    scale: Scale
    cloud: Cloud
    trend: FloatArray
    median: FloatArray
    best: FloatArray
    inactive: int


class Slices(NamedTuple):
    """What was reached against each parameter.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        scale: of the values, or of the seconds.
        panels: one a parameter.
        left_out: parameters that have no panel, as they are too many; those that matter least.
    """

    title: str
    direction: str
    scale: Scale
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...]


def slices(study: StudyReader, params: Sequence[str] | None = None, objective: int = 0) -> Slices:
    """The values of the completed trials against each parameter.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the twelve that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, or an unknown parameter.
    """
    data = trial_data(study)
    objective = check_objective(data, objective)
    some = np.flatnonzero(data.in_state(TrialState.COMPLETE))
    values, losses = data.values[some, objective], data.losses(objective)[some]
    scale = value_scale(objective_name(data, objective), values, losses)
    chosen, left_out = _panels_of(data, params, MOST_PANELS, objective)
    losses = np.where(data.violations[some] > 0, np.inf, losses)
    panels = tuple(_panel(data, j, some, values, losses, scale) for j in chosen)
    return Slices(data.title, data.directions[objective], scale, panels, left_out)


def durations(study: StudyReader, params: Sequence[str] | None = None) -> Slices:
    """How long trials took, in seconds, against each parameter; of those that completed, were pruned or paused.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the twelve that matter most for the duration.

    Raises:
        InvalidValue: no study, or an unknown parameter.
    """
    data = trial_data(study)
    seconds = trial_seconds(study, len(data))
    there = data.in_state(TrialState.COMPLETE, TrialState.PRUNED, TrialState.PAUSED) & (seconds > 0)
    some = np.flatnonzero(there)
    seconds = seconds[some]
    scale = value_scale("seconds", seconds, seconds)
    chosen, left_out = _panels_of(data, params, MOST_PANELS, 0, (some, seconds))
    panels = tuple(_panel(data, j, some, seconds, seconds, scale) for j in chosen)
    return Slices(data.title, "minimize", scale, panels, left_out)


def trial_seconds(study: StudyReader, n: int) -> FloatArray:
    """For how long each of the first n trials has run, without its pauses; NaN of those not ended once, (n,)."""
    with study._lock:
        table = study.table
        seconds = (table.ends[:n] - table.starts[:n]).clip(min=0.0)
        segments = table.segments
        if len(segments):
            trial = segments.column("trial")
            length = (segments.column("end") - segments.column("start")).clip(min=0.0)
            run = np.bincount(trial, length, minlength=n)[:n]
            several = np.bincount(trial, minlength=n)[:n] > 1
            seconds = np.where(several, run, seconds)
        return seconds


def varying(data: TrialData) -> list[int]:
    """The parameters that can have more than one value."""
    return [j for j, parameter in enumerate(data.space.parameters) if parameter.count != 1]


def _panels_of(
    data: TrialData,
    params: Sequence[str] | None,
    most: int,
    objective: int,
    instead: tuple[IntArray, FloatArray] | None = None,
) -> tuple[list[int], tuple[str, ...]]:
    """The parameters to show, in the order of the space, and the names of those that there is no room for."""
    given = check_parameters(data.space, params)
    if given is not None:
        return given, ()
    all_of_them = varying(data) or list(range(len(data.space)))
    if len(all_of_them) <= most:
        return all_of_them, ()
    some, losses = instead or (np.flatnonzero(data.finite), data.losses(objective)[data.finite])
    kept = sorted(most_important(data, all_of_them, some, losses)[:most])
    return kept, tuple(data.space.names[j] for j in all_of_them if j not in kept)


def _panel(data: TrialData, j: int, some: IntArray, values: FloatArray, losses: FloatArray, y_scale: Scale) -> Panel:
    name = data.space.names[j]
    scale = parameter_scale(name, data.space.parameters[j], data.params[j])
    x = data.params[j, some]
    there = ~np.isnan(x) & ~np.isnan(values)
    x, values, losses, numbers = x[there], values[there], losses[there], some[there]
    trend, median, best = _trend(scale, x, values, losses)
    spread = x
    if scale.labels is not None and len(x) <= _MOST_POINTS:
        spread = x + _JITTER * (2 * np.modf(numbers * _GOLDEN)[0] - 1)
    points = cloud(spread, values, losses, numbers, scale, y_scale, most=_MOST_POINTS, columns=_COLUMNS, rows=_ROWS)
    return Panel(name, scale, points, trend, median, best, int((~there).sum()))


def _trend(
    scale: Scale, x: FloatArray, values: FloatArray, losses: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The median and the best of the values in bins of the parameter; none where there are too few trials for it."""
    few = max(3, min(_TREND_BINS, len(x) // _TREND_TRIALS))
    edges = scale.edges(few)
    places = scale.places(x)
    group = np.clip(np.searchsorted(edges, places, "right") - 1, 0, len(edges) - 2)
    order, ranked = np.lexsort((values, group)), np.lexsort((losses, group))
    size = np.bincount(group, minlength=len(edges) - 1)
    least = 1 if scale.labels is not None else 3
    begin, some = np.cumsum(size) - size, np.flatnonzero(size >= least)
    middle = scale.values(np.clip((edges[:-1] + edges[1:]) / 2, *scale.bounds))
    top = ranked[begin[some]]
    return (
        middle[some],
        values[order[begin[some] + size[some] // 2]],
        np.where(losses[top] < np.inf, values[top], np.nan),
    )


class ParallelCoordinates(NamedTuple):
    """Completed trials as lines over all parameters.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        trials: how many have completed with a finite value.
        scales: of the parameters.
        value_scale: of the colours of the values: from the best to where nine in ten values are.
        number: the trials shown, the best ones and others from all ranks, the worst first, int64 (k,).
        position: where each line crosses each axis, 0 to 1, NaN where the parameter is inactive, (k, d).
        value: of each trial, (k,).
        left_out: parameters that have no axis, as they are too many; those that matter least.
    """

    title: str
    direction: str
    trials: int
    scales: tuple[Scale, ...]
    value_scale: Scale
    number: IntArray
    position: FloatArray
    value: FloatArray
    left_out: tuple[str, ...]


def parallel_coordinates(
    study: StudyReader, params: Sequence[str] | None = None, objective: int = 0
) -> ParallelCoordinates:
    """Trials as lines over all parameters: the best ones, and others from all ranks.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the fifteen that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, or an unknown parameter.
    """
    data = trial_data(study)
    objective = check_objective(data, objective)
    chosen, left_out = _panels_of(data, params, MOST_COORDINATES, objective)
    some = np.flatnonzero(data.feasible)
    some = some[np.argsort(data.losses(objective)[some], kind="stable")]
    shown = np.unique(np.append(np.arange(min(len(some), _TOP_LINES)), thinned(len(some), _OTHER_LINES)))
    number = some[shown.astype(np.int64)[::-1]]
    scales = tuple(parameter_scale(data.space.names[j], data.space.parameters[j], data.params[j]) for j in chosen)
    position = np.empty((len(number), len(chosen)))
    for k, (j, scale) in enumerate(zip(chosen, scales, strict=True)):
        position[:, k] = scale.fractions(data.params[j, number])
    values = data.values[:, objective]
    return ParallelCoordinates(
        data.title, data.directions[objective], len(some), scales,
        value_scale(objective_name(data, objective), values[some], data.losses(objective)[some], far=1.0),
        number, position, values[number], left_out,
    )  # fmt: skip


class Contour(NamedTuple):
    """What is reached on average around each place of a plane of two parameters.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        x_scale, y_scale: of the parameters.
        value_scale: of the values.
        x, y: the middles of the cells, as values, (columns,) and (rows,).
        value: (rows, columns), NaN where nothing is known.
        trials: the completed trials that had both parameters.
        best: (x, y, trial number) of the best of them; None if there is none.
    """

    title: str
    direction: str
    x_scale: Scale
    y_scale: Scale
    value_scale: Scale
    x: FloatArray
    y: FloatArray
    value: FloatArray
    trials: Cloud
    best: tuple[float, float, int] | None


def contour(study: StudyReader, x: str | None = None, y: str | None = None, objective: int = 0) -> Contour:
    """What is reached on average around each place of a plane of two parameters.

    A place's value is the mean of the trials around it, weighted by a normal distribution with a width of 6 % of the
    axis (Nadaraya-Watson regression); choices are not mixed with each other. Values beyond the scale count as its
    bound.

    Args:
        study: what was run.
        x, y: the parameters; None: those that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, an unknown parameter, twice the same one, or a space of one
            parameter.
    """
    data = trial_data(study)
    objective = check_objective(data, objective)
    finite = np.flatnonzero(data.finite)
    losses = data.losses(objective)
    pair = _pair(data, x, y, finite, losses[finite])
    x_scale, y_scale = (parameter_scale(data.space.names[j], data.space.parameters[j], data.params[j]) for j in pair)
    columns = data.params[list(pair)][:, finite]
    there = ~np.isnan(columns).any(axis=0)
    some, (xs, ys) = finite[there], columns[:, there]
    values = data.values[some, objective]
    scale = value_scale(objective_name(data, objective), values, losses[some])
    x_edges, y_edges = x_scale.edges(_GRID), y_scale.edges(_GRID)
    ranges = (x_edges[0], x_edges[-1]), (y_edges[0], y_edges[-1])
    bins, places = (len(x_edges) - 1, len(y_edges) - 1), (x_scale.places(xs), y_scale.places(ys))
    mean = np.full((bins[1], bins[0]), np.nan)
    best = None
    if len(some):
        drawn = scale.places(values)
        middle = float(np.median(drawn))
        weight = np.histogram2d(*places, bins, ranges)[0]
        total = np.histogram2d(*places, bins, ranges, weights=drawn - middle)[0]
        for axis, one in enumerate((x_scale, y_scale)):
            if one.labels is None:
                weight, total = (_smoothed(array, axis) for array in (weight, total))
        known = weight > _LEAST_WEIGHT
        mean = np.where(known, total / np.where(known, weight, 1.0) + middle, np.nan).T
        mean = scale.values(mean)
        counts = data.contest(objective)[some]
        top = int(counts.argmin())
        best = (float(xs[top]), float(ys[top]), int(some[top])) if counts[top] < np.inf else None
    x_middles, y_middles = (
        one.values((edges[:-1] + edges[1:]) / 2) for one, edges in ((x_scale, x_edges), (y_scale, y_edges))
    )
    points = cloud(xs, ys, losses[some], some, x_scale, y_scale, columns=_GRID, rows=_GRID)
    return Contour(
        data.title, data.directions[objective], x_scale, y_scale, scale, x_middles, y_middles, mean, points, best
    )  # fmt: skip


def _pair(data: TrialData, x: str | None, y: str | None, some: IntArray, losses: FloatArray) -> tuple[int, int]:
    given = [check_parameter(data.space, name) for name in (x, y) if name is not None]
    if len(set(given)) < len(given):
        raise InvalidValue(f"x and y must be two parameters, got {x!r} twice")
    others = [j for j in varying(data) if j not in given] or [j for j in range(len(data.space)) if j not in given]
    missing = 2 - len(given)
    if len(others) < missing:
        raise InvalidValue(f"a contour is of two parameters, but the space has only {list(data.space)}")
    ranked = most_important(data, others, some, losses) if missing and len(others) > missing else others
    found = iter(ranked)
    first = next(found) if x is None else data.space.position[x]
    second = next(found) if y is None else data.space.position[y]
    return first, second


def _smoothed(array: FloatArray, axis: int) -> FloatArray:
    """An array convolved with a normal distribution of height 1 along an axis."""
    length = array.shape[axis]
    distance = (np.arange(length)[:, None] - np.arange(length)[None, :]) / length
    kernel = np.exp(-0.5 * (distance / _WIDTH) ** 2)
    smooth: FloatArray = kernel @ array if axis == 0 else array @ kernel
    return smooth
