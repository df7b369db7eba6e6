"""The Gaussian process that compares TPE's candidates: which trials it knows, and that it is a function of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, SearchSpace, Study, TPESampler, TrialState
from fasthpo.samplers import gaussian_process
from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.gaussian_process import MOST_POINTS, GaussianProcess
from fasthpo.samplers.ranks import SortKey, sort_key
from fasthpo.samplers.tpe.model import Model
from tests.support import naive_ranks as naive_places
from tests.support import naive_targets

SPACE = SearchSpace(
    {
        "x": Continuous(-5, 5),
        "n": Discrete(1, 1000, log=True),
        "c": Categorical(["a", "b", "c"]),
        "m": Continuous(0, 1, when={"c": ["b"]}),
    }
)


def random_study(n: int, seed: int = 0, direction: str = "minimize") -> Study:
    """n trials told in an order of their own, some pruned, some failed; losses tie"""
    study = Study(SPACE, sampler=fasthpo.RandomSampler(seed=seed), pruner=fasthpo.MedianPruner(), direction=direction)
    random = np.random.default_rng(seed)
    trials = [study.ask() for _ in range(n)]
    for i in random.permutation(n):
        end = random.integers(10)
        if end == 0:
            study.tell(trials[i], state=TrialState.FAILED)
        elif end == 1:
            trials[i].report(float(random.random()), int(random.integers(3)))
            study.tell(trials[i], state=TrialState.PRUNED)
        else:
            study.tell(trials[i], float(random.integers(50)) if end < 9 else math.inf)
    return study


def finished_keys(study: Study) -> list[SortKey]:
    table = study.table
    return [sort_key(table, n) for n in table.tell_order.tolist()]


def expected_known(keys: list[SortKey]) -> list[SortKey]:
    """The best half and the latest others, as of the last time that trials were taken in."""
    if len(keys) > MOST_POINTS:
        keys = keys[: len(keys) - (len(keys) - MOST_POINTS) % (MOST_POINTS // 16)]
    best = sorted(keys)[: MOST_POINTS // 2]
    others = [key for key in keys if key not in best]
    return sorted(best + others[max(len(others) - (MOST_POINTS - len(best)), 0) :])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("n", [1, 2, 60, 140, 150, 151, 155, 500])
def test_it_knows_the_best_and_the_latest_trials(n: int, direction: str) -> None:
    study = random_study(n, direction=direction)
    keys = finished_keys(study)
    kept = GaussianProcess(encode_space(SPACE), pruned_by_rank=True)
    for key in keys:
        kept.add([key])
    known = kept._fitted()
    assert known == expected_known(keys) and len(known) == min(len(keys), MOST_POINTS)
    points, targets = kept._training_data(study.table, known, room=0)
    expected = naive_targets.logarithmic(known, naive_places.ranks(study.table, known, pruned_by_rank=True))
    np.testing.assert_allclose(targets, expected, atol=1e-9)
    for k, key in enumerate(known):
        x = study.columns["x"][key[3]]
        assert points[0, k] == pytest.approx((x + 5) / 10)
        assert np.isnan(points[3, k]) == np.isnan(study.columns["m"][key[3]])


def arrays_of(kept: GaussianProcess) -> tuple[np.ndarray, ...]:
    known = kept.arrays
    points, cholesky = known.points[:, : known.size], np.tril(known.cholesky)[: known.size]
    return known.hyperparameters, points, known.alpha, np.array(known.output_scale), cholesky


def go_on(study: Study, trials: int) -> list[dict[str, Any]]:
    """Ask for trials that report and are pruned, or told."""
    points = []
    for _ in range(trials):
        trial = study.ask()
        points.append(trial.params)
        loss = trial["x"] ** 2 + math.log(trial["n"])
        for step in range(5):
            trial.report(loss + abs(trial["x"]) / (step + 1), step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, loss)
    return points


def test_a_loaded_study_ranks_pruned_trials_as_before(tmp_path: Path) -> None:
    made = [
        Study(SPACE, sampler=TPESampler(seed=5), pruner=fasthpo.MedianPruner(min_steps=1), storage=storage)
        for storage in (None, tmp_path / "study")
    ]
    points = go_on(made[0], 80)
    with made[1]:
        first = go_on(made[1], 40)
    with Study.load(tmp_path / "study") as loaded:
        assert first + go_on(loaded, 40) == points
        assert (
            loaded.sampler._model._gaussian_process._ranks._pruned_by_rank
            and loaded.table.counts[TrialState.PRUNED] > 10
        )


@pytest.mark.parametrize("most", [128, 16])
def test_it_is_a_function_of_the_trials_however_often_it_was_asked(monkeypatch: Any, most: int) -> None:
    """So a resumed study goes on bit for bit."""
    monkeypatch.setattr(gaussian_process, "MOST_POINTS", most)
    monkeypatch.setattr(gaussian_process, "_MOST_BEST", most // 2)
    study = Study(SPACE, sampler=TPESampler(seed=3), pruner=fasthpo.MedianPruner())
    running = []
    for i in range(230):
        running.append(study.ask())
        if i % 7 != 3:
            trial = running.pop(0)
            loss = trial["x"] ** 2 + math.log(trial["n"])
            trial.report(loss + 1, 0)
            if i % 4 == 1:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                trial.report(loss, 1)
                study.tell(trial, loss)
    asked = study.sampler._model  # type: ignore[attr-defined]
    anew = Model(study.table, multivariate=True, exact=False, pruned_by_rank=True)
    for kept in (asked, anew):
        kept.catch_up()
        kept._gaussian_process.catch_up(study.table)
    assert len(asked._gaussian_process._pending) >= 8
    for a, b in zip(arrays_of(asked._gaussian_process), arrays_of(anew._gaussian_process), strict=True):
        np.testing.assert_array_equal(a, b)
    again = TPESampler(seed=3)
    again.heed_pruner(study.table, prunes_by_rank=True)
    assert isinstance(study.sampler, TPESampler)
    for draw in range(230, 240):
        np.testing.assert_array_equal(again.suggest(study.table, draw), study.sampler.suggest(study.table, draw))


def test_running_trials_are_pending_points() -> None:
    study = random_study(60)
    kept = GaussianProcess(encode_space(SPACE), pruned_by_rank=True)
    for key in finished_keys(study):
        kept.add([key])
    kept.catch_up(study.table)
    told = kept.arrays.size
    assert told == len(finished_keys(study)) == len(kept.arrays.alpha)
    numbers = []
    for i in range(1, 600):
        numbers.append(study.ask().number)
        kept.catch_up(study.table)
        pending = kept.arrays.size - told
        assert pending == len(kept._pending) and kept._pending == numbers[-pending:]
        assert pending == i if i < 16 else 8 <= pending < 16
        assert len(kept.arrays.cholesky) == kept.arrays.points.shape[1] > kept.arrays.size
    fresh = GaussianProcess(encode_space(SPACE), pruned_by_rank=True)
    for key in finished_keys(study):
        fresh.add([key])
    fresh.catch_up(study.table)
    for a, b in zip(arrays_of(kept), arrays_of(fresh), strict=True):
        np.testing.assert_array_equal(a, b)
    for number in numbers[:-1]:
        study.tell(number, state=TrialState.FAILED)
    kept.catch_up(study.table)
    assert kept._pending == numbers[-1:]
    study.tell(numbers[-1], state=TrialState.FAILED)
    kept.catch_up(study.table)
    assert kept.arrays.size == told


def test_length_scales_are_optimized_whenever_there_are_a_tenth_more_trials(monkeypatch: Any) -> None:
    from fasthpo.kernels import gaussian_process

    sizes = []
    optimize = gaussian_process.optimize_hyperparameters

    def counted(*arguments: Any) -> None:
        sizes.append(len(arguments[3]))
        optimize(*arguments)

    monkeypatch.setattr(gaussian_process, "optimize_hyperparameters", counted)
    study = random_study(3000)
    kept = GaussianProcess(encode_space(SPACE), pruned_by_rank=True)
    for key in finished_keys(study)[:1000]:
        kept.add([key])
        kept.catch_up(study.table)
    assert sizes[:12] == [*range(1, 13)] and sizes.count(MOST_POINTS) <= 25 and len(sizes) < 75
    once = len(sizes)
    for key in finished_keys(study)[1000:]:
        kept.add([key])
    kept.catch_up(study.table)
    assert len(sizes) == once + 1  # those in between would have been for nothing


@pytest.mark.parametrize("n", [60, 2000])
def test_what_was_tried_is_not_tried_again(n: int) -> None:
    """One parameter has a range, and many candidates have their value of it from the best trial."""
    space = SearchSpace({"x": Continuous(-5, 5), "k": Discrete(1, 3), "c": Categorical(["a", "b"])})
    study = Study(space, sampler=TPESampler(seed=1))
    rows = space.from_unit(np.random.default_rng(0).random((n, 3)))
    columns = {name: [space.decode(row)[name] for row in rows] for name in space.names}
    study.add_trials(columns, np.abs(columns["x"]))
    for _ in range(10):
        for trial in [study.ask() for _ in range(6)]:
            study.tell(trial, abs(trial["x"]))
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(points)) == len(points)


@pytest.mark.parametrize("value", [math.nan, math.inf, 9.0])
def test_the_bound_is_lower_where_trials_fail(value: float) -> None:
    sampler = TPESampler(seed=0)
    study = Study({"x": Continuous(0, 1)}, sampler=sampler)
    study.add_trials({"x": np.linspace(0, 1, 12)}, [*np.linspace(0, 1, 11), value])
    study.ask_batch(2)
    kept = sampler._model
    assert kept is not None
    confidence = kept._confidence(kept._current_gaussian_process())
    assert confidence == (3.0 if value == 9.0 else 2.0)


def test_spaces_without_a_continuous_parameter_go_by_ranks() -> None:
    losses = [0.0, 1.0, 2.0, 50.0, 900.0]
    for name, parameter in (("x", Continuous(0, 9)), ("n", Discrete(0, 9))):
        study = Study({name: parameter})
        study.add_trials({name: range(5)}, losses)
        kept = GaussianProcess(encode_space(study.space))
        _, targets = kept._training_data(study.table, finished_keys(study), room=0)
        gaps = -np.diff(targets)
        assert np.allclose(gaps, gaps[::-1]) == (name == "n")


def test_a_deviation_counts_by_the_share_of_trials_that_are_known() -> None:
    kept = GaussianProcess(encode_space(SPACE), pruned_by_rank=True)
    assert kept.share == 1.0
    shares = []
    for number in range(4 * MOST_POINTS):
        kept.add([(0, 0.0, float(number), number)])
        shares.append(kept.share)
    assert shares[:MOST_POINTS] == [1.0] * MOST_POINTS and shares[-1] == 0.25
