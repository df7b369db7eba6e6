"""Random search: every point drawn from the prior, independently."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.base import Sampler
from fasthpo.space.allowed import prior_rows
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray

_BLOCK = 256  # draws made ahead at once: NumPy's cost a call is then shared by many asks
_RESTRICTED_BLOCK = 16  # the same where relations may have each drawn anew very often
_CHUNK = 8192  # draws of a batch made at once, so that the intermediate arrays stay in the cache


class PriorDraws:
    """Draws from a space's prior: draw k depends on (seed, k, stream) only.

    Args:
        seed: 0 to 2**64 - 1.
        stream: what the numbers are for; different streams are independent.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._seed = seed
        self._stream = stream
        # the block made last, as one object: another study's thread may make another one meanwhile
        self._made: tuple[SearchSpace | None, int, FloatArray] = None, -1, np.empty((0, 0))

    def rows(self, space: SearchSpace, draws: IntArray) -> FloatArray:
        """Rows (n, d) of the draws with indices `draws` (n,)."""
        rows = np.empty((len(draws), len(space)))
        for i in range(0, len(draws), _CHUNK):
            some = draws[i : i + _CHUNK]
            unit = uniforms(self._seed, some, self._stream, len(space))
            rows[i : i + _CHUNK] = prior_rows(space, unit, self._seed, some)
        return rows

    def row(self, space: SearchSpace, draw: int) -> FloatArray:
        """The row (d,) of one draw."""
        size = _RESTRICTED_BLOCK if space.relations else _BLOCK
        block, place = divmod(draw, size)
        of, made, rows = self._made
        if block != made or space is not of:
            rows = self.rows(space, np.arange(block * size, (block + 1) * size))
            self._made = space, block, rows
        row: FloatArray = rows[place]
        return row


class RandomSampler(Sampler):
    """Draws every point from the prior: uniform, log-uniform, normal, or each choice alike.

    Args:
        seed: 0 to 2**64 - 1; None draws one. The same seed gives the same points, whatever the number of workers.

    Reference:
        Bergstra and Bengio: Random search for hyper-parameter optimization. JMLR 13, 2012.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0, 1)})
        >>> one, two = (fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=1)) for _ in range(2))
        >>> one.ask().params == two.ask().params
        True
    """

    name: ClassVar[str] = "random"
    has_several_objectives: ClassVar[bool] = True
    has_batches = True
    repeats = True  # draws are independent
    _STREAM: ClassVar[int] = 0

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self._prior = PriorDraws(self.seed, self._STREAM)

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        return self._prior.row(table.space, draw)

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        return self._prior.rows(table.space, draws)
