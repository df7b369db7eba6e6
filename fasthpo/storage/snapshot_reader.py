"""Reading a snapshot: lengths, types and counts are checked before memory is taken, and the whole before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage.checks import (
    FINISHED,
    LARGEST,
    SteppedParents,
    check_attribute,
    check_failures,
    check_reports,
    check_rows,
    check_trials,
)
from fasthpo.storage.definition import Definition
from fasthpo.storage.framing import Broken, read_frames
from fasthpo.storage.packing import unpack_column, unpack_text
from fasthpo.storage.snapshot_writer import (
    FORMAT,
    LEG_TYPES,
    OPEN_LEG_TYPES,
    REPORT_TYPES,
    TRIAL_TYPES,
    VERSION,
    Head,
    read_head,
)
from fasthpo.trials.frozen import Columns
from fasthpo.trials.history import History
from fasthpo.trials.metrics import MOST_METRICS, Measured
from fasthpo.trials.rebuilding import rebuild
from fasthpo.trials.table import NO_DRAW
from fasthpo.trials.trial import TrialState
from fasthpo.values import IntArray

_T = TypeVar("_T")


class Snapshot(NamedTuple):
    """What a file holds, rebuilt."""

    head: Head
    history: History
    damage: Broken | None  # if some of it is missing
    missing: int  # trials, from the last on


class _Counts(NamedTuple):
    trials: int
    finished: int
    reports: int
    legs: int


class _Group(NamedTuple):
    first: int
    params: npt.NDArray[np.float64]
    trials: dict[str, npt.NDArray[Any]]
    rank: IntArray
    report_index: IntArray
    reports: dict[str, npt.NDArray[Any]]
    leg_index: IntArray
    legs: dict[str, npt.NDArray[Any]]
    metrics: dict[str, tuple[IntArray, npt.NDArray[np.float64]]]  # which trials of the group have it, and its values
    errors: dict[int, str]
    failures: dict[int, int]


def read_snapshot(data: bytes, partly: bool = False) -> Snapshot:
    """The study in the bytes of a file.

    Args:
        data: the whole file.
        partly: of a damaged file, take the trials before the damage.

    Raises:
        CorruptCheckpoint: the file is damaged (unless `partly`, and something is intact), of a version that is not
            known here, or makes no sense.
    """
    frames, damage = read_frames(data)
    if not frames:
        reason = damage.reason if damage else "the file is empty"
        raise CorruptCheckpoint(f"damaged at byte 0 of {len(data)}: {reason}; without its head nothing can be restored")
    head, counts, rest = _read(frames[0][1], _read_head)
    definition = Definition(head.definition)
    definition.check_points()
    d = len(definition.space)
    groups: list[_Group] = []
    got = 0
    for position, payload in frames[1:]:
        try:
            group = _read(payload, lambda unpacker, first=got: _read_group(unpacker, d, first, counts, head))  # type: ignore[misc]
        except CorruptCheckpoint as error:
            damage = Broken(position, str(error), False)
            break
        groups.append(group)
        got += len(group.rank)
    if got < counts.trials and damage is None:
        damage = Broken(len(data), "the file ends there", True)
    if damage is not None and not partly:
        raise CorruptCheckpoint(
            f"damaged at byte {damage.position} of {len(data)}: {damage.reason}; "
            f"the first {got} of {counts.trials} trials are intact"
        )
    history = _assemble(definition, groups, counts, rest, whole=damage is None)
    return Snapshot(head, history, damage, counts.trials - got)


def peek_head(payload: bytes) -> Head:
    """The head in a snapshot's first frame."""
    return _read(payload, lambda unpacker: read_head("checkpoint", unpacker, FORMAT, VERSION))


def _read(payload: bytes, read: Callable[[Any], _T]) -> _T:
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(payload), max_array_len=16, max_map_len=0, max_ext_len=0, unicode_errors="surrogatepass"
    )
    unpacker.feed(payload)
    try:
        return read(unpacker)
    except CorruptCheckpoint:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, msgpack.UnpackException) as error:
        raise CorruptCheckpoint(f"not as it must be ({error!r})") from error


def _numbers(unpacker: Any, count: int) -> list[int]:
    found = unpacker.unpack()
    if type(found) is not list or len(found) != count or any(type(n) is not int or not 0 <= n < LARGEST for n in found):
        raise CorruptCheckpoint(f"there must be {count} numbers that are not negative, got {found!r:.100}")
    return found


def _column(unpacker: Any, what: str, dtype: str, count: int) -> npt.NDArray[Any]:
    column = unpack_column(what, unpacker.unpack(), dtype, count)
    if dtype == "<f8":
        column[np.isnan(column)] = np.nan  # a NaN that signals would do so in every sum
    return column


def _columns(unpacker: Any, types: dict[str, str], count: int) -> dict[str, npt.NDArray[Any]]:
    return {name: _column(unpacker, name, dtype, count) for name, dtype in types.items()}


class _Rest(NamedTuple):
    next_draw: int
    attributes: dict[str, Any]
    waiting: IntArray
    open_legs: dict[str, npt.NDArray[Any]]


def _read_head(unpacker: Any) -> tuple[Head, _Counts, _Rest]:
    head = read_head("checkpoint", unpacker, FORMAT, VERSION)
    counts = _Counts(*_numbers(unpacker, 4))
    more = unpacker.unpack()
    if [type(one) for one in more] != [int, str, int, int] or min(more[0], more[2], more[3]) < 0 or more[0] > LARGEST:
        raise CorruptCheckpoint("the head of the checkpoint is not as it must be")
    try:
        attributes = json.loads(more[1])
    except RecursionError as error:
        raise CorruptCheckpoint("the attributes are nested too deeply") from error
    if type(attributes) is not dict:
        raise CorruptCheckpoint("the attributes must be an object")
    for attribute in attributes.values():
        check_attribute(attribute)
    waiting = _column(unpacker, "waiting", "<i8", more[2])
    return head, counts, _Rest(more[0], attributes, waiting, _columns(unpacker, OPEN_LEG_TYPES, more[3]))


def _read_group(unpacker: Any, d: int, first: int, counts: _Counts, head: Head) -> _Group:
    """The group of the trials from `first` on."""
    end, had_none = counts.trials, head.version == 1
    begins, count, reports, legs, metrics, errors, size, *more = _numbers(unpacker, 7 if had_none else 8)
    if begins != first or not 1 <= count <= end - first:
        raise CorruptCheckpoint(
            f"at most {end - first} trials from {first} on should follow, got {count} from {begins}"
        )
    params = _column(unpacker, "parameters", "<f8", d * count).reshape(d, count)
    columns = _columns(unpacker, TRIAL_TYPES, count)
    rank = _column(unpacker, "rank", "<i8", count)
    report_index = _column(unpacker, "index", "<i8", reports)
    report_columns = _columns(unpacker, REPORT_TYPES, reports)
    leg_index = _column(unpacker, "index", "<i8", legs)
    leg_columns = _columns(unpacker, LEG_TYPES, legs)
    measured: dict[str, Any] = {}
    for _ in range(metrics):
        name = unpacker.unpack()
        if type(name) is not str:
            raise CorruptCheckpoint("a metric's name must be a string")
        column = _column(unpacker, name, "<f8", count)
        here = np.flatnonzero(~np.isnan(column)).astype(np.min_scalar_type(count))
        measured[name] = here, column[here]
        if len(measured) > MOST_METRICS:
            raise CorruptCheckpoint(f"there are more than {MOST_METRICS} metrics")
    failed = _column(unpacker, "errors", "<i8", errors)
    texts = unpack_text(unpacker.unpack(), unpacker.unpack(), errors, size)
    failures = (
        [_column(unpacker, "failures", "<i8", more[0]) for _ in range(2)] if more else [np.empty(0, np.int64)] * 2
    )
    if len(failures[1]) and not 0 <= failures[1].min() <= failures[1].max() <= counts.reports:
        raise CorruptCheckpoint("a trial failed after more reports than there are")
    owners = {"report": report_columns["trial"], "leg": leg_columns["trial"], "error": failed, "failure": failures[0]}
    for what, numbers in owners.items():
        if len(numbers) and not first <= numbers.min() <= numbers.max() < first + count:
            raise CorruptCheckpoint(f"a {what} does not belong to the trials that it stands with")
    return _Group(
        first, params, columns, rank, report_index, report_columns, leg_index, leg_columns, measured,
        dict(zip(failed.tolist(), texts, strict=True)),
        dict(zip(*(column.tolist() for column in failures), strict=True)),
    )  # fmt: skip


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts])


def _in_order(index: IntArray, count: int, what: str, whole: bool) -> IntArray:
    """Where the entry of each index stands; all from 0 to count - 1 must be there, if the file is whole."""
    order = np.argsort(index, kind="stable")
    if whole and not (len(index) == count and np.array_equal(index[order], np.arange(len(index)))):
        raise CorruptCheckpoint(f"the {what} are not numbered from 0 to {count - 1}")
    return order


def _assemble(definition: Definition, groups: list[_Group], counts: _Counts, rest: _Rest, whole: bool) -> History:
    space = definition.space
    params = np.concatenate([np.empty((len(space), 0)), *(group.params for group in groups)], axis=1)
    trials = {name: _joined([group.trials[name] for group in groups], dtype) for name, dtype in TRIAL_TYPES.items()}
    check_trials(trials)
    SteppedParents(space).settle(params)
    check_rows(space, params, trials["states"])
    rank = _joined([group.rank for group in groups], np.int64)
    finished = np.flatnonzero(rank >= 0)
    if not np.array_equal(finished, np.flatnonzero(np.isin(trials["states"], FINISHED))):
        raise CorruptCheckpoint("the order of the tells does not name each finished trial")
    tell_order = finished[_in_order(rank[finished], counts.finished, "finished trials", whole)]
    report_index = _joined([group.report_index for group in groups], np.int64)
    order = _in_order(report_index, counts.reports, "reports", whole)
    report_index = report_index[order]
    reports = {name: _joined([g.reports[name] for g in groups], t)[order] for name, t in REPORT_TYPES.items()}
    check_reports(reports["trial"], reports["step"])
    order = _in_order(_joined([g.leg_index for g in groups], np.int64), counts.legs, "legs", whole)
    legs = {name: _joined([g.legs[name] for g in groups], t)[order] for name, t in LEG_TYPES.items()}
    if not np.isin(legs["state"], (*FINISHED, TrialState.PAUSED)).all():
        raise CorruptCheckpoint("a leg has ended in a state that is no end")
    metrics = _measured(groups)
    errors = {number: text for group in groups for number, text in group.errors.items()}
    # those of lost trials don't count
    failures = {
        number: int(np.searchsorted(report_index, count))
        for group in groups
        for number, count in group.failures.items()
    }
    check_failures(failures, trials["states"], reports["trial"])
    columns = Columns(params, trials, metrics, tell_order, reports, legs, errors, failures)
    waiting, open_legs = _unfinished(columns, rest, report_index, whole)
    history = rebuild(space, definition.direction, columns, waiting, open_legs)
    if rest.next_draw <= int(trials["draws"].max(initial=NO_DRAW)):
        raise CorruptCheckpoint(f"the next draw, {rest.next_draw}, has been drawn already")
    history.next_draw = rest.next_draw
    history.attributes.update(rest.attributes)
    return history


def _measured(groups: list[_Group]) -> Measured:
    """The metrics of all groups, whose columns go meanwhile, as there may be much in them."""
    ids = {name: i for i, name in enumerate(dict.fromkeys(name for group in groups for name in group.metrics))}
    if not ids:
        return Measured.none()
    if len(ids) > MOST_METRICS:
        raise CorruptCheckpoint(f"there are more than {MOST_METRICS} metrics")
    counts = np.zeros(sum(len(group.rank) for group in groups), np.int64)
    for group in groups:
        for here, _ in group.metrics.values():
            counts[group.first : group.first + len(group.rank)][here] += 1
    places = np.cumsum(counts) - counts  # of each trial's next metric
    name, value = np.empty(counts.sum(), np.uint16), np.empty(counts.sum())
    for group in groups:
        for metric in sorted(group.metrics, key=ids.__getitem__):
            here, values = group.metrics.pop(metric)
            of_group = places[group.first : group.first + len(group.rank)]
            at = of_group[here]
            name[at], value[at] = ids[metric], values
            of_group[here] += 1
    return Measured(list(ids), counts, name, value)


def _unfinished(
    columns: Columns, rest: _Rest, report_index: IntArray, whole: bool
) -> tuple[list[int], list[tuple[int, float, int]]]:
    """Which trials wait, and which legs are open."""
    states, count = columns.trials["states"], len(report_index)
    waiting, opened = rest.waiting, rest.open_legs
    if not whole:
        here = opened["number"] < len(states)
        waiting = waiting[waiting < len(states)]
        opened = {name: column[here] for name, column in opened.items()}
        opened["reports"] = np.searchsorted(report_index, opened["reports"])  # those of lost trials don't count
    if not np.array_equal(np.sort(waiting), np.flatnonzero(states == TrialState.WAITING)):
        raise CorruptCheckpoint("the queue does not name each waiting trial once")
    running = np.flatnonzero((states == TrialState.RUNNING) & ~np.isnan(columns.trials["resources"]))
    if not np.array_equal(np.sort(opened["number"]), running):
        raise CorruptCheckpoint("the open legs are not those of the running trials")
    if len(running) and not 0 <= opened["reports"].min() <= opened["reports"].max() <= count:
        raise CorruptCheckpoint("a leg began after more reports than there are")
    return waiting.tolist(), list(zip(*(column.tolist() for column in opened.values()), strict=True))
