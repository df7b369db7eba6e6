"""A study that goes on in a space which does not hold all that was tried: narrower, shifted, with other parameters."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, Ordinal, SearchSpace, Study, TrialState
from fasthpo.analysis.progress import latest_gains
from fasthpo.errors import InvalidSearchSpace, InvalidValue, NoCompletedTrials, SpaceExhausted, TrialStateError
from fasthpo.report import write_report
from fasthpo.storage.framing import frame, read_frames
from fasthpo.trials.former import Former
from tests.support.command_line import call, printed, read
from tests.support.studies import content, load

BOX = {"x": Continuous(-5.0, 5.0), "c": Categorical(["a", "b"]), "old": Discrete(1, 3)}


def told(path: Path, n: int = 24, space: Any = BOX, **options: Any) -> Study:
    """A study that is kept, of which n trials were told."""
    study = Study(space, storage=path, **{"sampler": fasthpo.RandomSampler(seed=1), **options})
    go_on(study, n)
    return study


def go_on(study: Study, n: int) -> None:
    for _ in range(n):
        trial = study.ask()
        assert study.space.contains(trial.params)
        trial.report(trial["x"] + 9.0, 1)
        study.tell(trial, (trial["x"] - 2.0) ** 2, metrics={"m": trial["x"]})


def seen(study: Study) -> list[Any]:
    """All that can be read of each trial."""
    return [
        (
            t.params,
            t.original_params,
            t.state,
            t.objective_values(),
            t.reports,
            t.rungs,
            t.error,
            t.metrics,
            t.start_time,
        )
        for t in study.trials
    ]


# --- a slow, obvious twin


def place(
    began: Mapping[str, Any], said: Mapping[str, Any], space: SearchSpace, fixed: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, bool]:
    """What a trial is in a space, None if it lies outside, and whether a value lacks.

    Args:
        began: with what it began.
        said: what it had of parameters that it lacks.
        space: the space.
        fixed: what all trials of the space have of parameters that they lack.
    """
    point: dict[str, Any] = {}
    is_outside = lacks = False
    for j in space.order:
        name, parameter = space.names[j], space.parameters[j]
        active = all(parent in point and point[parent] in list(some) for parent, some in parameter.when.items())  # type: ignore[arg-type]
        if not active:
            continue
        if name not in began and name not in said:
            lacks = True
            continue
        value = began[name] if name in began else said[name]
        if parameter.contains(value):
            point[name] = parameter.decode(parameter.encode(value))
        else:
            is_outside = True
    had = {**said, **began}
    if any(name not in point and name in had and value != had[name] for name, value in fixed.items()):
        is_outside = True
    is_outside |= not space.allows(space.encode_part(point)[None])[0]
    return (None if is_outside or lacks else point), lacks and not is_outside


def random_space(rng: np.random.Generator) -> SearchSpace:
    """A space of some of eight names, whose kinds, bounds, choices, conditions and relations vary."""

    def number() -> Any:
        low, high = sorted(rng.choice([1, 2, 4, 5, 8, 16], 2, replace=False).tolist())
        kinds: list[Callable[[], Any]] = [
            lambda: Continuous(low, high),
            lambda: LogUniform(low, high),
            lambda: Discrete(low, high),
            lambda: Continuous(low, high, 0.5),
            lambda: Categorical([low, high]),
        ]
        return kinds[rng.integers(len(kinds))]()

    def choice() -> Any:
        some = rng.permutation(["a", "b", "c"])[: rng.integers(1, 4)].tolist()
        return (Ordinal if rng.random() < 0.3 else Categorical)(some)

    parameters: dict[str, Any] = {"root": choice()}
    for name in rng.permutation(["u", "v", "w", "p", "q"])[: rng.integers(1, 6)].tolist():
        parameters[name] = choice() if name in "pq" else number()
        if rng.random() < 0.4:
            parameters[name] = parameters[name].under({"root": [rng.choice(parameters["root"].choices).item()]})
    space = SearchSpace({name: parameters[name] for name in rng.permutation(list(parameters)).tolist()})
    if rng.random() < 0.3 and len(parameters["root"].choices) > 1:
        name = next(name for name in space if name != "root")
        if not space[name].when and space[name].count is not None and space[name].count > 1:
            space.forbid(
                {"root": parameters["root"].choices[0], name: space[name].decode(float(space[name].at(np.array(0))))}
            )
    return space


@pytest.mark.parametrize("seed", range(8))
def test_trials_are_where_a_slow_twin_has_them_whatever_the_changes(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "study"
    began: list[dict[str, Any]] = []
    facts: list[dict[str, Any]] = []  # what each had of parameters that it lacks
    fixed: dict[str, Any] = {}
    study = Study(random_space(rng), sampler=fasthpo.RandomSampler(seed=seed), storage=path)
    for _ in range(6):
        for _ in range(6):
            try:
                trial = study.ask()
            except SpaceExhausted:
                break
            began.append(trial.params)
            facts.append(dict(fixed))
            if rng.random() < 0.8:
                study.tell(trial, float(trial.number))
            else:
                study.tell(trial, state=TrialState.FAILED, error="bad")
        study.close()
        space = random_space(rng)
        usual = {"root": "a", "p": "b", "q": "c", "u": 4, "v": 2, "w": 4}
        met = {name for one in began for name in one} | set(space)
        said = {name: value for name, value in usual.items() if name in met and rng.random() < 0.2}
        if "u" in said and rng.random() < 0.5:
            said["u"] = 8
        while True:
            now = [{**said, **one, **{name: value for name, value in said.items() if name in space}} for one in facts]
            later = {name: value for name, value in {**fixed, **said}.items() if name not in space or space[name].when}
            found = [place(one, its, space, later) for one, its in zip(began, now, strict=True)]
            if not any(lacks for _, lacks in found):
                break
            with pytest.raises(InvalidSearchSpace, match="say what earlier trials had") as raised:
                Study.load(path, space=space, defaults=said)
            name = str(raised.value).split("'")[1]
            assert name in space and name not in said
            said[name] = usual[name]
        facts, fixed = now, later
        study = Study.load(path, space=space, defaults=said)
        expected = [point for point, _ in found]
        for loaded in (study, load(path)):
            assert loaded.outside.tolist() == [one is None for one in expected]
            for trial, one, there in zip(loaded.trials, began, expected, strict=True):
                assert trial.params == (one if there is None else there) and trial.original_params == one
                assert trial.is_outside == (there is None)
                assert trial.value == (trial.number if trial.state == TrialState.COMPLETE else None)
                assert trial.error == ("bad" if trial.state == TrialState.FAILED else None)
            states = loaded.states
            inside = [i for i, one in enumerate(expected) if one is not None and states[i] == TrialState.COMPLETE]
            assert [trial.number for trial in loaded.best_trials] == inside[:1]
        assert content(load(path)) == content(study)
    study.close()


# --- what it means


def test_a_study_goes_on_in_a_narrower_space_with_other_parameters(tmp_path: Path) -> None:
    with told(tmp_path / "s") as study:
        before, values, best = seen(study), study.values.copy(), study.best_trial.number
    new = {"x": Continuous(-1.0, 1.5), "c": Categorical(["b", "a", "z"]), "m": Continuous(0.0, 1.0)}
    with pytest.raises(InvalidSearchSpace, match=r"'m' is missing in trial \d+ and \d+ others.*defaults=\{'m': ...\}"):
        Study.load(tmp_path / "s", space=new)
    assert seen(load(tmp_path / "s")) == before  # nothing has changed by that
    with Study.load(tmp_path / "s", space=new, defaults={"m": 0.5}) as study:
        assert study.outside.sum() == sum(not -1 <= params["x"] <= 1.5 for params, *_ in before)
        assert study.best_trial.number != best and study.space.contains(study.best_params)
        assert (
            study.best_params == {**study.best_trial.original_params, "m": 0.5} | {} or "old" not in study.best_params
        )
        assert [row[1:] for row in seen(study)] == [row[1:] for row in before]
        assert np.array_equal(study.values, values) and study.counts[TrialState.COMPLETE] == 24
        go_on(study, 12)
        after = seen(study)
    with Study.load(tmp_path / "s") as study:  # without a space it is that one
        assert study.space == SearchSpace(new) and seen(study) == after
        study.enqueue({"x": 0.0})
        study.save(tmp_path / "copy")
    assert seen(Study.load(tmp_path / "copy", interrupted="keep"))[:36] == after
    with Study.load(tmp_path / "s", space=BOX, defaults={"old": 2}) as study:  # and back again
        assert seen(study)[:24] == before and not study.outside[:24].any()
        assert [trial.params for trial in study.trials][24:36] == [
            {**{name: params[name] for name in ("x", "c")}, "old": 2} if params["c"] != "z" else params
            for params, *_ in after[24:]
        ]
        assert study.outside[24:36].tolist() == [params["c"] == "z" for params, *_ in after[24:]]
        go_on(study, 6)


def test_of_a_parameter_that_is_gone_all_values_count_unless_a_default_says_what_it_is_now(tmp_path: Path) -> None:
    told(tmp_path / "s").close()
    gone = {name: parameter for name, parameter in BOX.items() if name != "old"}
    with Study.load(tmp_path / "s", space=gone) as study:
        assert not study.outside.any()
        olds = np.array([trial.original_params["old"] for trial in study.trials])
        assert "old" not in study.best_params and set(olds.tolist()) == {1, 2, 3}
    with Study.load(tmp_path / "s", defaults={"old": 2}) as study:  # said later
        assert np.array_equal(study.outside, olds != 2)
    with Study.load(tmp_path / "s", defaults={"old": 9}) as study:  # which none had
        assert study.outside.all()
        with pytest.raises(NoCompletedTrials, match="of which 24 lie outside of the search space as it is now"):
            _ = study.best_trial
        go_on(study, 3)
        assert study.best_trial.number >= 24


def test_each_trial_keeps_what_was_said_of_it(tmp_path: Path) -> None:
    x = {"x": Continuous(0.0, 1.0)}
    with_m = {**x, "m": Continuous(0.0, 1.0)}

    def add(study: Study, **point: float) -> None:
        study.add_trials({name: [value] for name, value in point.items()}, [1.0])

    def ms(study: Study) -> list[Any]:
        return [None if trial.is_outside else trial.params.get("m", "none") for trial in study.trials]

    with Study(x, storage=tmp_path / "s") as study:
        add(study, x=0.1)  # with 0.9, as is said next
    with Study.load(tmp_path / "s", space=with_m, defaults={"m": 0.9}) as study:
        add(study, x=0.2, m=0.5)
    with Study.load(tmp_path / "s", space=x) as study:
        assert ms(study) == ["none", "none"]
    with Study.load(tmp_path / "s", defaults={"m": 0.5}) as study:  # which it is from now on
        assert ms(study) == [None, "none"]
        add(study, x=0.3)
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 0.9)}) as study:  # and it still is
        assert ms(study) == [None, "none", "none"]
    with Study.load(tmp_path / "s", space=with_m) as study:
        assert ms(study) == [0.9, 0.5, 0.5]
    with Study.load(tmp_path / "s", defaults={"m": 0.8}) as study:  # no: the first had another one
        assert ms(study) == [0.8, 0.5, 0.8]
    with Study.load(tmp_path / "s", defaults={"m": 8.0}) as study:
        assert ms(study) == [None, 0.5, None]


def test_defaults_that_make_no_sense_are_refused_and_change_nothing(tmp_path: Path) -> None:
    with told(tmp_path / "s", 5) as study:
        before = seen(study)
    for defaults, match in (
        ({"y": 1}, "defaults name 'y', which no space of the study has or had"),
        ({"old": "many"}, "the default of 'old' must be a number"),
        ({"old": float("nan")}, "the default of 'old' must be a number"),
        ({"old": [1]}, "the default of 'old' must be a value that a parameter can have"),
        ([("old", 1)], "defaults must map names"),
        ({1: 1}, "defaults must map names"),
    ):
        with pytest.raises(InvalidValue, match=match):
            Study.load(tmp_path / "s", defaults=defaults)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="only read can't get another space"):
        load(tmp_path / "s", defaults={"old": 1})
    with pytest.raises(InvalidSearchSpace, match=r"'c' was Categorical.* can't become Continuous.* another name"):
        Study.load(tmp_path / "s", space={**BOX, "c": Continuous(0.0, 1.0)})
    assert seen(load(tmp_path / "s")) == before


def test_kinds_change_by_value(tmp_path: Path) -> None:
    space = {"x": Continuous(0.0, 8.0, 0.5), "n": Discrete(1, 8), "k": Categorical([8, 16.0, 32])}
    study = told(tmp_path / "s", 30, space)
    before = [trial.params for trial in study.trials]
    study.close()
    new = {"x": Discrete(1, 8, log=True), "n": Categorical([1, 2.0, 8]), "k": LogUniform(8.0, 20.0)}
    with Study.load(tmp_path / "s", space=new) as study:
        fits = [p["x"] == int(p["x"]) >= 1 and p["n"] in (1, 2, 8) and p["k"] < 32 for p in before]
        assert study.outside.tolist() == [not one for one in fits] and sum(fits) > 0
        assert [trial.params for trial in study.trials] == before
        for trial in study.trials:
            if not trial.is_outside:
                assert [type(value) for value in trial.params.values()] == [
                    int,
                    float if trial["n"] == 2 else int,
                    float,
                ]


def test_trials_that_had_not_ended_go_on_if_they_are_inside(tmp_path: Path) -> None:
    study = told(tmp_path / "s", 3)
    for x in (4.0, 0.5):
        study.enqueue({"x": x, "c": "a", "old": 1})
    running = [study.ask(), study.ask()]
    waiting = [study.enqueue({"x": -4.0}), study.enqueue({"x": 1.0, "old": 2}), study.enqueue({"c": "b"})]
    study.close()
    for how in ("keep", "fail", "retry"):
        shutil.copytree(tmp_path / "s", tmp_path / how)
        new = {"x": Continuous(-1.0, 1.5), "c": Categorical(["a", "b"])}
        with Study.load(tmp_path / how, space=new, interrupted=how) as study:  # type: ignore[arg-type]
            states = [study.trials[number].state for number in (running[0].number, running[1].number, *waiting)]
            alone = {"keep": ["FAILED", "RUNNING"], "fail": ["FAILED"] * 2, "retry": ["WAITING"] * 2}[how]
            assert [state.name for state in states] == [*alone, "WAITING", "WAITING", "WAITING"]
            asked = [study.ask() for _ in range(3 if how == "retry" else 2)]
            numbers = [running[1].number] * (how == "retry") + waiting[1:]
            assert [trial.number for trial in asked] == numbers and study.ask().number == len(study) - 1
            assert asked[-2].params["x"] == 1.0 and "old" not in asked[-2].params
            if how == "keep":
                study.tell(running[1].number, 1.0)
        back = Study.load(tmp_path / how, space=BOX, defaults={"old": 1}, interrupted="keep")
        again = [running[0].number] * (how == "retry") + [waiting[0]]
        assert [back.ask().number for _ in again] == again and back.trials[waiting[0]]["x"] == -4.0
        if how == "retry":
            assert back.trials[running[0].number].params == {"x": 4.0, "c": "a", "old": 1}
        back.close()


@pytest.mark.parametrize(
    ("strategy", "several"),
    [
        (fasthpo.ASHA, False),
        (fasthpo.ASHA, True),
        (fasthpo.SuccessiveHalving, False),
        (fasthpo.Hyperband, True),
        (fasthpo.PopulationTraining, False),
    ],
)
def test_strategies_go_on_and_promote_no_trial_outside(strategy: Any, several: bool, tmp_path: Path) -> None:
    def train(study: Study, n: int) -> None:
        for _ in range(n):
            trial = study.ask_within()
            if trial is None:
                return
            assert not trial.is_outside and study.space.contains(trial.params)
            value = (trial["x"] + 4.0) ** 2
            study.tell(trial, [value, trial["x"]] if several else value)

    sampler = fasthpo.TPESampler(seed=0, n_startup_trials=4)
    options = {"population": 6} if strategy is fasthpo.PopulationTraining else {}
    several_directions = {"directions": ["minimize", "maximize"]} if several else {}
    study = Study(BOX, strategy=strategy(8, sampler=sampler, **options), storage=tmp_path / "s", **several_directions)
    train(study, 30)
    before, spent = seen(study), study.resource_spent
    study.close()
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(-3.0, 5.0)}) as study:
        outside = study.outside.copy()
        assert 0 < outside.sum() < len(study) and study.resource_spent == spent and seen(study) == before
        assert not any(trial.is_outside for trial in study.best_trials)
        train(study, 30)
        now = seen(study)
        assert all(now[number] == before[number] for number in np.flatnonzero(outside).tolist())
        after = seen(study)
    with Study.load(tmp_path / "s") as study:
        assert seen(study) == after
    with Study.load(tmp_path / "s", space=BOX) as study:
        assert seen(study) == after and not study.outside.any()
        train(study, 10)


def test_a_promoted_trial_that_a_change_breaks_off_has_no_value_but_its_rungs(tmp_path: Path) -> None:
    strategy = fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0))
    study = Study({"x": Continuous(0.0, 1.0)}, strategy=strategy, storage=tmp_path / "s")
    while (trial := study.ask()).start_resource == 0:
        study.tell(trial, trial["x"])
    reached = trial.rungs
    study.close()
    space = {"x": Continuous(trial["x"] + 0.01, 1.0)}
    with Study.load(tmp_path / "s", space=space, interrupted="keep") as study:
        lost = study.trials[trial.number]
        assert lost.is_outside and (lost.state, lost.value) == (TrialState.FAILED, None)
        assert lost.rungs == reached and np.isnan(study.values[lost.number])
        assert load(tmp_path / "s").trials[trial.number].value is None


@pytest.mark.parametrize(
    "make",
    [
        fasthpo.ASHA,
        fasthpo.SuccessiveHalving,
        fasthpo.Hyperband,
        lambda resource, sampler: fasthpo.Hyperband(resource, sampler=sampler, asynchronous=True),
    ],
)
def test_rungs_are_filled_as_if_trials_outside_had_never_been(make: Any, tmp_path: Path) -> None:
    def train(study: Study, legs: int = 45) -> list[int | None]:
        """The resources of so many legs."""
        resources = []
        for _ in range(legs):
            trial = study.ask()
            resources.append(trial.resource)
            study.tell(trial, float(trial.number))
        return resources

    strategy = make(9, sampler=fasthpo.RandomSampler(seed=0))
    with Study({"x": Continuous(0.0, 1.0)}, strategy=strategy, storage=tmp_path / "s") as study:
        resources = train(study)
        before = seen(study)
    with Study.load(tmp_path / "s", space={"x": Continuous(2.0, 3.0)}) as study:
        assert train(study) == resources and seen(study)[: len(before)] == before
        after = seen(study)
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 3.0)}) as study:
        assert seen(study) == after and not study.outside.any()
        train(study)


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("legs", [1, 100])
def test_a_population_of_which_none_is_left_begins_anew(synchronous: bool, legs: int, tmp_path: Path) -> None:
    def train(study: Study, legs: int) -> list[Any]:
        """The numbers, resources and parameters of legs."""
        done = []
        while len(done) < legs and (trial := study.ask_within()) is not None:
            done.append((trial.number, trial.resource, trial.params))
            study.tell(trial, trial["x"] % 1.0)
        return done

    sampler = fasthpo.RandomSampler(seed=0)
    strategy = fasthpo.PopulationTraining(2, 4, synchronous=synchronous, sampler=sampler)
    with Study({"x": Continuous(0.0, 1.0)}, strategy=strategy, storage=tmp_path / "s") as study:
        train(study, 4)
        study.enqueue({})  # by the next trial that begins from nothing, whose number is lower than those of others then
        train(study, legs)
    for low in (10.0, 20.0, 30.0):
        Study.load(tmp_path / "s", space={"x": Continuous(low, low + 1.0)}).close()
        shutil.copytree(tmp_path / "s", tmp_path / f"{low}")
        with Study.load(tmp_path / "s") as study:
            assert len(study) - study.outside.sum() <= 1  # but for what waits
            whole = train(study, 100)
            complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE and not trial.is_outside]
            assert len(complete) == 4 and study.best_params["x"] >= low
        pieces = []
        while not pieces or pieces[-1]:
            with Study.load(tmp_path / f"{low}") as study:
                pieces.append(train(study, 1))
        assert [leg for piece in pieces for leg in piece] == whole


@pytest.mark.parametrize("make", [fasthpo.TPESampler, fasthpo.AutoSampler, fasthpo.NSGAIISampler])
@pytest.mark.parametrize("several", [False, True])
def test_samplers_suggest_what_they_would_if_trials_outside_had_never_been(
    make: Any, several: bool, tmp_path: Path
) -> None:
    def value(params: Mapping[str, Any]) -> Any:
        first = (params["x"] - 1.0) ** 2 + params.get("k", 0.0)
        return [first, params["x"]] if several else first

    space = {
        "x": Continuous(-5.0, 5.0),
        "c": Categorical(["a", "b", "d"]),
        "k": Continuous(0.0, 1.0, when={"c": ["a"]}),
    }
    directions = ["minimize", "maximize"] if several else ["minimize"]
    study = Study(space, sampler=fasthpo.RandomSampler(seed=3), directions=directions)
    for _ in range(40):
        trial = study.ask()
        study.tell(trial, value(trial))
    study.save(tmp_path / "s")
    new = {**space, "x": Continuous(-2.0, 5.0), "c": Categorical(["b", "a"])}
    changed = Study.load(tmp_path / "s", space=new, sampler=make(seed=0))
    fresh = Study(new, sampler=make(seed=0), directions=directions)
    inside = [trial for trial in changed.trials if not trial.is_outside]
    assert 10 < len(inside) < 30
    fresh.add_trials({name: [trial.params.get(name) for trial in inside] for name in new}, [value(t) for t in inside])
    fresh._state.history.next_draw = changed._state.history.next_draw
    for _ in range(12):
        trial, other = changed.ask(), fresh.ask()
        assert trial.params == other.params
        changed.tell(trial, value(trial))
        fresh.tell(other, value(other))
    assert [t.params for t in changed.best_trials] == [t.params for t in fresh.best_trials]
    assert changed.hypervolume([50.0] * len(directions)) == fresh.hypervolume([50.0] * len(directions))


@pytest.mark.parametrize("points", [None, 4])
def test_a_grid_enumerates_the_new_space_and_repeats_nothing(points: int | None, tmp_path: Path) -> None:
    def grid(high: int, *choices: str) -> dict[str, Any]:
        x = Discrete(1, high) if points is None else Continuous(1.0, high, n_points=high)
        return {"x": x, "c": Categorical(choices)}

    with told(tmp_path / "s", 7, grid(4, "a", "b"), sampler=fasthpo.GridSampler()) as study:
        tried = [trial.params for trial in study.trials]
    with Study.load(tmp_path / "s", space={**grid(3, "z", "b"), "new": Discrete(1, 2)}, defaults={"new": 1}) as study:
        left = study.ask_batch(100)
        study.tell_batch(left.numbers, np.zeros(len(left)))
        inside = [trial.params for trial in study.trials if not trial.is_outside]
        assert len({repr(sorted(params.items())) for params in inside}) == len(inside) == 12
    with Study.load(tmp_path / "s", space=grid(4, "a", "b")) as study:
        left = study.ask_batch(100)
        new = [left[i] for i in range(len(left))]
        assert all(params not in tried for params in new)
        inside = [trial.params for trial in study.trials if not trial.is_outside]
        assert len({repr(sorted(params.items())) for params in inside}) == 8


def test_a_pruner_does_not_compare_with_trials_outside(tmp_path: Path) -> None:
    space = {"x": Continuous(-5.0, 5.0)}
    study = Study(space, sampler=fasthpo.RandomSampler(seed=0), pruner=fasthpo.MedianPruner(), storage=tmp_path / "s")
    for x in np.linspace(-5.0, -4.0, 8).tolist():
        study.enqueue({"x": x})
        trial = study.ask()
        trial.report(0.0, 1)
        study.tell(trial, 0.0)
    study.close()
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 5.0)}) as study:
        trial = study.ask()
        trial.report(1.0, 1)
        assert not trial.should_prune() and study.trials[0].reports == {1: 0.0}
    with Study.load(tmp_path / "s", space=space, interrupted="keep") as study:
        assert study.trials[trial.number].should_prune()


def test_noise_constraints_and_several_objectives_are_of_the_trials_inside(tmp_path: Path) -> None:
    study = Study(
        {"x": Continuous(0.0, 9.0)}, sampler=fasthpo.RandomSampler(seed=0), noisy=True, storage=tmp_path / "n"
    )
    study.add_trials({"x": [1.0, 1.0, 8.0, 8.0]}, [1.0, 1.5, 0.0, 0.25])
    study.close()
    with Study.load(tmp_path / "n", space={"x": Continuous(0.0, 5.0)}) as study:
        assert study.best_params == {"x": 1.0} and study.estimate(0).evaluations == 2
        assert study.estimate(2).evaluations == 0
        go_on(study, 12)
    study = Study({"x": Continuous(0.0, 9.0)}, directions=["minimize", "minimize"], storage=tmp_path / "m")
    study.add_trials({"x": [1.0, 2.0, 8.0]}, [[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], constraints=[[0.0], [-1.0], [-1.0]])
    study.close()
    with Study.load(tmp_path / "m", space={"x": Continuous(0.0, 5.0)}) as study:
        assert study.front()[0].tolist() == [0, 1] and study.hypervolume([3.0, 3.0]) == 3.0
        assert study.values.tolist() == [[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]] and study.trials[2].constraints == (-1.0,)
        study.tell(study.ask(), [0.5, 0.5], constraints=[0.0])
        assert study.front()[0].tolist() == [3]
    with Study.load(tmp_path / "m", space={"x": Continuous(0.0, 9.0)}) as study:
        assert study.front()[0].tolist() == [2]


@pytest.mark.parametrize("make", [fasthpo.TPESampler, fasthpo.AutoSampler, fasthpo.CmaEsSampler, fasthpo.NSGAIISampler])
def test_trials_outside_cost_an_ask_or_a_tell_nothing(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study({"x": Continuous(0.0, 9.0)}, storage=tmp_path / "s")
    study.add_trials({"x": np.append(np.linspace(5.0, 9.0, 3000), [1.0, 2.0])}, np.arange(3002.0))
    study.close()
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 4.0)}, sampler=make(seed=0)) as study:
        looked, look = [0], Former.are_outside
        monkeypatch.setattr(Former, "are_outside", lambda former, n: (looked.append(len(n)), look(former, n))[1])
        for i in range(14):
            trial = study.ask()
            study.tell(trial, float("nan") if i % 3 else trial["x"])
        assert sum(n > 100 for n in looked) <= 2  # a startup and a model take up what there is when they begin


# --- files


def test_whatever_moment_a_change_is_broken_off_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with told(tmp_path / "s", 12) as study:
        before = [row[1:] for row in seen(study)]
    copies: list[Path] = []

    def copying(call: Callable[..., Any]) -> Callable[..., Any]:
        def copied(*args: Any, **options: Any) -> Any:
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "s", copies[-1], ignore=shutil.ignore_patterns(".lock", ".owner.json"))
            return call(*args, **options)

        return copied

    for name in ("replace", "fsync", "unlink"):
        monkeypatch.setattr(os, name, copying(getattr(os, name)))
    loaded = Study.load(tmp_path / "s", space={"x": Continuous(0.0, 1.0)})
    monkeypatch.undo()
    loaded.close()
    assert len(copies) > 3
    narrow = set()
    for copy in copies:
        with Study.load(copy) as study:
            assert [row[1:] for row in seen(study)] == before
            narrow.add(len(study.space) == 1)
            go_on(study, 1)
    assert narrow == {False, True}


def test_an_unchanged_or_widened_study_has_the_files_that_it_had(tmp_path: Path) -> None:
    told(tmp_path / "s", 8).close()
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(-9.0, 9.0)}) as study:
        study.compact()
        assert study.table.former is None
    assert b"fasthpo-study\x02" in (tmp_path / "s" / "checkpoint.msgpack").read_bytes()[:64]
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(0.0, 9.0)}):
        pass
    assert b"fasthpo-study\x06" in (tmp_path / "s" / "checkpoint.msgpack").read_bytes()[:64]
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(-9.0, 9.0)}):
        pass
    assert b"fasthpo-study\x02" in (tmp_path / "s" / "checkpoint.msgpack").read_bytes()[:64]


def test_a_damaged_file_of_a_changed_study_says_so(tmp_path: Path) -> None:
    study = told(tmp_path / "s", 12)
    study.close()
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(0.0, 1.0)}) as study:
        study.save(tmp_path / "copy")
        outside, values = study.outside.copy(), study.values.copy()
    whole = (tmp_path / "copy").read_bytes()
    for cut in (1, 200, len(whole) // 2):
        (tmp_path / "copy").write_bytes(whole[:-cut])
        with pytest.raises(fasthpo.CorruptCheckpoint):
            Study.load(tmp_path / "copy")
    (tmp_path / "copy").write_bytes(whole[:-1])
    recovered = Study.load(tmp_path / "copy", recover=True)
    assert np.array_equal(recovered.values[~outside], values[~outside])
    go_on(recovered, 2)
    recovered.save(tmp_path / "again")  # what lay outside is lost but for its number
    again = Study.load(tmp_path / "again", space=BOX)
    assert [trial.params for trial in again.trials if trial.state == TrialState.FAILED] == [{}] * outside.sum()
    go_on(again, 2)


def test_whatever_stands_in_the_file_of_a_changed_study_is_refused_or_can_be_used(tmp_path: Path) -> None:
    told(tmp_path / "s", 12, strategy=fasthpo.ASHA(4, sampler=fasthpo.RandomSampler(seed=1)), sampler=None).close()
    with Study.load(tmp_path / "s", space={"x": Continuous(-5.0, 2.0), "c": Categorical(["b", "z"])}) as study:
        study.enqueue({"x": 1.5})
    with Study.load(
        tmp_path / "s", space={"x": Continuous(-3.0, 1.0), "n": Discrete(1, 3)}, defaults={"n": 1}
    ) as study:
        frames, _ = read_frames(study.save(tmp_path / "whole").read_bytes())
    assert len(frames) >= 8
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(30):
        some = [bytearray(payload) for _, payload in frames]
        at = int(rng.integers(len(some)))
        some[at][rng.integers(len(some[at]))] = rng.integers(256)
        (tmp_path / "changed").write_bytes(b"".join(frame(bytes(payload)) for payload in some))
        try:
            study = Study.load(tmp_path / "changed", recover=True)
        except (fasthpo.CorruptCheckpoint, InvalidValue):
            refused += 1
            continue
        assert len(seen(study)) == len(study) == sum(study.counts.values())
        study.to_csv(tmp_path / "t.csv")
        study.save(tmp_path / "again")
        study.ask()
    assert 0 < refused < 30


def test_a_reader_follows_a_study_whose_space_changes(tmp_path: Path) -> None:
    study = told(tmp_path / "s", 6)
    reader = load(tmp_path / "s")
    study.close()
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 1.0), "c": Categorical(["a"])}) as study:
        go_on(study, 2)
        study.sync()
        assert reader.refresh() and seen(reader) == seen(study) and content(reader) == content(study)
        go_on(study, 1)
        study.compact()
        assert reader.refresh() and seen(reader) == seen(study) and reader.space == study.space


def test_exports_have_every_trial_as_it_was_told(tmp_path: Path) -> None:
    study = told(tmp_path / "s", 12)
    before = [trial.params for trial in study.trials]
    study.close()
    new = {"x": Continuous(0.0, 2.0), "c": Categorical(["b", "a"]), "m": Discrete(1, 3)}
    with Study.load(tmp_path / "s", space=new, defaults={"m": 2}) as study:
        go_on(study, 4)
        study.to_json(tmp_path / "t.json")
        study.to_csv(tmp_path / "t.csv")
        outside = study.outside.tolist()
        with open(tmp_path / "t.json", encoding="utf-8") as file:
            found = json.load(file)
        assert found["search_space"] == study.space.to_dict()
        assert [one["outside"] for one in found["trials"]] == outside
        with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for number, (record, row) in enumerate(zip(found["trials"], rows, strict=True)):
            expected = before[number] if number < 12 else {}
            expected = {**expected, **({} if outside[number] else study.trials[number].params)}
            assert record["params"] == expected and record["value"] == study.values[number]
            assert {n: row[f"params_{n}"] for n in ("x", "c", "m", "old")} == {
                n: str(expected.get(n, "")) for n in ("x", "c", "m", "old")
            }
            assert row["state"] == "COMPLETE" and record["reports"] == {"1": study.trials[number].reports[1]}
        pytest.importorskip("pyarrow")
        arrow = study.to_arrow().to_pydict()
        assert arrow["outside"] == outside and arrow["params_old"][:12] == [params["old"] for params in before]
        page = write_report(study, tmp_path / "report.html").read_text(encoding="utf-8")
        assert "outside the space" in page


def test_a_tuner_goes_on_in_a_changed_space_on_request(tmp_path: Path) -> None:
    def tuner(trials: int, space: Any) -> fasthpo.HyperparameterTuner:
        config = fasthpo.TunerConfig("t", max_trials=trials, output_dir=tmp_path, save_checkpoints=True, seed=0)
        return fasthpo.HyperparameterTuner.with_random_search(config, SearchSpace(space))

    def objective(trial: Any) -> float:
        return float(trial["x"] ** 2)

    tuner(10, {"x": Continuous(-5.0, 5.0)}).optimize(objective)
    new = {"x": Continuous(1.0, 5.0), "m": Discrete(1, 3)}
    with pytest.raises(InvalidSearchSpace, match=r"must hold every trial.*change_space=True"):
        tuner(20, {"x": new["x"]}).load_checkpoint(tmp_path / "t", widen=True)
    with pytest.raises(InvalidValue, match="say change_space=True, too"):
        tuner(20, new).load_checkpoint(tmp_path / "t", widen=True, defaults={"m": 1})
    with pytest.raises(InvalidSearchSpace, match="'m' is missing in trial"):
        tuner(20, new).load_checkpoint(tmp_path / "t", change_space=True)
    result = tuner(20, new).load_checkpoint(tmp_path / "t", change_space=True, defaults={"m": 1}).optimize(objective)
    assert len(result.trials) == 20 and result.statistics.completed_trials == 20
    assert result.statistics.failed_trials == 0 and result.best_trial["x"] >= 1
    with Study.load(tmp_path / "t") as study:
        assert study.outside.any() and study.space == SearchSpace(new)


def test_the_command_line_says_which_trials_lie_outside(tmp_path: Path) -> None:
    told(tmp_path / "s", 10).close()
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(-2.0, 2.0)}) as study:
        outside, values = np.flatnonzero(study.outside).tolist(), study.values
        best = study.best_trial.number
    assert [one["number"] for one in read("trials", tmp_path / "s", "--filter", "outside=yes")["trials"]] == outside
    in_order = [one["number"] for one in read("trials", tmp_path / "s", "--sort", "best")["trials"]]
    assert in_order[0] == best and set(in_order[-len(outside) :]) == set(outside)
    found = read("show", tmp_path / "s")
    assert found["outside"] == len(outside) and found["trials"]["COMPLETE"] == 10 and found["failures"] == []
    assert "which the search space has excluded" in printed("show", tmp_path / "s")
    assert "outside is yes or no" in call("trials", tmp_path / "s", "--filter", "outside=1").stderr
    rows = list(csv.DictReader(printed("export", tmp_path / "s", "--format", "csv", "-o", "-").splitlines()))
    assert [float(row["value"]) for row in rows] == values.tolist()


def test_what_needs_a_point_refuses_trials_outside(tmp_path: Path) -> None:
    told(tmp_path / "s", 10).close()
    with Study.load(tmp_path / "s", space={**BOX, "x": Continuous(-2.0, 2.0)}) as study:
        number = int(np.flatnonzero(study.outside)[0])
        with pytest.raises(InvalidValue, match=rf"trial {number} can't be repeated, as {{'x': .*}} lies outside"):
            study.ask(repeat=number)
        with pytest.raises(TrialStateError, match=rf"trial {number} is COMPLETE: it lies outside of the search space"):
            study.tell(number, 1.0)
        study.set_trial_attribute(number, "note", 1)
        assert study.trial_attributes(number) == {"note": 1}
        assert np.isnan(study.columns["x"][number]) and not study.values.flags.writeable


def test_a_study_that_learnt_its_space_goes_on_in_a_declared_one(tmp_path: Path) -> None:
    with Study(sampler=fasthpo.TPESampler(seed=0), storage=tmp_path / "s") as study:
        for _ in range(20):
            trial = study.ask()
            x = trial.suggest_float("x", -5, 5)
            kind = trial.suggest_categorical("kind", ["a", "b"])
            study.tell(trial, x**2 + (trial.suggest_float("s", 0, 1) if kind == "a" else 0.0))
        before = [trial.params for trial in study.trials]
    space = {"x": Continuous(-2.0, 2.0), "kind": Categorical(["b", "a"])}
    with pytest.raises(InvalidSearchSpace, match="'s' is missing"):
        Study.load(tmp_path / "s", space={**space, "s": Continuous(0.0, 1.0)})
    with Study.load(tmp_path / "s", space={**space, "s": Continuous(0.0, 1.0, when={"kind": "a"})}) as study:
        assert study.outside.tolist() == [abs(params["x"]) > 2 for params in before] and study.table.former is not None
        assert [trial.params for trial in study.trials] == before
        trial = study.ask()
        study.tell(trial, trial["x"])


def test_weights_of_trials_outside_stay(tmp_path: Path) -> None:
    study = Study({"x": Continuous(0.0, 9.0)}, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "s")
    study.keep_checkpoints(1)

    def train(x: float) -> None:
        study.enqueue({"x": x})
        trial = study.ask()
        (trial.checkpoint_dir / "w").write_text(str(x))
        study.tell(trial, x)

    train(5.0)
    train(1.0)
    study.close()
    with Study.load(tmp_path / "s", space={"x": Continuous(2.0, 9.0)}) as study:
        study.keep_checkpoints(1)
        train(4.0)
        train(3.0)
        study.sync()
    kept = sorted(path.name for path in (tmp_path / "s" / "checkpoints").glob("trial-*"))
    assert "trial-1" in kept and "trial-3" in kept and "trial-2" not in kept
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 9.0)}) as study:
        assert (study.best_trial.checkpoint_dir / "w").read_text() == "1.0"


def test_optuna_gets_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    study = told(tmp_path / "s", 8)
    before = [trial.params for trial in study.trials]
    study.close()
    with Study.load(tmp_path / "s", space={"x": Continuous(0.0, 2.0), "c": Categorical(["b", "z"])}) as study:
        go_on(study, 2)
        copies = [study.to_optuna(), study.to_optuna(tmp_path / "live.log", live=True)]
        values, outside = study.values.tolist(), study.outside[:8]
    expected = [one if out else {"x": one["x"], "c": one["c"]} for one, out in zip(before, outside, strict=True)]
    for theirs in copies:
        assert [trial.value for trial in theirs.trials] == values
        assert [trial.params for trial in theirs.trials][:8] == expected


def test_what_the_last_trials_gained_is_said_of_those_in_the_space(tmp_path: Path) -> None:
    """The last ten were all that lay inside, and were said to have found what nothing was before."""
    told(tmp_path / "s", 0, {"x": Continuous(0.0, 1.0)}).close()
    with Study.load(tmp_path / "s") as study:
        for x in np.linspace(0.0, 1.0, 40).tolist():
            study.enqueue({"x": x})
            study.tell(study.ask(), x)
    with Study.load(tmp_path / "s", space=SearchSpace({"x": Continuous(0.0, 0.24)})) as study:
        assert int((~study.outside).sum()) == 10 and latest_gains(study) == ""
    with Study.load(tmp_path / "s", space=SearchSpace({"x": Continuous(0.0, 0.5)})) as study:
        assert latest_gains(study) == "The last 10 trials gained nothing; the best is 0 (trial 0, 19 trials ago)."
    assert "The last 10 trials gained nothing" in printed("show", tmp_path / "s")
