"""Latin hypercubes: a few random points that cover the range of every parameter evenly."""

from __future__ import annotations

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.space.allowed import prior_rows
from fasthpo.space.partial import completed_row
from fasthpo.space.prior import Priors
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray

_MOST = 320  # points of a block, unless the first one has more
_ATTEMPTS = 1000  # to find a point with the guesses that relations allow


def _led(priors: Priors, points: FloatArray) -> FloatArray:
    """Quantiles (n, d) of which every second is moved to where good values are believed to be."""
    led = points.copy()
    led[::2] = priors.shifted(points[::2])
    led[0, priors.parameters] = priors.centers
    return led


def _guess(space: SearchSpace, priors: Priors, point: FloatArray, seed: int) -> FloatArray | None:
    """The row (d,) of the very guesses, of a point (d,) of quantiles for parameters without one.

    Where the relations forbid that, the others are drawn anew; None if no point, or hardly one, with these is allowed.
    """
    row = np.array([[one.from_unit(point[j : j + 1])[0] for j, one in enumerate(space.parameters)]])
    row[0, priors.parameters] = priors.guesses
    row = space.deactivate(row)
    if space.allows(row)[0]:
        return row[0]  # type: ignore[no-any-return]
    given = np.full(len(space), np.nan)
    given[priors.parameters] = row[0, priors.parameters]
    return completed_row(space, given, seed, 0, _ATTEMPTS)


class LatinHypercube:
    """Draws from a space's prior, in blocks of which each has one point in every part of each parameter's range.

    Where parameters have priors, the first point of the first block is the guess, if relations allow it, and every
    second one of that block is drawn from what is believed; the others are as without.

    The first block has `size` points and parts, each later one twice as many, up to 320: whoever draws on, as many
    trials run at once, has them all well spread. Draw k depends on (seed, k, stream, size) only.

    Args:
        seed: 0 to 2**64 - 1.
        stream: what the numbers are for; different streams are independent.
        size: points of the first block, at least 1.

    Reference:
        McKay, Beckman, Conover: A comparison of three methods for selecting values of input variables in the analysis
        of output from a computer code. Technometrics 21, 1979.
    """

    def __init__(self, seed: int, stream: int, size: int) -> None:
        self._seed = seed
        self._stream = stream
        self._size = size
        # the block made last, as one object: another study's thread may make another one meanwhile
        self._made: tuple[SearchSpace | None, int, FloatArray] = None, 0, np.empty((0, 0))

    def row(self, space: SearchSpace, draw: int) -> FloatArray:
        """The row (d,) of one draw."""
        of, first, rows = self._made
        if space is not of or not first <= draw < first + len(rows):
            first, size = self._block(draw)
            numbers = uniforms(self._seed, np.arange(first, first + size), self._stream, 2 * len(space))
            order, within = numbers[:, : len(space)], numbers[:, len(space) :]
            # which part of each parameter's range: a random permutation a column
            parts = np.argsort(np.argsort(order, axis=0, kind="stable"), axis=0)
            points = (parts + within) / size
            if not first and space.priors is not None:
                points = _led(space.priors, points)
            rows = points if space.relations else space.from_unit(points)
            if not first and space.priors is not None and not space.relations:
                rows[0] = _guess(space, space.priors, points[0], self._seed)
            self._made = space, first, rows
        row: FloatArray = rows[draw - first]
        if space.relations:  # which may have a point drawn anew very often, and some are never asked for
            guess = _guess(space, space.priors, row, self._seed) if space.priors is not None and not draw else None
            if guess is not None:
                return guess
            return prior_rows(space, row[None, :], self._seed, np.array([draw]))[0]  # type: ignore[no-any-return]
        return row

    def _block(self, draw: int) -> tuple[int, int]:
        """The first draw of the block that a draw is in, and how many there are."""
        first, size = 0, self._size
        while draw >= first + size and size < _MOST:
            first += size
            size = min(2 * size, _MOST)
        return first + (draw - first) // size * size, size
