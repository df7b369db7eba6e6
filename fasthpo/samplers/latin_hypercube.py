"""Latin hypercubes: a few random points that cover the range of every parameter evenly."""

from __future__ import annotations

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray


class LatinHypercube:
    """Draws from a space's prior, in blocks of `size` of which each has one in every `size`-th of each parameter.

    Draw k depends on (seed, k, stream, size) only.

    Args:
        seed: 0 to 2**64 - 1.
        stream: what the numbers are for; different streams are independent.
        size: points of a block, at least 1.

    Reference:
        McKay, Beckman, Conover: A comparison of three methods for selecting values of input variables in the analysis
        of output from a computer code. Technometrics 21, 1979.
    """

    def __init__(self, seed: int, stream: int, size: int) -> None:
        self._seed = seed
        self._stream = stream
        self._size = size
        # the block made last, as one object: another study's thread may make another one meanwhile
        self._made: tuple[SearchSpace | None, int, FloatArray] = None, -1, np.empty((0, 0))

    def row(self, space: SearchSpace, draw: int) -> FloatArray:
        """The row (d,) of one draw."""
        block, place = divmod(draw, self._size)
        of, made, rows = self._made
        if block != made or space is not of:
            draws = np.arange(block * self._size, (block + 1) * self._size)
            numbers = uniforms(self._seed, draws, self._stream, 2 * len(space))
            order, within = numbers[:, : len(space)], numbers[:, len(space) :]
            # which part of each parameter's range: a random permutation a column
            parts = np.argsort(np.argsort(order, axis=0, kind="stable"), axis=0)
            rows = space.from_unit((parts + within) / self._size)
            self._made = space, block, rows
        row: FloatArray = rows[place]
        return row
