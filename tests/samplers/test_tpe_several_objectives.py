"""TPE under several objectives: whom it calls good, what its processes know, and that both follow from the tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, RandomSampler, SearchSpace, Study, TPESampler
from fasthpo.samplers.tpe.front_split import FrontSplit, Told
from fasthpo.samplers.tpe.several_objectives import MOST_POINTS, scaled_losses
from fasthpo.samplers.tpe.split import below_count
from tests.support import naive_multi_objective as naive
from tests.support.several_objectives import BOTH, BOX, MIXED, mixed, run, zdt1

FINITE = SearchSpace({"x": Discrete(0, 5), "c": Categorical(["a", "b"]), "y": Continuous(0.0, 1.0, step=0.25)})


def points_of(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


def told_of(losses: np.ndarray, penalties: np.ndarray) -> Told:
    return Told(np.arange(len(losses)), losses, penalties)


@pytest.mark.parametrize("m", [2, 3])
def test_below_are_whole_layers_and_the_best_of_the_next(m: int) -> None:
    random = np.random.default_rng(m)
    losses = random.random((90, m)) if m == 2 else np.round(random.random((60, m)), 2)
    penalties = np.where(random.random(len(losses)) < 0.1, random.random(len(losses)), 0.0)
    split, alone = FrontSplit(m), FrontSplit(m)
    below: set[int] = set()
    for i in range(len(losses)):
        alone.keep(Told(np.array([i]), losses[i : i + 1], penalties[i : i + 1]))
        enter, leave = alone.settle()
        assert not below & set(enter)
        assert set(leave) <= below
        below = below - set(leave) | set(enter)
        assert below == set(alone.below)
        if i % 11 == 0:
            n = i + 1
            assert alone.below == naive.first_by_layers(losses[:n], penalties[:n], below_count(n))
    split.keep(told_of(losses, penalties))
    split.settle()
    assert split.below == alone.below


def test_of_many_trials_below_are_on_the_front_however_they_were_told() -> None:
    random = np.random.default_rng(0)
    losses = random.random((3000, 2))
    one, other = FrontSplit(2), FrontSplit(2)
    one.keep(told_of(losses, np.zeros(3000)))
    for first in range(0, 3000, 7):
        part = np.arange(first, min(first + 7, 3000))
        other.keep(Told(part, losses[part], np.zeros(len(part))))
        other.settle()
    one.settle()
    assert one.below == other.below
    layers = naive.layers(losses[one.first(50).numbers])
    ahead = [i for i in range(3000) if not (losses[losses[:, 0] <= losses[i, 0]][:, 1] < losses[i, 1]).any()]
    assert set(ahead) <= set(one.below)  # the whole front, which is short
    assert len(one.below) == 25
    assert max(layers) < 6


def test_what_has_no_finite_losses_is_never_below() -> None:
    split = FrontSplit(2)
    split.keep(told_of(np.full((30, 2), np.inf), np.full(30, np.inf)))
    assert split.settle() == ([], [])
    split.keep(Told(np.array([30]), np.zeros((1, 2)), np.array([1.5])))
    assert split.settle() == ([30], [])


def test_losses_are_scaled_by_the_front_and_flattened_beyond_it() -> None:
    losses = np.array([[0.0, 10.0], [1.0, 0.0], [2.0, 20.0], [1e300, -1e300], [0.5, 5.0]])
    scaled = scaled_losses(losses, losses[:2])
    np.testing.assert_allclose(scaled[[0, 1, 4]], [[0, 1], [1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(scaled[2], 1 + np.log(2))
    assert scaled[3, 0] > scaled[2, 0]
    assert scaled[3, 1] < 0
    assert np.isfinite(scaled).all()
    assert np.isfinite(scaled_losses(np.array([[0.0], [5e-324], [1e300], [-1e300]]), np.array([[0.0], [5e-324]]))).all()
    huge = np.array([[-1.7e308, 0.0], [1.7e308, 1.0]])
    np.testing.assert_allclose(scaled_losses(huge, huge), [[0, 0], [1, 1]])
    assert np.isfinite(scaled_losses(np.zeros((3, 2)), np.zeros((1, 2)))).all()


def test_it_finds_a_front_in_a_few_trials() -> None:
    found = [
        run(Study(BOX, directions=BOTH, sampler=sampler), zdt1, 80).hypervolume([1.1, 1.1])
        for sampler in (TPESampler(seed=0), RandomSampler(seed=0))
    ]
    assert found[0] > 0.5  # of 0.8767
    assert found[1] < 0.1


def test_a_study_takes_a_sampler_by_default_that_works_on_several_objectives() -> None:
    study = run(Study(BOX, directions=["minimize", "maximize"]), lambda p: [p["x0"], p["x1"]], 15)
    assert len(study.best_trials) >= 1
    assert len(study.ask_batch(3).numbers) == 3


def test_to_maximize_is_to_minimize_the_negative() -> None:
    one = run(Study(MIXED, directions=BOTH, sampler=TPESampler(seed=1)), mixed, 60)
    other = Study(MIXED, directions=["maximize", "minimize"], sampler=TPESampler(seed=1))
    run(other, lambda params: [-mixed(params)[0], mixed(params)[1]], 60)
    assert points_of(one) == points_of(other)


@pytest.mark.parametrize("multivariate", [True, False])
def test_known_results_count_as_if_they_had_been_told_one_by_one(multivariate: bool) -> None:
    random = np.random.default_rng(0)
    points = {name: random.random(411) for name in BOX}
    rows = [dict(zip(points, row, strict=True)) for row in np.stack(list(points.values()), 1).tolist()]
    values = np.array([zdt1(row) for row in rows])
    values[::17] = np.nan
    studies = [Study(BOX, directions=BOTH, sampler=TPESampler(seed=3, multivariate=multivariate)) for _ in range(2)]
    studies[0].add_trials(points, values)
    for row, value in zip(rows, values, strict=True):
        studies[1].add_trials({name: [x] for name, x in row.items()}, value[None])
        if len(studies[1]) % 50 == 20:
            studies[1].sampler.suggest(studies[1].table, 10**6 + len(studies[1]))  # it takes in what was told so far
    for study in studies:
        run(study, zdt1, 12)
    assert points_of(studies[0]) == points_of(studies[1])


@pytest.mark.parametrize("space", [BOX, MIXED, FINITE], ids=["box", "mixed", "finite"])
def test_a_study_that_was_loaded_goes_on_as_if_never_stopped(space: SearchSpace, tmp_path: Path) -> None:
    objective = {id(BOX): zdt1, id(MIXED): mixed}.get(id(space), lambda p: [p["x"] + p["y"], -p["x"]])
    trials = 30 if space is FINITE else MOST_POINTS + 35
    through = Study(space, directions=BOTH, sampler=TPESampler(seed=5))
    stopped = Study(space, directions=BOTH, sampler=TPESampler(seed=5), storage=tmp_path / "study")
    for study in (through, stopped):
        for number in range(trials):
            trial = study.ask()
            broken = float(math.sin(number))
            if number % 13 == 0:
                study.tell(trial, [math.nan, 1.0])
            else:
                study.tell(trial, objective(trial.params), constraints=[broken])
    stopped.close()
    with Study.load(tmp_path / "study") as loaded:
        for study in (through, loaded):
            run(study, objective, 20)
        assert points_of(loaded) == points_of(through)


def test_a_batch_is_what_as_many_asks_would_be() -> None:
    one, other = (Study(MIXED, directions=BOTH, sampler=TPESampler(seed=2)) for _ in range(2))
    for _ in range(5):
        batch = one.ask_batch(6)
        trials = [other.ask() for _ in range(6)]
        assert [batch[i] for i in range(6)] == [trial.params for trial in trials]
        values = np.array([mixed(trial.params) for trial in trials])
        one.tell_batch(batch.numbers, values)
        for trial, value in zip(trials, values, strict=True):
            other.tell(trial, value.tolist())


def test_trials_that_run_push_later_ones_away() -> None:
    study = run(Study(BOX, directions=BOTH, sampler=TPESampler(seed=0)), zdt1, 40)
    trials = [study.ask() for _ in range(40)]
    points = np.array([list(trial.params.values()) for trial in trials])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 10 * np.eye(40)
    assert distances.min() > 1e-4
    for trial in trials:
        study.tell(trial, zdt1(trial.params))
    assert study.ask().params


def test_it_keeps_constraints() -> None:
    study = Study(BOX, directions=BOTH, sampler=TPESampler(seed=0))
    for _ in range(90):
        trial = study.ask()
        # the front of the problem without a limit breaks it
        study.tell(trial, zdt1(trial.params), constraints=[0.2 - trial["x1"], trial["x0"] - 0.5])
    kept = [trial["x1"] >= 0.2 and trial["x0"] <= 0.5 for trial in study.trials]
    assert np.mean(kept[50:]) > 0.5
    reached = study.hypervolume([1.1, 1.6])
    assert reached > 0.25  # random trials reach 0, NSGA-II too
    nothing = Study(BOX, directions=BOTH, sampler=TPESampler(seed=0))
    broken = []
    for _ in range(60):
        trial = nothing.ask()
        broken.append(1 + sum(trial.params.values()))
        nothing.tell(trial, zdt1(trial.params), constraints=[broken[-1]])
    assert np.mean(broken[-10:]) < np.mean(broken[:10]) - 1


@pytest.mark.parametrize(
    "objective",
    [
        lambda p: [1.0, 2.0],
        lambda p: [p["x0"] * 1e308, -p["x1"] * 1e308],
        lambda p: [p["x0"] * 1e-310, p["x1"] * 1e-310],
        lambda p: [p["x0"], math.inf if p["x1"] > 0.5 else p["x1"]],
        lambda p: [math.nan, p["x1"]],
        lambda p: [p["x0"], p["x0"]],
        lambda p: [round(p["x0"]), round(p["x1"])],
        lambda p: [p["x0"], -p["x0"], p["x1"], 1 - p["x2"]],
        lambda p: [abs(x - 0.1 * j) + 0.1 * abs(p["x0"] - x) for j in range(3) for x in p.values()][:16],
    ],
    ids=["constant", "huge", "tiny", "infinite", "failing", "equal", "rounded", "four", "sixteen"],
)
def test_it_goes_on_whatever_it_is_told(objective: Any) -> None:
    count = len(objective(dict.fromkeys(BOX, 0.0)))
    study = Study(BOX, directions=["minimize"] * count, sampler=TPESampler(seed=0))
    run(study, objective, 45)
    assert len({tuple(point.values()) for point in points_of(study)}) == 45


def test_on_a_finite_space_each_point_is_tried_once() -> None:
    study = run(Study(FINITE, directions=BOTH, sampler=TPESampler(seed=0)), lambda p: [p["x"], -p["y"] - p["x"]], 60)
    assert len({tuple(point.values()) for point in points_of(study)}) == 60
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


def test_auto_sampler_lets_tpe_suggest_and_says_who_is_on_the_front() -> None:
    auto, alone = fasthpo.AutoSampler(seed=4), TPESampler(seed=4)
    studies = [Study(MIXED, directions=BOTH, sampler=sampler) for sampler in (auto, alone)]
    for study in studies:
        run(study, mixed, 45)
        study.ask_batch(4)
    assert points_of(studies[0]) == points_of(studies[1])
    lines = auto.summary().splitlines()
    assert lines[0] == "AutoSampler: 49 trials"
    assert lines[1].split() == ["trials", "on", "the", "front"]
    assert sum(int(line.split()[-1]) for line in lines[2:]) == len(studies[0].best_trials)


def test_trials_whose_worker_was_lost_are_as_if_they_had_never_been_told() -> None:
    study = run(Study(BOX, directions=BOTH, sampler=TPESampler(seed=0)), zdt1, 15)
    lost = [study.ask() for _ in range(5)]
    for trial in lost:
        study.tell(trial, state=fasthpo.TrialState.FAILED, error="gone", infrastructure=True)
    assert study.ask().params
    search = study.sampler._model._front_search  # type: ignore[attr-defined]
    assert search._count == 15
    assert not {trial.number for trial in lost} & set(search._fitted().numbers.tolist())
