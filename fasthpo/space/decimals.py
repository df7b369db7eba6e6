"""The decimals that computed numbers mean: 0.1 * 3 is 0.30000000000000004, and exp(log(1e-4)) 9.999999999999991e-05.

A number that lies within the error of its computation of a decimal of at most 12 digits is taken for that decimal. Both
are then equally right, and the decimal is what a person expects. A float64 has 15 to 17 digits, so few numbers are so
near to so short a decimal by chance. Whoever calls keeps the error below the distance between different numbers, so
that these stay different.
"""

from __future__ import annotations

import math

import numpy as np

from fasthpo.values import FloatArray

DIGITS = 12
_LEAST_EXPONENT = -290  # from here on a power of ten keeps all its bits


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS - 1}e}") + 0.0  # -0.0 is 0.0


def meant(number: float, error: float) -> float:
    """The decimal of at most 12 digits within `error` of a number, else the number itself.

    Example:
        >>> meant(0.1 * 3, 1e-16), meant(1 / 3, 1e-16)
        (0.3, 0.3333333333333333)
    """
    short = _short(number)
    return short if abs(short - number) <= error else number


def meant_bound(bound: float, error: float) -> float:
    """The decimal that the bound of a range means.

    Args:
        bound: it may have been computed from numbers of its own size, or as a difference of larger ones.
        error: of such a difference: what is no larger, and no short decimal itself, is 0.

    Example:
        >>> meant_bound(0.1 + 0.2 - 0.3, 1e-15), meant_bound(1e-20, 1e-15)
        (0.0, 1e-20)
    """
    found = meant(bound, min(rounding_error(bound), error))
    return 0.0 if abs(bound) <= error and _short(found) != found else found


def rounding_error(number: float) -> float:
    """How far a number may be off that comes from a few operations on numbers no larger."""
    return 4 * math.ulp(number)


def meant_values(numbers: FloatArray, errors: FloatArray) -> FloatArray:
    """`meant` of many numbers (n,), each within its error; 0 where that is within the error."""
    size = np.abs(numbers)
    with np.errstate(all="ignore"):
        exponents = np.floor(np.log10(size))
        unit = 10.0 ** (exponents - (DIGITS - 1))
        digits = size / unit
        # what can't be near is left out: to make a decimal of each takes longer
        near = np.abs(digits - np.rint(digits)) <= 0.01 + errors / unit
    near |= ~(exponents > _LEAST_EXPONENT)
    found = np.where(size <= errors, 0.0, numbers)
    for i in np.flatnonzero(near & (size > errors)).tolist():
        found[i] = meant(float(numbers[i]), float(errors[i]))
    return found
