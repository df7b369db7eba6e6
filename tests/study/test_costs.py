"""What trials cost: told, summed, kept, budgeted, and weighed by samplers."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.errors import InvalidValue
from fasthpo.trials.costs import costs_of
from tests.support.command_line import printed

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(0.0, 1.0),
        "kind": fasthpo.Categorical(["a", "b"]),
        "y": fasthpo.Continuous(0.0, 1.0, when={"kind": ["a"]}),
    }
)


def study(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=1), **options)


def run(s: fasthpo.Study, trials: int) -> None:
    """Trials that cost up to a hundredfold; one in seven fails, one in five does not tell its cost."""
    for _ in range(trials):
        trial = s.ask()
        loss = (trial["x"] - 0.4) ** 2 + trial.params.get("y", 0.5) ** 2
        cost = None if trial.number % 5 == 4 else 100.0 ** trial["x"]
        s.tell(trial, math.nan if trial.number % 7 == 6 else loss, cost=cost)


def test_a_trial_of_any_end_has_the_cost_that_it_was_told() -> None:
    s = study()
    s.tell(s.ask(), 0.5, cost=2)
    s.tell(s.ask(), state=TrialState.FAILED, cost=0)
    pruned = s.ask()
    pruned.report(0.5, 1)
    s.tell(pruned, state=TrialState.PRUNED, cost=np.float32(0.5))
    s.tell(s.ask(), 0.7, metrics={"cost": 0.25, "size": 3.0})
    running = s.ask()
    assert [trial.cost for trial in s.trials] == [2.0, 0.0, 0.5, 0.25, None]
    np.testing.assert_array_equal(s.costs, [2.0, 0.0, 0.5, 0.25, math.nan])
    assert s.cost_spent == 2.75
    s.tell(running, 0.5, cost=0.1)
    huge = study()
    for cost in (1e300, 5e-324, 0.0, None):
        huge.tell(huge.ask(), 0.5, cost=cost)
    assert huge.cost_spent >= 1e300 and s.cost_spent == 2.85 and s.best_trial.metrics == {"cost": 2.0}


@pytest.mark.parametrize("cost", [-1.0, math.nan, math.inf, "much", [1.0], 10**400])
def test_what_is_no_cost_is_refused_and_the_trial_still_runs(cost: Any) -> None:
    s = study()
    trial = s.ask()
    with pytest.raises(InvalidValue, match="cost must"):
        s.tell(trial, 0.5, cost=cost)
    assert trial.state == TrialState.RUNNING
    with pytest.raises(InvalidValue, match="another number"):
        s.tell(trial, 0.5, cost=1.0, metrics={"cost": 2.0})
    bad = [1.0, cost] if isinstance(cost, float) and not math.isnan(cost) else [1.0, "much"]
    with pytest.raises(InvalidValue, match="cost"):
        s.tell_batch([trial.number, s.ask().number], [0.1, 0.2], costs=bad)
    assert trial.state == TrialState.RUNNING
    s.tell(trial, 0.5, cost=1.0, metrics={"cost": 1.0})


def test_without_costs_the_seconds_count_and_a_missing_one_counts_by_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1e9
    monkeypatch.setattr("fasthpo.system.clock.StudyClock.now", lambda _: now)
    s = study()
    for seconds, cost in ((10.0, None), (20.0, 5.0), (40.0, None)):
        trial = s.ask()
        now += seconds
        s.tell(trial, 0.5, cost=cost)
        if trial.number == 0:
            assert s.cost_spent == 10.0
    assert s.cost_spent == 5.0 + (10 + 40) * 5 / 20
    s.tell(s.ask(), 0.5, metrics={"cost": -3.0})  # a metric of the user's own, and no cost
    s.tell(s.ask(), 0.5, metrics={"cost": math.inf})
    assert s.cost_spent == 5.0 + (10 + 40) * 5 / 20 and s.trials[3].metrics == {"cost": -3.0}


def test_batches_and_added_trials_tell_costs() -> None:
    s = study()
    added = s.add_trials({"x": [0.1, 0.2], "kind": ["b", "b"], "y": [None, None]}, [1.0, math.nan], costs=[3.0, 4.0])
    batch = s.ask_batch(3)
    states = s.tell_batch(batch.numbers, [0.1, math.nan, 0.3], costs=[1.0, 2.0, math.nan])
    assert added.tolist() == [0, 1] and states.tolist() == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    np.testing.assert_array_equal(s.costs, [3.0, 4.0, 1.0, 2.0, math.nan])
    assert [s.table.state(n) for n in (0, 1)] == [TrialState.COMPLETE, TrialState.FAILED] and s.best_trial.number == 2
    with pytest.raises(InvalidValue, match="costs must be 1 numbers"):
        s.add_trials({"x": [0.1], "kind": ["b"], "y": [None]}, [1.0], costs=[1.0, 2.0])
    assert len(s) == 5
    assert len(s.add_trials({"x": [], "kind": [], "y": []}, [], costs=[])) == 0


def test_trials_that_were_added_took_no_time_and_say_nothing_of_what_a_second_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1e9

    def tick(_: Any) -> float:
        nonlocal now
        now += 1e-3
        return now

    monkeypatch.setattr("fasthpo.system.clock.StudyClock.now", tick)
    columns = {"x": np.linspace(0.0, 1.0, 9), "kind": ["b"] * 9, "y": [None] * 9}
    s = study()
    s.add_trials(columns, np.zeros(9), costs=np.full(9, 3.0))
    failed = s.ask()
    now += 60.0
    s.tell(failed, state=TrialState.FAILED)
    assert s.cost_spent == 27.0  # what a second costs is not known
    told = s.ask()
    now += 30.0
    s.tell(told, 0.5, cost=10.0)
    assert s.cost_spent == pytest.approx(27.0 + 10.0 * 3, rel=1e-3)
    assert [trial.duration for trial in s.trials[:9]] == [0.0] * 9
    # nor are they cheap points for a search that goes by the seconds
    seconds = study()
    seconds.add_trials(columns, np.zeros(9))
    assert np.isnan(costs_of(seconds.table, np.arange(9))).all() and seconds.cost_spent == 0.0


def test_the_legs_of_a_trial_add_up() -> None:
    s = fasthpo.Study(
        SPACE, strategy=fasthpo.ASHA(max_resource=9, min_resource=1, sampler=fasthpo.RandomSampler(seed=0))
    )
    for _ in range(40):
        trial = s.ask()
        s.tell(trial, trial["x"], cost=0.1 * (trial.resource - trial.start_resource))
        assert s.cost_spent == round(0.1 * s.resource_spent, 9)  # exactly, however it was summed
    assert max(s.costs) == pytest.approx(0.9)
    with pytest.raises(InvalidValue, match="cost nothing"):
        s.add_trials({"x": [0.1], "kind": ["b"], "y": [None]}, [1.0], costs=[1.0])


@pytest.mark.parametrize("sampler", [fasthpo.TPESampler, fasthpo.AutoSampler])
def test_a_study_with_costs_goes_on_from_its_files_bit_for_bit(tmp_path: Path, sampler: Any) -> None:
    whole = fasthpo.Study(SPACE, sampler=sampler(seed=3, cost_aware=True))
    run(whole, 36)
    s = fasthpo.Study(SPACE, sampler=sampler(seed=3, cost_aware=True), storage=tmp_path / "s")
    run(s, 16)
    s.close()
    s = fasthpo.Study.load(tmp_path / "s")
    assert repr(s.sampler) == f"{sampler.__name__}({', '.join(f'{k}={v}' for k, v in s.sampler.options().items())})"
    assert s.sampler.options()["cost_aware"] is True
    run(s, 11)
    s.save(tmp_path / "copy.msgpack")
    s.close()
    s = fasthpo.Study.load(tmp_path / "copy.msgpack")
    run(s, 9)
    assert s.table.params.tobytes() == whole.table.params.tobytes()
    np.testing.assert_array_equal(s.costs, whole.costs)


def test_costs_are_in_exports(tmp_path: Path) -> None:
    s = study()
    s.tell(s.ask(), 0.5, cost=2.5)
    assert "metrics_cost" in s.to_csv(tmp_path / "s.csv").read_text().splitlines()[0]
    assert '"cost": 2.5' in s.to_json(tmp_path / "s.json").read_text()


def test_a_cost_aware_search_spends_less_a_trial() -> None:
    spent = {}
    space = {"x": fasthpo.Continuous(0.0, 1.0), "u": fasthpo.Continuous(0.0, 1.0)}
    for aware in (False, True):
        s = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0, cost_aware=aware))
        while len(s) < 60:
            asked = s.ask_batch(4)
            points = [asked[i] for i in range(4)]
            losses = [(point["u"] - 0.5) ** 2 for point in points]  # whatever x is
            s.tell_batch(asked.numbers, losses, costs=[100.0 ** point["x"] for point in points])
        spent[aware] = s.cost_spent
        assert s.best_value < 0.005
    assert spent[True] < 0.8 * spent[False]


@pytest.mark.parametrize("cost", [0.0, 3.0, None])
def test_equal_or_missing_costs_are_no_reason_to_prefer_a_point(cost: float | None) -> None:
    s = fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=0, cost_aware=True))
    for _ in range(40):
        trial = s.ask()
        s.tell(trial, (trial["x"] - 0.5) ** 2, cost=cost)
    assert s.best_value < 1e-3


def test_cost_aware_is_for_one_objective_trained_in_full() -> None:
    sampler = fasthpo.TPESampler(cost_aware=True)
    with pytest.raises(InvalidValue, match=r"cost_aware=True is for one objective.* 2 directions"):
        fasthpo.Study(SPACE, sampler=sampler, directions=["minimize", "maximize"])
    with pytest.raises(InvalidValue, match=r"cost_aware=True is for one objective.* ASHA"):
        fasthpo.Study(SPACE, strategy=fasthpo.ASHA(max_resource=9, sampler=sampler))
    assert "cost_aware" not in fasthpo.TPESampler(seed=0).options()


@pytest.mark.parametrize("told", [True, False])
def test_what_a_run_has_cost_is_said_where_its_trials_were_told_costs(told: bool, tmp_path: Path) -> None:
    config = fasthpo.TunerConfig(
        "costs", objective_metric="loss", max_trials=6, seed=0, output_dir=tmp_path, save_checkpoints=True
    )
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    result = tuner.optimize(lambda trial: {"loss": trial["x"], **({"cost": 2.5} if told and trial.number else {})})
    spent = f"{result.study.cost_spent:.6g}"
    for one in (result, copy.deepcopy(result)):
        assert (f"Cost spent: {spent}" in str(one).splitlines()) is told
    assert (
        ["cost", "spent", spent] in [line.split() for line in printed("show", config.study_dir).splitlines()]
    ) is told
    printed("report", config.study_dir, "-o", tmp_path / "page.html")
    assert ("cost spent" in (tmp_path / "page.html").read_text("utf-8")) is told


def test_a_run_ends_when_its_trials_have_cost_enough(tmp_path: Path) -> None:
    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        return {"loss": trial["x"], "cost": 1.5}

    config = fasthpo.TunerConfig(
        "costs", objective_metric="loss", max_cost=6, seed=0, output_dir=tmp_path, save_checkpoints=True
    )
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    result = tuner.optimize(objective)
    assert result.stop_reason == "max_cost" and len(result.trials) == 4
    assert result.trials[0].cost == 1.5
    assert tuner.optimize(objective).stop_reason == "max_cost" and len(tuner.study) == 4
    assert fasthpo.TunerConfig.from_dict(config.to_dict()) == config
    for bad in (0, -1.0, math.nan, math.inf, "all"):
        with pytest.raises(InvalidValue, match="max_cost must be"):
            fasthpo.TunerConfig("costs", max_cost=bad)  # type: ignore[arg-type]
