"""Optuna's storages by their names. Studies are kept in directories of fasthpo's, see `places`."""

from __future__ import annotations

from fasthpo.compat.optuna.storages import journal
from fasthpo.compat.optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileStorage,
    JournalFileSymlinkLock,
    JournalStorage,
)
from fasthpo.compat.optuna.storages.places import (
    InMemoryStorage,
    RDBStorage,
    RetryFailedTrialCallback,
)

__all__ = [
    "InMemoryStorage",
    "JournalFileBackend",
    "JournalFileOpenLock",
    "JournalFileStorage",
    "JournalFileSymlinkLock",
    "JournalStorage",
    "RDBStorage",
    "RetryFailedTrialCallback",
    "journal",
]
