"""31 programs for Optuna, each of another kind, that run unchanged on `fasthpo.compat.optuna`.

They have the structure of programs that are public (its examples, its tutorial, what people ask about) and texts of
their own, with trials that cost nothing. Each runs on Optuna itself, too, where it is installed: so they are programs
for Optuna. There the four that take it seconds run when FASTHPO_TEST_OTHER_SIDES=1 asks for them.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Script = Callable[[Any, Path], None]
SCRIPTS: list[Script] = []
SLOW_THERE = {"storage_and_resume", "several_studies_in_one_storage", "every_pruner", "importances"}


def script(function: Script) -> Script:
    SCRIPTS.append(function)
    return function


@pytest.fixture
def optuna(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    if request.param == "optuna":
        pytest.importorskip("optuna")
        if request.node.callspec.params["run"].__name__ == "every_sampler":
            pytest.importorskip("cmaes")  # which Optuna's CMA-ES sampler needs
        is_slow = request.node.callspec.params["run"].__name__ in SLOW_THERE
        if is_slow and "FASTHPO_TEST_OTHER_SIDES" not in os.environ:
            pytest.skip("it takes Optuna seconds: FASTHPO_TEST_OTHER_SIDES=1 runs it")
    module = importlib.import_module(request.param)
    before = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.ERROR)
    with warnings.catch_warnings():
        if request.param == "optuna":
            warnings.simplefilter("ignore")  # of what it calls experimental, or will drop
        yield module
    module.logging.set_verbosity(before)


@pytest.mark.parametrize("optuna", ["fasthpo.compat.optuna", "optuna"], indirect=True, ids=["fasthpo", "optuna"])
@pytest.mark.parametrize("run", SCRIPTS, ids=lambda one: one.__name__)
def test_it_runs(run: Script, optuna: Any, tmp_path: Path) -> None:
    run(optuna, tmp_path)


def smooth(trial: Any) -> float:
    return float((trial.suggest_float("x", -10, 10) - 2) ** 2)


def learning(optuna: Any, trial: Any, steps: int = 6) -> float:
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    for step in range(steps):
        loss = abs(math.log10(rate) + 2) + 1 / (1 + step)
        trial.report(loss, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


@script
def quadratic(optuna: Any, path: Path) -> None:
    study = optuna.create_study()
    study.optimize(smooth, n_trials=12)
    assert study.best_params.keys() == {"x"} and study.best_value == study.best_trial.value
    assert study.best_value == min(trial.value for trial in study.trials)


@script
def classifiers_with_a_branch_each(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        if trial.suggest_categorical("classifier", ["SVC", "RandomForest"]) == "SVC":
            return 1 / (1 + abs(math.log10(trial.suggest_float("svc_c", 1e-10, 1e10, log=True))))
        return 0.5 + trial.suggest_int("rf_max_depth", 2, 32, log=True) / 64

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=15)
    assert all(("svc_c" in trial.params) == (trial.params["classifier"] == "SVC") for trial in study.trials)


@script
def layers_in_a_loop(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        count = trial.suggest_int("n_layers", 1, 3)
        units = [trial.suggest_int(f"n_units_l{i}", 4, 128, log=True) for i in range(count)]
        drops = [trial.suggest_float(f"dropout_l{i}", 0.2, 0.5) for i in range(count)]
        return sum(units) / 100 + sum(drops) + (trial.suggest_categorical("optimizer", ["Adam", "SGD"]) == "SGD")

    study = optuna.create_study()
    study.optimize(objective, n_trials=15)
    assert all(f"n_units_l{trial.params['n_layers'] - 1}" in trial.params for trial in study.trials)


@script
def pruning(optuna: Any, path: Path) -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1))
    study.optimize(lambda trial: learning(optuna, trial), n_trials=25)
    pruned = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.PRUNED])
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    assert len(pruned) + len(complete) == len(study.trials) == 25
    assert all(trial.value == list(trial.intermediate_values.values())[-1] for trial in pruned)


@script
def every_pruner(optuna: Any, path: Path) -> None:
    pruners = optuna.pruners
    for pruner in (
        pruners.NopPruner(),
        pruners.PercentilePruner(25.0, n_startup_trials=2, n_warmup_steps=0, interval_steps=1),
        pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        pruners.HyperbandPruner(min_resource=1, max_resource=6, reduction_factor=3),
        pruners.ThresholdPruner(upper=2.0),
        pruners.PatientPruner(pruners.MedianPruner(), patience=2),
        pruners.WilcoxonPruner(p_threshold=0.1),
    ):
        study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(lambda trial: learning(optuna, trial), n_trials=8)
        assert len(study.trials) == 8 and study.best_value >= 0


@script
def every_sampler(optuna: Any, path: Path) -> None:
    samplers = optuna.samplers
    for sampler in (
        samplers.RandomSampler(seed=0),
        samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True),
        samplers.CmaEsSampler(seed=0),
        samplers.NSGAIISampler(population_size=4, seed=0),
        samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=0),
    ):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: smooth(trial) + trial.suggest_float("y", 0, 1), n_trials=9)
        assert len(study.trials) == 9


@script
def seeds_repeat(optuna: Any, path: Path) -> None:
    found = []
    for _ in range(2):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
        study.optimize(smooth, n_trials=8, gc_after_trial=False)
        found.append([trial.params["x"] for trial in study.trials])
    assert found[0] == found[1]


@script
def grid(optuna: Any, path: Path) -> None:
    space = {"x": [-50, 0, 50], "y": [-99, 0, 99]}
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(space))
    study.optimize(lambda trial: trial.suggest_float("x", -100, 100) ** 2 + trial.suggest_int("y", -100, 100) ** 2)
    assert len(study.trials) == 9 and study.best_params == {"x": 0, "y": 0}


@script
def partly_fixed(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        return smooth(trial) + trial.suggest_int("n", 0, 5) + len(trial.suggest_categorical("c", ["a", "bb"]))

    study = optuna.create_study()
    study.optimize(objective, n_trials=5)
    fixed = {"n": 3, "c": "bb"}
    later = optuna.create_study(sampler=optuna.samplers.PartialFixedSampler(fixed, study.sampler))
    later.optimize(objective, n_trials=5)
    assert all(fixed.items() <= trial.params.items() for trial in later.trials)


@script
def two_objectives(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> tuple[float, float]:
        x, y = trial.suggest_float("x", 0, 5), trial.suggest_float("y", 0, 3)
        return 4 * x**2 + 4 * y**2, (x - 5) ** 2 + (y - 5) ** 2

    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(objective, n_trials=15, timeout=60)
    assert study.best_trials and all(len(trial.values) == 2 for trial in study.trials)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE"]
    lowest = min(study.best_trials, key=lambda trial: trial.values[1])
    assert lowest.values[1] == min(trial.values[1] for trial in study.trials)


@script
def constraints(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -5, 5)
        trial.set_user_attr("constraint", (x - 1,))
        return -x

    sampler = optuna.samplers.TPESampler(constraints_func=lambda trial: trial.user_attrs["constraint"], seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=15)
    assert study.best_trial.params["x"] <= 1


@script
def storage_and_resume(optuna: Any, path: Path) -> None:
    for expected in (4, 8):
        study = optuna.create_study(study_name="resumed", storage="sqlite:///example.db", load_if_exists=True)
        study.optimize(smooth, n_trials=4)
        assert len(study.trials) == expected
    loaded = optuna.load_study(study_name="resumed", storage="sqlite:///example.db")
    assert loaded.best_value == study.best_value
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name="resumed", storage="sqlite:///example.db")


@script
def several_studies_in_one_storage(optuna: Any, path: Path) -> None:
    storage = "sqlite:///several.db"
    for name, direction in (("first", "minimize"), ("second/part", "maximize")):
        study = optuna.create_study(study_name=name, storage=storage, direction=direction)
        study.set_user_attr("contributors", ["Akiba", "Sano"])
        study.optimize(smooth, n_trials=2)
    found = {one.study_name: one for one in optuna.get_all_study_summaries(storage=storage)}
    assert found.keys() == {"first", "second/part"} and found["first"].n_trials == 2
    assert found["first"].user_attrs["contributors"] == ["Akiba", "Sano"]
    optuna.delete_study(study_name="first", storage=storage)
    assert optuna.get_all_study_names(storage) == ["second/part"]


@script
def memory_storage_and_journal(optuna: Any, path: Path) -> None:
    storages = optuna.storages
    backend = importlib.import_module(f"{optuna.__name__}.storages.journal").JournalFileBackend
    for storage in (storages.InMemoryStorage(), storages.JournalStorage(backend("study.log"))):
        study = optuna.create_study(study_name="one", storage=storage)
        study.optimize(smooth, n_trials=3)
        assert len(optuna.load_study(study_name="one", storage=storage).trials) == 3


@script
def callbacks_and_stop(optuna: Any, path: Path) -> None:
    class StopWhenPrunedTooOften:
        def __init__(self, most: int) -> None:
            self.most, self.count = most, 0

        def __call__(self, study: Any, trial: Any) -> None:
            self.count += trial.state == optuna.trial.TrialState.PRUNED
            if self.count == self.most:
                study.stop()

    def objective(trial: Any) -> float:
        if trial.number % 2:
            raise optuna.TrialPruned
        return smooth(trial)

    study = optuna.create_study()
    study.optimize(objective, n_trials=100, callbacks=[StopWhenPrunedTooOften(2)])
    assert len(study.trials) == 4


@script
def most_trials(optuna: Any, path: Path) -> None:
    from_study = optuna.study.MaxTrialsCallback(5, states=(optuna.trial.TrialState.COMPLETE,))
    study = optuna.create_study()
    study.optimize(smooth, n_trials=50, callbacks=[from_study])
    assert len(study.trials) == 5


@script
def ask_and_tell(optuna: Any, path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    for i in range(6):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        if i == 3:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif i == 4:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial.number, value)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["FAIL", "PRUNED", "COMPLETE"]
    with pytest.raises(Exception):  # noqa: B017  (the two have errors of their own)
        study.tell(0, 1.0)
    assert study.tell(0, 1.0, skip_if_finished=True).value != 1.0


@script
def ask_with_distributions(optuna: Any, path: Path) -> None:
    distributions = {
        "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "n": optuna.distributions.IntDistribution(2, 8, step=2),
    }
    study = optuna.create_study()
    for _ in range(3):
        trial = study.ask(distributions)
        assert trial.params.keys() == distributions.keys() and trial.params["n"] in (2, 4, 6, 8)
        study.tell(trial, trial.params["lr"])
    assert study.best_trial.distributions["lr"] == distributions["lr"]


@script
def known_points_first(optuna: Any, path: Path) -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 2.0, "kind": "b"}, user_attrs={"memo": "optimal"})
    study.enqueue_trial({"x": 5.0})
    study.enqueue_trial({"x": 5.0}, skip_if_exists=True)

    def objective(trial: Any) -> float:
        return smooth(trial) + (trial.suggest_categorical("kind", ["a", "b"]) == "a")

    study.optimize(objective, n_trials=3)
    assert study.trials[0].params == {"x": 2.0, "kind": "b"} and study.trials[0].user_attrs == {"memo": "optimal"}
    assert study.trials[1].params["x"] == 5.0 and len(study.trials) == 3


@script
def known_results(optuna: Any, path: Path) -> None:
    study = optuna.create_study()
    distribution = optuna.distributions.FloatDistribution(-10, 10)
    study.add_trial(optuna.trial.create_trial(params={"x": 2.0}, distributions={"x": distribution}, value=0.0))
    other = optuna.create_study()
    other.optimize(smooth, n_trials=3)
    study.add_trials(other.trials)
    assert len(study.trials) == 4 and study.best_params == {"x": 2.0}
    study.optimize(smooth, n_trials=2)
    assert len(study.trials) == 6


@script
def attributes(optuna: Any, path: Path) -> None:
    study = optuna.create_study()
    study.set_user_attr("dataset", "MNIST")

    def objective(trial: Any) -> float:
        trial.set_user_attr("accuracy", 0.5)
        trial.set_user_attr("shape", (1, 2))
        return smooth(trial)

    study.optimize(objective, n_trials=2)
    assert study.user_attrs == {"dataset": "MNIST"}
    assert study.best_trial.user_attrs["accuracy"] == 0.5 and tuple(study.trials[0].user_attrs["shape"]) == (1, 2)


@script
def keeping_the_best_model(optuna: Any, path: Path) -> None:
    class Model:
        pass

    def objective(trial: Any) -> float:
        trial.set_user_attr("model", Model())
        return smooth(trial)

    def keep(study: Any, trial: Any) -> None:
        if study.best_trial.number == trial.number:
            study.set_user_attr("best_model", trial.user_attrs["model"])

    study = optuna.create_study()
    study.optimize(objective, n_trials=4, callbacks=[keep])
    assert isinstance(study.user_attrs["best_model"], Model)


@script
def failures(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> Any:
        x = smooth(trial)
        if trial.number == 0:
            raise ValueError("too deep")
        return [None, math.nan, "no number", x][min(trial.number - 1, 3)]

    study = optuna.create_study()
    study.optimize(objective, n_trials=6, catch=(ValueError,))
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4 + ["COMPLETE"] * 2
    with pytest.raises(ZeroDivisionError):
        study.optimize(lambda trial: trial.suggest_float("x", -10, 10) / 0, n_trials=3)
    assert len(study.trials) == 7


@script
def threads(optuna: Any, path: Path) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(smooth, n_trials=20, n_jobs=4)
    assert sorted(trial.number for trial in study.trials) == list(range(20))


@script
def timeouts(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        time.sleep(0.02)
        return smooth(trial)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, timeout=0.1)
    assert 1 <= len(study.trials) <= 6


@script
def frames(optuna: Any, path: Path) -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: learning(optuna, trial), n_trials=3)
    frame = study.trials_dataframe(attrs=("number", "value", "params", "state"))
    assert list(frame.columns) == ["number", "value", "params_rate", "state"] and len(frame) == 3
    assert {"datetime_start", "duration"} <= set(study.trials_dataframe().columns)
    assert ("params", "rate") in list(study.trials_dataframe(multi_index=True).columns)


@script
def objective_on_given_parameters(optuna: Any, path: Path) -> None:
    assert smooth(optuna.trial.FixedTrial({"x": 1.0})) == 1.0
    study = optuna.create_study()
    study.optimize(smooth, n_trials=5)
    assert smooth(study.best_trial) == study.best_value  # for metrics that are dear, at the best point only
    with pytest.raises(ValueError, match="x"):
        smooth(optuna.trial.FixedTrial({"y": 1.0}))


@script
def importances(optuna: Any, path: Path) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: smooth(trial) + trial.suggest_float("y", 0, 1), n_trials=20)
    found = optuna.importance.get_param_importances(study)
    assert list(found) == ["x", "y"] and math.isclose(sum(found.values()), 1)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    assert set(optuna.importance.get_param_importances(study, evaluator=evaluator)) == {"x", "y"}
    by_duration = optuna.importance.get_param_importances(study, target=lambda trial: trial.duration.total_seconds())
    assert set(by_duration) == {"x", "y"}


@script
def dynamic_and_former_ranges(optuna: Any, path: Path) -> None:
    def objective(trial: Any) -> float:
        top = trial.suggest_int("top", 1, 20)
        below = trial.suggest_int("below", 1, top)
        assert 1 <= below <= top
        former = [
            trial.suggest_uniform("u", 0, 1),
            trial.suggest_loguniform("l", 1e-3, 1),
            trial.suggest_discrete_uniform("d", 0, 1, 0.25),
        ]
        return top - below + sum(former)

    study = optuna.create_study()
    study.optimize(objective, n_trials=15)
    assert len(study.trials) == 15
    with pytest.raises(ValueError):
        study.optimize(lambda trial: trial.suggest_categorical("top", ["a"]), n_trials=1)


@script
def choices_of_any_type(optuna: Any, path: Path) -> None:
    shapes = [(8, 8), (16,), None]
    functions = [math.sin, math.cos]

    def objective(trial: Any) -> float:
        shape = trial.suggest_categorical("shape", shapes)
        assert shape in shapes and trial.suggest_categorical("function", functions) in functions
        return 0.0 if shape is None else float(sum(shape))

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"shape": (16,), "function": math.cos})
    study.optimize(objective, n_trials=8)
    assert study.trials[0].params == {"shape": (16,), "function": math.cos} and study.best_params["shape"] in shapes


@script
def log_lines(optuna: Any, path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Keep()
    optuna.logging.disable_default_handler()
    optuna.logging.get_logger("optuna").addHandler(handler)
    optuna.logging.get_logger("optuna").addHandler(logging.StreamHandler(sys.stdout))
    try:
        study = optuna.create_study()
        study.optimize(smooth, n_trials=2)
    finally:
        optuna.logging.get_logger("optuna").handlers.clear()
        optuna.logging.enable_default_handler()
    assert any(line.startswith("Trial 0 finished with value: ") and "Best is trial 0" in line for line in lines)
