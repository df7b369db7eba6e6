"""Pruning under several objectives: decisions of slow twins, whatever is reported and in whatever order."""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import TrialState
from fasthpo.kernels.pruning import vectors
from fasthpo.trials import latest
from tests.support import naive_layers, naive_pruners
from tests.support.pruning import COMPILED, INF, NAN, Run, events, play

DIRECTIONS = (("minimize", "minimize"), ("maximize", "minimize"), ("minimize", "maximize", "maximize"))


def with_vectors(sequence: Any, data: st.DataObject, m: int) -> Any:
    """The same events, with m values each: the one that was drawn, and others."""
    seed = data.draw(st.integers(0, 2**20))
    random = np.random.default_rng(seed)
    special = [NAN, INF, -INF, 0.0, 1.0, 1e308, 5e-324]

    def more() -> float:
        return float(random.choice(special) if random.random() < 0.3 else random.integers(0, 4))

    return [
        (what, which, on, np.array([v, *(more() for _ in range(m - 1))]), state)
        for what, which, on, v, state in sequence
    ]


@settings(max_examples=50 if COMPILED else 20)
@given(
    data=st.data(),
    sequence=events,
    directions=st.sampled_from(DIRECTIONS),
    percent=st.sampled_from([0.0, 25.0, 50.0, 75.0, 100.0]),
    startup=st.sampled_from([0, 2]),
    min_steps=st.sampled_from([0, 2]),
)
def test_a_percentile_of_layers_decides_as_its_twin(
    data: Any, sequence: Any, directions: Any, percent: float, startup: int, min_steps: int
) -> None:
    run = Run(fasthpo.PercentilePruner(percent, startup, min_steps), directions)
    asked = itertools.count()

    def check(number: int) -> None:
        if next(asked) % 3 == 0:
            expected = naive_layers.should_prune(run.table, number, percent, startup, min_steps)
            assert run.should_prune(number) == expected

    play(run, with_vectors(sequence, data, len(directions)), check)
    again = run.again()
    for number in run.table.running.tolist():
        assert again.should_prune(run.table, number) == run.should_prune(number)


@pytest.mark.parametrize("most", [256, 5])
@settings(max_examples=40 if COMPILED else 15)
@given(data=st.data(), sequence=events, directions=st.sampled_from(DIRECTIONS), eta=st.sampled_from([2, 3]))
def test_halving_by_layers_decides_as_its_twin(most: int, data: Any, sequence: Any, directions: Any, eta: int) -> None:
    with mock.patch.object(latest, "MOST", most):
        run = Run(fasthpo.SuccessiveHalvingPruner(1, eta), directions)
        asked = itertools.count()

        def check(number: int) -> None:
            if next(asked) % 5 == 0:
                stopped = naive_layers.Halving(run.log, directions, 1, eta).stopped
                assert run.should_prune(number) == (number in stopped)

        play(run, with_vectors(sequence, data, len(directions)), check)
        again = run.again()
        known = naive_layers.Halving(naive_pruners.events_of(run.table), directions, 1, eta).stopped
        for number in run.table.running.tolist():
            assert again.should_prune(run.table, number) == run.should_prune(number) == (number in known)


PRUNERS = {
    "median": lambda: fasthpo.MedianPruner(0),
    "halving": lambda: fasthpo.SuccessiveHalvingPruner(1, 2),
}


def study(pruner: str, directions: Any = ("minimize", "minimize")) -> fasthpo.Study:
    space = {"x": fasthpo.Continuous(0.0, 1.0)}
    return fasthpo.Study(space, fasthpo.RandomSampler(seed=0), pruner=PRUNERS[pruner](), directions=directions)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_an_objective_that_is_always_the_same_changes_next_to_nothing(pruner: str) -> None:
    values = np.random.default_rng(0).permutation(41).astype(float).tolist()
    one = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, fasthpo.RandomSampler(seed=0), pruner=PRUNERS[pruner]())
    two, found = study(pruner, ("minimize", "maximize")), []
    for value in values:
        trials = one.ask(), two.ask()
        trials[0].report(value, 1)
        trials[1].report([value, 7.0], 1)
        found.append(tuple(trial.should_prune() for trial in trials))
    # layers go on by ones, so that a trial between two of which the percentile is the middle is never beyond it
    assert all(alone or not layered for alone, layered in found) and {alone for alone, _ in found} == {True, False}
    assert sum(alone != layered for alone, layered in found) <= (4 if pruner == "median" else 0)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_trial_alone_and_all_equal_ones_go_on(pruner: str) -> None:
    s = study(pruner)
    for i in range(8):
        trial = s.ask()
        trial.report([1.0, INF], 1)
        assert not trial.should_prune() or (pruner == "halving" and i)
    assert study(pruner).ask().should_prune() is False


def test_a_trial_on_the_front_goes_on_and_a_dominated_one_does_not() -> None:
    s = study("median")
    for values in ([0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]):
        s.ask().report(values, 1)
    between, behind = s.ask(), s.ask()
    between.report([2.0, 2.0], 1)
    behind.report([3.5, 3.5], 1)
    assert not between.should_prune() and behind.should_prune()


def test_the_best_of_each_objective_counts_and_what_is_nan_is_unknown() -> None:
    s = study("median")
    for i in range(4):
        trial = s.ask()
        trial.report([0.2 + i / 10, 0.2 + i / 10], 1)
        trial.report([0.2 + i / 10, 0.2 + i / 10], 2)
    apart, unknown = s.ask(), s.ask()
    apart.report([0.1, 9.0], 1)
    apart.report([9.0, 0.1], 2)  # worse than all in one, but it has been better than all in the other
    unknown.report([NAN, NAN], 1)
    unknown.report([NAN, NAN], 2)
    assert not apart.should_prune() and unknown.should_prune()
    unknown.report([0.05, NAN], 3)
    assert not unknown.should_prune()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_of_many_trials_a_bounded_number_is_compared_and_the_share_is_kept(pruner: str) -> None:
    s, random = study(pruner), np.random.default_rng(0)
    pruned = []
    for _ in range(600):
        trial = s.ask()
        trial.report(random.random(2), 1)
        pruned.append(trial.should_prune())
        s.tell(trial, [0.0, 0.0], TrialState.PRUNED if pruned[-1] else None)
    assert 0.3 < np.mean(pruned[300:]) < 0.7
    kept = (
        s.pruner._pools._pools[1].state[vectors.SIZE] if pruner == "median" else len(s.pruner._rungs.rungs[0]._latest)
    )
    assert kept == 256
    again = PRUNERS[pruner]()
    again.attach(s.table)
    trials = [s.ask() for _ in range(20)]
    for trial in trials:
        trial.report(random.random(2), 1)
    assert [again.should_prune(s.table, t.number) for t in trials] == [t.should_prune() for t in trials]
