"""What it costs to keep a study: a trial, a byte, a load, a checkpoint; beside Optuna's SQLite and journal storages.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/bench_storage.py              # about a minute
    python benchmarks/bench_storage.py --trials 10000

Every trial has 20 parameters, drawn at random, and 5 reports. What a durable trial costs beyond one in memory is the
difference of medians over batches that take turns; processor time says the same on a machine that does other things,
too. Optuna's storages hold few trials, as filling them takes long; its figures are for each trial.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from libraries import readable

import fasthpo
from fasthpo.storage.directory_store import DirectoryStore

PARAMETERS, REPORTS = 20, 5
NAMES = [f"x{j}" for j in range(PARAMETERS)]
SPACE = fasthpo.SearchSpace({name: fasthpo.Continuous(0.0, 1.0) for name in NAMES})
BATCH, BATCHES = 100, 100  # trials
HELD_TO = {"trial": "30 us", "bytes": "300 bytes", "load": "1 s", "checkpoint": "1 s"}
FEW = {"SQLite": 50, "journal": 200}  # trials that Optuna's storages get


def run(study: Any, trials: int) -> None:
    """Trials of fasthpo's, or of Optuna's."""
    is_ours = isinstance(study, fasthpo.Study)
    for _ in range(trials):
        trial = study.ask()
        values = trial.params if is_ours else {name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}
        value = values["x0"] * values["x1"] - values["x2"]
        for step in range(REPORTS):
            trial.report(value * (1.0 + 1.0 / (step + 1.1)), step)
        study.tell(trial, value)


def ours(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), **options)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def cost_of_a_trial(directory: Path) -> list[tuple[str, str, str]]:
    kinds: dict[str, fasthpo.Study] = {"in memory": ours()}
    for durability in ("interval", "system", "tell"):
        kinds[f"durability={durability!r}"] = ours(storage=directory / durability, durability=durability)
    batches = {name: 3 if "tell" in name else BATCHES for name in kinds}  # each waits for the disk
    wall: dict[str, list[float]] = {name: [] for name in kinds}
    processor: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(BATCHES):
        for name, study in kinds.items():
            if i < batches[name]:
                begin = time.thread_time()
                seconds, _ = timed(lambda study=study: run(study, BATCH))
                processor[name].append((time.thread_time() - begin) / BATCH)
                wall[name].append(seconds / BATCH)
    rows = []
    base, base_processor = statistics.median(wall["in memory"]), statistics.median(processor["in memory"])
    for name in kinds:
        seconds, busy = statistics.median(wall[name]), statistics.median(processor[name])
        more = f", {readable(seconds - base)} more ({readable(busy - base_processor)} of processor time)"
        held = HELD_TO["trial"] + " more" if "interval" in name else ""
        rows.append((f"a trial, {name}", f"{readable(seconds)}{'' if name == 'in memory' else more}", held))
    for study in kinds.values():
        study.close()
    return rows


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def cost_of_many(directory: Path, trials: int) -> list[tuple[str, str, str]]:
    study = ours(storage=directory / "many", durability="system")
    seconds, _ = timed(lambda: run(study, trials))
    rows = [(f"{trials:,} trials with their checkpoints", readable(seconds), "")]
    # while a checkpoint is being made, trials go on
    study.compact()
    store = study._state.store
    assert isinstance(store, DirectoryStore)
    run(study, 1000)
    longest, during = 0.0, 0
    with study._lock:
        begin = time.perf_counter()
        store._start_compacting()
    stall = time.perf_counter() - begin
    while store._is_compacting:
        took, _ = timed(lambda: run(study, 1))
        longest, during = max(longest, took), during + 1
    seconds = time.perf_counter() - begin
    rows.append((f"a checkpoint of {len(study):,} trials, in the background", readable(seconds), HELD_TO["checkpoint"]))
    rows.append(("   of which the study waits", readable(stall), ""))
    rows.append((f"   longest of the {during:,} trials meanwhile", readable(longest), ""))
    seconds, _ = timed(study.compact)
    rows.append((f"a checkpoint of {len(study):,} trials, waited for", readable(seconds), HELD_TO["checkpoint"]))
    n = len(study)
    study.close()
    rows.append(("bytes a trial, checkpoint and journal", f"{size(directory / 'many') / n:.0f}", HELD_TO["bytes"]))
    loads = [timed(lambda: fasthpo.Study.load(directory / "many", read_only=True))[0] for _ in range(5)]
    rows.append((f"loading {n:,} trials", readable(statistics.median(loads)), HELD_TO["load"]))
    return rows


def rivals(directory: Path) -> list[tuple[str, str, str]]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    places: dict[str, Callable[[], Any]] = {
        "SQLite": lambda: f"sqlite:///{directory / 'optuna.db'}",
        "journal": lambda: JournalStorage(JournalFileBackend(str(directory / "optuna.log"))),
    }
    rows = []
    for name, place in places.items():
        n = FEW[name]
        study = optuna.create_study(storage=place(), sampler=optuna.samplers.RandomSampler(seed=0), study_name="s")
        seconds, _ = timed(lambda study=study, n=n: run(study, n))
        file = directory / ("optuna.db" if name == "SQLite" else "optuna.log")
        taken, loaded = timed(lambda place=place: optuna.load_study(study_name="s", storage=place()).trials)
        assert len(loaded) == n
        rows += [
            (f"Optuna's {name}: a trial", readable(seconds / n), ""),
            (f"Optuna's {name}: bytes a trial", f"{file.stat().st_size / n:.0f}", ""),
            (f"Optuna's {name}: loading {n} trials", f"{readable(taken)}, {readable(taken / n)} each", ""),
        ]
    return rows


def measure(trials: int) -> list[tuple[str, str, str]]:
    """Rows of what, how much, and what it is held to."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        rows = cost_of_a_trial(directory) + cost_of_many(directory, trials) + rivals(directory)
        for thread in threading.enumerate():  # those that sync, before the directory goes
            if thread.name.startswith("fasthpo"):
                thread.join(timeout=2)
    return rows


def show(rows: list[tuple[str, str, str]]) -> None:
    width = max(len(row[0]) for row in rows)
    for what, much, held in rows:
        print(f"{what:<{width}}  {much}{f'   (at most {held})' if held else ''}")


def test_storage(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    rows = measure(20_000)
    with capsys.disabled():
        print()
        show(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    show(measure(parser.parse_args().trials))
