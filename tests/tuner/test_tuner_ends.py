"""How a run ends, and that a study is whole however it does."""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fasthpo.errors import (
    AllTrialsFailed,
    InvalidValue,
    NoCompletedTrials,
    TrialPruned,
)
from fasthpo.strategies.single_fidelity import BayesianOptimization, GridSearch, RandomSearch
from fasthpo.study.study import Study
from fasthpo.trials.trial import Trial, TrialResult, TrialState
from fasthpo.tuner.callbacks import HyperparameterCallback
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.results import StopReason, StudyStatistics
from fasthpo.tuner.tuner import HyperparameterTuner
from tests.support.backends import Recorder
from tests.support.tuning import GRID, SPACE, make, parabola, states


def test_max_trials() -> None:
    tuner = make(7)
    result = tuner.optimize(parabola)
    assert (len(result.trials), result.stop_reason) == (7, "max_trials")
    again = tuner.optimize(parabola)
    assert (len(again.trials), again.stop_reason) == (7, StopReason.MAX_TRIALS)


@pytest.mark.parametrize("enqueued", [2, 3, 5])
def test_max_trials_counts_enqueued_trials_and_runs_them(enqueued: int) -> None:
    tuner = make(3)
    for x in range(enqueued):
        tuner.study.enqueue({"x": float(x)})
    result = tuner.optimize(parabola)
    assert states(tuner) == ["COMPLETE"] * 3 + ["WAITING"] * (enqueued - 3)
    assert [trial["x"] for trial in result.trials[: min(3, enqueued)]] == [0.0, 1.0, 2.0][:enqueued]


@pytest.mark.parametrize("limit", [0.2, timedelta(seconds=0.2)])
def test_max_duration_starts_no_new_trial(limit: Any) -> None:
    tuner = make(None, max_duration=limit)

    def objective(trial: Trial) -> float:
        time.sleep(0.03)
        return 1.0

    result = tuner.optimize(objective)
    assert result.stop_reason == "max_duration"
    assert 1 <= len(result.trials) <= 7 and set(states(tuner)) == {"COMPLETE"}
    assert result.total_duration >= 0.2


def test_a_grid_ends_by_itself() -> None:
    tuner = make(None, GRID, GridSearch())
    result = tuner.optimize(lambda trial: trial["a"])
    assert result.stop_reason == "space_exhausted"
    points = [(trial["a"], trial["b"]) for trial in result.trials]
    assert sorted(points) == sorted(itertools.product(range(5), "pq"))
    assert tuner.optimize(parabola).stop_reason == "space_exhausted"


def test_a_finite_space_ends_by_itself_with_any_strategy() -> None:
    for kind in (RandomSearch, BayesianOptimization):
        result = make(None, GRID, kind(seed=1)).optimize(lambda trial: trial["a"])
        assert result.stop_reason == "space_exhausted"
        assert len({(trial["a"], trial["b"]) for trial in result.trials}) == 10


def test_a_study_that_would_never_end_is_refused() -> None:
    tuner = make(None)
    with pytest.raises(InvalidValue, match=r"would never end: set TunerConfig\(max_trials=...\) or max_duration"):
        tuner.optimize(parabola)
    assert len(tuner.study) == 0
    endless = make(None, max_duration=math.inf)
    result = endless.optimize(lambda trial: endless.stop() or 1.0 if trial.number == 20 else 1.0)
    assert (len(result.trials), result.stop_reason) == (21, "stopped")


def test_stop_from_the_objective_a_callback_and_a_thread() -> None:
    tuner = make(100)

    class Stopper(HyperparameterCallback):
        def on_trial_complete(self, trial: Trial) -> None:
            if trial.number == 4:
                tuner.stop()

    def objective(trial: Trial) -> float:
        if trial.number == 2:
            tuner.stop()
        if trial.number == 6:
            thread = threading.Thread(target=tuner.stop)
            thread.start()
            thread.join()
        return 1.0

    tuner.add_callback(Stopper())
    lengths = []
    for _ in range(3):
        result = tuner.optimize(objective)
        assert result.stop_reason == "stopped"
        lengths.append(len(result.trials))
    assert lengths == [3, 5, 7]
    assert set(states(tuner)) == {"COMPLETE"}  # the running trial ended as usual


def test_ctrl_c_ends_cleanly_and_keeps_the_results(tmp_path: Path) -> None:
    tuner = make(100, output_dir=tmp_path, save_checkpoints=True)
    failed, ended = [], []

    class Seen(HyperparameterCallback):
        def on_trial_failed(self, trial: Trial, error: str) -> None:
            failed.append((trial.number, error))

        def on_study_end(self, config: TunerConfig, statistics: StudyStatistics) -> None:
            ended.append(statistics.total_trials)

    def objective(trial: Trial) -> float:
        if trial.number == 3:
            signal.raise_signal(signal.SIGINT)
        return float(trial.number)

    result = tuner.add_callback(Seen()).optimize(objective)
    assert result.stop_reason == "interrupted"
    assert states(tuner) == ["COMPLETE"] * 3 + ["FAILED"]
    assert (failed, ended) == ([(3, "interrupted")], [4])
    assert result.best_value == 0.0
    assert json.loads((tmp_path / "s" / "statistics.json").read_text())["stop_reason"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    tuner.optimize(lambda trial: tuner.stop() or 1.0)  # it goes on
    assert len(tuner.study) == 5


@pytest.mark.parametrize("place", ["ask_within", "tell"])
def test_ctrl_c_between_trials_waits_until_the_study_is_consistent(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = make(100)
    original: Callable[..., Any] = getattr(Study, place)

    def interrupted(self: Study, *arguments: Any, **options: Any) -> Any:
        if len(self) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Study, place, interrupted)
    result = tuner.optimize(parabola)
    assert result.stop_reason == "interrupted"
    counts = tuner.study.table.counts
    assert counts[TrialState.RUNNING] == 0
    assert counts[TrialState.COMPLETE] == 3


def test_a_second_ctrl_c_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = make(100)

    def hanging(self: Study, *limits: Any, **options: Any) -> Trial:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still here")

    monkeypatch.setattr(Study, "ask_within", hanging)
    assert tuner.optimize(parabola).stop_reason == "interrupted"


def test_keyboard_interrupt_with_a_handler_of_the_users_own() -> None:
    tuner = make(100)

    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        result = tuner.optimize(lambda trial: signal.raise_signal(signal.SIGINT) or 1.0)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.stop_reason, states(tuner)) == ("interrupted", ["FAILED"])


def test_optimize_outside_the_main_thread() -> None:
    tuner, results = make(5), []
    thread = threading.Thread(target=lambda: results.append(tuner.optimize(parabola)))
    thread.start()
    thread.join()
    assert results[0].stop_reason == "max_trials"


@pytest.mark.skipif(os.name == "nt", reason="a process can't send itself Ctrl-C there")
def test_a_real_ctrl_c_at_any_moment_leaves_a_consistent_study() -> None:
    """A subprocess with objectives that take no time, so that the signal hits the study's own code, mostly."""
    code = """
import os, signal, threading, time
from fasthpo.tuner.config import TunerConfig
from fasthpo.space.kinds import Continuous
from fasthpo.trials.trial import TrialState
from fasthpo.tuner.tuner import HyperparameterTuner
for k in range(15):
    tuner = HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=10**7), {"x": Continuous(0, 1)})
    threading.Timer(0.02 + 0.003 * k, os.kill, (os.getpid(), signal.SIGINT)).start()
    result = tuner.optimize(lambda trial: trial["x"])
    counts, table = tuner.study.table.counts, tuner.study.table
    assert result.stop_reason == "interrupted"
    assert counts[TrialState.RUNNING] == 0 and len(table.running) == 0 and counts[TrialState.FAILED] <= 1
    assert counts[TrialState.COMPLETE] + counts[TrialState.FAILED] == len(table) == len(table.tell_order)
    for state in TrialState:
        assert counts[state] == (table.states == state).sum()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_sys_exit_fails_its_trial_only() -> None:
    tuner = make(4)
    result = tuner.optimize(lambda trial: sys.exit(3) if trial.number == 1 else 1.0)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"] and result.stop_reason == "max_trials"
    assert (tuner.study.trials[1].error or "").endswith("SystemExit: 3")


def test_sys_exit_in_a_callback_ends_the_program(tmp_path: Path) -> None:
    class Leaving(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            if trial.number == 1:
                sys.exit(3)

    tuner = make(5, output_dir=tmp_path, save_checkpoints=True).add_callback(Leaving())
    with pytest.raises(SystemExit):
        tuner.optimize(parabola)
    assert states(tuner) == ["COMPLETE", "FAILED"]
    assert "SystemExit: 3" in (tuner.study.trials[1].error or "")
    assert len(Study.load(tmp_path / "s")) == 2


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_an_objective_that_tells_its_own_trial(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    """What it told stands, whatever it returns or raises; the study goes on, and nothing is tried again."""
    tuner = make(6)
    recorder = Recorder()

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            tuner.study.tell(trial.number, 7.0)
        if trial.number == 2:
            tuner.study.tell(trial, state=TrialState.FAILED, error="by itself")
        if trial.number == 3:
            tuner.study.tell(trial, 8.0)
            raise ValueError("too late")
        if trial.number == 4:
            tuner.study.tell(trial, 9.0, state=TrialState.PRUNED)
        return 1.0

    result = tuner.add_callback(recorder).optimize(objective, backend=backend, retries={"error": 3})
    assert states(tuner) == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "PRUNED", "COMPLETE"]
    assert [trial.value for trial in result.trials] == [1.0, 7.0, None, 8.0, 9.0, 1.0]
    assert tuner.study.trials[2].error == "by itself"
    assert [recorder.of(number)[-1] for number in range(6)] == [
        "complete", "complete", "failed", "complete", "pruned", "complete",
    ]  # fmt: skip
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 4 and warnings[0] == (
        "trial 1 was told before its objective ended, which is for the tuner to do; what was told stands: COMPLETE"
    )


def test_a_trial_that_tells_itself_may_pause() -> None:
    config = TunerConfig("s", max_trials=9, seed=0)
    tuner = HyperparameterTuner.with_hyperband(config, SPACE, max_resource=9)

    def objective(trial: Trial) -> float:
        tuner.study.tell(trial, trial["x"])
        return math.nan

    result = tuner.optimize(objective)
    assert len(result.trials) == 9 and set(states(tuner)) <= {"COMPLETE", "PAUSED"} and "PAUSED" in states(tuner)


def test_the_first_ten_trials_all_failed(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        raise ValueError(f"wrong path {trial.number}")

    tuner = make(100, output_dir=tmp_path, save_checkpoints=True)
    message = "all 10 trials have failed, the last one with: ValueError: wrong path 9"
    with pytest.raises(AllTrialsFailed, match=message) as caught:
        tuner.optimize(objective)
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value.__cause__) == "wrong path 9"
    assert len(Study.load(tmp_path / "s")) == 10
    assert json.loads((tmp_path / "s" / "statistics.json").read_text())["failed_trials"] == 10


@pytest.mark.parametrize("returned", [math.nan, TrialResult.failure("no"), None])
def test_ten_failures_of_any_kind(returned: Any) -> None:
    with pytest.raises(AllTrialsFailed, match="all 10 trials have failed"):
        make(100).optimize(lambda trial: returned)


def test_how_many_trials_failed_of_what_is_said_when_all_have() -> None:
    def objective(trial: Trial) -> float:
        if trial.number % 4 == 0:
            raise KeyError(f"layer{trial.number}")
        if trial.number == 5:
            return math.nan
        raise ValueError(f"step {trial.number}\nis too large")

    with pytest.raises(AllTrialsFailed) as caught:
        make(100).optimize(objective)
    assert str(caught.value).splitlines() == [
        "all 10 trials have failed, the last one with: ValueError: step 9 is too large",
        "How many failed with what, but for numbers:",
        "       6 x ValueError: step 9 is too large",
        "       3 x KeyError: 'layer8'",
        "       1 x the objective returned NaN",
    ]


def test_of_many_kinds_of_failures_the_most_frequent_are_named() -> None:
    def objective(trial: Trial) -> float:
        raise ValueError("rare " + "x" * trial.number if trial.number % 2 else "frequent")

    with pytest.raises(AllTrialsFailed) as caught:
        make(100, max_initial_failures=50).optimize(objective)
    lines = str(caught.value).splitlines()
    assert lines[2] == "      25 x ValueError: frequent" and lines[-1] == "      16 of 16 other kinds"
    assert len(lines) == 2 + 10 + 1


@pytest.mark.parametrize("most", [1, 3, 25])
def test_after_how_many_failures_the_study_gives_up_can_be_said(most: int) -> None:
    tuner = make(100, max_initial_failures=most)
    with pytest.raises(AllTrialsFailed, match=f"all {most} trials have failed"):
        tuner.optimize(lambda trial: math.nan)
    assert len(tuner.study) == most


def test_a_study_need_not_give_up() -> None:
    result = make(50, max_initial_failures=None).optimize(lambda trial: math.nan)
    assert (result.stop_reason, result.statistics.failed_trials) == ("max_trials", 50)


def test_failures_before_a_resume_count_among_the_first(tmp_path: Path) -> None:
    config = {"output_dir": tmp_path, "save_checkpoints": True}
    make(6, **config).optimize(lambda trial: math.nan)
    tuner = make(100, **config).load_checkpoint(tmp_path / "s")
    with pytest.raises(AllTrialsFailed, match="all 10 trials have failed"):
        tuner.optimize(lambda trial: math.nan)
    assert len(tuner.study) == 10


# --- failures in a row


def failing(*numbers: int) -> Callable[[Trial], float]:
    """An objective that fails for these trials."""

    def objective(trial: Trial) -> float:
        if trial.number in numbers:
            raise ValueError(f"no {trial.number}")
        return 1.0

    return objective


def test_a_run_ends_after_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    tuner = make(100, max_consecutive_failures=3)
    result = tuner.optimize(failing(0, 1, 3, 6, 7, 8))
    assert result.stop_reason == StopReason.MAX_CONSECUTIVE_FAILURES == "max_consecutive_failures"
    assert len(result.trials) == 9 and "ended by max_consecutive_failures" in str(result)
    assert "the run ends, because 3 trials have failed in a row, the last one with: ValueError: no 8" in caplog.text


def test_without_the_option_a_run_goes_on_after_failures_in_a_row() -> None:
    result = make(100).optimize(failing(*range(1, 100)))
    assert (result.stop_reason, len(result.trials)) == ("max_trials", 100)


def test_what_is_no_failure_ends_a_row() -> None:
    """Being pruned and pausing, too; not so what is tried again and fails in the end."""

    def objective(trial: Trial) -> float:
        if trial.number % 3 == 2:
            raise TrialPruned
        raise ValueError("no")

    assert make(30, max_consecutive_failures=3).optimize(objective).stop_reason == "max_trials"
    tuner = make(30, max_consecutive_failures=2)
    result = tuner.optimize(lambda trial: math.nan if trial.number in (5, 6) else 1.0, retries={"error": 2})
    assert (result.stop_reason, len(result.trials)) == ("max_consecutive_failures", 7)
    config = TunerConfig("s", max_trials=27, max_consecutive_failures=3, seed=0)
    halving = HyperparameterTuner.with_hyperband(config, SPACE, max_resource=9)
    attempts = itertools.count()
    paused = halving.optimize(lambda trial: math.nan if next(attempts) % 3 else trial["x"])
    assert paused.stop_reason == "max_trials"


def test_failures_in_a_row_are_counted_for_each_run_anew(tmp_path: Path) -> None:
    config = {"output_dir": tmp_path, "save_checkpoints": True, "max_consecutive_failures": 3}
    first = make(100, **config)
    assert first.optimize(failing(*range(1, 100))).stop_reason == "max_consecutive_failures"
    assert len(first.study) == 4
    assert first.optimize(failing(4, 5)).stop_reason == "max_trials"
    second = make(200, **config).load_checkpoint(tmp_path / "s")
    result = second.optimize(failing(*range(100, 102), *range(150, 200)))
    assert (result.stop_reason, len(result.trials)) == ("max_consecutive_failures", 153)
    assert json.loads((tmp_path / "s" / "statistics.json").read_text())["stop_reason"] == "max_consecutive_failures"


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_with_several_workers_failures_are_counted_as_trials_end(backend: str) -> None:
    """Those that run when the row is long enough end as usual, and are kept."""

    def objective(trial: Trial) -> float:
        if trial.number >= 5:
            raise ValueError("no")
        return 1.0

    tuner = make(100, max_consecutive_failures=4)
    result = tuner.optimize(objective, workers=3, backend=backend)
    assert result.stop_reason == "max_consecutive_failures"
    told = "".join(result.trials[number].state.name[0] for number in tuner.study.table.tell_order.tolist())
    assert set(told) == {"C", "F"} and len(told) == len(result.trials)
    assert 0 <= len(told) - (told.index("FFFF") + 4) <= 2, told


def test_all_trials_failed_comes_first_if_its_number_is_smaller() -> None:
    with pytest.raises(AllTrialsFailed):
        make(100, max_consecutive_failures=11).optimize(lambda trial: math.nan)
    for most in (9, 10):
        result = make(100, max_consecutive_failures=most).optimize(lambda trial: math.nan)
        assert (result.stop_reason, len(result.trials)) == ("max_consecutive_failures", most)


def test_the_last_trial_may_be_the_one_that_makes_the_row() -> None:
    assert make(3, max_consecutive_failures=3).optimize(lambda trial: math.nan).stop_reason == (
        "max_consecutive_failures"
    )


def test_one_success_among_the_first_ten_is_enough() -> None:
    result = make(50).optimize(lambda trial: 1.0 if trial.number == 9 else math.nan)
    assert (len(result.trials), result.statistics.failed_trials) == (50, 49)


def test_fewer_than_ten_failures_return_a_result_without_a_best() -> None:
    result = make(9).optimize(lambda trial: math.nan)
    with pytest.raises(NoCompletedTrials):
        _ = result.best_trial
    assert (result.statistics.best_value, result.statistics.best_trial_number) == (None, None)
    assert "No trial has completed" in str(result)


def test_a_failed_trials_memory_is_free_before_the_next_begins() -> None:
    """The traceback's frames hold the objective's tensors; nothing may hold the frames, not even a cycle."""

    class Tensor:
        pass

    references: list[weakref.ref[Tensor]] = []

    def objective(trial: Trial) -> float:
        assert not [reference for reference in references if reference() is not None]
        tensor = Tensor()
        references.append(weakref.ref(tensor))
        if trial.number % 2:
            raise RuntimeError("out of memory")
        return 1.0

    gc.disable()
    try:
        tuner = make(6)
        tuner.optimize(objective)
    finally:
        gc.enable()
    assert states(tuner) == ["COMPLETE", "FAILED"] * 3
    assert {(trial.error or "").split("\n")[-1] for trial in tuner.study.trials} == {"", "RuntimeError: out of memory"}
