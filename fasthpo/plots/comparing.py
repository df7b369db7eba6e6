"""Pictures that compare: parameters by how much they matter, and studies by what they reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasthpo import analysis
from fasthpo.plots.drawing import (
    BLUE,
    CYCLE,
    GREY,
    INK,
    LIGHT,
    SMALL,
    entitle,
    legend,
    literal,
    message,
    need_matplotlib,
    new_figure,
    note_beyond,
    set_scale,
    shortened,
    style,
    toward,
    trials_text,
)
from fasthpo.study.reader import StudyReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BARS = 25
_LINES = ("-", "--", ":", "-.")


def importance(
    study: StudyReader, method: str = "fanova", objective: int = 0, params: Sequence[str] | None = None
) -> Figure:
    """How much each parameter matters, as bars; see `fasthpo.analysis.importance`.

    Args:
        study: what was run.
        method: "fanova" or "ped_anova".
        objective: which one, of several.
        params: which parameters to compare; None: all.

    Raises:
        InvalidValue: no study, no such objective, method or parameter.
        NoCompletedTrials: fewer than two trials have completed.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.importance(study, method, objective, params)
    shown = min(len(seen.names), _MOST_BARS)
    names = [literal(shortened(name, 32)) for name in seen.names[:shown]]
    shares = seen.shares[:shown]
    if shown < len(seen.names):
        names.append(f"{len(seen.names) - shown} others")
        shares = np.append(shares, seen.shares[shown:].sum())
    figure = new_figure(7.5, 1.5 + 0.3 * max(len(names), 3))
    what = "functional ANOVA" if seen.method == "fanova" else "PED-ANOVA, best tenth"
    details = [seen.title, seen.objective, trials_text(seen.trials, "completed trial"), what]
    entitle(figure, "Importance of the parameters", " · ".join(details))
    axes = figure.subplots()
    style(axes, grid="x")
    at = np.arange(len(names))
    colours = [BLUE] * shown + [LIGHT] * (len(names) - shown)
    axes.barh(at, 100 * shares, 0.68, color=colours, zorder=2)
    for y, share in zip(at, shares, strict=True):
        text = f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"
        axes.annotate(
            text, (100 * share, y), (5, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK
        )
    axes.set_yticks(at, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 112 * max(float(shares.max()), 0.01))
    axes.set_xlabel("share of all importance, percent", fontsize=9, color=INK)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if not shares.any():
        axes.text(0.5, 0.5, "no parameter matters", transform=axes.transAxes, ha="center", color=GREY, fontsize=11)
    return figure


def edf(studies: StudyReader | Sequence[StudyReader] | Mapping[str, StudyReader], objective: int = 0) -> Figure:
    """Which share of the completed trials is at least as good as each value, for one study or several.

    Args:
        studies: one, several, or several by name; without names they are called after their directories.
        objective: which one, of several.

    Raises:
        InvalidValue: no studies, no such objective, or studies of different directions.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.edf(studies, objective)
    figure = new_figure(7.5, 4.5)
    count = len(seen.studies)
    title = seen.studies[0].name if count == 1 else f"{count} studies"
    details = [title, trials_text(sum(one.trials for one in seen.studies), "completed trial"), toward(seen.direction)]
    entitle(figure, "Distribution of the values", " · ".join(details))
    axes = figure.subplots()
    style(axes)
    set_scale(axes, "x", seen.scale)
    axes.set_ylim(0, 103)
    axes.set_ylabel("trials at least as good, percent", fontsize=9, color=INK)
    worst = seen.scale.high if seen.direction == "minimize" else seen.scale.low
    for k, one in enumerate(seen.studies):
        if not one.trials:
            continue
        at = seen.scale.inside(one.value)
        value = np.concatenate([at[:1], at, [worst]])
        axes.step(
            value, 100 * np.concatenate([[0.0], one.share, [1.0]]), where="post",
            color=CYCLE[k % len(CYCLE)], linewidth=1.8, linestyle=_LINES[k // len(CYCLE) % len(_LINES)],
            label=literal(f"{shortened(one.name, 32)} ({one.trials:,})"),
        )  # fmt: skip
    if not any(one.trials for one in seen.studies):
        message(axes, "No trial has completed.")
    elif count > 1:
        legend(axes)
    note_beyond(axes, seen.scale)
    return figure
