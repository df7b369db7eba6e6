"""A call that is broken off at any moment was done wholly or not at all, in memory and in the files.

Each study has a twin that is never interrupted and does the same. After each interrupt the study must be what the twin
is, before the call or after it, and from then on decide as the twin does.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Study, TrialState
from fasthpo.study.state import CHANGING
from tests.support.attack_interrupts import CALLS as ALL_CALLS
from tests.support.attack_interrupts import HANDLERS, KINDS, Case
from tests.support.interrupting import (
    CALLS,
    CALLS_WITH_VECTORS,
    Interrupted,
    broken_off,
    counted,
    finish,
    handled,
    prepared_report,
    traced,
)
from tests.support.studies import VECTORS, content, load, make, make_vectors, run, step_vectors

# an interrupt in a callback of the interpreter's own, such as a weak reference's, goes nowhere
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# the steps of a call that are tried, at most; a prime distance apart, which differs from case to case
_MOST = int(os.environ.get("FASTHPO_TEST_INTERRUPTS", "36"))
_TOGETHER = 20  # interrupts of one study, so that it stays short


def _pair(sampler: str, pruner: str, strategy: str) -> tuple[Study, Study]:
    study, twin = (make(sampler, pruner, strategy) for _ in range(2))
    for _ in range(12):
        for one in (study, twin):
            run(one, one.ask())
    return study, twin


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("sampler", "pruner", "strategy"),
    [
        ("random", "median", "in-full"),
        ("tpe", "nested", "in-full"),
        ("tpe-univariate", "halving", "in-full"),
        ("cma-es", "median", "in-full"),
        ("quasi-random", "percentile", "asha"),
        ("random", "wilcoxon", "hyperband"),
        ("random-finite", "halving", "halving"),
        ("grid", "median", "in-full"),
    ],
)
def test_a_call_that_is_broken_off_was_done_wholly_or_not_at_all(
    sampler: str, pruner: str, strategy: str, name: str
) -> None:
    prepare, call = CALLS[name]
    study, twin = _pair(sampler, pruner, strategy)
    prepare(twin)
    steps = counted(lambda: call(study, prepare(study)))
    stride = max(1, steps // _MOST)
    rng = random.Random(f"{sampler} {pruner} {strategy} {name}")
    tried = [min(steps - 1, first + rng.randrange(stride)) for first in range(1, steps, stride)]
    for i, step in enumerate(tried):
        if not i % _TOGETHER:
            study, twin = _pair(sampler, pruner, strategy)
        given = prepare(study)
        prepare(twin)
        before = content(study)
        assert before == content(twin)
        was_broken_off = broken_off(lambda given=given, study=study: call(study, given), step)
        after = content(study)
        if after != before or not was_broken_off:
            call(twin, given)
        assert after == content(twin), f"{name} was broken off at step {step}"
        finish(study)
        finish(twin)
        assert content(study) == content(twin), f"{name} was broken off at step {step}"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("sampler", "pruner", "strategy"), [("random", "median", "asha"), ("tpe", "none", "in-full")])
def test_what_is_kept_is_what_the_study_has_after_a_call_was_broken_off(
    sampler: str, pruner: str, strategy: str, name: str, tmp_path: Path
) -> None:
    prepare, call = CALLS[name]
    study = make(sampler, pruner, strategy, storage=tmp_path, durability="system")
    for _ in range(12):
        run(study, study.ask())
    call(study, prepare(study))  # imports and compiles
    finish(study)
    steps = counted(lambda: call(study, prepare(study)))
    finish(study)
    for step in range(1, steps + 53, max(53, steps // _MOST)):
        given = prepare(study)
        broken_off(lambda given=given: call(study, given), step)
        told = len(study.table.segments) + len(study.table.tell_order)
        # the program ends here: all that was told before the call is there, whether the call is or not
        kept = load(tmp_path)
        assert told - 4 <= len(kept.table.segments) + len(kept.table.tell_order) <= told + 4
        finish(study)
        study.sync()
        assert content(load(tmp_path)) == content(study), f"{name} was broken off at step {step}"
    study.close()
    assert content(load(tmp_path)) == content(study)


@pytest.mark.parametrize("name", CALLS_WITH_VECTORS)
@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("has_told", [False, True])
def test_a_call_with_vectors_that_is_broken_off_was_done_wholly_or_not_at_all(
    kind: str, name: str, has_told: bool
) -> None:
    prepare, call = CALLS_WITH_VECTORS[name]
    study, twin = (make_vectors(kind) for _ in range(2))
    for one in (study, twin):
        if has_told:  # else these are the first constraints
            step_vectors(one, 3)
        for _ in range(3):
            finish_one(one)
    given = prepare(twin)
    steps = counted(lambda: call(twin, given))
    for step in range(1, steps, max(1, steps // _MOST)):
        study, twin = (make_vectors(kind) for _ in range(2))
        for one in (study, twin):
            if has_told:
                step_vectors(one, 3)
            for _ in range(3):
                finish_one(one)
        given = prepare(study)
        prepare(twin)
        before = content(study)
        assert before == content(twin)
        was_broken_off = broken_off(lambda given=given, study=study: call(study, given), step)
        after = content(study)
        if after != before or not was_broken_off:
            call(twin, given)
        assert after == content(twin), f"{name} was broken off at step {step}"
        for one in (study, twin):
            step_vectors(one, 0)
        assert content(study) == content(twin), f"{name} was broken off at step {step}"


def finish_one(study: Study) -> None:
    """A trial without constraints."""
    study.ask()
    finish(study)


@pytest.mark.parametrize("call", ["sync", "compact", "close"])
def test_writing_that_is_broken_off_loses_nothing(call: str, tmp_path: Path) -> None:
    step = 1
    study = make("random", "none", "asha", storage=tmp_path, durability="system")
    while True:
        run(study, study.ask())
        seen = content(study)
        was_broken_off = broken_off(getattr(study, call), step)
        assert content(load(tmp_path)) == seen, step
        if call == "close":
            study.close()
            assert not list(tmp_path.glob("*.tmp"))
            study = Study.load(tmp_path, durability="system")
        else:
            run(study, study.ask())
            assert content(load(tmp_path)) == content(study), step
        if not was_broken_off:
            break
        step += 7
    study.close()


def test_a_refresh_that_is_broken_off_leaves_what_was_there(tmp_path: Path) -> None:
    writer = make("random", "median", "asha", storage=tmp_path, durability="system")
    for _ in range(5):
        run(writer, writer.ask())
    reader = load(tmp_path)
    step = 1
    while True:
        seen = content(reader)
        run(writer, writer.ask())
        was_broken_off = broken_off(reader.refresh, step)
        assert content(reader) in (seen, content(writer)), step
        reader.refresh()
        assert content(reader) == content(writer), step
        if not was_broken_off:
            break
        step += 31
    assert step > 300


# what a call may run, all of which is to be interrupted
MODULES = {
    "study/study", "study/state", "study/followers", "study/scheduler", "trials/history",
    "trials/savepoint", "trials/table", "trials/reports", "trials/segments", "trials/metrics", "trials/tried",
    "trials/outcome", "trials/objectives", "trials/frozen", "trials/rebuilding", "space/partial", "space/search_space",
    "space/encoding", "values", "system/clock", "pruners/claims", "pruners/percentile", "pruners/patient",
    "pruners/successive_halving", "pruners/wilcoxon", "samplers/random", "samplers/grid", "samplers/qmc",
    "samplers/tpe/sampler", "samplers/tpe/split", "samplers/tpe/model", "samplers/tpe/observations",
    "samplers/gaussian_process", "samplers/ranks", "samplers/targets", "samplers/cma_es/sampler",
    "samplers/cma_es/evolution", "strategies/multi_fidelity", "strategies/synchronous", "strategies/asynchronous",
    "storage/store", "storage/directory_store", "storage/journal", "storage/records", "storage/framing",
    "storage/snapshot_writer", "storage/snapshot_reader", "storage/packing", "storage/checks", "storage/atomic",
    "storage/directory", "storage/lock", "storage/durability", "storage/weights",
}  # fmt: skip


def test_the_steps_that_are_interrupted_are_those_of_all_modules_on_the_way(tmp_path: Path) -> None:
    modules: set[str] = set()
    for i, kind in enumerate(KINDS[1:8]):
        study = make(*kind, storage=tmp_path / str(i))
        for _ in range(12):
            run(study, study.ask())
        for prepare, call in ALL_CALLS.values():  # the last of which closes it
            given = prepare(study)
            modules |= traced(lambda study=study, call=call, given=given: call(study, given))
            if study.storage is not None:
                finish(study)
    assert modules >= MODULES


@pytest.mark.parametrize("name", ALL_CALLS)
def test_a_signal_handler_may_close_the_study_in_the_middle_of_any_call(name: str, tmp_path: Path) -> None:
    rng = random.Random(name)
    for handler in HANDLERS:
        case = Case(rng.choice(KINDS), name, handler, tmp_path / "case", rng.random() < 0.7)
        case.sweep(max(4, _MOST // 15), math.inf, rng)
        assert not case.wrong, case.examples
        assert case.tries


def test_a_break_that_comes_while_another_one_is_made_good_is_made_good_too() -> None:
    study, twin = (make("random", "median", "asha") for _ in range(2))
    for _ in range(12):
        for one in (study, twin):
            run(one, one.ask())

    def half_done() -> None:
        """As if the call before had been broken off, and not been taken back yet."""
        study._state.stage = CHANGING

    half_done()
    steps = counted(study.ask)
    twin.ask()
    for step in range(1, steps, max(1, steps // (2 * _MOST))):
        half_done()
        broken_off(study.ask, step)
        if len(study) > len(twin) or study.table.counts != twin.table.counts:
            twin.ask()
        assert content(study) == content(twin), step
        for one in (study, twin):
            run(one, one.ask())
            finish(one)
        assert content(study) == content(twin), step


def test_a_program_whose_handler_closes_the_study_ends_as_it_says(tmp_path: Path) -> None:
    program = (
        PROGRAM
        + """
import signal
def handler(*_):
    study.close()
    sys.exit(7)
signal.signal(signal.SIGALRM, handler)
while True:
    if len(study) == 5:  # all is imported and compiled
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
    try:
        study.enqueue({"x": 0.5})
        trial = study.ask()
        trial.report(trial["x"], 0)
        study.tell(trial, trial["x"])
        os.write(1, b"%d\\n" % trial.number)
    except Exception as error:
        os.write(2, repr(error).encode())
        os._exit(1)
"""
    )
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers that signal")
    for i in range(3):
        arguments = [sys.executable, "-c", program, str(tmp_path / str(i)), str(0.05 + 0.0277 * i)]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        assert (ended.returncode, ended.stderr) == (7, "")
        told = {int(line) for line in ended.stdout.split("\n")[:-1]}
        kept = load(tmp_path / str(i))
        assert told and told <= set(kept.table.tell_order.tolist())
        assert sorted(path.name for path in (tmp_path / str(i)).glob("*.msgpack")) == [
            "checkpoint.msgpack", "journal.msgpack",
        ]  # fmt: skip


PROGRAM = """
import os, sys, threading, fasthpo
study = fasthpo.Study(
    {"x": fasthpo.Continuous(0, 1)}, sampler=fasthpo.RandomSampler(seed=0), pruner=fasthpo.MedianPruner(),
    storage=sys.argv[1],
)
"""


def test_a_program_that_ends_while_threads_still_tell_leaves_a_study_that_loads(tmp_path: Path) -> None:
    program = (
        PROGRAM
        + """
def work():
    while True:
        trial = study.ask()
        trial.report(trial["x"], 0)
        study.tell(trial, trial["x"])
        os.write(1, b"%d\\n" % trial.number)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
started = threading.Event()
started.wait(float(sys.argv[2]))
if sys.argv[3] == "now":
    os._exit(1)
"""
    )
    for i in range(5):
        where = tmp_path / str(i)
        arguments = [str(where), str(0.1 + 0.01 * i), "now" if i % 4 == 3 else "usual"]
        ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
        told = {int(line) for line in ended.stdout.split("\n")[:-1]}
        with Study.load(where) as study:  # without recover=
            assert told <= set(np.flatnonzero(study.states == TrialState.COMPLETE).tolist())
        left = {path.name for path in where.iterdir()} - {".lock"}
        assert left <= {"journal.msgpack", "checkpoint.msgpack"}


def test_an_interrupt_of_the_first_import_or_compile_leaves_numba_whole(tmp_path: Path) -> None:
    program = (
        """
import signal, sys, threading
class Stop(BaseException): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
"""
        + PROGRAM
        + """
def tell():
    trial = study.ask()
    trial.report(trial["x"], 0)
    trial.should_prune()
    study.tell(trial, trial["x"])
stops = 0
for i in range(12):
    signal.setitimer(signal.ITIMER_REAL, 0.01 + 0.03 * i)
    try:
        while True:
            tell()
    except Stop:
        stops += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
for _ in range(10):
    tell()
study.close()
print(stops)
"""
    )
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers that signal")
    cache = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}  # all is compiled anew
    arguments = [sys.executable, "-c", program, str(tmp_path / "study")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=280, env=cache)
    assert (ended.returncode, ended.stdout) == (0, "12\n"), ended.stderr


def test_a_sampler_of_the_users_own_hears_of_each_trial_if_the_study_is_broken_off() -> None:
    class Noting(fasthpo.RandomSampler):
        def __init__(self) -> None:
            super().__init__(seed=0)
            self.heard: list[int] = []

        def observe(self, table: Any, number: int) -> None:
            self.heard.append(number)

    sampler = Noting()
    study = Study({"x": fasthpo.Continuous(0, 1)}, sampler=sampler)
    step = 1
    while True:
        trial = study.ask()
        was_broken_off = broken_off(lambda trial=trial: study.tell(trial, 1.0), step)
        if trial.state == TrialState.RUNNING:
            study.tell(trial, 1.0)
        if not was_broken_off:
            break
        step += 1
    assert set(sampler.heard) == set(range(len(study)))
    # it can't be known whether a call of its own that was broken off has done its work: then it hears once more
    assert len(sampler.heard) < len(study) + 12


def test_an_error_in_a_pruner_of_the_users_own_does_not_tell_the_trial_twice() -> None:
    class Failing(fasthpo.MedianPruner):
        fails = False

        def on_end(self, table: Any, number: int) -> None:
            if self.fails:
                raise ValueError("mine")
            super().on_end(table, number)

    pruner = Failing(n_startup_trials=1)
    study = Study({"x": fasthpo.Continuous(0, 1)}, pruner=pruner)
    for value in (0.1, 0.2, 0.3):
        trial = study.ask()
        trial.report(value, 0)
        pruner.fails = value == 0.2
        if pruner.fails:
            with pytest.raises(ValueError, match="mine"):
                study.tell(trial, value)
        else:
            study.tell(trial, value)
    assert study.states.tolist() == [TrialState.COMPLETE] * 3
    late = study.ask()
    late.report(0.25, 0)
    assert late.should_prune()  # all three are there to compare with


@pytest.mark.parametrize("name", ["ask", "report", "tell", "tell_batch"])
@pytest.mark.parametrize("strategy", ["in-full", "asha"])
def test_a_signal_handler_that_returns_changes_nothing_of_the_call_that_it_came_into(
    name: str, strategy: str, tmp_path: Path
) -> None:
    prepare, call = CALLS[name]
    study = make("random", "median", strategy, storage=tmp_path / "kept", durability="system")
    twin = make("random", "median", strategy)
    for one in (study, twin):
        for _ in range(8):
            run(one, one.ask())
    step, came = 1, True
    while came and step < 4000:
        given = prepare(study)
        prepare(twin)
        before = content(twin)
        came = handled(lambda given=given: call(study, given), step, lambda: study.save(tmp_path / "copy.msgpack"))
        call(twin, given)
        assert content(study) == content(twin), step
        if came:
            assert content(load(tmp_path / "copy.msgpack")) in (before, content(twin)), step
        finish(study)
        finish(twin)
        step += 17
    assert step > 100
    study.close()
    assert content(load(tmp_path / "kept")) == content(twin)


def test_a_call_that_meets_half_a_change_is_refused_and_the_change_goes_on(tmp_path: Path) -> None:
    study, twin = (make("random", "median", "asha", **({"storage": tmp_path} if i else {})) for i in (1, 0))
    met = []

    def handler() -> None:
        for change in (study.sync, lambda: study.enqueue({"n": 3})):
            try:
                change()
                met.append("done")
            except fasthpo.StudyBusy:
                met.append("refused")

    steps = counted(lambda: study.tell(prepared_report(study), 0.5))
    twin.tell(prepared_report(twin), 0.5)
    for step in range(1, steps, 13):
        given = prepared_report(study)
        prepared_report(twin)
        before = len(study)
        handled(lambda given=given: study.tell(given, 0.5), step, handler)
        twin.tell(given, 0.5)
        for _ in range(len(study) - before):
            twin.enqueue({"n": 3})
        assert study.trials[given].state == twin.trials[given].state
        finish(study)
        finish(twin)
    assert "refused" in met


def test_samplers_and_pruners_of_the_users_own_may_call_their_study() -> None:
    class Noting(fasthpo.RandomSampler):
        study: Study

        def suggest(self, table: Any, draw: int) -> Any:
            self.study.set_attribute("draw", draw)
            return super().suggest(table, draw)

    class Counting(fasthpo.MedianPruner):
        study: Study

        def on_end(self, table: Any, number: int) -> None:
            super().on_end(table, number)
            self.study.set_attribute("ended", number)

    sampler, pruner = Noting(seed=0), Counting()
    study = Study({"x": fasthpo.Continuous(0, 1)}, sampler=sampler, pruner=pruner)
    sampler.study = pruner.study = study
    table = study.table
    for _ in range(20):
        trial = study.ask()
        trial.report(1.0, 0)
        study.tell(trial, 1.0)
    assert study.attributes == {"draw": 19, "ended": 19}
    assert study.table is table and study.states.tolist() == [TrialState.COMPLETE] * 20


def test_what_stands_after_a_break_is_on_the_disk_at_once(tmp_path: Path) -> None:
    class Failing(fasthpo.MedianPruner):
        def on_end(self, table: Any, number: int) -> None:
            raise RuntimeError("mine")

    study = Study({"x": fasthpo.Continuous(0, 1)}, pruner=Failing(), storage=tmp_path)
    trial = study.ask()
    with pytest.raises(RuntimeError, match="mine"):
        study.tell(trial, 0.5)
    assert load(tmp_path, pruner=fasthpo.MedianPruner()).best_value == 0.5


def test_an_error_of_ours_in_a_pruner_tells_the_strategy_of_the_others(tmp_path: Path) -> None:
    class Failing(fasthpo.MedianPruner):
        fails = True

        def on_end(self, table: Any, number: int) -> None:
            if self.fails:
                raise fasthpo.InvalidValue("mine")

    pruner = Failing()
    strategy = fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0))
    study = Study({"x": fasthpo.Continuous(0, 1)}, strategy=strategy, pruner=pruner)
    numbers = study.ask_batch(9).numbers
    with pytest.raises(fasthpo.InvalidValue, match="mine"):
        study.tell_batch(numbers, [math.nan, *range(8)])
    pruner.fails = False
    loaded = Study.load(study.save(tmp_path / "saved"), pruner=fasthpo.MedianPruner())
    assert [study.ask().number for _ in range(3)] == [loaded.ask().number for _ in range(3)]


def test_an_error_of_ours_costs_no_pass_over_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study({"n": fasthpo.Discrete(1, 2)}, sampler=fasthpo.GridSampler())
    table = study.table
    for _ in range(2):
        study.tell(study.ask(), 1.0)
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()
    with pytest.raises(fasthpo.TrialStateError):
        study.tell(0, 1.0)
    assert study.table is table


def test_signals_from_the_system_at_any_moment_leave_a_study_whole(tmp_path: Path) -> None:
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers that signal")
    study = make("random", "median", "asha", storage=tmp_path, durability="system")

    def alarm(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        for i in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + i * 1e-4)
                for _ in range(200):
                    run(study, study.ask())
            except Interrupted:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            finish(study)
            study.sync()
            assert content(load(tmp_path)) == content(study)
    finally:
        signal.signal(signal.SIGALRM, before)
    from_another_thread: list[Any] = []
    thread = threading.Thread(target=lambda: from_another_thread.append(study.ask()), daemon=True)
    thread.start()
    thread.join(30)
    assert from_another_thread, "a call that was broken off has kept the lock"
