"""Counter-based randomness: (seed, draw, stream) -> numbers, with no state to keep.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011,
doi 10.1145/2063384.2063405). The key is the seed; the counter is (draw low word, draw high word, stream, block), and
each block yields two doubles of 53 random bits. `philox` is written so that it runs on NumPy arrays as it stands and
compiles to scalars: importing this module costs no compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_11 = np.uint64(11)
_TWO_TO_MINUS_53 = 2.0**-53


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Ten rounds of Philox4x32. All arguments are uint64 holding 32-bit words: scalars or arrays of one shape."""
    for _ in range(10):
        p0 = c0 * _MULTIPLIER_0
        p1 = c2 * _MULTIPLIER_1
        c0 = (p1 >> _32) ^ c1 ^ k0
        c2 = (p0 >> _32) ^ c3 ^ k1
        c1 = p1 & _WORD
        c3 = p0 & _WORD
        k0 = (k0 + _WEYL_0) & _WORD
        k1 = (k1 + _WEYL_1) & _WORD
    return c0, c1, c2, c3


def to_double(high: Any, low: Any) -> Any:
    """The double in [0, 1) made of the top 53 bits of two 32-bit words."""
    return (((high << _32) | low) >> _11) * _TWO_TO_MINUS_53


def uniforms(seed: int, draws: npt.NDArray[np.int64], stream: int, count: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) for each draw.

    Args:
        seed: 0 to 2**64 - 1.
        draws: indices of the draws, shape (n,), not negative.
        stream: 0 to 2**32 - 1; what the numbers are for.
        count: how many numbers a draw.

    Returns:
        shape (n, count); row i depends on (seed, draws[i], stream) only.
    """
    blocks = (count + 1) // 2
    index = draws.astype(np.uint64)[:, None]
    block = np.arange(blocks, dtype=np.uint64)[None, :]
    c0, c1, c3 = np.broadcast_arrays(index & _WORD, index >> _32, block)
    c2 = np.full(c0.shape, stream, np.uint64)
    k0, k1 = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
    a, b, c, d = philox(c0, c1, c2, c3, k0, k1)
    numbers = np.empty((len(draws), blocks, 2))
    numbers[:, :, 0] = to_double(a, b)
    numbers[:, :, 1] = to_double(c, d)
    return numbers.reshape(len(draws), 2 * blocks)[:, :count]
