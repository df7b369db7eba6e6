"""A process that user code forks off is its own: it ends where that code does, and touches nothing of the run's."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType


class forks_end:  # noqa: N801  (called as a function is)
    """A process that is forked off in the block, and gets to its end, ends there, with an exit code as Python's own.

    Else it would go on with a run that is its parent's. It runs no `atexit` functions or finalizers, which are to
    remove what the parent still needs.
    """

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            _end(error)


def _end(raised: BaseException | None) -> None:
    code = 0
    try:
        if isinstance(raised, SystemExit):
            if raised.code is None or isinstance(raised.code, int):
                code = raised.code or 0
            else:
                print(raised.code, file=sys.stderr)
                code = 1
        elif raised is not None:
            code = 1
            sys.excepthook(type(raised), raised, raised.__traceback__)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(code & 0xFF)
