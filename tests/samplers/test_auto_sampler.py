"""One sampler for every space: who suggests what, that it resumes exactly, and that it says what each has brought."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import (
    AutoSampler,
    Categorical,
    CmaEsSampler,
    Continuous,
    Discrete,
    LogUniform,
    SearchSpace,
    Study,
    TPESampler,
    TrialState,
)
from fasthpo.kernels.axes import positions_of_values
from fasthpo.kernels.gaussian_process import predict
from fasthpo.kernels.tpe import scoring
from fasthpo.samplers.auto.account import Arm
from fasthpo.samplers.auto.branches import Branches, branches_of, needs_of
from fasthpo.samplers.auto.sampler import BranchSearch
from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.tpe.model import Model
from tests.support.interrupting import counted

Objective = Callable[[Mapping[str, Any]], float]
BOX = SearchSpace({f"x{j}": Continuous(-5.0, 5.0) for j in range(3)})
MIXED = SearchSpace({"x": Continuous(-1.0, 1.0), "n": Discrete(1, 40), "c": Categorical(["a", "b", "d"])})
FINITE = SearchSpace({"x": Discrete(0, 11), "y": Discrete(0, 11)})
LEARNERS = SearchSpace(
    {
        "learner": Categorical(["forest", "boosting", "linear", "neighbours"]),
        "trees": Discrete(1, 500, log=True, when={"learner": "forest"}),
        "rate": LogUniform(1e-4, 1.0, when={"learner": "boosting"}),
        "booster": Categorical(["tree", "linear", "dart"], when={"learner": "boosting"}),
        "depth": Discrete(1, 9, when={"booster": ["tree", "dart"]}),
        "drop": Continuous(0.0, 1.0, when={"booster": "dart"}),
        "penalty": LogUniform(1e-6, 1.0, when={"learner": ["linear", "neighbours"]}),
        "scaler": Categorical(["none", "power"]),
        "power": Continuous(0.1, 3.0, when={"scaler": "power"}),
        "shared": Continuous(0.0, 1.0),
    }
)
LAYERS = SearchSpace(
    {"n": Discrete(1, 3), **{f"u{i}": Continuous(0.0, 1.0, when={"n": [*range(i, 4)]}) for i in (2, 3)}}
)
PARTLY_FINITE = SearchSpace(
    {
        "kind": Categorical(["few", "many"]),
        "k": Discrete(0, 2, when={"kind": "few"}),
        "x": Continuous(0, 1, when={"kind": "many"}),
    }
)


def sphere(params: Mapping[str, Any]) -> float:
    return float(sum((value - 1.3) ** 2 for value in params.values() if not isinstance(value, str)))


def learners(params: Mapping[str, Any]) -> float:
    """Boosting with dart is the best, but only where it is tuned."""
    base = {"forest": 0.4, "boosting": 0.0, "linear": 0.6, "neighbours": 0.7}[params["learner"]]
    if params["learner"] == "boosting":
        base += 0.3 * abs(math.log10(params["rate"]) + 2.5)
        base += 0.3 * (params["booster"] != "dart") + abs(params.get("drop", 0.5) - 0.2)
    return base + 0.1 * (params["shared"] - 0.5) ** 2 + 0.05 * (params["scaler"] == "none")


SPACES: dict[str, tuple[SearchSpace, Objective]] = {
    "box": (BOX, sphere),
    "mixed": (MIXED, sphere),
    "finite": (FINITE, sphere),
    "learners": (LEARNERS, learners),
    "layers": (LAYERS, sphere),
    "partly finite": (PARTLY_FINITE, sphere),
    "one value": (SearchSpace({"x": Continuous(0.0, 1.0), "c": Categorical(["only"])}), sphere),
}


def run(
    n: int, space: SearchSpace, objective: Objective, sampler: fasthpo.Sampler | None = None, **options: Any
) -> Study:
    study = Study(space, sampler=AutoSampler(seed=3) if sampler is None else sampler, **options)
    go_on(study, n, objective)
    return study


def go_on(study: Study, n: int, objective: Objective) -> None:
    for _ in range(n):
        trial = study.ask()
        study.tell(trial, objective(trial))


def arms(study: Study) -> list[Arm]:
    sampler = study.sampler
    assert isinstance(sampler, AutoSampler)
    return sampler.arms(study.table)


def trial_branches(study: Study) -> Counter[tuple[int, int]]:
    one = Branches(study.table, 0)
    return Counter(tuple(branch) for number in range(len(study)) for branch in one.of(number))


# --- who suggests


@pytest.mark.parametrize("name", SPACES)
def test_every_kind_of_space_is_searched(name: str) -> None:
    space, objective = SPACES[name]
    studies = [run(130, space, objective, AutoSampler(seed=seed)) for seed in range(6)]
    assert all(space.contains(trial.params) for study in studies for trial in study.trials)
    random = [run(130, space, objective, fasthpo.RandomSampler(seed=seed)) for seed in range(6)]
    assert sum(study.best_value for study in studies) <= sum(study.best_value for study in random)
    again = run(130, space, objective, AutoSampler(seed=0))
    assert again.table.params.tobytes() == studies[0].table.params.tobytes()


def test_a_finite_space_is_never_asked_for_a_point_twice() -> None:
    study = run(144, FINITE, sphere)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 144
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


def test_start_up_and_what_no_rule_names_are_tpes() -> None:
    for space, objective, n in ((BOX, sphere, 100), (MIXED, sphere, 100), (FINITE, sphere, 120), (LAYERS, sphere, 60)):
        one, other = run(n, space, objective), run(n, space, objective, TPESampler(seed=3))
        assert one.table.params.tobytes() == other.table.params.tobytes()


def test_numbers_are_handed_over_to_cma_es_with_a_share_for_the_model() -> None:
    study = run(900, BOX, sphere)
    who = arms(study)
    assert set(who[:10]) == {Arm.STARTUP} and set(who[10:100]) == {Arm.MODEL}
    assert Counter(who[100:]) == {Arm.CMA_ES: 700, Arm.MODEL: 100}
    assert study.best_value < 1e-10
    assert run(900, BOX, sphere, TPESampler(seed=3)).best_value > 1e-8


def test_choices_without_conditions_leave_every_second_draw_to_the_model() -> None:
    study = run(600, MIXED, sphere)
    assert Counter(arms(study)[500:]) == {Arm.CMA_ES: 50, Arm.MODEL: 50}


def test_cma_es_begins_at_the_best_trial() -> None:
    study = run(100, BOX, sphere)
    best = np.array(list(study.best_params.values()))
    points = np.array([list(study.ask().params.values()) for _ in range(200)])[np.arange(200) % 8 != 3]  # draw 103 ...
    assert np.linalg.norm(points.mean(axis=0) - best) < 0.5
    assert (points.std(axis=0) < 3.01).all()


def test_every_branch_is_seen_soon_and_none_is_starved() -> None:
    space = SearchSpace(
        {
            "kind": Categorical(list("abcdefghijkl")),
            **{f"p_{c}": Continuous(0.0, 1.0, when={"kind": c}) for c in "abcdefghijkl"},
            "inner": Categorical(list("xyz"), when={"kind": "l"}),
            "deep": Continuous(0.0, 1.0, when={"inner": "z"}),
        }
    )
    study = run(50, space, lambda p: 0.0 if p["kind"] == "a" else 1.0 + p[f"p_{p['kind']}"])
    assert set(trial_branches(study)) == set(map(tuple, branches_of(space)))
    early = trial_branches(study)
    go_on(study, 250, lambda p: 0.0 if p["kind"] == "a" else 1.0 + p[f"p_{p['kind']}"])
    late = trial_branches(study)
    assert min(late[0, c] - early[0, c] for c in range(12)) >= 2
    assert late[0, 0] < 300 * 0.9  # and none takes all


def test_a_branch_that_is_better_only_when_tuned_is_found() -> None:
    found = [run(150, LEARNERS, learners, AutoSampler(seed=seed)).best_params for seed in range(4)]
    assert [params.get("booster") for params in found].count("dart") >= 3


def test_what_a_branch_needs_holds_for_each_of_its_suggestions() -> None:
    needs = {tuple(branch): needs_of(LEARNERS, branch) for branch in branches_of(LEARNERS)}
    assert {tuple(LEARNERS.names[j] for j in need) for need in needs.values()} == {
        ("learner",),
        ("booster", "learner"),
        ("scaler",),
    }
    assert needs[3, 2][0].tolist() == [1.0]  # dart needs boosting
    several = SearchSpace(
        {
            "a": Categorical(list("xyz")),
            "b": Categorical(list("pq"), when={"a": ["x", "y"]}),
            "c": Categorical(list("rs"), when={"b": "q", "a": ["y", "z"]}),
            "d": Continuous(0, 1, when={"c": "s"}),
        }
    )
    assert {j: x.tolist() for j, x in needs_of(several, branches_of(several)[-1]).items()} == {
        2: [1.0],
        1: [1.0],
        0: [1.0],
    }
    study = run(60, several, lambda p: float(p["a"] != "z"))
    assert trial_branches(study)[2, 1] >= 2


def test_a_branch_that_always_fails_is_looked_into_now_and_then_only() -> None:
    study = Study(LEARNERS, sampler=AutoSampler(seed=0))
    for _ in range(150):
        trial = study.ask()
        if trial["learner"] == "linear":
            study.tell(trial, state=TrialState.FAILED)
        else:
            study.tell(trial, learners(trial))
    assert 2 <= study.table.counts[TrialState.FAILED] < 40


@pytest.mark.parametrize("name", ["box", "learners"])
def test_nothing_but_failures_ends_in_no_error(name: str) -> None:
    space, _ = SPACES[name]
    study = Study(space, sampler=AutoSampler(seed=0))
    for i in range(130):
        study.tell(study.ask(), state=TrialState.FAILED, infrastructure=i % 3 == 0)
    go_on(study, 20, lambda p: 1.0)
    assert study.best_value == 1.0


@pytest.mark.parametrize("name", ["box", "learners"])
def test_no_loss_is_too_large(name: str) -> None:
    space, _ = SPACES[name]
    study = Study(space, sampler=AutoSampler(seed=0))
    losses = [0.0, 1.0, 5e-324, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan, 1e200, 1e-300]
    for i in range(120):
        study.tell(study.ask(), losses[(7 * i + i // 10) % 10])
    assert all(space.contains(trial.params) for trial in study.trials)


@pytest.mark.parametrize("name", ["box", "learners"])
def test_any_number_of_trials_may_run(name: str) -> None:
    space, objective = SPACES[name]
    random, study = np.random.default_rng(0), Study(space, sampler=AutoSampler(seed=0))
    trials = [study.ask() for _ in range(150)]
    for _ in range(300):
        trial = trials.pop(random.integers(len(trials)))
        study.tell(trial, objective(trial))
        trials.append(study.ask())
    assert len({tuple(params.values()) for params in (trial.params for trial in study.trials)}) > 420
    assert study.best_value < (0.05 if name == "box" else 0.3)


def test_cma_es_comes_to_rest_with_many_trials_running() -> None:
    random, study = np.random.default_rng(0), Study(BOX, sampler=AutoSampler(seed=0))
    trials = [study.ask() for _ in range(32)]
    for _ in range(1500):
        trial = trials.pop(random.integers(len(trials)))
        study.tell(trial, sphere(trial))
        trials.append(study.ask())
    assert study.best_value < 1e-6


def test_under_a_multi_fidelity_strategy_it_is_tpe() -> None:
    for space in (BOX, LEARNERS):
        rows = []
        for sampler in (AutoSampler(seed=1), TPESampler(seed=1)):
            study = Study(space, strategy=fasthpo.ASHA(9, sampler=sampler))
            go_on(study, 60, lambda p: float(p.get("shared", p.get("x0", 0.0))))
            rows.append(study.table.params.tobytes())
        assert rows[0] == rows[1]


def test_the_direction_only_turns_the_values_round() -> None:
    for space, objective in (SPACES["box"], SPACES["learners"]):
        down = run(130, space, objective)
        up = run(130, space, lambda p, f=objective: -f(p), direction="maximize")  # type: ignore[misc]
        assert down.table.params.tobytes() == up.table.params.tobytes()


def test_batches_are_what_single_asks_give() -> None:
    for space, objective in (SPACES["box"], SPACES["learners"]):
        one, other = run(110, space, objective), run(110, space, objective)
        rows = [trial.params for trial in (one.ask() for _ in range(20))]
        batch = other.ask_batch(20)
        assert rows == [batch[k] for k in range(20)]


# --- resuming


@pytest.mark.parametrize(
    ("name", "at"), [("box", 50), ("box", 137), ("learners", 12), ("learners", 90), ("finite", 70)]
)
def test_a_study_that_was_loaded_goes_on_as_if_never_stopped(name: str, at: int, tmp_path: Path) -> None:
    space, objective = SPACES[name]

    def mostly(params: Mapping[str, Any]) -> float:
        value = objective(params)
        return math.nan if str(value)[-1] == "3" else value

    whole = run(at + 60, space, mostly)
    run(at, space, mostly, storage=tmp_path / "s").close()
    with Study.load(tmp_path / "s") as study:
        assert isinstance(study.sampler, AutoSampler)
        go_on(study, 60, mostly)
        assert study.table.params.tobytes() == whole.table.params.tobytes()


@pytest.mark.parametrize("name", ["box", "learners"])
def test_what_it_knows_does_not_depend_on_when_it_was_asked(name: str) -> None:
    space, objective = SPACES[name]
    study, random = Study(space, sampler=AutoSampler(seed=2)), np.random.default_rng(5)
    trials: list[fasthpo.Trial] = []
    for i in range(220):
        trials.append(study.ask())
        if i % 20 == 7:
            study.enqueue({"shared": 0.5} if name == "learners" else {"x0": 1.0})
        while len(trials) > random.integers(6):
            trial = trials.pop(random.integers(len(trials)))
            study.tell(trial, objective(trial))
        if i in (60, 150, 219):
            again = AutoSampler(seed=2)
            for draw in range(1000, 1016):
                assert again.suggest(study.table, draw).tobytes() == study.sampler.suggest(study.table, draw).tobytes()  # type: ignore[union-attr]


def test_known_trials_of_others_are_learnt_from() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-5, 5, size=(300, 3))
    study = Study(BOX, sampler=AutoSampler(seed=0))
    study.add_trials({name: points[:, j] for j, name in enumerate(BOX)}, ((points - 1.3) ** 2).sum(axis=1))
    go_on(study, 20, sphere)
    assert study.best_value < 0.05
    assert Counter(arms(study))[Arm.GIVEN] == 300


# --- cost


@pytest.mark.parametrize("name", ["box", "learners"])
def test_the_cost_does_not_grow_with_the_history(name: str) -> None:
    space, objective = SPACES[name]
    study = Study(space, sampler=AutoSampler(seed=0))
    costs = []
    for extra in (400, 8000):
        rows = space.from_unit(np.random.default_rng(extra).random((extra, len(space))))
        columns = [space.decode(row) for row in rows]
        for params in columns[:200]:
            study.enqueue(params)
        go_on(study, 200, objective)
        table = study.table
        first = table.append(rows, -1, TrialState.RUNNING, 0.0)
        numbers = np.arange(first, first + extra)
        table.finish_many(numbers, np.full(extra, int(TrialState.COMPLETE), np.int8), 10.0 + numbers, 1.0)
        go_on(study, 130, objective)
        costs.append(counted(lambda: go_on(study, 64, objective)))
    assert costs[1] < 1.3 * costs[0]


# --- what each has brought


def test_the_summary_says_what_each_has_brought() -> None:
    sampler = AutoSampler(seed=0)
    assert sampler.summary() == "AutoSampler: no trials"
    study = Study(BOX, sampler=sampler)
    study.enqueue({"x0": 0.0, "x1": 0.0, "x2": 0.0})
    go_on(study, 201, sphere)
    lines = sampler.summary().splitlines()
    assert lines[0] == "AutoSampler: 201 trials"
    assert lines[1].split() == ["trials", "best", "value", "improvements"]
    rows = {line[:8].strip(): line[8:].split() for line in lines[2:]}
    assert set(rows) == {"start-up", "model", "CMA-ES", "given"}
    assert {name: row[0] for name, row in rows.items()} == {
        "start-up": "10",
        "model": "103",
        "CMA-ES": "87",
        "given": "1",
    }
    assert min(float(row[1]) for row in rows.values()) == pytest.approx(study.best_value, rel=1e-5)
    values = np.minimum.accumulate(study.table.values)
    assert sum(int(row[2]) for row in rows.values()) == 1 + (np.diff(values) < 0).sum()


def test_who_looked_into_branches_is_known_after_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, old = {}, Branches.chosen

    def chosen_and_kept(self: Branches, draw: int) -> Any:
        branch = old(self, draw)
        chosen[draw] = branch is not None
        return branch

    with monkeypatch.context() as patch:
        patch.setattr(Branches, "chosen", chosen_and_kept)
        run(150, LEARNERS, learners, storage=tmp_path / "s").close()
    with Study.load(tmp_path / "s") as study:
        who = arms(study)
        assert [arm == Arm.BRANCH for arm in who] == [chosen.get(draw, False) for draw in study.table.draws.tolist()]
        assert 30 < who.count(Arm.BRANCH) < 130
        assert "branch model" in study.sampler.summary(study.table)  # type: ignore[attr-defined]


def test_options_make_the_sampler_again() -> None:
    assert AutoSampler(seed=8).options() == {"seed": 8} == AutoSampler(**AutoSampler(seed=8).options()).options()
    assert repr(AutoSampler(seed=1)) == "AutoSampler(seed=1)"
    assert fasthpo.samplers.builtin()["auto"] is AutoSampler
    with pytest.raises(fasthpo.InvalidValue, match="seed must be None or an integer"):
        AutoSampler(seed=-1)


def test_the_samplers_it_is_made_of_are_not_changed() -> None:
    alone, shared = run(60, BOX, sphere, CmaEsSampler(seed=3)), AutoSampler(seed=3)
    run(150, BOX, sphere, shared)
    assert run(60, BOX, sphere, CmaEsSampler(seed=3)).table.params.tobytes() == alone.table.params.tobytes()


# --- inside a branch


def test_candidates_are_in_the_branch_and_cover_what_it_opens() -> None:
    study = run(90, LEARNERS, learners)
    search = BranchSearch(study.table, seed=0)
    search.catch_up()
    for branch in branches_of(LEARNERS):
        model = search.model(branch)
        for draw in range(3):
            rows = model._candidates(model._hold(model._values(draw)), draw, None)[0]
            assert all(LEARNERS.contains(LEARNERS.decode(row)) for row in rows)
            assert (rows[:, branch.parameter] == branch.choice).all()
            assert len(np.unique(rows[:, LEARNERS.position["shared"]])) > 20


def test_with_nothing_held_they_are_those_of_tpe() -> None:
    study = run(40, LEARNERS, learners, TPESampler(seed=1))
    model = Model(study.table, multivariate=True, exact=False)
    model.catch_up()
    process, space = model._current_gaussian_process(), encode_space(LEARNERS).space
    keys = model._keys(1, 40)
    results = []
    for propose in (
        lambda *args: scoring.propose_by_gaussian_process(space, *args),
        lambda *args: scoring.propose_in_branch(space, space, *args),
    ):
        rows, bounds = np.empty((24, len(LEARNERS))), np.empty(24)
        propose(model._below, process.arrays, 3.0, keys, rows, bounds)
        results.append((rows.tobytes(), bounds.tobytes()))
    assert results[0] == results[1]


def test_what_is_held_changes_no_score() -> None:
    """A candidate of a branch gets the bound that the same point gets in the whole space."""
    study = run(60, LEARNERS, learners)
    model = Model(study.table, multivariate=True, exact=False)
    model.catch_up()
    process = model._current_gaussian_process()
    search = BranchSearch(study.table, seed=0)
    search.catch_up()
    dart = search.model(branches_of(LEARNERS)[6])
    rows, bounds = dart._candidates(dart._hold(dart._values(0)), 5, process)
    axes = encode_space(LEARNERS).space.axes
    points = np.empty((len(LEARNERS), len(rows)))
    positions_of_values(axes, np.ascontiguousarray(rows.T), np.arange(len(rows)), 0, points)
    means, deviations = np.empty(len(rows)), np.empty(len(rows))
    predict(process.arrays, points, means, deviations)
    tried = {study.table.params[:, number].tobytes() for number in range(len(study))}  # which are put back
    new = np.array([row.tobytes() not in tried for row in rows])
    assert new.sum() > 60
    np.testing.assert_allclose(bounds[new], (means + 3.0 * deviations)[new], rtol=1e-6)
