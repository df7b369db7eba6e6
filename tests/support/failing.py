"""A disk whose k-th system call fails, whichever that is, and maybe those after it."""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)  # an EINTR never comes out of Python, which tries again
_BY_PATH = ("mkdir", "unlink", "remove", "rmdir", "replace", "rename", "stat", "lstat", "scandir", "listdir", "open")
_BY_DESCRIPTOR = ("write", "read", "close", "fsync", "ftruncate", "lseek", "fstat")
_open = io.open


class FailingDisk:
    """Counts the system calls for what lies in a directory, and has some of them fail.

    A write that fails has written half of its bytes.

    Args:
        patch: undoes all of it.
        top: the directory.

    Attributes:
        calls: the names of the calls so far.
        failed: the names of those that have failed.
    """

    def __init__(self, patch: pytest.MonkeyPatch, top: Path) -> None:
        self._top = os.path.realpath(top)
        self._turns, self._error, self._short = range(0), 0, False
        self._wanted: list[str] = []
        self._rests = False
        self._descriptors: set[int] = set()
        self._lock = threading.Lock()
        self.calls: list[str] = []
        self.failed: list[str] = []
        for name in _BY_PATH:
            patch.setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in _BY_DESCRIPTOR:
            patch.setattr(os, name, self._by_descriptor(name, getattr(os, name)))
        for module in (io, builtins):
            patch.setattr(module, "open", self._opened)

    def fail(self, at: int, error: int = errno.EIO, times: int = 1, short: bool = False) -> None:
        """Have so many calls fail, from the one with the index `at` on, counted from now on.

        With `short`, they don't fail, but write a single byte.
        """
        self._turns, self._error, self._short = range(at, at + times), error, short
        self._wanted = []
        self.calls, self.failed = [], []

    def fail_in_turn(self, *names: str) -> None:
        """Have the next call of the first name fail, then the next one of the second, and so on."""
        self.fail(-1)
        self._wanted = list(names)

    def _is_due(self, name: str) -> bool:
        """Whether the next call fails, if it is of this name."""
        return not self._rests and (len(self.calls) in self._turns or self._wanted[:1] == [name])

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nothing fails and nothing is counted, for looking at the files."""
        self._rests = True
        try:
            yield
        finally:
            self._rests = False

    def _is_here(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self._top)

    def count(self, name: str, path: Any = None) -> None:
        """Note a call; raises if it is the one that fails."""
        if self._rests:
            return
        with self._lock:
            due = self._is_due(name)
            self.calls.append(name)
            if not due:
                return
            self.failed.append(name)
            self._wanted[:1] = []
        if not self._short:
            raise OSError(self._error, os.strerror(self._error), path)

    def part(self, data: Any) -> int | None:
        """Note a write; of how many bytes it takes only a part, if it does. If that is to be followed by an error, it is
        counted again."""
        if not self._is_due("write"):
            self.count("write")
            return None
        if self._short:
            self.count("write")
            return 1
        return len(data) // 2

    def _by_path(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if not self._is_here(path):
                return original(path, *arguments, **options)
            self.count(name, str(path))
            result = original(path, *arguments, **options)
            if name == "open":
                self._descriptors.add(result)
            return result

        return call

    def _by_descriptor(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *arguments: Any) -> Any:
            if descriptor not in self._descriptors:
                return original(descriptor, *arguments)
            if name == "write":
                return self._write(original, descriptor, arguments[0])
            if name == "close":  # which closes in any case
                self._descriptors.discard(descriptor)
                original(descriptor)
                self.count(name)
                return None
            self.count(name)
            # no power is cut here, and syncing takes long
            return None if name == "fsync" else original(descriptor, *arguments)

        return call

    def _write(self, original: Callable[..., int], descriptor: int, data: bytes) -> int:
        part = self.part(data)
        written = original(descriptor, data if part is None else data[:part])
        if part is not None and not self._short:
            self.count("write")
        return written

    def _opened(
        self, path: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *more: Any, **options: Any
    ) -> Any:
        if not self._is_here(path):
            return _open(path, mode, buffering, encoding, *more, **options)
        self.count("open", str(path))
        raw = _File(self, path, mode.replace("b", "").replace("t", ""))
        self._descriptors.add(raw.fileno())
        if buffering == 0:
            return raw
        file: Any = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        return file if "b" in mode else io.TextIOWrapper(file, encoding)

    def forget(self, descriptor: int) -> None:
        self._descriptors.discard(descriptor)


class _File(io.FileIO):
    """A file whose calls are counted."""

    def __init__(self, disk: FailingDisk, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        part = self._disk.part(data)
        written = super().write(data if part is None else bytes(data)[:part])
        if part is not None and not self._disk._short:
            self._disk.count("write")
        return written

    def readinto(self, buffer: Any) -> int:
        self._disk.count("read")
        return super().readinto(buffer)

    def read(self, size: int | None = -1) -> bytes:
        self._disk.count("read")
        return super().read(-1 if size is None else size)

    def readall(self) -> bytes:
        self._disk.count("read")
        return super().readall()

    def close(self) -> None:
        if self.closed:
            return
        self._disk.forget(self.fileno())
        super().close()
        self._disk.count("close")
