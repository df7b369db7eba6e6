"""Pictures of populations: what members came to, who was begun from whom, and the schedule of the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasthpo import analysis
from fasthpo.analysis.populations import Lineages
from fasthpo.plots.drawing import (
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    RED,
    entitle,
    legend,
    message,
    need_matplotlib,
    new_figure,
    note_beyond,
    set_scale,
    style,
    toward,
    trials_text,
)
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PARAMETERS = 4


def lineages(study: StudyReader) -> Figure:
    """A population: the values of its members as they were trained, and the schedule that led to the best one.

    A trial that began from another one's weights starts at that one's value. One that was replaced ends in a cross.
    Below stand the parameters that changed along the best one's lineage, four at most, in grey those of all others.

    Args:
        study: what was run.

    Raises:
        InvalidValue: no study, or one without a population.
        MissingPackage: matplotlib is not installed.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.PopulationTraining(6, population=4, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"rate": fasthpo.LogUniform(0.01, 1.0)}, strategy=strategy)
        >>> while (trial := study.ask_within()) is not None:
        ...     _ = study.tell(trial, trial["rate"] / trial.resource)
        >>> fasthpo.plots.lineages(study).savefig("lineages.png")  # doctest: +SKIP
    """
    need_matplotlib()
    seen = analysis.lineages(study)
    changing = min(len(seen.changing), _MOST_PARAMETERS)
    figure = new_figure(8.0, 4.2 + 1.15 * changing)
    rows = figure.subplots(1 + changing, 1, sharex=True, squeeze=False, height_ratios=[3.4, *[1.0] * changing])[:, 0]
    best = "no value yet" if seen.best is None else f"best: trial {seen.best}"
    details = [seen.title, trials_text(seen.members, "member"), f"{seen.forks:,} begun from others' weights", best]
    entitle(figure, "Lineages of a population", " · ".join([*details, toward(seen.direction)]))
    axes = rows[0]
    style(axes)
    set_scale(axes, "x", seen.resource_scale, name=changing == 0)
    set_scale(axes, "y", seen.value_scale)
    if not any(len(trial.value) for trial in seen.trials):
        message(axes, "No member has a value yet.")
        return figure
    _draw_values(axes, seen)
    for parameter in range(changing):
        _draw_parameter(rows[1 + parameter], seen, parameter, is_last=parameter == changing - 1)
    figure.align_ylabels(rows.tolist())
    legend(axes)
    note_beyond(axes, seen.value_scale)
    return figure


def _draw_values(axes: Axes, seen: Lineages) -> None:
    line = [trial for trial in seen.trials if trial.is_of_best]
    for trial in seen.trials:
        value = seen.value_scale.inside(trial.value)
        axes.plot(trial.resource, value, color=LIGHT, linewidth=1.0, zorder=2)
        if trial.is_of_best:  # until the next one of the lineage began from its weights
            until = min((one.start for one in line if one.start > trial.start), default=trial.end)
            mine = trial.resource <= until
            axes.plot(trial.resource[mine], value[mine], color=BLUE, linewidth=2.2, zorder=4, solid_capstyle="round")
        if not len(value):
            continue
        if trial.state == TrialState.FAILED:
            axes.plot(trial.resource[-1:], value[-1:], "x", color=RED, markersize=6, zorder=5)
        elif trial.is_replaced and not trial.is_of_best:
            axes.plot(trial.resource[-1:], value[-1:], "x", color=GREY, markersize=4, zorder=3)
        if trial.parent is not None and trial.is_of_best:
            axes.plot(trial.resource[:1], value[:1], "o", color=ORANGE, markersize=6, zorder=6)
    axes.plot([], [], color=BLUE, linewidth=2.2, label="lineage of the best")
    axes.plot([], [], color=LIGHT, linewidth=1.0, label="other members")
    if any(trial.parent is not None and trial.is_of_best for trial in seen.trials):
        axes.plot([], [], "o", color=ORANGE, markersize=6, label="begun from another's weights")
    if any(trial.is_replaced and not trial.is_of_best and trial.state != TrialState.FAILED for trial in seen.trials):
        axes.plot([], [], "x", color=GREY, markersize=4, label="replaced")
    if any(trial.state == TrialState.FAILED and len(trial.value) for trial in seen.trials):
        axes.plot([], [], "x", color=RED, markersize=6, label="failed")


def _draw_parameter(axes: Axes, seen: Lineages, which: int, is_last: bool) -> None:
    """One parameter of all trials, over the resource: constant while a trial had it."""
    scale = seen.scales[which]
    style(axes)
    set_scale(axes, "x", seen.resource_scale, name=is_last)
    set_scale(axes, "y", scale)
    row = seen.rows[which]
    for trial in seen.trials:
        if trial.end > trial.start and not trial.is_of_best:
            axes.hlines(float(trial.params[row]), trial.start, trial.end, colors=LIGHT, linewidth=1.0, zorder=2)
    line = sorted((trial for trial in seen.trials if trial.is_of_best), key=lambda one: one.start)
    edges, values = [], []
    for i, trial in enumerate(line):
        end = line[i + 1].start if i + 1 < len(line) else trial.end
        if end > trial.start:
            edges.append((trial.start, end))
            values.append(float(trial.params[row]))
    for (start, end), value in zip(edges, values, strict=True):
        axes.hlines(value, start, end, colors=BLUE, linewidth=2.2, zorder=4)
    for (_, end), low, high in zip(edges[:-1], values[:-1], values[1:], strict=True):
        axes.vlines(end, min(low, high), max(low, high), colors=BLUE, linewidth=1.0, zorder=4)
