"""What is known inside one branch, as if it were the whole space: where good trials are, and a Gaussian process."""

from __future__ import annotations

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.kernels.tpe.densities import Below
from fasthpo.samplers.auto.branches import Branch, in_branch, needs_of
from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.gaussian_process import GaussianProcess
from fasthpo.samplers.ranks import SortKey
from fasthpo.samplers.tpe.split import Split
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray

_PRIOR_STREAM = 49
_CANDIDATE_STREAMS = 50, 51, 52
_CANDIDATES = 72  # of a suggestion, as TPE's Gaussian process has
_COMMON = 1.0
_CONFIDENCE = 3.0  # posterior standard deviations between the mean and the upper confidence bound


class BranchModel:
    """TPE's candidates and the Gaussian process that compares them, over the trials of one branch.

    What the branch needs is held at one value; where several would do, by turns.

    Args:
        table: the trials.
        encoded: its space.
        branch: the branch.
        seed: 0 to 2**64 - 1.
    """

    def __init__(self, table: TrialTable, encoded: EncodedSpace, branch: Branch, seed: int) -> None:
        from fasthpo.kernels.tpe import parzen, scoring  # imports numba

        self._parzen, self._scoring = parzen, scoring
        self._table = table
        self._encoded = encoded
        self._seed = seed
        self._branch = branch
        self._needs = needs_of(table.space, branch)
        self._held: dict[tuple[float, ...], EncodedSpace] = {}
        self._gaussian_process = GaussianProcess(encoded)
        self._split = Split()
        self._told = 0
        d = len(table.space)
        self._most_cells = max([1, *encoded.cells[encoded.numeric].tolist()])
        self._numbers: IntArray = np.empty(0, np.int64)
        self._below = Below(np.zeros((d, 6, 0)), np.zeros((d, 0, self._most_cells)), np.ones(1), np.ones(1))

    def add(self, key: SortKey) -> None:
        """A trial of the branch has ended."""
        self._gaussian_process.add([key])
        self._split.add([key])
        self._told += 1

    def suggest(self, draw: int, common: GaussianProcess | None) -> FloatArray | None:
        """A row (d,) in the branch: of the prior at first, then the best of candidates that was not tried.

        None if relations allow no such point where what the branch needs is held by turns.
        """
        values, space = self._values(draw), self._table.space
        if not self._told:
            return self._from_prior(values, draw)
        rows, bounds = self._candidates(self._hold(values), draw, common)
        if space.relations:
            allowed = space.allows(rows)
            rows, bounds = rows[allowed], bounds[allowed]
            if not len(rows):
                return self._from_prior(values, draw)
        best_first = rows[np.argsort(-bounds, kind="stable")]
        tried = self._table.tried
        untried = best_first if tried is None else (row for row in best_first if not tried.holds(row))
        row: FloatArray = next(iter(untried), best_first[0])
        return row

    def _values(self, turn: int) -> tuple[float, ...]:
        """The column values that what the branch needs is held at."""
        return tuple(float(allowed[turn % len(allowed)]) for allowed in self._needs.values())

    def _hold(self, values: tuple[float, ...]) -> EncodedSpace:
        """The space in which what the branch needs is constant."""
        from fasthpo.kernels.axes import constant_axis

        held = self._held.get(values)
        if held is None:
            encoded, space = self._encoded, self._encoded.space
            axes, allowed = space.axes.copy(), space.allowed.copy()
            for j, value in zip(self._needs, values, strict=True):
                cell = float(self._table.space.parameters[j].cell(np.array([value]))[0])
                axes[j] = constant_axis(value)
                for _, parent, first, last in space.conditions.tolist():
                    if parent == j:  # whose only cell is 0 now
                        lows, highs = space.allowed[first:last].T
                        held_by = (lows <= cell) & (cell <= highs)
                        allowed[first:last] = np.where(held_by, 0.0, -1.0)[:, None]
            varies = ~np.isin(np.arange(len(axes)), list(self._needs))
            held = self._held[values] = encoded._replace(
                space=space._replace(axes=axes, allowed=allowed),
                numeric=encoded.numeric & varies,
                continuous=encoded.continuous & varies,
                movable=encoded.movable & varies,
                categorical=encoded.categorical & varies,
                cells=np.where(varies, encoded.cells, 0),
            )
        return held

    def _from_prior(self, values: tuple[float, ...], draw: int) -> FloatArray | None:
        space = self._table.space
        if space.relations:
            return in_branch(space, self._branch, self._seed, draw, values)
        units = uniforms(self._seed, np.array([draw]), _PRIOR_STREAM, len(space))
        rows = np.stack([parameter.from_unit(units[:, j]) for j, parameter in enumerate(space.parameters)], axis=1)
        rows[0, list(self._needs)] = values
        row: FloatArray = space.deactivate(rows)[0]
        return row

    def _candidates(
        self, held: EncodedSpace, draw: int, common: GaussianProcess | None
    ) -> tuple[FloatArray, FloatArray]:
        """Rows (m, d) and their upper confidence bounds (m,)."""
        if self._split.changed:
            self._fit(held)
            self._split.changed = False
        words = self._seed & 0xFFFFFFFF, self._seed >> 32, draw & 0xFFFFFFFF, draw >> 32
        keys = np.array([(*words, stream) for stream in _CANDIDATE_STREAMS], np.uint64)
        rows, bounds = np.empty((_CANDIDATES, len(self._table.space))), np.empty(_CANDIDATES)
        process = self._gaussian_process if common is None or common.share < _COMMON else common
        process.catch_up(self._table)
        self._scoring.propose_in_branch(
            self._encoded.space,
            held.space,
            self._below,
            process.arrays,
            _CONFIDENCE * process.share,
            keys,
            rows,
            bounds,
        )
        return self._encoded.on_lattice(rows), bounds

    def _fit(self, held: EncodedSpace) -> None:
        """Make the density l of the branch's best trials."""
        split, d = self._split, len(self._table.space)
        numbers: IntArray = np.array(split.below, np.int64)
        weights = split.weights()
        points, masses = np.zeros((d, 6, len(numbers))), np.zeros((d, len(numbers), self._most_cells))
        old = self._numbers, self._below.points, self._below.masses
        self._parzen.fit(held.space.axes, self._table.params, numbers, split.least_bandwidth, *old, points, masses)
        self._numbers, self._below = numbers, Below(points, masses, weights, np.cumsum(weights))
