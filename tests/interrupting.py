"""Breaking calls off between any two of their steps.

Steps are the bytecode instructions of all Python functions that a call runs in this thread, but for those of the
standard library that take a lock in one step and note it in the next: a call that is broken off between the two leaves
a lock which no later test gets.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_LEFT_OUT = (threading.__file__, logging.__file__)


class Interrupted(BaseException):
    """What a call is broken off with."""


def broken_off(call: Callable[[], Any], step: int, error: type[BaseException] = Interrupted) -> bool:
    """Make a call and raise an error in it before its step number `step`; whether it came that far."""

    def stop() -> None:
        raise error

    try:
        _with_steps(call, step, stop)
    except error:
        return True
    return False


def counted(call: Callable[[], Any]) -> int:
    """Make a call; how many steps it has."""
    return _with_steps(call)


def handled(call: Callable[[], Any], step: int, handler: Callable[[], Any]) -> bool:
    """Make a call and another one in the middle of it, as a signal handler does that returns; whether it came so far."""
    return _with_steps(call, step, handler) >= step


def _with_steps(call: Callable[[], Any], step: int = -1, then: Callable[[], Any] = lambda: None) -> int:
    """Make a call and another one before its step number `step`; how many steps it has."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        if frame.f_code.co_filename in _LEFT_OUT:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            steps += 1
            if steps == step:
                then()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps
