"""The journal: a file to which everything that changes a study is appended.

Format, version 1 to 3. The file is a sequence of frames (see `framing`). The first is the head, a msgpack array of
"fasthpo-journal", the version, the generation, the id of the study (16 bytes) and its definition (see `definition`).
Each further frame holds one or several records (see `records`). The journal of generation 1 begins with an empty study
if there is no checkpoint; else it goes on where the checkpoint of the same generation ends.

Version 2 is that of studies whose trials have several values, or constraints, which a program that knows version 1 only
could not read, and version 3 that of studies with a population. Where the first constraints are told, or the first
trial enters a population, a new journal is begun.

What was handed to the operating system survives whatever happens to the process. A power cut or a crash of the whole
system takes what was not yet synced; that is what `durability` is about (see `Study`).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgpack

from fasthpo.errors import StorageError
from fasthpo.storage.atomic import sync_file, write_bytes
from fasthpo.storage.durability import Syncer
from fasthpo.storage.framing import HEAD_SIZE, frame
from fasthpo.storage.regular import open_regular, refuse_irregular, regular_opener
from fasthpo.storage.snapshot_writer import Head

FORMAT = "fasthpo-journal"
VERSION = 3
_COPY = 2**20  # bytes at a time
_NONE = -1  # no descriptor


def version_for(has_vectors: bool, has_lineage: bool) -> int:
    """The version that a journal needs, of trials that have several values or constraints, or are in a population."""
    return 3 if has_lineage else 2 if has_vectors else 1


def journal_head(head: Head) -> bytes:
    """The first frame of a journal of the version that the head says."""
    return frame(msgpack.packb([FORMAT, head.version, head.generation, head.study_id, head.definition]))


def gone(path: Path) -> StorageError:
    """What is raised when a file of a study that is open is no longer its own."""
    return StorageError(
        errno.ENOENT,
        "the study can't be kept any more: its files were removed, renamed or replaced, or somebody else wrote to "
        "them. Nothing is lost: the study in memory is complete. Write it to another place with study.save(path), or "
        "keep it there with study.keep_at(path). The file was",
        str(path),
    )


class Journal:
    """An open journal. What can't be written is kept, and written before anything else as soon as that works again.

    Args:
        path: the file, which exists.
        size: how many of its bytes are intact; what follows them goes.
        seconds: after how many seconds what was written is synced at the latest; 0 for at once, None for never.

    Attributes:
        mirror: another journal that gets the same frames, while one takes the place of the other.
        is_suspect: what was written may not be in the file, because syncing it failed, or what happened was not
            written, because a call was broken off. Then only a checkpoint of everything helps.
    """

    def __init__(self, path: Path, size: int, seconds: float | None) -> None:
        self.path = path
        self._tail = (size, b"")  # how many bytes are intact, and what is to follow them: one attribute, set at once
        self.mirror: Journal | None = None
        self.is_suspect = False
        self._seconds = seconds
        self._syncer = None if not seconds else Syncer(seconds)
        self._owner = os.getpid()
        self._descriptor = _NONE
        try:
            self._open()
            self._begin = self._read_begin()
            self._mend()
        except BaseException:
            self._close_file()
            raise

    @classmethod
    def create(cls, path: Path, head: Head, seconds: float | None) -> Self:
        """A new journal, in the place of whatever stood there; it appears complete with its head, on the disk.

        Raises:
            OSError: it can't be written.
        """
        data = journal_head(head)
        refuse_irregular(path)
        write_bytes(path, data)
        try:
            return cls(path, len(data), seconds)
        except BaseException:
            with suppress(OSError):
                path.unlink()  # or it would be taken for a study that has just begun
            raise

    @property
    def size(self) -> int:
        """How many bytes are intact."""
        return self._tail[0]

    def append(self, frames: bytes, now: bool = False) -> None:
        """Hand whole frames to the operating system, after whatever could not be handed over before.

        Args:
            frames: their bytes; empty to write only what is left.
            now: whether it has to be on the disk before this returns, if that is what the journal does at all.

        Raises:
            StorageError: it can't be written, or the file is no longer there (see `check`); it is kept. The file is as
                it was before.
        """
        size, rest = self._tail
        data = rest + frames if rest else frames
        if not data:
            return
        # from here to the end of the writing a break, such as Ctrl-C, leaves it unwritten
        self._tail = (size, data)
        self.check()
        try:
            if rest:
                self._mend()
            self._write(data)
        except OSError as error:
            with suppress(OSError):
                self._mend()  # half a record is not left behind
            raise self._error(error) from error
        self._tail = (size + len(data), b"")
        if self.mirror is not None:
            self.mirror.append_quietly(data)
        self._put_on_disk(now)

    def _put_on_disk(self, now: bool) -> None:
        """See to it that what was written just now gets there in time."""
        if self._syncer is not None:
            if not self._syncer.note():
                self.sync()
        elif now and self._seconds == 0:
            self.sync()
            if self.mirror is not None:
                self.mirror.sync()

    def append_quietly(self, frames: bytes) -> None:
        """Append whole frames; if that can't be done, they are left for the next `append`."""
        size, rest = self._tail
        self._tail = (size, rest + frames)
        if rest:
            return
        with suppress(OSError):
            self._write(frames)
            self._tail = (size + len(frames), b"")
            self._put_on_disk(now=False)

    def check(self) -> None:
        """Make sure that the file at the path is this journal, as it was left; takes 1 to 2 us.

        It no longer is once somebody has removed or renamed it or its directory, has put another file in its place,
        such as that of another study or of a backup, or has written to it.

        Raises:
            StorageError: it is not, or can't be looked at.
        """
        try:
            if os.name == "nt":  # where an open file can be neither removed nor renamed
                if self._descriptor == _NONE:  # `move` could not open it again
                    self._open()
            else:
                found = os.stat(self._where)
                if (found.st_ino, found.st_dev, found.st_size) == (self._inode, self._device, self.size):
                    return
            own = os.fstat(self._descriptor)
            # both looked at now, as there are file systems on which a file's number changes
            is_there = os.name == "nt" or os.path.samestat(found, own)
            if is_there and (own.st_size == self.size or self._has_own_tail(own.st_size - self.size)):
                return
        except (FileNotFoundError, NotADirectoryError):
            raise gone(self.path) from None
        except OSError as error:
            raise self._error(error) from error
        raise gone(self.path)

    def check_head(self) -> None:
        """As `check`, and that the file still begins as it did; for moments at which other files are replaced.

        Raises:
            StorageError: as `check`.
        """
        self.check()
        try:
            begin = self._read_begin()
        except OSError as error:
            raise self._error(error) from error
        if begin != self._begin:
            raise gone(self.path)

    def sync(self) -> None:
        """Put what was written on the disk.

        Raises:
            StorageError: it can't be.
        """
        try:
            sync_file(self._descriptor)
        except OSError as error:
            self.is_suspect = True
            raise self._error(error) from error

    def failure(self) -> StorageError | None:
        """What went wrong in the background since the last call; then the journal is suspect."""
        error = None if self._syncer is None else self._syncer.take_error()
        if error is None:
            return None
        self.is_suspect = True
        return self._error(error)

    @property
    def is_behind(self) -> bool:
        """Whether something is left to be written."""
        return bool(self._tail[1])

    def take_over(self, other: Journal) -> None:
        """Go on for another journal, of which this one is the mirror, also with what that could not write."""
        if other.is_behind:
            self.append_quietly(other._tail[1])
        self.is_suspect |= other.is_suspect

    def copy_from(self, other: Journal, begin: int) -> int:
        """Append the bytes of another journal from `begin` to its end as it is now; that end."""
        end = other.size
        position = begin
        with open(other.path, "rb", buffering=0, opener=regular_opener) as file:
            file.seek(position)
            while position < end:
                data = file.read(min(_COPY, end - position))
                if not data:
                    raise OSError(f"{other.path} ends at byte {position}, not at {end}")
                self._write(data)
                position += len(data)
                self._tail = (self.size + len(data), self._tail[1])
        return end

    def move(self, path: Path) -> None:
        """Give the file another name, in the place of what has it.

        Raises:
            OSError: it keeps its name.
        """
        if os.name == "nt":  # where an open file can't be renamed
            self._close_file()
            try:
                os.replace(self.path, path)
                self.path = path
            finally:
                self._open()
        else:
            moved = False
            try:
                os.replace(self.path, path)
                moved = True
            finally:
                if moved or self._is_missing():  # after Ctrl-C, or where a network's answer was lost
                    self.path = path
                    self._where = str(path)

    def _is_missing(self) -> bool:
        try:
            os.lstat(self.path)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return False

    def _open(self) -> None:
        self._descriptor = open_regular(self.path, os.O_RDWR)
        self._where = str(self.path)
        status = os.fstat(self._descriptor)
        self._inode, self._device = status.st_ino, status.st_dev
        os.lseek(self._descriptor, self.size, os.SEEK_SET)
        if self._syncer is not None:
            self._syncer.use(self._descriptor)

    def _read_begin(self) -> bytes:
        """Bytes that tell studies and generations apart: the head's checksum."""
        with open(self.path, "rb", buffering=0, opener=regular_opener) as file:
            return file.read(HEAD_SIZE)

    def _has_own_tail(self, length: int) -> bool:
        """Whether what follows the intact bytes is the beginning of what is left to be written."""
        size, unwritten = self._tail
        if not 0 < length <= len(unwritten) or self._read_begin() != self._begin:
            return False
        with open(self.path, "rb", buffering=0, opener=regular_opener) as file:
            file.seek(size)
            return file.read(length) == unwritten[:length]

    def _write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        while written < len(data):  # a disk that is all but full takes a part
            written += os.write(self._descriptor, data[written:])

    def _mend(self) -> None:
        """Cut off what stands behind the intact bytes, and go there."""
        os.lseek(self._descriptor, self.size, os.SEEK_SET)
        if os.fstat(self._descriptor).st_size != self.size:
            os.ftruncate(self._descriptor, self.size)

    def _error(self, error: OSError) -> StorageError:
        return StorageError(
            error.errno,
            f"the study can't be kept: {error.strerror}. Nothing is lost: the study in memory is complete, and what is "
            "missing in the file is written with the next call that succeeds. Free some space and go on, or write the "
            "study to another place with study.save(path). The file is",
            str(self.path),
        )

    def _close_file(self) -> None:
        if self._syncer is not None:
            self._syncer.use(None)
        descriptor, self._descriptor = self._descriptor, _NONE  # whose number another file may get
        with suppress(OSError):  # what has to be on the disk was synced
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; whatever could not be written is given up. Once is enough."""
        if self._syncer is not None:
            self._syncer.stop()
        self._close_file()

    def remove(self) -> None:
        """Close the file and remove it, unless another has its name by now."""
        is_gone = False
        try:
            self.check()
        except StorageError as error:
            is_gone = error.errno == errno.ENOENT
        self.close()
        if not is_gone:
            with suppress(OSError):
                self.path.unlink()

    def abandon(self, frames: bytes) -> None:
        """Close the file at the end of the program, or when nobody has the study any more; a last try to write it all.

        In a process that was forked off, nothing is done.

        Args:
            frames: what has happened last.
        """
        if os.getpid() == self._owner:
            if not self.is_suspect:
                with suppress(OSError):
                    self.append(frames)
            self.close()
