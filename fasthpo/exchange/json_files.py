"""A study as JSON files for people and other programs. Always valid JSON: NaN and infinities become strings."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fasthpo.space.choice_values import choice_to_json
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file, write_text
from fasthpo.trials.lineage import COLUMNS as FORK_COLUMNS
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState

HISTORY_FILE = "trial_history.json"
STATISTICS_FILE = "statistics.json"
BEST_FILE = "best_parameters.json"
_CHUNK = 4096  # trials held as Python objects at once


def plain_json(value: Any) -> Any:
    """`value` with every float that JSON lacks as the string "NaN", "Infinity" or "-Infinity"."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {name: plain_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(one) for one in value]
    return value


def dump_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON text."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent, default=choice_to_json)
    except ValueError:
        return json.dumps(plain_json(value), allow_nan=False, indent=indent, default=choice_to_json)


def export_study(
    directory: Path,
    table: TrialTable,
    study_name: str,
    statistics: Mapping[str, Any],
    compress: bool = False,
    shown: TrialTable | None = None,
) -> None:
    """Write `trial_history.json`, `statistics.json` and `best_parameters.json`, each replaced as a whole.

    Args:
        directory: where they go; made if it is missing.
        table: the study's trials.
        study_name: the study's name.
        statistics: what `statistics.json` says, besides the name and the directions.
        compress: write `trial_history.json.gz` instead.
        shown: the trials as they were told, if the space was changed since; None: as they stand in the table.

    Raises:
        OSError: a file can't be written.
    """
    about = {"study_name": study_name, **about_directions(table)}
    write_history(directory, table if shown is None else shown, about, compress, table.space)
    write_text(directory / STATISTICS_FILE, dump_json({**about, **statistics}, indent=2) + "\n")
    write_text(directory / BEST_FILE, dump_json({**about, **_best(table)}, indent=2) + "\n")


def about_directions(table: TrialTable) -> dict[str, Any]:
    """The direction of a study, or the directions of several objectives, by the name that files have for them."""
    directions = table.directions
    return {"direction": directions[0]} if len(directions) == 1 else {"directions": list(directions)}


def _best(table: TrialTable) -> dict[str, Any]:
    """The best trial, or those on the front."""
    if table.objectives.count > 1:
        return {"front": [_what_is_best(table, number) for number in table.front.numbers.tolist()]}
    number = table.best_number
    if number is None:
        return {"number": None, "value": None, "params": None, "metrics": None}
    return _what_is_best(table, number)


def _what_is_best(table: TrialTable, number: int) -> dict[str, Any]:
    params = _params(table.space, table.params[:, number].tolist())
    reached = {"value" if table.objectives.count == 1 else "values": table.values[number].tolist()}
    told = {"constraints": _list(table.constraints[number].tolist())} if table.has_constraints else {}
    return {"number": number, **reached, "params": params, "metrics": table.metrics.of(number), **told}


def _list(numbers: list[float]) -> list[float] | None:
    """The numbers of a trial that has them; None of one that has not."""
    return None if any(one != one for one in numbers) else numbers


def write_history(
    directory: Path,
    table: TrialTable,
    about: Mapping[str, Any],
    compress: bool = False,
    space: SearchSpace | None = None,
) -> Path:
    """Write all trials, one a line, after `about` and the search space; the file's path.

    Memory does not grow with the number of trials, but for what sorting the reports by trial takes.
    """
    written, stale = directory / HISTORY_FILE, directory / f"{HISTORY_FILE}.gz"
    if compress:
        written, stale = stale, written
    write_json(written, table, about, space)
    stale.unlink(missing_ok=True)
    return written


def write_json(path: Path, table: TrialTable, about: Mapping[str, Any], space: SearchSpace | None = None) -> Path:
    """As `write_history`, to any file, compressed if its name ends with ".gz"; `space` is the study's, if not that."""
    head = dump_json({**about, "search_space": (table.space if space is None else space).to_dict()})
    with atomic_file(path) as raw:
        # no name and no time inside, so that equal histories make equal files
        file = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
        file.write(f'{head[:-1]}, "trials": ['.encode())
        separator = "\n"
        for record in trial_records(table):
            file.write(f"{separator}{dump_json(record)}".encode())
            separator = ",\n"
        file.write(b"\n]}\n")
        if file is not raw:
            file.close()
    return path


def trial_records(table: TrialTable) -> Iterator[dict[str, Any]]:
    """All trials as dicts: number, state, params, value, reports (step to value), metrics, error, start_time and
    end_time (ISO 8601, UTC) and duration (seconds); under a multi-fidelity strategy also resource and rungs (resource
    to value). Choices are as `choice_to_json` writes them. With several objectives there is a list of values in the
    place of the value, with constraints a list of these, and of a population member, generation, parent and fork_step.
    Where the space was changed, `outside` says whether it lies outside of it. What a trial does not have is null.
    """
    outside = None if table.former is None else table.former.are_outside(np.arange(len(table))).tolist()
    n, space, several = len(table), table.space, table.objectives.count > 1
    params, values, states = table.params, table.values, table.states
    starts, ends = table.starts, table.ends
    names = [state.name for state in TrialState]
    reported = _ReportsByTrial(table)
    for begin in range(0, n, _CHUNK):
        some = slice(begin, min(begin + _CHUNK, n))
        rows = params[:, some].T.tolist()
        reports = reported.of(begin, some.stop)
        columns = (column[some].tolist() for column in (values, states, starts, ends))
        for i, (value, state, start, end) in enumerate(zip(*columns, strict=True)):
            number = begin + i
            duration = table.times(number)[2]
            record = {
                "number": number,
                "state": names[state],
                "params": _params(space, rows[i]),
                **({"values": _list(value)} if several else {"value": None if value != value else value}),
                "reports": reports.get(number, {}),
                "metrics": table.metrics.of(number),
                "error": table.error(number),
                "start_time": iso_time(start),
                "end_time": iso_time(end),
                "duration": None if duration != duration else duration,
            }
            if outside is not None:
                record["outside"] = outside[number]
            if table.has_constraints:
                record["constraints"] = _list(table.constraints[number].tolist())
            if len(table.segments):
                resource = float(table.resources[number])
                record["resource"] = None if resource != resource else int(resource)
                record["rungs"] = table.segments.values_of(number)
            if not table.lineage.is_empty:
                record |= fork_record(table, number)
            yield record


def fork_record(table: TrialTable, number: int) -> dict[str, int | None]:
    """A trial's place in a population, and where it comes from; None what it does not have."""
    fork = table.lineage.of(number)
    if fork is None:
        return dict.fromkeys(FORK_COLUMNS)
    has_parent = fork.parent != NO_PARENT
    values = fork.member, fork.generation, fork.parent if has_parent else None, fork.step if has_parent else None
    return dict(zip(FORK_COLUMNS, values, strict=True))


def _params(space: Any, row: list[float]) -> dict[str, Any]:
    # not `space.decode`: a trial that waits may have parameters that are not known yet
    return {name: choice_to_json(space[name].decode(x)) for name, x in zip(space.names, row, strict=True) if x == x}


def iso_time(seconds: float) -> str | None:
    """A time as ISO 8601, UTC; None of NaN."""
    return None if seconds != seconds else datetime.fromtimestamp(seconds, UTC).isoformat()


class _ReportsByTrial:
    """The table's reports, sorted once by trial and step."""

    def __init__(self, table: TrialTable) -> None:
        reports, n = table.reports, len(table.reports)
        trial, step, value = reports.trial, reports.step[:n], reports.value
        order = np.lexsort((step, trial))
        self._trial, self._step, self._value = trial[order], step[order], value[order]

    def of(self, begin: int, end: int) -> dict[int, dict[int, Any]]:
        """The reports of trials `begin` to `end` - 1: by trial, then value by step in ascending order."""
        some = slice(*np.searchsorted(self._trial, [begin, end]))
        columns = (column[some].tolist() for column in (self._trial, self._step, self._value))
        found: dict[int, dict[int, Any]] = {}
        for number, step, value in zip(*columns, strict=True):
            found.setdefault(number, {})[step] = value
        return found


def reports_by_trial(table: TrialTable) -> Iterator[dict[int, Any]]:
    """The reports of each trial in turn, value by step in ascending order."""
    reported = _ReportsByTrial(table)
    for begin in range(0, len(table), _CHUNK):
        end = min(begin + _CHUNK, len(table))
        found = reported.of(begin, end)
        for number in range(begin, end):
            yield found.get(number, {})
