"""A study that another process runs, looked at again and again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from fasthpo.cli.best import best_record
from fasthpo.cli.exits import Wrong
from fasthpo.cli.studies import Looked
from fasthpo.cli.text import shown

_SHARE = 0.1  # of the time at most is spent with reading, also when all of a large study has to be read again
_WINDOW = 10.0  # seconds over which the rate is taken


class Moment(NamedTuple):
    """A study as it is now.

    Attributes:
        clock: the time of day.
        trials: how many there are.
        counts: by state.
        best: see `best_record`; None for several objectives.
        front: how many trials are on the front of several objectives; None for one.
        rate: trials that have ended a second, over the last ten; None at first.
        is_open: whether a process writes the study.
    """

    clock: str
    trials: int
    counts: dict[str, int]
    best: dict[str, Any] | None
    front: int | None
    rate: float | None
    is_open: bool


def follow(looked: Looked, interval: float, seconds: float | None) -> Iterator[Moment]:
    """Look at a study every `interval` seconds, or less often where reading it takes long.

    It ends when the process is gone that had the study open, or after so many seconds.

    Raises:
        Wrong: it is a file, which never changes.
        FileNotFoundError, CorruptCheckpoint: there is no such study any more.
    """
    study = looked.study
    if not looked.path.is_dir():
        raise Wrong(f"{looked.path} is a file, which stays as it is: watch is for a study's directory")
    begin = time.monotonic()
    ended: deque[tuple[float, int]] = deque()
    was_open = False
    while True:
        is_open = looked.writer is not None  # before its last trials are read
        start = time.monotonic()
        study.refresh()
        now = time.monotonic()
        table = study.table
        ended.append((now, len(table.tell_order)))
        while ended[-1][0] - ended[0][0] > _WINDOW:
            ended.popleft()
        (first, before), (last, after) = ended[0], ended[-1]
        yield Moment(
            datetime.now().astimezone().strftime("%H:%M:%S"),
            len(table),
            {state.name: count for state, count in study.counts.items() if count},
            best_record(study) if len(study.directions) == 1 else None,
            len(study.best_trials) if len(study.directions) > 1 else None,
            (after - before) / (last - first) if last > first else None,
            is_open,
        )
        if was_open and not is_open:
            return
        was_open = was_open or is_open
        left = float("inf") if seconds is None else begin + seconds - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, max(interval, (now - start) / _SHARE)))


def line(moment: Moment) -> str:
    """A moment in a line, without the time of day."""
    parts = [f"{moment.trials} trials", *(f"{count} {name.lower()}" for name, count in moment.counts.items())]
    best = moment.best
    if moment.front is not None:
        parts.append(f"{moment.front} on the front")
    else:
        parts.append("no best yet" if best is None else f"best {shown(best['value'])} (trial {best['number']})")
    if moment.rate:
        parts.append(f"{moment.rate:.3g}/s" if moment.rate >= 1 else f"{1 / moment.rate:.3g} s each")
    parts += [] if moment.is_open else ["no process has it open"]
    return "  ".join(parts)
