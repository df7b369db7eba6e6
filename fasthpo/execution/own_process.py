"""A trial of an executor's in a process of its own, which can be ended without the executor's worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fasthpo.errors import TrialStateError
from fasthpo.execution.backends.base import Ended, Job, Limits
from fasthpo.execution.backends.processes import Processes
from fasthpo.execution.devices import Slot
from fasthpo.execution.messages import UNANSWERED, Message
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.remote_trial import Channel

_LOOK = 0.5  # seconds between two looks at whether the run goes on


class RelayChannel(Channel, Protocol):
    """A channel that also passes on answers as they are."""

    def exchange(self, message: Message) -> Message:
        """Ask something; the reply as it came."""


class _Relay:
    """Passes the messages of a trial in a process of its own on to the study."""

    def __init__(self, channel: RelayChannel) -> None:
        self._channel = channel

    def take(self, number: int, message: Message) -> Message | None:
        if message[0] not in UNANSWERED:
            return self._channel.exchange(message)
        self._channel.send(message)
        return None


def work_in_own_process(
    objective: bytes,
    job: Job,
    channel: RelayChannel,
    spec: OutcomeSpec,
    limits: Limits,
    is_over: Callable[[], bool],
) -> Ended:
    """As `worker_main.work`, in a process that is ended when the trial takes more than it may.

    Args:
        objective: its pickle.
        job: the trial's.
        channel: to the study.
        spec: what is to be made of that which the objective returns.
        limits: what the trial may take.
        is_over: whether the run has ended, asked twice a second.

    Raises:
        TrialStateError: it has.
    """
    pool = Processes(objective, spec, _Relay(channel), [Slot()], limits)
    with pool:
        pool.submit_job(job)
        while not (ended := pool.wait(_LOOK)):
            if is_over():
                raise TrialStateError("the run that this trial belongs to is over")
    return ended[0]
