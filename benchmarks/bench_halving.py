"""A decision of a multi-fidelity strategy in a long study: what comes next, and what a told trial becomes.

    pip install -c constraints.txt -e ".[benchmark]"
    python -m pytest benchmarks/bench_halving.py

A decision is `next_leg` before a trial runs and `on_end` after it, without the sampler and the table; beside it the
whole ask and tell. One core; medians.
"""

from __future__ import annotations

from typing import Any

import pytest

import fasthpo

MAKERS = {
    "SuccessiveHalving": lambda sampler: fasthpo.SuccessiveHalving(81, sampler=sampler),
    "Hyperband": lambda sampler: fasthpo.Hyperband(81, sampler=sampler),
    "Hyperband, asynchronous": lambda sampler: fasthpo.Hyperband(81, sampler=sampler, asynchronous=True),
    "ASHA": lambda sampler: fasthpo.ASHA(81, sampler=sampler),
}


class Timed:
    """Runs a study one leg at a time; `leg` is what is measured."""

    def __init__(self, name: str, trials: int) -> None:
        strategy = MAKERS[name](fasthpo.RandomSampler(seed=0))
        self.study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy)
        while len(self.study) < trials:
            self.ask_and_tell()

    def ask_and_tell(self) -> None:
        trial = self.study.ask()
        self.study.tell(trial, trial["x"] + 1.0 / trial.resource)


@pytest.mark.parametrize("trials", [1_000, 100_000])
@pytest.mark.parametrize("name", MAKERS)
def test_ask_and_tell(benchmark: Any, name: str, trials: int) -> None:
    timed = Timed(name, trials)
    benchmark.group = f"ask and tell, {name}, {trials:,} trials"
    benchmark.extra_info["library"] = "fasthpo"
    benchmark.pedantic(timed.ask_and_tell, rounds=500, iterations=10)


@pytest.mark.parametrize("trials", [1_000, 100_000])
@pytest.mark.parametrize("name", MAKERS)
def test_decision(benchmark: Any, name: str, trials: int) -> None:
    timed = Timed(name, trials)
    study = timed.study
    strategy = study.strategy
    assert strategy is not None
    benchmark.group = f"decision, {name}, {trials:,} trials"
    benchmark.extra_info["library"] = "fasthpo"
    told: list[int] = []

    def setup() -> None:
        trial = study.ask()
        told.append(trial.number)
        # all of a tell but what the strategy does
        strategy_on_end, strategy.on_end = strategy.on_end, lambda number: None
        study.tell(trial, trial["x"] + 1.0 / trial.resource)
        strategy.on_end = strategy_on_end

    def decision() -> None:
        strategy.on_end(told[-1])
        strategy.next_leg()

    benchmark.pedantic(decision, setup=setup, rounds=2000)
