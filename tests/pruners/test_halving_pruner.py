"""The halving pruner: what its definition says, Optuna's, and how many pass a rung."""

from __future__ import annotations

import numpy as np
import pytest

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.pruners.successive_halving import SuccessiveHalvingPruner
from tests.support.pruning import COMPILED, COMPLETE, FAILED, INF, NAN, PRUNED, Run


def goes_on(run, step, value, end=None):
    """A new trial reports once; whether it goes on."""
    number = run.ask()
    run.report(number, step, value)
    verdict = run.should_prune(number)
    if end is not None:
        run.end(number, end)
    return not verdict


def test_the_best_share_goes_on():
    run = Run(SuccessiveHalvingPruner(1, 3))
    # n = 1 to 5: the best so far; 6 to 8: the best two; 9: the best three
    stream = [(5, True), (6, False), (4, True), (4.5, False), (3, True), (3.5, True), (9, False), (3.6, False), (3.7, False),
              (3.4, True), (3.55, False)]  # fmt: skip
    assert [goes_on(run, 1, loss) for loss, _ in stream] == [expected for _, expected in stream]


def test_rungs_are_powers_of_the_reduction_factor():
    run = Run(SuccessiveHalvingPruner(2, 4))
    run.curve({2: 0.0, 8: 0.0, 32: 0.0})
    number = run.ask()
    verdicts = []
    for step, value in {0: 9.0, 1: 9.0, 2: -1.0, 3: 9.0, 7: 9.0, 8: -1.0, 9: 9.0, 31: 9.0}.items():
        run.report(number, step, value)
        verdicts.append(run.should_prune(number))
    assert not any(verdicts)  # bad only between rungs
    run.report(number, 33, 1.0)  # the first one at the rung of 32
    assert run.should_prune(number)
    run.report(number, 34, -9.0)
    assert run.should_prune(number)  # it stays so


def test_a_report_beyond_several_rungs_enters_all_of_them():
    run = Run(SuccessiveHalvingPruner(1, 2))
    assert goes_on(run, 4, 1.0)
    for step in (1, 2, 4):
        assert goes_on(run, step, 0.9) and not goes_on(run, step, 2.0)
    run = Run(SuccessiveHalvingPruner(1, 2))
    assert goes_on(run, 8, 1.0) and not goes_on(run, 8, 2.0)  # which is in the rungs of 2, 4 and 8, too
    for _ in range(2):
        assert not goes_on(run, 8, 3.0)  # 3 and 4 trials: the best one and two
    assert not goes_on(run, 4, 2.5) and goes_on(run, 4, 1.5)


def test_the_first_report_at_a_rung_counts_in_the_order_of_time():
    run = Run(SuccessiveHalvingPruner(3, 3))
    assert goes_on(run, 3, 1.0)
    number = run.ask()
    run.report(number, 5, 2.0)
    assert run.should_prune(number)
    number = run.ask()
    run.report(number, 5, 0.5)
    run.report(number, 3, 9.0)  # late: it has entered already
    assert not run.should_prune(number)
    number = run.ask()
    run.report(number, 3, 0.4)
    run.report(number, 5, 9.0)
    assert not run.should_prune(number)


def test_ties_by_number():
    run = Run(SuccessiveHalvingPruner(1, 2))
    first, second = run.ask(), run.ask()
    run.report(second, 1, 1.0)
    run.report(first, 1, 1.0)
    assert not run.should_prune(first) and not run.should_prune(second)  # each was the best when it came
    assert not goes_on(run, 1, 1.0)


def test_failed_trials_do_not_count():
    for end, expected in ((FAILED, True), (COMPLETE, False), (PRUNED, False)):
        run = Run(SuccessiveHalvingPruner(1, 3))
        goes_on(run, 4, 0.0, end)
        assert goes_on(run, 1, 1.0) == goes_on(run, 4, 0.5) == expected
    run = Run(SuccessiveHalvingPruner(1, 2))
    for loss in (5.0, 4.0, 3.0):
        goes_on(run, 1, loss)
    assert goes_on(run, 1, 3.5)  # the second of four
    for loss in (1.0, 1.1, 0.9):
        goes_on(run, 1, loss, FAILED)
    assert not goes_on(run, 1, 4.5) and goes_on(run, 1, 3.2)


def test_nan_and_infinities_rank_worst():
    for bad in (NAN, INF):
        run = Run(SuccessiveHalvingPruner(1, 2))
        assert goes_on(run, 1, bad) and not goes_on(run, 1, bad) and goes_on(run, 1, 1e308) and goes_on(run, 1, 1e307)
        assert goes_on(run, 1, -INF)
    run = Run(SuccessiveHalvingPruner(1, 2), "maximize")
    assert goes_on(run, 1, -INF) and not goes_on(run, 1, NAN) and goes_on(run, 1, -1e308) and goes_on(run, 1, INF)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("eta", [2, 3, 4])
def test_one_in_eta_passes_each_rung(direction, constant, eta):
    random, n = np.random.default_rng(eta), 4000 if COMPILED else 1000
    run = Run(SuccessiveHalvingPruner(1, eta), direction)
    entered, passed = np.zeros(3), np.zeros(3)
    for level in random.standard_normal(n).tolist():
        number = run.ask()
        for k in range(3):
            run.report(number, eta**k, level if constant else float(random.standard_normal()))
            entered[k] += 1
            if run.should_prune(number):
                break
            passed[k] += 1
        run.end(number, COMPLETE if passed[k] else PRUNED)
    # of n exchangeable trials the last one is among the best max(1, floor(n / eta)) with this chance
    for k in range(3):
        there = np.arange(1, entered[k] + 1)
        chances = np.maximum(1, there // eta) / there
        expected, deviation = chances.sum(), np.sqrt((chances * (1 - chances)).sum())
        assert abs(passed[k] - expected) < 4 * deviation + 1
    assert abs(passed[0] / n - 1 / eta) < 0.05


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("min_resource", "eta"), [(1, 2), (2, 3), (1, 4)])
def test_decides_as_optuna_at_each_step(direction, min_resource, eta):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random = np.random.default_rng(eta)
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource, eta)
    study = optuna.create_study(direction=direction, pruner=theirs)
    run = Run(SuccessiveHalvingPruner(min_resource, eta), direction)
    running, decided = [], []
    for _ in range(600):
        if len(running) < 4:
            running.append([study.ask(), run.ask(), 0, random.standard_normal()])
        entry = running[random.integers(len(running))]
        trial, number, step, level = entry
        value = float(level + 0.3 * random.standard_normal())
        trial.report(value, step)
        run.report(number, step, value)
        entry[2] += 1
        prune = trial.should_prune()
        assert run.should_prune(number) == prune
        decided.append(prune)
        if prune or step == 20:
            study.tell(trial, None if prune else 0.0, state=optuna.trial.TrialState.PRUNED if prune else None)
            run.end(number, PRUNED if prune else COMPLETE)
            running.remove(entry)
    assert 40 < sum(decided) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_resource": 0}, "min_resource must be an integer of at least 1, got min_resource=0"),
        ({"min_resource": 1.5}, "min_resource must be an integer of at least 1, got min_resource=1.5"),
        ({"reduction_factor": 1}, "reduction_factor must be an integer of at least 2, got reduction_factor=1"),
        ({"reduction_factor": True}, "reduction_factor must be an integer of at least 2, got reduction_factor=True"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidValue) as caught:
        SuccessiveHalvingPruner(**arguments)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, FastHPOError) and isinstance(caught.value, ValueError)
