"""Percentile and median pruner against their slow twins, Optuna, and what their definition promises."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.pruners.median import MedianPruner
from fasthpo.pruners.percentile import PercentilePruner
from fasthpo.trials.trial import TrialState
from tests.support import naive_percentile as naive
from tests.support.pruning import COMPILED, COMPLETE, FAILED, INF, NAN, PRUNED, Run, events, play


def pool_contents(pruner, table):
    """What a pruner keeps, by step, all trials taken up."""
    pools = pruner._pools or pruner._read(table)
    found = {}
    for step in pools.pools:
        if pruner.pool == "all":
            pool = pools.pools[step]
            highest = table.reports.highest
            while not pools.kernels.catch_up(pool, pools.best, highest, pools.order, pools.ended, step, pools.q):
                pool = pools._widen(step)
        found[step] = pools.kernels.contents(pools.pools[step]).tolist()
    return found


@settings(deadline=None, max_examples=300 if COMPILED else 100)
@given(
    sequence=events,
    direction=st.sampled_from(["minimize", "maximize"]),
    percent=st.sampled_from([0, 10, 25, 33.3, 50, 50, 75, 90, 100]),
    n_startup_trials=st.integers(0, 3),
    min_steps=st.sampled_from([0, 0, 1, 3]),
    asks_often=st.booleans(),
)
def test_all_as_its_twin(sequence, direction, percent, n_startup_trials, min_steps, asks_often):
    run = Run(PercentilePruner(percent, n_startup_trials, min_steps), direction)

    def check(number):
        # pools catch up when looked at: also check decisions after long times without a question
        if asks_often or len(run.table.reports) % 7 == 0:
            expected = naive.should_prune(run.table, number, percent, n_startup_trials, min_steps)
            assert run.should_prune(number) == expected

    play(run, sequence, check)
    live, rebuilt = pool_contents(run.pruner, run.table), pool_contents(run.again(), run.table)
    steps = {int(step) for step in run.table.reports.step[: len(run.table.reports)] if step >= min_steps}
    assert live == rebuilt == {step: sorted(naive.pool(run.table, step).values()) for step in steps}
    for number in run.table.running.tolist():
        expected = naive.should_prune(run.table, number, percent, n_startup_trials, min_steps)
        assert run.should_prune(number) == run.again().should_prune(run.table, number) == expected


@settings(deadline=None, max_examples=150 if COMPILED else 50)
@given(
    sequence=events,
    direction=st.sampled_from(["minimize", "maximize"]),
    percent=st.sampled_from([0, 10, 25, 33.3, 50, 90, 100]),
    n_startup_trials=st.integers(0, 3),
    min_steps=st.sampled_from([0, 0, 2]),
)
def test_completed_as_its_twin(sequence, direction, percent, n_startup_trials, min_steps):
    run = Run(PercentilePruner(percent, n_startup_trials, min_steps, pool="completed"), direction)

    def check(number):
        expected = naive.should_prune_completed(run.table, number, percent, n_startup_trials, min_steps)
        assert run.should_prune(number) == expected

    play(run, sequence, check)
    live, rebuilt = pool_contents(run.pruner, run.table), pool_contents(run.again(), run.table)
    steps = {int(step) for step in run.table.reports.step[: len(run.table.reports)] if step >= min_steps}
    pools = {step: sorted(naive.completed_pool(run.table, step)) for step in steps}
    assert live == rebuilt == {step: values for step, values in pools.items() if values}


@settings(deadline=None, max_examples=100 if COMPILED else 30)
@given(sequence=events, where=st.integers(0, 60), pool=st.sampled_from(["all", "completed"]))
def test_a_resumed_study_goes_on_as_the_uninterrupted_one(sequence, where, pool):
    uninterrupted = Run(PercentilePruner(40, 1, pool=pool))
    resumed = Run(PercentilePruner(40, 1, pool=pool))
    decisions = {id(run): [] for run in (uninterrupted, resumed)}
    for run in (uninterrupted, resumed):
        count = 0

        def check(number, run=run):
            nonlocal count
            count += 1
            if run is resumed and count == where:
                run.pruner = run.again()
            decisions[id(run)].append(run.should_prune(number))

        play(run, sequence, check)
    assert decisions[id(uninterrupted)] == decisions[id(resumed)]
    assert pool_contents(uninterrupted.pruner, uninterrupted.table) == pool_contents(resumed.pruner, resumed.table)


@settings(deadline=None, max_examples=50)
@given(sequence=events, percent=st.sampled_from([10, 25, 50, 70]))
def test_maximize_mirrors_minimize(sequence, percent):
    decisions = []
    for direction, sign in (("minimize", 1.0), ("maximize", -1.0)):
        run, found = Run(PercentilePruner(percent, 1), direction), []
        mirrored = [(what, which, stride, sign * value, state) for what, which, stride, value, state in sequence]
        play(run, mirrored, lambda number, run=run, found=found: found.append(run.should_prune(number)))
        decisions.append(found)
    assert decisions[0] == decisions[1]


# --- what the definition says, one by one


def ended(run, losses, last_step=0):
    for loss in losses:
        run.curve(dict.fromkeys(range(last_step + 1), loss))


def ask_at(run, step, value):
    number = run.ask()
    run.report(number, step, value)
    return run.should_prune(number)


def test_no_pruning_before_enough_trials_ended():
    run = Run(MedianPruner(n_startup_trials=5))
    ended(run, [1.0, 1.0, 1.0])
    run.curve({0: 1.0}, PRUNED)
    run.curve({0: 1.0}, FAILED)
    assert not ask_at(run, 0, 9.0)
    run.curve({0: 1.0}, PRUNED)
    assert ask_at(run, 0, 9.0)


def test_no_pruning_before_min_steps():
    run = Run(MedianPruner(min_steps=3))
    ended(run, [1.0] * 5, last_step=5)
    number = run.ask()
    for step in range(6):
        run.report(number, step, 9.0)
        assert run.should_prune(number) == (step >= 3)
    run = Run(MedianPruner(min_steps=3))
    ended(run, [1.0] * 5, last_step=5)
    number = run.ask()
    run.report(number, 0, 0.5)  # counts as its best later on
    run.report(number, 4, 9.0)
    assert not run.should_prune(number)


def test_a_late_report_before_min_steps_counts():
    run = Run(MedianPruner(min_steps=3))
    ended(run, [1.0] * 5, last_step=5)
    number = run.ask()
    run.report(number, 4, 9.0)
    assert run.should_prune(number)
    run.report(number, 2, 0.5)
    assert not run.should_prune(number)


def test_strictly_worse_only():
    run = Run(MedianPruner())
    ended(run, [1.0] * 5)
    assert not ask_at(run, 0, 1.0)
    assert ask_at(run, 0, math.nextafter(1.0, 2.0))


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_25_keeps_the_best_quarter(direction, sign):
    run = Run(PercentilePruner(25), direction)
    ended(run, [sign * loss for loss in (0.0, 1.0, 2.0, 3.0, 4.0)])
    kept = []
    for loss in (0.5, 0.9, 1.0, 1.1, 2.0):  # the 25th percentile of the ended ones is 1
        number = run.ask()
        run.report(number, 0, sign * loss)
        if not run.should_prune(number):
            kept.append(loss)
        run.end(number, FAILED)
        run = Run(PercentilePruner(25), direction)
        ended(run, [sign * loss for loss in (0.0, 1.0, 2.0, 3.0, 4.0)])
    assert kept == [0.5, 0.9, 1.0]


def test_nan_only_is_pruned_and_infinity_is_not_nan():
    run = Run(MedianPruner())
    ended(run, [INF] * 5)
    assert ask_at(run, 0, NAN)
    assert not ask_at(run, 0, INF)  # no worse than the median
    number = run.ask()
    run.report(number, 0, NAN)
    run.report(number, 1, 0.0)
    assert not run.should_prune(number)


def test_nan_of_others_ranks_worst():
    run = Run(MedianPruner())
    ended(run, [0.0, 0.0, NAN, NAN, NAN])
    assert not ask_at(run, 0, 1e300)


def test_pruned_trials_are_carried_forward_and_failed_ones_are_not():
    for state, expected in ((PRUNED, False), (COMPLETE, False), (FAILED, True)):
        run = Run(MedianPruner())
        ended(run, [0.0, 0.0, 0.0, 0.0, 0.0], last_step=3)
        for _ in range(6):
            run.curve({0: 5.0}, state)
        assert ask_at(run, 3, 1.0) == expected


def test_failed_trials_count_where_they_reported():
    run = Run(MedianPruner())
    ended(run, [0.0] * 5)
    for _ in range(6):
        run.curve({0: 5.0}, FAILED)
    assert not ask_at(run, 0, 1.0)


def test_running_trials_count_where_they_reported_only():
    run = Run(MedianPruner(n_startup_trials=0))
    for loss in (0.0, 0.0, 0.0):
        run.report(run.ask(), 0, loss)
    assert ask_at(run, 0, 1.0)
    assert not ask_at(run, 1, 1.0)  # alone at step 1


def test_a_trial_that_skipped_the_step_is_not_in_its_pool():
    run = Run(MedianPruner(n_startup_trials=0))
    for _ in range(5):
        run.curve({0: 0.0, 2: 0.0})
    assert not ask_at(run, 1, 1.0)


def test_best_so_far_decides():
    run = Run(MedianPruner())
    ended(run, [1.0] * 5, last_step=3)
    number = run.ask()
    run.report(number, 0, 0.5)
    run.report(number, 1, 9.0)
    assert not run.should_prune(number)


def test_a_late_report_betters_the_entries_at_later_steps():
    run = Run(MedianPruner(n_startup_trials=0))
    early = [run.ask() for _ in range(3)]
    for number in early:
        run.report(number, 5, 9.0)
    judged = run.ask()
    run.report(judged, 5, 5.0)
    assert not run.should_prune(judged)
    for number in early:
        run.report(number, 2, 1.0)
    assert run.should_prune(judged)
    run.report(judged, 1, 0.5)
    assert not run.should_prune(judged)


def test_without_reports_there_is_no_pruning():
    run = Run(MedianPruner())
    number = run.ask()
    assert not run.should_prune(number)
    ended(run, [1.0] * 5)
    run.curve({})  # ends without a report
    assert not run.should_prune(number)
    assert not run.should_prune(run.ask())
    for _ in range(200):
        number = run.ask()
    assert not run.should_prune(number)


def test_large_steps_and_numbers():
    run = Run(MedianPruner(n_startup_trials=3))
    for loss in (1.0, 2.0, 3.0):
        run.curve({0: loss, 2**62: loss})
    assert ask_at(run, 2**62, 2.5)
    run.table.append(np.full((1000, 1), 0.5), -1, TrialState.RUNNING, 0.0)
    assert ask_at(run, 2**62 + 1, 2.9)
    assert not ask_at(run, 2**62 + 1, 1.5)


# --- statistics


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(3))
def test_constant_curves_are_pruned_about_half_the_time(direction, seed):
    """A pool of survivors only would prune 80 % of 200 trials, see the definition."""
    random = np.random.default_rng(seed)
    run, pruned = Run(MedianPruner(), direction), 0
    for level in random.standard_normal(200).tolist():
        number, state = run.ask(), COMPLETE
        for step in range(20):
            run.report(number, step, level)
            if run.should_prune(number):
                state = PRUNED
                pruned += 1
                break
        run.end(number, state)
    assert 0.4 <= pruned / 200 <= 0.6


# --- Optuna


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")  # Optuna's
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("percent", [10.0, 25.0, 50.0, 80.0])
@pytest.mark.parametrize("seed", range(3))
def test_completed_decides_as_optuna(direction, percent, seed):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random = np.random.default_rng([seed, int(percent)])
    n_startup_trials, min_steps = int(random.integers(0, 6)), int(random.integers(0, 4))
    if percent == 50.0:
        theirs = optuna.pruners.MedianPruner(n_startup_trials, min_steps)
        ours = MedianPruner(n_startup_trials, min_steps, pool="completed")
    else:
        theirs = optuna.pruners.PercentilePruner(percent, n_startup_trials, min_steps)
        ours = PercentilePruner(percent, n_startup_trials, min_steps, pool="completed")
    study = optuna.create_study(direction=direction, pruner=theirs)
    run = Run(ours, direction)
    running, decisions = [], 0
    for _ in range(1500):
        if len(running) < 4:
            running.append([study.ask(), run.ask(), 0, random.standard_normal()])
        entry = running[random.integers(len(running))]
        trial, number, step, level = entry
        loss = (
            NAN if random.random() < 0.05 else float(np.round(level + 0.3 * random.standard_normal() - 0.05 * step, 1))
        )
        value = run.table.objectives.loss(1.0) * loss
        trial.report(value, step)
        run.report(number, step, value)
        entry[2] += int(random.choice([1, 1, 2]))
        prune = trial.should_prune()
        assert run.should_prune(number) == prune
        decisions += prune
        over = step > 12
        if over or (prune and random.random() < 0.7) or random.random() < 0.02:
            state = COMPLETE if over else PRUNED if prune else FAILED
            final = 0.0 if state == COMPLETE else None
            study.tell(
                trial,
                final,
                {COMPLETE: None, PRUNED: optuna.trial.TrialState.PRUNED}.get(state, optuna.trial.TrialState.FAIL),
            )
            run.end(number, state)
            running.remove(entry)
    assert 30 < decisions < 1470  # both answers were compared


# --- construction


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"percentile": 0.5}, "PercentilePruner takes 0 to 100, got percentile=0.5; did you mean 50?"),
        ({"percentile": 0.25}, "PercentilePruner takes 0 to 100, got percentile=0.25; did you mean 25?"),
        ({"percentile": 120}, "percentile must be between 0 and 100, got percentile=120"),
        ({"percentile": -1}, "percentile must be between 0 and 100, got percentile=-1"),
        ({"percentile": NAN}, "percentile must be between 0 and 100, got percentile=nan"),
        ({"percentile": "50"}, "percentile must be a number"),
        ({"percentile": True}, "percentile must be a number"),
        ({"percentile": 50, "n_startup_trials": -1}, "n_startup_trials must be an integer of at least 0, got"),
        ({"percentile": 50, "min_steps": 1.5}, "min_steps must be an integer of at least 0, got min_steps=1.5"),
        ({"percentile": 50, "min_steps": True}, "min_steps must be an integer of at least 0, got min_steps=True"),
        ({"percentile": 50, "pool": "some"}, "pool must be 'all' or 'completed', got pool='some'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidValue) as caught:
        PercentilePruner(**arguments)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, FastHPOError)
    assert isinstance(caught.value, ValueError)


def test_options_make_an_equal_pruner():
    assert MedianPruner(3, 4, "completed").options() == {"n_startup_trials": 3, "min_steps": 4, "pool": "completed"}
    options = PercentilePruner(np.float64(30), np.int64(2)).options()
    assert options == {"percentile": 30.0, "n_startup_trials": 2, "min_steps": 0, "pool": "all"}
    assert [type(value) for value in options.values()] == [float, int, int, str]
    assert PercentilePruner(**options).options() == options
    assert (PercentilePruner.name, MedianPruner.name) == ("percentile", "median")
    for edge in (0, 1, 100):
        assert PercentilePruner(edge).percentile == edge


def test_attach_forgets_the_table_before():
    pruner = MedianPruner()
    first = Run(pruner)
    ended(first, [0.0] * 5)
    assert ask_at(first, 0, 9.0)
    second = Run(pruner)
    ended(second, [10.0] * 5)
    assert not ask_at(second, 0, 9.0)


def test_numba_waits_for_the_first_report():
    code = (
        "import sys\n"
        "from fasthpo.pruners.median import MedianPruner\n"
        "from fasthpo.trials.table import TrialTable\n"
        "from fasthpo.space.search_space import SearchSpace\n"
        "from fasthpo.space.kinds import Continuous\n"
        "table = TrialTable(SearchSpace({'x': Continuous(0.0, 1.0)}), 'minimize')\n"
        "pruner = MedianPruner()\n"
        "pruner.attach(table)\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- scale


def test_many_trials_stay_exact_and_compact():
    n, steps = (20_000, 20) if COMPILED else (300, 20)
    random = np.random.default_rng(5)
    run, entries = Run(MedianPruner()), 0
    for _ in range(n):
        number, level, state = run.ask(), random.standard_normal(), COMPLETE
        for step, value in enumerate((level + random.standard_normal(steps)).tolist()):
            run.report(number, step, value)
            if run.should_prune(number):
                state = PRUNED
                break
        run.end(number, state)
    pools = run.pruner._pools
    contents = pool_contents(run.pruner, run.table)
    assert contents == pool_contents(run.again(), run.table)
    for step, values in contents.items():
        assert len(values) == n, step  # reported there or carried forward
        assert pools.kernels.percentile(pools.pools[step], 0.5) == np.median(values)
        entries += len(values)
    assert sum(pool.nbytes for pool in pools.pools.values()) < 1.3 * 8 * entries + 1000 * steps
