"""Save and load: what comes back is what was there, and a study goes on as if it had never stopped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(-1.0, 1.0),
        "n": fasthpo.Discrete(1, 100, log=True),
        "c": fasthpo.Categorical(["a", True, 1, 1.5, None]),
        "m": fasthpo.LogUniform(1e-3, 1.0, when={"c": ["a", 1]}),
    }
)
GRID = fasthpo.SearchSpace(
    {"x": fasthpo.Continuous(-1, 1, n_points=10), "n": fasthpo.Discrete(1, 10), "c": fasthpo.Categorical(["a", "b"])}
)
SAMPLERS = {
    "random": lambda: (SPACE, fasthpo.RandomSampler(seed=5)),
    "grid": lambda: (GRID, fasthpo.GridSampler(shuffle=True, seed=5)),
    "quasi-random": lambda: (SPACE, fasthpo.QMCSampler(seed=5)),
    "tpe": lambda: (SPACE, fasthpo.TPESampler(seed=5)),
    "tpe-univariate": lambda: (SPACE, fasthpo.TPESampler(seed=5, multivariate=False)),
}
PRUNERS = {
    "none": lambda: None,
    "median": lambda: fasthpo.MedianPruner(n_startup_trials=2),
    "percentile": lambda: fasthpo.PercentilePruner(30, n_startup_trials=2),
    "nested": lambda: fasthpo.PatientPruner(fasthpo.PatientPruner(fasthpo.MedianPruner(n_startup_trials=2), 0), 1),
    "successive halving": lambda: fasthpo.SuccessiveHalvingPruner(1, 2),
}


def nested(depth: int) -> dict[str, Any]:
    """What a file says of pruners inside each other."""
    part: dict[str, Any] = {"name": "median", "type": "x", "options": {}}
    for _ in range(depth):
        part = {"name": "patient", "type": "x", "options": {"wrapped_pruner": {"part": part}, "patience": 1}}
    return part


def reported(trial: list[int], step: list[int]) -> dict[str, Any]:
    """The fields of a file whose trials have reported 0.5 at some steps."""
    columns = {"trial": np.array(trial, "<i8"), "step": np.array(step, "<i8"), "value": np.full(len(step), 0.5)}
    packed = {n: {"dtype": c.dtype.str, "shape": list(c.shape), "data": c.tobytes()} for n, c in columns.items()}
    return {"report_count": len(step), "reports": packed}


def step(study: fasthpo.Study) -> dict[str, Any]:
    """One trial of a deterministic objective with reports, failures and infinities."""
    trial = study.ask()
    x, n = trial["x"], trial["n"]
    for epoch in range(4):
        trial.report(x * x + n / (epoch + 1), epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return trial.params
    kind = trial.number % 7
    study.tell(trial, math.nan if kind == 5 else math.inf if kind == 6 else x * x + n, metrics={"n": n})
    return trial.params


def content(study: fasthpo.Study) -> str:
    t = study.table
    columns = [t.params, t.values, t.states, t.resources, t.draws, t.tell_order]
    reports = [t.reports.trial, t.reports.step, t.reports.value]
    return repr(
        [c.tolist() for c in columns]
        + [r[: len(t.reports)].tolist() for r in reports]
        + [dict(t.counts), t.best_number, t.errors, [x.metrics for x in study.trials]]
    )


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_loaded_study_goes_on_as_if_it_had_never_stopped(sampler: str, pruner: str, tmp_path: Path) -> None:
    space, make = SAMPLERS[sampler]()
    whole = fasthpo.Study(space, sampler=make, pruner=PRUNERS[pruner](), direction="maximize")
    expected = [step(whole) for _ in range(45)]
    space, make = SAMPLERS[sampler]()
    study = fasthpo.Study(space, sampler=make, pruner=PRUNERS[pruner](), direction="maximize")
    params = []
    for i in range(45):
        params.append(step(study))
        if i in (0, 9, 10, 30):
            before = content(study)
            path = study.save(tmp_path / "study.msgpack")
            study = fasthpo.Study.load(path)
            assert content(study) == before
    assert params == expected
    assert study.sampler.options() == whole.sampler.options()
    assert study.space == space and study.direction == "maximize"


def test_running_and_waiting_trials_are_asked_again_first(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=5))
    study.tell(study.ask(), 1.0)
    running = [study.ask(), study.ask()]
    running[1].report(3.0, 1)
    study.enqueue({"x": 0.25})
    study.save(tmp_path)
    loaded = fasthpo.Study.load(tmp_path)
    again = [loaded.ask() for _ in range(4)]
    assert [t.number for t in again[:2]] == [1, 2]
    assert [t.params for t in again[:2]] == [t.params for t in running]
    assert again[1].reports == {}
    assert again[2]["x"] == 0.25
    study.ask()  # the enqueued one
    assert again[3].params == study.ask().params


def test_a_failed_trial_does_not_spoil_the_file(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=5))
    study.tell(study.ask(), math.nan)
    study.tell(study.ask(), state=TrialState.FAILED, error="Traceback: boom")
    loaded = fasthpo.Study.load(study.save(tmp_path))
    assert loaded.trials[1].error == "Traceback: boom"
    assert loaded.ask().params not in [t.params for t in study.trials]


def test_own_sampler_must_be_passed(tmp_path: Path) -> None:
    class Own(fasthpo.RandomSampler):
        pass

    study = fasthpo.Study(SPACE, sampler=Own(seed=1))
    path = study.save(tmp_path)
    with pytest.raises(fasthpo.InvalidValue, match="Own; pass one as sampler="):
        fasthpo.Study.load(path)
    assert type(fasthpo.Study.load(path, sampler=Own(seed=1)).sampler) is Own


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        fasthpo.Study.load(tmp_path / "nothing")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    study = fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=5), pruner=fasthpo.MedianPruner())
    for _ in range(3):
        step(study)
    return study.save(tmp_path_factory.mktemp("saved")).read_bytes()


def test_every_cut_is_refused(checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.msgpack"
    for length in range(len(checkpoint)):
        path.write_bytes(checkpoint[:length])
        with pytest.raises(fasthpo.CorruptCheckpoint):
            fasthpo.Study.load(path)


def test_every_flipped_byte_is_refused(checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flipped.msgpack"
    for place in range(len(checkpoint)):
        damaged = bytearray(checkpoint)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(fasthpo.CorruptCheckpoint):
            fasthpo.Study.load(path)


def test_newer_version_is_refused_with_a_way_out(checkpoint: bytes, tmp_path: Path) -> None:
    outer = msgpack.unpackb(checkpoint)
    outer["version"] = 99
    path = tmp_path / "newer.msgpack"
    path.write_bytes(msgpack.packb(outer))
    with pytest.raises(fasthpo.CorruptCheckpoint, match=r"version is 99.*newer"):
        fasthpo.Study.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"length": -1},
        {"length": 10**15},
        {"told": 2},
        {"next_draw": -3},
        {"waiting": [1]},
        {"space": {"x": {"type": "Evil"}}},
        {"direction": "up"},
        {"sampler": {"name": "os.system", "type": "x", "options": {}}},
        {"sampler": {"name": "tpe", "type": "x", "options": {"surprise": 1}}},
        {"columns": {}},
        {"reports": None},
        reported([0, 3], [0, 0]),  # there is no such trial
        reported([0, 1], [0, -1]),
        reported([0, 1, 0], [7, 7, 7]),  # two at one step
        {"pruner": {"name": "tpe", "type": "x", "options": {}}},
        {"pruner": {"name": "patient", "type": "x", "options": {"wrapped_pruner": {"part": 3}, "patience": 1}}},
        {"pruner": {"name": "patient", "type": "x", "options": {"wrapped_pruner": {"x": 3}, "patience": 1}}},
    ],
)
def test_hostile_content_gets_the_documented_error(checkpoint: bytes, change: dict[str, Any], tmp_path: Path) -> None:
    import zlib

    outer = msgpack.unpackb(checkpoint)
    inner = msgpack.unpackb(outer["content"], strict_map_key=False)
    inner.update(change)
    outer["content"] = msgpack.packb(inner)
    outer["checksum"] = zlib.crc32(outer["content"])
    path = tmp_path / "hostile.msgpack"
    path.write_bytes(msgpack.packb(outer))
    with pytest.raises(fasthpo.CorruptCheckpoint):
        fasthpo.Study.load(path)


def test_pruners_nested_too_deep_get_the_documented_error(checkpoint: bytes, tmp_path: Path) -> None:
    import zlib

    depth = 5000
    outer = msgpack.unpackb(checkpoint)
    inner = msgpack.unpackb(outer["content"], strict_map_key=False)
    start, end = msgpack.packb(nested(1)).split(msgpack.packb(nested(0)))
    deep = start * depth + msgpack.packb(nested(0)) + end * depth  # msgpack itself packs nothing as deep
    outer["content"] = msgpack.packb({**inner, "pruner": "here"}).replace(msgpack.packb("here"), deep)
    outer["checksum"] = zlib.crc32(outer["content"])
    (tmp_path / "deep.msgpack").write_bytes(msgpack.packb(outer))
    with pytest.raises(fasthpo.CorruptCheckpoint):
        fasthpo.Study.load(tmp_path / "deep.msgpack")


def test_what_the_hostile_content_is_made_of_is_fine_by_itself(checkpoint: bytes, tmp_path: Path) -> None:
    import zlib

    outer = msgpack.unpackb(checkpoint)
    inner = msgpack.unpackb(outer["content"], strict_map_key=False)
    inner.update({"pruner": nested(3), **reported([0, 2, 0], [7, 7, 5])})
    outer["content"] = msgpack.packb(inner)
    outer["checksum"] = zlib.crc32(outer["content"])
    (tmp_path / "fine.msgpack").write_bytes(msgpack.packb(outer))
    study = fasthpo.Study.load(tmp_path / "fine.msgpack")
    assert [trial.reports for trial in study.trials] == [{5: 0.5, 7: 0.5}, {}, {7: 0.5}]


def test_saving_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=5))
    for _ in range(3):
        study.tell(study.ask(), 1.0)
        study.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.msgpack"]
    assert len(fasthpo.Study.load(tmp_path)) == 3


def test_large_columns_survive(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=5))
    batch = study.ask_batch(20_000)
    study.tell_batch(batch.numbers, np.arange(20_000.0))
    assert content(fasthpo.Study.load(study.save(tmp_path))) == content(study)
