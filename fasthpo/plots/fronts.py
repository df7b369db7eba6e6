"""Pictures of studies of several objectives: the front, and how its hypervolume grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.fronts import ParetoFront
from fasthpo.analysis.scales import widened
from fasthpo.plots.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    PALE,
    RED,
    draw_cloud,
    entitle,
    legend,
    literal,
    message,
    need_matplotlib,
    new_figure,
    note,
    plain_number,
    set_scale,
    shortened,
    style,
    trials_text,
    value_colours,
)
from fasthpo.study.reader import StudyReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_front(study: StudyReader, objectives: Sequence[int] | None = None) -> Figure:
    """The trials that no other one is better than in every objective, for each pair of two or three objectives.

    Three objectives are also drawn in space, seen from where the first two are good: the darker a trial, the better its
    third objective; grey dots are the shadows on the floor.

    Args:
        study: what was run.
        objectives: two or three to be shown; None: all, or the first three. The front is that of all.

    Raises:
        InvalidValue: no study, one of a single objective, or no such objectives.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.pareto_front(study, objectives)
    pairs = len(seen.pairs)
    figure = new_figure(7.0, 5.4) if pairs == 1 else new_figure(9.6, 9.0)
    trials = seen.clouds[0].total + seen.infeasible
    details = [seen.title, trials_text(trials, "completed trial"), f"{seen.on_front:,} on the front"]
    if seen.infeasible:
        details.append(f"{seen.infeasible:,} break a constraint")
    entitle(figure, "Pareto front", " · ".join(details))
    # (0, 1) above (0, 2), and (1, 2) beside this: objectives stand below and beside each other
    panels = [figure.subplots()] if pairs == 1 else [figure.add_subplot(2, 2, place) for place in (1, 3, 4)]
    for axes, (a, b), cloud, broken in zip(panels, seen.pairs, seen.clouds, seen.infeasible_clouds, strict=True):
        style(axes, grid="both")
        for which, k in (("x", a), ("y", b)):
            scale = seen.scales[k]
            set_scale(axes, which, scale._replace(name=f"{scale.name} ({seen.directions[k]})"))
        if not trials:
            message(axes, "No trial has completed.")
            continue
        if cloud.total:
            draw_cloud(axes, cloud, BLUE, "completed", order=1.5)
        if broken.total:
            draw_cloud(axes, broken, GREY, "breaks a constraint", "x", 1.4)
        x, y = (seen.scales[k].inside(seen.values[:, k]) for k in (a, b))
        if len(seen.scales) == 2 and len(x):
            # what is dominated by the front lies behind its steps
            axes.step(x, y, where="post" if seen.directions[a] == "minimize" else "pre", color=RED, linewidth=1.2)
        axes.scatter(
            x,
            y,
            s=26 if len(x) <= 100 else 13,
            c=RED,
            marker="D",
            edgecolors="white",
            linewidths=0.4,
            label="front",
            zorder=4,
            clip_on=False,
        )
        beyond = seen.scales[a].beyond + seen.scales[b].beyond
        if beyond:
            note(axes, f"{beyond:,} beyond the axes, drawn at their edges")
    if pairs > 1 and len(seen.number):
        _draw_in_space(figure, seen)
    if trials:
        legend(panels[-1])
    return figure


def _draw_in_space(figure: Figure, seen: ParetoFront) -> None:
    """The front of three objectives, at the upper right."""
    from matplotlib.ticker import MaxNLocator

    axes: Any = figure.add_subplot(2, 2, 2, projection="3d")
    x, y, z = (scale.places(seen.values[:, k]) for k, scale in enumerate(seen.scales))
    floor = widened(float(z.min()), float(z.max()))[0]
    axes.scatter(x, y, np.full(len(z), floor), s=5, c=LIGHT, linewidths=0, depthshade=False, clip_on=False)
    axes.scatter(
        x,
        y,
        z,
        s=22,
        c=z,
        cmap=value_colours(seen.directions[2]),
        linewidths=0,
        alpha=0.9,
        depthshade=False,
        clip_on=False,
    )
    for k, scale in enumerate(seen.scales):
        axis = (axes.xaxis, axes.yaxis, axes.zaxis)[k]
        (axes.set_xlim, axes.set_ylim, axes.set_zlim)[k](*widened(float((x, y, z)[k].min()), float((x, y, z)[k].max())))
        axis.set_major_locator(MaxNLocator(4, integer=scale.log, steps=[1, 2, 2.5, 5, 10]))
        if scale.log:  # there are no logarithmic axes in space
            axis.set_major_formatter(lambda place, _: plain_number(10.0**place))
        axis.set_pane_color("white")
        axis._axinfo["grid"].update(color=PALE, linewidth=0.8)
        axis.line.set_color(LIGHT)
        if k < 2:
            axis.set_label_text(literal(shortened(scale.name, 24)), fontsize=9, color=INK)
    third = shortened(seen.scales[2].name, 24)
    axes.set_title(literal(f"the front; up: {third} (darker is better)"), fontsize=9, color=INK, y=0.98)
    axes.tick_params(labelsize=7, colors=GREY, labelcolor=INK, pad=0)
    good = [1.0 if direction == "maximize" else -1.0 for direction in seen.directions]
    axes.set_box_aspect(None, zoom=1.08)
    axes.view_init(24, float(np.degrees(np.arctan2(good[1], good[0]))) + 12)


def hypervolume_history(study: StudyReader, reference: Any = None) -> Figure:
    """How much of the space between a reference and what is best the trials' front dominates, as it grew.

    Args:
        study: what was run.
        reference: a value for each objective, m finite numbers; None: the worst that trials reached, those aside that
            are more than three times as far from the best as nine in ten.

    Raises:
        InvalidValue: no study, one of a single objective, or no such reference.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.hypervolume_history(study, reference)
    figure = new_figure(8.0, 4.2)
    point = ", ".join(f"{one:.4g}" for one in seen.reference)
    now = f"now {seen.hypervolume[-1]:.6g}" if len(seen.hypervolume) else "no trials yet"
    entitle(
        figure,
        "Hypervolume of the front",
        " · ".join([seen.title, trials_text(seen.trials), now, f"reference ({point})"]),
    )
    axes = figure.subplots()
    style(axes)
    axes.set_xlabel("trial", fontsize=9, color=INK)
    axes.set_ylabel("hypervolume (higher is better)", fontsize=9, color=INK)
    if not len(seen.hypervolume) or not np.isfinite(seen.hypervolume).all():
        message(axes, "No trials yet." if not len(seen.hypervolume) else "The hypervolume is infinite.")
        axes.set_yticks([])
        return figure
    axes.step(seen.number, seen.hypervolume, where="post", color=BLUE, linewidth=1.8)
    axes.fill_between(seen.number, seen.hypervolume, step="post", color=BLUE, alpha=0.12, linewidth=0)
    axes.set_xlim(0, max(seen.trials - 1, 1))
    axes.set_ylim(0, 1.05 * float(seen.hypervolume.max()) or 1.0)
    return figure
