"""Further metrics of the trials. Most trials of a study with many metrics have few of them, so only these are stored.

A trial's metrics stand one after the other in two long columns, each metric as the number of its name and its value.
Nothing in the columns ever changes: a trial that is told again gets a new place at their end, for all that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.values import FloatArray, IntArray, grow, grow_unset

MOST_METRICS = 1000  # names
_COUNT_BITS = 10  # of a place: how many metrics stand there
_COUNT = (1 << _COUNT_BITS) - 1
_NOWHERE = 0  # the place of a trial that has none
_FIRST_CAPACITY = 64


class Measured(NamedTuple):
    """The metrics of trials, the trials one after the other.

    Attributes:
        names: of all metrics.
        counts: int64 (n,), how many each trial has.
        name: uint16 (sum of the counts,), places in `names`, ascending within a trial.
        value: float64 of the same shape, no NaN.
    """

    names: list[str]
    counts: IntArray
    name: npt.NDArray[np.uint16]
    value: FloatArray

    @classmethod
    def none(cls) -> Measured:
        """No metrics of no trials."""
        return cls([], np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0))

    def columns(self, first: int, end: int) -> Iterable[tuple[str, FloatArray]]:
        """The metrics of the trials from `first` to `end`: those that one of them has, each as float64 (end - first,).

        A trial that has none has NaN. The columns are made one at a time.
        """
        begin, stop = int(self.counts[:first].sum()), int(self.counts[:end].sum())
        trial = np.repeat(np.arange(min(end, len(self.counts)) - first), self.counts[first:end])
        order = np.argsort(self.name[begin:stop], kind="stable")
        name, value = self.name[begin:stop][order], self.value[begin:stop][order]
        trial = trial[order]
        for i in np.unique(name).tolist():
            some = slice(*np.searchsorted(name, [i, i + 1]))
            column = np.full(end - first, np.nan)
            column[trial[some]] = value[some]
            yield self.names[i], column


class Metrics:
    """The metrics of a study's trials. `len` is the number of names.

    Attributes:
        names: all of them, in the order in which they came.
        place: by trial, up to some capacity, where its metrics stand: a single integer, of the beginning and the count,
            so that it changes in one step.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._ids: dict[str, int] = {}
        self.place: IntArray = np.empty(0, np.int64)
        self._name: npt.NDArray[np.uint16] = np.empty(0, np.uint16)
        self._value: FloatArray = np.empty(0)
        self._length = 0

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def beyond(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are not known, and for which there is no room."""
        new = [name for name in names if name not in self._ids]
        return new[max(0, MOST_METRICS - len(self.names)) :]

    def place_of(self, number: int) -> int:
        """Where a trial's metrics stand."""
        return int(self.place[number]) if number < len(self.place) else _NOWHERE

    def of(self, number: int) -> dict[str, float]:
        """A trial's metrics by name."""
        return {self.names[i]: value for i, value in self._entries(self.place_of(number))}

    def _entries(self, place: int) -> zip[tuple[int, float]]:
        begin = place >> _COUNT_BITS
        some = slice(begin, begin + (place & _COUNT))
        return zip(self._name[some].tolist(), self._value[some].tolist(), strict=True)

    def set(self, number: int, metrics: Mapping[str, float]) -> None:
        """Add to a trial's metrics, in the place of earlier ones of the same names; NaN stands for none."""
        found = dict(self._entries(self.place_of(number)))
        for name, value in metrics.items():
            i = self._ids.get(name)
            if i is None:
                i = len(self.names)
                self.names.append(name)
                self._ids[name] = i
            if value == value:
                found[i] = value
            else:
                found.pop(i, None)
        if number >= len(self.place):
            capacity = max(_FIRST_CAPACITY, number + 1, 2 * len(self.place))
            self.place = grow(self.place, capacity, _NOWHERE)  # type: ignore[assignment]
        begin, end = self._length, self._length + len(found)
        if end > len(self._name):
            capacity = max(_FIRST_CAPACITY, end, 2 * len(self._name))
            self._name = grow_unset(self._name, capacity)  # type: ignore[assignment]
            self._value = grow_unset(self._value, capacity)  # type: ignore[assignment]
        ids = sorted(found)
        self._name[begin:end] = ids
        self._value[begin:end] = [found[i] for i in ids]
        self._length = end
        self.place[number] = begin << _COUNT_BITS | len(found)

    # --- all at once

    def column(self, name: str, count: int) -> FloatArray:
        """One metric of the first `count` trials, float64 (count,); NaN where a trial has none."""
        column = np.full(count, np.nan)
        if name in self._ids:
            measured = self.measured(count)
            some = measured.name == self._ids[name]
            column[np.repeat(np.arange(len(measured.counts)), measured.counts)[some]] = measured.value[some]
        return column

    def frozen(self) -> Metrics:
        """The metrics as they are now, for `measured` while others are added."""
        other = Metrics()
        other.names, other.place = list(self.names), self.place.copy()
        other._name, other._value = self._name, self._value  # those that grow are replaced, and no entry changes
        return other

    def measured(self, count: int) -> Measured:
        """Those of the first `count` trials; copies."""
        place = self.place[:count]
        counts = np.zeros(count if len(place) else 0, np.int64)
        counts[: len(place)] = place & _COUNT
        some = np.flatnonzero(counts)
        begins = place[some] >> _COUNT_BITS
        ends = np.cumsum(counts[some])
        index = np.arange(ends[-1] if len(ends) else 0)
        index += np.repeat(begins - ends + counts[some], counts[some])
        return Measured(list(self.names), counts, self._name[index], self._value[index])

    @classmethod
    def of_measured(cls, measured: Measured) -> Metrics:
        """Metrics that were read, which go on with their arrays."""
        metrics = cls()
        metrics.names = list(measured.names)
        metrics._ids = {name: i for i, name in enumerate(metrics.names)}
        ends = np.cumsum(measured.counts)
        metrics.place = (ends - measured.counts) << _COUNT_BITS | measured.counts
        metrics._name, metrics._value, metrics._length = measured.name, measured.value, len(measured.name)
        return metrics
