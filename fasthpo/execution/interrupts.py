"""Ctrl-C and other signals: they may break off an objective, but not the writing of a result into the study."""

from __future__ import annotations

import functools
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from inspect import CO_VARARGS
from itertools import pairwise
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

# those that ask a program to end, where there are such; of others, an exception of the handler's may be about the
# objective: a timeout's SIGALRM, or torch's SIGCHLD, which says that a data loader has died
_ENDING = frozenset(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
)

_entered: list[
    Interrupts
] = []  # of runs in the main thread; each but the first is called by an objective or a callback


class Interrupts:
    """While entered, Ctrl-C raises `KeyboardInterrupt` between `allow()` and `hold()`, and else waits for `allow()`.

    A second Ctrl-C while one is waiting is raised at once, so that a program that hangs can always be ended.
    After `count_first(n, wake)` the first n are counted only, for trials that run elsewhere to be ended in good order.
    Only the main thread gets signals, and a handler of the user's own is left alone: then this does nothing.
    A run inside another one passes a Ctrl-C on to that when it has ended, see `pass_on`.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.count = 0  #: how often Ctrl-C was pressed
        self._counted = 0
        self._wake: Callable[[], None] = lambda: None
        self._allowed = False
        self._before: Any = None  # the handler that was there, if it was replaced
        self.handlers: list[tuple[int, CodeType]] = []  #: those of the user's that were there, see `_handlers`

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.handlers = _handlers()
            before = signal.getsignal(signal.SIGINT)
            if before is signal.default_int_handler or (_entered and before == _entered[-1]._handle):
                signal.signal(signal.SIGINT, self._handle)
                self._before = before
            _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if _entered and _entered[-1] is self:
            _entered.pop()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def count_first(self, n: int, wake: Callable[[], None]) -> None:
        """Have the first `n` counted and nothing raised; `wake` is called for each of them."""
        self._counted = n
        self._wake = wake

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_due():
            raise KeyboardInterrupt

    def _is_due(self) -> bool:
        """Take note of one more Ctrl-C; whether it is to be raised now."""
        self.count += 1
        if self.count <= self._counted:
            self._wake()
            return False
        if self._allowed or self.waiting or self._counted:
            self._allowed = False  # what follows is cleaning up
            return True
        self.waiting = True
        return False

    def allow(self) -> None:
        """From here on Ctrl-C is raised; one that came before is raised now."""
        self._allowed = True
        if self.waiting:
            self.waiting = self._allowed = False
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From here on Ctrl-C has to wait."""
        self._allowed = False

    @staticmethod
    def pass_on(at_once: bool) -> None:
        """The run that was left last has ended by Ctrl-C: so does the one around it, if there is one.

        Args:
            at_once: whether it may be raised here, where the objective of the outer run is running.
        """
        if _entered and threading.current_thread() is threading.main_thread():
            outer = _entered[-1]
            if outer._is_due():
                if at_once:
                    raise KeyboardInterrupt
                outer.waiting = True


# --- signal handlers of the user's own


def interruption_behind(raised: BaseException, handled: BaseException | None = None) -> BaseException | None:
    """What has interrupted the code that an exception comes from, if it is that, or was raised because of that.

    That is `KeyboardInterrupt`, or what a signal handler has raised to end the program: anything but an `Exception`,
    such as `SystemExit`, or any exception from a handler of a signal that asks a program to end.

    Args:
        handled: an exception that was being dealt with when that code was called.
    """
    if threading.current_thread() is not threading.main_thread():
        return None  # where no signal arrives
    known: dict[CodeType, set[int]] = {}
    for handlers in (_handlers(), *(one.handlers for one in _entered)):  # one may have been reset by itself
        for number, code in handlers:
            known.setdefault(code, set()).add(number)
    for one in _chain(raised, handled):
        if isinstance(one, KeyboardInterrupt):
            return one
        interrupted: FrameType | None = None
        for frame, _ in traceback.walk_tb(one.__traceback__):
            numbers = _handles(frame, interrupted, known)
            if numbers and (not isinstance(one, Exception) or numbers & _ENDING):
                return one
            interrupted = frame
    return None


def _handles(frame: FrameType, interrupted: FrameType | None, known: Mapping[CodeType, set[int]]) -> set[int]:
    """The signals of which a frame may be a handler's: it is called with the signal and the frame that it interrupts.

    A function that is a handler may be called by anyone; where it has deleted what it was called with, it counts.
    """
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount]
    arguments = [frame.f_locals[name] for name in names if name in frame.f_locals]
    deleted = len(arguments) < len(names)
    if code.co_flags & CO_VARARGS:
        arguments += frame.f_locals.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    for number, argument in pairwise(arguments):
        if argument is interrupted is not None and isinstance(number, int):
            return {number}
    return known.get(code, set()) if deleted else set()


def _handlers() -> list[tuple[int, CodeType]]:
    """The signals that have a handler in Python, and its code."""
    found = [(number, _code(signal.getsignal(number))) for number in signal.valid_signals()]
    return [(number, code) for number, code in found if code is not None]


def _chain(raised: BaseException, until: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was raised because of."""
    seen: set[int] = set()
    one: BaseException | None = raised
    while one is not None and one is not until and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _code(handler: Any) -> CodeType | None:
    """The code that runs when a handler is called; None if that is not Python's."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):  # such as SIG_DFL
        return None
    function = getattr(handler, "__func__", handler)  # of a method
    if not hasattr(function, "__code__"):
        function = vars(type(handler)).get("__call__")  # of an object with a method of that name
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
