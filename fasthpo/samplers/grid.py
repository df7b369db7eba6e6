"""Grid search: every combination once, decoded from its number."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidSearchSpace, SpaceExhausted
from fasthpo.samplers.base import Sampler
from fasthpo.space.allowed_cells import AllowedCells, TooManyCells
from fasthpo.space.decimals import meant, meant_values, rounding_error
from fasthpo.space.enumeration import INACTIVE, LARGEST_INT64, Cells
from fasthpo.space.kinds import Continuous, LogUniform
from fasthpo.space.parameter import Numeric
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import NO_DRAW, TrialTable, has_point
from fasthpo.trials.tried import TriedPoints
from fasthpo.values import FloatArray, IntArray, check_flag, masked, shown

_ERROR = 4 * math.ulp(1.0)  # of a computed point, relative to what it is computed from
_SLACK = 1e-6  # of the distance between two points of a continuum, that a known value may be off
_MOST_TABLED = 4096  # points of a continuum that are computed at once, and kept


class _Continuum:
    """The grid points of a parameter without values of its own to count: evenly spaced on its scale, ends included.

    A point that lies within the error of its computation of a decimal of at most 12 digits is that decimal, see
    `decimals`. The error is in proportion to the larger bound, on a logarithmic scale to its logarithm, and at most an
    eighth of the distance between two points, so that these stay different. No point lies beyond the bounds.
    """

    def __init__(self, parameter: Numeric, n_points: int) -> None:
        self._is_log = parameter.log
        self._steps = n_points - 1
        self._bounds = float(parameter.low), float(parameter.high)
        self._first, last = self._scaled(np.array(self._bounds)).tolist()
        self._span = last - self._first
        apart = self._span / max(1, self._steps) / 8
        self._error = min(_ERROR * (max(abs(self._first), abs(last)) + self._is_log), apart)
        errors = (min(rounding_error(end), apart * (end if self._is_log else 1.0)) for end in self._bounds)
        self._ends = [meant(end, error) for end, error in zip(self._bounds, errors, strict=True)]
        self._table: FloatArray | None = None
        if n_points <= _MOST_TABLED:
            self._table = self._computed(np.arange(n_points))

    def _scaled(self, values: FloatArray) -> FloatArray:
        scaled: FloatArray = np.log(values) if self._is_log else values
        return scaled

    @masked
    def _computed(self, cells: IntArray) -> FloatArray:
        share = cells / self._steps if self._steps else np.full(np.shape(cells), 0.5)
        values = self._first + share * self._span
        if self._is_log:
            values = np.exp(values)
        errors = self._error * values if self._is_log else np.full(np.shape(values), self._error)
        values = meant_values(values.ravel(), errors.ravel()).reshape(np.shape(values))
        # exp(log(0.1)) is 0.10000000000000002, but the ends are exact
        values = np.where(share == 0.0, self._ends[0], np.where(share == 1.0, self._ends[1], values))
        inside: FloatArray = np.clip(values, *self._bounds)
        return inside

    def values(self, cells: IntArray) -> FloatArray:
        """The values of cells, of one or of several."""
        if self._table is None:
            return self._computed(cells)
        found: FloatArray = self._table[cells]
        return found

    def cells(self, values: FloatArray) -> IntArray:
        """The cells of values (n,), none of them NaN; -1 for those that are no point of the grid."""
        steps = max(1, self._steps)
        places = (self._scaled(values) - self._first) / self._span * steps
        nearest = np.rint(places) if self._steps else np.full(len(values), 0.5)
        slack = min(_SLACK + self._error / self._span * steps, 0.25)
        cells: IntArray = np.where(np.abs(places - nearest) <= slack, np.floor(nearest), INACTIVE).astype(np.int64)
        return cells


class _Quantiles:
    """The grid points of a parameter with a distribution: the middles of parts of equal probability."""

    def __init__(self, parameter: Numeric, n_points: int) -> None:
        self._parameter = parameter
        self._count = n_points

    def values(self, cells: IntArray) -> FloatArray:
        """The values of cells, of one or of several."""
        unit = (np.atleast_1d(cells) + 0.5) / self._count
        return self._parameter.from_unit(unit).reshape(np.shape(cells))

    def cells(self, values: FloatArray) -> IntArray:
        """The cells of values (n,), none of them NaN; -1 for those that are no point of the grid."""
        places = self._parameter.to_unit(values) * self._count - 0.5
        nearest = np.clip(np.rint(places), 0, self._count - 1)
        cells: IntArray = np.where(np.abs(places - nearest) <= _SLACK, nearest, INACTIVE).astype(np.int64)
        return cells


class GridSampler(Sampler):
    """Tries every cell of a grid once, in order or shuffled. A grid of 10^18 cells costs nothing to make.

    Discrete, categorical, ordinal, stepped and constant parameters give all their values; `Continuous`, `LogUniform`,
    `Normal` and `LogNormal` need `n_points`. In order, the last parameter varies fastest. Of a conditional parameter
    the inactive case is one cell. Points that were enqueued or added with their results count as tried, if they lie on
    the grid. What relations forbid is no cell.

    Args:
        shuffle: try the cells in a random order that depends on the seed; needed when a study won't see the end.
        seed: 0 to 2**64 - 1; None draws one.

    Raises:
        InvalidSearchSpace: when a study is made on a space with a continuum that has no `n_points`.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 2), "b": fasthpo.Continuous(0, 1, n_points=3)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.GridSampler())
        >>> [tuple(study.ask().params.values()) for _ in range(4)]
        [(1, 0.0), (1, 0.5), (1, 1.0), (2, 0.0)]
    """

    name: ClassVar[str] = "grid"
    has_several_objectives: ClassVar[bool] = True
    _derived = ("_grid", "_known")
    has_batches = True

    def __init__(self, shuffle: bool = False, seed: int | None = None) -> None:
        super().__init__(seed)
        self.shuffle = check_flag("shuffle", shuffle)
        self.forget()

    def forget(self) -> None:
        self._grid: Grid | None = None
        self._known: _KnownPoints | None = None

    def options(self) -> dict[str, Any]:
        return {"shuffle": self.shuffle, "seed": self.seed}

    def check_space(self, space: SearchSpace) -> None:
        size = self.grid_size(space)
        if self.shuffle and size > LARGEST_INT64:
            raise InvalidSearchSpace(
                f"a shuffled grid has at most 2**63 - 1 cells, got {shown(size)}; use shuffle=False"
            )

    def _grid_of(self, space: SearchSpace) -> Grid:
        grid = self._grid
        if grid is None or grid.space is not space:
            self._grid = grid = Grid(space)
        return grid

    def grid_size(self, space: SearchSpace) -> int:
        """How many cells the grid has on `space`."""
        return self._grid_of(space).size

    def draw_limit(self, space: SearchSpace) -> int:
        return self.grid_size(space)

    def untried(self, table: TrialTable, draws: IntArray) -> IntArray:
        known = self._known
        if known is None or known.table is not table:
            self._known = known = _KnownPoints(table, self._grid_of(table.space))
        known.catch_up()
        if not len(known.points):
            return draws
        return draws[[index not in known.points for index in self._indices(draws, known.grid.size).tolist()]]

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        grid = self._grid_of(table.space)
        if draw >= grid.size:
            raise SpaceExhausted(f"all {grid.size} points of the grid have been suggested")
        return grid.point(int(self._indices(np.array([draw], np.int64), grid.size)[0]) if self.shuffle else draw)

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        grid = self._grid_of(table.space)
        return grid.points(self._indices(draws, grid.size))

    def _indices(self, draws: IntArray, size: int) -> IntArray:
        """The cells of the grid that draws try."""
        if not self.shuffle:
            return draws
        from fasthpo.kernels.grid import permute

        indices = draws.astype(np.uint64)
        permute(indices, np.uint64(size), np.uint64(self.seed & 0xFFFFFFFF), np.uint64(self.seed >> 32))
        return indices.astype(np.int64)


class Grid:
    """The points of a grid on a space, numbered from 0 to size - 1.

    Raises:
        InvalidSearchSpace: a continuum has no `n_points`.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._continua: dict[int, _Continuum | _Quantiles] = {}
        counts = []
        for j, (name, parameter) in enumerate(space.items()):
            count = parameter.count or getattr(parameter, "n_points", None)
            if count is None:
                raise InvalidSearchSpace(
                    f"a grid needs to know how many values of {name!r} to try; "
                    f"give it n_points, such as {type(parameter).__name__}(..., n_points=10)"
                )
            counts.append(count)
            if parameter.count is None:
                assert isinstance(parameter, Numeric)
                is_even = isinstance(parameter, (Continuous, LogUniform))
                self._continua[j] = _Continuum(parameter, count) if is_even else _Quantiles(parameter, count)
        parents = {condition.parent for needed in space.conditions for condition in needed}
        decided = {j: self._continua[j].values(np.arange(counts[j])) for j in parents if j in self._continua}
        # without n_points the grid is the space itself, which has been numbered already
        self._cells: Cells | AllowedCells
        if not space.relations:
            self._cells = space.cells or Cells(space, counts, decided)
        else:
            plain = Cells(space, counts, decided)
            try:
                self._cells = space.cells or AllowedCells(
                    space, counts, lambda digits: self._rows(plain, digits), decided
                )
            except TooManyCells as error:
                raise InvalidSearchSpace(f"the points of this grid can't be counted: {error}") from None
        self.size = self._cells.size
        if not self.size:
            raise InvalidSearchSpace(
                f"no point of the grid is allowed by {', '.join(map(repr, space.relations))}; give more n_points"
            )

    def _rows(self, cells: Cells | AllowedCells, digits: IntArray) -> FloatArray:
        rows = cells.rows(digits)
        for j, continuum in self._continua.items():
            active = digits[:, j] != INACTIVE
            rows[active, j] = continuum.values(digits[active, j])
        return rows

    def point(self, index: int) -> FloatArray:
        """The row (d,) of a point."""
        digits = np.array(self._cells.digits(index), np.int64)
        row = self._cells.rows(digits)
        for j, continuum in self._continua.items():
            if digits[j] != INACTIVE:
                row[j] = continuum.values(digits[j])
        return row

    def points(self, indices: IntArray) -> FloatArray:
        """The rows (n, d) of several points."""
        cells = self._cells
        digits = np.empty((len(indices), len(self.space)), np.int64)
        if cells.radices is None:
            for i, index in enumerate(indices.tolist()):
                digits[i] = cells.digits(index)
        else:
            from fasthpo.kernels.grid import decode

            decode(indices, cells.radices, digits)
        return self._rows(cells, digits)

    def index(self, rows: FloatArray) -> list[int]:
        """The indices of those of the rows (n, d) that are points of the grid."""
        digits = self._cells.digits_of(rows)
        for j, continuum in self._continua.items():
            active = ~np.isnan(rows[:, j])  # not by the digits, which say nothing of a continuum
            found = continuum.cells(rows[active, j])
            digits[active, j] = found
            on_grid = np.ones(len(rows), np.bool_)
            on_grid[active] = found != INACTIVE
            rows, digits = rows[on_grid], digits[on_grid]
        return [int(index) for index in self._cells.numbers(digits)]


class _KnownPoints:
    """The points of a grid that were tried without having been drawn: enqueued ones, known results, another sampler's.

    It is a function of the table, and follows it.
    """

    def __init__(self, table: TrialTable, grid: Grid) -> None:
        self.table = table
        self.grid = grid
        self.points = TriedPoints(grid)
        self._seen = 0
        self._waiting: deque[int] = deque()  # in the order in which they will begin

    def catch_up(self) -> None:
        """Take up the trials since the last call."""
        table, first, last = self.table, self._seen, len(self.table)
        started = []
        while self._waiting and not math.isnan(table.starts[self._waiting[0]]):
            started.append(self._waiting.popleft())
        if last > first:
            new = first + np.flatnonzero(table.draws[first:] == NO_DRAW)
            waits = np.isnan(table.starts[new])
            self._waiting.extend(new[waits].tolist())
            started += new[~waits].tolist()
            self._seen = last
        if started:
            rows = np.ascontiguousarray(table.params[:, started].T)
            for index in self.grid.index(rows[has_point(rows)]):
                self.points.add_cell(index)
