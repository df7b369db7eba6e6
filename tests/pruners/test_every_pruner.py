"""What holds for every built-in pruner: it decides as its slow twin, whatever comes, and after loading as before."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import pruners
from fasthpo.pruners.base import Pruner
from fasthpo.trials.trial import TrialState
from tests.support import naive_percentile, naive_pruners
from tests.support.pruning import COMPILED, INF, NAN, Run, events, play

# name -> options to draw from
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "median": {"n_startup_trials": [0, 2], "min_steps": [0, 2]},
    "percentile": {"percentile": [10.0, 50.0, 75.0], "n_startup_trials": [0, 2], "min_steps": [0, 2]},
    "threshold": {"lower": [None, -1.0, -INF], "upper": [INF, 1.0, 2.5], "min_steps": [0, 0, 2]},
    "patient": {
        "wrapped_pruner": [
            None, None, fasthpo.MedianPruner(1), fasthpo.ThresholdPruner(upper=1.0), fasthpo.SuccessiveHalvingPruner(),
            fasthpo.WilcoxonPruner(0.4), fasthpo.PatientPruner(fasthpo.MedianPruner(0), 0),
        ],
        "patience": [0, 1, 2, 4],
        "min_delta": [0.0, 0.5],
    },
    "wilcoxon": {"p_threshold": [0.1, 0.3, 0.6, 1.0], "n_startup_steps": [0, 2, 4]},
    "successive_halving": {"min_resource": [1, 2, 5], "reduction_factor": [2, 3]},
}  # fmt: skip
KINDS = pruners.builtin()


@st.composite
def made(draw: Any, name: str) -> Pruner:
    options = {key: draw(st.sampled_from(values)) for key, values in OPTIONS[name].items()}
    return fresh(KINDS[name](**options))


def fresh(pruner: Pruner) -> Pruner:
    """A new pruner with the same options; the tests must not share a wrapped one."""
    options = pruner.options()
    return type(pruner)(**{key: fresh(v) if isinstance(v, Pruner) else v for key, v in options.items()})


def twin(pruner: Pruner, table: Any, number: int, log: list[Any]) -> bool:
    """The slow decision; `log` is all that has happened, in order."""
    options = pruner.options()
    if pruner.name == "patient":
        wrapped = options["wrapped_pruner"]
        alone = naive_pruners.patience_over(table, number, options["patience"], options["min_delta"])
        return alone and (wrapped is None or twin(wrapped, table, number, log))
    if pruner.name == "threshold":
        return naive_pruners.threshold(table, number, **options)
    if pruner.name == "wilcoxon":
        return naive_pruners.wilcoxon(table, number, **options)
    if pruner.name == "successive_halving":
        rungs = naive_pruners.Halving(
            log, table.objectives.loss(1.0), options["min_resource"], options["reduction_factor"]
        )
        return number in rungs.stopped
    percent = options.get("percentile", 50.0)
    return naive_percentile.should_prune(table, number, percent, options["n_startup_trials"], options["min_steps"])


def test_all_are_here() -> None:
    assert set(OPTIONS) == set(KINDS)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=150 if COMPILED else 40)
@given(data=st.data(), sequence=events, direction=st.sampled_from(["minimize", "maximize"]), often=st.booleans())
def test_decides_as_its_twin(name: str, data: Any, sequence: Any, direction: str, often: bool) -> None:
    run = Run(data.draw(made(name)), direction)
    asked = 0

    def check(number: int) -> None:
        nonlocal asked
        asked += 1
        if often or asked % 5 == 0:
            assert run.should_prune(number) == twin(run.pruner, run.table, number, run.log)

    play(run, sequence, check)
    again = Run(fresh(run.pruner), direction)  # a pruner that takes up all of it at once
    again.table = run.table
    again.pruner.attach(run.table)
    reported = {number for number, step, _ in run.log if step is not None}
    assert repr(naive_pruners.events_of(run.table)) == repr([event for event in run.log if event[0] in reported])
    for number in run.table.running.tolist():
        assert again.should_prune(number) == run.should_prune(number)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=50)
@given(data=st.data(), sequence=events)
def test_maximize_mirrors_minimize(name: str, data: Any, sequence: Any) -> None:
    pruner = data.draw(made(name))
    decisions = []
    for direction, sign in (("minimize", 1.0), ("maximize", -1.0)):
        one = fresh(pruner)
        if isinstance(one, fasthpo.ThresholdPruner) and sign == -1:
            lower, upper = one.options()["lower"], one.options()["upper"]
            one = fasthpo.ThresholdPruner(-upper, None if lower is None else -lower, one.min_steps)
        elif isinstance(one, fasthpo.PatientPruner) and isinstance(one.wrapped_pruner, fasthpo.ThresholdPruner):
            one.wrapped_pruner = None
        run, found = Run(one, direction), []
        mirrored = [(what, which, stride, sign * value, state) for what, which, stride, value, state in sequence]
        play(run, mirrored, lambda number, run=run, found=found: found.append(run.should_prune(number)))
        decisions.append(found)
    assert decisions[0] == decisions[1]


# --- through a study


def advance(study: fasthpo.Study, seed: int, trials: int) -> list[Any]:
    """Up to three trials at once, any steps, all kinds of ends; what was decided."""
    random = np.random.default_rng(seed)
    running: list[fasthpo.Trial] = []
    decided: list[Any] = []
    started = 0
    while started < trials or running:
        if started < trials and len(running) < 3 and random.random() < 0.3:
            running.append(study.ask())
            started += 1
        elif running:
            trial = running[random.integers(len(running))]
            step = len(trial.reports) + int(random.choice([0, 0, 0, 0, 1, -1, 3, 2**45]))
            value = (
                random.choice([NAN, INF, -INF, 0.0, 1.0]) if random.random() < 0.1 else random.normal(trial["x"], 0.3)
            )
            trial.report(float(value), max(step, 0))
            prune = trial.should_prune()
            decided.append((trial.number, step, prune))
            if len(trial.reports) >= 9 or prune or random.random() < 0.03:
                kind = random.choice(["complete", "complete", "failed"]) if not prune else "pruned"
                if kind == "complete":
                    study.tell(trial, float(value))
                else:
                    study.tell(trial, state=TrialState.PRUNED if prune else TrialState.FAILED)
                running.remove(trial)
    return decided


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_loaded_study_decides_as_one_that_never_stopped(name: str, direction: str, tmp_path: Path) -> None:
    space, outcomes = {"x": fasthpo.Continuous(0.0, 1.0)}, set()
    for seed in range(6):
        random = np.random.default_rng(seed)
        options = {key: values[random.integers(len(values))] for key, values in OPTIONS[name].items()}
        pruner = fresh(KINDS[name](**options))
        study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=seed), direction=direction, pruner=pruner)
        for part in range(4):
            path = study.save(tmp_path / "study.msgpack")
            loaded = fasthpo.Study.load(path)
            assert type(loaded.pruner) is type(study.pruner) and plain(loaded.pruner) == plain(study.pruner)
            decided = advance(study, 10 * seed + part, 20)
            assert advance(loaded, 10 * seed + part, 20) == decided
            outcomes |= {prune for _, _, prune in decided}
    assert outcomes == {True, False}


def plain(pruner: Pruner | None) -> Any:
    """Name and options, all the way down."""
    assert pruner is not None
    options = pruner.options().items()
    return type(pruner), {key: plain(value) if isinstance(value, Pruner) else value for key, value in options}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_first_value_at_a_step_stands(name: str, caplog: Any) -> None:
    options = {key: values[-1] for key, values in OPTIONS[name].items()}
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=fresh(KINDS[name](**options)))
    for _ in range(5):
        trial = study.ask()
        for step in range(8):
            trial.report(0.1 * step, step)
        study.tell(trial, 0.5)
    trials = study.ask(), study.ask()
    for step in range(8):
        for trial in trials:
            trial.report(1.0 + step, step)
        trials[1].report(-100.0, step)  # as if it had not been
        trials[1].report(-100.0, step // 2)
        assert trials[0].should_prune() == trials[1].should_prune()
    assert "is ignored" in caplog.text
    for step in (-1, 2**63, 1.5, True, "3"):
        with pytest.raises(fasthpo.InvalidValue, match="step must be an integer that is not negative"):
            trials[0].report(0.0, step)  # type: ignore[arg-type]
    trials[0].report(0.0, 2**63 - 1)
    trials[0].should_prune()


@pytest.mark.parametrize("name", OPTIONS)
def test_no_reports_no_pruning(name: str) -> None:
    options = {key: values[-1] for key, values in OPTIONS[name].items()}
    run = Run(fresh(KINDS[name](**options)))
    number = run.ask()
    assert not run.should_prune(number)
    for _ in range(200):
        run.end(run.ask())
    assert not run.should_prune(number) and not run.should_prune(run.ask())


def decisions_on(pruner: Pruner, levels: list[float]) -> list[bool]:
    """A trial a level, falling by a tenth a step; the first is still running at the end, when it is asked about again."""
    run, found = Run(pruner), []
    for level in levels:
        number = run.ask()
        for step in range(7):
            run.report(number, step, level - 0.1 * step)
            found.append(run.should_prune(number))
        if number:
            run.end(number, value=level)
    return [*found, run.should_prune(0)]


@pytest.mark.parametrize("name", OPTIONS)
def test_attach_forgets_the_table_before(name: str) -> None:
    options = {key: values[0] for key, values in OPTIONS[name].items()}
    used, new = fresh(KINDS[name](**options)), fresh(KINDS[name](**options))
    levels = [4.0, 1.0, 3.0, 2.0, 5.0, 0.5, NAN]
    for before in ([-9.0, 5.0, -9.0, 9.0], [99.0, 0.0]):
        decisions_on(used, before)
        found = decisions_on(used, levels)
        assert found == decisions_on(new, levels) and True in found


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_plain_and_make_an_equal_pruner(name: str) -> None:
    numpy_options = {
        key: np.float64(values[-1]) if isinstance(values[-1], float) else np.int64(values[-1])
        if isinstance(values[-1], int) else values[-1]
        for key, values in OPTIONS[name].items()
    }  # fmt: skip
    pruner = KINDS[name](**numpy_options)
    for value in pruner.options().values():
        assert isinstance(value, Pruner) or type(value) in (int, float, str, type(None))
    assert plain(fresh(pruner)) == plain(pruner)


def test_numba_waits_for_a_report_that_matters() -> None:
    program = """
import sys, fasthpo
space = {"x": fasthpo.Continuous(0.0, 1.0)}
def study(pruner):
    return fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), pruner=pruner)

for made in (None, fasthpo.MedianPruner(n_startup_trials=1), fasthpo.ThresholdPruner(upper=1.0),
             fasthpo.PatientPruner(fasthpo.MedianPruner(), 1), fasthpo.WilcoxonPruner(),
             fasthpo.SuccessiveHalvingPruner(5)):
    trial = study(made).ask()
    assert not trial.should_prune()
for made in (None, fasthpo.ThresholdPruner(upper=1.0), fasthpo.SuccessiveHalvingPruner(5)):
    one = study(made)
    trial = one.ask()
    for step in range(5):
        trial.report(2.0, step)
        trial.should_prune()
    one.tell(trial, 1.0)
assert "numba" not in sys.modules and "scipy.stats" not in sys.modules
one = study(fasthpo.WilcoxonPruner())
best, trial = one.ask(), one.ask()
for step in range(5):
    best.report(0.0, step)
    trial.report(1.0 + step, step)
one.tell(best, 0.0)
assert trial.should_prune()
assert "scipy.stats" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_wrapped_pruner_of_ones_own_must_be_passed(tmp_path: Path) -> None:
    class Own(fasthpo.ThresholdPruner):
        pass

    def make() -> fasthpo.PatientPruner:
        return fasthpo.PatientPruner(Own(upper=1.0), 2)

    path = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=make()).save(tmp_path / "study.msgpack")
    with pytest.raises(fasthpo.InvalidValue, match=r"a pruner of your own, Own; pass one as pruner="):
        fasthpo.Study.load(path)
    loaded = fasthpo.Study.load(path, pruner=make()).pruner
    assert isinstance(loaded, fasthpo.PatientPruner) and type(loaded.wrapped_pruner) is Own


def test_steps_beyond_any_rung_and_limits_beyond_any_step() -> None:
    for pruner in (
        fasthpo.SuccessiveHalvingPruner(2**53, 2), fasthpo.ThresholdPruner(upper=0.0, min_steps=2**63 - 1),
        fasthpo.MedianPruner(0, 2**63 - 1),
    ):  # fmt: skip
        run = Run(pruner)
        for _ in range(3):
            number = run.ask()
            for step in (0, 255, 256, 2**52):
                run.report(number, step, math.pi)
                assert not run.should_prune(number)
                other = fresh(pruner)
                other.attach(run.table)
                assert not other.should_prune(run.table, number)
