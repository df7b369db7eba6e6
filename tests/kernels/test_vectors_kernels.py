"""Orders along epsilon-nets and pools of best vectors, against slow twins and over nasty numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.kernels.multi_objective.spreading import first_along_nets
from fasthpo.kernels.pruning import vectors
from tests.support import naive_layers

# as plain Python, NumPy warns of what compiled code does silently
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NASTY = (0.0, -0.0, 1.0, 2.0, 3.0, 5e-324, 1e300, -1e308, 1e308, math.inf, -math.inf)
EITHER = st.one_of(st.sampled_from(NASTY), st.integers(0, 3).map(float), st.floats(-2, 2))


@st.composite
def points(draw: st.DrawFn) -> np.ndarray:
    n, m = draw(st.integers(0, 14)), draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(EITHER, min_size=m, max_size=m), min_size=n, max_size=n))
    return np.array(rows, float).reshape(n, m)


def first(losses: np.ndarray, penalties: np.ndarray, count: int) -> list[int]:
    chosen = np.full(count, -7)
    first_along_nets(losses, penalties, chosen)
    return chosen.tolist()


@settings(max_examples=150)
@given(points(), st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.5, 2.0, 1e308, math.inf]), min_size=14, max_size=14))
def test_points_are_ordered_layer_by_layer_and_along_nets(losses: np.ndarray, penalties: list[float]) -> None:
    own = np.array(penalties[: len(losses)])
    expected = naive_layers.in_order(losses, own)
    for count in range(len(losses) + 1):
        assert first(losses, own, count) == expected[:count]


def test_a_layer_is_covered_from_end_to_end() -> None:
    x = np.linspace(0, 1, 101)
    assert first(np.stack([x, 1 - x], axis=1), np.zeros(101), 5) == [0, 100, 50, 25, 75]
    assert first(np.stack([x * 1e300, 1e-300 * (1 - x)], axis=1), np.zeros(101), 3) == [0, 100, 50]


def test_equal_points_go_by_their_numbers() -> None:
    assert first(np.ones((4, 2)), np.zeros(4), 4) == [0, 1, 2, 3]
    assert first(np.ones((1, 2)), np.zeros(1), 1) == [0]


def offered(numbers: list[int], bests: np.ndarray) -> vectors.Pool:
    pool = vectors.empty(bests.shape[1])
    for number in numbers:
        if vectors.is_full(pool):
            pool = vectors.widen(pool)
        vectors.offer(pool, number, bests[number])
    return pool


def held(pool: vectors.Pool) -> dict[int, list[float]]:
    size = pool.state[vectors.SIZE]
    return dict(zip(pool.numbers[:size].tolist(), pool.losses[:size].tolist(), strict=True))


@pytest.mark.parametrize("n", [1, 8, 9, 256, 257, 1000])
def test_a_pool_holds_those_of_the_lowest_words_whatever_the_order(n: int) -> None:
    random = np.random.default_rng(n)
    bests = random.random((n, 2))
    bests[random.random((n, 2)) < 0.1] = np.nan
    expected = sorted(range(n), key=vectors.word)[: vectors.MOST]
    pools = [offered(list(range(n)), bests), offered(random.permutation(n).tolist(), bests)]
    pools.append(vectors.build(np.arange(n), bests))
    for pool in pools:
        assert held(pool) == {number: naive_layers.ranked(bests[number].tolist()) for number in expected}


def test_words_are_different_and_spread_evenly() -> None:
    words = np.array([vectors.word(number) for number in range(20_000)])
    assert len(set(words.tolist())) == len(words)
    counts = np.histogram(words, bins=20, range=(0, 2**32))[0]
    assert counts.min() > 800 and counts.max() < 1200
    assert words[:100].mean() != pytest.approx(words[-100:].mean(), abs=1e6)
    assert 0 <= vectors.word(2**53) < 2**32
