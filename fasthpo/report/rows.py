"""The trials that stand in the page in full: all of a small study, of a large one the best and those in pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fasthpo.analysis.parameters import trial_seconds
from fasthpo.analysis.scales import label
from fasthpo.report.pictures import value_names
from fasthpo.study.study import Study
from fasthpo.system.headline import headline
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_MOST_ROWS, _FEWEST_ROWS = 5_000, 100
_MOST_CELLS = 100_000
_MOST_METRICS = 20  # columns
_LATEST = 100
_LONGEST = 160  # characters of an error
_VALUES_AT = 2  # the first column of values
_NAMES = [state.name for state in TrialState]


def trial_rows(study: Study, pictures: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table of trials, and a note that says which trials it has.

    Args:
        study: whose trials.
        pictures: see `pictures_of`; trials that these show come before others.
    """
    table, n = study._whole, len(study)
    metrics = table.metrics.names[:_MOST_METRICS]
    width = 5 + len(table.space) + len(metrics)
    most = max(_FEWEST_ROWS, min(_MOST_ROWS, _MOST_CELLS // width))
    numbers, note = np.arange(n), ""
    if n > most:
        best = _best_first(study)[: most // 2]
        latest = np.arange(max(0, n - _LATEST), n)
        numbers = np.unique(_first([best, latest, _shown(pictures)], most))
        note = (
            f"{len(numbers):,} of {n:,} trials are in this page: the {len(best):,} best, the last {len(latest)}, and "
            "those in the pictures, as far as there is room. All of them: fasthpo export STUDY --format csv"
        )
    sorts = len(table.directions) == 1 and study.table.best_number is not None
    return {
        "note": note,
        "sort": _VALUES_AT if sorts else 0,
        "down": sorts and table.directions[0] == "maximize",
        "columns": _columns(study, table, numbers, metrics),
    }


def _columns(study: Study, table: TrialTable, numbers: IntArray, metrics: list[str]) -> list[dict[str, Any]]:
    names = value_names(study)
    reached = table.values[numbers].reshape(len(numbers), len(names))
    columns = [
        _column("number", "trial", numbers.tolist()),
        _column("state", "state", table.states[numbers].tolist(), _NAMES),
        *(_column(name, name, _plain(values)) for name, values in zip(names, reached.T, strict=True)),
        {**_column("duration", "duration", _plain(trial_seconds(study, len(table))[numbers])), "seconds": True},
    ]
    if len(names) > 1:
        front = np.isin(numbers, study.front()[0])
        columns.append(_column("front", "on the front", np.where(front, 0, 1).tolist(), ["yes", "no"]))
    if table.former is not None:
        columns.append(_column("outside", "outside", study.outside[numbers].astype(int).tolist(), ["no", "yes"]))
    if table.has_constraints:
        columns.append(_column("violation", "violation", _plain(table.violations[numbers])))
    if len(table.segments):
        columns.append(_column("resource", "resource", _whole(table.resources[numbers])))
    for j, (name, parameter) in enumerate(table.space.items()):
        values = table.params[j, numbers]
        if parameter.choices is not None:
            labels = [label(choice) for choice in parameter.choices]
            columns.append(_column(f"params.{name}", name, _whole(values), labels))
        else:
            columns.append(_column(f"params.{name}", name, _whole(values) if parameter.is_whole else _plain(values)))
    measured = dict(table.metrics.measured(len(table)).columns(0, len(table)))
    for name in metrics:
        column = _plain(measured[name][numbers]) if name in measured else [None] * len(numbers)
        columns.append({**_column(f"metrics.{name}", name, column), "kind": "metric"})
    errors = [_line(table.error(number)) for number in numbers.tolist()]
    if any(errors):
        texts = {text: i for i, text in enumerate(dict.fromkeys(error for error in errors if error is not None))}
        columns.append(_column("error", "error", [None if e is None else texts[e] for e in errors], list(texts)))
    return columns


def _column(name: str, title: str, values: list[Any], labels: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "title": title, "values": values, **({} if labels is None else {"labels": labels})}


def _plain(values: FloatArray) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _whole(values: FloatArray) -> list[int | None]:
    return [None if value != value else int(value) for value in values.tolist()]


def _line(error: str | None) -> str | None:
    line = headline(error) if error else None
    return None if not line else line[:_LONGEST]


def _best_first(study: Study) -> IntArray:
    """The completed trials: those on a front, then the others by the first objective; what breaks a constraint last."""
    table = study.table
    values = table.values.reshape(len(table), -1)
    complete = np.flatnonzero((table.states == TrialState.COMPLETE) & ~np.isnan(values).any(axis=1))
    losses = table.objectives.losses(table.values[complete]).reshape(len(complete), -1)[:, 0]
    behind = ~np.isin(complete, study.front()[0])
    order = np.lexsort((losses, behind, table.violations[complete] > 0))
    found: IntArray = complete[order]
    return found


def _first(groups: Iterable[IntArray], most: int) -> IntArray:
    """At most so many different numbers, those of the first groups first."""
    joined = np.concatenate(list(groups))
    _, first = np.unique(joined, return_index=True)
    kept: IntArray = joined[np.sort(first)[:most]]
    return kept


def _shown(pictures: Any) -> IntArray:
    """The trials that pictures show, wherever they have their numbers: single ones first, then the best of cells."""
    single: list[int] = []
    of_cells: list[int] = []

    def look(part: Any) -> None:
        if isinstance(part, dict):
            for name, value in part.items():
                if name == "number":
                    single.extend([value] if isinstance(value, int) else value)
                elif name == "cells":
                    of_cells.extend(cell[3] for cell in value)
                else:
                    look(value)
        elif isinstance(part, list) and part and isinstance(part[0], dict):
            for one in part:
                look(one)

    look(pictures)
    return np.array([*single, *of_cells], np.int64)
