"""Studies without a space: parameters are asked for while the objective runs, and the space is learnt from that."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import analysis, plots
from fasthpo.errors import InvalidParameters, InvalidSearchSpace, InvalidValue, SpaceExhausted
from fasthpo.report import write_report
from fasthpo.study import study as study_module
from fasthpo.trials.trial import TrialState

SAMPLERS: list[Callable[[], fasthpo.Sampler]] = [
    lambda: fasthpo.AutoSampler(seed=1),
    lambda: fasthpo.CmaEsSampler(seed=1),
    lambda: fasthpo.NSGAIISampler(population_size=8, seed=1),
    lambda: fasthpo.RandomSampler(seed=1),
]


def branches(trial: Any) -> float:
    """Of two kinds, one with a parameter more, and another one that depends on a continuum."""
    x = trial.suggest_float("x", -5, 5)
    loss = (x - 2) ** 2
    if trial.suggest_categorical("kind", ["plain", "deep"]) == "deep":
        loss += abs(trial.suggest_int("layers", 1, 8) - 3)
    trial.suggest_categorical("shape", [(8, 8), (16,)])
    if x > 0:
        loss += trial.suggest_float("tail", 0, 1, step=0.25)
    trial.set_attribute("half", [x / 2])
    for step in range(3):
        trial.report(loss + 1 / (1 + step), step)
        if trial.should_prune():
            raise fasthpo.TrialPruned
    return float(loss)


def run(study: fasthpo.Study, objective: Callable[[Any], Any], count: int) -> None:
    for _ in range(count):
        trial = study.ask()
        try:
            value = objective(trial)
        except fasthpo.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)


def points(study: fasthpo.Study) -> list[tuple[Any, ...]]:
    return [(trial.params, trial.state, trial.value, trial.attributes) for trial in study.trials]


# --- what is learnt


def test_a_space_is_learnt_with_its_conditions() -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    assert len(study.space) == 0
    run(study, branches, 40)
    assert set(study.space) == {"x", "kind", "layers", "shape", "tail"}
    learnt = study.space.learnt.space  # type: ignore[attr-defined]
    assert dict(learnt["layers"].when) == {"kind": ("deep",)}
    assert not learnt["tail"].when  # no countable parameter says when it is there
    deep = np.array([trial.params["kind"] == "deep" for trial in study.trials])
    assert np.array_equal(~np.isnan(study.columns["layers"]), deep)


@pytest.mark.parametrize("make", SAMPLERS)
def test_every_sampler_goes_on_bit_for_bit_when_it_is_killed_in_a_trial(
    make: Callable[[], fasthpo.Sampler], tmp_path: Path
) -> None:
    straight = fasthpo.Study(sampler=make(), pruner=fasthpo.MedianPruner())
    run(straight, branches, 32)
    study = fasthpo.Study(sampler=make(), pruner=fasthpo.MedianPruner(), storage=tmp_path / "study")
    for count in (1, 10, 6):
        run(study, branches, count)
        study.ask().suggest_float("x", -5, 5)  # and the program is killed
        study.close()
        study = fasthpo.Study.load(tmp_path / "study")
    study.compact()
    study.close()
    study = fasthpo.Study.load(tmp_path / "study")
    run(study, branches, 15)
    assert points(study) == points(straight)
    study.close()


def test_several_objectives_and_multi_fidelity_strategies_learn_a_space(tmp_path: Path) -> None:
    study = fasthpo.Study(sampler=fasthpo.AutoSampler(seed=0), directions=["minimize", "maximize"])
    run(study, lambda trial: [trial.suggest_float("x", 0, 1), trial.suggest_int("n", 0, 3)], 30)
    assert {trial.params["n"] for trial in study.best_trials} == {3}
    strategy = fasthpo.Hyperband(max_resource=9, sampler=fasthpo.TPESampler(seed=0))
    study = fasthpo.Study(strategy=strategy, storage=tmp_path / "study")

    def objective(trial: Any) -> float:
        loss: float = trial.suggest_float("x", -1, 1) ** 2
        return loss + (trial.suggest_float("y", 0, 1) if trial.suggest_categorical("k", ["a", "b"]) == "a" else 0)

    for _ in range(60):
        trial = study.ask()
        before = trial.params
        study.tell(trial, objective(trial))
        assert trial.resource == 1 or before == trial.params  # what was promoted has the parameters that it had
    assert study.best_value < 0.2
    study.close()


def test_asks_cost_the_same_though_no_trial_fits_what_was_learnt() -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0))
    learnt: list[int] = []
    for _ in range(1000):
        trial = study.ask()
        top = trial.suggest_int("top", 1, 50)
        study.tell(trial, trial.suggest_int("below", 1, top) / top)
        learnt.append(study.space.learnt.told)  # type: ignore[attr-defined]
    assert len(set(learnt)) < 120  # so often the trials were looked at again, ever more rarely
    assert len(set(learnt[500:])) < 25


# --- what a trial gets


def test_a_trial_gets_one_value_of_a_name_within_what_it_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    trial = study.ask()
    value = trial.suggest_float("x", 0, 1)
    assert value == trial.suggest_float("x", 0, 1) == trial.params["x"] == trial["x"]
    assert trial.suggest_float("x", 5, 6) == value and "it keeps the value" in caplog.text
    study.tell(trial, value)
    for i in range(30):
        low, high = (0.2, 0.3) if i % 2 else (-i, i)
        trial = study.ask()
        assert low <= trial.suggest_float("x", low, high) <= high
        assert 1 <= trial.suggest_int("n", 1, 3) <= 3 if i % 2 else trial.suggest_int("n", 10, 40, step=10) % 10 == 0
        study.tell(trial, 1.0)
    narrow = {trial.params["x"] for trial in study.trials[3::2]}
    assert len(narrow) > 10  # they are not all at a bound
    assert study.space["n"] == fasthpo.Discrete(1, 40)
    assert (study.space["x"].low, study.space["x"].high) == (-28.0, 28.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ask", "rule"),
    [
        (lambda t: t.suggest_int("x", 0, 1), "type and scale can't change"),
        (lambda t: t.suggest_float("x", 0.1, 1, log=True), "type and scale can't change"),
        (lambda t: t.suggest_categorical("x", [1, 2]), "type and scale can't change"),
        (lambda t: t.suggest_categorical("c", [1, True]), "choices can't change"),
        (lambda t: t.suggest_categorical("d", "abc"), "choices must be a list"),
        (lambda t: t.suggest_categorical("d", []), "at least one"),
        (lambda t: t.suggest_float("d", 0, math.inf), "high must be finite"),
        (lambda t: t.suggest_float("d", 1, 0), "low must be less than high"),
        (lambda t: t.suggest_float("d", 1, 2, step=0.1, log=True), "step or log"),
        (lambda t: t.suggest_int("d", 1, 9, step=2, log=True), "step or log"),
        (lambda t: t.suggest_float("", 0, 1), "not empty"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(ask: Callable[[Any], Any], rule: str) -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0))
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("c", [1, True, 1.0])
    with pytest.raises(InvalidSearchSpace, match=rule):
        ask(trial)
    study.tell(trial, 1.0)
    assert list(study.space) == ["x", "c"]


def test_a_step_that_does_not_divide_the_range_ends_below_it(caplog: pytest.LogCaptureFixture) -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0))
    trial = study.ask()
    assert trial.suggest_int("n", 0, 10, step=4) in (0, 4, 8)
    assert trial.suggest_discrete_uniform("q", 0, 0.5, 0.2) in (0.0, 0.2, 0.4)
    assert "values go up to 8" in caplog.text and "values go up to 0.4" in caplog.text
    assert 0 <= trial.suggest_uniform("u", 0, 1) <= 1 <= trial.suggest_loguniform("l", 1, 10)


def test_a_trial_that_asks_for_nothing_has_what_was_suggested() -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    with pytest.raises(InvalidValue, match="a batch needs a space that is known"):
        study.ask_batch(2)
    run(study, lambda trial: trial.suggest_float("x", 0, 1), 12)
    batch = study.ask_batch(3)
    study.tell_batch(batch.numbers, batch.params["x"])
    assert [study.trials[i].params["x"] for i in batch.numbers.tolist()] == batch.params["x"].tolist()
    numbers = study.add_trials({"x": [0.25, None]}, [1.0, 2.0])
    assert [study.trials[i].params for i in numbers.tolist()] == [{"x": 0.25}, {}]


def test_points_are_enqueued_before_their_parameters_are_known(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0), storage=tmp_path / "study")
    study.enqueue({"x": 0.5, "kind": "deep", "layers": 7, "shape": (16,)})
    study.enqueue({"x": 99})
    study.enqueue({"kind": "other"})
    assert study.trials[0].params == {"x": 0.5, "kind": "deep", "layers": 7, "shape": (16,)}
    study.close()
    study = fasthpo.Study.load(tmp_path / "study")
    run(study, branches, 2)
    expected = {"x": 0.5, "kind": "deep", "layers": 7, "shape": (16,)}
    assert {**study.trials[0].params, "tail": 0} == {**expected, "tail": 0}
    assert study.trials[1].params["x"] == 5.0 and "99, as was enqueued" in caplog.text
    with pytest.raises(InvalidParameters, match=r"'kind' must be one of .*'other', as was enqueued"):
        branches(study.ask())
    with pytest.raises(InvalidParameters, match="'x' can't be enqueued"):
        study.enqueue({"x": [1]})
    study.close()


def test_a_grid_ends_when_all_that_was_learnt_of_it_is_tried() -> None:
    study = fasthpo.Study(sampler=fasthpo.GridSampler(seed=0))

    def objective(trial: Any) -> float:
        n = trial.suggest_int("n", 1, 3)
        return float(n + (trial.suggest_int("q", 0, 1) if trial.suggest_categorical("k", ["a", "b"]) == "a" else 0))

    with pytest.raises(SpaceExhausted):
        run(study, objective, 50)
    tried = [str(sorted(trial.params.items())) for trial in study.trials]
    assert len(set(tried)) == len(tried) == 9
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    run(study, objective, 30)  # another sampler tries points again, as there may be more than were learnt
    assert len(study) == 30


def test_the_sampler_says_at_once_that_it_can_not_work_on_what_was_learnt() -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(n_startup_trials=100_000, seed=0))
    trial = study.ask()
    for i in range(51):
        trial.suggest_float(f"x{i}", 0, 1)
    study.tell(trial, 1.0)
    with pytest.raises(InvalidSearchSpace, match="n_startup_trials must be at most"):
        study.ask()
    assert len(study) == 1


# --- the rest of the house


def test_pictures_reports_and_exports_show_what_was_learnt(tmp_path: Path) -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0))
    run(study, branches, 60)
    shares = analysis.importance(study).to_dict()
    assert max(shares, key=lambda name: shares[name]) == "x" and math.isclose(sum(shares.values()), 1)
    assert set(analysis.importance(study, "ped_anova").to_dict()) == set(shares)
    for draw in (plots.slices, plots.parallel_coordinates):
        assert draw(study).axes
    assert "layers" in write_report(study, tmp_path / "study.html").read_text(encoding="utf-8")
    header = study.to_csv(tmp_path / "study.csv").read_text(encoding="utf-8").partition("\n")[0]
    assert "params_layers" in header
    assert pickle.loads(pickle.dumps(study.space)) == study.space


def test_the_tuner_runs_it_in_processes_and_threads(tmp_path: Path) -> None:
    for workers in (1, 2):
        config = fasthpo.TunerConfig(f"with_{workers}", max_trials=8, output_dir=tmp_path, seed=0)
        make = fasthpo.HyperparameterTuner.with_random_search
        result = make(config).optimize(branches, workers=workers)
        assert {trial.state for trial in result.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert all(trial.attributes == {"half": [trial.params["x"] / 2]} for trial in result.trials)
        assert all(("layers" in trial.params) == (trial.params["kind"] == "deep") for trial in result.trials)


def test_threads_share_a_study() -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    threads = [threading.Thread(target=run, args=(study, branches, 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(study) == 60 and study.table.counts[TrialState.COMPLETE] == 60


def test_a_reader_follows_a_space_that_grows(tmp_path: Path) -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "study")
    run(study, lambda trial: trial.suggest_float("x", 0, 1), 3)
    study.sync()
    reader = fasthpo.Study.load(tmp_path / "study", read_only=True)
    run(study, lambda trial: trial.suggest_float("x", 0, 2) + trial.suggest_int("n", 0, 1), 3)
    study.sync()
    assert reader.refresh() and list(reader.space) == ["x", "n"]
    assert points(reader) == points(study)
    study.close()


def test_a_call_that_is_broken_off_leaves_a_trial_with_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    study = fasthpo.Study(sampler=fasthpo.TPESampler(seed=0))
    run(study, branches, 5)
    trial = study.ask()
    value, asked = branches(trial), trial.params

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study_module.StudyState, "ended", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.tell(trial, value)
    assert trial.state == TrialState.RUNNING and trial.params == asked
    study.tell(trial, value)
    assert study.trials[trial.number].params == asked


def test_a_study_with_a_declared_space_answers_an_objective_that_asks() -> None:
    space = {"x": fasthpo.Continuous(0, 1), "k": fasthpo.Categorical(["a", "b"])}
    study = fasthpo.Study({**space, "z": fasthpo.Discrete(1, 3, when={"k": ["a"]})}, sampler=fasthpo.RandomSampler(0))
    study.enqueue({"k": "b"})
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == trial["x"]
    with pytest.raises(InvalidParameters, match="must lie between 5"):
        trial.suggest_float("x", 5, 6)
    with pytest.raises(InvalidParameters, match="no parameter 'w'"):
        trial.suggest_float("w", 5, 6)
    with pytest.raises(InvalidParameters, match="inactive here"):
        trial.suggest_int("z", 1, 3)


def test_attributes_of_trials_are_kept(tmp_path: Path) -> None:
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "study")
    trial = study.ask()
    trial.set_attribute("path", {"a": [1, None]})
    with pytest.raises(InvalidValue, match="plain JSON"):
        trial.set_attribute("path", object())
    with pytest.raises(InvalidValue, match="are taken"):
        study.set_attribute("fasthpo:trials", 1)
    study.tell(trial, 1.0)
    study.save(tmp_path / "copy")
    study.close()
    for path in (tmp_path / "study", tmp_path / "copy"):
        loaded = fasthpo.Study.load(path, read_only=True)
        assert loaded.trials[0].attributes == {"path": {"a": [1, None]}} and loaded.attributes == {}


def test_neither_numba_nor_torch_is_needed_to_import_it() -> None:
    code = "import sys, fasthpo.compat.optuna; print({'numba', 'torch', 'optuna', 'matplotlib', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_tuner_resumes_what_it_has_learnt(tmp_path: Path) -> None:
    def tuner(most: int) -> fasthpo.HyperparameterTuner:
        config = fasthpo.TunerConfig("one", max_trials=most, output_dir=tmp_path, seed=0, save_checkpoints=True)
        return fasthpo.HyperparameterTuner.with_random_search(config)

    tuner(5).optimize(branches)
    again = tuner(8)
    again.load_checkpoint(tmp_path / "one")
    result = again.optimize(branches)
    assert len(result.trials) == 8 and len({trial.params["x"] for trial in result.trials}) == 8
    copy = pickle.loads(pickle.dumps(result))
    assert [trial.params for trial in copy.trials] == [trial.params for trial in result.trials]
    assert copy.best_trial.attributes == result.best_trial.attributes != {}


def test_optuna_is_shown_what_was_learnt(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0))
    live = study.to_optuna(tmp_path / "study.log", live=True)
    run(study, branches, 6)
    copy = study.to_optuna()
    shown = [{**trial.params, "shape": str(list(trial.params["shape"]))} for trial in study.trials]  # it has no tuples
    assert [trial.params for trial in copy.trials] == shown
    assert copy.trials[0].user_attrs["half"] == study.trials[0].attributes["half"]
    study.close()
    assert [trial.params for trial in live.trials] == shown
