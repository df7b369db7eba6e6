"""A study's whole history in one file: `checkpoint.msgpack`. It is replaced as a whole or not at all.

Format, version 2 to 6. The file is a sequence of frames (see `framing`), each holding msgpack objects one after the
other. The first is the head:

    array     "fasthpo-study", version, generation, id of the study (16 bytes), definition (see `definition`)
    array     how many trials, finished trials, reports, ended legs
    array     next draw, attributes as JSON, how many trials wait, how many legs are open
    columns   numbers of the waiting trials; of the open legs number, start, reports

Each further frame is a group of trials (16,384 here), complete with their reports and legs:

    array     number of the first trial, how many trials, reports, legs, metrics, errors, bytes of the errors' texts,
              failures
    columns   the parameters, one after the other; value, state, start, end, resource, draw, bracket, rank in the order
              of the tells or -1; of the reports index, trial, step, value; of the legs index, trial, resource, value,
              charge, state, start, end; a name and a column a metric; of the errors trial, lengths of the texts, texts;
              of the failures (of trials that had reported) trial, and how many reports there were by then

Version 3 is that of studies whose trials have several values, or constraints. There the third array of the head has a
fifth entry, how many constraints each trial has, 0 for none; values, also of reports and legs, are all first ones, then
all second ones, and so on; and the last column of a group are the constraints, in the same way, if there are any.
Version 4 is that of studies that have constraints and legs: there the columns of the legs have one more, by how much
the trial broke its constraints when the leg ended. Version 5 is that of studies with a population: it has what version
4 has, and at the end of a group the columns of `Lineage`: member, generation, parent, fork step. Version 6 is that of
studies whose space was changed: it has what version 5 has, and further frames, see `former_trials`. There a failed
trial without parameters is one that lies outside of the space.

A column is packed as in `packing`. The index of a report or leg is its place among all, in the order of their coming.
A journal of the same generation and id holds what happened afterwards. Nothing in a file is ever executed.

Loading takes at most 500 bytes of memory for each byte of a checkpoint, 100 for each byte of a journal, and 50 MB for
conditions between parameters (`space/enumeration.py`), whatever they say. For a checkpoint that is what trials take
that are all alike, whose columns are 64 times smaller than their numbers: the columns, those of the table, which has
room for twice as many, and a copy meanwhile. There is nothing of which each trial has an entry for each of something
else, but the parameters, which stand in the file as often; metrics are kept only where a trial has one.

Version 1, which is read, too, had no failures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage.definition import define_trials
from fasthpo.storage.former_trials import former_payloads
from fasthpo.storage.framing import frame
from fasthpo.storage.packing import pack_column, pack_text
from fasthpo.trials.frozen import Columns, Frozen
from fasthpo.trials.history import History
from fasthpo.trials.lineage import COLUMNS as LINEAGE_COLUMNS
from fasthpo.trials.table import TRIAL_COLUMNS

FORMAT = "fasthpo-study"
VERSION = 6
_LINEAGE_VERSION = 5
_VIOLATIONS_VERSION = 4
_VECTORS_VERSION = 3
_PLAIN_VERSION = 2
ID_SIZE = 16
GROUP = 16384  # trials; few and large columns, as packing each means waiting for Python's lock when the study is busy

TRIAL_TYPES = dict(zip(TRIAL_COLUMNS, ("<f8", "|i1", "<f8", "<f8", "<f8", "<i8", "<i4"), strict=True))
REPORT_TYPES = {"trial": "<i8", "step": "<i8", "value": "<f8"}
SEGMENT_TYPES = {
    "trial": "<i8",
    "resource": "<i8",
    "value": "<f8",
    "charge": "<i8",
    "state": "|i1",
    "start": "<f8",
    "end": "<f8",
}
OPEN_SEGMENT_TYPES = {"number": "<i8", "start": "<f8", "reports": "<i8"}
COUNTS_UP = {"starts", "ends", "draws", "start", "end", "trial", "number"}  # stored as differences


class Head(NamedTuple):
    """What a snapshot or a journal says of itself."""

    version: int
    generation: int
    study_id: bytes
    definition: str


def write_snapshot(file: BinaryIO, frozen: Frozen, head: Head) -> Columns:
    """Write a frozen history to a file; its columns, with which `snapshot_reader.check_written` compares the file.

    Raises:
        OSError: the file can't be written.
    """
    columns = frozen.columns()
    for payload in _payloads(frozen, columns, head):
        file.write(frame(payload))
    for payload in former_of(frozen):
        file.write(frame(payload))
    return columns


def _payloads(frozen: Frozen, columns: Columns, head: Head) -> Iterator[bytes]:
    yield _head(frozen, columns, head)
    yield from _groups(columns, has_all=frozen.former is not None)


def former_of(frozen: Frozen) -> Iterator[bytes]:
    """The payloads of what a study keeps whose space was changed; none of another one."""
    if frozen.former is not None:
        yield from former_payloads(frozen.former, _payloads_alone)


def _payloads_alone(history: History) -> Iterator[bytes]:
    """Those of trials without parts."""
    frozen = Frozen(history)
    head = Head(VERSION, 0, bytes(ID_SIZE), define_trials(frozen.space, frozen.directions))
    return _payloads(frozen, frozen.columns(), head)


def _packed(*objects: Any) -> bytes:
    packer = msgpack.Packer(unicode_errors="surrogatepass", autoreset=False)
    for one in objects:
        packer.pack(one)
    packed: bytes = packer.bytes()
    return packed


def _pack(name: str, column: npt.NDArray[Any], dtype: str) -> bytes:
    return pack_column(column, dtype, delta=name in COUNTS_UP)


def _flat(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column (n,) as it is, or the columns of (n, m) one after the other."""
    return column if column.ndim == 1 else column.T.ravel()


def version_of(frozen: Frozen, columns: Columns) -> int:
    """Of which version the file is to be: the lowest that has room for all, so that former programs read it."""
    if frozen.former is not None:
        return VERSION
    if columns.lineage:
        return _LINEAGE_VERSION
    if "constraints" in columns.trials and len(columns.segments["trial"]):
        return _VIOLATIONS_VERSION
    return _VECTORS_VERSION if frozen.has_vectors else _PLAIN_VERSION


def _head(frozen: Frozen, columns: Columns, head: Head) -> bytes:
    counts = [frozen.next_draw, json.dumps(frozen.attributes), len(frozen.waiting), len(frozen.open_segments)]
    if version_of(frozen, columns) >= _VECTORS_VERSION:
        counts.append(columns.trials["constraints"].shape[1] if "constraints" in columns.trials else 0)
    opened = np.array(frozen.open_segments, np.float64).reshape(-1, 3).T
    return _packed(
        [
            FORMAT,
            version_of(frozen, columns),
            head.generation,
            head.study_id,
            head.definition,
        ],
        [len(frozen), len(columns.tell_order), len(columns.reports["trial"]), len(columns.segments["trial"])],
        counts,
        _pack("number", np.array(frozen.waiting, np.int64), "<i8"),
        *(_pack(name, column, dtype) for (name, dtype), column in zip(OPEN_SEGMENT_TYPES.items(), opened, strict=True)),
    )


class _ByGroup:
    """Long columns of which each entry belongs to a trial, cut into those of each group of trials."""

    def __init__(self, columns: dict[str, npt.NDArray[Any]], groups: int) -> None:
        group = columns["trial"] // GROUP
        self._order = np.argsort(group, kind="stable")
        self._ends = np.searchsorted(group[self._order], np.arange(groups + 1))
        self._columns = columns

    def of(self, group: int) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
        """The indices of a group's entries, and their columns."""
        index = self._order[self._ends[group] : self._ends[group + 1]]
        return index, {name: column[index] for name, column in self._columns.items()}


def _groups(columns: Columns, has_all: bool = False) -> Iterator[bytes]:
    """The groups; with `has_all` with all columns that a group may have."""
    n = len(columns.trials["values"])
    none = np.full(n, -1, np.int64)
    lineage = columns.lineage or (dict.fromkeys(LINEAGE_COLUMNS, none) if has_all else {})
    groups = -(-n // GROUP)
    rank = np.full(n, -1, np.int64)
    rank[columns.tell_order] = np.arange(len(columns.tell_order))
    all_reports, all_segments = _ByGroup(columns.reports, groups), _ByGroup(columns.segments, groups)
    constraints = [columns.trials["constraints"]] if "constraints" in columns.trials else []
    failed = np.array(sorted(columns.errors), np.int64)
    failures = np.array(sorted(columns.failures.items()), np.int64).reshape(-1, 2).T
    has_violations = bool(lineage) or (bool(constraints) and len(columns.segments["trial"]) > 0)
    for group in range(groups):
        first, end = group * GROUP, min(n, (group + 1) * GROUP)
        some = slice(first, end)
        index, reports = all_reports.of(group)
        segment_index, segments = all_segments.of(group)
        metrics = [(name, pack_column(column, "<f8")) for name, column in columns.metrics.columns(first, end)]
        numbers = failed[np.searchsorted(failed, first) : np.searchsorted(failed, end)]
        lengths, texts, size = pack_text([columns.errors[number] for number in numbers.tolist()])
        failed_of_group = failures[:, np.searchsorted(failures[0], first) : np.searchsorted(failures[0], end)]
        yield _packed(
            [
                first,
                end - first,
                len(index),
                len(segment_index),
                len(metrics),
                len(numbers),
                size,
                failed_of_group.shape[1],
            ],
            pack_column(columns.params[:, some].ravel(), "<f8"),
            *(_pack(name, _flat(columns.trials[name][some]), dtype) for name, dtype in TRIAL_TYPES.items()),
            pack_column(rank[some], "<i8", delta=True),
            pack_column(index, "<i8", delta=True),
            *(_pack(name, _flat(reports[name]), dtype) for name, dtype in REPORT_TYPES.items()),
            pack_column(segment_index, "<i8", delta=True),
            *(_pack(name, _flat(segments[name]), dtype) for name, dtype in SEGMENT_TYPES.items()),
            *([_pack("violation", segments["violation"], "<f8")] if has_violations else []),
            *(part for metric in metrics for part in metric),
            pack_column(numbers, "<i8", delta=True),
            lengths,
            texts,
            *(pack_column(column, "<i8", delta=True) for column in failed_of_group),
            *(pack_column(_flat(column[some]), "<f8") for column in constraints),
            *(pack_column(lineage[name][some], "<i8") for name in LINEAGE_COLUMNS if lineage),
        )


def read_head(what: str, unpacker: Any, format_name: str, version: int) -> Head:
    """The first object of a file's head, checked; `version` is the newest that is known here.

    Raises:
        CorruptCheckpoint: the file is of another kind, or of a version that is not known here.
    """
    first = unpacker.unpack()
    if type(first) is not list or len(first) < 2 or first[0] != format_name:
        raise CorruptCheckpoint(f"not a {what} of fasthpo")
    if type(first[1]) is not int or not 1 <= first[1] <= version:
        raise CorruptCheckpoint(
            f"the {what}'s version is {first[1]!r:.60}, this fasthpo reads those up to {version}; "
            "load it with the fasthpo that wrote it, or a newer one"
        )
    if [type(one) for one in first[2:]] != [int, bytes, str] or first[2] < 0 or len(first[3]) != ID_SIZE:
        raise CorruptCheckpoint(f"the head of the {what} is not as it must be")
    return Head(*first[1:])
