"""The journal: a file to which everything that changes a study is appended.

Format, version 1. The file is a sequence of frames (see `framing`). The first is the head, a msgpack array of
"fasthpo-journal", the version, the generation, the id of the study (16 bytes) and its definition (see `definition`).
Each further frame holds one or several records (see `records`). The journal of generation 1 begins with an empty study
if there is no checkpoint; else it goes on where the checkpoint of the same generation ends.

What was handed to the operating system survives whatever happens to the process. A power cut or a crash of the whole
system takes what was not yet synced; that is what `durability` is about (see `Study`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgpack

from fasthpo.errors import StorageError
from fasthpo.storage.atomic import sync_file, write_bytes
from fasthpo.storage.framing import frame
from fasthpo.storage.snapshot import Head
from fasthpo.storage.syncing import Syncer

FORMAT = "fasthpo-journal"
VERSION = 1
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_COPY = 2**20  # bytes at a time
_CLOSED = -1  # as a descriptor


def journal_head(head: Head) -> bytes:
    """The first frame of a journal."""
    return frame(msgpack.packb([FORMAT, VERSION, head.generation, head.study_id, head.definition]))


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
        self._descriptor = os.open(path, _FLAGS)
        self._seconds = seconds
        self._syncer = None if not seconds else Syncer(seconds)
        self._owner = os.getpid()
        try:
            self._mend()
        except BaseException:
            os.close(self._descriptor)
            raise
        if self._syncer is not None:
            self._syncer.use(self._descriptor)

    @classmethod
    def create(cls, path: Path, head: Head, seconds: float | None) -> Self:
        """A new journal, in the place of whatever stood there; it appears complete with its head, on the disk.

        Raises:
            OSError: it can't be written.
        """
        data = journal_head(head)
        write_bytes(path, data)
        return cls(path, len(data), seconds)

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
            StorageError: it can't be written; it is kept. The file is as it was before.
        """
        size, rest = self._tail
        data = rest + frames if rest else frames
        if not data:
            return
        # from here to the end of the writing a break, such as Ctrl-C, leaves it unwritten
        self._tail = (size, data)
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
        with open(other.path, "rb", buffering=0) as file:
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
                self._descriptor = os.open(self.path, _FLAGS)
                os.lseek(self._descriptor, self.size, os.SEEK_SET)
                if self._syncer is not None:
                    self._syncer.use(self._descriptor)
        else:
            try:
                os.replace(self.path, path)
                self.path = path
            except BaseException:
                if not self.path.exists():  # it has its new name already
                    self.path = path
                raise

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
        os.close(self._descriptor)

    def close(self) -> None:
        """Close the file; whatever could not be written is given up. Once is enough."""
        if self._syncer is not None:
            self._syncer.stop()
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def abandon(self, frames: bytes) -> None:
        """Close the file at the end of the program, or when nobody has the study any more; a last try to write it all.

        In a process that was forked off, nothing is written.

        Args:
            frames: what has happened last.
        """
        if os.getpid() == self._owner and not self.is_suspect:
            with suppress(OSError):
                self.append(frames)
        with suppress(OSError):
            self.close()
