"""Grid kernels against itertools and Python's big integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from fasthpo.kernels.grid import decode, encode, half_bits, permute

SIZES = [1, 2, 3, 4, 5, 7, 16, 17, 64, 97, 1000, 1024, 4097]


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


@given(st.lists(st.integers(1, 2**15), min_size=1, max_size=4), st.data())
def test_decode_equals_divmod(radices: list[int], data: st.DataObject) -> None:
    size = int(np.prod([int(r) for r in radices], dtype=object))
    index = data.draw(st.integers(0, size - 1))
    digits = np.empty((1, len(radices)), np.int64)
    decode(np.array([index]), np.array(radices), digits)
    rest, expected = index, []
    for radix in reversed(radices):
        rest, digit = divmod(rest, radix)
        expected.append(digit)
    assert digits[0].tolist() == expected[::-1]


def test_nothing_to_do() -> None:
    decode(np.empty(0, np.int64), np.array([3]), np.empty((0, 1), np.int64))
    assert len(permuted(np.empty(0), 5)) == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_permute_is_a_bijection(size: int, seed: int) -> None:
    assert sorted(permuted(np.arange(size), size, seed).tolist()) == list(range(size))


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
