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


def says_pruned(error: BaseException) -> bool:
    """Whether an exception ends a trial as pruned: fasthpo's, or Optuna's, which callbacks made for it raise."""
    kinds = type(error).__mro__
    return isinstance(error, TrialPruned) or any(
        kind.__name__ == "TrialPruned" and kind.__module__.split(".")[0] == "optuna" for kind in kinds
    )


class ExperimentalWarning(Warning):
    """Here for programs that filter it; nothing warns so."""


class StorageInternalError(FastHPOError):
    """Here for programs that catch it; fasthpo raises `StorageError`."""


class UpdateFinishedTrialError(FastHPOError, RuntimeError):
    """A trial was told that had ended."""
