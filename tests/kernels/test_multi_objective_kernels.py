"""Layers, hypervolumes and subset selection against slow twins, against moocore, and over nasty numbers."""

from __future__ import annotations

import math
import time

import moocore
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.kernels.multi_objective import dominance, hypervolume
from tests.support import naive_multi_objective as naive

# as plain Python, NumPy warns of what compiled code does silently
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NASTY = (0.0, -0.0, 1.0, 2.0, 3.0, -1.0, 5e-324, 1e-300, 1e300, -1e308, 1e308, math.inf, -math.inf, math.nan)


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[float], most: int = 9, least_objectives: int = 1) -> np.ndarray:
    n, m = draw(st.integers(0, most)), draw(st.integers(least_objectives, 4))
    rows = draw(st.lists(st.lists(values, min_size=m, max_size=m), min_size=n, max_size=n))
    return np.array(rows, float).reshape(n, m)


def layers_of(losses: np.ndarray) -> list[int]:
    layers = np.full(len(losses), -7)
    count = dominance.non_dominated_layers(losses, layers)
    assert count == max(layers.tolist(), default=-1) + 1
    return layers.tolist()


def front_of(losses: np.ndarray) -> list[int]:
    kept = np.empty(len(losses), np.int64)
    return sorted(kept[: dominance.front(losses, kept)].tolist())


def selected(losses: np.ndarray, reference: np.ndarray, count: int) -> tuple[list[int], int]:
    chosen = np.full(count, -7)
    useful = hypervolume.select_by_hypervolume(losses, reference, chosen)
    return chosen.tolist(), useful


def contributions_of(losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    exclusive = np.full(len(losses), np.nan)
    hypervolume.contributions(losses, reference, exclusive)
    return exclusive


@given(tables(st.sampled_from(NASTY)))
def test_layers_are_those_found_by_peeling(losses: np.ndarray) -> None:
    assert layers_of(losses) == naive.layers(losses)
    whole = ~np.isnan(losses).any(axis=1)
    assert front_of(losses) == [i for i, layer in enumerate(naive.layers(losses)) if layer == 0 and whole[i]]


@given(tables(st.integers(0, 3).map(float), most=30))
def test_layers_of_many_ties_are_those_found_by_peeling(losses: np.ndarray) -> None:
    assert layers_of(losses) == naive.layers(losses)
    assert front_of(losses) == [i for i, layer in enumerate(naive.layers(losses)) if layer == 0]


@given(
    tables(st.integers(0, 3).map(float)),
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5, math.inf, math.nan]), min_size=9, max_size=9),
)
def test_points_with_a_penalty_come_after_all_without(losses: np.ndarray, penalties: list[float]) -> None:
    own = np.array(penalties[: len(losses)])
    layers = np.empty(len(losses), np.int64)
    count = dominance.constrained_layers(losses, own, layers)
    assert layers.tolist() == naive.constrained_layers(losses, own)
    assert count == max(layers.tolist(), default=-1) + 1


@given(tables(st.integers(-4, 4).map(float), most=7), st.integers(-2, 6))
def test_hypervolumes_of_whole_numbers_are_those_counted_cell_by_cell(losses: np.ndarray, corner: int) -> None:
    reference = np.full(losses.shape[1], float(corner))
    expected = naive.hypervolume(losses, reference)
    assert hypervolume.hypervolume(losses, reference) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(contributions_of(losses, reference), naive.contributions(losses, reference), atol=1e-9)


@settings(max_examples=60)
@given(tables(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), most=6), st.integers(0, 6))
def test_a_choice_adds_as_much_each_time_as_the_best_would(losses: np.ndarray, count: int) -> None:
    reference = np.ones(losses.shape[1])
    count = min(count, len(losses))
    chosen, useful = selected(losses, reference, count)
    assert len(set(chosen)) == count
    for k in range(count):
        before = naive.hypervolume(losses[chosen[:k]], reference)
        gain = naive.hypervolume(losses[chosen[: k + 1]], reference) - before
        best = max(naive.hypervolume(losses[[*chosen[:k], i]], reference) - before for i in range(len(losses)))
        assert gain == pytest.approx(best, abs=1e-12)
        assert (gain > 1e-12) == (k < useful)


@given(tables(st.sampled_from([x for x in NASTY if not math.isinf(x)]), least_objectives=2))
def test_nasty_numbers_leave_sound_volumes(losses: np.ndarray) -> None:
    for corner in (1e308, 3.0, 1e-300, 0.0):
        reference = np.full(losses.shape[1], corner)
        volume = hypervolume.hypervolume(losses, reference)
        assert volume >= 0
        exclusive = contributions_of(losses, reference)
        assert (exclusive >= 0).all()
        if math.isfinite(volume):
            assert exclusive.sum() <= volume * (1 + 1e-9)
        chosen, _ = selected(losses, reference, len(losses))
        assert sorted(chosen) == list(range(len(losses)))


def test_infinities_dominate_infinitely_much() -> None:
    losses = np.array([[-math.inf, 0.5], [0.5, 0.5], [math.inf, 0.0]])
    assert hypervolume.hypervolume(losses, np.ones(2)) == math.inf
    assert hypervolume.hypervolume(losses[1:], np.array([1.0, math.inf])) == math.inf
    assert hypervolume.hypervolume(losses[1:], np.ones(2)) == 0.25
    assert hypervolume.hypervolume(losses[2:], np.ones(2)) == 0.0
    assert selected(losses, np.ones(2), 3)[0] in ([0, 1, 2], [1, 0, 2])


def test_one_point_and_none() -> None:
    assert layers_of(np.empty((0, 2))) == []
    assert layers_of(np.array([[1.0, 2.0]])) == [0]
    assert hypervolume.hypervolume(np.empty((0, 3)), np.ones(3)) == 0.0
    assert hypervolume.hypervolume(np.zeros((1, 5)), np.full(5, 2.0)) == 32.0
    assert contributions_of(np.zeros((1, 3)), np.full(3, 2.0)).tolist() == [8.0]
    assert selected(np.zeros((1, 3)), np.full(3, 2.0), 0) == ([], 0)


def test_equal_points_share_a_layer_and_contribute_nothing() -> None:
    losses = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert layers_of(losses) == [0, 0, 0, 1]
    assert contributions_of(losses, np.full(2, 2.0)).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert selected(losses, np.full(2, 2.0), 4) == ([0, 1, 2, 3], 2)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_volumes_and_layers_equal_those_of_moocore(m: int) -> None:
    random = np.random.default_rng(m)
    for n in (1, 5, 40):
        for make in (random.random, random.standard_normal):
            losses = make((n, m))
            sphere = np.abs(losses) / np.linalg.norm(losses, axis=1, keepdims=True)  # all on one front
            for points in (losses, sphere, np.round(sphere, 1)):
                reference = np.full(m, 1.1)
                expected = moocore.hypervolume(points, ref=reference)
                assert hypervolume.hypervolume(points, reference) == pytest.approx(expected, rel=1e-10)
                every = moocore.hv_contributions(points, ref=reference)
                np.testing.assert_allclose(contributions_of(points, reference), every, atol=1e-12)
                assert layers_of(points) == (moocore.pareto_rank(points)).tolist()
                assert front_of(points) == np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True)).tolist()


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolumes_of_tiny_and_huge_losses_equal_those_of_moocore(m: int) -> None:
    points = np.random.default_rng(0).random((30, m))
    scales = 10.0 ** np.linspace(-100, 100, m)
    expected = moocore.hypervolume(points, ref=np.ones(m)) * scales.prod()
    assert hypervolume.hypervolume(points * scales, scales) == pytest.approx(expected, rel=1e-9)


def test_crowding_distances_are_those_of_the_paper() -> None:
    random = np.random.default_rng(1)
    for n in (1, 2, 3, 20):
        losses = random.random((n, 3))
        distances = np.full(n, np.nan)
        dominance.crowding_distances(losses, np.arange(n), distances)
        np.testing.assert_allclose(distances, naive.crowding(losses))
    same = np.ones((4, 2))
    distances = np.full(4, np.nan)
    dominance.crowding_distances(same, np.arange(4), distances)
    assert distances.tolist() == [0.0] * 4


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="too slow as plain Python")
def test_a_hundred_thousand_points_take_no_pass_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    for m, most in ((1, 2), (2, 2), (3, 20)):
        points = random.random((100_000, m))
        layers_of(points[:9]), hypervolume.hypervolume(points[:9], np.ones(m)), contributions_of(points[:9], np.ones(m))
        start = time.process_time()
        layers = layers_of(points)
        volume = hypervolume.hypervolume(points, np.ones(m))
        contributions_of(points, np.ones(m))
        selected(points, np.ones(m), 25)
        assert time.process_time() - start < most
        assert volume == pytest.approx(moocore.hypervolume(points, ref=np.ones(m)) if m > 1 else 1 - points.min())
        assert sorted(np.flatnonzero(np.array(layers) == 0)) == front_of(points)
