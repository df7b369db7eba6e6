"""Halving, Hyperband and ASHA against their definitions, over random histories of many workers."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import ASHA, Hyperband, InvalidValue, RandomSampler, SuccessiveHalving, TrialState
from fasthpo.strategies.rungs import halving_plan, hyperband_plans, rung_resources
from tests.support.naive_halving import Event, asynchronous, synchronous

SPACE = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)})


def study(strategy: fasthpo.Strategy, direction: str = "minimize") -> fasthpo.Study:
    return fasthpo.Study(SPACE, strategy=strategy, direction=direction)


def seeded(kind: type, *args: Any, **options: Any) -> Any:
    return kind(*args, sampler=RandomSampler(seed=0), **options)


def run(s: fasthpo.Study, asks: int) -> None:
    for _ in range(asks):
        trial = s.ask()
        s.tell(trial, trial["x"] + 1 / trial.resource)


# --- the arithmetic


@pytest.mark.parametrize(
    ("r", "eta", "trials"),
    [
        (81, 3, [81, 34, 15, 8, 5]),
        (243, 3, [243, 98, 41, 18, 9, 6]),
        (1000, 10, [1000, 134, 20, 4]),
        (1, 3, [1]),
        (2, 3, [1]),
    ],
)
def test_hyperband_starts_as_many_trials_as_the_paper_says(r: int, eta: int, trials: list[int]) -> None:
    plans = Hyperband(r, reduction_factor=eta).plans
    assert [plan.trials for plan in plans] == trials
    assert all(plan.resources[-1] == r for plan in plans)
    assert [len(plan.resources) for plan in plans] == list(range(len(plans), 0, -1))


def test_brackets_of_the_paper_rung_by_rung() -> None:
    # Li et al. 2018, table 1 has them for floor((s_max + 1) / (s + 1)) eta^s; these are those of its algorithm 1
    tables = [list(zip(plan.sizes(3), plan.resources, strict=True)) for plan in Hyperband(81).plans]
    assert tables[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert tables[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert tables[2:] == [[(15, 9), (5, 27), (1, 81)], [(8, 27), (2, 81)], [(5, 81)]]


@given(st.integers(1, 10**6), st.integers(1, 1000), st.integers(2, 10))
def test_rungs_lie_between_the_least_and_the_most(most: int, least: int, eta: int) -> None:
    least = min(least, most)
    plans = [*hyperband_plans(least, most, eta), halving_plan(least, most, eta)]
    for plan in plans:
        assert least <= plan.resources[0] and plan.resources[-1] == most
        assert list(plan.resources) == sorted(set(plan.resources))
        assert plan.sizes(eta)[-1] >= 1
    assert plans[0].resources[0] < least * eta  # no further rung would fit
    assert rung_resources(least, most, eta)[0] == least


def test_rungs_below_the_last_are_powers_of_the_reduction_factor() -> None:
    assert rung_resources(1, 100, 3) == (1, 3, 9, 27, 81, 100)
    assert rung_resources(2, 81, 3) == (2, 6, 18, 54, 81)
    assert hyperband_plans(1, 100, 3)[0].resources == (1, 3, 11, 33, 100)
    assert rung_resources(5, 5, 2) == (5,)


# --- against the definition

PLANS = {
    "halving": (lambda: seeded(SuccessiveHalving, 9), synchronous),
    "halving from 2 by 2": (lambda: seeded(SuccessiveHalving, 9, 2, 2), synchronous),
    "hyperband": (lambda: seeded(Hyperband, 9), synchronous),
    "hyperband, asynchronous": (lambda: seeded(Hyperband, 9, asynchronous=True), asynchronous),
    "asha": (lambda: seeded(ASHA, 27), asynchronous),
    "asha from 2 by 2": (lambda: seeded(ASHA, 9, 2, 2), asynchronous),
}
LOSSES = st.one_of(st.sampled_from([0.0, 1.0, math.inf, -math.inf, math.nan]), st.floats(allow_nan=True))


@pytest.mark.parametrize("which", PLANS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@settings(max_examples=40)
@given(data=st.data())
def test_each_decision_is_that_of_the_definition(which: str, direction: str, data: st.DataObject) -> None:
    make, oracle = PLANS[which]
    strategy = make()
    s = study(strategy, direction)
    plans = [(plan.trials, list(plan.resources)) for plan in strategy.plans]
    workers = data.draw(st.integers(1, 5))
    events: list[Event] = []
    running: list[fasthpo.Trial] = []
    for _ in range(data.draw(st.integers(1, 60))):
        if len(running) < workers:
            expected = oracle(events, plans, strategy.reduction_factor)
            trial = s.ask()
            number = len(s) - 1 if expected[0] is None else expected[0]
            assert (trial.number, s.table.brackets[trial.number], trial.resource) == (number, *expected[1:])
            events.append(("start", trial.number, *expected[1:]))
            running.append(trial)
        else:
            trial = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if data.draw(st.integers(0, 9)) == 0:
                trial.report(1.0, 1)
                state = s.tell(trial, state=TrialState.PRUNED)
                loss: float | None = math.inf
            else:
                value = data.draw(LOSSES)
                state = s.tell(trial, value)
                loss = value if direction == "minimize" else -value
                loss = None if math.isnan(value) else loss if math.isfinite(value) else math.inf
                last = trial.resource == strategy.max_resource
                assert state == (
                    TrialState.FAILED if loss is None else TrialState.COMPLETE if last else TrialState.PAUSED
                )
            events.append(("end", trial.number, trial.resource, loss))
            assert trial.state == state
    assert s.resource_spent == s.table.segments.charge[: len(s.table.segments)].sum()


@pytest.mark.parametrize("which", PLANS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_strategy_rebuilt_from_the_table_decides_alike(which: str, data: st.DataObject) -> None:
    s = study(PLANS[which][0]())
    running: list[fasthpo.Trial] = []
    for _ in range(data.draw(st.integers(0, 80))):
        if len(running) < 3:
            running.append(s.ask())
        else:
            trial = running.pop(data.draw(st.integers(0, 2)))
            s.tell(trial, data.draw(LOSSES))
    rebuilt = PLANS[which][0]()
    rebuilt.attach(s.table)
    assert rebuilt.next_leg() == s.strategy.next_leg()
    assert rebuilt.next_leg(new=False) == s.strategy.next_leg(new=False)
    assert rebuilt.new_leg() == s.strategy.new_leg()
    assert rebuilt.summary() == s.strategy.summary()


# --- what a user sees


def test_a_trial_is_asked_again_under_its_number_with_its_parameters() -> None:
    s = study(seeded(SuccessiveHalving, 9))
    first = [s.ask() for _ in range(9)]
    assert [(t.resource, t.start_resource) for t in first] == [(1, 0)] * 9
    params = [t.params for t in first]
    assert {s.tell(t, t["x"]) for t in first} == {TrialState.PAUSED}
    best = sorted(first, key=lambda t: t["x"])[:3]
    again = [s.ask() for _ in range(3)]
    assert again == best and [t.state for t in again] == [TrialState.RUNNING] * 3
    assert [t.params for t in again] == [params[t.number] for t in again]
    assert [(t.resource, t.start_resource) for t in again] == [(3, 1)] * 3
    for t in again:
        s.tell(t, t["x"] / 2)
    last = s.ask()
    assert last == best[0] and (last.resource, last.start_resource) == (9, 3)
    assert s.tell(last, 0.25) == TrialState.COMPLETE
    assert last.rungs == {1: last["x"], 3: last["x"] / 2, 9: 0.25}
    assert s.best_trial == last and s.best_value == 0.25
    assert s.ask().number == 9  # the next bracket


def test_no_completed_trial_is_the_best_while_all_are_paused() -> None:
    s = study(seeded(ASHA, 9))
    trial = s.ask()
    s.tell(trial, 0.5)
    assert trial.objective_value() == 0.5 and trial.state == TrialState.PAUSED
    with pytest.raises(fasthpo.NoCompletedTrials, match="'PAUSED': 1"):
        s.best_trial  # noqa: B018
    with pytest.raises(fasthpo.TrialStateError, match="trial 0 is PAUSED: it has been told already, and waits"):
        s.tell(trial, 0.5)
    with pytest.raises(fasthpo.TrialStateError, match="PAUSED"):
        trial.report(0.5, 3)


def test_only_the_difference_is_charged_unless_a_trial_starts_over() -> None:
    for resumable, spent in ((True, 9 + 3 * 2 + 6), (False, 9 + 3 * 3 + 9)):
        s = study(seeded(SuccessiveHalving, 9, resumable=resumable))
        run(s, 13)
        assert s.resource_spent == s.resource_committed == spent
        assert s.best_trial.start_resource == (9 if resumable else 0)
    s.ask()
    assert s.resource_committed == spent + 1


def test_a_broken_off_leg_is_charged_by_its_reports() -> None:
    s = study(seeded(SuccessiveHalving, 9, 9))
    for reports, charge in ((0, 9), (2, 2), (20, 9)):
        before = s.resource_spent
        trial = s.ask()
        for step in range(reports):
            trial.report(1.0, step)
        s.tell(trial, state=TrialState.PRUNED)
        assert s.resource_spent - before == charge


def test_a_failed_trial_leaves_its_place_to_the_next_best() -> None:
    s = study(seeded(SuccessiveHalving, 9))
    run(s, 9)
    ranked = sorted(range(9), key=lambda n: s.trials[n]["x"])
    first = s.ask()
    assert first.number == ranked[0]
    s.tell(first, state=TrialState.FAILED, error="lost")
    assert [s.ask().number for _ in range(3)] == ranked[1:4]
    assert s.ask().number == 9  # the rung is full: the next bracket


def test_diverged_trials_never_go_on_and_a_bracket_of_them_ends() -> None:
    for kind in (SuccessiveHalving, Hyperband, ASHA):
        s = study(seeded(kind, 9))
        for _ in range(40):
            trial = s.ask()
            assert trial.start_resource == 0
            s.tell(trial, math.inf)
        assert len(s) == 40


def test_ask_never_blocks_and_the_oldest_bracket_goes_first() -> None:
    s = study(seeded(SuccessiveHalving, 9))
    trials = [s.ask() for _ in range(30)]
    assert Counter(s.table.brackets.tolist()) == {0: 9, 1: 9, 2: 9, 3: 3}
    for trial in reversed(trials[9:18]):
        s.tell(trial, trial["x"])
    assert s.table.brackets[s.ask().number] == 1  # the only one that is complete
    for trial in trials[:9]:
        s.tell(trial, trial["x"])
    assert s.table.brackets[s.ask().number] == 0


def test_ties_go_to_the_earlier_trial() -> None:
    for kind in (SuccessiveHalving, ASHA):
        s = study(seeded(kind, 9))
        trials = [s.ask() for _ in range(9)]
        for trial in reversed(trials):
            s.tell(trial, 1.0)
        assert [s.ask().number for _ in range(3)] == [0, 1, 2]


def test_a_study_that_ends_early_trains_its_best_to_the_end() -> None:
    for kind in (SuccessiveHalving, Hyperband, ASHA):
        s = study(seeded(kind, 27))
        run(s, 10)
        started = len(s)
        while (trial := s.ask_within(new=False)) is not None:
            s.tell(trial, trial["x"])
        assert len(s) == started
        assert s.best_trial.resource == 27


def test_a_budget_holds_to_the_last_unit() -> None:
    s = study(seeded(ASHA, 27))
    budget = 100
    while (trial := s.ask_within(budget - s.resource_committed)) is not None:
        s.tell(trial, trial["x"])
    assert budget - 18 < s.resource_spent <= budget


def test_brackets_go_on_after_a_space_is_used_up() -> None:
    space = {"k": fasthpo.Discrete(1, 9)}
    s = fasthpo.Study(space, strategy=seeded(SuccessiveHalving, 9))
    for _ in range(13):
        trial = s.ask()
        s.tell(trial, float(trial["k"]))
    assert s.best_params == {"k": 1} and len(s) == 9
    with pytest.raises(fasthpo.SpaceExhausted):
        s.ask()
    s = fasthpo.Study({"k": fasthpo.Discrete(1, 5)}, strategy=seeded(SuccessiveHalving, 9))
    states = []
    with pytest.raises(fasthpo.SpaceExhausted):
        while True:
            trial = s.ask()
            states.append(s.tell(trial, float(trial["k"])))
    assert states.count(TrialState.COMPLETE) == 1 and s.best_params == {"k": 1}


def test_enqueued_trials_take_a_place_in_a_bracket() -> None:
    s = study(seeded(SuccessiveHalving, 9))
    s.enqueue({"x": 0.0})
    assert s.ask()["x"] == 0.0 and s.table.brackets[0] == 0
    s.tell(0, 0.0)
    run(s, 12)
    assert s.best_trial.number == 0 and len(s) == 9


def test_known_results_count_as_fully_trained_and_cost_nothing() -> None:
    s = study(seeded(Hyperband, 9))
    s.add_trials({"x": [0.5, 0.25]}, [0.5, math.nan])
    assert s.best_trial.resource == 9 and s.best_trial.rungs == {9: 0.5} and s.resource_spent == 0
    assert s.ask().number == 2


def test_batches() -> None:
    s = study(seeded(Hyperband, 9))
    batch = s.ask_batch(20)
    assert batch.resources.tolist() == [1] * 9 + [3] * 5 + [9] * 3 + [1] * 3
    states = s.tell_batch(batch.numbers, np.where(batch.numbers == 3, math.nan, batch.params["x"]))
    assert Counter(states.tolist()) == {TrialState.PAUSED: 16, TrialState.COMPLETE: 3, TrialState.FAILED: 1}
    assert s.trials[3].error == "the objective's value was nan"
    plain = fasthpo.Study(SPACE, sampler=RandomSampler(seed=0)).ask_batch(2)
    assert np.isnan(plain.resources).all()


def test_durations_leave_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([float(second) for second in range(0, 1000, 10)])
    monkeypatch.setattr("time.time", lambda: next(clock))
    s = study(seeded(SuccessiveHalving, 2, 1, 2))
    first, second = s.ask(), s.ask()
    s.tell(first, 1.0)
    s.tell(second, 2.0)
    assert s.ask() == first
    s.tell(first, 1.0)
    segments = s.table.segments
    busy = [float(segments.end[i] - segments.start[i]) for i in segments.of(0)]
    assert first.duration == sum(busy) < first.end_time - first.start_time


def test_checkpoint_dirs_are_private_and_last(tmp_path: Path) -> None:
    s = study(seeded(SuccessiveHalving, 9))
    run(s, 9)
    trial = s.ask()
    weights = trial.checkpoint_dir / "weights"
    weights.write_text("w")
    assert s.trials[trial.number].checkpoint_dir == trial.checkpoint_dir
    assert s.trials[trial.number + 1 if trial.number < 8 else 0].checkpoint_dir != trial.checkpoint_dir
    assert weights.read_text() == "w"


@pytest.mark.parametrize("which", PLANS)
@pytest.mark.parametrize("stop", [1, 7, 14, 25, 41])
def test_a_loaded_study_goes_on_as_if_it_had_never_stopped(which: str, stop: int, tmp_path: Path) -> None:
    def step(s: fasthpo.Study) -> None:
        trial = s.ask()
        trial.report(trial["x"], trial.start_resource)
        number = trial.number
        value = math.nan if number % 7 == 3 else math.inf if number % 11 == 5 else trial["x"] + 1 / trial.resource
        s.tell(trial, value)

    whole, part = (study(PLANS[which][0]()) for _ in range(2))
    for _ in range(60):
        step(whole)
    for _ in range(stop):
        step(part)
    crashed = part.ask()  # and its reports come to nothing
    crashed.report(0.5, crashed.start_resource)
    loaded = fasthpo.Study.load(part.save(tmp_path / "study"))
    assert loaded.strategy.summary().splitlines()[:3] == part.strategy.summary().splitlines()[:3]
    for _ in range(60 - stop):
        step(loaded)
    for one, other in zip(whole.trials, loaded.trials, strict=True):
        assert (one.params, one.rungs, one.reports) == (other.params, other.rungs, other.reports)
        assert (one.state, one.resource) == (other.state, other.resource)
    assert whole.resource_spent == loaded.resource_spent


def test_a_strategy_follows_one_study_only() -> None:
    strategy = fasthpo.ASHA(max_resource=9, sampler=fasthpo.RandomSampler(seed=0))
    first = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy)
    trial = first.ask()
    second = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy)
    for call in (first.ask, lambda: first.tell(trial, 1.0), lambda: first.ask_batch(2)):
        with pytest.raises(fasthpo.TrialStateError, match=r"ASHA follows another study.*of its own for each study"):
            call()
    assert first.table.state(0) == fasthpo.TrialState.RUNNING
    assert second.ask().resource == 1


def test_own_strategies_must_be_given_again(tmp_path: Path) -> None:
    class Own(SuccessiveHalving):
        pass

    s = study(seeded(Own, 9))
    run(s, 10)
    path = s.save(tmp_path / "study")
    with pytest.raises(InvalidValue, match="a strategy of your own, Own; pass one as strategy="):
        fasthpo.Study.load(path)
    loaded = fasthpo.Study.load(path, strategy=seeded(Own, 9))
    assert loaded.ask().number == s.ask().number


# --- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ASHA(0), "max_resource must be an integer from 1 to 2\\*\\*53, got max_resource=0"),
        (lambda: ASHA(2.5), "got max_resource=2.5"),
        (lambda: ASHA(True), "got max_resource=True"),
        (lambda: ASHA("9"), "got max_resource='9'"),
        (lambda: Hyperband(9, 10), "min_resource must not be above max_resource, got min_resource=10, max_resource=9"),
        (lambda: Hyperband(9, 0), "min_resource must be an integer from 1"),
        (lambda: SuccessiveHalving(9, 1, 1), "reduction_factor must be an integer from 2"),
        (lambda: SuccessiveHalving(9, sampler="tpe"), "sampler must be None or a Sampler"),
        (lambda: Hyperband(9, asynchronous=1), "asynchronous must be True or False, got asynchronous=1"),
        (lambda: ASHA(9, resumable=None), "resumable must be True or False"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        make()
    assert ASHA(np.int64(9)).max_resource == ASHA(9.0).max_resource == 9


def test_summaries_show_the_plan_before_and_the_rungs_after() -> None:
    strategy = seeded(Hyperband, 9)
    assert "9 x 1   3 x 3   1 x 9" in strategy.summary() and "So far" not in strategy.summary()
    s = study(strategy)
    run(s, 13)
    lines = s.strategy.summary().splitlines()
    assert "So far (9 trials, resource spent 21):" in lines
    assert lines[-6].split()[:7] == ["0", "1", "9", "3", "0", "0", "0"]
    assert lines[-4].split()[:3] == ["0", "9", "1"] and lines[-4].split()[-1] == "6"
    assert "1 (55% of new trials)" in seeded(Hyperband, 27, asynchronous=True).summary()
