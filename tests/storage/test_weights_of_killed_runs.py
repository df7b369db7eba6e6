"""Weights of a tuner that is killed and resumed: promoted trials find what they saved, wherever the kill came."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import HyperparameterTuner, Trial
from fasthpo.storage.weights import DIRECTORY
from tests.support.tuning import SPACE, parabola
from tests.tuner.test_tuner_multi_fidelity import make

# a server that has imported everything forks each process; where there is none, each is a fresh interpreter
CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
if os.name == "posix":
    CONTEXT.set_forkserver_preload(["crashing"])
KINDS = ["hyperband", "asha", "successive_halving"]
TRIALS = 30


def train(trial: Trial) -> float:
    """Adds an epoch after the other to what its weights hold; the value says which epochs those were."""
    file = trial.checkpoint_dir / "weights"
    weights = file.read_text().split() if file.exists() else []
    assert len(weights) >= trial.start_resource  # those of a leg that was killed may be there, too
    weights = weights[: trial.start_resource]
    for epoch in range(trial.start_resource, int(trial.resource)):
        weights.append(f"{trial['x'] / (epoch + 1):.17g}")
    file.write_text(" ".join(weights))
    return parabola(trial) + sum(map(float, weights)) ** 2


def tuner(kind: str, directory: Path, **config: Any) -> HyperparameterTuner:
    return make(kind, max_trials=TRIALS, output_dir=directory, save_checkpoints=True, **config)


def resumed(kind: str, directory: Path) -> HyperparameterTuner:
    made = tuner(kind, directory)
    return made.load_checkpoint(directory / "s") if (directory / "s").exists() else made


def run_until(kind: str, directory: Path, number: int, when: str) -> None:
    """Run a tuner, or go on with it, and end the process as a kill does in the trial of this number."""

    def objective(trial: Trial) -> float:
        if trial.number == number and when == "before":
            os._exit(9)
        value = train(trial)
        if trial.number == number:
            os._exit(9)
        return value

    resumed(kind, directory).optimize(objective)


def kill(*arguments: Any) -> None:
    process = CONTEXT.Process(target=run_until, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 9


def content(made: HyperparameterTuner) -> list[Any]:
    """Trials, values and weights."""
    root = made.study.checkpoints.root
    return [
        (t.params, t.state, t.value, t.rungs, (root / f"trial-{t.number}" / "weights").read_text())
        for t in made.study.trials
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_in_its_first_trial_and_again_ends_as_one_that_never_was(
    kind: str, when: str, tmp_path: Path
) -> None:
    whole = tuner(kind, tmp_path / "whole")
    whole.optimize(train)
    directory = tmp_path / "killed"
    kill(kind, directory, 0, when)
    assert (directory / "s" / DIRECTORY).exists() == (when == "after")
    kill(kind, directory, 20, "after")
    last = resumed(kind, directory)
    last.optimize(train)
    assert content(last) == content(whole)
    assert last.study.checkpoints.root == directory / "s" / DIRECTORY


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The directory of a study that was killed in its first trial, which had saved nothing."""
    study = fasthpo.Study(SPACE, strategy=fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(0)), storage=tmp_path / "s")
    study.ask()
    study.close()
    assert not (tmp_path / "s" / DIRECTORY).exists()
    return tmp_path / "s"


def asha(directory: Path, **config: Any) -> HyperparameterTuner:
    return make("asha", max_trials=6, output_dir=directory.parent, save_checkpoints=True, **config)


def test_weights_of_trials_that_were_begun_between_load_and_run_go_along(killed: Path) -> None:
    made = asha(killed).load_checkpoint(killed)
    trial = made.study.ask()
    value = train(trial)
    before = made.study.checkpoints.root
    assert before != killed / DIRECTORY
    made.study.tell(trial, value)
    made.optimize(train)
    assert not before.exists()
    assert {path.name for path in (killed / DIRECTORY).iterdir()} == {f"trial-{i}" for i in range(6)}


def test_such_a_study_is_saved_by_hand_and_its_weights_stay_with_it(killed: Path) -> None:
    made = asha(killed).load_checkpoint(killed)
    made.save_checkpoint()
    assert made.study.trials[0].checkpoint_dir == killed / DIRECTORY / "trial-0"


@pytest.mark.parametrize("way", ["load", "keep_at", "save", "through a link"])
def test_such_a_study_keeps_its_weights_beside_it_however_it_is_taken_up(
    way: str, killed: Path, tmp_path: Path
) -> None:
    directory = killed
    if way == "load":
        study = fasthpo.Study.load(killed)
    elif way in ("keep_at", "save"):
        directory, file = tmp_path / "other", killed / "checkpoint.msgpack"
        if way == "save":
            file = fasthpo.Study.load(killed, read_only=True).save(tmp_path / "copy.msgpack")
        study = fasthpo.Study.load(file)
        train(study.ask())
        study.keep_at(directory)
    else:
        (tmp_path / "link").symlink_to(killed, target_is_directory=True)
        made = asha(killed).load_checkpoint(tmp_path / "link")
        made.optimize(train)
        study = made.study
    train(study.trials[0])
    assert (directory / DIRECTORY / "trial-0" / "weights").exists()
    study.close()
