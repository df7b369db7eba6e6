"""Every exception that fasthpo raises on purpose.

All of them derive from `FastHPOError`, and each also from the builtin that a caller would expect, so that
`except ValueError` goes on working. A message states the rule that was broken and the value that broke it.
"""

from __future__ import annotations


class FastHPOError(Exception):
    """The root of all errors raised by fasthpo."""


class InvalidSearchSpace(FastHPOError, ValueError):
    """A parameter or a search space that cannot exist."""


class InvalidParameters(FastHPOError, ValueError):
    """Parameter values that do not lie in the search space."""


class InvalidValue(FastHPOError, ValueError):
    """An objective value, a step, a direction or an option that is not what it must be."""


class UnknownTrial(FastHPOError, KeyError):
    """A trial number that the study never gave out."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0]) if self.args else ""


class TrialStateError(FastHPOError, RuntimeError):
    """A trial is not in the state that the call needs, such as a second tell."""


class NoCompletedTrials(FastHPOError, ValueError):
    """The best trial was asked for while no trial has completed with a finite value."""


class SpaceExhausted(FastHPOError, RuntimeError):
    """Every point of the search space (or of the grid) has been suggested."""


class NoTrialToStart(FastHPOError, RuntimeError):
    """No trial can start now: a population waits for the members that run, or has come to its end."""


class StudyExists(FastHPOError, FileExistsError):
    """The place where a study would be kept already holds one."""


class CorruptCheckpoint(FastHPOError, ValueError):
    """A file of a study that is damaged, of an unknown version, or of another study."""


class StorageError(FastHPOError, OSError):
    """A study's files can't be written, for instance because the disk is full, or were removed or replaced.

    The study in memory is complete.
    """


class StudyInUse(FastHPOError, RuntimeError):
    """The study is open for writing somewhere else."""


class StudyReadOnly(FastHPOError, PermissionError):
    """A study that was opened for reading, or belongs to another process, can't be changed."""


class StudyClosed(FastHPOError, ValueError):
    """A study that was closed can't be changed any more."""


class StudyBusy(FastHPOError, RuntimeError):
    """A study was called out of one of its own calls, which is in the middle of a change: from a signal handler."""


class NotCopyable(FastHPOError, TypeError):
    """A study, or what holds one, can't be pickled or copied: save it, and load it wherever it is needed."""


class MissingPackage(FastHPOError, ImportError):
    """A package that is needed for this only is not installed."""


class AllTrialsFailed(FastHPOError, RuntimeError):
    """Each of the first trials failed, so the objective itself is broken; the cause is the last failure."""


class RemoteFailure(FastHPOError, RuntimeError):
    """What failed in another process; the message is the traceback from there."""


class WorkersFailed(FastHPOError, RuntimeError):
    """Workers can't be started, can't load the objective, or their executor is broken; trials told so far are kept."""


class TrialPruned(FastHPOError):
    """Raised by an objective to end its trial early, after `trial.should_prune()` said so."""
