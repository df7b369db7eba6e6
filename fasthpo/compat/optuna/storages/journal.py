"""Journal files, in whose places there are directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fasthpo.compat.optuna.storages.places import Storage, beside
from fasthpo.errors import InvalidValue
from fasthpo.values import shown


class JournalFileBackend:
    """The path of a journal file, in whose place there is a directory."""

    def __init__(self, file_path: str, *others: Any, **options: Any) -> None:
        self.path = Path(file_path)


JournalFileStorage = JournalFileBackend


class JournalFileSymlinkLock:
    """Here for programs that give one; a study's directory has a lock of its own."""

    def __init__(self, *others: Any) -> None:
        pass


JournalFileOpenLock = JournalFileSymlinkLock


class JournalStorage(Storage):
    """The directory that takes the place of a journal file."""

    def __init__(self, log_storage: Any) -> None:
        if not isinstance(log_storage, JournalFileBackend):
            raise InvalidValue(
                f"a journal is kept in a directory in the place of a file: JournalFileBackend('study.log'), got "
                f"{shown(log_storage)}"
            )
        super().__init__(beside(log_storage.path))
