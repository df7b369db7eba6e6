"""Quasi-random search: points that fill the space more evenly than random ones."""

from __future__ import annotations

import sys
import threading
from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidSearchSpace, SpaceExhausted
from fasthpo.samplers.base import Sampler
from fasthpo.space.allowed import prior_rows
from fasthpo.space.search_space import SearchSpace
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.uninterrupted import import_whole
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, check_flag

_BLOCK = 256  # points made at once; a power of two, as Sobol's sequence likes it
_RESTRICTED_BLOCK = 16  # the same where relations may have each drawn anew very often
_ENGINE = threading.Lock()  # an engine is one sequence, which several studies may share
renew_in_forked(sys.modules[__name__], _ENGINE=threading.Lock)
_MOST_POINTS = 2**26  # SciPy goes through all points before the wanted ones, at 50 ns and more each
_MOST_PARAMETERS = 21201  # direction numbers that SciPy has


class QMCSampler(Sampler):
    """Sobol's sequence, scrambled, through the space's prior distributions (`scipy.stats.qmc.Sobol`).

    After 2**26 points (67 million) it ends. Of a point that breaks a relation, those parameters are drawn at random.

    Args:
        seed: of the scrambling, 0 to 2**64 - 1; None draws one.
        scramble: shift and scramble the sequence; without it the first point is the corner of all lowest values.

    References:
        Sobol: On the distribution of points in a cube. USSR Comp. Math. 7, 1967, doi 10.1016/0041-5553(67)90144-9.
        Owen: Scrambling Sobol' and Niederreiter-Xing points. J. Complexity 14, 1998, doi 10.1006/jcom.1998.0487.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0, 1)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.QMCSampler(seed=0))
        >>> points = sorted(study.ask()["x"] for _ in range(4))
        >>> all(i / 4 <= x < (i + 1) / 4 for i, x in enumerate(points))  # one in each quarter
        True
    """

    name: ClassVar[str] = "qmc"
    has_several_objectives: ClassVar[bool] = True
    has_batches = True

    def __init__(self, seed: int | None = None, scramble: bool = True) -> None:
        super().__init__(seed)
        self.scramble = check_flag("scramble", scramble)
        self.forget()

    def forget(self) -> None:
        self._engine: Any = None
        self._parameters = 0  # of the engine
        # the block made last, as one object: another study's thread may make another one meanwhile
        self._made: tuple[SearchSpace | None, int, FloatArray] = None, -1, np.empty((0, 0))

    def options(self) -> dict[str, Any]:
        return {"seed": self.seed, "scramble": self.scramble}

    def check_space(self, space: SearchSpace) -> None:
        if len(space) > _MOST_PARAMETERS:
            raise InvalidSearchSpace(f"Sobol's sequence has at most {_MOST_PARAMETERS} parameters, got {len(space)}")

    def _unit(self, space: SearchSpace, first: int, count: int) -> FloatArray:
        """Points first ... first + count - 1 of the sequence, (count, d)."""
        if first + count > _MOST_POINTS:
            raise SpaceExhausted(f"Sobol's sequence is made up to {_MOST_POINTS} points, and these have been suggested")
        qmc = import_whole("scipy.stats.qmc")
        with _ENGINE:
            d = len(space)
            if self._engine is None or d != self._parameters:
                self._engine = qmc.Sobol(d, scramble=self.scramble, rng=np.random.default_rng(self.seed), bits=32)
                self._parameters = d
            engine = self._engine
            if engine.num_generated > first:
                engine.reset()
            if engine.num_generated < first:
                engine.fast_forward(first - engine.num_generated)
            # whole blocks only: SciPy warns of a first request that is no power of two
            unit: FloatArray = engine.random(count)
            return unit

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        size = _RESTRICTED_BLOCK if table.space.relations else _BLOCK
        block, place = divmod(draw, size)
        of, made, rows = self._made
        if block != made or table.space is not of:
            first = block * size
            unit = self._unit(table.space, first, size)
            rows = prior_rows(table.space, unit, self.seed, np.arange(first, first + size))
            self._made = table.space, block, rows
        row: FloatArray = rows[place]
        return row

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        first = int(draws[0]) // _BLOCK * _BLOCK if len(draws) else 0
        last = int(draws[-1]) + 1 if len(draws) else 0
        blocks = [self._unit(table.space, start, _BLOCK) for start in range(first, last, _BLOCK)]
        unit = np.concatenate([*blocks, np.empty((0, len(table.space)))])
        return prior_rows(table.space, unit[draws - first], self.seed, draws)
