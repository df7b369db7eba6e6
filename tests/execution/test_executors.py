"""Broken trials in executors whose pools break with a worker: loky's and the standard library's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fasthpo import HyperparameterCallback, InvalidValue, Trial, WorkersFailed
from fasthpo.execution.backends.base import Ended
from fasthpo.execution.connection import Connection, ConnectionServer, connect
from fasthpo.execution.messages import Says, Told, pack_ended
from tests.execution.test_worker_faults import posix, segfault, wait_until_gone
from tests.support.backends import Recorder
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

loky = pytest.importorskip("loky")


def of_the_library() -> Executor:
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


MAKERS: dict[str, Callable[[], Executor]] = {
    "loky": lambda: loky.ProcessPoolExecutor(2),
    "loky's reusable one": lambda: loky.get_reusable_executor(2),
    "the library's": of_the_library,
}


@pytest.fixture(params=list(MAKERS))
def maker(request: pytest.FixtureRequest) -> Callable[[], Executor]:
    return MAKERS[request.param]


WAYS_TO_DIE: dict[str, Callable[[], object]] = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": segfault,
    "exit": lambda: os._exit(1),
}


@posix
@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_a_worker_dies(way: str, maker: Callable[[], Executor], caplog: pytest.LogCaptureFixture) -> None:
    """Its trial fails, and at most the one beside it; the others go on, in another executor."""
    die = WAYS_TO_DIE[way]

    def objective(trial: Trial) -> dict[str, float]:
        trial.report(0.5, step=0)
        trial.should_prune()
        if trial.number in (1, 4):
            die()
        return {"loss": 1.0, "pid": float(os.getpid())}

    recorder = Recorder()
    tuner = make(12, objective_metric="loss").add_callback(recorder)
    result = tuner.optimize(objective, executor=maker)
    failed = [trial.number for trial in result.trials if trial.state.name == "FAILED"]
    assert {1, 4} <= set(failed) and len(failed) <= 4 and result.stop_reason == "max_trials"
    assert states(tuner).count("COMPLETE") == 12 - len(failed)
    for number in failed:
        assert "the executor broke while it ran: " in (tuner.study.trials[number].error or "")
        assert recorder.errors[number] == tuner.study.trials[number].error
    assert {0: 0.5} in [result.trials[number].reports for number in (1, 4)]  # said before, and not lost
    assert "the executor has broken and is replaced" in caplog.text
    for pid in {trial.metrics["pid"] for trial in result.trials if trial.metrics}:
        wait_until_gone(int(pid))  # it was made for the run, and ends with it


@posix
def test_lost_trials_are_tried_again(maker: Callable[[], Executor], tmp_path: Path) -> None:
    """Each trial that ran where the executor broke, under its number and with its directory."""
    with Gate(opens_at=2) as both, Gate() as closed:
        begun, never = both.address, closed.address

        def objective(trial: Trial) -> float:
            mark = trial.checkpoint_dir / "begun"
            if trial.number < 2 and not mark.exists():
                mark.write_text("")
                arrive(begun)
                if trial.number == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                arrive(never)
            return float(mark.exists())

        recorder = Recorder()
        tuner = make(6, output_dir=tmp_path, save_checkpoints=True).add_callback(recorder)
        result = tuner.optimize(objective, executor=maker, retries=1)
    assert states(tuner) == ["COMPLETE"] * 6
    assert [trial.value for trial in result.trials] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    for number in (0, 1):
        assert recorder.of(number)[:2] == ["start", "retried"]


@posix
def test_an_executor_that_is_not_replaced(tmp_path: Path) -> None:
    """What has ended is kept, what ran is lost, and the error says what to do."""
    with Gate(opens_at=2) as both, Gate() as closed, loky.ProcessPoolExecutor(2) as executor:
        begun, never = both.address, closed.address

        def objective(trial: Trial) -> float:
            if trial.number >= 2:
                arrive(begun)
                if trial.number == 3:
                    os._exit(1)
                arrive(never)
            return 1.0

        tuner = make(8, output_dir=tmp_path, save_checkpoints=True)
        with pytest.raises(WorkersFailed, match=r"takes no more trials: .*; to have one that breaks replaced, give a"):
            tuner.optimize(objective, executor=executor)
        assert states(tuner)[:4] == ["COMPLETE", "COMPLETE", "FAILED", "FAILED"]
        for trial in tuner.study.trials[2:]:
            error = trial.error or ""
            assert "the executor broke while it ran" in error or "the executor takes no more trials" in error
        tuner.optimize(lambda trial: 2.0, executor=lambda: loky.ProcessPoolExecutor(2))  # it goes on
        assert len(tuner.study) == 8


@posix
def test_limits_cost_only_their_trial(maker: Callable[[], Executor], tmp_path: Path) -> None:
    """With a limit each trial has a process of its own, so that the executor is whole, whatever becomes of it."""
    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> dict[str, float]:
            trial.report(0.5, step=0)
            trial.should_prune()
            trial.set_attribute("seen", trial.reports[0])
            (tmp_path / f"{trial.number}").write_text(str(os.getpid()))
            if trial.number == 1:
                arrive(address)
            if trial.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if trial.number == 3:
                segfault()
            if trial.number == 4:
                _ = bytearray(2**30)
                arrive(address)
            return {"loss": 1.0, "parent": os.getppid()}

        tuner = make(7, objective_metric="loss")
        tuner.optimize(objective, executor=maker, trial_timeout=4.0, trial_memory=2**29)
    trials = tuner.study.trials
    assert states(tuner) == ["COMPLETE", *["FAILED"] * 4, "COMPLETE", "COMPLETE"]
    errors = [trial.error or "" for trial in trials]
    assert errors[1] == "it took longer than trial_timeout=4 seconds, and its process was ended"
    assert "ended by signal 9 (SIGKILL" in errors[2] and "ended by signal 11 (SIGSEGV)" in errors[3]
    assert "more than trial_memory=512 MiB, and was ended" in errors[4]
    assert [trial.reports for trial in trials] == [{0: 0.5}] * 7
    assert [trial.attributes for trial in trials] == [{"seen": 0.5}] * 7
    assert len({trial.metrics["parent"] for trial in trials if trial.state.name == "COMPLETE"}) <= 2
    for number in range(7):
        wait_until_gone(int((tmp_path / f"{number}").read_text()))


@posix
def test_a_run_that_is_broken_off_leaves_no_process_of_loky(tmp_path: Path) -> None:
    class Broken(HyperparameterCallback):
        def on_trial_complete(self, trial: Trial) -> None:
            raise KeyError("mine")

    with Gate(opens_at=2) as both, Gate() as closed:
        begun, never = both.address, closed.address

        def objective(trial: Trial) -> float:
            (tmp_path / f"{trial.number}").write_text(str(os.getpid()))
            arrive(begun)
            if trial.number:
                arrive(never)
            return 1.0

        tuner = make(1000).add_callback(Broken())
        with pytest.raises(KeyError, match="mine"):
            tuner.optimize(objective, executor=MAKERS["loky"])
        wait_until_gone(int((tmp_path / "1").read_text()))


# --- executors that are of no use


class Broken(Executor):
    """Its tasks never begin."""

    num_workers = 2

    def __init__(self) -> None:
        self.is_shut_down = False

    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("it never\nworked"))
        return future

    def shutdown(self, *arguments: Any, **options: Any) -> None:
        self.is_shut_down = True


def test_trials_that_had_not_begun_are_not_lost() -> None:
    made: list[Any] = []

    class BrokenAtOnce(Broken):
        def submit(self, *call: Any, **options: Any) -> Future[Any]:
            if made.count(self) == 1:  # takes one trial
                made.append(self)
                return super().submit()
            raise BrokenExecutor("it broke")

    def maker() -> Executor:
        made.append(BrokenAtOnce() if not made else loky.ProcessPoolExecutor(2))
        return made[-1]

    recorder = Recorder()
    tuner = make(4).add_callback(recorder)
    tuner.optimize(lambda trial: 1.0, executor=maker)
    assert states(tuner) == ["COMPLETE"] * 4 and made[0].is_shut_down
    assert not recorder.retried and len(set(map(id, made))) == 2


def test_what_a_trial_said_before_its_executor_broke_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the run hears of the end first."""
    told = threading.Event()
    read = ConnectionServer.read

    def late(board: ConnectionServer, wire: Connection) -> list[Any]:
        return [] if told.is_set() and wire.socket.gettimeout() else read(board, wire)

    monkeypatch.setattr(ConnectionServer, "read", late)
    threads: list[threading.Thread] = []

    class Hasty(Broken):
        def submit(self, function: Any, packed: bytes) -> Future[Any]:  # type: ignore[override]
            future: Future[Any] = Future()

            def work() -> None:
                task = pickle.loads(packed)
                wire = connect(task.hosts, task.port, task.key)
                wire.send([Says.HELLO, task.job.ticket])
                assert wire.receive() == [Told.REPLY, True]
                told.set()
                wire.send([Says.REPORT, 0.5, 0])
                wire.send([Says.DONE, pack_ended(Ended(task.job.number, 1.0))])
                future.set_exception(BrokenExecutor("it broke"))
                wire.close()

            threads.append(threading.Thread(target=work))
            threads[-1].start()
            return future

    tuner = make(1)
    tuner.optimize(lambda trial: 1.0, executor=Hasty())
    for thread in threads:
        thread.join()
    assert states(tuner) == ["COMPLETE"] and tuner.study.trials[0].reports == {0: 0.5}


def test_executors_that_never_work() -> None:
    made: list[Any] = []

    class Refusing(Broken):
        def submit(self, *call: Any, **options: Any) -> Future[Any]:
            if self is made[0] and not hasattr(self, "taken"):
                self.taken = True
                return super().submit()
            raise BrokenExecutor("it broke")

    for kind, message in (
        (Refusing, "a new executor takes no trials: it broke"),
        (
            lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=leave),
            "3 executors in a row",
        ),
    ):
        made.clear()

        def maker() -> Executor:
            made.append(kind())  # noqa: B023
            return made[-1]

        tuner = make(6)
        with pytest.raises(WorkersFailed, match=message):
            tuner.optimize(lambda trial: 1.0, executor=maker)
        assert set(states(tuner)) == {"FAILED"} and len(tuner.study) <= 4
        assert all(getattr(one, "is_shut_down", True) for one in made)


def leave() -> None:
    os._exit(1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda: 3, InvalidValue, "or a function without arguments that makes one, got executor=3"),
        (lambda: ThreadPoolExecutor(1), InvalidValue, 'use backend="threads"'),
        (lambda n: n, WorkersFailed, r"the function given as executor has failed: TypeError\(.*argument"),
        (lambda: 1 / 0, WorkersFailed, r"the function given as executor has failed: ZeroDivisionError"),
        ("loky", InvalidValue, "or a function without arguments that makes one, got executor='loky'"),
    ],
)
def test_functions_that_make_no_executor(given: Any, error: Any, message: str) -> None:
    tuner = make()
    with pytest.raises(error, match=message):
        tuner.optimize(len, executor=given)
    assert len(tuner.study) == 0


def test_an_executor_that_does_not_say_how_many_workers_it_has_is_shut_down() -> None:
    made = Broken()
    made.num_workers = 0
    with pytest.raises(InvalidValue, match="Broken does not say how many workers it has"):
        make().optimize(len, executor=lambda: made)
    assert made.is_shut_down


@pytest.mark.parametrize("kind", MAKERS)
def test_workers_have_nothing_to_complain_of(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    with MAKERS[kind]() as executor:
        make(6).optimize(lambda trial: 1.0, executor=executor)
    assert "Traceback" not in capfd.readouterr().err
