"""Files that are replaced as a whole or not at all, and files that are on the disk."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fasthpo.errors import FastHPOError, StorageError
from fasthpo.storage.owner import OWNER, owner, remove_abandoned
from fasthpo.storage.regular import refuse_irregular

if sys.platform == "darwin":
    import fcntl


def storage_error(error: OSError, what: str) -> StorageError:
    """An error of the system as one of fasthpo's, which says what can't be done."""
    return StorageError(error.errno, f"{what}: {error.strerror or error}", error.filename)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Within the block the system's errors become `StorageError`s that say what can't be done.

    Raises:
        StorageError: the system fails.
    """
    try:
        yield
    except FastHPOError:
        raise
    except OSError as error:
        raise storage_error(error, what) from error


def temporary_beside(path: Path) -> Path:
    """A new name beside `path`, because a rename is atomic within one file system only."""
    return path.with_name(f".{path.name}.{owner()}-{secrets.token_hex(4)}.tmp")


def remove_temporary_beside(path: Path) -> None:
    """Remove what processes that are gone have left half written in the place of `path`."""
    remove_abandoned(path.parent, _temporary(re.escape(path.name)))


def remove_temporary_in(directory: Path) -> None:
    """The same for all files of a directory."""
    remove_abandoned(directory, _temporary(".+"))


def _temporary(name: str) -> re.Pattern[str]:
    return re.compile(rf"\.{name}\.{OWNER}-[0-9a-f]{{8}}\.tmp", re.DOTALL)


def is_temporary(name: str, of: str) -> bool:
    """Whether a file's name is one that `temporary_beside` makes for the file `of`."""
    return name.startswith(f".{of}.") and name.endswith(".tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes the place of `path` once the block has ended without an error.

    Until then, and after an error, whatever stood at `path` stays as it was. Missing directories are made.

    Args:
        path: where the file goes.

    Raises:
        StorageError: what stands there is a FIFO or a device, or a link to one.
        OSError: the file can't be written.
    """
    if not path.is_dir():  # which nothing takes the place of
        refuse_irregular(Path(os.path.realpath(path)))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_temporary_beside(path)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            sync_file(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, as `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, as `atomic_file`."""
    write_bytes(path, text.encode())


def sync_file(descriptor: int) -> None:
    """Have what was written to a file survive a power cut.

    Raises:
        OSError: it can't be.
    """
    if sys.platform == "darwin":  # where fsync leaves it in the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory survive a power cut, where the system lets it be synced (Windows does not)."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
