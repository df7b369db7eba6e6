"""Studies that learn from earlier ones: what they take from them, that it helps, and that a misleading one costs little."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import norm, rankdata

import fasthpo
from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.kernels.gaussian_process import LEAST_NOISE
from fasthpo.report.content import report_content
from fasthpo.samplers.earlier_starts import EarlierStarts, is_start, weights_of
from fasthpo.samplers.encoding import encode_space, positions_of_rows
from fasthpo.storage.definition import Definition
from fasthpo.study.digest import known_of
from fasthpo.trials.earlier import MOST_POINTS, MOST_STUDIES
from fasthpo.trials.table import NO_DRAW
from tests.support.command_line import printed
from tests.support.naive_gaussian_process import predictions

SPACE = {
    "x": fasthpo.Continuous(-5.0, 5.0),
    "rate": fasthpo.LogUniform(1e-5, 1.0),
    "kind": fasthpo.Categorical(["a", "b", "c"]),
    "depth": fasthpo.Discrete(1, 12, when={"kind": ["b", "c"]}),
}


def loss(params: Any, shift: float = 0.0) -> float:
    far = (params["x"] - 2.0 - shift) ** 2 + (math.log10(params["rate"]) + 3) ** 2
    return float(far + {"a": 3.0, "b": 0.0, "c": 1.0}[params["kind"]] + abs(params.get("depth", 5) - 7) / 4)


def run(study: fasthpo.Study, trials: int, shift: float = 0.0, of: Callable[[float], float] = float) -> fasthpo.Study:
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, float("nan") if trial.number % 13 == 12 else of(loss(trial, shift)))
    return study


@pytest.fixture(scope="module")
def earlier() -> fasthpo.Study:
    return run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=1)), 60, 0.3)


def best_of(studies: list[fasthpo.Study], trials: int) -> float:
    return float(np.mean([min(study.values[:trials][np.isfinite(study.values[:trials])]) for study in studies]))


# --- what it brings


@pytest.mark.parametrize("sampler", [fasthpo.AutoSampler, fasthpo.TPESampler])
def test_a_related_study_saves_trials_and_a_misleading_one_is_left(earlier: fasthpo.Study, sampler: Any) -> None:
    reverse = run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=1)), 60, of=lambda value: -value)
    found: dict[str, list[fasthpo.Study]] = {}
    for name, sources in {
        "none": [],
        "related": [earlier],
        "misleading": [reverse],
        "both": [reverse, earlier],
    }.items():
        found[name] = [
            run(fasthpo.Study(SPACE, sampler=sampler(seed=seed), learn_from=sources), 40) for seed in range(4)
        ]
    assert best_of(found["related"], 10) < 0.4 * best_of(found["none"], 10)
    assert best_of(found["both"], 10) < 0.6 * best_of(found["none"], 10)
    assert best_of(found["misleading"], 40) < best_of(found["none"], 25)


def test_the_first_trials_are_good_points_of_earlier_studies_and_the_samplers_own_by_turns() -> None:
    earlier = run(fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=1)), 60)
    study = run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=3), learn_from=[earlier]), 10)
    assert study.trials[0].params == earlier.best_params
    draws = [NO_DRAW, 0, NO_DRAW, 1, NO_DRAW, 2, NO_DRAW, 3, NO_DRAW, 4]
    np.testing.assert_array_equal(study.table.draws, draws)
    best = earlier.table.tell_order[np.argsort(earlier.values[earlier.table.tell_order])][:16]
    good = [earlier.trials[int(number)].params for number in best]
    assert all(study.trials[number].params in good for number in (0, 2, 4, 6, 8))
    assert len({str(study.trials[number].params) for number in (0, 2, 4, 6, 8)}) == 5
    alone = run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=3)), 3)
    assert [study.trials[number].params for number in (1, 3, 5)] == [trial.params for trial in alone.trials]


def test_points_that_are_near_each_other_are_one_start(earlier: fasthpo.Study) -> None:
    """The best points of a study that has converged lie together, and the first one stands for all."""
    study = run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=3), learn_from=[earlier]), 10)
    assert np.flatnonzero(study.table.draws == NO_DRAW).tolist() == [0]


@pytest.mark.parametrize("of", [lambda value: 1e6 * value - 3e9, lambda value: 1e-9 * value])
def test_the_scale_of_an_earlier_study_makes_no_difference(earlier: fasthpo.Study, of: Any) -> None:
    scaled = fasthpo.Study(SPACE)
    scaled.add_trials(earlier_columns(earlier), [of(value) for value in earlier.values])
    same = fasthpo.Study(SPACE)
    same.add_trials(earlier_columns(earlier), earlier.values)
    upside_down = fasthpo.Study(SPACE, direction="maximize")
    upside_down.add_trials(earlier_columns(earlier), -earlier.values)
    scores = [known_scores(study) for study in (same, scaled, upside_down)]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-5, atol=1e-5)
    runs = [
        run(fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=0), learn_from=[one]), 12)
        for one in (same, upside_down)
    ]
    np.testing.assert_array_equal(runs[0].table.params, runs[1].table.params)


def earlier_columns(study: fasthpo.Study) -> dict[str, list[Any]]:
    return {name: [trial.params.get(name) for trial in study.trials] for name in study.space}


def known_scores(study: fasthpo.Study) -> np.ndarray:
    known = known_of([study], study.space, ["minimize"], fasthpo.RandomSampler(seed=0))
    assert known is not None
    return known.studies[0].scores


def test_weights_are_those_of_least_squares_that_are_not_negative() -> None:
    random = np.random.default_rng(0)
    for s in (1, 2, 5):
        for _ in range(20):
            means, targets = random.normal(size=(s, 12)), random.normal(size=12)
            targets -= targets.mean()
            centred = means - means.mean(axis=1, keepdims=True)
            # a further trial of each that the mean of all explains
            system = np.concatenate([centred.T, np.eye(s)])
            expected = nnls(system, np.concatenate([targets, np.full(s, 1.0 / s)]))[0]
            np.testing.assert_allclose(weights_of(means, targets), expected, atol=1e-4)


def test_what_agrees_weighs_and_what_does_not_weighs_nothing() -> None:
    targets = np.linspace(-1.5, 1.5, 20)
    weights = weights_of(np.array([targets, -targets, np.sin(9 * targets)]), targets)
    assert weights[0] > 0.8 and weights[1] == 0 and weights[2] < 0.2


def test_starts_are_those_of_the_slow_twin() -> None:
    """Means by textbook formulas, weights by SciPy, and each point compared with each trial."""
    encoded = encode_space(fasthpo.SearchSpace(SPACE))
    sources = [run(fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=k)), 30, k - 1.0) for k in range(3)]
    sources.append(fasthpo.Study({"x": SPACE["x"]}, sampler=fasthpo.RandomSampler(seed=9)))
    for _ in range(20):
        trial = sources[3].ask()
        sources[3].tell(trial, (trial["x"] - 2.0) ** 2)
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=5), learn_from=sources)
    compared = 0
    for number in range(10):
        starts = EarlierStarts(study.table.earlier, study.space)
        recalled = study.table.earlier.recalled(study.space)
        told = np.arange(number)
        places = [positions_of_rows(encoded, one.rows[:16]) for one in recalled]
        seen = positions_of_rows(encoded, study.table.params.T)
        means, expected = np.zeros((4, number)), []
        for k, (one, process) in enumerate(zip(recalled, starts._processes, strict=True)):
            targets = (one.scores - one.scores.mean()) / one.scores.std()
            points = positions_of_rows(encoded, one.rows)
            points[~one.known] = 0.0

            def mean(
                at: np.ndarray,
                known: Any = one.known,
                points: Any = points,
                process: Any = process,
                targets: Any = targets,
            ) -> Any:
                at = np.where(known[:, None], at, 0.0)
                fitted = process.fitted.hyperparameters
                return predictions(encoded.categorical, fitted, points, targets, at, LEAST_NOISE, points[:, :0])[0]

            expected.append(np.concatenate([one.scores[:16] if i == k else mean(at) for i, at in enumerate(places)]))
            if number:
                means[k] = mean(seen)
        values = study.values[told]
        ranks = rankdata(np.where(np.isnan(values), np.inf, values))
        targets = norm.isf((ranks - 0.5) / max(number, 1))
        targets -= targets.mean() if number else 0.0
        centred = means - (means.mean(axis=1, keepdims=True) if number else 0.0)
        weights = nnls(np.concatenate([centred.T, np.eye(4)]), np.concatenate([targets, np.full(4, 0.25)]))[0]
        best, chosen = -np.inf, None
        for place, score in zip(np.concatenate(places, axis=1).T, weights @ np.array(expected), strict=True):
            apart = [np.mean([distance(encoded, j, place[j], other[j]) for j in range(4)]) for other in seen.T]
            if min(apart, default=1.0) >= 0.1 and score > best:
                best, chosen = score, place
        row = starts.row(study.table, 5)
        if is_start(number) and chosen is not None:
            assert row is not None
            found = positions_of_rows(encoded, row[None, :])[:, 0]
            np.testing.assert_allclose(found[~np.isnan(chosen)], chosen[~np.isnan(chosen)], atol=1e-12)
            compared += 1
        else:
            assert row is None
        run(study, 1)
    assert compared == 5


def distance(encoded: Any, j: int, one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return float(math.isnan(one) != math.isnan(other))
    return float(one != other) if encoded.categorical[j] else abs(one - other)


# --- what is taken


def test_values_are_taken_by_name_into_other_kinds_ranges_and_choices() -> None:
    old = fasthpo.Study(
        {
            "x": fasthpo.Discrete(0, 10),
            "rate": fasthpo.Continuous(0.0, 1.0),
            "kind": fasthpo.Categorical(["a", "b", "gone"]),
            "only there": fasthpo.Continuous(0, 1),
        }
    )
    params = {
        "x": [3, 4, 9, 5],
        "rate": [0.25, 0.5, 0.5, 0.0],
        "kind": ["a", "b", "b", "gone"],
        "only there": [0.5] * 4,
    }
    old.add_trials(params, [1.0, 2.0, 3.0, 4.0])
    space = fasthpo.SearchSpace(
        {
            "kind": fasthpo.Categorical(["c", "b", "a"]),
            "x": fasthpo.Continuous(0.0, 7.0),
            "rate": fasthpo.Discrete(0, 100, step=2),
            "new": fasthpo.Continuous(0.0, 1.0),
        }
    )
    known = known_of([old], space, ["minimize"], fasthpo.RandomSampler(seed=0))
    assert known is not None
    one = known.recalled(space)[0]
    # 9 is beyond the range, and one choice is gone; 0.25 and 0.5 are no even integers
    np.testing.assert_array_equal(one.rows, [[2, 3.0, 0.0, np.nan], [1, 4.0, 0.0, np.nan]])
    assert one.known.tolist() == [True, True, True, False]
    study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0), learn_from=[old])
    first = study.ask()
    assert first["kind"] == "a" and first["x"] == 3.0 and 0 <= first["new"] <= 1


def test_little_is_kept_of_a_large_study() -> None:
    random = np.random.default_rng(0)
    large = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
    x = random.random(100_000)
    large.add_trials({"x": x}, np.where(x > 0.9, np.nan, (x - 0.3) ** 2))
    known = known_of([large], large.space, ["minimize"], large.sampler)
    assert known is not None
    one = known.studies[0]
    assert one.trials == 100_000 and len(one.scores) == MOST_POINTS
    values = np.array(one.params["x"][1])
    assert values[0] == x[np.argmin((x - 0.3) ** 2)] and (values > 0.9).any()
    assert (np.abs(values[: MOST_POINTS // 2] - 0.3) < 0.001).all() and len(np.unique(one.scores)) > MOST_POINTS // 2


def test_failed_trials_come_last_lost_ones_not_at_all_and_infeasible_ones_behind_feasible_ones() -> None:
    old = fasthpo.Study({"x": fasthpo.Continuous(0.0, 10.0)}, sampler=fasthpo.RandomSampler(seed=0))
    told: list[tuple[float, Any]] = [
        (0.0, {"value": 5.0}),
        (1.0, {"state": fasthpo.TrialState.FAILED}),
        (2.0, {"value": 1.0, "constraints": [2.0]}),
        (3.0, {"value": 3.0, "constraints": [-1.0]}),
        (4.0, {"state": fasthpo.TrialState.FAILED, "infrastructure": True}),
        (5.0, {"value": 2.0, "constraints": [1.0]}),
        (6.0, {"state": fasthpo.TrialState.PRUNED}),
        (7.0, {"value": math.inf}),
    ]
    for x, result in told:
        old.enqueue({"x": x})
        trial = old.ask()
        if result.get("state") == fasthpo.TrialState.PRUNED:
            trial.report(1.0, step=2)
        old.tell(trial, **result)
    old.ask()
    known = known_of([old], old.space, ["minimize"], old.sampler)
    assert known is not None
    assert known.studies[0].params["x"][1] == [3.0, 0.0, 6.0, 5.0, 2.0, 1.0, 7.0]
    assert np.diff(known.studies[0].scores).max() <= 0


@pytest.mark.parametrize(
    "strategy",
    [
        lambda: fasthpo.ASHA(max_resource=9, sampler=fasthpo.TPESampler(seed=0)),
        lambda: fasthpo.Hyperband(max_resource=9, sampler=fasthpo.TPESampler(seed=0)),
        lambda: fasthpo.PopulationTraining(8, population=6, interval=2, sampler=fasthpo.RandomSampler(seed=0)),
    ],
)
def test_multi_fidelity_strategies_start_there_and_are_learnt_from(earlier: fasthpo.Study, strategy: Any) -> None:
    study = fasthpo.Study(SPACE, strategy=strategy(), learn_from=[earlier])
    for _ in range(60):
        trial = study.ask_within()
        if trial is None:
            break
        study.tell(trial, loss(trial) + 1 / trial.resource)
    assert study.trials[0].params == earlier.best_params
    known = known_of([study], study.space, ["minimize"], study.sampler)
    assert known is not None
    points = known.studies[0]
    assert len(points.scores) > 4
    first = points.params["x"][1][0]  # of those that were trained in full
    whole = study.table.states == fasthpo.TrialState.COMPLETE
    assert whole.any() and first == study.columns["x"][np.nanargmin(np.where(whole, study.values, np.inf))]


def test_several_objectives_start_at_points_of_the_front() -> None:
    def two(trial: Any) -> list[float]:
        return [trial["x"] ** 2 + trial["y"], (trial["x"] - 1) ** 2 + trial["y"]]

    space = {"x": fasthpo.Continuous(-2.0, 2.0), "y": fasthpo.Continuous(0.0, 1.0)}
    old = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0), directions=["minimize"] * 2)
    for _ in range(80):
        trial = old.ask()
        old.tell(trial, two(trial))
    front = [trial.params for trial in old.best_trials]
    for sampler in (fasthpo.AutoSampler(seed=1), fasthpo.NSGAIISampler(seed=1)):
        study = fasthpo.Study(space, sampler=sampler, directions=["minimize"] * 2, learn_from=[old])
        for _ in range(20):
            trial = study.ask()
            study.tell(trial, two(trial))
        assert study.trials[0].params in front
        assert study.table.draws[:2].tolist() == [NO_DRAW, 0]


# --- where it works


@pytest.mark.parametrize(
    "sampler",
    [
        fasthpo.AutoSampler,
        fasthpo.TPESampler,
        lambda seed: fasthpo.TPESampler(seed=seed, multivariate=False),
        lambda seed: fasthpo.AutoSampler(seed=seed, cost_aware=True),
        fasthpo.CmaEsSampler,
        fasthpo.NSGAIISampler,
        fasthpo.QMCSampler,
        fasthpo.RandomSampler,
    ],
)
def test_every_sampler_starts_there_and_batches_are_what_asks_would_be(sampler: Any) -> None:
    space = {"x": fasthpo.Continuous(-5.0, 5.0), "y": fasthpo.Continuous(0.0, 1.0)}
    old = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    points = np.random.default_rng(0).random((40, 2)) * [10, 1] - [5, 0]
    old.add_trials({"x": points[:, 0], "y": points[:, 1]}, ((points - [1, 0.5]) ** 2).sum(1))
    one, many = (fasthpo.Study(space, sampler=sampler(seed=5), learn_from=[old]) for _ in range(2))
    for size in (3, 8, 1, 20) if sampler is not fasthpo.QMCSampler else (30, 2):
        trials = [one.ask() for _ in range(size)]
        batch = many.ask_batch(size)
        assert [dict(trial.params) for trial in trials] == [batch[i] for i in range(size)]
        values = [(trial["x"] - 1.2) ** 2 + trial["y"] for trial in trials]
        for trial, value in zip(trials, values, strict=True):
            one.tell(trial, value, cost=1 + value)
        many.tell_batch(batch.numbers, values, costs=[1 + value for value in values])
    assert one.trials[0].params == old.best_params


def test_nothing_that_relations_forbid_is_suggested(earlier: fasthpo.Study) -> None:
    space = fasthpo.SearchSpace({**SPACE, "least": fasthpo.Continuous(-5.0, "x")})
    space.forbid({"kind": "b", "depth": (6, 12)}).require("x <= 1.5")
    study = run(fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0), learn_from=[earlier]), 30)
    for trial in study.trials:
        assert space.contains(trial.params), trial.params


def test_a_finite_space_has_each_point_tried_once() -> None:
    space = {"a": fasthpo.Categorical(list("abcd")), "n": fasthpo.Discrete(0, 4)}
    old = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    while len(old) < 20:
        trial = old.ask()
        old.tell(trial, trial["n"] + ord(trial["a"]) % 3)
    study = fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0), learn_from=[old])
    seen = set()
    for _ in range(20):
        trial = study.ask()
        study.tell(trial, trial["n"])
        seen.add(str(trial.params))
    assert len(seen) == 20
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


def test_a_study_that_learns_its_space_learns_from_earlier_ones_too(earlier: fasthpo.Study, tmp_path: Path) -> None:
    def objective(trial: Any) -> float:
        params = {"x": trial.suggest_float("x", -5.0, 5.0), "rate": trial.suggest_float("rate", 1e-5, 1.0, log=True)}
        params["kind"] = trial.suggest_categorical("kind", ["a", "b", "c"])
        if params["kind"] != "a":
            params["depth"] = trial.suggest_int("depth", 1, 12)
        return loss(params)

    def go_on(study: fasthpo.Study, trials: int) -> fasthpo.Study:
        for _ in range(trials):
            trial = study.ask()
            study.tell(trial, objective(trial))
        return study

    study = go_on(fasthpo.Study(sampler=fasthpo.TPESampler(seed=0), learn_from=[earlier]), 30)
    best = earlier.table.tell_order[np.argsort(earlier.values[earlier.table.tell_order])][:16]
    good = [earlier.trials[int(number)].params for number in best]
    assert study.trials[2].params in good
    kept = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0), learn_from=[earlier], storage=tmp_path / "s")
    go_on(kept, 9).close()
    with fasthpo.Study.load(tmp_path / "s") as kept:
        go_on(kept, 21)
        assert [trial.params for trial in kept.trials] == [trial.params for trial in study.trials]


@pytest.mark.parametrize("count", [10, 20])
def test_the_model_begins_after_six_tenths_of_the_startup_trials(earlier: fasthpo.Study, count: int) -> None:
    def study(seed: int, **options: Any) -> fasthpo.Study:
        return run(fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(count, seed=seed), **options), count + 3)

    alone, learning = study(0), study(0, learn_from=[earlier])
    startup = [trial.params for trial in alone.trials][:count]
    own = [trial.params for trial in learning.trials if learning.table.draws[trial.number] >= 0]
    starts = sum(learning.table.draws[: 6 * count // 10] < 0)
    assert own[: 6 * count // 10 - starts] == startup[: 6 * count // 10 - starts]
    assert own[6 * count // 10 - starts] not in startup


def test_a_grid_that_a_study_is_loaded_with_has_its_own_points_only(earlier: fasthpo.Study, tmp_path: Path) -> None:
    space = {"kind": fasthpo.Categorical(["a", "b", "c"]), "x": fasthpo.Continuous(-5.0, 5.0, n_points=2)}
    fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0), learn_from=[earlier]).save(tmp_path / "s")
    study = fasthpo.Study.load(tmp_path / "s", sampler=fasthpo.GridSampler(seed=0))
    points = {(trial["kind"], trial["x"]) for trial in [study.ask() for _ in range(6)]}
    assert points == {(kind, x) for kind in "abc" for x in (-5.0, 5.0)}


# --- files


@pytest.mark.parametrize("stop", [1, 7, 16])
@pytest.mark.parametrize("sampler", [fasthpo.AutoSampler, fasthpo.TPESampler])
def test_a_study_goes_on_bit_for_bit_when_the_earlier_one_has_gone(tmp_path: Path, sampler: Any, stop: int) -> None:
    with fasthpo.Study(SPACE, sampler=sampler(seed=1), storage=tmp_path / "old") as old:
        run(old, 40, 0.5)
    whole = run(fasthpo.Study(SPACE, sampler=sampler(seed=2), learn_from=[tmp_path / "old"]), 30)
    study = fasthpo.Study(SPACE, sampler=sampler(seed=2), learn_from=[str(tmp_path / "old")], storage=tmp_path / "s")
    shutil.rmtree(tmp_path / "old")
    run(study, stop)
    study.save(tmp_path / "copy")
    study.close()
    for place in ("s", "copy"):
        with fasthpo.Study.load(tmp_path / place) as again:
            again.compact()
            run(again, 5)
        again.save(tmp_path / "later")
        with fasthpo.Study.load(tmp_path / "later") as later:
            run(later, 25 - stop)
            np.testing.assert_array_equal(later.table.params, whole.table.params)
        (tmp_path / "later").unlink()


def test_a_study_that_was_loaded_in_a_wider_space_finds_more_of_the_earlier_one(tmp_path: Path) -> None:
    wide = {"x": fasthpo.Continuous(0.0, 10.0)}
    old = fasthpo.Study(wide, sampler=fasthpo.RandomSampler(seed=0))
    old.add_trials({"x": np.arange(11.0)}, (np.arange(11.0) - 8) ** 2)
    narrow = {"x": fasthpo.Continuous(0.0, 5.0)}
    study = fasthpo.Study(narrow, sampler=fasthpo.TPESampler(seed=0), learn_from=[old], storage=tmp_path / "s")
    assert study.ask()["x"] == 5.0
    study.close()
    with fasthpo.Study.load(tmp_path / "s", space=wide) as study:
        study.tell(study.ask(), 1.0)
        study.ask()
        assert study.table.params[0, 2:].tolist() == []
        assert study.ask()["x"] in old.columns["x"]


def test_a_study_loaded_in_a_space_of_which_earlier_ones_know_nothing_goes_on_as_if_there_were_none(
    earlier: fasthpo.Study, tmp_path: Path
) -> None:
    other = {"z": fasthpo.Continuous(0.0, 1.0)}
    fasthpo.Study(SPACE, sampler=fasthpo.QMCSampler(seed=0), learn_from=[earlier], storage=tmp_path / "s").close()
    alone = fasthpo.Study(other, sampler=fasthpo.QMCSampler(seed=0))
    with fasthpo.Study.load(tmp_path / "s", space=other) as study:
        for _ in range(10):
            trials = study.ask(), alone.ask()
            assert trials[0].params == trials[1].params
            for one, trial in zip((study, alone), trials, strict=True):
                one.tell(trial, trial["z"])


def test_a_tuner_learns_from_the_paths_of_its_config(tmp_path: Path) -> None:
    space, config = {"x": fasthpo.Continuous(-5.0, 5.0)}, {"output_dir": tmp_path, "save_checkpoints": True, "seed": 0}
    for name, sources in (("old", []), ("new", [tmp_path / "old"])):
        made = fasthpo.TunerConfig(name, max_trials=20, learn_from=sources, **config)
        made = fasthpo.TunerConfig.from_dict(json.loads(json.dumps(made.to_dict())))
        result = fasthpo.HyperparameterTuner.with_bayesian_optimization(made, space).optimize(
            lambda t: (t["x"] - 2) ** 2
        )
    old = fasthpo.Study.load(tmp_path / "old", read_only=True)
    assert result.trials[0].params == old.best_params
    assert fasthpo.Study.load(tmp_path / "new", read_only=True).table.earlier is not None
    for wrong in ("old", [1], tmp_path / "old", None, [old]):
        with pytest.raises(InvalidValue, match="learn_from must"):
            fasthpo.TunerConfig("study", learn_from=wrong)


@pytest.mark.parametrize("fate", ["gone", "damaged", "another"])
def test_a_tuner_goes_on_with_its_study_when_the_earlier_ones_have_gone(fate: str, tmp_path: Path) -> None:
    space, options = {"x": fasthpo.Continuous(-5.0, 5.0)}, {"output_dir": tmp_path, "save_checkpoints": True, "seed": 0}

    def tuner(name: str, trials: int, **others: Any) -> fasthpo.HyperparameterTuner:
        sources = [] if name == "old" else [tmp_path / "old"]
        config = fasthpo.TunerConfig(name, max_trials=trials, learn_from=sources, **options, **others)
        return fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space)

    def objective(trial: fasthpo.Trial) -> float:
        return (trial["x"] - 2) ** 2

    tuner("old", 20).optimize(objective)
    whole = tuner("whole", 12).optimize(objective)
    tuner("new", 4).optimize(objective)
    (tmp_path / "old").rename(tmp_path / "moved")
    if fate == "damaged":
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "checkpoint.msgpack").write_bytes(b"nothing")
    elif fate == "another":
        fasthpo.Study({"y": fasthpo.Continuous(0.0, 1.0)}, storage=tmp_path / "old").close()
    result = tuner("new", 12).load_checkpoint(tmp_path / "new").optimize(objective)
    assert [trial.params for trial in result.trials] == [trial.params for trial in whole.trials]

    refused = {"gone": FileNotFoundError, "damaged": fasthpo.errors.CorruptCheckpoint, "another": InvalidValue}[fate]
    with pytest.raises(refused):
        tuner("fresh", 5)  # nothing is there that it could go on with
    with pytest.raises(refused):
        tuner("new", 12, overwrite=True)
    assert len(fasthpo.Study.load(tmp_path / "new", read_only=True)) == 12  # and nothing was overwritten


# --- misuse


class _Sequence(fasthpo.Sampler):
    def suggest(self, table: Any, draw: int) -> Any:
        return {"x": 0.1, "rate": 0.1, "kind": "a"}


def test_what_says_nothing_is_refused_with_the_rule_and_the_value(earlier: fasthpo.Study, tmp_path: Path) -> None:
    empty = fasthpo.Study(SPACE)
    failed = fasthpo.Study(SPACE)
    failed.tell(failed.ask(), math.nan)
    other = fasthpo.Study({"z": fasthpo.Continuous(0, 1)})
    other.tell(other.ask(), 1.0)
    far = fasthpo.Study({"x": fasthpo.Continuous(100, 101)})
    far.tell(far.ask(), 1.0)
    several = fasthpo.Study(SPACE, directions=["minimize", "minimize"])
    several.tell(several.ask(), [1.0, 2.0])
    for given, words in (
        (earlier, "must list studies"),
        ("path", "must list studies"),
        (None, "must list studies"),
        ({earlier}, "must list studies"),
        ([1], r"learn_from\[0\] must be a study or the path of one, got 1"),
        ([earlier, earlier.trials[0]], r"learn_from\[1\] must be a study"),
        ([empty], r"learn_from\[0\] has no trial with a finite value"),
        ([earlier, failed], r"learn_from\[1\] has no trial with a finite value"),
        ([other], r"learn_from\[0\] has none of the study's parameters: \['z'\]"),
        ([far], r"learn_from\[0\] has no trial that lies in the study's space"),
        ([several], "as many objectives, got 1"),
        ([earlier] * (MOST_STUDIES + 1), f"at most {MOST_STUDIES} studies"),
    ):
        with pytest.raises(InvalidValue, match=words):
            fasthpo.Study(SPACE, learn_from=given)
    with pytest.raises(FileNotFoundError, match="no study"):
        fasthpo.Study(SPACE, learn_from=[tmp_path / "none"])
    with pytest.raises(InvalidValue, match="GridSampler tries points of its own"):
        fasthpo.Study({"x": fasthpo.Discrete(0, 5)}, sampler=fasthpo.GridSampler(), learn_from=[earlier])
    own = fasthpo.Study(SPACE, sampler=_Sequence(seed=0), learn_from=[earlier])
    assert own.ask().params == earlier.best_params and own.ask()["kind"] == "a"
    assert list(tmp_path.iterdir()) == []


def test_earlier_studies_of_one_trial_or_of_equal_values_do_no_harm() -> None:
    one = fasthpo.Study(SPACE)
    one.tell(one.ask(), 1.0)
    equal = run(fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0)), 20, of=lambda value: 1.0)
    study = run(fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=0), learn_from=[one, equal]), 20)
    assert study.trials[0].params in [one.best_params, *(trial.params for trial in equal.trials)]
    assert study.table.draws[0] == NO_DRAW and (study.table.draws[10:] >= 0).all()


def test_a_file_with_a_wrong_value_of_an_earlier_study_is_refused_or_harmless(
    earlier: fasthpo.Study, tmp_path: Path
) -> None:
    few = fasthpo.Study(SPACE)
    few.add_trials({"x": [1.0, 2.0], "rate": [0.1, 0.1], "kind": ["a", "b"], "depth": [None, 3]}, [1.0, 2.0])
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), learn_from=[few])
    fields = json.loads(study._definition())
    assert Definition(json.dumps(fields)).earlier is not None
    wrong: list[Any] = [
        None,
        -1,
        2**70,
        1.5,
        "a",
        [],
        {},
        [[]],
        [1, 2, 3],
        [5.0, 5.0],
        [1e300, -1e300],
        [{"a": 1}],
        True,
        [None, None],
    ]

    def places(value: Any) -> list[list[Any]]:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [[]] + [[key, *rest] for key, one in inside for rest in places(one)]

    refused = loaded = 0
    for place in places(fields["earlier"]):
        for other in wrong:
            changed = json.loads(json.dumps(fields))
            within: Any = changed
            *way, last = ["earlier", *place]
            for key in way:
                within = within[key]
            within[last] = other
            try:
                known = Definition(json.dumps(changed)).earlier
            except CorruptCheckpoint:
                refused += 1
                continue
            assert known is not None
            EarlierStarts(known, study.space).row(fasthpo.Study(SPACE).table, 0)
            loaded += 1
    assert refused > 100 and loaded > 10


def test_a_study_says_what_it_learns_from(earlier: fasthpo.Study, tmp_path: Path) -> None:
    few = fasthpo.Study(SPACE)
    few.tell(few.ask(), 1.0)
    with fasthpo.Study(SPACE, learn_from=[earlier, few], storage=tmp_path / "s") as study:
        study.ask()
        made = dict(report_content(study)["configuration"])["Search"]
        assert ("learns from", "2 earlier studies, of 60 and 1 trials") in made
    assert "2 earlier studies, of 60 and 1 trials" in printed("show", tmp_path / "s")
    assert str(fasthpo.Study(SPACE, learn_from=[few]).table.earlier) == "an earlier study, of 1 trial"
