"""A study that was stopped, in whatever way, goes on as one that never stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from tests.support.studies import PRUNERS, SAMPLERS, STRATEGIES, content, make, run, step, times

STEPS = 40
BREAKS = (1, 5, 10, 13, 15, 21, 30)


def broken_off(study: fasthpo.Study, directory: Path) -> Path:
    """What a SIGKILL would leave of a study: a copy of its files as they are now."""
    assert study.storage is not None
    copy = directory / f"copy-{len(list(directory.iterdir()))}"
    shutil.copytree(study.storage, copy)
    return copy


def ways(study: fasthpo.Study, way: str, directory: Path) -> fasthpo.Study:
    """The study after it was stopped in some way and loaded again."""
    if way == "closed":
        assert study.storage is not None
        path = study.storage
        study.close()
        return fasthpo.Study.load(path)
    if way == "killed":
        return fasthpo.Study.load(broken_off(study, directory))
    return fasthpo.Study.load(study.save(directory / "study.msgpack"))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_loaded_study_goes_on_as_if_it_had_never_stopped(
    sampler: str, pruner: str, strategy: str, tmp_path: Path
) -> None:
    whole = make(sampler, pruner, strategy)
    study = make(sampler, pruner, strategy, storage=tmp_path / "study", durability="system")
    kinds = ["killed", "closed", "saved and kept anew", "killed"]
    for i in range(STEPS):
        step(whole, i)
        step(study, i)
        if i in BREAKS:
            before = content(study), times(study)
            way = kinds[BREAKS.index(i) % len(kinds)]
            study = ways(study, way, tmp_path)
            if study.storage is None:
                study.keep_at(tmp_path / f"anew-{i}", durability="system")
            assert (content(study), times(study)) == before
    assert content(study) == content(whole)
    assert study.sampler.options() == whole.sampler.options()
    assert study.space == whole.space and study.direction == "maximize"
    # and what is still open of a finite space, or of a grid, is the same
    assert [study.ask().params for _ in range(5)] == [whole.ask().params for _ in range(5)]


@pytest.mark.parametrize("way", ["killed", "closed", "saved"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_broken_off_trials_are_asked_again_first(strategy: str, way: str, tmp_path: Path) -> None:
    whole = make("tpe", "median", strategy)
    study = make("tpe", "median", strategy, storage=tmp_path / "study", durability="system")
    for i in range(30):
        step(whole, i)
        step(study, i)
    running = [study.ask() for _ in range(3)]
    for trial in running:
        trial.report(0.5, trial.start_resource)
    about = [(t.number, t.params, t.resource, t.start_resource, t.rungs) for t in running]
    waiting = study.enqueue({"x": 0.25})
    study = ways(study, way, tmp_path)
    assert len(study.table.reports) == len(whole.table.reports)
    if way != "saved":  # broken off once more, before the trials were asked for, and again after one was
        for asked in (0, 1):
            for _ in range(asked):
                study.ask().report(0.5, 10)
            study = fasthpo.Study.load(broken_off(study, tmp_path))
            assert len(study.table.reports) == len(whole.table.reports)
    again = [study.ask() for _ in range(3)]
    assert [(t.number, t.params, t.resource, t.start_resource, t.rungs) for t in again] == about
    assert study.ask().number == waiting
    # the uninterrupted one goes the same way
    expected = [whole.ask() for _ in range(3)]
    whole.enqueue({"x": 0.25})
    expected.append(whole.ask())
    for one, other in zip([*again, study.trials[waiting]], expected, strict=True):
        run(study, one)
        run(whole, other)
    for i in range(20, 40):
        step(whole, i)
        step(study, i)
    assert content(study) == content(whole)


@pytest.mark.parametrize("strategy", ["in-full", "halving", "asha"])
def test_broken_off_trials_fail_on_request(strategy: str, tmp_path: Path) -> None:
    study = make("random", "median", strategy, storage=tmp_path / "study", durability="system")
    for i in range(10):
        step(study, i)
    running = [study.ask() for _ in range(2)]
    running[1].report(0.5, running[1].start_resource)
    study.sync()
    loaded = fasthpo.Study.load(broken_off(study, tmp_path), interrupted="fail")
    for trial in (loaded.trials[one.number] for one in running):
        assert trial.state == fasthpo.TrialState.FAILED and "interrupted" in str(trial.error)
    assert loaded.trials[running[1].number].reports[running[1].start_resource] == 0.5
    assert loaded.ask().number not in [trial.number for trial in running]
    again = fasthpo.Study.load(broken_off(loaded, tmp_path))
    assert again.trials[running[0].number].state == fasthpo.TrialState.FAILED
    with pytest.raises(
        fasthpo.InvalidValue, match="interrupted must be 'retry', 'fail' or 'keep', got interrupted='no'"
    ):
        fasthpo.Study.load(tmp_path / "study", interrupted="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampler", "strategy", "way"),
    [("auto", "in-full", "saved"), ("tpe-finite", "hyperband", "saved"), ("random", "asha", "killed")],
)
def test_running_trials_are_kept_on_request_and_nothing_shows_that_it_was_loaded(
    sampler: str, strategy: str, way: str, tmp_path: Path
) -> None:
    whole = make(sampler, "median", strategy)
    study = make(sampler, "median", strategy, storage=tmp_path / "study", durability="system")
    for i in range(20):
        step(whole, i)
        step(study, i)
    expected, running = ([one.ask() for _ in range(3)] for one in (whole, study))
    for trial in (expected[1], running[1]):
        trial.report(0.25, trial.start_resource)
    for again in range(3):
        study.sync()
        path = broken_off(study, tmp_path) if way == "killed" else study.save(tmp_path / f"{again}.msgpack")
        study = fasthpo.Study.load(path, interrupted="keep")
        if study.storage is None:
            study.keep_at(tmp_path / f"anew-{again}", durability="system")
        assert content(study) == content(whole)
        run(study, study.trials[running[again].number])
        run(whole, expected[again])
        assert study.ask().params == whole.ask().params
    for i in range(20, 30):
        step(whole, i)
        step(study, i)
    assert content(study) == content(whole)


class Observing(fasthpo.Sampler):
    """A sampler of the user's own that depends on what it observed, and in which order."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seen: list[tuple[int, float]] = []

    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        total = sum((i + 1) * value for i, (_, value) in enumerate(self.seen) if value == value)
        return {"x": total % 1.0, "n": 1 + (draw + len(self.seen)) % 7, "c": True}

    def observe(self, table: Any, number: int) -> None:
        self.seen.append((number, float(table.values[number])))


def test_a_sampler_of_the_users_own_observes_everything_again_in_order(tmp_path: Path) -> None:
    def objective(study: fasthpo.Study, n: int) -> None:
        for _ in range(n):
            first, second = study.ask(), study.ask()
            study.tell(second, second["x"] / 3 + 0.1)  # not in the order of the numbers
            study.tell(first, first["x"] / 2 + 0.2)

    space = SAMPLERS["random"][0]
    whole = fasthpo.Study(space, sampler=Observing(seed=1))
    objective(whole, 20)
    study = fasthpo.Study(space, sampler=Observing(seed=1), storage=tmp_path / "study")
    objective(study, 7)
    with pytest.raises(fasthpo.InvalidValue, match="sampler of your own, Observing; pass one as sampler="):
        fasthpo.Study.load(broken_off(study, tmp_path))
    killed = fasthpo.Study.load(broken_off(study, tmp_path), sampler=Observing(seed=1))
    objective(killed, 6)
    assert killed.storage is not None
    killed.close()
    closed = fasthpo.Study.load(broken_off(study, tmp_path), sampler=Observing(seed=1))
    objective(closed, 13)
    assert content(closed) == content(whole)
    assert closed.sampler.seen == whole.sampler.seen  # type: ignore[attr-defined]


def test_a_subclass_of_a_built_in_part_is_the_users_own(tmp_path: Path) -> None:
    class Own(fasthpo.RandomSampler):
        pass

    class OwnPruner(fasthpo.MedianPruner):
        pass

    space = SAMPLERS["random"][0]
    path = fasthpo.Study(space, sampler=Own(seed=1), pruner=OwnPruner()).save(tmp_path / "own.msgpack")
    with pytest.raises(
        fasthpo.InvalidValue, match=r"own\.msgpack: the study used a sampler of your own, Own; pass one"
    ):
        fasthpo.Study.load(path)
    with pytest.raises(
        fasthpo.InvalidValue, match="the study used a pruner of your own, OwnPruner; pass one as pruner="
    ):
        fasthpo.Study.load(path, sampler=Own(seed=1))
    loaded = fasthpo.Study.load(path, sampler=Own(seed=1), pruner=OwnPruner())
    assert type(loaded.sampler) is Own and type(loaded.pruner) is OwnPruner


def test_a_strategy_that_trains_in_full_is_its_sampler(tmp_path: Path) -> None:
    space = SAMPLERS["random"][0]
    study = fasthpo.Study(space, strategy=fasthpo.RandomSearch(seed=4), storage=tmp_path / "study")
    whole = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=4))
    for _ in range(3):
        run(study, study.ask())
        run(whole, whole.ask())
    loaded = fasthpo.Study.load(broken_off(study, tmp_path))
    assert loaded.strategy is None and loaded.ask().params == whole.ask().params


def test_best_value_is_restored(tmp_path: Path) -> None:
    with make("random", storage=tmp_path) as study:
        for value in (1.0, 3.0, 3.0, 2.0):
            study.tell(study.ask(), value)
    loaded = fasthpo.Study.load(tmp_path)
    assert (loaded.best_value, loaded.best_trial.number) == (3.0, 1)
    loaded.tell(loaded.ask(), 2.5)
    assert loaded.best_trial.number == 1


def test_other_parts_go_on_and_are_remembered(tmp_path: Path) -> None:
    with make("random", storage=tmp_path) as study:
        for i in range(8):
            step(study, i)
    with fasthpo.Study.load(tmp_path, sampler=fasthpo.TPESampler(seed=9), pruner=fasthpo.MedianPruner()) as study:
        study.tell(study.ask(), 0.5)
    # and without being closed
    study = fasthpo.Study.load(tmp_path, sampler=fasthpo.QMCSampler(seed=3))
    study.tell(study.ask(), 0.5)
    loaded = fasthpo.Study.load(broken_off(study, tmp_path.parent))
    assert (type(loaded.sampler), loaded.sampler.seed) == (fasthpo.QMCSampler, 3)
    assert type(loaded.pruner) is fasthpo.MedianPruner
