"""What a study says while it runs: a line a trial on standard error, as Optuna's, unless verbosity is lower."""

from __future__ import annotations

import logging
import sys
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


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error then, which tests and notebooks replace."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        if self.stream is not None:
            super().emit(record)


_handler = _Stderr()
_handler.setFormatter(logging.Formatter("[%(levelname).1s %(asctime)s] %(message)s"))
_logger = logging.getLogger(_NAME)
_logger.addHandler(_handler)
_logger.setLevel(logging.INFO)
_logger.propagate = False


def get_logger(name: str = "optuna") -> logging.Logger:
    """The logger of studies, whatever part of Optuna is named."""
    return _logger


def get_verbosity() -> int:
    """The lowest level that is written."""
    return _logger.getEffectiveLevel()


def set_verbosity(verbosity: int) -> None:
    """Write nothing below this level."""
    _logger.setLevel(verbosity)


def disable_default_handler() -> None:
    """Write nothing to standard error."""
    _logger.removeHandler(_handler)


def enable_default_handler() -> None:
    """Write to standard error again."""
    _logger.addHandler(_handler)


def disable_propagation() -> None:
    """Hand nothing on to the root logger, as it is from the beginning."""
    _logger.propagate = False


def enable_propagation() -> None:
    """Hand everything on to the root logger, too."""
    _logger.propagate = True
