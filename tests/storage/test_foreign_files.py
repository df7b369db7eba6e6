"""Of what lies where weights are kept, only trials' directories of the study are ever removed, and none unasked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import HyperparameterTuner
from tests.support.tuning import SPACE, make, parabola

links = pytest.mark.skipif(os.name != "posix", reason="making links needs a privilege on Windows")


def tree(directory: Path) -> dict[str, str | bytes | None]:
    """All that lies below a directory: the content of files, and where links lead."""
    found: dict[str, str | bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name)
    return path


def tuner(directory: Path, **config: Any) -> HyperparameterTuner:
    return make(4, output_dir=directory, save_checkpoints=True, **config)


def train(trial: fasthpo.Trial) -> float:
    assert list(trial.checkpoint_dir.iterdir()) == []
    write(trial.checkpoint_dir / "weights")
    return parabola(trial)


def by_tuner(directory: Path, overwrite: bool) -> None:
    tuner(directory.parent, overwrite=overwrite).optimize(train)


def by_hand(directory: Path, overwrite: bool) -> None:
    tuner(directory.parent, overwrite=overwrite).save_checkpoint()


def by_study(directory: Path, overwrite: bool) -> None:
    study = fasthpo.Study(SPACE)
    study.keep_at(directory, overwrite=overwrite)
    study.close()


WAYS = [by_tuner, by_hand, by_study]
Way = Callable[[Path, bool], None]


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_trials_are_not_removed_unasked(way: Way, tmp_path: Path) -> None:
    write(tmp_path / "s" / "checkpoints" / "trial-0" / "weights.bin")
    write(tmp_path / "s" / "checkpoints" / "notes.txt")
    before = tree(tmp_path / "s" / "checkpoints")
    with pytest.raises(fasthpo.StudyExists, match=r"checkpoints holds weights of another study's.*overwrite=True"):
        way(tmp_path / "s", False)
    assert tree(tmp_path / "s" / "checkpoints") == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_no_weights_of_trials_stay(overwrite: bool, way: Way, tmp_path: Path) -> None:
    root = tmp_path / "s" / "checkpoints"
    for name in ("model.pt", "best/model.pt", "trial-01/w", "trial-x/w", "my-trial-1/w", "trial-1.zip"):
        write(root / name)
    write(tmp_path / "s" / "notes.txt")
    before = tree(tmp_path / "s")
    way(tmp_path / "s", overwrite)
    assert before.items() <= tree(tmp_path / "s").items()
    if overwrite:
        write(root / "trial-2" / "old")
        way(tmp_path / "s", True)
        assert before.items() <= tree(tmp_path / "s").items() and not (root / "trial-2" / "old").exists()


@links
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["checkpoints", "trial", "file"])
def test_what_a_link_leads_to_is_not_removed_but_refused(what: str, way: Way, tmp_path: Path) -> None:
    by_tuner(tmp_path / "s", False)
    other, root = tmp_path / "other", tmp_path / "s" / "checkpoints"
    write(other / "trial-1" / "precious")
    if what == "checkpoints":
        root.rename(tmp_path / "aside")
        root.symlink_to(other, target_is_directory=True)
    elif what == "trial":
        (root / "trial-7").symlink_to(other, target_is_directory=True)
    else:
        write(root / "trial-7")
    before, study = tree(tmp_path), fasthpo.Study.load(tmp_path / "s", read_only=True)
    with pytest.raises(fasthpo.StudyExists, match="weights of another study's trials that can't be removed"):
        way(tmp_path / "s", True)
    assert tree(tmp_path) == before  # the old study, too
    assert len(study) == len(fasthpo.Study.load(tmp_path / "s", read_only=True))


@links
def test_links_within_a_trials_weights_go_without_what_they_lead_to(tmp_path: Path) -> None:
    by_tuner(tmp_path / "s", False)
    file = write(tmp_path / "other" / "precious")
    for number, target in enumerate((file, file.parent)):
        (tmp_path / "s" / "checkpoints" / f"trial-{number}" / "link").symlink_to(target)
    by_tuner(tmp_path / "s", True)
    assert file.exists() and not list((tmp_path / "s").rglob("link"))


@links
@pytest.mark.parametrize("what", ["checkpoints", "trial"])
def test_weights_behind_a_link_outlive_the_trials(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other, root = tmp_path / "other", tmp_path / "s" / "checkpoints"
    other.mkdir()
    (tmp_path / "s").mkdir()
    if what == "checkpoints":
        root.symlink_to(other, target_is_directory=True)
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(0), storage=tmp_path / "s")
    if what == "trial":
        root.mkdir()
        (root / "trial-0").symlink_to(other, target_is_directory=True)
    study.keep_checkpoints("best")
    for number in range(3):
        trial = study.ask()
        write(trial.checkpoint_dir / f"weights-{number}")
        study.tell(trial, -float(number))
    assert (other / "weights-0").exists() == (what == "trial")
    assert (other / "trial-0" / "weights-0").exists() == (what == "checkpoints")
    assert "nothing is removed through a link" in caplog.text
    assert (root / "trial-1").exists() == (what == "checkpoints")
    study.close()


def test_weights_of_numbers_that_the_study_has_not_are_not_its_to_remove(tmp_path: Path) -> None:
    by_tuner(tmp_path / "s", False)
    foreign = write(tmp_path / "s" / "checkpoints" / "trial-99" / "precious")
    with fasthpo.Study.load(tmp_path / "s") as study:
        study.keep_checkpoints("best")
    left = {path.name for path in (tmp_path / "s" / "checkpoints").iterdir()}
    assert len(left) == 2 and foreign.exists()


def test_directories_beside_a_saved_file_are_not_its_weights(tmp_path: Path) -> None:
    foreign = write(tmp_path / "checkpoints" / "trial-0" / "precious")
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(0))
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    loaded = fasthpo.Study.load(study.save(tmp_path / "study.msgpack"))
    loaded.keep_checkpoints(1)
    assert loaded.trials[0].checkpoint_dir != foreign.parent and foreign.exists()


@links
def test_a_study_loaded_through_a_link_does_not_overwrite_its_own_weights(tmp_path: Path) -> None:
    by_tuner(tmp_path / "s", False)
    (tmp_path / "link").symlink_to(tmp_path / "s", target_is_directory=True)
    study = fasthpo.Study.load(tmp_path / "link" / "checkpoint.msgpack")
    study.keep_at(tmp_path / "s", overwrite=True)
    assert len(list((tmp_path / "s" / "checkpoints").rglob("weights"))) == 4
    study.close()


def test_weights_that_can_not_be_copied_cost_none_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(0))
    for _ in range(2):
        write(study.ask().checkpoint_dir / "weights")
    root = tmp_path / "s" / "checkpoints"
    write(root / "notes.txt")

    def fail(source: Path, target: Path, **options: Any) -> None:
        write(root / "trial-5" / "precious")  # which somebody else puts there meanwhile
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fasthpo.storage.copying.shutil.copytree", fail)
    with pytest.raises(OSError, match="No space left"):
        study.keep_at(tmp_path / "s")
    assert {path.name for path in root.iterdir()} == {"notes.txt", "trial-5"}
