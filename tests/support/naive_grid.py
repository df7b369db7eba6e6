"""Grid enumeration again, in Python's big integers: the slow twins of `kernels/grid.py`."""

from __future__ import annotations

from collections.abc import Sequence

MASK = 2**32 - 1


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 as Salmon et al. (2011) write it: four words from a counter of four and a key of two."""
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ low, second & MASK, (first >> 32) ^ d ^ high, first & MASK
        low, high = (low + 0x9E3779B9) & MASK, (high + 0xBB67AE85) & MASK
    return [a, b, c, d]


def permute(index: int, size: int, seed: int) -> int:
    """The image of an index under the Feistel network, walked until it lies inside."""
    half = 1
    while 4**half < size:
        half += 1
    while True:
        left, right = divmod(index, 2**half)
        for r in range(6):
            word = philox([right, r, 0, 0], [seed & MASK, seed >> 32])[0]
            left, right = right, left ^ (word % 2**half)
        index = left * 2**half + right
        if index < size:
            return index


def decode(index: int, radices: Sequence[int]) -> list[int]:
    """The digits of an index, the last varying fastest."""
    digits = []
    for radix in reversed(radices):
        index, digit = divmod(index, radix)
        digits.append(digit)
    return digits[::-1]


def encode(digits: Sequence[int], radices: Sequence[int]) -> int:
    """The index of digits."""
    index = 0
    for digit, radix in zip(digits, radices, strict=True):
        index = index * radix + digit
    return index
