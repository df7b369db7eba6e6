"""The uniform numbers of `streams` inside other kernels: the same ones, made one stream at a time.

A *key* is a random stream: (seed low, seed high, draw low, draw high, stream), words of 32 bits in uint64 (5,).
"""

from __future__ import annotations

import numpy as np

from .arrays import FloatArray, WordArray
from .compiling import kernel
from .streams import philox, to_double

_philox = kernel(philox)
_to_double = kernel(to_double)
_LOW = np.uint64(0xFFFFFFFF)


@kernel
def fill_uniforms(key: WordArray, numbers: FloatArray) -> None:
    """Write the numbers of a stream, those of `streams.uniforms`, into `numbers`, whose length is even.

    Args:
        key: (seed low, seed high, draw low, draw high, stream), uint64 (5,).
    """
    seed_low, seed_high, draw_low, draw_high, stream = key[0], key[1], key[2], key[3], key[4]
    for block in range(len(numbers) // 2):
        a, b, c, d = _philox(draw_low, draw_high, stream, np.uint64(block), seed_low, seed_high)
        numbers[2 * block] = _to_double(a, b)
        numbers[2 * block + 1] = _to_double(c, d)


@kernel
def set_draw(key: WordArray, draw: np.uint64) -> None:
    """Have a key, uint64 (5,), be that of the draw, uint64."""
    key[2] = draw & _LOW
    key[3] = draw >> np.uint64(32)
