"""A study as a picture on a terminal that is drawn anew, with rich."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fasthpo.cli.progress import Moment
from fasthpo.cli.studies import Looked
from fasthpo.cli.text import duration, printable, shorter, shown
from fasthpo.study.reader import StudyReader
from fasthpo.system.headline import headline
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState

_COLOURS = {
    "COMPLETE": "green", "PRUNED": "yellow", "FAILED": "red", "RUNNING": "cyan", "WAITING": "blue", "PAUSED": "magenta",
}  # fmt: skip
_LATEST = 8  # trials
_MOST_PARAMETERS = 12
_BLOCKS = " \N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}" \
    "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"  # fmt: skip


def draw(looked: Looked, moments: Iterator[Moment]) -> None:
    """Draw a study until there is nothing more to see of it; the last picture stays."""
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        for moment in moments:
            live.update(picture(looked, moment, console.width), refresh=True)


def picture(looked: Looked, moment: Moment, width: int) -> RenderableType:
    """The picture: how many trials, the best so far, its parameters, and what has ended last."""
    table = looked.study.table
    counts = Text("  ").join(
        [Text(f"{moment.trials} trials", style="bold")]
        + [Text(f"{count} {name.lower()}", style=_COLOURS[name]) for name, count in moment.counts.items()]
        + ([Text(f"{moment.rate:.3g} trials/s")] if moment.rate else [])
    )
    parts: list[RenderableType] = [counts]
    if moment.best is not None:
        best = Text(f"best {shown(moment.best['value'])}", style="bold")
        best.append(f"  trial {moment.best['number']}  ", style="dim")
        best.append(best_so_far(table, max(10, width - 50)), style="green")
        parts += [best, _parameters(looked, moment)]
    if moment.front is not None:
        parts.append(Text(f"{moment.front} trials on the front", style="bold"))
    parts.append(_latest(looked.study))
    state = "running" if moment.is_open else "no process has it open"
    title = Text(f"{printable(looked.name)} ({', '.join(table.directions)})")
    return Panel(Group(*parts), title=title, subtitle=Text(f"{moment.clock}, {state}"), padding=(0, 1))


def best_so_far(table: TrialTable, width: int) -> str:
    """How the best value rose over the trials, in the order in which they ended, as blocks."""
    order = table.tell_order
    losses = np.where(table.states[order] == TrialState.COMPLETE, table.objectives.losses(table.values[order]), np.inf)
    best = -np.minimum.accumulate(np.where(np.isfinite(losses), losses, np.inf))
    best = best[np.isfinite(best)]
    if len(best) < 2:
        return ""
    taken = best[np.linspace(0, len(best) - 1, min(width, len(best))).astype(int)]
    low, high = float(taken[0]), float(taken[-1])
    if low == high:
        return ""
    # scaled first, as the difference of two numbers may be infinite
    heights = np.rint((taken / 2 - low / 2) / (high / 2 - low / 2) * (len(_BLOCKS) - 2)).astype(int) + 1
    return "".join(_BLOCKS[height] for height in heights)


def _parameters(looked: Looked, moment: Moment) -> Table:
    assert moment.best is not None
    grid = Table.grid(padding=(0, 2))
    listed = list(moment.best["params"].items())
    for name, value in listed[:_MOST_PARAMETERS]:
        grid.add_row(Text(f"  {shorter(printable(name), 40)}", style="dim"), Text(shown(value)))
    if len(listed) > _MOST_PARAMETERS:
        grid.add_row(Text(f"  and {len(listed) - _MOST_PARAMETERS} more", style="dim"))
    return grid


def _latest(study: StudyReader) -> Table:
    listed = Table(box=None, padding=(0, 2), header_style="dim")
    for name, justify in (("trial", "right"), ("state", "left"), ("value", "right"), ("took", "right"), ("", "left")):
        listed.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    told = ((number, *study._place(number)) for number in map(int, study.table.tell_order[::-1]))
    ended = (one for one in told if one[1].state(one[2]).is_finished)  # of those outside of the space some wait
    for number, table, place in islice(ended, _LATEST):
        state = table.state(place).name
        error = shorter(printable(headline(table.error(place) or "")), 60)
        values = np.atleast_1d(table.values[place]).tolist()
        listed.add_row(
            str(number), Text(state.lower(), style=_COLOURS[state]), Text(", ".join(map(shown, values))),
            Text(duration(table.times(place)[2])), Text(error, style="dim"),
        )  # fmt: skip
    return listed
