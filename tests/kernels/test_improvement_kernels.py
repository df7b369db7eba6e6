"""Expected improvement and its ascent against SciPy and numerical derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import norm

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace
from fasthpo.kernels import axes, gaussian_process, improvement
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import encode_space
from tests.support.naive_gaussian_process import predictions

SPACE = SearchSpace(
    {
        "a": Categorical(["x", "y", "z"]),
        "b": Continuous(-3, 3),
        "c": LogUniform(1e-3, 10),
        "d": Discrete(0, 1000, 10, when={"a": ["x", "y"]}),
        "e": Continuous(0, 1, when={"a": ["x"]}),
        "f": Continuous(7, 7),
    }
)
ARRAYS = encode_space(SPACE)
CHOICES, MOVABLE = ARRAYS.categorical, ARRAYS.continuous
D = len(SPACE)


def points_of(n: int, seed: int) -> np.ndarray:
    rows = SPACE.from_unit(uniforms(seed, np.arange(n), 0, D))
    points = np.empty((D, n))
    axes.positions_of_values(ARRAYS.space.axes, np.ascontiguousarray(rows.T), np.arange(n), 0, points)
    return points


def fitted(n: int, pending: int, seed: int) -> tuple[gaussian_process.FittedProcess, np.ndarray]:
    """A process, and the values of its known points."""
    random = np.random.default_rng(seed)
    points, hyperparameters, targets = (
        points_of(n + pending, seed),
        random.normal(size=D + 1) * 0.5,
        random.normal(size=n),
    )
    targets -= targets.mean()
    cholesky, alpha = np.zeros((n + pending, n + pending)), np.empty(n)
    scale = gaussian_process.fit(
        CHOICES, hyperparameters, np.ascontiguousarray(points[:, :n]), targets, cholesky, alpha
    )
    for i in range(n, n + pending):
        gaussian_process.extend_cholesky(CHOICES, hyperparameters, points, i, cholesky)
    process = gaussian_process.FittedProcess(CHOICES, hyperparameters, points, n + pending, scale, cholesky, alpha)
    return process, targets


def textbook(
    process: gaussian_process.FittedProcess, targets: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, ...]:
    n = len(targets)
    return predictions(
        CHOICES,
        process.hyperparameters,
        np.ascontiguousarray(process.points[:, :n]),
        targets,
        points,
        gaussian_process.LEAST_NOISE,
        np.ascontiguousarray(process.points[:, n:]),
    )


@given(st.floats(-1e3, 40))
def test_the_improvement_of_a_normal_value_equals_its_integral(z: float) -> None:
    logarithm, slope = improvement.log_h(z)
    if z > -6:
        expected = quad(lambda t: t * norm.pdf(t - z), 0, 60, epsabs=0, points=[max(z, 0.0)])[0]
        assert logarithm == pytest.approx(math.log(expected), rel=1e-6, abs=1e-6)
    # h' = Phi, wherever it is
    assert math.log(slope) == pytest.approx(log_ndtr(z) - logarithm, rel=1e-2, abs=1e-2)
    assert slope > 0


@given(st.floats(-1e150, -1e3))
def test_the_improvement_of_a_hopeless_point_has_a_slope(z: float) -> None:
    logarithm, slope = improvement.log_h(z)
    assert logarithm == pytest.approx(-0.5 * z * z, rel=1e-4) and slope == pytest.approx(-z, rel=1e-5)


def test_its_logarithm_has_no_step_where_the_expansion_begins() -> None:
    (before, _), (after, _) = improvement.log_h(-30 - 1e-9), improvement.log_h(-30 + 1e-9)
    assert before == pytest.approx(after, abs=4e-3)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_the_best_mean_is_that_of_the_textbook(n: int) -> None:
    for seed in range(5):
        process, targets = fitted(n, 3, seed)
        means, _ = textbook(process, targets, np.ascontiguousarray(process.points[:, :n]))
        assert improvement.best_mean(process) == pytest.approx(means.max(), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("pending", [0, 3])
def test_expected_improvement_equals_the_textbook_and_its_gradient_its_derivatives(n: int, pending: int) -> None:
    for seed in range(5):
        process, targets = fitted(n, pending, seed)
        best = improvement.best_mean(process)
        for point in points_of(4, seed + 50).T:
            gradient = np.empty(D)
            value = improvement.log_expected_improvement(process, best, point.copy(), MOVABLE, gradient)
            means, deviations = textbook(process, targets, np.ascontiguousarray(point[:, None]))
            z = (means[0] - best) / deviations[0]
            expected = deviations[0] * (norm.pdf(z) + z * norm.cdf(z))
            assert value == pytest.approx(math.log(expected), rel=1e-6, abs=1e-6)
            for j in range(D):
                if not MOVABLE[j] or math.isnan(point[j]):
                    assert gradient[j] == 0
                    continue
                sides = []
                for h in (1e-6, -1e-6):
                    moved = point.copy()
                    moved[j] += h
                    sides.append(improvement.log_expected_improvement(process, best, moved, MOVABLE, np.empty(D)))
                assert gradient[j] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-3, abs=1e-4)


def test_an_ascent_ends_higher_and_near_and_moves_continuous_axes_only() -> None:
    higher = 0
    for seed in range(20):
        process, _ = fitted(15, seed % 3, seed)
        best = improvement.best_mean(process)
        point = points_of(1, seed + 90)[:, 0]
        start = point.copy()
        before = improvement.log_expected_improvement(process, best, start, MOVABLE, np.empty(D))
        after = improvement.ascend(process, best, MOVABLE, point)
        assert after == pytest.approx(improvement.log_expected_improvement(process, best, point, MOVABLE, np.empty(D)))
        assert after >= before
        higher += after > before
        np.testing.assert_array_equal(point[~MOVABLE], start[~MOVABLE])
        np.testing.assert_array_equal(np.isnan(point), np.isnan(start))
        moved = point[MOVABLE & ~np.isnan(start)]
        assert np.all((moved >= 0) & (moved <= 1))
        assert np.nanmax(np.abs(point - start)) <= 0.1 + 1e-12
    assert higher >= 18


def test_points_that_lie_together_and_extreme_values_give_finite_numbers() -> None:
    for scale in (1e-300, 1.0, 1e150):
        points = np.repeat(points_of(1, 3), 6, axis=1)
        targets = scale * np.array([1.0, -1.0, 2.0, -2.0, 0.5, -0.5])
        hyperparameters, cholesky, alpha = np.zeros(D + 1), np.zeros((6, 6)), np.empty(6)
        hyperparameters[-1] = -11.0
        with np.errstate(all="ignore"):
            found = gaussian_process.fit(CHOICES, hyperparameters, points, targets, cholesky, alpha)
            process = gaussian_process.FittedProcess(CHOICES, hyperparameters, points, 6, found, cholesky, alpha)
            point = points[:, 0].copy()
            assert not math.isnan(improvement.ascend(process, improvement.best_mean(process), MOVABLE, point))
        assert np.all(np.isnan(point) | ((point >= 0) & (point <= 2)))
