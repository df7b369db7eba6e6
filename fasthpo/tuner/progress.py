"""The progress line of a run, on a terminal only."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fasthpo.study.study import Study
from fasthpo.system.forked import in_forked
from fasthpo.trials.trial import TrialState
from fasthpo.tuner.front_volume import FrontVolume

_INTERVAL = 0.1  # seconds between two drawings, at least
_COLUMNS, _ROWS = 80, 24  # where the terminal does not say how large it is
_WITH_TOTAL = "{desc}: {n_fmt}/{total_fmt} trials{postfix}, {remaining} left"
_WITHOUT = "{desc}: {n_fmt} trials{postfix}"


class Progress:
    """A line with the trials done, pruned and failed, the best value, the speed and the time left.

    With several objectives it has the size of the front in the place of the best value and, once ten trials have
    completed, the hypervolume that the front dominates, to the worst values of those ten; see `FrontVolume`.

    It is drawn on stderr if that is a terminal; else nothing happens, and tqdm is not even imported. If it can't be
    drawn any more, on a terminal that was closed for instance, the run goes on without it.
    The environment variable `TQDM_DISABLE=1` switches it off.

    Args:
        name: what stands before the line.
        study: the study.
        total: how many trials there will be; None if that is not known.
        seconds: how long the run may take; infinite if there is no limit.
    """

    def __init__(self, name: str, study: Study, total: int | None, seconds: float) -> None:
        self._name = name
        self._study = study
        self._volume = FrontVolume(study)
        self._total = total
        self._seconds = seconds
        self._bar: Any = None
        self._next = 0.0
        self._end = 0.0
        self._handlers: list[logging.Handler] = []
        in_forked(self, Progress._leave_to_parent)

    def __enter__(self) -> Self:
        if _is_terminal(sys.stderr):
            self._or_leave(self._begin)
        return self

    def _begin(self) -> None:
        from tqdm import tqdm

        # no watching thread, as the run says when to draw; and nothing drawn when it is let go, which might fail
        line = type("Line", (tqdm,), {"monitor_interval": 0, "__del__": lambda bar: None})
        self._bar = line(
            desc=self._name, total=self._total, initial=self._done(), ncols=_columns(), nrows=_ROWS,
            leave=True, file=sys.stderr, bar_format=_WITHOUT if self._total is None else _WITH_TOTAL,
        )  # fmt: skip
        self._bar._time = time.monotonic  # in the place of a clock that may be set
        self._bar.start_t = time.monotonic()
        self._end = time.monotonic() + self._seconds
        self._handlers = [handler for handler in _handlers() if _is_terminal(getattr(handler, "stream", None))]
        for handler in self._handlers:
            handler.addFilter(self._make_way)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handler in self._handlers:
            handler.removeFilter(self._make_way)
        if self._bar is not None:
            self._or_leave(self._finish)
        self._bar = None

    def _or_leave(self, draw: Callable[[], None]) -> None:
        """Draw, or give the line up if that can't be done."""
        try:
            draw()
        except Exception:  # what stands in the place of stderr may raise anything
            self._bar = None

    def _finish(self) -> None:
        self._draw(is_last=True)
        self._bar.close()

    def _leave_to_parent(self) -> None:
        """In a process that was forked off: the line is not its own, and the lock that tqdm draws with may be taken."""
        self._bar = None

    def update(self) -> None:
        """Draw the line anew, if it was not drawn just now."""
        if self._bar is not None and (now := time.monotonic()) >= self._next:
            self._next = now + _INTERVAL
            self._or_leave(self._draw)

    def _done(self) -> int:
        counts = self._study.counts
        finished = counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] + counts[TrialState.FAILED]
        return finished + counts[TrialState.PAUSED]

    def _draw(self, is_last: bool = False) -> None:
        self._bar.ncols = _columns()
        self._bar.n = self._done()
        self._bar.set_postfix_str(self._postfix(is_last), refresh=False)
        self._bar.refresh()

    def _postfix(self, is_last: bool) -> str:
        counts, best = self._study.counts, self._study.table.best_number
        parts = [f"{counts[TrialState.PRUNED]} pruned", f"{counts[TrialState.FAILED]} failed"]
        if len(self._study.table.segments):
            parts.insert(0, f"{counts[TrialState.COMPLETE]} to the end")
        if self._study.table.objectives.count > 1:
            parts.append(f"front of {len(self._study.best_trials)}")
            if (volume := self._volume.now(at_once=is_last)) is not None:
                parts.append(f"hypervolume {volume:.5g}")
        else:
            parts.append("no best yet" if best is None else f"best {self._study.table.values[best]:.5g}")
        drawn = self._bar.format_dict
        if drawn["n"] > drawn["initial"] and drawn["elapsed"] > 0:
            rate = (drawn["n"] - drawn["initial"]) / drawn["elapsed"]
            parts.append(f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each")
        if self._seconds < math.inf:
            left = max(0.0, self._end - time.monotonic())
            parts.append(f"at most {self._bar.format_interval(left)}{' left' if self._total is None else ''}")
        return ", ".join(parts)

    def _make_way(self, record: logging.LogRecord) -> bool:
        """A filter that lets every record pass, on a line cleared for it; the next drawing brings the line back."""
        if self._bar is not None:
            self._or_leave(self._bar.clear)
            self._next = 0.0
        return True


def _handlers() -> list[logging.Handler]:
    """The handlers that fasthpo's records may reach."""
    found = [*logging.getLogger("fasthpo").handlers, *logging.getLogger().handlers]
    return [*found, logging.lastResort] if logging.lastResort is not None else found


def _columns() -> int:
    """The terminal's width; some that tell none say 0, at which tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except Exception:  # something else than a file
        return _COLUMNS


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # it is closed, None, or something else than a file
        return False
