"""The records of a journal: one for each thing that changes a study.

A record is a msgpack array of a kind and what belongs to it. Arrays of numbers are binary, little-endian: rows of
parameters float64, trial numbers and draws int64, states int8. Times are seconds since the epoch. What a study of a
multi-fidelity strategy has in addition is in brackets.

    ASK        number, draw, start, row [, bracket, resource, start of the leg (, fork)]  a new trial runs
    ASK_MANY   first number, draws, start, rows                                      several new ones, in sequence
    ASK_AGAIN  number, start, row or nil [, bracket, resource, start of the leg (, fork)]  a waiting or paused one runs
    REPORT     number, step, value
    TELL       number, state, value, end [, charge] | number, state, value, end, charge or nil, metrics or nil, error
               or nil [, constraints]                                                a running trial has ended or paused
    TELL_MANY  numbers, states, values, end [, constraints]
    ADD        first number, rows, values, start, end, resource or nil [, constraints]
                                                                                     trials whose results are known
    ENQUEUE    number, row with NaN for what is not given
    REQUEUE    -                                    all running trials wait to be asked anew; see `History`
    ATTRIBUTE  name, value as JSON
    DEFINE     JSON                                 from here on with another sampler, pruner or strategy

A fork is there in the first leg of a trial of a population: its member, its generation, its parent's number or -1, and
the resource that the parent had reached.

and of a study that learns its space (its head, and each DEFINE, has the space as it is then)

    SPACE      JSON                                 the space has grown, or more of it was learnt; rows that follow have
                                                    as many numbers as there are parameters then
    REWRITE    number, row                          a running trial has other parameters than it began with

and of any

    NOTE       number, name, value as JSON          an attribute of a trial

Under several objectives the values of REPORT and TELL are arrays, too, and those of several trials stand one trial's
after the other's, as rows do. So do constraints, which are there where any were told; NaN are those of a trial that
was told none.

One frame may hold several records, one after the other; then they happened together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo.space.open_space import definition_of
from fasthpo.storage.framing import frame
from fasthpo.trials.history import History, Recorder
from fasthpo.trials.objectives import Values
from fasthpo.trials.reports import NONE
from fasthpo.values import FloatArray, IntArray

_CHUNK = 2**22  # bytes of rows that a record of many trials holds at most; each such record has a frame of its own


class Kind(IntEnum):
    """What a record is about; the number is what stands in the file."""

    DEFINE = 0
    ASK = 1
    ASK_MANY = 2
    ASK_AGAIN = 3
    REPORT = 4
    TELL = 5
    TELL_MANY = 6
    ADD = 7
    ENQUEUE = 8
    REQUEUE = 9
    ATTRIBUTE = 10
    SPACE = 11
    REWRITE = 12
    NOTE = 13


# plain integers, which are packed faster than members of an enumeration
_DEFINE, _ASK, _ASK_MANY, _ASK_AGAIN, _REPORT, _TELL, _TELL_MANY, _ADD, _ENQUEUE, _REQUEUE, _ATTRIBUTE = range(11)
_SPACE, _REWRITE, _NOTE = range(11, 14)


class JournalRecorder(Recorder):
    """Makes the records of what a study does, each right after it was done.

    Args:
        history: the study's.

    Attributes:
        is_empty: whether there are no records to take.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._table = history.table
        self._packer = msgpack.Packer(autoreset=False, unicode_errors="surrogatepass")
        self._sealed: list[bytes] = []
        self.is_empty = True

    def take(self) -> bytes:
        """The records made since the last call, in frames, which are then forgotten; empty if there are none."""
        if self.is_empty:
            return b""
        self._seal()
        frames = self._sealed[0] if len(self._sealed) == 1 else b"".join(self._sealed)
        self._sealed.clear()
        self.is_empty = True
        return frames

    def _seal(self) -> None:
        """What follows belongs to another frame."""
        self._sealed.append(frame(self._packer.bytes()))
        self._packer.reset()

    def discard(self) -> None:
        """Forget the records made since the last `take`; the history is recorded in another way."""
        self._packer.reset()
        self._sealed.clear()
        self.is_empty = True

    def _add(self, record: tuple[Any, ...]) -> None:
        self.is_empty = False
        self._packer.pack(record)

    def asked(self, number: int, is_new: bool) -> None:
        table = self._table
        start = table._starts.item(number)
        leg: tuple[Any, ...] = ()
        if number in table.segments.open:
            opened = table.segments.open[number].start
            leg = (table._brackets.item(number), int(table._resources[number]), opened)
            if number in table.lineage and table.segments.latest(number) == NONE:
                leg = (*leg, *(table.lineage.of(number) or ()))
        if is_new:
            row = _bytes(table._params[:, number], "<f8")
            self._add((_ASK, number, table._draws.item(number), start, row, *leg))
        else:
            # a trial that has ended a leg has had its parameters ever since
            known = table.segments.latest(number) != NONE
            given = None if known else _bytes(table._params[:, number], "<f8")
            self._add((_ASK_AGAIN, number, start, given, *leg))

    def asked_many(self, first: int, count: int) -> None:
        table = self._table
        for begin, end in _chunks(first, count, 8 * len(table.space)):
            rows = _bytes(table._params[:, begin:end].T, "<f8")
            draws = _bytes(table._draws[begin:end], "<i8")
            if begin > first:
                self._seal()
            self._add((_ASK_MANY, begin, draws, table._starts.item(begin), rows))

    def enqueued(self, number: int) -> None:
        self._add((_ENQUEUE, number, _bytes(self._table._params[:, number], "<f8")))

    def reported(self, number: int, step: int, value: Values) -> None:
        self._add((_REPORT, number, step, value if isinstance(value, float) else _bytes(value, "<f8")))

    def told(
        self,
        number: int,
        state: int,
        value: Values,
        charge: int | None,
        metrics: Mapping[str, float] | None,
        error: str | None,
        constraints: FloatArray | None,
    ) -> None:
        table = self._table
        reached = value if table.objectives.count == 1 else _bytes(table._values[number], "<f8")
        record = (_TELL, number, state, reached, table._ends.item(number))
        if constraints is not None:
            self._add((*record, charge, metrics or None, error, _bytes(constraints, "<f8")))
        elif metrics or error is not None:
            self._add((*record, charge, metrics or None, error))
        else:
            self._add(record if charge is None else (*record, charge))

    def told_many(
        self, numbers: IntArray, states: npt.NDArray[np.int8], values: FloatArray, constraints: FloatArray | None
    ) -> None:
        for begin, end in _chunks(0, len(numbers), 9 + _width(values) + _width(constraints)):
            some = slice(begin, end)
            moment = self._table._ends.item(int(numbers[begin]))
            parts = (_bytes(numbers[some], "<i8"), _bytes(states[some], "|i1"), _bytes(values[some], "<f8"))
            told = () if constraints is None else (_bytes(constraints[some], "<f8"),)
            if begin:
                self._seal()
            self._add((_TELL_MANY, *parts, moment, *told))

    def added(self, first: int, values: FloatArray, resource: int | None, constraints: FloatArray | None) -> None:
        table = self._table
        more = 0 if values.ndim == 1 else _width(values)
        for begin, end in _chunks(first, len(values), 8 * len(table.space) + more + _width(constraints)):
            rows = _bytes(table._params[:, begin:end].T, "<f8")
            reached = _bytes(values[begin - first : end - first], "<f8")
            told = () if constraints is None else (_bytes(constraints[begin - first : end - first], "<f8"),)
            if begin > first:
                self._seal()
            times = table._starts.item(begin), table._ends.item(begin)
            self._add((_ADD, begin, rows, reached, *times, resource, *told))

    def requeued(self) -> None:
        self._add((_REQUEUE,))

    def noted(self, name: str, value: Any) -> None:
        self._add((_ATTRIBUTE, name, json.dumps(value)))

    def noted_on(self, number: int, name: str, value: Any) -> None:
        self._add((_NOTE, number, name, json.dumps(value)))

    def widened(self) -> None:
        self._add((_SPACE, json.dumps(definition_of(self._table.space))))

    def rewritten(self, number: int) -> None:
        self._add((_REWRITE, number, _bytes(self._table._params[:, number], "<f8")))

    def defined(self, text: str) -> None:
        """The study goes on with other parts."""
        self._add((_DEFINE, text))


def _width(array: FloatArray | None) -> int:
    """How many bytes of an array belong to a trial."""
    return 0 if array is None else 8 * (array.shape[1] if array.ndim == 2 else 1)


def _bytes(array: npt.NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype).tobytes()


def _chunks(first: int, count: int, size: int) -> Iterator[tuple[int, int]]:
    """The numbers from `first` on in pieces of so many that take at most `_CHUNK` bytes."""
    step = max(1, _CHUNK // max(size, 1))
    for begin in range(first, first + count, step):
        yield begin, min(begin + step, first + count)
