"""TPE as a sampler: it finds, it is reproducible, it takes whatever a study throws at it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, wilcoxon

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study, TPESampler, TrialState
from fasthpo.samplers.split import Split, below_count

SPACE = SearchSpace(
    {
        "x": Continuous(-5, 5),
        "l": LogUniform(1e-5, 1e-1),
        "n": Discrete(1, 1000, log=True),
        "k": Discrete(1, 8),
        "s": Continuous(0, 1, step=0.1),
        "c": Categorical(["a", "b", "c"]),
        "m": Continuous(0, 1, when={"c": ["b"]}),
    }
)


def bowl(p: dict[str, Any]) -> float:
    loss = (p["x"] - 2) ** 2 / 10 + (math.log10(p["l"]) + 3) ** 2 + (math.log10(p["n"]) - 2) ** 2 + abs(p["k"] - 3)
    return loss + abs(p["s"] - 0.7) + (abs(p["m"] - 0.9) if p["c"] == "b" else 1.0)


def run(
    sampler: fasthpo.Sampler, trials: int, objective: Any = bowl, space: SearchSpace = SPACE, **options: Any
) -> Study:
    study = Study(space, sampler=sampler, **options)
    for _ in range(trials):
        trial = study.ask()
        space.validate(trial.params)
        study.tell(trial, objective(trial.params))
    return study


@pytest.mark.parametrize("multivariate", [True, False])
def test_it_beats_random_search_on_a_mixed_conditional_space(multivariate: bool) -> None:
    seeds = range(12)
    tpe = [run(TPESampler(seed=s, multivariate=multivariate), 60).best_value for s in seeds]
    random = [run(fasthpo.RandomSampler(seed=s), 60).best_value for s in seeds]
    assert wilcoxon(tpe, random, alternative="less").pvalue < 0.01
    assert np.mean(tpe) < 0.6 * np.mean(random)


def test_maximising_mirrors_minimising() -> None:
    down = run(TPESampler(seed=1), 40)
    up = run(TPESampler(seed=1), 40, lambda p: -bowl(p), direction="maximize")
    assert [t.params for t in up.trials] == [t.params for t in down.trials]
    assert up.best_value == -down.best_value


@pytest.mark.parametrize("multivariate", [True, False])
def test_a_seed_makes_it_reproducible(multivariate: bool) -> None:
    runs = [run(TPESampler(seed=s, multivariate=multivariate), 30) for s in (4, 4, 5)]
    points = [[t.params for t in study.trials] for study in runs]
    assert points[0] == points[1] != points[2]


def test_startup_trials_are_a_latin_hypercube() -> None:
    space = SearchSpace({"x": Continuous(0, 1), "y": LogUniform(1e-5, 1e-1), "z": Categorical(["a", "b"])})
    first = []
    for seed in range(200):
        study = run(TPESampler(n_startup_trials=6, seed=seed), 12, lambda p: float("nan"), space)  # all fail
        unit = np.array([[t.params["x"], (math.log10(t.params["y"]) + 5) / 4] for t in study.trials])
        for block in (unit[:6], unit[6:]):
            assert (np.sort(np.floor(block * 6), axis=0) == np.arange(6)[:, None]).all()
        assert (np.array([t.params["z"] for t in study.trials]) == "a").sum() == 6
        first.append(unit[0])
    points = np.array(first)
    assert all(kstest(points[:, j], "uniform").pvalue > 0.001 for j in range(2))
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.25


def test_running_trials_push_the_next_ones_away() -> None:
    space = SearchSpace({"x": Continuous(0, 1), "y": Continuous(0, 1)})

    def spread(running: int) -> float:
        distances = []
        for seed in range(30):
            study = run(TPESampler(seed=seed), 20, lambda p: (p["x"] - 0.5) ** 2 + (p["y"] - 0.5) ** 2, space)
            first = study.ask().params
            if not running:
                study.tell(len(study) - 1, state=TrialState.FAILED)  # then it is in neither density
            for _ in range(running - 1):
                study.ask()
            second = study.ask().params
            distances.append(math.dist(first.values(), second.values()))
        return float(np.mean(distances))

    assert spread(10) > 1.1 * spread(0)


def test_pruned_trials_inform_and_failed_ones_do_not() -> None:
    space = SearchSpace({"x": Continuous(0, 1)})

    def suggestions(end: Any) -> list[float]:
        study = Study(space, sampler=TPESampler(seed=0, n_startup_trials=5))
        study.add_trials({"x": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}, [3.0, 2.0, 1.0, 2.0, 3.0, 4.0])
        study.enqueue({"x": 0.9})
        end(study, study.ask())
        return [study.ask()["x"] for _ in range(3)]

    def prune(study: Study, trial: fasthpo.Trial) -> None:
        trial.report(5.0, 3)
        study.tell(trial, state=TrialState.PRUNED)

    def fail(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, math.nan)

    def nothing(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, state=TrialState.FAILED, error="gone")

    assert suggestions(fail) == suggestions(nothing) != suggestions(prune)


def test_split_order_is_complete_then_pruned_by_step_and_value() -> None:
    space = SearchSpace({"x": Continuous(0, 1)})
    study = Study(space, sampler=TPESampler(seed=0), direction="maximize")
    ends: list[Any] = [1.0, 3.0, (2, 9.0), (5, 1.0), (5, 2.0), math.nan, None, math.inf, 3.0]
    for end in ends:
        trial = study.ask()
        if isinstance(end, tuple):
            trial.report(end[1], end[0])
            study.tell(trial, state=TrialState.PRUNED)
        elif end is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, end)
    from fasthpo.samplers.split import sort_key

    finished = [n for n in range(len(ends)) if n != 5]
    assert sorted(finished, key=lambda n: sort_key(study.table, n)) == [1, 8, 0, 7, 4, 3, 2, 6]


def test_split_equals_sorting_everything() -> None:
    random = np.random.default_rng(0)
    losses = np.round(random.random(3000), 3)  # with ties
    split = Split()
    below: set[int] = set()
    for number, loss in enumerate(losses):
        enter, leave = split.add((0, 0.0, float(loss), number))
        below = (below | set(enter)) - set(leave)
        size = below_count(number + 1)
        if number % 37 == 0 or number < 60:
            expected = sorted(range(number + 1), key=lambda i: (losses[i], i))[:size]
            assert split.below == expected and below == set(expected)
            ranked = sorted(losses[: number + 1])
            weights = split.weights()
            assert len(weights) == size + 1 and weights[:-1].mean() == pytest.approx(1)
            if len(ranked) > size and ranked[size] > ranked[0]:
                gains = np.maximum(ranked[size] - np.array(ranked[:size]), 1e-12)
                np.testing.assert_allclose(weights[:-1], gains / gains.mean(), rtol=1e-6, atol=1e-9)
    assert below_count(10**9) == 25 and below_count(1) == 1 and below_count(0) == 0


NASTY: dict[str, Any] = {
    "constant": lambda p: 1.0,
    "ties": lambda p: float(round(p["x"])),
    "infinities and NaN": lambda p: [math.inf, -math.inf, math.nan, p["x"]][int(p["k"]) % 4],
    "extreme": lambda p: 10.0 ** (60 * p["x"]) * (1 if p["k"] > 4 else -1),
    "all worst": lambda p: math.inf,
    "always fails": lambda p: math.nan,
}


@pytest.mark.parametrize("objective", NASTY)
@pytest.mark.parametrize("multivariate", [True, False])
def test_any_objective_gives_valid_suggestions(objective: str, multivariate: bool) -> None:
    study = run(TPESampler(seed=0, multivariate=multivariate), 60, NASTY[objective])
    assert len(study) == 60


@pytest.mark.parametrize(
    "space",
    [
        SearchSpace({"x": Continuous(0, 1)}),
        SearchSpace({f"x{j}": Continuous(0, 1) for j in range(200)}),
        SearchSpace({"c": Categorical(list(range(10_000))), "x": Continuous(0, 1)}),
        SearchSpace({"n": Discrete(1, 10**9), "l": Discrete(1, 10**9, log=True)}),
        SearchSpace({"x": LogUniform(1e-300, 1e300), "y": Continuous(-1e300, 1e300)}),
        SearchSpace({"x": Continuous(1, 1), "y": Categorical(["only"]), "z": Continuous(0, 1)}),
    ],
    ids=["one", "two hundred", "choices", "billion", "wide", "constants"],
)
@pytest.mark.parametrize("multivariate", [True, False])
def test_any_space_gives_valid_suggestions(space: SearchSpace, multivariate: bool) -> None:
    name = space.names[-1]
    study = run(TPESampler(seed=0, multivariate=multivariate), 40, lambda p: float(p[name]), space)
    lows = study.values[:10].min()
    assert study.best_value <= lows


def test_all_pruned_and_duplicated_points() -> None:
    study = Study(SPACE, sampler=TPESampler(seed=0))
    for _ in range(40):
        study.tell(study.ask(), state=TrialState.PRUNED)
    point = {"x": 0.0, "l": 1e-3, "n": 5, "k": 2, "s": 0.5, "c": "a"}
    study.add_trials({name: [value] * 300 for name, value in point.items()}, [0.0] * 300)
    for _ in range(5):
        SPACE.validate(study.ask().params)


def test_one_sampler_serves_two_studies() -> None:
    sampler = TPESampler(seed=6)
    first, second = Study(SPACE, sampler=sampler), Study(SPACE, sampler=sampler)
    for study in (first, second) * 25:
        trial = study.ask()
        study.tell(trial, bowl(trial.params))
    alone = run(TPESampler(seed=6), 25)
    assert [t.params for t in first.trials] == [t.params for t in second.trials] == [t.params for t in alone.trials]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_startup_trials": 0}, "n_startup_trials must be an integer of at least 1, got n_startup_trials=0"),
        ({"n_ei_candidates": 1.5}, "n_ei_candidates=1.5"),
        ({"multivariate": "yes"}, "multivariate must be True or False, got multivariate='yes'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(fasthpo.InvalidValue, match=message):
        TPESampler(**options)
