"""Ctrl-C: it may break off an objective, but not the writing of a result into the study."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While entered, Ctrl-C raises `KeyboardInterrupt` between `allow()` and `hold()`, and else waits for `allow()`.

    A second Ctrl-C while one is waiting is raised at once, so that a program that hangs can always be ended.
    After `count_first(n, wake)` the first n are counted only, for trials that run elsewhere to be ended in good order.
    Only the main thread gets signals, and a handler of the user's own is left alone: then this does nothing.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.count = 0  #: how often Ctrl-C was pressed
        self._counted = 0
        self._wake: Callable[[], None] = lambda: None
        self._allowed = False
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def count_first(self, n: int, wake: Callable[[], None]) -> None:
        """Have the first `n` counted and nothing raised; `wake` is called for each of them."""
        self._counted = n
        self._wake = wake

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count <= self._counted:
            self._wake()
            return
        if self._allowed or self.waiting or self._counted:
            self._allowed = False  # what follows is cleaning up
            raise KeyboardInterrupt
        self.waiting = True

    def allow(self) -> None:
        """From here on Ctrl-C is raised; one that came before is raised now."""
        self._allowed = True
        if self.waiting:
            self.waiting = self._allowed = False
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From here on Ctrl-C has to wait."""
        self._allowed = False
