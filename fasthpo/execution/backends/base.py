"""What every backend is, what it is handed, and how it says that a trial has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from fasthpo.space.parameter import Value
from fasthpo.trials.trial import Trial


class FailureKind(StrEnum):
    """What made a trial fail; retries are counted by it."""

    ERROR = "error"  #: the objective raised an exception, or came to nothing usable
    LOST = "lost"  #: its worker was killed, crashed, or went away with its machine
    TIMEOUT = "timeout"  #: it took longer than `trial_timeout`
    MEMORY = "memory"  #: it took more than `trial_memory`, or more than there is
    CUDA_MEMORY = "cuda_memory"  #: a GPU had no memory left


@dataclass(frozen=True)
class Ended:
    """How one attempt at a trial has ended.

    Attributes:
        number: the trial's.
        value: what the objective returned, if it completed; of several objectives one for each.
        metrics: further metrics.
        pruned: why it was pruned; "" if it did not say, None if it was not.
        failure: what made it fail, if it did; `error` then says why.
        cause: the exception behind a failure, if it is at hand.
        shared: whether other trials may have used the same GPU meanwhile.
        constraints: what it came to of its constraints, if it completed and has any.
    """

    number: int
    value: float | tuple[float, ...] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    pruned: str | None = None
    failure: FailureKind | None = None
    error: str = ""
    cause: BaseException | None = None
    shared: bool = False
    constraints: tuple[float, ...] | None = None


class Job(NamedTuple):
    """One attempt at a trial, as it is sent to a worker."""

    number: int
    ticket: int  # tells this attempt from others at the same trial
    params: dict[str, Value]
    resource: int | None
    start_resource: int
    alone: bool = False  # no other trial is to use the same GPU meanwhile
    directions: tuple[str, ...] = ("minimize",)  # of the study
    learns_space: bool = False  # whether the objective may ask for further parameters

    @classmethod
    def of(cls, trial: Trial, ticket: int, alone: bool) -> Job:
        learns_space = trial._source.learns_space
        return cls(
            trial.number, ticket, trial.params, trial.resource, trial.start_resource, alone, trial.directions,
            learns_space,
        )  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a trial may take.

    Attributes:
        seconds: after which its process is ended; None for no limit.
        bytes: of resident memory above which its process is ended; None for no limit.
    """

    seconds: float | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.bytes is not None


class Backend(ABC):
    """Runs trials. All methods but `wake` are called by one thread.

    A backend is a context manager: entered before the first trial, and left when the run ends, whatever the reason. It
    leaves no process behind.
    """

    breaks_off: ClassVar[bool] = False  # the objective runs in the caller's thread, so that Ctrl-C breaks it off

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many trials may run at the same time."""

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @abstractmethod
    def submit(self, trial: Trial, alone: bool = False) -> None:
        """Start an attempt at a trial. The caller keeps to `capacity`.

        Args:
            trial: the study's handle of it.
            alone: let no other trial use the same GPU meanwhile, where it is on this machine.
        """

    @abstractmethod
    def wait(self, timeout: float | None = None) -> list[Ended]:
        """Trials that have ended; blocks until there is one, something woke it up, or `timeout` seconds have passed.

        Meanwhile what running trials report goes to the study, and their questions are answered.
        """

    def wake(self) -> None:  # noqa: B027  (nothing to wake where the objective itself runs)
        """Have `wait` return soon; from a signal handler or any thread."""

    def abort(self) -> None:  # noqa: B027  (nothing runs by itself where the objective is called by `wait`)
        """End all running trials at once, as far as that is possible; `close` follows."""

    def close(self) -> None:  # noqa: B027
        """Release everything; running trials, if there are any, are given up."""
