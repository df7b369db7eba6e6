"""A study's trials as a table for people: which columns there are, which trials to show, and in what order.

Filters and orders are found over whole columns at once; cells are made for the trials that are shown only.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.cli.exits import Wrong
from fasthpo.cli.text import duration, moment, printable, shorter, shown
from fasthpo.space.parameter import Parameter
from fasthpo.study.reader import StudyReader
from fasthpo.system.headline import headline
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, steady_str

BEST = "best"  # the order by value, best first
_ORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_OPERATORS = ("<=", ">=", "!=", "==", "<", ">", "=", "~")  # the longer ones first


class Column(NamedTuple):
    """One column.

    Attributes:
        name: what it is called.
        keys: float64 (n,), what trials are sorted and compared by, NaN where a trial has none; None for texts.
        value: of a trial, as plain Python, None where it has none.
        cell: of a trial, as text.
        read: the key of a text that a filter compares with.
        is_ordered: whether a key is less or more than another one; those of choices are only the same or not.
    """

    name: str
    keys: Callable[[], FloatArray] | None
    value: Callable[[int], Any]
    cell: Callable[[int], str]
    read: Callable[[str], float]
    is_ordered: bool = True


class Columns:
    """The columns of a study. A parameter is called as it is, or `params.NAME` where another column is called so.

    Args:
        study: whose trials.

    Attributes:
        values: the names of the objectives' columns.
        all: every column.
        usual: those that a table shows if nobody says which.
        by_name: the columns by each name that they can be called by.
    """

    def __init__(self, study: StudyReader) -> None:
        self.study = study
        self.table = study._whole
        several = self.table.objectives.count
        self.values = ["value"] if several == 1 else [f"values_{j}" for j in range(several)]
        own = {column.name: column for column in self._own()}
        self.params = [self._parameter(name, parameter) for name, parameter in self.table.space.items()]
        full = [*self.params, *(self._metric(name) for name in self.table.metrics.names)]
        self.by_name = {**{c.name.partition(".")[2]: c for c in reversed(full)}, **{c.name: c for c in full}, **own}
        self.all = [*own.values(), *full]
        usual = ("number", "state", "outside", *self.values, "violation", "duration", "resource")
        self.usual = [own[name] for name in usual if name in own]
        self.usual += self.params

    def named(self, names: Iterable[str]) -> list[Column]:
        """The columns of these names.

        Raises:
            Wrong: there is no such column.
        """
        return [self._one(name) for name in names]

    def _one(self, name: str) -> Column:
        if name not in self.by_name:
            some = ", ".join(printable(self.short(column)) for column in self.all)
            raise Wrong(f"there is no column {printable(name)!r}; there are: {shorter(some, 600)}")
        found: Column = self.by_name[name]
        return found

    def short(self, column: Column) -> str:
        """A column's name without what stands before it, where that is enough."""
        bare = column.name.partition(".")[2]
        return bare if bare and self.by_name.get(bare) is column else column.name

    # --- which trials, in what order

    def matching(self, filters: Sequence[str]) -> IntArray:
        """The numbers of the trials for which all filters hold, ascending.

        Raises:
            Wrong: a filter can't be read.
        """
        fits = np.ones(len(self.table), bool)
        for text in filters:
            fits &= self._fits(text)
        return np.flatnonzero(fits)

    def _fits(self, text: str) -> npt.NDArray[np.bool_]:
        for name in sorted(self.by_name, key=len, reverse=True):  # names may hold anything, also < and spaces
            rest = text.strip().removeprefix(name)
            sign = next((one for one in _OPERATORS if rest.lstrip().startswith(one)), None)
            if text.strip().startswith(name) and sign is not None:
                return self._compared(self.by_name[name], sign, rest.lstrip()[len(sign) :].strip())
        raise Wrong(
            f"a filter is a column, one of {' '.join(_OPERATORS)}, and a value, such as 'value<0.1', got "
            f"{printable(text)!r}"
        )

    def _compared(self, column: Column, sign: str, text: str) -> npt.NDArray[np.bool_]:
        n = len(self.table)
        if column.keys is None or sign == "~":
            if sign not in ("=", "==", "!=", "~"):
                raise Wrong(f"{printable(column.name)} is a text, compared by =, != and ~ (contains), not {sign}")
            found = np.zeros(n, bool)
            for number in range(n) if column.keys is not None else sorted(self.table.errors):
                have = column.value(number)
                if have is not None:
                    found[number] = (text.lower() in str(have).lower()) if sign == "~" else (
                        (str(have) == text) == (sign != "!=")
                    )  # fmt: skip
            return found
        keys, wanted = column.keys(), column.read(text)
        if sign in _ORDERED and not column.is_ordered:
            raise Wrong(f"{printable(column.name)} has choices, compared by =, != and ~ (contains), not {sign}")
        if sign in _ORDERED:
            return np.asarray(_ORDERED[sign](keys, wanted), bool)  # NaN is neither
        same: npt.NDArray[np.bool_] = keys == wanted
        return same if sign != "!=" else ~same & ~np.isnan(keys)

    def sorted(self, numbers: IntArray, by: str, descending: bool) -> IntArray:
        """Trials by a column's values, or with `BEST` by value with the best first; those without one come last.

        Raises:
            Wrong: there is no such column, or it has texts.
        """
        if by == BEST and BEST not in self.by_name:
            if len(self.values) > 1:
                raise Wrong(f"of several objectives no trial is the best: sort by {' or '.join(self.values)}")
            counts = (self.table.states == TrialState.COMPLETE) & np.isfinite(self.table.values)
            counts &= ~(self.table.violations > 0) & ~self.study.outside
            keys = np.where(counts, self.table.objectives.losses(self.table.values), np.nan)[numbers]
        else:
            column = self._one(by)
            if column.keys is None:
                raise Wrong(f"trials can't be sorted by {printable(by)}, which is a text")
            keys = column.keys()[numbers]
        order = np.argsort(-keys if descending else keys, kind="stable")  # NaN comes last
        return numbers[order]

    # --- the columns

    def _own(self) -> Iterable[Column]:
        table = self.table
        states = table.states
        names = [state.name for state in TrialState]
        yield Column("number", lambda: np.arange(float(len(table))), int, str, partial(_read_number, "number"))
        yield Column(
            "state",
            lambda: states.astype(float),
            lambda i: names[states[i]],
            lambda i: names[states[i]],
            _read_state,
            False,
        )
        if table.former is not None:
            outside = self.study.outside
            flags = ["no", "yes"]
            yield Column(
                "outside",
                lambda: outside.astype(float),
                lambda i: bool(outside[i]),
                lambda i: flags[int(outside[i])],
                _read_flag,
                False,
            )
        for name, values in zip(self.values, table.values.reshape(len(table), len(self.values)).T, strict=True):
            yield _numeric(name, lambda values=values: values)  # type: ignore[misc]
        for j in range(table.constraints.shape[1]):
            yield _numeric(f"constraints_{j}", lambda j=j: table.constraints[:, j])  # type: ignore[misc]
        if table.has_constraints:
            yield _numeric("violation", lambda: table.violations)
        took = _numeric("duration", lambda: _durations(table), lambda i: table.times(i)[2])
        yield took._replace(cell=lambda i: duration(table.times(i)[2]))
        for name, column in (("start", table.starts), ("end", table.ends)):
            times = _numeric(name, lambda column=column: column)  # type: ignore[misc]
            yield times._replace(
                value=lambda i, column=column: _iso(column[i]), cell=lambda i, column=column: moment(float(column[i])),  # type: ignore[misc]
                read=partial(_read_time, name),
            )  # fmt: skip
        if len(table.segments):
            whole = _numeric("resource", lambda: table.resources)
            yield whole._replace(value=lambda i: _whole(table.resources[i]))
        yield _numeric("reports", lambda: _report_counts(table), lambda i: float(len(table.reports.of(i))))._replace(
            value=lambda i: len(table.reports.of(i)), cell=lambda i: str(len(table.reports.of(i)))
        )
        yield Column(
            "error", None, table.error, lambda i: shorter(printable(headline(table.error(i) or "")), 80), _no_key
        )

    def _parameter(self, name: str, parameter: Parameter) -> Column:
        row = self.table.space.position[name]

        def value(number: int) -> Any:
            key = float(self.table.params[row, number])
            return None if key != key else parameter.decode(key)

        read = partial(_read_number, name)
        if parameter.choices is not None:
            read = partial(_read_choice, name, parameter)
        return Column(
            f"params.{name}", lambda: self.table.params[row], value,
            lambda i: "" if (found := self.table.params[row, i]) != found else shown(value(i)) or "nan", read,
            parameter.is_ordered,
        )  # fmt: skip

    def _metric(self, name: str) -> Column:
        def keys() -> FloatArray:
            measured = dict(self.table.metrics.measured(len(self.table)).columns(0, len(self.table)))
            return measured.get(name, np.full(len(self.table), np.nan))

        return _numeric(f"metrics.{name}", keys, lambda i: self.table.metrics.of(i).get(name, math.nan))


def _numeric(name: str, keys: Callable[[], FloatArray], one: Callable[[int], float] | None = None) -> Column:
    get = one or (lambda i: float(keys()[i]))

    def value(number: int) -> float | None:
        found = get(number)
        return None if found != found else found

    return Column(name, keys, value, lambda i: shown(get(i)), partial(_read_number, name))


def _durations(table: TrialTable) -> FloatArray:
    """Seconds that each trial has run, as `TrialTable.times`."""
    total = (table.ends - table.starts).clip(min=0.0)
    segments = table.segments
    if len(segments):
        trial = segments.column("trial")
        ran = np.bincount(trial, (segments.column("end") - segments.column("start")).clip(min=0.0), len(table))
        several = np.bincount(trial, minlength=len(table)) > 1
        total[several] = ran[several]
    return total


def _report_counts(table: TrialTable) -> FloatArray:
    return np.bincount(table.reports.trial, minlength=len(table)).astype(float)


def _iso(seconds: float) -> str | None:
    from fasthpo.exchange.json_files import iso_time

    return iso_time(float(seconds))


def _whole(number: float) -> int | None:
    return None if number != number else int(number)


def _read_number(name: str, text: str) -> float:
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        number = math.nan
    if number != number:
        raise Wrong(f"{printable(name)} is compared with a number, got {printable(text)!r}")
    return number


def _read_state(text: str) -> float:
    found = [state for state in TrialState if state.name == text.upper()]
    if not found:
        raise Wrong(f"a state is one of {', '.join(s.name for s in TrialState)}, got {printable(text)!r}")
    return float(found[0])


def _read_flag(text: str) -> float:
    if text.lower() not in ("yes", "no"):
        raise Wrong(f"outside is yes or no, got {printable(text)!r}")
    return float(text.lower() == "yes")


def _read_time(name: str, text: str) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise Wrong(f"{name} is compared with a time such as 2026-11-29T14:00, got {printable(text)!r}") from None


def _read_choice(name: str, parameter: Parameter, text: str) -> float:
    choices = parameter.choices or ()
    wanted = "".join({"true": "True", "false": "False", "null": "None"}.get(text, text).split())
    for place, choice in enumerate(choices):
        is_meant = not isinstance(choice, str) and "".join(steady_str(choice).split()) == wanted  # (64,64) for (64, 64)
        if is_meant or text in (steady_str(choice), repr(choice)):
            return float(place)
    some = shorter(", ".join(printable(steady_str(choice)) for choice in choices), 300)
    raise Wrong(f"{printable(name)} is one of {some}, got {printable(text)!r}")


def _no_key(text: str) -> float:
    raise AssertionError(text)
