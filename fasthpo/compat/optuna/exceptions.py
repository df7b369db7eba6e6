"""Optuna's exceptions, as fasthpo's own or beside them. What fasthpo refuses raises `FastHPOError`, which is one."""

from __future__ import annotations

from fasthpo.errors import FastHPOError, StudyExists, TrialPruned

__all__ = [
    "DuplicatedStudyError",
    "ExperimentalWarning",
    "OptunaError",
    "StorageInternalError",
    "TrialPruned",
    "UpdateFinishedTrialError",
]

OptunaError = FastHPOError
DuplicatedStudyError = StudyExists


class ExperimentalWarning(Warning):
    """Here for programs that filter it; nothing warns so."""


class StorageInternalError(FastHPOError):
    """Here for programs that catch it; fasthpo raises `StorageError`."""


class UpdateFinishedTrialError(FastHPOError, RuntimeError):
    """A trial was told that had ended."""
