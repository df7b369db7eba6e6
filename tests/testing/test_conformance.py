"""The project's own samplers, pruners and strategies hold what `fasthpo.testing` checks, with several options each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fasthpo
from fasthpo import pruners, samplers, strategies
from fasthpo.testing import (
    check_pruner,
    check_sampler,
    check_strategy,
    pruner_checks,
    sampler_checks,
    strategy_checks,
)

SAMPLERS: dict[str, Callable[..., fasthpo.Sampler]] = {
    "random": fasthpo.RandomSampler,
    "grid": fasthpo.GridSampler,
    "grid-shuffled": lambda seed: fasthpo.GridSampler(shuffle=True, seed=seed),
    "qmc": fasthpo.QMCSampler,
    "qmc-not-scrambled": lambda seed: fasthpo.QMCSampler(seed, scramble=False),
    "tpe": fasthpo.TPESampler,
    "tpe-univariate": lambda seed: fasthpo.TPESampler(5, multivariate=False, seed=seed),
    "tpe-exact": lambda seed: fasthpo.TPESampler(3, 5, seed=seed, exact=True),
    "auto": fasthpo.AutoSampler,
    "cma-es": fasthpo.CmaEsSampler,
    "nsga-ii": fasthpo.NSGAIISampler,
    "nsga-ii-small": lambda seed: fasthpo.NSGAIISampler(4, seed=seed),
    "cma-es-small": lambda seed: fasthpo.CmaEsSampler(4, 0.3, seed=seed),
}
PRUNERS: dict[str, Callable[[], fasthpo.Pruner]] = {
    "median": fasthpo.MedianPruner,
    "percentile": lambda: fasthpo.PercentilePruner(30, n_startup_trials=2, min_steps=2),
    "percentile-completed": lambda: fasthpo.PercentilePruner(70, n_startup_trials=1, pool="completed"),
    "threshold": lambda: fasthpo.ThresholdPruner(-1.0, 0.8, min_steps=1),
    "patient": lambda: fasthpo.PatientPruner(None, 2, 0.1),
    "patient-median": lambda: fasthpo.PatientPruner(fasthpo.MedianPruner(1), 1),
    "wilcoxon": fasthpo.WilcoxonPruner,
    "wilcoxon-strict": lambda: fasthpo.WilcoxonPruner(0.4, n_startup_steps=1),
    "successive_halving": fasthpo.SuccessiveHalvingPruner,
    "successive_halving-by-two": lambda: fasthpo.SuccessiveHalvingPruner(2, 2),
}


def drawn() -> fasthpo.Sampler:
    return fasthpo.RandomSampler(seed=1)


STRATEGIES: dict[str, Callable[[], fasthpo.Strategy]] = {
    "in-full": lambda: fasthpo.Strategy(fasthpo.QMCSampler(seed=1)),
    "random": lambda: fasthpo.RandomSearch(seed=1),
    "grid": lambda: fasthpo.GridSearch(seed=1),
    "bayesian": lambda: fasthpo.BayesianOptimization(seed=1),
    "successive_halving": lambda: fasthpo.SuccessiveHalving(9, sampler=drawn()),
    "successive_halving-one-rung": lambda: fasthpo.SuccessiveHalving(1, sampler=drawn()),
    "hyperband": lambda: fasthpo.Hyperband(9, sampler=drawn()),
    "hyperband-by-two": lambda: fasthpo.Hyperband(27, 2, 2, sampler=drawn()),
    "hyperband-asynchronous": lambda: fasthpo.Hyperband(9, sampler=drawn(), asynchronous=True),
    "bohb": lambda: fasthpo.Hyperband(9, sampler=fasthpo.TPESampler(seed=1)),
    "asha": lambda: fasthpo.ASHA(9, sampler=drawn()),
    "asha-not-resumable": lambda: fasthpo.ASHA(10, 2, 2, sampler=drawn(), resumable=False),
}
# what does not hold, and need not: no randomness, and bounds on values that know no direction
EXCEPT = [
    ("grid", "gives_other_studies_for_other_seeds"),
    ("qmc-not-scrambled", "gives_other_studies_for_other_seeds"),
    ("threshold", "mirrors_maximize"),
]
SLOWER = ("tpe-exact", "takes_as_long_however_many_trials")  # it sums over all trials, as its docstring says
# its parts cost differently, and after 1,200 trials others are at work than after 200; `test_auto_sampler.py` counts in
# the long run
VARIES = ("auto", "does_the_same_however_many_trials")
ALL = {check_sampler: (SAMPLERS, sampler_checks()), check_pruner: (PRUNERS, pruner_checks())}
ALL[check_strategy] = STRATEGIES, strategy_checks()


def cases(suite: Callable[..., None]) -> list[Any]:
    makes, checks = ALL[suite]
    found = []
    for name, make in makes.items():
        left_out = {check for one, check in [*EXCEPT, SLOWER, VARIES] if one == name and suite is not check_strategy}
        if "-" in name:
            left_out.add("suggests_the_same_in_other_processes")  # a process each: once a kind
        kept = [check for check in checks if check.__name__ not in left_out]
        found += [pytest.param(make, check, id=f"{name}-{check.__name__}") for check in kept]
    return found


@pytest.mark.parametrize(("make", "check"), cases(check_sampler))
def test_a_sampler_conforms(make: Any, check: Any) -> None:
    check(make)


@pytest.mark.parametrize(("make", "check"), cases(check_pruner))
def test_a_pruner_conforms(make: Any, check: Any) -> None:
    check(make)


@pytest.mark.parametrize(("make", "check"), cases(check_strategy))
def test_a_strategy_conforms(make: Any, check: Any) -> None:
    check(make)


@pytest.mark.parametrize(("name", "rule"), EXCEPT)
def test_the_exceptions_are_needed(name: str, rule: str) -> None:
    makes, checks = next(pair for pair in ALL.values() if name in pair[0])
    (check,) = [check for check in checks if check.__name__ == rule]
    with pytest.raises(AssertionError, match=rule):
        check(makes[name])


def test_all_are_here() -> None:
    kinds = {type(make(seed=1)) for make in SAMPLERS.values()} | {type(make()) for make in PRUNERS.values()}
    kinds |= {type(make()) for make in STRATEGIES.values()}
    for builtin in (samplers.builtin(), pruners.builtin(), strategies.builtin()):
        # a population asks for so many trials only, and waits for them; see `test_population_training.py`
        assert {kind for kind in builtin.values() if not getattr(kind, "is_population", False)} <= kinds
