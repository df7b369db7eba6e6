"""fasthpo's log. A run goes on whatever becomes of a record, and what goes wrong many times is not said as often."""

from __future__ import annotations

import contextlib
import logging
import threading
from types import TracebackType
from typing import Any, Self

from fasthpo.system.forked import renew_in_forked
from fasthpo.system.headline import without_numbers

_MOST = 1000  # kinds of warnings that are told apart


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """The logger "fasthpo". What a handler raises ends here, such as that of a standard error which is closed."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        with contextlib.suppress(Exception):
            counting = _counting[-1:] if level == logging.WARNING else []
            if not any(one.is_repeated(str(msg) % args if args else str(msg)) for one in counting):
                kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
                super().log(level, msg, *args, **kwargs)


class RepeatedWarnings(contextlib.ContextDecorator):
    """While entered, warnings that are equal but for numbers are said once, and in the end how many more there were.

    At the level DEBUG every one is said.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renew_in_forked(self, _lock=threading.Lock)
        self._first: dict[str, str] = {}  # the first warning of each kind
        self._more: dict[str, int] = {}  # how many came after it

    def __enter__(self) -> Self:
        _counting.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _counting.remove(self)
        self._say_how_many()

    def is_repeated(self, warning: str) -> bool:
        """Whether such a warning was said before."""
        if logger.isEnabledFor(logging.DEBUG):
            return False
        kind = without_numbers(warning)
        with self._lock:
            if kind in self._first:
                self._more[kind] = self._more.get(kind, 0) + 1
                return True
            if len(self._first) < _MOST:
                self._first[kind] = warning
                return False
        self._say_how_many()  # and begin anew, so that this does not grow for ever
        return False

    def _say_how_many(self) -> None:
        with self._lock:
            first, more = self._first, self._more
            self._first, self._more = {}, {}
        with contextlib.suppress(Exception):
            for kind, times in sorted(more.items(), key=lambda found: -found[1]):
                text = "%d more like this one: %s"
                logger.logger.warning(text, times, first[kind])


logger = _Logger(logging.getLogger("fasthpo"), {})
_counting: list[RepeatedWarnings] = []  # of the runs that are going on, the latest last
