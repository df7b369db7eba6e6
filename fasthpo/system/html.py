"""Small tables in HTML, as notebooks show them. Whatever a user gave is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from fasthpo.values import steady_str

MOST_ROWS = 100


def escaped(text: object) -> str:
    """A text as HTML that shows it."""
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())


def titled(title: str, *parts: str) -> str:
    """A heading, and parts in HTML below it."""
    return f"<div><strong>{escaped(title)}</strong>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A text as a paragraph."""
    return f"<p style='margin:0.3em 0'>{escaped(text)}</p>"


def preformatted(text: str) -> str:
    """A text of several lines as it stands."""
    return f"<pre>{escaped(text)}</pre>"


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> str:
    """A table, of which at most a hundred rows are shown.

    Args:
        rows: cells, whose text is escaped.
        head: of the columns; empty: none.
    """
    listed = list(rows)
    lines = [_row(head, "th")] if head else []
    lines += [_row(row, "td") for row in listed[:MOST_ROWS]]
    more = f"<p>... and {len(listed) - MOST_ROWS:,} more</p>" if len(listed) > MOST_ROWS else ""
    return f"<table>{''.join(lines)}</table>{more}"


def _row(cells: Sequence[object], tag: str) -> str:
    inside = "".join(f"<{tag} style='text-align:left'>{escaped(steady_str(cell))}</{tag}>" for cell in cells)
    return f"<tr>{inside}</tr>"
