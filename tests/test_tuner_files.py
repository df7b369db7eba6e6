"""What a tuner writes, when, and how it goes on from there."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthpo import tuner as module
from fasthpo.config import PruningConfig, TunerConfig
from fasthpo.errors import (
    CorruptCheckpoint,
    StudyExists,
    TrialPruned,
    TrialStateError,
)
from fasthpo.parameters import Continuous, Discrete, LogUniform
from fasthpo.pruners.percentile import PercentilePruner
from fasthpo.samplers.base import Sampler
from fasthpo.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.single_fidelity import BayesianOptimization, RandomSearch
from fasthpo.study import Study
from fasthpo.trial import Trial, TrialState
from fasthpo.tuner import HyperparameterTuner
from tests.tuning import SPACE, STRATEGIES, make, parabola, params_of

# --- files


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    tuner = make(3, output_dir=tmp_path / "out")
    tuner.optimize(parabola)
    assert list(tmp_path.iterdir()) == []
    make(3, output_dir=tmp_path / "out", save_checkpoints=True)
    assert list(tmp_path.iterdir()) == []  # nor on construction


def test_the_four_files(tmp_path: Path) -> None:
    tuner = make(12, output_dir=tmp_path, save_checkpoints=True)
    result = tuner.optimize(lambda trial: math.nan if trial.number % 3 == 0 else parabola(trial))
    names = ["best_parameters.json", "checkpoint.msgpack", "statistics.json", "trial_history.json"]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == names

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    texts = {name: (tmp_path / "s" / name).read_text() for name in names if name.endswith("json")}
    read = {name: json.loads(text, parse_constant=refuse) for name, text in texts.items()}
    assert read["best_parameters.json"]["params"] == result.best_params
    assert read["statistics.json"]["success_rate"] == pytest.approx(100 * 8 / 12)
    assert read["statistics.json"]["stop_reason"] == "max_trials"
    history = read["trial_history.json"]["trials"]
    assert [one["params"] for one in history] == params_of(result)
    assert history[0]["state"] == "FAILED" and "NaN" in history[0]["error"]
    assert Study.load(tmp_path / "s").best_value == result.best_value  # a failed trial leaves it readable


def test_history_is_compressed_on_request(tmp_path: Path) -> None:
    make(3, output_dir=tmp_path, save_checkpoints=True, compress_history=True).optimize(parabola)
    assert not (tmp_path / "s" / "trial_history.json").exists()
    assert len(json.loads(gzip.decompress((tmp_path / "s" / "trial_history.json.gz").read_bytes()))["trials"]) == 3


def test_a_directory_that_cannot_be_made_is_found_out_before_the_first_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tuner = make(3, output_dir=tmp_path / "file", save_checkpoints=True)
    with pytest.raises(OSError):
        tuner.optimize(parabola)
    assert len(tuner.study) == 0


def test_checkpoints_are_written_meanwhile_but_not_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, took = 0.0, 0.0
    saved = []
    original = HyperparameterTuner.save_checkpoint

    def save(self: HyperparameterTuner) -> Path:
        nonlocal now
        saved.append(now)
        now += took
        if len(saved) == 1:
            raise OSError("disk full")
        return original(self)

    def objective(trial: Trial) -> float:
        nonlocal now
        now += 1.0
        return 1.0

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(HyperparameterTuner, "save_checkpoint", save)
    make(100, output_dir=tmp_path, save_checkpoints=True).optimize(objective)
    assert saved == [30.0, 60.0, 90.0, 100.0]
    assert "disk full" in caplog.text  # which ended nothing
    saved.clear()
    now, took = 0.0, 3.0  # writing takes 3 seconds: at most a twentieth of the time goes there
    make(200, output_dir=tmp_path, save_checkpoints=True, overwrite=True).optimize(objective)
    assert saved[:3] == [30.0, 93.0, 156.0]


# --- going on


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_resumed_search_goes_on_where_it_was(kind: str, tmp_path: Path) -> None:
    """No trial is repeated, the grid's first point and the seed's first draw least of all."""
    space = SearchSpace({"x": Continuous(-5.0, 5.0, n_points=6), "k": Discrete(1, 5)})

    def start(n: int, **config: Any) -> HyperparameterTuner:
        made = TunerConfig("s", max_trials=n, **config)
        return HyperparameterTuner(made, space, STRATEGIES[kind](seed=7))

    def objective(trial: Trial) -> float:
        return float((trial["x"] - 2) ** 2 + trial["k"])

    whole = start(30).optimize(objective)
    start(13, output_dir=tmp_path, save_checkpoints=True).optimize(objective)
    resumed = start(30, output_dir=tmp_path, save_checkpoints=True).load_checkpoint(tmp_path / "s")
    assert len(resumed.study) == 13
    result = resumed.optimize(objective)
    assert (len(result.trials), result.stop_reason) == (30, "max_trials")
    assert params_of(result) == params_of(whole)
    points = {tuple(point.values()) for point in params_of(result)}
    assert len(points) == 30
    assert result.best_value == whole.best_value


def test_an_unseeded_search_goes_on_with_the_seed_it_drew(tmp_path: Path) -> None:
    first = make(5, strategy=RandomSearch(), output_dir=tmp_path)
    first.optimize(parabola)
    path = first.save_checkpoint()
    assert path == tmp_path / "s" / "checkpoint.msgpack"
    second = make(10, strategy=RandomSearch(), output_dir=tmp_path).load_checkpoint(path)
    assert second.study.sampler.seed == first.study.sampler.seed
    assert params_of(second.optimize(parabola))[:5] == params_of(first.optimize(parabola))


def test_another_seed_at_a_resume_is_not_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(5, output_dir=tmp_path).save_checkpoint()
    other = HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=5, seed=9, output_dir=tmp_path), SPACE)
    assert other.load_checkpoint(path).study.sampler.seed == 0
    assert "the checkpoint's seed 0 goes on, not 9" in caplog.text


def test_another_strategy_takes_over_at_a_resume(tmp_path: Path) -> None:
    first = make(5, output_dir=tmp_path)
    first.optimize(parabola)
    path = first.save_checkpoint()
    second = make(8, strategy=BayesianOptimization(seed=3), output_dir=tmp_path).load_checkpoint(path)
    assert type(second.study.sampler).__name__ == "TPESampler"
    assert second.study.sampler.seed == 3
    result = second.optimize(parabola)
    assert len(result.trials) == 8
    assert params_of(result)[:5] == params_of(first.optimize(parabola))


class Halves(Sampler):
    """A sampler of the user's own."""

    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        generator = np.random.default_rng([self.seed, draw])
        return {"x": float(generator.integers(-5, 6)), "rate": float(generator.uniform(1e-5, 1e-1))}


def test_a_sampler_of_the_users_own_goes_on(tmp_path: Path) -> None:
    whole = make(8, strategy=Strategy(Halves(seed=1))).optimize(parabola)
    first = make(4, strategy=Strategy(Halves(seed=1)), output_dir=tmp_path)
    first.optimize(parabola)
    second = make(8, strategy=Strategy(Halves(seed=1)), output_dir=tmp_path).load_checkpoint(first.save_checkpoint())
    assert params_of(second.optimize(parabola)) == params_of(whole)


def test_pruning_after_a_resume_is_as_the_config_says(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        trial.report(parabola(trial), 0)
        if trial.should_prune():
            raise TrialPruned
        return parabola(trial)

    config = PruningConfig(strategy="percentile", percentile=0.3)
    whole = make(40, pruning=config).optimize(objective)
    first = make(20, pruning=config, output_dir=tmp_path)
    first.optimize(objective)
    path = first.save_checkpoint()
    same = make(40, pruning=config, output_dir=tmp_path).load_checkpoint(path)
    pruner = same.study.pruner
    assert isinstance(pruner, PercentilePruner) and pruner.percentile == 30.0
    result = same.optimize(objective)
    assert [trial.state for trial in result.trials] == [trial.state for trial in whole.trials]
    assert whole.statistics.pruned_trials > 5
    without = make(40, output_dir=tmp_path).load_checkpoint(path)
    assert without.study.pruner is None
    before = without.study.table.counts[TrialState.PRUNED]
    assert without.optimize(objective).statistics.pruned_trials == before


def test_max_trials_counts_over_resumes_and_durations_add_up(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        time.sleep(0.01)
        return 1.0

    first = make(10, output_dir=tmp_path, save_checkpoints=True)
    before = first.optimize(objective).total_duration
    time.sleep(0.3)
    second = make(12, output_dir=tmp_path, save_checkpoints=True).load_checkpoint(tmp_path / "s")
    result = second.optimize(objective)
    assert len(result.trials) == 12
    assert 0.12 <= result.total_duration < before + 0.3  # the pause between the runs does not count


def test_a_trial_that_ran_when_the_study_was_saved_runs_again(tmp_path: Path) -> None:
    first = make(3, output_dir=tmp_path)
    lost = first.study.ask()
    path = first.save_checkpoint()
    result = make(3, output_dir=tmp_path).load_checkpoint(path).optimize(parabola)
    assert [trial.state.name for trial in result.trials] == ["COMPLETE"] * 3
    assert result.trials[0].params == lost.params


def test_a_directory_that_holds_a_study_is_refused_and_the_ways_out_work(tmp_path: Path) -> None:
    def again(**config: Any) -> HyperparameterTuner:
        return make(6, output_dir=tmp_path, save_checkpoints=True, **config)

    again().optimize(parabola)
    checkpoint = tmp_path / "s" / "checkpoint.msgpack"
    content = checkpoint.read_bytes()
    for call in (lambda: again().optimize(parabola), lambda: again().save_checkpoint()):
        with pytest.raises(StudyExists, match=r"load_checkpoint.*another study_name.*overwrite=True"):
            call()
    with pytest.raises(StudyExists):
        make(6, output_dir=tmp_path).optimize(parabola)
    assert checkpoint.read_bytes() == content
    assert len(again().load_checkpoint(checkpoint).optimize(parabola).trials) == 6
    replaced = again(overwrite=True)
    replaced.study.enqueue({"x": 2.0})
    assert replaced.optimize(parabola).best_value == 0.0
    assert Study.load(checkpoint).best_value == 0.0


def test_a_checkpoint_from_elsewhere_does_not_open_a_taken_directory(tmp_path: Path) -> None:
    make(3, output_dir=tmp_path / "one", save_checkpoints=True).optimize(parabola)
    make(3, output_dir=tmp_path / "two", save_checkpoints=True).optimize(parabola)
    tuner = make(6, output_dir=tmp_path / "two").load_checkpoint(tmp_path / "one" / "s")
    with pytest.raises(StudyExists):
        tuner.optimize(parabola)


def test_checkpoints_of_another_study_are_refused_with_the_difference(tmp_path: Path) -> None:
    path = make(3, output_dir=tmp_path).save_checkpoint()
    wider = SearchSpace({"x": Continuous(-9.0, 5.0), "rate": LogUniform(1e-5, 1e-1), "new": Discrete(1, 2)})
    turned = SearchSpace({"rate": SPACE["rate"], "x": SPACE["x"]})
    for space, direction, difference in [
        (SPACE, "maximize", "its direction is 'minimize', this tuner's 'maximize'"),
        (wider, "minimize", r"its 'x' is Continuous\(low=-5.0.*this tuner's Continuous\(low=-9.0.*its 'new' is None"),
        (turned, "minimize", r"in the order \['x', 'rate'\], this tuner's \['rate', 'x'\]"),
    ]:
        tuner = make(3, space, direction=direction)
        with pytest.raises(CorruptCheckpoint, match=difference):
            tuner.load_checkpoint(path)
        assert len(tuner.study) == 0 and tuner.study.space == space


def test_checkpoints_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make().load_checkpoint(tmp_path)
    path = make(3, output_dir=tmp_path).save_checkpoint()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorruptCheckpoint):
        make().load_checkpoint(path)


def test_load_checkpoint_comes_before_the_first_trial(tmp_path: Path) -> None:
    path = make(3, output_dir=tmp_path).save_checkpoint()
    tuner = make(3)
    tuner.optimize(parabola)
    with pytest.raises(TrialStateError, match="must come before the first trial, but this tuner has 3"):
        tuner.load_checkpoint(path)
