"""Pictures of how values, and times, depend on the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.parameters import Slices
from fasthpo.analysis.scales import Scale
from fasthpo.plots.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    PALE,
    RED,
    SMALL,
    TITLE,
    draw_cloud,
    entitle,
    is_crowded,
    legend,
    literal,
    message,
    need_matplotlib,
    new_figure,
    note,
    plain_number,
    set_log_ticks,
    set_scale,
    shortened,
    style,
    time_unit,
    toward,
    trials_text,
    value_colours,
)
from fasthpo.study.reader import StudyReader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_IN_ROW = 4
_PANEL_WIDTH, _PANEL_HEIGHT, _GAP = 2.35, 1.75, 0.25  # inches
_INACTIVE = -0.12  # where lines cross the axis of a parameter that they do not have
_MOST_CHOICES = 10  # named on an axis of parallel coordinates


def slices(study: StudyReader, params: Sequence[str] | None = None, objective: int = 0) -> Figure:
    """The values of the completed trials against each parameter, with the median and the best along it.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the twelve that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, or an unknown parameter.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.slices(study, params, objective)
    return _panels(seen, "Values by parameter", toward(seen.direction), "best")


def durations(study: StudyReader, params: Sequence[str] | None = None) -> Figure:
    """How long trials took against each parameter, with the median and the shortest along it.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the twelve that matter most for the duration.

    Raises:
        InvalidValue: no study, or an unknown parameter.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    seen = analysis.durations(study, params)
    unit, name = time_unit(seen.scale.high)
    if not seen.scale.log:  # of which the powers of ten are what is round
        seen = _divided(seen, unit)._replace(scale=_divided(seen, unit).scale._replace(name=name))
    return _panels(seen, "Duration by parameter", "from ask to tell", "shortest")


def _divided(seen: Slices, unit: float) -> Slices:
    """The same in another unit of time."""
    scale = seen.scale._replace(low=seen.scale.low / unit, high=seen.scale.high / unit)
    panels = tuple(
        panel._replace(
            cloud=panel.cloud._replace(
                y=panel.cloud.y / unit, y_edges=None if panel.cloud.y_edges is None else panel.cloud.y_edges / unit
            ),
            median=panel.median / unit,
            best=panel.best / unit,
        )
        for panel in seen.panels
    )
    return seen._replace(scale=scale, panels=panels)


def _panels(seen: Slices, title: str, detail: str, best: str) -> Figure:
    from matplotlib.ticker import NullLocator

    count = len(seen.panels)
    rows = -(-count // _PANELS_IN_ROW)
    columns = -(-count // rows)
    aslant = any(p.scale.labels is not None and is_crowded(p.scale.labels, _PANEL_WIDTH) for p in seen.panels)
    below = 0.6 + (0.8 if aslant else 0.0)
    width = max(6.0, 0.95 + (_PANEL_WIDTH + _GAP) * columns)
    height = TITLE + 0.15 + (_PANEL_HEIGHT + below) * rows + 0.4
    figure = new_figure(width, height, arranged=True)
    trials = max(panel.cloud.total + panel.inactive for panel in seen.panels)
    details = [seen.title, trials_text(trials), detail]
    if seen.left_out:
        details.append(f"{len(seen.left_out)} parameters that matter less are left out")
    entitle(figure, title, " · ".join(details))
    place = {
        "left": 0.75 / width, "right": 1 - _GAP / width, "top": 1 - (TITLE + 0.15) / height,
        "bottom": (0.4 + below) / height, "wspace": _GAP / _PANEL_WIDTH, "hspace": below / _PANEL_HEIGHT,
    }  # fmt: skip
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False, gridspec_kw=place)
    for k, (axes, panel) in enumerate(zip(grid.flat, seen.panels, strict=False)):
        style(axes)
        set_scale(axes, "y", seen.scale, name=k % columns == 0)
        set_scale(axes, "x", panel.scale, width=_PANEL_WIDTH)
        if panel.scale.labels is None:
            axes.tick_params(axis="x", labelsize=7.5)
        axes.xaxis.set_minor_locator(NullLocator())
        if panel.cloud.total:
            draw_cloud(axes, panel.cloud, BLUE, "trials")
        else:
            message(axes, "no trials")
        line = "" if panel.scale.labels is not None else "-"
        axes.plot(
            panel.trend, seen.scale.inside(panel.median), color=RED, linewidth=1.6, linestyle=line, marker="_",
            markersize=14 if not line else 0, markeredgewidth=2, label="median", zorder=4,
        )  # fmt: skip
        axes.plot(
            panel.trend, seen.scale.inside(panel.best), color=INK, linewidth=1.1, linestyle=":" if line else "",
            marker="_", markersize=14 if not line else 0, markeredgewidth=1.2, label=best, zorder=4,
        )  # fmt: skip
        if panel.inactive and panel.cloud.total:
            note(axes, f"inactive in {panel.inactive:,}")
    for axes in list(grid.flat)[count:]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    for axes in grid.flat:
        if len(axes.get_legend_handles_labels()[0]) > len(handles):
            handles, labels = axes.get_legend_handles_labels()
    beyond = f"{seen.scale.beyond:,} beyond the axis, drawn at its edge" if seen.scale.beyond else ""
    figure.legend(
        handles, labels, loc="lower left", ncols=4, frameon=False, fontsize=SMALL, labelcolor=INK,
        title=beyond or None, title_fontproperties={"size": SMALL}, alignment="left",
    )  # fmt: skip
    return figure


def parallel_coordinates(study: StudyReader, params: Sequence[str] | None = None, objective: int = 0) -> Figure:
    """Trials as lines over all parameters, the better the darker; of a large study the best, and some of all ranks.

    Args:
        study: what was run.
        params: which parameters; None: all that vary, or the fifteen that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, or an unknown parameter.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm, Normalize

    seen = analysis.parallel_coordinates(study, params, objective)
    d = len(seen.scales)
    figure = new_figure(min(max(6.5, 1.25 * d + 1.2), 18.0), 4.8)
    details = [seen.title, trials_text(seen.trials, "completed trial")]
    if len(seen.number) < seen.trials:
        details.append(f"{len(seen.number)} of them shown, the best and some of all ranks")
    if seen.left_out:
        details.append(f"{len(seen.left_out)} parameters that matter less are left out")
    entitle(figure, "Parallel coordinates", " · ".join(details))
    axes = figure.subplots()
    axes.set_facecolor("white")
    for spine in axes.spines.values():
        spine.set_visible(False)
    at = np.arange(d, dtype=float)
    position = np.where(np.isnan(seen.position), _INACTIVE, seen.position)
    has_inactive = bool(np.isnan(seen.position).any())
    lowest = _INACTIVE - 0.05 if has_inactive else -0.05
    if d == 1:  # a line needs two ends
        at, position = np.array([0.0, 0.4]), np.repeat(position, 2, axis=1)
    lines = np.stack([np.broadcast_to(at, position.shape), position], axis=2)
    scale = seen.value_scale
    norm = (LogNorm if scale.log else Normalize)(scale.low, scale.high)
    colours = value_colours(seen.direction)
    # the better half of the colours' range is darker, and drawn last and thicker
    rank = np.linspace(0.0, 1.0, len(lines)) if len(lines) else np.empty(0)
    rgba = np.array(colours(norm(scale.inside(seen.value)))).reshape(-1, 4)
    rgba[:, 3] = 0.25 + 0.6 * rank**2
    axes.add_collection(LineCollection(list(lines), colors=rgba.tolist(), linewidths=0.6 + 1.2 * rank**6, zorder=2))
    axes.set_xlim(-0.7 if has_inactive else -0.25, max(d - 1, 0.4) + 0.55)
    axes.set_ylim(lowest, 1.05)
    axes.set_yticks([])
    for j, one in enumerate(seen.scales):
        _draw_coordinate(axes, float(j), one)
    if has_inactive:
        axes.text(-0.1, _INACTIVE, "inactive", fontsize=SMALL, color=GREY, ha="right", va="center")
        axes.hlines(_INACTIVE, -0.05, d - 1, color=LIGHT, linewidth=0.8, linestyle=":", zorder=1)
    names = [literal(shortened(one.name, 24)) for one in seen.scales]
    crowded = max(map(len, names)) * 0.075 > (figure.get_figwidth() - 1.2) / d
    axes.set_xticks(range(d), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
    axes.tick_params(axis="x", labelsize=9, length=0, colors=INK)
    if not len(lines):
        message(axes, "No trial has completed with a finite value.")
    else:
        worse = ("max" if seen.direction == "minimize" else "min") if scale.beyond else "neither"
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.01, aspect=28, fraction=0.05, extend=worse)
        _style_bar(bar, f"{scale.name} (darker is better)", scale.log)
    return figure


def _draw_coordinate(axes: Axes, x: float, scale: Scale) -> None:
    """The axis of one parameter, with the values at some places."""
    axes.vlines(x, 0.0, 1.0, color=GREY, linewidth=1.0, zorder=3)
    if scale.labels is not None:
        count = len(scale.labels)
        every = -(-count // _MOST_CHOICES)
        marks = [((i + 0.5) / count, shortened(scale.labels[i], 14)) for i in range(0, count, every)]
    else:
        marks = [(float(scale.fractions(np.array(value))), plain_number(value)) for value in _round_values(scale)]
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
    for fraction, text in marks:
        axes.hlines(fraction, x, x + 0.03, color=GREY, linewidth=1.0, zorder=3)
        axes.text(
            x + 0.05, fraction, literal(text), fontsize=7, color=INK, va="center", zorder=4, bbox=box
        )  # fmt: skip


def _round_values(scale: Scale) -> list[float]:
    """The bounds of a scale, and some round values that are not too near to them."""
    from matplotlib.ticker import MaxNLocator

    low, high = scale.bounds
    between = MaxNLocator(4, integer=scale.log or scale.is_whole, steps=[1, 2, 5, 10]).tick_values(low, high)
    room = 0.1 * (high / 2 - low / 2)
    inside = [place for place in np.asarray(between).tolist() if low / 2 + room < place / 2 < high / 2 - room]
    return [scale.low, *scale.values(np.array(inside)).tolist(), scale.high]


def _style_bar(bar: Any, label: str, log: bool) -> None:
    if log:
        set_log_ticks(bar.ax.yaxis, *np.log10([bar.norm.vmin, bar.norm.vmax]).tolist())
    bar.set_label(literal(label), fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=GREY, labelcolor=INK, length=3, width=0.8)
    bar.outline.set_visible(False)


def contour(study: StudyReader, x: str | None = None, y: str | None = None, objective: int = 0) -> Figure:
    """What is reached on average around each place of a plane of two parameters; a star marks the best trial.

    Args:
        study: what was run.
        x, y: the parameters; None: those that matter most.
        objective: which one, of several.

    Raises:
        InvalidValue: no study, no such objective, an unknown parameter, twice the same one, or a space of one
            parameter.
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.colors import LogNorm, Normalize

    seen = analysis.contour(study, x, y, objective)
    figure = new_figure(7.0, 5.2)
    details = [seen.title, trials_text(seen.trials.total, "completed trial"), "mean of the trials around each place"]
    entitle(figure, shortened(f"{seen.x_scale.name} and {seen.y_scale.name}", 60), " · ".join(details))
    axes = figure.subplots()
    style(axes, grid="")
    axes.set_facecolor(PALE)
    set_scale(axes, "x", seen.x_scale, width=5.0)
    set_scale(axes, "y", seen.y_scale)
    x_edges, y_edges = seen.x_scale.edges(len(seen.x)), seen.y_scale.edges(len(seen.y))
    axes.set_xlim(*seen.x_scale.values(x_edges[[0, -1]]))
    axes.set_ylim(*seen.y_scale.values(y_edges[[0, -1]]))
    known = seen.value[~np.isnan(seen.value)]
    if not len(known):
        message(axes, "No trial with both parameters has completed\nwith a finite value.")
        return figure
    low, high = float(known.min()), float(known.max())
    if low == high:
        low, high = (low / 2, high * 2) if seen.value_scale.log else (low - 0.5, high + 0.5)
    norm = (LogNorm if seen.value_scale.log else Normalize)(low, high)
    drawn = axes.pcolormesh(
        seen.x_scale.values(x_edges), seen.y_scale.values(y_edges), seen.value, cmap=value_colours(seen.direction),
        norm=norm, rasterized=True, zorder=1,
    )  # fmt: skip
    smooth = seen.x_scale.labels is None and seen.y_scale.labels is None
    if smooth and min(seen.value.shape) > 2 and np.isfinite(seen.value).sum() > 8:
        levels = norm.inverse(np.linspace(0.1, 0.9, 9))
        axes.contour(
            seen.x, seen.y, seen.value, levels=np.unique(levels), colors="white", linewidths=0.6, alpha=0.6, zorder=2
        )
    if seen.trials.trials is None:
        axes.scatter(seen.trials.x, seen.trials.y, s=9, c="white", alpha=0.8, edgecolors=INK, linewidths=0.4, zorder=3)
    if seen.best is not None:
        axes.scatter(
            *seen.best[:2], s=170, c=RED, marker="*", edgecolors="white", linewidths=1.0, zorder=5, clip_on=False,
            label=f"best: trial {seen.best[2]}",
        )  # fmt: skip
        legend(axes)
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=28)
    _style_bar(bar, f"{seen.value_scale.name} (darker is better)", seen.value_scale.log)
    if seen.value_scale.beyond:
        bound = seen.value_scale.high if seen.direction == "minimize" else seen.value_scale.low
        note(axes, f"{seen.value_scale.beyond:,} worse ones count as {bound:.4g}")
    return figure
