"""What a worker and the study say to each other: short lists of plain values, packed by msgpack.

A worker's messages are never unpickled, so that whatever it sends can do no more than end that worker. What the study
sends may hold pickles, as a worker runs the user's own code anyway.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import msgpack

from fasthpo.errors import FastHPOError, RemoteFailure
from fasthpo.execution.backends.base import Ended, FailureKind

Message: TypeAlias = list[Any]
LARGEST = 64 * 2**20  # bytes of one message
_LONGEST = 2**23  # characters of an error, of four bytes at most


class CorruptMessage(FastHPOError, ValueError):
    """A worker has sent what is no message."""


class Says(IntEnum):
    """What the first entry of a worker's message means; each line lists the entries that follow."""

    HELLO = 1  # who it is, or for which job it speaks
    READY = 2  # it has loaded the objective; on Ray: its trial begins, which wants a reply
    UNLOADABLE = 3  # why it can't load the objective
    REPORT = 4  # value, step
    PRUNE = 5  # should the trial be pruned? wants a reply
    READ = 6  # the name of a `TrialSource` method, what it says of the trial; wants a reply
    SYNC = 7  # wants a reply, which says that all messages before were dealt with
    STOP = 8  # end the run, as `tuner.stop()` does
    DONE = 9  # the fields of `Ended`; from a process of ours also whether it is spoiled
    FETCH = 10  # wants the pickled objective, as it is, and nothing else of this connection
    OVER = 11  # the bytes of memory that the trial's process takes, which are too many


class Told(IntEnum):
    """What the first entry of a message to a worker means."""

    REPLY = 1  # the value asked for
    REFUSED = 2  # the class of the error to raise, its text
    JOB = 3  # a pickled `Job`


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    packed: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return packed


def unpacker() -> Any:
    """A msgpack unpacker, to be fed with what arrives."""
    return msgpack.Unpacker(max_buffer_size=LARGEST, unicode_errors="surrogatepass", strict_map_key=False)


def pack_ended(ended: Ended) -> Message:
    """A worker's result as plain values; the exception behind a failure stays where it is."""
    error, half = ended.error, _LONGEST // 2
    if len(error) > _LONGEST:  # better than that the worker is given up, and all of it is lost
        error = f"{error[:half]}\n... ({len(error) - 2 * half} characters are left out) ...\n{error[-half:]}"
    return [ended.number, ended.value, dict(ended.metrics), ended.pruned, ended.failure, error]


def unpack_ended(message: Any, number: int) -> Ended:
    """The result that `pack_ended` packed, of the trial with that number.

    Raises:
        CorruptMessage: it is none, or of another trial.
    """
    match message:
        case [int(n), None | float() as value, dict(metrics), None | str() as pruned, None | str() as kind, str(error)]:
            if n != number:
                raise CorruptMessage(f"it said that trial {n} has ended, which it did not have")
            numbers = all(isinstance(name, str) and isinstance(x, float) for name, x in metrics.items())
            known = kind is None or kind in list(FailureKind)
            one = sum(x is not None for x in (value, pruned, kind)) == 1
            if numbers and known and one and value == value:
                failure = None if kind is None else FailureKind(kind)
                cause = None if failure is None else RemoteFailure(error)
                return Ended(n, value, metrics, pruned, failure, error, cause)
    raise CorruptMessage(f"what it said of its trial can't be read: {message!r:.200}")
