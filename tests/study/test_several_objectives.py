"""A study of several objectives: what it is told, what it says, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fasthpo
from fasthpo import TrialState
from tests.support.studies import content

SPACE = {"x": fasthpo.Continuous(0.0, 1.0), "c": fasthpo.Categorical(["a", "b"])}
NAN = math.nan


def study(*directions: str, **options: Any) -> fasthpo.Study:
    return fasthpo.Study(
        SPACE, fasthpo.RandomSampler(seed=0), directions=directions or ("minimize", "maximize"), **options
    )


# --- what it is made of


def test_directions_are_those_of_each_objective() -> None:
    assert study("minimize", "maximize").directions == ("minimize", "maximize")
    assert fasthpo.Study(SPACE).directions == ("minimize",)
    assert fasthpo.Study(SPACE, direction="maximize").directions == ("maximize",)
    assert fasthpo.Study(SPACE, directions=np.array(["maximize"])).direction == "maximize"


@pytest.mark.parametrize(
    "directions", ["minimize", ["up"], [], ["minimize"] * 17, 3, [["minimize"]], {"a": "minimize"}, [None, "minimize"]]
)
def test_directions_that_are_none_are_refused(directions: Any) -> None:
    with pytest.raises(fasthpo.InvalidValue, match=r"directions must .*got"):
        fasthpo.Study(SPACE, fasthpo.RandomSampler(seed=0), directions=directions)


def test_direction_and_directions_together_are_refused() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="give direction, of one objective, or directions, of several"):
        fasthpo.Study(SPACE, direction="minimize", directions=["minimize", "maximize"])


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"sampler": fasthpo.CmaEsSampler(seed=0)}, "CmaEsSampler works on one objective, got 2 directions"),
        ({"pruner": fasthpo.WilcoxonPruner(0.1)}, "WilcoxonPruner.* works on one objective, got 2 directions; pruners"),
        ({"pruner": fasthpo.ThresholdPruner(upper=1.0)}, "ThresholdPruner.* works on one objective"),
        ({"pruner": fasthpo.PatientPruner(fasthpo.MedianPruner(), 3)}, "PatientPruner.* works on one objective"),
        ({"pruner": fasthpo.MedianPruner(pool="completed")}, "MedianPruner.*'completed'.* works on one objective"),
    ],
)
def test_parts_that_work_on_one_objective_are_refused_and_others_named(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(fasthpo.InvalidValue, match=named):
        fasthpo.Study(SPACE, **parts, directions=["minimize", "minimize"])
    fasthpo.Study(SPACE, **parts, directions=["minimize"])


def test_the_error_names_the_samplers_that_work_on_several() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="RandomSampler, GridSampler, QMCSampler"):
        fasthpo.Study(SPACE, fasthpo.CmaEsSampler(seed=0), directions=["minimize", "minimize"])
    s = study()
    with pytest.raises(fasthpo.InvalidValue, match=r"WilcoxonPruner.* works on one objective"):
        s.pruner = fasthpo.WilcoxonPruner(0.1)
    assert s.pruner is None
    s.pruner = fasthpo.MedianPruner()


class Own(fasthpo.Sampler):
    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        return {"x": 0.5, "c": "a"}


class OwnOfSeveral(Own):
    has_several_objectives = True


def test_a_sampler_of_the_users_own_says_whether_it_works_on_several() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="Own works on one objective"):
        fasthpo.Study(SPACE, Own(seed=0), directions=["minimize", "minimize"])
    assert fasthpo.Study(SPACE, OwnOfSeveral(seed=0), directions=["minimize", "minimize"]).ask()["x"] == 0.5


@pytest.mark.parametrize(
    "strategy", [fasthpo.RandomSearch(seed=0), fasthpo.GridSearch(), fasthpo.Strategy(fasthpo.QMCSampler(seed=0))]
)
def test_strategies_that_train_in_full_work_with_their_sampler(strategy: fasthpo.Strategy) -> None:
    s = fasthpo.Study({"n": fasthpo.Discrete(1, 9)}, strategy=strategy, directions=["minimize", "minimize"])
    for _ in range(9):
        trial = s.ask()
        s.tell(trial, [trial["n"], -trial["n"]])
    assert len(s.best_trials) == 9


# --- what it is told

WAYS: dict[str, Callable[[float, float], Any]] = {
    "a list": lambda a, b: [a, b],
    "a tuple": lambda a, b: (a, b),
    "an array": lambda a, b: np.array([a, b]),
    "single precision": lambda a, b: np.array([a, b], np.float32),
    "a series": lambda a, b: pd.Series([a, b], index=["y", "x"]),
    "a tensor": lambda a, b: torch.tensor([a, b]),
    "tensors": lambda a, b: [torch.tensor(a, requires_grad=True), torch.tensor(b)],
    "an iterator": lambda a, b: iter([a, b]),
    "masked": lambda a, b: np.ma.masked_where([a != a, b != b], [a, b]),
    "a mixed list": lambda a, b: [np.float32(a), b],
}


@pytest.mark.parametrize("way", WAYS)
def test_values_of_any_kind_are_taken(way: str) -> None:
    s = study()
    assert s.tell(s.ask(), WAYS[way](0.5, 2.0)) == TrialState.COMPLETE
    assert s.tell(s.ask(), WAYS[way](0.5, NAN)) == TrialState.FAILED
    assert s.trials[0].objective_values() == (0.5, 2.0) and s.trials[1].objective_values() is None
    assert np.isnan(s.values[1]).all() and s.values.shape == (2, 2)
    assert "nan" in (s.trials[1].error or "")


@pytest.mark.parametrize(
    "value", [0.5, [0.5], [1.0, 2.0, 3.0], [], ["a", "b"], [0.5, None], "ab", {"a": 1}, [[1.0, 2.0]], [10**400, 1]]
)
def test_what_is_no_value_for_each_objective_is_refused_and_nothing_is_lost(value: Any) -> None:
    s = study()
    trial = s.ask()
    with pytest.raises(fasthpo.InvalidValue, match="value must be 2 numbers"):
        s.tell(trial, value)
    assert trial.state == TrialState.RUNNING
    s.tell(trial, [1, 2])


def test_states_and_values_go_together_as_with_one_objective() -> None:
    s = study()
    with pytest.raises(fasthpo.InvalidValue, match="value must be 2 numbers, got None"):
        s.tell(s.ask())
    assert s.tell(0, state=TrialState.PRUNED) == TrialState.PRUNED
    assert s.tell(s.ask(), [1.0, 2.0], state=TrialState.PRUNED) == TrialState.PRUNED
    assert s.tell(s.ask(), state=TrialState.FAILED, error="why") == TrialState.FAILED
    assert s.tell(s.ask(), [math.inf, 1.0]) == TrialState.COMPLETE
    with pytest.raises(fasthpo.InvalidValue, match="needs a value that is not NaN"):
        s.tell(s.ask(), [1.0, NAN], state=TrialState.COMPLETE)
    with pytest.raises(fasthpo.InvalidValue, match="a FAILED trial has no value"):
        s.tell(4, [1.0, 2.0], state=TrialState.FAILED)
    assert [t.objective_values() for t in s.trials] == [None, (1.0, 2.0), None, (math.inf, 1.0), None]
    assert len(s.best_trials) == 0  # an infinity ranks worst


TABLES: dict[str, Callable[[list[list[float]]], Any]] = {
    "lists": lambda rows: rows,
    "an array": np.array,
    "in columns": lambda rows: np.asfortranarray(np.array(rows)),
    "a frame": lambda rows: pd.DataFrame(rows, columns=["b", "a"], index=[7, 3, 1]),
    "a tensor": torch.tensor,
    "arrays": lambda rows: [np.array(row) for row in rows],
    "masked": lambda rows: np.ma.masked_where(np.isnan(rows), rows),
    "an iterator": lambda rows: iter(rows),
    "objects": lambda rows: np.array(rows, object),
}


@pytest.mark.parametrize("way", TABLES)
def test_batches_take_tables_of_any_kind(way: str) -> None:
    rows = [[0.5, 2.0], [NAN, 1.0], [0.25, math.inf]]
    s = study()
    states = s.tell_batch(s.ask_batch(3).numbers, TABLES[way](rows))
    assert states.tolist() == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    s.add_trials({"x": [0.1, 0.2, 0.3], "c": ["a", "b", "a"]}, TABLES[way](rows))
    assert [t.objective_values() for t in s.trials] == [(0.5, 2.0), None, (0.25, math.inf)] * 2


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 1.0, 2.0],
        np.zeros(3),
        np.zeros((3, 3)),
        np.zeros((2, 2)),
        [[1.0, 2.0], [1.0], [1.0, 2.0]],
        0.5,
        "abc",
        None,
        [None] * 3,
        [["a", "b"]] * 3,
    ],
)
def test_tables_of_another_shape_are_refused_and_nothing_is_told(values: Any) -> None:
    s = study()
    numbers = s.ask_batch(3).numbers
    before = content(s)
    for call in (lambda: s.tell_batch(numbers, values), lambda: s.add_trials({"x": [0.1] * 3, "c": ["a"] * 3}, values)):
        with pytest.raises(fasthpo.InvalidValue, match=r"values must be an array of shape \(3, 2\)"):
            call()
    assert content(s) == before


def test_no_trials_at_once_are_none() -> None:
    s = study()
    assert len(s.tell_batch([], np.empty((0, 2)))) == 0 and len(s.add_trials({"x": [], "c": []}, [])) == 0


# --- what it says


def test_what_is_of_one_objective_only_is_refused_and_names_what_there_is() -> None:
    s = study()
    s.tell(s.ask(), [0.5, 2.0])
    for what in ("best_trial", "best_value", "best_params"):
        with pytest.raises(fasthpo.InvalidValue, match="best_trials"):
            getattr(s, what)
    with pytest.raises(fasthpo.InvalidValue, match="directions"):
        _ = s.direction
    for read in (lambda: s.trials[0].value, s.trials[0].objective_value):
        with pytest.raises(fasthpo.InvalidValue, match="objective_values"):
            read()
    assert "values=[0.5, 2.0]" in repr(s.trials[0])
    assert repr(s) == "Study(1 trials, minimize, maximize, RandomSampler, 1 on the front)"
    assert list(s.trials[0].values()) == list(s.trials[0].params.values())  # a trial is a mapping


def test_reports_are_vectors_also_partly_known() -> None:
    s = study()
    trial = s.ask()
    trial.report([0.5, 2.0], 3)
    trial.report(np.array([0.25, NAN]), 7)
    trial.report((1, math.inf), 5)
    assert trial.should_prune() is False and trial.directions == ("minimize", "maximize")
    assert (
        list(trial.reports) == [3, 5, 7]
        and repr(list(trial.reports.values())) == "[(0.5, 2.0), (1.0, inf), (0.25, nan)]"
    )
    assert s.table.reports.value.shape == (3, 2)
    s.tell(trial, state=TrialState.PRUNED)  # which keeps its last report that is whole
    assert trial.objective_values() == (1.0, math.inf)
    s.tell(s.ask(), state=TrialState.PRUNED)
    assert s.trials[1].objective_values() is None


@pytest.mark.parametrize("value", [0.5, [0.5], [1.0, 2.0, 3.0], None, "ab", [None, 1.0]])
def test_reports_that_are_no_value_for_each_objective_are_refused(value: Any) -> None:
    s = study()
    with pytest.raises(fasthpo.InvalidValue, match="value must be 2 numbers"):
        s.ask().report(value, 1)
    assert len(s.table.reports) == 0


def test_the_first_vector_at_a_step_stands(caplog: pytest.LogCaptureFixture) -> None:
    s = study()
    trial = s.ask()
    trial.report([0.5, NAN], 1)
    trial.report([0.5, NAN], 1)
    assert not caplog.records
    trial.report([0.5, 1.0], 1)
    assert "trial 0 has reported" in caplog.text and repr(trial.reports) == "{1: (0.5, nan)}"


def test_many_reports_are_kept_whatever_their_number() -> None:
    s = study()
    trials = [s.ask() for _ in range(3)]
    for step in range(25_000):  # more than an array of values holds
        for trial in trials:
            trial.report([step, -trial.number], step)
    assert len(s.table.reports) == 75_000
    assert s.table.reports.value[-1].tolist() == [24_999, -2] and trials[1].reports[20_000] == (20_000.0, -1.0)
    assert s.table.reports.trial.tolist()[:6] == [0, 1, 2, 0, 1, 2]


def test_a_study_without_trials_has_an_empty_front() -> None:
    s = study()
    assert len(s.best_trials) == 0 and s.values.shape == (0, 2) and s.hypervolume([1.0, 0.0]) == 0.0
    assert s.front()[0].shape == (0,) and s.front()[1].shape == (0, 2)
    assert s.table.violations.shape == (0,) and s.table.constraints.shape == (0, 0)


def test_values_are_views_that_can_not_be_written() -> None:
    s = study()
    for i in range(300):  # more than there is room for at first
        s.tell(s.ask(), [i, -i], constraints=[i - 200.0, 0.0])
    assert s.values.tolist() == [[i, -i] for i in range(300)]
    assert s.table.constraints.tolist() == [[i - 200.0, 0.0] for i in range(300)]
    for view in (s.values, s.table.constraints, s.table.violations):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1.0


def test_the_weights_of_trials_on_the_front_stay() -> None:
    s = study("minimize", "minimize")
    with pytest.raises(fasthpo.InvalidValue, match="with 2 objectives keep must be 'all', or 'best'"):
        s.keep_checkpoints(2)
    s.keep_checkpoints("best")
    for values in ([1.0, 1.0], [0.5, 2.0], [0.5, 0.5], [3.0, 0.1], [math.inf, 0.0]):
        trial = s.ask()
        (trial.checkpoint_dir / "weights").write_text("x")
        s.tell(trial, values)
    left = sorted(path.name for path in s.trials[3].checkpoint_dir.parent.iterdir())
    assert left == ["trial-2", "trial-3"]


def test_a_wider_space_keeps_values_and_constraints(tmp_path: Any) -> None:
    s = study(storage=tmp_path)
    s.tell(s.ask(), [0.5, 1.0], constraints=[1.0])
    s.close()
    wider = {**SPACE, "c": fasthpo.Categorical(["z", "a", "b"])}
    again = fasthpo.Study.load(tmp_path, space=wider)
    assert again.trials[0].objective_values() == (0.5, 1.0) and again.trials[0].constraints == (1.0,)
    assert again.directions == ("minimize", "maximize")
