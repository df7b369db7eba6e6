"""What TPE's two densities are made of: l, of the few trials below, and g, of the many above."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import FloatArray, IntArray


class Below(NamedTuple):
    """The density l: kernels of b points, each with a bandwidth of its own, and the prior; see `parzen.fit`."""

    points: FloatArray  # with their kernels, (d, 6, b)
    masses: FloatArray  # of the cells of COARSE axes under each kernel, (d, b, c)
    weights: FloatArray  # of the kernels and, last, of the prior, (b + 1,)
    cumulative: FloatArray  # their cumulative sums, (b + 1,)


class Tiles(NamedTuple):
    """The observations of the joint g, stored in tiles; see `above.arrange` and `above.observe`."""

    rows: IntArray  # row of each axis in a tile, (d,)
    factors: FloatArray  # (d,)
    direct: int  # how many rows of a tile are features as they stand
    store: FloatArray  # (tiles, rows * TILE)
    offsets: FloatArray  # of each slot


class Tables(NamedTuple):
    """The independent g of each parameter, tabulated; see `above_tabulated.count_observations`."""

    sums: IntArray  # of kernels, at each point of a grid, (d, POINTS)
    histogram: IntArray  # the cells of all COARSE and CATEGORICAL parameters one after the other
    starts: IntArray  # where a parameter's cells begin in it, (d,)
    active: IntArray  # in how many observations a parameter is active, (d,)


class Above(NamedTuple):
    """The density g, jointly and of each parameter for itself; all of its numeric kernels have one bandwidth."""

    tiles: Tiles
    length: int  # how many slots of the tiles are in use
    weight: float  # of an observation there, where it stands for more than itself; else 1
    tables: Tables
    cells: FloatArray  # masses of cells at that bandwidth, (d, c, c); see `parzen.tabulate_cells`
    components: float  # how many observations count, those stood for included, and the prior
    bandwidth: float
