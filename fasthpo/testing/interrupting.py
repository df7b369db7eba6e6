"""Counting what a call does, and breaking it off in the middle, as Ctrl-C does."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any

# a lock is taken in one step here and noted in the next: between the two it would stay taken for ever
_LEFT_OUT = (threading.__file__, logging.__file__)


def count_instructions(call: Callable[[], Any]) -> int:
    """Make a call; how many instructions of Python it runs, compiled functions not counted."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    _with_trace(call, trace)
    return count


def count_lines(call: Callable[[], Any], part: object, methods: Sequence[str]) -> int:
    """Make a call; how many lines of Python it runs within methods of a part."""
    return _with_lines(call, part, methods, -1)


def break_off(call: Callable[[], Any], part: object, methods: Sequence[str], line: int) -> bool:
    """Make a call and raise KeyboardInterrupt before the given one of the lines that it runs within methods of a part.

    Returns:
        Whether it was broken off.
    """
    try:
        _with_lines(call, part, methods, line)
    except KeyboardInterrupt:
        return True
    return False


def _with_lines(call: Callable[[], Any], part: object, methods: Sequence[str], stop: int) -> int:
    functions = [getattr(type(part), method, None) for method in methods]
    codes = [getattr(function, "__code__", None) for function in functions]
    watched: set[CodeType] = {code for code in codes if code is not None}
    count = depth = 0

    def within(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count, depth
        if event == "line":
            count += 1
            if count == stop:
                raise KeyboardInterrupt
        elif event == "return" and frame.f_code in watched:
            depth -= 1
        return within

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal depth
        if frame.f_code.co_filename in _LEFT_OUT:
            return None
        if frame.f_code in watched:
            depth += 1
        return within if depth else None

    _with_trace(call, trace)
    return count


def _with_trace(call: Callable[[], Any], trace: Callable[[FrameType, str, Any], Any]) -> None:
    before = sys.gettrace()  # a debugger's, or a coverage tool's
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
