"""A tuner of several objectives, and of constraints over metrics: its configuration, hooks, files and what it prints."""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo.tuner import front_volume
from fasthpo.tuner import progress as progress_module
from fasthpo.tuner.front_volume import FrontVolume
from fasthpo.tuner.progress import Progress

SPACE = {
    "width": fasthpo.Discrete(1, 64),
    "kind": fasthpo.Categorical(["small", "large"]),
    "momentum": fasthpo.Continuous(0.0, 1.0, when={"kind": ["large"]}),
}
BOTH = {"direction": ["maximize", "minimize"], "objective_metric": ["accuracy", "latency"]}


class Recorder(fasthpo.HyperparameterCallback):
    def __init__(self) -> None:
        self.best: list[tuple[int, float]] = []
        self.directions: tuple[str, ...] = ()

    def on_study_start(self, config: fasthpo.TunerConfig) -> None:
        self.directions = config.directions

    def on_new_best(self, trial: fasthpo.Trial, improvement: float) -> None:
        self.best.append((trial.number, improvement))


def make(max_trials: int = 20, **config: Any) -> fasthpo.HyperparameterTuner:
    made = fasthpo.TunerConfig("s", max_trials=max_trials, seed=0, **{**BOTH, **config})
    return fasthpo.HyperparameterTuner.with_random_search(made, SPACE)


def objective(trial: fasthpo.Trial) -> dict[str, float]:
    width = trial["width"]
    return {"accuracy": 1 - 1 / width, "latency": width + trial.get("momentum", 0.0), "memory": width / 4}


# --- its configuration


def test_directions_and_metrics_are_those_of_each_objective() -> None:
    config = fasthpo.TunerConfig("s", constraints=("memory <= 8",), **BOTH)
    assert config.directions == ("maximize", "minimize") and config.objective_metrics == ("accuracy", "latency")
    assert fasthpo.TunerConfig.from_dict(config.to_dict()) == config
    assert fasthpo.TunerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    one = fasthpo.TunerConfig("s", direction=["maximize"], objective_metric=["accuracy"])
    assert one == fasthpo.TunerConfig("s", direction="maximize", objective_metric="accuracy")
    assert one.directions == ("maximize",) and fasthpo.TunerConfig("s").objective_metrics is None


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"direction": ["minimize", "up"]}, "directions must list 'minimize' or 'maximize'"),
        ({"direction": []}, "directions must be those of 1 to 16 objectives"),
        ({"objective_metric": ["accuracy"]}, "must name each objective once"),
        ({"objective_metric": "accuracy"}, "must name each objective once"),
        ({"objective_metric": ["accuracy", "accuracy"]}, "must name each objective once"),
        ({"objective_metric": ["accuracy", ""]}, "objective_metric must be None or a metric's name"),
        ({"objective_metric": [1, 2]}, "objective_metric must be None or a metric's name"),
        ({"direction": "minimize"}, "must name each objective once"),
        (
            {"pruning": fasthpo.PruningConfig(strategy="wilcoxon")},
            'pruning with strategy="wilcoxon" needs one objective, got 2 directions; "median"',
        ),
        ({"early_stopping": fasthpo.EarlyStoppingConfig()}, "early_stopping needs one objective"),
        ({"keep_checkpoints": 3}, "keep_checkpoints must be 'all', or 'best' for the trials on the front"),
        ({"constraints": "memory <= 8"}, "constraints must be a list of at most 64 texts"),
        ({"constraints": [8]}, "a constraint must be a string"),
        ({"constraints": ["memory < 8"]}, "a constraint must be a metric's name, <= or >=, and a number"),
        ({"constraints": ["memory <= a lot"]}, "got 'memory <= a lot'"),
        ({"constraints": ["<= 8"]}, "got '<= 8'"),
        ({"constraints": ["memory <="]}, "got 'memory <='"),
        ({"constraints": ["memory <= inf"]}, "got 'memory <= inf'"),
        ({"constraints": ["memory <= nan"]}, "got 'memory <= nan'"),
        ({"constraints": ["1 <= memory <= 8"]}, "got '1 <= memory <= 8'"),
        ({"constraints": ["memory == 8"]}, "got 'memory == 8'"),
        ({"constraints": ["memory <= 8"] * 65}, "at most 64"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises(fasthpo.InvalidValue, match=re.escape(rule)):
        fasthpo.TunerConfig("s", **{**BOTH, **wrong})


@pytest.mark.parametrize(
    ("text", "metrics", "excess"),
    [
        ("memory_gb <= 8", {"memory_gb": 9.5}, 1.5),
        ("memory_gb<=8", {"memory_gb": 8}, 0.0),
        (" val/loss @1 >= -1e-3 ", {"val/loss @1": 0.5}, -0.501),
        ("accuracy >= +0.9", {"accuracy": 0.5}, 0.4),
        ("a <= 1", {"a": math.inf}, math.inf),
        ("a >= 1", {"a": math.inf}, -math.inf),
    ],
)
def test_a_constraint_says_by_how_much_it_is_broken(text: str, metrics: dict[str, float], excess: float) -> None:
    config = fasthpo.TunerConfig("s", constraints=[text])
    assert config.limits[0].excess(metrics) == pytest.approx(excess)


def test_strategies_and_samplers_of_one_objective_are_refused() -> None:
    config = fasthpo.TunerConfig("s", max_trials=5, **BOTH)

    class Own(fasthpo.Strategy):
        is_multi_fidelity = True

    with pytest.raises(fasthpo.InvalidValue, match="Own works on one objective, got 2 directions; strategies that"):
        fasthpo.HyperparameterTuner(config, SPACE, Own(fasthpo.RandomSampler(seed=0)))
    with pytest.raises(fasthpo.InvalidValue, match="CmaEsSampler works on one objective"):
        fasthpo.HyperparameterTuner(config, SPACE, fasthpo.Strategy(fasthpo.CmaEsSampler(seed=0)))


# --- the run


def test_new_bests_are_those_with_which_the_front_grows() -> None:
    recorder = Recorder()
    values = [[0.5, 5.0], [0.4, 6.0], [0.6, 5.5], [0.5, 5.0], [0.9, 1.0], [0.1, math.inf], [0.1, 0.5]]
    tuner = make(len(values), objective_metric=None).add_callback(recorder)
    result = tuner.optimize(lambda trial: values[trial.number])
    assert recorder.best == [(number, math.inf) for number in (0, 2, 4, 6)]
    assert recorder.directions == ("maximize", "minimize")
    assert [trial.number for trial in result.best_trials] == [4, 6] and result.statistics.front_trials == (4, 6)
    assert result.statistics.best_value is None and result.hypervolume([0.0, 2.0]) == pytest.approx(0.9 + 0.05)


def test_with_one_objective_a_trial_that_breaks_a_constraint_is_no_new_best() -> None:
    recorder = Recorder()
    tuner = make(6, direction="minimize", objective_metric="loss", constraints=["memory <= 8", "loss >= 0.1"])
    rows = [(0.5, 9.0), (0.9, 8.0), (0.2, 8.5), (0.8, 1.0), (0.05, 1.0), (0.7, 0.0)]
    tuner.add_callback(recorder)
    result = tuner.optimize(lambda t: dict(zip(("loss", "memory"), rows[t.number], strict=True)))
    assert [(number, round(by, 9)) for number, by in recorder.best] == [(1, math.inf), (3, 0.1), (5, 0.1)]
    assert result.best_trial.number == 5 and result.statistics.infeasible_trials == 3
    assert "(6 complete (3 of them break a constraint)" in str(result)
    assert result.best_trial.constraints == (-8.0, pytest.approx(-0.6))


def test_a_study_in_which_nothing_keeps_the_constraints_says_so() -> None:
    result = make(3, constraints=["latency <= 0"]).optimize(objective)
    assert "No trial has completed with a finite value and kept its constraints." in str(result)
    assert len(result.best_trials) == 0 and result.statistics.front_trials == ()


def test_the_log_says_what_became_of_the_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fasthpo"):
        make(2, constraints=["memory <= 0"]).optimize(objective)
        make(2).optimize(objective)
    assert "study s begins: maximize, minimize, at most 2 trials" in caplog.text
    assert re.search(r"trial 0 completed with values \d\S*, \d\S*, which breaks a constraint in", caplog.text)
    assert re.search(r"new best: trial 0 with values \d\S*, \d[^:]*: {", caplog.text)
    assert re.search(r"in \S+ s, \d on the front", caplog.text)


def progress_of(study: fasthpo.Study, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the progress line of a study says."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=screen))
    with Progress("s", study, 10, math.inf):
        pass
    return screen.getvalue()


def test_the_progress_line_says_how_large_the_front_is(monkeypatch: pytest.MonkeyPatch) -> None:
    study = make().study
    assert "front of 0" in progress_of(study, monkeypatch)
    for values in ([0.5, 1.0], [0.6, 2.0]):
        study.tell(study.ask(), values)
    shown = progress_of(study, monkeypatch)
    assert "front of 2" in shown and "hypervolume" not in shown


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["minimize", "maximize", "maximize"]])
def test_the_hypervolume_is_to_the_worst_of_the_first_ten_completed_trials(
    directions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, m = np.random.default_rng(0), len(directions)
    config = fasthpo.TunerConfig("s", seed=0, direction=directions, output_dir=tmp_path, save_checkpoints=True)
    study = fasthpo.HyperparameterTuner.with_random_search(config, SPACE).study
    counted: list[list[float]] = []
    while len(counted) < 10:
        assert "hypervolume" not in progress_of(study, monkeypatch)
        trial, values = study.ask(), random.random(m)
        if trial.number % 3 == 0:
            study.tell(trial, state=fasthpo.TrialState.FAILED)
        elif trial.number % 3 == 1:
            study.tell(trial, [math.inf, *values[1:]])
        else:  # some break a constraint
            study.tell(trial, values, constraints=[0.5 - trial.number % 2])
            counted.append(values.tolist())
    worst = {"maximize": np.min, "minimize": np.max}
    reference = [float(worst[one](column)) for one, column in zip(directions, zip(*counted, strict=True), strict=True)]
    volume = FrontVolume(study)
    assert volume.reference() == pytest.approx(reference)
    before = study.hypervolume(reference)
    assert f"hypervolume {before:.5g}" in progress_of(study, monkeypatch)
    far = [-5.0 if one == "maximize" else 5.0 for one in directions]
    study.tell(study.ask(), far, constraints=[0.0])  # worse than the reference, which does not move
    study.tell(study.ask(), [-one for one in far], constraints=[0.0])
    assert volume.reference() == pytest.approx(reference)
    assert volume.now(at_once=True) == pytest.approx(study.hypervolume(reference))
    assert study.hypervolume(reference) > before + 1
    shown = f"front of 1, hypervolume {study.hypervolume(reference):.5g}"
    assert shown in progress_of(study, monkeypatch)
    study.save(tmp_path / "saved.msgpack")
    again = fasthpo.HyperparameterTuner.with_random_search(config, SPACE).load_checkpoint(tmp_path / "saved.msgpack")
    assert shown in progress_of(again.study, monkeypatch)


def test_a_hypervolume_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 120.0, 150.9, 151.1, 151.2, 152.0, 153.0, 153.1])
    monkeypatch.setattr(front_volume, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    study = make().study
    for i in range(10):
        study.tell(study.ask(), [i / 10, 10.0])
    volume = FrontVolume(study)
    assert volume.now() == 0.0  # none is better than the worst in both; it took from 100 to 101
    study.tell(study.ask(), [1.0, 9.0])
    assert volume.now() == 0.0  # at 120
    assert volume.now() == 0.0  # at 150.9: 50 seconds are not over
    assert volume.now() == pytest.approx(1.0)
    study.tell(study.ask(), [1.0, 8.0])
    assert volume.now() == pytest.approx(1.0)
    assert volume.now(at_once=True) == pytest.approx(2.0)


def test_of_more_than_three_objectives_the_progress_line_has_no_hypervolume(monkeypatch: pytest.MonkeyPatch) -> None:
    study = fasthpo.Study(SPACE, fasthpo.RandomSampler(seed=0), directions=["minimize"] * 4)
    for i in range(12):
        study.tell(study.ask(), [i, -i, i, -i])
    shown = progress_of(study, monkeypatch)
    assert "front of 12" in shown and "hypervolume" not in shown


# --- what is printed, and files


def test_the_front_is_printed_from_the_best_of_the_first_objective_on() -> None:
    result = make(15, constraints=["latency <= 60"]).optimize(objective)
    lines = str(result).splitlines()
    found = f"{len(result.best_trials)} trials, best accuracy first (maximize accuracy, minimize latency)"
    assert lines[1] == f"On the front: {found}"
    assert lines[2].split() == ["trial", "accuracy", "latency", "width", "kind", "momentum"]
    rows = [line.split() for line in lines[3:-1]]  # the last says what the last trials gained
    numbers = [int(row[0]) for row in rows]
    assert sorted(numbers) == [trial.number for trial in result.best_trials]
    accuracies = [result.trials[number].objective_values()[0] for number in numbers]  # type: ignore[index]
    assert accuracies == sorted(accuracies, reverse=True)
    marked = [row[0] for row in rows if row[-2:] == ["<-", "knee"]]
    assert marked == [str(result.study.table.front.knee())]
    assert lines[-1].startswith("The last 10 trials found ")
    assert any("-" in row for row in rows)  # a parameter that is inactive
    for copied in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert str(copied) == str(result)
        assert copied.front()[0].tolist() == result.front()[0].tolist()


def test_values_on_a_front_have_as_many_decimals() -> None:
    rows = [(0.97, 2650), (0.905, 1626), (0.8, 746.5)]
    lines = str(make(3).optimize(lambda trial: list(rows[trial.number]))).splitlines()
    assert [line.split()[1:3] for line in lines[3:]] == [["0.970", "2650.0"], ["0.905", "1626.0"], ["0.800", "746.5"]]
    one = str(make(1).optimize(lambda trial: [1e-7, 5.0])).splitlines()
    assert one[1].startswith("On the front: 1 trial, best accuracy") and one[3].split()[1:3] == ["1e-07", "5"]


def test_of_a_long_front_some_are_printed_with_both_ends_and_the_knee() -> None:
    names = [f"a_parameter_with_a_long_name_{i}" for i in range(9)]
    space = {name: fasthpo.Continuous(0.0, 1.0) for name in names}
    config = fasthpo.TunerConfig("s", max_trials=200, seed=0, direction=["minimize", "minimize"])
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, space)
    x = names[0]
    result = tuner.optimize(lambda trial: (trial[x], (1 - trial[x]) ** 2))
    lines = str(result).splitlines()
    assert "On the front: 200 trials" in lines[1] and re.search(r"; (19|20) of them:$", lines[1])
    numbers = [int(line.split()[0]) for line in lines[3:-2]]
    ordered = sorted(range(200), key=lambda number: result.trials[number][x])
    assert (numbers[0], numbers[-1]) == (ordered[0], ordered[-1]) and len(numbers) <= 20
    assert result.study.table.front.knee() in numbers
    assert lines[2].split()[:3] == ["trial", "values_0", "values_1"]
    assert "Further parameters, see result.best_trials: " in lines[-2] and names[-1] in lines[-2]
    assert max(map(len, lines[2:-2])) <= 130


def test_the_files_for_people_have_the_front(tmp_path: Path) -> None:
    tuner = make(12, save_checkpoints=True, output_dir=tmp_path, constraints=["memory <= 10"])
    result = tuner.optimize(objective)
    statistics = json.loads((tmp_path / "s" / "statistics.json").read_text())
    assert statistics["directions"] == ["maximize", "minimize"] and "direction" not in statistics
    assert statistics["front_trials"] == [trial.number for trial in result.best_trials]
    best = json.loads((tmp_path / "s" / "best_parameters.json").read_text())
    assert [one["number"] for one in best["front"]] == statistics["front_trials"]
    for one in best["front"]:
        trial = result.trials[one["number"]]
        assert (one["params"], tuple(one["values"])) == (trial.params, trial.objective_values())
        assert tuple(one["constraints"]) == trial.constraints and one["metrics"] == trial.metrics
    history = json.loads((tmp_path / "s" / "trial_history.json").read_text())
    assert [tuple(record["values"]) for record in history["trials"]] == [t.objective_values() for t in result.trials]


def test_a_saved_study_goes_on_and_others_are_refused(tmp_path: Path) -> None:
    whole = make(20).optimize(objective)
    make(8, save_checkpoints=True, output_dir=tmp_path).optimize(objective)
    again = make(20, save_checkpoints=True, output_dir=tmp_path).load_checkpoint(tmp_path / "s")
    result = again.optimize(objective)
    assert [t.params for t in result.trials] == [t.params for t in whole.trials]
    assert [t.number for t in result.best_trials] == [t.number for t in whole.best_trials]
    for directions, shown in ((["maximize", "maximize"], "['maximize', 'maximize']"), ("minimize", "'minimize'")):
        other = make(20, direction=directions, objective_metric=None)
        with pytest.raises(
            fasthpo.CorruptCheckpoint,
            match=re.escape(f"its direction is ['maximize', 'minimize'], this tuner's {shown}"),
        ):
            other.load_checkpoint(tmp_path / "s")


def test_statistics_of_one_objective_have_no_front() -> None:
    result = make(3, direction="minimize", objective_metric="latency").optimize(objective)
    assert result.statistics.front_trials is None and "front_trials" not in result.statistics.to_dict()


# --- trials that are given up


def in_epochs(trial: fasthpo.Trial) -> dict[str, float]:
    found = objective(trial)
    for epoch in range(1, 5):
        trial.report([found["accuracy"] - 1 / (epoch + 1), found["latency"] if epoch > 1 else math.nan], epoch)
        if trial.should_prune():
            raise fasthpo.TrialPruned
    return found


@pytest.mark.parametrize("backend", ["inline", "processes"])
def test_trials_behind_the_layers_of_others_are_pruned_wherever_they_run(backend: str) -> None:
    tuner = make(pruning=fasthpo.PruningConfig(n_startup_trials=3))
    result = tuner.optimize(in_epochs, workers=1, backend=backend)
    assert 0 < result.statistics.pruned_trials < 20
    again = make(pruning=fasthpo.PruningConfig(n_startup_trials=3))
    assert again.optimize(in_epochs).statistics.pruned_trials == result.statistics.pruned_trials
    assert [t.state for t in result.trials] == [t.state for t in again.optimize(in_epochs).trials]


def to_its_resource(trial: fasthpo.Trial) -> dict[str, float]:
    found = objective(trial)
    assert all(len(values) == 2 and isinstance(values, tuple) for values in trial.rungs.values())
    assert list(trial.rungs) == [r for r in (1, 3) if r < trial.resource]
    return {**found, "accuracy": found["accuracy"] - 1 / trial.resource}


@pytest.mark.parametrize("backend", ["inline", "processes"])
def test_the_tuner_halves_by_layers_and_resumes(backend: str, tmp_path: Path) -> None:
    def made(output: Path) -> fasthpo.HyperparameterTuner:
        config = fasthpo.TunerConfig(
            "s", max_total_resource=60, max_trials=None, output_dir=str(output), save_checkpoints=True,
            constraints=("memory <= 8",), **BOTH,
        )  # fmt: skip
        return fasthpo.HyperparameterTuner(config, SPACE, fasthpo.Hyperband(9, sampler=fasthpo.RandomSampler(seed=0)))

    result = made(tmp_path / "a").optimize(to_its_resource, workers=1, backend=backend)
    assert result.statistics.paused_trials and result.statistics.completed_trials
    assert all(all(g <= 0 for g in trial.constraints) for trial in result.best_trials)
    assert "Resource spent" in str(result)
    assert [t.rungs for t in result.trials] == [t.rungs for t in made(tmp_path / "b").optimize(to_its_resource).trials]
