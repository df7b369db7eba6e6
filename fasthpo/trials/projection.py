"""The trials of a study that learns its space, as points of what was learnt of it: what its sampler sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.kernels.streams import uniforms
from fasthpo.space.parameter import Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.trials.tried import TriedPoints, tried_points
from fasthpo.values import FloatArray, IntArray

_STREAM = 6  # of the numbers that stand for what a trial has not asked for
_WAITING = int(TrialState.WAITING)


class Projection(TrialTable):
    """A table whose parameters are points of a learnt space, and all else another table's, with the same numbers.

    What a trial lacks, though it should have it by what was learnt, is drawn from the prior. A row stays what it was
    when its trial began, as samplers count on: where the trial has asked for something else than was suggested, it says
    nothing (`is_lost`) until the space is learnt anew, and another projection is made.

    Args:
        table: the study's.
        space: what was learnt; its parameters are among the table's.
        seed: of the sampler.
        rewritten: by number, the rows that trials began with that went on with others; it may grow.
    """

    def __init__(self, table: TrialTable, space: SearchSpace, seed: int, rewritten: Mapping[int, list[float]]) -> None:
        # not as its class does: whatever is not set here is the table's own
        self.space = space
        self._tried = tried_points(space)
        self._table = table
        self._seed = seed
        self._rewritten = rewritten
        self._places = np.array([table.space.position[name] for name in space.names], np.int64)
        self._rows: FloatArray = np.full((len(space), 0), np.nan)
        self._taken = 0
        self._waits: IntArray = np.empty(0, np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_table"], name)

    @property
    def params(self) -> FloatArray:
        """Parameters, shape (d, n); NaN where inactive."""
        self._catch_up()
        view = self._rows[:, : self._taken]
        view.flags.writeable = False
        return view

    @property
    def tried(self) -> TriedPoints | None:  # type: ignore[override]
        """The points that were suggested or tried, where they can be counted."""
        self._catch_up()
        return self._tried

    def is_lost(self, number: int) -> bool:
        return number in self._rewritten or self._table.is_lost(number)

    def are_lost(self, numbers: IntArray) -> npt.NDArray[np.bool_]:
        lost = self._table.are_lost(numbers)
        lost[self._are_rewritten(numbers)] = True
        return lost

    def _are_rewritten(self, numbers: IntArray) -> list[int]:
        """Which of these (places of them) went on with other rows: by the fewer, as many may have, and few be asked."""
        if len(numbers) < len(self._rewritten):
            return [i for i, number in enumerate(numbers.tolist()) if number in self._rewritten]
        found: list[int] = np.flatnonzero(np.isin(numbers, list(self._rewritten))).tolist() if self._rewritten else []
        return found

    def full_rows(self, rows: FloatArray) -> FloatArray:
        """Rows (n, d) of the learnt space as rows of the table, NaN for parameters that are not in it."""
        full = np.full((len(rows), len(self._table.space)), np.nan)
        full[:, self._places] = rows
        return full

    def _catch_up(self) -> None:
        table, first = self._table, self._taken
        if first == len(table) and not len(self._waits):
            return
        states = table.states
        started = self._waits[states[self._waits] != _WAITING]
        new = np.arange(first, len(table))
        self._waits = np.concatenate([self._waits[states[self._waits] == _WAITING], new[states[new] == _WAITING]])
        if len(table) > self._rows.shape[1]:
            rows = np.full((len(self.space), max(2 * self._rows.shape[1], len(table), 16)), np.nan)
            rows[:, :first] = self._rows[:, :first]
            self._rows = rows
        changed = np.concatenate([started, new])
        if len(changed):
            points = self._points(changed)
            self._rows[:, changed] = points.T
            if self._tried is not None:
                self._tried.add(points[states[changed] != _WAITING])
        self._taken = len(table)

    def _points(self, numbers: IntArray) -> FloatArray:
        """The points (n, d) that trials stand for."""
        rows = np.ascontiguousarray(self._table._params[np.ix_(self._places, numbers)].T)
        for i in self._are_rewritten(numbers):
            began = self._rewritten[int(numbers[i])]
            rows[i] = [began[j] if j < len(began) else np.nan for j in self._places.tolist()]
        return points_of(self.space, rows, numbers, self._seed)


def points_of(space: SearchSpace, rows: FloatArray, numbers: IntArray, seed: int) -> FloatArray:
    """The points (n, d) that rows stand for, in place: what they lack is drawn from the prior by (seed, number).

    Args:
        space: what was learnt.
        rows: column values of its parameters (n, d), NaN where a trial has not asked for one.
        numbers: of the trials, int64 (n,).
        seed: 0 to 2**64 - 1.
    """
    for j, parameter in enumerate(space.parameters):
        rows[:, j] = _within(parameter, rows[:, j])
    lacking = np.flatnonzero(np.isnan(rows).any(axis=1))
    if len(lacking):
        units = uniforms(seed, numbers[lacking], _STREAM, len(space))
        prior = np.stack([p.from_unit(units[:, j]) for j, p in enumerate(space.parameters)], axis=1)
        rows[lacking] = np.where(np.isnan(rows[lacking]), prior, rows[lacking])
    return space.deactivate(rows)


def _within(parameter: Parameter, column: FloatArray) -> FloatArray:
    """Column values (n,) as ones of a parameter, which may have a narrower range by what was learnt."""
    given = ~np.isnan(column)
    if parameter.choices is not None or not given.any():
        return column
    low, high = float(parameter.low), float(parameter.high)  # type: ignore[attr-defined]
    inside = np.clip(column[given], low, high)
    if parameter.count is not None and low < high:
        inside = parameter.at(parameter.cell(inside))
    column = column.copy()
    column[given] = inside
    return column
