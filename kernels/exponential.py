"""An exponential and a logarithm that compile to vector instructions.

`math.exp` is a scalar library call, so a loop over it stays scalar. This one is plain arithmetic: x = k ln 2 + r with
|r| <= ln 2 / 2, a polynomial for exp(r), and 2^k written straight into the exponent's bits (Cody and Waite, Software
manual for the elementary functions, 1980, chapter 6). Relative error at most 4e-16 + 1e-16 |x| over [-700, 700].
The logarithm takes exponent and mantissa apart, and sums the series of the inverse hyperbolic tangent (the same book,
chapter 5); its error is at most 2e-16 (1 + |log x|).
"""

from __future__ import annotations

import math
import struct
from typing import Any

from .compiling import kernel  # before numba, which it imports in a way that nothing can break off

# isort: split
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_LOWEST = -708.0
_HIGHEST = 709.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238  # the leading 33 bits of ln 2: k times it is exact
_LN2_LOW = 1.9082149292705877e-10
# adding 1.5 * 2^52 leaves round(x) in the low bits of the sum
_SHIFTER = 6755399441055744.0
_SHIFTER_BITS = struct.unpack("<q", struct.pack("<d", _SHIFTER))[0]
_BIAS = 1023
_MANTISSA = (1 << 52) - 1
_ONE_BITS = _BIAS << 52
_TWO_52 = 2.0**52
_TWO_52_BITS = struct.unpack("<q", struct.pack("<d", _TWO_52))[0]
_SQRT_2 = 1.4142135623730951

if numba.config.DISABLE_JIT:

    def power_of_two(shifted: float) -> float:
        """2^k, where `shifted` is k + _SHIFTER."""
        return shifted if shifted != shifted else math.ldexp(1.0, round(shifted - _SHIFTER))

    def mantissa(x: float) -> float:
        """m in [1, 2) with x = m 2^k."""
        return 2.0 * math.frexp(x)[0]

    def exponent(x: float) -> float:
        """The k of `mantissa`, as a float."""
        return float(math.frexp(x)[1] - 1)

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

    @intrinsic  # type: ignore[untyped-decorator]
    def mantissa(typing_context: Any, x: Any) -> Any:
        """m in [1, 2) with x = m 2^k."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            integer = ir.IntType(64)
            bits = builder.and_(builder.bitcast(arguments[0], integer), ir.Constant(integer, _MANTISSA))
            return builder.bitcast(builder.or_(bits, ir.Constant(integer, _ONE_BITS)), ir.DoubleType())

        return types.float64(types.float64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def exponent(typing_context: Any, x: Any) -> Any:
        """The k of `mantissa`, as a float."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            # into the low bits of 2^52, which is then taken off: older processors convert no 64-bit integers in vectors
            integer = ir.IntType(64)
            bits = builder.lshr(builder.bitcast(arguments[0], integer), ir.Constant(integer, 52))
            raised = builder.bitcast(builder.or_(bits, ir.Constant(integer, _TWO_52_BITS)), ir.DoubleType())
            return builder.fsub(raised, ir.Constant(ir.DoubleType(), _TWO_52 + _BIAS))

        return types.float64(types.float64), generate


# Contraction only: a caller's licence to reorder sums would fold (x + shifter) - shifter back into x. LLVM inlines
# the function all the same, its own flags kept.
@kernel(fastmath={"contract"}, inline=True)
def exponential(x: float) -> float:
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


@kernel(fastmath={"contract"}, inline=True)
def logarithm(x: float) -> float:
    """log(x) of a positive normal number."""
    m = mantissa(x)
    k = exponent(x)
    above = m > _SQRT_2
    m = 0.5 * m if above else m
    k = k + 1.0 if above else k
    f = (m - 1.0) / (m + 1.0)
    s = f * f  # at most 0.0295
    p = 1.0 / 23.0
    p = p * s + 1.0 / 21.0
    p = p * s + 1.0 / 19.0
    p = p * s + 1.0 / 17.0
    p = p * s + 1.0 / 15.0
    p = p * s + 1.0 / 13.0
    p = p * s + 1.0 / 11.0
    p = p * s + 1.0 / 9.0
    p = p * s + 1.0 / 7.0
    p = p * s + 1.0 / 5.0
    p = p * s + 1.0 / 3.0
    p = p * s + 1.0
    return k * _LN2_HIGH + (k * _LN2_LOW + 2.0 * f * p)
