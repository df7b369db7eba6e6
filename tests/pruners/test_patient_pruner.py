"""The patient pruner: what its definition says, Optuna's, and how often it prunes what never gets better."""

from __future__ import annotations

import numpy as np
import pytest

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.median import MedianPruner
from fasthpo.pruners.patient import PatientPruner
from fasthpo.pruners.threshold import ThresholdPruner
from tests.support.pruning import INF, NAN, Run


def decisions(pruner, values, direction="minimize", steps=None):
    run = Run(pruner, direction)
    number, found = run.ask(), []
    for step, value in zip(steps or range(len(values)), values, strict=True):
        run.report(number, step, value)
        found.append(run.should_prune(number))
    return found


T, F = True, False


@pytest.mark.parametrize(
    ("patience", "min_delta", "values", "expected"),
    [
        (0, 0.0, [3, 2, 2, 1], [F, F, T, F]),
        (1, 0.0, [3, 2, 2, 1], [F, F, F, F]),
        (1, 0.0, [3, 3, 3, 3], [F, F, T, T]),
        (1, 0.0, [1, 2, 3, 0], [F, F, T, F]),
        (0, 0.5, [3.0, 2.5, 1.5], [F, T, F]),  # better by exactly min_delta is not better
        (2, 0.0, [1, 2, 2, 2, 0, 2, 2, 2], [F, F, F, T, F, F, F, T]),
        (0, 0.0, [NAN, NAN, 1, NAN, INF], [F, T, F, T, T]),
        (0, 0.0, [-INF, -INF, INF], [F, T, T]),
        (0, 0.0, [INF, 5, -INF], [F, F, F]),
    ],
)  # fmt: skip
def test_patience_alone(patience, min_delta, values, expected):
    assert decisions(PatientPruner(None, patience, min_delta), values) == expected
    mirrored = [-value for value in values]
    assert decisions(PatientPruner(None, patience, min_delta), mirrored, "maximize") == expected


def test_late_reports_are_sorted_in():
    pruner = PatientPruner(None, 1)
    # in the order of the steps: 3 1 2 2 after all of them
    assert decisions(pruner, [2, 3, 2, 1], steps=[3, 0, 2, 1]) == [F, F, F, T]
    assert decisions(pruner, [2, 1, 3, 0], steps=[7, 8, 2, 1]) == [F, F, F, T]  # before the window, but better
    assert decisions(pruner, [0, 2, 2, 1], steps=[2**62, 1, 0, 2]) == [F, F, F, F]


class Yes(Pruner):
    """Agrees, and writes down what it is told."""

    def __init__(self):
        self.calls = []

    def attach(self, table):
        self.calls.append("attach")

    def on_report(self, table, number, step, value):
        self.calls.append(("report", number, step, value))

    def on_end(self, table, number):
        self.calls.append(("end", number))

    def should_prune(self, table, number):
        self.calls.append(("asked", number))
        return True


def test_the_wrapped_pruner_hears_everything_and_has_to_agree():
    wrapped = Yes()
    run = Run(PatientPruner(wrapped, 0))
    number = run.ask()
    run.report(number, 0, 1.0)
    assert not run.should_prune(number)  # nobody else is asked
    run.report(number, 1, 1.0)
    assert run.should_prune(number)
    run.end(number)
    expected = ["attach", ("report", 0, 0, 1.0), ("report", 0, 1, 1.0), ("asked", 0), ("end", 0)]
    assert wrapped.calls == expected
    assert decisions(PatientPruner(ThresholdPruner(upper=1.0), 0), [1, 1, 2, 0, 2]) == [F, F, T, F, T]


def test_rows_are_used_again():
    run = Run(PatientPruner(None, 3))
    for _ in range(100):
        numbers = [run.ask() for _ in range(3)]
        for step in range(6):
            for number in numbers:
                run.report(number, step, 0.0)
        for number in numbers:
            assert run.should_prune(number)
            run.end(number)
    assert len(run.pruner._steps) == 4 and not run.pruner._row


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_how_often_noise_is_pruned(direction):
    """The best of n exchangeable values lies before the last patience + 1 with a chance of (n - patience - 1) / n."""
    random, trials, n, patience = np.random.default_rng(3), 2000, 20, 4
    run, pruned = Run(PatientPruner(None, patience), direction), 0
    for values in random.standard_normal((trials, n)).tolist():
        number = run.ask()
        for step, value in enumerate(values):
            run.report(number, step, value)
        pruned += run.should_prune(number)
        run.end(number)
    share = (n - patience - 1) / n
    assert abs(pruned / trials - share) < 4 * (share * (1 - share) / trials) ** 0.5


@pytest.mark.filterwarnings("ignore:PatientPruner is experimental")  # Optuna's
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_decides_as_optuna_without_ties(direction, wrapped):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random, patience = np.random.default_rng(wrapped), 2
    theirs = optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(3) if wrapped else None, patience)
    ours = PatientPruner(MedianPruner(3, pool="completed") if wrapped else None, patience)
    study, run, found = optuna.create_study(direction=direction, pruner=theirs), Run(ours, direction), 0
    for _ in range(40):
        trial, number, level = study.ask(), run.ask(), random.normal()
        steps = random.permutation(15) if random.random() < 0.3 else np.arange(15)
        for step in steps.tolist():
            value = float(random.normal(level - 0.02 * step, 0.2))
            trial.report(value, step)
            run.report(number, step, value)
            prune = trial.should_prune()
            assert run.should_prune(number) == prune
            found += prune
        study.tell(trial, 0.0)
        run.end(number)
    assert 60 < found < 540


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, -1), "patience must be an integer of at least 0, got patience=-1"),
        ((None, 1.5), "patience must be an integer of at least 0, got patience=1.5"),
        ((None, 1, -0.1), "min_delta must be finite and not negative, got min_delta=-0.1"),
        ((None, 1, INF), "min_delta must be finite and not negative, got min_delta=inf"),
        ((None, 1, NAN), "min_delta must be finite and not negative, got min_delta=nan"),
        (("median", 1), "wrapped_pruner must be None or a Pruner, got wrapped_pruner='median'"),
        ((MedianPruner, 1), "wrapped_pruner must be None or a Pruner, got wrapped_pruner=<class"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidValue) as caught:
        PatientPruner(*arguments)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, FastHPOError) and isinstance(caught.value, ValueError)
