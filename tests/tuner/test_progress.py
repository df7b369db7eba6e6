"""The progress line: what it says, when it is drawn, and that it is silent elsewhere."""

from __future__ import annotations

import gc
import io
import logging
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fasthpo.samplers.random import RandomSampler
from fasthpo.space.kinds import Continuous
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.tuner import progress as module
from fasthpo.tuner.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    # not sys.stderr itself, which pytest sets anew before the test
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    return screen


def shown(screen: Terminal) -> str:
    """The line as it stands now."""
    return re.split(r"[\r\n]", screen.getvalue().rstrip())[-1]


def make_study() -> Study:
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    for _ in range(5):
        study.tell(study.ask(), 2.0)
    study.tell(study.ask(), 0.125)
    study.tell(study.ask(), state=TrialState.FAILED)
    trial = study.ask()
    trial.report(1.0, 0)
    study.tell(trial, state=TrialState.PRUNED)
    return study


def test_the_line_says_how_the_study_stands(terminal: Terminal) -> None:
    study = make_study()
    with Progress("my_study", study, 10, float("inf")) as progress:
        study.tell(study.ask(), 3.0)
        time.sleep(0.01)  # so that there is a rate
        progress.update()
        line = shown(terminal)
    expected = r"my_study: 9/10 trials, 1 pruned, 1 failed, best 0\.125, \d+(\.\d)?/s, 00:00 left"
    assert re.fullmatch(expected, line), line
    assert len(line) < 80


def test_slow_trials_are_given_in_seconds(terminal: Terminal) -> None:
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    with Progress("s", study, 10, float("inf")) as progress:
        for _ in range(2):
            study.tell(study.ask(), 1.0)
        progress._bar.start_t -= 100
        progress.update()
        line = shown(terminal)
    assert line == "s: 2/10 trials, 0 pruned, 0 failed, best 1, 50 s each, 06:40 left"


def test_without_a_total_there_is_the_time_limit(terminal: Terminal) -> None:
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    with Progress("s", study, None, 3600.0) as progress:
        progress.update()
        line = shown(terminal)
    assert line == "s: 0 trials, 0 pruned, 0 failed, no best yet, at most 59:59 left"


def test_the_last_line_is_up_to_date(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 1e9)
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    with Progress("s", study, 3, float("inf")) as progress:
        for _ in range(3):
            study.tell(study.ask(), 1.0)
            progress.update()
    assert shown(terminal).startswith("s: 3/3 trials")


def test_drawing_is_throttled(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.1)
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    drawn = 0
    draw = Progress._draw

    def counting(self: Progress) -> None:
        nonlocal drawn
        drawn += 1
        draw(self)

    monkeypatch.setattr(Progress, "_draw", counting)
    study = make_study()
    with Progress("s", study, 100, float("inf")) as progress:
        for _ in range(1000):  # one second
            now += 0.001
            progress.update()
        assert 9 <= drawn <= 11


def test_log_records_get_a_line_of_their_own(terminal: Terminal) -> None:
    study = make_study()
    logger, handler = logging.getLogger("fasthpo"), logging.StreamHandler(terminal)
    elsewhere = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    logger.addHandler(elsewhere)
    try:
        with Progress("s", study, 10, float("inf")) as progress:
            progress.update()
            logger.warning("trial 3 failed")
            assert handler.filters and not elsewhere.filters
            progress.update()
        assert not handler.filters
    finally:
        logger.removeHandler(handler)
        logger.removeHandler(elsewhere)
    text = terminal.getvalue()
    before = text[: text.index("trial 3 failed\n")]
    assert before.endswith("\r") and before.rstrip("\r").endswith(" ")  # blanked, and back at the line's beginning
    assert text[text.index("trial 3 failed\n") :].count("s: 8/10 trials") >= 1


def test_no_thread_is_started(terminal: Terminal) -> None:
    import threading

    before = set(threading.enumerate())
    with Progress("s", make_study(), 10, float("inf")):
        assert set(threading.enumerate()) == before


def test_silent_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study()
    screen = io.StringIO()
    for stderr in (screen, None):  # None: a program without a console on Windows
        monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=stderr))
        with Progress("s", study, 10, float("inf")) as progress:
            progress.update()
    assert screen.getvalue() == ""


class Unwritable(Terminal):
    """A terminal to which the first `intact` calls of write succeed, if it is a stream at all."""

    def __init__(self, intact: int) -> None:
        super().__init__()
        self.intact = intact

    def write(self, text: str) -> int:
        self.intact -= 1
        if self.intact < 0:
            raise RuntimeError("no")
        return super().write(text)


@pytest.mark.parametrize("intact", [0, 1, 2, 3, 5, 8, 100])
def test_a_terminal_that_can_no_longer_be_written_to_ends_the_line_only(
    intact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Unwritable(intact)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(module, "_INTERVAL", 0.0)
    study, handler = make_study(), logging.StreamHandler(screen)
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    logger = logging.getLogger("fasthpo")
    logger.addHandler(handler)
    try:
        with Progress("s", study, 10, float("inf")) as progress:
            for _ in range(3):
                progress.update()
                logger.warning("trial 3 failed")
        assert not handler.filters
    finally:
        logger.removeHandler(handler)
    gc.collect()  # nothing is drawn when the line is let go


class Odd:
    """No stream at all."""

    def __init__(self, isatty: Any) -> None:
        self.isatty = isatty


def raising() -> bool:
    raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stderr", [object(), 3, Odd(None), Odd(raising), Odd(lambda: False), Odd(lambda: True)])
def test_no_line_on_what_is_no_terminal(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=stderr))
    with Progress("s", make_study(), 10, float("inf")) as progress:
        progress.update()
        assert progress._bar is None


def test_a_terminal_that_is_closed_in_the_run(terminal: Terminal) -> None:
    with Progress("s", make_study(), 10, float("inf")) as progress:
        terminal.close()
        progress.update()


def test_the_time_left_does_not_follow_a_clock_that_is_set(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    with Progress("s", study, 10, float("inf")) as progress:
        for _ in range(2):
            study.tell(study.ask(), 1.0)
        now += 100.0
        monkeypatch.setattr("time.time", lambda: 1e9)
        progress.update()
        assert shown(terminal) == "s: 2/10 trials, 0 pruned, 0 failed, best 1, 50 s each, 06:40 left"


def test_tqdm_is_not_imported_where_there_is_no_terminal() -> None:
    code = """
import sys
from fasthpo.tuner.progress import Progress
from fasthpo.samplers.random import RandomSampler
from fasthpo.study.study import Study
from fasthpo.space.kinds import Continuous
with Progress("s", Study({"x": Continuous(0, 1)}, sampler=RandomSampler()).table, 1, 1.0) as progress:
    progress.update()
sys.exit("tqdm" in sys.modules)
"""
    done: Any = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
