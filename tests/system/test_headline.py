"""The line that stands for an error."""

from __future__ import annotations

import multiprocessing
import re
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from fasthpo.execution import attempt
from fasthpo.execution.objective import traceback_text
from fasthpo.system.headline import headline, headline_of, without_numbers


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Placed(Exception):
    pass


Placed.__module__, Placed.__qualname__ = "some.library", "Placed"


def fail(error: BaseException) -> Callable[[], Any]:
    def failing() -> None:
        raise error

    return failing


def noted() -> None:
    error = ValueError("the batch is empty")
    error.add_note("see the manual\nValueError: of the note")
    raise error


def caused() -> None:
    try:
        {}["a"]
    except KeyError as missing:
        raise RuntimeError("no such thing") from missing


def meanwhile() -> None:
    try:
        {}["a"]
    except KeyError:
        raise RuntimeError("while that was dealt with")  # noqa: B904


def grouped() -> None:
    raise ExceptionGroup("two of them", [ValueError("a"), ExceptionGroup("inside", [KeyError("b")])])


def grouped_from_another() -> None:
    try:
        noted()
    except ValueError as empty:
        raise ExceptionGroup("several\nlines", [ValueError("a")]) from empty


def in_another_process() -> None:
    """As torch.multiprocessing.spawn says it."""
    try:
        caused()
    except RuntimeError:
        raise RuntimeError(f"\n\n-- Process 0 terminated with the following error:\n{traceback.format_exc()}") from None


def in_a_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(int, "zz").result()


RAY = '\x1b[36mray::f()\x1b[39m (pid=2, ip=1.2.3.4)\n  File "/x/y.py", line 7, in f\n    raise ValueError("bad")\nValueError: bad'
LINES = {
    "plain": (fail(ValueError("the batch is empty")), "ValueError: the batch is empty"),
    "of a library": (fail(Placed("m")), "some.library.Placed: m"),
    "several lines": (fail(ValueError("differ:\n  (3,)\n\n  (4,)")), "ValueError: differ: (3,) (4,)"),
    "a first line that is empty": (fail(AssertionError("\nNot equal\n\nto")), "AssertionError: Not equal to"),
    "no message": (fail(ValueError()), "ValueError"),
    "no message that can be read": (fail(Unsayable()), f"{__name__}.Unsayable: <exception str() failed>"),
    "a key": (lambda: {}["a"], "KeyError: 'a'"),
    "a key of several lines": (lambda: {}["a\nb"], r"KeyError: 'a\nb'"),
    "syntax": (lambda: eval("1 +"), "SyntaxError: invalid syntax (<string>, line 1)"),
    "exit": (lambda: sys.exit(3), "SystemExit: 3"),
    "a note": (noted, "ValueError: the batch is empty"),
    "a cause": (caused, "RuntimeError: no such thing"),
    "a context": (meanwhile, "RuntimeError: while that was dealt with"),
    "a group": (grouped, "ExceptionGroup: two of them (2 sub-exceptions)"),
    "a group with a cause": (grouped_from_another, "ExceptionGroup: several lines (1 sub-exception)"),
    "a traceback in the message": (
        in_another_process,
        "RuntimeError: -- Process 0 terminated with the following error: KeyError: 'a' The above exception was the "
        "direct cause of the following exception: RuntimeError: no such thing",
    ),
    "a pool's": (in_a_pool, "ValueError: invalid literal for int() with base 10: 'zz'"),
    "as Ray has it": (fail(RuntimeError(RAY)), "RuntimeError: ray::f() (pid=2, ip=1.2.3.4) ValueError: bad"),
    "not to be printed": (fail(ValueError("a\x00\udcff\rb")), "ValueError: a?? b"),
    "frames only": (fail(ValueError('\n  File "x", line 3\n    code')), 'ValueError: File "x", line 3 code'),
    "the beginning of a traceback": (
        fail(ValueError("Traceback (most recent call last):\n  none")),
        "ValueError: Traceback (most recent call last): none",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_an_exceptions_type_and_message_are_found_again_in_its_traceback(name: str) -> None:
    failing, expected = LINES[name]
    with pytest.raises(BaseException) as caught:
        failing()
    text = traceback_text(caught.value)
    assert headline(text) == headline_of(caught.value) == expected
    whole = "".join(traceback.format_exception(caught.value)).rstrip()
    assert text.rstrip().splitlines()[-1] == whole.splitlines()[-1]  # nothing is lost at its end


def test_a_long_message_is_cut_in_the_line_only() -> None:
    for message in ("x" * 10**6, "word\n" * 10**5):
        text = traceback_text(ValueError(message))
        line = headline(text)
        assert line.startswith(f"ValueError: {message[:4]}") and line.endswith(" ...") and len(line) == 300
        assert message.strip() in text


def test_the_peak_of_gpu_memory_is_not_in_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "peak_gpu_memory", lambda: 2**31)
    with pytest.raises(RuntimeError) as caught:
        fail(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))()
    ended = attempt.failed(0, caught.value)
    assert headline(ended.error) == "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB"
    assert ended.error.endswith("Its peak was 2.00 GiB of GPU memory.")


def test_a_traceback_that_cant_be_shown_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> list[str]:
        raise TypeError("unorderable names")

    monkeypatch.setattr("fasthpo.execution.objective.traceback", SimpleNamespace(format_exception=failing))
    text = traceback_text(ValueError("the batch is empty"))
    assert headline(text) == "ValueError: the batch is empty" and "TypeError: unorderable names" in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("the batch does not fit", "the batch does not fit"),
        ("diverged:\nloss is 7", "diverged: loss is 7"),
        ("the worker said:\nTraceback (most recent call last):\n  File \"x\", line 1\nValueError: bad", "the worker said: ValueError: bad"),
        ("diverged\n\nTraceback (most recent call last):\n  File \"x\", line 1\nValueError: bad", "diverged"),
    ],
)  # fmt: skip
def test_a_reason_that_an_objective_gave(text: str, line: str) -> None:
    assert headline(text) == line


def test_lines_that_differ_in_numbers_only() -> None:
    lines = ["step 3 at 0x7f2a: -1.5e-3 of 10", "step 44 at 0x11: 2 of 9"]
    assert len({without_numbers(line) for line in lines}) == 1
    assert without_numbers("step a") != without_numbers("step b")
    assert re.search(r"\d", without_numbers("7")) is not None
