"""Pictures of studies of several objectives: the front, and how its hypervolume grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthpo import analysis
from fasthpo.plots.drawing import (
    BLUE,
    INK,
    RED,
    draw_cloud,
    entitle,
    legend,
    message,
    need_matplotlib,
    new_figure,
    note,
    set_scale,
    style,
    trials_text,
)
from fasthpo.study.reader import StudyReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_front(study: StudyReader, objectives: Sequence[int] | None = None) -> Figure:
    """The trials that no other one is better than in every objective, for each pair of two or three objectives.

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
    figure = new_figure(7.0 if pairs == 1 else 4.2 * pairs, 5.2 if pairs == 1 else 4.6)
    trials = seen.clouds[0].total
    details = [seen.title, trials_text(trials, "completed trial"), f"{seen.on_front:,} on the front"]
    if seen.infeasible:
        details.append(f"{seen.infeasible:,} break a constraint")
    entitle(figure, "Pareto front", " · ".join(details))
    grid = figure.subplots(1, pairs, squeeze=False)
    for axes, (a, b), cloud in zip(grid.flat, seen.pairs, seen.clouds, strict=True):
        style(axes, grid="both")
        for which, k in (("x", a), ("y", b)):
            scale = seen.scales[k]
            set_scale(axes, which, scale._replace(name=f"{scale.name} ({seen.directions[k]})"))
        if not trials:
            message(axes, "No trial has completed.")
            continue
        draw_cloud(axes, cloud, BLUE, "completed", order=1.5)
        x, y = (seen.scales[k].values(seen.scales[k].places(seen.values[:, k])) for k in (a, b))
        if len(seen.scales) == 2 and len(x):
            # what is dominated by the front lies behind its steps
            axes.step(x, y, where="post" if seen.directions[a] == "minimize" else "pre", color=RED, linewidth=1.2)
        axes.scatter(
            x, y, s=26, c=RED, marker="D", edgecolors="white", linewidths=0.5, label="front", zorder=4, clip_on=False
        )
        beyond = seen.scales[a].beyond + seen.scales[b].beyond
        if beyond:
            note(axes, f"{beyond:,} values beyond the axes, drawn at their edges")
    if trials:
        legend(grid.flat[-1], loc="best")
    return figure


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
        figure, "Hypervolume of the front", " · ".join([seen.title, trials_text(seen.trials), now, f"to ({point})"])
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
