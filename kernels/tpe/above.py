"""The joint density g of the many *above* points, under product kernels of one bandwidth.

It is taken relative to the prior density of the space. An observation enters by a single exponential, whose exponent
is a polynomial of degree two in its coordinates. Written out, the part that depends on both candidate and observation
is a product of two matrices, coefficients (candidates) times features (observations): one fused multiply-add a
parameter. Observations are stored in tiles that stay in the first-level cache while all candidates pass over them; the
features of the commonest axes are the stored coordinates themselves, those of the others are laid out tile by tile.

The joint density of a point, given an observation, is a product over the parameters that are active in the point;
where a parameter is active in the point but not in the observation, the factor is the prior. As the parents say which
parameters are active, this integrates to 1 over a tree of conditions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..arrays import FloatArray, IntArray, Space
from ..axes import CATEGORICAL, COARSE, CONSTANT, CONTINUOUS, COUNT, FINE, KIND, LOG, coordinate_of_value, has_positions
from ..compiling import REORDER, kernel
from ..exponential import exponential
from ..normal import LOG_SQRT_2_PI
from .densities import Above, Tiles
from .parzen import COORDINATE, EDGE_HIGH, EDGE_LOW, PRIOR, log_choice, log_inside

TILE = 128  # observations stored together
_BLOCK = 4  # candidates, and features, multiplied at a time: their 16 coefficients stay in registers
_FIRST_SHARE = 16  # part of the observations that all candidates pass over
_FIRST_LEAST = 2048  # observations that all candidates pass over at least
_LOG_SQRT_2 = 0.34657359027997264
_MIDDLE = 0.5  # squares are taken of positions measured from here: small ones cancel little


@kernel
def square_factor(axis: FloatArray, bandwidth: float, width: float) -> float:
    """v such that the kernel of a numeric observation at p is proportional to exp(-v (x - p)^2).

    For a FINE axis the mass of a cell is its width times the density, at its middle x, of a Gaussian as wide as the
    kernel convolved with the cell: of variance bandwidth^2 + width^2 / 12. For a cell as wide as the bandwidth that is
    off by 0.1 % in the middle of the kernel and by less than 1 % at three bandwidths; narrower cells are closer. The
    lowest cells of a logarithmic axis may be twice as wide: 2 % in the middle, 4 % at three bandwidths.
    """
    return 0.5 / (bandwidth * bandwidth + (width * width / 12.0 if axis[KIND] == FINE else 0.0))


@kernel
def arrange(space: Space, bandwidth: float, rows: IntArray, factors: FloatArray) -> tuple[int, int]:
    """Where a tile stores the coordinates of each axis.

    Args:
        space: the search space.
        bandwidth: of all numeric kernels.
        rows: row of each axis in a tile, (d,), written; -1 for CONSTANT. A conditional CONTINUOUS or FINE axis has
            -log Z in the row after.
        factors: (d,), written: `square_factor` of an axis where it does not depend on the candidate and which has no
            conditions, else 0. Such axes come first; their coordinates are their features.

    Returns:
        how many rows the former take, filled up to whole blocks, and how many there are in all.
    """
    axes, conditional = space.axes, space.conditional
    count = 0
    for j in range(len(axes)):
        kind = axes[j, KIND]
        rows[j] = -1
        factors[j] = 0.0
        if not conditional[j] and (kind == CONTINUOUS or (kind == FINE and axes[j, LOG] == 0.0)):
            factors[j] = square_factor(axes[j], bandwidth, 1.0 / max(axes[j, COUNT], 1.0))
            rows[j] = count
            count += 1
    direct = (count + _BLOCK - 1) // _BLOCK * _BLOCK
    count = direct
    for j in range(len(axes)):
        kind = axes[j, KIND]
        if kind != CONSTANT and rows[j] < 0:
            rows[j] = count
            count += 2 if conditional[j] and has_positions(axes[j]) else 1
    return direct, count


@kernel
def observe(
    space: Space, bandwidth: float, tiles: Tiles, params: FloatArray, numbers: IntArray, slots: IntArray
) -> None:
    """Store trials as observations that count.

    Args:
        space, bandwidth: see `arrange`.
        tiles: written: the store, and the offsets, what an observation's exponent has of its own; set one to
            -inf and the observation does not count.
        params: column values (d, n), NaN where inactive.
        numbers: which trials, (k,).
        slots: where to store each, (k,).
    """
    axes, conditional = space.axes, space.conditional
    rows, factors = tiles.rows, tiles.factors
    store, offsets = tiles.store, tiles.offsets
    for i in range(len(numbers)):
        tile, t = slots[i] // TILE, slots[i] % TILE
        offset = 0.0
        for j in range(len(axes)):
            if rows[j] < 0:
                continue
            x = coordinate_of_value(axes[j], params[j, numbers[i]])
            place = rows[j] * TILE + t
            numeric = has_positions(axes[j])
            if conditional[j]:
                if numeric:
                    store[tile, place + TILE] = -log_inside(x, bandwidth) if x == x else 0.0
            elif x != x:
                x = 0.0  # a waiting trial, partly given: it does not count, and must not spoil a sum
            elif numeric:
                offset -= log_inside(x, bandwidth) + factors[j] * (x - _MIDDLE) * (x - _MIDDLE)
            store[tile, place] = x
        offsets[slots[i]] = offset


@kernel
def count_features(axis: FloatArray, conditional: bool, factor: float) -> int:
    """How many features an axis has whose coordinates are not its feature; see `lay_out`."""
    kind = axis[KIND]
    if kind == CONSTANT or kind == CATEGORICAL or factor > 0.0:
        return 0
    if kind == COARSE:
        return int(axis[COUNT])
    return 4 if conditional else 2


@kernel
def lay_out(
    axis: FloatArray, conditional: bool, coordinates: FloatArray, log_norms: FloatArray, features: FloatArray
) -> None:
    """Write the features of a tile of observations on one axis.

    They are: of COARSE, whether the observation lies in each cell; of another numeric axis its position, from the
    middle, and the square of that; of a conditional one also whether it is active and -log Z, all 0 where it is not.

    Args:
        axis: (8,).
        conditional: whether the parameter has conditions.
        coordinates: of the observations (TILE,).
        log_norms: -log Z of each on this axis, (TILE,); needed for a conditional axis only.
        features: (f * TILE,), written.
    """
    if axis[KIND] == COARSE:
        for t in range(len(features)):
            features[t] = 0.0
        for t in range(TILE):
            if coordinates[t] == coordinates[t]:
                features[int(coordinates[t]) * TILE + t] = 1.0
        return
    for t in range(TILE):
        active = coordinates[t] == coordinates[t]
        position = coordinates[t] - _MIDDLE if active else 0.0
        features[t] = position
        features[TILE + t] = position * position
        if conditional:
            features[2 * TILE + t] = 1.0 if active else 0.0
            features[3 * TILE + t] = log_norms[t]


@kernel
def set_coefficients(
    axis: FloatArray, bandwidth: float, cells: FloatArray, query: FloatArray, i: int, coefficients: FloatArray
) -> float:
    """What candidate i multiplies the features of an axis with; the constant that it adds to every exponent.

    Args:
        axis: (8,).
        bandwidth: of the kernels.
        cells: (c, c); see `parzen.tabulate_cells`.
        query: (4, m); see `parzen.describe`.
        i: the candidate, which is active.
        coefficients: of the axis's features, (f,), written; one for an axis whose coordinates are its feature.
    """
    if axis[KIND] == COARSE:
        for c in range(len(coefficients)):
            coefficients[c] = cells[c, int(query[COORDINATE, i])]
        return 0.0
    at = query[COORDINATE, i]
    width = 1.0
    if axis[KIND] == FINE:
        at = 0.5 * (query[EDGE_LOW, i] + query[EDGE_HIGH, i])
        width = query[EDGE_HIGH, i] - query[EDGE_LOW, i]
    at -= _MIDDLE
    factor = square_factor(axis, bandwidth, width)
    # the logarithm of the height: width / sqrt(2 pi variance), with 2 variance = 1 / factor
    constant = 0.5 * math.log(width * width * factor) + _LOG_SQRT_2 - LOG_SQRT_2_PI - query[PRIOR, i]
    constant -= factor * at * at
    coefficients[0] = 2.0 * factor * at
    if len(coefficients) == 1:
        return constant - _MIDDLE * coefficients[0]
    coefficients[1] = -factor
    if len(coefficients) == 2:
        return constant
    coefficients[2] = constant
    coefficients[3] = 1.0
    return 0.0


@kernel(fastmath=REORDER)
def start_exponents(base: FloatArray, exponents: FloatArray) -> None:
    """exponents = base (TILE,), for _BLOCK candidates."""
    for t in range(TILE):
        start = base[t]
        exponents[t] = start
        exponents[TILE + t] = start
        exponents[2 * TILE + t] = start
        exponents[3 * TILE + t] = start


@kernel(fastmath=REORDER)
def multiply_add(exponents: FloatArray, features: FloatArray, coefficients: FloatArray) -> None:
    """exponents += coefficients features, for _BLOCK candidates and _BLOCK features of a tile.

    Args:
        exponents: (_BLOCK * TILE,), changed.
        features: (_BLOCK * TILE,).
        coefficients: (_BLOCK, _BLOCK).
    """
    # one flat array each, read at constant distances: so the compiler needs few checks for overlap, and vectorises
    a0, a1, a2, a3 = coefficients[0, 0], coefficients[0, 1], coefficients[0, 2], coefficients[0, 3]
    b0, b1, b2, b3 = coefficients[1, 0], coefficients[1, 1], coefficients[1, 2], coefficients[1, 3]
    c0, c1, c2, c3 = coefficients[2, 0], coefficients[2, 1], coefficients[2, 2], coefficients[2, 3]
    d0, d1, d2, d3 = coefficients[3, 0], coefficients[3, 1], coefficients[3, 2], coefficients[3, 3]
    for t in range(TILE):
        p, q = features[t], features[TILE + t]
        r, s = features[2 * TILE + t], features[3 * TILE + t]
        exponents[t] += a0 * p + a1 * q + a2 * r + a3 * s
        exponents[TILE + t] += b0 * p + b1 * q + b2 * r + b3 * s
        exponents[2 * TILE + t] += c0 * p + c1 * q + c2 * r + c3 * s
        exponents[3 * TILE + t] += d0 * p + d1 * q + d2 * r + d3 * s


@kernel
def add_choice(exponents: FloatArray, coordinates: FloatArray, x: float, own: float, other: float) -> None:
    """exponents += own or other, as the observation's choice is x or not; nothing where it is inactive."""
    for t in range(len(exponents)):
        coordinate = coordinates[t]
        term = own if coordinate == x else other
        exponents[t] += term if coordinate == coordinate else 0.0


@kernel(fastmath=REORDER)
def sum_exponentials(exponents: FloatArray, constant: float) -> float:
    """sum of exp(exponents + constant)."""
    total = 0.0
    for t in range(len(exponents)):
        total += exponential(exponents[t] + constant)
    return total


class Candidates(NamedTuple):
    """Candidates (m), and what each multiplies the features of observations with."""

    queries: FloatArray  # (d, 4, m); see `parzen.describe`
    starts: IntArray  # where the features of an axis begin among those that have to be laid out, (d + 1,)
    coefficients: FloatArray  # of features in whole blocks, (m, f)
    shared: FloatArray  # what all exponents of a candidate have in common, (m,)
    # what an observation's choice adds on a CATEGORICAL axis, if it is the candidate's, and if it is another, (d,)
    own: FloatArray
    other: FloatArray


@kernel
def prepare_candidates(space: Space, above: Above, queries: FloatArray) -> Candidates:
    """What each candidate (d, 4, m) multiplies the features with."""
    axes, conditional = space.axes, space.conditional
    rows, factors, direct = above.tiles.rows, above.tiles.factors, above.tiles.direct
    d, m = len(axes), queries.shape[2]
    starts = np.empty(d + 1, np.int64)
    shared, own, other = np.empty(m), np.empty(d), np.empty(d)
    starts[0] = 0
    for j in range(d):
        starts[j + 1] = starts[j] + count_features(axes[j], conditional[j], factors[j])
    others = (starts[d] + _BLOCK - 1) // _BLOCK * _BLOCK
    coefficients = np.zeros((m, direct + others))
    for i in range(m):
        shared[i] = 0.0
    for j in range(d):
        if rows[j] < 0:
            continue
        if axes[j, KIND] == CATEGORICAL:
            own[j] = log_choice(axes[j, COUNT], above.components, True) + math.log(axes[j, COUNT])
            other[j] = log_choice(axes[j, COUNT], above.components, False) + math.log(axes[j, COUNT])
            continue
        first = rows[j] if factors[j] > 0.0 else direct + starts[j]
        last = first + 1 if factors[j] > 0.0 else direct + starts[j + 1]
        for i in range(m):
            if queries[j, COORDINATE, i] == queries[j, COORDINATE, i]:
                own_coefficients = coefficients[i, first:last]
                shared[i] += set_coefficients(axes[j], above.bandwidth, above.cells[j], queries[j], i, own_coefficients)
    return Candidates(queries, starts, coefficients, shared, own, other)


@kernel
def add_observations(
    space: Space,
    tiles: Tiles,
    candidates: Candidates,
    begin: int,
    end: int,
    chosen: IntArray,
    sums: FloatArray,
) -> None:
    """sums += the kernels of the observations in the slots from `begin`, a multiple of TILE, to before `end`.

    Args:
        space, tiles, candidates: the search space, g and the candidates.
        begin, end: which slots.
        chosen: which candidates, (c,).
        sums: (m,), changed at the chosen ones.
    """
    axes, conditional = space.axes, space.conditional
    rows, direct, store, offsets = tiles.rows, tiles.direct, tiles.store, tiles.offsets
    queries, starts, coefficients = candidates.queries, candidates.starts, candidates.coefficients
    shared, own, other = candidates.shared, candidates.own, candidates.other
    d = len(axes)
    count = len(chosen)
    columns = coefficients.shape[1]
    lines = (count + _BLOCK - 1) // _BLOCK * _BLOCK  # whole blocks, filled up with zeros
    used = np.zeros((lines, columns))
    for c in range(count):
        for k in range(columns):
            used[c, k] = coefficients[chosen[c], k]
    features = np.zeros((columns - direct) * TILE)
    exponents = np.zeros(lines * TILE)
    for first in range(begin, end, TILE):
        size = min(TILE, end - first)
        tile = store[first // TILE]
        for j in range(d):
            if starts[j + 1] > starts[j]:
                place = rows[j] * TILE
                norms = tile[place + TILE : place + 2 * TILE] if conditional[j] else tile[place : place + TILE]
                own_features = features[starts[j] * TILE : starts[j + 1] * TILE]
                lay_out(axes[j], conditional[j], tile[place : place + TILE], norms, own_features)
        for i in range(0, lines, _BLOCK):
            block = exponents[i * TILE : (i + _BLOCK) * TILE]
            start_exponents(offsets[first : first + TILE], block)
            for k in range(0, direct, _BLOCK):
                part = tile[k * TILE : (k + _BLOCK) * TILE]
                multiply_add(block, part, used[i : i + _BLOCK, k : k + _BLOCK])
            for k in range(direct, columns, _BLOCK):
                part = features[(k - direct) * TILE : (k - direct + _BLOCK) * TILE]
                multiply_add(block, part, used[i : i + _BLOCK, k : k + _BLOCK])
        for c in range(count):
            i = chosen[c]
            line = exponents[c * TILE : c * TILE + size]
            for j in range(d):
                choice = queries[j, COORDINATE, i]
                if axes[j, KIND] == CATEGORICAL and choice == choice:
                    place = rows[j] * TILE
                    add_choice(line, tile[place : place + size], choice, own[j], other[j])
            sums[i] += sum_exponentials(line, shared[i])


@kernel
def nth_highest(scores: FloatArray, n: int) -> float:
    """The n-th highest of a few scores (`np.sort` would take two seconds to compile)."""
    bound = np.inf
    for _ in range(n):
        highest = -np.inf
        for score in scores:
            if score < bound:
                highest = max(highest, score)
        bound = highest
    return bound


@kernel
def above_joint(
    space: Space, above: Above, queries: FloatArray, log_below: FloatArray, every: bool, scores: FloatArray
) -> None:
    """Scores log l - log g of candidates, g being the joint density under product kernels of one bandwidth.

    Where only the best score need be exact, most candidates are given up early: a part of the sum over the observations
    is a lower bound of g, which gives an upper bound of the score. All candidates pass over the latest observations;
    the few most promising ones then over the rest; the others only if their bound is not below the best score.

    Args:
        space, above: the search space and g.
        queries: the candidates, (d, 4, m); see `parzen.describe`.
        log_below: log(l / prior) of the candidates, (m,).
        every: whether every score must be exact, not the highest one only.
        scores: (m,), written; one that is not exact is above the truth and below the highest.
    """
    m = len(scores)
    tiles = above.tiles
    n = above.length
    prepared = prepare_candidates(space, above, queries)
    sums = np.zeros(m)
    waiting = np.ones(m, np.bool_)
    candidates = np.empty(m, np.int64)
    cut = 0 if every else max(n - max(n // _FIRST_SHARE, _FIRST_LEAST), 0) // TILE * TILE
    best = -np.inf
    for step in range(3):
        bound = best
        if step == 1:
            bound = nth_highest(scores, min(_BLOCK, m))
        # a loop: NumPy's own functions would take seconds to compile
        count = 0
        for i in range(m):
            if step == 0 or (waiting[i] and scores[i] >= bound):
                candidates[count] = i
                count += 1
        chosen = candidates[:count]
        begin, end = (0, cut) if step > 0 else (cut, n)
        add_observations(space, tiles, prepared, begin, end, chosen, sums)
        for i in chosen:
            scores[i] = log_below[i] - math.log((1.0 + above.weight * sums[i]) / above.components)
            if step > 0:
                waiting[i] = False
                best = max(best, scores[i])
        if cut == 0:
            return
