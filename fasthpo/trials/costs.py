"""What trials cost: the metric `cost`, in whatever unit the user counts in, or else the seconds that they ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.trials.outcome import numbers_by_position
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import COST
from fasthpo.values import FloatArray, IntArray, as_number, grow, shown

_MANY = 1000  # trials, for which all metrics are looked at together
_UNITS = 10**9  # costs are summed as whole billionths, so that no sum depends on the order


def is_cost(value: float) -> bool:
    """Whether a number can be a cost; a metric of that name may be anything."""
    return 0.0 <= value < math.inf


def checked_cost(cost: Any, metrics: Mapping[str, float]) -> float | None:
    """What a trial is told that it has cost; None for nothing.

    Raises:
        InvalidValue: it is no number that is finite and not negative, or the metrics say something else.
    """
    if cost is None:
        return None
    found = as_number("cost", cost)
    if not is_cost(found):
        raise InvalidValue(f"cost must be a finite number that is not negative, got cost={shown(cost)}")
    if COST in metrics and metrics[COST] != found:
        raise InvalidValue(
            f"a trial's cost is its metric {COST!r}, which was told another number: got cost={shown(cost)} and "
            f"metrics[{COST!r}]={metrics[COST]}"
        )
    return found


def cost_column(costs: Any, trials: int) -> FloatArray | None:
    """The same of several trials, float64 (trials,); NaN for one that is told none."""
    if costs is None:
        return None
    found = numbers_by_position("costs", costs)
    if len(found) != trials:
        raise InvalidValue(f"costs must be {trials} numbers, got an array of shape {found.shape}")
    for i in np.flatnonzero((found < 0) | np.isinf(found))[:1].tolist():
        raise InvalidValue(
            "a cost must be a finite number that is not negative, or NaN for a trial that is told none, got "
            f"costs[{i}]={found[i]}"
        )
    return found


def add_to_cost(table: TrialTable, number: int, told: dict[str, float]) -> None:
    """Of a trial that goes on after a pause, the cost of its legs so far is added to what it is told of the last one.

    Args:
        table: the trials.
        number: of the trial.
        told: its metrics, changed.
    """
    if COST in told and len(table.segments):
        before, last = _told_cost(table, number), told[COST]
        if is_cost(before) and is_cost(last):
            told[COST] = before + last


def costs_of(table: TrialTable, numbers: IntArray) -> FloatArray:
    """The costs of trials (k,) that have ended: what they were told, if any trial was told a cost, else seconds.

    NaN where one is not known, as of trials that were added: these took no time.
    """
    if COST not in table.metrics:
        if len(table.segments):
            seconds = np.array([table.times(number)[2] for number in numbers.tolist()])
        else:
            seconds = table.ends[numbers] - table.starts[numbers]
        return np.where(seconds > 0, seconds, np.nan)
    if len(numbers) < _MANY:
        return np.array([_told_cost(table, number) for number in numbers.tolist()])
    costs: FloatArray = table.metrics.column(COST, len(table))[numbers]
    costs[(costs < 0) | np.isinf(costs)] = np.nan
    return costs


def _told_cost(table: TrialTable, number: int) -> float:
    cost = table.metrics.of(number).get(COST, math.nan)
    return cost if is_cost(cost) else math.nan


def _units(number: float) -> int:
    whole = math.floor(number)
    return whole * _UNITS + round((number - whole) * _UNITS)


class Costs:
    """The costs of the trials that have ended, or paused; a function of the table.

    If any trial was told a cost, these count. One that was told none is taken to cost as much a second as the others
    that ran do. If no trial was told any, each costs the seconds that it ran. One that was added took no time.

    Args:
        table: the trials, which stand as `table`.
    """

    def __init__(self, table: TrialTable) -> None:
        self.table = table
        self._seen = 0
        # of trials that may go on after a pause: what is counted of each so far
        self._cost: FloatArray = np.empty(0)
        self._ran: FloatArray = np.empty(0)
        # in billionths: what was told of trials that took no time, and of others; the seconds of these, and of trials
        # that were told nothing
        self._told_at_once = self._told = self._told_seconds = self._other_seconds = 0

    def spent(self) -> float:
        """What all trials have cost, the legs of paused ones included; looks at those that ended since it last did."""
        table, segments = self.table, self.table.segments
        are_told = COST in table.metrics
        if len(segments):
            self._make_room(len(table))
            for leg in range(self._seen, len(segments)):
                number = int(segments.trial[leg])
                self._count(self._cost[number], self._ran[number], -1)
                self._cost[number] = _told_cost(table, number) if are_told else math.nan
                self._ran[number] += max(float(segments.end[leg] - segments.start[leg]), 0.0)
                self._count(self._cost[number], self._ran[number], 1)
            self._seen = len(segments)
        else:
            for number in table.tell_order[self._seen :].tolist():
                self._count(_told_cost(table, number) if are_told else math.nan, table.times(number)[2], 1)
            self._seen = len(table.tell_order)
        if self._told_seconds:
            others = self._other_seconds * self._told // self._told_seconds
        else:
            others = 0 if are_told else self._other_seconds
        try:
            return (self._told_at_once + self._told + others) / _UNITS
        except OverflowError:
            return math.inf

    def _make_room(self, count: int) -> None:
        if count > len(self._cost):
            capacity = max(count, 2 * len(self._cost))
            self._cost = grow(self._cost, capacity, np.nan)  # type: ignore[assignment]
            self._ran = grow(self._ran, capacity, 0.0)  # type: ignore[assignment]

    def _count(self, cost: float, seconds: float, sign: int) -> None:
        if cost == cost and seconds <= 0:
            self._told_at_once += sign * _units(float(cost))
        elif cost == cost:
            self._told += sign * _units(float(cost))
            self._told_seconds += sign * _units(float(seconds))
        else:
            self._other_seconds += sign * _units(float(seconds))
