"""Numbers, times and tables as text, for people and for scripts.

On a terminal a table is as wide as that, and its head is bold; anywhere else it is plain and whole.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

_LONGEST = 60  # characters of a cell
_GAP = "  "


def is_terminal() -> bool:
    """Whether a person reads what is printed."""
    return bool(sys.stdout.isatty())


def printable(text: str) -> str:
    """A text in which nothing moves a terminal's cursor or changes its colours: a user's names may hold anything."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shorter(text: str, width: int = _LONGEST) -> str:
    """A text with its end left out where it is too long."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def shown(value: Any) -> str:
    """A value of a trial as a cell: six digits of a float, nothing for what there is not."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    from fasthpo.values import steady_str  # imports NumPy

    return shorter(printable(steady_str(value)))


def moment(seconds: float) -> str:
    """A time in this machine's zone."""
    return "" if seconds != seconds else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """A duration in the two units that matter."""
    if seconds != seconds:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for large, per_large, small, per_small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= per_large:
            return f"{whole // per_large} {large} {whole % per_large // per_small} {small}"
    raise AssertionError


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinities are the strings "NaN", "Infinity" and "-Infinity"."""
    from fasthpo.exchange.json_files import dump_json

    click.echo(dump_json(value, indent=2))


def print_pairs(pairs: Iterable[tuple[str, str]], indent: str = "") -> None:
    """Print names and values, one pair a line; those without a value are left out."""
    listed = [(shorter(printable(name), 40), value) for name, value in pairs if value]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{indent}{name:<{width}}{_GAP}{value}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[int] = ()) -> None:
    """Print a table; on a terminal, columns that don't fit are left out, and said to be.

    Args:
        head: the columns' names.
        rows: of cells.
        left: the columns whose cells stand at the left; numbers stand at the right.
    """
    names = [shorter(printable(name), 30) for name in head]
    at_left = set(left)
    widths = [max(len(name), *(len(row[j]) for row in rows), 0) for j, name in enumerate(names)]
    fitting = len(names)
    if is_terminal():
        room = shutil.get_terminal_size().columns
        while fitting > 1 and sum(widths[:fitting]) + len(_GAP) * (fitting - 1) > room:
            fitting -= 1

    def line(cells: Sequence[str]) -> str:
        placed = [
            cell.ljust(widths[j]) if j in at_left else cell.rjust(widths[j]) for j, cell in enumerate(cells[:fitting])
        ]
        return _GAP.join(placed).rstrip()

    click.echo(click.style(line(names), bold=True))
    for row in rows:
        click.echo(line(row))
    if fitting < len(names):
        click.echo(f"(too narrow for {', '.join(names[fitting:])})", err=True)
