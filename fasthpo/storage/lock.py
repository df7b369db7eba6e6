"""One writer a study: a lock of the operating system, which a process can't take to its grave."""

from __future__ import annotations

import json
import os
import platform
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fasthpo.errors import StorageError, StudyInUse

LOCK_FILE = ".lock"
OWNER_FILE = ".owner.json"


class WriterLock:
    """The right to write into a study's directory; held from construction until `release`.

    It is lost when the process ends, however it ends, and is not passed on to processes that it starts. The lock file
    stays; a second file says, for error messages only, who holds it.

    Args:
        directory: the study's, which exists.

    Raises:
        StudyInUse: another study, in whatever process, has it; says which.
        StorageError: the directory can't be written.
    """

    def __init__(self, directory: Path) -> None:
        from filelock import FileLock, Timeout  # takes 20 ms to import

        self._owner_file = directory / OWNER_FILE
        self._path = str(directory / LOCK_FILE)
        self._process = os.getpid()
        self._lock = FileLock(str(directory / LOCK_FILE), timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise StudyInUse(
                f"{directory} is open for writing {self._owner()}; close it there, or read it with "
                "Study.load(path, read_only=True)"
            ) from None
        except OSError as error:
            raise StorageError(
                error.errno,
                f"the study can't be opened for writing: {error.strerror}; read it with "
                "Study.load(path, read_only=True). The file is",
                str(directory / LOCK_FILE),
            ) from error
        self._identity = self._found()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": platform.node(), "since": now, "id": secrets.token_hex(8)}
        self._written = json.dumps(owner)
        with suppress(OSError):  # a full disk must not keep a study from being opened
            self._owner_file.write_text(self._written)

    def _found(self) -> tuple[int, int] | None:
        """Which file is at the lock's path; None if that can't be found out."""
        try:
            status = os.stat(self._lock.lock_file)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def is_taken_over(self) -> bool:
        """Whether somebody has removed the lock file, and another study has made its own there; takes 1 to 2 us."""
        if os.name == "nt":  # where an open file can't be removed
            return False
        try:
            status = os.stat(self._path)
        except OSError:  # nobody has it, as far as can be seen
            return False
        if self._identity in (None, (status.st_dev, status.st_ino)):
            return False
        try:  # there are file systems on which a file's number changes
            return self._owner_file.read_text() != self._written
        except OSError:
            return True

    def _owner(self) -> str:
        try:
            owner = json.loads(self._owner_file.read_text())
            process, host, since = owner["pid"], owner["host"], owner["since"]
        except (OSError, ValueError, KeyError, TypeError):  # it is just being written
            return "somewhere else"
        here = " (this very process)" if (process, host) == (os.getpid(), platform.node()) else ""
        return f"in process {process}{here} on {host} since {since}"

    def release(self) -> None:
        """Let others have it; once is enough. In a process that was forked off, does nothing."""
        if os.getpid() == self._process and self._lock.is_locked:
            found = self._found()
            if None in (found, self._identity) or found == self._identity:  # else the directory is another study's now
                with suppress(OSError):
                    self._owner_file.unlink()
            self._lock.release()
