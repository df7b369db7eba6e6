"""Paths as users give them: the home directory, a working directory that is gone, and what can't be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import RandomSampler, StorageError, Study, TunerConfig
from fasthpo.errors import InvalidValue
from fasthpo.trials.trial import Trial
from tests.support.tuning import SPACE, make, parabola, states


def study(**options: Any) -> Study:
    made = Study(SPACE, sampler=RandomSampler(seed=0), **options)
    made.tell(made.ask(), 1.0)
    return made


def kept(path: Any) -> None:
    study(storage=path).close()


def keep_later(path: Any) -> None:
    made = study()
    made.keep_at(path)
    made.close()


def from_optuna(path: Any) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    Study.from_optuna(optuna.create_study(), space=fasthpo.SearchSpace(SPACE), storage=path).close()


def tune(path: Any) -> None:
    make(1, output_dir=path, save_checkpoints=True).optimize(parabola)


def checkpoint(path: Any) -> None:
    make(1, output_dir=path).save_checkpoint()


def train(path: Any) -> None:
    torch = pytest.importorskip("torch")
    from fasthpo.torch import Trainer, TrainingArguments

    data = torch.zeros(2, 1), torch.zeros(2, 1)
    arguments = TrainingArguments(path, num_train_epochs=1, device="cpu")
    Trainer(torch.nn.Linear(1, 1), arguments, data, data, torch.nn.MSELoss()).save()


WRITES: dict[str, Callable[[Any], Any]] = {
    "storage": kept,
    "keep_at": keep_later,
    "save": lambda path: study().save(path),
    "to_json": lambda path: study().to_json(path),
    "to_csv": lambda path: study().to_csv(path),
    "to_parquet": lambda path: study().to_parquet(path),
    "from_optuna": from_optuna,
    "optimize": tune,
    "save_checkpoint": checkpoint,
    "train": train,
}
READS: dict[str, Callable[[Any], Any]] = {
    "load": lambda path: Study.load(path).close(),
    "read_only": lambda path: Study.load(path, read_only=True),
    "load_checkpoint": lambda path: make(1).load_checkpoint(path),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory, which is not the working directory."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize("path", ["~/a/b", Path("~/a/b")])
@pytest.mark.parametrize("door", WRITES)
def test_the_home_directory_where_something_is_written(door: str, path: Any, home: Path) -> None:
    WRITES[door](path)
    assert (home / "a" / "b").exists() and not list(Path.cwd().iterdir())


@pytest.mark.parametrize("door", READS)
def test_the_home_directory_where_something_is_read(door: str, home: Path) -> None:
    kept(home / "kept")
    study().save(home / "saved.msgpack")
    READS[door]("~/kept")
    READS[door](Path("~/saved.msgpack"))


def test_the_home_directory_of_a_config(home: Path) -> None:
    config = TunerConfig("s", output_dir="~")
    assert config.study_dir == home / "s" and TunerConfig.from_dict(config.to_dict()) == config
    assert TunerConfig("s", output_dir="a/~").output_dir == Path("a/~")
    with pytest.raises(fasthpo.StudyExists, match="holds a study already"):
        kept(home / "kept")
        Study(SPACE, storage="~/kept")
    assert study().save("~/x.msgpack") == home / "x.msgpack" and study().to_json("x.json") == Path("x.json")


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "", "a\0b", b"x", 3])
@pytest.mark.parametrize("door", [*WRITES, *READS])
def test_what_is_no_path_is_refused_at_every_door(door: str, path: Any, home: Path) -> None:
    with pytest.raises(InvalidValue, match=r"(path|output_dir|storage) (must be|begins with a home directory)"):
        (WRITES | READS)[door](path)
    assert not list(Path.cwd().iterdir())


# --- a working directory that was removed


@contextmanager
def no_working_directory(beside: Path) -> Iterator[None]:
    """Meanwhile the working directory does not exist."""
    if os.name == "nt":
        pytest.skip("Windows removes no working directory")
    pytest.importorskip("torch._dynamo")  # which itself can't be imported without a working directory
    before, gone = Path.cwd(), beside / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("door", [*WRITES, *READS])
def test_a_relative_path_without_a_working_directory(door: str, tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="the working directory has been removed; give an absolute one"),
        no_working_directory(tmp_path),
    ):
        (WRITES | READS)[door]("a/b")


@pytest.mark.parametrize("door", WRITES)
def test_an_absolute_path_without_a_working_directory(door: str, tmp_path: Path) -> None:
    with no_working_directory(tmp_path):
        WRITES[door](tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tuner_that_writes_nothing_needs_no_working_directory(workers: int, tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        (trial.checkpoint_dir / "weights").write_text("w")
        return 1.0

    with no_working_directory(tmp_path):
        tuner = make(3)
        tuner.optimize(objective, workers=workers)
        assert states(tuner) == ["COMPLETE"] * 3
        kept(tmp_path / "kept")
        assert len(make(1).load_checkpoint(tmp_path / "kept").optimize(parabola).trials) == 1


def test_a_working_directory_that_is_removed_while_the_tuner_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tuner = make(3, output_dir="out", save_checkpoints=True)
    with no_working_directory(tmp_path):
        tuner.optimize(parabola)
    assert len(Study.load(tmp_path / "out" / "s", read_only=True)) == 3
    assert (tmp_path / "out" / "s" / "statistics.json").exists()


# --- places that can't be written to


@pytest.mark.parametrize("door", ["optimize", "save_checkpoint", "train"])
def test_an_output_dir_that_cant_be_made(door: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file") as caught:
        WRITES[door](tmp_path / "file" / "x")
    assert caught.value.errno is not None


def test_an_output_dir_that_cant_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(directory: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(directory))

    monkeypatch.setattr("fasthpo.tuner.directory.holds_study", refused)
    for save, earlier in ((False, []), (True, []), (True, [tmp_path / "earlier"])):
        with pytest.raises(StorageError, match=r"no study can be looked for in .*: Permission denied"):
            make(1, output_dir=tmp_path, save_checkpoints=save, learn_from=earlier).optimize(parabola)


def test_files_that_sum_up_a_study_where_there_is_no_place_for_them(tmp_path: Path) -> None:
    tuner = make(3, output_dir=tmp_path / "out", save_checkpoints=True)

    def objective(trial: Trial) -> float:
        if trial.number == 2:
            (tmp_path / "out" / "s" / "statistics.json").mkdir()
        return 1.0

    with pytest.raises(StorageError, match="files that sum up the study can't be written in"):
        tuner.optimize(objective)
    assert states(tuner) == ["COMPLETE"] * 3 and len(Study.load(tmp_path / "out" / "s", read_only=True)) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trials_directory_in_a_study_that_was_removed(workers: int, tmp_path: Path) -> None:
    """A clear failure; and nothing is made there that another study would find."""
    where = tmp_path / "out" / "s"
    with study(storage=where) as made:
        assert made.trials[0].checkpoint_dir.exists()
    tuner = make(3).load_checkpoint(where)  # it keeps weights there, and nothing else
    shutil.rmtree(where)

    def objective(trial: Trial) -> float:
        return float(trial.checkpoint_dir.exists())

    tuner.optimize(objective, workers=workers)
    assert states(tuner) == ["COMPLETE", "FAILED", "FAILED"] and not where.exists()
    error = tuner.study.trials[1].error or ""
    assert "StorageError" in error and "the directory of a trial's weights" in error and "can't be made" in error


def test_a_temporary_directory_of_weights_that_was_removed_is_made_again() -> None:
    made = study()
    shutil.rmtree(made.ask().checkpoint_dir.parent)
    assert made.ask().checkpoint_dir.is_dir()


def test_a_trials_directory_that_cant_be_made(tmp_path: Path) -> None:
    made = study(storage=tmp_path / "s")
    (tmp_path / "s" / "checkpoints").write_text("")
    with pytest.raises(StorageError, match="can't be made"):
        _ = made.ask().checkpoint_dir


def test_weights_that_are_gone_already_are_no_matter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = study(storage=tmp_path / "s")
    made.keep_checkpoints("best")
    trial = made.ask()
    shutil.rmtree(trial.checkpoint_dir)
    made.tell(trial, 7.0)
    assert "were not removed" not in caplog.text
