"""The threshold pruner: what its definition says, and Optuna's."""

from __future__ import annotations

import numpy as np
import pytest

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.pruners.threshold import ThresholdPruner
from tests.support.pruning import INF, NAN, Run


def decide(pruner, curve):
    run = Run(pruner)
    number = run.ask()
    for step, value in curve.items():
        run.report(number, step, value)
    return run.should_prune(number)


@pytest.mark.parametrize(
    ("lower", "upper", "value", "expected"),
    [
        (None, 1.0, 1.0, False), (None, 1.0, 1.1, True), (None, 1.0, -INF, False), (None, 1.0, INF, True),
        (-1.0, None, -1.0, False), (-1.0, None, -1.1, True), (-1.0, None, INF, False), (-1.0, 1.0, 0.0, False),
        (-1.0, 1.0, NAN, True), (None, INF, NAN, True), (None, INF, INF, False), (0.0, 0.0, 0.0, False), (0, None, -1, True),
    ],
)  # fmt: skip
def test_bounds(lower, upper, value, expected):
    assert decide(ThresholdPruner(lower, upper), {3: value}) == expected


def test_the_largest_step_decides():
    pruner = ThresholdPruner(upper=1.0, min_steps=3)
    assert not decide(pruner, {0: 9.0, 2: 9.0})
    assert decide(pruner, {0: 0.0, 3: 9.0})
    assert not decide(pruner, {0: 0.0, 3: 9.0, 4: 0.0})
    assert not decide(pruner, {4: 0.0, 3: 9.0})  # late
    assert decide(pruner, {4: 9.0, 3: 0.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a threshold needs lower, upper, or both; got neither"),
        ({"lower": 2, "upper": 1}, "lower must not be greater than upper, got lower=2.0, upper=1.0"),
        ({"lower": NAN}, "lower must be a number or None, got lower=nan"),
        ({"upper": "1"}, "upper must be a number, got '1'"),
        ({"upper": 1, "min_steps": -1}, "min_steps must be an integer of at least 0, got min_steps=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidValue) as caught:
        ThresholdPruner(**arguments)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, FastHPOError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("seed", range(3))
def test_decides_as_optuna(seed):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random = np.random.default_rng(seed)
    theirs = optuna.pruners.ThresholdPruner(lower=-1.0, upper=1.5, n_warmup_steps=seed)
    study, run, decisions = optuna.create_study(pruner=theirs), Run(ThresholdPruner(-1.0, 1.5, seed)), 0
    for _ in range(20):
        trial, number = study.ask(), run.ask()
        for step in random.permutation(12).tolist():
            value = random.choice([NAN, INF, -INF, 1.5, -1.0]) if random.random() < 0.2 else random.normal()
            trial.report(value, step)
            run.report(number, step, float(value))
            prune = trial.should_prune()
            assert run.should_prune(number) == prune
            decisions += prune
    assert 30 < decisions < 210
