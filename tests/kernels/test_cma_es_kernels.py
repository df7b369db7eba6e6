"""CMA-ES's kernels against the papers' equations in NumPy, and against the package `cmaes` where it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace
from fasthpo.kernels import cma_es
from fasthpo.kernels.axes import cell_at, cell_edges
from fasthpo.kernels.cma_es import BASIS, COVARIANCE, DEVIATIONS, MEAN, PATH, RANK_ONE_PATH, SCALES, SIGMA
from fasthpo.samplers.cma_es.evolution import Evolution, default_population, settings_of
from fasthpo.samplers.encoding import encode_space
from fasthpo.trials.table import TrialTable
from tests.support.naive_cma_es import Choices, Gaussian, Parameters, with_margin

MIXED = SearchSpace(
    {
        "a": Categorical(["x", "y", "z"]),
        "b": Continuous(-3, 3),
        "c": LogUniform(1e-3, 10),
        "d": Discrete(1, 5),
        "e": Discrete(1, 1000, log=True, when={"a": ["x", "y"]}),
        "f": Categorical([True, False], when={"d": [1, 2]}),
        "g": Continuous(7, 7),
        "h": Continuous(0, 1, when={"f": True}),
    }
)


def evolution(space: SearchSpace = MIXED, seed: int = 0) -> Evolution:
    return Evolution(TrialTable(space, "minimize"), seed, None, None)


def described(one: Evolution) -> tuple[Any, ...]:
    return one._variables, one._distribution


def state(n: int, mean: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vectors, scalars = np.zeros((5, n)), np.zeros(6)
    vectors[MEAN], vectors[DEVIATIONS], vectors[SCALES] = mean, 1, 1
    scalars[[SIGMA, cma_es.CHOICE_STEP, cma_es.DIVISOR]] = sigma, 1, 1
    return vectors, np.stack([np.eye(n), np.eye(n)]), scalars


def adapt(
    steps: np.ndarray, vectors: np.ndarray, matrices: np.ndarray, scalars: np.ndarray, bounded: bool = False
) -> None:
    population, n = steps.shape
    found = settings_of(n, 0, population, 0.3)
    lengths = np.array([cma_es.whitened(matrices, vectors, y, np.empty(n)) for y in steps])
    scalars[cma_es.GENERATION] += 1
    cma_es.adapt_gaussian(found.numbers, found.weights, np.full(n, bounded), steps, lengths, vectors, matrices, scalars)


@pytest.mark.parametrize(("n", "population"), [(1, 4), (2, 6), (5, 8), (20, 12), (20, 500), (300, 21)])
def test_strategy_parameters_are_those_of_the_tutorial(n: int, population: int) -> None:
    found, expected = settings_of(n, 0, population, 0.3), Parameters(n, population)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-12)
    p = expected
    numbers = [p.mu_eff, p.c_sigma, p.d_sigma, p.c_c, p.c1, p.cmu, p.chi]
    np.testing.assert_allclose(found.numbers[:7], numbers, rtol=1e-12)
    assert [default_population(d) for d in (0, 1, 5, 10, 20)] == [4, 4, 8, 10, 12]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8), st.integers(4, 20), st.integers(0, 2**32), st.sampled_from([0.0, 1e-9, 1.0, 30.0]), st.booleans()
)
def test_generations_change_the_gaussian_as_the_equations_say(
    n: int, population: int, seed: int, size: float, bounded: bool
) -> None:
    random = np.random.default_rng(seed)
    mean = random.random(n)
    twin = Gaussian(n, population, mean, 0.3)
    vectors, matrices, scalars = state(n, mean, 0.3)
    for generation in range(4):
        steps = random.normal(size=(population, n))
        steps[random.integers(population)] *= size
        twin.tell(steps, bounded)
        adapt(steps, vectors, matrices, scalars, bounded)
        np.testing.assert_allclose(vectors[MEAN], twin.mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(vectors[PATH], twin.path, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(vectors[RANK_ONE_PATH], twin.rank_one_path, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scalars[SIGMA], twin.sigma, rtol=1e-7)
        np.testing.assert_allclose(matrices[COVARIANCE], twin.c, rtol=1e-7, atol=1e-9)
        if generation % 2 or n < 5 or size > 1:  # in between, where changes are small, the old decomposition is used
            assert cma_es.decompose(vectors, matrices, scalars)
            twin.decompose()


def test_a_run_is_that_of_the_package_cmaes() -> None:
    cmaes = pytest.importorskip("cmaes")
    n, random = 6, np.random.default_rng(5)
    theirs = cmaes.CMA(mean=np.full(n, 0.5), sigma=0.3, seed=1)
    vectors, matrices, scalars = state(n, np.full(n, 0.5), 0.3)
    for _ in range(60):
        x = vectors[MEAN] + scalars[SIGMA] * random.multivariate_normal(np.zeros(n), theirs._C, theirs.population_size)
        values = ((x - 0.2) ** 2 * 10.0 ** np.arange(n)).sum(axis=1)
        steps = (x[np.argsort(values)] - vectors[MEAN]) / scalars[SIGMA]
        adapt(steps, vectors, matrices, scalars)
        assert cma_es.decompose(vectors, matrices, scalars)
        theirs.tell(list(zip(x, values, strict=True)))
        np.testing.assert_allclose(vectors[MEAN], theirs.mean, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(scalars[SIGMA], theirs._sigma, rtol=1e-7)
        np.testing.assert_allclose(matrices[COVARIANCE], theirs._C, rtol=1e-6, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Discrete(1, 2), Discrete(0, 9), Discrete(1, 1000, log=True), Continuous(0, 1, step=0.001)]),
    st.floats(-0.5, 1.5),
    st.floats(-8, 0),
    st.floats(-2, 6),
    st.sampled_from([0.25, 0.01, 1e-4]),
)
def test_margins_are_those_of_the_paper(
    parameter: Discrete, mean: float, deviation: float, scale: float, margin: float
) -> None:
    axes = encode_space(SearchSpace({"p": parameter})).space.axes
    edges = [cell_edges(axes[0], float(c))[0] for c in range(parameter.count)] + [1.0]
    vectors, matrices, scalars = state(1, np.array([mean]), 10.0**deviation)
    vectors[SCALES] = 10.0**scale
    expected = with_margin(mean, 10.0**deviation, 10.0**scale, np.array(edges), margin)
    cell = cell_at(axes[0], mean)
    cma_es.keep_margins(axes, np.array([0]), margin, vectors, matrices, scalars)
    np.testing.assert_allclose([vectors[MEAN, 0], vectors[SCALES, 0]], expected, rtol=1e-6, atol=1e-9)
    assert abs(cell_at(axes[0], vectors[MEAN, 0]) - cell) <= 1e-9  # the mean's own cell stays
    assert np.isfinite(vectors).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=4), st.integers(4, 15), st.integers(0, 2**32), st.booleans())
def test_choices_follow_the_natural_gradient(counts: list[int], population: int, seed: int, same: bool) -> None:
    random = np.random.default_rng(seed)
    twin = Choices(counts)
    weights = Parameters(1, population).weights
    starts = np.concatenate([[0], np.cumsum(counts)])
    probabilities, path = np.concatenate(twin.q), np.zeros(sum(counts))
    numbers = settings_of(0, len(counts), population, 0.3).numbers
    scalars = np.zeros(6)
    scalars[[cma_es.CHOICE_STEP, cma_es.DIVISOR]] = 1.0
    for _ in range(30):
        if same:  # one choice of each wins always
            chosen = np.zeros((population, len(counts)))
        else:
            chosen = np.column_stack([random.integers(k, size=population) for k in counts]).astype(float)
        twin.tell(weights, chosen)
        cma_es.adapt_choices(numbers, weights, chosen, starts, probabilities, path, scalars)
        np.testing.assert_allclose(probabilities, np.concatenate(twin.q), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(
            scalars[[cma_es.CHOICE_STEP, cma_es.DIVISOR, cma_es.CHANCE]],
            [twin.step, twin.divisor, twin.chance],
            rtol=1e-6,
        )
    assert (probabilities >= 0.999 * twin.margin / (np.repeat(counts, counts) - 1)).all()
    if same:
        assert all(q[0] > 0.6 for q in twin.q)


def test_members_follow_the_gaussian_and_the_choices() -> None:
    space = SearchSpace({"x": Continuous(0, 1), "y": Continuous(0, 1), "c": Categorical(["a", "b", "c"])})
    one = evolution(space)
    one._distribution.matrices[COVARIANCE] = [[1.0, 0.6], [0.6, 0.5]]
    cma_es.decompose(one._distribution.vectors, one._distribution.matrices, one._distribution.scalars)
    one._distribution.scalars[SIGMA] = 0.05
    one._distribution.probabilities[:] = [0.7, 0.2, 0.1]
    rows = one.rows(np.arange(4000))
    places = (rows[:, :2] - 0.5) / 0.05
    np.testing.assert_allclose(np.cov(places.T), one._distribution.matrices[COVARIANCE], atol=0.06)
    assert kstest(places[:, 0], "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.bincount(rows[:, 2].astype(int)) / 4000, [0.7, 0.2, 0.1], atol=0.03)


def test_members_lie_inside_and_beyond_a_bound_is_on_it() -> None:
    one = evolution()
    one._distribution.vectors[MEAN, [0, 1]] = 1.0, 0.0
    rows = one.rows(np.arange(500))
    assert all(MIXED.contains(MIXED.decode(row)) for row in rows)
    assert 0.3 < (rows[:, 1] == 3).mean() < 0.45 and 0.3 < (rows[:, 2] == 1e-3).mean() < 0.45  # 3/4 of a half
    again = [one.rows(np.array([draw]))[0] for draw in (499, 0, 77)]
    assert [row.tobytes() for row in again] == [rows[draw].tobytes() for draw in (499, 0, 77)]


def test_a_draw_is_known_again_with_all_that_is_not_shown() -> None:
    one = evolution()
    one._distribution.vectors[MEAN, [0, 1]] = 1.0, 0.0  # the half lies beyond a bound
    y, chosen = np.empty(5), np.empty(2)
    full, shown = np.empty(5), np.empty(2)
    for draw, row in enumerate(one.rows(np.arange(200))):
        key = np.array([0, 0, draw, 0, 0], np.uint64)
        cma_es.draw_numbers(
            one._variables.axes,
            one._numeric,
            one._distribution.vectors,
            one._distribution.matrices[BASIS],
            one._distribution.scalars[SIGMA],
            key,
            64,
            full,
        )
        cma_es.draw_choices(one._starts, one._distribution.probabilities, key, 128, shown)
        assert cma_es.infer_member(*described(one), one._key, draw, row, y, chosen)
        np.testing.assert_allclose(y, full, rtol=1e-9, atol=1e-9)
        assert chosen.tolist() == shown.tolist()
        assert not cma_es.infer_member(*described(one), one._key, draw + 1, row, y, chosen)
        assert not cma_es.infer_member(*described(one), one._key, -1 - draw, row, y, chosen)


def test_a_point_from_elsewhere_is_placed_where_it_was_tried() -> None:
    one = evolution()
    one._distribution.scalars[SIGMA] = 0.01
    y, chosen = np.empty(5), np.empty(2)
    row = MIXED.encode({"a": "z", "b": 3.0, "c": 1e-3, "d": 5, "g": 7.0})
    assert not cma_es.infer_member(*described(one), one._key, -1, row, y, chosen)
    np.testing.assert_allclose(y[:2], [50, -50])  # 0.5 / 0.01 from the mean
    assert math.isclose(0.5 + 0.01 * y[2], 0.8)  # the near edge of the last of five cells
    assert np.abs(y[3:]).max() < 5  # inactive: as the distribution has it
    assert chosen[0] == 2


def test_far_points_from_elsewhere_move_the_search_only_so_far() -> None:
    space = SearchSpace({f"x{j}": Continuous(0, 1) for j in range(5)})
    one = evolution(space)
    one._distribution.scalars[SIGMA] = 1e-6
    numbers = one._settings.numbers
    rows = np.random.default_rng(0).random((one.population, 5))
    before = one._distribution.vectors[MEAN].copy()
    cma_es.evolve(
        one._variables, numbers, one._settings.weights, one._distribution, one._path, one._bests, one._key,
        -1 - np.arange(len(rows)), rows, 0.0,
    )  # fmt: skip
    assert np.linalg.norm(one._distribution.vectors[MEAN] - before) <= 1.01e-6 * numbers[cma_es.LENGTH]
    assert one._distribution.scalars[SIGMA] <= 1e-6 * math.e


def test_a_covariance_that_has_degenerated_ends_the_search() -> None:
    for values in ([1.0, 1e-15], [1.0, 0.0], [1.0, -1e-3], [np.nan, 1.0], [np.inf, 1.0]):
        vectors, matrices, scalars = state(2, np.full(2, 0.5), 0.3)
        matrices[COVARIANCE] = np.diag(values)
        assert not cma_es.decompose(vectors, matrices, scalars)
    assert cma_es.decompose(*state(2, np.full(2, 0.5), 0.3))


@pytest.mark.parametrize(
    ("bests", "flat"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.0 + 1e-8, 1.0], True),
        ([1.0, 1.001, 1.0], False),
        ([1e-30, 2e-30, 3e-30], False),
        ([-5.0, -5.0 - 1e-9, -5.0], True),
        ([math.inf] * 3, True),
        ([1.0, math.inf, 1.0], False),
        ([-1e308, 1e308, 0.0], False),
    ],
)
def test_flat_is_what_differs_by_less_than_seven_digits(bests: list[float], flat: bool) -> None:
    assert cma_es.is_flat(np.array(bests)) == flat
    assert not cma_es.is_flat(np.array([*bests, math.nan]))  # one is not known yet
