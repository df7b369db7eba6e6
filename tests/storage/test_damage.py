"""Files that were cut, flipped or made up: each load gives a prefix with a warning, or the documented error."""

from __future__ import annotations

import logging
import random
import shutil
from pathlib import Path

import pytest

import fasthpo
from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage import snapshot_writer as snapshot
from fasthpo.storage.framing import HEAD_SIZE, frame, read_frames
from tests.support.studies import STRATEGIES, content, make, run, step

STEPS = 14


def put(path: Path, data: bytes | bytearray) -> None:
    """Write a file anew; ext4 would write one that is truncated to the disk, which takes a while a thousand times."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def journal_of(directory: Path) -> Path:
    return directory / "journal.msgpack"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of every kind of record, as a crash leaves it; with trials that run and wait."""
    study = make("random", "median", "hyperband", storage=tmp_path_factory.mktemp("small") / "study")
    for i in range(STEPS):
        step(study, i)
    study.ask().report(0.5, 0)
    study.enqueue({"x": 0.25})
    study.sync()
    copy = tmp_path_factory.mktemp("small") / "copy"
    assert study.storage is not None
    shutil.copytree(study.storage, copy)
    return copy


def prefixes(directory: Path, scratch: Path) -> dict[int, str]:
    """The content of the study after each intact frame of its journal, by how many bytes that takes."""
    data = journal_of(directory).read_bytes()
    frames, broken = read_frames(data)
    assert broken is None
    ends = [position + HEAD_SIZE + len(payload) for position, payload in frames]
    found = {}
    for end in ends:
        put(journal_of(scratch), data[:end])
        found[end] = content(fasthpo.Study.load(scratch, read_only=True))
    return found


def test_every_cut_gives_a_prefix_and_a_warning(small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = prefixes(small, tmp_path)
    data = journal_of(small).read_bytes()
    ends = sorted(expected)
    for length in range(len(data)):
        put(journal_of(tmp_path), data[:length])
        if length < ends[0]:  # no study yet: it is created with its head complete
            with pytest.raises(CorruptCheckpoint, match="damaged at byte 0"):
                fasthpo.Study.load(tmp_path, read_only=True)
            continue
        whole = max(end for end in ends if end <= length)
        assert content(fasthpo.Study.load(tmp_path, read_only=True)) == expected[whole]
    # for writing: the rest is dropped, with a warning that says how much, and the study goes on behind it
    for length in random.Random(0).sample(range(ends[0], len(data)), 60):
        caplog.clear()
        put(journal_of(tmp_path), data[:length])
        (tmp_path / "checkpoint.msgpack").unlink(missing_ok=True)
        whole = max(end for end in ends if end <= length)
        study = fasthpo.Study.load(tmp_path, durability="system")
        dropped = [r for r in caplog.records if r.levelno == logging.WARNING and "are dropped" in r.getMessage()]
        assert [f"the last {length - whole} bytes" in r.getMessage() for r in dropped] == [True] * (length > whole)
        run(study, study.ask())
        seen = content(study)
        study.sync()
        del study
        assert content(fasthpo.Study.load(tmp_path, read_only=True)) == seen


def test_every_flipped_byte_of_a_journal_is_noticed(small: Path, tmp_path: Path) -> None:
    expected = prefixes(small, tmp_path)
    data = journal_of(small).read_bytes()
    ends = sorted(expected)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        put(journal_of(tmp_path), damaged)
        before = max((end for end in ends if end <= place), default=0)
        if place >= ends[-2]:  # in the last record, which may be one that was being written
            assert content(fasthpo.Study.load(tmp_path, read_only=True)) == expected[before]
            continue
        with pytest.raises(CorruptCheckpoint, match=rf"is damaged at byte {before} of {len(data)}"):
            fasthpo.Study.load(tmp_path, read_only=True)
        if before:
            recovered = fasthpo.Study.load(tmp_path, read_only=True, recover=True)
            assert content(recovered) == expected[before]


def test_recovery_restores_the_prefix_keeps_the_damaged_file_and_goes_on(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = prefixes(small, tmp_path)
    data = bytearray(journal_of(small).read_bytes())
    end = sorted(expected)[len(expected) // 2]
    data[end + 20] ^= 1
    put(journal_of(tmp_path), data)
    with pytest.raises(CorruptCheckpoint, match=r"All before it is intact, \d+ trials.*recover=True"):
        fasthpo.Study.load(tmp_path)
    assert journal_of(tmp_path).read_bytes() == data
    recovered = fasthpo.Study.load(tmp_path, recover=True)
    assert "What happened afterwards is lost" in caplog.text
    assert (tmp_path / "journal.damaged-1.msgpack").read_bytes() == data
    run(recovered, recovered.ask())
    seen = content(recovered)
    recovered.close()
    assert content(fasthpo.Study.load(tmp_path, read_only=True)) == seen
    # a record that is intact but makes no sense is where an intact study ends, too
    put(journal_of(tmp_path), journal_of(small).read_bytes()[:end])
    (tmp_path / "checkpoint.msgpack").unlink()
    with open(journal_of(tmp_path), "ab") as file:
        file.write(frame(b"\x93\x04\xcd\x03\xe8\x00"))  # a report of trial 1000
    with pytest.raises(CorruptCheckpoint, match=f"damaged at byte {end}"):
        fasthpo.Study.load(tmp_path)
    again = fasthpo.Study.load(tmp_path, recover=True, read_only=True)
    assert content(again) == expected[end]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    study = make("tpe", "median", "asha")
    for i in range(STEPS):
        step(study, i)
    study.ask()
    return study.save(tmp_path_factory.mktemp("saved")).read_bytes(), content(study)


def test_every_cut_and_flip_of_a_checkpoint_is_refused(checkpoint: tuple[bytes, str], tmp_path: Path) -> None:
    data, _ = checkpoint
    path = tmp_path / "damaged.msgpack"
    for place in range(len(data)):
        put(path, data[:place])
        with pytest.raises(CorruptCheckpoint):
            fasthpo.Study.load(path)
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        put(path, damaged)
        with pytest.raises(CorruptCheckpoint):
            fasthpo.Study.load(path)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_a_damaged_checkpoint_the_trials_before_the_damage_are_saved(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "GROUP", 8)
    study = make("tpe-finite", "median", strategy, storage=tmp_path / "study", durability="system")
    for i in range(45):
        step(study, i)
    study.enqueue({"x": 0.25})
    asked = [study.ask() for _ in range(2)]
    asked[0].report(0.5, 1000)
    study.compact()
    run(study, study.ask())
    study.sync()
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    path = tmp_path / "copy" / "checkpoint.msgpack"
    data = path.read_bytes()
    frames, _ = read_frames(data)
    assert content(fasthpo.Study.load(tmp_path / "copy", read_only=True)) == content(study)
    for group in range(1, len(frames)):
        damaged = bytearray(data)
        damaged[frames[group][0] + 40] ^= 1
        put(path, damaged)
        left = 8 * (group - 1)
        with pytest.raises(CorruptCheckpoint, match=f"; the first {left} of "):
            fasthpo.Study.load(tmp_path / "copy", read_only=True)
        part = fasthpo.Study.load(tmp_path / "copy", read_only=True, recover=True)
        assert len(part) == left
        for trial, whole in zip(part.trials, study.trials, strict=False):
            if whole.number not in [one.number for one in asked]:
                assert repr(trial) == repr(whole)
            assert trial.metrics == whole.metrics and trial.error == whole.error and trial.rungs == whole.rungs
            assert repr(trial.reports) == repr(whole.reports)
        order = [number for number in study.table.tell_order.tolist() if number < left]
        assert part.table.tell_order.tolist() == order
    recovered = fasthpo.Study.load(tmp_path / "copy", recover=True)
    assert {p.name for p in (tmp_path / "copy").glob("*damaged*")} == {
        "checkpoint.damaged-1.msgpack", "journal.damaged-1.msgpack",
    }  # fmt: skip
    for i in range(20):  # and the study goes on
        step(recovered, i)
    seen = content(recovered)
    recovered.close()
    assert content(fasthpo.Study.load(tmp_path / "copy", read_only=True)) == seen


def test_a_damaged_journal_head_leaves_the_checkpoint(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path / "study", durability="system")
    for _ in range(5):
        run(study, study.ask())
    study.compact()
    seen = content(study)
    run(study, study.ask())
    study.sync()
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    data = bytearray(journal_of(tmp_path / "copy").read_bytes())
    data[20] ^= 1
    put(journal_of(tmp_path / "copy"), data)
    with pytest.raises(CorruptCheckpoint, match=r"journal\.msgpack is damaged at byte 0"):
        fasthpo.Study.load(tmp_path / "copy")
    recovered = fasthpo.Study.load(tmp_path / "copy", recover=True)
    assert content(recovered) == seen
    assert (tmp_path / "copy" / "journal.damaged-1.msgpack").read_bytes() == data


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a checkpoint and a long journal, as a crash leaves it."""
    study = make("random", storage=tmp_path_factory.mktemp("large") / "study", durability="system")
    for i in range(900):
        run(study, study.ask())
        if i == 299:
            study.compact()
    copy = tmp_path_factory.mktemp("large") / "copy"
    study.sync()
    assert study.storage is not None
    shutil.copytree(study.storage, copy)
    assert (copy / "checkpoint.msgpack").exists() and journal_of(copy).stat().st_size > 90_000
    return copy


def test_a_thousand_damages_of_a_large_study(large: Path, tmp_path: Path) -> None:
    numbers = random.Random(1)
    whole = fasthpo.Study.load(large, read_only=True)
    files = [large / "checkpoint.msgpack", journal_of(large)]
    intact = {file.name: file.read_bytes() for file in files}
    outcomes = {"cut": 0, "error": 0}
    for i in range(1000):
        name = files[i % 2].name
        data = intact[name]
        place = numbers.randrange(len(data))
        for other, whole_file in intact.items():
            put(tmp_path / other, whole_file)
        if i % 4 < 2:
            damaged = bytearray(data)
            damaged[place] ^= 1 << numbers.randrange(8)
            put(tmp_path / name, damaged)
        else:
            put(tmp_path / name, data[:place])
        try:
            loaded = fasthpo.Study.load(tmp_path, read_only=True)
        except CorruptCheckpoint as error:
            outcomes["error"] += 1
            assert "damaged" in str(error) or "belongs here" in str(error)
            continue
        outcomes["cut"] += 1
        n = len(loaded)
        assert name == "journal.msgpack" and 300 <= n <= len(whole)
        assert loaded.table.params.tobytes() == whole.table.params[:, :n].tobytes()
        assert loaded.values[: n - 1].tobytes() == whole.values[: n - 1].tobytes()
    assert min(outcomes.values()) > 100
