"""What a tuner writes, when, and how it goes on from there."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasthpo.errors import (
    CorruptCheckpoint,
    InvalidSearchSpace,
    StorageError,
    StudyExists,
    StudyInUse,
    TrialPruned,
    TrialStateError,
)
from fasthpo.pruners.percentile import PercentilePruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.kinds import Continuous, Discrete, LogUniform
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.strategies.single_fidelity import BayesianOptimization, RandomSearch
from fasthpo.study.study import Study
from fasthpo.trials.trial import Trial, TrialState
from fasthpo.tuner.callbacks import HyperparameterCallback
from fasthpo.tuner.config import PruningConfig, TunerConfig
from fasthpo.tuner.tuner import HyperparameterTuner
from tests.support.tuning import SPACE, STRATEGIES, make, parabola, params_of

# --- files


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    tuner = make(3, output_dir=tmp_path / "out")
    tuner.optimize(parabola)
    assert list(tmp_path.iterdir()) == []
    make(3, output_dir=tmp_path / "out", save_checkpoints=True)
    assert list(tmp_path.iterdir()) == []  # nor on construction


def test_the_files(tmp_path: Path) -> None:
    tuner = make(12, output_dir=tmp_path, save_checkpoints=True)
    result = tuner.optimize(lambda trial: math.nan if trial.number % 3 == 0 else parabola(trial))
    names = ["best_parameters.json", "checkpoint.msgpack", "journal.msgpack", "statistics.json", "trial_history.json"]
    assert sorted(path.name for path in (tmp_path / "s").iterdir() if path.name != ".lock") == names

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


def test_every_trial_is_kept_from_the_first_one_on(tmp_path: Path) -> None:
    found = []

    def objective(trial: Trial) -> float:
        kept = Study.load(tmp_path / "s", read_only=True)
        found.append([one.state.name for one in kept.trials])
        return parabola(trial)

    tuner = make(3, output_dir=tmp_path, save_checkpoints=True)
    tuner.study.enqueue({"x": 2.0})
    tuner.optimize(objective)
    assert found == [["RUNNING"], ["COMPLETE", "RUNNING"], ["COMPLETE", "COMPLETE", "RUNNING"]]


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    class Told(HyperparameterCallback):
        def __init__(self) -> None:
            self.best: list[int] = []

        def on_trial_complete(self, trial: Trial) -> None:
            if trial.number == 7:  # what a SIGKILL would leave now
                shutil.copytree(tmp_path / "s", tmp_path / "killed" / "s")

        def on_new_best(self, trial: Trial, improvement: float) -> None:
            self.best.append(trial.number)

    whole = Told()
    expected = make(20, strategy=BayesianOptimization(seed=1), output_dir=tmp_path, save_checkpoints=True)
    expected.add_callback(whole).optimize(parabola)
    after = Told()
    tuner = make(20, strategy=BayesianOptimization(seed=1), output_dir=tmp_path / "killed", save_checkpoints=True)
    result = tuner.load_checkpoint(tmp_path / "killed" / "s").add_callback(after).optimize(parabola)
    assert [trial.params for trial in result.trials] == [trial.params for trial in expected.study.trials]
    assert after.best == [number for number in whole.best if number > 7]
    assert len(Study.load(tmp_path / "killed" / "s", read_only=True)) == 20


def test_a_tuner_goes_on_in_its_directory_unless_another_was_there(tmp_path: Path) -> None:
    config = TunerConfig("s", max_duration=math.inf, output_dir=tmp_path, save_checkpoints=True)
    tuner = HyperparameterTuner(config, SPACE, RandomSearch(seed=0))

    def objective(trial: Trial) -> float:
        if trial.number % 3 == 2:
            tuner.stop()
        return parabola(trial)

    tuner.optimize(objective)
    tuner.study.enqueue({"x": 1.5})  # between two runs the study is in memory
    tuner.study.add_trials({"x": [0.5], "rate": [1e-3]}, [7.0])
    tuner.save_checkpoint()
    assert len(Study.load(tmp_path / "s", read_only=True)) == 5
    tuner.optimize(objective)
    kept = Study.load(tmp_path / "s")
    assert [t.params for t in kept.trials] == [t.params for t in tuner.study.trials]
    assert kept.trials[3]["x"] == 1.5 and len(kept) == 6
    with pytest.raises(StudyExists, match="has changed since"):
        kept.tell(kept.ask(), 1.0)
        tuner.optimize(objective)
    kept.close()
    with pytest.raises(StudyExists, match="has changed since"):
        tuner.save_checkpoint()


def test_a_checkpoint_can_be_made_while_the_tuner_runs(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 2:
            assert tuner.save_checkpoint() == tmp_path / "s" / "checkpoint.msgpack"
            assert len(Study.load(tmp_path / "s", read_only=True)) == 3
        return parabola(trial)

    tuner = make(4, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(objective)
    assert len(Study.load(tmp_path / "s", read_only=True).table.tell_order) == 4


def test_files_are_where_the_tuner_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    tuner = make(3, output_dir="out", save_checkpoints=True, keep_checkpoints="best")

    def objective(trial: Trial) -> float:
        trial.checkpoint_dir.joinpath("weights").write_text("w")
        monkeypatch.chdir(tmp_path / "elsewhere")
        return parabola(trial)

    tuner.optimize(objective)
    tuner.save_checkpoint()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(Study.load(tmp_path / "out" / "s", read_only=True)) == 3
    assert (tmp_path / "out" / "s" / "trial_history.json").exists()
    assert len(list((tmp_path / "out" / "s" / "checkpoints").iterdir())) == 1


def test_a_study_that_is_open_elsewhere_is_not_written(tmp_path: Path) -> None:
    tuner = make(3, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(parabola)
    again = make(6, output_dir=tmp_path, save_checkpoints=True).load_checkpoint(tmp_path / "s")
    with Study.load(tmp_path / "s"), pytest.raises(StudyInUse, match="this very process"):
        again.optimize(parabola)
    assert len(again.optimize(parabola).trials) == 6


def test_a_disk_that_is_full_ends_the_run_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def objective(trial: Trial) -> float:
        if trial.number == 4:
            monkeypatch.setattr("fasthpo.storage.journal.os.write", fail)
        return parabola(trial)

    tuner = make(9, output_dir=tmp_path, save_checkpoints=True)
    with pytest.raises(StorageError, match=r"No space left.*journal\.msgpack"):
        tuner.optimize(objective)
    assert len(tuner.study.table.tell_order) == 5
    monkeypatch.undo()
    assert len(Study.load(tmp_path / "s", read_only=True).table.tell_order) >= 4
    assert len(tuner.optimize(parabola).trials) == 9
    assert len(Study.load(tmp_path / "s").table.tell_order) == 9


def test_a_wider_space_is_taken_on_request(tmp_path: Path) -> None:
    make(5, output_dir=tmp_path, save_checkpoints=True).optimize(parabola)
    wider = SearchSpace({"rate": SPACE["rate"], "x": Continuous(-9.0, 9.0)})

    def tuner() -> HyperparameterTuner:
        return make(40, wider, output_dir=tmp_path, save_checkpoints=True)

    with pytest.raises(CorruptCheckpoint, match=r"its 'x' is .*load_checkpoint\(path, widen=True\)"):
        tuner().load_checkpoint(tmp_path / "s")
    result = tuner().load_checkpoint(tmp_path / "s", widen=True).optimize(parabola)
    assert len(result.trials) == 40 and any(abs(trial["x"]) > 5 for trial in result.trials)
    narrow = make(50, SearchSpace({"rate": SPACE["rate"], "x": Continuous(0.0, 1.0)}), output_dir=tmp_path)
    with pytest.raises(InvalidSearchSpace, match="must hold every trial"):
        narrow.load_checkpoint(tmp_path / "s", widen=True)


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
