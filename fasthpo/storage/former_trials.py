"""How a checkpoint keeps what `Former` has: frames that follow those of the trials, in version 6.

The first of them is a msgpack array of "former", how many former spaces there are, and `Former.fixed` as JSON (an
object of choices, see `choice_values`). For each space there follow

    a frame   an array of how many trials lie outside, how many were kept, and `FormerTrials.said` as JSON; columns:
              numbers of those outside, how many reports of the others stood before each of theirs, the same of their
              legs; numbers of those kept, and the parameters that they began with, one after the other
    a snapshot of the trials outside as they were, numbered from 0, which is a whole one of an earlier version

A former space has no former spaces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgpack
import numpy as np

from fasthpo.errors import CorruptCheckpoint, FastHPOError
from fasthpo.space.choice_values import as_choice, choice_from_json, choice_to_json
from fasthpo.space.parameter import Value
from fasthpo.storage.checks import LARGEST, check_rows
from fasthpo.storage.packing import pack_column, unpack_column
from fasthpo.trials.former import Former, FormerTrials
from fasthpo.trials.history import History
from fasthpo.trials.table import KeptElsewhere, TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import IntArray

_BEGIN = "former"
_MOST = 10_000  # former spaces


def former_payloads(former: KeptElsewhere, write: Callable[[History], Iterator[bytes]]) -> Iterator[bytes]:
    """The payloads of all these frames.

    Args:
        former: what is kept.
        write: gives those of a snapshot of a history.
    """
    yield msgpack.packb([_BEGIN, len(former.parts), _as_json(former.fixed)], unicode_errors="surrogatepass")
    for part in former.parts:
        packer = msgpack.Packer(autoreset=False, unicode_errors="surrogatepass")
        packer.pack([len(part.numbers), len(part.kept), _as_json(part.said)])
        for column in (part.numbers, part.reports, part.segments, part.kept):
            packer.pack(pack_column(column, "<i8", delta=True))
        packer.pack(pack_column(part.rows.T.ravel(), "<f8"))
        yield packer.bytes()
        yield from write(part.history)


def _as_json(said: Mapping[str, Value]) -> str:
    return json.dumps({name: choice_to_json(value) for name, value in said.items()})


def _from_json(text: str) -> dict[str, Value]:
    return {name: as_choice(choice_from_json(value)) for name, value in json.loads(text).items()}


def read_former(
    frames: Sequence[tuple[int, bytes]],
    trials: int,
    read: Callable[[Sequence[tuple[int, bytes]]], tuple[History, int]],
) -> Former:
    """What `former_payloads` gave.

    Args:
        frames: of the file, from the first one of these on.
        trials: how many the study has.
        read: takes a snapshot from where frames begin, and says how many they were.

    Raises:
        CorruptCheckpoint: they are not that.
    """
    try:
        begin = msgpack.unpackb(frames[0][1], max_array_len=3, unicode_errors="surrogatepass") if frames else None
        if type(begin) is not list or [type(one) for one in begin] != [str, int, str] or begin[0] != _BEGIN:
            raise CorruptCheckpoint("what was kept of former search spaces is missing")
        if not 0 <= begin[1] <= _MOST:
            raise CorruptCheckpoint(f"there are at most {_MOST} former search spaces")
        fixed = _from_json(begin[2])
        parts, at = [], 1
        for _ in range(begin[1]):
            header = frames[at][1]
            history, count = read(frames[at + 1 :])
            parts.append(_part(header, history, trials))
            at += 1 + count
    except CorruptCheckpoint:
        raise
    except (
        FastHPOError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError,
        msgpack.UnpackException,
    ) as error:  # fmt: skip
        raise CorruptCheckpoint(f"what was kept of former search spaces is not as it must be ({error!r})") from error
    if at != len(frames):
        raise CorruptCheckpoint("something follows the last of the former search spaces")
    return Former(tuple(parts), fixed)


def _part(header: bytes, history: History, trials: int) -> FormerTrials:
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(header), max_array_len=3, max_map_len=0, max_ext_len=0, unicode_errors="surrogatepass"
    )
    unpacker.feed(header)
    counts = unpacker.unpack()
    if type(counts) is not list or [type(one) for one in counts] != [int, int, str] or min(counts[:2]) < 0:
        raise CorruptCheckpoint("a former search space must say how many trials it has")
    table = history.table
    outside, kept, said = counts
    if max(outside, kept) > LARGEST:
        raise CorruptCheckpoint("a former search space has too many trials")
    lengths = {
        "numbers": outside,
        "places of reports": len(table.reports),
        "places of legs": len(table.segments),
        "numbers of those kept": kept,
    }
    columns: list[IntArray] = [unpack_column(what, unpacker.unpack(), "<i8", n) for what, n in lengths.items()]
    d = len(table.space)
    rows = unpack_column("parameters", unpacker.unpack(), "<f8", kept * d).reshape(d, kept)
    if outside != len(table):
        raise CorruptCheckpoint("a former search space has other trials than it says")
    for column in (columns[0], columns[3]):
        if len(column) and not (0 <= column[0] <= column[-1] < trials and (column[1:] > column[:-1]).all()):
            raise CorruptCheckpoint("the trials of a former search space are none, or not in order")
    if any((column < 0).any() for column in columns[1:3]):
        raise CorruptCheckpoint("a report or a leg of a former search space has no place")
    rows[np.isnan(rows)] = np.nan
    check_rows(table.space, rows, np.zeros(kept, np.int8) + np.int8(TrialState.COMPLETE))
    numbers, reports, segments, kept_numbers = columns
    return FormerTrials(
        numbers, history, reports, segments, kept_numbers, np.ascontiguousarray(rows.T), _from_json(said)
    )


def check_former(former: Former, table: TrialTable) -> None:
    """Make sure that what is kept goes with the table.

    Of a study that was recovered, some that lie outside may be lost but for their numbers.

    Raises:
        CorruptCheckpoint: it does not.
    """
    numbers = [*(part.numbers for part in former.parts), *(part.kept for part in former.parts)]
    together: IntArray = np.concatenate([np.empty(0, np.int64), *numbers])
    if len(np.unique(together)) != len(together):
        raise CorruptCheckpoint("a trial stands in two former search spaces")
    if any(part.history.table.directions != table.directions for part in former.parts):
        raise CorruptCheckpoint("a former search space has other objectives")
    stands_in = np.isnan(table.params).all(axis=0) & (table.states == TrialState.FAILED)
    if not stands_in[former.numbers].all():
        raise CorruptCheckpoint("the trials outside of the search space are not those that former ones have")
