"""CMA-ES as a sampler: it converges, whatever runs at the same time, and all it knows follows from the tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import (
    Categorical,
    CmaEsSampler,
    Continuous,
    Discrete,
    LogUniform,
    RandomSampler,
    SearchSpace,
    Study,
    TrialState,
)
from fasthpo.kernels.cma_es import GENERATION, MEAN, SIGMA
from fasthpo.samplers.cma_es.evolution import Evolution

Objective = Callable[[Mapping[str, Any]], float]
BOX = SearchSpace({f"x{j}": Continuous(-5.0, 5.0) for j in range(5)})
MIXED = SearchSpace(
    {
        "x": Continuous(-1.0, 1.0),
        "y": LogUniform(1e-4, 1.0, when={"c": ["a", "b"]}),
        "n": Discrete(1, 40),
        "c": Categorical(["a", "b", "d"]),
        "k": Discrete(0, 3, when={"c": "d"}),
    }
)


def values(params: Mapping[str, Any]) -> np.ndarray:
    return np.array([params[name] for name in params])


def sphere(params: Mapping[str, Any]) -> float:
    return float(((values(params) - 1.3) ** 2).sum())


def ellipsoid(params: Mapping[str, Any]) -> float:
    x = values(params) - 1.3
    return float((x**2 * 10.0 ** (6 * np.arange(len(x)) / (len(x) - 1))).sum())


def rosenbrock(params: Mapping[str, Any]) -> float:
    x = values(params)
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def mixed(params: Mapping[str, Any]) -> float:
    extra = 0.2 * abs(math.log10(params["y"]) + 2) if "y" in params else 0.5 + params["k"] / 10
    return (params["x"] - 0.3) ** 2 + (params["n"] - 17) ** 2 / 100 + extra + (params["c"] == "a") * 0.3


def run(
    sampler: fasthpo.Sampler, n: int, objective: Objective = sphere, space: SearchSpace = BOX, **options: Any
) -> Study:
    study = Study(space, sampler=sampler, **options)
    go_on(study, n, objective)
    return study


def go_on(study: Study, n: int, objective: Objective = sphere) -> None:
    for _ in range(n):
        trial = study.ask()
        study.tell(trial, objective(trial))


def evolution(study: Study) -> Evolution:
    """The sampler's knowledge, up to date."""
    sampler = study.sampler
    assert isinstance(sampler, CmaEsSampler)
    sampler.suggest(study.table, 0)
    assert sampler._evolution is not None
    sampler._evolution.catch_up()
    return sampler._evolution


def knowledge(study: Study) -> tuple[Any, ...]:
    one = evolution(study)
    arrays = (
        one._distribution.vectors,
        one._distribution.matrices,
        one._distribution.scalars,
        one._distribution.probabilities,
        one._path,
        one._bests,
    )
    older = [[array.tobytes() for array in arrays] for arrays in one._older]
    return (
        *(array.tobytes() for array in arrays),
        older,
        one.population,
        one._search,
        one._members,
        one._known,
        one._left_out,
        one._best,
    )


@pytest.mark.parametrize(
    ("objective", "n", "reached"), [(sphere, 3000, 1e-15), (ellipsoid, 4000, 1e-15), (rosenbrock, 4000, 1e-12)]
)
def test_it_converges_to_the_last_digits(objective: Objective, n: int, reached: float) -> None:
    best = [run(CmaEsSampler(seed=seed), n, objective).best_value for seed in range(3)]
    assert sorted(best)[1] < reached  # a search may begin in the wrong valley


def test_optima_on_the_bounds_are_found() -> None:
    study = run(CmaEsSampler(seed=0), 1000, lambda p: float(values(p).sum()))
    assert study.best_value == -25
    study = run(CmaEsSampler(seed=0), 1500, lambda p: float(values(p)[:3].sum() + ((values(p)[3:] - 1.3) ** 2).sum()))
    assert study.best_value < -15 + 1e-5


def test_optima_of_many_kinds_of_parameter_are_found() -> None:
    found = [run(CmaEsSampler(seed=seed), 1500, mixed, MIXED) for seed in range(5)]
    assert sorted(study.best_value for study in found)[2] < 1e-6
    best = min(found, key=lambda study: study.best_value).best_params
    assert best["c"] == "b" and best["n"] == 17
    random = [run(RandomSampler(seed=seed), 1500, mixed, MIXED).best_value for seed in range(3)]
    assert all(study.best_value < min(random) for study in found[:3])


def test_choices_alone_are_learnt() -> None:
    space = SearchSpace({f"c{j}": Categorical(list("abcdef")) for j in range(12)})
    study = run(CmaEsSampler(seed=0), 1500, lambda p: float(sum(c != "e" for c in p.values())), space)
    assert study.best_value == 0


def test_the_direction_only_turns_the_values_round() -> None:
    down = run(CmaEsSampler(seed=1), 200)
    up = run(CmaEsSampler(seed=1), 200, lambda p: -sphere(p), direction="maximize")
    assert up.table.params.tobytes() == down.table.params.tobytes()
    assert run(CmaEsSampler(seed=2), 200).table.params.tobytes() != down.table.params.tobytes()


@pytest.mark.parametrize("space", [BOX, MIXED])
def test_a_batch_is_what_single_asks_are(space: SearchSpace) -> None:
    objective = sphere if space is BOX else mixed
    studies = [run(CmaEsSampler(seed=3), 100, objective, space) for _ in range(2)]
    asked = [studies[0].ask().number for _ in range(30)]
    single = studies[0].table.params[:, asked].T
    numbers = studies[1].ask_batch(30).numbers
    assert studies[1].table.params[:, numbers].T.tobytes() == single.tobytes()
    assert len(studies[1].ask_batch(2500)) == 2500


@pytest.mark.parametrize("running", [4, 32, 200])
def test_any_number_of_trials_may_run(running: int) -> None:
    study, random = Study(BOX, sampler=CmaEsSampler(seed=0)), np.random.default_rng(1)
    trials = [study.ask() for _ in range(running)]
    for _ in range(3000):
        trial = trials.pop(random.integers(running))
        study.tell(trial, sphere(trial))
        trials.append(study.ask())
    assert study.best_value < {4: 1e-12, 32: 1e-8, 200: 1e-2}[running]
    assert evolution(study)._doublings == {4: 0, 32: 1, 200: 4}[running]  # from 8: a part of what runs


def test_a_population_of_the_users_stays() -> None:
    study, random = Study(BOX, sampler=CmaEsSampler(6, seed=0)), np.random.default_rng(1)
    trials = [study.ask() for _ in range(60)]
    for _ in range(600):
        trial = trials.pop(random.integers(60))
        study.tell(trial, random.random())
        trials.append(study.ask())
    assert evolution(study).population == 6


@pytest.mark.parametrize("n", [0, 3, 95, 400])
def test_what_it_knows_follows_from_the_tells(n: int) -> None:
    def mixed_up(study: Study, forgets: bool) -> tuple[Any, ...]:
        random = np.random.default_rng(n)
        trials = []
        study.add_trials(
            {"x": [0.1] * 12, "y": [0.01] * 12, "n": list(range(1, 13)), "c": ["a"] * 12, "k": [None] * 12},
            np.arange(12.0),
        )
        for i in range(n):
            trials.append(study.ask())
            if i % 31 == 5:
                study.enqueue({"x": 0.3, "n": 17 - i % 3, "c": "b"})
            if len(trials) == 7:
                trial = trials.pop(random.integers(7))
                state = TrialState.FAILED if i % 17 == 3 else None
                study.tell(trial, None if state else mixed(trial), state=state)
            if forgets and i % 29 == 0:
                study.sampler.forget()
        return knowledge(study)

    live, rebuilt = (mixed_up(Study(MIXED, sampler=CmaEsSampler(seed=4)), forgets) for forgets in (False, True))
    assert live == rebuilt


def test_it_takes_in_each_trial_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = run(CmaEsSampler(seed=0), 500)
    taken: list[int] = []
    take = Evolution._take
    monkeypatch.setattr(
        Evolution, "_take", lambda self, key, *others: (taken.append(key[3]), take(self, key, *others))[1]
    )
    study.add_trials({name: np.zeros(100) for name in BOX}, np.full(100, 1e9))
    go_on(study, 50)
    evolution(study)
    assert sorted(taken) == list(range(min(taken), 650)) and min(taken) < 500


def test_trials_too_few_for_a_generation_may_be_taken_in_sooner_or_later() -> None:
    soon, late = (Study(BOX, sampler=CmaEsSampler(seed=3)) for _ in range(2))
    for _ in range(300):
        evolution(soon)  # takes in all
        go_on(soon, 1)
        go_on(late, 1)
    assert np.array_equal(soon.table.params, late.table.params)
    assert knowledge(soon) == knowledge(late)


def test_known_trials_make_a_warm_start() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-5, 5, size=(1000, 5))
    near = np.array([2.0, -1.0, 3.0, -4.0, 0.5])
    points[300:400] = near + random.normal(size=(100, 5)) * 0.3
    losses = ((points - near) ** 2).sum(axis=1)
    study = Study(BOX, sampler=CmaEsSampler(seed=0))
    study.add_trials({name: points[:, j] for j, name in enumerate(BOX)}, losses)
    one = evolution(study)
    best = points[losses.argmin()]
    np.testing.assert_allclose(one._distribution.vectors[MEAN] * 10 - 5, best, atol=1e-12)
    assert 0.02 < one._distribution.scalars[SIGMA] < 0.04
    go_on(study, 1500, lambda p: float(((values(p) - near) ** 2).sum()))
    assert study.best_value < 1e-12


def test_few_known_trials_make_none_and_sigma_is_the_users() -> None:
    for count, sigma, expected in ((9, None, 0.2), (10, None, 0.01), (10, 0.2, 0.2), (0, 0.1, 0.1)):
        study = Study(BOX, sampler=CmaEsSampler(sigma=sigma, seed=0))
        study.add_trials({name: np.full(count, 1.0) for name in BOX}, np.full(count, 2.0))
        study.add_trials({name: np.zeros(3) for name in BOX}, [math.nan, math.inf, -math.inf])
        assert evolution(study)._distribution.scalars[SIGMA] == expected
        mean = 0.6 if count == 10 else 0.5
        np.testing.assert_allclose(evolution(study)._distribution.vectors[MEAN], mean)


def test_the_best_of_few_known_trials_is_a_member_of_the_first_generation() -> None:
    study = Study(BOX, sampler=CmaEsSampler(seed=0))
    for x in (2.0, 1.0, 3.0):
        study.enqueue(dict.fromkeys(BOX, x))
    go_on(study, 8)
    assert [key[3] for key in evolution(study)._members[None]] == [1, 3, 4, 5, 6, 7]


def test_choices_of_the_best_known_trials_are_likelier() -> None:
    study = Study(MIXED, sampler=CmaEsSampler(seed=0))
    for i in range(200):
        study.enqueue({"c": "abd"[i % 3]})
    for _ in range(200):
        trial = study.ask()
        study.tell(trial, mixed(trial) + (trial["c"] != "b"))
    assert evolution(study)._distribution.probabilities[1] > 0.72  # the others have a margin


def test_another_samplers_trials_make_a_warm_start(tmp_path: Any) -> None:
    run(RandomSampler(seed=0), 100, storage=tmp_path / "s").close()
    with Study.load(tmp_path / "s", sampler=CmaEsSampler(seed=0)) as study:
        one = evolution(study)
        assert one._distribution.scalars[SIGMA] != 0.2
        numbers = [key[3] for key in one._known]
        found = one._distribution.vectors[MEAN] * 10 - 5
        assert any(np.allclose(found, study.table.params[:, number], atol=1e-12) for number in numbers[:3])
        go_on(study, 600)
        assert study.best_value < 1e-6
        before = knowledge(study)
    with Study.load(tmp_path / "s") as study:
        assert knowledge(study) == before


def test_a_start_that_moves_while_trials_run_comes_to_rest() -> None:
    study, random = Study(BOX, sampler=CmaEsSampler(seed=0)), np.random.default_rng(1)
    points = random.uniform(-5, 5, size=(50, 5))
    trials = [study.ask() for _ in range(8)]
    study.add_trials({name: points[:, j] for j, name in enumerate(BOX)}, ((points - 1.3) ** 2).sum(axis=1))
    for _ in range(1000):
        trial = trials.pop(random.integers(len(trials)))
        study.tell(trial, sphere(trial))
        trials.append(study.ask())
    assert evolution(study)._distribution.scalars[GENERATION] > 100
    assert study.best_value < 1e-6


def test_later_trials_of_others_count_only_if_they_are_better() -> None:
    studies = [run(CmaEsSampler(seed=0), 100) for _ in range(2)]
    studies[1].add_trials({name: np.full(500, -5.0) for name in BOX}, np.full(500, 1e3))
    assert knowledge(studies[0])[:6] == knowledge(studies[1])[:6]
    studies[1].add_trials({name: np.full(1, 1.3) for name in BOX}, [0.0])
    members = evolution(studies[1])._members
    assert [key[3] for key in members[None] if key[2] == 0.0] == [600]


def test_worse_states_rank_behind_better_ones() -> None:
    study = Study(BOX, sampler=CmaEsSampler(8, seed=0))
    ends: list[tuple[float | None, TrialState | None, int]] = [
        (None, TrialState.FAILED, 3),
        (math.inf, None, 0),
        (0.1, TrialState.PRUNED, 1),
        (0.2, TrialState.PRUNED, 2),
        (5.0, None, 0),
        (-math.inf, None, 0),
        (4.0, None, 0),
    ]
    for value, state, steps in ends:
        trial = study.ask()
        for step in range(steps):
            trial.report(1.0, step)
        study.tell(trial, value, state=state)
    ranked = sorted(evolution(study)._members[None])
    assert [key[3] for key in ranked] == [6, 4, 3, 2, 0, 1, 5]


@pytest.mark.parametrize("value", [0.25, math.inf, math.nan])
def test_a_plateau_ends_a_search_and_the_next_has_twice_the_population(value: float) -> None:
    study = Study(BOX, sampler=CmaEsSampler(4, seed=0))
    while (one := evolution(study))._search < 2:
        assert len(study) < 4 * 48 + 8 * 29 + 10
        go_on(study, 1, lambda p: value)
    assert one.population == 16
    assert abs(one._distribution.vectors[MEAN] - 0.5).max() > 0.05 and one._distribution.scalars[SIGMA] == 0.2


def test_a_late_trial_of_the_search_before_does_not_count_in_the_next() -> None:
    study = Study(BOX, sampler=CmaEsSampler(4, seed=0))
    late = [study.ask() for _ in range(3)]
    while evolution(study)._search < 1:
        go_on(study, 1, lambda p: 1.0)
    own = study.ask()
    for trial in late:
        study.tell(trial, -1.0)
    study.tell(own, 2.0)
    one = evolution(study)
    assert [key[3] for key in one._members[None]] == [own.number] and one._left_out == 3
    assert one._distribution.scalars[GENERATION] == 0


NASTY = {
    "one": SearchSpace({"x": Continuous(0, 1)}),
    "constant": SearchSpace({"x": Continuous(2, 2), "y": Continuous(0, 1), "z": LogUniform(3, 3)}),
    "only choices": SearchSpace({"a": Categorical(list(range(1000))), "b": Categorical(["x", "y"])}),
    "one choice": SearchSpace({"a": Categorical(["x"]), "b": Continuous(0, 1, when={"a": "x"})}),
    "extreme": SearchSpace(
        {
            "a": LogUniform(1e-300, 1e300),
            "b": Continuous(-8e307, 8e307),
            "c": Continuous(0, 1e-310),
            "d": LogUniform(1.0, 1.0 + 1e-15),
            "e": Continuous(1e15, 1e15 + 1),
            "f": Discrete(-(2**53), 2**53),
            "g": Discrete(1, 2**53, log=True),
            "h": Continuous(0, 1e9, step=0.001),
        }
    ),
    "only steps": SearchSpace({"a": Discrete(0, 1), "b": Discrete(1, 10**6, log=True), "c": Discrete(0, 30, 10)}),
    "nested": SearchSpace(
        {
            "a": Categorical(["x", "y"]),
            "b": Discrete(1, 3, when={"a": "x"}),
            "c": Continuous(0, 1, when={"b": [2, 3]}),
            "d": Categorical([True, False], when={"a": "y"}),
            "e": LogUniform(1, 10, when={"d": True}),
        }
    ),
    "many": SearchSpace({f"x{j}": Continuous(0, 1) for j in range(120)}),
}
LOSSES: dict[str, Callable[[int], float]] = {
    "random": lambda i: math.sin(i * i),
    "equal": lambda i: 7.0,
    "failed": lambda i: math.nan,
    "infinite": lambda i: [math.inf, -math.inf][i % 2],
    "huge": lambda i: (-1.0) ** i * 1.7e308 / (i % 7 + 1),
    "tiny": lambda i: 5e-324 * (i % 5),
}


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("name", NASTY)
def test_nasty_spaces_and_values(name: str, losses: str) -> None:
    space = NASTY[name]
    study = Study(space, sampler=CmaEsSampler(4, seed=1))
    points = [space.decode(row) for row in space.from_unit(np.random.default_rng(0).random((12, len(space))))]
    study.add_trials(
        {key: [point.get(key) for point in points] for key in space}, [LOSSES[losses](i) for i in range(12)]
    )
    for i in range(300):
        trial = study.ask()
        assert space.contains(trial.params)
        study.tell(trial, LOSSES[losses](i))
    one = evolution(study)
    assert (
        np.isfinite(one._distribution.vectors).all()
        and np.isfinite(one._distribution.scalars).all()
        and one._distribution.scalars[SIGMA] > 0
    )
    assert np.isfinite(one._distribution.probabilities).all()


def test_many_known_trials_at_once() -> None:
    study = Study(BOX, sampler=CmaEsSampler(seed=0))
    points = np.random.default_rng(0).uniform(-5, 5, size=(100_000, 5))
    losses = ((points - 1.3) ** 2).sum(axis=1)
    study.add_trials({name: points[:, j] for j, name in enumerate(BOX)}, losses)
    assert len(evolution(study)._known) == 64
    go_on(study, 500)
    assert study.best_value < 1e-6
    study.add_trials({name: points[:, j] for j, name in enumerate(BOX)}, losses)
    go_on(study, 500)
    assert study.best_value < 1e-10


def test_a_finite_space_is_used_up() -> None:
    space = SearchSpace({"a": Discrete(0, 5), "b": Categorical(["x", "y"]), "c": Continuous(0, 1, step=0.25)})
    study = run(CmaEsSampler(4, seed=0), 60, lambda p: p["a"] - p["c"], space)
    assert len({repr(trial.params) for trial in study.trials}) == 60
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


@pytest.mark.parametrize("strategy", [fasthpo.ASHA, fasthpo.Hyperband, fasthpo.SuccessiveHalving])
def test_under_a_multi_fidelity_strategy_values_of_one_resource_make_a_generation(
    strategy: type[fasthpo.Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    generations = []
    evolve = Evolution._evolve
    monkeypatch.setattr(Evolution, "_evolve", lambda self, keys: (generations.append(keys), evolve(self, keys))[1])
    study = Study(BOX, strategy=strategy(9, sampler=CmaEsSampler(seed=0)))  # type: ignore[call-arg]
    go_on(study, 1500, lambda p: sphere(p) + 100 / p.resource)  # type: ignore[attr-defined]
    assert len(generations) > 100
    for keys in generations:
        bases = [{round(v - sphere(study.trials[k[3]].params), 6) for v in [k[2]]} for k in keys]
        assert len(set.union(*bases)) == 1  # 100 / resource
    assert study.best_value - 100 / 9 < 0.5  # random search: 2
    one = knowledge(study)
    study.sampler.forget()
    assert knowledge(study) == one


def test_options_make_the_sampler_again() -> None:
    sampler = CmaEsSampler(population_size=12, sigma=0.2, seed=8)
    assert (
        sampler.options()
        == {"population_size": 12, "sigma": 0.2, "seed": 8}
        == CmaEsSampler(**sampler.options()).options()
    )
    assert repr(CmaEsSampler(seed=1)) == "CmaEsSampler(population_size=None, sigma=None, seed=1)"
    assert run(sampler, 5).sampler._evolution.population == 12  # type: ignore[attr-defined]
    for options, message in (
        ({"population_size": 3}, "population_size must be an integer of at least 4, got population_size=3"),
        ({"population_size": 10**9}, "population_size must be at most 100000, got population_size=1000000000"),
        ({"population_size": 4.5}, "population_size must be an integer"),
        ({"sigma": 0.0}, "sigma must be None or a number above 0 and up to 0.5, got sigma=0.0"),
        ({"sigma": math.nan}, "sigma must be"),
        ({"sigma": True}, "sigma must be"),
        ({"sigma": "0.1"}, "sigma must be"),
        ({"sigma": 0.6}, "sigma must be"),
    ):
        with pytest.raises(fasthpo.InvalidValue, match=message):
            CmaEsSampler(**options)  # type: ignore[arg-type]


def test_too_many_numbers_are_refused() -> None:
    space = SearchSpace({f"x{j}": Continuous(0, 1) for j in range(1001)})
    with pytest.raises(fasthpo.InvalidSearchSpace, match="at most 1000 parameters that are numbers, got 1001"):
        Study(space, sampler=CmaEsSampler())


def test_a_wider_space_is_searched_from_what_is_known(tmp_path: Any) -> None:
    run(CmaEsSampler(seed=0), 300, storage=tmp_path / "s").close()
    wider = SearchSpace({**BOX, "x0": Continuous(-9.0, 9.0)})
    with Study.load(tmp_path / "s", space=wider) as study:
        go_on(study, 600)
        assert study.best_value < 1e-6
        before = knowledge(study)
    with Study.load(tmp_path / "s") as study:
        assert knowledge(study) == before


def test_studies_do_not_share_what_a_sampler_knows() -> None:
    sampler = CmaEsSampler(seed=6)
    one, other = Study(BOX, sampler=sampler), Study(MIXED, sampler=sampler)
    for _ in range(25):
        go_on(one, 1)
        go_on(other, 1, mixed)
    assert one.table.params.tobytes() == run(CmaEsSampler(seed=6), 25).table.params.tobytes()
    assert other.table.params.tobytes() == run(CmaEsSampler(seed=6), 25, mixed, MIXED).table.params.tobytes()
