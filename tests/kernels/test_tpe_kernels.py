"""The Parzen and scoring kernels against SciPy, over all kinds of parameter and nasty observations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import ks_2samp, kstest, norm, truncnorm

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace
from fasthpo.kernels import axes, normal
from fasthpo.kernels import uniforms as uniforms_kernels
from fasthpo.kernels.arrays import Space
from fasthpo.kernels.exponential import exponential, logarithm
from fasthpo.kernels.streams import uniforms
from fasthpo.kernels.tpe import above, above_tabulated, below, draws, parzen
from fasthpo.kernels.tpe.densities import Above, Below, Tables, Tiles
from fasthpo.samplers.encoding import encode_space
from tests.support.naive_tpe import bandwidths as naive_bandwidths
from tests.support.naive_tpe import log_density

SLOW = numba.config.DISABLE_JIT  # then the kernels run as plain Python
SPACES = {
    "continuous": SearchSpace({"a": Continuous(0, 1), "b": Continuous(-1e6, 1e6)}),
    "log": SearchSpace({"a": LogUniform(1e-5, 1e-1), "b": LogUniform(1e-300, 1e300)}),
    "coarse": SearchSpace({"a": Discrete(1, 8), "b": Discrete(1, 8, log=True), "c": Continuous(0, 1, step=0.25)}),
    "fine": SearchSpace({"a": Discrete(0, 1000), "b": Discrete(-(10**9), 10**9), "c": Continuous(0, 1, step=0.01)}),
    "categorical": SearchSpace({"a": Categorical(["x", "y"]), "b": Categorical(list(range(300)))}),
    "constant": SearchSpace(
        {"a": Continuous(2, 2), "b": Discrete(3, 3), "c": Categorical([None]), "d": Continuous(0, 1)}
    ),
    "conditional": SearchSpace(
        {
            "a": Categorical(["x", "y", "z"]),
            "b": Continuous(0, 1, when={"a": ["x"]}),
            "c": Discrete(1, 4, when={"a": ["x", "y"]}),
            "d": Categorical([True, False], when={"c": [1, 2]}),
            "e": Discrete(1, 100, when={"a": ["z"]}),
            "f": LogUniform(1, 10),
        }
    ),
}
CASES = [
    pytest.param(name, joint, id=f"{name}-{'joint' if joint else 'independent'}")
    for name in SPACES
    for joint in (True, False)
]


def rows_of(space: SearchSpace, n: int, seed: int) -> np.ndarray:
    rows = space.from_unit(uniforms(seed, np.arange(n), 9, len(space)))
    if n > 3:
        rows[1] = rows[0]  # a tie
    return rows


def queries_of(arrays: Any, rows: np.ndarray) -> np.ndarray:
    """The rows (n, d) as candidates"""
    coordinates = np.array(
        [[axes.coordinate_of_value(a, v) for a, v in zip(arrays.space.axes, row, strict=True)] for row in rows]
    )
    queries = np.zeros((len(arrays.space.axes), 4, len(rows)))
    parzen.describe(arrays.space.axes, coordinates, queries)
    return queries


def cells_of(arrays: Any, bandwidth: float) -> np.ndarray:
    coarse = arrays.space.axes[:, axes.KIND] == axes.COARSE
    most = int(arrays.space.axes[coarse, axes.COUNT].max()) if coarse.any() else 1
    cells = np.zeros((len(arrays.space.axes), most, most))
    parzen.tabulate_cells(arrays.space.axes, bandwidth, cells)
    return cells


def tiles_of(space: Space, bandwidth: float, rows: np.ndarray) -> Tiles:
    """All rows (n, d) as observations that count"""
    n, d = rows.shape
    where, factors = np.empty(d, np.int64), np.empty(d)
    direct, lines = above.arrange(space, bandwidth, where, factors)
    store = np.zeros((n // above.TILE + 1, lines * above.TILE))
    tiles = Tiles(where, factors, direct, store, np.full(len(store) * above.TILE, -np.inf))
    above.observe(space, bandwidth, tiles, np.ascontiguousarray(rows.T), np.arange(n), np.arange(n))
    return tiles


def below_of(points: np.ndarray, masses: np.ndarray, weights: np.ndarray) -> Below:
    return Below(points, masses, weights, np.cumsum(weights))


def joint_density(
    arrays: Any, rows: np.ndarray, counts: np.ndarray, bandwidth: float, queries: np.ndarray, below: Any = None
) -> np.ndarray:
    """log(g / prior), or scores where `below` is given"""
    tiles = tiles_of(arrays.space, bandwidth, rows)
    tiles.offsets[: len(rows)][~counts] = -np.inf
    cells, tables = cells_of(arrays, bandwidth), tabulated(arrays, bandwidth, rows, [])
    g = Above(tiles, len(rows), 1.0, tables, cells, counts.sum() + 1.0, bandwidth)
    scores = np.empty(queries.shape[2])
    log_below = np.zeros(len(scores)) if below is None else below
    above.above_joint(arrays.space, g, queries, log_below, below is None, scores)
    return -scores if below is None else scores


Fitted = tuple[np.ndarray, np.ndarray, np.ndarray]


def empty_fit(arrays: Any, n: int = 0) -> Fitted:
    d = len(arrays.space.axes)
    return np.empty(n, np.int64), np.ones((d, 6, n)), np.zeros((d, n, cells_of(arrays, 1.0).shape[1]))


def fitted(arrays: Any, rows: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    return fitted_after(arrays, rows, np.arange(len(rows)), least, empty_fit(arrays))[1:]


def fitted_after(arrays: Any, rows: np.ndarray, numbers: np.ndarray, least: float, old: Fitted) -> Fitted:
    _, points, masses = empty_fit(arrays, len(numbers))
    parzen.fit(arrays.space.axes, np.ascontiguousarray(rows.T), numbers, least, *old, points, masses)
    return numbers, points, masses


@pytest.mark.parametrize("name", SPACES)
def test_kernels_taken_over_are_those_made_anew(name: str) -> None:
    """Points come, go and change places; now and then the smallest bandwidth changes."""
    rng = np.random.default_rng(5)
    space = SPACES[name]
    arrays, rows = encode_space(space), rows_of(space, 40, 3)
    old = empty_fit(arrays)
    for step in range(60):
        numbers = rng.permutation(40)[: rng.integers(0, 12)] if step % 3 else np.roll(old[0], 1)
        least = (0.2, 0.05)[step // 7 % 2]
        made = fitted_after(arrays, rows, numbers, least, old)
        anew = fitted_after(arrays, rows, numbers, least, empty_fit(arrays))
        for one, other in zip(made, anew, strict=True):
            np.testing.assert_array_equal(one, other)
        old = made


@pytest.mark.parametrize(("name", "joint"), CASES)
@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_below_density_equals_scipy(name: str, joint: bool, n: int) -> None:
    space = SPACES[name]
    rows, queries = rows_of(space, n, 1), rows_of(space, 6, 2)
    arrays = encode_space(space)
    weights = np.append(np.linspace(1, 2, n), 0.3)
    points, masses = fitted(arrays, rows, 0.05)
    widths = np.where(np.isnan(rows.T), 1.0, points[:, parzen.BANDWIDTH])
    np.testing.assert_allclose(widths.T, naive_bandwidths(space, rows, 0.05), rtol=1e-9, atol=1e-12)
    candidates = queries_of(arrays, queries)
    out = np.empty(len(queries))
    kernel = below.below_joint if joint else below.below_independent
    kernel(arrays.space.axes, below_of(points, masses, weights), candidates, out)
    expected = [log_density(space, q, rows, widths.T, weights, joint) for q in queries]
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("name", "joint"), CASES)
@pytest.mark.parametrize("n", [0, 1, 2, 300])
@pytest.mark.parametrize("bandwidth", [0.1, 0.2])
def test_above_density_equals_scipy(name: str, joint: bool, n: int, bandwidth: float) -> None:
    space = SPACES[name]
    rows, queries = rows_of(space, n, 3), rows_of(space, 4, 4)
    arrays = encode_space(space)
    counts = np.arange(n) % 5 != 4  # every fifth trial does not count
    candidates = queries_of(arrays, queries)
    if joint:
        out = joint_density(arrays, rows, counts, bandwidth, candidates)
    else:
        scores = np.empty(len(queries))
        state = tabulated(arrays, bandwidth, rows, range(n))
        count(arrays, bandwidth, rows, np.flatnonzero(~counts), -1, state)
        tiles = tiles_of(arrays.space, bandwidth, rows[:0])
        g = Above(tiles, 0, 1.0, state, cells_of(arrays, bandwidth), counts.sum() + 1.0, bandwidth)
        above_tabulated.above_independent(arrays.space.axes, g, candidates, np.zeros(len(queries)), scores)
        out = -scores
    used = rows[counts]
    expected = [
        log_density(space, q, used, np.full(used.shape, bandwidth), np.ones(len(used) + 1), joint) for q in queries
    ]
    tolerance = 1e-8
    if joint and name in ("fine", "conditional"):
        tolerance = 1e-3  # it takes a cell of a FINE axis as wide as its Gaussian is smooth: see above_constants
    elif not joint and (bandwidth < 0.2 or name == "fine"):
        tolerance = 1e-5  # coarser interpolation; edges of 2e9 cells that share most of their digits
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)


def tabulated(arrays: Any, bandwidth: float, rows: np.ndarray, numbers: Iterable[int]) -> Tables:
    d = len(arrays.space.axes)
    sizes = [int(a[axes.COUNT]) if a[axes.KIND] in (axes.COARSE, axes.CATEGORICAL) else 0 for a in arrays.space.axes]
    starts = np.cumsum([0, *sizes])[:-1]
    state = Tables(
        np.zeros((d, above_tabulated.POINTS), np.int64),
        np.zeros(sum(sizes), np.int64),
        starts,
        np.zeros(d, np.int64),
    )
    count(arrays, bandwidth, rows, numbers, 1, state)
    return state


def count(arrays: Any, bandwidth: float, rows: np.ndarray, numbers: Iterable[int], sign: int, state: Any) -> None:
    params, states = np.ascontiguousarray(rows.T), np.zeros(len(rows), np.int8)
    for k in numbers:
        above_tabulated.count_observations(arrays.space.axes, bandwidth, params, states, k, k + 1, sign, state)


@pytest.mark.parametrize("name", SPACES)
def test_tables_do_not_depend_on_the_order_and_taking_out_leaves_no_trace(name: str) -> None:
    space = SPACES[name]
    arrays, rows = encode_space(space), rows_of(space, 40, 7)
    order = np.random.default_rng(0).permutation(40)
    forward = tabulated(arrays, 0.2, rows, range(40))
    shuffled = tabulated(arrays, 0.2, rows, order)
    assert all(np.array_equal(a, b) for a, b in zip(forward, shuffled, strict=True))
    count(arrays, 0.2, rows, order, -1, forward)
    assert not forward.sums.any() and not forward.histogram.any() and not forward.active.any()


def test_waiting_trials_are_not_tabulated() -> None:
    arrays = encode_space(SPACES["continuous"])
    state = tabulated(arrays, 0.2, np.zeros((0, 2)), [])
    params, states = np.array([[0.1, np.nan], [5.0, 3.0]]), np.array([0, fasthpo.TrialState.WAITING], np.int8)
    above_tabulated.count_observations(arrays.space.axes, 0.2, params, states, 0, 2, 1, state)
    assert state.active.tolist() == [1, 1]


def test_tables_hold_a_million_observations_at_one_place() -> None:
    state = tabulated(encode_space(SearchSpace({"a": Continuous(0, 1)})), 0.2, np.zeros((1, 1)), [0])
    many = state.sums * 1_000_000
    assert (many >= 0).all() and many.max() < 2**62
    expected = 1e6 * truncnorm(0, 5, loc=0, scale=0.2).pdf(0.05)
    assert above_tabulated.interpolate(many[0], 0.05) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("parameter", "middle", "far"),
    [
        (Discrete(1, 9), 1e-3, 1e-2),
        (Discrete(1, 17), 1e-4, 1e-3),
        (Discrete(1, 1000, log=True), 1e-3, 1e-2),
        (Discrete(1, 100, log=True), 4e-3, 4e-2),
        (Discrete(1, 9, log=True), 2.5e-2, 4.5e-2),
    ],
    ids=str,
)
def test_fine_cells_are_within_the_stated_bound(parameter: Discrete, middle: float, far: float) -> None:
    """Of the joint g: in the middle of a kernel and up to three bandwidths from it."""
    bandwidth = 0.15
    space = SearchSpace({"a": parameter})
    arrays = encode_space(space)
    assert arrays.space.axes[0, axes.KIND] == axes.FINE
    values = [float(v) for v in {1, 2, 3, 5, parameter.high // 2, parameter.high - 1, parameter.high}]
    for observed_value in values:
        for query in values:
            rows, queries = np.array([[observed_value]]), np.array([[query]])
            described = queries_of(arrays, queries)
            own = queries_of(arrays, rows)[0, parzen.COORDINATE, 0]
            distance = abs(described[0, parzen.EDGE_LOW : parzen.EDGE_HIGH + 1, 0].mean() - own) / bandwidth
            if distance > 3:
                continue
            out = joint_density(arrays, rows, np.ones(1, bool), bandwidth, described)
            expected = log_density(space, queries[0], rows, np.full((1, 1), bandwidth), np.ones(2), True)
            assert out[0] == pytest.approx(expected, abs=middle if distance < 1 else far)


def test_many_observations_in_one_tile_and_in_thousands() -> None:
    space = SPACES["continuous"]
    queries = rows_of(space, 2, 6)
    for n in (127, 128, 129, 2000 if SLOW else 1_000_000):
        rows = rows_of(space, n, 5)
        arrays = encode_space(space)
        candidates = queries_of(arrays, queries)
        out = joint_density(arrays, rows, np.ones(n, bool), 0.2, candidates)
        coordinates = ((rows - [0, -1e6]) / [1, 2e6]).T
        points = candidates[:, parzen.COORDINATE].T
        z = (points[:, None, :] - coordinates.T[None]) / 0.2
        inside = truncnorm.logpdf(0, (0 - coordinates) / 0.2, (1 - coordinates) / 0.2) - truncnorm.logpdf(
            0, -np.inf, np.inf
        )
        exponents = (-0.5 * z**2).sum(2) + inside.sum(0) - 2 * np.log(0.2 * math.sqrt(2 * math.pi))
        prior = np.array([truncnorm(-0.5, 0.5, loc=0.5).logpdf(c).sum() for c in points])
        expected = np.log((1 + np.exp(exponents - prior[:, None]).sum(1)) / (n + 1))
        np.testing.assert_allclose(out, expected, rtol=1e-9)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("spread", [0.0, 0.3, 10.0])
def test_the_best_of_the_scores_is_exact_and_the_others_are_bounds(name: str, spread: float) -> None:
    space, n = SPACES[name], 2500
    arrays = encode_space(space)
    rows, queries = rows_of(space, n, 3), rows_of(space, 24, 4)
    rows[::2] = rows[:1]  # half of the observations in one place, where they weigh
    candidates, counts = queries_of(arrays, queries), np.arange(n) % 7 != 0
    for seed in range(3):
        l = spread * np.random.default_rng(seed).random(24)  # noqa: E741
        exact = l - joint_density(arrays, rows, counts, 0.2, candidates)
        scores = joint_density(arrays, rows, counts, 0.2, candidates, l)
        best = int(exact.argmax())
        assert scores[best] == pytest.approx(scores.max(), rel=1e-12, abs=1e-12)
        assert scores.max() == pytest.approx(exact[best], rel=1e-12, abs=1e-12)
        assert (scores >= exact - 1e-9).all()


@given(st.lists(st.floats(1e-307, 1e308), min_size=1, max_size=50))
def test_logarithm_is_within_its_bound(numbers: list[float]) -> None:
    for x in [*numbers, 1.0, math.nextafter(1, 0), math.nextafter(1, 2), 2.0, 0.5, math.sqrt(2), math.sqrt(0.5)]:
        assert logarithm(x) == pytest.approx(math.log(x), abs=2e-16 * (1 + abs(math.log(x))))


@given(st.floats(-40, 40), st.floats(0, 80))
def test_mass_of_an_interval_equals_scipy(low: float, width: float) -> None:
    high = low + width
    tails = (ndtr(-low), ndtr(-high)) if low > 0 else (ndtr(high), ndtr(low))
    expected = tails[0] - tails[1]
    if width < 0.1:  # SciPy's difference loses digits
        nodes, shares = np.polynomial.legendre.leggauss(20)
        expected = (high - low) / 2 * (shares * norm.pdf((low + high) / 2 + (high - low) / 2 * nodes)).sum()
    assert normal.between(low, high) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mass_of_half_the_line() -> None:
    for z in (-30.0, -1.0, 0.0, 1.0, 30.0):
        assert normal.between(-math.inf, z) == pytest.approx(ndtr(z), rel=1e-12)
        assert normal.between(z, math.inf) == pytest.approx(ndtr(-z), rel=1e-12)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=50))
def test_exponential_is_within_its_bound(numbers: list[float]) -> None:
    for x in numbers:
        assert exponential(x) == pytest.approx(math.exp(x), rel=4e-16 + 1e-16 * abs(x))


def test_exponential_at_the_ends() -> None:
    assert exponential(-math.inf) == exponential(-1e300) < 1e-300
    assert math.isfinite(exponential(math.inf))
    assert exponential(0.0) == 1.0


def test_compiled_stream_equals_numpy() -> None:
    numbers = np.empty(12)
    uniforms_kernels.fill_uniforms(np.array([7, 3, 5, 1, 2], np.uint64), numbers)
    assert numbers.tolist() == uniforms(7 + (3 << 32), np.array([5 + (1 << 32)]), 2, 12)[0].tolist()


def test_normal_quantile_equals_scipy() -> None:
    shares = np.concatenate([np.logspace(-300, -1, 200), np.linspace(0.001, 0.999, 999), 1 - np.logspace(-15, -1, 50)])
    quantiles = [normal.normal_quantile(p) for p in shares]
    np.testing.assert_allclose(quantiles, ndtri(shares), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("position", "bandwidth"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.01), (0.3, 0.2)])
def test_truncated_draws_follow_their_density(position: float, bandwidth: float) -> None:
    lower, mass = (
        norm.cdf(-position / bandwidth),
        norm.cdf((1 - position) / bandwidth) - norm.cdf(-position / bandwidth),
    )
    units = np.append(uniforms(11, np.arange(5000), 0, 1)[:, 0], [0.0, 1 - 2.0**-53])
    numbers = np.array([normal.truncated_normal(position, bandwidth, lower, mass, unit) for unit in units])
    assert numbers.min() >= 0 and numbers.max() <= 1
    law = truncnorm(-position / bandwidth, (1 - position) / bandwidth, loc=position, scale=bandwidth)
    assert kstest(numbers, law.cdf).pvalue > 0.001


@pytest.mark.parametrize(("name", "joint"), CASES)
def test_candidates_follow_the_density_they_are_drawn_from(name: str, joint: bool) -> None:
    """Each parameter's marginal, by a chi-square test over its cells (or deciles)."""
    space = SPACES[name]
    rows = rows_of(space, 5, 8)
    arrays = encode_space(space)
    points, masses = fitted(arrays, rows, 0.1)
    weights = np.array([1, 2, 1, 1, 1, 0.5])
    m = 400 if SLOW else 4000
    candidates = np.empty((m, len(space)))
    key = np.array([1, 0, 0, 0, 2], np.uint64)
    draws.draw_candidates(arrays.space, below_of(points, masses, weights), joint, 0.0, key, candidates)
    for j in range(len(space)):
        if arrays.space.conditional[j] or arrays.space.axes[j, axes.KIND] == axes.CONSTANT:
            continue
        column = np.sort(candidates[:, j])
        # the density integrates to the share of candidates below each of nine cuts
        cuts = np.quantile(column, np.linspace(0.1, 0.9, 9))
        grid = (
            np.unique(column)
            if arrays.space.axes[j, axes.KIND] in (axes.CATEGORICAL, axes.COARSE)
            else np.linspace(0, 1, 20001)
        )
        density = np.array([_marginal(arrays.space.axes[j], points[j], masses[j], weights, x) for x in grid])
        step = 1.0 if len(grid) < 20001 else grid[1] - grid[0]
        if arrays.space.axes[j, axes.KIND] == axes.FINE:
            continue  # drawn as CONTINUOUS and rounded
        total = density.sum() * step
        for cut in cuts:
            share = density[grid <= cut].sum() * step / total
            drawn = (column <= cut).mean()
            assert abs(share - drawn) < 5 * math.sqrt(max(share * (1 - share), 1e-4) / m)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kept", [0.25, 0.9])
def test_crossed_candidates_keep_parameters_of_the_first_point(name: str, kept: float) -> None:
    space = SPACES[name]
    rows = rows_of(space, 5, 8)
    arrays = encode_space(space)
    points, masses = fitted(arrays, rows, 0.1)
    m = 300 if SLOW else 3000

    def drawn(kept: float, stream: int) -> np.ndarray:
        candidates = np.empty((m, len(space)))
        key = np.array([1, 0, 0, 0, stream], np.uint64)
        draws.draw_candidates(arrays.space, below_of(points, masses, np.ones(6)), False, kept, key, candidates)
        return candidates

    crossed, free = drawn(kept, 0), drawn(0.0, 1)
    for candidate in crossed[:50]:
        values = [axes.value_of_coordinate(a, x) for a, x in zip(arrays.space.axes, candidate, strict=True)]
        space.validate(space.decode(np.array(values)))  # those are active whose conditions hold
    for j in range(len(space)):
        if arrays.space.axes[j, axes.KIND] == axes.CONSTANT or arrays.space.conditional[j]:
            continue
        first = points[j, parzen.POINT, 0]
        same = (free[:, j] == first).mean()
        expected = kept + (1 - kept) * same  # the others are drawn as if nothing had been kept
        assert abs((crossed[:, j] == first).mean() - expected) < 5 * math.sqrt(0.25 / m)
        others = [candidates[candidates[:, j] != first, j] for candidates in (crossed, free)]
        if min(map(len, others)) > 20:
            assert ks_2samp(*others).pvalue > 1e-4


def _marginal(axis: Any, points: np.ndarray, masses: np.ndarray, weights: np.ndarray, x: float) -> float:
    """The density (mass) that the kernels of one axis's points (6, b) say"""
    query = np.zeros((1, 4, 1))
    parzen.describe(axis[None], np.array([[x]]), query)
    terms = np.zeros((points.shape[1], 1))
    below.log_relative(axis, points, masses, query[0], terms)
    relative = np.append(np.exp(terms[:, 0]), 1.0)
    return float(np.dot(relative, weights) / weights.sum() * np.exp(query[0, parzen.PRIOR, 0]))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1))
def test_coordinates_and_values_are_inverse(name: str, seed: int) -> None:
    space = SPACES[name]
    rows = rows_of(space, 5, seed)
    arrays = encode_space(space)
    coordinates = queries_of(arrays, rows)[:, parzen.COORDINATE].T
    for k, row in enumerate(rows):
        back = np.array([axes.value_of_coordinate(arrays.space.axes[j], coordinates[k, j]) for j in range(len(space))])
        active = ~np.isnan(row)
        np.testing.assert_allclose(back[active], row[active], rtol=1e-9, atol=1e-9)
        for j in np.flatnonzero(active):
            low, high = arrays.space.axes[j, axes.LOW], arrays.space.axes[j, axes.HIGH]
            assert arrays.space.axes[j, axes.KIND] == axes.CATEGORICAL or low <= back[j] <= high
