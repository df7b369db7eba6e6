"""Studies to Optuna and back, and studies of Optuna's that were never ours."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.exchange.optuna import infer_space
from tests.support.studies import STRATEGIES, VECTORS, make, make_vectors, run, step, step_vectors

optuna = pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def told(study: fasthpo.Study) -> list[Any]:
    """All that goes to Optuna and back, but for the times."""
    return [repr((t.number, t.state, t.params, t.value, t.reports, t.metrics, t.error)) for t in study.trials]


def nasty() -> fasthpo.Study:
    study = make("random", "median")
    for i in range(30):
        step(study, i)
    study.set_attribute("data", {"version": 3})
    study.ask().report(0.5, 7)
    study.enqueue({"x": 0.25, "c": "a"})
    study.enqueue({})
    return study


def test_a_study_goes_to_optuna_and_back(tmp_path: Path) -> None:
    study = nasty()
    theirs = study.to_optuna(f"sqlite:///{tmp_path}/study.db", "mine")
    assert (theirs.study_name, theirs.direction.name, theirs.user_attrs["data"]) == ("mine", "MAXIMIZE", {"version": 3})
    assert (theirs.best_trial.number, theirs.best_params) == (
        max((t for t in theirs.trials if t.state.name == "COMPLETE"), key=lambda t: t.value).number,
        theirs.best_trial.params,
    )
    names = {"FAIL": "FAILED"}
    for trial, their in zip(study.trials, theirs.trials, strict=True):
        assert names.get(their.state.name, their.state.name) == trial.state.name
        if trial.state != TrialState.WAITING:
            assert their.params == trial.params
        assert repr(their.intermediate_values) == repr(trial.reports) and their.value == trial.value
    back = fasthpo.Study.from_optuna(theirs, sampler=fasthpo.RandomSampler(seed=1))
    assert told(back) == told(study)
    for ours, other in ((study.table.starts, back.table.starts), (study.table.ends, back.table.ends)):
        np.testing.assert_allclose(ours, other, rtol=0, atol=2e-6)  # Optuna's are rounded to microseconds
    assert back.space == study.space and back.direction == "maximize" and back.attributes == study.attributes
    assert back.table.tell_order.tolist() == study.table.tell_order.tolist()
    assert [back.ask().number for _ in range(2)] == [len(study) - 2, len(study) - 1]
    back.tell(len(study) - 3, 5.0)  # the one that was running
    assert back.best_value == 5.0


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "in-full"])
def test_paused_trials_are_pruned_ones_to_optuna(strategy: str) -> None:
    study = make("random", "none", strategy)
    for _ in range(20):
        run(study, study.ask())
    back = fasthpo.Study.from_optuna(study.to_optuna())
    for trial, other in zip(study.trials, back.trials, strict=True):
        expected = TrialState.PRUNED if trial.state == TrialState.PAUSED else trial.state
        assert (other.state, other.value, other.params) == (expected, trial.value, trial.params)
    silent = fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, strategy=fasthpo.SuccessiveHalving(4, reduction_factor=2))
    for _ in range(7):
        trial = silent.ask()
        silent.tell(trial, trial["x"] + trial.resource)
    for trial, their in zip(silent.trials, silent.to_optuna().trials, strict=True):
        assert their.intermediate_values == trial.rungs


def test_every_distribution_is_the_same_one() -> None:
    space = fasthpo.SearchSpace(
        {
            "float": fasthpo.Continuous(-1.0, 2.5),
            "stepped": fasthpo.Continuous(0.0, 0.3, step=0.1),
            "log": fasthpo.LogUniform(1e-5, 1e-1),
            "int": fasthpo.Discrete(-3, 9, 3),
            "int-log": fasthpo.Discrete(1, 1000, log=True),
            "choice": fasthpo.Categorical(["a", None, True, 1, 2.5]),
            "constant": fasthpo.Discrete(4, 4),
        }
    )
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    for _ in range(30):
        study.tell(study.ask(), 1.0)
    theirs = study.to_optuna()
    kinds = optuna.distributions
    assert theirs.trials[0].distributions == {
        "float": kinds.FloatDistribution(-1.0, 2.5),
        "stepped": kinds.FloatDistribution(0.0, 0.3, step=0.1),
        "log": kinds.FloatDistribution(1e-5, 1e-1, log=True),
        "int": kinds.IntDistribution(-3, 9, step=3),
        "int-log": kinds.IntDistribution(1, 1000, log=True),
        "choice": kinds.CategoricalDistribution(["a", None, True, 1, 2.5]),
        "constant": kinds.IntDistribution(4, 4),
    }
    assert fasthpo.Study.from_optuna(theirs).space == space
    # and without what to_optuna noted down
    copy = optuna.create_study()
    copy.add_trials(theirs.trials)
    assert fasthpo.Study.from_optuna(copy).space == space


# --- studies of Optuna's own


def dynamic(trial: Any) -> float:
    """A space with conditions in conditions, made up as it runs."""
    kind = trial.suggest_categorical("model", ["forest", "network", "line"])
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    if kind == "forest":
        return rate + trial.suggest_int("depth", 1, 9, step=2)
    if kind == "network":
        layers = trial.suggest_int("layers", 1, 3)
        loss = rate + layers
        for i in range(layers):
            loss += trial.suggest_float(f"width-{i}", 0.0, 1.0 + 0.1 * (trial.number % 2))
            trial.report(loss, i)
            if trial.number % 7 == 3 and i:
                raise optuna.TrialPruned
        if trial.number % 11 == 5:
            raise ValueError("diverged")
        return float(loss)
    return rate


def test_a_space_that_optuna_made_up_as_it_ran_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    theirs = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    theirs.enqueue_trial({"model": "line", "rate": 0.05})
    theirs.optimize(dynamic, n_trials=120, catch=ValueError)
    theirs.enqueue_trial({"model": "network"})
    study = fasthpo.Study.from_optuna(theirs, sampler=fasthpo.TPESampler(seed=0), pruner=fasthpo.MedianPruner())
    assert study.space == fasthpo.SearchSpace(
        {
            "model": fasthpo.Categorical(["forest", "network", "line"]),
            "rate": fasthpo.LogUniform(1e-4, 1e-1),
            **{name: study.space[name] for name in study.space if name not in ("model", "rate")},
        }
    )
    assert study.space["depth"] == fasthpo.Discrete(1, 9, 2, when={"model": ["forest"]})
    assert study.space["layers"] == fasthpo.Discrete(1, 3, when={"model": ["network"]})
    assert study.space["width-0"] == fasthpo.Continuous(0.0, 1.1, when={"model": ["network"]})
    assert study.space["width-1"] == fasthpo.Continuous(0.0, 1.1, when={"layers": [2, 3]})
    assert study.space["width-2"] == fasthpo.Continuous(0.0, 1.1, when={"layers": [3]})
    whole = [t for t in theirs.trials if t.state.name == "WAITING" or study.space.contains(t.params)]
    left_out = len(theirs.trials) - len(whole)
    assert f"{left_out} of 121 trials are left out" in caplog.text and left_out > 0
    assert len(study) == len(whole)
    assert study.best_value == theirs.best_value and study.best_params == theirs.best_params
    states = [t.state.name.replace("FAIL", "FAILED") for t in whole]
    assert [t.state.name for t in study.trials] == states and {"PRUNED", "COMPLETE", "FAILED"} <= set(states)
    assert study.ask()["model"] == "network"
    for _ in range(30):  # and it goes on
        trial = study.ask()
        study.tell(trial, trial["rate"])


def test_what_can_not_be_found_out_is_asked_for() -> None:
    theirs = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        return float(x if x < 0.5 else trial.suggest_float("y", 0.0, 1.0))

    theirs.optimize(objective, n_trials=20)
    with pytest.raises(fasthpo.InvalidSearchSpace, match=r"'y' is missing in some trials, .* as space="):
        fasthpo.Study.from_optuna(theirs)
    with pytest.raises(fasthpo.InvalidSearchSpace, match=r"trial \d+ is no point of the search space: 'y' is missing"):
        fasthpo.Study.from_optuna(
            theirs, space=fasthpo.SearchSpace({"x": fasthpo.Continuous(0, 1), "y": fasthpo.Continuous(0, 1)})
        )
    with pytest.raises(fasthpo.InvalidSearchSpace, match="no trial has parameters"):
        fasthpo.Study.from_optuna(optuna.create_study())
    mixed = []
    for log in (False, True):
        one = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        one.optimize(lambda trial, log=log: trial.suggest_float("x", 1.0, 2.0, log=log), n_trials=1)
        mixed += one.trials
    with pytest.raises(fasthpo.InvalidSearchSpace, match="'x' has had different scales"):
        infer_space(mixed)
    mixed[1].distributions["x"] = optuna.distributions.IntDistribution(1, 2)
    with pytest.raises(fasthpo.InvalidSearchSpace, match="'x' has been of different kinds"):
        infer_space(mixed)


def test_a_study_from_optuna_is_kept_if_asked_for(tmp_path: Path) -> None:
    theirs = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    theirs.set_user_attr("who", "me")

    def objective(trial: Any) -> float:
        trial.set_user_attr("accuracy", 0.5)
        trial.set_user_attr("note", "text")
        return float(trial.suggest_float("x", 0.0, 1.0))

    theirs.optimize(objective, n_trials=5)
    with fasthpo.Study.from_optuna(theirs, storage=tmp_path / "study") as study:
        study.tell(study.ask(), -1.0)
    loaded = fasthpo.Study.load(tmp_path / "study", read_only=True)
    assert len(loaded) == 6 and loaded.best_value == -1.0 and loaded.attributes == {"who": "me"}
    assert loaded.trials[2].metrics == {"accuracy": 0.5}
    assert math.isclose(loaded.trials[2].start_time, theirs.trials[2].datetime_start.timestamp())


def test_optunas_analyses_work_on_our_studies() -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(-1, 1), "y": fasthpo.Continuous(-1, 1)},
                          sampler=fasthpo.RandomSampler(seed=0))  # fmt: skip
    for _ in range(40):
        trial = study.ask()
        study.tell(trial, 10 * trial["x"] ** 2 + trial["y"])
    importances = optuna.importance.get_param_importances(
        study.to_optuna(), evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    assert list(importances) == ["x", "y"]


def test_optuna_is_imported_only_when_it_is_needed() -> None:
    code = (
        "import sys, fasthpo\n"
        "s = fasthpo.Study({'x': fasthpo.Continuous(0, 1)}, sampler=fasthpo.RandomSampler(0))\n"
        "s.tell(s.ask(), 1.0)\n"
        "assert 'optuna' not in sys.modules and 'pyarrow' not in sys.modules and 'filelock' not in sys.modules\n"
        "sys.modules['optuna'] = None\n"
        "try: s.to_optuna()\n"
        "except fasthpo.MissingPackage as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0 and "pip install 'fasthpo[optuna]'" in ran.stdout, ran.stderr


# --- several objectives, and constraints


@pytest.mark.parametrize("kind", VECTORS)
def test_values_and_constraints_go_to_optuna_and_back(kind: str) -> None:
    study = make_vectors(kind)
    for i in range(20):
        step_vectors(study, i)
    study.ask()
    theirs = study.to_optuna()
    assert [one.name.lower() for one in theirs.directions] == list(study.directions)
    for trial, their in zip(study.trials, theirs.trials, strict=True):
        assert their.values == (None if trial.objective_values() is None else list(trial.objective_values() or ()))
    back = fasthpo.Study.from_optuna(theirs, sampler=fasthpo.RandomSampler(seed=1))
    # Optuna knows nothing of pauses, after which one may run on
    states = ~np.isin(study.states, (TrialState.PAUSED, TrialState.RUNNING))
    assert back.directions == study.directions
    assert np.array_equal(back.values[states], study.values[states], equal_nan=True)
    assert np.array_equal(back.table.constraints[states], study.table.constraints[states], equal_nan=True)


def test_what_is_best_with_constraints_is_so_in_optuna() -> None:
    study = fasthpo.Study(
        {"x": fasthpo.Continuous(0.0, 1.0)}, fasthpo.RandomSampler(seed=0), directions=["minimize", "maximize"]
    )
    for i in range(30):
        trial = study.ask()
        study.tell(trial, [trial["x"], i % 7], constraints=[0.3 - trial["x"], i - 25.0])
    theirs = study.to_optuna()
    assert {t.number for t in theirs.best_trials} == {t.number for t in study.best_trials}
    one = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, fasthpo.RandomSampler(seed=0))
    for _ in range(20):
        trial = one.ask()
        one.tell(trial, trial["x"], constraints=[0.3 - trial["x"]])
    assert one.to_optuna().best_trial.number == one.best_trial.number


def test_a_study_of_optunas_with_several_objectives_and_constraints_is_taken_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def objective(trial: Any) -> tuple[float, int]:
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.set_constraint("half", x - 0.5)
        if odd and trial.number == 7:
            trial.set_constraint("another", 0.0)
        return x, trial.suggest_int("n", 1, 9)

    for odd in (False, True):
        sampler = optuna.samplers.NSGAIISampler(seed=0)
        theirs = optuna.create_study(sampler=sampler, directions=["minimize", "maximize"])
        theirs.optimize(objective, n_trials=20)
        study = fasthpo.Study.from_optuna(theirs, sampler=fasthpo.RandomSampler(seed=0))
        assert [t.objective_values() for t in study.trials] == [tuple(t.values) for t in theirs.trials]
        if odd:  # trials have different numbers of them
            assert "the constraints are left out" in caplog.text and not study.table.has_constraints
        else:
            assert [t.constraints for t in study.trials] == [(t.params["x"] - 0.5,) for t in theirs.trials]
            assert {t.number for t in study.best_trials} == {t.number for t in theirs.best_trials}
        study.tell(study.ask(), [0.5, 1.0])
    with pytest.raises(fasthpo.InvalidValue, match="CmaEsSampler works on one objective"):
        fasthpo.Study.from_optuna(theirs, sampler=fasthpo.CmaEsSampler(seed=0))
