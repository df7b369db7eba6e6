"""Grid search: every combination once, decoded from its number."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fasthpo.cells import INACTIVE, LARGEST_INT64, Cells
from fasthpo.errors import InvalidSearchSpace, InvalidValue, SpaceExhausted
from fasthpo.floats import masked
from fasthpo.parameter import FloatArray, Numeric
from fasthpo.reports import IntArray
from fasthpo.samplers.base import Sampler
from fasthpo.search_space import SearchSpace
from fasthpo.table import TrialTable

_MOST_TABLED = 4096  # points of a continuum that are computed at once, and kept


@masked
def _grid_values(parameter: Numeric, n_points: int, cells: IntArray) -> FloatArray:
    """The values of a continuum at its `n_points` grid points, evenly spaced on its scale, ends included."""
    share = np.full(np.shape(cells), 0.5) if n_points == 1 else cells / (n_points - 1)
    if parameter.log:
        low, high = np.log(parameter.low), np.log(parameter.high)
        values = np.exp(low + share * (high - low))
    else:
        values = parameter.low + share * (parameter.high - parameter.low)
    # exp(log(0.1)) is 0.10000000000000002, but the ends are exact
    values = np.where(share == 0.0, parameter.low, np.where(share == 1.0, parameter.high, values))
    inside: FloatArray = np.clip(values, parameter.low, parameter.high)
    return inside


class _Continuum:
    """The grid points of a parameter without values of its own to count."""

    def __init__(self, parameter: Numeric, n_points: int) -> None:
        self._parameter = parameter
        self._n_points = n_points
        self._table: FloatArray | None = None
        if n_points <= _MOST_TABLED:
            self._table = _grid_values(parameter, n_points, np.arange(n_points))

    def values(self, cells: IntArray) -> FloatArray:
        """The values of cells, of one or of several."""
        if self._table is None:
            return _grid_values(self._parameter, self._n_points, cells)
        found: FloatArray = self._table[cells]
        return found


class GridSampler(Sampler):
    """Tries every cell of a grid once, in order or shuffled. A grid of 10^18 cells costs nothing to make.

    Discrete, categorical, stepped and constant parameters give all their values; `Continuous` and `LogUniform` need
    `n_points`. In order, the last parameter varies fastest. Of a conditional parameter the inactive case is one cell.

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
    has_batches = True

    def __init__(self, shuffle: bool = False, seed: int | None = None) -> None:
        super().__init__(seed)
        if not isinstance(shuffle, bool):
            raise InvalidValue(f"shuffle must be True or False, got shuffle={shuffle!r}")
        self.shuffle = shuffle
        self._space: SearchSpace | None = None
        self._cells: Cells | None = None
        self._continua: dict[int, _Continuum] = {}

    def options(self) -> dict[str, Any]:
        return {"shuffle": self.shuffle, "seed": self.seed}

    def check_space(self, space: SearchSpace) -> None:
        cells = self._grid(space)
        if self.shuffle and cells.size > LARGEST_INT64:
            raise InvalidSearchSpace(
                f"a shuffled grid has at most 2**63 - 1 cells, got {cells.size}; use shuffle=False"
            )

    def _grid(self, space: SearchSpace) -> Cells:
        if self._cells is None or self._space is not space:
            counts = []
            continua = {}
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
                    continua[j] = _Continuum(parameter, count)
            # without n_points the grid is the space itself, which has been numbered already
            self._cells = space.cells or Cells(space, counts)
            self._space = space
            self._continua = continua
        return self._cells

    def grid_size(self, space: SearchSpace) -> int:
        """How many cells the grid has on `space`."""
        return self._grid(space).size

    def draw_limit(self, space: SearchSpace) -> int:
        return self.grid_size(space)

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        cells = self._grid(table.space)
        if draw >= cells.size:
            raise SpaceExhausted(f"all {cells.size} points of the grid have been suggested")
        index = int(self._permuted(np.array([draw], np.int64), cells.size)[0]) if self.shuffle else draw
        digits = np.array(cells.digits(index), np.int64)
        row = cells.rows(digits)
        for j, continuum in self._continua.items():
            if digits[j] != INACTIVE:
                row[j] = continuum.values(digits[j])
        return row

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        cells = self._grid(table.space)
        indices = self._permuted(draws, cells.size) if self.shuffle else draws
        digits = np.empty((len(draws), len(table.space)), np.int64)
        if cells.radices is None:
            for i, index in enumerate(indices.tolist()):
                digits[i] = cells.digits(index)
        else:
            from fasthpo.kernels.grid import decode

            decode(indices, cells.radices, digits)
        rows = cells.rows(digits)
        for j, continuum in self._continua.items():
            active = digits[:, j] != INACTIVE
            rows[active, j] = continuum.values(digits[active, j])
        return rows

    def _permuted(self, draws: IntArray, size: int) -> IntArray:
        from fasthpo.kernels.grid import permute

        indices = draws.astype(np.uint64)
        permute(indices, np.uint64(size), np.uint64(self.seed & 0xFFFFFFFF), np.uint64(self.seed >> 32))
        return indices.astype(np.int64)
