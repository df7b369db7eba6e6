"""What a config accepts, what it refuses, and what becomes of it."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import fasthpo
from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.median import MedianPruner
from fasthpo.pruners.percentile import PercentilePruner
from fasthpo.tuner.config import PRUNING_STRATEGIES, EarlyStoppingConfig, PruningConfig, TunerConfig

GOOD_NAMES = ["a", "my_study", "run 2", "v1.0", ".hidden", "study-äö", "console", "com", "x" * 200]
BAD_NAMES = [
    "", " ", ".", "..", "a/b", "a\\b", "/", "../up", "C:", "a:b", "a*", "what?", 'a"b', "a<b", "a>b", "a|b", "a\nb",
    "a\0b", "con", "NUL", "Com1", "lpt9.txt", "ends.", "ends ", " begins", "x" * 201, "ä" * 101,
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names_are_directories(name: str, tmp_path: Path) -> None:
    directory = TunerConfig(name, output_dir=tmp_path).study_dir
    directory.mkdir()
    assert directory.parent == tmp_path
    assert [found.name for found in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", [*BAD_NAMES, None, 3, b"a", Path("a")])
def test_bad_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidValue, match="study_name"):
        TunerConfig(name)  # type: ignore[arg-type]


def test_only_the_name_is_positional() -> None:
    with pytest.raises(TypeError):
        TunerConfig("a", "maximize")  # type: ignore[misc]
    with pytest.raises(TypeError):
        PruningConfig("median")  # type: ignore[misc]
    with pytest.raises(TypeError):
        EarlyStoppingConfig(3)  # type: ignore[misc]


def test_configs_are_frozen() -> None:
    for config in (TunerConfig("a"), PruningConfig(), EarlyStoppingConfig()):
        name = dataclasses.fields(config)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, None)


def test_defaults() -> None:
    config = TunerConfig("a")
    assert config.direction == "minimize"
    assert config.study_dir == Path("hyperopt_results/a")
    assert config.max_seconds == math.inf
    assert not config.save_checkpoints and not config.overwrite and not config.compress_history
    assert config.max_trials is config.seed is config.pruning is config.early_stopping is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("direction", "up", "'minimize' or 'maximize', got direction='up'"),
        ("objective_metric", "", "objective_metric must be None or a metric's name, got objective_metric=''"),
        ("objective_metric", 1, "objective_metric"),
        ("max_trials", 0, "max_trials must be an integer of at least 1, got max_trials=0"),
        ("max_trials", -1, "max_trials"),
        ("max_trials", 1.5, "max_trials"),
        ("max_trials", True, "max_trials"),
        ("max_consecutive_failures", 0, "max_consecutive_failures must be an integer of at least 1, got"),
        ("max_consecutive_failures", 2.0, "max_consecutive_failures"),
        (
            "max_initial_failures",
            0,
            "max_initial_failures must be an integer of at least 1, got max_initial_failures=0",
        ),
        ("max_initial_failures", math.inf, "max_initial_failures"),
        ("max_duration", 0, "max_duration must be a positive number of seconds, got max_duration=0"),
        ("max_duration", -1.0, "max_duration"),
        ("max_duration", math.nan, "max_duration"),
        ("max_duration", timedelta(0), "max_duration"),
        ("max_duration", "1h", "max_duration"),
        ("pruning", "median", "pruning must be None or a PruningConfig, got pruning='median'"),
        ("pruning", EarlyStoppingConfig(), "pruning"),
        ("early_stopping", 5, "early_stopping must be None or a EarlyStoppingConfig, got early_stopping=5"),
        ("output_dir", "", "output_dir must be the path of a directory, got output_dir=''"),
        ("output_dir", None, "output_dir"),
        ("output_dir", "~nobody-of-that-name/x", "output_dir begins with a home directory that is not known here"),
        ("save_checkpoints", 1, "save_checkpoints must be True or False, got save_checkpoints=1"),
        ("compress_history", "yes", "compress_history"),
        ("overwrite", None, "overwrite"),
        ("seed", -1, "seed"),
        ("seed", 2**64, "seed"),
        ("seed", 1.0, "seed"),
    ],
)
def test_bad_fields_are_refused_with_rule_and_value(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message.replace("(", r"\(")):
        TunerConfig("a", **{field: value})  # type: ignore[arg-type]


def test_numbers_of_other_types_become_plain() -> None:
    config = TunerConfig("a", max_trials=np.int64(7), max_duration=timedelta(minutes=2), seed=np.uint64(3))  # type: ignore[arg-type]
    assert (type(config.max_trials), config.max_trials) == (int, 7)
    assert config.max_seconds == 120.0
    assert type(config.seed) is int
    assert TunerConfig("a", max_duration=math.inf).max_seconds == math.inf


def test_round_trip_through_msgpack() -> None:
    config = TunerConfig(
        "a", direction="maximize", objective_metric="accuracy", max_trials=5, max_duration=timedelta(hours=1),
        pruning=PruningConfig(strategy="percentile", percentile=0.25, min_steps=3),
        early_stopping=EarlyStoppingConfig(patience=2, min_delta=0.1, restore_best_weights=False),
        output_dir=Path("some") / "where", save_checkpoints=True, seed=2**64 - 1, compress_history=True, overwrite=True,
    )  # fmt: skip
    for one in (config, TunerConfig("plain")):
        assert TunerConfig.from_dict(msgpack.unpackb(msgpack.packb(one.to_dict()))) == one


def test_from_dict_refuses_unknown_fields() -> None:
    with pytest.raises(InvalidValue, match="no field 'max_trails'"):
        TunerConfig.from_dict({"study_name": "a", "max_trails": 3})
    with pytest.raises(InvalidValue, match="PruningConfig has no field 'x'"):
        TunerConfig.from_dict({"study_name": "a", "pruning": {"x": 3}})


# --- pruning


def test_median_and_percentile_pruners() -> None:
    median = PruningConfig(strategy="median", min_steps=30, percentile=0.5, n_startup_trials=7).make_pruner()
    assert type(median) is MedianPruner
    assert (median.min_steps, median.n_startup_trials) == (30, 7)
    percentile = PruningConfig(strategy="percentile", percentile=0.29, min_steps=2, n_startup_trials=1).make_pruner()
    assert type(percentile) is PercentilePruner
    assert (percentile.percentile, percentile.min_steps, percentile.n_startup_trials) == (29.0, 2, 1)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.57, 1])
def test_every_allowed_percentile_makes_a_pruner(share: float) -> None:
    pruner = PruningConfig(strategy="percentile", percentile=share).make_pruner()
    assert isinstance(pruner, PercentilePruner)
    assert pruner.percentile == pytest.approx(100 * share, abs=1e-9)


def test_a_percentile_on_the_other_scale_gets_a_hint() -> None:
    with pytest.raises(InvalidValue, match=r"from 0 to 1, got percentile=25; did you mean 0\.25\?"):
        PruningConfig(strategy="percentile", percentile=25)


@pytest.mark.parametrize("share", [-0.1, 100.5, math.nan, math.inf, 0.001, "half"])
def test_impossible_percentiles_are_refused(share: object) -> None:
    with pytest.raises(InvalidValue, match="percentile"):
        PruningConfig(strategy="percentile", percentile=share)  # type: ignore[arg-type]


def test_a_percentile_that_the_median_would_ignore_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r'percentile must be 0\.5 for strategy="median", got percentile=0\.25'):
        PruningConfig(strategy="median", percentile=0.25)


def test_unknown_pruning_strategies_name_the_known_ones() -> None:
    known = "'median', 'percentile', 'threshold', 'patient', 'wilcoxon', 'successive_halving'"
    for strategy in ("hyperband", None, ["median"]):
        with pytest.raises(InvalidValue) as caught:
            PruningConfig(strategy=strategy)  # type: ignore[arg-type]
        assert str(caught.value) == f"strategy must be one of [{known}], got strategy={strategy!r}"


PRUNERS: dict[str, tuple[dict[str, Any], Pruner]] = {
    "median": ({"min_steps": 3, "n_startup_trials": 2}, fasthpo.MedianPruner(2, 3)),
    "percentile": ({"percentile": 0.29, "min_steps": 3, "n_startup_trials": 2}, fasthpo.PercentilePruner(29, 2, 3)),
    "threshold": ({"lower": -1, "upper": 2.5, "min_steps": 3}, fasthpo.ThresholdPruner(-1.0, 2.5, 3)),
    "patient": ({"patience": 4, "min_delta": 0.1}, fasthpo.PatientPruner(None, 4, 0.1)),
    "wilcoxon": ({"p_threshold": 0.2, "n_startup_steps": 3}, fasthpo.WilcoxonPruner(0.2, 3)),
    "successive_halving": ({"min_resource": 2, "reduction_factor": 4}, fasthpo.SuccessiveHalvingPruner(2, 4)),
}


@pytest.mark.parametrize("strategy", PRUNING_STRATEGIES)
def test_each_strategy_makes_its_pruner(strategy: str) -> None:
    fields, expected = PRUNERS[strategy]
    config = PruningConfig(strategy=strategy, **{name: np.array([value])[0] for name, value in fields.items()})
    pruner = config.make_pruner()
    assert type(pruner) is type(expected) and pruner.options() == expected.options()
    assert pruner is not config.make_pruner()
    assert PruningConfig.from_dict(msgpack.unpackb(msgpack.packb(config.to_dict()))) == config
    assert set(PRUNING_STRATEGIES[strategy]) == set(fields)
    if strategy != "threshold":  # which has no bounds of its own
        options = PruningConfig(strategy=strategy).make_pruner().options()
        assert options == type(expected)(**REQUIRED.get(strategy, {})).options()


REQUIRED: dict[str, dict[str, Any]] = {
    "percentile": {"percentile": 50.0}, "patient": {"wrapped_pruner": None, "patience": 5},
}  # fmt: skip


@pytest.mark.parametrize("strategy", PRUNING_STRATEGIES)
def test_fields_without_an_effect_are_refused(strategy: str) -> None:
    given = {
        "min_steps": 1, "percentile": 0.4, "n_startup_trials": 1, "lower": 0.0, "upper": 0.0, "patience": 1,
        "min_delta": 0.5, "p_threshold": 0.5, "n_startup_steps": 1, "min_resource": 2, "reduction_factor": 2,
    }  # fmt: skip
    assert {"strategy", *given} == set(PruningConfig.__dataclass_fields__)
    for name, value in given.items():
        if name in PRUNERS[strategy][0] or (strategy, name) == ("median", "percentile"):
            continue
        with pytest.raises(InvalidValue) as caught:
            PruningConfig(strategy=strategy, **{**PRUNERS[strategy][0], name: value})
        start = f'{name} has no effect for strategy="{strategy}", got {name}={value}; it is for strategy="'
        assert str(caught.value).startswith(start)
    with pytest.raises(InvalidValue, match="min_delta has no effect"):
        PruningConfig(min_delta=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strategy": "threshold"}, "a threshold needs lower, upper, or both; got neither"),
        ({"strategy": "patient", "patience": -1}, "patience must be an integer of at least 0, got patience=-1"),
        ({"strategy": "wilcoxon", "p_threshold": 2}, "p_threshold must be between 0 and 1, got p_threshold=2.0"),
        (
            {"strategy": "successive_halving", "reduction_factor": 1},
            "reduction_factor must be an integer of at least 2",
        ),
    ],
)
def test_values_are_checked_by_the_pruner(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        PruningConfig(**fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("field", ["min_steps", "n_startup_trials"])
@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_pruning_counts_are_checked(field: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=field):
        PruningConfig(**{field: value})  # type: ignore[arg-type]


# --- early stopping


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patience", 0), ("patience", 2.5), ("patience", True), ("min_delta", -0.1), ("min_delta", math.nan),
        ("min_delta", math.inf), ("min_delta", "0"), ("restore_best_weights", 1),
    ],
)  # fmt: skip
def test_early_stopping_fields_are_checked(field: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=field):
        EarlyStoppingConfig(**{field: value})  # type: ignore[arg-type]
