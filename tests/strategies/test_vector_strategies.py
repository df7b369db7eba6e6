"""Halving, Hyperband and ASHA under several objectives: their definitions, constraints, and samplers that learn."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import ASHA, Hyperband, RandomSampler, SuccessiveHalving, TrialState
from fasthpo.trials import latest
from tests.support.naive_halving import Event, asynchronous, synchronous
from tests.support.naive_layers import legs_in_order
from tests.support.studies import content

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(0.0, 1.0),
        "c": fasthpo.Categorical(["a", "b"]),
        "y": fasthpo.Continuous(0.0, 1.0, when={"c": ["a"]}),
    }
)
SIGNS = {"minimize": 1.0, "maximize": -1.0}


def seeded(kind: type, *args: Any, **options: Any) -> Any:
    return kind(*args, sampler=RandomSampler(seed=0), **options)


PLANS = {
    "halving from 2 by 2": (lambda: seeded(SuccessiveHalving, 9, 2, 2), synchronous),
    "hyperband": (lambda: seeded(Hyperband, 9), synchronous),
    "hyperband, asynchronous": (lambda: seeded(Hyperband, 9, asynchronous=True), asynchronous),
    "asha by 2": (lambda: seeded(ASHA, 9, 1, 2), asynchronous),
}
VALUE = st.one_of(st.sampled_from([0.0, 1.0, 1e308, math.inf, -math.inf, math.nan]), st.integers(0, 3).map(float))


@pytest.mark.parametrize("which", PLANS)
@settings(max_examples=20)
@given(
    data=st.data(),
    directions=st.sampled_from([("minimize", "maximize"), ("minimize", "minimize", "maximize")]),
    most=st.sampled_from([256, 6]),
)
def test_each_decision_is_that_of_the_definition(
    which: str, data: st.DataObject, directions: tuple[str, ...], most: int
) -> None:
    make, oracle = PLANS[which]
    more = {"latest": most} if oracle is asynchronous else {}
    with mock.patch.object(latest, "MOST", most):
        strategy = make()
        s = fasthpo.Study(SPACE, strategy=strategy, directions=directions)
        plans = [(plan.trials, list(plan.resources)) for plan in strategy.plans]
        workers = data.draw(st.integers(1, 4))
        violations: dict[int, float] = {}
        events: list[Event] = []
        running: list[fasthpo.Trial] = []
        for _ in range(data.draw(st.integers(1, 60))):
            if len(running) < workers:
                expected = oracle(events, plans, strategy.reduction_factor, legs_in_order, **more)
                trial = s.ask()
                number = len(s) - 1 if expected[0] is None else expected[0]
                assert (trial.number, s.table.brackets[trial.number], trial.resource) == (number, *expected[1:])
                events.append(("start", trial.number, *expected[1:]))
                running.append(trial)
                continue
            trial = running.pop(data.draw(st.integers(0, len(running) - 1)))
            limits = data.draw(st.sampled_from([None, [-1.0, 0.0], [0.5, -1.0], [2.0, 1.0]]))
            if limits is not None:
                violations[trial.number] = sum(max(one, 0.0) for one in limits)
            if data.draw(st.integers(0, 9)) == 0:
                s.tell(trial, state=TrialState.PRUNED, constraints=limits)
                loss: Any = math.inf
            else:
                values = data.draw(st.lists(VALUE, min_size=len(directions), max_size=len(directions)))
                s.tell(trial, values, constraints=limits)
                losses = tuple(SIGNS[d] * value for d, value in zip(directions, values, strict=True))
                loss = (violations.get(trial.number, 0.0), losses) if np.isfinite(losses).all() else math.inf
                loss = None if np.isnan(losses).any() else loss
            events.append(("end", trial.number, trial.resource, loss))
        rebuilt = make()
        rebuilt.attach(s.table)
        assert rebuilt.next_leg() == strategy.next_leg()
        assert rebuilt.next_leg(new=False) == strategy.next_leg(new=False)
        paused = np.flatnonzero(s.states == TrialState.PAUSED).tolist()
        assert [rebuilt.may_go_on(n) for n in paused] == [strategy.may_go_on(n) for n in paused]
        assert rebuilt.summary() == strategy.summary()


def told(s: fasthpo.Study, rows: list[list[float]], **more: Any) -> None:
    trials = [s.ask() for _ in rows]
    for trial, row in zip(trials, rows, strict=True):
        s.tell(trial, row, **more)


def test_of_the_front_those_go_on_that_cover_it() -> None:
    s = fasthpo.Study(SPACE, strategy=seeded(ASHA, 9, 1, 3), directions=["minimize", "minimize"])
    trials = [s.ask() for _ in range(9)]
    for i, trial in enumerate(trials):  # all on the front, crowded at one end
        x = (i / 8) ** 2
        s.tell(trial, [x, 1 - x])
    assert sorted(s.ask().number for _ in range(3)) == [0, 6, 8]  # 6 of x = 0.5625 is next to the middle


def test_one_that_breaks_a_constraint_goes_on_after_all_that_break_none() -> None:
    s = fasthpo.Study(SPACE, strategy=seeded(SuccessiveHalving, 4, 1, 2), directions=["minimize", "maximize"])
    trials = [s.ask() for _ in range(4)]
    for trial, values, limit in zip(trials, ([0, 9], [1, 8], [2, 7], [3, 6]), (1.0, 0.5, -1.0, -1.0), strict=True):
        s.tell(trial, values, constraints=[limit])
    assert sorted(s.ask().number for _ in range(2)) == [2, 3]


def test_weights_go_of_trials_that_have_given_way_to_later_ones() -> None:
    with mock.patch.object(latest, "MOST", 4):
        s = fasthpo.Study(SPACE, strategy=seeded(ASHA, 100, 1, 50), directions=["minimize", "minimize"])
        s.keep_checkpoints("best")
        for i in range(6):
            trial = s.ask()
            (trial.checkpoint_dir / "weights").write_text("x")
            s.tell(trial, [float(i), float(i)])
        left = sorted(path.name for path in trial.checkpoint_dir.parent.iterdir())
        assert left == ["trial-2", "trial-3", "trial-4", "trial-5"]


def test_what_was_told_at_each_resource_can_be_seen(tmp_path: Path) -> None:
    s = fasthpo.Study(SPACE, strategy=seeded(ASHA, 4, 1, 2), directions=["minimize", "maximize"], storage=tmp_path)
    told(s, [[0.5, 1.0], [0.25, 2.0]])
    trial = s.ask()
    s.tell(trial, [0.2, 3.0])
    rungs = {1: (0.25, 2.0), 2: (0.2, 3.0)}
    assert trial.rungs == rungs and trial.number == 1
    assert s.to_arrow()["rungs"][1].as_py() == [
        {"resource": 1, "values": [0.25, 2.0]},
        {"resource": 2, "values": [0.2, 3.0]},
    ]
    assert "best value" not in s.strategy.summary()
    s.compact()
    s.close()
    assert fasthpo.Study.load(tmp_path).trials[1].rungs == rungs


SAMPLERS: dict[str, Any] = {
    "tpe": lambda: fasthpo.TPESampler(n_startup_trials=5, seed=1),
    "tpe, independent": lambda: fasthpo.TPESampler(n_startup_trials=5, seed=1, multivariate=False),
    "nsga-ii": lambda: fasthpo.NSGAIISampler(population_size=6, seed=1),
    "auto": lambda: fasthpo.AutoSampler(seed=1),
}


def curves(s: fasthpo.Study, trial: fasthpo.Trial) -> None:
    x, resource = trial["x"], trial.resource or 1
    kind = trial.number % 11
    values = [x + 1 / resource, (1 - x) ** 2 + trial.get("y", 0.5) / resource]
    if kind == 7:
        s.tell(trial, state=TrialState.FAILED)
    else:
        s.tell(trial, [math.inf if kind == 3 else values[0], values[1]], constraints=[x - 0.8 + kind / 50])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_that_learns_goes_on_after_loading_as_before(sampler: str, tmp_path: Path) -> None:
    strategy = Hyperband(9, sampler=SAMPLERS[sampler]())
    s = fasthpo.Study(SPACE, strategy=strategy, directions=["minimize", "minimize"], storage=tmp_path / "live")
    for i in range(60):
        curves(s, s.ask())
        if i == 30:
            s.compact()
    s.sync()
    shutil.copytree(tmp_path / "live", tmp_path / "copy", ignore=shutil.ignore_patterns("*lock*"))
    again = fasthpo.Study.load(tmp_path / "copy")
    assert content(again) == content(s)
    for _ in range(40):
        trials = s.ask(), again.ask()
        assert trials[0].params == trials[1].params and trials[0].number == trials[1].number
        for study, trial in zip((s, again), trials, strict=True):
            curves(study, trial)


@pytest.mark.parametrize("multivariate", [True, False])
def test_tpe_learns_from_the_largest_resource_that_says_enough(multivariate: bool) -> None:
    sampler = fasthpo.TPESampler(n_startup_trials=5, seed=1, multivariate=multivariate)
    s = fasthpo.Study(SPACE, strategy=ASHA(27, sampler=sampler), directions=["minimize", "minimize"])
    seen = set()
    for _ in range(120):
        curves(s, s.ask())
        if sampler._model is None or not sampler._model.is_ready:
            continue
        model = sampler._model
        told = {1: 0, 3: 0, 9: 0, 27: 0}
        for trial in s.trials:
            for resource, values in trial.rungs.items():
                told[resource] += bool(np.isfinite(values).all())
        model.catch_up()
        enough = [resource for resource, count in told.items() if count > len(SPACE)]
        assert model._fidelities._resource == max(enough)
        assert all(max(enough) in s.trials[number].rungs for number in model._fidelities.current.below)
        seen.add(max(enough))
    assert len(seen) > 1


def test_a_study_without_trials_and_one_of_a_single_resource() -> None:
    for strategy in (seeded(ASHA, 1), seeded(Hyperband, 1), seeded(SuccessiveHalving, 1)):
        s = fasthpo.Study(SPACE, strategy=strategy, directions=["minimize", "minimize"])
        assert s.strategy.next_leg(new=False) is None and s.strategy.rung_statistics()
        assert s.tell(s.ask(), [1.0, 2.0]) == TrialState.COMPLETE
        assert len(s.best_trials) == 1
