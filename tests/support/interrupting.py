"""Breaking calls off between any two of their steps, and the calls that are.

Steps are the bytecode instructions of all Python functions that a call runs in this thread, but for those of the
standard library that take a lock in one step and note it in the next: a call that is broken off between the two leaves
a lock which no later test gets.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import fasthpo
from fasthpo import Study, TrialState

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

    with_trace(trace, call)
    return steps


def with_trace(trace: Any, call: Callable[[], Any]) -> None:
    """Make a call with a trace function, which may raise, in a generator.

    An error between the steps of an `except` clause's end, where no signal comes, leaves the exception that the clause
    handles for the context of all later ones. A generator has its own, which ends with it.
    """

    def run() -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
        yield

    next(run())


def traced(call: Callable[[], Any]) -> set[str]:
    """The modules of fasthpo of which a call runs something, by their names."""
    root = Path(fasthpo.__file__).resolve().parent
    files: set[str] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        files.add(frame.f_code.co_filename)

    with_trace(trace, call)
    paths = [Path(file).resolve() for file in files]
    return {path.relative_to(root).with_suffix("").as_posix() for path in paths if path.is_relative_to(root)}


# --- the calls

Prepare = Callable[[Study], Any]
Call = Callable[[Study, Any], Any]


def prepared_report(study: Study) -> int:
    trial = study.ask()
    for step in range(2):
        trial.report(trial["x"] + step, step)
    return trial.number


def _enqueued(study: Study) -> None:
    study.enqueue({"n": 3, "c": "a"})


def _known(study: Study, _: None) -> None:
    points = [study.space.decode(row) for row in study.table.params[:, :2].T]
    study.add_trials({name: [point.get(name) for point in points] for name in study.space}, [0.25, math.nan])


CALLS: dict[str, tuple[Prepare, Call]] = {
    "ask": (lambda study: None, lambda study, _: study.ask()),
    "ask-enqueued": (_enqueued, lambda study, _: study.ask()),
    "ask_batch": (_enqueued, lambda study, _: study.ask_batch(3)),
    "enqueue": (lambda study: None, lambda study, _: _enqueued(study)),
    "report": (prepared_report, lambda study, number: study.report(number, 0.5, 2)),
    "should_prune": (prepared_report, lambda study, number: study.should_prune(number)),
    "tell": (prepared_report, lambda study, number: study.tell(number, 0.5, metrics={"m": 1.0})),
    "tell-pruned": (prepared_report, lambda study, number: study.tell(number, state=TrialState.PRUNED)),
    "tell-failed": (prepared_report, lambda study, number: study.tell(number, math.nan)),
    "tell_batch": (
        lambda study: study.ask_batch(3).numbers,
        lambda study, numbers: study.tell_batch(numbers, [0.5, math.nan, math.inf][: len(numbers)]),
    ),
    "add_trials": (lambda study: None, _known),
    "set_attribute": (lambda study: None, lambda study, _: study.set_attribute("a", len(study))),
}


def _asked(study: Study) -> int:
    return study.ask().number


def _values(study: Study, count: int) -> Any:
    return [[0.5, 2.0 * i, -1.0][: len(study.directions)] if len(study.directions) > 1 else 0.5 for i in range(count)]


_CONSTRAINTS = [[0.5, -1.0], [math.nan, math.nan], [-1.0, -1.0]]


def _known_vectors(study: Study, _: None) -> None:
    points = [study.space.decode(study.table.params[:, 0])] * 3
    columns = {name: [point.get(name) for point in points] for name in study.space}
    study.add_trials(columns, _values(study, 3), constraints=_CONSTRAINTS)


# calls that tell values and constraints, of studies of several objectives, or of one
CALLS_WITH_VECTORS: dict[str, tuple[Prepare, Call]] = {
    "tell": (_asked, lambda study, number: study.tell(number, _values(study, 1)[0], constraints=[1.0, -1.0])),
    "tell-failed": (_asked, lambda study, number: study.tell(number, state=TrialState.FAILED, constraints=[1.0, 2.0])),
    "report": (_asked, lambda study, number: study.report(number, _values(study, 1)[0], 7)),
    "tell_batch": (
        lambda study: study.ask_batch(3).numbers,
        lambda study, numbers: study.tell_batch(numbers, _values(study, 3), constraints=_CONSTRAINTS),
    ),
    "add_trials": (lambda study: None, _known_vectors),
    "best_trials": (lambda study: None, lambda study, _: len(study.best_trials)),
}


def finish(study: Study) -> None:
    """No trial runs or waits any more, so that histories stay short."""
    while study.table.counts[TrialState.WAITING]:
        study.ask()
    for number in study.table.running.tolist():
        if len(study.directions) > 1:
            study.tell(number, [number % 7 / 7] * len(study.directions))
        else:
            study.report(number, 1.0, 5)
            study.tell(number, number % 7 / 7)
