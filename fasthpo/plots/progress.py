"""Pictures of how a study went on: values trial by trial, and reports step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.progress import best_estimate, best_label
from fasthpo.plots.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    RED,
    SKY,
    draw_cloud,
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
from fasthpo.values import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def history(study: StudyReader, objective: int = 0) -> Figure:
    """The value of each trial in the order in which they were asked for, and the best so far.

    Failed trials are ticks along the bottom. Values far worse than the rest are drawn at the edge, and counted.

    Args:
        study: what was run.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, or no such objective.
        MissingPackage: matplotlib is not installed.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
        >>> for _ in range(20):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, trial["x"])
        >>> fasthpo.plots.history(study).savefig("history.png")  # doctest: +SKIP
    """
    need_matplotlib()
    seen = analysis.history(study, objective)
    figure = new_figure(8.0, 4.5)
    axes = figure.subplots()
    style(axes)
    best = len(seen.best_number)
    found = f"best {seen.best_value[-1]:.6g} (trial {seen.best_number[-1]})" if best else "no best value yet"
    if best and study.noisy and len(study.best_trials):
        found = f"best {best_estimate(study)} (trial {study.best_trial.number})"
    failed = int(seen.failed.sum())
    details = [seen.title, trials_text(seen.trials), found, toward(seen.direction)]
    entitle(figure, "Optimisation history", " · ".join([*details, *([f"{failed:,} failed"] if failed else [])]))
    set_scale(axes, "x", seen.number_scale)
    set_scale(axes, "y", seen.value_scale)
    if seen.partial.total:
        draw_cloud(axes, seen.partial, ORANGE, "pruned or paused, last value", "v", 1.5)
    if seen.infeasible.total:
        draw_cloud(axes, seen.infeasible, GREY, "breaks a constraint", "x", 1.6)
    if seen.complete.total:
        draw_cloud(axes, seen.complete, BLUE, "completed")
    if best:
        number = np.append(seen.best_number, max(seen.trials - 1, seen.best_number[-1]))
        value = seen.value_scale.inside(np.append(seen.best_value, seen.best_value[-1]))
        axes.step(number, value, where="post", color=INK, linewidth=1.8, label=best_label(study), zorder=4)
    if failed:
        _ticks(axes, seen.failed_edges, seen.failed)
    valued = seen.complete.total or seen.partial.total or seen.infeasible.total
    if not valued:
        message(axes, "No trial has a value yet." if seen.trials else "No trials yet.")
        axes.set_yticks([])
    if best or failed or valued:
        legend(axes)
    note_beyond(axes, seen.value_scale)
    return figure


def _ticks(axes: Axes, edges: FloatArray, counts: IntArray) -> None:
    """Failed trials as ticks along the bottom, the darker the more fell into a bin."""
    some = np.flatnonzero(counts)
    middle = (edges[:-1] + edges[1:])[some] / 2
    share = counts[some] / np.diff(edges)[some]
    from matplotlib.colors import to_rgba

    colours = [to_rgba(RED, 0.25 + 0.75 * min(one, 1.0)) for one in share.tolist()]
    if len(counts) < edges[-1] - edges[0]:  # bins of several trials, which lie side by side
        axes.bar(
            edges[some], 0.035, np.diff(edges)[some], align="edge", color=colours, linewidth=0,
            transform=axes.get_xaxis_transform(), zorder=5,
        )  # fmt: skip
    else:
        axes.vlines(middle, 0.0, 0.035, colors=colours, linewidth=1.6, transform=axes.get_xaxis_transform(), zorder=5)
    axes.plot([], [], color=RED, linewidth=1.6, label="failed")


def learning_curves(study: StudyReader, objective: int = 0) -> Figure:
    """What trials reported step by step: all curves of a small study; of a large one a choice, and where most lie.

    A pruned trial ends in a triangle, a failed one in a cross. Below stands at which steps trials were pruned.

    Args:
        study: what was run.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, or no such objective.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.learning_curves(study, objective)
    pruned = int(seen.pruned.sum())
    figure = new_figure(8.0, 5.2 if pruned else 4.5)
    axes, below = (*figure.subplots(2, 1, sharex=True, height_ratios=[5, 1]),) if pruned else (figure.subplots(), None)
    style(axes)
    details = [seen.title, trials_text(seen.trials, "curve"), f"{pruned:,} pruned", toward(seen.direction)]
    entitle(figure, "Learning curves", " · ".join(details))
    set_scale(axes, "y", seen.value_scale)
    set_scale(axes, "x", seen.step_scale, name=below is None)
    looks = {
        TrialState.COMPLETE: (BLUE, "", "completed"),
        TrialState.PRUNED: (ORANGE, "v", "pruned"),
        TrialState.FAILED: (RED, "x", "failed"),
        TrialState.PAUSED: (SKY, "", "paused"),
        TrialState.RUNNING: (GREY, "", "running"),
        TrialState.WAITING: (GREY, "", "waiting"),
    }
    if seen.trials > len(seen.curves):
        axes.fill_between(
            seen.band_step, seen.band[0], seen.band[2], color=LIGHT, alpha=0.5, linewidth=0, zorder=1,
            label="eight in ten reports",
        )  # fmt: skip
        axes.plot(seen.band_step, seen.band[1], color=GREY, linewidth=1.2, linestyle="--", zorder=4, label="median")
    named: set[str] = set()
    for curve in seen.curves:
        if curve.number == seen.best:
            continue
        colour, mark, name = looks[curve.state]
        value = seen.value_scale.inside(curve.value)
        if not len(value):
            continue
        axes.plot(
            curve.step, value, color=colour, linewidth=0.9, alpha=0.55, marker=mark or ("." if len(value) == 1 else ""),
            markevery=[len(value) - 1], markersize=5, label=None if name in named else name, zorder=2,
        )  # fmt: skip
        named.add(name)
    for curve in seen.curves:
        if curve.number == seen.best:
            axes.plot(curve.step, curve.value, color=INK, linewidth=2.0, label=f"best (trial {curve.number})", zorder=5)
    if not seen.trials:
        message(axes, "No trial has reported yet.")
        axes.set_yticks([])
    else:
        legend(axes)
    note_beyond(axes, seen.value_scale)
    if below is not None:
        style(below)
        middle = (seen.pruned_edges[:-1] + seen.pruned_edges[1:]) / 2
        below.bar(middle, seen.pruned, np.diff(seen.pruned_edges) * 0.85, color=ORANGE)
        below.set_ylabel("pruned", fontsize=9, color=INK)
        from matplotlib.ticker import MaxNLocator

        below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        set_scale(below, "x", seen.step_scale)
        below.set_xlim(min(seen.pruned_edges[0], below.get_xlim()[0]), max(seen.pruned_edges[-1], below.get_xlim()[1]))
    return figure
