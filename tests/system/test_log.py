"""The log of a run: it ends no run, and says once what happens many times."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fasthpo.space.kinds import Continuous
from fasthpo.system.log import RepeatedWarnings, logger
from fasthpo.trials.trial import Trial
from fasthpo.tuner.callbacks import LoggingCallback
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.tuner import HyperparameterTuner

SPACE = {"x": Continuous(0.0, 1.0)}


def tuner(n: int, **config: Any) -> HyperparameterTuner:
    config = {"max_initial_failures": None, **config}
    return HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=n, seed=0, **config), SPACE)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class Wild(logging.Handler):
    """As a stream handler is whose stream is closed, as well as the standard error where it would say so."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("I/O operation on closed file")


@pytest.fixture
def wild() -> Iterator[None]:
    handler = Wild()
    logging.getLogger("fasthpo").addHandler(handler)
    yield
    logging.getLogger("fasthpo").removeHandler(handler)


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_a_handler_that_raises_ends_no_run_and_fails_no_trial(wild: None, backend: str) -> None:
    def objective(trial: Trial) -> Any:
        trial.report(1.0, 0)
        trial.report(2.0, 0)  # of which the log tells
        if trial.number == 1:
            raise ValueError("the batch is empty")
        return {"loss": 1.0, "words": "of no use"}  # of which it tells, too

    made = tuner(4, objective_metric="loss")
    made.optimize(objective, backend=backend)
    assert [trial.state.name for trial in made.study.trials] == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]


def test_a_run_survives_any_standard_error() -> None:
    code = """
import fasthpo, io, sys
from unittest.mock import MagicMock as Magic
class Closed(io.StringIO):
    def __init__(self): super().__init__(); self.close()
class Broken:
    def __init__(self, terminal=False, intact=0): self.terminal, self.intact = terminal, intact
    def isatty(self): return self.terminal
    def write(self, text):
        self.intact -= 1
        if self.intact < 0: raise RuntimeError("can't be written")
    flush = lambda self: self.write("")
class Tee:
    def __init__(self, stream): self.stream = stream
    def write(self, text): return self.stream.write(text)
def objective(trial):
    if trial.number == 2: raise ValueError("the batch is empty")
    if trial.number == 3: sys.stderr = Closed()
    if trial.number == 4: raise ValueError("no batch at all")
    return trial["x"]
real = sys.stderr
for stderr in None, 3, Closed(), Broken(), Broken(True), Broken(True, 3), Tee(real), Magic():
    sys.stderr = stderr
    config = fasthpo.TunerConfig("s", max_trials=6)
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"x": fasthpo.Continuous(0, 1)})
    tuner.optimize(objective)
    sys.stderr = real
    print(*(trial.state.name[0] for trial in tuner.study.trials), sep="")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["CCFCFC"] * 8), done.stderr


def test_equal_failures_are_said_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    def objective(trial: Trial) -> float:
        if trial.number % 100 == 0:
            raise KeyError("other")
        if trial.number % 2:
            raise ValueError(f"loss is {trial.number / 7} at 0x{trial.number:x}")
        return 1.0

    tuner(2000).optimize(objective)
    said = warnings(caplog)
    assert said == [
        "trial 0 failed: KeyError: 'other'; its traceback is in study.trials[0].error",
        f"trial 1 failed: ValueError: loss is {1 / 7} at 0x1; its traceback is in study.trials[1].error",
        f"999 more like this one: {said[1]}",
        f"19 more like this one: {said[0]}",
    ]


def test_failures_are_counted_also_if_the_run_ends_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    from fasthpo.errors import AllTrialsFailed

    def objective(trial: Trial) -> float:
        raise ValueError("no")

    made = tuner(100, max_initial_failures=7)
    for _ in range(2):  # each run begins anew
        caplog.clear()
        with pytest.raises(AllTrialsFailed):
            made.optimize(objective)
    assert [text.split(":")[0] for text in warnings(caplog)] == ["trial 7 failed"]
    caplog.clear()
    with pytest.raises(AllTrialsFailed):
        tuner(100, max_initial_failures=7).optimize(objective)
    assert [text.split(":")[0] for text in warnings(caplog)] == ["trial 0 failed", "6 more like this one"]


def test_each_failure_is_said_at_the_level_debug(caplog: pytest.LogCaptureFixture) -> None:
    def objective(trial: Trial) -> float:
        raise ValueError("no")

    with caplog.at_level(logging.DEBUG, "fasthpo"):
        tuner(5).optimize(objective)
    assert [text.split(":")[0] for text in warnings(caplog)] == [f"trial {number} failed" for number in range(5)]


def test_what_is_repeated_in_a_run_inside_of_another(caplog: pytest.LogCaptureFixture) -> None:
    def failing(trial: Trial) -> float:
        raise ValueError("inner")

    def objective(trial: Trial) -> float:
        if trial.number < 2:
            tuner(3).optimize(failing)
        raise ValueError("outer")

    tuner(3).optimize(objective)
    starts = [" ".join(text.replace(";", "").split()[:7]) for text in warnings(caplog)]
    assert sum(text.startswith("trial 0 failed: ValueError: inner") for text in starts) == 2
    assert sum(text.startswith("trial 0 failed: ValueError: outer") for text in starts) == 1
    assert any(text.startswith("2 more like this one: trial 0") for text in starts)


def test_the_memory_for_kinds_of_warnings_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    with RepeatedWarnings() as counted:
        for i in range(5000):
            logger.warning("of its kind: %s", chr(97 + i % 26) * (i // 26 + 1))
            logger.warning("again %d", i)
            assert len(counted._first) <= 1000
    again = [text for text in warnings(caplog) if text.startswith("again")]
    more = [int(text.split()[0]) for text in warnings(caplog) if "more like this one: again" in text]
    assert len(again) + sum(more) == 5000 and len(again) < 10


def test_records_say_where_they_were_made(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("here")
    assert caplog.records[0].filename == "test_log.py" and caplog.records[0].name == "fasthpo"


def test_a_workers_warnings_are_said_once_too() -> None:
    code = """
import fasthpo
tuner = fasthpo.HyperparameterTuner.with_random_search(
    fasthpo.TunerConfig("s", max_trials=30, objective_metric="loss"), {"x": fasthpo.Continuous(0, 1)})
tuner.optimize(lambda trial: {"loss": 1.0, "words": "of no use"}, workers=2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if "metric 'words'" in line]
    counted = [int(line.split()[0]) for line in lines if "more like this one" in line]
    assert done.returncode == 0 and len(lines) - len(counted) <= 2 and sum(counted) >= 28, done.stderr


def test_a_long_message_is_cut_in_the_log_and_whole_in_the_trial(caplog: pytest.LogCaptureFixture) -> None:
    message = "word " * 10_000

    def objective(trial: Trial) -> float:
        raise ValueError(message)

    made = tuner(1).add_callback(LoggingCallback())
    made.optimize(objective)
    (line,) = warnings(caplog)
    assert line.startswith("trial 0 failed: ValueError: word word") and len(line) < 400
    assert line.endswith(" ...; its traceback is in study.trials[0].error") and message in (
        made.study.trials[0].error or ""
    )


def test_what_a_trial_failed_with_that_is_tried_again_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def objective(trial: Trial) -> float:
        error = ValueError("the batch is empty")
        error.add_note("see the manual")
        raise error

    with caplog.at_level(logging.DEBUG, "fasthpo"):
        tuner(1).optimize(objective, retries={"error": 1})
    assert "trial 0 is tried again: ValueError: the batch is empty" in warnings(caplog)
    assert any("in objective" in record.getMessage() for record in caplog.records if record.levelname == "DEBUG")


def test_a_closed_terminal_is_left_alone() -> None:
    """A handler may hold a stream that is closed while the run goes on."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("fasthpo").addHandler(handler)

    def objective(trial: Trial) -> float:
        stream.close()
        raise ValueError("no")

    try:
        assert len(tuner(3).optimize(objective).trials) == 3
    finally:
        logging.getLogger("fasthpo").removeHandler(handler)
