"""Grid enumeration: index <-> digits of a mixed radix, and a shuffled order, with nothing materialised."""

from __future__ import annotations

import numpy as np

from .arrays import IntArray, WordArray
from .compiling import kernel
from .streams import philox

_philox = kernel(philox)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_ROUNDS = 6
_WIDEST = np.uint64(32)  # halves of 64 bits: shifting by 64 would have no meaning


@kernel
def decode(indices: IntArray, radices: IntArray, digits: IntArray) -> None:
    """The digits of indices in a mixed radix, the last digit varying fastest.

    Args:
        indices: int64 (n,), not negative.
        radices: int64 (d,), at least 1.
        digits: int64 (n, d), written.
    """
    for i in range(len(indices)):
        rest = indices[i]
        for j in range(len(radices) - 1, -1, -1):
            digits[i, j] = rest % radices[j]
            rest = rest // radices[j]


@kernel
def encode(digits: IntArray, radices: IntArray, indices: IntArray) -> None:
    """The indices of digits; the inverse of `decode`.

    Args:
        digits: int64 (n, d).
        radices: int64 (d,).
        indices: int64 (n,), written.
    """
    for i in range(len(indices)):
        index = 0
        for j in range(len(radices)):
            index = index * radices[j] + digits[i, j]
        indices[i] = index


@kernel
def half_bits(size: np.uint64) -> np.uint64:
    """The least h with size <= 4^h, at least 1."""
    bits = _ONE
    while bits < _WIDEST and (size - _ONE) >> (_TWO * bits) != _ZERO:
        bits += _ONE
    return bits


@kernel
def permute(indices: WordArray, size: np.uint64, key_low: np.uint64, key_high: np.uint64) -> None:
    """Replace indices by their images under a permutation of 0 ... size - 1 that needs no memory.

    A Feistel network (Luby and Rackoff 1988, doi 10.1137/0217022) permutes the next power of four, with Philox as its
    round function; an image past the end is permuted again until it is inside (cycle walking, Black and Rogaway 2002,
    doi 10.1007/3-540-45760-7_9): fewer than four times on average.

    Args:
        indices: uint64 (n,), each below `size`; overwritten.
        size: uint64, 1 to 2**63.
        key_low, key_high: uint64, 32 bits each.
    """
    bits = half_bits(size)
    mask = (_ONE << bits) - _ONE
    for i in range(len(indices)):
        x = indices[i]
        while True:
            left = x >> bits
            right = x & mask
            for r in range(_ROUNDS):
                word, _, _, _ = _philox(right, np.uint64(r), _ZERO, _ZERO, key_low, key_high)
                left, right = right, left ^ (word & mask)
            x = (left << bits) | right
            if x < size:
                break
        indices[i] = x
