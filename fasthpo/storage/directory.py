"""A study's directory: which files belong together, and how they are read.

    checkpoint.msgpack    the history up to some moment (see `snapshot_writer`); missing as long as the study is short
    journal.msgpack       what happened since (see `journal`), in a file of the same generation
    journal.next.msgpack  the same, while the journal is being replaced

A checkpoint takes the place of an older one in these steps, and a crash between any two leaves a checkpoint and a
complete journal of the same generation:

1. The new checkpoint is written to a temporary file, which is synced, and read back: if it does not hold all, the
   journal stays. The study goes on meanwhile.
2. A journal of the next generation begins, with all that happened since step 1. From here on both journals get all
   records. The new one is synced.
3. The temporary file is renamed to checkpoint.msgpack, and the directory synced. The old journal is out of date.
4. The new journal is renamed to journal.msgpack.

Each of them must be a regular file, and so must `.lock` and `.owner.json` (see `regular`); the directory may be a link.

Generation 0 is that of a checkpoint without a journal, as `Study.save` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgpack

from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage import journal
from fasthpo.storage.atomic import is_temporary, remove_temporary_in, storage_errors, sync_directory
from fasthpo.storage.definition import Definition
from fasthpo.storage.framing import HEAD_SIZE, claimed_size, frame, payload_at, read_frames
from fasthpo.storage.journal_reader import Replayer
from fasthpo.storage.regular import read_regular, refuse_irregular, regular_opener
from fasthpo.storage.snapshot_reader import peek_head, read_snapshot
from fasthpo.storage.snapshot_writer import Head, read_head
from fasthpo.trials.history import History
from fasthpo.trials.table import TrialTable

CHECKPOINT_FILE = "checkpoint.msgpack"
JOURNAL_FILE = "journal.msgpack"
NEXT_JOURNAL_FILE = "journal.next.msgpack"
JOURNAL_FILES = (JOURNAL_FILE, NEXT_JOURNAL_FILE)
STUDY_FILES = (CHECKPOINT_FILE, *JOURNAL_FILES)
FIRST_GENERATION = 1
_TRIES = 20  # to read files that belong together, while they are being replaced


Mark = tuple[int, int, int] | None
DirectoryMark = tuple[Mark, ...]


class Loaded(NamedTuple):
    """A study that was read.

    Attributes:
        head: of its newest file.
        replayer: has the history and the definition; goes on with further records.
        journal: the journal that was read; None if there is none.
        end: how many of its bytes are intact.
        torn: how many follow that are not, because the writing was broken off.
        damage: what is missing of a damaged study, in words, and None of an intact one.
        damaged: the files that are damaged, or are of no use any more because another one is.
        directory: where the study is kept; None for a single file.
        mark: of the checkpoint there, see `checkpoint_mark`.
    """

    head: Head
    replayer: Replayer
    journal: Path | None
    end: int
    torn: int
    damage: str | None = None
    damaged: tuple[Path, ...] = ()
    directory: Path | None = None
    mark: Mark = None

    @property
    def history(self) -> History:
        return self.replayer.history


class _Moved(Exception):
    """The files were replaced while they were being read."""


def checkpoint_mark(directory: Path) -> Mark:
    """What changes when a checkpoint is replaced; None if there is none."""
    return _mark(directory / CHECKPOINT_FILE)


def directory_mark(directory: Path) -> DirectoryMark:
    """What changes whenever the study in a directory does."""
    return tuple(_mark(directory / name) for name in STUDY_FILES)


def _mark(path: Path) -> Mark:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def present(directory: Path) -> tuple[Head, Path | None]:
    """The head of the newest file of a study, and its journal, without reading the rest.

    Raises:
        FileNotFoundError: there is no study.
        CorruptCheckpoint: no file has a head.
    """
    heads = [
        (head, None if path.name == CHECKPOINT_FILE else path)
        for path in (directory / name for name in STUDY_FILES)
        if exists(path) and (head := _head_of(path)) is not None
    ]
    if not heads:
        raise CorruptCheckpoint(f"{directory} holds no file of a study with an intact head")
    return max(heads, key=lambda found: (found[0].generation, found[1] is not None))


def _head_of(path: Path) -> Head | None:
    """The head of a study's file; None if it is damaged."""
    with open(path, "rb", opener=regular_opener) as file:
        payload = payload_at(_first_frame(file), 0)
    if isinstance(payload, str):
        return None
    head = peek_head(payload) if path.name == CHECKPOINT_FILE else _journal_head(path, frame(payload))
    assert isinstance(head, Head)
    return head


def refuse_other(checkpoint: Path, mine: Head) -> None:
    """Make sure that a checkpoint which is to be replaced is no other study's.

    Raises:
        StorageError: it is.
        OSError: it can't be read.
    """
    try:
        found = _head_of(checkpoint)
    except (FileNotFoundError, CorruptCheckpoint):
        return
    if found is not None and found.study_id != mine.study_id:
        raise journal.gone(checkpoint)


def exists(path: Path) -> bool:
    """Whether there is something at a path, such as a link to nothing. Unlike `os.path.lexists`, does not take a
    failing disk for a missing file.

    Raises:
        OSError: that can't be found out.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def directory_for_study(directory: Path) -> Iterator[None]:
    """Within the block a directory is there, made with its parents if need be. What was made goes again after an error.

    Raises:
        StorageError: it can't be made, or the system fails within the block.
    """
    with storage_errors(f"the study can't be kept in {directory}"):
        missing = [one for one in (directory, *directory.parents) if not exists(one)]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            sync_directory(directory.parent)
            yield
        except BaseException:
            for one in missing:
                with suppress(OSError):
                    one.rmdir()
            raise


def _first_frame(file: BinaryIO) -> bytes:
    """As many bytes of a file as its first frame claims to have, if there are so many."""
    begin = file.read(HEAD_SIZE)
    return begin + file.read(min(claimed_size(begin), os.fstat(file.fileno()).st_size) - len(begin))


def holds_study(directory: Path) -> bool:
    """Whether there is a study in a directory.

    Raises:
        StorageError: in the place of one of its files is a link, a directory, a FIFO or a device.
    """
    found = [path for path in (directory / name for name in STUDY_FILES) if exists(path)]
    for path in found:
        refuse_irregular(path)
    return bool(found)


def remove_study(directory: Path) -> None:
    """Remove the files of a study; the caller has its lock."""
    for name in reversed(STUDY_FILES):
        (directory / name).unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what a crash has left half written; the caller has the study's lock."""
    for entry in os.scandir(directory):
        is_ours = any(is_temporary(entry.name, name) for name in STUDY_FILES)
        if is_ours and not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
    remove_temporary_in(directory)  # of exports, which are written without the lock


def read_study(path: Path, partly: bool = False) -> Loaded:
    """Read a study.

    Args:
        path: its directory, or a file. A file in the directory of a study that is kept there stands for all of it.
        partly: of a damaged study, take what is intact and comes before the damage.

    Raises:
        FileNotFoundError: there is no study.
        CorruptCheckpoint: a file is damaged, of an unknown version, or missing.
        StorageError: in the place of a file is a link, a directory, a FIFO or a device.
        OSError: a file can't be read.
    """
    if not exists(Path(os.path.realpath(path))):  # the user may well name a link
        raise FileNotFoundError(f"there is no study at {path}")
    if path.is_dir():
        if not holds_study(path):
            raise FileNotFoundError(f"there is no study in {path}: it has neither {CHECKPOINT_FILE} nor {JOURNAL_FILE}")
        return _read_directory(path, partly)
    if path.name in STUDY_FILES and any(exists(path.parent / name) for name in JOURNAL_FILES):
        holds_study(path.parent)
        return _read_directory(path.parent, partly)
    data = read_regular(Path(os.path.realpath(path)))
    if _is_journal(data):
        return _read_journal(path, data, None, lambda: None, partly)
    return _read_checkpoint(path, data, partly)


def _read_directory(directory: Path, partly: bool) -> Loaded:
    for last in [False] * (_TRIES - 1) + [True]:
        mark = checkpoint_mark(directory)
        try:
            return _read_together(directory, _together(directory, mark), partly)._replace(
                directory=directory, mark=mark
            )
        except (_Moved, FileNotFoundError) as moved:
            if last:
                raise CorruptCheckpoint(f"{directory}: {moved}") from None
    raise AssertionError


def _together(directory: Path, mark: Mark) -> dict[str, bytes]:
    """The bytes of the files by name. They are all opened before any is read, which takes so short a time that a writer
    who replaces them again and again is not in the way; `mark` is that of the checkpoint before.
    """
    with ExitStack() as opened:
        files: dict[str, BinaryIO] = {}
        for name in (CHECKPOINT_FILE, NEXT_JOURNAL_FILE, JOURNAL_FILE):  # a journal moves from the second to the third
            with suppress(FileNotFoundError):
                files[name] = opened.enter_context(open(directory / name, "rb", opener=regular_opener))
        if checkpoint_mark(directory) != mark:
            raise _Moved(f"{CHECKPOINT_FILE} is replaced all the time")
        return {name: file.read() for name, file in files.items()}


def _read_together(directory: Path, files: dict[str, bytes], partly: bool) -> Loaded:
    path = directory / CHECKPOINT_FILE
    data = files.get(CHECKPOINT_FILE)

    def read_base() -> Loaded | None:
        return None if data is None else _read_checkpoint(path, data, partly)

    base = read_base()
    wanted = FIRST_GENERATION if base is None else base.head.generation
    if base is not None and base.damage is not None:
        return base._replace(damaged=(*base.damaged, *(directory / name for name in JOURNAL_FILES if name in files)))
    unreadable, newer = [], []
    for journal_path in (directory / name for name in JOURNAL_FILES):
        written = files.get(journal_path.name)
        if written is None:
            continue
        head = _journal_head(journal_path, written)
        if isinstance(head, str):
            unreadable.append((journal_path, f"{journal_path} is damaged at byte 0 of {len(written)}: {head}"))
        elif base is not None and head.study_id != base.head.study_id:
            raise CorruptCheckpoint(f"{directory}: {CHECKPOINT_FILE} and {journal_path.name} are of different studies")
        elif head.generation == wanted:
            return _read_journal(journal_path, written, base, read_base, partly)
        elif head.generation > wanted:
            newer.append(f"{journal_path.name} has generation {head.generation}")
    if base is not None and wanted == 0:
        return base
    for journal_path, damage in unreadable:
        if base is None:
            raise CorruptCheckpoint(damage)
        if not partly:
            raise CorruptCheckpoint(
                f"{damage}. Study.load(path, recover=True) goes on with the {len(base.history.table)} trials of the "
                "checkpoint, and keeps the damaged file"
            )
        return base._replace(damage=f"{damage}. What happened after the checkpoint is lost", damaged=(journal_path,))
    needed = f"a {JOURNAL_FILE} of generation {wanted} belongs here, and there is none"
    raise _Moved("; ".join([needed, *newer]))


def _read_checkpoint(path: Path, data: bytes, partly: bool) -> Loaded:
    try:
        snapshot = read_snapshot(data, partly)
    except CorruptCheckpoint as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    loaded = Loaded(snapshot.head, Replayer(snapshot.history, snapshot.head.definition), None, 0, 0)
    if snapshot.damage is None:
        return loaded
    left = len(snapshot.history.table)
    damage = (
        f"{path} is damaged at byte {snapshot.damage.position} of {len(data)}: {snapshot.damage.reason}. Of "
        f"{left + snapshot.missing} trials the first {left} are left; the others are lost, and all that happened later"
    )
    return loaded._replace(damage=damage, damaged=(path,))


def _unpacker(payload: bytes) -> Any:
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload), max_array_len=16, max_map_len=0, max_ext_len=0)
    unpacker.feed(payload)
    return unpacker


def _is_journal(data: bytes) -> bool:
    payload = payload_at(data, 0)
    try:
        return not isinstance(payload, str) and bool(_unpacker(payload).unpack()[0] == journal.FORMAT)
    except (ValueError, TypeError, IndexError, KeyError, msgpack.UnpackException):
        return False


def _journal_head(path: Path, data: bytes) -> Head | str:
    """The head of a journal, or in what way it is damaged."""
    payload = payload_at(data, 0)
    if isinstance(payload, str):
        return payload
    try:
        return read_head("journal", _unpacker(payload), journal.FORMAT, journal.VERSION)
    except (ValueError, TypeError, IndexError, KeyError, msgpack.UnpackException) as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error


def _read_journal(
    path: Path, data: bytes, base: Loaded | None, read_base: Callable[[], Loaded | None], partly: bool
) -> Loaded:
    """A journal, which goes on where `base` ends; `read_base` reads that anew."""
    frames, broken = read_frames(data)
    problem = None if broken is None or broken.is_torn else (broken.position, broken.reason)
    end = len(data) if broken is None else broken.position
    head = _journal_head(path, data)
    assert isinstance(head, Head)
    if base is None and head.generation != FIRST_GENERATION:
        raise CorruptCheckpoint(f"{path}: the {CHECKPOINT_FILE} of generation {head.generation} is missing")
    try:
        replayer = _replayer(base, head)
    except CorruptCheckpoint as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    for i, (position, payload) in enumerate(frames[1:], start=1):
        try:
            replayer.replay(payload)
        except CorruptCheckpoint as error:
            problem, end = (position, str(error)), position
            if partly:  # anew, as a part of this record may have been done
                replayer = _replayer(read_base(), head)
                for _, before in frames[1:i]:
                    replayer.replay(before)
            break
    try:
        replayer.check()
    except CorruptCheckpoint as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    if problem is None:
        return Loaded(head, replayer, path, end, len(data) - end)
    position, reason = problem
    damage = f"{path} is damaged at byte {position} of {len(data)}: {reason}"
    if partly:
        return Loaded(head, replayer, path, end, 0, f"{damage}. What happened afterwards is lost", (path,))
    table = replayer.history.table
    raise CorruptCheckpoint(
        f"{damage}. All before it is intact, {len(table)} trials of which {len(table.tell_order)} have ended: "
        "Study.load(path, recover=True) goes on with these, and keeps the damaged file"
    )


def _replayer(base: Loaded | None, head: Head) -> Replayer:
    if base is not None:
        return base.replayer
    definition = Definition(head.definition)
    definition.check_points()
    table = TrialTable(definition.space, definition.directions, definition.noisy, definition.earlier)
    return Replayer(History(table), head.definition)
