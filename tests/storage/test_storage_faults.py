"""What can go wrong while a study is written: full and failing disks, Ctrl-C, and power cuts."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo.storage import atomic, directory_store, journal
from fasthpo.storage import directory as folder
from fasthpo.storage import durability as syncing
from fasthpo.trials.frozen import Frozen
from tests.support.interrupting import with_trace
from tests.support.studies import SPACE, content, load, make, names, run, step


class FullDisk:
    """Stands in for `os`: takes so many more bytes, and then no more, half a write included."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        written = os.write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 9, 10, 11, 60, 200, 333])
def test_half_a_record_is_not_left_behind(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make("random", "median", "asha", storage=tmp_path)
    for i in range(5):
        step(study, i)
    disk = FullDisk(room)
    monkeypatch.setattr(journal, "os", disk)
    told = len(study.table.segments)
    with pytest.raises(fasthpo.StorageError, match="No space left"):
        for _ in range(20):
            run(study, study.ask())
            told = len(study.table.segments)
    data = (tmp_path / "journal.msgpack").read_bytes()
    kept = load(tmp_path)
    assert len(kept.table.segments) == told
    disk.room = 7  # which is not enough
    with pytest.raises(fasthpo.StorageError):
        study.set_attribute("a", 1)
    assert (tmp_path / "journal.msgpack").read_bytes() == data
    disk.room = 10**9
    study.ask()
    assert content(load(tmp_path)) == content(study)


def test_a_break_in_the_middle_of_writing_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())

    class Interrupting(FullDisk):
        def write(self, descriptor: int, data: bytes) -> int:
            os.write(descriptor, data[: self.room])
            monkeypatch.setattr(journal, "os", os)
            raise KeyboardInterrupt

    for room in (0, 5, 10**6):
        trial = study.ask()
        monkeypatch.setattr(journal, "os", Interrupting(room))
        with pytest.raises(KeyboardInterrupt):
            study.tell(trial, 0.5)
        run(study, study.ask())
        assert content(load(tmp_path)) == content(study)


def test_a_call_that_is_broken_off_before_it_was_recorded_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make("random", "none", "asha", storage=tmp_path)
    run(study, study.ask())
    trial = study.ask()
    for name, call in [
        ("asked", study.ask),
        ("told", lambda: study.tell(trial, 0.5)),
        ("enqueued", lambda: study.enqueue({"x": 0.5})),
        ("reported", lambda: study.ask().report(0.5, 0)),
    ]:
        with monkeypatch.context() as patch:

            def interrupt(*_: Any) -> None:
                raise KeyboardInterrupt

            patch.setattr(study._state.history.recorder, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                call()
        run(study, study.ask())
        assert content(load(tmp_path)) == content(study), name


def test_ctrl_c_at_any_line_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    files = (
        "study.py",
        "state.py",
        "followers.py",
        "scheduler.py",
        "directory_store.py",
        "journal.py",
        "records.py",
        "framing.py",
    )
    left = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(files) or "fasthpo" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    def one_trial() -> None:
        trial = study.ask()
        trial.report(0.5, 0)
        study.tell(trial, 0.5)

    study = make("random", storage=tmp_path, durability="system")
    lines = 0
    while left <= 0:  # until a whole trial has fewer lines than that
        lines += 1
        left = lines
        told = len(study.table.tell_order)
        with contextlib.suppress(KeyboardInterrupt):
            with_trace(trace, one_trial)
        if lines % 5 == 0:  # what the next call makes of it, whatever it is
            study.enqueue({"x": 0.5})
        run(study, study.ask())
        if lines % 3 == 0:
            kept = load(tmp_path)
            assert content(kept) == content(study), lines
            assert len(kept.table.tell_order) > told
    assert 100 < lines < 1000
    assert content(load(tmp_path)) == content(study)


def test_an_error_in_a_sampler_of_the_users_own_does_not_lose_what_was_told(tmp_path: Path) -> None:
    class Failing(fasthpo.RandomSampler):
        def observe(self, table: Any, number: int) -> None:
            raise ValueError("mine")

    study = fasthpo.Study(SPACE, sampler=Failing(seed=1), storage=tmp_path)
    with pytest.raises(ValueError, match="mine"):
        study.tell(study.ask(), 0.5)
    study.ask()
    assert load(tmp_path, sampler=fasthpo.RandomSampler(seed=1)).best_value == 0.5


def test_a_disk_that_fails_to_sync_is_told_and_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make("random", storage=tmp_path, durability="tell")
    run(study, study.ask())

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "sync_file", fail)
        patch.setattr(atomic, "sync_file", fail)
        with pytest.raises(fasthpo.StorageError, match="Input/output error"):
            study.tell(study.ask(), 0.5)
        with pytest.raises(fasthpo.StorageError, match="Input/output error"):
            study.tell(study.ask(), 0.25)
    before = study._state.store.head.generation  # type: ignore[union-attr]
    study.ask()
    assert study._state.store.head.generation == before + 1  # type: ignore[union-attr]
    assert content(load(tmp_path)) == content(study)


def test_a_checkpoint_that_cannot_be_written_leaves_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    study = make("random", storage=tmp_path)
    run(study, study.ask())
    monkeypatch.setattr(directory_store, "write_snapshot", fail)
    with pytest.raises(fasthpo.StorageError, match=r"No space left.*study\.save.*checkpoint\.msgpack"):
        study.compact()
    monkeypatch.setattr(directory_store, "_LEAST", 10)
    study._state.store._compact_at = 10  # type: ignore[union-attr]
    run(study, study.ask())
    with study._state.store._idle:  # type: ignore[union-attr]
        study._state.store.wait()  # type: ignore[union-attr]
    assert "is tried again later" in caplog.text
    run(study, study.ask())
    seen = content(study)
    study.close()  # with a warning only
    assert "No space left" in caplog.records[-1].getMessage()
    assert names(tmp_path) == ["journal.msgpack"]
    assert content(load(tmp_path)) == seen


# --- checkpoints that take over, and durability


@pytest.mark.parametrize("which", ["old", "new", "both"])
def test_a_disk_that_fills_up_while_a_checkpoint_takes_over_loses_nothing(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make("random", "none", "asha", storage=tmp_path, durability="system")
    for i in range(10):
        step(study, i)
    mine = study._state.store
    assert mine is not None and mine._journal is not None
    old = mine._journal._descriptor
    original = journal.Journal.sync

    class Filling(FullDisk):
        def write(self, descriptor: int, data: bytes) -> int:
            if which == "both" or (which == "old") == (descriptor == old):
                raise OSError(28, "No space left on device")
            return os.write(descriptor, data)

    def sync(self: journal.Journal) -> None:  # called while both journals get all records
        original(self)
        monkeypatch.setattr(journal, "os", Filling(0))
        try:
            run(study, study.ask())
        except fasthpo.StorageError:
            assert which != "new"
        else:
            assert which == "new"

    monkeypatch.setattr(journal.Journal, "sync", sync)
    frozen, begin = Frozen(study._state.history), mine._journal.size
    run(study, study.ask())
    try:
        mine._compact(frozen, begin=begin)
    except fasthpo.StorageError:
        assert which == "new"  # the old journal goes on
    else:
        assert which != "new"
    monkeypatch.setattr(journal, "os", os)
    monkeypatch.setattr(journal.Journal, "sync", original)
    for i in range(5):
        step(study, i)
    assert content(load(tmp_path)) == content(study)


@pytest.mark.parametrize("durability", ["tell", "interval", "system", 0.001])
def test_when_a_journal_is_synced(durability: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, later = [], threading.Event()
    monkeypatch.setattr(journal, "sync_file", at_once.append)
    monkeypatch.setattr(syncing, "sync_file", lambda descriptor: later.set())
    study = make("random", storage=tmp_path, durability=durability)
    at_once.clear()
    for _ in range(3):
        run(study, study.ask())
        assert content(load(tmp_path)) == content(study)  # handed to the system in any case
    assert len(at_once) == (3 if durability == "tell" else 0)
    if durability in ("interval", 0.001):
        assert later.wait(60)
    else:
        assert not later.is_set()


@pytest.mark.parametrize("durability", ["tell", "interval"])
def test_what_is_told_while_a_checkpoint_takes_over_is_synced_in_both_journals(
    durability: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make("random", storage=tmp_path, durability=durability)
    mine = study._state.store
    assert mine is not None and mine._journal is not None
    synced: list[int] = []
    later = threading.Event()
    monkeypatch.setattr(journal, "sync_file", synced.append)
    original = journal.Journal.sync
    during: list[int] = []

    def sync(self: journal.Journal) -> None:
        original(self)
        if not during:  # called when both journals get all records, and again for each of them if a tell is synced
            during.append(self._descriptor)
            synced.clear()
            monkeypatch.setattr(syncing, "sync_file", lambda d: later.set() if d == during[0] else None)
            run(study, study.ask())
            during.extend(synced)

    monkeypatch.setattr(journal.Journal, "sync", sync)
    frozen, begin = Frozen(study._state.history), mine._journal.size
    old = mine._journal._descriptor
    mine._compact(frozen, begin=begin)
    if durability == "tell":
        assert set(during[1:]) == {old, during[0]}
    else:
        assert during[1:] == [] and later.wait(60)


@pytest.mark.parametrize("durability", ["always", 0, -1.0, float("nan"), None, True])
def test_durability_is_checked_at_the_door(durability: Any, tmp_path: Path) -> None:
    with pytest.raises(fasthpo.InvalidValue, match="durability must be 'tell', 'interval', 'system' or a positive"):
        make("random", storage=tmp_path, durability=durability)
    assert not folder.holds_study(tmp_path)
