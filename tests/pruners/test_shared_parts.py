"""One pruner or sampler given to several studies: each goes on as with one of its own, or says that it can't."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.samplers import builtin
from fasthpo.trials.table import TrialTable
from tests.pruners.test_every_pruner import KINDS, OPTIONS, advance, fresh, plain
from tests.support.studies import FINITE, GRID, SPACE

LINE = {"x": fasthpo.Continuous(0.0, 1.0)}
LOST = "{} follows another study, to which it was given later: make a pruner of its own for each study"
OWN_LOST = LOST.format("Lowest")


class Lowest(fasthpo.Pruner):
    """Prunes what is worse than the lowest value so far; keeps that value, and is careless about the table."""

    def __init__(self) -> None:
        self.lowest: float | None = None

    def attach(self, table: TrialTable) -> None:
        values = table.reports.value
        self.lowest = float(values.min()) if len(values) else None

    def on_report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        self.lowest = value if self.lowest is None else min(self.lowest, value)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        latest = table.reports.latest(number)
        return self.lowest is not None and latest >= 0 and table.reports.value_at(latest) > self.lowest


class AllOf(fasthpo.Pruner):
    """Asks several pruners, which stand in a list."""

    def __init__(self, *pruners: fasthpo.Pruner) -> None:
        self.pruners = list(pruners)

    def attach(self, table: TrialTable) -> None:
        for pruner in self.pruners:
            pruner.attach(table)

    def on_report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        for pruner in self.pruners:
            pruner.on_report(table, number, step, value)

    def on_end(self, table: TrialTable, number: int) -> None:
        for pruner in self.pruners:
            pruner.on_end(table, number)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        return all(pruner.should_prune(table, number) for pruner in self.pruners)


def study(pruner: fasthpo.Pruner | None, seed: int = 0, **options: Any) -> fasthpo.Study:
    return fasthpo.Study(LINE, sampler=fasthpo.RandomSampler(seed=seed), pruner=pruner, **options)


def some(name: str, seed: int) -> fasthpo.Pruner:
    random = np.random.default_rng(seed)
    return fresh(KINDS[name](**{key: values[random.integers(len(values))] for key, values in OPTIONS[name].items()}))


def tell_one(one: fasthpo.Study, value: float) -> None:
    trial = one.ask()
    trial.report(value, 0)
    one.tell(trial, value)


# --- built-in pruners


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pruner_in_several_studies_decides_in_each_as_one_of_its_own(name: str) -> None:
    for seed in range(6):
        shared = some(name, seed)
        alike = [study(shared, i) for i in range(3)]
        apart = [study(fresh(shared), i) for i in range(3)]
        for part in range(3):  # in turns
            for i, (one, other) in enumerate(zip(alike, apart, strict=True)):
                assert plain(one.pruner) == plain(other.pruner)
                assert advance(one, 10 * part + i, 12) == advance(other, 10 * part + i, 12)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pruner_serves_one_study_after_the_other(name: str) -> None:
    shared, decided = some(name, 3), set()
    for _ in range(4):
        decided.add(repr(advance(study(shared, 1), 7, 20)))
    assert decided == {repr(advance(study(fresh(shared), 1), 7, 20))}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pruner_serves_a_study_and_what_is_loaded_of_it(name: str, tmp_path: Path) -> None:
    one, other = study(some(name, 2)), study(some(name, 2))
    assert advance(one, 1, 15) == advance(other, 1, 15)
    path = one.save(tmp_path / "study.msgpack")
    loaded = fasthpo.Study.load(path, pruner=one.pruner)
    for seed in (2, 3):
        expected = advance(other, seed, 10)
        assert advance(one, seed, 10) == expected
        if seed == 2:
            assert advance(loaded, seed, 10) == expected


def test_a_study_that_could_not_be_made_takes_no_pruner_along(tmp_path: Path) -> None:
    one = study(fasthpo.MedianPruner(1))
    tell_one(one, 0.1)
    with study(None, storage=tmp_path):
        for _ in range(2):
            with pytest.raises(fasthpo.FastHPOError):
                study(one.pruner, storage=tmp_path)
    trial = one.ask()
    trial.report(4.0, 0)
    assert trial.should_prune()


@pytest.mark.parametrize("wrap", [lambda p: fasthpo.PatientPruner(p, 0), AllOf], ids=["patient", "own"])
def test_a_pruner_inside_others_keeps_its_studies_apart(wrap: Callable[[fasthpo.Pruner], fasthpo.Pruner]) -> None:
    shared = fasthpo.MedianPruner(n_startup_trials=1)
    first, second = study(wrap(shared)), study(shared)
    for one, value in ((first, 0.1), (second, 5.0)):
        for _ in range(3):
            tell_one(one, value)
    for one, pruned in ((first, True), (second, False)):
        trial = one.ask()
        for step, value in enumerate([4.0, 4.5, 4.5]):
            trial.report(value, step)
        assert trial.should_prune() == pruned


def test_the_study_keeps_the_pruner_that_it_was_given_if_no_other_has_it(tmp_path: Path) -> None:
    pruner = fasthpo.PatientPruner(fasthpo.MedianPruner(), 1)
    one = study(pruner)
    assert one.pruner is pruner
    one.keep_at(tmp_path / "first")
    one.keep_at(tmp_path / "second")
    assert one.pruner is pruner
    other = study(pruner)
    assert other.pruner is not pruner and plain(other.pruner) == plain(pruner)
    for again in (copy.deepcopy(pruner), pickle.loads(pickle.dumps(pruner))):
        assert plain(study(again).pruner) == plain(pruner)


# --- a user's own


def calls(one: fasthpo.Study, trial: fasthpo.Trial) -> list[Callable[[], Any]]:
    return [
        lambda: trial.report(1.0, 1), trial.should_prune, one.ask, lambda: one.ask_batch(2),
        lambda: one.enqueue({"x": 0.5}), lambda: one.add_trials({"x": [0.5]}, [1.0]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [lambda own: own, lambda own: fasthpo.PatientPruner(own, 0), lambda own: AllOf(fasthpo.MedianPruner(), own)],
    ids=["alone", "patient", "list"],
)
def test_a_pruner_of_ones_own_follows_the_study_that_it_was_given_to_last(
    wrap: Callable[[fasthpo.Pruner], fasthpo.Pruner],
) -> None:
    own = Lowest()
    first = study(wrap(own))
    trial = first.ask()
    trial.report(0.5, 0)
    second = study(wrap(own))
    for call in calls(first, trial):
        with pytest.raises(fasthpo.TrialStateError, match=OWN_LOST):
            call()
    assert trial.reports == {0: 0.5} and trial.state == TrialState.RUNNING and len(first) == 1
    tell_one(second, 0.2)
    assert own.lowest == 0.2
    third = study(wrap(own))  # and so on
    with pytest.raises(fasthpo.TrialStateError, match=OWN_LOST):
        second.ask()
    tell_one(third, 0.3)
    first.tell(trial, 1.0)  # what was trained is told all the same
    assert first.best_value == 1.0 and own.lowest == 0.3


def test_copies_of_a_pruner_and_frozen_ones_are_pruners_of_their_own() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(fasthpo.Pruner):
        limit: float

        def should_prune(self, table: Any, number: int) -> bool:
            return False

    own = Frozen(1.0)
    first, second, third = study(own), study(copy.copy(own)), study(Frozen(1.0))
    for one in (first, second, third):
        tell_one(one, 0.5)
    tell_one(study(own), 0.5)
    with pytest.raises(fasthpo.TrialStateError, match="Frozen follows another study"):
        first.ask()


def test_a_pruner_of_ones_own_that_asks_another_is_lost_as_a_whole() -> None:
    shared = AllOf(fasthpo.MedianPruner(1))
    first, second = study(shared), study(shared)
    with pytest.raises(fasthpo.TrialStateError, match=LOST.format("(AllOf|MedianPruner)")):
        first.ask()
    tell_one(second, 1.0)


def test_a_pruner_of_ones_own_goes_on_with_the_loaded_study(tmp_path: Path) -> None:
    own = Lowest()
    first = study(own, storage=tmp_path)
    tell_one(first, 0.5)
    first.keep_at(tmp_path / "other")
    tell_one(first, 0.4)
    first.close()
    with fasthpo.Study.load(tmp_path / "other", pruner=own) as loaded:
        assert own.lowest == 0.4
        tell_one(loaded, 0.3)
    assert len(fasthpo.Study.load(tmp_path / "other", pruner=own, read_only=True)) == 3


def test_what_a_study_was_told_can_be_kept_after_its_pruner_has_gone(tmp_path: Path) -> None:
    own = Lowest()
    first = study(own, storage=tmp_path)
    tell_one(first, 0.5)
    study(own)
    path = first.save(tmp_path.parent / "copy.msgpack")
    first.close()
    for where in (tmp_path, path):
        assert fasthpo.Study.load(where, pruner=Lowest(), read_only=True).values.tolist() == [0.5]


# --- a study that is only read


@pytest.mark.parametrize("name", OPTIONS)
def test_a_reader_that_was_refreshed_decides_as_the_writer(name: str, tmp_path: Path) -> None:
    decided = set()
    for seed in range(4):
        with study(some(name, seed), storage=tmp_path / str(seed), durability="tell") as writer:
            advance(writer, seed, 5)
            given = writer.pruner if seed % 2 else None
            reader = fasthpo.Study.load(tmp_path / str(seed), read_only=True, pruner=given)
            running: list[fasthpo.Trial] = []
            random = np.random.default_rng(seed)
            for i in range(60):
                if len(running) < 3:
                    running.append(writer.ask())
                trial = running[random.integers(3)] if len(running) == 3 else running[-1]
                trial.report(float(random.normal(trial["x"], 0.3)), len(trial.reports))
                if random.random() < 0.2:
                    writer.tell(trial, trial["x"]) if random.random() < 0.7 else writer.tell(trial, np.nan)
                    running.remove(trial)
                if i == 40:
                    writer.compact()
                if i % 5 == 0:
                    writer.sync()
                    reader.refresh()
                    for one in running:
                        verdict = reader.trials[one.number].should_prune()
                        assert verdict == one.should_prune()
                        decided.add(verdict)
    assert decided == {True, False}


# --- tuners


def test_a_tuner_goes_on_after_a_checkpoint_that_it_refused(tmp_path: Path) -> None:
    class Own(fasthpo.ASHA):
        pass

    pruning = fasthpo.PruningConfig(strategy="median", n_startup_trials=1)
    objective = lambda trial: trial["x"]  # noqa: E731
    for strategy in (lambda: Own(9), lambda: fasthpo.ASHA(9), lambda: fasthpo.RandomSearch(seed=0)):
        config = fasthpo.TunerConfig("t", max_trials=4, pruning=pruning, output_dir=tmp_path, overwrite=True)
        tuner = fasthpo.HyperparameterTuner(config, LINE, strategy())
        other = fasthpo.Study({"y": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy(), pruner=fasthpo.MedianPruner(1))
        path = other.save(tmp_path / "other.msgpack")
        with pytest.raises(fasthpo.CorruptCheckpoint, match="is of another study"):
            tuner.load_checkpoint(path)
        assert len(tuner.optimize(objective).trials) == 4


# --- samplers


SPACES = {"grid": GRID}


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("name", builtin())
def test_a_sampler_in_several_studies_suggests_in_each_as_one_of_its_own(name: str, finite: bool) -> None:
    kind, space = builtin()[name], FINITE if finite else SPACES.get(name, SPACE)
    shared = kind(seed=1)
    alike = [fasthpo.Study(s, sampler=shared) for s in (space, space, fasthpo.SearchSpace(dict(space)))]
    apart = [fasthpo.Study(space, sampler=kind(seed=1)) for _ in range(3)]
    for i in range(30):
        for j, (one, other) in enumerate(zip(alike, apart, strict=True)):
            if i % 3 <= j:
                trials = one.ask(), other.ask()
                assert trials[0].params == trials[1].params
                for trial, its in zip(trials, (one, other), strict=True):
                    its.tell(trial, (trial["x"] - j / 2) ** 2)
    for one, other in zip(alike, apart, strict=True):
        batches = one.ask_batch(5), other.ask_batch(5)
        assert [batches[0][k] for k in range(5)] == [batches[1][k] for k in range(5)]


@pytest.mark.parametrize("name", builtin())
def test_a_sampler_may_serve_studies_in_several_threads(name: str) -> None:
    spaces = [
        fasthpo.SearchSpace({f"x{j}": fasthpo.Continuous(j, j + 1, n_points=300) for j in range(d)}) for d in (1, 1, 2)
    ]
    shared, results = builtin()[name](seed=1), {}

    def run(i: int, sampler: fasthpo.Sampler) -> list[dict[str, Any]]:
        one = fasthpo.Study(spaces[i], sampler=sampler)
        for _ in range(60):
            trial = one.ask()
            one.tell(trial, (trial["x0"] - i / 2) ** 2)
        return [trial.params for trial in one.trials]

    interval = sys.getswitchinterval()
    threads = [threading.Thread(target=lambda i=i: results.update({i: run(i, shared)})) for i in range(3)]
    try:
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for i in range(3):
        assert results[i] == run(i, builtin()[name](seed=1))
