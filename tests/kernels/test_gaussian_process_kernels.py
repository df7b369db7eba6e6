"""The Gaussian process's kernels against SciPy, over all kinds of parameter and nasty points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace
from fasthpo.kernels import axes, gaussian_process, normal
from fasthpo.kernels.axes import coordinate_of_value
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import encode_space
from tests.support.naive_gaussian_process import log_posterior, predictions

SPACE = SearchSpace(
    {
        "a": Categorical(["x", "y", "z"]),
        "b": Continuous(-3, 3),
        "c": LogUniform(1e-3, 10),
        "d": Discrete(1, 5),
        "e": Discrete(0, 1000, 10, when={"a": ["x", "y"]}),
        "f": Categorical([True, False], when={"d": [1, 2]}),
        "g": Continuous(7, 7),
    }
)
ARRAYS = encode_space(SPACE)
CHOICES = ARRAYS.categorical
D = len(SPACE)


def points_of(n: int, seed: int) -> np.ndarray:
    rows = SPACE.from_unit(uniforms(seed, np.arange(n), 0, D))
    points = np.empty((D, n))
    axes.positions_of_values(ARRAYS.space.axes, np.ascontiguousarray(rows.T), np.arange(n), 0, points)
    return points


def targets_of(n: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=n)
    centred: np.ndarray = values - values.mean()
    return centred


def test_positions_are_where_values_lie_between_the_bounds() -> None:
    row = {"a": "y", "b": 0.0, "c": 0.1, "d": 3, "e": 500, "g": 7.0}
    values = SPACE.encode(row)
    points = np.empty((D, 1))
    axes.positions_of_values(ARRAYS.space.axes, values[:, None].copy(), np.array([0]), 0, points)
    np.testing.assert_allclose(points[:, 0], [1, 0.5, 0.5, 0.5, 0.5, np.nan, 0], atol=1e-12)
    coordinates = np.array([[coordinate_of_value(a, v) for a, v in zip(ARRAYS.space.axes, values, strict=True)]])
    again = np.empty((D, 1))
    axes.positions_of_candidates(ARRAYS.space.axes, coordinates, again)
    np.testing.assert_array_equal(again, points)


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("pending", [0, 1, 4])
def test_predictions_equal_the_textbook(n: int, pending: int) -> None:
    for seed in range(3):
        known, candidates, targets = points_of(n + pending, seed), points_of(5, seed + 10), targets_of(n, seed)
        candidates[:, 0] = known[:, -1]  # one lies on a point
        hyperparameters = np.random.default_rng(seed).normal(size=D + 1) * 0.5
        cholesky, alpha = np.zeros((n + pending, n + pending)), np.empty(n)
        first = np.ascontiguousarray(known[:, :n])
        scale = gaussian_process.fit(CHOICES, hyperparameters, first, targets, cholesky, alpha)
        for i in range(n, n + pending):
            gaussian_process.extend_cholesky(CHOICES, hyperparameters, known, i, cholesky)
        means, deviations = np.empty(5), np.empty(5)
        fitted = gaussian_process.FittedProcess(CHOICES, hyperparameters, known, n + pending, scale, cholesky, alpha)
        gaussian_process.predict(fitted, candidates, means, deviations)
        expected = predictions(
            CHOICES,
            hyperparameters,
            first,
            targets,
            candidates,
            gaussian_process.LEAST_NOISE,
            np.ascontiguousarray(known[:, n:]),
        )
        np.testing.assert_allclose(means, expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(deviations, expected[1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8, 11, 26])
def test_factors_inverses_and_products_of_matrices_equal_those_of_numpy(n: int) -> None:
    vectors = np.random.default_rng(n).normal(size=(n, n))
    matrix = vectors @ vectors.T + np.eye(n)
    factor = matrix.copy()
    gaussian_process.cholesky_rows(factor, n)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)
    inverse, product = np.full((n, n), np.nan), np.full((n, n), np.nan)
    gaussian_process.invert_lower(factor, inverse)
    np.testing.assert_allclose(inverse, np.linalg.inv(np.tril(factor)), rtol=1e-7, atol=1e-9)
    gaussian_process.multiply_transposed(inverse, product)
    np.testing.assert_allclose(np.tril(product), np.tril(np.linalg.inv(matrix)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 25])
def test_the_log_posterior_equals_the_textbook_and_its_gradient_its_derivatives(n: int) -> None:
    prior_means, prior_deviations = np.linspace(-1, 1, D + 1), np.linspace(0.5, 2, D + 1)
    for seed in range(3):
        points, targets = points_of(n, seed), targets_of(n, seed)
        if n == 25:
            points[:, 1] = points[:, 0]  # two lie together

        def value(hyperparameters: np.ndarray, points: np.ndarray = points, targets: np.ndarray = targets) -> float:
            return gaussian_process.negative_log_posterior(
                CHOICES, hyperparameters, points, targets, prior_means, prior_deviations, np.empty(0)
            )

        here, there = (np.random.default_rng([seed, k]).normal(size=D + 1) * 0.5 for k in range(2))
        arguments = points, targets, prior_means, prior_deviations, gaussian_process.LEAST_NOISE
        expected = log_posterior(CHOICES, there, *arguments) - log_posterior(CHOICES, here, *arguments)
        assert value(here) - value(there) == pytest.approx(expected, rel=1e-8, abs=1e-8)
        gradient = np.empty(D + 1)
        gaussian_process.negative_log_posterior(CHOICES, here, points, targets, prior_means, prior_deviations, gradient)
        h = 1e-5 * np.eye(D + 1)
        numeric = [(value(here + h[t]) - value(here - h[t])) / 2e-5 for t in range(D + 1)]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def test_length_scales_tell_parameters_that_matter_from_those_that_do_not() -> None:
    random = np.random.default_rng(0)
    points = random.random((4, 80))
    choices = np.zeros(4, bool)
    values = np.sin(6 * points[1]) + (points[2] - 0.5) ** 2
    targets = (values - values.mean()) / values.std()
    hyperparameters, before = np.array([-0.5] * 4 + [-4.0]), np.empty(5)
    prior_means, prior_deviations = np.array([2.0] * 4 + [-4.0]), np.array([1.7] * 4 + [1.0])
    first = gaussian_process.negative_log_posterior(
        choices, hyperparameters, points, targets, prior_means, prior_deviations, before
    )
    gaussian_process.optimize_hyperparameters(
        choices, hyperparameters, points, targets, prior_means, prior_deviations, 20
    )
    assert (
        gaussian_process.negative_log_posterior(
            choices, hyperparameters, points, targets, prior_means, prior_deviations, before
        )
        < first - 20
    )
    assert hyperparameters[1] < hyperparameters[2] < min(hyperparameters[0], hyperparameters[3])
    # the search ends near where a thousand steps end
    longer = hyperparameters.copy()
    gaussian_process.optimize_hyperparameters(choices, longer, points, targets, prior_means, prior_deviations, 1000)
    found, least = (
        gaussian_process.negative_log_posterior(choices, p, points, targets, prior_means, prior_deviations, before)
        for p in (hyperparameters, longer)
    )
    assert least <= found < least + 1.0


def test_no_step_keeps_the_parameters() -> None:
    hyperparameters = np.full(D + 1, 0.3)
    gaussian_process.optimize_hyperparameters(
        CHOICES, hyperparameters, points_of(5, 0), targets_of(5, 0), np.zeros(D + 1), np.ones(D + 1), 0
    )
    assert (hyperparameters == 0.3).all()


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(-6, 6), st.floats(-11, 1), st.integers(1, 5))
def test_predictions_are_finite_and_bounded(n: int, seed: int, length: float, noise: float, distinct: int) -> None:
    """Also where points coincide, values tie, and length scales are extreme."""
    points = points_of(n, seed)[:, np.arange(n) % distinct].copy()
    targets = np.round(targets_of(n, seed))
    targets -= targets.mean()
    hyperparameters = np.array([length] * D + [noise])
    prior_means, prior_deviations = np.zeros(D + 1), np.ones(D + 1)
    gaussian_process.optimize_hyperparameters(
        CHOICES, hyperparameters, points, targets, prior_means, prior_deviations, 3
    )
    cholesky, alpha = np.zeros((n, n)), np.empty(n)
    scale = gaussian_process.fit(CHOICES, hyperparameters, points, targets, cholesky, alpha)
    means, deviations = np.empty(n), np.empty(n)
    fitted = gaussian_process.FittedProcess(CHOICES, hyperparameters, points, n, scale, cholesky, alpha)
    gaussian_process.predict(fitted, points, means, deviations)
    assert np.isfinite(hyperparameters).all() and np.isfinite(means).all()
    assert (deviations >= 0).all() and (deviations <= math.sqrt(scale) * (1 + 1e-9)).all()
    # K (K + noise)^-1 shrinks every vector
    assert np.linalg.norm(means) <= np.linalg.norm(targets) * (1 + 1e-6) + 1e-9


def test_normal_scores_are_quantiles_of_mean_zero() -> None:
    ranks = np.array([0.5, 1.5, 3.0, 3.0, 4.5])
    scores = np.empty(5)
    normal.normal_scores(ranks, scores)
    expected = -ndtri(ranks / 5)
    np.testing.assert_allclose(scores, expected - expected.mean(), rtol=1e-12, atol=1e-12)
    normal.normal_scores(np.full(4, 2.0), scores[:4])
    assert (scores[:4] == 0).all()


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_points_are_known_that_are_equal_to_one_of_the_first(n: int, seed: int) -> None:
    points = points_of(n, seed)
    random = np.random.default_rng(seed)
    candidates = points[:, random.integers(n, size=20)]
    changed = random.random(20) < 0.5
    candidates[random.integers(D, size=20)[changed], np.flatnonzero(changed)] = random.choice([0.5, np.nan, 1.0])
    known = int(random.integers(n + 1))
    for i in range(20):
        expected = any(np.array_equal(points[:, k], candidates[:, i], equal_nan=True) for k in range(known))
        assert gaussian_process.contains_point(points, known, candidates, i) == expected
