"""Breaking calls off between any two of their steps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """What a call is broken off with."""


def broken_off(call: Callable[[], Any], step: int, error: type[BaseException] = Interrupted) -> bool:
    """Make a call and raise an error in it before the bytecode instruction number `step`; whether it came that far.

    Instructions are counted in all Python functions that the call runs in this thread, but for those of `threading`,
    which would be left with a lock that no later thread gets: signals do not come there.
    """
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename == threading.__file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            left -= 1
            if left == 0:
                raise error
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except error:
        return True
    finally:
        sys.settrace(before)
    return False


def counted(call: Callable[[], Any]) -> int:
    """Make a call; how many steps it has."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        if frame.f_code.co_filename == threading.__file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps


def handled(call: Callable[[], Any], step: int, handler: Callable[[], Any]) -> bool:
    """Make a call and another one in the middle of it, as a signal handler does that returns; whether it came so far."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename == threading.__file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            left -= 1
            if left == 0:
                handler()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left <= 0
