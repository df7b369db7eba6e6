"""Reading a snapshot: lengths, types and counts are checked before memory is taken, and the whole before it is used."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo.errors import CorruptCheckpoint, StorageError
from fasthpo.storage.checks import (
    FINISHED,
    LARGEST,
    SteppedParents,
    check_attribute,
    check_failures,
    check_lineage,
    check_reports,
    check_rows,
    check_trials,
    without_outside,
)
from fasthpo.storage.definition import Definition
from fasthpo.storage.former_trials import check_former, read_former
from fasthpo.storage.framing import HEAD_SIZE, Broken, claimed_size, frame, payload_at, read_frames
from fasthpo.storage.packing import unpack_column, unpack_text
from fasthpo.storage.snapshot_writer import (
    FORMAT,
    OPEN_SEGMENT_TYPES,
    REPORT_TYPES,
    SEGMENT_TYPES,
    TRIAL_TYPES,
    VERSION,
    Head,
    former_of,
    read_head,
)
from fasthpo.trials.constraints import MOST_CONSTRAINTS, violations_of
from fasthpo.trials.former import Former
from fasthpo.trials.frozen import Columns, Frozen
from fasthpo.trials.history import History
from fasthpo.trials.lineage import COLUMNS as LINEAGE_COLUMNS
from fasthpo.trials.metrics import MOST_METRICS, Measured
from fasthpo.trials.notes import take_notes
from fasthpo.trials.rebuilding import rebuild
from fasthpo.trials.table import INFRASTRUCTURE, NO_DRAW, has_point
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_T = TypeVar("_T")
_FORMER_VERSION = 6
_LOST = INFRASTRUCTURE + "it lay outside of the search space, and what it was is lost with the end of a damaged file"


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
    segments: int


class _Widths(NamedTuple):
    """How many columns there are of something, each with an entry for each trial."""

    parameters: int
    objectives: int
    constraints: int


class _Group(NamedTuple):
    first: int
    params: npt.NDArray[np.float64]
    trials: dict[str, npt.NDArray[Any]]
    rank: IntArray
    report_index: IntArray
    reports: dict[str, npt.NDArray[Any]]
    segment_index: IntArray
    segments: dict[str, npt.NDArray[Any]]
    metrics: dict[str, tuple[IntArray, npt.NDArray[np.float64]]]  # which trials of the group have it, and its values
    errors: dict[int, str]
    failures: dict[int, int]
    lineage: dict[str, IntArray]


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
    widths = _Widths(len(definition.space), len(definition.directions), rest.constraints)
    groups: list[_Group] = []
    got = 0
    for position, payload in frames[1:]:
        if got == counts.trials and head.version >= _FORMER_VERSION:
            break
        try:
            group = _read(payload, lambda unpacker, first=got: _read_group(unpacker, widths, first, counts, head))  # type: ignore[misc]
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
    history = _assemble(definition, groups, counts, rest, got == counts.trials, head.version)
    if head.version >= _FORMER_VERSION and damage is None:
        try:
            former = read_former(frames[1 + len(groups) :], counts.trials, _read_alone)
            check_former(former, history.table)
            history.table.former = former
        except CorruptCheckpoint as error:
            if not partly:
                raise
            damage = Broken(len(data), str(error), False)
    if head.version >= _FORMER_VERSION and history.table.former is None:
        table = history.table
        table.former = Former((), {})  # of trials outside only that is left
        lost = np.flatnonzero((table.states == TrialState.FAILED) & ~has_point(table.params.T))
        table.errors.update(dict.fromkeys(lost.tolist(), _LOST))
    return Snapshot(head, history, damage, counts.trials - got)


def _read_alone(frames: Sequence[tuple[int, bytes]]) -> tuple[History, int]:
    """The trials of a snapshot within another one, and how many frames it has."""
    head, counts, rest = _read(frames[0][1], _read_head)
    if head.version >= _FORMER_VERSION:
        raise CorruptCheckpoint("a former search space has former ones")
    definition = Definition(head.definition)
    definition.check_points()
    widths = _Widths(len(definition.space), len(definition.directions), rest.constraints)
    groups: list[_Group] = []
    got = 0
    while got < counts.trials:
        payload = frames[1 + len(groups)][1]
        group = _read(payload, lambda unpacker, first=got: _read_group(unpacker, widths, first, counts, head))  # type: ignore[misc]
        groups.append(group)
        got += len(group.rank)
    return _assemble(definition, groups, counts, rest, True, head.version), 1 + len(groups)


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
    open_segments: dict[str, npt.NDArray[Any]]
    constraints: int  # of each trial


def _read_head(unpacker: Any) -> tuple[Head, _Counts, _Rest]:
    head = read_head("checkpoint", unpacker, FORMAT, VERSION)
    counts = _Counts(*_numbers(unpacker, 4))
    more = unpacker.unpack()
    types = [int, str, int, int] if head.version < 3 else [int, str, int, int, int]
    if [type(one) for one in more] != types or min(more[0], *more[2:]) < 0 or more[0] > LARGEST:
        raise CorruptCheckpoint("the head of the checkpoint is not as it must be")
    constraints = more[4] if head.version >= 3 else 0
    if constraints > MOST_CONSTRAINTS:
        raise CorruptCheckpoint(f"a trial has more than {MOST_CONSTRAINTS} constraints")
    try:
        attributes = json.loads(more[1])
    except RecursionError as error:
        raise CorruptCheckpoint("the attributes are nested too deeply") from error
    if type(attributes) is not dict:
        raise CorruptCheckpoint("the attributes must be an object")
    for attribute in attributes.values():
        check_attribute(attribute)
    waiting = _column(unpacker, "waiting", "<i8", more[2])
    opened = _columns(unpacker, OPEN_SEGMENT_TYPES, more[3])
    return head, counts, _Rest(more[0], attributes, waiting, opened, constraints)


def _rows(unpacker: Any, what: str, width: int, count: int) -> npt.NDArray[np.float64]:
    """Columns one after the other as an array (count, width)."""
    return np.ascontiguousarray(_column(unpacker, what, "<f8", width * count).reshape(width, count).T)


def _vectors(unpacker: Any, what: str, width: int, count: int) -> npt.NDArray[np.float64]:
    """The same; of each trial all are there, or none."""
    found = _rows(unpacker, what, width, count)
    missing = np.isnan(found)
    if (missing.any(axis=1) & ~missing.all(axis=1)).any():
        raise CorruptCheckpoint(f"a trial lacks some of its {what}")
    return found


def _read_group(unpacker: Any, widths: _Widths, first: int, counts: _Counts, head: Head) -> _Group:
    """The group of the trials from `first` on."""
    end, had_none = counts.trials, head.version == 1
    begins, count, reports, segments, metrics, errors, size, *more = _numbers(unpacker, 7 if had_none else 8)
    if begins != first or not 1 <= count <= end - first:
        raise CorruptCheckpoint(
            f"at most {end - first} trials from {first} on should follow, got {count} from {begins}"
        )
    d, m, k = widths
    params = _column(unpacker, "parameters", "<f8", d * count).reshape(d, count)
    columns: dict[str, npt.NDArray[Any]] = {}
    if m > 1:
        columns["values"] = _vectors(unpacker, "values", m, count)
    columns |= _columns(unpacker, {name: kind for name, kind in TRIAL_TYPES.items() if name not in columns}, count)
    rank = _column(unpacker, "rank", "<i8", count)
    report_index = _column(unpacker, "index", "<i8", reports)
    report_columns = _columns(unpacker, {"trial": "<i8", "step": "<i8"}, reports)
    report_columns["value"] = (
        _column(unpacker, "value", "<f8", reports) if m == 1 else _rows(unpacker, "value", m, reports)
    )
    segment_index = _column(unpacker, "index", "<i8", segments)
    segment_columns = {
        name: _vectors(unpacker, "value", m, segments)
        if m > 1 and name == "value"
        else _column(unpacker, name, t, segments)
        for name, t in SEGMENT_TYPES.items()
    }
    segment_columns["violation"] = (
        _column(unpacker, "violation", "<f8", segments) if head.version >= 4 else np.zeros(segments)
    )
    if not (segment_columns["violation"] >= 0).all():
        raise CorruptCheckpoint("a leg breaks constraints by less than nothing")
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
    if k:
        columns["constraints"] = _vectors(unpacker, "constraints", k, count)
    lineage = {name: _column(unpacker, name, "<i8", count) for name in LINEAGE_COLUMNS if head.version >= 5}
    check_lineage(lineage, first)
    if len(failures[1]) and not 0 <= failures[1].min() <= failures[1].max() <= counts.reports:
        raise CorruptCheckpoint("a trial failed after more reports than there are")
    owners = {
        "report": report_columns["trial"],
        "leg": segment_columns["trial"],
        "error": failed,
        "failure": failures[0],
    }
    for what, numbers in owners.items():
        if len(numbers) and not first <= numbers.min() <= numbers.max() < first + count:
            raise CorruptCheckpoint(f"a {what} does not belong to the trials that it stands with")
    return _Group(
        first, params, columns, rank, report_index, report_columns, segment_index, segment_columns, measured,
        dict(zip(failed.tolist(), texts, strict=True)),
        dict(zip(*(column.tolist() for column in failures), strict=True)),
        lineage,
    )  # fmt: skip


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: Any, width: int = 1) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0 if width == 1 else (0, width), dtype), *parts])


def _in_order(index: IntArray, count: int, what: str, whole: bool) -> IntArray:
    """Where the entry of each index stands; all from 0 to count - 1 must be there, if the file is whole."""
    order = np.argsort(index, kind="stable")
    if whole and not (len(index) == count and np.array_equal(index[order], np.arange(len(index)))):
        raise CorruptCheckpoint(f"the {what} are not numbered from 0 to {count - 1}")
    return order


def _assemble(
    definition: Definition, groups: list[_Group], counts: _Counts, rest: _Rest, whole: bool, version: int
) -> History:
    space = definition.space
    params = np.concatenate([np.empty((len(space), 0)), *(group.params for group in groups)], axis=1)
    m, k = len(definition.directions), rest.constraints
    trials = {
        name: _joined([group.trials[name] for group in groups], dtype, m if name == "values" else 1)
        for name, dtype in TRIAL_TYPES.items()
    }
    if k:
        told = [np.empty((0, k)), *(group.trials["constraints"] for group in groups)]
        trials["constraints"] = np.concatenate(told)
    check_trials(trials)
    SteppedParents(space).settle(params)
    check_rows(space, *_inside(params, trials["states"], version))
    rank = _joined([group.rank for group in groups], np.int64)
    finished = np.flatnonzero(rank >= 0)
    if not np.array_equal(finished, np.flatnonzero(np.isin(trials["states"], FINISHED))):
        raise CorruptCheckpoint("the order of the tells does not name each finished trial")
    tell_order = finished[_in_order(rank[finished], counts.finished, "finished trials", whole)]
    report_index = _joined([group.report_index for group in groups], np.int64)
    order = _in_order(report_index, counts.reports, "reports", whole)
    report_index = report_index[order]
    reports = {
        name: _joined([g.reports[name] for g in groups], t, m if name == "value" else 1)[order]
        for name, t in REPORT_TYPES.items()
    }
    check_reports(reports["trial"], reports["step"])
    order = _in_order(_joined([g.segment_index for g in groups], np.int64), counts.segments, "legs", whole)
    segments = {
        name: _joined([g.segments[name] for g in groups], t, m if name == "value" else 1)[order]
        for name, t in SEGMENT_TYPES.items()
    }
    segments["violation"] = _joined([g.segments["violation"] for g in groups], "<f8")[order]
    if k and version < 4:  # it was not kept what a trial had been told before
        violations = violations_of(trials["constraints"])[segments["trial"]]
        segments["violation"] = np.where(np.isnan(violations), 0.0, violations)
    metrics = _measured(groups)
    errors = {number: text for group in groups for number, text in group.errors.items()}
    # those of lost trials don't count
    failures = {
        number: int(np.searchsorted(report_index, count))
        for group in groups
        for number, count in group.failures.items()
    }
    lineage = {name: _joined([g.lineage[name] for g in groups], "<i8") for name in LINEAGE_COLUMNS if version >= 5}
    columns = Columns(params, trials, metrics, tell_order, reports, segments, errors, failures, lineage)
    _check_together(columns, rest)
    waiting, open_segments = _unfinished(columns, rest, report_index, whole)
    history = rebuild(
        space, definition.directions, columns, waiting, open_segments, definition.noisy, definition.earlier
    )
    history.next_draw = rest.next_draw
    take_notes(history, rest.attributes)
    return history


def _inside(
    params: npt.NDArray[np.float64], states: npt.NDArray[np.int8], version: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Columns and states of the trials that must be points of the space."""
    return without_outside(params, states) if version >= _FORMER_VERSION else (params, states)


def _measured(groups: list[_Group]) -> Measured:
    """The metrics of all groups, whose columns go meanwhile, as there may be much in them."""
    ids = {name: i for i, name in enumerate(dict.fromkeys(name for group in groups for name in group.metrics))}
    if not ids:
        return Measured.none()
    _check_metrics(len(ids))
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


def _check_metrics(count: int) -> None:
    if count > MOST_METRICS:
        raise CorruptCheckpoint(f"there are more than {MOST_METRICS} metrics")


def _check_together(columns: Columns, rest: _Rest) -> None:
    """What must be true of all trials together, besides what is numbered."""
    if not np.isin(columns.segments["state"], (*FINISHED, TrialState.PAUSED)).all():
        raise CorruptCheckpoint("a leg has ended in a state that is no end")
    check_failures(columns.failures, columns.trials["states"], columns.reports["trial"])
    if rest.next_draw <= int(columns.trials["draws"].max(initial=NO_DRAW)):
        raise CorruptCheckpoint(f"the next draw, {rest.next_draw}, has been drawn already")


def _unfinished(
    columns: Columns, rest: _Rest, report_index: IntArray, whole: bool
) -> tuple[list[int], list[tuple[int, float, int]]]:
    """Which trials wait, and which legs are open."""
    states, count = columns.trials["states"], len(report_index)
    waiting, opened = rest.waiting, rest.open_segments
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


# --- reading back what was just written


def check_written(path: Path, frozen: Frozen, columns: Columns, head: Head) -> None:
    """Make sure that a file which was just written can be read and holds all that it should, a group at a time.

    It costs about as much as reading it does, and memory for the largest group.

    Args:
        path: the file.
        frozen, columns, head: what was written to it.

    Raises:
        StorageError: it does not, or what it was written from makes no sense.
        OSError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            _compare(file, frozen, columns, head)
    except (CorruptCheckpoint, ValueError, IndexError) as error:
        raise StorageError(
            errno.EIO,
            f"a checkpoint was not taken, as it does not hold the study when it is read back ({error})",
            str(path),
        ) from error


def _next_payload(file: BinaryIO) -> bytes:
    begin = file.read(HEAD_SIZE)
    payload = payload_at(begin + file.read(claimed_size(begin) - len(begin)), 0)
    if isinstance(payload, str):
        raise CorruptCheckpoint(payload)
    return payload


def _metrics_of(group: _Group, measured: Measured) -> Iterator[tuple[FloatArray, FloatArray]]:
    """By metric what a group has, and what it is to have, NaN where a trial has none."""
    size = len(group.rank)
    wanted = dict(measured.columns(group.first, group.first + size))
    for name in {*group.metrics, *wanted}:
        found = np.full(size, np.nan)
        if name in group.metrics:
            here, values = group.metrics[name]
            found[here] = values
        yield found, wanted.get(name, np.full(size, np.nan))


def _compare(file: BinaryIO, frozen: Frozen, columns: Columns, head: Head) -> None:
    found, counts, rest = _read(_next_payload(file), _read_head)
    opened = list(zip(*(column.tolist() for column in rest.open_segments.values()), strict=True))
    attributes = [json.dumps(one.attributes) for one in (rest, frozen)]  # as texts: no NaN is equal to itself
    same = (found._replace(version=head.version), counts) == (head, frozen.extent)
    if not (
        same
        and (rest.next_draw, rest.waiting.tolist(), opened) == (frozen.next_draw, frozen.waiting, frozen.open_segments)
    ):
        raise CorruptCheckpoint("its head is another one")
    if attributes[0] != attributes[1]:
        raise CorruptCheckpoint("the attributes are others")
    definition, n = Definition(found.definition), counts.trials
    space = definition.space
    widths = _Widths(len(space), len(definition.directions), rest.constraints)
    if widths.constraints != (columns.trials["constraints"].shape[1] if "constraints" in columns.trials else 0):
        raise CorruptCheckpoint("there are other constraints")
    rank = np.full(n, -1, np.int64)
    rank[columns.tell_order] = np.arange(counts.finished)
    is_finished = np.isin(columns.trials["states"], FINISHED)
    if not (np.array_equal(rank >= 0, is_finished) and int(is_finished.sum()) == counts.finished):
        raise CorruptCheckpoint("the order of the tells does not name each finished trial once")
    parents = SteppedParents(space)
    reports, segments = _Found(columns.reports), _Found(columns.segments)
    texts = failures = 0
    first = 0
    while first < n:
        payload = _next_payload(file)
        group = _read(payload, lambda unpacker, first=first: _read_group(unpacker, widths, first, counts, found))  # type: ignore[misc]
        some = slice(first, first + len(group.rank))
        reports.add(group.report_index, group.reports)
        segments.add(group.segment_index, group.segments)
        texts += len(group.errors)
        failures += len(group.failures)
        pairs = [(group.params, columns.params[:, some]), (group.rank, rank[some])]
        pairs += [(group.trials[name], columns.trials[name][some]) for name in columns.trials]
        pairs += _metrics_of(group, columns.metrics)
        pairs += [(group.lineage[name], column[some]) for name, column in columns.lineage.items()]
        if not (
            all(_same(one, other) for one, other in pairs)
            and all(columns.errors.get(number) == text for number, text in group.errors.items())
            and all(columns.failures.get(number) == count for number, count in group.failures.items())
        ):
            raise CorruptCheckpoint(f"the trials from {first} on are others")
        first += len(group.rank)
        check_trials(group.trials)
        parents.settle(group.params)
        check_rows(space, *_inside(group.params, group.trials["states"], found.version))
        check_reports(group.reports["trial"], group.reports["step"])
    follows = (frame(payload) for payload in former_of(frozen))
    if any(file.read(len(one)) != one for one in follows) or file.read(1):
        raise CorruptCheckpoint("what was kept of former search spaces is another")
    if (texts, failures) != (len(columns.errors), len(columns.failures)):
        raise CorruptCheckpoint("it does not end with the last of them")
    reports.check()
    segments.check()
    _check_metrics(len(columns.metrics.names))
    _check_together(columns, rest)
    _unfinished(columns, rest, columns.reports["trial"], whole=True)


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return np.array_equal(one, other, equal_nan=other.dtype.kind == "f")


class _Found:
    """Which entries of long columns were found in the groups so far."""

    def __init__(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        self._columns = columns
        self._found = np.zeros(len(columns["trial"]), np.bool_)
        self._count = 0

    def add(self, index: IntArray, columns: dict[str, npt.NDArray[Any]]) -> None:
        if not all(_same(columns[name], column[index]) for name, column in self._columns.items()):
            raise CorruptCheckpoint("reports or legs are others")
        self._found[index] = True
        self._count += len(index)

    def check(self) -> None:
        if self._count != len(self._found) or not self._found.all():
            raise CorruptCheckpoint("reports or legs are missing")
