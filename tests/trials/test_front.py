"""The front of several objectives: which trials are on it, whatever the order in which they were told."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo.trials import front as front_module
from fasthpo.trials.front import scaled

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}


def study(*directions: str) -> fasthpo.Study:
    return fasthpo.Study(SPACE, fasthpo.RandomSampler(seed=0), directions=directions)


def naive_front(losses: list[list[float]], feasible: list[bool]) -> list[int]:
    """The numbers of the trials on the front, by comparing all with all."""
    counts = [i for i, row in enumerate(losses) if feasible[i] and all(map(math.isfinite, row))]

    def dominates(i: int, j: int) -> bool:
        pairs = list(zip(losses[i], losses[j], strict=True))
        if all(a == b for a, b in pairs):
            return i < j  # of equal ones the earliest
        return all(a <= b for a, b in pairs)

    return [j for j in counts if not any(dominates(i, j) for i in counts if i != j)]


values = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, 1e308, -1e308, math.inf, -math.inf, math.nan])


@settings(max_examples=80)
@given(data=st.data(), m=st.integers(2, 4))
def test_the_front_is_that_of_comparing_all_with_all(data: st.DataObject, m: int) -> None:
    directions = data.draw(st.lists(st.sampled_from(["minimize", "maximize"]), min_size=m, max_size=m))
    rows = data.draw(st.lists(st.lists(values, min_size=m, max_size=m), max_size=25))
    n = len(rows)
    violations = data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, math.nan]), min_size=n, max_size=n))
    order = data.draw(st.permutations(range(n)))
    signs = [1.0 if one == "minimize" else -1.0 for one in directions]
    losses = [[sign * value for sign, value in zip(signs, row, strict=True)] for row in rows]
    expected = naive_front(losses, [not v > 0 for v in violations])
    asked, looked_at, at_once = (study(*directions) for _ in range(3))
    for one in (asked, looked_at):
        if n:
            one.ask_batch(n)
        for number in order:
            constraints = None if math.isnan(violations[number]) else [violations[number]]
            one.tell(number, rows[number], constraints=constraints)
            if one is looked_at:
                assert len(one.best_trials) <= number + n
    if n:
        batch = at_once.ask_batch(n)
        at_once.tell_batch(batch.numbers, rows, constraints=np.array(violations)[:, None])
    for one in (asked, looked_at, at_once):
        numbers, reached = one.front()
        assert numbers.tolist() == expected == [trial.number for trial in one.best_trials]
        assert reached.tolist() == [rows[number] for number in expected]


def test_many_trials_at_once_are_sorted_and_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for m in (2, 4):
        rows = np.round(rng.random((150, m)), 1)
        one, other = study(*["minimize"] * m), study(*["minimize"] * m)
        for s in (one, other):
            s.add_trials({"x": np.linspace(0, 1, 150)}, rows)
            s.add_trials({"x": np.linspace(0, 1, 150)}, rows[::-1] - 0.05)
        with monkeypatch.context() as patched:
            patched.setattr(front_module, "_ONE_BY_ONE", 10**9)
            numbers = one.front()[0].tolist()
        assert other.front()[0].tolist() == numbers
        assert numbers == naive_front([*rows.tolist(), *(rows[::-1] - 0.05).tolist()], [True] * 300)


def test_a_look_at_the_front_costs_no_pass_over_the_history() -> None:
    def cost(n: int) -> float:
        s = study("minimize", "minimize")
        rng = np.random.default_rng(0)
        s.add_trials({"x": rng.random(n)}, rng.random((n, 2)))
        len(s.best_trials)
        times = []
        for _ in range(40):
            trial = s.ask()
            s.tell(trial, [2.0, 2.0])
            begin = time.perf_counter()
            len(s.best_trials)
            times.append(time.perf_counter() - begin)
        return float(np.median(times))

    cost(100)
    assert cost(200_000) < 20 * cost(200)  # a pass would take hundreds of times as long


def test_the_front_of_one_objective_is_its_best_trial() -> None:
    s = study("maximize")
    assert len(s.best_trials) == 0 and s.front()[1].shape == (0, 1) and s.hypervolume([0.0]) == 0.0
    for value in (0.5, 2.0, math.inf, 1.0):
        s.tell(s.ask(), value)
    assert [trial.number for trial in s.best_trials] == [1] == s.front()[0].tolist()
    assert s.front()[1].tolist() == [[2.0]] and s.hypervolume([0.5]) == 1.5


def test_best_trials_stay_as_they_were_and_are_made_when_looked_at() -> None:
    s = study("minimize", "minimize")
    s.tell(s.ask(), [1.0, 1.0])
    before = s.best_trials
    s.tell(s.ask(), [0.5, 2.0])
    assert (len(before), len(s.best_trials)) == (1, 2)
    assert [t.number for t in s.best_trials[0:2]] == [0, 1] and s.best_trials[-1].number == 1
    with pytest.raises(IndexError):
        before[1]


def test_the_hypervolume_is_in_the_users_directions() -> None:
    s = study("maximize", "minimize")
    for accuracy, latency in [(0.5, 1.0), (0.75, 2.0), (0.25, 0.5), (0.25, 3.0)]:
        s.tell(s.ask(), [accuracy, latency])
    # by strips of latency: from 0.5 to 1 accuracy 0.25, to 2 0.5, to 4 0.75
    assert s.hypervolume([0.0, 4.0]) == pytest.approx(0.5 * 0.25 + 1.0 * 0.5 + 2.0 * 0.75)
    assert s.hypervolume((0.6, 2.0)) == 0.0
    assert s.hypervolume(np.array([0.6, 4.0])) == pytest.approx(0.15 * 2.0)


@pytest.mark.parametrize(
    "reference", [None, 1.0, [1.0], [1.0, 2.0, 3.0], [1.0, math.nan], [1.0, math.inf], "ab", ["a", 1]]
)
def test_a_reference_that_is_none_is_refused(reference: Any) -> None:
    s = study("minimize", "minimize")
    with pytest.raises(fasthpo.InvalidValue, match="reference must be a finite number for each of 2 objectives, got"):
        s.hypervolume(reference)


def test_the_knee_gives_up_least_of_each_objective() -> None:
    s = study("maximize", "minimize")
    s.tell(s.ask(), [1.0, 100.0])
    s.tell(s.ask(), [0.0, 0.0])
    assert s.table.front.knee() is None
    s.tell(s.ask(), [0.9, 20.0])
    s.tell(s.ask(), [0.5, 15.0])
    assert s.table.front.knee() == 2
    assert scaled(np.array([[1e308, 1.0], [-1e308, 1.0]])).tolist() == [[1.0, 0.0], [0.0, 0.0]]
