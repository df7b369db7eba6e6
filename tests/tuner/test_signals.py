"""Signals while a tuner runs: Ctrl-C, handlers of the user's own, tuners inside of tuners."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fasthpo import HyperparameterCallback, HyperparameterTuner, Study, Trial, TrialPruned, TunerConfig
from fasthpo.tuner.callbacks import LoggingCallback
from tests.support.gates import Gate, arrive
from tests.support.tuning import SPACE, make, states

ENDING = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    """Each test begins and ends with the handlers that were there."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


class GaveUp(Exception):
    """Raised by a handler."""


def leave(number: int, frame: Any) -> NoReturn:
    raise SystemExit(143)


def give_up(number: int, frame: Any) -> NoReturn:
    raise GaveUp


def give_up_after_a_reset(number: int, frame: Any) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise GaveUp


def leave_after_a_reset(number: int, frame: Any) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    sys.exit(143)


class Handler:
    def method(self, number: int, frame: Any) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        del number, frame
        raise SystemExit(143)

    def __call__(self, number: int, frame: Any) -> NoReturn:
        self.method(number, frame)


HANDLERS: dict[str, Callable[..., Any]] = {
    "a function": leave,
    "one that resets itself": leave_after_a_reset,
    "a lambda": lambda *_: leave(0, None),
    "a method": Handler().method,
    "an object": Handler(),
    "a partial function": functools.partial(functools.partial(leave)),
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_handler_that_exits_ends_the_program_and_the_trial_is_run_again(kind: str, tmp_path: Path) -> None:
    signal.signal(signal.SIGTERM, HANDLERS[kind])
    failed: list[int] = []

    class Failures(HyperparameterCallback):
        def on_trial_failed(self, trial: Trial, error: str) -> None:
            failed.append(trial.number)

    def objective(trial: Trial) -> float:
        trial.report(0.5, step=0)
        if trial.number == 2:
            signal.raise_signal(signal.SIGTERM)
        return 1.0

    tuner = make(5, output_dir=tmp_path, save_checkpoints=True).add_callback(Failures())
    with pytest.raises(SystemExit) as caught:
        tuner.optimize(objective)
    assert caught.value.code == 143 and not failed
    assert states(tuner) == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert json.loads((tmp_path / "s" / "statistics.json").read_text())["completed_trials"] == 2
    again: list[tuple[int, dict[str, Any]]] = []
    resumed = make(5, output_dir=tmp_path, save_checkpoints=True).load_checkpoint(tmp_path / "s")
    resumed.optimize(lambda trial: again.append((trial.number, trial.params)) or 1.0)
    assert [number for number, _ in again] == [2, 3, 4] and again[0][1] == tuner.study.trials[2].params
    assert states(resumed) == ["COMPLETE"] * 5


@pytest.mark.parametrize("name", ENDING)
def test_any_exception_of_a_handler_for_a_signal_that_ends_programs(name: str) -> None:
    """Also if it is set by the objective itself. The same tuner goes on, with the trial that was running."""
    number = getattr(signal, name)

    def objective(trial: Trial) -> float:
        if trial.number == 2:
            signal.signal(number, give_up_after_a_reset)
            signal.raise_signal(number)
        return 1.0

    tuner = make(5)
    with pytest.raises(GaveUp):
        tuner.optimize(objective)
    assert states(tuner) == ["COMPLETE", "COMPLETE", "RUNNING"]
    order: list[int] = []
    result = tuner.optimize(lambda trial: order.append(trial.number) or 1.0)
    assert order == [2, 3, 4] and states(tuner) == ["COMPLETE"] * 5 and result.stop_reason == "max_trials"


@posix
def test_an_exception_of_another_signals_handler_is_the_trials_own() -> None:
    """Such as a timeout, or a data loader of torch whose process has died; but exiting ends the program."""

    def objective(trial: Trial) -> float:
        if trial.number:
            signal.raise_signal((signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1)[trial.number - 1])
        return 1.0

    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGCHLD, give_up)
    signal.signal(signal.SIGUSR1, leave)
    tuner = make(9)
    with pytest.raises(SystemExit):
        tuner.optimize(objective)
    assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "RUNNING"]


def test_exceptions_that_come_from_no_handler_fail_their_trial_only() -> None:
    signal.signal(signal.SIGTERM, leave)

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise SystemExit(143)
        if trial.number == 2:
            raise GaveUp
        if trial.number == 3:
            leave(0, None)  # which is a handler, but called by the objective
        return 1.0

    def run() -> None:
        tuner = make(5)
        assert tuner.optimize(objective).stop_reason == "max_trials"
        assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "FAILED", "COMPLETE"]

    run()
    for raised in (signal.SIGTERM, signal.SIGINT):  # it has been dealt with already where the tuner is called
        try:
            signal.raise_signal(raised)
        except BaseException:
            run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_handler_that_notes_a_flag(number: int) -> None:
    noted: list[int] = []
    signal.signal(number, lambda *_: noted.append(1))
    tuner = make(100)

    def objective(trial: Trial) -> float:
        if trial.number == 2:
            signal.raise_signal(number)
        if noted:
            tuner.stop()
        return 1.0

    assert tuner.optimize(objective).stop_reason == "stopped"
    assert states(tuner) == ["COMPLETE"] * 3 and noted == [1]


def test_a_signal_that_the_objective_turns_into_another_exception() -> None:
    """As Lightning turns Ctrl-C into `sys.exit`, and a clean-up that fails replaces any exception."""

    def objective(trial: Trial) -> float:
        try:
            signal.raise_signal(number)
        except BaseException as raised:
            if way == "exit":
                raise SystemExit(1) from None
            if way == "prune":
                raise TrialPruned from raised
            raise ValueError("no clean-up") from raised
        raise AssertionError

    number = signal.SIGINT
    for way in ("exit", "fail"):  # noqa: B007  (the objective reads it)
        tuner = make(9)
        assert tuner.optimize(objective).stop_reason == "interrupted" and states(tuner) == ["FAILED"]
    number = signal.SIGTERM
    signal.signal(number, leave)
    for way, kind in (("exit", SystemExit), ("fail", ValueError)):  # noqa: B007
        tuner = make(9)
        with pytest.raises(kind):
            tuner.optimize(objective)
        assert states(tuner) == ["RUNNING"]
    way = "prune"  # which it has decided itself
    tuner = make(2)
    tuner.optimize(objective)
    assert states(tuner) == ["PRUNED"] * 2


@posix
@pytest.mark.parametrize(
    "options", [{"workers": 2}, {"workers": 2, "backend": "threads"}], ids=["processes", "threads"]
)
def test_a_handler_that_exits_while_trials_run_elsewhere(options: dict[str, Any], tmp_path: Path) -> None:
    signal.signal(signal.SIGTERM, leave)
    tuner = make(9, output_dir=tmp_path, save_checkpoints=True)
    with Gate() as gate:
        address = gate.address

        def end() -> None:
            gate.wait_for(2)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(SystemExit) as caught:
            tuner.optimize(lambda trial: arrive(address) or 1.0, **options)
        thread.join()
    assert caught.value.code == 143 and states(tuner) == ["RUNNING"] * 2
    with Study.load(tmp_path / "s") as study:
        assert [study.ask().number for _ in range(3)] == [0, 1, 2]


def test_a_handler_that_exits_during_a_callback() -> None:
    signal.signal(signal.SIGTERM, leave)

    class Signalling(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            if trial.number == 1 and trial.state.name == "RUNNING" and not again:
                signal.raise_signal(signal.SIGTERM)

    again: list[int] = []
    tuner = make(3).add_callback(Signalling())
    with pytest.raises(SystemExit):
        tuner.optimize(lambda trial: 1.0)
    assert states(tuner) == ["COMPLETE", "RUNNING"]
    again.append(1)
    tuner.optimize(lambda trial: 1.0)
    assert states(tuner) == ["COMPLETE"] * 3


# --- tuners inside of tuners

INNER: dict[str, dict[str, Any]] = {
    "inline": {},
    "threads": {"backend": "threads", "workers": 2},
    "processes": {"workers": 2},
}


@pytest.mark.parametrize("kind", INNER)
@pytest.mark.parametrize("own", [False, True], ids=["Ctrl-C", "a handler of the user's own"])
def test_ctrl_c_in_a_tuner_inside_of_another_ends_both(kind: str, own: bool) -> None:
    if own:
        signal.signal(signal.SIGINT, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    class Interrupting(HyperparameterCallback):
        completed = 0

        def on_trial_complete(self, trial: Trial) -> None:
            self.completed += 1
            if self.completed == 3:
                signal.raise_signal(signal.SIGINT)

    inner: list[Any] = []

    def objective(trial: Trial) -> float:
        tuner = make(100).add_callback(Interrupting())
        inner.append(tuner)
        tuner.optimize(lambda trial: 1.0, **INNER[kind])
        raise AssertionError("the outer objective goes on")

    outer = make(9)
    before = signal.getsignal(signal.SIGINT)
    result = outer.optimize(objective)
    assert result.stop_reason == "interrupted" and states(outer) == ["FAILED"]
    assert outer.study.trials[0].error == "interrupted"
    assert len(inner) == 1 and 3 <= len(inner[0].study) <= 6
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_does_not_break_off_what_the_inner_study_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Study.tell

    def interrupted(self: Study, *arguments: Any, **options: Any) -> Any:
        if self is inner.study and len(self) == 2:
            signal.raise_signal(signal.SIGINT)
        return told(self, *arguments, **options)

    monkeypatch.setattr(Study, "tell", interrupted)
    inner, outer = make(9), make(9)
    assert outer.optimize(lambda trial: inner.optimize(lambda _: 1.0).best_value).stop_reason == "interrupted"
    assert states(inner) == ["COMPLETE"] * 2 and states(outer) == ["FAILED"]


def test_a_tuner_in_a_callback_of_another_whose_trials_run_in_workers() -> None:
    """Ctrl-C ends the inner one at once, and the outer one after the trials that are running."""
    inner = make(9)

    class Calling(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            if trial.number == 1:
                result = inner.optimize(lambda trial: signal.raise_signal(signal.SIGINT) or 1.0)
                assert result.stop_reason == "interrupted"

    outer = make(9).add_callback(Calling())
    result = outer.optimize(lambda trial: 1.0, workers=2, backend="threads")
    assert result.stop_reason == "interrupted" and states(outer) == ["COMPLETE"] * 2


def test_a_handler_that_exits_in_a_tuner_inside_of_another() -> None:
    signal.signal(signal.SIGTERM, leave)
    inner, outer = make(9), make(9)

    def objective(trial: Trial) -> float:
        return inner.optimize(lambda trial: signal.raise_signal(signal.SIGTERM) or 1.0).best_value

    with pytest.raises(SystemExit):
        outer.optimize(objective)
    assert states(inner) == states(outer) == ["RUNNING"]


@pytest.mark.parametrize("options", [{}, {"workers": 3, "backend": "threads"}], ids=["inline", "threads"])
def test_a_study_whose_runs_were_ended_by_signals_is_the_same_in_the_end(options: dict[str, Any]) -> None:
    """Promotions, too: what was running is run again, and nothing is counted twice."""
    signal.signal(signal.SIGTERM, leave)

    class Signalling(HyperparameterCallback):
        def __init__(self, every: int) -> None:
            self.every = every
            self.started = 0

        def on_trial_start(self, trial: Trial) -> None:
            self.started += 1
            if self.started % self.every == 0:
                signal.raise_signal(signal.SIGTERM)

    def run(every: int) -> tuple[int, list[Any]]:
        config = TunerConfig("s", max_trials=20, seed=0)
        tuner = HyperparameterTuner.with_hyperband(config, SPACE, max_resource=9).remove_callback(LoggingCallback)
        tuner.add_callback(Signalling(every))
        ends = 0
        while True:
            try:
                result = tuner.optimize(lambda trial: abs(trial["x"]) + 1 / trial.resource, **options)
            except SystemExit:
                ends += 1
            else:
                trials = [(trial.number, trial.state, trial.rungs) for trial in result.trials]
                return ends, [trials, result.statistics.resource_spent]

    ends, ended = run(5)
    assert ends > 3 and ended == run(10**9)[1]
