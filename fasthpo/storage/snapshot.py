"""A study as one msgpack file: the columns of its table, and what made its sampler, pruner and strategy.

Format, version 1. The file is a msgpack map of

    format    "fasthpo-study"
    version   1
    checksum  CRC-32 of `content`
    content   bytes: a msgpack map of space, direction, sampler, pruner, strategy, next_draw, waiting, length, told,
              columns, report_count, reports, leg_count, legs, open_legs, metrics, errors

A column is a map of dtype (little-endian, such as "<f8"), shape, and its raw bytes. A sampler, pruner or multi-fidelity
strategy is a map of name and options; the name is nil for one of the user's own. An option that is a pruner itself is a
map of "part" to such a map. `open_legs` maps each running trial to how many reports the study had when it was last
asked for. Nothing in a file is ever executed. A file is replaced as a whole or not at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from fasthpo import pruners, samplers, strategies
from fasthpo.errors import CorruptCheckpoint, FastHPOError, InvalidValue
from fasthpo.legs import COLUMNS as LEG_COLUMNS
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.search_space import SearchSpace
from fasthpo.storage.atomic import write_bytes
from fasthpo.strategies.base import Strategy
from fasthpo.table import TrialTable, check_direction
from fasthpo.trial import TrialState

FORMAT = "fasthpo-study"
VERSION = 1
FILE_NAME = "checkpoint.msgpack"
_COLUMNS = {
    "params": "<f8",
    "values": "<f8",
    "states": "|i1",
    "starts": "<f8",
    "ends": "<f8",
    "resources": "<f8",
    "draws": "<i8",
    "brackets": "<i4",
    "tell_order": "<i8",
}
_REPORTS = {"trial": "<i8", "step": "<i8", "value": "<f8"}
_LEG_TYPES = ("<i8", "<i8", "<f8", "<i8", "|i1", "<f8", "<f8")
_LEGS = dict(zip(LEG_COLUMNS, _LEG_TYPES, strict=True))


class _OwnPartNeeded(Exception):
    """The study used a sampler, pruner or strategy that only its user can make."""


class Saved(NamedTuple):
    """What a checkpoint holds, rebuilt."""

    table: TrialTable
    sampler: Sampler
    pruner: Pruner | None
    strategy: Strategy | None
    next_draw: int
    waiting: list[int]


def _pack(array: npt.NDArray[Any], dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(array.shape), "data": np.ascontiguousarray(array, dtype).tobytes()}


def _unpack(what: str, packed: Any, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if not isinstance(packed, dict) or packed.get("dtype") != dtype or packed.get("shape") != list(shape):
        raise CorruptCheckpoint(f"column {what} must be {dtype} of shape {shape}, which it is not")
    data = packed.get("data")
    if not isinstance(data, bytes) or len(data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise CorruptCheckpoint(f"column {what} does not have the length that its shape {shape} needs")
    return np.frombuffer(data, dtype).reshape(shape)


def _part(part: Sampler | Pruner | Strategy | None) -> dict[str, Any] | None:
    if part is None:
        return None
    # a subclass of a built-in sampler is the user's own, though it inherits the name; a pruner and a strategy share one
    kinds = (samplers.builtin(), pruners.builtin(), strategies.builtin())
    built_in = any(type(part) is known for names in kinds for known in names.values())
    options = {
        name: {"part": _part(value)} if isinstance(value, Pruner) else value
        for name, value in (part.options() if built_in else {}).items()
    }
    return {"name": part.name if built_in else None, "type": type(part).__name__, "options": options}


def save(
    path: Path,
    table: TrialTable,
    sampler: Sampler,
    pruner: Pruner | None,
    strategy: Strategy | None,
    next_draw: int,
    waiting: Iterable[int],
) -> Path:
    """Write a study to `path`, or into the directory `path`; the file's path."""
    if path.is_dir():
        path = path / FILE_NAME
    reports = table.reports
    content = {
        "space": table.space.to_dict(),
        "direction": table.direction,
        "sampler": _part(sampler),
        "pruner": _part(pruner),
        "strategy": _part(strategy if strategy is not None and strategy.is_multi_fidelity else None),
        "next_draw": next_draw,
        "waiting": list(waiting),
        "length": len(table),
        "told": len(table.tell_order),
        "columns": {name: _pack(getattr(table, name), dtype) for name, dtype in _COLUMNS.items()},
        "report_count": len(reports),
        "reports": {name: _pack(getattr(reports, name)[: len(reports)], dtype) for name, dtype in _REPORTS.items()},
        "leg_count": len(table.legs),
        "legs": {name: _pack(table.legs.column(name), dtype) for name, dtype in _LEGS.items()},
        "open_legs": {number: leg.reports for number, leg in table.legs.open.items()},
        "metrics": {
            name: _pack(np.append(c[: len(table)], np.full(max(0, len(table) - len(c)), np.nan)), "<f8")
            for name, c in table.metrics.items()
        },
        "errors": table.errors,
    }
    packed = msgpack.packb(content)
    write_bytes(
        path,
        msgpack.packb({"format": FORMAT, "version": VERSION, "checksum": zlib.crc32(packed), "content": packed}),
    )
    return path


def load(
    path: Path, sampler: Sampler | None = None, pruner: Pruner | None = None, strategy: Strategy | None = None
) -> Saved:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptCheckpoint: the file is damaged or of an unknown version.
        InvalidValue: a sampler, pruner or strategy of the user's own is needed and not given.
    """
    if path.is_dir():
        path = path / FILE_NAME
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        return _rebuild(_content(path.read_bytes()), sampler, pruner, strategy)
    except _OwnPartNeeded as error:
        raise InvalidValue(f"{path}: {error}") from error
    except (
        FastHPOError, ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise CorruptCheckpoint(f"{path}: not a usable checkpoint: {error}") from error


def _content(data: bytes) -> dict[str, Any]:
    try:
        outer = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptCheckpoint(f"not a complete msgpack file ({len(data)} bytes): {error}") from error
    if not isinstance(outer, dict) or outer.get("format") != FORMAT:
        raise CorruptCheckpoint("not a checkpoint of fasthpo")
    if outer.get("version") != VERSION:
        raise CorruptCheckpoint(
            f"the checkpoint's version is {outer.get('version')!r}, this fasthpo reads {VERSION}; "
            "load it with the fasthpo that wrote it, or a newer one"
        )
    packed = outer.get("content")
    if not isinstance(packed, bytes) or zlib.crc32(packed) != outer.get("checksum"):
        raise CorruptCheckpoint("the checksum does not match: the file is damaged")
    content = msgpack.unpackb(packed, strict_map_key=False)
    if not isinstance(content, dict):
        raise CorruptCheckpoint("the content must be a map")
    return content


def _make(what: str, kinds: Mapping[str, Any], part: Any, given: Any, **more: Any) -> Any:
    """The sampler, pruner or strategy that goes on: the one given, or the built-in one that was saved."""
    if given is not None or part is None:
        return given
    if part["name"] is None:
        raise _OwnPartNeeded(f"the study used a {what} of your own, {part['type']}; pass one as {what}=")
    if part["name"] not in kinds:
        raise CorruptCheckpoint(f"unknown {what} {part['name']!r}; known: {sorted(kinds)}")
    options = {
        name: _make(what, kinds, value["part"], None) if isinstance(value, dict) and "part" in value else value
        for name, value in part["options"].items()
    }
    return kinds[part["name"]](**options, **more)


def _rebuild(
    content: dict[str, Any], sampler: Sampler | None, pruner: Pruner | None, strategy: Strategy | None
) -> Saved:
    length, told, count, leg_count = (content[name] for name in ("length", "told", "report_count", "leg_count"))
    counts = {"length": length, "told": told, "report_count": count, "leg_count": leg_count}
    for what, number in counts.items():
        if not isinstance(number, int) or number < 0:
            raise CorruptCheckpoint(f"{what} must be an integer that is not negative, got {number!r}")
    space = SearchSpace.from_dict(content["space"])
    table = TrialTable(space, check_direction(content["direction"]))
    shapes = {"params": (len(space), length), "tell_order": (told,)}
    columns = {
        name: _unpack(name, content["columns"][name], dtype, shapes.get(name, (length,)))
        for name, dtype in _COLUMNS.items()
    }
    reports = {name: _unpack(name, content["reports"][name], dtype, (count,)) for name, dtype in _REPORTS.items()}
    states, order = columns["states"], columns["tell_order"]
    if not np.isin(states, list(TrialState)).all():
        raise CorruptCheckpoint("a state is none of those known")
    finished = np.flatnonzero(np.isin(states, [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED]))
    if not np.array_equal(np.sort(order), finished):
        raise CorruptCheckpoint("the order of the tells does not name each finished trial once")
    _check_reports(reports["trial"], reports["step"], length)
    _check_rows(space, columns["params"], states)
    waiting = _waiting(content["waiting"], states)
    table.restore(columns)
    _restore_legs(table, content, leg_count)
    again = np.flatnonzero(states == TrialState.RUNNING).tolist()
    # of legs that were broken off the reports are dropped: of each trial those before its `end` are kept
    end = np.where(states == TrialState.RUNNING, 0, count)
    for number, first in content["open_legs"].items():
        if states[number] == TrialState.RUNNING:
            end[number] = first
    kept = np.arange(count) < end[reports["trial"]]
    table.reports.fill(*(reports[name][kept] for name in _REPORTS))
    for name, packed in content["metrics"].items():
        table.metrics[name] = _unpack(f"metric {name}", packed, "<f8", (length,)).copy()
    table.errors = {int(number): str(error) for number, error in content["errors"].items()}
    next_draw = content["next_draw"]
    if not isinstance(next_draw, int) or not 0 <= next_draw < 2**63:
        raise CorruptCheckpoint(f"next_draw must be an integer that is not negative, got {next_draw!r}")
    if strategy is not None:
        sampler = strategy.sampler
    sampler = _make("sampler", samplers.builtin(), content["sampler"], sampler)
    assert sampler is not None
    return Saved(
        table,
        sampler,
        _make("pruner", pruners.builtin(), content["pruner"], pruner),
        _make("strategy", strategies.builtin(), content["strategy"], strategy, sampler=sampler),
        next_draw,
        [*again, *waiting],
    )


def _restore_legs(table: TrialTable, content: dict[str, Any], count: int) -> None:
    columns = {name: _unpack(f"leg {name}", content["legs"][name], dtype, (count,)) for name, dtype in _LEGS.items()}
    if count and not (0 <= columns["trial"].min() <= columns["trial"].max() < len(table)):
        raise CorruptCheckpoint("a leg belongs to no trial")
    for trial, resource, value, charge, state, start, end in zip(*(columns[n].tolist() for n in _LEGS), strict=True):
        table.legs.append(trial, resource, value, charge, TrialState(state), start, end)


def _check_rows(space: SearchSpace, params: npt.NDArray[np.float64], states: npt.NDArray[np.int8]) -> None:
    """Each trial that has been asked for is a point of the space."""
    asked = params[:, states != TrialState.WAITING]
    expected = space.deactivate(np.where(np.isnan(asked), np.inf, asked).T)
    if np.isinf(expected).any() or not np.array_equal(np.isnan(expected), np.isnan(asked.T)):
        raise CorruptCheckpoint("a trial's active parameters are not those that the conditions name")
    for name, parameter, column in zip(space.names, space.parameters, params, strict=True):
        values = column[~np.isnan(column)]
        low, high = getattr(parameter, "low", 0), getattr(parameter, "high", (parameter.count or 1) - 1)
        if len(values) and not (low <= values.min() <= values.max() <= high):
            raise CorruptCheckpoint(f"a value of {name!r} lies outside its bounds")


def _check_reports(trial: npt.NDArray[np.int64], step: npt.NDArray[np.int64], length: int) -> None:
    if not len(trial):
        return
    if not (0 <= trial.min() <= trial.max() < length):
        raise CorruptCheckpoint("a report belongs to no trial")
    if step.min() < 0:
        raise CorruptCheckpoint(f"a report's step must not be negative, got {step.min()}")
    order = np.lexsort((step, trial))
    if ((np.diff(trial[order]) == 0) & (np.diff(step[order]) == 0)).any():
        raise CorruptCheckpoint("a trial has two reports at one step")


def _waiting(numbers: Any, states: npt.NDArray[np.int8]) -> list[int]:
    expected = np.flatnonzero(states == TrialState.WAITING).tolist()
    if not isinstance(numbers, list) or sorted(numbers) != expected:
        raise CorruptCheckpoint("the queue does not name each waiting trial once")
    return numbers
