"""One writer a study: a lock of the operating system, which a process can't take to its grave."""

from __future__ import annotations

import json
import os
import platform
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from fasthpo.errors import StorageError, StudyInUse
from fasthpo.storage.regular import open_regular, read_regular, refuse_irregular

LOCK_FILE = ".lock"
OWNER_FILE = ".owner.json"


class Owner(NamedTuple):
    """Who has a study open for writing, as its directory says.

    Attributes:
        process: its number.
        host: the machine's name.
        since: when it was opened, ISO 8601, UTC.
    """

    process: int
    host: str
    since: str

    @property
    def may_live(self) -> bool:
        """Whether the process may still be there; of another machine's that can't be known."""
        import psutil

        return self.host != platform.node() or bool(psutil.pid_exists(self.process))


def read_owner(directory: Path) -> Owner | None:
    """Who has a study open for writing, or has left it so when it was killed; None if nobody has, as far as is known.

    Only `WriterLock` knows for certain: this is for messages, and takes no lock from anybody.
    """
    try:
        owner = json.loads(read_regular(directory / OWNER_FILE))
        found = Owner(owner["pid"], owner["host"], owner["since"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it is just being written
        return None
    is_one = type(found.process) is int and isinstance(found.host, str) and isinstance(found.since, str)
    return found if is_one and 0 < found.process < 2**31 else None


class WriterLock:
    """The right to write into a study's directory; held from construction until `release`.

    It is lost when the process ends, however it ends, and is not passed on to processes that it starts. The lock file
    stays; a second file says, for error messages only, who holds it.

    Args:
        directory: the study's, which exists.

    Raises:
        StudyInUse: another study, in whatever process, has it; says which.
        StorageError: the directory can't be written, or one of the two is no regular file.
    """

    def __init__(self, directory: Path) -> None:
        from filelock import FileLock, Timeout  # takes 20 ms to import

        self._owner_file = directory / OWNER_FILE
        self._path = str(directory / LOCK_FILE)
        self._process = os.getpid()
        self._is_new = not os.path.lexists(directory / LOCK_FILE)
        for name in (LOCK_FILE, OWNER_FILE):
            refuse_irregular(directory / name)
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
        self._written = ""
        with suppress(OSError, ValueError, OverflowError):  # a full disk, or a clock beyond all years, keeps nobody out
            now = datetime.now(UTC).isoformat(timespec="seconds")
            owner = {"pid": os.getpid(), "host": platform.node(), "since": now, "id": secrets.token_hex(8)}
            self._written = json.dumps(owner)
            self._write_owner(self._written)

    def _write_owner(self, text: str) -> None:
        self._owner_file.unlink(missing_ok=True)  # which may be another file's name, too
        with open(open_regular(self._owner_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            file.write(text)

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
        owner = read_owner(self._owner_file.parent)
        if owner is None:
            return "somewhere else"
        here = " (this very process)" if (owner.process, owner.host) == (os.getpid(), platform.node()) else ""
        return f"in process {owner.process}{here} on {owner.host} since {owner.since}"

    def release(self, unused: bool = False) -> None:
        """Let others have it; once is enough. In a process that was forked off, does nothing.

        Args:
            unused: no study came to be there: the lock file goes, too, if it was made for this one.
        """
        if os.getpid() == self._process and self._lock.is_locked:
            found = self._found()
            if None in (found, self._identity) or found == self._identity:  # else the directory is another study's now
                with suppress(OSError):
                    self._owner_file.unlink()
            goes = unused and self._is_new and found == self._identity
            if goes and os.name != "nt":  # while it is held: who opens it later finds that it is gone
                with suppress(OSError):
                    os.unlink(self._lock.lock_file)
            self._lock.release()
            if goes and os.name == "nt":  # where no open file can be removed
                with suppress(OSError):
                    os.unlink(self._lock.lock_file)
