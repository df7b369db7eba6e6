"""Every argument that ends in a study's files, given every odd value: it is refused, and nothing has changed, or kept, and can be read again."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from tests.support.odd_values import odd_values

SPACE = {
    "x": fasthpo.Continuous(0.0, 1.0),
    "n": fasthpo.Discrete(1, 3),
    "c": fasthpo.Categorical(["x", 1, 0.5, True, None]),
}
FAILED, PRUNED = TrialState.FAILED, TrialState.PRUNED


def running(study: fasthpo.Study) -> int:
    numbers = study.table.running
    return int(numbers[0]) if len(numbers) else study.ask().number


def hashable(value: Any) -> Any:
    """A value as a key; another one in the place of what Python itself refuses."""
    try:
        hash(value)
    except TypeError:
        return object()
    return value


# with the study and the value
CALLS: dict[str, Callable[[fasthpo.Study, Any], Any]] = {
    "ask_within.budget": lambda s, v: s.ask_within(v),
    "ask_within.new": lambda s, v: s.ask_within(new=v),
    "ask_batch.n": lambda s, v: (
        s.ask_batch(v if v not in (10**4, 10**5) else 2) if isinstance(v, int) else s.ask_batch(v)
    ),
    "enqueue.params": lambda s, v: s.enqueue(v),
    "enqueue.name": lambda s, v: s.enqueue({hashable(v): 0.5}),
    "enqueue.x": lambda s, v: s.enqueue({"x": v}),
    "enqueue.n": lambda s, v: s.enqueue({"n": v}),
    "enqueue.c": lambda s, v: s.enqueue({"c": v}),
    "report.number": lambda s, v: s.report(v, 0.5, 1),
    "report.value": lambda s, v: s.report(running(s), v, len(s.table.reports)),
    "report.step": lambda s, v: s.report(running(s), 0.5, v),
    "should_prune.number": lambda s, v: s.should_prune(v),
    "tell.trial": lambda s, v: s.tell(v, 0.5),
    "tell.value": lambda s, v: s.tell(running(s), v),
    "tell.state": lambda s, v: s.tell(running(s), state=v),
    "tell.state and value": lambda s, v: s.tell(running(s), 0.5, v),
    "tell.value of a pruned one": lambda s, v: s.tell(running(s), v, PRUNED),
    "tell.value of a failed one": lambda s, v: s.tell(running(s), v, FAILED),
    "tell.metrics": lambda s, v: s.tell(running(s), 0.5, metrics=v),
    "tell.name of a metric": lambda s, v: s.tell(running(s), 0.5, metrics={hashable(v): 0.5}),
    "tell.metric": lambda s, v: s.tell(running(s), 0.5, metrics={"loss": v}),
    "tell.error": lambda s, v: s.tell(running(s), state=FAILED, error=v),
    "tell.error of one told NaN": lambda s, v: s.tell(running(s), float("nan"), error=v),
    "tell.error of a complete one": lambda s, v: s.tell(running(s), 0.5, error=v),
    "tell.infrastructure": lambda s, v: s.tell(running(s), state=FAILED, infrastructure=v),
    "tell_batch.numbers": lambda s, v: s.tell_batch(v, [0.5]),
    "tell_batch.number": lambda s, v: s.tell_batch([v], [0.5]),
    "tell_batch.values": lambda s, v: s.tell_batch([running(s)], v),
    "tell_batch.value": lambda s, v: s.tell_batch([running(s)], [v]),
    "add_trials.params": lambda s, v: s.add_trials(v, [0.5]),
    "add_trials.name": lambda s, v: s.add_trials({"x": [0.5], "n": [1], hashable(v): ["x"]}, [0.5]),
    "add_trials.column": lambda s, v: s.add_trials({"x": v, "n": [1], "c": ["x"]}, [0.5]),
    "add_trials.x": lambda s, v: s.add_trials({"x": [v], "n": [1], "c": ["x"]}, [0.5]),
    "add_trials.n": lambda s, v: s.add_trials({"x": [0.5], "n": [v], "c": ["x"]}, [0.5]),
    "add_trials.c": lambda s, v: s.add_trials({"x": [0.5], "n": [1], "c": [v]}, [0.5]),
    "add_trials.values": lambda s, v: s.add_trials({"x": [0.5], "n": [1], "c": ["x"]}, v),
    "add_trials.value": lambda s, v: s.add_trials({"x": [0.5], "n": [1], "c": ["x"]}, [v]),
    "set_attribute.name": lambda s, v: s.set_attribute(v, 1),
    "set_attribute.value": lambda s, v: s.set_attribute("a", v),
    "set_attribute.inner value": lambda s, v: s.set_attribute("a", [{"b": v}]),
    "set_attribute.key": lambda s, v: s.set_attribute("a", {hashable(v): 1}),
    "keep_checkpoints": lambda s, v: s.keep_checkpoints(v),
    "trial_checkpoint_dir": lambda s, v: s.trial_checkpoint_dir(v),
    "keep_at.path": lambda s, v: s.keep_at(v if not isinstance(v, str) else s.storage),
    "keep_at.durability": lambda s, v: s.keep_at(s.storage, v),
    "keep_at.overwrite": lambda s, v: s.keep_at(s.storage.with_name("other"), overwrite=v),
    "save.path": lambda s, v: s.save(v if not isinstance(v, str) else s.storage),
}

# the same with a study of two objectives, whose trials have one constraint
CALLS_OF_SEVERAL: dict[str, Callable[[fasthpo.Study, Any], Any]] = {
    "report.value": lambda s, v: s.report(running(s), v, len(s.table.reports)),
    "report.entry": lambda s, v: s.report(running(s), [0.5, v], len(s.table.reports)),
    "tell.value": lambda s, v: s.tell(running(s), v),
    "tell.entry": lambda s, v: s.tell(running(s), [v, 0.5]),
    "tell.value of a pruned one": lambda s, v: s.tell(running(s), v, PRUNED),
    "tell.constraints": lambda s, v: s.tell(running(s), [0.5, 0.5], constraints=v),
    "tell.constraint": lambda s, v: s.tell(running(s), [0.5, 0.5], constraints=[v]),
    "tell_batch.values": lambda s, v: s.tell_batch([running(s)], v),
    "tell_batch.row": lambda s, v: s.tell_batch([running(s)], [v]),
    "tell_batch.entry": lambda s, v: s.tell_batch([running(s)], [[v, 0.5]]),
    "tell_batch.constraints": lambda s, v: s.tell_batch([running(s)], [[0.5, 0.5]], constraints=v),
    "tell_batch.constraint": lambda s, v: s.tell_batch([running(s)], [[0.5, 0.5]], constraints=[[v]]),
    "add_trials.values": lambda s, v: s.add_trials({"x": [0.5], "n": [1], "c": ["x"]}, v),
    "add_trials.constraints": lambda s, v: s.add_trials({"x": [0.5], "n": [1], "c": ["x"]}, [[1, 2]], constraints=v),
    "keep_checkpoints": lambda s, v: s.keep_checkpoints(v),
    "hypervolume": lambda s, v: s.hypervolume(v),
    "hypervolume.entry": lambda s, v: s.hypervolume([v, 0.5]),
}


def content(study: fasthpo.Study) -> Any:
    """All that is known of a study, told apart where == does not."""
    table, reports = study.table, study.table.reports
    columns = [
        table.params, table.values, table.states, table.starts, table.ends, table.resources, table.draws, table.tell_order,
        reports.trial, reports.step[: len(reports)].astype(np.int64), reports.value, table.constraints,
    ]  # fmt: skip
    of_trials = [table.metrics.of(number) for number in range(len(table))]
    metrics = [[(repr(name), type(name), value) for name, value in sorted(of.items())] for of in of_trials]
    errors = {number: (repr(text), type(text)) for number, text in table.errors.items()}
    attributes = {(repr(name), type(name)): (repr(value), type(value)) for name, value in study.attributes.items()}
    return (
        [column.tobytes() for column in columns],
        metrics,
        errors,
        attributes,
        list(study._state.history.waiting),
        study.space,
        study.directions,
    )


def loaded_alike(study: fasthpo.Study, directory: Path) -> str:
    """What is wrong with the files of a study that is kept; nothing in words."""
    study.sync()
    for path in filter(None, (study.storage, study.save(directory / "saved"))):
        try:
            if content(fasthpo.Study.load(path, read_only=True)) != content(study):
                return f"another study comes out of {path.name}"
        except Exception as error:
            return f"{path.name} can't be loaded: {type(error).__name__}: {error!s:.200}"
    return ""


def outcome_of(call: Callable[[], Any]) -> tuple[bool, str]:
    """Whether it raised an error, and what is wrong with that."""
    try:
        call()
    except fasthpo.FastHPOError as error:
        return True, f"raised a message of {len(str(error))} characters" if len(str(error)) > 2000 else ""
    except BaseException as error:
        return True, f"raised {type(error).__name__}: {error!s:.150} {traceback.extract_tb(error.__traceback__)[-1]}"
    return False, ""


def wrong_with(call: Callable[[fasthpo.Study, Any], Any], directory: Path, each: bool = False) -> list[str]:
    study = fasthpo.Study(
        SPACE, fasthpo.RandomSampler(0), pruner=fasthpo.MedianPruner(), storage=directory / "study", durability="system"
    )
    return wrong_with_study(study, call, directory, each)


def wrong_with_study(
    study: fasthpo.Study, call: Callable[[fasthpo.Study, Any], Any], directory: Path, each: bool = False
) -> list[str]:
    wrong = []
    for what, value in odd_values().items():
        running(study)
        before = content(study)
        refused, error = outcome_of(lambda value=value: call(study, value))
        if refused and content(study) != before:
            error += "; refused, but the study has changed"
        if each:
            error += loaded_alike(study, directory)
        if error:
            wrong.append(f"{what}: {error}")
    error = loaded_alike(study, directory)
    study.close()
    if error or content(fasthpo.Study.load(directory / "study", read_only=True)) != content(study):
        wrong.append(f"at the end: {error or 'another study comes out'}")
    return wrong


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_argument_is_refused_and_nothing_has_changed_or_the_study_is_read_again_as_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not wrong_with(CALLS[name], tmp_path)


@pytest.mark.parametrize("name", CALLS_OF_SEVERAL)
def test_so_it_is_with_several_objectives_and_constraints(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = fasthpo.Study(
        SPACE,
        fasthpo.RandomSampler(0),
        directions=["minimize", "maximize"],
        storage=tmp_path / "study",
        durability="system",
    )
    study.tell(study.ask(), [0.5, 0.25], constraints=[-1.0])
    assert not wrong_with_study(study, CALLS_OF_SEVERAL[name], tmp_path)


def unit(**more: Any) -> dict[str, Any]:
    return {"x": fasthpo.Continuous(0.0, 1.0), **more}


def sampled(sampler: fasthpo.Sampler) -> tuple[Any, dict[str, Any]]:
    return unit(), {"sampler": sampler}


def pruned(pruner: fasthpo.Pruner) -> tuple[Any, dict[str, Any]]:
    return unit(), {"pruner": pruner}


def ruled(strategy: fasthpo.Strategy) -> tuple[Any, dict[str, Any]]:
    return unit(), {"strategy": strategy, "sampler": None}


def spaced(parameter: fasthpo.Parameter, **more: Any) -> tuple[Any, dict[str, Any]]:
    return unit(p=parameter, **more), {}


# the space and the further arguments of a study
MADE: dict[str, Callable[[Any], tuple[Any, dict[str, Any]]]] = {
    "Study.space": lambda v: (v, {}),
    "Study.sampler": lambda v: (unit(), {"sampler": v}),
    "Study.strategy": lambda v: (unit(), {"strategy": v, "sampler": None}),
    "Study.direction": lambda v: (unit(), {"direction": v}),
    "Study.directions": lambda v: (unit(), {"directions": v}),
    "Study.directions.entry": lambda v: (unit(), {"directions": [v]}),
    "Study.pruner": lambda v: (unit(), {"pruner": v}),
    "SearchSpace.name": lambda v: ({hashable(v): fasthpo.Continuous(0, 1)}, {}),
    "SearchSpace.parameter": lambda v: ({"p": v}, {}),
    "SearchSpaceBuilder.name": lambda v: (fasthpo.SearchSpaceBuilder().continuous(v, 0, 1).build(), {}),
    "Continuous.low": lambda v: spaced(fasthpo.Continuous(v, 2.0)),
    "Continuous.high": lambda v: spaced(fasthpo.Continuous(0.0, v)),
    "Continuous.step": lambda v: spaced(fasthpo.Continuous(0.0, 2.0, v)),
    "Continuous.n_points": lambda v: (
        unit(x=fasthpo.Continuous(0.0, 2.0, n_points=v), n=fasthpo.Discrete(1, 9)),
        {"sampler": fasthpo.GridSampler(seed=0)},
    ),
    "LogUniform.low": lambda v: spaced(fasthpo.LogUniform(v, 2.0)),
    "LogUniform.high": lambda v: spaced(fasthpo.LogUniform(1e-3, v)),
    "LogUniform.n_points": lambda v: (
        unit(x=fasthpo.LogUniform(1.0, 2.0, v), n=fasthpo.Discrete(1, 9)),
        {"sampler": fasthpo.GridSampler(seed=0)},
    ),
    "Discrete.low": lambda v: spaced(fasthpo.Discrete(v, 3)),
    "Discrete.high": lambda v: spaced(fasthpo.Discrete(0, v)),
    "Discrete.step": lambda v: spaced(fasthpo.Discrete(0, 6, v)),
    "Discrete.log": lambda v: spaced(fasthpo.Discrete(1, 6, log=v)),
    "Categorical.choices": lambda v: spaced(fasthpo.Categorical(v)),
    "Categorical.choice": lambda v: spaced(fasthpo.Categorical(["another", v])),
    "when": lambda v: spaced(fasthpo.Continuous(0, 1, when=v)),
    "when.parent": lambda v: spaced(fasthpo.Continuous(0, 1, when={hashable(v): [1]}), c=fasthpo.Discrete(0, 1)),
    "when.values": lambda v: spaced(
        fasthpo.Continuous(0, 1, when={"c": v}), c=fasthpo.Categorical(["x", 1, 0.5, None])
    ),
    "when.value": lambda v: spaced(
        fasthpo.Continuous(0, 1, when={"c": [v]}), c=fasthpo.Categorical(["x", 1, 0.5, None])
    ),
    "when.value of a number": lambda v: spaced(
        fasthpo.Continuous(0, 1, when={"c": [v]}), c=fasthpo.Continuous(0, 1, 0.5)
    ),
    "RandomSampler.seed": lambda v: sampled(fasthpo.RandomSampler(v)),
    "GridSampler.shuffle": lambda v: ({"x": fasthpo.Discrete(0, 9)}, {"sampler": fasthpo.GridSampler(v, 1)}),
    "QMCSampler.scramble": lambda v: sampled(fasthpo.QMCSampler(1, v)),
    "TPESampler.n_startup_trials": lambda v: sampled(fasthpo.TPESampler(v, seed=1)),
    "TPESampler.n_ei_candidates": lambda v: sampled(fasthpo.TPESampler(1, v, seed=1)),
    "TPESampler.multivariate": lambda v: sampled(fasthpo.TPESampler(1, multivariate=v, seed=1)),
    "TPESampler.exact": lambda v: sampled(fasthpo.TPESampler(1, exact=v, seed=1)),
    "CmaEsSampler.population_size": lambda v: sampled(fasthpo.CmaEsSampler(v, seed=1)),
    "CmaEsSampler.sigma": lambda v: sampled(fasthpo.CmaEsSampler(sigma=v, seed=1)),
    "MedianPruner.n_startup_trials": lambda v: pruned(fasthpo.MedianPruner(n_startup_trials=v)),
    "MedianPruner.min_steps": lambda v: pruned(fasthpo.MedianPruner(min_steps=v)),
    "MedianPruner.pool": lambda v: pruned(fasthpo.MedianPruner(pool=v)),
    "PercentilePruner.percentile": lambda v: pruned(fasthpo.PercentilePruner(v, n_startup_trials=0)),
    "PercentilePruner.pool": lambda v: pruned(fasthpo.PercentilePruner(50, pool=v)),
    "ThresholdPruner.lower": lambda v: pruned(fasthpo.ThresholdPruner(lower=v)),
    "ThresholdPruner.upper": lambda v: pruned(fasthpo.ThresholdPruner(upper=v)),
    "ThresholdPruner.min_steps": lambda v: pruned(fasthpo.ThresholdPruner(0.0, min_steps=v)),
    "PatientPruner.wrapped_pruner": lambda v: pruned(fasthpo.PatientPruner(v, 1)),
    "PatientPruner.patience": lambda v: pruned(fasthpo.PatientPruner(None, v)),
    "PatientPruner.min_delta": lambda v: pruned(fasthpo.PatientPruner(None, 1, v)),
    "WilcoxonPruner.p_threshold": lambda v: pruned(fasthpo.WilcoxonPruner(v)),
    "WilcoxonPruner.n_startup_steps": lambda v: pruned(fasthpo.WilcoxonPruner(0.5, v)),
    "SuccessiveHalvingPruner.min_resource": lambda v: pruned(fasthpo.SuccessiveHalvingPruner(v)),
    "SuccessiveHalvingPruner.reduction_factor": lambda v: pruned(fasthpo.SuccessiveHalvingPruner(1, v)),
    "ASHA.max_resource": lambda v: ruled(fasthpo.ASHA(v, sampler=fasthpo.RandomSampler(0))),
    "ASHA.min_resource": lambda v: ruled(fasthpo.ASHA(2**53, v)),
    "ASHA.reduction_factor": lambda v: ruled(fasthpo.ASHA(9, 1, v)),
    "ASHA.sampler": lambda v: ruled(fasthpo.ASHA(9, sampler=v)),
    "ASHA.resumable": lambda v: ruled(fasthpo.ASHA(9, resumable=v)),
    "SuccessiveHalving.max_resource": lambda v: ruled(fasthpo.SuccessiveHalving(v)),
    "SuccessiveHalving.min_resource": lambda v: ruled(fasthpo.SuccessiveHalving(2**53, v)),
    "SuccessiveHalving.reduction_factor": lambda v: ruled(fasthpo.SuccessiveHalving(2**40, 1, v)),
    "Hyperband.max_resource": lambda v: ruled(fasthpo.Hyperband(v)),
    "Hyperband.min_resource": lambda v: ruled(fasthpo.Hyperband(2**53, v)),
    "Hyperband.reduction_factor": lambda v: ruled(fasthpo.Hyperband(2**40, 1, v)),
    "Hyperband.asynchronous": lambda v: ruled(fasthpo.Hyperband(9, asynchronous=v)),
    "Hyperband of many brackets.max_resource": lambda v: ruled(fasthpo.Hyperband(v, asynchronous=True)),
    "RandomSearch.seed": lambda v: ruled(fasthpo.RandomSearch(v)),
    "GridSearch.shuffle": lambda v: (
        {"x": fasthpo.Discrete(0, 9)},
        {"strategy": fasthpo.GridSearch(v, 1), "sampler": None},
    ),
    "BayesianOptimization.n_startup_trials": lambda v: ruled(fasthpo.BayesianOptimization(v)),
}


def wrong_with_made(make: Callable[[Any], tuple[Any, dict[str, Any]]], directory: Path) -> list[str]:
    wrong, seen = [], set()
    for what, value in odd_values().items():
        made: list[fasthpo.Study] = []

        def construct(value: Any = value, made: list[fasthpo.Study] = made) -> None:
            space, more = make(value)
            made.append(fasthpo.Study(space, **{"sampler": fasthpo.RandomSampler(0), **more}))

        refused, error = outcome_of(construct)
        if made and made[0]._definition() not in seen:  # else it is the same study again
            seen.add(made[0]._definition())
            refused, raised = outcome_of(lambda made=made: use(made[0]))
            error += raised or ("accepted, but of no use" if refused else "") or loaded_alike(made[0], directory)
        if error:
            wrong.append(f"{what}: {error}")
    return wrong


def use(study: fasthpo.Study) -> None:
    for _ in range(2):
        trial = study.ask()
        if study.space.is_open:  # without a space it is learnt
            trial.suggest_float("x", 0.0, 1.0)
        for step in (1, 2):
            trial.report(0.5 * trial.number, step)
            trial.should_prune()
        study.tell(trial, float(trial.number))
    study.ask_batch(2)


@pytest.mark.parametrize("name", MADE)
def test_a_study_is_made_of_an_odd_argument_and_read_again_or_it_is_refused(name: str, tmp_path: Path) -> None:
    assert not wrong_with_made(MADE[name], tmp_path)


CONFIGS: dict[str, Callable[[Any], Any]] = {
    **{
        f"TunerConfig.{name}": lambda v, name=name: fasthpo.TunerConfig(**{"study_name": "x", name: v})
        for name in fasthpo.TunerConfig.__dataclass_fields__
    },
    **{
        f"EarlyStoppingConfig.{name}": lambda v, name=name: fasthpo.EarlyStoppingConfig(**{name: v})
        for name in fasthpo.EarlyStoppingConfig.__dataclass_fields__
    },
    **{
        f"PruningConfig({strategy}).{name}": lambda v, name=name, strategy=strategy, more=more: fasthpo.PruningConfig(
            **{"strategy": strategy, **more, name: v}
        )
        for strategy, name, more in [
            ("median", "strategy", {}), ("median", "min_steps", {}), ("median", "n_startup_trials", {}), ("median", "percentile", {}),
            ("percentile", "percentile", {}), ("threshold", "lower", {"upper": 1.0}), ("threshold", "upper", {}), ("patient", "patience", {}),
            ("patient", "min_delta", {}), ("wilcoxon", "p_threshold", {}), ("wilcoxon", "n_startup_steps", {}),
            ("successive_halving", "min_resource", {}), ("successive_halving", "reduction_factor", {}),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_an_odd_argument_goes_to_json_and_back_or_is_refused(name: str) -> None:
    wrong = []
    for what, value in odd_values().items():
        made: list[Any] = []
        _, error = outcome_of(lambda value=value, made=made: made.append(CONFIGS[name](value)))
        for config in made:
            fields = config.to_dict()
            again = type(config).from_dict(json.loads(json.dumps(fields)))
            if repr(again) != repr(config):
                error += f"; {again} comes out of {config}"
        if error:
            wrong.append(f"{what}: {error}")
    assert not wrong


LOADS: dict[str, Callable[[Path, Any], fasthpo.Study]] = {
    "path": lambda path, v: fasthpo.Study.load(v),
    **{
        name: lambda path, v, name=name: fasthpo.Study.load(path, **{name: v})
        for name in ("sampler", "pruner", "strategy", "space", "read_only", "recover", "interrupted", "durability")
    },
    "sampler of the space": lambda path, v: fasthpo.Study.load(path, space={"x": fasthpo.Continuous(0, 2)}, sampler=v),
}


@pytest.mark.parametrize("name", LOADS)
def test_a_study_is_loaded_with_an_odd_argument_or_it_is_refused_and_the_study_is_as_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong: list[str] = []
    with fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, fasthpo.RandomSampler(0), storage=tmp_path / "s") as study:
        study.tell(study.ask(), 0.5)
    files = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    for what, value in odd_values().items():
        made: list[fasthpo.Study] = []
        _, error = outcome_of(lambda value=value, made=made: made.append(LOADS[name](tmp_path / "s", value)))
        if error and not (name == "path" and ("there is no study" in error or "OSError" in error)):
            wrong.append(f"{what}: {error}")
        for loaded in made:
            loaded.close()
            if fasthpo.Study.load(tmp_path / "s", read_only=True).values.tolist() != [0.5]:
                wrong.append(f"{what}: another study")
        if not made and {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()} != files:
            wrong.append(f"{what}: refused, and has changed files")
        files = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    assert not wrong
