"""What all pictures share: figures made without pyplot, colours, titles, and the axes that scales mean.

The colours are those of Okabe and Ito (Color universal design, 2008), which people with any kind of colour vision tell
apart; states also differ in their marks. Everything is set on the figure itself, whatever the user's own style is.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthpo.analysis.clouds import Cloud
from fasthpo.analysis.scales import Scale
from fasthpo.errors import MissingPackage
from fasthpo.trials.trial import TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
INK, GREY, LIGHT, PALE = "#222222", "#767676", "#C8C8C8", "#EDEDED"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK)
STATE_COLOURS = {
    TrialState.COMPLETE: BLUE,
    TrialState.PRUNED: ORANGE,
    TrialState.FAILED: RED,
    TrialState.RUNNING: GREEN,
    TrialState.WAITING: LIGHT,
    TrialState.PAUSED: SKY,
}
SMALL = 8.0
TITLE = 0.62  # inches above the axes
_TEXT = 9.0
_UNITS = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"), (1e-3, "milliseconds"))
_DPI = 120
_MOST_TICKS = 16  # choices that are named on an axis
_WIDTH_OF_LETTER = 0.085  # inches


def need_matplotlib() -> None:
    """Make sure that there is matplotlib.

    Raises:
        MissingPackage: there is none.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingPackage("fasthpo.plots draws with matplotlib: pip install 'fasthpo[plots]'") from error


def new_figure(width: float, height: float, arranged: bool = False) -> Figure:
    """An empty figure of so many inches, which notebooks show without pyplot.

    Args:
        width, height: its size.
        arranged: whether the caller says where its axes lie; else matplotlib finds out, which takes as long as drawing.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout=None if arranged else "constrained")
    if not arranged:
        engine = figure.get_layout_engine()
        engine.set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.04, rect=(0, 0, 1, 1 - TITLE / height))  # type: ignore[union-attr, call-arg]

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure


def entitle(figure: Figure, title: str, subtitle: str) -> None:
    """Write a title, and a line of details below it, at the top left."""
    left, height = 0.1 / figure.get_figwidth(), figure.get_figheight()
    figure.text(left, 1 - 0.1 / height, literal(title), fontsize=12, fontweight="bold", color=INK, va="top")
    figure.text(left, 1 - 0.36 / height, literal(subtitle), fontsize=_TEXT, color=GREY, va="top")


def literal(text: str) -> str:
    """A text that matplotlib writes as it stands, and not as mathematics."""
    clean = "".join(one if one.isprintable() or one == "\n" else "?" for one in text)
    return clean.replace("$", r"\$")


def style(axes: Axes, grid: str = "y") -> None:
    """Give axes the look of all pictures: no box, a faint grid."""
    axes.set_facecolor("white")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LIGHT)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(which="both", colors=GREY, labelsize=SMALL, width=0.8, length=3, labelcolor=INK)
    axes.tick_params(which="minor", length=1.5, width=0.6)
    if grid:
        axes.grid(True, axis=grid, which="major", color=PALE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def set_scale(axes: Axes, which: str, scale: Scale, name: bool = True, width: float = 0.0) -> None:
    """Lay an axis out as a scale says.

    Args:
        axes: the axes.
        which: "x" or "y".
        scale: what it shows.
        name: whether to write the scale's name.
        width: of the axes, in inches: labels of choices that do not fit are aslant, and long names shortened.
    """
    from matplotlib.ticker import MaxNLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    low, high = scale.bounds
    margin = 0.0 if scale.labels is not None or scale.name == "trial" else 0.03 * (high / 2 - low / 2) * 2
    if scale.step and not scale.log and scale.labels is None:
        margin = max(margin, 0.5 * scale.step)  # cells reach half a step beyond the bounds
    if not np.isfinite(margin):
        margin = 0.0
    if scale.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        set_limits(10.0 ** (low - margin), 10.0 ** (high + margin))
        set_log_ticks(axis, low, high)
    else:
        set_limits(low - margin, high + margin)
        if scale.labels is not None:
            _name_choices(axes, which, scale.labels, width)
        elif scale.is_whole:
            axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
            if high < 1e7:
                axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        else:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if name:
        most = min(40, int(width / _WIDTH_OF_LETTER)) if width else 40
        axis.set_label_text(literal(shortened(scale.name, most)), fontsize=_TEXT, color=INK)


def set_log_ticks(axis: Any, low: float, high: float) -> None:
    """Mark some values in between on a logarithmic axis that spans few powers of ten; bounds as places."""
    from matplotlib.ticker import FixedLocator, NullLocator

    if high - low < 3.5:
        axis.set_major_locator(FixedLocator(_between(low, high)))
        axis.set_major_formatter(lambda value, _: plain_number(value))
        axis.set_minor_locator(NullLocator())


def _between(low: float, high: float) -> list[float]:
    """Some round values of a logarithmic scale, of which the bounds are given as places."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        at = [float(f"{digit}e{power}") for power in powers for digit in digits]
        inside = [value for value in at if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(inside) > 3:
            return inside
    return np.unique([float(f"{10.0**place:.2g}") for place in np.linspace(low, high, 4)]).tolist()  # type: ignore[no-any-return]


def plain_number(value: float) -> str:
    """A number in four digits: 0.001, 1e-6."""
    mantissa, e, power = f"{value:.4g}".partition("e")
    return f"{mantissa}{e}{int(power)}" if e else mantissa


def _name_choices(axes: Axes, which: str, labels: tuple[str, ...], width: float) -> None:
    every = -(-len(labels) // _MOST_TICKS)
    at = list(range(0, len(labels), every))
    names = [literal(labels[i]) for i in at]
    if which == "y":
        axes.set_yticks(at, names)
        return
    crowded = bool(width) and is_crowded(labels, width)
    axes.set_xticks(at, names, rotation=35 if crowded else 0, ha="right" if crowded else "center")
    if crowded:
        axes.tick_params(axis="x", pad=1)


def is_crowded(labels: tuple[str, ...], width: float) -> bool:
    """Whether the labels of choices don't fit beside each other into so many inches; they are written aslant then."""
    shown = labels[:: -(-len(labels) // _MOST_TICKS)]
    return max(map(len, shown)) * len(shown) * _WIDTH_OF_LETTER > width


def shortened(text: str, most: int) -> str:
    """A text with its middle left out if it is too long."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def draw_cloud(axes: Axes, cloud: Cloud, colour: str, label: str, marker: str = "o", order: float = 2.0) -> None:
    """Draw trials as points, or as cells that are the darker the more trials they hold."""
    if cloud.trials is None:
        size = 26.0 if len(cloud.x) <= 200 else 10.0
        axes.scatter(
            cloud.x, cloud.y, s=size, c=colour, marker=marker, alpha=0.7 if len(cloud.x) <= 200 else 0.45,
            linewidths=1.0 if marker == "x" else 0.0, label=label, zorder=order, clip_on=False,
        )  # fmt: skip
        return
    from matplotlib.colors import PowerNorm

    assert cloud.x_edges is not None and cloud.y_edges is not None
    counts = np.where(cloud.trials > 0, cloud.trials, np.nan)
    axes.pcolormesh(
        cloud.x_edges, cloud.y_edges, counts, cmap=shades(colour), norm=PowerNorm(0.5, 0, max(2, cloud.trials.max())),
        rasterized=True, zorder=order - 1,
    )  # fmt: skip
    axes.scatter([], [], s=40, c=colour, marker="s", label=f"{label} (darker: more trials)", linewidths=0)


def shades(colour: str) -> Colormap:
    """A map from a pale shade of a colour to a dark one; lighter and darker mean the same to every eye."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    base = np.array(to_rgb(colour))
    return LinearSegmentedColormap.from_list("shades", [1 - (1 - base) * 0.18, base, base * 0.35])


def value_colours(direction: str) -> Colormap:
    """The colours of objective values: the better, the darker."""
    import matplotlib

    return matplotlib.colormaps["viridis_r" if direction == "maximize" else "viridis"]


def legend(axes: Axes) -> None:
    """A legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(
        handles, labels, loc="outside lower left", ncols=min(len(labels), 5), frameon=False, fontsize=SMALL,
        labelcolor=INK, markerscale=1.2,
    )  # fmt: skip


def note(axes: Axes, text: str) -> None:
    """A grey remark above axes, at their right end."""
    axes.text(1.0, 1.015, literal(text), transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL, color=GREY)


def note_beyond(axes: Axes, scale: Scale) -> None:
    """Say how many values are drawn at the edge, as they lie beyond it."""
    if scale.beyond:
        note(axes, f"{scale.beyond:,} beyond the axis, drawn at its edge")


def message(axes: Axes, text: str) -> None:
    """Say in the middle of axes why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=GREY)


def trials_text(count: int, what: str = "trial") -> str:
    """ "1 trial", "1,000 trials"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def time_unit(longest: float) -> tuple[float, str]:
    """The seconds, and the name, of the unit in which times up to so many seconds are read best."""
    return next((one for one in _UNITS if longest >= 2 * one[0]), _UNITS[-1])


def toward(direction: str) -> str:
    """Which way is better."""
    return "lower is better" if direction == "minimize" else "higher is better"
