"""A program that forks while another of its threads is within a call of a study, at every so many lines of it.

Run as a script, with the study's kind, whether it is kept in a directory, and how many lines are left out between two
forks. Each child reads the study, is refused every change, and ends. Prints how many there were.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import fasthpo
from fasthpo.system.log import RepeatedWarnings
from tests.support.studies import make

HOME = str(Path(fasthpo.__file__).parent)
SECONDS = 30  # that a child may take


class Steps:
    """Runs a function in a thread that stops at every `stride`th line of the library, until it is sent on."""

    def __init__(self, stride: int, first: int) -> None:
        self._stride = stride
        self._line = first
        self._stopped = threading.Semaphore(0)
        self._on = threading.Semaphore(0)
        self.where = ""
        self.error: BaseException | None = None

    def start(self, function: Callable[[], object]) -> None:
        self._is_over = False
        threading.Thread(target=self._run, args=(function,)).start()

    def _run(self, function: Callable[[], object]) -> None:
        sys.settrace(self._trace)
        try:
            function()
        except BaseException as error:
            self.error = error
        finally:
            sys.settrace(None)
            self._is_over = True
            self._stopped.release()

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "line":
            self._line += 1
            if self._line % self._stride == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                self._stopped.release()
                self._on.acquire()
        return self._trace

    def stops(self) -> bool:
        """Whether the thread has come to another such line; else the function has returned."""
        self._stopped.acquire()
        return not self._is_over

    def go_on(self) -> None:
        self._on.release()


def seen(study: fasthpo.Study) -> list[Any]:
    """What a reader sees of a study."""
    trials = [[t.state.name, t.params, t.value, t.reports, t.metrics, t.error, t.resource] for t in study.trials]
    return [trials, len(study), study.attributes, study.table.counts, study.table.best_number, study.resource_spent]


def check(study: fasthpo.Study, allowed: list[str], kept: bool, in_full: bool, folder: Path) -> None:
    """What a forked child does; in full, also that it goes on with a copy."""
    found = repr(seen(study))
    assert found in allowed, f"{found}\nis none of\n{allowed}"
    assert study.best_params == study.best_trial.params and study.trials[0].params
    running = [trial for trial in study.trials if trial.state == fasthpo.TrialState.RUNNING]
    changes: list[Callable[[], object]] = [
        study.ask, lambda: study.ask_batch(2), lambda: study.enqueue({}), lambda: study.set_attribute("b", 1),
        lambda: study.add_trials({name: [] for name in study.space.names}, []),
        lambda: study.tell_batch([], []), lambda: study.keep_checkpoints("best"),
    ]  # fmt: skip
    for trial in running[:1]:
        changes += [lambda: study.tell(trial, 1.0), lambda: trial.report(0.5, 77)]  # noqa: B023
    changes += [study.compact, study.sync] if kept else []
    for change in changes:
        try:
            change()
        except fasthpo.StudyReadOnly:
            continue
        raise AssertionError(f"{change} was not refused")
    fasthpo.system.log.logger.warning("a warning of a child")
    if in_full:
        study.save(folder / "child.msgpack")
        assert repr(seen(fasthpo.Study.load(folder / "child.msgpack"))[0][:1]) == repr(seen(study)[0][:1])
        study.keep_at(folder / str(os.getpid()))  # as a study of its own
        study.tell(study.ask(), state=fasthpo.TrialState.FAILED)
    study.trial_checkpoint_dir(0)
    study.close()
    assert in_full or repr(seen(study)) in allowed


def wait(pid: int) -> int | None:
    """A child's exit code; None if it hangs, and was killed."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def operations(study: fasthpo.Study, folder: Path) -> list[Callable[[], object]]:
    """Calls one after the other, each of them once."""
    trials: list[fasthpo.Trial] = []
    batches: list[Any] = []

    def report_and_prune() -> None:
        trials[0].report(0.25, 3)
        trials[0].should_prune()

    return [
        lambda: trials.append(study.ask()),
        report_and_prune,
        lambda: study.enqueue({"x": 0.5}),
        lambda: trials.append(study.ask()),
        lambda: study.set_attribute("a", [1, 2]),
        lambda: trials[0].checkpoint_dir,
        lambda: study.tell(trials[0], 0.125, metrics={"m": 2.0}),
        lambda: batches.append(study.ask_batch(3)),
        lambda: study.tell_batch(batches[0].numbers, [0.1, float("nan"), 0.3]),
        lambda: study.tell(trials[1], state=fasthpo.TrialState.FAILED, error="failed"),
        study.sync,
        study.compact,
        lambda: study.save(folder / "saved.msgpack"),
    ]


def prepared(kind: list[str], directory: Path | None) -> fasthpo.Study:
    study = make(*kind, storage=directory)
    for i in range(4):
        trial = study.ask()
        trial.report(float(i), 3)
        trial.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        study.tell(trial, float(i))
    while study.table.best_number is None:  # under a multi-fidelity strategy
        study.tell(study.ask(), 1.0)
    study.ask()
    return study


def main() -> None:
    kind, kept, stride, folder = sys.argv[1].split("/"), sys.argv[2] == "kept", int(sys.argv[3]), Path(sys.argv[4])
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    logging.getLogger("fasthpo").addHandler(logging.NullHandler())
    logging.getLogger("fasthpo").propagate = False
    model = prepared(kind, folder / "model" if kept else None)
    allowed = [repr(seen(model))]
    for operation in operations(model, folder):
        operation()
        allowed.append(repr(seen(model)))
    model.close()

    study = prepared(kind, folder / "study" if kept else None)
    assert repr(seen(study)) == allowed[0]
    steps, forks = Steps(stride, 0), 0
    with RepeatedWarnings():
        for i, operation in enumerate(operations(study, folder)):
            steps.start(operation)
            while steps.stops():
                forks += 1
                pid = os.fork()
                if not pid:
                    code = 1
                    try:
                        check(study, allowed[i : i + 2], kept, forks % 5 == 0, folder)  # before the call, or after it
                        code = 0
                    except BaseException:
                        traceback.print_exc()
                    if forks % 5:
                        sys.stderr.flush()
                        os._exit(code)
                    sys.exit(code)
                code = wait(pid)
                if code != 0:
                    print("a child", "hangs" if code is None else f"ends with {code}", "at", steps.where, flush=True)
                    os._exit(1)
                steps.go_on()
            assert steps.error is None, repr(steps.error)
            assert repr(seen(study)) == allowed[i + 1]
    study.close()
    print(forks)


if __name__ == "__main__":
    main()
