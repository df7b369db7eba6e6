"""An exponential that compiles to vector instructions.

`math.exp` is a scalar library call, so a loop over it stays scalar. This one is plain arithmetic: x = k ln 2 + r with
|r| <= ln 2 / 2, a polynomial for exp(r), and 2^k written straight into the exponent's bits (Cody and Waite, Software
manual for the elementary functions, 1980, chapter 6). Relative error at most 4e-16 + 1e-16 |x| over [-700, 700].
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import kernel

_LOWEST = -708.0
_HIGHEST = 709.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238  # the leading 33 bits of ln 2: k times it is exact
_LN2_LOW = 1.9082149292705877e-10
# adding 1.5 * 2^52 leaves round(x) in the low bits of the sum
_SHIFTER = 6755399441055744.0
_SHIFTER_BITS = struct.unpack("<q", struct.pack("<d", _SHIFTER))[0]
_BIAS = 1023

if numba.config.DISABLE_JIT:

    def power_of_two(shifted: float) -> float:
        """2^k, where `shifted` is k + _SHIFTER."""
        return math.ldexp(1.0, round(shifted - _SHIFTER))

else:

    @intrinsic  # type: ignore[untyped-decorator]
    def power_of_two(typing_context: Any, shifted: Any) -> Any:
        """2^k, where `shifted` is k + _SHIFTER."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            integer = ir.IntType(64)
            bits = builder.bitcast(arguments[0], integer)
            k = builder.sub(bits, ir.Constant(integer, _SHIFTER_BITS - _BIAS))
            return builder.bitcast(builder.shl(k, ir.Constant(integer, 52)), ir.DoubleType())

        return types.float64(types.float64), generate


# Contraction only: a caller's licence to reorder sums would fold (x + shifter) - shifter back into x. LLVM inlines
# the function all the same, its own flags kept.
@kernel(fastmath={"contract"})
def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x); exp(-708) below -708, exp(709) above 709."""
    x = min(max(x, _LOWEST), _HIGHEST)
    shifted = x * _LOG2_E + _SHIFTER
    k = shifted - _SHIFTER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Taylor to the 13th power: the remainder is below 4e-18 for |r| <= 0.3466
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * power_of_two(shifted)
