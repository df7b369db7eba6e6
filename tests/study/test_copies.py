"""Pickling and copying of studies, trials, results and tuners, and parts of batches."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo.execution.main_module import Source, own_main
from fasthpo.execution.pickling import pickle_objective
from fasthpo.execution.unpickling import load
from fasthpo.samplers.base import Sampler
from tests.support.studies import SAMPLERS

SPACE = fasthpo.SearchSpace(
    {
        "opt": fasthpo.Categorical(["adam", "sgd", None]),
        "lr": fasthpo.LogUniform(1e-5, 1e-1),
        "momentum": fasthpo.Continuous(0.0, 0.9, when={"opt": "sgd"}),
    }
)


def cloudpickled(value: Any) -> Any:
    cloudpickle = pytest.importorskip("cloudpickle")
    return cloudpickle.loads(cloudpickle.dumps(value))


PICKLES: list[Callable[[Any], Any]] = [
    lambda value: pickle.loads(pickle.dumps(value)),
    lambda value: pickle.loads(pickle.dumps(value, protocol=0)),
    cloudpickled,
    copy.deepcopy,
]
COPIES = [*PICKLES, copy.copy]


class Middle(Sampler):
    """A user's own."""

    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        return {"opt": "sgd", "lr": 1e-3, "momentum": draw / 100}


# --- trials


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_trial_is_a_dict_of_its_parameters(copied: Callable[[Any], Any], tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "s")
    trial = study.ask()
    waiting = study.trials[study.enqueue({"lr": 1e-3})]
    study.close()
    loaded = fasthpo.Study.load(tmp_path / "s", read_only=True)
    for one in (trial, waiting, loaded.trials[0], study.trials[-1]):
        made = copied(one)
        assert type(made) is dict and made == one.params == one and one == made
        assert json.loads(json.dumps(made)) == made
        made["lr"] = 1.0  # the user's own
        assert one["lr"] != 1.0


def test_trials_are_copied_by_what_takes_configurations() -> None:
    @dataclass
    class Config:
        epochs: int
        trial: Any

    trial = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0)).ask()
    assert asdict(Config(3, trial)) == {"epochs": 3, "trial": trial.params}
    assert copy.deepcopy({"trials": [trial, trial]}) == {"trials": [trial.params] * 2}


def test_lightning_keeps_a_trial_among_the_hyperparameters_of_a_module(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    torch = pytest.importorskip("torch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, trial: Any, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    trial = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0)).ask()
    module = Module(trial, 3)
    assert module.hparams_initial == {"trial": trial.params, "width": 3}
    torch.save(dict(module.hparams_initial), tmp_path / "hparams.pt")
    assert torch.load(tmp_path / "hparams.pt", weights_only=True) == {"trial": trial.params, "width": 3}


# --- studies and tuners


@pytest.mark.parametrize("copied", COPIES)
def test_a_study_is_not_copied_but_saved_and_loaded(copied: Callable[[Any], Any], tmp_path: Path) -> None:
    kept = fasthpo.Study(SPACE, storage=tmp_path / "s", strategy=fasthpo.ASHA(9))
    kept.ask()
    kept.close()
    for study in (fasthpo.Study(SPACE), kept, fasthpo.Study.load(tmp_path / "s", read_only=True)):
        with pytest.raises(fasthpo.NotCopyable, match=r"study\.save\(path\).*fasthpo\.Study\.load\(path\)") as caught:
            copied(study)
        assert isinstance(caught.value, TypeError) and "\n" not in str(caught.value)
        assert study.ask is not None
    with pytest.raises(fasthpo.NotCopyable, match=r"Study\.load"):
        pickle.dumps(kept.trials)
    with pytest.raises(fasthpo.InvalidValue, match=r"can't be sent to another process: a study .*Study\.load"):
        pickle_objective(lambda trial: len(kept))


@pytest.mark.parametrize("copied", COPIES)
def test_a_tuner_is_not_copied_but_goes_to_workers_as_its_stand_in(copied: Callable[[Any], Any]) -> None:
    tuner = fasthpo.HyperparameterTuner.with_random_search(fasthpo.TunerConfig("s"), SPACE)
    with pytest.raises(fasthpo.NotCopyable, match=r"tuner\.save_checkpoint\(\).*load_checkpoint.*Study\.load\(path\)"):
        copied(tuner)
    with own_main:
        sent: Any = load(pickle_objective(lambda trial: tuner), Source(b"", bytes))
    assert type(sent(None)).__name__ == "TunerInWorker" and sent(None).config == tuner._config
    with pytest.raises(fasthpo.NotCopyable):  # and not from then on
        copied(tuner)


# --- results


def searched(tmp_path: Path, strategy: Any = None, **config: Any) -> fasthpo.TuningResult:
    pruning = fasthpo.PruningConfig(strategy="median", min_steps=1) if strategy is None else None
    config = {"max_trials": 15, "output_dir": tmp_path, "pruning": pruning, "save_checkpoints": False, **config}
    tuner = fasthpo.HyperparameterTuner(
        fasthpo.TunerConfig("study", direction="maximize", objective_metric="score", **config),
        SPACE,
        strategy or fasthpo.RandomSearch(seed=0),
    )

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        for step in range(3):
            trial.report(trial["lr"], step)
            if trial.resource is None and trial.should_prune():
                raise fasthpo.TrialPruned
        if trial.number == 4:
            raise ValueError("no luck")
        (trial.checkpoint_dir / "weights").write_text(str(trial.number))
        return {"score": trial["lr"], "f1": 0.5}

    return tuner.optimize(objective, workers=1)


STRATEGIES: list[Callable[[], Any]] = [
    lambda: None,
    lambda: fasthpo.Hyperband(9, sampler=fasthpo.RandomSampler(seed=0)),
    lambda: fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0), resumable=False),
    lambda: fasthpo.Strategy(Middle(seed=0)),
]
READ = (
    "number", "params", "state", "value", "reports", "metrics", "error", "start_time", "end_time", "resource", "start_resource", "rungs"
)  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["pruned", "hyperband", "asha", "own sampler"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_copied_result_has_all_of_its_trials_and_no_study(
    strategy: Callable[[], Any], kept: bool, tmp_path: Path
) -> None:
    result = searched(tmp_path, strategy(), save_checkpoints=kept)
    for copied in PICKLES:
        made = copied(copied(result))
        assert str(made) == str(result) and "study" in repr(made)
        assert (made.study_name, made.statistics, made.stop_reason) == ("study", result.statistics, "max_trials")
        assert (made.best_params, made.best_value) == (result.best_params, result.best_value)
        assert made.total_duration == result.total_duration
        assert made.best_trial.number == result.best_trial.number and len(made.trials) == len(result.trials)
        for own, other in zip(made.trials, result.trials, strict=True):
            assert [getattr(own, name) for name in READ] == [getattr(other, name) for name in READ]
        assert (made.best_trial.checkpoint_dir / "weights").read_text() == str(made.best_trial.number)
        with pytest.raises(fasthpo.StudyReadOnly, match="the weights of trial 4 are not here"):
            _ = made.trials[4].checkpoint_dir
        with pytest.raises(fasthpo.NotCopyable, match=r"study\.save\(path\).*fasthpo\.Study\.load\(path\)"):
            _ = made.study
        with pytest.raises(fasthpo.StudyReadOnly, match="no study"):
            made.best_trial.report(1.0, 9)
    assert copy.copy(result).study is result.study


def test_a_result_without_a_completed_trial_is_copied_too() -> None:
    study = fasthpo.Study(SPACE)
    study.tell(study.ask(), state=fasthpo.TrialState.FAILED)
    study.ask()
    result = fasthpo.TuningResult(study, "s", fasthpo.StudyStatistics.of(study, 1.0), fasthpo.StopReason.STOPPED)
    made = copy.deepcopy(result)
    assert str(made) == str(result) and "No trial has completed" in str(made)
    with pytest.raises(fasthpo.NoCompletedTrials):
        _ = made.best_trial


def test_a_pickled_result_is_read_where_its_study_never_was(tmp_path: Path) -> None:
    result = searched(tmp_path / "here")
    (tmp_path / "result.pickle").write_bytes(pickle.dumps(result))
    program = (
        "import pickle, sys, fasthpo\n"
        "result = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(result.best_trial.number, len(result.trials), result.statistics.pruned_trials)\n"
        "try: result.best_trial.checkpoint_dir\n"
        "except fasthpo.StudyReadOnly as error: print(error)\n"
    )
    best = result.best_trial.checkpoint_dir
    (best / "weights").unlink()
    best.rmdir()
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "result.pickle"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"{result.best_trial.number} 15 {result.statistics.pruned_trials}\nthe weights of trial"
    )


# --- parts of a batch


@pytest.mark.parametrize("strategy", [None, fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0))])
def test_a_slice_of_a_batch_is_a_batch(strategy: Any) -> None:
    study = fasthpo.Study(SPACE, sampler=None if strategy else fasthpo.RandomSampler(seed=0), strategy=strategy)
    batch = study.ask_batch(6)
    points = [trial.params for trial in study.trials]
    assert list(batch) == points
    for part in (
        slice(0, 2),
        slice(-2, None),
        slice(None, None, -2),
        slice(4, 100),
        slice(3, 3),
        slice(np.int64(1), 3),
    ):
        some = batch[part]
        assert type(some) is fasthpo.Batch and len(some) == len(points[part])
        assert list(some) == points[part] and some.numbers.tolist() == list(range(6))[part]
        for name in SPACE:
            assert some.params[name].tolist() == batch.params[name][part].tolist() or name == "momentum"
            assert some.active[name].tolist() == batch.active[name][part].tolist()
        np.testing.assert_array_equal(some.resources, batch.resources[part])
    study.tell_batch(batch[:2].numbers, [1.0, 2.0])
    assert copy.deepcopy(batch)[1] == pickle.loads(pickle.dumps(batch))[1:2][0] == points[1]


def test_positions_in_a_batch_and_among_trials_are_those_of_a_list() -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    batch = study.ask_batch(3)
    points = [trial.params for trial in study.trials]
    for index in (0, 2, -1, -3, np.int64(1), np.uint8(2), np.array(-2)):
        assert batch[index] == points[int(index)] == study.trials[index].params
        assert type(study.trials[index].number) is int
    for index in (3, -4, np.int64(99), 10**6000):
        for sequence in (batch, study.trials):
            with pytest.raises(IndexError, match="has 3 trials, got index"):
                sequence[index]
    for index in ("0", 1.0, None, np.array([0, 1]), [0], (0, 1)):
        for sequence in (batch, study.trials):
            with pytest.raises(fasthpo.InvalidValue, match="an index must be an integer or a slice, got"):
                sequence[index]


# --- samplers


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_copy_of_a_sampler_that_was_used_suggests_what_it_does(copied: Callable[[Any], Any], name: str) -> None:
    space, make = SAMPLERS[name]
    study = fasthpo.Study(space, sampler=make(), pruner=fasthpo.MedianPruner())
    for i in range(40):
        trial = study.ask()
        trial.report(float(i), 0)
        study.tell(trial, float(i % 7))
    own = copied(study.sampler)
    own.heed_pruner(study.table, prunes_by_rank=True)
    draw = study._state.history.next_draw
    np.testing.assert_array_equal(own.suggest(study.table, draw), study.sampler.suggest(study.table, draw))
