"""A training of one number, whose weights lie in a file: what populations are tested with, also in other processes."""

from __future__ import annotations

import json
import math
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import fasthpo
from fasthpo.trials.trial import TrialState
from fasthpo.tuner.callbacks import LoggingCallback

SPACE = fasthpo.SearchSpace(
    {
        "rate": fasthpo.LogUniform(0.001, 1.0),
        "kind": fasthpo.Categorical(["plain", "damped", "noisy"]),
        "damping": fasthpo.Continuous(0.0, 1.0, step=0.1, when={"kind": ["damped"]}),
        "width": fasthpo.Discrete(1, 64, log=True),
    }
)


def make(
    storage: Path | None = None, direction: str = "minimize", kind: Any = fasthpo.PopulationTraining, **options: Any
) -> fasthpo.Study:
    """A study of a small population."""
    given = {"max_resource": 12, "population": 6, "interval": 3, "sampler": fasthpo.RandomSampler(seed=1), **options}
    strategy = kind(**given)
    return fasthpo.Study(SPACE, strategy=strategy, direction=direction, storage=storage)


def train(trial: fasthpo.Trial) -> float:
    """Train from what lies in the trial's directory to its resource, saving after each epoch; the loss."""
    weights = train_until(trial, trial.resource or 0)
    for epoch in range(trial.fork_step or 0, trial.resource or 0):  # those of before a kill, too
        trial.report(weights["losses"][epoch], epoch + 1)
    value: float = weights["x"]
    return value


def die(trial: fasthpo.Trial) -> float:
    """As `train`, but the first two processes that train another one's weights on to 9 end in the middle of it."""
    if is_to_die(trial) and not (trial.checkpoint_dir / "died").exists():
        (trial.checkpoint_dir / "died").touch()
        train_until(trial, 8)
        os._exit(3)
    return train(trial)


def is_to_die(trial: fasthpo.Trial) -> bool:
    """Whether the first process that runs a leg of a trial ends in the middle of it."""
    return trial.parent is not None and trial.resource == 9


def train_until(trial: fasthpo.Trial, until: int) -> dict[str, Any]:
    file = trial.checkpoint_dir / "weights.json"
    weights: dict[str, Any] = {"x": 1.0, "epochs": [], "losses": []}
    if file.exists():
        weights = json.loads(file.read_text())
    for epoch in range(len(weights["epochs"]), until):
        best = 0.3 / (1 + epoch)  # a rate that falls
        weights["x"] *= 0.7 + 0.3 * abs(math.log(trial["rate"] / best)) * (1 - 0.5 * trial.get("damping", 0.0))
        weights["x"] = min(weights["x"] + 1e-6 * trial["width"], 1e6)
        weights["epochs"].append([trial.number, trial["rate"]])
        weights["losses"].append(weights["x"])
        new = file.with_suffix(".new")
        new.write_text(json.dumps(weights))
        os.replace(new, file)
    return weights


def run(study: fasthpo.Study, at_once: int = 1, seed: int = 0, legs: int | None = None) -> None:
    """Train a population, of which so many run at once, and end in an order that the seed decides."""
    numbers, running = np.random.default_rng(seed), []
    for _ in range(10**6 if legs is None else legs):
        while len(running) < at_once and (trial := study.ask_within()) is not None:
            running.append(trial)
        if not running:
            return
        trial = running.pop(int(numbers.integers(len(running))))
        study.tell(trial, train(trial))


def tune(output_dir: Path, objective: Any = train, config: dict[str, Any] | None = None, **where: Any) -> fasthpo.Study:
    """The study of `make`, run by a tuner.

    Args:
        output_dir: where it is kept.
        objective: what its trials do.
        config: of its strategy, besides what `make` gives.
        where: arguments of `optimize` that say where trials run.
    """
    given: dict[str, Any] = {"interval": 3, "sampler": fasthpo.RandomSampler(seed=1), **(config or {})}
    tuner_config = fasthpo.TunerConfig("population", output_dir=output_dir, save_checkpoints=True)
    tuner = fasthpo.HyperparameterTuner(tuner_config, SPACE, fasthpo.PopulationTraining(12, 6, **given))
    result = tuner.remove_callback(LoggingCallback).optimize(objective, **where)
    assert result.stop_reason == "population_complete"
    return tuner.study


def content(study: fasthpo.Study, with_weights: bool = True) -> list[Any]:
    """All that has happened to each trial, but for times; with what lies in its directory."""
    table = study.table
    found = []
    for trial in study.trials:
        legs = [
            (int(table.segments.resource[i]), repr(float(table.segments.value[i])))  # as NaN is not NaN
            for i in table.segments.of(trial.number)
        ]
        place = trial.member, trial.generation, trial.parent, trial.fork_step
        directory = None if study.checkpoints.known_root is None else study.checkpoints.root / f"trial-{trial.number}"
        weights = None
        if with_weights and directory is not None and directory.exists():
            weights = (directory / "weights.json").read_text()
        found.append((trial.params, trial.state.name, place, legs, trial.reports, weights))
    return found


def go_on(directory: Path, synchronous: bool, connection: Connection) -> None:
    """Begin or go on with a population until killed, or to its end; sends something after each tell."""
    exists = directory.exists()
    study = fasthpo.Study.load(directory) if exists else make(directory, synchronous=synchronous)
    connection.send(len(study.table.segments))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, train(trial))
        connection.send(len(study.table.segments))
    study.close()


def alive(study: fasthpo.Study) -> set[int]:
    """The trials that hold a place, by number."""
    places = {trial.member: trial.number for trial in study.trials}
    return {number for number in places.values() if study.trials[number].state != TrialState.FAILED}


def require_same(one: fasthpo.Study, other: fasthpo.Study, with_weights: bool = True) -> None:
    """Make sure that the same has happened to all trials of two studies; says of the first to which it has not."""
    mine, theirs = content(one, with_weights), content(other, with_weights)
    for number, (left, right) in enumerate(zip(mine, theirs, strict=False)):
        for part, (a, b) in enumerate(zip(left, right, strict=True)):
            if a != b:
                raise AssertionError(f"trial {number} differs in part {part}: {a!r:.300} and {b!r:.300}")
    if len(mine) != len(theirs):
        raise AssertionError(f"there are {len(mine)} and {len(theirs)} trials")
