"""The tuner under multi-fidelity strategies: pauses, budgets, statistics, weights that wait on disk, resuming."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import HyperparameterCallback, HyperparameterTuner, InvalidValue, StopReason, Trial, TunerConfig
from fasthpo.tuner.callbacks import LoggingCallback
from tests.support.tuning import SPACE


def make(kind: str = "hyperband", max_resource: int = 9, **config: Any) -> HyperparameterTuner:
    strategy = {key: config.pop(key) for key in ("sampler", "resumable", "min_resource") if key in config}
    build = getattr(HyperparameterTuner, f"with_{kind}")
    made = TunerConfig("s", **{"seed": 0, **config})
    return build(made, SPACE, max_resource=max_resource, **strategy).remove_callback(LoggingCallback)


def resumable(trial: Trial) -> float:
    """Trains by counting epochs in a file, from where it finds it."""
    file = trial.checkpoint_dir / "epochs"
    done = int(file.read_text()) if file.exists() else 0
    assert done == trial.start_resource
    file.write_text(str(trial.resource))
    return abs(trial["x"]) + 1 / trial.resource


@pytest.mark.parametrize("kind", ["successive_halving", "hyperband", "asha"])
def test_callbacks_hear_of_each_leg_in_order(kind: str) -> None:
    events: list[tuple[str, int]] = []

    class Recorder(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            events.append(("start", trial.number))

        def on_trial_paused(self, trial: Trial) -> None:
            assert trial.state == fasthpo.TrialState.PAUSED and trial.objective_value() is not None
            events.append(("paused", trial.number))

        def on_new_best(self, trial: Trial, improvement: float) -> None:
            events.append(("best", trial.number))

        def on_trial_complete(self, trial: Trial) -> None:
            assert trial.resource == 9
            events.append(("complete", trial.number))

    result = make(kind, max_trials=20).add_callback(Recorder()).optimize(resumable)
    kinds = Counter(event for event, _ in events)
    statistics = result.statistics
    assert kinds["start"] == kinds["paused"] + kinds["complete"]
    assert kinds["complete"] == statistics.completed_trials > 0 and kinds["paused"] > 10
    assert statistics.paused_trials + statistics.completed_trials == statistics.total_trials == 20
    started = Counter(number for event, number in events if event == "start")
    assert max(started.values()) > 1  # trials went on under their numbers
    for i, (event, number) in enumerate(events):
        if event in ("paused", "complete", "best"):
            assert events[i - 1] == ("start", number) or events[i - 1] == ("best", number)


def test_it_ends_by_the_resource_spent() -> None:
    result = make("asha", 27, max_total_resource=200).optimize(resumable)
    assert result.stop_reason == StopReason.MAX_TOTAL_RESOURCE
    assert 200 - 18 < result.statistics.resource_spent <= 200
    assert sum(rung.resource_spent for rung in result.statistics.rungs) == result.statistics.resource_spent


def test_a_result_without_a_complete_trial_shows_how_far_the_best_one_is() -> None:
    tuner = make("asha", 27, max_total_resource=27)
    result = tuner.optimize(resumable)
    rungs = [rung for rung in result.statistics.rungs if rung.best_value is not None]
    assert "The best paused at resource " + str(rungs[-1].resource) + " with " in str(result)
    with pytest.raises(fasthpo.NoCompletedTrials, match=r"'PAUSED': \d+}\. Paused trials complete at the last rung"):
        _ = result.best_trial


def test_at_max_trials_the_best_are_trained_to_the_end() -> None:
    result = make("successive_halving", 27, max_trials=10).optimize(resumable)
    assert result.stop_reason == StopReason.MAX_TRIALS and len(result.trials) == 10
    assert [rung.told for rung in result.statistics.rungs] == [10, 3, 1, 1]
    assert result.best_trial.rungs.keys() == {1, 3, 9, 27}


def test_statistics_files_and_table(tmp_path: Path) -> None:
    config: dict[str, Any] = {"max_trials": 9, "output_dir": tmp_path, "save_checkpoints": True}

    def objective(trial: Trial) -> float:
        for epoch in range(trial.start_resource, trial.resource):
            trial.report(trial["x"], epoch)
            if trial.number == 2 and epoch == 0 and trial.resource == 3:
                raise fasthpo.TrialPruned
        return resumable(trial)

    result = make("successive_halving", 9, **config).optimize(objective)
    saved = json.loads((tmp_path / "s" / "statistics.json").read_text())
    assert saved["resource_spent"] == result.statistics.resource_spent == 9 + 3 * 2 + 6
    assert [rung["resource"] for rung in saved["rungs"]] == [1, 3, 9]
    assert saved["paused_trials"] == 8 and saved["stop_reason"] == "max_trials"
    history = json.loads((tmp_path / "s" / "trial_history.json").read_text())["trials"]
    best = history[result.best_trial.number]
    assert best["resource"] == 9 and list(best["rungs"]) == ["1", "3", "9"]
    assert "8 paused" in str(result) and "Resource spent: 21" in str(result)


def test_saved_by_pruning() -> None:
    def objective(trial: Trial) -> float:
        for epoch in range(trial.start_resource, trial.resource):
            trial.report(1.0, epoch)
            if trial.resource == 9 and epoch == 4:
                raise fasthpo.TrialPruned
        return abs(trial["x"])

    statistics = make("successive_halving", 9, max_trials=9).optimize(objective).statistics
    assert (statistics.resource_spent, statistics.resource_saved) == (9 + 6 + 2, 4)
    assert statistics.rungs[-1].pruned == 1 and statistics.completed_trials == 0
    # without a multi-fidelity strategy a report is a unit, and completed trials say how many there would have been

    def plain(trial: Trial) -> float:
        for step in range(10):
            trial.report(trial["x"], step)
            if trial.number % 2 and step == 3:
                raise fasthpo.TrialPruned
        return abs(trial["x"])

    tuner = HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=10, seed=0), SPACE)
    statistics = tuner.optimize(plain).statistics
    assert (statistics.resource_spent, statistics.resource_saved) == (5 * 10 + 5 * 4, 5 * 6)


def test_weights_wait_in_the_studys_directory_and_outlive_the_program(tmp_path: Path) -> None:
    config: dict[str, Any] = {"output_dir": tmp_path, "save_checkpoints": True}
    tuner = make("hyperband", max_trials=12, **config)

    class Stop(HyperparameterCallback):
        def on_trial_paused(self, trial: Trial) -> None:
            if trial.number == 10:
                tuner.stop()

    assert tuner.add_callback(Stop()).optimize(resumable).stop_reason == StopReason.STOPPED
    again = make("hyperband", max_trials=30, **config).load_checkpoint(tmp_path / "s")
    whole = make("hyperband", max_trials=30).optimize(resumable)
    result = again.optimize(resumable)
    assert [t.params for t in result.trials] == [t.params for t in whole.trials]
    assert [t.rungs for t in result.trials] == [t.rungs for t in whole.trials]
    assert result.statistics.resource_spent == whole.statistics.resource_spent
    # a new study in the place of the old one must not find its weights
    make("hyperband", max_trials=12, overwrite=True, **config).optimize(resumable)


def test_another_strategy_on_resume_is_refused_with_the_difference(tmp_path: Path) -> None:
    tuner = make("asha", 9, max_trials=3, output_dir=tmp_path)
    tuner.optimize(resumable)
    path = tuner.save_checkpoint()
    message = r"its strategy is ASHA\(max_resource=9, .*, this tuner's ASHA\(max_resource=27,"
    with pytest.raises(fasthpo.CorruptCheckpoint, match=message):
        make("asha", 27, max_trials=3).load_checkpoint(path)
    with pytest.raises(fasthpo.CorruptCheckpoint, match="this tuner's one that trains each trial in full"):
        HyperparameterTuner.with_random_search(TunerConfig("t", max_trials=3), SPACE).load_checkpoint(path)


def test_failures_free_their_place_and_the_run_goes_on() -> None:
    def objective(trial: Trial) -> float:
        if trial.start_resource and trial.number % 2:
            raise RuntimeError("out of luck")
        return abs(trial["x"])

    statistics = make("hyperband", 9, max_trials=40).optimize(objective).statistics
    assert statistics.failed_trials > 0 and statistics.completed_trials > 0
    assert sum(rung.failed for rung in statistics.rungs) == statistics.failed_trials


def test_bohb_is_hyperband_with_tpe() -> None:
    tuner = make("hyperband", 9, max_trials=30, sampler=fasthpo.TPESampler(seed=0))
    assert tuner.optimize(resumable).statistics.completed_trials > 0
    assert "TPESampler" in tuner.study.strategy.summary()


def test_bad_configurations() -> None:
    with pytest.raises(InvalidValue, match="max_total_resource needs a strategy that knows of resources"):
        HyperparameterTuner.with_random_search(TunerConfig("s", max_total_resource=5), SPACE)
    with pytest.raises(InvalidValue, match=r"at least the strategy's max_resource, .*=26, max_resource=27"):
        make("asha", 27, max_total_resource=26)
    with pytest.raises(InvalidValue, match="max_total_resource must be an integer of at least 1, got"):
        TunerConfig("s", max_total_resource=0)
    with pytest.raises(InvalidValue, match="or under a multi-fidelity strategy max_total_resource"):
        make("asha").optimize(resumable)
    with pytest.raises(InvalidValue, match=r"the strategy has a seed of its own, 1, so config\.seed=0"):
        make("asha", sampler=fasthpo.TPESampler(seed=1))
