"""Pruned trials are placed by how many others were better at their last step: the kernel, and the ranks it makes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo import Continuous, MedianPruner, RandomSampler, Study, ThresholdPruner, TrialState, WilcoxonPruner
from fasthpo.kernels.pruning.curves import count_better
from fasthpo.samplers.ranks import Ranks, SortKey, sort_key
from fasthpo.values import FloatArray
from tests.support import naive_ranks as naive_places

Curve = dict[int, float]  # values by step
VALUES = st.sampled_from([-math.inf, -1e308, -1.0, 0.0, 5e-324, 1.0, 1e308, math.inf, math.nan])
CURVES = st.lists(st.tuples(st.booleans(), st.dictionaries(st.integers(0, 6), VALUES, max_size=5)), max_size=7)


def study_of(
    trials: list[tuple[float | None, Curve]], direction: str = "minimize", by_rank: bool = True
) -> tuple[Study, list[SortKey]]:
    """A study of trials that were told a value, or pruned (None), and their keys."""
    pruner = MedianPruner() if by_rank else None
    study = Study({"x": Continuous(0.0, 1.0)}, sampler=RandomSampler(seed=0), pruner=pruner, direction=direction)
    for value, curve in trials:
        trial = study.ask()
        for step, reported in curve.items():
            trial.report(reported, step)
        if value is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return study, sorted(sort_key(study.table, number) for number in range(len(trials)))


def ranks_of(study: Study, keys: list[SortKey]) -> FloatArray:
    return Ranks(study._state.followers.pruner.prunes_by_rank).of(study.table, keys)


@settings(deadline=None)  # the first call compiles
@given(CURVES, st.sampled_from(["minimize", "maximize"]), st.booleans())
def test_ranks_are_those_of_the_slow_twin(curves: list[tuple[bool, Curve]], direction: str, by_rank: bool) -> None:
    trials = [
        ([0.0, 1.0, 2.0, math.inf][i % 4] if completes else None, curve) for i, (completes, curve) in enumerate(curves)
    ]
    study, keys = study_of(trials, direction, by_rank)
    wanted = naive_places.ranks(study.table, keys, by_rank)
    np.testing.assert_allclose(ranks_of(study, keys), wanted, atol=1e-12)


def test_ranks_by_hand() -> None:
    trials: list[tuple[float | None, Curve]] = [
        (1.0, {0: 9.0, 1: 5.0, 2: 1.0}),
        (2.0, {0: 4.0, 1: 3.0, 2: 2.0}),
        (3.0, {0: 8.0, 1: 6.0, 2: 3.0}),
        (None, {0: 7.0, 1: 5.5}),  # at step 1 two are better: behind 1.0 and 2.0, before 3.0
        (None, {0: 9.5}),  # all four are better
    ]
    study, keys = study_of(trials)
    ranks = dict(zip([key[3] for key in keys], ranks_of(study, keys), strict=True))
    # trial 2 and 3 have the same score, 2, and share the ranks 2.5 and 3.5
    assert ranks == {0: 0.5, 1: 1.5, 2: 3.0, 3: 3.0, 4: 4.5}


@pytest.mark.parametrize("more", [[], [(None, {})], [(2.0, {})]], ids=str)
def test_nothing_to_compare_with(more: Any) -> None:
    """Then a pruned trial is behind the complete ones, as in the order of all trials."""
    study, keys = study_of([(1.0, {}), (None, {3: 0.0}), *more])
    ranks = dict(zip([key[3] for key in keys], ranks_of(study, keys), strict=True))
    assert all(ranks[key[3]] < ranks[1] for key in keys if key[0] == 0)


def test_a_pruned_trial_is_never_the_best() -> None:
    study, keys = study_of([(1.0, {0: 1.0}), (None, {0: 0.0}), (2.0, {0: 2.0})])
    assert keys[0][3] == 0 and ranks_of(study, keys).tolist() == [0.5, 2.5, 1.5]


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_that_diverged_is_the_worst(last: float, direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    study, keys = study_of(
        [(sign * i, {0: sign * i, 1: sign * i}) for i in range(6)] + [(None, {0: -sign, 1: last})], direction
    )
    assert keys[-1][3] == 6 and ranks_of(study, keys)[-1] == 6.5


@pytest.mark.parametrize(
    ("pruner", "curve"),
    [
        (ThresholdPruner(lower=0.0), {0: 8.0, 1: -1e30}),  # impossibly good
        (WilcoxonPruner(), {0: 0.0, 1: 5.0, 2: 6.0}),  # steps are folds, of which the first is easy
        (None, {0: 8.0, 1: 2.0}),  # for a reason of the user's own
    ],
    ids=str,
)
def test_trials_given_up_for_other_reasons_are_behind_the_complete_ones(pruner: Any, curve: Curve) -> None:
    study = Study({"x": Continuous(0.0, 1.0)}, sampler=RandomSampler(seed=0), pruner=pruner)
    for i in range(7):
        trial = study.ask()
        for step, value in (curve if i == 3 else {0: 0.0, 1: 1.0 + i, 2: 1.0 + i}).items():
            trial.report(value, step)
        study.tell(trial, None if i == 3 else 1.0 + i, state=TrialState.PRUNED if i == 3 else TrialState.COMPLETE)
    keys = sorted(sort_key(study.table, number) for number in range(7))
    assert keys[-1][3] == 3 and ranks_of(study, keys)[-1] == 6.5


def test_curves_are_kept_for_the_trials_asked_of_only() -> None:
    study, keys = study_of([(float(i), {0: float(i)}) for i in range(5)] + [(None, {0: 2.5}), (None, {0: 3.5})])
    places = Ranks(True)
    places.of(study.table, keys)
    places.of(study.table, keys[2:])
    assert set(places._curves) == {key[3] for key in keys[2:]}


def test_many_entries() -> None:
    random = np.random.default_rng(0)
    steps = np.tile(np.arange(1000), 1000)
    bests = np.minimum.accumulate(random.random((1000, 1000)), axis=1).ravel()
    starts = np.arange(0, 1_000_001, 1000)
    for i in (0, 500, 999):
        last = bests.reshape(1000, 1000)[:, -1]
        expected = np.sum(last < last[i]) + (np.sum(last == last[i]) - 1) / 2
        assert count_better(steps, bests, starts, 1000, i) == pytest.approx(expected)
