"""What stands in the place of a study's files, and what a study that can't be kept leaves behind: nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import InvalidSearchSpace, InvalidValue, StorageError, StudyExists, StudyInUse
from fasthpo.storage import directory_store
from fasthpo.storage.journal import Journal

SPACE = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)})


def make(storage: Path, **options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, **{"sampler": fasthpo.RandomSampler(seed=0), **options}, storage=storage)


def everything(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


class Refusing(fasthpo.Pruner):
    def attach(self, table: object) -> None:
        raise InvalidValue("not this one")

    def should_prune(self, table: object, number: int) -> bool:
        return False


REFUSED: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "durability": (InvalidValue, {"durability": "never"}),
    "direction": (InvalidValue, {"direction": "up"}),
    "sampler that refuses the space": (InvalidSearchSpace, {"sampler": fasthpo.GridSampler()}),
    "pruner that refuses": (InvalidValue, {"pruner": Refusing()}),
    "no pruner": (InvalidValue, {"pruner": 3}),
    "sampler and strategy": (InvalidValue, {"strategy": fasthpo.ASHA(9)}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_study_that_is_refused_leaves_nothing_behind(what: str, tmp_path: Path) -> None:
    error, options = REFUSED[what]
    with pytest.raises(error):
        make(tmp_path / "a" / "b" / "study", **options)
    assert everything(tmp_path) == []
    make(tmp_path / "a" / "b" / "study").close()


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(28, "No space left on device")


FAILING: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "journal": lambda patch: patch.setattr(Journal, "create", full),
    "checkpoint": lambda patch: patch.setattr(directory_store, "write_snapshot", full),
    "sync": lambda patch: patch.setattr("fasthpo.storage.atomic.sync_file", full),
    "place of the checkpoint": lambda patch: patch.setattr("os.replace", full),
}


@pytest.mark.parametrize("with_trials", [False, True])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("what", FAILING)
def test_a_study_that_cannot_be_kept_leaves_nothing_behind(
    what: str, there: bool, with_trials: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "checkpoint" and not with_trials:
        return
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    if with_trials:
        study.tell(study.ask(), 0.5)
        (study.ask().checkpoint_dir / "weights").write_text("1")
    storage = tmp_path / "a" / "b" / "study"
    if there:
        storage.mkdir(parents=True)
        (storage / "mine").write_text("mine")
    before = everything(tmp_path)
    with monkeypatch.context() as patch:
        FAILING[what](patch)
        with pytest.raises(StorageError):
            study.keep_at(storage)
    assert everything(tmp_path) == before
    study.keep_at(storage)
    assert storage.is_dir() and study.storage == storage
    study.close()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden there")
def test_a_place_where_nothing_may_be_written_is_a_named_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="can't be kept in"):
        make(tmp_path / "a" / "study")
    tmp_path.chmod(0o700)
    assert everything(tmp_path) == []


def test_a_place_that_is_or_lies_in_a_file_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "study", tmp_path / "new" / ("x" * 400)):
        with pytest.raises(StorageError, match="can't be kept in"):
            make(place)
        assert everything(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_a_lock_of_another_study_stays(tmp_path: Path) -> None:
    with make(tmp_path / "study") as study:
        for name in ("journal.msgpack", "checkpoint.msgpack"):
            (tmp_path / "study" / name).unlink(missing_ok=True)
        with pytest.raises(StudyInUse):
            make(tmp_path / "study")
        assert (tmp_path / "study" / ".lock").exists()
        study.keep_at(tmp_path / "other")
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".lock").touch()
    (tmp_path / "left" / "checkpoints" / "trial-0").mkdir(parents=True)
    with pytest.raises(StudyExists):
        make(tmp_path / "left")
    assert everything(tmp_path / "left") == [".lock", "checkpoints", "checkpoints/trial-0"]


# --- directories


def put_directory(path: Path) -> Callable[[], None]:
    """Put a directory in the place of a file; what puts the file back."""
    written = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    path.mkdir()

    def put_back() -> None:
        path.rmdir()
        if written is not None:
            path.write_bytes(written)

    return put_back


@pytest.mark.parametrize("name", ["journal.msgpack", "checkpoint.msgpack"])
def test_a_directory_in_the_place_of_a_file_of_a_study_is_named_when_it_is_loaded(name: str, tmp_path: Path) -> None:
    with make(tmp_path / "study") as study:
        study.tell(study.ask(), 0.5)
        study.close()
        follower = fasthpo.Study.load(tmp_path / "study", read_only=True)
    put_back = put_directory(tmp_path / "study" / name)
    with pytest.raises(StorageError, match=f"not a directory, at.*{name}"):
        follower.refresh()
    before = everything(tmp_path)
    for options in ({}, {"read_only": True}, {"recover": True}):
        with pytest.raises(StorageError, match=f"not a directory, at.*{name}"):
            fasthpo.Study.load(tmp_path / "study", **options)
        with pytest.raises((FileNotFoundError, StorageError), match=name):
            fasthpo.Study.load(tmp_path / "study" / name, **options)
    with pytest.raises((StudyExists, StorageError)):
        make(tmp_path / "study")
    with pytest.raises((StudyExists, StorageError)):
        study.save(tmp_path / "study")
    with pytest.raises(StorageError, match=f"can't be kept in|not a directory, at.*{name}"):
        study_in_memory().keep_at(tmp_path / "study", overwrite=True)
    assert (tmp_path / "study" / name).is_dir() and set(before) - set(everything(tmp_path)) <= {
        "study/journal.msgpack", "study/checkpoint.msgpack", "study/.lock"
    }  # fmt: skip
    put_back()


def study_in_memory() -> fasthpo.Study:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    study.tell(study.ask(), 0.5)
    return study


@pytest.mark.parametrize("name", ["journal.msgpack", "checkpoint.msgpack", "journal.next.msgpack"])
def test_a_directory_in_the_place_of_a_file_of_an_open_study_is_a_named_error_and_nothing_is_lost(
    name: str, tmp_path: Path
) -> None:
    study = make(tmp_path / "study")
    study.tell(study.ask(), 0.5)
    put_back = put_directory(tmp_path / "study" / name)
    with pytest.raises(StorageError):
        study.compact()
    trial = study.ask()
    if name == "journal.msgpack":
        with pytest.raises(StorageError, match="removed, renamed or replaced"):
            study.tell(trial, 0.25)
        study.keep_at(tmp_path / "other")
    else:
        study.tell(trial, 0.25)
        put_back()
    study.close()
    kept = tmp_path / ("other" if name == "journal.msgpack" else "study")
    assert fasthpo.Study.load(kept, read_only=True).values.tolist() == [0.5, 0.25]


def test_a_directory_in_the_place_of_a_lock_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "study" / ".lock").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"\.lock"):
        make(tmp_path / "study")
    assert everything(tmp_path) == ["study", "study/.lock"]


EXPORTS: dict[str, Callable[[fasthpo.Study, Path], object]] = {
    "save": lambda study, path: study.save(path),
    "to_json": lambda study, path: study.to_json(path),
    "to_csv": lambda study, path: study.to_csv(path),
    "to_parquet": lambda study, path: study.to_parquet(path),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_directory_in_the_place_of_an_export_is_a_named_error(name: str, tmp_path: Path) -> None:
    if name == "to_parquet":
        pytest.importorskip("pyarrow")
    target = tmp_path / "export"
    target.mkdir()
    (target / "checkpoint.msgpack").mkdir()
    before = everything(tmp_path)
    with pytest.raises(StorageError, match=r"can't be written|not a directory, at"):
        EXPORTS[name](study_in_memory(), target)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["trial_history.json", "statistics.json", "best_parameters.json", ".lock"])
def test_a_directory_in_the_place_of_a_tuners_file_is_a_named_error(name: str, tmp_path: Path) -> None:
    config = fasthpo.TunerConfig("study", max_trials=2, output_dir=tmp_path, save_checkpoints=True)
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    (tmp_path / "study" / name).mkdir(parents=True)
    with pytest.raises(StorageError, match="study"):
        tuner.optimize(lambda trial: trial["x"])
    if name != ".lock":
        assert len(fasthpo.Study.load(tmp_path / "study", read_only=True)) == 2


def test_a_directory_with_the_name_of_a_temporary_file_keeps_no_study_from_being_loaded(tmp_path: Path) -> None:
    make(tmp_path / "study").close()
    (tmp_path / "study" / ".journal.msgpack.1-ab.tmp").mkdir()
    fasthpo.Study.load(tmp_path / "study").close()
