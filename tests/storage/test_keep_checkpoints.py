"""Which trials' weights stay on the disk, and that those of the best, and of trials that may go on, always do."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.storage import journal
from tests.support.studies import STRATEGIES
from tests.support.tuning import SPACE as TUNER_SPACE
from tests.support.tuning import parabola

SPACE = fasthpo.SearchSpace({"x": fasthpo.Continuous(-1.0, 1.0)})


def made(study: fasthpo.Study) -> set[int]:
    """Trials that have weights on the disk."""
    return {int(path.name.removeprefix("trial-")) for path in study.checkpoints.root.iterdir()}


def train(trial: fasthpo.Trial) -> None:
    (trial.checkpoint_dir / "weights.bin").write_bytes(bytes([trial.number % 256]))


def best(study: fasthpo.Study, n: int) -> set[int]:
    """The n best completed trials, the slow way."""
    finite = [t for t in study.trials if t.state == TrialState.COMPLETE and abs(t.value or 0.0) < float("inf")]
    return {
        t.number
        for t in sorted(finite, key=lambda t: (study.table.objectives.loss(1.0) * (t.value or 0.0), t.number))[:n]
    }


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("keep", ["best", 1, 3, "all"])
def test_the_best_stay_and_the_others_go(keep: Any, direction: str, tmp_path: Path) -> None:
    sampler = fasthpo.RandomSampler(seed=0)
    study = fasthpo.Study(SPACE, sampler=sampler, direction=direction, storage=tmp_path / "study")
    study.keep_checkpoints(keep)
    running: list[fasthpo.Trial] = []
    ended = set()
    for i in range(40):
        running.append(study.ask())
        train(running[-1])
        if len(running) < 4:
            continue
        trial = running.pop(i % 3)
        kind = i % 7
        if kind == 1:
            study.tell(trial, state=TrialState.FAILED)
        elif kind == 2:
            trial.report(0.5, 0)
            study.tell(trial, state=TrialState.PRUNED)
        elif kind == 3:
            study.tell_batch([trial.number], [float("nan")])
        elif kind == 4:
            study.tell(trial, float("inf"))
        else:
            study.tell(trial, round(trial["x"], 1))  # with ties
        ended.add(trial.number)
        open_ones = {one.number for one in running}
        expected = ended if keep == "all" else best(study, 1 if keep == "best" else keep)
        assert made(study) == expected | open_ones
        if study.table.best_number is not None:
            assert study.best_trial.number in made(study)
            assert study.best_trial.checkpoint_dir.joinpath("weights.bin").exists()
    # results that were known before have no weights, and take no place from those that have
    study.add_trials({"x": [0.0]}, [-100.0 if direction == "minimize" else 100.0])
    assert made(study) == expected | open_ones


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "in-full"])
def test_paused_trials_keep_theirs_as_long_as_they_may_go_on(strategy: str, tmp_path: Path) -> None:
    make_strategy = STRATEGIES[strategy]
    assert make_strategy is not None
    parts = make_strategy(fasthpo.RandomSampler(seed=1))
    study = fasthpo.Study(SPACE, strategy=parts, storage=tmp_path / "study", durability="system")
    study.keep_checkpoints("best")
    most = 0
    gone: set[int] = set()
    running: list[fasthpo.Trial] = []
    for i in range(400):
        trial = study.ask()
        assert trial.number not in gone  # whoever goes on finds what it saved
        if trial.start_resource:
            assert (trial.checkpoint_dir / "weights.bin").exists()
        train(trial)
        running.append(trial)
        if len(running) > 3:
            trial = running.pop(i % 4)
            value = float("inf") if i % 19 == 5 else trial["x"] ** 2 + 1 / trial.resource
            if i % 23 == 7:
                study.tell(trial, state=TrialState.FAILED)
            else:
                study.tell(trial, value)
        here = made(study)
        gone = set(range(len(study))) - here
        assert {one.number for one in running} <= here
        finished = {t.number for t in study.trials if t.state.is_finished}
        assert here & finished == best(study, 1)
        most = max(most, len(here))
        if i == 200:  # a resumed study keeps house as the first one would have
            study.close()
            loaded = fasthpo.Study.load(tmp_path / "study")
            train(loaded.trials[next(iter(gone))])  # as if a crash had come before the removal
            loaded.keep_checkpoints("best")
            assert made(loaded) == here
            study, running = loaded, []
            for _ in range(3):
                running.append(study.ask())
    paused = study.table.counts[TrialState.PAUSED]
    if "asha" in strategy or "asynchronous" in strategy:
        assert most > paused / 2  # any of them may yet be among the best
    else:
        assert paused > 50 and most < 30


def test_a_trial_that_fails_at_a_later_rung_frees_its_place_for_one_that_still_has_its_weights() -> None:
    study = fasthpo.Study(SPACE, strategy=fasthpo.SuccessiveHalving(9, sampler=fasthpo.RandomSampler(seed=0)))
    study.keep_checkpoints("best")
    for _ in range(9):
        trial = study.ask()
        train(trial)
        study.tell(trial, float(trial.number))
    first = [study.ask() for _ in range(3)]
    assert [t.number for t in first] == [0, 1, 2] and made(study) == set(range(9))
    study.tell(first[0], state=TrialState.FAILED)
    assert made(study) == set(range(1, 9))
    fourth = study.ask()
    assert fourth.number == 3 and (fourth.checkpoint_dir / "weights.bin").exists()
    for trial in (first[1], first[2], fourth):
        study.tell(trial, float(trial.number))
    assert made(study) == {1, 2, 3}  # the rung below is closed now
    last = study.ask()
    study.tell(last, 1.0)
    assert made(study) == {1}


def test_nothing_is_removed_before_what_was_told_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "study")
    study.keep_checkpoints("best")
    trials = [study.ask() for _ in range(2)]
    for trial in trials:
        train(trial)
    study.tell(trials[0], 1.0)

    def fail(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", fail)
        with pytest.raises(fasthpo.StorageError):
            study.tell(trials[1], 0.5)
        assert made(study) == {0, 1}
    study.tell(study.ask(), 2.0)
    assert made(study) == {1}


def test_a_study_in_memory_takes_its_weights_along_when_it_is_kept(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, strategy=fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))
    trial = study.ask()
    train(trial)
    study.tell(trial, 0.5)
    temporary = study.checkpoints.root
    study.keep_at(tmp_path / "one")
    assert (tmp_path / "one" / "checkpoints" / "trial-0" / "weights.bin").exists()
    assert not (temporary / "trial-0").exists()
    study.keep_at(tmp_path / "two")  # what was kept elsewhere stays there as it is
    for name in ("one", "two"):
        assert (tmp_path / name / "checkpoints" / "trial-0" / "weights.bin").exists()
    assert study.trials[0].checkpoint_dir == tmp_path / "two" / "checkpoints" / "trial-0"


def test_no_trial_finds_the_weights_of_another_study(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path)
    train(study.ask())
    study.close()
    for name in ("checkpoint.msgpack", "journal.msgpack"):
        (tmp_path / name).unlink()
    with pytest.raises(fasthpo.StudyExists, match=r"checkpoints holds weights of another study's trials; remove it"):
        fasthpo.Study(SPACE, storage=tmp_path)
    study = fasthpo.Study(SPACE)
    study.keep_at(tmp_path, overwrite=True)
    assert list(study.ask().checkpoint_dir.iterdir()) == []


@pytest.mark.parametrize("keep", ["worst", 0, -1, True, 1.5, None])
def test_what_to_keep_is_checked_at_the_door(keep: Any) -> None:
    for check in (
        lambda: fasthpo.TunerConfig("s", keep_checkpoints=keep),
        lambda: fasthpo.Study(SPACE).keep_checkpoints(keep),
    ):
        with pytest.raises(fasthpo.InvalidValue, match="keep_checkpoints must be 'best', 'all' or a positive"):
            check()


@pytest.mark.parametrize("save", [True, False])
def test_a_tuner_keeps_house(save: bool, tmp_path: Path) -> None:
    counts = itertools.count()

    def objective(trial: fasthpo.Trial) -> float:
        train(trial)
        if next(counts) % 5 == 4:
            raise ValueError
        return parabola(trial)

    config = fasthpo.TunerConfig(
        "s", max_trials=20, seed=0, keep_checkpoints=2, save_checkpoints=save, output_dir=tmp_path
    )
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, TUNER_SPACE)
    tuner.optimize(objective)
    assert made(tuner.study) == best(tuner.study, 2)
    assert (tmp_path / "s" / "checkpoints").exists() == save
    if save:
        shutil.rmtree(tmp_path / "s")


def test_trials_in_threads_share_one_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a second one asks while the first one's is being made."""
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(0))
    trials = [study.ask(), study.ask()]
    second = threading.Thread(target=train, args=(trials[1],))
    make_directory = tempfile.mkdtemp

    def interrupted(**options: Any) -> str:
        if second.ident is None:
            second.start()
            second.join(0.2)  # it can't end before this does
        return make_directory(**options)

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    train(trials[0])
    second.join()
    assert made(study) == {0, 1}
