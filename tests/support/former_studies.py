"""Small studies that were kept by former commits, and what those commits did next.

`tests/data/studies/` holds six of them, as `python -m tests.support.former_studies` made them with fasthpo 0.1.0 (format
version 2), before its modules were moved into folders:

    NAME/*.msgpack        the directory of the study: closed, or as a process leaves it that dies in the midst
    NAME.saved.msgpack    the same study as `Study.save` wrote it; of some
    NAME.json             what is in it, and the next 20 times that the loaded study was asked
    machine.json          on what they were made

The data are not made anew when the code changes, as they are what users have on their disks. Where the format or the
draws change on purpose, a new set belongs beside them (`--to DIRECTORY`), and of the old one the part that still holds:
what `bohb` does next is that of the commit that made the blocks of start-up points grow.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import scipy

import fasthpo
from fasthpo import SearchSpace, Study, Trial, TrialState
from tests.support.bit_for_bit import GRID, MIXED, NUMERIC, exact, trial_content

DATA = Path(__file__).parents[1] / "data" / "studies"
NEXT = 20

# by name: the space, the parts, at which number of trials a checkpoint is made of the journal, and whether the study
# is closed in the end
STUDIES: dict[str, tuple[SearchSpace, Callable[[], dict[str, Any]], int | None, bool]] = {
    "tpe": (MIXED, lambda: {"sampler": fasthpo.TPESampler(seed=1)}, None, True),
    "bohb": (MIXED, lambda: {"strategy": fasthpo.Hyperband(9, sampler=fasthpo.TPESampler(seed=2))}, 20, False),
    "asha": (NUMERIC, lambda: {"strategy": fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=3))}, None, True),
    "median": (
        NUMERIC,
        lambda: {"sampler": fasthpo.QMCSampler(seed=4), "pruner": fasthpo.MedianPruner(n_startup_trials=3)},
        None,
        False,
    ),
    "grid": (GRID, lambda: {"sampler": fasthpo.GridSampler(shuffle=True, seed=5)}, None, True),
    "cma-es": (NUMERIC, lambda: {"sampler": fasthpo.CmaEsSampler(4, seed=6)}, 20, False),
}
SAVED = ("tpe", "bohb", "median")
TRIALS = 32


def train(study: Study, trial: Trial) -> None:
    """One leg of a trial, by plain arithmetic. What was kept depends on it: it has to stay as it is."""
    loss, resource = 0.0, trial.resource or 3
    for i, value in enumerate(trial.params.values()):
        number = float(value) if isinstance(value, int | float) else float(len(str(value)))
        loss += (number - 0.5 * i) * (number - 0.5 * i) / (1.0 + number * number)
    for step in range(trial.start_resource, resource):
        trial.report(loss + (1 + trial.number % 3) / (step + 1), step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    kind = (trial.number + resource) % 13
    if kind == 5:
        study.tell(trial, math.nan)
    elif kind == 7:
        study.tell(trial, state=TrialState.FAILED, error="Traceback: boom")
    elif kind == 9:
        study.tell(trial, state=TrialState.FAILED, error="lost", infrastructure=True)
    elif kind == 11:
        study.tell(trial, loss, state=TrialState.PRUNED)
    else:
        study.tell(trial, loss + 1 / resource, metrics={"loss": loss} if kind == 1 else None)


def record(trial: Trial, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A trial as JSON that is exact, without what it does not have."""
    return {
        name: value for name, value in trial_content(trial).items() if value not in (None, {}) and name not in left_out
    }


def content(study: Study) -> dict[str, Any]:
    """What is in a study."""
    trials = [record(trial) | {"times": exact([trial.start_time, trial.end_time])} for trial in study.trials]
    best = [study.best_trial.number, study.best_value]
    return {"direction": study.direction, "best": exact(best), "attributes": study.attributes, "trials": trials}


def next_trials(study: Study) -> list[dict[str, Any]]:
    """What comes of a study when it goes on: each of the next trials as it stands after its leg."""
    asked = []
    for _ in range(NEXT):
        trial = study.ask()
        train(study, trial)
        asked.append(record(trial, left_out=("reports", "metrics")))
    return asked


def machine() -> dict[str, str]:
    """On what the bits of a draw depend: mathematical functions and compiled code differ in the last one."""
    cpu = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    return {
        "system": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "compiled for": "nothing" if numba.config.DISABLE_JIT else cpu,
        "libraries": f"numpy {np.__version__}, scipy {scipy.__version__}, numba {numba.__version__}",
    }


def make(name: str, directory: Path, target: Path) -> None:
    """Makes a study in `directory`, and keeps it in `target`."""
    space, parts, checkpoint_at, is_closed = STUDIES[name]
    study = Study(space, storage=directory / "kept", **parts())
    running: list[Trial] = []
    while len(study) < TRIALS:
        if len(study) == 10 and not study.attributes:
            study.set_attribute("data", {"version": 3, "folds": [1, 2.5, None]})
            study.enqueue({"x": 1.0})
        running.append(study.ask())
        if len(running) > 2:  # three at once, told in another order
            train(study, running.pop(1 - len(study) % 2))
        if len(study) == checkpoint_at:
            study.compact()
    for trial in running[:1]:
        trial.report(0.5, trial.start_resource)
    study.enqueue({"x": -1.0})
    study.sync()
    if is_closed:
        study.close()
    shutil.copytree(directory / "kept", target / name, ignore=shutil.ignore_patterns(".*", "trials"))
    if name in SAVED:
        study.save(target / f"{name}.saved.msgpack")
    study.close()
    expected = content(study)
    with Study.load(shutil.copytree(target / name, directory / "loaded")) as loaded:
        expected["next"] = next_trials(loaded)
    lines = (f' "{key}": {json.dumps(value)}' for key, value in expected.items())
    (target / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="a new directory for the studies")
    target = parser.parse_args().to
    target.mkdir(parents=True)
    for name in STUDIES:
        with tempfile.TemporaryDirectory() as directory:
            make(name, Path(directory), target)
    text = json.dumps(machine(), indent=1) + "\n"
    (target / "machine.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
