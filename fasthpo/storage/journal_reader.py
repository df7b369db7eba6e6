"""Doing again what the records of a journal say, with every number in them checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo.errors import CorruptCheckpoint
from fasthpo.space.open_space import OpenSpace, space_from_definition
from fasthpo.storage.checks import END_OF_TIME, LARGEST, SteppedParents, check_attribute, check_rows
from fasthpo.storage.definition import with_space
from fasthpo.storage.records import Kind
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.history import History, Segment
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.trials.metrics import MOST_METRICS
from fasthpo.trials.objectives import Values
from fasthpo.trials.outcome import final_states, settled_values
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import NO_DRAW
from fasthpo.trials.trial import TrialState
from fasthpo.trials.tried import TriedPoints
from fasthpo.values import FloatArray


class Replayer:
    """Does again what records say, to a history that is where the recorded one was.

    Args:
        history: what is changed.
        definition: the JSON of the study's definition.

    Attributes:
        definition: the definition as it is after the records so far.
    """

    def __init__(self, history: History, definition: str) -> None:
        self.history = history
        self.definition = definition
        self._parents = SteppedParents(history.table.space)
        self._touched: list[int] = []  # trials that got parameters since `check` was last called
        self._tried: TriedPoints | None = None
        # memory is taken for what is there, not for what a record claims; but for arrays, of which none is long
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=2**32 - 1,
            max_array_len=16,
            max_map_len=2**31 - 1,
            max_ext_len=0,
            unicode_errors="surrogatepass",
        )
        self._fed = 0
        self._actions: dict[int, Callable[..., None]] = {
            Kind.DEFINE: self._define,
            Kind.ASK: self._ask,
            Kind.ASK_MANY: self._ask_many,
            Kind.ASK_AGAIN: self._ask_again,
            Kind.REPORT: self._report,
            Kind.TELL: self._tell,
            Kind.TELL_MANY: self._tell_many,
            Kind.ADD: self._add,
            Kind.ENQUEUE: self._enqueue,
            Kind.REQUEUE: self._requeue,
            Kind.ATTRIBUTE: self._attribute,
            Kind.SPACE: self._space,
            Kind.REWRITE: self._rewrite,
            Kind.NOTE: self._note,
        }

    def replay(self, payload: bytes) -> None:
        """Do what the records of one frame say.

        Raises:
            CorruptCheckpoint: a record does not follow the format, or does not fit the history. The history is of no
                use then, as some of the records may have been done.
        """
        self._fed += len(payload)
        table = self.history.table
        if table.tried is not None:  # takes points only, which what a record says may not be
            self._tried, table.tried = table.tried, None
        try:
            self._unpacker.feed(payload)
            while self._unpacker.tell() < self._fed:
                record = self._unpacker.unpack()
                if type(record) is not list or type(record[0]) is not int:
                    raise CorruptCheckpoint(f"a record must be an array that begins with its kind, got {record!r:.60}")
                self._actions[record[0]](*record[1:])
        except CorruptCheckpoint:
            raise
        except (
            ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, msgpack.UnpackException,
        ) as error:  # fmt: skip
            raise CorruptCheckpoint(f"not a record that could stand there ({error!r})") from error

    def check(self) -> None:
        """Check what is cheap at once only: the parameters of the trials that records have brought.

        Raises:
            CorruptCheckpoint: they are no points of the space.
        """
        table = self.history.table
        touched = np.array(self._touched, np.int64)
        self._touched.clear()
        check_rows(table.space, table.params[:, touched], table.states[touched])
        if self._tried is not None:
            table.tried = self._tried
            table.tried.add(np.ascontiguousarray(table.params[:, touched[~np.isnan(table.starts[touched])]].T))

    # --- one method a kind

    def _ask(self, number: int, draw: int, start: float, row: bytes, *leg: Any) -> None:
        history, table = self.history, self.history.table
        _integer("number", number, len(table), len(table))
        _integer("draw", draw, NO_DRAW, LARGEST)
        history.asked(self._rows(row, 1)[0], draw, _time(start), self._segment(number, *leg) if leg else None)
        self._touched.append(number)
        history.next_draw = max(history.next_draw, draw + 1)

    def _ask_many(self, first: int, draws: bytes, start: float, rows: bytes) -> None:
        history, table = self.history, self.history.table
        _integer("number", first, len(table), len(table))
        drawn = _array("draws", draws, "<i8")
        if len(drawn) == 0 or drawn.min() < NO_DRAW or drawn.max() > LARGEST:
            raise CorruptCheckpoint("draws must be at least one, each from -1 to 2**62")
        history.asked_many(self._rows(rows, len(drawn)), drawn, _time(start))
        self._touched.extend(range(first, len(table)))
        history.next_draw = max(history.next_draw, int(drawn.max()) + 1)

    def _ask_again(self, number: int, start: float, row: bytes | None, *leg: Any) -> None:
        history, table = self.history, self.history.table
        state = self._state(number, TrialState.WAITING, TrialState.PAUSED)
        segment = self._segment(number, *leg) if leg else None
        if state == TrialState.WAITING:
            if history.waiting[0] != number:
                raise CorruptCheckpoint(f"trial {history.waiting[0]} is the first that waits, not {number}")
            full = table.params[:, number].copy() if row is None else self._rows(row, 1)[0]
            history.asked_again(number, full, _time(start), segment)
            self._touched.append(number)
        elif segment is None:
            raise CorruptCheckpoint(f"trial {number} was paused, and goes on without a resource")
        else:
            history.resumed(number, segment)

    def _segment(self, number: int, bracket: int, resource: int, start: float, *fork: Any) -> Segment:
        _integer("bracket", bracket, NONE, 2**31 - 1)
        _integer("resource", resource, 0, 2**53)
        return Segment(bracket, resource, _time(start), self._fork(number, resource, *fork) if fork else None)

    def _fork(self, number: int, resource: int, member: int, generation: int, parent: int, step: int) -> Fork:
        _integer("member", member, 0, 2**31 - 1)
        _integer("generation", generation, 0, 2**31 - 1)
        _integer("parent", parent, NO_PARENT, number - 1)
        return Fork(member, generation, parent, _integer("fork step", step, 0, resource))

    def _report(self, number: int, step: int, value: Any) -> None:
        self._state(number, TrialState.RUNNING)
        _integer("step", step, 0, 2**63 - 1)
        several = self.history.table.objectives.count > 1
        if self.history.reported(number, step, self._vectors(value, 1)[0] if several else _float(value)) != NONE:
            raise CorruptCheckpoint(f"trial {number} has reported at step {step} before")

    def _tell(
        self, number: int, state: int, value: Any, end: float, charge: int | None = None,
        metrics: dict[str, float] | None = None, error: str | None = None, constraints: bytes | None = None,
    ) -> None:  # fmt: skip
        table = self.history.table
        self._state(number, TrialState.RUNNING)
        now = TrialState(_integer("state", state, TrialState.COMPLETE, TrialState.PAUSED))
        if now == TrialState.WAITING or (charge is None and now == TrialState.PAUSED):
            raise CorruptCheckpoint(f"trial {number} can't become {now.name}")
        if (charge is None) == (number in table.segments.open):
            raise CorruptCheckpoint(f"trial {number} must have a charge if it has a resource, and only then")
        reached: Values
        if table.objectives.count == 1:
            reached = _float(value)
            _check_value(now, reached)
        else:
            reached = self._values(value, 1)[0]
            _check_value(now, math.nan if np.isnan(reached).any() else 0.0)
        measured = None
        if metrics is not None:
            if type(metrics) is not dict:
                raise CorruptCheckpoint(f"metrics must be a map, got {metrics!r:.60}")
            measured = {_string(name): _float(one) for name, one in metrics.items()}
            if table.metrics.beyond(measured):
                raise CorruptCheckpoint(f"there are more than {MOST_METRICS} metrics")
        if charge is not None:
            _integer("charge", charge, 0, 2**53)
        why, told = None if error is None else _string(error), self._constraints(constraints, 1)
        limits = None if told is None else told[0]
        self.history.told(number, now, reached, _time(end), charge, measured, why, limits)

    def _tell_many(
        self, numbers: bytes, states: bytes, values: bytes, end: float, constraints: bytes | None = None
    ) -> None:
        table = self.history.table
        asked = _array("numbers", numbers, "<i8")
        reached = self._values(values, len(asked))
        final = _array("states", states, "|i1")
        if len(asked) != len(final) or len(np.unique(asked)) != len(asked):
            raise CorruptCheckpoint("numbers and states must be of the same length, and no number twice")
        if len(asked) and not (0 <= asked.min() <= asked.max() < len(table)):
            raise CorruptCheckpoint("a number is no trial's")
        if not (table.states[asked] == TrialState.RUNNING).all():
            raise CorruptCheckpoint("a trial was told that was not running")
        if not (final == final_states(reached)).all():
            raise CorruptCheckpoint("the states do not go with the values")
        self.history.told_many(asked, final, reached, _time(end), self._constraints(constraints, len(asked)))

    def _add(
        self, first: int, rows: bytes, values: bytes, start: float, end: float, resource: int | None,
        constraints: bytes | None = None,
    ) -> None:  # fmt: skip
        table = self.history.table
        _integer("number", first, len(table), len(table))
        reached = self._values(values, None)
        given = self._rows(rows, len(reached))
        if resource is not None:
            _integer("resource", resource, 1, 2**53)
        told = self._constraints(constraints, len(reached))
        numbers = self.history.added(given, final_states(reached), reached, _time(start), _time(end), resource, told)
        self._touched.extend(numbers.tolist())

    def _enqueue(self, number: int, row: bytes) -> None:
        _integer("number", number, len(self.history.table), len(self.history.table))
        self._touched.append(self.history.enqueued(self._rows(row, 1)[0]))

    def _requeue(self) -> None:
        self.history.requeued()

    def _attribute(self, name: str, text: str) -> None:
        self.history.noted(_string(name), check_attribute(json.loads(_string(text))))

    def _define(self, text: str) -> None:
        self.definition = _string(text)

    def _space(self, text: str) -> None:
        known, wider = self.history.table.space, space_from_definition(json.loads(_string(text)))
        if not isinstance(known, OpenSpace) or not isinstance(wider, OpenSpace):
            raise CorruptCheckpoint("the space of a study that has declared it can't grow")
        if wider.names[: len(known)] != known.names:
            raise CorruptCheckpoint("a space that grows keeps the parameters that it has")
        self.history.widened(wider)
        self.definition = with_space(self.definition, wider)

    def _rewrite(self, number: int, row: bytes) -> None:
        self._state(number, TrialState.RUNNING)
        if not self.history.table.space.is_open:
            raise CorruptCheckpoint(f"trial {number} can't get other parameters")
        self.history.rewritten(number, self._rows(row, 1)[0])
        self._touched.append(number)

    def _note(self, number: int, name: str, text: str) -> None:
        _integer("number", number, 0, len(self.history.table) - 1)
        self.history.noted_on(number, _string(name), check_attribute(json.loads(_string(text))))

    # --- checks

    def _rows(self, packed: bytes, count: int) -> FloatArray:
        d = len(self.history.table.space)
        rows = _array("rows", packed, "<f8")
        if len(rows) != count * d:
            raise CorruptCheckpoint(f"{count} rows must have {count * d} numbers, got {len(rows)}")
        rows = rows.reshape(count, d)
        self._parents.settle(rows.T)
        return rows

    def _values(self, packed: bytes, count: int | None) -> FloatArray:
        """The values of so many trials, None for as many as there are: (n,), of several objectives (n, m)."""
        vectors = self._vectors(packed, count)
        return vectors[:, 0] if vectors.shape[1] == 1 else settled_values(vectors)

    def _vectors(self, packed: bytes, count: int | None) -> FloatArray:
        """As many values as there are objectives for each of so many, (n, m)."""
        m = self.history.table.objectives.count
        values = _array("values", packed, "<f8")
        if len(values) % m or count not in (None, len(values) // m):
            raise CorruptCheckpoint(f"{count} trials must have {m} values each, got {len(values)}")
        return values.reshape(-1, m)

    def _constraints(self, packed: bytes | None, count: int) -> FloatArray | None:
        """What so many trials were told of their constraints, (n, k)."""
        if packed is None:
            return None
        told = _array("constraints", packed, "<f8")
        known = self.history.table.constraints.shape[1]
        k = known or len(told) // max(count, 1)
        if not 1 <= k <= MOST_CONSTRAINTS or len(told) != count * k:
            raise CorruptCheckpoint(f"{count} trials can't have {len(told)} constraints in all")
        rows = told.reshape(count, k)
        missing = np.isnan(rows)
        if (missing.any(axis=1) & ~missing.all(axis=1)).any():
            raise CorruptCheckpoint("a trial lacks some of its constraints")
        return rows

    def _state(self, number: int, *allowed: TrialState) -> TrialState:
        table = self.history.table
        _integer("number", number, 0, len(table) - 1)
        state = table.state(number)
        if state not in allowed:
            raise CorruptCheckpoint(f"trial {number} is {state.name}")
        return state


def _integer(what: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise CorruptCheckpoint(f"{what} must be an integer from {least} to {most}, got {value!r}")
    return value


def _float(value: Any) -> float:
    if type(value) is not float:
        raise CorruptCheckpoint(f"a number must be a float, got {value!r}")
    return value if value == value else math.nan


def _string(value: Any) -> str:
    if type(value) is not str:
        raise CorruptCheckpoint(f"a text must be a string, got {value!r}")
    return value


def _array(what: str, packed: Any, dtype: str) -> npt.NDArray[Any]:
    kind = np.dtype(dtype)
    if type(packed) is not bytes or len(packed) % kind.itemsize:
        raise CorruptCheckpoint(f"{what} must be whole numbers of {kind.itemsize} bytes")
    array = np.frombuffer(packed, kind).astype(kind.newbyteorder("="))
    if dtype == "<f8":
        array[np.isnan(array)] = np.nan  # a NaN that signals would do so in every sum
    return array


def _time(value: Any) -> float:
    if type(value) is not float or not 0 <= value < END_OF_TIME:
        raise CorruptCheckpoint(f"a time must be a number of seconds since 1970, got {value!r}")
    return value


def _check_value(state: TrialState, value: float) -> None:
    if state != TrialState.PRUNED and (value != value) != (state == TrialState.FAILED):
        raise CorruptCheckpoint(f"a trial that is {state.name} can't have the value {value}")
