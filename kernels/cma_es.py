"""CMA-ES: members drawn from a Gaussian on the unit cube and from a distribution of choices; both learn from a ranking.

Numbers in brackets are the equations of Hansen: The CMA evolution strategy: a tutorial. arXiv 1604.00772. A member is
x = m + sigma y with y ~ N(0, C). Three papers add what is not continuous, or not the strategy's own:

- a stepped parameter takes the cell in which m + sigma A y lies, where the diagonal matrix A keeps the chance of
  another cell above a margin (Hamano, Saito, Nomura, Shirakawa: CMA-ES with margin. GECCO 2022, arXiv 2205.13482);
- a choice is drawn from probabilities of its own, which follow the natural gradient, with a margin too (Hamano, Saito,
  Nomura, Uchida, Shirakawa: CatCMA. GECCO 2024, arXiv 2405.09962), by steps whose size is that of Akimoto, Shirakawa,
  Yoshinari, Uchida, Saito, Nishida: Adaptive stochastic natural gradient method. ICML 2019, arXiv 1905.08537;
- the y of a point from elsewhere is shortened (Hansen: Injecting external solutions into CMA-ES. arXiv 1110.4181).

Bounds: a member that lies beyond one is drawn once more. If it does so again, it is shown on the bound and counts where
it lies, while the mean stays inside. Were it drawn until it lies inside, the deviations would shrink before an optimum
on a bound is reached; this way it is found exactly. Without the second draw the first generations learn less.

What is not known of a trial is what its random numbers give under the present distribution: the place within a stepped
parameter's cell or beyond a bound, and the parameters that are inactive. Of a trial that was drawn from this very
distribution these are the numbers with which it was drawn.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .arrays import BoolArray, FloatArray, IntArray, Space, WordArray
from .axes import (
    CONTINUOUS,
    COUNT,
    HIGH,
    KIND,
    LOW,
    cell_at,
    cell_edges,
    cell_of_coordinate,
    coordinate_of_value,
    is_active,
    value_of_cell,
    value_of_coordinate,
)
from .compiling import kernel
from .normal import normal_cdf, normal_quantile
from .uniforms import fill_uniforms, set_draw

# rows of `vectors`, (5, n): the mean m, the evolution paths, the square roots D of the eigenvalues of C as it was last
# decomposed, and the diagonal of A
MEAN, PATH, RANK_ONE_PATH, DEVIATIONS, SCALES = range(5)
# rows of `matrices`, (2, n, n): C, and B, its eigenvectors as columns
COVARIANCE, BASIS = range(2)
# entries of `scalars`, (6,): sigma, generations so far, and that of the last decomposition; of the choices the size of
# a step, what divides it, and how long the path of the gradient gets by chance
SIGMA, GENERATION, DECOMPOSED, CHOICE_STEP, DIVISOR, CHANCE = range(6)
# entries of `settings`, (12,): the strategy parameters (49) to (58); the length beyond which a foreign y is shortened;
# generations between decompositions; the margins of stepped parameters and of choices; the deviation below which a
# search ends
MU_EFFECTIVE, C_PATH, DAMPING, C_RANK_ONE_PATH, C_1, C_MU, EXPECTED, LENGTH, INTERVAL, MARGIN, CHOICE_MARGIN, LEAST = (
    range(12)
)

ATTEMPTS = 2  # draws of a member; the last one counts wherever it lies (benchmarks/cma_quality.py)
MOST_DEVIATION = 0.5  # of a parameter, as a share of its range
_MOST_CONDITION = 1e14  # of C
_FLAT = 1e-7  # relative difference of the best values of many generations that counts as none
_NUMERIC_STREAM, _CHOICE_STREAM, _FOREIGN = 64, 128, 256  # the last is added for trials drawn by others
_SAME = 1e-3  # a member's own place is known up to rounding: to so many standard deviations
_TINY = 1e-8  # keeps the length of a y from being 0
_HALF_BIT = 2.0**-54  # keeps a uniform number from being 0


class Variables(NamedTuple):
    """The parameters that vary."""

    axes: FloatArray  # of all parameters, (d, 10); see `axes.py`
    numeric: IntArray  # which of them are numbers, (n,)
    choices: IntArray  # which of them are choices, (c,)
    starts: IntArray  # where each choice's probabilities begin, and where the last one's end, (c + 1,)


class Distribution(NamedTuple):
    """The Gaussian of the numbers, see above, and the probabilities of all choices."""

    vectors: FloatArray  # (5, n)
    matrices: FloatArray  # (2, n, n)
    scalars: FloatArray  # (6,)
    probabilities: FloatArray


@kernel
def draw_numbers(
    axes: FloatArray,
    numeric: IntArray,
    vectors: FloatArray,
    basis: FloatArray,
    sigma: float,
    key: WordArray,
    stream: int,
    y: FloatArray,
) -> None:
    """Draw y ~ N(0, C), and, if it leads beyond a bound, once more.

    Args:
        axes: (d, 10); see `kernels/axes.py`.
        numeric: which of them are numbers that vary, int64 (n,).
        vectors, basis, sigma: the Gaussian.
        key: of the draw, uint64 (5,); its last entry, the stream, is changed.
        stream: the first of `ATTEMPTS`.
        y: (n,), written.
    """
    n = len(numeric)
    numbers = np.empty(n + n % 2)
    for attempt in range(ATTEMPTS):
        key[4] = np.uint64(stream + attempt)
        fill_uniforms(key, numbers)
        for j in range(n):
            z = normal_quantile(min(numbers[j] + _HALF_BIT, 1.0 - 2.0 * _HALF_BIT))  # (38)
            numbers[j] = vectors[DEVIATIONS, j] * z
        inside = True
        for i in range(n):
            y[i] = 0.0
            for j in range(n):
                y[i] += basis[i, j] * numbers[j]  # (39)
            if axes[numeric[i], KIND] == CONTINUOUS and not 0.0 <= vectors[MEAN, i] + sigma * y[i] <= 1.0:
                inside = False
        if inside:
            return


@kernel
def draw_choices(starts: IntArray, probabilities: FloatArray, key: WordArray, stream: int, chosen: FloatArray) -> None:
    """Draw the choices.

    Args:
        starts: where each parameter's probabilities begin, and where the last one's end, int64 (c + 1,).
        probabilities: of all choices.
        key, stream: see `draw_numbers`.
        chosen: (c,), written.
    """
    count = len(chosen)
    units = np.empty(count + count % 2)
    key[4] = np.uint64(stream)
    fill_uniforms(key, units)
    for k in range(count):
        choice, last = starts[k], starts[k + 1] - 1
        total = probabilities[choice]
        while choice < last and total <= units[k]:
            choice += 1
            total += probabilities[choice]
        chosen[k] = choice - starts[k]


@kernel
def draw_members(
    space: Space, variables: Variables, distribution: Distribution, key: WordArray, draws: WordArray, rows: FloatArray
) -> None:
    """Members of the present generation as rows of column values.

    Args:
        space, variables, distribution: the search space, which of its parameters vary, and how they are drawn.
        key: of the seed, (5,).
        draws: (k,).
        rows: (k, d), written; NaN where inactive.
    """
    axes, conditions = space.axes, space.conditions
    numeric, choices, starts = variables.numeric, variables.choices, variables.starts
    vectors, matrices, scalars = distribution.vectors, distribution.matrices, distribution.scalars
    n, sigma = len(numeric), scalars[SIGMA]
    y, chosen = np.empty(n), np.empty(len(choices))
    values, hidden, decided = np.empty(len(axes)), np.empty(len(axes)), np.empty(len(axes))
    for s in range(len(draws)):
        set_draw(key, draws[s])
        for j in range(len(axes)):
            values[j], hidden[j], decided[j] = value_of_coordinate(axes[j], 0.0), 0.0, np.nan
        draw_numbers(axes, numeric, vectors, matrices[BASIS], sigma, key, _NUMERIC_STREAM, y)
        for i in range(n):
            j, axis = numeric[i], axes[numeric[i]]
            if axis[KIND] == CONTINUOUS:
                x = vectors[MEAN, i] + sigma * y[i]  # (40)
                # a bound itself, not what rounding makes of it: it stands for all that lies beyond
                values[j] = axis[LOW] if x <= 0.0 else axis[HIGH] if x >= 1.0 else value_of_coordinate(axis, x)
            else:
                hidden[j] = cell_at(axis, vectors[MEAN, i] + sigma * vectors[SCALES, i] * y[i])
                values[j] = value_of_cell(axis, hidden[j])
        draw_choices(starts, distribution.probabilities, key, _CHOICE_STREAM, chosen)
        for k in range(len(choices)):
            values[choices[k]] = hidden[choices[k]] = chosen[k]
        for j in space.order:
            rows[s, j] = np.nan
            if len(conditions) and not is_active(j, decided, conditions, space.allowed):
                continue
            rows[s, j] = values[j]
            decided[j] = values[j] if axes[j, KIND] == CONTINUOUS else hidden[j]


@kernel
def infer_member(
    variables: Variables,
    distribution: Distribution,
    key: WordArray,
    draw: int,
    row: FloatArray,
    y: FloatArray,
    chosen: FloatArray,
) -> bool:
    """The y and the choices of a trial; whether it was drawn from this very distribution.

    Args:
        draw: the trial's draw; -1 - number of a trial that the strategy did not draw.
        row: the trial's column values, (d,).
        y: (n,), written.
        chosen: (c,), written.
        (others): see `draw_members`.
    """
    axes, numeric, choices = variables.axes, variables.numeric, variables.choices
    vectors, matrices, scalars = distribution.vectors, distribution.matrices, distribution.scalars
    is_own, sigma, base = draw >= 0, scalars[SIGMA], 0
    if not is_own:
        draw, base = -1 - draw, _FOREIGN
    set_draw(key, np.uint64(draw))
    draw_numbers(axes, numeric, vectors, matrices[BASIS], sigma, key, base + _NUMERIC_STREAM, y)
    draw_choices(variables.starts, distribution.probabilities, key, base + _CHOICE_STREAM, chosen)
    for i in range(len(numeric)):
        axis, value, mean = axes[numeric[i]], row[numeric[i]], vectors[MEAN, i]
        if value != value:
            continue
        coordinate = coordinate_of_value(axis, value)
        if axis[KIND] == CONTINUOUS:
            x = mean + sigma * y[i]
            if (value <= axis[LOW] and x <= 0.0) or (value >= axis[HIGH] and x >= 1.0):
                continue
            told = (coordinate - mean) / sigma
            if abs(told - y[i]) > _SAME * math.sqrt(matrices[COVARIANCE, i, i]):
                is_own = False
            y[i] = told
        else:
            spread = sigma * vectors[SCALES, i]
            x, cell = mean + spread * y[i], cell_of_coordinate(axis, coordinate)
            if cell_at(axis, x) != cell:  # the nearest place in the cell that was told
                is_own = False
                low, high = cell_edges(axis, cell)
                y[i] = (min(max(x, low), high) - mean) / spread
    for k in range(len(choices)):
        value = row[choices[k]]
        if value == value and value != chosen[k]:
            is_own = False
            chosen[k] = value
    return is_own


@kernel
def count_own(
    variables: Variables, distribution: Distribution, key: WordArray, draws: IntArray, rows: FloatArray
) -> int:
    """How many of the trials were drawn from this distribution.

    Args:
        draws: see `infer_member`; int64 (k,).
        rows: the trials' column values, (k, d).
        (others): see `draw_members`.
    """
    y, chosen, count = np.empty(len(variables.numeric)), np.empty(len(variables.choices)), 0
    for k in range(len(rows)):
        count += infer_member(variables, distribution, key, draws[k], rows[k], y, chosen)
    return count


@kernel
def whitened(matrices: FloatArray, vectors: FloatArray, y: FloatArray, z: FloatArray) -> float:
    """Write z = D^-1 B^T y, (n,); its length, which is that of C^-1/2 y."""
    squares = 0.0
    for j in range(len(y)):
        z[j] = 0.0
    for i in range(len(y)):
        for j in range(len(y)):  # along a row, which lies in one piece
            z[j] += matrices[BASIS, i, j] * y[i]
    for j in range(len(y)):
        z[j] /= vectors[DEVIATIONS, j]
        squares += z[j] * z[j]
    return math.sqrt(squares)


@kernel
def adapt_gaussian(
    settings: FloatArray,
    weights: FloatArray,
    bounded: BoolArray,
    steps: FloatArray,
    lengths: FloatArray,
    vectors: FloatArray,
    matrices: FloatArray,
    scalars: FloatArray,
) -> None:
    """Mean, paths, step size and covariance after a generation.

    Args:
        settings, weights: strategy parameters, (12,) and (members,).
        bounded: which parameters' mean has to stay in [0, 1], (n,).
        steps: the y of the members, best first, (members, n).
        lengths: of C^-1/2 y, (members,).
        vectors, matrices, scalars: the Gaussian, changed.
    """
    n, covariance = steps.shape[1], matrices[COVARIANCE]
    path, rank_one_path = vectors[PATH], vectors[RANK_ONE_PATH]
    c_path, c_rank_one_path, mu_effective = settings[C_PATH], settings[C_RANK_ONE_PATH], settings[MU_EFFECTIVE]
    step, white = np.zeros(n), np.empty(n)
    for k in range(len(weights)):
        if weights[k] > 0.0:
            for i in range(n):
                step[i] += weights[k] * steps[k, i]  # (41)
    for i in range(n):
        mean = vectors[MEAN, i] + scalars[SIGMA] * step[i]  # (42), with (54)
        if bounded[i] and not 0.0 <= mean <= 1.0:
            mean = min(max(mean, 0.0), 1.0)
            step[i] = (mean - vectors[MEAN, i]) / scalars[SIGMA]
        vectors[MEAN, i] = mean
    whitened(matrices, vectors, step, white)
    scale, squares = math.sqrt(c_path * (2.0 - c_path) * mu_effective), 0.0
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += matrices[BASIS, i, j] * white[j]
        path[i] = (1.0 - c_path) * path[i] + scale * total  # (43)
        squares += path[i] * path[i]
    length = math.sqrt(squares)
    scalars[SIGMA] *= math.exp(min(c_path / settings[DAMPING] * (length / settings[EXPECTED] - 1.0), 1.0))  # (44)
    usual = math.sqrt(1.0 - (1.0 - c_path) ** (2.0 * (scalars[GENERATION] + 1.0)))
    is_short = length / usual < (1.4 + 2.0 / (n + 1.0)) * settings[EXPECTED]  # h_sigma
    scale = math.sqrt(c_rank_one_path * (2.0 - c_rank_one_path) * mu_effective) if is_short else 0.0
    lost = 0.0 if is_short else c_rank_one_path * (2.0 - c_rank_one_path)
    for i in range(n):
        rank_one_path[i] = (1.0 - c_rank_one_path) * rank_one_path[i] + scale * step[i]  # (45)
    c_1, c_mu, total = settings[C_1], settings[C_MU], 0.0
    for k in range(len(weights)):
        total += weights[k]
    kept = 1.0 + c_1 * lost - c_1 - c_mu * total
    for i in range(n):
        for j in range(i + 1):
            covariance[i, j] = kept * covariance[i, j] + c_1 * rank_one_path[i] * rank_one_path[j]
    for k in range(len(weights)):
        weight = weights[k] if weights[k] >= 0.0 else weights[k] * n / (lengths[k] ** 2 + _TINY)  # (46)
        for i in range(n):
            factor = c_mu * weight * steps[k, i]
            for j in range(i + 1):
                covariance[i, j] += factor * steps[k, j]  # (47)
    for i in range(n):
        for j in range(i):
            covariance[j, i] = covariance[i, j]


@kernel
def largest_deviation(matrices: FloatArray, scalars: FloatArray) -> float:
    """The standard deviation of the parameter that varies most."""
    largest = 0.0
    for i in range(matrices.shape[1]):
        largest = max(largest, matrices[COVARIANCE, i, i])
    return scalars[SIGMA] * math.sqrt(largest)


@kernel
def keep_margins(
    axes: FloatArray, numeric: IntArray, margin: float, vectors: FloatArray, matrices: FloatArray, scalars: FloatArray
) -> None:
    """Keep the chance of another cell than the mean's at `margin`, by moving m and A (Hamano et al. 2022, section 4).

    Args:
        vectors, matrices, scalars: the Gaussian; its m and A are changed.
    """
    for i in range(len(numeric)):
        axis, mean = axes[numeric[i]], vectors[MEAN, i]
        if axis[KIND] == CONTINUOUS:
            continue
        deviation = scalars[SIGMA] * math.sqrt(matrices[COVARIANCE, i, i])
        cell = cell_at(axis, mean)
        low, high = cell_edges(axis, cell)
        if cell == 0.0 or cell == axis[COUNT] - 1.0:  # there are other cells on one side only
            side = -1.0 if cell == 0.0 else 1.0
            edge = high if cell == 0.0 else low
            spread = deviation * vectors[SCALES, i]
            if normal_cdf(-abs(mean - edge) / spread) < margin:
                vectors[MEAN, i] = edge + side * spread * normal_quantile(1.0 - margin)
            continue
        spread = deviation * vectors[SCALES, i]
        under, over = normal_cdf((low - mean) / spread), normal_cdf((mean - high) / spread)
        if under >= margin / 2.0 and over >= margin / 2.0:
            continue
        middle = 1.0 - under - over
        under, over = max(under, margin / 2.0), max(over, margin / 2.0)
        excess, free = 1.0 - under - over - middle, under + middle + over - 1.5 * margin
        under += excess * (under - margin / 2.0) / free
        over += excess * (over - margin / 2.0) / free
        down, up = -normal_quantile(under), -normal_quantile(over)
        vectors[SCALES, i] = (high - low) / ((down + up) * deviation)
        vectors[MEAN, i] = (low * up + high * down) / (down + up)


@kernel
def adapt_choices(
    settings: FloatArray,
    weights: FloatArray,
    chosen: FloatArray,
    starts: IntArray,
    probabilities: FloatArray,
    path: FloatArray,
    scalars: FloatArray,
) -> None:
    """The probabilities of the choices after a generation: a step along the natural gradient, then the margin.

    Args:
        settings, weights: strategy parameters.
        chosen: the choices of the members, best first, (members, c).
        starts: see `draw_choices`.
        probabilities: of all choices, changed.
        path: of the gradient, in the square root of Fisher's metric, changed; as long as `probabilities`, with the last
            choice of each parameter unused.
        scalars: changed.
    """
    gradient, white = np.zeros(len(probabilities)), np.zeros(len(probabilities))
    for k in range(len(weights)):
        if weights[k] > 0.0:
            for c in range(len(starts) - 1):
                gradient[starts[c] + int(chosen[k, c])] += weights[k]
    squares, freedom = 0.0, 0
    for c in range(len(starts) - 1):
        first, last = starts[c], starts[c + 1] - 1
        freedom += last - first
        total = 0.0
        for i in range(first, last + 1):
            gradient[i] -= probabilities[i]
            total += gradient[i] if i < last else 0.0
        rest = probabilities[last] + math.sqrt(probabilities[last])
        for i in range(first, last):  # Akimoto et al. 2019, appendix B
            root = math.sqrt(probabilities[i])
            white[i] = gradient[i] / root + root * total / rest
            squares += white[i] * white[i]
    length = math.sqrt(squares) + 1e-30
    for i in range(len(probabilities)):
        probabilities[i] += scalars[CHOICE_STEP] / length * gradient[i]
    scalars[CHOICE_STEP] = 1.0 / scalars[DIVISOR]
    rate = min(scalars[CHOICE_STEP] / math.sqrt(freedom), 1.0)
    gain = 0.0
    for i in range(len(path)):
        path[i] = (1.0 - rate) * path[i] + math.sqrt(rate * (2.0 - rate)) * white[i] / length
        gain += path[i] * path[i]
    scalars[CHANCE] = (1.0 - rate) ** 2 * scalars[CHANCE] + rate * (2.0 - rate)
    scalars[DIVISOR] *= math.exp(rate * (scalars[CHANCE] - gain / 1.5))
    for c in range(len(starts) - 1):
        keep_choice_margin(settings[CHOICE_MARGIN], probabilities[starts[c] : starts[c + 1]])


@kernel
def keep_choice_margin(margin: float, probabilities: FloatArray) -> None:
    """Keep each of the probabilities (k,) at `margin` / (k - 1) or more, and their sum at 1."""
    count = len(probabilities)
    least, total = margin / (count - 1.0), 0.0
    for i in range(count):
        probabilities[i] = max(probabilities[i], least)
        total += probabilities[i]
    share = (total - 1.0) / (total - least * count)
    total_after = 0.0
    for i in range(count):
        probabilities[i] -= share * (probabilities[i] - least)
        total_after += probabilities[i]
    for i in range(count):
        probabilities[i] /= total_after


@kernel
def decompose(vectors: FloatArray, matrices: FloatArray, scalars: FloatArray) -> bool:
    """C = B D^2 B^T; whether C is still a covariance matrix that numbers of 53 bits can hold."""
    for i in range(matrices.shape[1]):
        for j in range(i + 1):
            if not math.isfinite(matrices[COVARIANCE, i, j]):
                return False
    values, basis = np.linalg.eigh(matrices[COVARIANCE])
    matrices[BASIS] = basis
    for j in range(len(values)):
        vectors[DEVIATIONS, j] = math.sqrt(max(values[j], 0.0))
    scalars[DECOMPOSED] = scalars[GENERATION]
    return values[-1] < _MOST_CONDITION * values[0]


@kernel
def is_flat(bests: FloatArray) -> bool:
    """Whether the best values of the latest generations are the same; NaN stands for one that is still to come."""
    lowest, highest = bests.min(), bests.max()
    if lowest == highest:
        return True
    # halves, as the difference of two floats may overflow
    return math.isfinite(highest) and 0.5 * highest - 0.5 * lowest <= 0.5 * _FLAT * max(abs(lowest), abs(highest))


@kernel
def evolve(
    variables: Variables,
    settings: FloatArray,
    weights: FloatArray,
    distribution: Distribution,
    path: FloatArray,
    bests: FloatArray,
    key: WordArray,
    draws: IntArray,
    rows: FloatArray,
    best: float,
) -> bool:
    """A generation has been ranked: adapt both distributions; whether the search is to begin anew.

    Args:
        bests: the best losses of the latest generations, as a ring; changed.
        draws: of the members, best first; see `infer_member`.
        rows: their column values, (members, d).
        best: the best of their losses.
        (others): see `draw_members`, `adapt_gaussian` and `adapt_choices`; all of the distributions is changed.
    """
    axes, numeric, choices = variables.axes, variables.numeric, variables.choices
    vectors, matrices, scalars = distribution.vectors, distribution.matrices, distribution.scalars
    members, n = len(rows), len(numeric)
    steps, lengths, chosen = np.empty((members, n)), np.empty(members), np.empty((members, len(choices)))
    z = np.empty(n)
    for k in range(members):
        infer_member(variables, distribution, key, draws[k], rows[k], steps[k], chosen[k])
        lengths[k] = whitened(matrices, vectors, steps[k], z)
        # Hansen 2011; what was drawn some generations ago is not shortened: with many running it is all there is
        if draws[k] < 0 and lengths[k] > settings[LENGTH]:
            shorter = settings[LENGTH] / lengths[k]
            for i in range(n):
                steps[k, i] *= shorter
            lengths[k] = settings[LENGTH]
    scalars[GENERATION] += 1.0
    bests[int(scalars[GENERATION]) % len(bests)] = best
    ends = is_flat(bests)
    if len(choices):
        adapt_choices(settings, weights, chosen, variables.starts, distribution.probabilities, path, scalars)
    if n:
        bounded = axes[numeric, KIND] == CONTINUOUS
        adapt_gaussian(settings, weights, bounded, steps, lengths, vectors, matrices, scalars)
        largest = largest_deviation(matrices, scalars)
        if largest > MOST_DEVIATION:
            scalars[SIGMA] *= MOST_DEVIATION / largest
        keep_margins(axes, numeric, settings[MARGIN], vectors, matrices, scalars)
        ends = ends or largest < settings[LEAST]
        if scalars[GENERATION] - scalars[DECOMPOSED] >= settings[INTERVAL]:
            ends = not decompose(vectors, matrices, scalars) or ends
    return ends
