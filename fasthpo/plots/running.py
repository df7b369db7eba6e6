"""Pictures of how trials ran: on which workers and when, and from rung to rung."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.workers import BUSY_STATES
from fasthpo.plots.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    RED,
    SMALL,
    STATE_COLOURS,
    entitle,
    message,
    need_matplotlib,
    new_figure,
    style,
    time_unit,
    toward,
)
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def timeline(study: StudyReader) -> Figure:
    """When trials ran, and on how many workers at a time: a bar each, or of many how many ran.

    A study does not know its workers: trials are laid out on as few lanes as hold them.

    Raises:
        InvalidValue: no study.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    seen = analysis.timeline(study)
    bars = len(seen.lane)
    figure = new_figure(8.5, min(max(2.6 + 0.16 * seen.lanes, 3.2), 8.0) if bars else 4.2)
    unit, unit_name = time_unit(seen.seconds)
    at_once = f"{seen.lanes:,} at a time at most" if seen.lanes else "no trial has run"
    details = [seen.title, at_once]
    if seen.lanes:
        details.append(f"workers idle {100 * seen.idle:.0f} % of the time")
        details.append(f"from {datetime.fromtimestamp(seen.began, UTC):%Y-%m-%d %H:%M:%S} UTC")
    entitle(figure, "Timeline", " · ".join(details))
    axes = figure.subplots()
    style(axes, grid="x")
    axes.set_xlabel(f"{unit_name} since the start", fontsize=9, color=INK)
    axes.set_xlim(0, max(seen.seconds / unit, 1e-9))
    if not seen.lanes:
        message(axes, "No trial has run yet.")
        axes.set_yticks([])
        return figure
    shown = []
    if bars:
        for state in TrialState:
            some = seen.state == state
            if not some.any():
                continue
            shown.append(state)
            # a bar is seen however short it is
            width = np.maximum(seen.end[some] - seen.start[some], seen.seconds / 2000) / unit
            axes.barh(
                seen.lane[some], width, 0.8, seen.start[some] / unit, color=STATE_COLOURS[state], edgecolor="white",
                linewidth=0.4 if bars <= 60 * seen.lanes else 0.0, hatch="///" if state == TrialState.FAILED else None,
            )  # fmt: skip
        axes.set_ylim(seen.lanes - 0.4, -0.6)
        axes.set_ylabel("worker", fontsize=9, color=INK)
        axes.set_yticks(range(0, seen.lanes, 1 + seen.lanes // 13))
    else:
        edges = seen.edges / unit
        below = np.zeros(len(edges) - 1)
        for state, busy in zip(BUSY_STATES, seen.busy, strict=True):
            if busy.any():
                shown.append(state)
                axes.stairs(below + busy, edges, baseline=below, fill=True, color=STATE_COLOURS[state])
                below = below + busy
        axes.set_ylim(0, None)
        axes.set_ylabel("trials at a time", fontsize=9, color=INK)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    handles = [
        Patch(
            facecolor=STATE_COLOURS[state], edgecolor="white", label=state.name.lower(),
            hatch="///" if bars and state == TrialState.FAILED else None,
        )
        for state in shown
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower left", ncols=6, frameon=False, fontsize=SMALL, labelcolor=INK
    )  # fmt: skip
    return figure


def rungs(study: StudyReader) -> Figure:
    """What has happened at each rung of a multi-fidelity study: who went on, what it cost, and the best value.

    Raises:
        InvalidValue: no study, or one whose strategy trains every trial in full.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.rungs(study)
    rows = len(seen.rungs)
    figure = new_figure(9.5, 1.9 + 0.27 * max(rows, 3))
    details = [
        seen.title, seen.strategy, f"resource spent {seen.spent:,}", f"as much as {seen.full:.4g} full trainings",
        toward(seen.direction),
    ]  # fmt: skip
    entitle(figure, "Rungs and brackets", " · ".join(details))
    trials, spent, best = figure.subplots(1, 3, sharey=True, width_ratios=[5, 3, 3])
    brackets = np.array([rung.bracket for rung in seen.rungs])
    at = np.arange(rows) + 0.6 * brackets  # brackets stand apart
    parts = [
        ("promoted", GREEN, [rung.promoted for rung in seen.rungs]),
        ("stayed", BLUE, [rung.told - rung.promoted for rung in seen.rungs]),
        ("pruned", ORANGE, [rung.pruned for rung in seen.rungs]),
        ("failed", RED, [rung.failed for rung in seen.rungs]),
        ("running", GREY, [rung.running for rung in seen.rungs]),
    ]
    for axes in (trials, spent, best):
        style(axes, grid="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    left = np.zeros(rows)
    for name, colour, counts in parts:
        if any(counts):
            trials.barh(at, counts, 0.8, left, color=colour, label=name)
            left += np.array(counts)
    spent.barh(at, [rung.resource_spent for rung in seen.rungs], 0.8, color=LIGHT)
    values = np.array([np.nan if rung.best_value is None else rung.best_value for rung in seen.rungs])
    best.plot(values, at, "o", color=INK, markersize=5)
    known = values[np.isfinite(values)]
    if len(known):
        for y, value in zip(at, values, strict=True):
            if np.isfinite(value):
                best.annotate(
                    f"{value:.4g}", (value, y), (7, 0), textcoords="offset points", va="center", fontsize=7, color=GREY
                )
        span = known.max() / 2 - known.min() / 2
        margin = span * 0.2 if span > 0 else max(abs(known[0]) * 0.05, 0.5)
        best.set_xlim(known.min() - margin, known.max() + margin + 1.4 * span)
    names = [f"bracket {rung.bracket}   {rung.resource:,}" if first else f"{rung.resource:,}" for rung, first in zip(
        seen.rungs, np.append(True, np.diff(brackets) != 0), strict=True)]  # fmt: skip
    trials.set_yticks(at, names)
    trials.set_ylim(at[-1] + 0.7, at[0] - 0.7)
    trials.set_ylabel("resource of the rung", fontsize=9, color=INK)
    for axes, text in ((trials, "trials"), (spent, "resource spent"), (best, "best value")):
        axes.set_xlabel(text, fontsize=9, color=INK)
        if not len(known) and axes is best:
            axes.set_xticks([])
    if left.any():
        trials.set_xlim(0, 1.05 * left.max())
        figure.legend(
            loc="outside lower left", ncols=5, frameon=False, fontsize=SMALL, labelcolor=INK
        )  # fmt: skip
    else:
        message(trials, "No trial has run yet.")
    return figure
