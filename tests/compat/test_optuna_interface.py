"""What `fasthpo.compat.optuna` does otherwise than Optuna, or refuses: with an error that says what to do."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo.compat import optuna
from fasthpo.errors import InvalidValue
from fasthpo.trials.trial import TrialState


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def linear(trial: Any) -> float:
    return float(trial.suggest_float("x", 0, 1))


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: optuna.create_study(storage="mysql://root@localhost/x"), "can't reach a server of the kind 'mysql'"),
        (lambda: optuna.create_study(storage="sqlite:///:memory:"), "needs no storage"),
        (lambda: optuna.create_study(storage=3), "storage must be"),
        (lambda: optuna.create_study(direction="up"), "'minimize' or 'maximize'"),
        (lambda: optuna.create_study(direction="minimize", directions=["minimize"]), "direction or directions"),
        (lambda: optuna.create_study(sampler=optuna.samplers.TPESampler), "sampler must be"),
        (lambda: optuna.create_study(sampler=optuna.samplers.BaseSampler()), r"derive it from fasthpo\.Sampler"),
        (lambda: optuna.create_study(pruner=optuna.pruners.BasePruner()), r"derive it from fasthpo\.Pruner"),
        (lambda: optuna.create_study(pruner=3), "pruner must be"),
        (lambda: optuna.samplers.GridSampler({}), "values of each parameter"),
        (lambda: optuna.create_study().add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)),
         "can't be added"),
        (lambda: optuna.trial.create_trial(params={"x": 1}, value=1.0), "the same names"),
        (lambda: optuna.load_study(study_name=None, storage="nothing"), "one study only"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Callable[[], Any], rule: str) -> None:
    with pytest.raises(InvalidValue, match=rule):
        call()


def test_parts_that_are_not_there_say_what_takes_their_place() -> None:
    with pytest.raises(AttributeError, match="has no 'terminator'; the guide"):
        _ = optuna.terminator
    with pytest.raises(TypeError, match="no argument 'foo'"):
        optuna.samplers.TPESampler(foo=1)
    for call in (optuna.load_study, optuna.delete_study):
        with pytest.raises(KeyError, match="there is no study 'a'"):
            call(study_name="a", storage="sqlite:///none.db")


def test_callbacks_made_for_optuna_prune_trials() -> None:
    real = pytest.importorskip("optuna")

    def objective(trial: Any) -> float:
        trial.report(linear(trial), 0)
        raise real.TrialPruned

    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]


def test_fasthpos_own_parts_are_taken_and_its_study_is_at_hand(tmp_path: Path) -> None:
    study = optuna.create_study(
        study_name="one", storage=tmp_path / "studies", sampler=fasthpo.RandomSampler(seed=0), pruner=None
    )
    study.optimize(linear, n_trials=3)
    assert study.own.storage == tmp_path / "studies" / "one" and study.own.columns["x"].shape == (3,)
    study.own.close()
    assert len(fasthpo.Study.load(tmp_path / "studies" / "one", read_only=True)) == 3


def test_a_seed_that_is_not_given_goes_on() -> None:
    def opened(sampler: Any) -> Any:
        return optuna.create_study(study_name="a", storage="sqlite:///seeds.db", sampler=sampler, load_if_exists=True)

    seeds = []
    for sampler in (optuna.samplers.TPESampler(), optuna.samplers.TPESampler(), optuna.samplers.TPESampler(seed=5)):
        study = opened(sampler)
        study.optimize(linear, n_trials=1)
        seeds.append(study.own.sampler.seed)
        study.own.close()
    assert seeds[0] == seeds[1] and seeds[2] == 5


def test_names_of_studies_are_names_of_directories() -> None:
    storage = "sqlite:///names.db"
    names = ["..", "a/b:c?*", "ä ö.1"]
    for name in names:
        optuna.create_study(study_name=name, storage=storage)
    assert sorted(optuna.get_all_study_names(storage)) == sorted(names)
    assert all(path.parent == Path("names.db.fasthpo") for path in Path("names.db.fasthpo").iterdir())


def test_pictures_have_what_scripts_call_on_them(tmp_path: Path) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: linear(trial) + trial.suggest_int("n", 1, 3), n_trials=6)
    picture = optuna.visualization.plot_optimization_history(study, target=lambda trial: trial.value)
    picture.update_layout(width=800).write_html(tmp_path / "history.html")
    picture.write_image(tmp_path / "history.png")
    assert (tmp_path / "history.html").stat().st_size > (tmp_path / "history.png").stat().st_size > 1000
    axes = optuna.visualization.matplotlib.plot_slice(study, params=["x"])
    assert axes.figure is not None
    with pytest.raises(InvalidValue, match="one of the objectives"):
        optuna.visualization.plot_slice(study, target=lambda trial: trial.number + 0.5)


def test_an_interrupted_trial_says_nothing_of_its_point() -> None:
    def interrupted(trial: Any) -> float:
        linear(trial)
        raise KeyboardInterrupt

    study = optuna.create_study()
    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted, n_trials=3)
    assert study.own.table.is_lost(0) and study.own.table.counts[TrialState.FAILED] == 1
    with pytest.raises(RuntimeError, match="nothing runs"):
        study.stop()
    with pytest.raises(RuntimeError, match="while it runs"):
        study.optimize(lambda trial: study.optimize(linear, n_trials=1), n_trials=1)


def test_an_interrupt_ends_trials_that_run_in_threads() -> None:
    def objective(trial: Any) -> float:
        if trial.number == 5:
            signal.raise_signal(signal.SIGINT)
        if trial.number >= 5:
            time.sleep(0.05)  # all of them would take seconds
        return linear(trial)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=100, n_jobs=2)
    assert 6 <= len(study.trials) < 100
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}


def test_threads_share_the_points_of_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"x": list(range(8))}, seed=0))
    enqueue, asked = study._enqueue, threading.Event()

    def slowly(*arguments: Any) -> int:
        number = int(enqueue(*arguments))
        asked.wait(0.02)  # meanwhile another thread sees that a trial waits
        return number

    monkeypatch.setattr(study, "_enqueue", slowly)
    study.optimize(lambda trial: trial.suggest_int("x", 0, 1000), n_jobs=4)
    assert sorted(trial.params["x"] for trial in study.trials) == list(range(8))


def test_trials_need_not_have_the_same_constraints() -> None:
    def objective(trial: Any) -> float:
        x = linear(trial)
        trial.set_constraint("a", x - 0.6)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number != 2:
            trial.set_constraint("b", 0.3 - x)
        return x

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"x": 0.1})
    study.optimize(objective, n_trials=12)
    assert [trial.state.name for trial in study.trials[:3]] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert all(constraint <= 0 for constraint in study.best_trial.constraints.values())
    with pytest.raises(InvalidValue, match="must not be NaN"):
        study.ask().set_constraint("a", float("nan"))


@pytest.mark.parametrize("by_function", [False, True])
def test_what_is_copied_has_its_constraints_and_the_names_of_objectives(by_function: bool) -> None:
    def objective(trial: Any) -> float:
        if not by_function:
            trial.set_constraint("c", linear(trial) - 0.5)
        return linear(trial)

    function = (lambda trial: [trial.params["x"] - 0.5]) if by_function else None
    sampler = optuna.samplers.TPESampler(seed=0, constraints_func=function)
    storage = optuna.storages.JournalStorage(optuna.storages.JournalFileBackend("one.log"))
    study = optuna.create_study(study_name="one", storage=storage, sampler=sampler, direction="maximize")
    study.set_metric_names(["accuracy"])
    study.optimize(objective, n_trials=10)
    optuna.copy_study(from_study_name="one", from_storage=storage, to_storage=storage, to_study_name="two")
    copy = optuna.load_study(study_name="two", storage=storage)
    added = optuna.create_study(direction="maximize")
    added.add_trials(study.trials)
    assert added.best_value == copy.best_value == study.best_value <= 0.5 < max(trial.value for trial in copy.trials)
    assert copy.trials[0].constraints == added.trials[0].constraints == study.trials[0].constraints != {}
    assert copy.metric_names == ["accuracy"]


def test_a_trial_of_which_constraints_can_not_be_said_has_failed() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(constraints_func=lambda trial: [float("nan")]))
    with pytest.raises(InvalidValue, match="must not be NaN"):
        study.optimize(linear, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": [1.0, 2.0]},
        {"value": float("nan")},
        {"value": 1.0, "intermediate_values": {-1: 0.5}},
        {"value": 1.0, "intermediate_values": {0: "a"}},
    ],
)
def test_a_known_result_that_is_refused_leaves_no_trial(wrong: dict[str, Any]) -> None:
    distributions = {"x": optuna.distributions.FloatDistribution(0, 1)}
    study = optuna.create_study()
    with pytest.raises(InvalidValue):
        study.add_trial(optuna.trial.create_trial(params={"x": 0.5}, distributions=distributions, **wrong))
    assert study.trials == []


def test_a_study_that_exists_goes_on_with_its_directions_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def opened(**direction: Any) -> Any:
        return optuna.create_study(study_name="a", storage="sqlite:///a.db", load_if_exists=True, **direction)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.enable_propagation()
    try:
        study = opened(direction="maximize")
        assert opened().direction == opened(direction="maximize").direction == study.direction and not caplog.text
        assert opened(directions=["minimize"]).direction == study.direction
    finally:
        optuna.logging.disable_propagation()
    assert "goes on with its directions ['maximize']" in caplog.text
    with pytest.raises(InvalidValue, match="'minimize' or 'maximize'"):
        opened(direction="up")


def test_a_sampler_with_fixed_parameters_can_be_another_ones_base() -> None:
    base = optuna.samplers.PartialFixedSampler({"x": 0.25, "y": 0.5}, optuna.samplers.RandomSampler(seed=0))
    study = optuna.create_study(sampler=optuna.samplers.PartialFixedSampler({"x": 0.75}, base))
    study.optimize(lambda trial: linear(trial) + trial.suggest_float("y", 0, 1), n_trials=2)
    assert [trial.params for trial in study.trials] == [{"x": 0.75, "y": 0.5}] * 2
    with pytest.raises(InvalidValue, match="by giving it one value"):
        optuna.samplers.PartialFixedSampler({"y": 0.5}, optuna.samplers.GridSampler({"x": [1, 2]}))


def test_a_study_that_is_loaded_while_it_is_open_has_the_same_objects() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="one", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    waiting = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING, system_attrs={"run": 7})
    study.add_trial(waiting)
    study.optimize(lambda trial: float(trial.suggest_categorical("f", [min, max])(1, 2)), n_trials=4)
    study.set_user_attr("model", min)
    loaded = optuna.load_study(study_name="one", storage=storage)
    assert loaded.best_params == {"f": min} and loaded.user_attrs == {"model": min}
    assert loaded.trials[0].system_attrs == {"run": 7}
    held = weakref.ref(study.own)
    del study, loaded, storage
    gc.collect()
    assert held() is None
