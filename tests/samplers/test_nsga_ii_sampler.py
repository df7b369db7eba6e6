"""NSGA-II as a sampler: it spreads over the front, keeps constraints, and all it knows follows from the tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import NSGAIISampler, RandomSampler, SearchSpace, Study
from tests.support.several_objectives import BOTH, BOX, MIXED, mixed, run, zdt1


def test_it_comes_close_to_a_front_and_spreads_over_it() -> None:
    found = {}
    for sampler in (NSGAIISampler(seed=0), RandomSampler(seed=0)):
        study = run(Study(BOX, directions=BOTH, sampler=sampler), zdt1, 2000)
        found[sampler.name] = study.hypervolume([1.1, 1.1])
    assert found["nsga_ii"] > 0.82  # of 0.8767 that the whole front dominates
    assert found["random"] < 0.3


def test_it_works_with_one_objective_in_either_direction() -> None:
    one = run(Study(BOX, sampler=NSGAIISampler(seed=1)), lambda p: sum((v - 0.3) ** 2 for v in p.values()), 2000)
    assert one.best_value < 1e-3
    other = Study(BOX, sampler=NSGAIISampler(seed=1), direction="maximize")
    run(other, lambda p: -sum((v - 0.3) ** 2 for v in p.values()), 2000)
    assert other.best_params == one.best_params


def test_it_keeps_constraints() -> None:
    study = Study(BOX, directions=BOTH, sampler=NSGAIISampler(seed=0))
    for _ in range(1500):
        trial = study.ask()
        # the front of the problem without a limit breaks it
        study.tell(trial, zdt1(trial.params), constraints=[0.1 - trial["x1"], trial["x0"] - 0.5])
    late = range(1000, 1500)
    feasible = [study.trials[n]["x1"] >= 0.1 and study.trials[n]["x0"] <= 0.5 for n in late]
    assert np.mean(feasible) > 0.5
    assert all(trial["x1"] >= 0.1 and trial["x0"] <= 0.5 for trial in study.best_trials)


def test_where_nothing_is_feasible_it_goes_where_less_is_broken() -> None:
    study = Study(BOX, directions=BOTH, sampler=NSGAIISampler(10, seed=0))
    broken = []
    for _ in range(600):
        trial = study.ask()
        broken.append(1 + sum(trial.params.values()))
        study.tell(trial, zdt1(trial.params), constraints=[broken[-1]])
    assert np.mean(broken[-50:]) < 1.5 < np.mean(broken[:50])


def test_failed_trials_and_infinities_are_no_parents() -> None:
    study = Study(BOX, directions=BOTH, sampler=NSGAIISampler(10, seed=0))
    for _ in range(400):
        trial = study.ask()
        if trial["x2"] > 0.5:
            study.tell(trial, [0.0, math.nan] if trial.number % 2 else [math.inf, 0.0])
        else:
            study.tell(trial, zdt1(trial.params))
    late = [study.trials[n]["x2"] > 0.5 for n in range(300, 400)]
    assert np.mean(late) < 0.2


def test_trials_whose_worker_was_lost_are_left_out() -> None:
    one, other = (Study(BOX, directions=BOTH, sampler=NSGAIISampler(8, seed=3)) for _ in range(2))
    lost = other.ask()
    assert lost.params == one.ask().params
    other.tell(lost, state=fasthpo.TrialState.FAILED, error="gone", infrastructure=True)
    one.tell(0, state=fasthpo.TrialState.FAILED, error="gone", infrastructure=True)
    for study in (one, other):
        run(study, zdt1, 8)
    population = one.sampler._of(one.table)  # type: ignore[attr-defined]
    assert population.exists
    assert 0 not in population._members[None].numbers


@pytest.mark.parametrize("space", [BOX, MIXED], ids=["box", "mixed"])
def test_a_batch_is_what_as_many_asks_would_be(space: SearchSpace) -> None:
    objective = zdt1 if space is BOX else mixed
    one, other = (Study(space, directions=BOTH, sampler=NSGAIISampler(10, seed=2)) for _ in range(2))
    for _ in range(6):
        batch = one.ask_batch(7)
        trials = [other.ask() for _ in range(7)]
        assert [batch[i] for i in range(7)] == [trial.params for trial in trials]
        values = np.array([objective(trial.params) for trial in trials])
        one.tell_batch(batch.numbers, values)
        for trial, value in zip(trials, values, strict=True):
            other.tell(trial, value.tolist())


def test_a_study_that_was_loaded_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    through = Study(MIXED, directions=BOTH, sampler=NSGAIISampler(10, seed=5))
    stopped = Study(MIXED, directions=BOTH, sampler=NSGAIISampler(10, seed=5), storage=tmp_path / "study")
    waiting = {}
    for study in (through, stopped):
        random = np.random.default_rng(0)
        running: list[Any] = []
        for _ in range(67):
            running.append(study.ask())
            if len(running) > 5:  # told in an order of its own
                trial = running.pop(int(random.integers(len(running))))
                study.tell(trial, mixed(trial.params), constraints=[float(random.normal())])
        waiting[study] = [trial.number for trial in running]
    stopped.close()
    with Study.load(tmp_path / "study") as loaded:
        assert isinstance(loaded.sampler, NSGAIISampler)
        assert loaded.sampler.options() == {"population_size": 10, "seed": 5}
        again = [loaded.ask() for _ in waiting[through]]  # those that ran are asked first
        assert sorted(trial.number for trial in again) == sorted(waiting[through])
        for study in (through, loaded):
            for number in waiting[through]:
                study.tell(number, mixed(study.trials[number].params))
            run(study, mixed, 60)
        assert [t.params for t in loaded.trials] == [t.params for t in through.trials]


def test_any_number_of_trials_may_run() -> None:
    study = Study(MIXED, directions=BOTH, sampler=NSGAIISampler(10, seed=0))
    trials = [study.ask() for _ in range(300)]
    assert len({tuple(trial.params.items()) for trial in trials}) == 300
    for trial in reversed(trials):
        study.tell(trial, mixed(trial.params))
    assert study.ask().params


def test_known_results_are_a_population() -> None:
    random = np.random.default_rng(0)
    study = Study(BOX, directions=BOTH, sampler=NSGAIISampler(20, seed=0))
    points = {f"x{j}": random.random(400) * (0.05 if j else 1.0) for j in range(6)}
    rows = np.stack(list(points.values()), 1)
    study.add_trials(points, np.array([zdt1(dict(zip(points, row, strict=True))) for row in rows]))
    asked = [study.ask() for _ in range(20)]
    assert np.mean([[trial[f"x{j}"] for j in range(1, 6)] for trial in asked]) < 0.15


def test_wrong_sizes_are_refused() -> None:
    for size in (3, 10_001, 5.5, True, "50"):
        with pytest.raises(fasthpo.InvalidValue, match="population_size"):
            NSGAIISampler(size)  # type: ignore[arg-type]
