"""Regular files only: what else may have a file's name is a link to a file of somebody else, or is read without end.

A link would have a study write over what it leads to, a FIFO makes who opens it wait for another process, and a device
may never end. So the files in a study's directory are opened here. The directory itself may be a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from fasthpo.errors import StorageError

# what a system doesn't have, it does without: what is at the path is looked at before and after
_SAFE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_LINK = (errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP))  # what O_NOFOLLOW says, by system
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _irregular(path: Path, mode: int) -> StorageError:
    kind = next((name for is_one, name in _KINDS if is_one(mode)), "something else")
    return StorageError(errno.EINVAL, f"there must be a regular file, not {kind}, at", str(path))


def refuse_irregular(path: Path) -> None:
    """Make sure that at a path is a regular file, or nothing.

    Raises:
        StorageError: there is a link, a directory, a FIFO or a device.
        OSError: that can't be found out.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(status.st_mode):
        raise _irregular(path, status.st_mode)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file, as `os.open`; never waits, and follows no link at the end of the path.

    Args:
        path: the file.
        flags: how to open it; with O_TRUNC nothing has been found out when it is cut off, so don't.

    Raises:
        FileNotFoundError: there is nothing.
        StorageError: there is no regular file.
        OSError: it can't be opened.
    """
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise _irregular(path, before.st_mode)  # a device may act on being opened
    try:
        descriptor = os.open(path, flags | _SAFE, 0o666)
    except OSError as error:  # it was put there just now
        if error.errno in _LINK:
            raise _irregular(path, stat.S_IFLNK) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(path, status.st_mode)
        if not hasattr(os, "O_NOFOLLOW"):
            refuse_irregular(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def regular_opener(path: str, flags: int) -> int:
    """`open_regular` as the `opener` of `open`."""
    return open_regular(Path(path), flags)


def read_regular(path: Path) -> bytes:
    """All bytes of a file in a study's directory.

    Raises:
        FileNotFoundError, StorageError, OSError: as `open_regular`.
    """
    with open(path, "rb", opener=regular_opener) as file:
        return file.read()
