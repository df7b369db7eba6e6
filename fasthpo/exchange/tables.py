"""A study as one flat table, a row a trial: CSV for spreadsheets, Arrow and Parquet for data frames."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fasthpo.errors import MissingPackage
from fasthpo.exchange.json_files import about_directions, dump_json, fork_record, reports_by_trial, trial_records
from fasthpo.space.choice_values import choice_to_json, is_plain_json
from fasthpo.space.encoding import decode_column
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file
from fasthpo.trials.lineage import COLUMNS as FORK_COLUMNS
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # with which a cell begins that a spreadsheet computes
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def _names(table: TrialTable) -> list[str]:
    """The table's columns; parameters, metrics, several values and constraints have prefixes, as in Optuna's frames."""
    m = table.objectives.count
    segments = ["resource", "rungs"] if len(table.segments) else []
    params = [f"params_{name}" for name in table.space.names]
    metrics = [f"metrics_{name}" for name in table.metrics.names]
    return [
        "number",
        "state",
        *_outside_names(table),
        *(["value"] if m == 1 else [f"values_{j}" for j in range(m)]),
        *params,
        *metrics,
        *(f"constraints_{j}" for j in range(table.constraints.shape[1])),
        "start_time",
        "end_time",
        "duration",
        *segments,
        *_fork_names(table),
        "reports",
        "error",
    ]


def _outside_names(table: TrialTable) -> list[str]:
    return [] if table.former is None else ["outside"]


def _fork_names(table: TrialTable) -> list[str]:
    return [] if table.lineage.is_empty else list(FORK_COLUMNS)


def write_csv(path: Path, table: TrialTable) -> Path:
    """Write all trials as CSV, compressed if the name ends with ".gz"; the path.

    What a trial does not have is empty. Choices of which two would read alike are JSON. Reports (and rungs, under a
    multi-fidelity strategy) are JSON objects of step (or resource) to value. Times are ISO 8601, UTC.

    Raises:
        OSError: the file can't be written.
    """
    with atomic_file(path) as raw:
        binary: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
        text = io.TextIOWrapper(binary, "utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text)
        writer.writerow(_names(table))
        writer.writerows(_rows(table))
        text.flush()
        text.detach()
        if binary is not raw:
            binary.close()
    return path


def _text_cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula, after OWASP's advice on CSV injection.

    It is an apostrophe that makes it text. A text that looks like one with an apostrophe gets another one, so that all
    can be told apart.
    """
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _read_alike(choices: Sequence[Value]) -> bool:
    """Whether choices need JSON: two of them, or one and what a trial does not have, would be the same text, or one is
    no string and no plain number.
    """
    texts = {_clean(str(choice)) for choice in choices}
    return len(texts) < len(choices) or "" in texts or not all(map(is_plain_json, choices))


def _cell_of(parameter: Parameter) -> Callable[[Value], Any]:
    """What makes a cell of a parameter's value."""
    if parameter.choices is None:
        return lambda value: value
    if _read_alike(parameter.choices):
        return json.dumps
    return lambda value: _text_cell(value) if isinstance(value, str) else "None" if value is None else value


def _rows(table: TrialTable) -> Iterator[list[Any]]:
    cells, metrics = {name: _cell_of(parameter) for name, parameter in table.space.items()}, table.metrics.names
    m, k = table.objectives.count, table.constraints.shape[1]
    for record in trial_records(table):
        params, measured = record["params"], record["metrics"]
        segments = [record["resource"], dump_json(record["rungs"])] if "rungs" in record else []
        yield [
            record["number"],
            record["state"],
            *(record[name] for name in _outside_names(table)),
            *([record["value"]] if m == 1 else record["values"] or [None] * m),
            *(cell(params[name]) if name in params else None for name, cell in cells.items()),
            *(measured.get(name) for name in metrics),
            *(record.get("constraints") or [None] * k),
            record["start_time"],
            record["end_time"],
            record["duration"],
            *segments,
            *(record[name] for name in _fork_names(table)),
            dump_json(record["reports"]),
            None if record["error"] is None else _text_cell(record["error"]),
        ]


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingPackage("Arrow tables need pyarrow: pip install 'fasthpo[arrow]'") from error
    return pyarrow


def to_arrow(table: TrialTable, space: SearchSpace) -> Any:
    """All trials as a `pyarrow.Table`; what a trial does not have is null.

    A choice keeps its type if all choices of the parameter have the same one, which is string, boolean, integer or
    finite float (and None may be among them if the parameter has no conditions); else it is JSON text. Reports are
    lists of (step, value) and rungs of (resource, value), of several objectives of (step, values) and (resource,
    values). The schema's metadata has the directions and the search space, as JSON, under "fasthpo".

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    pa = _pyarrow()
    n = len(table)
    state_names = pa.array([state.name for state in TrialState])
    columns: list[Any] = [
        pa.array(np.arange(n)),
        pa.DictionaryArray.from_arrays(pa.array(table.states.astype(np.int8)), state_names),
        *([] if table.former is None else [pa.array(table.former.are_outside(np.arange(n)))]),
        *(_numbers(pa, column) for column in table.values.reshape(n, table.objectives.count).T),
    ]
    params = table.params
    columns += [_parameter(pa, parameter, params[j]) for j, parameter in enumerate(table.space.parameters)]
    measured = {name: _numbers(pa, column) for name, column in table.metrics.measured(n).columns(0, n)}
    columns += [measured.get(name, pa.nulls(n, pa.float64())) for name in table.metrics.names]
    columns += [_numbers(pa, column) for column in table.constraints.T]
    moment = pa.timestamp("us", "UTC")
    for times in (table.starts, table.ends):
        known = ~np.isnan(times)
        micro = np.rint(np.where(known, times, 0.0) * 1e6).astype(np.int64)
        columns.append(pa.array(micro, mask=~known).cast(moment))
    columns.append(_numbers(pa, np.array([table.times(number)[2] for number in range(n)])))
    several = table.objectives.count > 1
    if len(table.segments):
        columns.append(pa.array(np.where(np.isnan(table.resources), 0, table.resources).astype(np.int64),
                                mask=np.isnan(table.resources)))  # fmt: skip
        rungs = (table.segments.values_of(number).items() for number in range(n))
        columns.append(_pairs(pa, "resource", rungs, several))
    if not table.lineage.is_empty:
        records = [fork_record(table, number) for number in range(n)]
        columns += [pa.array([record[name] for record in records], pa.int64()) for name in _fork_names(table)]
    columns.append(_pairs(pa, "step", (reports.items() for reports in reports_by_trial(table)), several))
    columns.append(pa.array([_clean(table.error(number)) for number in range(n)], pa.string()))
    about = json.dumps({**about_directions(table), "search_space": space.to_dict()})
    names = [_clean(name) for name in _names(table)]
    return pa.table(columns, names=names).replace_schema_metadata({"fasthpo": about})


def _numbers(pa: Any, column: Any) -> Any:
    return pa.array(column, mask=np.isnan(column))


def _parameter(pa: Any, parameter: Parameter, column: Any) -> Any:
    if parameter.is_whole:
        missing = np.isnan(column)
        return pa.array(np.where(missing, 0, column).astype(np.int64), mask=missing)
    if parameter.choices is None:
        return _numbers(pa, column)
    types = {type(choice) for choice in parameter.choices}
    if not parameter.when:
        types.discard(type(None))
    values = decode_column(parameter, column)
    is_plain = all(map(is_plain_json, parameter.choices))
    distinct = len({_clean(str(choice)) for choice in parameter.choices}) == parameter.count or types != {str}
    if is_plain and distinct and len(types) == 1 and (kind := types.pop()) is not type(None):
        named = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}[kind]
        try:
            return pa.array([_clean(value) for value in values], named)
        except OverflowError:  # of an integer
            pass
    inactive = np.isnan(column).tolist()
    texts = [None if none else json.dumps(choice_to_json(value)) for none, value in zip(inactive, values, strict=True)]
    return pa.array(texts, pa.string())


def _clean(value: Value) -> Value:
    """Text that is UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _pairs(pa: Any, key: str, pairs: Iterable[Iterable[tuple[int, Any]]], several: bool = False) -> Any:
    name, number = ("values", pa.list_(pa.float64())) if several else ("value", pa.float64())
    kind = pa.list_(pa.struct([(key, pa.int64()), (name, number)]))
    return pa.array([[{key: at, name: value} for at, value in one] for one in pairs], kind)


def to_pandas(table: TrialTable, space: SearchSpace) -> Any:
    """The Arrow table of all trials as a data frame of pandas.

    Whole numbers and truth values that a trial may be without are pandas' nullable `Int64` and `boolean`, whether or
    not one is: pandas would make numbers with a point of the ones, and objects of the others.

    Raises:
        MissingPackage: pyarrow or pandas is not installed.
    """
    _pyarrow()
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage("to_pandas needs pandas: pip install pandas") from error
    arrow = to_arrow(table, space)
    frame = arrow.to_pandas()
    nullable = {"int64": pandas.Int64Dtype(), "bool": pandas.BooleanDtype()}
    may_miss = [*(["resource"] if len(table.segments) else []), *_fork_names(table)]
    for name, parameter in table.space.items():
        if parameter.when or table.former is not None or None in (parameter.choices or ()):
            may_miss.append(f"params_{name}")
    for name in may_miss:
        column = arrow.column(name)
        if str(column.type) in nullable:
            frame[name] = pandas.array(column.to_pylist(), dtype=nullable[str(column.type)])
    return frame


def to_polars(table: TrialTable, space: SearchSpace) -> Any:
    """The Arrow table of all trials as a data frame of Polars.

    Raises:
        MissingPackage: pyarrow or polars is not installed.
    """
    _pyarrow()
    try:
        import polars
    except ImportError as error:
        raise MissingPackage("to_polars needs Polars: pip install polars") from error
    return polars.from_arrow(to_arrow(table, space))


def write_parquet(path: Path, table: TrialTable, space: SearchSpace) -> Path:
    """Write the Arrow table of all trials as Parquet; the path.

    Raises:
        MissingPackage: pyarrow is not installed.
        OSError: the file can't be written.
    """
    _pyarrow()
    from pyarrow import parquet

    with atomic_file(path) as file:
        parquet.write_table(to_arrow(table, space), file)
    return path
