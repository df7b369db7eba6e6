"""Real processes that are killed, that fork, and that want the same study; a real disk that is full."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fasthpo
from tests.support import crashing
from tests.support.studies import content, load, make, run

POSIX = os.name == "posix"
# a server that has imported everything forks each process; where there is none, each is a fresh interpreter
CONTEXT = multiprocessing.get_context("forkserver" if POSIX else "spawn")
if POSIX:
    CONTEXT.set_forkserver_preload(["tests.support.crashing"])


def start(target: object, *arguments: object) -> tuple[multiprocessing.process.BaseProcess, object]:
    """A process that runs one of `crashing`, and the connection to it."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def test_thirty_kills_lose_nothing_and_change_nothing(tmp_path: Path) -> None:
    numbers = random.Random(0)
    directory = tmp_path / "study"
    told = 0
    for kill in range(30 if POSIX else 10):  # where each process starts from nothing
        durability = ["interval", "system", "tell"][kill % 3]
        process, ours = start(crashing.go_on_for_ever, directory, durability)
        found = ours.recv()
        assert told <= found <= told + 1  # at most the tell that was under way had not yet returned
        told = found
        for _ in range(numbers.randrange(25)):
            told = ours.recv()
        until = time.perf_counter() + numbers.uniform(0, 0.003)
        while time.perf_counter() < until:  # some moment or other of the next trials
            pass
        process.kill()
        process.join()
        while True:  # what it told before it was killed
            try:
                told = ours.recv()
            except EOFError:
                break
    study = fasthpo.Study.load(directory)
    assert told <= len(study.table.segments) <= told + 1 and told > (300 if POSIX else 50)
    run(study, study.ask())
    whole = make("random", "none", "halving")
    while len(whole.table.segments) < len(study.table.segments):
        run(whole, whole.ask())
    assert content(study) == content(whole)
    assert not [path for path in directory.iterdir() if path.suffix == ".tmp"]
    assert (directory / "checkpoint.msgpack").exists()


# --- one writer


def test_a_second_process_is_told_who_has_the_study(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())
    process, connection = start(crashing.open_for_writing, tmp_path)
    kind, message = connection.recv()
    process.join()
    assert kind == "StudyInUse"
    assert f"in process {os.getpid()} on " in message and "since 20" in message and "read_only=True" in message
    with pytest.raises(fasthpo.StudyInUse, match="this very process"):
        fasthpo.Study.load(tmp_path)
    for attempt in (lambda: make("random", storage=tmp_path), lambda: make("random").keep_at(tmp_path)):
        with pytest.raises((fasthpo.StudyExists, fasthpo.StudyInUse)):
            attempt()
    study.close()
    process, connection = start(crashing.open_for_writing, tmp_path)
    assert connection.recv() == 1
    process.join()
    fasthpo.Study.load(tmp_path).close()


def test_a_study_that_nobody_has_any_more_is_free(tmp_path: Path) -> None:
    study = make("random", storage=tmp_path)
    run(study, study.ask())
    with pytest.raises(fasthpo.StudyInUse):
        fasthpo.Study.load(tmp_path)
    del study
    assert len(fasthpo.Study.load(tmp_path)) == 1


@pytest.mark.skipif(not POSIX, reason="processes fork on POSIX only")
def test_a_killed_process_leaves_the_lock_even_if_its_children_live_on(tmp_path: Path) -> None:
    process, connection = start(crashing.hold_open, tmp_path / "study")
    child, message = connection.recv()
    try:
        assert "the process that this one was forked from" in message
        with pytest.raises(fasthpo.StudyInUse):
            fasthpo.Study.load(tmp_path / "study")
        process.kill()
        process.join()
        os.kill(child, 0)  # is alive
        study = fasthpo.Study.load(tmp_path / "study")
        assert [trial.number for trial in (study.ask(), study.ask())] == [1, 2]
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not POSIX, reason="processes fork on POSIX only")
def test_a_forked_process_that_ends_leaves_the_study_to_the_one_that_has_it(tmp_path: Path) -> None:
    process, connection = start(crashing.let_a_child_end, tmp_path)
    try:
        assert connection.recv() == 0  # the child's exit status
        with pytest.raises(fasthpo.StudyInUse):
            fasthpo.Study.load(tmp_path / "study")
        seen = connection.recv()
        assert content(load(tmp_path / "study")) == seen
        assert len(load(tmp_path / "child")) == 3
    finally:
        process.kill()
        process.join()


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("a file system of 1 MB can't be made here: there is no mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a file system of 1 MB can't be made here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="a tmpfs is Linux's")
def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    study = make("random", storage=small_disk / "study")
    for _ in range(50):
        run(study, study.ask())
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    told = 50
    while True:  # until what is left of the last page of the journal is full
        trial = study.ask()
        try:
            study.tell(trial, 0.5, metrics={f"m{trial.number}": 1.0})
        except fasthpo.StorageError as error:
            assert isinstance(error, OSError) and str(small_disk / "study" / "journal.msgpack") in str(error)
            assert "No space left" in str(error) and "study.save(path)" in str(error)
            break
        told += 1
    assert trial.state == fasthpo.TrialState.COMPLETE
    assert len(fasthpo.Study.load(small_disk / "study", read_only=True).table.tell_order) == told
    for _ in range(20):  # the study in memory is still of use
        trial = study.ask()
        trial.report(0.25, 0)
        with pytest.raises(fasthpo.StorageError):
            study.tell(trial, 0.25)
    with pytest.raises(fasthpo.StorageError):
        study.close()
    seen = content(study)
    assert content(fasthpo.Study.load(study.save(tmp_path / "elsewhere.msgpack"))) == seen
    assert len(fasthpo.Study.load(small_disk / "study", read_only=True).table.tell_order) == told
    ballast.unlink()  # space is there again: what is missing is written with the next call
    trial = study.ask()
    assert len(fasthpo.Study.load(small_disk / "study", read_only=True)) == len(study)
    study.tell(trial, 0.75)
    seen = content(study)
    assert content(fasthpo.Study.load(small_disk / "study", read_only=True)) == seen
    study.close()
    assert content(fasthpo.Study.load(small_disk / "study", read_only=True)) == seen


@pytest.mark.skipif(sys.platform != "linux", reason="a tmpfs is Linux's")
def test_a_study_moves_from_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    study = make("random", storage=small_disk / "study")
    with pytest.raises(fasthpo.StorageError):
        for _ in range(100_000):
            run(study, study.ask())
    study.keep_at(tmp_path / "roomy")
    run(study, study.ask())
    seen = content(study)
    study.close()
    assert content(fasthpo.Study.load(tmp_path / "roomy", read_only=True)) == seen
    left = fasthpo.Study.load(small_disk / "study")  # where it was, it is as it was, and free
    assert 100 < len(left.table.tell_order) < len(study.table.tell_order)
