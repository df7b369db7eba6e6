"""What the tests of interrupts, exits and lost directories try in part, tried as long as wanted; prints figures.

    python -m tests.support.attack_interrupts sweep --seconds 480    a call is interrupted before each of its steps
    python -m tests.support.attack_interrupts signals --seconds 60   signals of the system at any moment
    python -m tests.support.attack_interrupts exits --count 500      programs end while their threads tell

Every figure but the number of tries should be 0.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fasthpo
from fasthpo import Study, TrialState
from fasthpo.study.state import CHANGING
from tests.support import interrupting
from tests.support.interrupting import Interrupted, broken_off, counted, finish, handled, prepared_report, traced
from tests.support.studies import content, load, make, run

WRONG = ("can't be loaded", "later errors", "lost", "told twice", "otherwise different")

# --- what is interrupted


def _broken(study: Study) -> None:
    """As if the call before had been broken off, and not been taken back yet."""
    study._state.stage = CHANGING


CALLS: dict[str, tuple[Callable[[Study], Any], Callable[[Study, Any], Any]]] = {
    **interrupting.CALLS,
    "ask-after-break": (_broken, lambda study, _: study.ask()),
    "ask-promoted": (lambda study: None, lambda study, _: study.ask_within(new=False)),
    "keep_checkpoints": (lambda study: None, lambda study, _: study.keep_checkpoints("best")),
    "sync": (prepared_report, lambda study, _: study.sync()),
    "compact": (prepared_report, lambda study, _: study.compact()),
    "close": (prepared_report, lambda study, _: study.close()),
}


# --- in the middle of a call: what a handler does with the study, and whether it returns


def _exit(study: Study, copy: Path) -> NoReturn:
    sys.exit(143)


def _close_and_exit(study: Study, copy: Path) -> NoReturn:
    study.close()
    sys.exit(143)


HANDLERS: dict[str, Callable[[Study, Path], Any] | None] = {
    "raises": None,
    "exits": _exit,
    "closes and exits": _close_and_exit,
    "closes and returns": lambda study, copy: study.close(),
    "saves and returns": lambda study, copy: study.save(copy),
}


def interrupted(call: Callable[[], Any], step: int, handler: str, study: Study, copy: Path) -> bool:
    """Make a call with a handler in the middle of it; whether the call came that far."""
    then = HANDLERS[handler]
    if then is None:
        return broken_off(call, step)
    try:
        return handled(call, step, lambda: then(study, copy))
    except SystemExit as ended:
        assert ended.code == 143
        return True
    except fasthpo.StudyClosed:  # by the handler, before the call had begun
        assert "closes" in handler
        return True


def judge(found: str, allowed: tuple[str, ...], told: int, expected: tuple[int, ...]) -> str | None:
    """What is wrong with what a study has, if anything is."""
    if found in allowed:
        return None
    return "lost" if told < min(expected) else "told twice" if told > max(expected) else "otherwise different"


def told(study: Study) -> int:
    """How many tells a study has heard."""
    return len(study.table.tell_order) + len(study.table.segments)


class Case:
    """One kind of study, one call and one handler.

    Args:
        kind: sampler, pruner and strategy.
        name: of the call.
        handler: of `HANDLERS`.
        where: for its files, which goes.
        kept: whether the study is kept in a directory; else it is in memory.
    """

    def __init__(self, kind: tuple[str, str, str], name: str, handler: str, where: Path, kept: bool) -> None:
        self.kind, self.name, self.handler, self.where, self.kept = kind, name, handler, where, kept
        self.prepare, self.call = CALLS[name]
        self.wrong: Counter[str] = Counter()
        self.tries = self.steps = 0
        self.examples: list[str] = []

    def begin(self) -> tuple[Study, Study]:
        shutil.rmtree(self.where, ignore_errors=True)
        self.where.mkdir(parents=True)
        options: dict[str, Any] = {"storage": self.where / "kept", "durability": "system"} if self.kept else {}
        study, twin = make(*self.kind, **options), make(*self.kind)
        for _ in range(12):
            for one in (study, twin):
                run(one, one.ask())
        return study, twin

    def sweep(self, most: int, until: float, rng: random.Random) -> None:
        study, twin = self.begin()
        self.call(study, self.prepare(study))  # imports and compiles
        study, twin = self.begin()
        self.steps = counted(lambda: self.call(study, self.prepare(study)))
        steps = list(range(1, self.steps + 1))
        rng.shuffle(steps)
        for i, step in enumerate(steps[:most]):
            if time.monotonic() > until:
                return
            if not i % 15 or study is None:
                study, twin = self.begin()
            self.tries += 1
            try:
                study, twin = self.try_at(step, study, twin)
            except Exception as error:  # whatever comes is a finding
                self.note("later errors", f"step {step}: {traceback.format_exc(limit=-4)}")
                del error
                study, twin = self.begin()

    def note(self, what: str, example: str) -> None:
        self.wrong[what] += 1
        self.examples.append(f"{self.kind} {self.name} {self.handler} kept={self.kept}: {what}: {example}")

    def try_at(self, step: int, study: Study, twin: Study) -> tuple[Study, Study]:
        """Interrupt the call at a step; the study and its twin to go on with."""
        copy = self.where / "copy.msgpack"
        copy.unlink(missing_ok=True)
        given = self.prepare(study)
        self.prepare(twin)
        before, told_before = content(twin), told(twin)
        if content(study) != before:
            self.note("otherwise different", f"before step {step}")
            return self.begin()
        came = interrupted(lambda: self.call(study, given), step, self.handler, study, copy)
        after = content(study)
        if after != before or not came or self.handler == "saves and returns":
            self.call(twin, given)
        expected = (told_before, told(twin))
        wrong = judge(after, (before, content(twin)), told(study), expected)
        if wrong is None and after != content(twin):
            wrong = "otherwise different"
        if wrong is not None:
            self.note(wrong, f"step {step}")
        if copy.exists():
            saved = load(copy)
            wrong = judge(content(saved), (before, after), told(saved), expected)
            if wrong is not None:
                self.note(wrong, f"step {step}, what the handler saved")
        closes = (came and "closes" in self.handler) or self.name == "close"
        if closes and "closes" not in self.handler:
            study.close()  # which may have been broken off
        if self.kept:
            if not closes:
                study.sync()
            try:
                kept = load(self.where / "kept")
            except fasthpo.FastHPOError as error:
                self.note("can't be loaded", f"step {step}: {error}")
                return self.begin()
            wrong = judge(content(kept), (after,), told(kept), (told(study),))
            if wrong is not None:
                self.note(wrong, f"step {step}, in the files")
        if closes:
            study, twin = self.take_up_again(study, twin, step)
        finish(study)
        finish(twin)
        if content(study) != content(twin):
            self.note("otherwise different", f"step {step}, from then on")
            return self.begin()
        return study, twin

    def take_up_again(self, study: Study, twin: Study, step: int) -> tuple[Study, Study]:
        """After the study was closed: load it, and its twin as it was saved."""
        try:
            study.set_attribute("late", 1)
            self.note("otherwise different", f"step {step}: it is open")
        except fasthpo.StudyClosed:
            pass
        again = Study.load(self.where / "kept") if self.kept else Study.load(study.save(self.where / "closed.msgpack"))
        return again, Study.load(twin.save(self.where / "twin.msgpack"))


KINDS = [
    ("random", "median", "in-full"), ("tpe", "nested", "in-full"), ("tpe-univariate", "halving", "in-full"),
    ("cma-es", "median", "in-full"), ("quasi-random", "percentile", "asha"), ("random", "wilcoxon", "hyperband"),
    ("random-finite", "halving", "halving"), ("grid", "threshold", "in-full"), ("tpe-finite", "none", "asha"),
    ("cma-es-finite", "percentile", "hyperband-asynchronous"), ("grid-shuffled", "none", "asha-not-resumable"),
]  # fmt: skip


def sweep(seconds: float, most: int, seed: int) -> bool:
    rng = random.Random(seed)
    cases = list(itertools.product(KINDS, CALLS, HANDLERS, (False, True)))
    rng.shuffle(cases)
    totals: dict[tuple[str, str], Counter[str]] = {}
    modules: set[str] = set()
    examples: list[str] = []
    end = time.monotonic() + seconds
    calls = 0
    with tempfile.TemporaryDirectory() as directory:
        for kind in KINDS:  # so that all is imported, compiled and named
            study = make(*kind, storage=Path(directory) / "modules")
            for prepare, call in CALLS.values():
                modules |= traced(lambda study=study, prepare=prepare, call=call: call(study, prepare(study)))
                if study.storage is not None:
                    finish(study)
            shutil.rmtree(Path(directory) / "modules")
        for i, (kind, name, handler, kept) in enumerate(cases):
            left = end - time.monotonic()
            if left < 0:
                break
            case = Case(kind, name, handler, Path(directory) / "case", kept)
            case.sweep(most, time.monotonic() + left / (len(cases) - i) * 3, rng)
            total = totals.setdefault((handler, "kept" if kept else "in memory"), Counter())
            total.update(case.wrong)
            total["interrupts"] += case.tries
            total["steps"] += case.steps
            examples += case.examples
            calls += 1
    print(f"{calls} of {len(cases)} cases; modules in the trace: {', '.join(sorted(modules))}")
    return report(totals, "interrupts", examples)


def report(totals: dict[tuple[str, str], Counter[str]], what: str, examples: list[str]) -> bool:
    """Print a table; whether all is right."""
    print(f"{'':42}{what:>12}" + "".join(f"{wrong:>21}" for wrong in WRONG))
    for key, total in sorted(totals.items()):
        print(f"{', '.join(key):42}{total[what]:12}" + "".join(f"{total[wrong]:21}" for wrong in WRONG))
    sums = sum(totals.values(), Counter())
    print(f"{'all':42}{sums[what]:12}" + "".join(f"{sums[wrong]:21}" for wrong in WRONG))
    for example in examples[:20]:
        print("\n" + example)
    return not any(sums[wrong] for wrong in WRONG)


# --- signals of the system


def _alarm(*_: object) -> None:
    raise Interrupted


def check(study: Study, where: Path, ended: set[int], total: Counter[str], examples: list[str]) -> None:
    """Compare what was told, the study, and its files."""
    has = set(study.table.tell_order.tolist()) | set(study.table.segments.column("trial").tolist())
    total["lost"] += len(ended - has)
    if len(np.unique(study.table.tell_order)) != len(study.table.tell_order):
        total["told twice"] += 1
    try:
        study.sync()
        kept = load(where)
    except fasthpo.FastHPOError as error:
        total["can't be loaded"] += 1
        examples.append(repr(error))
        return
    if content(kept) != content(study):
        total["otherwise different"] += 1


def signals(seconds: float, seed: int) -> bool:
    rng = random.Random(seed)
    totals: dict[tuple[str, str], Counter[str]] = {}
    examples: list[str] = []
    signal.signal(signal.SIGALRM, _alarm)
    for what, strategy in (("enqueue, ask, tell", "in-full"), ("cells", "asha")):
        total = totals.setdefault((what, "kept"), Counter())
        end = time.monotonic() + seconds / 3
        while time.monotonic() < end:
            with tempfile.TemporaryDirectory() as directory:
                where = Path(directory) / "study"
                study = make("random", "median", strategy, storage=where, durability="system")
                ended: set[int] = set()
                for _ in range(40):
                    total["interrupts"] += 1
                    until = time.monotonic() + 0.5  # one that comes into a weak reference's callback goes nowhere
                    try:
                        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 0.02))
                        while time.monotonic() < until:
                            if strategy == "in-full":
                                study.enqueue({"n": 3, "c": "a"})
                            trial = study.ask()
                            trial.report(trial["x"], trial.start_resource)
                            study.tell(trial, trial["x"])
                            ended.add(trial.number)
                    except Interrupted:
                        pass
                    except Exception:
                        total["later errors"] += 1
                        examples.append(traceback.format_exc(limit=-4))
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    check(study, where, ended, total, examples)
                    finish(study)
                study.close()
    total = totals.setdefault(("a batch of 100,000", "kept"), Counter())
    end = time.monotonic() + seconds / 3
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as directory:
            batch_run(Path(directory) / "study", rng, total, examples)
    return report(totals, "interrupts", examples)


def batch_run(where: Path, rng: random.Random, total: Counter[str], examples: list[str]) -> None:
    """A run of one batch of 100,000 trials, interrupted five times in ask_batch or tell_batch."""
    study = make("random", "none", storage=where, durability="system")
    for _ in range(5):
        total["interrupts"] += 1
        before, done = len(study.table.tell_order), False
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0, 0.6))
            numbers = study.ask_batch(100_000).numbers
            study.tell_batch(numbers, np.arange(len(numbers), dtype=float))
            done = True
            study.compact()
        except Interrupted:
            pass
        except Exception:
            total["later errors"] += 1
            examples.append(traceback.format_exc(limit=-4))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            study.sync()
            kept = load(where)
        except fasthpo.FastHPOError as error:
            total["can't be loaded"] += 1
            examples.append(repr(error))
            return
        order = kept.table.tell_order
        total["lost"] += len(order) < before + 100_000 * done
        total["told twice"] += len(np.unique(order)) != len(order) or len(order) % 100_000 != 0
        total["otherwise different"] += not (
            np.array_equal(kept.states, study.states)
            and np.array_equal(kept.values, study.values, equal_nan=True)
            and np.array_equal(kept.table.params, study.table.params, equal_nan=True)
        )
        if len(study) > 500_000:
            return


# --- the end of a program

WAYS = ("return", "exit", "exception", "SIGTERM", "os._exit", "SIGKILL", "a handler that closes")
THREADS = ("daemon", "not daemon", "a pool", "a tuner")


def _tell_for_ever(study: Study, until: float, out: int) -> None:
    while time.monotonic() < until:
        trial = study.ask()
        trial.report(trial["x"], 0)
        study.tell(trial, trial["x"])
        os.write(out, b"%d\n" % trial.number)


class _Noting(fasthpo.HyperparameterCallback):
    def __init__(self, out: int) -> None:
        self.out = out

    def on_trial_complete(self, trial: fasthpo.Trial) -> None:
        os.write(self.out, b"%d\n" % trial.number)


def _tune(where: Path, out: int) -> None:
    config = fasthpo.TunerConfig("study", max_trials=10**6, output_dir=where, save_checkpoints=True, seed=0)
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"x": fasthpo.Continuous(0, 1)})
    tuner.add_callback(_Noting(out)).optimize(lambda trial: trial["x"])


def end_with_threads(where: Path, way: str, threads: str, seconds: float, out: int) -> None:
    """What a program does whose threads tell when it ends; it returns if that is the way in which it ends."""
    if threads == "a tuner":
        threading.Thread(target=_tune, args=(where, out), daemon=True).start()
    else:
        study = Study(
            {"x": fasthpo.Continuous(0, 1)}, sampler=fasthpo.RandomSampler(seed=0), pruner=fasthpo.MedianPruner(),
            storage=where / "study", durability="system",
        )  # fmt: skip
        if way == "a handler that closes":

            def handler(*_: object) -> None:
                study.close()
                sys.exit(0)

            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        until = time.monotonic() + (1e9 if threads == "daemon" else seconds + 0.05)
        if threads == "a pool":
            from concurrent.futures import ThreadPoolExecutor

            pool = ThreadPoolExecutor(3)
            for _ in range(3):
                pool.submit(_tell_for_ever, study, until, out)
        else:
            for _ in range(3):
                arguments = (study, until, out)
                threading.Thread(target=_tell_for_ever, args=arguments, daemon=threads == "daemon").start()
        if way == "a handler that closes":
            _tell_for_ever(study, until, out)
    time.sleep(seconds if way not in ("SIGTERM", "SIGKILL") else seconds + 30)
    if way == "exit":
        sys.exit(3)
    if way == "exception":
        raise RuntimeError("as wanted")
    if way == "os._exit":
        os._exit(4)


def ended_program(where: Path, way: str, threads: str, seconds: float) -> set[int] | None:
    """Fork a program that ends; the trials of which it was sure that they were told. None in that program."""
    reader, writer = os.pipe()
    where.mkdir()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # what threads say that are cut off
        end_with_threads(where, way, threads, seconds, writer)
        return None
    os.close(writer)
    if way in ("SIGTERM", "SIGKILL"):
        killer = threading.Timer(seconds, os.kill, (child, getattr(signal, way)))
        killer.start()
    with open(reader, "rb") as lines:
        told_numbers = {int(line) for line in lines.read().split(b"\n")[:-1]}
    os.waitpid(child, 0)
    return told_numbers


def exits(count: int, seconds: float, seed: int) -> bool | None:
    """None in a program that was forked off, and is to end by returning."""
    rng = random.Random(seed)
    totals: dict[tuple[str, str], Counter[str]] = {}
    examples: list[str] = []
    warm = make("random", "median")
    run(warm, warm.ask())
    directory = Path(tempfile.mkdtemp())
    combinations = [pair for pair in itertools.product(WAYS, THREADS) if pair != ("a handler that closes", "a tuner")]
    end = time.monotonic() + seconds
    for i in range(count):
        if time.monotonic() > end:
            break
        way, threads = combinations[i % len(combinations)]
        total = totals.setdefault((way, threads), Counter())
        where = directory / str(i)
        told_numbers = ended_program(where, way, threads, rng.uniform(0.01, 0.15))
        if told_numbers is None:
            return None
        total["exits"] += 1
        total["tells"] += len(told_numbers)
        try:
            if (where / "study").exists() or told_numbers:
                with Study.load(where / "study") as study:  # without recover=
                    has = set(np.flatnonzero(study.states == TrialState.COMPLETE).tolist())
                    order = study.table.tell_order
                    total["told twice"] += len(np.unique(order)) != len(order)
                total["lost"] += len(told_numbers - has)
                total["otherwise different"] += bool(list((where / "study").glob("*.tmp")))
        except (fasthpo.FastHPOError, OSError) as error:
            if told_numbers or not isinstance(error, FileNotFoundError):
                total["can't be loaded"] += 1
                examples.append(f"{way} {threads}: {error!r}")
        shutil.rmtree(where, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    print(f"{sum(total['tells'] for total in totals.values())} trials were told")
    return report(totals, "exits", examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["sweep", "signals", "exits"])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--most", type=int, default=10**9, help="steps of a case")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.getLogger("fasthpo").setLevel(logging.ERROR)
    begun = time.monotonic()
    if given.part == "sweep":
        right = sweep(given.seconds, given.most, given.seed)
    elif given.part == "signals":
        right = signals(given.seconds, given.seed)
    else:
        found = exits(given.count, given.seconds, given.seed)
        if found is None:
            return
        right = found
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
