"""What a study says while it runs: a line a trial on standard error, as Optuna's, unless verbosity is lower."""

from __future__ import annotations

import logging
import sys
import threading
from logging import CRITICAL, DEBUG, ERROR, FATAL, INFO, WARN, WARNING

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "FATAL",
    "INFO",
    "WARN",
    "WARNING",
    "disable_default_handler",
    "disable_propagation",
    "enable_default_handler",
    "enable_propagation",
    "get_logger",
    "get_verbosity",
    "set_verbosity",
]

_NAME = "fasthpo.compat.optuna"
_lock = threading.Lock()
_handler: logging.Handler | None = None


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error then, which tests and notebooks replace."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        if self.stream is not None:
            super().emit(record)


def _set_up() -> logging.Logger:
    global _handler
    found = logging.getLogger(_NAME)
    with _lock:
        if _handler is None:
            _handler = _Stderr()
            _handler.setFormatter(logging.Formatter("[%(levelname).1s %(asctime)s] %(message)s"))
            found.addHandler(_handler)
            found.setLevel(logging.INFO)
            found.propagate = False
    return found


def get_logger(name: str = "optuna") -> logging.Logger:
    """The logger of studies, whatever part of Optuna is named."""
    return _set_up()


def get_verbosity() -> int:
    """The lowest level that is written."""
    return _set_up().getEffectiveLevel()


def set_verbosity(verbosity: int) -> None:
    """Write nothing below this level."""
    _set_up().setLevel(verbosity)


def disable_default_handler() -> None:
    """Write nothing to standard error."""
    found = _set_up()
    assert _handler is not None
    found.removeHandler(_handler)


def enable_default_handler() -> None:
    """Write to standard error again."""
    found = _set_up()
    assert _handler is not None
    found.addHandler(_handler)


def disable_propagation() -> None:
    """Hand nothing on to the root logger, as it is from the beginning."""
    _set_up().propagate = False


def enable_propagation() -> None:
    """Hand everything on to the root logger, too."""
    _set_up().propagate = True
