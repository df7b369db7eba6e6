"""Grid kernels against itertools and Python's big integers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fasthpo.kernels.grid import decode, encode, half_bits, permute
from tests.support import naive_grid

SIZES = [1, 2, 3, 4, 5, 7, 16, 17, 64, 97, 1000, 1024, 4097]


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Radices with a product of at most 2**63 - 1, and some indices, both ends among them."""
    radices: list[int] = []
    for _ in range(draw(st.integers(1, 8))):
        most = (2**63 - 1) // math.prod(radices)
        radices.append(draw(st.integers(1, draw(st.sampled_from([1, min(3, most), min(1000, most), most])))))
    size = math.prod(radices)
    return radices, [0, size - 1, *draw(st.lists(st.integers(0, size - 1), max_size=5))]


def permuted(indices: np.ndarray, size: int, seed: int = 1) -> np.ndarray:
    images = np.array(indices, np.uint64)
    permute(images, np.uint64(size), np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32))
    return images


@pytest.mark.parametrize("radices", [[1], [3], [2, 3, 4], [1, 5, 1, 2], [7, 1, 1]])
def test_decode_counts_like_a_nested_loop(radices: list[int]) -> None:
    expected = list(itertools.product(*map(range, radices)))
    digits = np.empty((len(expected), len(radices)), np.int64)
    decode(np.arange(len(expected)), np.array(radices), digits)
    assert [tuple(row) for row in digits.tolist()] == expected
    back = np.empty(len(expected), np.int64)
    encode(digits, np.array(radices), back)
    assert back.tolist() == list(range(len(expected)))


@given(grids())
def test_decode_and_encode_equal_big_integers(grid: tuple[list[int], list[int]]) -> None:
    radices, indices = grid
    digits = np.empty((len(indices), len(radices)), np.int64)
    decode(np.array(indices, np.int64), np.array(radices, np.int64), digits)
    assert digits.tolist() == [naive_grid.decode(index, radices) for index in indices]
    back = np.empty(len(indices), np.int64)
    encode(digits, np.array(radices, np.int64), back)
    assert back.tolist() == [naive_grid.encode(row, radices) for row in digits.tolist()] == indices


def test_nothing_to_do() -> None:
    decode(np.empty(0, np.int64), np.array([3]), np.empty((0, 1), np.int64))
    assert len(permuted(np.empty(0), 5)) == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_permute_is_a_bijection(size: int, seed: int) -> None:
    assert sorted(permuted(np.arange(size), size, seed).tolist()) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2**63), st.integers(0, 2**64 - 1), st.data())
def test_permute_equals_big_integers(size: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([size, 1 + size % 1000, 1 << (size % 64)]))
    indices = [0, size - 1, data.draw(st.integers(0, size - 1))]
    expected = [naive_grid.permute(index, size, seed) for index in indices]
    assert permuted(np.array(indices, np.uint64), size, seed).tolist() == expected


@pytest.mark.parametrize("size", [2**63, 2**62 + 1, 10**18])
def test_permute_stays_inside_huge_ranges(size: int) -> None:
    images = permuted(np.arange(200), size)
    assert len(set(images.tolist())) == 200 and images.max() < size
    assert images.max() > size // 2  # spread over the range, not huddled at its start


@pytest.mark.parametrize(("size", "bits"), [(1, 1), (4, 1), (5, 2), (16, 2), (17, 3), (2**63, 32)])
def test_half_bits_is_the_least_power_of_four(size: int, bits: int) -> None:
    assert half_bits(np.uint64(size)) == bits


def test_permute_mixes() -> None:
    size = 1024
    orders = np.array([permuted(np.arange(size), size, seed) for seed in range(40)])
    assert abs((orders == np.arange(size)).sum() - 40) < 5 * np.sqrt(40)  # one fixed point a permutation, on average
    quarters = np.bincount((orders[:, 0] // 256).astype(int), minlength=4)
    assert chisquare(quarters).pvalue > 0.001
    steps = (np.diff(orders.astype(np.int64), axis=1) % size) // 64  # where the next index goes, from this one
    assert chisquare(np.bincount(steps.ravel(), minlength=16)).pvalue > 0.001


@pytest.mark.parametrize("size", [3, 16, 20])
def test_two_indices_go_to_every_pair_of_places_over_the_seeds(size: int) -> None:
    seeds = 40 * size * size
    pairs = np.zeros((size, size), np.int64)
    for seed in range(seeds):
        first, second = permuted(np.array([0, 1]), size, seed).tolist()
        pairs[first, second] += 1
    assert not np.diag(pairs).any()
    assert chisquare(pairs[~np.eye(size, dtype=bool)]).pvalue > 0.001
