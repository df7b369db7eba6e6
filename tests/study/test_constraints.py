"""Constraints: what a study makes of what trials are told of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fasthpo
from fasthpo import TrialState
from tests.support.studies import content

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
NAN = math.nan


def study(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, fasthpo.RandomSampler(seed=0), **options)


def test_a_trial_that_breaks_a_constraint_is_never_the_best() -> None:
    s = study()
    s.tell(s.ask(), 0.1, constraints=[0.5, -3.0])
    with pytest.raises(fasthpo.NoCompletedTrials, match="a finite value and kept its constraints"):
        _ = s.best_trial
    s.tell(s.ask(), 0.9, constraints=[-1.0, 0.0])  # 0 is kept
    assert s.best_trial.number == 1
    s.tell(s.ask(), 0.2, constraints=[-1.0, math.inf])
    s.tell(s.ask(), 0.8, constraints=[-math.inf, -1.0])
    assert s.best_trial.number == 3 and s.best_value == 0.8
    s.tell(s.ask(), 0.7)  # which was told none, and counts as feasible
    assert s.best_trial.number == 4
    assert s.table.violations.tolist()[:4] == [0.5, 0.0, math.inf, 0.0] and math.isnan(s.table.violations[4])
    assert [t.constraints for t in s.trials][::4] == [(0.5, -3.0), None]


def test_batches_and_known_trials_have_constraints() -> None:
    s = study(direction="maximize")
    s.tell_batch(s.ask_batch(3).numbers, [1.0, 2.0, 3.0], constraints=[[-1.0], [0.0], [0.1]])
    assert s.best_trial.number == 1
    s.add_trials(
        {"x": [0.1, 0.2, 0.3]}, [9.0, 8.0, NAN], constraints=pd.DataFrame({"g": [0.5, -0.5, NAN]}, index=[3, 1, 2])
    )
    assert s.best_trial.number == 4 and s.trials[5].constraints is None
    assert s.table.violations.tolist()[:5] == [0.0, 0.0, 0.1, 0.5, 0.0]
    assert s.table.constraints.shape == (6, 1)
    s.tell_batch(s.ask_batch(2).numbers, [10.0, 10.0], constraints=np.full((2, 1), NAN))  # told none
    assert s.best_trial.number == 6 and s.table.constraints.shape == (8, 1)


@pytest.mark.parametrize(
    "constraints",
    [
        (1.0, -2.0),
        np.array([1, -2]),
        torch.tensor([1.0, -2.0]),
        iter([1, np.float32(-2)]),
        pd.Series([1, -2], index=[5, 4]),
    ],
)
def test_constraints_of_any_kind_are_taken(constraints: Any) -> None:
    s = study()
    s.tell(s.ask(), 1.0, constraints=constraints)
    assert s.trials[0].constraints == (1.0, -2.0) and s.table.violations[0] == 1.0


@pytest.mark.parametrize("constraints", [None, [], (), np.empty(0)])
def test_no_constraints_are_none(constraints: Any) -> None:
    s = study()
    s.tell(s.ask(), 1.0, constraints=constraints)
    assert s.table.constraints.shape == (1, 0) and s.trials[0].constraints is None and not s.table.has_constraints
    s.tell_batch(s.ask_batch(2).numbers, [1.0, 2.0], constraints=None if constraints is None else np.empty((2, 0)))
    assert not s.table.has_constraints


@pytest.mark.parametrize(
    ("constraints", "rule"),
    [
        ([NAN, 1.0], "a constraint must be a number, at most 0 where it is kept, and not NaN"),
        ([1.0], "all trials of a study have the same constraints: there were 2 so far, got 1"),
        ([1.0, 2.0, 3.0], "there were 2 so far, got 3"),
        (0.5, "constraints must be a one-dimensional array or a list, got 0.5"),
        (["a", 1], "must be a number, got 'a'"),
        ([None, 1], "must be a number, got None"),
        ({"g": 1.0, "h": 2.0}, "constraints must be"),
        ([[1.0, 2.0]], "must be a number"),
    ],
)
def test_constraints_that_are_none_are_refused_and_nothing_is_lost(constraints: Any, rule: str) -> None:
    s = study()
    s.tell(s.ask(), 1.0, constraints=[-1.0, -1.0])
    trial = s.ask()
    before = content(s)
    with pytest.raises(fasthpo.InvalidValue, match=rule):
        s.tell(trial, 1.0, constraints=constraints)
    assert content(s) == before and trial.state == TrialState.RUNNING
    s.tell(trial, 1.0, constraints=[-1.0, 2.0])
    assert s.best_trial.number == 0


@pytest.mark.parametrize(
    "constraints",
    [
        [1.0, 2.0, 3.0],
        [[1.0]],
        [[1.0]] * 4,
        [[NAN, 1.0]] * 3,
        [[1.0, 2.0], [1.0], [1.0]],
        "abc",
        [["a"]] * 3,
        np.zeros((3, 65)),
    ],
)
def test_tables_of_constraints_that_are_none_are_refused_and_nothing_is_told(constraints: Any) -> None:
    s = study()
    numbers = s.ask_batch(3).numbers
    before = content(s)
    for call in (
        lambda: s.tell_batch(numbers, [1.0, 2.0, 3.0], constraints=constraints),
        lambda: s.add_trials({"x": [0.1] * 3}, [1.0, 2.0, 3.0], constraints=constraints),
    ):
        with pytest.raises(fasthpo.InvalidValue, match="constraints"):
            call()
    assert content(s) == before


def test_failed_and_pruned_trials_keep_their_constraints() -> None:
    s = study()
    s.tell(s.ask(), state=TrialState.FAILED, constraints=[1.0])
    s.tell(s.ask(), state=TrialState.PRUNED, constraints=[2.0])
    s.tell(s.ask(), NAN, constraints=[3.0])
    assert s.table.violations.tolist() == [1.0, 2.0, 3.0]


def test_a_violation_that_is_too_large_for_a_number_is_infinite() -> None:
    s = study()
    with np.errstate(all="raise"):
        s.tell(s.ask(), 1.0, constraints=[1e308, 1e308, -math.inf])
    assert s.table.violations[0] == math.inf


def test_under_a_multi_fidelity_strategy_the_latest_constraints_count() -> None:
    s = fasthpo.Study(SPACE, strategy=fasthpo.SuccessiveHalving(3, sampler=fasthpo.RandomSampler(seed=0)))
    for i in range(3):  # the first rung
        s.tell(s.ask(), float(i), constraints=[1.0])
    assert s.trials[0].state == TrialState.PAUSED and s.trials[0].constraints == (1.0,)
    trial = s.ask()
    assert (trial.number, trial.resource) == (0, 3)  # the strategy goes by value
    s.tell(trial, 0.5, constraints=[-1.0])
    assert s.best_trial.number == 0 and s.table.violations.tolist() == [0.0, 1.0, 1.0]
    again = fasthpo.Study(SPACE, strategy=fasthpo.SuccessiveHalving(3, sampler=fasthpo.RandomSampler(seed=0)))
    numbers = again.ask_batch(3).numbers
    again.tell_batch(numbers, [0.0, 1.0, 2.0], constraints=[[1.0], [NAN], [-1.0]])
    assert [t.constraints for t in again.trials] == [(1.0,), None, (-1.0,)]


def test_the_weights_of_trials_that_break_a_constraint_are_not_those_of_the_best() -> None:
    s = study()
    s.keep_checkpoints("best")
    for value, constraint in [(0.1, 1.0), (0.5, -1.0), (0.3, 0.5), (0.4, 0.0)]:
        trial = s.ask()
        (trial.checkpoint_dir / "weights").write_text("x")
        s.tell(trial, value, constraints=[constraint])
    assert [path.name for path in s.trials[3].checkpoint_dir.parent.iterdir()] == ["trial-3"]
