"""The tuner: its arguments, what it makes of an objective's results, and what comes back."""

from __future__ import annotations

import logging
import math
import sys
import time
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo.errors import (
    InvalidValue,
    TrialPruned,
    TrialStateError,
)
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.kinds import Continuous, Discrete
from fasthpo.strategies.single_fidelity import GridSearch, RandomSearch
from fasthpo.trials.trial import Trial, TrialMetrics, TrialResult, TrialState
from fasthpo.tuner import tuner as module
from fasthpo.tuner.callbacks import HyperparameterCallback
from fasthpo.tuner.config import EarlyStoppingConfig, PruningConfig, TunerConfig
from fasthpo.tuner.results import StudyStatistics, busy_seconds
from fasthpo.tuner.tuner import HyperparameterTuner
from tests.support.tuning import GRID, SPACE, make, parabola, params_of, states

# --- what an objective may return


@pytest.mark.parametrize(
    "returned",
    [
        0.5, np.float32(0.5), np.array([0.5]), TrialResult.success(0.5), TrialResult.success(TrialMetrics(0.5)),
        {"accuracy": 0.5, "loss": 3}, TrialResult.success(TrialMetrics(0.5, metrics={"loss": 3.0})),
    ],
)  # fmt: skip
def test_results_that_complete(returned: Any) -> None:
    tuner = make(1, objective_metric="accuracy")
    result = tuner.optimize(lambda trial: returned)
    assert states(tuner) == ["COMPLETE"]
    assert result.best_trial.objective_value() == result.best_value == 0.5
    assert result.best_trial.metrics in ({}, {"loss": 3.0})


def test_the_named_metric_is_the_objective_and_the_others_are_kept() -> None:
    tuner = make(3, objective_metric="eval_accuracy", direction="maximize")
    result = tuner.optimize(lambda trial: {"loss": 10.0 - trial.number, "eval_accuracy": trial.number / 10, "n": 7})
    assert result.best_value == 0.2
    assert result.best_trial.metrics == {"loss": 8.0, "n": 7.0}


def test_infinities_complete_and_are_never_best() -> None:
    tuner = make(3)
    values = [math.inf, -math.inf, 7.0]
    result = tuner.optimize(lambda trial: values[trial.number])
    assert states(tuner) == ["COMPLETE"] * 3
    assert result.best_trial.number == 2


@pytest.mark.parametrize(
    ("returned", "metric", "error"),
    [
        (math.nan, None, "the objective returned NaN"),
        (TrialResult.success(math.nan), None, "the objective returned NaN"),
        ({"a": math.nan}, "a", "the objective returned NaN"),
        (None, None, "the objective returned None; it must return a number, a mapping of metrics or a TrialResult"),
        ("0.5", None, "the objective's value must be a number, got '0.5' of type str"),
        (True, None, "the objective's value must be a number, got True of type bool"),
        (np.array([1.0, 2.0]), None, "the objective's value must be a number"),
        ({"a": None}, "a", "the objective's value must be a number, got None"),
        ({"a": 1.0, "b": 2.0}, "c", "must hold objective_metric='c', got ['a', 'b']"),
        ({"a": 1.0}, None, "the objective returned a mapping of metrics, ['a']; say which of them is the objective"),
        ({}, "a", "must hold objective_metric='a', got []"),
        (TrialResult.failure("out of memory"), None, "out of memory"),
        (TrialResult(), None, "a TrialResult without metrics"),
    ],
)
def test_results_that_fail(returned: Any, metric: str | None, error: str) -> None:
    tuner = make(2, objective_metric=metric)
    tuner.optimize(lambda trial: returned if trial.number == 0 else 1.0)
    assert states(tuner) == ["FAILED", "COMPLETE"]
    assert error in (tuner.study.trials[0].error or "")
    assert tuner.study.trials[0].value is None


def test_metrics_that_are_no_numbers_do_not_cost_the_trial(caplog: pytest.LogCaptureFixture) -> None:
    tuner = make(1, objective_metric="a")
    tuner.optimize(lambda trial: {"a": 1.0, "report": "fine", "matrix": [[1, 0]], "loss": math.nan, "n": 2})
    assert states(tuner) == ["COMPLETE"]
    assert tuner.study.trials[0].metrics == {"n": 2.0}
    assert "metric 'report' must be a number" in caplog.text and "metric 'matrix'" in caplog.text


def test_exceptions_fail_the_trial_with_their_traceback_and_the_study_goes_on() -> None:
    def helper() -> None:
        raise ValueError("no such file")

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            helper()
        return 1.0

    tuner = make(3)
    result = tuner.optimize(objective)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]
    error = result.trials[1].error or ""
    assert error.startswith("Traceback (most recent call last):") and error.endswith("ValueError: no such file")
    assert "in helper" in error and "in objective" in error
    assert "run_attempt" not in error  # the tuner's own frame says nothing to the reader


def test_trial_is_a_mapping_of_its_parameters() -> None:
    seen = []

    def objective(params: Any) -> float:
        assert dict(params) == dict(**params) == params.params
        seen.append(params["rate"])
        return 1.0

    make(2).optimize(objective)
    assert all(1e-5 <= rate <= 1e-1 for rate in seen) and len(seen) == 2


# --- pruning and early stopping inside the objective


def test_pruning_happens_inside_the_objective_and_saves_steps() -> None:
    def steps(pruning: PruningConfig | None) -> tuple[int, StudyStatistics]:
        taken = 0

        def objective(trial: Trial) -> float:
            nonlocal taken
            for step in range(100):
                taken += 1
                trial.report(parabola(trial), step)
                if trial.should_prune():
                    raise TrialPruned
            return parabola(trial)

        result = make(40, pruning=pruning).optimize(objective)
        for trial in result.trials:
            if trial.state == TrialState.PRUNED:
                assert trial.value == parabola(trial)  # its last valid report
                assert len(trial.reports) < 100
        return taken, result.statistics

    all_steps, nothing = steps(None)
    assert (all_steps, nothing.pruned_trials) == (4000, 0)
    with_pruning, statistics = steps(PruningConfig(strategy="median", min_steps=10))
    assert statistics.pruned_trials >= 10
    assert with_pruning == 100 * statistics.completed_trials + 11 * statistics.pruned_trials
    late, _ = steps(PruningConfig(strategy="median", min_steps=90))
    assert with_pruning < late < all_steps


@pytest.mark.parametrize(
    "config",
    [
        PruningConfig(strategy="threshold", upper=20.0),
        PruningConfig(strategy="patient", patience=3),
        PruningConfig(strategy="wilcoxon", p_threshold=0.1),
        PruningConfig(strategy="successive_halving", min_resource=2),
    ],
    ids=lambda config: config.strategy,
)
def test_each_strategy_prunes_and_saves_steps(config: PruningConfig) -> None:
    taken, losses = 0, []

    def objective(trial: Trial) -> float:
        nonlocal taken
        for step in range(50):
            taken += 1
            # falls for 20 steps, in ripples of its own
            trial.report(parabola(trial) + max(0, 20 - step) / 20 + 0.01 * ((step * trial.number) % 7), step)
            if trial.should_prune():
                losses.append(parabola(trial))
                raise TrialPruned(f"{config.strategy} says so")
        return parabola(trial)

    statistics = make(40, pruning=config).optimize(objective).statistics
    assert statistics.pruned_trials == len(losses) >= 5
    assert statistics.failed_trials == 0 and taken < 40 * 50
    if config.strategy != "patient":  # which stops them all, once they stand still
        assert statistics.best_value is not None and statistics.best_value < min(losses)


def test_the_percentile_is_honoured() -> None:
    def pruned(share: float) -> int:
        def objective(trial: Trial) -> float:
            trial.report(parabola(trial), 0)
            if trial.should_prune():
                raise TrialPruned
            return parabola(trial)

        config = PruningConfig(strategy="percentile", percentile=share, n_startup_trials=10)
        return make(200, pruning=config).optimize(objective).statistics.pruned_trials

    strict, median, mild = pruned(0.1), pruned(0.5), pruned(0.9)
    # of 190 trials that can be pruned, the share that is worse than the percentile
    assert 150 <= strict <= 185 and 70 <= median <= 120 and 5 <= mild <= 40


def test_a_pruned_trial_without_reports() -> None:
    def objective(trial: Trial) -> float:
        raise TrialPruned

    tuner = make(12)
    result = tuner.optimize(objective)  # no AllTrialsFailed: being pruned is no failure
    assert states(tuner) == ["PRUNED"] * 12
    assert (result.statistics.pruning_rate, result.statistics.success_rate) == (100.0, 0.0)
    assert result.trials[0].value is None


def test_early_stopping_is_read() -> None:
    tuner = make(3, direction="maximize", early_stopping=EarlyStoppingConfig(patience=4, min_delta=0.5))
    epochs = []

    def objective(trial: Trial) -> float:
        stopper = tuner.early_stopping()
        for epoch in range(100):
            if stopper.update(min(epoch, 10), step=epoch):
                break
        epochs.append(epoch)
        assert stopper.best_value is not None
        return stopper.best_value

    result = tuner.optimize(objective)
    assert epochs == [14, 14, 14]  # a new one for each trial: 10 at epoch 10, then 4 epochs of patience
    assert result.best_value == 10


def test_early_stopping_has_to_be_configured() -> None:
    with pytest.raises(InvalidValue, match="no early stopping was configured"):
        make().early_stopping()


# --- arguments


def test_bad_arguments_of_optimize() -> None:
    tuner = make()
    for workers in (0, -1, True, 1.5, "1"):
        with pytest.raises(InvalidValue, match="workers must be an integer of at least 1, got workers="):
            tuner.optimize(parabola, workers=workers)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="objective must be callable"):
        tuner.optimize(3)  # type: ignore[arg-type]
    assert len(tuner.study) == 0


def test_bad_arguments_of_the_tuner() -> None:
    config = TunerConfig("s", max_trials=1)
    with pytest.raises(InvalidValue, match="config must be a TunerConfig"):
        HyperparameterTuner("s", SPACE, RandomSearch())  # type: ignore[arg-type]
    for strategy in (None, "random", RandomSearch, RandomSampler()):
        with pytest.raises(InvalidValue, match="strategy must be a Strategy"):
            HyperparameterTuner(config, SPACE, strategy)  # type: ignore[arg-type]


def test_a_sampler_becomes_a_strategy() -> None:
    config = TunerConfig("s", max_trials=3, seed=0)
    with pytest.raises(InvalidValue, match=r"got RandomSampler\(seed=0\): Strategy\(sampler\) makes one of a sampler"):
        HyperparameterTuner(config, SPACE, RandomSampler(seed=0))  # type: ignore[arg-type]
    tuner = HyperparameterTuner(config, SPACE, fasthpo.Strategy(RandomSampler(seed=0)))
    assert len(tuner.optimize(lambda trial: 1.0).trials) == 3


@pytest.mark.parametrize(("value", "metrics", "message"), [
    (0.5, None, "metrics must map names to numbers, got metrics=None"),
    ({"loss": 0.5}, {}, "value must be a number, got {'loss': 0.5} of type dict"),
])  # fmt: skip
def test_metrics_are_checked_where_they_are_made(value: Any, metrics: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        TrialMetrics(value, metrics)


def test_a_seed_that_would_be_ignored_is_refused() -> None:
    config = TunerConfig("s", max_trials=1, seed=3)
    with pytest.raises(InvalidValue, match=r"seed of its own, 4, so config\.seed=3 would have no effect"):
        HyperparameterTuner(config, SPACE, RandomSearch(seed=4))
    HyperparameterTuner(config, SPACE, RandomSearch(seed=3))


def test_optimize_inside_itself_is_refused() -> None:
    tuner = make(2)
    caught = []

    def objective(trial: Trial) -> float:
        for call in (lambda: tuner.optimize(parabola), lambda: tuner.load_checkpoint("x")):
            with pytest.raises(TrialStateError, match="running"):
                call()
            caught.append(1)
        return 1.0

    tuner.optimize(objective)
    assert len(caught) == 4


@pytest.mark.parametrize("method", ["with_random_search", "with_bayesian_optimization", "with_grid_search"])
def test_the_three_searches_and_their_seeds(method: str) -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        space = {"x": Continuous(-5.0, 5.0, n_points=5), "k": Discrete(1, 6)}
        tuner = getattr(HyperparameterTuner, method)(TunerConfig("s", max_trials=25, seed=seed), space)
        assert tuner.study.sampler.seed == seed
        result = tuner.optimize(lambda trial: (trial["x"] - 2) ** 2 + trial["k"])
        assert len(result.trials) == 25
        return params_of(result)

    one, same, other = run(1), run(1), run(2)
    assert one == same
    if method != "with_grid_search":
        assert one != other


# --- results


def test_statistics_and_result() -> None:
    tuner = make(10, direction="maximize")
    outcomes = [1.0, 5.0, math.nan, TrialPruned(), 2.0, 5.0, TrialPruned(), math.inf, TrialPruned(), 0.0]

    def objective(trial: Trial) -> float:
        time.sleep(0.002)
        outcome = outcomes[trial.number]
        if isinstance(outcome, TrialPruned):
            raise outcome
        return outcome

    result = tuner.optimize(objective)
    statistics = result.statistics
    assert (statistics.total_trials, statistics.completed_trials) == (10, 6)
    assert (statistics.failed_trials, statistics.pruned_trials) == (1, 3)
    assert (statistics.success_rate, statistics.pruning_rate) == (60.0, 30.0)
    assert (statistics.best_value, statistics.best_trial_number) == (5.0, 1)
    assert result.best_params == result.best_trial.params == tuner.study.best_params
    durations = [trial.duration for trial in result.trials]
    assert statistics.average_trial_duration == pytest.approx(sum(durations) / 10)
    assert sum(durations) <= result.total_duration == statistics.total_duration < 60
    text = str(result)
    assert text.startswith("Study s: 10 trials in ") and "(6 complete, 3 pruned, 1 failed), ended by max_trials" in text
    assert "\n  value  5\n" in text and f"\n  x      {result.best_params['x']:.6g}" in text
    assert "stop_reason='max_trials'" in repr(result)


def test_statistics_of_nothing() -> None:
    statistics = StudyStatistics.of(make().study, 0.0)
    assert (statistics.success_rate, statistics.pruning_rate, statistics.average_trial_duration) == (0.0, 0.0, None)


def test_running_and_waiting_trials_count_in_no_rate() -> None:
    study = make().study
    study.tell(study.ask(), 1.0)
    study.ask()
    study.enqueue({"x": 1.0})
    statistics = StudyStatistics.of(study, 1.0)
    assert (statistics.total_trials, statistics.completed_trials, statistics.success_rate) == (3, 1, 100.0)


@pytest.mark.parametrize(
    ("intervals", "busy"),
    [
        ([], 0),
        ([(5, 7)], 2),
        ([(0, 1), (3, 4)], 2),
        ([(0, 4), (1, 2), (3, 6)], 6),
        ([(3, 6), (0, 4)], 6),
        ([(1, 1)], 0),
    ],
)
def test_busy_seconds(intervals: list[tuple[float, float]], busy: float) -> None:
    study = make().study
    batch = study.ask_batch(len(intervals))
    study.tell_batch(batch.numbers, [0.0] * len(intervals))
    for number, (start, end) in enumerate(intervals):
        study.table._starts[number], study.table._ends[number] = start, end
    assert busy_seconds(study.table) == busy


def test_cost_of_a_trial_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of lines of Python runs for trial 100 and for trial 4000, and statistics are made once."""
    tuner = make(4001, pruning=PruningConfig())
    lines: dict[int, int] = {}
    counting = 0

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        nonlocal counting
        if event == "line":
            counting += 1
        return tracer

    class Counter(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            nonlocal counting
            if trial.number in (100, 4000):
                counting = 0
                sys.settrace(tracer)
                frame: Any = sys._getframe()
                while frame is not None:  # frames that run already have to be told one by one
                    if frame.f_globals.get("__name__", "").startswith("fasthpo"):
                        frame.f_trace = tracer
                    frame = frame.f_back

        def on_trial_complete(self, trial: Trial) -> None:
            if trial.number in (100, 4000):
                sys.settrace(None)
                lines[trial.number] = counting

    made = []
    original = StudyStatistics.of
    monkeypatch.setattr(StudyStatistics, "of", lambda *a: made.append(1) or original(*a))
    tuner.add_callback(Counter())
    # falling values: each is a new best, and each report asks the pruner
    tuner.optimize(lambda trial: trial.report(-trial.number, 0) or trial.should_prune() or -float(trial.number))
    assert lines[100] > 20
    assert lines[4000] <= lines[100] + 10
    assert made == [1]


# --- logging and the progress line


def test_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=5), SPACE).optimize(parabola)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = module.Progress

    def spy(*arguments: Any) -> Any:
        seen.append((arguments[0], *arguments[2:]))
        return original(*arguments)

    monkeypatch.setattr(module, "Progress", spy)
    make(4).optimize(parabola)
    make(None, GRID, GridSearch()).optimize(lambda trial: 1.0)
    make(99, GRID, GridSearch()).optimize(lambda trial: 1.0)
    tuner = make(None, max_duration=60)
    tuner.optimize(lambda trial: tuner.stop() or 1.0)
    assert seen == [("s", 4, math.inf), ("s", 10, math.inf), ("s", 10, math.inf), ("s", None, 60.0)]


def test_space_exhausted_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fasthpo"):
        make(None, GRID, GridSearch()).optimize(lambda trial: 1.0)
    assert "the study ends: " in caplog.text
