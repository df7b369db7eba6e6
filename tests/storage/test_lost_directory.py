"""A study whose directory is removed, renamed or replaced while it is open: it is told, and overwrites nobody's files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo.storage import directory_store, journal
from fasthpo.storage.journal import Journal
from fasthpo.trials.frozen import Frozen
from fasthpo.trials.trial import Trial
from fasthpo.tuner.callbacks import HyperparameterCallback
from tests.support.studies import content, load, make, run
from tests.support.tuning import make as make_tuner
from tests.support.tuning import parabola

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there an open file can be neither removed nor renamed")


def files(directory: Path) -> dict[str, bytes]:
    """What all files in a directory hold."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def another(where: Path, close: bool = True) -> fasthpo.Study:
    """Another study in the place, with weights."""
    study = make("random", storage=where)
    for _ in range(7):
        trial = study.ask()
        (trial.checkpoint_dir / "weights").write_text("theirs")
        run(study, trial)
    if close:
        study.close()
    return study


def removed(where: Path) -> None:
    shutil.rmtree(where)


def renamed(where: Path) -> None:
    where.rename(where.with_name("elsewhere"))


def parent_renamed(where: Path) -> None:
    where.parent.rename(where.parent.with_name("parent-elsewhere"))


def journal_removed(where: Path) -> None:
    (where / "journal.msgpack").unlink()


def journal_renamed(where: Path) -> None:
    (where / "journal.msgpack").rename(where / "journal.old.msgpack")


def journal_cut(where: Path) -> None:
    os.truncate(where / "journal.msgpack", 100)


def made_anew(where: Path) -> None:
    shutil.rmtree(where)
    another(where)


def files_made_anew(where: Path) -> None:
    for path in where.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    another(where)


def made_anew_and_gone_on_with(where: Path) -> None:
    shutil.rmtree(where)
    another(where)
    with fasthpo.Study.load(where) as study:
        study.compact()
        run(study, study.ask())


def moved_there(where: Path) -> None:
    another(where.with_name("theirs"))
    shutil.rmtree(where)
    where.with_name("theirs").rename(where)


def backup_restored(where: Path) -> None:
    shutil.rmtree(where)
    shutil.copytree(where.with_name("backup"), where)


def backup_restored_over_it(where: Path) -> None:
    shutil.copytree(where.with_name("backup"), where, dirs_exist_ok=True)


def opened_without_its_lock(where: Path) -> None:
    (where / ".lock").unlink()
    with fasthpo.Study.load(where) as study:
        run(study, study.ask())


LOSSES: list[Callable[[Path], None]] = [
    removed, renamed, parent_renamed, journal_removed, journal_renamed, journal_cut, made_anew, files_made_anew,
    made_anew_and_gone_on_with, moved_there, backup_restored, backup_restored_over_it, opened_without_its_lock,
]  # fmt: skip


def begun(where: Path, **options: Any) -> fasthpo.Study:
    """A study with a checkpoint, a journal, weights and an earlier backup of itself."""
    study = make("random", "none", "asha", storage=where, **options)
    for i in range(5):
        trial = study.ask()
        (trial.checkpoint_dir / "weights").write_text("mine")
        run(study, trial)
        if i == 1:
            shutil.copytree(where, where.with_name("backup"))
        if i == 3:
            study.compact()
    return study


def by_tell(study: fasthpo.Study) -> None:
    study.tell(study.ask(), 0.5)


def by_ask_and_sync(study: fasthpo.Study) -> None:
    study.ask()
    study.sync()


def in_the_background(study: fasthpo.Study) -> None:
    mine = study._state.store
    assert mine is not None and mine._journal is not None
    mine._compact(Frozen(study._state.history), begin=mine._journal.size)


WAYS: list[Callable[[fasthpo.Study], object]] = [
    by_tell,
    by_ask_and_sync,
    fasthpo.Study.sync,
    fasthpo.Study.compact,
    fasthpo.Study.close,
    in_the_background,
    lambda study: study.keep_checkpoints("best"),
    lambda study: study.trials[0].checkpoint_dir,
    lambda study: study.set_attribute("a", 1),
    lambda study: study.add_trials({"x": [0.5], "n": [1], "c": [True]}, [1.0]),
]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_study_whose_directory_is_lost_is_told_and_overwrites_nothing(
    lose: Callable[[Path], None], tmp_path: Path
) -> None:
    for i, notice in enumerate(WAYS):
        top = tmp_path / str(i)
        where = top / "parent" / "study"
        study = begun(where, durability="system")
        lose(where)
        before = files(top)
        with pytest.raises(fasthpo.StorageError, match=r"can't be kept any more.*study\.save\(path\)"):
            notice(study)
        with pytest.raises(fasthpo.StorageError):
            by_tell(study)
        with pytest.raises(fasthpo.StorageError):
            study.close()
        assert files(top) == before, i
        seen = content(study)
        assert content(fasthpo.Study.load(study.save(top / "saved.msgpack"), read_only=True)) == seen
        study.keep_at(top / "new")
        run(study, study.ask())
        seen = content(study)
        study.close()
        assert content(load(top / "new")) == seen
        after = files(top)
        # but for what says who has it open
        kept = {name: data for name, data in before.items() if not name.endswith(".owner.json")}
        assert kept == {name: after[name] for name in kept}, i
        assert all("theirs" not in path.read_text() for path in (top / "new").rglob("weights"))


def test_a_study_that_is_dropped_or_whose_program_ends_leaves_the_directory_to_the_other(tmp_path: Path) -> None:
    study = begun(tmp_path / "study")
    made_anew(tmp_path / "study")
    other = fasthpo.Study.load(tmp_path / "study")
    before = files(tmp_path / "study")
    assert ".owner.json" in before
    with pytest.raises(fasthpo.StorageError):
        by_tell(study)
    del study
    assert files(tmp_path / "study") == before
    run(other, other.ask())
    other.close()
    assert len(load(tmp_path / "study")) == 8


def test_a_study_goes_on_when_its_directory_is_back(tmp_path: Path) -> None:
    study = begun(tmp_path / "study")
    renamed(tmp_path / "study")
    for _ in range(3):
        trial = study.ask()
        with pytest.raises(fasthpo.StorageError):
            study.tell(trial, 0.5)
        assert trial.state != fasthpo.TrialState.RUNNING
    (tmp_path / "elsewhere").rename(tmp_path / "study")
    study.ask()
    assert content(load(tmp_path / "study")) == content(study)
    study.close()


def test_a_study_can_be_kept_anew_where_its_directory_was(tmp_path: Path) -> None:
    where = tmp_path / "study"
    study = begun(where)
    removed(where)
    study.keep_at(where)
    run(study, study.ask())
    assert content(load(where)) == content(study)
    removed(where)
    other = another(where, close=False)
    for overwrite in (False, True):
        with pytest.raises(fasthpo.StudyInUse):
            study.keep_at(where, overwrite=overwrite)
    other.close()
    with pytest.raises(fasthpo.StudyExists):
        study.keep_at(where)
    for path in where.glob("*.msgpack"):
        path.unlink()
    with pytest.raises(fasthpo.StudyExists, match="weights of another study"):  # which are not taken for its own
        study.keep_at(where)
    study.keep_at(where, overwrite=True)
    assert not list(where.rglob("weights"))
    study.close()
    assert content(load(where)) == content(study)


def test_a_directory_that_is_lost_while_a_checkpoint_is_made_in_the_background_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At each of the steps between which the study goes on."""
    steps = [(directory_store, "write_snapshot"), (journal, "write_bytes"), (Journal, "copy_from"), (Journal, "sync")]
    for i, (place, name) in enumerate(steps):
        where = tmp_path / str(i) / "study"
        study = begun(where, durability="system")
        mine = study._state.store
        assert mine is not None
        original = getattr(place, name)
        before: list[dict[str, bytes]] = []

        def then_lost(*arguments: Any, original: Any = original, before: Any = before, where: Path = where) -> Any:
            result = original(*arguments)
            if not before:
                before.append({})
                made_anew_and_gone_on_with(where)
                before.append(files(where))
            return result

        mine._compact_at = 0
        with monkeypatch.context() as patch:
            patch.setattr(place, name, then_lost)
            trial = study.ask()  # starts it
            with mine._idle:
                mine.wait()
        assert "no checkpoint was made" in caplog.text, name
        caplog.clear()
        assert files(where) == before[1], name
        with pytest.raises(fasthpo.StorageError):
            study.tell(trial, 0.5)
        with pytest.raises(fasthpo.StorageError):
            study.close()
        assert files(where) == before[1], name


def test_a_checkpoint_of_another_study_is_not_overwritten(tmp_path: Path) -> None:
    study = begun(tmp_path / "study")
    another(tmp_path / "other")
    theirs = (tmp_path / "other" / "checkpoint.msgpack").read_bytes()
    (tmp_path / "study" / "checkpoint.msgpack").write_bytes(theirs)
    for save in (study.compact, study.compact):
        with pytest.raises(fasthpo.StorageError, match=r"checkpoint\.msgpack"):
            save()
    study.close()  # what it has is in the journal
    assert (tmp_path / "study" / "checkpoint.msgpack").read_bytes() == theirs


def test_file_numbers_that_change_are_no_loss(tmp_path: Path) -> None:
    """As on file systems that make them up."""
    study = begun(tmp_path / "study")
    mine = study._state.store
    assert mine is not None and mine._journal is not None
    mine._journal._inode += 1
    run(study, study.ask())
    study.compact()
    assert content(load(tmp_path / "study")) == content(study)


@pytest.mark.parametrize("lose", [made_anew, made_anew_and_gone_on_with, moved_there])
def test_a_reader_does_not_go_over_to_another_study(lose: Callable[[Path], None], tmp_path: Path) -> None:
    study = begun(tmp_path / "study")
    reader = load(tmp_path / "study")
    seen = content(reader)
    lose(tmp_path / "study")
    for _ in range(2):
        with pytest.raises(fasthpo.CorruptCheckpoint, match="holds another study by now"):
            reader.refresh()
        assert content(reader) == seen
    shutil.rmtree(tmp_path / "study")
    with pytest.raises(FileNotFoundError):
        reader.refresh()
    study.keep_at(tmp_path / "study")  # where the reader finds it again
    assert reader.refresh() and content(reader) == content(study)


# --- tuners


def test_a_tuner_whose_directory_is_replaced_while_it_runs_writes_nothing_there(tmp_path: Path) -> None:
    before: dict[str, bytes] = {}

    class Replace(HyperparameterCallback):
        def on_trial_complete(self, trial: Trial) -> None:
            if trial.number == 3:
                shutil.rmtree(tmp_path / "s")
                make_tuner(2, output_dir=tmp_path, save_checkpoints=True).optimize(parabola)
                before.update(files(tmp_path))

    tuner = make_tuner(9, output_dir=tmp_path, save_checkpoints=True).add_callback(Replace())
    with pytest.raises(fasthpo.StorageError, match="can't be kept any more"):
        tuner.optimize(parabola)
    assert len(before) >= 5 and files(tmp_path) == before
    assert len(tuner.study.table.tell_order) == 5


def test_a_tuner_keeps_on_in_its_directory_only_as_it_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it changes between the tuner's first look and its lock."""
    tuner = make_tuner(2, output_dir=tmp_path, save_checkpoints=True)
    tuner.optimize(parabola)
    again = make_tuner(9, output_dir=tmp_path, save_checkpoints=True).load_checkpoint(tmp_path / "s")

    def go_on_first(self: Any, *arguments: Any, original: Any = fasthpo.Study._keep_again) -> None:
        with fasthpo.Study.load(tmp_path / "s") as other:
            other.tell(other.ask(), 1.0)
        original(self, *arguments)

    monkeypatch.setattr(fasthpo.Study, "_keep_again", go_on_first)
    with pytest.raises(fasthpo.StudyExists, match="has changed since"):
        again.optimize(parabola)
    assert len(load(tmp_path / "s")) == 3


def test_a_tuner_that_may_overwrite_leaves_the_weights_of_a_study_that_is_open(tmp_path: Path) -> None:
    other = another(tmp_path / "s", close=False)
    with pytest.raises(fasthpo.StudyInUse):
        make_tuner(2, output_dir=tmp_path, save_checkpoints=True, overwrite=True).optimize(parabola)
    assert len(list((tmp_path / "s").rglob("weights"))) == 7
    other.close()
    make_tuner(2, output_dir=tmp_path, save_checkpoints=True, overwrite=True).optimize(parabola)
    assert len(load(tmp_path / "s")) == 2 and not list((tmp_path / "s").rglob("weights"))


# --- two processes, once the lock file was removed

_OTHER = """
import sys
from pathlib import Path
import fasthpo
study = fasthpo.Study.load(sys.argv[1], durability="system")
print("open", flush=True)
for line in sys.stdin:
    {"tell": lambda: study.tell(study.ask(), 0.25), "compact": study.compact, "close": study.close}[line.strip()]()
    print("done", flush=True)
"""


def _background(study: fasthpo.Study) -> None:
    mine = study._state.store
    assert mine is not None
    mine._compact_at = 0
    study.ask()
    with mine._idle:
        mine.wait()
    study.sync()


OLD: dict[str, Callable[[fasthpo.Study], object]] = {
    "tell": by_tell,
    "sync": fasthpo.Study.sync,
    "compact": fasthpo.Study.compact,
    "close": fasthpo.Study.close,
    "in the background": _background,
}


@pytest.mark.parametrize("first", OLD)
def test_a_second_writer_in_another_process_has_the_study_and_the_first_is_told(first: str, tmp_path: Path) -> None:
    """Also before the second one has written anything."""
    where = tmp_path / "study"
    study = begun(where, durability="system")
    (where / ".lock").unlink()
    by_tell(study)  # as nobody else is there yet
    arguments = [sys.executable, "-c", _OTHER, str(where)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None

        def do(what: str) -> None:
            assert other.stdin is not None and other.stdout is not None
            other.stdin.write(what + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"

        assert other.stdout.readline() == "open\n"
        before = files(where)
        with pytest.raises(fasthpo.StorageError, match="can't be kept any more"):
            OLD[first](study)
        assert files(where) == before
        do("tell")
        told = len(load(where).table.segments)
        for again in OLD.values():
            with pytest.raises(fasthpo.StorageError):
                again(study)
        do("compact")
        with pytest.raises(fasthpo.StorageError):
            study.compact()
        do("tell")
        study.keep_at(tmp_path / "elsewhere")
        seen = content(study)
        study.close()
        del study
        do("close")
    assert len(load(where).table.segments) == told + 1
    assert content(load(tmp_path / "elsewhere")) == seen


def test_a_lock_file_that_is_removed_while_nobody_else_writes_is_no_loss(tmp_path: Path) -> None:
    study = begun(tmp_path)
    (tmp_path / ".lock").unlink()
    by_tell(study)
    study.compact()
    seen = content(study)
    study.close()
    assert content(load(tmp_path)) == seen
