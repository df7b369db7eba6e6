"""Each system call that a kept study makes fails, at each place in turn, and nothing is lost.

Which call it is depends on what is done with the study, hardly on its sampler and strategy: so these take turns, and
each of them has some of the places. Of all places every third is tried, others with each durability.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import fasthpo
from fasthpo.storage import directory_store
from fasthpo.storage.directory import holds_study
from tests.support.failing import ERRORS, FailingDisk
from tests.support.studies import SAMPLERS, STRATEGIES, content, load, make, names, run

_T = TypeVar("_T")
KINDS = [(sampler, "in-full") for sampler in SAMPLERS] + [("random", strategy) for strategy in STRATEGIES]


class Life:
    """All that is done with a study from its beginning to its end; what fails is done again.

    Args:
        top: where its directories go.
        disk: what may fail.
        kind: its sampler and strategy.
        durability: see `Study`.
    """

    def __init__(self, top: Path, disk: FailingDisk, kind: tuple[str, str], durability: str) -> None:
        self._top = top
        self._disk = disk
        self._kind = kind
        self._durability = durability
        self._study: fasthpo.Study | None = None
        self._failures = self._checked = 0
        self.begun_at = 0  # calls until the study was there

    def again(self, call: Callable[[], _T], failed: Callable[[], None] = lambda: None) -> _T:
        """The result of a call, which may fail as often as the disk does."""
        while True:
            try:
                result = call()
                break
            except OSError:
                self._note()
                failed()
        self._check()
        return result

    def _note(self) -> None:
        self._failures += 1
        assert self._failures <= len(self._disk.failed), "an error without a cause"

    def _check(self) -> None:
        """After a failure the next call has everything on the disk again."""
        study = self._study
        if len(self._disk.failed) == self._checked or study is None or study.storage is None:
            return
        while True:
            try:
                study.sync()
                break
            except fasthpo.StorageError:
                self._note()
        self._checked = len(self._disk.failed)
        self.compare(study.storage, content(study))

    def compare(self, path: Path, expected: str) -> None:
        """What lies at a path is what the study has seen."""
        if self._disk.failed or self._top.name == "clean":
            with self._disk.at_rest():
                assert content(load(path)) == expected

    def tell(self, study: fasthpo.Study, trial: fasthpo.Trial) -> None:
        """A trial's end, which must be known to the study even if that can't be written."""
        try:
            run(study, trial)
        except fasthpo.StorageError:
            self._note()
        assert trial.state not in (fasthpo.TrialState.RUNNING, fasthpo.TrialState.WAITING)
        self._check()

    def live(self) -> None:
        top, again = self._top, self.again
        first, second = top / "first", top / "second"

        def nothing_left() -> None:
            with self._disk.at_rest():
                assert not holds_study(first) and not list(first.glob(".*.tmp"))

        sampler, strategy = self._kind
        study = again(
            lambda: make(sampler, "median", strategy, storage=first, durability=self._durability), nothing_left
        )
        self._study = study
        self.begun_at = len(self._disk.calls)
        for _ in range(2):
            self.tell(study, again(study.ask))
        again(study.compact)
        again(lambda: study.enqueue({"n": 2}))
        self.tell(study, again(study.ask))
        self._checkpoint_in_the_background(study)
        running = again(study.ask)
        again(lambda: (running.checkpoint_dir / "weights").write_text("w"))
        again(lambda: study.keep_checkpoints("best"))
        running.report(0.5, 100)
        again(study.sync)
        again(lambda: study.set_attribute("a", 1))
        copy = again(lambda: study.save(top / "copy.msgpack"))
        self.compare(copy, content(study))
        left = content(study)
        again(lambda: study.keep_at(second, durability=self._durability))
        self.compare(first, left)
        assert again(lambda: (running.checkpoint_dir / "weights").read_text()) == "w"
        self.tell(study, again(study.ask))
        seen = content(study)
        again(study.close)
        self._study = None
        assert content(again(lambda: load(second))) == seen  # reading may fail, too
        study = again(lambda: fasthpo.Study.load(second, durability=self._durability))
        self._study = study
        self.tell(study, again(study.ask))
        seen = content(study)
        again(study.close)
        self.compare(second, seen)
        with self._disk.at_rest():
            for directory in (first, second):
                if self._disk.failed:  # what could not be removed goes when the study is next opened
                    fasthpo.Study.load(directory).close()
                left_over = set(names(directory)) - {"checkpoint.msgpack", "journal.msgpack", "checkpoints"}
                assert not left_over

    def _checkpoint_in_the_background(self, study: fasthpo.Study) -> None:
        mine = study._state.store
        assert mine is not None
        mine._compact_at = 0
        trial = self.again(study.ask)  # starts it
        with mine._idle:
            mine.wait()
        self._check()
        self.tell(study, trial)


def go_through(
    top: Path, patch: pytest.MonkeyPatch, durability: str, wanted: Callable[[int, str], bool], **failure: Any
) -> set[str]:
    """Live once for each wanted call of a clean life; the names of all calls that failed."""
    patch.setattr(directory_store, "_LOCK_TRUSTED", -1.0)  # which calls are made does not depend on the time
    disk = FailingDisk(patch, top)
    clean = Life(top / "clean", disk, KINDS[0], durability)
    clean.live()
    found: set[str] = set()
    places = [at for at, name in enumerate(disk.calls) if wanted(at - clean.begun_at, name)]
    for turn, at in enumerate(places):
        disk.fail(at, ERRORS[turn % len(ERRORS)], **failure)
        try:
            Life(top / str(at), disk, KINDS[turn % len(KINDS)], durability).live()
        except BaseException as error:
            error.add_note(f"call {at}: {disk.failed}, {ERRORS[turn % len(ERRORS)]}, {KINDS[turn % len(KINDS)]}")
            raise
        found.update(disk.failed)
    return found


@pytest.mark.parametrize("durability", ["tell", "system"])
def test_a_call_that_fails_loses_nothing(durability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = int(durability == "tell")
    counts: Counter[str] = Counter()

    def is_wanted(at: int, name: str) -> bool:  # the first call of each name, and every fifth
        counts[name] += 1
        return counts[name] == 1 or counts[name] % 5 == first

    found = go_through(tmp_path, monkeypatch, durability, is_wanted)
    assert found >= {"open", "write", "fsync", "close", "replace", "mkdir", "lseek", "fstat", "stat", "unlink", "read"}


@pytest.mark.parametrize(("times", "names"), [(2, ("write", "replace")), (4, ("write",))])
def test_a_write_that_fails_and_what_mends_it_lose_nothing(
    times: int, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = go_through(tmp_path, monkeypatch, "system", lambda at, name: at > 0 and name in names, times=times)
    assert found >= {"lseek", "unlink"}


@pytest.mark.parametrize("mending", [(), ("lseek",), ("fstat",), ("ftruncate",), ("ftruncate", "stat"), ("lseek",) * 2])
def test_half_a_record_that_can_not_be_cut_off_at_once_is_cut_off_later(
    mending: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk(monkeypatch, tmp_path)
    study = make("random", storage=tmp_path / "study", durability="system")
    run(study, study.ask())
    for _ in range(3):
        trial = study.ask()
        before = content(study)
        disk.fail_in_turn("write", *mending)
        with pytest.raises(fasthpo.StorageError, match="Input/output error"):
            study.tell(trial, 0.5)
        with disk.at_rest():
            assert content(load(tmp_path / "study")) == before
        study.ask()
        study.sync()
        assert disk.failed == ["write", *mending]
        with disk.at_rest():
            assert content(load(tmp_path / "study")) == content(study)


def test_a_write_that_takes_a_part_only_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_through(tmp_path, monkeypatch, "tell", lambda at, name: name == "write", short=True)
    assert "write" in found  # and others, where the thread that makes a checkpoint comes sooner or later


def test_a_damaged_study_is_recovered_although_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make("random", storage=tmp_path / "study") as study:
        run(study, study.ask())
        study.compact()
        for _ in range(5):
            run(study, study.ask())
        study.sync()
        shutil.copytree(tmp_path / "study", tmp_path / "damaged")
    journal = tmp_path / "damaged" / "journal.msgpack"
    data = bytearray(journal.read_bytes())
    data[-600] ^= 1  # neither in the head nor in the last record
    journal.write_bytes(data)
    disk = FailingDisk(monkeypatch, tmp_path)
    expected, at, count = "", 0, 1
    while at <= count:
        with disk.at_rest():
            where = tmp_path / str(at)
            shutil.copytree(tmp_path / "damaged", where)
        disk.fail(at - 1, ERRORS[at % len(ERRORS)])  # the first time none does
        try:
            study = fasthpo.Study.load(where, recover=True)
        except OSError:
            study = fasthpo.Study.load(where, recover=True)
        if not at:
            expected, count = content(study), len(disk.calls)
        assert content(study) == expected and (not at or disk.failed)
        with disk.at_rest():
            study.close()
            if at:  # what could not be removed goes when the study is next opened
                fasthpo.Study.load(where).close()
            assert names(where) == ["checkpoint.msgpack", "journal.damaged-1.msgpack", "journal.msgpack"]
            assert (where / "journal.damaged-1.msgpack").read_bytes() == data
            assert content(load(where)) == expected
        at += 1
    assert count > 30
