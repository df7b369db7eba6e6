"""What a worker and the study say to each other: short lists of plain values, packed by msgpack.

A worker's messages are never unpickled, so that whatever it sends can do no more than end that worker. What the study
sends may hold pickles, as a worker runs the user's own code anyway.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import Any, TypeAlias

import msgpack

from fasthpo.errors import FastHPOError, RemoteFailure
from fasthpo.execution.backends.base import Ended, FailureKind
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.objectives import MOST_OBJECTIVES
from fasthpo.trials.outcome import error_text

Message: TypeAlias = list[Any]
LARGEST = 64 * 2**20  # bytes of one message
_MOST_METRICS = 2**16  # of a trial that a worker sends, of which a study keeps far fewer
_MOST_ENTRIES = max(8, MOST_OBJECTIVES, MOST_CONSTRAINTS)  # of a list that a worker sends
_MOST_CONTAINERS = 8  # lists and mappings of a message that a worker sends, which has five


class CorruptMessage(FastHPOError, ValueError):
    """A worker has sent what is no message."""


class Says(IntEnum):
    """What the first entry of a worker's message means; each line lists the entries that follow."""

    HELLO = 1  # who it is, or for which job it speaks
    READY = 2  # it has loaded the objective; on Ray: its trial begins, which wants a reply; in a batch job: it is idle,
    # and whether it takes a trial
    UNLOADABLE = 3  # why it can't load the objective
    REPORT = 4  # value (of several objectives a list), step
    PRUNE = 5  # should the trial be pruned? wants a reply
    READ = 6  # the name of a `TrialSource` method, what it says of the trial; wants a reply
    SYNC = 7  # wants a reply, which says that all messages before were dealt with
    STOP = 8  # end the run, as `tuner.stop()` does
    DONE = 9  # the fields of `Ended`; from a process of ours also whether it is spoiled
    FETCH = 10  # wants the pickled objective, as it is, and nothing else of this connection
    OVER = 11  # the bytes of memory that the trial's process takes, which are too many
    SUGGEST = 12  # a parameter's name, its definition as JSON; wants a reply, the value
    NOTE = 13  # an attribute's name, its value as JSON; wants a reply


UNANSWERED = (Says.REPORT, Says.STOP)  # all that an objective says without waiting for a reply


class Told(IntEnum):
    """What the first entry of a message to a worker means."""

    REPLY = 1  # the value asked for
    REFUSED = 2  # the class of the error to raise, its text
    JOB = 3  # a pickled `Job`
    OVER = 4  # there is no further trial for this worker


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    packed: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return packed


class Reader:
    """Takes what arrives, in pieces, and finds the messages in it.

    Args:
        bounded: whether a worker has sent it. What it sends must then take about as much memory as it has bytes: a byte
            can stand for an empty mapping of 64.
    """

    def __init__(self, bounded: bool) -> None:
        limits: dict[str, Any] = {}
        if bounded:
            limits = {
                "max_array_len": _MOST_ENTRIES, "max_map_len": _MOST_METRICS, "max_bin_len": 0, "max_ext_len": 0,
                "list_hook": self._counted, "object_hook": self._counted,
            }  # fmt: skip
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=LARGEST, unicode_errors="surrogatepass", strict_map_key=False, **limits
        )
        self._containers = 0  # of the message that is being read
        self._fed = 0
        self._complete = 0  # bytes of the messages that are complete

    def _counted(self, container: Any) -> Any:
        self._containers += 1
        if self._containers > _MOST_CONTAINERS:
            raise CorruptMessage("a message of it has too many lists and mappings")
        return container

    @property
    def unfinished(self) -> int:
        """How many bytes have come of a message that is not complete."""
        return self._fed - self._complete

    def feed(self, piece: bytes) -> None:
        """Take what has arrived.

        Raises:
            CorruptMessage: a message is too long.
        """
        try:
            self._unpacker.feed(piece)
        except msgpack.BufferFull:
            raise CorruptMessage("a message of it is too long") from None
        self._fed += len(piece)

    def complete(self) -> Iterator[Message]:
        """The messages that are complete, each once.

        Raises:
            CorruptMessage: what came is no stream of messages.
        """
        while True:
            try:
                message = next(self._unpacker)
            except StopIteration:
                return
            except Exception as error:  # msgpack's own, ValueError, UnicodeDecodeError
                raise CorruptMessage(f"what it sent can't be read: {error or type(error).__name__}") from None
            self._complete = self._unpacker.tell()
            self._containers = 0
            if not isinstance(message, list) or not message:
                raise CorruptMessage(f"what it sent is no message: {outline(message)}")
            yield message


_outlines = reprlib.Repr()
_outlines.maxstring = 60


def outline(message: Any) -> str:
    """The beginning of a message, which may be long, as an error tells it."""
    return f"{_outlines.repr(message):.200}"


def pack_ended(ended: Ended) -> Message:
    """A worker's result as plain values; the exception behind a failure stays where it is."""
    error = error_text(ended.error)  # better short than that the worker is given up, and all of it is lost
    metrics = dict(islice(ended.metrics.items(), _MOST_METRICS))
    # lists, as msgpack would make them of tuples: Ray and executors carry the message as it is
    value = list(ended.value) if isinstance(ended.value, tuple) else ended.value
    constraints = None if ended.constraints is None else list(ended.constraints)
    return [ended.number, value, metrics, ended.pruned, ended.failure, error, constraints]


def unpack_ended(message: Any, number: int) -> Ended:
    """The result that `pack_ended` packed, of the trial with that number.

    Raises:
        CorruptMessage: it is none, or of another trial.
    """
    match message:
        case [
            int(n), None | float() | list() as value, dict(metrics), None | str() as pruned, None | str() as kind,
            str(error), None | list() as constraints,
        ]:  # fmt: skip
            if n != number:
                raise CorruptMessage(f"it said that trial {n} has ended, which it did not have")
            numbers = all(isinstance(name, str) and isinstance(x, float) for name, x in metrics.items())
            known = kind is None or kind in list(FailureKind)
            one = sum(x is not None for x in (value, pruned, kind)) == 1
            reached = [*(value if isinstance(value, list) else [value] * (value is not None)), *(constraints or ())]
            valid = all(isinstance(x, float) and x == x for x in reached)
            if numbers and known and one and valid:
                failure = None if kind is None else FailureKind(kind)
                cause = None if failure is None else RemoteFailure(error)
                values = tuple(value) if isinstance(value, list) else value
                told = None if constraints is None else tuple(constraints)
                return Ended(n, values, metrics, pruned, failure, error, cause, constraints=told)
    raise CorruptMessage(f"what it said of its trial can't be read: {outline(message)}")
