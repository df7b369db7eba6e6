"""TPE under a multi-fidelity strategy: which trials its model is made of, against a definition worked out anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, wilcoxon

import fasthpo
from fasthpo import ASHA, Hyperband, TPESampler, TrialState
from fasthpo.samplers.gaussian_process import MOST_POINTS
from fasthpo.samplers.tpe.model import _ABOVE_BANDWIDTH, Model
from fasthpo.samplers.tpe.split import below_count

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(-5.0, 5.0),
        "k": fasthpo.Discrete(1, 8),
        "c": fasthpo.Categorical(["a", "b"]),
        "m": fasthpo.Continuous(0.0, 1.0, when={"c": ["b"]}),
    }
)


def is_lost(table: Any, number: int) -> bool:
    return str(table.errors.get(number)).startswith("infrastructure: ")


def told_at(table: Any, resource: int | None) -> dict[int, float]:
    """The trials that were told a finite value at a resource, with their losses."""
    segments = table.segments
    told = {}
    for i in range(len(segments)):
        if segments.state[i] in (TrialState.PAUSED, TrialState.COMPLETE) and segments.resource[i] == resource:
            loss = table.objectives.loss(1.0) * float(segments.value[i])
            if math.isfinite(loss):
                told[int(segments.trial[i])] = loss
    return told


def failed_until(table: Any, resource: int) -> dict[int, float]:
    """The trials that came to no finite value at a resource or below, each with infinity."""
    segments = table.segments
    return {
        int(segments.trial[i]): math.inf for i in range(len(segments))
        if segments.state[i] != TrialState.PRUNED and segments.resource[i] <= resource
        and not math.isfinite(segments.value[i]) and not is_lost(table, int(segments.trial[i]))
    }  # fmt: skip


def expected_below(table: Any, enough: int) -> list[int]:
    """The best of the largest resource that has enough trials, best first."""
    levels = [told_at(table, resource) for resource in sorted({int(r) for r in table.segments.column("resource")})]
    trials = [sorted((loss, n) for n, loss in told.items()) for told in levels if len(told) >= enough]
    return [n for _, n in trials[-1][: below_count(len(trials[-1]))]] if trials else []


def check(model: Model) -> None:
    from fasthpo.kernels.tpe.above_tabulated import count_observations

    table = model.table
    below = expected_below(table, len(table.space) + 1)
    assert model._fidelities.current.below == below
    if below:
        known = {key[3]: key[2] for key in model._fidelities.gaussian_process._fitted()}
        resource = model._fidelities._resource
        assert resource is not None
        told = told_at(table, resource) | failed_until(table, resource)
        assert known == told or len(told) > MOST_POINTS == len(known)
        assert known.keys() >= set(below) and known.items() <= told.items()
    told_once = {
        int(t) for i, t in enumerate(table.segments.column("trial")) if table.segments.state[i] != TrialState.FAILED
    }
    lost = {n for n in range(len(table)) if is_lost(table, n)}
    counted = [
        n for n in range(len(table))
        if n not in below and table.states[n] != TrialState.WAITING
        and (n not in lost or n in told_once)
    ]  # fmt: skip
    assert model._count_above == len(counted)
    tables = model._tables._replace(
        **{name: np.zeros_like(getattr(model._tables, name)) for name in ("sums", "histogram", "active")}
    )
    for n in counted:
        count_observations(
            model._encoded.space.axes, _ABOVE_BANDWIDTH, table.params, table.states, n, n + 1, 1, tables
        )  # fmt: skip
    assert all(np.array_equal(one, other) for one, other in zip(model._tables, tables, strict=True))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("strategy", ["asha", "hyperband"])
def test_the_model_is_made_of_the_largest_resource_with_enough_trials(strategy: str, direction: str) -> None:
    sampler = TPESampler(seed=0)
    made = ASHA(27, sampler=sampler) if strategy == "asha" else Hyperband(27, sampler=sampler)
    study = fasthpo.Study(SPACE, strategy=made, direction=direction)
    random = np.random.default_rng(0)
    running: list[fasthpo.Trial] = []
    levels = set()
    for i in range(700):
        if len(running) < 4:
            if i % 50 == 0:
                study.enqueue({"x": 1.0})
            running.append(study.ask())
            SPACE.validate(running[-1].params)
        else:
            trial = running.pop(random.integers(4))
            kind = random.integers(12)
            if kind == 0:
                study.tell(trial, state=TrialState.FAILED, infrastructure=bool(i % 2))
            elif kind == 1:
                trial.report(1.0, 1)
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(
                    trial, [math.inf, -math.inf, 1.0][kind - 2] if kind < 5 else random.normal() / trial.resource
                )
        if sampler._model is not None and i % 20 == 0:
            sampler._model.catch_up()
            sampler._model.catch_up_above()
            check(sampler._model)
            levels.add(sampler._model._fidelities._resource)
    assert len(levels) > 2  # it went from small resources to large ones


def test_a_study_under_a_strategy_goes_on_with_another_sampler() -> None:
    """What the model and the process know is a function of the trials."""
    study = fasthpo.Study(SPACE, strategy=ASHA(27, sampler=TPESampler(seed=5)))
    running: list[fasthpo.Trial] = []
    for i in range(400):
        running.append(study.ask())
        if i % 5 != 3:
            trial = running.pop(0)
            study.tell(trial, trial["x"] ** 2 + trial["k"] + 1 / trial.resource)
    again = TPESampler(seed=5)
    for draw in range(400, 420):
        np.testing.assert_array_equal(again.suggest(study.table, draw), study.sampler.suggest(study.table, draw))


def test_a_tenth_of_the_suggestions_is_random() -> None:
    sampler = TPESampler(seed=1)
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=ASHA(9, sampler=sampler))
    for _ in range(3000):
        trial = study.ask()
        study.tell(trial, trial["x"] + 1 / trial.resource)
    x, draws = study.columns["x"], study.table.draws
    tenth = draws % 10 == 1
    assert kstest(x[tenth], "uniform").pvalue > 0.01
    assert np.median(x[~tenth][-500:]) < 0.05


def test_it_finds_better_trials_than_random_search_at_the_same_resource() -> None:
    def best(sampler: fasthpo.Sampler) -> float:
        study = fasthpo.Study(SPACE, strategy=ASHA(27, sampler=sampler))
        while (trial := study.ask_within(1500 - study.resource_committed)) is not None:
            p = trial.params
            loss = (p["x"] - 2) ** 2 / 10 + abs(p["k"] - 3) + (abs(p["m"] - 0.9) if p["c"] == "b" else 1.0)
            study.tell(trial, loss + 3 / trial.resource)
        return study.best_value

    tpe = [best(TPESampler(seed=seed)) for seed in range(20)]
    random = [best(fasthpo.RandomSampler(seed=seed)) for seed in range(20)]
    assert wilcoxon(tpe, random, alternative="less").pvalue < 0.01
