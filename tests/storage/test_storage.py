"""Studies that are kept in a directory: opening, following, closing, and what can go wrong while writing."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest

import fasthpo
from fasthpo.storage import directory_store, journal
from fasthpo.storage.framing import frame
from fasthpo.storage.regular import open_regular
from fasthpo.trials.frozen import Frozen
from tests.support.studies import STRATEGIES, content, load, make, names, run, step, times

# --- opening and closing


def test_a_directory_that_holds_a_study_is_refused_and_the_way_out_is_named(tmp_path: Path) -> None:
    with make("random", storage=tmp_path / "new" / "study") as study:
        run(study, study.ask())
        assert study.storage == tmp_path / "new" / "study"
    with pytest.raises(fasthpo.StudyExists, match=r"holds a study already; go on with it by Study\.load\('.*study'\)"):
        make("random", storage=tmp_path / "new" / "study")
    assert issubclass(fasthpo.StudyExists, FileExistsError)
    with pytest.raises(FileNotFoundError, match="there is no study in"):
        fasthpo.Study.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no study at"):
        fasthpo.Study.load(tmp_path / "nothing")
    replaced = make("random")
    replaced.keep_at(tmp_path / "new" / "study", overwrite=True)
    assert len(load(tmp_path / "new" / "study")) == 0


def test_a_closed_study_can_be_read_and_saved_but_not_changed(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path / "study")
    run(study, study.ask())
    trial = study.ask()
    study.close()
    study.close()
    assert study.storage is None and len(study) == 2 and study.best_value is not None
    changes: list[Callable[[], object]] = [
        study.ask,
        lambda: study.ask_batch(1),
        lambda: study.enqueue({}),
        lambda: study.tell(trial, 1.0),
        lambda: trial.report(1.0, 0),
        lambda: study.tell_batch([1], [1.0]),
        lambda: study.add_trials({"x": [0.5], "n": [1], "c": [True]}, [1.0]),
        lambda: study.set_attribute("a", 1),
        lambda: study.keep_at(tmp_path / "other"),
    ]
    for change in changes:
        with pytest.raises(fasthpo.StudyClosed, match="the study was closed"):
            change()
    assert content(fasthpo.Study.load(study.save(tmp_path / "copy.msgpack"), interrupted="fail")) != ""
    reader = load(tmp_path / "study")
    for change in (reader.ask, lambda: reader.tell(1, 1.0), lambda: reader.set_attribute("a", 1)):
        with pytest.raises(fasthpo.StudyReadOnly, match="opened with read_only=True"):
            change()
    assert issubclass(fasthpo.StudyReadOnly, PermissionError) and issubclass(fasthpo.StudyClosed, ValueError)
    with make("random") as in_memory:
        run(in_memory, in_memory.ask())
    with pytest.raises(fasthpo.StudyClosed):
        in_memory.ask()


def test_a_saved_study_is_a_copy_and_its_directory_can_be_gone_on_in(tmp_path: Path) -> None:
    study = make("tpe", "median")
    for i in range(12):
        step(study, i)
    path = study.save(tmp_path)
    assert path == tmp_path / "checkpoint.msgpack"
    seen = content(study), times(study)
    copy = fasthpo.Study.load(path)
    assert copy.storage is None and (content(copy), times(copy)) == seen
    study.save(tmp_path)  # as often as one likes
    kept = fasthpo.Study.load(tmp_path)
    assert kept.storage == tmp_path and (content(kept), times(kept)) == seen
    run(kept, kept.ask())
    with pytest.raises(fasthpo.StudyExists, match="is where a study is kept"):
        study.save(tmp_path)
    # a file in the directory of a study that is kept stands for all of it
    assert content(fasthpo.Study.load(path)) == content(kept)
    assert content(fasthpo.Study.load(tmp_path / "journal.msgpack")) == content(kept)


def test_the_files_are_of_constant_names(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path)
    assert names(tmp_path) == [".owner.json", "journal.msgpack"]
    for _ in range(3):
        run(study, study.ask())
        study.compact()
    assert {p.name for p in tmp_path.iterdir()} == {
        ".lock", ".owner.json", "journal.msgpack", "checkpoint.msgpack",
    }  # fmt: skip
    study.close()
    assert names(tmp_path) == ["checkpoint.msgpack", "journal.msgpack"]
    for file in ("journal.msgpack", "checkpoint.msgpack"):  # which other programs can read
        with open(tmp_path / file, "rb") as opened:
            objects = list(msgpack.Unpacker(opened))
        assert objects and all(isinstance(one, msgpack.ExtType) and one.code == 70 for one in objects)


def test_a_study_stays_where_it_was_opened_and_goes_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    study = make("random", storage="here")
    monkeypatch.chdir(tmp_path / "elsewhere")
    study.ask().report(0.5, 0)
    study.compact()
    study.ask().report(0.25, 0)  # which has not been handed over when the study moves
    seen = content(study)
    study.keep_at("there")
    run(study, study.ask())
    assert content(load(tmp_path / "here")) == seen
    assert content(load(tmp_path / "elsewhere" / "there")) == content(study)
    fasthpo.Study.load(tmp_path / "here").close()  # it is free


def test_attributes_are_kept(tmp_path: Path) -> None:
    with make("random", storage=tmp_path) as study:
        study.set_attribute("data", {"version": 3, "parts": ["a", None, 0.5]})
        study.set_attribute("other", float("inf"))
        assert load(tmp_path).attributes["data"]["version"] == 3
    with fasthpo.Study.load(tmp_path) as study:
        assert study.attributes == {"data": {"version": 3, "parts": ["a", None, 0.5]}, "other": float("inf")}
        study.attributes["data"] = 1  # of a copy
        assert study.attributes["data"] != 1
        for bad in ({1, 2}, np.float64(1.0).reshape(1), {1: 2}, (1, 2)):
            with pytest.raises(fasthpo.InvalidValue, match="an attribute must be made of plain JSON values"):
                study.set_attribute("bad", bad)
        with pytest.raises(fasthpo.InvalidValue, match="name must be a string"):
            study.set_attribute(1, 1)  # type: ignore[arg-type]


# --- following a live study


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_readers_follow_a_live_study(strategy: str, tmp_path: Path) -> None:
    study = make("random", "median", strategy, storage=tmp_path)
    reader = load(tmp_path)
    assert content(reader) == content(study) and not reader.refresh()
    for i in range(24):
        step(study, i)
        if i in (7, 15):
            study.compact()
        study.sync()
        assert reader.refresh()
        assert (content(reader), times(reader)) == (content(study), times(study))
        assert not reader.refresh()
    running = study.ask()
    reader.refresh()
    handle = reader.trials[running.number]
    running.report(0.5, 1000)
    study.sync()
    reader.refresh()
    assert handle.state == fasthpo.TrialState.RUNNING and handle.reports[1000] == 0.5
    study.close()
    assert reader.refresh() and content(reader) == content(study)
    with fasthpo.Study.load(tmp_path, interrupted="fail") as again:
        step(again, 0)
    reader.refresh()
    assert content(reader) == content(again)
    with pytest.raises(fasthpo.InvalidValue, match="refresh is for a study that was loaded"):
        again.refresh()


def test_a_record_that_is_being_written_is_read_next_time(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path / "study")
    run(study, study.ask())
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    reader = load(tmp_path / "copy")
    run(study, study.ask())
    data = (tmp_path / "study" / "journal.msgpack").read_bytes()
    have = (tmp_path / "copy" / "journal.msgpack").stat().st_size
    with open(tmp_path / "copy" / "journal.msgpack", "ab", buffering=0) as file:
        for byte in data[have:]:
            file.write(bytes([byte]))
            reader.refresh()
    assert content(reader) == content(study)


# --- checkpoints


def test_checkpoints_are_made_in_the_background_while_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_store, "_LEAST", 4000)
    made = []
    original = directory_store.DirectoryStore._compact

    def compact(self: directory_store.DirectoryStore, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        made.append(threading.current_thread() is threading.main_thread())

    monkeypatch.setattr(directory_store.DirectoryStore, "_compact", compact)
    study = make("random", "median", "asha", storage=tmp_path / "study", durability="system")
    mine = study._state.store
    assert mine is not None
    for _ in range(4):
        threads = [threading.Thread(target=lambda: [run(study, study.ask()) for _ in range(60)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with mine._idle:
            mine.wait()
    study.sync()
    seen = content(study), times(study)
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    copy = load(tmp_path / "copy")
    assert (content(copy), times(copy)) == seen
    assert made.count(False) >= 4
    study.close()
    copy = load(tmp_path / "study")
    assert (content(copy), times(copy)) == seen


def test_a_frozen_history_stays_as_it_was_while_the_study_goes_on(tmp_path: Path) -> None:
    study = make("random", "none", "asha")
    for i in range(30):
        step(study, i)
    open_trials = [study.ask() for _ in range(4)]
    study.enqueue({"x": 0.5})
    before = load(study.save(tmp_path / "before.msgpack"))
    frozen = Frozen(study._state.history)
    for trial in open_trials:
        trial.report(0.125, 8)
        study.tell(trial, 0.75, metrics={"n": 7.0, "new": 1.0})
    for i in range(40):
        step(study, i)
    then = frozen.columns()
    t = before.table
    assert then.params.tobytes() == t.params.tobytes()
    for name, column in then.trials.items():
        assert column.tobytes() == getattr(t, name).tobytes()
    assert then.metrics.names == t.metrics.names
    for seen, stored in zip(then.metrics[1:], t.metrics.measured(len(t))[1:], strict=True):
        assert seen.tobytes() == stored.tobytes()
    assert then.tell_order.tolist() == t.tell_order.tolist() and then.errors == t.errors
    assert [len(c) for c in then.reports.values()] == [len(t.reports)] * 3
    assert then.segments["value"].tobytes() == t.segments.column("value").tobytes()
    assert (frozen.waiting, frozen.next_draw) == (list(before._state.history.waiting), before._state.history.next_draw)


@pytest.fixture
def moments(tmp_path: Path) -> Iterator[Callable[[Path], list[Path]]]:
    """Copies of a directory before each time that a file in it is opened, renamed or removed: what a crash leaves."""
    watched: list[Path] = []
    copies: list[Path] = []
    busy = threading.local()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watched or event not in ("open", "os.rename", "os.remove", "os.truncate") or getattr(busy, "on", False):
            return
        if not any(isinstance(one, (str, os.PathLike)) and str(watched[0]) in str(one) for one in arguments):
            return
        busy.on = True
        try:
            copies.append(tmp_path / f"moment-{len(copies)}")
            shutil.copytree(watched[0], copies[-1])
        finally:
            busy.on = False

    sys.addaudithook(hook)  # which can't be taken back, so it is switched off

    def watch(directory: Path) -> list[Path]:
        watched.append(directory)
        return copies

    yield watch
    watched.clear()


def test_a_crash_between_any_two_steps_of_a_checkpoint_leaves_all_of_the_study(
    tmp_path: Path, moments: Callable[[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make("random", "none", "hyperband", storage=tmp_path / "study", durability="system")
    for i in range(10):
        step(study, i)
    study.compact()
    for i in range(10):
        step(study, i)
    least = [content(study)]
    original = journal.Journal.sync

    def sync(self: journal.Journal) -> None:  # called while both journals get all records
        original(self)
        run(study, study.ask())
        least.append(content(study))

    monkeypatch.setattr(journal.Journal, "sync", sync)
    mine = study._state.store
    assert mine is not None and mine._journal is not None
    copies = moments(tmp_path / "study")
    frozen, begin = Frozen(study._state.history), mine._journal.size
    run(study, study.ask())  # while the checkpoint is being written
    least[0] = content(study)
    mine._compact(frozen, begin=begin)
    assert len(least) == 2 and len(copies) >= 8
    counts = [sum(content(load(copy)) == state for copy in copies) for state in least]
    assert sum(counts) == len(copies) and min(counts) > 1
    for copy in copies:
        again = fasthpo.Study.load(copy)
        run(again, again.ask())
        seen = content(again)
        again.close()
        assert content(load(copy)) == seen
        assert [name for name in names(copy) if name != ".owner.json"] == ["checkpoint.msgpack", "journal.msgpack"]


def test_a_journal_that_keeps_its_temporary_name_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a file that someone reads can't be renamed."""
    study = make("random", storage=tmp_path)
    run(study, study.ask())

    def fail(self: journal.Journal, path: Path) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(journal.Journal, "move", fail)
    for expected in (["journal.msgpack", "journal.next.msgpack"], ["journal.msgpack"]):
        study.compact()
        run(study, study.ask())
        assert sorted(p.name for p in tmp_path.glob("journal*")) == expected
        assert content(load(tmp_path)) == content(study)


def test_a_journal_is_renamed_on_windows_by_closing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())
    windows = SimpleNamespace(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
    windows.name = "nt"
    monkeypatch.setattr(journal, "os", windows)
    study.compact()
    run(study, study.ask())
    assert sorted(p.name for p in tmp_path.glob("journal*")) == ["journal.msgpack"]
    assert content(load(tmp_path)) == content(study)


def test_a_journal_that_can_not_be_opened_again_on_windows_is_opened_with_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())
    windows = SimpleNamespace(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
    windows.name = "nt"
    failures = 0

    def replace(source: Path, target: Path) -> None:
        nonlocal failures
        failures = 2
        os.replace(source, target)

    def opened(path: Path, flags: int) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise PermissionError(13, "a virus scanner has it open")
        return open_regular(path, flags)

    windows.replace = replace
    monkeypatch.setattr(journal, "os", windows)
    monkeypatch.setattr(journal, "open_regular", opened)
    study.compact()
    trial = study.ask()
    study.tell(trial, 0.5)
    assert not failures
    assert content(load(tmp_path)) == content(study)
    study.close()


def test_what_a_crash_left_half_written_goes(tmp_path: Path) -> None:
    make("random", storage=tmp_path).close()
    leftover = tmp_path / ".checkpoint.msgpack.123-0a1b2c3d.tmp"
    leftover.write_bytes(b"half")
    other = tmp_path / "notes.tmp"
    other.write_text("mine")
    fasthpo.Study.load(tmp_path)
    assert not leftover.exists() and other.exists()


# --- files that do not belong together


def test_files_of_different_studies_or_times_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        study = make("random", storage=tmp_path / name)
        for _ in range(3):
            run(study, study.ask())
            study.compact()
        run(study, study.ask())
        study.sync()
    one, two = tmp_path / "one", tmp_path / "two"
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(one / "checkpoint.msgpack", mixed)
    with pytest.raises(fasthpo.CorruptCheckpoint, match=r"a journal.msgpack of generation 4 belongs here"):
        load(mixed)
    shutil.copy(two / "journal.msgpack", mixed)
    with pytest.raises(fasthpo.CorruptCheckpoint, match="are of different studies"):
        load(mixed)
    (mixed / "checkpoint.msgpack").unlink()
    with pytest.raises(
        fasthpo.CorruptCheckpoint, match=r"generation 1 belongs here.*journal\.msgpack has generation 4"
    ):
        load(mixed)
    with pytest.raises(fasthpo.CorruptCheckpoint, match=r"the checkpoint.msgpack of generation 4 is missing"):
        shutil.copy(two / "journal.msgpack", tmp_path / "alone.msgpack")
        load(tmp_path / "alone.msgpack")


@pytest.mark.parametrize("file", ["checkpoint.msgpack", "journal.msgpack"])
def test_a_newer_version_is_refused_with_a_way_out(file: str, tmp_path: Path) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())
    if file == "checkpoint.msgpack":
        study.compact()
    study.sync()
    data = (tmp_path / file).read_bytes()
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(data)
    first = unpacker.unpack()
    end = unpacker.tell()
    inner = msgpack.Unpacker()
    inner.feed(first.data[4:])
    head = inner.unpack()
    assert head[1] == (2 if file == "checkpoint.msgpack" else 1)
    head[1] = 99
    newer = frame(msgpack.packb(head) + first.data[4 + inner.tell() :]) + data[end:]
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("checkpoint.msgpack", "journal.msgpack"):
        if (tmp_path / name).exists():
            shutil.copy(tmp_path / name, copy)
    (copy / file).write_bytes(newer)
    for recover in (False, True):
        with pytest.raises(fasthpo.CorruptCheckpoint, match=rf"{file}: the \w+'s version is 99.*newer one"):
            load(copy, recover=recover)
    with pytest.raises(fasthpo.CorruptCheckpoint):
        fasthpo.Study.load(copy)
    assert (copy / file).read_bytes() == newer
