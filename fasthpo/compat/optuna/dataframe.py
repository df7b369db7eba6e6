"""Trials as a data frame with Optuna's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasthpo.compat.optuna.frozen import FrozenTrial
from fasthpo.errors import MissingPackage


def trials_dataframe(
    trials: Sequence[FrozenTrial],
    objectives: int,
    names: Sequence[str] | None,
    attrs: Sequence[str],
    multi_index: bool,
) -> Any:
    """See `Study.trials_dataframe`.

    Args:
        trials: of the study.
        objectives: how many there are.
        names: of the objectives.
        attrs: attributes of trials.
        multi_index: whether columns are pairs.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage("pandas is not installed: pip install pandas") from error
    columns: dict[tuple[str, str], None] = {}  # in their order
    rows: list[dict[tuple[str, str], Any]] = []
    for trial in trials:
        row: dict[tuple[str, str], Any] = {}
        for attr in attrs:
            if attr in ("value", "values"):
                values: Any = trial.values or [None] * objectives
                if objectives == 1 and names is None:
                    row["value", ""] = values[0]
                else:
                    row.update({("values", str(names[i] if names else i)): one for i, one in enumerate(values)})
                continue
            found = trial.state.name if attr == "state" else getattr(trial, attr)
            if isinstance(found, dict):
                row.update({(attr, str(key)): one for key, one in found.items()})
            else:
                row[attr, ""] = found
        rows.append(row)
        columns.update(dict.fromkeys(row))
    ordered = sorted(columns, key=lambda column: _place(attrs, column))
    if not multi_index:
        flat = {column: "_".join(filter(None, column)) for column in ordered}
        data: Any = [{flat[column]: one for column, one in row.items()} for row in rows]
        return pandas.DataFrame(data, columns=list(flat.values()))
    frame = pandas.DataFrame([[row.get(column) for column in ordered] for row in rows])
    frame.columns = pandas.MultiIndex.from_tuples(ordered) if ordered else frame.columns
    return frame


def _place(attrs: Sequence[str], column: tuple[str, str]) -> tuple[int, str]:
    """Where a column stands: as its attribute does, parameters in the order of their names."""
    wanted = [("value" if attr == "values" else attr) for attr in attrs]
    attr = "value" if column[0] == "values" else column[0]
    return wanted.index(attr), column[1] if attr in ("params", "user_attrs", "system_attrs") else ""
