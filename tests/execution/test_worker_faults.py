"""Broken trials in worker processes: none costs more than itself, and no process is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fasthpo import HyperparameterCallback, InvalidValue, Trial, TrialPruned, WorkersFailed
from fasthpo.execution import connection as wire
from fasthpo.execution.messages import Says, pack
from tests.support.backends import Recorder
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    yield
    assert {child.pid for child in me.children(recursive=True)} == before


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that its parent has not collected has, too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def wait_until_gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(pid).wait(timeout=30)
    assert is_gone(pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_exceptions_that_cant_say_what_they_are(workers: int) -> None:
    def objective(trial: Trial) -> float:
        class Broken(RuntimeError):
            def __str__(self) -> str:
                raise KeyError("missing")

        class Pruned(TrialPruned, Broken):
            __str__ = Broken.__str__

        if trial.number < 2:
            raise Broken if trial.number else Pruned
        return 1.0

    tuner = make(4)
    tuner.optimize(objective, workers=workers)
    assert states(tuner) == ["PRUNED", "FAILED", "COMPLETE", "COMPLETE"]
    assert "Broken: <exception str() failed>" in (tuner.study.trials[1].error or "")


def test_a_message_that_is_too_long_for_the_wire_is_cut() -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise ValueError("begin" + "\U0001f600" * 2**24 + "end")
        return 1.0

    tuner = make(3)
    tuner.optimize(objective, workers=2)
    error = tuner.study.trials[1].error or ""
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"] and "ValueError: begin" in error
    assert error.endswith("end") and "characters are left out" in error and len(error) < 2**23 + 100


def segfault() -> None:
    import faulthandler

    faulthandler._sigsegv()


WAYS_TO_DIE = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended by signal 9 (SIGKILL, as the system does when"),
    "segfault": (segfault, "ended by signal 11 (SIGSEGV)"),
    "abort": (os.abort, "ended by signal 6 (SIGABRT)"),
    "exit": (lambda: os._exit(3), "its process ended with exit code 3"),
    "exit as if well": (lambda: os._exit(0), "its process ended with exit code 0"),
    "closed": (lambda: (os.closerange(3, 1000), threading.Event().wait()), "its worker process hung up"),
}


@posix
@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_a_worker_dies(way: str) -> None:
    die, reason = WAYS_TO_DIE[way]
    tuner = make(8)
    recorder = Recorder()

    def objective(trial: Trial) -> float:
        trial.report(0.5, step=0)
        if trial.number in (1, 4):
            die()
        return 1.0

    result = tuner.add_callback(recorder).optimize(objective, workers=2)
    expected = ["FAILED" if number in (1, 4) else "COMPLETE" for number in range(8)]
    assert states(tuner) == expected and result.stop_reason == "max_trials"
    for number in (1, 4):
        assert reason in (tuner.study.trials[number].error or "")
        assert recorder.errors[number] == tuner.study.trials[number].error
        assert tuner.study.trials[number].reports == {0: 0.5}  # said before, and not lost


@posix
def test_lost_workers_are_tried_again(tmp_path: Path) -> None:
    """As often as asked, under the same number, from where the trial's directory says."""

    def objective(trial: Trial) -> float:
        file = trial.checkpoint_dir / "epoch"
        begin = int(file.read_text()) if file.exists() else 0
        for epoch in range(begin, 5):
            trial.report(float(epoch), step=epoch)
            file.write_text(str(epoch + 1))
            if trial.number == 2 and epoch in (1, 3):
                os.kill(os.getpid(), signal.SIGKILL)
            if trial.number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        return float(begin)

    recorder = Recorder()
    tuner = make(5, output_dir=tmp_path, save_checkpoints=True).add_callback(recorder)
    tuner.optimize(objective, workers=2, retries=2)
    assert states(tuner) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAILED", "COMPLETE"]
    assert tuner.study.trials[2].value == 4.0  # the third attempt began where the second was lost
    assert tuner.study.trials[2].reports == {epoch: float(epoch) for epoch in range(5)}
    assert recorder.of(2) in (["start", "retried", "retried", "complete"],
                              ["start", "retried", "retried", "best", "complete"])  # fmt: skip
    assert recorder.of(3) == ["start", "retried", "retried", "failed"]
    assert len(tuner.study) == 5


def test_a_trial_that_hangs(tmp_path: Path) -> None:
    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> dict[str, float]:
            if trial.number in (0, 3):
                (tmp_path / f"{trial.number}").write_text(str(os.getpid()))
                arrive(address)
            return {"loss": 1.0, "pid": os.getpid()}

        tuner = make(6, objective_metric="loss")
        tuner.optimize(objective, workers=2, trial_timeout=1.5, retries=2)
    assert states(tuner) == ["FAILED", "COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    for number in (0, 3):  # a lost worker is tried again, but not what would take its time once more
        error = tuner.study.trials[number].error
        assert error == "it took longer than trial_timeout=1.5 seconds, and its process was ended"
        assert is_gone(int((tmp_path / str(number)).read_text()))


def test_a_hang_that_holds_the_interpreter() -> None:
    """No signal handler and no thread of the worker can run: only its process can be ended."""

    def objective(trial: Trial) -> float:
        if trial.number == 0:
            return float(sum(10**12345 % (10**54321 + i) for i in range(1)) * 0 + pow(7, 10**9 + 7, 10**400_000))
        return 1.0

    tuner = make(2)
    tuner.optimize(objective, trial_timeout=1.0)  # one worker, in a process because of the limit
    assert states(tuner) == ["FAILED", "COMPLETE"]


def test_a_trial_that_takes_too_much_memory() -> None:
    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            if trial.number == 1:
                taken = []
                while True:
                    taken.append(bytearray(2**25))
            if trial.number == 2:  # in a process of its own
                import subprocess
                import sys

                code = "import sys; taken = bytearray(2**30); sys.stdin.read()"
                with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE):
                    arrive(address)
            return 1.0

        tuner = make(5)
        tuner.optimize(objective, workers=2, trial_memory=2**29, retries=1)
    assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "COMPLETE", "COMPLETE"]
    for number in (1, 2):
        trial = tuner.study.trials[number]
        assert "more than trial_memory=512 MiB, and was ended" in (trial.error or "")
        assert trial.metrics["peak_memory"] > 2**29


def test_what_a_trial_leaves_behind_in_memory_is_not_counted_against_the_next() -> None:
    leaked: list[bytearray] = []

    def objective(trial: Trial) -> float:
        leaked.append(bytearray(6 * 2**26))  # stays in the worker
        return float(len(leaked))

    tuner = make(4)
    tuner.optimize(objective, trial_memory=2**29)
    assert states(tuner) == ["COMPLETE"] * 4
    assert set(tuner.study.values) == {1.0}  # each has had a fresh process


def test_python_itself_runs_out_of_memory() -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise MemoryError("no room")
        return 1.0

    tuner = make(3)
    tuner.optimize(objective, workers=2, retries={"error": 5, "memory": 0})
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]


NONSENSE = {
    "no msgpack": b"\xc1\xc1\xc1",
    "a number": b"\x05",
    "an unknown message": pack([99, "?"]),
    "a report without a step": pack([Says.REPORT, 1.0]),
    "a step that is none": pack([Says.REPORT, 1.0, "first"]),
    "what may not be read": pack([Says.READ, "__class__"]),
    "the end of another trial": pack([Says.DONE, [7, 1.0, {}, None, None, ""], False]),
    "an end of no kind": pack([Says.DONE, [1, None, {}, None, None, ""], False]),
    "an end of every kind": pack([Says.DONE, [1, 1.0, {}, "", "lost", ""], False]),
    "metrics that are none": pack([Says.DONE, [1, 1.0, {"a": "b"}, None, None, ""], False]),
    "NaN": pack([Says.DONE, [1, float("nan"), {}, None, None, ""], False]),
    "a greeting in between": pack([Says.HELLO, 1]),
    "half a message, and a hang": pack([Says.REPORT, 1.0, 1])[:-1],
    "a long message of which little comes": b"\x92\x04\xdb\x00\xff\xff\xff" + b"x" * 100,
    "more than there may be": b"\xdd\xff\xff\xff\xff" + b"\x01" * 100,
    "empty mappings": b"\xdd\x03\x93\x87\x00" + b"\x80" * 60_000_000,
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_worker_talks_nonsense(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nonsense = NONSENSE[kind]
    monkeypatch.setattr(wire, "_MESSAGE_SECONDS", 1.0)

    def objective(trial: Trial) -> float:
        trial.report(0.5, step=0)
        if trial.number == 1:
            trial._source._line.wire.socket.sendall(nonsense)
            threading.Event().wait()
        return 1.0

    tuner = make(6)
    tuner.optimize(objective, workers=2)
    assert states(tuner) == ["COMPLETE", "FAILED", *["COMPLETE"] * 4]
    assert "its worker process was ended, because" in (tuner.study.trials[1].error or "")
    assert tuner.study.trials[1].reports == {0: 0.5}


@posix
@pytest.mark.parametrize("system", ["with waitid", "without"])
def test_children_of_a_worker_end_with_it(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if they hold on to its connection, so that it does not seem to have ended."""
    if system == "without":  # as macOS is before Python 3.13
        monkeypatch.delattr(os, "waitid", raising=False)

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            child = os.fork()
            if not child:
                threading.Event().wait()
            (tmp_path / "child").write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    tuner = make(4)
    tuner.optimize(objective, workers=2)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    wait_until_gone(int((tmp_path / "child").read_text()))


def test_workers_that_can_not_load_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone_later.py").write_text("def objective(trial): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    import gone_later  # type: ignore[import-not-found]

    (tmp_path / "gone_later.py").unlink()
    tuner = make(4)
    with pytest.raises(WorkersFailed, match=r"(?s)can't load the objective:.*No module named 'gone_later'"):
        tuner.optimize(gone_later.objective, workers=2)
    assert set(states(tuner)) == {"FAILED"}


def test_workers_that_end_before_they_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves.py").write_text(
        "import os\nif os.environ.get('LEAVE'): os._exit(9)\ndef f(trial): return 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import leaves  # type: ignore[import-not-found]

    monkeypatch.setenv("LEAVE", "1")
    with pytest.raises(WorkersFailed, match=r"3 worker processes in a row .* its process ended with exit code 9"):
        make(4).optimize(leaves.f, workers=2)


def test_objectives_that_can_not_be_sent() -> None:
    lock = threading.Lock()

    def objective(trial: Trial) -> float:
        with lock:
            return 1.0

    tuner = make(2)
    with pytest.raises(InvalidValue, match=r"can't be sent to another process: .*lock.*; make what it needs inside"):
        tuner.optimize(objective, workers=2)
    assert len(tuner.study) == 0
    assert tuner.optimize(objective, workers=2, backend="threads").best_value == 1.0


def test_a_tuner_in_a_worker_says_what_it_has_not() -> None:
    tuner = make(1)
    tuner.optimize(lambda trial: tuner.study.best_value, workers=2)
    assert "in a worker a tuner has config, early_stopping() and stop() only, and no 'study'" in (
        tuner.study.trials[0].error or ""
    )


def test_a_thread_that_reports_after_its_trial() -> None:
    """The line is the next trial's by then."""

    def objective(trial: Trial) -> float:
        import builtins

        old = getattr(builtins, "old_trial", None)
        builtins.old_trial = trial  # type: ignore[attr-defined]
        if old is not None:
            with contextlib.suppress(RuntimeError):
                old.report(9.0, step=9)
        trial.report(1.0, step=0)
        return 1.0

    tuner = make(3)
    tuner.optimize(objective, backend="processes")
    assert [trial.reports for trial in tuner.study.trials] == [{0: 1.0}] * 3


# --- Ctrl-C, and the end of the program

SCRIPT = """
import os, sys, socket, threading
import fasthpo
from tests.support.gates import arrive

address = ("127.0.0.1", int(sys.argv[1]))
tuner = fasthpo.HyperparameterTuner.with_random_search(
    fasthpo.TunerConfig("s", max_trials=1000), {"x": fasthpo.Continuous(0, 1)}
)

def objective(trial):  # no `if __name__ == "__main__"` below
    print("running", trial.number, os.getpid(), flush=True)
    arrive(address)
    return trial["x"]

result = tuner.optimize(objective, workers=2)
print("ended", result.stop_reason, [trial.state.name for trial in result.trials], flush=True)
"""


@pytest.fixture
def script(tmp_path: Path, repository: Path) -> Iterator[Any]:
    """Starts the script, whose trials wait at a gate; it, the gate and the processes of its workers."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with (
        Gate() as gate,
        subprocess.Popen(
            [sys.executable, "-W", "error", file, str(gate.address[1])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            gate.wait_for(2)
            assert process.stdout is not None
            lines = [process.stdout.readline().split() for _ in range(2)]
            yield process, gate, [int(pid) for _, _, pid in lines]
        finally:
            process.kill()


@posix
def test_ctrl_c_once_ends_after_the_running_trials(script: Any) -> None:
    process, gate, pids = script
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers in the same group would get it, too
    assert "interrupted: the run ends after the 2 trials that are running" in process.stderr.readline()
    gate.open()
    out, errors = process.communicate(timeout=60)
    assert out.split("\n")[0] == "ended interrupted ['COMPLETE', 'COMPLETE']" and not errors
    assert process.returncode == 0 and all(map(is_gone, pids))


@posix
def test_ctrl_c_twice_ends_at_once(script: Any) -> None:
    process, _, pids = script
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert out.split("\n")[0] == "ended interrupted ['FAILED', 'FAILED']"
    assert errors.count("failed: interrupted") == 2
    assert process.returncode == 0 and all(map(is_gone, pids))


@posix
def test_workers_end_with_the_program_whatever_happens_to_it(script: Any) -> None:
    process, _, pids = script
    assert not any(map(is_gone, pids))
    process.kill()
    for pid in pids:
        wait_until_gone(pid)


def test_ctrl_c_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: after the running trials. Twice: at once; the threads are left to themselves."""

    class Impatient(HyperparameterCallback):
        def __init__(self, times: int) -> None:
            self.times = times

        def on_trial_start(self, trial: Trial) -> None:
            if trial.number % 2:
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)

    with Gate(opens_at=2) as gate:
        address = gate.address
        tuner = make(10).add_callback(Impatient(1))
        result = tuner.optimize(lambda trial: arrive(address) or 1.0, workers=2, backend="threads")
        assert (result.stop_reason, states(tuner)) == ("interrupted", ["COMPLETE"] * 2)
    with Gate() as gate:
        address = gate.address
        tuner = make(10).add_callback(Impatient(2))
        result = tuner.optimize(lambda trial: arrive(address) or 1.0, workers=2, backend="threads")
        assert (result.stop_reason, states(tuner)) == ("interrupted", ["FAILED"] * 2)
        assert {trial.error for trial in result.trials} == {"interrupted"}


# --- notebooks


def test_an_objective_of_an_interactive_session() -> None:
    """Its functions, like those of a notebook, are in no file that a worker could import."""
    code = """
import os, json, fasthpo
unit = 2.0
def helper(x):
    return unit * x
def objective(trial):
    return helper(trial["x"])
tuner = fasthpo.HyperparameterTuner.with_random_search(fasthpo.TunerConfig("s", max_trials=4, seed=0), {"x": fasthpo.Continuous(0, 1)})
result = tuner.optimize(objective, workers=2)
print(json.dumps([list(result.study.values), [2 * trial["x"] for trial in result.trials]]))
"""
    command = [sys.executable, "-W", "error", "-"]
    done = subprocess.run(command, input=code, capture_output=True, encoding="utf-8", timeout=120)
    values, expected = json.loads(done.stdout.strip().splitlines()[-1])
    assert values == expected and len(values) == 4, done.stderr


def test_a_stranger_is_not_let_in() -> None:
    """Who connects to a run's port and does not know its key can do nothing, and holds up nobody."""

    class Stranger(HyperparameterCallback):
        def __init__(self) -> None:
            self.held: list[socket.socket] = []

        def on_study_start(self, config: Any) -> None:
            from fasthpo.execution import connection as wire

            original = wire.ConnectionServer.__init__

            def visited(board: Any, *arguments: Any) -> None:
                original(board, *arguments)
                for k in range(3):
                    one = socket.create_connection(("127.0.0.1", board.port))
                    self.held.append(one)
                    if k:
                        one.sendall(pack([Says.HELLO, 1]) * k)

            wire.ConnectionServer.__init__ = visited  # type: ignore[method-assign]
            self.restore = lambda: setattr(wire.ConnectionServer, "__init__", original)

        def on_study_end(self, config: Any, statistics: Any) -> None:
            self.restore()
            for one in self.held:
                one.close()

    tuner = make(4).add_callback(Stranger())
    tuner.optimize(lambda trial: 1.0, workers=2)
    assert states(tuner) == ["COMPLETE"] * 4
