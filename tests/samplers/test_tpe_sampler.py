"""TPE as a sampler: it finds, it is reproducible, it takes whatever a study throws at it."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, wilcoxon

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study, TPESampler, TrialState
from fasthpo.samplers.latin_hypercube import LatinHypercube
from fasthpo.samplers.ranks import sort_key
from fasthpo.samplers.tpe import model
from fasthpo.samplers.tpe.model import Model
from fasthpo.samplers.tpe.split import Split, below_count

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


MODES = pytest.mark.parametrize(
    ("multivariate", "exact"), [(True, False), (True, True), (False, False)], ids=["sampled", "exact", "independent"]
)


@pytest.fixture(autouse=True)
def scores_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every test of this file: NaN would win each comparison, unseen."""

    def check(name: str) -> None:
        method = getattr(Model, name)

        def checked(self: Model, *arguments: Any, **options: Any) -> Any:
            values, scores = method(self, *arguments, **options)
            assert np.isfinite(scores).all()
            return values, scores

        monkeypatch.setattr(Model, name, checked)

    check("density_candidates")
    check("gaussian_process_candidates")


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
        study = Study(space, sampler=TPESampler(n_startup_trials=6, seed=seed))
        for _ in range(18):
            study.tell(study.ask(), state=TrialState.FAILED, infrastructure=True)  # so that the model never begins
        unit = np.array([[t.params["x"], (math.log10(t.params["y"]) + 5) / 4] for t in study.trials])
        for block in (unit[:6], unit[6:]):  # a second one is larger
            assert (np.sort(np.floor(block * len(block)), axis=0) == np.arange(len(block))[:, None]).all()
        assert (np.array([t.params["z"] for t in study.trials]) == "a").sum() == 9
        first.append(unit[0])
    points = np.array(first)
    assert all(kstest(points[:, j], "uniform").pvalue > 0.001 for j in range(2))
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.25


@pytest.mark.parametrize("size", [1, 3, 10, 320, 500])
def test_each_block_of_points_is_a_latin_hypercube_and_comes_from_its_draw_only(size: int) -> None:
    space = SearchSpace({"x": Continuous(0, 1)})
    made = LatinHypercube(0, 0, size)
    rows = np.array([made.row(space, draw)[0] for draw in range(2000)])
    first, sizes = 0, []
    while first < 1000:
        block = rows[first : first + max(size, min(size * 2 ** len(sizes), 320))]
        np.testing.assert_array_equal(np.sort(np.floor(block * len(block))), np.arange(len(block)))
        first += len(block)
        sizes.append(len(block))
    assert LatinHypercube(0, 0, size).row(space, 1234)[0] == rows[1234]
    assert LatinHypercube(0, 0, size).row(space, 10**9) is not None  # and no such many are made


@pytest.mark.parametrize("others", ["run", "are lost"])
def test_the_model_waits_for_a_quarter_of_the_startup_trials_only(others: str) -> None:
    def suggestion(startup: int, finished: int) -> float:
        study = Study(SearchSpace({"x": Continuous(0, 1)}), sampler=TPESampler(n_startup_trials=8, seed=0))
        trials = [study.ask() for _ in range(startup)]
        for trial in trials[:finished]:
            study.tell(trial, trial["x"])
        if others == "are lost":
            for trial in trials[finished:]:
                study.tell(trial, state=TrialState.FAILED, infrastructure=True)
        return float(study.ask()["x"])

    assert suggestion(8, 0) == suggestion(8, 1) != suggestion(8, 2)
    assert suggestion(7, 0) == suggestion(7, 2) == suggestion(7, 7)  # the design is not left before its end


@pytest.mark.parametrize(("multivariate", "trials"), [(True, 20), (True, 40), (False, 20)])
def test_running_trials_push_the_next_ones_away(multivariate: bool, trials: int) -> None:
    space = SearchSpace({"x": Continuous(0, 1), "y": Continuous(0, 1)})

    def spread(in_parallel: bool) -> float:
        """The mean distance of eight suggestions to the nearest other"""
        distances = []
        for seed in range(30):
            sampler = TPESampler(seed=seed, multivariate=multivariate)
            study = run(sampler, trials, lambda p: (p["x"] - 0.5) ** 2 + (p["y"] - 0.5) ** 2, space)
            points = []
            for _ in range(8):
                trial = study.ask()
                points.append([trial["x"], trial["y"]])
                if not in_parallel:
                    study.tell(trial, state=TrialState.FAILED, infrastructure=True)  # then it is in no density
            apart = np.linalg.norm(np.subtract.outer(points, points).diagonal(axis1=1, axis2=3), axis=2)
            distances.append((apart + 10 * np.eye(8)).min(axis=1).mean())
        return float(np.mean(distances))

    assert spread(True) > 1.1 * spread(False)


def test_pruned_and_failed_trials_inform_and_lost_ones_do_not() -> None:
    space = SearchSpace({"x": Continuous(0, 1)})

    def suggestions(end: Any) -> list[float]:
        study = Study(space, sampler=TPESampler(seed=0, n_startup_trials=5))
        study.add_trials({"x": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}, [3.0, 2.0, 1.0, 2.0, 3.0, 4.0])
        study.enqueue({"x": 0.9})
        end(study, study.ask())
        return [study.ask()["x"] for _ in range(12)]

    def prune(study: Study, trial: fasthpo.Trial) -> None:
        trial.report(5.0, 3)
        study.tell(trial, state=TrialState.PRUNED)

    def fail(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, math.nan)

    def crash(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, state=TrialState.FAILED, error="gone")

    def diverge(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, math.inf)

    def lose(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, state=TrialState.FAILED, error="gone", infrastructure=True)

    def nothing(study: Study, trial: fasthpo.Trial) -> None:
        study.tell(trial, state=TrialState.FAILED, infrastructure=True)

    assert suggestions(fail) == suggestions(crash) == suggestions(diverge)
    assert suggestions(lose) == suggestions(nothing) not in (suggestions(fail), suggestions(prune))


def test_split_order_is_complete_then_pruned_by_step_and_value_then_no_finite_value() -> None:
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
    assert sorted(range(len(ends)), key=lambda n: sort_key(study.table, n)) == [1, 8, 0, 4, 3, 2, 5, 6, 7]
    assert len({sort_key(study.table, n)[:3] for n in (5, 6, 7)}) == 1


def test_split_equals_sorting_everything() -> None:
    random = np.random.default_rng(0)
    losses = np.round(random.random(3000), 3)  # with ties
    split = Split()
    below: set[int] = set()
    for number, loss in enumerate(losses):
        enter, leave = split.add([(0, 0.0, float(loss), number)])
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
    "largest": lambda p: 1.7e308 * (-1) ** p["k"],
    "smallest": lambda p: 5e-324 * p["k"],
}


@pytest.mark.parametrize("objective", NASTY)
@MODES
def test_any_objective_gives_valid_suggestions(
    monkeypatch: pytest.MonkeyPatch, objective: str, multivariate: bool, exact: bool
) -> None:
    monkeypatch.setattr(model, "MOST_OBSERVATIONS", 16)
    for direction in ("minimize", "maximize"):
        sampler = TPESampler(seed=0, multivariate=multivariate, exact=exact)
        assert len(run(sampler, 60, NASTY[objective], direction=direction)) == 60


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


LOG_INTEGERS = functools.partial(Discrete, log=True)
EXTREME: dict[str, Any] = {
    "widest": (Continuous, -8e307, 8e307),
    "narrow": (Continuous, 1, 1 + 1e-12),
    "neighbours": (Continuous, 1, math.nextafter(1, 2)),
    "denormal": (Continuous, 5e-324, 1e-320),
    "widest log": (LogUniform, 5e-324, 1.7e308),
    "narrow log": (LogUniform, 1, 1 + 1e-12),
    "denormal log": (LogUniform, 5e-324, 1e-320),
    "one logarithm": (LogUniform, 1e300, math.nextafter(math.nextafter(1e300, math.inf), math.inf)),
    "integers": (Discrete, -(2**53), 2**53),
    "integers log": (LOG_INTEGERS, 1, 2**53),
    "last integers": (Discrete, 2**53 - 3, 2**53),
    "last integers log": (LOG_INTEGERS, 2**53 - 3, 2**53),
    "last twenty log": (LOG_INTEGERS, 2**53 - 20, 2**53),
    "uneven cells": (LOG_INTEGERS, 5 * 10**11 + 1, 75 * 10**11 + 1, 10**12),
    "largest steps": (Continuous, -8e307, 8e307, 1e306),
    "smallest steps": (Continuous, 0, 2.0**-1040, 2.0**-1071),
    "most steps": (Continuous, 0, 1, 2.0**-49),
}


@pytest.mark.parametrize("bounds", EXTREME)
@pytest.mark.parametrize("multivariate", [True, False])
def test_extreme_bounds_give_values_inside_them(bounds: str, multivariate: bool) -> None:
    kind, *limits = EXTREME[bounds]
    space = SearchSpace(
        {
            "c": Categorical(["a", "b"]),
            "x": kind(*limits),
            "y": kind(*limits, when={"c": ["a"]}),
            "z": Continuous(0, 1),  # else a few steps would soon be used up
        }
    )
    study = run(TPESampler(seed=0, multivariate=multivariate), 60, lambda p: float(p["x"]), space)
    x = study.columns["x"]
    assert np.mean(x[-30:] <= np.median(x[:10])) > 0.6  # it looks where the good ones are


@pytest.mark.parametrize("options", [{"n_startup_trials": 1}, {"n_ei_candidates": 1}, {"seed": 2**64 - 1}], ids=str)
def test_options_at_their_ends(options: dict[str, Any]) -> None:
    assert len(run(TPESampler(**{"seed": 0, **options}), 40)) == 40


@MODES
@pytest.mark.parametrize("n", [300, 5000])
def test_pruned_trials_and_thousands_of_duplicated_points(multivariate: bool, exact: bool, n: int) -> None:
    study = Study(SPACE, sampler=TPESampler(seed=0, multivariate=multivariate, exact=exact))
    for _ in range(40):
        study.tell(study.ask(), state=TrialState.PRUNED)
    point = {"x": -5.0, "l": 1e-5, "n": 1, "k": 8, "s": 1.0, "c": "b", "m": 0.0}
    study.add_trials({name: [value] * n for name, value in point.items()}, [0.0] * n)
    for _ in range(9):
        trial = study.ask()
        SPACE.validate(trial.params)
        study.tell(trial, 0.0)


def end_trial(study: Study, trial: fasthpo.Trial, end: str) -> None:
    """Ends a trial in one of the ways a study knows"""
    if end == "failed":
        study.tell(trial, state=TrialState.FAILED)
    elif end == "lost":
        study.tell(trial, state=TrialState.FAILED, infrastructure=True)
    elif end == "NaN":
        study.tell(trial, math.nan)
    elif end == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    elif end == "pruned with reports":
        for step, value in ((0, 1.0), (2**62, math.inf), (1, math.nan), (7, -1.0 * trial.number))[trial.number % 4 :]:
            trial.report(value, step)
        study.tell(trial, state=TrialState.PRUNED)
    elif end == "tie":
        study.tell(trial, float(trial.number % 3))
    elif end == "complete":
        study.tell(trial, bowl(trial.params))
    else:
        assert end == "never told"


ENDS = ["failed", "lost", "NaN", "pruned", "pruned with reports", "never told", "tie", "complete"]


@pytest.mark.parametrize("end", ENDS)
@MODES
def test_all_trials_end_alike(monkeypatch: pytest.MonkeyPatch, end: str, multivariate: bool, exact: bool) -> None:
    monkeypatch.setattr(model, "MOST_OBSERVATIONS", 16)
    study = Study(SPACE, sampler=TPESampler(seed=0, multivariate=multivariate, exact=exact))
    for _ in range(15):  # else the model would never be used
        end_trial(study, study.ask(), "complete")
    for _ in range(100):
        trial = study.ask()
        SPACE.validate(trial.params)
        end_trial(study, trial, end)
    check_model(study.sampler._model)  # type: ignore[attr-defined]


def check_model(kept: Model) -> None:
    """What the model keeps up to date equals what is made anew from all trials."""
    from fasthpo.kernels.tpe.above_tabulated import count_observations

    kept.catch_up()
    kept.catch_up_above()
    table = kept.table
    finished = [n for n in table.tell_order.tolist() if not (table.errors.get(n) or "").startswith("infrastructure: ")]
    valued = [n for n in finished if math.isfinite(table.values[n])]
    valued.sort(key=lambda n: sort_key(table, n))
    below = valued[: below_count(len(valued))]
    assert kept._split.below == below
    above = [n for n in finished if n not in set(below)] + np.flatnonzero(table.states == TrialState.RUNNING).tolist()
    tables = kept._tables._replace(
        **{name: np.zeros_like(getattr(kept._tables, name)) for name in ("sums", "histogram", "active")}
    )
    for n in above:
        count_observations(
            kept._encoded.space.axes, model._ABOVE_BANDWIDTH, table.params, table.states, n, n + 1, 1, tables
        )  # fmt: skip
    assert all(np.array_equal(one, other) for one, other in zip(kept._tables, tables, strict=True))
    held = kept._observations
    numbers, counting = held._numbers[: held.length], held.tiles.offsets[: held.length] > -np.inf
    assert np.array_equal(counting, np.isin(numbers, above)) and held._counting == counting.sum()
    if not held._mask:
        assert held.length == (len(table) if kept.multivariate else 0)


def test_tables_stay_right_while_thousands_of_trials_pass_through_below() -> None:
    study = Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    kept = Model(study.table, multivariate=True, exact=False)
    passed: set[int] = set()
    for i in range(6000):  # beyond what the joint density holds
        study.tell(study.ask(), -float(i))  # each is the best so far, and pushes another one out
        kept.catch_up()
        kept.catch_up_above()
        passed.update(kept._split.below)
        if i % 1000 == 0:
            check_model(kept)
    assert len(passed) == 6000
    check_model(kept)


@MODES
def test_everything_at_once(monkeypatch: pytest.MonkeyPatch, multivariate: bool, exact: bool) -> None:
    """Trials waiting, partly given, told late and in any order, in bulk and not at all; suggestions in between."""
    monkeypatch.setattr(model, "MOST_OBSERVATIONS", 64)
    random = np.random.default_rng(0)
    study = Study(SPACE, sampler=TPESampler(seed=0, multivariate=multivariate, exact=exact))
    parts: list[dict[str, Any]] = [{}, {"m": 0.5}, {"c": "a"}, {"x": 5.0, "k": 8}, {"n": 1000, "l": 1e-5}]
    running: list[fasthpo.Trial] = []
    for i in range(600):
        action = random.integers(6)
        if action == 0:
            for part in parts[random.integers(5) :]:
                study.enqueue(part)
            # a study starts waiting trials first; a sampler may be asked all the same
            row = study.sampler.suggest(study.table, i)
            assert isinstance(row, np.ndarray)
            SPACE.validate(SPACE.decode(row))
        elif action == 1:
            running += [study.trials[n] for n in study.ask_batch(3).numbers.tolist()]
        elif action == 2:
            chosen = random.choice(len(SPACE), 20)
            rows = SPACE.from_unit(random.random((20, len(SPACE))))[chosen % 5]  # points given several times
            columns = {name: [SPACE.decode(row).get(name) for row in rows] for name in SPACE.names}
            study.add_trials(columns, random.choice([1.0, -math.inf, math.inf, math.nan, 1e300], 20))
        else:
            running.append(study.ask())
            SPACE.validate(running[-1].params)
        for _ in range(min(len(running), random.integers(4))):
            end_trial(study, running.pop(random.integers(len(running))), ENDS[random.integers(len(ENDS))])
        if i % 100 == 99:
            check_model(study.sampler._model)  # type: ignore[attr-defined]
    held = study.sampler._model._observations  # type: ignore[attr-defined]
    assert held.length == (0 if not multivariate else len(study) if exact else held.length) and len(study) > 2000
    assert exact or held.length <= 64


@MODES
def test_children_that_are_hardly_ever_active(multivariate: bool, exact: bool) -> None:
    space = SearchSpace(
        {
            "rare": Continuous(0, 1, when={"child": [3]}),
            "child": Discrete(1, 3, when={"c": [0]}),
            "fine": Discrete(1, 50, when={"c": [0]}),
            "choice": Categorical(["a", "b"], when={"c": [0]}),
            "c": Categorical(list(range(10_000))),
            "y": Continuous(0, 1),
        }
    )
    sampler = TPESampler(seed=0, multivariate=multivariate, exact=exact)
    study = run(sampler, 50, lambda p: 1.0 + p["y"], space)
    assert np.isnan(study.columns["child"]).all()
    for _ in range(3):
        study.enqueue({"rare": 0.5, "choice": "b"})
    for _ in range(60):
        trial = study.ask()
        space.validate(trial.params)
        study.tell(trial, -1.0 if "rare" in trial.params else 1.0)
    check_model(study.sampler._model)  # type: ignore[attr-defined]


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
