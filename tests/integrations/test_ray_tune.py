"""`FastSearch` in Ray Tune: what Tune calls, by hand, and one real `Tuner`."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import CorruptCheckpoint, InvalidParameters, InvalidSearchSpace, InvalidValue
from fasthpo.testing.interrupting import count_instructions
from fasthpo.trials.table import INFRASTRUCTURE

ray = pytest.importorskip("ray")
tune = pytest.importorskip("ray.tune")

from ray.tune.search import ConcurrencyLimiter  # noqa: E402
from ray.tune.search.search_generator import SearchGenerator  # noqa: E402

from fasthpo.integrations.ray_tune import FastSearch  # noqa: E402

ODD = tune.search.sample.Float(0.0, 1.0)
ODD.set_sampler(tune.search.sample.BaseSampler())


class Kind(Enum):
    SGD = 1


LINE = {"x": tune.uniform(-5.0, 5.0)}
NESTED = {
    "model": {"layers": tune.randint(1, 5), "dropout": 0.1},
    "optimizer": tune.choice(
        [
            {"kind": "sgd", "rate": tune.loguniform(1e-4, 1.0), "momentum": tune.quniform(0.0, 0.9, 0.1)},
            {"kind": "adam", "rate": tune.loguniform(1e-5, 1e-1)},
            None,
        ]
    ),
    "sizes": [tune.choice([16, 32]), 10, (tune.uniform(0.0, 1.0),)],
    "x/y": tune.uniform(0.0, 1.0),
}


def search(space: Any = None, **options: Any) -> FastSearch:
    options = {"metric": "loss", "mode": "min", **options}
    if "sampler" not in options:
        options.setdefault("seed", 0)
    return FastSearch(LINE if space is None else space, **options)


def states(one: FastSearch) -> list[str]:
    return [trial.state.name for trial in one.study.trials]


def loss(config: dict[str, Any]) -> float:
    rate = (config["optimizer"] or {"rate": 1e-3})["rate"]
    return config["model"]["layers"] + abs(math.log10(rate) + 2) + config["x/y"] + sum(config["sizes"][2])


# --- spaces


def test_every_domain_of_tunes_is_searched_in_its_range() -> None:
    """What Tune itself draws is in the range of ours, and the other way round."""
    domains = {
        "uniform": tune.uniform(-1.0, 2.0),
        "quniform": tune.quniform(-0.3, 0.6, 0.1),
        "loguniform": tune.loguniform(1e-5, 1e-1),
        "qloguniform": tune.qloguniform(1e-3, 2e-2, 1e-3),
        "randint": tune.randint(-2, 3),
        "lograndint": tune.lograndint(1, 9),
        "qrandint": tune.qrandint(7, 24, 8),
        "qrandint without a step": tune.qrandint(0, 3, 1),
        "qlograndint": tune.qlograndint(3, 20, 4),
        "randn": tune.randn(10.0, 2.0),
        "qrandn": tune.qrandn(0.0, 1.0, 0.5),
        "choice": tune.choice(["a", 1, 1.5, True, None, (1, 2), (True, 2)]),
        "choice of objects": tune.choice([Kind.SGD, [1, 2], {"a": 1}, math.nan, np.float64(0.5), len]),
        "choice with one twice": tune.choice(["often", "often", "seldom"]),
        "choice of one": tune.choice([7]),
    }
    one = search(domains, sampler=fasthpo.RandomSampler(seed=0))
    seen: dict[str, set[str]] = {name: set() for name in domains}
    for i in range(200):
        config = one.suggest(str(i))
        assert isinstance(config, dict)
        for name, value in config.items():
            seen[name].add(repr(value))
            one._space.params({name: domains[name].sample()})  # type: ignore[union-attr]
        for name in ("uniform", "quniform", "loguniform", "qloguniform"):
            assert type(config[name]) is float and domains[name].is_valid(config[name])
    assert seen["quniform"] == {repr(round(0.1 * k, 1) + 0.0) for k in range(-3, 7)}
    assert seen["qloguniform"] == {repr(round(0.001 * k, 3)) for k in range(1, 21)}
    assert seen["randint"] == {"-2", "-1", "0", "1", "2"} and seen["lograndint"] == set("12345678")
    assert seen["qrandint"] == {"8", "16", "24"} and seen["qlograndint"] == {"4", "8", "12", "16", "20"}
    assert seen["qrandint without a step"] == {"0", "1", "2"}
    assert {"-1.0", "-0.5", "0.0", "0.5", "1.0"} < seen["qrandn"] and len(seen["qrandn"]) < 25
    normal = sorted(map(float, seen["randn"]))
    assert 4 < normal[0] < 8 and 12 < normal[-1] < 16
    for name in ("choice", "choice of objects", "choice with one twice", "choice of one"):
        assert seen[name] == {repr(choice) for choice in domains[name].categories}


def test_configs_have_the_shape_of_the_space_and_only_what_goes_with_their_choices() -> None:
    one = search(NESTED, sampler=fasthpo.RandomSampler(seed=0))
    assert one.study.space["optimizer/0/momentum"].when == {"optimizer": (0,)}
    kinds = set()
    for i in range(40):
        config = one.suggest(str(i))
        assert isinstance(config, dict)
        optimizer = config["optimizer"]
        kinds.add(optimizer and optimizer["kind"])
        assert optimizer is None or ("momentum" in optimizer) == (optimizer["kind"] == "sgd")
        assert list(config) == list(NESTED) and config["model"]["dropout"] == 0.1
        assert config["sizes"][1] == 10 and type(config["sizes"][2]) is tuple
        assert one.suggest(str(i)) == config  # it runs
    assert kinds == {"sgd", "adam", None}
    assert len(one.study) == 40


def test_a_space_of_fasthpos_is_searched_and_its_conditions_hold() -> None:
    space = {
        "optimizer": fasthpo.Categorical(["adam", "sgd"]),
        "model": {"layers": tune.randint(1, 5), "momentum": fasthpo.Continuous(0.0, 1.0, when={"optimizer": ["sgd"]})},
        "row": [fasthpo.Discrete(1, 3, when={"optimizer": ["adam"]})],
    }
    for i in range(20):
        one = search(space, seed=i)
        config = one.suggest("a")
        assert isinstance(config, dict)
        assert ("momentum" in config["model"]) == (config["optimizer"] == "sgd") == (config["row"] == [None])
    flat = fasthpo.SearchSpace({"a/b": fasthpo.Continuous(0.0, 1.0)})
    assert list(search(flat).suggest("a")) == ["a/b"]  # type: ignore[arg-type]


def test_relations_of_a_space_of_fasthpos_hold(tmp_path: Path) -> None:
    space = fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 9), "b": fasthpo.Discrete(1, 9)}).require("a < b")
    one = search(space, sampler=fasthpo.RandomSampler(seed=0), points_to_evaluate=[{"a": 3, "b": 4}])
    one.save(str(tmp_path / "saved"))
    for again in (one, FastSearch()):
        again.restore(str(tmp_path / "saved"))
        assert again.study.space == space
        configs = [again.suggest(str(i)) for i in range(20)]
        assert configs[0] == {"a": 3, "b": 4} and all(config["a"] < config["b"] for config in configs)  # type: ignore[index]
    with pytest.raises(InvalidParameters, match="a < b"):
        one.add_evaluated_point({"a": 4, "b": 3}, 1.0)
    bounded = {"a": fasthpo.Discrete(1, 9), "model": {"b": fasthpo.Discrete(1, "a"), "c": 3}}
    points = [{"a": 3, "model": {"b": 2}}, {"model/b": 8}]
    known = search(bounded, points_to_evaluate=points)
    first, second = known.suggest("1"), known.suggest("2")
    assert first == {"a": 3, "model": {"b": 2, "c": 3}}
    assert isinstance(second, dict) and second["model"]["b"] == 8 <= second["a"]
    for wrong in ({"a": 3, "model": {"b": 4}}, {"model": {"b": 10}}):
        with pytest.raises(InvalidParameters, match="b"):
            search(bounded, points_to_evaluate=[wrong])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"m": fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 9)}).forbid({"a": 3})},
            "'m' is a search space with relations",
        ),
        ({"a": {"b": tune.grid_search([1, 2])}}, "'a/b' is a tune.grid_search.*use tune.choice"),
        ({"a": tune.search.sample.Categorical([1]).grid()}, "'a' is a tune.grid_search"),
        ({"a": ODD}, "'a' is a Float with a BaseSampler of Tune's, which is not known here"),
        ({"a": tune.randn(1.0, 1e-20)}, "'a': sd must be larger"),
        ({"a": [tune.sample_from(lambda config: 1)]}, "'a/0' is a tune.sample_from.*compute it in the trainable"),
        ({"a": {"eval": "1 + 1"}}, "'a' is a tune.sample_from"),
        ({"a": tune.choice([])}, "'a': choices must hold at least one value"),
        ({"a": tune.randint(3, 3)}, "'a': low must be less than high|'a': low"),
        ({"a": tune.qrandint(9, 10, 4)}, "'a': low"),
        ({"a/b": tune.randint(1, 3), "a": {"b": tune.randint(1, 3)}}, "two parameters have the path 'a/b'"),
        ({"a": 1}, "a space needs something to be found"),
        ({}, "a space needs something to be found"),
        (fasthpo.Continuous(0.0, 1.0), "a space is a mapping"),
        ({"a": tune.choice([fasthpo.Continuous(0.0, 1.0)])}, "in a tune.choice"),
        ({" ": tune.uniform(0.0, 1.0)}, "a parameter's name must be a string that is not empty"),
    ],
)
def test_what_can_not_be_searched_is_refused_with_its_path(space: Any, message: str) -> None:
    with pytest.raises((InvalidSearchSpace, ValueError), match=message):
        search(space)


# --- points


def test_points_are_tried_first_and_what_is_missing_in_them_is_drawn() -> None:
    points = [
        {"model": {"layers": 3, "dropout": 0.1}, "optimizer": {"kind": "adam", "rate": 0.05}, "x/y": 0.5},
        {"model/layers": 4, "optimizer/kind": "sgd", "optimizer/momentum": 0.3, "sizes": [32, 10, (0.25,)]},
        {"optimizer": None},
    ]
    one = search(NESTED, points_to_evaluate=points)
    first, second, third = (one.suggest(str(i)) for i in range(3))
    assert isinstance(first, dict) and isinstance(second, dict) and isinstance(third, dict)
    assert first["model"] == {"layers": 3, "dropout": 0.1} and first["x/y"] == 0.5
    assert first["optimizer"] == {"kind": "adam", "rate": 0.05}
    assert second["model"]["layers"] == 4 and second["sizes"] == [32, 10, (0.25,)]
    assert second["optimizer"]["kind"] == "sgd" and second["optimizer"]["momentum"] == 0.3
    assert third["optimizer"] is None
    # of two choices that a point may mean, it is the one of which nothing is missing
    some = {"a": tune.choice([{"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}, {"x": tune.uniform(0, 1)}])}
    assert search(some, points_to_evaluate=[{"a": {"x": 0.5}}]).suggest("1") == {"a": {"x": 0.5}}
    multiples = {"a": tune.qloguniform(0.1, 10, 0.1), "b": tune.choice([(1, 2), [3]])}
    assert search(multiples, points_to_evaluate=[{"a": np.float64(0.3), "b": [3]}]).suggest("1") == {"a": 0.3, "b": [3]}


def test_points_with_known_results_are_learnt_from_and_not_tried() -> None:
    points = [{"x": 1.0}, {"x": 2.0}, {"x": -3.0}]
    one = search(mode="max", points_to_evaluate=points, evaluated_rewards=[0.5, 2.0, math.nan])
    assert one.study.best_params == {"x": 2.0} and states(one) == ["COMPLETE", "COMPLETE", "FAILED"]
    assert one.suggest("a") not in points
    one.add_evaluated_point({"x": 4.0}, 9.0)
    one.add_evaluated_point({"x": 4.5}, None, error=True)
    one.add_evaluated_point({"x": 5.0}, 99.0, pruned=True)
    assert one.study.best_value == 9.0 and states(one)[3:] == ["RUNNING", "COMPLETE", "FAILED"]
    several = FastSearch(
        LINE, ["a", "b"], ["min", "max"], points_to_evaluate=points[:2], evaluated_rewards=[[1.0, 2.0], [2.0, 1.0]]
    )
    assert [trial.number for trial in several.study.best_trials] == [0]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"x/y": 2.0}, "'x/y' must"),
        ({"nowhere": 1}, "'nowhere' is not in the space"),
        ({"model/nowhere": 1}, "'model/nowhere' is not in the space"),
        ({"model": {"dropout": 0.2}}, "'model/dropout' is 0.1 in all trials, got 0.2"),
        ({"model": 3}, "'model' must be a dict"),
        ({"optimizer": {"kind": "lion"}}, "'optimizer' must be one of its choices"),
        ({"optimizer": "sgd"}, "'optimizer' must be one of its choices"),
        ({"sizes": [16]}, "'sizes' must be a list of 3 values"),
        ([1.0], "a config is a dict"),
    ],
)
def test_points_that_are_none_of_the_space_are_refused(point: Any, message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        search(NESTED, points_to_evaluate=[point])


def test_wrong_arguments_are_refused_with_the_rule() -> None:
    for options, message in (
        ({"metric": 3}, "metric must be a string or a list of strings"),
        ({"metric": ""}, "metric must be a string"),
        ({"mode": "minimize"}, "mode must be 'min' or 'max', got mode='minimize'"),
        ({"metric": ["a", "b"]}, "mode must say one thing for each metric"),
        ({"metric": ["a", "b"], "mode": ["min"]}, "mode must say one thing for each metric"),
        ({"metric": ["a", "b"], "mode": ["min", "obs"]}, "mode must be 'min' or 'max'"),
        ({"sampler": "tpe"}, "sampler must be one of fasthpo's"),
        ({"sampler": fasthpo.TPESampler(), "seed": 1}, "give the seed to the sampler"),
        ({"seed": -1}, "seed must be"),
        ({"points_to_evaluate": {"x": 1.0}}, "points_to_evaluate must be a list"),
        ({"points_to_evaluate": [{"x": 1.0}], "evaluated_rewards": [1.0, 2.0]}, "evaluated_rewards must be as many"),
    ):
        with pytest.raises(InvalidValue, match=message):
            search(**options)
    with pytest.raises(InvalidSearchSpace, match="a grid needs to know"):
        search(sampler=fasthpo.GridSampler())


# --- metric, mode and space of a Tuner


def test_the_space_the_metric_and_the_mode_come_from_the_tuner() -> None:
    one = FastSearch(seed=0)
    with pytest.raises(InvalidValue, match="the search has no space"):
        one.suggest("a")
    with pytest.raises(InvalidValue, match="the search has no mode"):
        FastSearch().set_search_properties("loss", None, LINE)
    assert one.set_search_properties("loss", "max", {"a": {**LINE, "c": 3}, "b": 4})
    assert one.metric == "loss" and one.mode == "max" and one.study.direction == "maximize"
    config = one.suggest("a")
    assert isinstance(config, dict) and list(config) == ["a"] and list(config["a"]) == ["x"]  # Tune has the rest
    # the same search in a second Tuner
    assert one.set_search_properties("loss", "max", {"a": {**LINE, "c": 5}})
    with pytest.raises(InvalidSearchSpace, match="the search has begun on another space"):
        one.set_search_properties("loss", "max", LINE)
    with pytest.raises(InvalidValue, match="the search has metric='loss', but the TuneConfig has metric='error'"):
        one.set_search_properties("error", "max", {"a": LINE})
    with pytest.raises(InvalidValue, match="mode='max', but the TuneConfig has mode='min'"):
        one.set_search_properties(None, "min", {"a": LINE})
    # with a space of its own; Tune refuses another one if this says no
    own = FastSearch(LINE, seed=0)
    assert not own.set_search_properties("loss", "min", {"epochs": 3})
    assert own.metric == "loss" and isinstance(own.suggest("a"), dict)
    # a trainable that returns a number
    nameless = FastSearch(LINE, mode="min")
    assert nameless.suggest("a") and nameless.metric == "_metric"
    nameless.on_trial_complete("a", {"_metric": 0.5})
    assert nameless.study.best_value == 0.5


def test_several_metrics() -> None:
    one = FastSearch(NESTED, ["loss", "accuracy"], ["min", "max"], sampler=fasthpo.NSGAIISampler(seed=0))
    assert one.set_search_properties(None, None, {"epochs": 1}) is False
    for i in range(10):
        config = one.suggest(str(i))
        assert isinstance(config, dict)
        one.on_trial_result(str(i), {"loss": 9.0, "accuracy": 0.1, "training_iteration": 1})
        result = {"loss": loss(config), "accuracy": config["x/y"], "training_iteration": 2}
        one.on_trial_result(str(i), result)
        one.on_trial_complete(str(i), {**result, "accuracy": math.nan} if i == 3 else result)
    assert one.study.directions == ("minimize", "maximize") and states(one).count("COMPLETE") == 9
    one.suggest("ended by Tune")
    one.on_trial_complete("ended by Tune", {"loss": 0.5, "accuracy": 0.75, "training_iteration": 1})
    assert one.study.trials[10].state == fasthpo.TrialState.PRUNED and one.study.trials[10].reports == {1: (0.5, 0.75)}
    assert one.study.best_trials and one.study.trials[0].reports[1] == (9.0, 0.1)
    one.suggest("a")
    one.on_trial_complete("a", {"loss": 1.0})
    assert one.study.trials[11].error == "its result has no 'accuracy'"
    assert FastSearch(LINE, ["loss"], ["max"]).study.direction == "maximize"


# --- ends of trials


def test_results_of_every_kind(caplog: pytest.LogCaptureFixture) -> None:
    one = search(mode="max")
    ends: list[tuple[Any, bool]] = [
        ({"loss": 1.0}, False),
        ({"loss": np.float32(0.5), "training_iteration": np.int64(1)}, False),
        (None, True),
        ({"loss": 2.0}, True),
        ({"loss": math.nan}, False),
        ({"loss": math.inf}, False),
        ({"done": True, "training_iteration": 1}, False),
        ({"loss": "low"}, False),
        ({"loss": None}, False),
        (None, False),
        ({}, False),
    ]
    for i, (result, error) in enumerate(ends):
        one.suggest(str(i))
        one.on_trial_complete(str(i), result, error)
    assert states(one) == ["COMPLETE"] * 2 + ["FAILED"] * 3 + ["COMPLETE"] + ["FAILED"] * 5
    errors = [trial.error for trial in one.study.trials]
    assert errors[2] == "it failed in Ray Tune" and errors[4] == "the objective's value was nan"
    assert errors[6] == errors[8] == "its result has no 'loss'" and "loss must be a number" in str(errors[7])
    assert one.study.table.errors[9].startswith(INFRASTRUCTURE)  # it never ran, of which a sampler learns nothing
    assert one.study.best_value == 1.0 and "trial 6 counts as failed" in caplog.text
    # twice, or never suggested
    caplog.clear()
    one.on_trial_complete("0", {"loss": 7.0})
    one.on_trial_complete("nobody", {"loss": 7.0})
    one.on_trial_result("nobody", {"loss": 7.0, "training_iteration": 1})
    assert one.study.best_value == 1.0 and len(one.study) == len(ends)
    assert "trial nobody is not running in this search" in caplog.text


def test_a_trial_that_tune_runs_again_after_it_had_failed_is_not_lost() -> None:
    one = search()
    config = one.suggest("a")
    one.on_trial_complete("a", error=True)
    one.on_trial_complete("a", error=True)
    one.on_trial_complete("a", {"loss": math.nan + 0, "done": True, "other": 1} | {"loss": None})
    one.on_trial_complete("a", {"loss": 0.25})
    one.on_trial_complete("a", {"loss": 0.5})
    assert states(one) == ["FAILED", "COMPLETE"] and one.study.best_params == config


def test_trials_that_tune_ends_early_are_pruned_and_those_that_end_themselves_are_not() -> None:
    """Tune hands a result to `on_trial_result` unless it ends the trial there."""
    one = search()

    def go(name: str, *values: float, ended_by_tune: bool) -> None:
        one.suggest(name)
        results = [{"loss": value, "training_iteration": i} for i, value in enumerate(values, start=1)]
        for result in results[:-1] if ended_by_tune else results:
            one.on_trial_result(name, result)
        one.on_trial_complete(name, results[-1])

    go("to the end", 3.0, 2.0, 1.0, ended_by_tune=False)
    go("at a rung", 5.0, ended_by_tune=True)
    go("has converged", 2.0, 0.5, ended_by_tune=False)
    go("at max_t", 3.0, 2.0, 0.75, ended_by_tune=True)
    go("not a number", 3.0, math.nan, ended_by_tune=True)
    one.suggest("paused, then ended")
    one.on_trial_result("paused, then ended", {"loss": 4.0, "training_iteration": 1})
    one.on_trial_complete("paused, then ended")
    one.suggest("without reports")
    one.on_trial_result("without reports", {"other": 4.0, "training_iteration": 2})
    one.on_trial_result("without reports", {"loss": "?", "training_iteration": 2})
    one.on_trial_result("without reports", {"loss": 4.0})
    one.on_trial_complete("without reports", {"loss": 4.0})
    # it is run again from the beginning, after the machine was lost, and given up this time
    one.suggest("again")
    for i in (1, 2, 1):
        one.on_trial_result("again", {"loss": 4.0 / i, "training_iteration": i})
    one.on_trial_complete("again", {"loss": 4.0, "training_iteration": 1})
    assert states(one) == [
        "COMPLETE", "PRUNED", "COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "COMPLETE", "PRUNED"
    ]  # fmt: skip
    trials = one.study.trials
    assert one.study.best_trial.number == 2 and trials[0].reports == {1: 3.0, 2: 2.0, 3: 1.0}
    assert [trials[i].value for i in (1, 3, 4, 5, 7)] == [5.0, 0.75, 3.0, 4.0, 4.0]
    assert trials[7].reports == {1: 4.0, 2: 2.0}


def test_an_experiment_ends_where_nothing_is_left() -> None:
    one = search({"a": tune.choice([1, 2]), "b": tune.randint(0, 2)})
    found = [one.suggest(str(i)) for i in range(5)]
    assert found[4] == FastSearch.FINISHED and len({repr(config) for config in found[:4]}) == 4
    assert search(sampler=fasthpo.GridSampler(), space={"x": fasthpo.Continuous(0, 1, n_points=2)}).suggest("a")


def test_a_trial_costs_the_same_however_many_there_were() -> None:
    counts = []
    for trials in (200, 1200):
        one = search(NESTED, sampler=fasthpo.RandomSampler(seed=0))

        def cycle(begin: int, end: int, one: FastSearch = one) -> None:
            for i in range(begin, end):
                config = one.suggest(str(i))
                one.on_trial_result(str(i), {"loss": 1.0, "training_iteration": 1})
                one.on_trial_complete(str(i), {"loss": loss(config), "training_iteration": 1})  # type: ignore[arg-type]

        cycle(0, trials)
        counts.append(count_instructions(lambda cycle=cycle, trials=trials: cycle(trials, trials + 20)) / 20)
    assert abs(counts[1] - counts[0]) < 0.02 * counts[0]


# --- saved and restored


def advance(one: FastSearch, begin: int, end: int) -> list[Any]:
    """Trials two at a time: with reports, failures and early ends; what was suggested."""
    found = []
    for i in range(begin, end):
        config = one.suggest(f"trial {i}")
        found.append(config)
        value = loss(config)  # type: ignore[arg-type]
        one.on_trial_result(f"trial {i}", {"loss": value + 1, "training_iteration": 1})
        done = f"trial {i - 1}"
        if i % 7 == 3:
            one.on_trial_complete(done, error=True)
        else:
            one.on_trial_complete(done, {"loss": i % 5 + value, "training_iteration": 2 + i % 3})
    return found


@pytest.mark.parametrize("sampler", ["AutoSampler", "NSGAIISampler"])
def test_a_search_that_was_restored_goes_on_as_it_would_have(sampler: str, tmp_path: Path) -> None:
    def make(**options: Any) -> FastSearch:
        return search(NESTED, mode="max", sampler=getattr(fasthpo, sampler)(seed=3), **options)

    whole = make(points_to_evaluate=[{"model/layers": 2}] * 3)
    parts = make(points_to_evaluate=[{"model/layers": 2}] * 3)
    for begin, end in ((0, 2), (2, 15), (15, 30)):
        assert advance(parts, begin, end) == advance(whole, begin, end)
        path = tmp_path / f"searcher-state-{begin}.pkl"
        parts.save(str(path))
        later = parts.suggest("later")
        parts = make()
        parts.restore(str(path))
        # what ran then runs again under its name, and what came later is forgotten
        assert parts.suggest(f"trial {end - 1}") == whole.suggest(f"trial {end - 1}")
        assert later == copy.deepcopy(parts).suggest("later")
        parts = copy.deepcopy(parts)  # as a Tuner pickles it
    assert states(parts) == states(whole) and {"RUNNING", "FAILED", "PRUNED"} < set(states(whole))
    assert [trial.reports for trial in parts.study.trials] == [trial.reports for trial in whole.study.trials]
    with fasthpo.Study.load(tmp_path / "searcher-state-15.pkl") as study:  # an ordinary file of a study
        assert study.best_params == whole.study.best_params


def test_a_search_without_a_space_is_restored_and_gets_it_from_the_tuner(tmp_path: Path) -> None:
    one = search({"a": tune.choice([len, max]), **LINE}, mode="max")
    expected = [one.suggest("a"), None]
    one.save(str(tmp_path / "saved"))
    expected[1] = one.suggest("b")
    again = FastSearch()
    again.restore(str(tmp_path / "saved"))
    assert (again.metric, again.mode, again.study.direction) == ("loss", "max", "maximize")
    with pytest.raises(InvalidSearchSpace, match="a file that does not hold its space"):
        again.suggest("a")
    assert again.set_search_properties("loss", "max", {"a": tune.choice([len, max]), **LINE, "more": 1})
    assert [again.suggest("a"), again.suggest("b")] == expected
    # where all of it is plain data, the file has the space, too
    space = {
        **NESTED,
        "odd": tune.choice([(1, [2, {"a": None, 3: True}]), math.inf, {"b": tune.qloguniform(0.1, 9, 0.1)}]),
    }
    one = FastSearch(seed=0)
    assert one.set_search_properties("loss", "min", {"outer": space, "constant": len})
    one.save(str(tmp_path / "with a constant"))
    for given in ({"outer": space}, {"outer": space, 3: (1, math.nan)}):
        one = FastSearch(seed=0)
        assert one.set_search_properties("loss", "min", given)
        one.save(str(tmp_path / "plain"))
        again = FastSearch()
        again.restore(str(tmp_path / "plain"))
        assert [one.suggest(str(i)) for i in range(20)] == [again.suggest(str(i)) for i in range(20)]
        point = {"outer": {"odd": (1, [2, {"a": None, 3: True}])}}
        assert again._space.params(point) == {"outer/odd": 0}  # type: ignore[union-attr]


class Own(fasthpo.Sampler):
    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        return {"x": draw / 100}

    def options(self) -> dict[str, Any]:
        raise AssertionError("it can't be described")


def test_a_sampler_of_the_users_own_is_handed_over(tmp_path: Path) -> None:
    one = search(sampler=Own(seed=0))
    assert [one.suggest("a"), one.suggest("b")] == [{"x": 0.0}, {"x": 0.01}]
    one.save(str(tmp_path / "saved"))
    again = search(sampler=Own(seed=0))
    again.restore(str(tmp_path / "saved"))
    assert again.suggest("c") == {"x": 0.02}
    with pytest.raises(InvalidValue, match="Own"):
        search().restore(str(tmp_path / "saved"))


def test_files_of_something_else_are_refused_and_the_search_goes_on(tmp_path: Path) -> None:
    one = search()
    path = tmp_path / "saved"
    one.suggest("a")
    one.save(str(path))
    data = path.read_bytes()
    (tmp_path / "torn").write_bytes(data[: len(data) // 2])
    (tmp_path / "pickled").write_bytes(b"\x80\x04N.")
    study = fasthpo.Study({"x": fasthpo.Continuous(-5.0, 5.0)})
    study.save(tmp_path / "plain")
    good = {"metric": "loss", "mode": "min", "running": {}, "failed": {}, "furthest": 0, "config": None}
    for i, notes in enumerate(
        [
            {**good, "running": {"a": 0}},
            {**good, "running": [1]},
            {**good, "failed": {"a": "0"}},
            {**good, "mode": "max"},
            {**good, "furthest": None},
            {**good, "config": {"dict": [["x", {"parameter": "y", "unit": None}]], "constants": []}},
            {**good, "config": {"dict": [], "constants": []}},
            {**good, "config": {"dict": 3, "constants": []}},
            {**good, "config": {"parameter": "x", "unit": None}},
            {**good, "config": [1]},
        ]
    ):
        study.set_attribute("ray_tune", notes)
        study.save(tmp_path / f"edited {i}")
    other: list[tuple[FastSearch, str, type[Exception], str]] = [
        (one, "torn", CorruptCheckpoint, "torn"),
        (one, "pickled", CorruptCheckpoint, "pickled"),
        (one, "missing", FileNotFoundError, "missing"),
        (one, "plain", InvalidValue, "a study, but none that FastSearch has written"),
        *[(one, f"edited {i}", InvalidValue, "does not go together") for i in range(5)],
        *[(FastSearch(), f"edited {i}", InvalidValue, "a config is described") for i in range(5, 10)],
        (search(NESTED), "saved", InvalidSearchSpace, "has another space"),
        (search(metric="error"), "saved", InvalidValue, "metric='error', but .* has metric='loss'"),
        (search(mode="max"), "saved", InvalidValue, "mode='max', but .* has mode='min'"),
    ]
    for searcher, name, kind, message in other:
        with pytest.raises(kind, match=message):
            searcher.restore(str(tmp_path / name))
    assert one.suggest("a") and len(one.study) == 1


def test_what_a_tuner_keeps_brings_the_search_back_without_the_space(tmp_path: Path) -> None:
    """`Tuner.restore` has the search as it was before it got its space, and what `SearchGenerator` has saved."""
    pickled = pickle.dumps(FastSearch(seed=0, points_to_evaluate=[{"model/layers": 2}]))
    searches = [pickle.loads(pickled) for _ in range(2)]
    generators = [SearchGenerator(ConcurrencyLimiter(one, max_concurrent=2)) for one in searches]
    assert generators[0].set_search_properties("loss", "max", NESTED)
    limiter = generators[0].searcher
    for i in range(5):
        config = limiter.suggest(str(i))
        limiter.on_trial_complete(str(i), {"loss": loss(config), "training_iteration": 1})
    assert limiter.suggest("5") and limiter.suggest("6") and limiter.suggest("7") is None
    generators[0].save_to_dir(str(tmp_path), "now")
    assert generators[1].has_checkpoint(str(tmp_path))
    generators[1].restore_from_dir(str(tmp_path))
    twins = []
    for generator in generators:
        limiter = generator.searcher
        assert limiter.suggest("7") is None
        limiter.on_trial_complete("5", {"loss": 1.0, "training_iteration": 1})
        twins.append(limiter.suggest("7"))
    assert twins[0] == twins[1] and len(searches[1].study) == 8


# --- a real Tuner


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    yield
    ray.shutdown()


def test_a_tuner_searches_with_a_scheduler(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard takes a second to import

    def train(config: dict[str, Any]) -> None:
        assert config["twice"] == 2 * config["x"] and config["constant"] == 3
        assert ("momentum" in config["optimizer"]) == (config["optimizer"]["kind"] is Kind.SGD)
        for epoch in range(3):
            tune.report({"loss": (config["x"] - 2) ** 2 + 1 / (1 + epoch)})

    space = {
        "x": tune.uniform(-5.0, 5.0),
        "constant": 3,
        "twice": tune.sample_from(lambda config: 2 * config["x"]),
        "optimizer": tune.choice([{"kind": Kind.SGD, "momentum": tune.uniform(0, 1)}, {"kind": "adam"}]),
    }
    first = {"optimizer/kind": "adam"}
    one = FastSearch(seed=0, points_to_evaluate=[{"x": 2.0, **first}, {"x": -5.0}, {"optimizer/momentum": 0.5}])
    scheduler = tune.schedulers.ASHAScheduler(max_t=3, grace_period=1, reduction_factor=2)
    tuner = tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=4, search_alg=one, scheduler=scheduler, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="kept", verbose=0),
    )
    results = tuner.fit()
    assert results.num_errors == 0 and states(one)[:2] == ["COMPLETE", "PRUNED"] and len(one.study) == 4
    assert results.get_best_result().config["x"] == one.study.best_params["x"] == 2.0
    (saved,) = (tmp_path / "kept").glob("searcher-state-*.pkl")
    with fasthpo.Study.load(saved) as study:
        assert study.best_params == one.study.best_params
