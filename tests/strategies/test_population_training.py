"""Populations: who is replaced by whom, with which weights and parameters, for any number of workers and after kills."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo import PB2, InvalidValue, PopulationTraining, RandomSampler, TrialState
from fasthpo.strategies.exploring import moved, perturbed
from fasthpo.strategies.places import Selection
from fasthpo.testing.interrupting import count_lines
from fasthpo.trials.lineage import Fork
from tests.support import population
from tests.support.population import SPACE, alive, content, make, require_same, run, train, train_until

POSIX = os.name == "posix"
CONTEXT = multiprocessing.get_context("forkserver" if POSIX else "spawn")
if POSIX:
    CONTEXT.set_forkserver_preload(["tests.support.population"])
LINE = {"rate": fasthpo.LogUniform(0.01, 1.0)}


def line(values: Any = None, **options: Any) -> fasthpo.Study:
    """A population whose members are told what their place has in `values`, or else their rate."""
    given = {"max_resource": 4, "population": 8, "sampler": RandomSampler(seed=3), **options}
    study = fasthpo.Study(LINE, strategy=PopulationTraining(**given))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, trial["rate"] if values is None else values[trial.member])
    return study


# --- selection


@given(st.integers(1, 40), st.floats(0.01, 0.5), st.integers(0, 40), st.randoms())
def test_the_worst_are_replaced_and_the_best_are_parents(size: int, quantile: float, failed: int, rnd: Any) -> None:
    failed = min(failed, size)
    losses = [(0.0, float(rnd.random()), member) for member in range(failed, size)]
    selection = Selection(size, quantile, 0)
    best, worst = selection.split(losses, failed)
    order = [member for _, _, member in sorted(losses)]
    assert 0 <= selection.replaced <= size // 2 and (selection.replaced >= 1 or size == 1)
    assert best == order[: selection.replaced] and not set(best) & worst
    # those that failed are replaced in any case, and count among the worst
    assert len(worst) == min(max(selection.replaced - failed, 0), len(order) - len(best))
    assert worst == set(order[len(order) - len(worst) :])
    if best:
        assert selection.parent(best, Fork(0, 1)) in best


def test_replaced_members_begin_from_the_best_ones_weights() -> None:
    study = make()
    run(study)
    children = [trial for trial in study.trials if trial.parent is not None]
    assert len(study) > 6 and children and study.strategy.is_complete
    for trial in children:
        parent = study.trials[trial.parent]
        before = {t.member: t for t in study.trials if t.number < trial.number and t.generation < trial.generation}
        values = {member: t.rungs[trial.fork_step] for member, t in before.items() if trial.fork_step in t.rungs}
        ranked = sorted(values, key=values.__getitem__)
        assert parent.member == ranked[0] and trial.member == ranked[-1]  # a quarter of six is one
        assert trial.start_resource >= trial.fork_step and trial.generation == trial.fork_step // 3
    best = study.best_trial
    epochs = [
        number for number, _ in population.json.loads((best.checkpoint_dir / "weights.json").read_text())["epochs"]
    ]
    lineage = [best.number]
    while (parent := study.trials[lineage[0]].parent) is not None:
        lineage.insert(0, parent)
    assert list(dict.fromkeys(epochs)) == lineage and len(epochs) == 12


@pytest.mark.parametrize("sign", [1, -1])
def test_maximizing_is_minimizing_the_negative(sign: int) -> None:
    strategies = [PopulationTraining(6, 8, 2, sampler=RandomSampler(seed=5)) for _ in range(2)]
    studies = [
        fasthpo.Study(LINE, strategy=s, direction=d) for s, d in zip(strategies, ("minimize", "maximize"), strict=True)
    ]
    for study, factor in zip(studies, (1, -1), strict=True):
        while (trial := study.ask_within()) is not None:
            study.tell(trial, sign * factor * trial["rate"])
    assert [t.params for t in studies[0].trials] == [t.params for t in studies[1].trials]
    assert [t.parent for t in studies[0].trials] == [t.parent for t in studies[1].trials]


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf, "fail", "lost", "prune"])
def test_members_without_a_value_rank_last_and_are_replaced(synchronous: bool, bad: Any) -> None:
    strategy = PopulationTraining(4, 4, synchronous=synchronous, sampler=RandomSampler(seed=0))
    study = fasthpo.Study(LINE, strategy=strategy)
    hit = False
    while (trial := study.ask_within()) is not None:
        if trial.member == 2 and trial.resource == 2 and not hit:
            hit = True
            if bad == "prune":
                study.tell(trial, state=TrialState.PRUNED)
            elif isinstance(bad, str):
                study.tell(trial, state=TrialState.FAILED, error="gone", infrastructure=bad == "lost")
            else:
                study.tell(trial, bad)
            lost = trial.number
        else:
            study.tell(trial, float(trial.member or 0))
    (after,) = [t for t in study.trials if t.member == 2 and t.number > lost][:1]
    assert after.parent is not None and study.trials[after.parent].member == 0
    assert study.table.counts[TrialState.COMPLETE] == 4 and study.strategy.is_complete
    # one interval is lost: the first leg, and that of the next one from there on
    assert study.resource_spent <= 16 + 1 + (0 if synchronous else 4)


def test_a_population_that_fails_altogether_begins_anew() -> None:
    study = fasthpo.Study(LINE, strategy=PopulationTraining(3, 2, sampler=RandomSampler(seed=0)))
    for _ in range(2):
        study.tell(study.ask(), math.nan)
    trial = study.ask()
    assert trial.parent is None and trial.generation == 1 and (trial.start_resource, trial.resource) == (0, 2)
    rates = {trial["rate"] for trial in study.trials}
    assert len(rates) == 3  # drawn from the prior


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("members", [1, 3])
def test_a_population_of_which_nothing_comes_ends(synchronous: bool, members: int) -> None:
    """After as many attempts as there are intervals, also if it is loaded in between."""
    study = fasthpo.Study(LINE, strategy=PopulationTraining(4, members, synchronous=synchronous))
    for _ in range(4 * members):
        assert not study.strategy.is_complete
        study.strategy.attach(study.table)
        study.tell(study.ask(), math.nan)
    assert study.ask_within() is None and study.strategy.is_complete
    study.strategy.attach(study.table)
    assert study.strategy.is_complete


def test_one_member_only_trains() -> None:
    study = line(population=1)
    assert len(study) == 1 and study.best_trial.resource == 4 and list(study.best_trial.rungs) == [1, 2, 3, 4]


def test_constraints_come_before_values() -> None:
    study = fasthpo.Study(LINE, strategy=PopulationTraining(2, 4, sampler=RandomSampler(seed=0)))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, float(trial.member or 0), constraints=[1.0 if trial.member == 0 else 0.0])
    (child,) = [t for t in study.trials if t.parent is not None]
    assert (child.member, study.trials[child.parent].member) == (0, 1)


# --- parameters


@given(st.integers(0, 2**63), st.integers(1, 50), st.integers(0, 50), st.floats(0.01, 10), st.floats(0, 1))
@settings(max_examples=60)
def test_changed_parameters_are_points_of_the_space(seed: int, g: int, m: int, far: float, anew: float) -> None:
    row = SPACE.from_unit(np.random.default_rng(seed).random((1, len(SPACE))))[0]
    every = np.ones(len(SPACE), np.bool_)
    for _ in range(5):
        row = perturbed(SPACE, row, every, far, anew, seed, Fork(m, g))
        assert SPACE.contains(SPACE.decode(row))


def test_parameters_move_on_their_own_scale() -> None:
    assert moved(fasthpo.LogUniform(1e-4, 1.0), 0.01, True, 0.25) == pytest.approx(0.008)
    assert moved(fasthpo.LogUniform(1e-4, 1.0), 0.9, False, 0.25) == 1.0
    assert moved(fasthpo.Continuous(0.0, 2.0), 0.5, False, 0.2) == pytest.approx(0.7)
    assert moved(fasthpo.Continuous(0.0, 2.0), 0.1, True, 0.2) == 0.0
    assert moved(fasthpo.Continuous(0.0, 1.0, step=0.5), 0.0, False, 0.01) == 0.5
    assert moved(fasthpo.Discrete(1, 100, log=True), 3.0, False, 0.1) == 4.0
    assert moved(fasthpo.Discrete(1, 100, log=True), 50.0, True, 0.25) == 40.0
    assert moved(fasthpo.Categorical(["a", "b", "c"]), 1.0, True, 0.2) == 0.0
    assert moved(fasthpo.Categorical(["a", "b", "c"]), 2.0, False, 0.2) == 2.0
    assert moved(fasthpo.Categorical(["only"]), 0.0, False, 0.2) == 0.0
    assert moved(fasthpo.Discrete(5, 5), 5.0, True, 0.2) == 5.0
    assert moved(fasthpo.Ordinal([8, 64, 512]), 1.0, False, 0.01) == 2.0
    assert moved(fasthpo.LogNormal(0.0, 1.0, low=0.5), 0.55, True, 0.2) == 0.5
    normal = fasthpo.Normal(3.0, 1.0)
    assert 3.0 < moved(normal, 3.0, False, 0.1) < 5.0 and normal.contains(moved(normal, 1e6, False, 0.1))


def test_spaces_of_all_kinds_change_within_themselves() -> None:
    space = fasthpo.SearchSpace(
        {
            "layers": fasthpo.Ordinal([1, 2, 4, 8]),
            "width": fasthpo.LogNormal(3.0, 1.0, when={"layers": fasthpo.at_least(2)}),
            "shift": fasthpo.Normal(0.0, 1.0, high=2.0),
            "shape": fasthpo.Categorical([(3, 3), (5, 1), float("nan")]),
        }
    )
    every, row = np.ones(len(space), np.bool_), space.from_unit(np.full((1, len(space)), 0.3))[0]
    for generation in range(1, 100):
        row = perturbed(space, row, every, 0.5, 0.1, 0, Fork(0, generation))
        assert space.contains(space.decode(row))
    study = fasthpo.Study(space, strategy=PopulationTraining(6, 4, sampler=RandomSampler(seed=0)))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, float(trial["shift"]))
    schedule = study.schedule()
    assert repr(fasthpo.Schedule.from_dict(population.json.loads(population.json.dumps(schedule.to_dict())))) == repr(
        schedule
    )


def test_only_mutable_parameters_change_and_branches_that_open_are_drawn() -> None:
    row = SPACE.encode({"rate": 0.1, "kind": "plain", "width": 8})
    opened = set()
    for generation in range(1, 60):
        mutable = np.array([name == "kind" for name in SPACE.names])
        found = SPACE.decode(perturbed(SPACE, row, mutable, 0.2, 0.25, 0, Fork(0, generation)))
        assert (found["rate"], found["width"]) == (0.1, 8)
        opened |= {found["damping"]} if "damping" in found else set()
    assert len(opened) > 3


def test_draws_depend_on_seed_generation_and_member_only() -> None:
    row, every = SPACE.encode({"rate": 0.1, "kind": "plain", "width": 8}), np.ones(len(SPACE), np.bool_)
    rows = [perturbed(SPACE, row, every, 0.2, 0.5, s, Fork(m, g)) for s in (0, 1) for g in (1, 2) for m in (0, 1)]
    assert len({tuple(np.nan_to_num(one, nan=-1.0)) for one in rows}) == len(rows)
    again = perturbed(SPACE, row, every, 0.2, 0.5, 0, Fork(0, 1, parent=7, step=3))
    assert np.array_equal(again, rows[0], equal_nan=True)


# --- how many run at once, kills, and going on


@pytest.mark.parametrize("kind", [PopulationTraining, PB2])
def test_a_synchronous_population_is_the_same_for_any_number_of_workers(kind: Any) -> None:
    alone = make(kind=kind)
    run(alone)
    for at_once, seed in ((2, 1), (4, 2)):
        other = make(kind=kind)
        run(other, at_once, seed)
        require_same(other, alone)


@pytest.mark.parametrize(("kind", "synchronous"), [(PopulationTraining, True), (PB2, True), (PB2, False)])
def test_a_loaded_population_goes_on_as_it_would_have(tmp_path: Path, kind: Any, synchronous: bool) -> None:
    whole = make(kind=kind, synchronous=synchronous)
    run(whole)
    for legs in (0, 7, 13, 20):
        directory = tmp_path / f"after-{legs}"
        with make(directory, kind=kind, synchronous=synchronous) as begun:
            run(begun, legs=legs)
            if legs % 2 and (trial := begun.ask_within()) is not None:  # it runs when the study is closed
                train(trial)
        with fasthpo.Study.load(directory) as loaded:
            saved = directory.with_suffix(".copy")
            loaded.save(saved)
            require_same(fasthpo.Study.load(saved), loaded, with_weights=False)
            run(loaded)
            require_same(loaded, whole)


@pytest.mark.parametrize("synchronous", [True, False])
def test_kills_change_nothing(tmp_path: Path, synchronous: bool) -> None:
    whole = make(synchronous=synchronous)
    run(whole)
    numbers, directory = random.Random(0), tmp_path / "study"
    for _ in range(2):
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=population.go_on, args=(directory, synchronous, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            for _ in range(numbers.randrange(2, 8)):
                ours.recv()
            until = time.perf_counter() + numbers.uniform(0, 0.004)
            while time.perf_counter() < until:
                pass
        except EOFError:  # it has come to its end
            pass
        process.kill()
        process.join()
    with fasthpo.Study.load(directory) as study:
        run(study)
        require_same(study, whole)
        left = sorted(path.name for path in study.checkpoints.root.iterdir())
        assert left == sorted(f"trial-{number}" for number in alive(study))


def test_a_copy_that_fails_leaves_the_study_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, study = make(), make(tmp_path)
    run(whole)
    run(study, legs=6)
    import shutil

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        for _ in range(2):
            with pytest.raises(fasthpo.StorageError, match=r"weights of trial .* can't be copied"):
                study.ask()
        assert len(study) == 6
    run(study)
    require_same(study, whole)


# --- what a model suggests


def test_a_model_finds_the_rate_that_is_best_by_now() -> None:
    """The best rate falls over the training; drawn from all of four decades, most rates would miss it."""
    strategy = PB2(18, 6, 1, quantile=0.5, sampler=RandomSampler(seed=0))
    study = fasthpo.Study({"rate": fasthpo.LogUniform(1e-4, 1.0)}, strategy=strategy)
    suggested, drawn = [], []
    while (trial := study.ask_within()) is not None:
        best = -0.5 - trial.resource / 9
        off = abs(math.log10(trial["rate"]) - best)
        if trial.parent is not None and trial.fork_step > 8 and trial.resource == trial.fork_step + 1:
            suggested.append(off)
            drawn.append(float(np.abs(np.linspace(-4, 0, 101) - best).mean()))
        study.tell(trial, off)
    assert len(suggested) > 10 and np.mean(suggested) < 0.75 * np.mean(drawn)


def test_a_model_changes_what_is_mutable_only() -> None:
    study = make(kind=PB2, mutable=["rate"], population=8, max_resource=24)
    run(study)
    children = [trial for trial in study.trials if trial.parent is not None]
    assert len(children) > 8
    for trial in children:
        parent = study.trials[trial.parent]
        assert {**trial.params, "rate": 0} == {**parent.params, "rate": 0} and trial["rate"] != parent["rate"]


@pytest.mark.parametrize("kind", [PopulationTraining, PB2])
def test_members_and_their_changes_are_what_relations_allow(kind: Any) -> None:
    space = fasthpo.SearchSpace(
        {
            "rate": fasthpo.LogUniform(1e-4, 1.0),
            "low": fasthpo.Continuous(0, 1),
            "high": fasthpo.Continuous("low", 1),
            "kind": fasthpo.Categorical(["a", "b", "c"]),
        }
    )
    space.require("rate * high <= 0.01")
    space.forbid({"kind": "b", "low": (0.0, 0.5)})
    study = fasthpo.Study(space, strategy=kind(12, 8, 1, quantile=0.5, sampler=RandomSampler(seed=0)))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, -trial["rate"] - trial["low"] - trial["high"])  # towards what is forbidden
    found = study.trials
    assert sum(trial.parent is not None for trial in found) > 20
    assert len({trial["rate"] for trial in found}) > 20
    for trial in found:
        assert trial["low"] <= trial["high"] and trial["rate"] * trial["high"] <= 0.01
        assert trial["kind"] != "b" or trial["low"] > 0.5


@pytest.mark.parametrize("kind", [PopulationTraining, PB2])
@pytest.mark.parametrize("mutable", [["low"], ["most", "high"]])
def test_bounds_that_move_leave_what_may_not_change(kind: Any, mutable: list[str]) -> None:
    space = fasthpo.SearchSpace(
        {
            "low": fasthpo.Continuous(0, 1),
            "high": fasthpo.Continuous("low", 1),
            "most": fasthpo.Discrete(1, 9),
            "count": fasthpo.Discrete(1, "most"),
        }
    )
    study = fasthpo.Study(space, strategy=kind(8, 6, 1, quantile=0.5, mutable=mutable, sampler=RandomSampler(seed=0)))
    while (trial := study.ask_within()) is not None:
        study.tell(trial, -trial["low"] + trial["most"])  # towards the bounds of what may not change
    children = [trial for trial in study.trials if trial.parent is not None]
    for trial in children:
        parent = study.trials[trial.parent]
        assert all(trial[name] == parent[name] for name in space if name not in mutable)
    assert sum(trial.params != study.trials[trial.parent].params for trial in children) > 6


# --- going through every door


@pytest.mark.parametrize("synchronous", [True, False])
def test_the_one_that_is_furthest_behind_goes_next(synchronous: bool) -> None:
    study = make(population=5, synchronous=synchronous)
    reached = dict.fromkeys(range(5), 0)
    while (trial := study.ask_within()) is not None:
        assert reached[trial.member] == min(reached.values())
        reached[trial.member] = trial.resource
        study.tell(trial, train(trial))
    assert set(reached.values()) == {12}


def test_an_asynchronous_child_gets_the_weights_that_its_parent_was_told(tmp_path: Path) -> None:
    study = make(tmp_path, synchronous=False, population=4)
    running = [study.ask() for _ in range(4)]
    for turn in range(40):  # all run all the time
        if not running:
            break
        trial = running.pop(0)
        study.tell(trial, train(trial) + (trial.member == 3))
        if (following := study.ask_within()) is None:
            continue
        running.append(following)
        for other in running:
            if turn % 2:
                train(other)  # their weights are on their way
        if following.parent is not None and following.start_resource == following.fork_step:
            file = study.checkpoints.root / f"trial-{following.number}" / "weights.json"
            epochs = population.json.loads(file.read_text())["epochs"]
            assert len(epochs) >= following.fork_step
            assert {number for number, _ in epochs[following.fork_step :]} <= {following.number}
    assert any(trial.parent is not None for trial in study.trials)


@pytest.mark.parametrize(("synchronous", "seeds"), [(True, (5, 7)), (False, (0, 1))])
def test_nobody_begins_with_weights_that_were_trained_on(synchronous: bool, seeds: tuple[int, ...]) -> None:
    """However many run at once or fail, and whether or not new trials may begin."""
    for seed in seeds:
        numbers = random.Random(seed)
        study = make(population=5, synchronous=synchronous, quantile=0.4)
        running: list[fasthpo.Trial] = []
        for turn in range(400):
            new = numbers.random() < 0.6 or turn > 200
            again = PopulationTraining(**study.strategy.options(), sampler=RandomSampler(seed=1))
            again.attach(study.table)
            assert again.next_leg(new) == study.strategy.next_leg(new)
            if len(running) < 4 and (trial := study.ask_within(new=new)) is not None:
                file = trial.checkpoint_dir / "weights.json"
                epochs = population.json.loads(file.read_text())["epochs"] if file.exists() else []
                assert len(epochs) == trial.start_resource
                running.append(trial)
            elif running:
                trial = running.pop(numbers.randrange(len(running)))
                loss = train(trial)
                if numbers.random() < 0.15:
                    study.tell(trial, state=TrialState.FAILED, error="bad luck")
                else:
                    study.tell(trial, loss)
            elif study.strategy.is_complete:
                break
            if running and numbers.random() < 0.5:
                trial = numbers.choice(running)
                train_until(trial, trial.resource)  # it is further than what was told of it
        assert study.strategy.is_complete
        for trial in study.trials:
            if trial.state == TrialState.COMPLETE:
                epochs = population.json.loads((trial.checkpoint_dir / "weights.json").read_text())["epochs"]
                expected = [p.trial for p in study.schedule(trial) for _ in range(p.start, p.end)]
                assert [number for number, _ in epochs] == expected
        assert not list(study.checkpoints.root.glob("*-paused"))


def test_nobody_begins_with_weights_that_are_gone_as_all_others_lie_outside(tmp_path: Path) -> None:
    study = fasthpo.Study(
        LINE, strategy=PopulationTraining(4, 4, sampler=RandomSampler(seed=0)), storage=tmp_path / "s"
    )
    for trial in [study.ask() for _ in range(4)]:
        study.tell(trial, -trial["rate"])
    worst = min(study.trials, key=lambda trial: trial["rate"])
    assert study.ask().member == worst.member  # another one holds its place
    study.close()
    narrow = {"rate": fasthpo.LogUniform(0.01, worst["rate"] * 1.001)}
    with fasthpo.Study.load(tmp_path / "s", space=narrow) as study:
        assert not study.trials[worst.number].is_outside and study.outside.sum() == 4
        after = study.ask()
        assert after.parent is None and after.start_resource == 0  # with nobody left the population begins anew
        assert after.generation == 4


def test_one_that_stood_still_outside_is_no_parent_where_the_others_went(tmp_path: Path) -> None:
    study = fasthpo.Study(
        LINE, strategy=PopulationTraining(4, 4, sampler=RandomSampler(seed=9)), storage=tmp_path / "s"
    )
    for trial in [study.ask() for _ in range(4)]:
        study.tell(trial, 3.0 - trial.member)
    for trial in [study.ask() for _ in range(3)]:
        study.tell(trial, 0.5 if trial.number == 2 else math.nan)  # places 0 and 1 fail, and 3 does not begin
    rate = study.trials[3]["rate"]
    assert study.trials[2]["rate"] < 0.99 * rate
    study.close()
    with fasthpo.Study.load(tmp_path / "s", space={"rate": fasthpo.LogUniform(0.01, 0.99 * rate)}) as study:
        assert study.trials[3].is_outside
        assert (study.ask().fork_step, len(study)) == (2, 6)
    with fasthpo.Study.load(tmp_path / "s", space=LINE) as study:
        assert study.ask().number == 5  # the one that was broken off
        after = study.ask()
        assert not study.trials[3].is_outside and study.trials[3].value == 0.0
        assert (after.member, after.parent, after.fork_step) == (1, 2, 2)


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("most", [4, 6, 7])
def test_when_no_new_trial_may_begin_the_others_are_trained_to_the_end(synchronous: bool, most: int) -> None:
    """Although one has failed, whose place stays free, or places never had a trial."""
    study, failed = make(synchronous=synchronous), False
    while (trial := study.ask_within(new=len(study) < most)) is not None:
        if trial.member == 2 and trial.resource == 6 and not failed:
            failed = True
            study.tell(trial, state=TrialState.FAILED, error="bad luck")
        else:
            study.tell(trial, train(trial))
    assert failed and len(study) == most
    assert study.table.counts[TrialState.COMPLETE] == len(alive(study)) >= min(most, 6) - 1


def test_waiting_and_ended_populations_say_so() -> None:
    study = make(population=2, max_resource=3)
    first, second = study.ask(), study.ask()
    with pytest.raises(fasthpo.NoTrialToStart, match=r"waits for 2 of its members.*\[0, 1\]"):
        study.ask()
    assert study.ask_within() is None and len(study.ask_batch(5)) == 0
    study.tell(first, 1.0)
    study.tell(second, 2.0)
    with pytest.raises(fasthpo.NoTrialToStart, match="trained to its end, max_resource=3"):
        study.ask()


def test_enqueued_trials_are_first_members() -> None:
    study = make(population=3)
    for rate in (0.5, 0.25, 0.125, 0.0625):
        study.enqueue({"rate": rate})
    first = [study.ask() for _ in range(3)]
    assert [trial["rate"] for trial in first] == [0.5, 0.25, 0.125] and [t.member for t in first] == [0, 1, 2]
    assert study.ask_within() is None  # there is no place for the fourth
    for trial in first:
        study.tell(trial, train(trial))
    run(study)
    assert study.strategy.is_complete and study.trials[3].state == TrialState.WAITING


def test_a_finite_space_is_no_limit() -> None:
    space = {"kind": fasthpo.Categorical(["a", "b"])}
    for sampler in (RandomSampler(seed=0), fasthpo.GridSampler(), fasthpo.TPESampler(seed=0)):
        study = fasthpo.Study(space, strategy=PopulationTraining(3, 6, sampler=sampler))
        while (trial := study.ask_within()) is not None:
            study.tell(trial, float(trial["kind"] == "a"))
        assert study.strategy.is_complete and study.table.counts[TrialState.COMPLETE] == 6


@pytest.mark.parametrize("synchronous", [True, False])
def test_weights_of_the_dead_go_and_those_of_all_others_stay(tmp_path: Path, synchronous: bool) -> None:
    study = make(tmp_path, synchronous=synchronous)
    run(study)
    assert {path.name for path in study.checkpoints.root.iterdir()} == {f"trial-{n}" for n in alive(study)}
    study.keep_checkpoints("best")
    assert [path.name for path in study.checkpoints.root.iterdir()] == [f"trial-{study.best_trial.number}"]


def test_two_populations_know_nothing_of_each_other() -> None:
    alone, one, other = make(), make(), make(sampler=RandomSampler(seed=9))
    run(alone)
    for _ in range(100):
        run(one, legs=1)
        run(other, legs=1)
    assert content(one) == content(alone) != content(other)


def test_broken_off_calls_leave_a_population_as_it_was() -> None:
    from fasthpo.testing.interrupting import break_off

    methods = ("next_leg", "new_leg", "on_start", "on_end", "row", "take_retired", "may_go_on")
    whole = make()
    run(whole)
    for legs in (5, 6):
        for call in ("ask", "tell"):
            study = make()
            run(study, legs=legs)
            running = study.ask()

            def act(study: fasthpo.Study = study, running: fasthpo.Trial = running, call: str = call) -> None:
                study.ask_within() if call == "ask" else study.tell(running, train(running))

            probe = make()
            run(probe, legs=legs)
            left = probe.ask()
            lines = count_lines(lambda: probe.ask_within() if call == "ask" else probe.tell(left, train(left)), probe.strategy, methods)  # fmt: skip  # noqa: B023
            break_off(act, study.strategy, methods, max(1, lines // 2))
            for number in study.table.running.tolist():
                study.tell(number, train(study.trials[number]))
            run(study)
            require_same(study, whole)


# --- what it costs


@pytest.mark.parametrize("synchronous", [True, False])
def test_an_ask_and_a_tell_cost_the_same_in_large_populations(synchronous: bool) -> None:
    costs = []
    for members in (16, 1024):
        study = fasthpo.Study(LINE, strategy=PopulationTraining(4, members, synchronous=synchronous))
        trials = [study.ask_within() for _ in range(members)]
        assert study.strategy.new_leg() is None
        for trial in trials[: members // 2 + 1]:  # in an asynchronous one others are compared from then on
            study.tell(trial, -trial.number)  # the first ones are the worst, and replaced
        lines = 0
        for trial in trials[members // 2 + 1 : members // 2 + 5]:
            lines += count_lines(
                lambda s=study, t=trial: s.tell(t, -t.number), study.strategy, ("on_end", "take_retired")
            )
            lines += count_lines(study.ask_within, study.strategy, ("next_leg", "on_start"))
        costs.append(lines)
    assert costs[1] < 1.5 * costs[0]


@pytest.mark.parametrize("synchronous", [True, False])
def test_taking_up_a_table_costs_as_much_as_it_has_trials(synchronous: bool) -> None:
    costs = []
    for intervals in (20, 80):
        study = line(list(range(4)), max_resource=intervals, population=4, synchronous=synchronous)
        costs.append(count_lines(lambda s=study: s.strategy.attach(s.table), study.strategy, ("attach",)) / len(study))
    assert costs[1] < 1.5 * costs[0]


def test_a_model_looks_at_the_latest_intervals_only() -> None:
    costs = []
    for intervals in (40, 160):
        study = line(list(range(4)), max_resource=intervals, population=4)
        strategy = PB2(intervals, 4, sampler=RandomSampler(seed=3))
        strategy.attach(study.table)
        fork = Fork(3, intervals - 1, study.best_trial.number, intervals - 1)
        first = strategy.row(fork)
        costs.append(count_lines(lambda s=strategy, f=fork: s.row(f), strategy, ("row",)))
        assert first is not None and np.array_equal(strategy.row(fork), first)
    assert costs[1] < 1.2 * costs[0]


# --- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_resource": 0}, "max_resource must be an integer from 1"),
        ({"population": 0}, "population must be"),
        ({"interval": 9}, "interval must not be above max_resource, got interval=9, max_resource=8"),
        ({"quantile": 0.0}, "quantile must be above 0 and at most 0.5, got quantile=0"),
        ({"quantile": 0.6}, "quantile must be above 0 and at most 0.5"),
        ({"perturbation": 0}, "perturbation must be above 0"),
        ({"resample_probability": 1.5}, "resample_probability must be from 0 to 1"),
        ({"mutable": "rate"}, "mutable must be None or a list"),
        ({"synchronous": 2}, "synchronous must be"),
        ({"sampler": 3}, "sampler must be None or a Sampler"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        PopulationTraining(**{"max_resource": 8, **arguments})


def test_a_study_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"mutable must name parameters of the space, \['rate'.*got 'speed'"):
        make(mutable=["speed"])
    with pytest.raises(InvalidValue, match="works on one objective"):
        fasthpo.Study(SPACE, strategy=PopulationTraining(8), directions=["minimize", "minimize"])
    with make(tmp_path) as study:
        run(study, legs=10)
    seed = RandomSampler(seed=1)
    for other, words in (
        (PopulationTraining(12, 4, 3, sampler=seed), "population has 6 members, this strategy's 4"),
        (PopulationTraining(12, 6, 2, sampler=seed), "was to be trained to 3, where no interval of this strategy ends"),
    ):
        with pytest.raises(fasthpo.FastHPOError, match=words):
            fasthpo.Study.load(tmp_path, strategy=other)


def test_a_tuner_trains_a_population_to_its_end(tmp_path: Path) -> None:
    alone = make()
    run(alone)
    config = fasthpo.TunerConfig("population", output_dir=tmp_path, save_checkpoints=True)
    strategy = PopulationTraining(12, 6, 3, sampler=RandomSampler(seed=1))
    tuner = fasthpo.HyperparameterTuner(config, SPACE, strategy)
    result = tuner.optimize(train, workers=2)
    assert result.stop_reason == "population_complete"
    study = fasthpo.Study.load(tmp_path / "population", read_only=True)
    require_same(study, alone, with_weights=False)
    assert result.statistics.rungs[-1].told == 6
    other = PopulationTraining(12, 6, 3, quantile=0.5, sampler=RandomSampler(seed=1))
    again = fasthpo.HyperparameterTuner(config, SPACE, other)
    with pytest.raises(
        fasthpo.CorruptCheckpoint, match=r"its strategy is .*quantile=0.25.*this tuner's .*quantile=0.5"
    ):
        again.load_checkpoint(tmp_path / "population")
