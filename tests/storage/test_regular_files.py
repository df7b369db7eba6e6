"""Links, FIFOs, directories and devices in the place of a study's files: a named error, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import fasthpo
from fasthpo.storage import regular
from fasthpo.storage.directory import CHECKPOINT_FILE, JOURNAL_FILE, NEXT_JOURNAL_FILE
from fasthpo.storage.lock import LOCK_FILE, OWNER_FILE

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
FILES = (CHECKPOINT_FILE, JOURNAL_FILE, NEXT_JOURNAL_FILE, LOCK_FILE, OWNER_FILE)


def _link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("nothing"))


def _fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path, outside: Path) -> None:
    path.mkdir()


def _device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = {"link": _link, "dangling": _dangling, "fifo": _fifo, "directory": _directory, "device": _device}
if not hasattr(os, "mkfifo"):  # Windows, where a link needs rights, too
    KINDS = {"directory": _directory}


def study(**options: object) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), **options)  # type: ignore[arg-type]


def told(one: fasthpo.Study, count: int = 3) -> fasthpo.Study:
    for _ in range(count):
        one.tell(one.ask(), 1.0)
    return one


def soon(call: Callable[[], object]) -> BaseException | object:
    """What a call that must not wait for anybody returns or raises."""
    ended: list[BaseException | object] = []

    def run() -> None:
        try:
            ended.append(call())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert ended, "it hangs"
    return ended[0]


def picture(root: Path) -> dict[str, object]:
    """What there is below a directory, no link followed."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "special"
    return found


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A study's directory with a checkpoint and a journal, and a file of somebody else, which is one of a study, too."""
    kept = tmp_path / "study"
    with told(study(storage=kept)) as one:
        one.compact()
        told(one)
        one.sync()
        (tmp_path / "other").mkdir()
        for name in (CHECKPOINT_FILE, JOURNAL_FILE):
            shutil.copy(kept / name, tmp_path / "other" / name)
    for name in (CHECKPOINT_FILE, JOURNAL_FILE):
        shutil.copy(tmp_path / "other" / name, kept / name)
    return kept, tmp_path / "other" / CHECKPOINT_FILE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_no_file_of_a_study_may_be_anything_but_a_regular_file(
    name: str, kind: str, place: tuple[Path, Path], tmp_path: Path
) -> None:
    kept, outside = place
    if name == JOURNAL_FILE:
        outside = outside.with_name(JOURNAL_FILE)
    (kept / name).unlink(missing_ok=True)
    KINDS[kind](kept / name, outside)
    before = picture(tmp_path)
    is_of_the_lock = name in (LOCK_FILE, OWNER_FILE)
    calls: dict[str, Callable[[], object]] = {
        "load": lambda: fasthpo.Study.load(kept),
        "recover": lambda: fasthpo.Study.load(kept, recover=True),
        "read": lambda: fasthpo.Study.load(kept, read_only=True),
        "new": lambda: study(storage=kept),
        "keep": lambda: told(study()).keep_at(kept),
        "overwrite": lambda: told(study()).keep_at(kept, overwrite=True),
        "save": lambda: told(study()).save(kept),
    }
    for what, call in calls.items():
        got = soon(call)
        if is_of_the_lock and what == "read":  # which takes no lock
            assert isinstance(got, fasthpo.Study) and len(got) == 6
        elif isinstance(got, fasthpo.StudyExists):  # the other files are there
            assert what == "save" or (what in ("new", "keep") and is_of_the_lock), (what, got)
        else:
            assert isinstance(got, fasthpo.StorageError), (what, got)
            assert "there must be a regular file, not a" in str(got) and name in str(got), (what, got)
        assert picture(tmp_path) == before, what
    got = soon(lambda: fasthpo.Study.load(kept / CHECKPOINT_FILE))  # a journal beside it makes it one of a directory
    assert isinstance(got, fasthpo.Study if is_of_the_lock else fasthpo.StorageError | FileNotFoundError), got


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_no_study_begins_where_one_of_its_files_would_be_anything_else(name: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    kept = tmp_path / "study"
    kept.mkdir()
    KINDS[kind](kept / name, outside)
    before = picture(tmp_path)
    calls: dict[str, Callable[[], object]] = {
        "new": lambda: study(storage=kept),
        "keep": lambda: told(study()).keep_at(kept),
        "overwrite": lambda: told(study()).keep_at(kept, overwrite=True),
        "save": lambda: told(study()).save(kept),
    }
    for what, call in calls.items():
        got = soon(call)
        if what == "save" and name != CHECKPOINT_FILE:  # of which the others are no concern
            assert isinstance(got, Path | fasthpo.StudyExists)
            (kept / CHECKPOINT_FILE).unlink(missing_ok=True)
        else:
            assert isinstance(got, fasthpo.StorageError), (what, got)
            assert "there must be a regular file, not a" in str(got) and name in str(got), (what, got)
        (kept / LOCK_FILE).unlink() if name != LOCK_FILE and (kept / LOCK_FILE).exists() else None
        assert picture(tmp_path) == before, what


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.skipif(os.name == "nt", reason="where an open file can't be replaced")
def test_a_study_that_is_open_writes_into_nothing_that_takes_the_place_of_its_files(
    name: str, kind: str, place: tuple[Path, Path], tmp_path: Path
) -> None:
    kept, outside = place
    one = fasthpo.Study.load(kept)
    (kept / name).unlink(missing_ok=True)
    KINDS[kind](kept / name, outside)
    elsewhere = picture(outside.parent)
    got = soon(one.compact)
    if name not in (LOCK_FILE, OWNER_FILE):
        assert isinstance(got, fasthpo.StorageError), got
    assert len(told(fasthpo.Study.load(one.save(tmp_path / "copy.msgpack")), 1)) == len(one) + 1
    soon(lambda: told(one, 1))
    soon(one.close)
    assert picture(outside.parent) == elsewhere
    assert not (outside.parent / "nothing").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_follower_reads_nothing_that_takes_the_place_of_a_file(kind: str, place: tuple[Path, Path]) -> None:
    kept, outside = place
    follower = fasthpo.Study.load(kept, read_only=True)
    for name in (CHECKPOINT_FILE, JOURNAL_FILE):
        moved = (kept / name).rename(kept / f"{name}.moved")
        KINDS[kind](kept / name, outside.with_name(name))
        got = soon(follower.refresh)
        assert isinstance(got, fasthpo.StorageError), got
        (kept / name).rmdir() if kind == "directory" else (kept / name).unlink()
        moved.rename(kept / name)
        follower.refresh()
        assert len(follower) == 6


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_directory_and_a_file_that_the_user_names_may_be_links(place: tuple[Path, Path], tmp_path: Path) -> None:
    kept, _ = place
    (tmp_path / "link").symlink_to(kept)
    with fasthpo.Study.load(tmp_path / "link") as one:
        told(one, 1).compact()
    with fasthpo.Study.load(tmp_path / "link") as one:
        assert len(one) == 7
    saved = one.save(tmp_path / "saved.msgpack")
    (tmp_path / "latest").symlink_to(saved)
    assert len(fasthpo.Study.load(tmp_path / "latest")) == 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_path_to_save_to_or_to_load_is_no_device_or_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("fifo", "device"):
        for call in (told(study()).save, fasthpo.Study.load, told(study()).to_csv):
            got = soon(lambda call=call, name=name: call(tmp_path / name))  # type: ignore[misc]
            assert isinstance(got, fasthpo.StorageError) and "not a " in str(got), got
    assert (tmp_path / "fifo").is_fifo() and (tmp_path / "device").is_symlink()


def test_an_owner_file_that_is_another_file_too_is_not_written_over(place: tuple[Path, Path], tmp_path: Path) -> None:
    kept, _ = place
    mine = tmp_path / "mine.json"
    mine.write_text("mine")
    os.link(mine, kept / OWNER_FILE)
    fasthpo.Study.load(kept).close()
    assert mine.read_text() == "mine"


def test_without_the_flag_of_the_system_links_are_found_all_the_same(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, outside = place
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    monkeypatch.setattr(regular, "_SAFE", 0)
    assert regular.read_regular(kept / CHECKPOINT_FILE) == outside.read_bytes()
    for kind, make in KINDS.items():
        make(kept / kind, outside)
        with pytest.raises(fasthpo.StorageError, match="there must be a regular file"):
            regular.read_regular(kept / kind)
    with pytest.raises(FileNotFoundError):
        regular.read_regular(kept / "none")
