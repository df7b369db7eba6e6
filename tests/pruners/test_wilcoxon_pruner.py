"""The Wilcoxon pruner: what its definition says, Optuna's, and how often it prunes what is no worse."""

from __future__ import annotations

import numpy as np
import pytest

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.pruners.wilcoxon import WilcoxonPruner
from tests.support.pruning import COMPLETE, FAILED, INF, NAN, PRUNED, Run

ZEROS = dict.fromkeys(range(20), 0.0)


def decide(best, own, direction="minimize", **options):
    run = Run(WilcoxonPruner(**options), direction)
    number = run.ask()
    for step, value in best.items():
        run.report(number, step, value)
    run.end(number, COMPLETE, 0.0)
    number = run.ask()
    for step, value in own.items():
        run.report(number, step, value)
    return run.should_prune(number)


def test_worse_at_each_step():
    worse = {step: 0.1 * (step + 1) for step in range(4)}
    assert decide(ZEROS, worse)  # p = 1/16
    assert decide(ZEROS, {step: -value for step, value in worse.items()}, "maximize")
    assert not decide(ZEROS, worse, p_threshold=1 / 16)
    assert not decide(ZEROS, {step: worse[step] for step in range(3)})  # p = 1/8
    assert decide(ZEROS, {step: worse[step] for step in range(3)}, p_threshold=0.2)
    assert not decide(ZEROS, worse, n_startup_steps=5)


def test_better_on_average_is_never_pruned():
    own = {step: 0.1 * (step + 1) for step in range(19)}
    assert decide(ZEROS, own)
    own[19] = -100.0  # its mean is better now, while W remains large
    assert not decide(ZEROS, own)
    assert not decide(ZEROS, dict.fromkeys(range(20), 0.0), p_threshold=1.0)  # as good


def test_only_common_steps_count():
    best = dict.fromkeys(range(0, 20, 2), 0.0)
    worse_elsewhere = {step: 9.0 + step if step % 2 else -0.1 - step for step in range(20)}
    assert not decide(best, worse_elsewhere)
    assert decide(best, {step: 0.1 + step if step % 2 == 0 else -1e9 for step in range(20)})
    assert not decide(best, dict.fromkeys(range(100, 120), 9.0))
    assert not decide({}, {0: 9.0, 1: 9.0})


def test_nan_and_infinities_rank_worst():
    finite = {step: 0.01 * (step + 1) for step in range(3)}
    assert decide(ZEROS, {**finite, 3: NAN})
    assert decide(ZEROS, {**finite, 3: INF})
    assert not decide(ZEROS, {**finite, 3: -INF})
    assert decide(ZEROS, {**{step: -value for step, value in finite.items()}, 3: NAN}, "maximize")
    assert not decide({**ZEROS, 3: NAN}, {**finite, 3: 5.0})
    assert not decide(dict.fromkeys(range(9), NAN), dict.fromkeys(range(9), INF))  # equally bad


def test_only_the_best_complete_trial_counts():
    run = Run(WilcoxonPruner())
    judged = run.ask()
    for step in range(6):
        run.report(judged, step, 1.0 + step)
    for state, value in ((PRUNED, 0.0), (FAILED, NAN), (COMPLETE, INF), (COMPLETE, NAN)):
        number = run.ask()
        for step in range(6):
            run.report(number, step, 0.0)
        run.end(number, state, value)
        assert not run.should_prune(judged)
    for level, value in ((2.0, 3.0), (0.0, 2.0), (5.0, 9.0)):  # as it comes: worse, better, and no longer the best
        number = run.ask()
        for step in range(6):
            run.report(number, step, level + step)
        run.end(number, COMPLETE, value)
        assert run.should_prune(judged) == (level != 2.0)


def test_curves_that_were_dropped_are_read_again(monkeypatch):
    monkeypatch.setattr("fasthpo.pruners.wilcoxon._MOST_CURVES", 3)
    run = Run(WilcoxonPruner())
    best = run.ask()
    for step in range(6):
        run.report(best, step, 0.0)
    run.end(best, COMPLETE, 0.0)
    numbers = [run.ask() for _ in range(10)]
    for step in range(6):
        for number in numbers:
            run.report(number, step, (1.0 + step) * (-1) ** number)
            assert len(run.pruner._curves) <= 3
            assert run.should_prune(number) == (number % 2 == 0 and step >= 3)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("n", "threshold"), [(10, 0.1), (40, 0.05), (80, 0.1)])
def test_equals_are_pruned_as_often_as_the_threshold_says(direction, n, threshold):
    """Asked once, about a trial that differs from the best one by noise only."""
    random, pairs = np.random.default_rng(n), 1500
    pruned = 0
    for values in random.standard_normal((pairs, 2, n)):
        best, own = (dict(enumerate(row.tolist())) for row in values)
        pruned += decide(best, own, direction, p_threshold=threshold)
    # a little less: p takes few values, and the mean has to agree
    assert (
        threshold - 4 * (threshold / pairs) ** 0.5 - 0.02 < pruned / pairs < threshold + 4 * (threshold / pairs) ** 0.5
    )


@pytest.mark.filterwarnings("ignore:WilcoxonPruner is experimental")  # Optuna's
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_decides_as_optuna(direction):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        n = int(random.integers(2, 60))
        steps = random.permutation(n).tolist()
        best = {step: float(random.normal()) for step in steps}
        own = {step: float(best[step] + random.normal(0.2, 1.0)) for step in steps}
        if direction == "maximize":
            best, own = ({step: -value for step, value in curve.items()} for curve in (best, own))
        study = optuna.create_study(direction=direction, pruner=optuna.pruners.WilcoxonPruner())
        for curve in (best, own):
            trial = study.ask()
            for step, value in curve.items():
                trial.report(value, step)
            if curve is best:
                study.tell(trial, 0.0)
        found.append(trial.should_prune())
        assert decide(best, own, direction) == found[-1]
    assert 15 < sum(found) < 45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_threshold": 1.1}, "p_threshold must be between 0 and 1, got p_threshold=1.1"),
        ({"p_threshold": NAN}, "p_threshold must be between 0 and 1, got p_threshold=nan"),
        ({"p_threshold": None}, "p_threshold must be a number, got None"),
        ({"n_startup_steps": -1}, "n_startup_steps must be an integer of at least 0, got n_startup_steps=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidValue) as caught:
        WilcoxonPruner(**arguments)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, FastHPOError) and isinstance(caught.value, ValueError)
