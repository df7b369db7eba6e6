"""How much parameters matter: known functions, conditions, and Optuna's own answers on the same trials."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pytest

import fasthpo
from fasthpo.analysis import importance
from fasthpo.analysis.importances import bounded
from fasthpo.errors import InvalidValue, NoCompletedTrials

METHODS = ["fanova", "ped_anova"]


def sampled(space, function, n: int = 1_000, direction: str = "minimize", sampler=None) -> fasthpo.Study:
    """Trials at random, told what a function of the columns says."""
    study = fasthpo.Study(space, sampler=sampler or fasthpo.RandomSampler(seed=1), direction=direction)
    numbers = study.ask_batch(n).numbers
    study.tell_batch(numbers, function(study.columns))
    return study


def uniform(*names: str) -> dict[str, fasthpo.Continuous]:
    return {name: fasthpo.Continuous(-1.0, 1.0) for name in names}


# --- known truth


def test_shares_of_a_sum_are_those_of_the_variances() -> None:
    """Var(a x) = a^2 / 3 for x uniform on (-1, 1), so that weights 3, 2, 1 have 9, 4 and 1 parts of 14."""
    study = sampled(uniform("x", "y", "z"), lambda c: 3 * c["x"] + 2 * c["y"] + c["z"], 3_000)
    found = importance(study)
    assert found.names == ("x", "y", "z")
    assert found.shares == pytest.approx([9 / 14, 4 / 14, 1 / 14], abs=0.02)
    assert found.raw.sum() == pytest.approx(1.0, abs=0.06)  # no interactions
    assert found.shares.sum() == pytest.approx(1.0)


def test_a_product_is_an_interaction_and_no_parameter_s_own() -> None:
    found = importance(sampled(uniform("x", "y"), lambda c: c["x"] * c["y"], 3_000))
    assert found.raw.max() < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_a_logarithmic_parameter_is_seen_on_its_own_scale(method: str) -> None:
    space = {"rate": fasthpo.LogUniform(1e-6, 1.0), "x": fasthpo.Continuous(0.0, 1.0)}
    study = sampled(space, lambda c: (np.log10(c["rate"]) + 3) ** 2 + c["x"], 1_000)
    assert importance(study, method).names[0] == "rate"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_choices_matter_in_whatever_order_they_are_listed(method: str, direction: str) -> None:
    effects = np.array([0.0, 3.0, 0.1, 2.9, 0.2, 3.1])
    space = {"c": fasthpo.Categorical(list("abcdef")), **uniform("x", "y")}
    sign = 1 if direction == "minimize" else -1
    study = sampled(
        space, lambda c: sign * (effects[c["c"].astype(int)] + 0.5 * np.sin(1e4 * c["x"])), 2_000, direction
    )
    found = importance(study, method)
    assert found.names[0] == "c" and found.shares[0] > 0.8
    if method == "fanova":
        assert found.raw[0] == pytest.approx(effects.var() / (effects.var() + 0.125), abs=0.06)


def test_what_a_conditional_parameter_does_is_its_own_and_its_being_active_its_parent_s() -> None:
    """f = 1 + m where c is "on" and m uniform on (0, 1), else 0: c has Var 1.5^2 / 4, and m half of 1 / 12."""
    space = {
        "c": fasthpo.Categorical(["off", "on"]),
        "m": fasthpo.Continuous(0.0, 1.0, when={"c": "on"}),
        "x": fasthpo.Continuous(0.0, 1.0),
    }
    study = sampled(space, lambda c: np.where(np.isnan(c["m"]), 0.0, 1 + c["m"]), 3_000)
    found = importance(study)
    own, child = 1.5**2 / 4, 0.5 / 12
    assert found.to_dict() == pytest.approx({"c": own / (own + child), "m": child / (own + child), "x": 0.0}, abs=0.01)


def test_conditions_on_numbers_and_chains_of_conditions() -> None:
    space = {
        "layers": fasthpo.Discrete(1, 100),
        "width": fasthpo.Continuous(0.0, 1.0, when={"layers": [2, 3, 5, 99]}),
        "kind": fasthpo.Categorical(["a", "b"]),
        "rate": fasthpo.LogUniform(1e-3, 1.0, when={"kind": "b"}),
        "decay": fasthpo.Discrete(1, 4, when={"rate_on": True}),
        "rate_on": fasthpo.Categorical([True, False], when={"kind": "b"}),
    }
    study = sampled(space, lambda c: np.nan_to_num(c["decay"]) + 0.0 * c["layers"], 2_000)
    found = importance(study)
    assert found.to_dict()["decay"] > 0.05
    assert found.raw.sum() < 1.02
    assert max(found.to_dict()[name] for name in ("layers", "width", "rate")) < 0.02
    assert set(importance(study, "ped_anova").names) == set(space)


@pytest.mark.parametrize("method", METHODS)
def test_what_does_nothing_does_not_matter(method: str) -> None:
    study = sampled(uniform("x", "y"), lambda c: np.ones(len(c["x"])), 100)
    assert importance(study, method).shares.tolist() == [0.0, 0.0]


def test_a_few_that_diverged_do_not_hide_the_others() -> None:
    def function(c):
        loss = c["x"] ** 2 + 0.01 * c["y"]
        loss[::50], loss[1] = 1e30, math.inf
        return loss

    found = importance(sampled(uniform("x", "y"), function, 2_000))
    assert found.names[0] == "x"


def test_losses_are_bounded_and_keep_their_order() -> None:
    losses = np.array([3.0, -math.inf, 1.0, 2.0, 1.7e308, -1.7e308, math.inf])
    found = bounded(losses)
    assert np.isfinite(found).all() and found.min() == 0.0
    assert (np.diff(found[np.argsort(losses)]) >= 0).all()
    assert bounded(np.full(3, math.inf)).tolist() == [10.0] * 3


# --- beside Optuna


def functions():
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.2, 3.0, 6)
    space = {
        "x": fasthpo.Continuous(-1.0, 1.0),
        "rate": fasthpo.LogUniform(1e-4, 1.0),
        "n": fasthpo.Discrete(1, 50),
        "c": fasthpo.Categorical(["a", "b", "c"]),
        "k": fasthpo.Discrete(1, 64, log=True),
        "s": fasthpo.Continuous(0.0, 1.0, step=0.1),
    }

    def additive(c):
        parts = [
            c["x"],
            np.log10(c["rate"]) / 2 + 1,
            c["n"] / 25 - 1,
            c["c"] - 1,
            np.log2(c["k"]) / 3 - 1,
            2 * c["s"] - 1,
        ]
        return sum(weight * part for weight, part in zip(weights, parts, strict=True))

    def bowl(c):
        return 9 * (c["x"] - 0.5) ** 2 + (np.log10(c["rate"]) + 2) ** 2 + 0.5 * c["c"] + 0.001 * c["n"]

    return space, {"additive": additive, "bowl": bowl}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", ["additive", "bowl"])
def test_the_same_divergences_as_optuna(name: str, direction: str) -> None:
    optuna = pytest.importorskip("optuna")
    space, known = functions()
    study = sampled(space, known[name], 400, direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        theirs = optuna.importance.get_param_importances(study.to_optuna(), evaluator=evaluator, normalize=False)
    ours = importance(study, "ped_anova")
    found = dict(zip(ours.names, ours.raw.tolist(), strict=True))
    assert found == pytest.approx(theirs, rel=1e-6, abs=1e-12)
    assert list(found) == sorted(theirs, key=lambda one: -theirs[one])


def test_the_same_ranking_by_functional_anova_as_optuna_s() -> None:
    """Optuna's forest has logarithmic parameters on a linear scale, so that the space has none here."""
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("sklearn")
    space = {
        "c": fasthpo.Categorical(["a", "b", "c"]),
        "n": fasthpo.Discrete(1, 50),
        "s": fasthpo.Continuous(0.0, 1.0, step=0.1),
        "x": fasthpo.Continuous(-1.0, 1.0),
        "y": fasthpo.Continuous(-1.0, 1.0),
    }

    def function(c):
        return 3 * c["x"] + 0.08 * c["n"] + 0.9 * (c["c"] - 1) ** 2 * 2 + 2.0 * c["s"] * c["y"]

    study = sampled(space, function, 400)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=16)
    theirs = optuna.importance.get_param_importances(study.to_optuna(), evaluator=evaluator)
    ours = importance(study).to_dict()
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_each_objective_has_its_own_ranking_which_is_optuna_s(method: str) -> None:
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("sklearn")
    study = fasthpo.Study(
        uniform("x", "y", "z"), directions=["maximize", "minimize"], sampler=fasthpo.RandomSampler(seed=2)
    )
    numbers = study.ask_batch(150 if method == "fanova" else 2_000).numbers
    x, y, z = (study.columns[name] for name in "xyz")
    study.tell_batch(numbers, np.stack([3 * x + 2 * y + z, x + 2 * y + 3 * z], axis=1))
    kinds = optuna.importance
    evaluator = kinds.PedAnovaImportanceEvaluator()
    if method == "fanova":
        evaluator = kinds.FanovaImportanceEvaluator(seed=0, n_trees=4)
    for objective, expected in enumerate((["x", "y", "z"], ["z", "y", "x"])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sign = -1 if objective == 0 else 1  # Optuna's takes every target for one to be minimised
            theirs = kinds.get_param_importances(
                study.to_optuna(), evaluator=evaluator, target=lambda trial, k=objective, s=sign: s * trial.values[k]
            )
        assert list(importance(study, method, objective).to_dict()) == list(theirs) == expected


# --- the rest


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_can_be_said_no_parameter_matters(method: str) -> None:
    """Two trials of the same value, all values the same, parameters of one value: shares of 0, and no NaN."""
    constant = {"k": fasthpo.Discrete(3, 3), "c": fasthpo.Categorical(["only"])}
    for space, n in ((uniform("x", "y"), 2), (uniform("x", "y"), 50), (constant | uniform("x"), 50)):
        study = sampled(space, lambda c, n=n: np.full(n, 1.5), n)
        assert importance(study, method).to_dict() == dict.fromkeys(space, 0.0)
    study = sampled(constant | uniform("x"), lambda c: c["x"], 50)
    assert importance(study, method).to_dict() == {"x": 1.0, "k": 0.0, "c": 0.0}
    alone = fasthpo.Study(constant, sampler=fasthpo.RandomSampler(seed=0))
    alone.add_trials({"k": [3, 3, 3], "c": ["only"] * 3}, [1.0, 2.0, 3.0])
    assert importance(alone, method).to_dict() == {"k": 0.0, "c": 0.0}


@pytest.mark.parametrize("method", METHODS)
def test_failed_trials_say_nothing_and_infinite_values_are_only_bad(method: str) -> None:
    def values(c):
        found = c["x"] + 0.1 * c["y"]
        found[3::11] = math.inf
        found[::7] = math.nan  # told as NaN: failed
        return found

    found = importance(sampled(uniform("x", "y"), values, 700), method)
    assert found.names[0] == "x" and np.isfinite(found.raw).all() and found.trials == 600
    for study in (sampled(uniform("x"), lambda c: np.full(5, math.nan), 5), sampled(uniform("x"), lambda c: c["x"], 1)):
        with pytest.raises(NoCompletedTrials, match="at least 2 completed trials"):
            importance(study, method)


def test_some_parameters_share_what_is_theirs() -> None:
    study = sampled(uniform("x", "y", "z"), lambda c: 3 * c["x"] + 2 * c["y"] + c["z"])
    every, some = importance(study), importance(study, params=["z", "y"])
    assert some.names == ("y", "z") and some.shares.sum() == pytest.approx(1.0)
    assert some.raw.tolist() == every.raw[1:].tolist()


def test_the_same_study_has_the_same_importance_and_its_random_state_is_left_alone() -> None:
    study = sampled(uniform("x", "y"), lambda c: c["x"] + c["y"] ** 2)
    before = np.random.get_state()[1].tolist()
    assert importance(study).raw.tolist() == importance(study).raw.tolist()
    assert np.random.get_state()[1].tolist() == before


def test_bad_input_is_refused() -> None:
    study = sampled(uniform("x"), lambda c: c["x"], 10)
    with pytest.raises(InvalidValue, match="method must be 'fanova' or 'ped_anova', got method='shap'"):
        importance(study, "shap")
    with pytest.raises(InvalidValue, match="objective must be an index from 0 to 0, got objective=1"):
        importance(study, objective=1)
    with pytest.raises(InvalidValue, match=r"the space has no parameter 'y'; it has \['x'\]"):
        importance(study, params=["y"])
    with pytest.raises(InvalidValue, match="params must be a list of parameters' names, got params='x'"):
        importance(study, params="x")
    with pytest.raises(InvalidValue, match="none twice"):
        importance(study, params=["x", "x"])
    with pytest.raises(NoCompletedTrials, match="at least 2 completed trials, got 0"):
        importance(fasthpo.Study(uniform("x")))


def test_ten_thousand_trials_of_twenty_parameters_take_a_second() -> None:
    """Of computing, on a machine that may be busy with other things: hence three."""
    names = [f"x{i}" for i in range(20)]
    study = sampled(uniform(*names), lambda c: sum(c[name] * i for i, name in enumerate(names)), 10_000)
    importance(study)
    begin = time.process_time()
    found = importance(study)
    assert time.process_time() - begin < 3
    assert found.names[:5] == ("x19", "x18", "x17", "x16", "x15")
