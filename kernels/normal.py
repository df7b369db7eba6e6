"""The normal distribution: masses of intervals, quantiles, scores of ranks, and draws from a truncated one.

`between_inlined` is free of branches and library calls, so that a loop over it compiles to vector instructions. A
truncated normal number is drawn by inversion, one uniform number each: no rejection, so a stream of uniform numbers is
used up evenly, and a candidate costs the same wherever its kernel lies.
"""

from __future__ import annotations

import math

from .arrays import FloatArray
from .compiling import kernel
from .exponential import exponential

LOG_SQRT_2_PI = 0.9189385332046727
_NARROW = 1e-3


@kernel(fastmath={"contract"}, inline=True)
def tail(z: float) -> float:
    """Phi(-z) for z >= 0: a Gaussian times a polynomial in 1 / (1 + z / 5); relative error 1e-13 up to z = 37.

    The polynomial is a Chebyshev fit to erfc's scaled form, in the manner of Shepherd and Laframboise (Chebyshev
    approximation of (1 + 2x) exp(x^2) erfc(x) in 0 <= x < infinity, Mathematics of Computation 36, 1981).
    """
    t = 1.0 / (1.0 + 0.2 * z)
    u = 2.0 * t - 1.0
    p = -6.470163178220549e-09
    p = p * u - 3.72274937781084e-09
    p = p * u + 7.338630960162156e-08
    p = p * u + 6.02176826700332e-08
    p = p * u - 5.390494201180646e-07
    p = p * u - 7.895116283881277e-07
    p = p * u + 3.3260953357739128e-06
    p = p * u + 9.948600436746413e-06
    p = p * u - 1.1870799436905051e-05
    p = p * u - 0.00010897834266202207
    p = p * u - 0.00015957502035303975
    p = p * u + 0.0005986750277412002
    p = p * u + 0.004159013532712321
    p = p * u + 0.013823727780933746
    p = p * u + 0.03300407322075219
    p = p * u + 0.06270663133205276
    p = p * u + 0.09906112319439445
    p = p * u + 0.1330765005780476
    p = p * u + 0.15383860995001075
    return exponential(-0.5 * z * z) * t * p


def _between(low: float, high: float) -> float:
    """Phi(high) - Phi(low) for low <= high, without cancellation in the tails or over a narrow stretch."""
    mirrored = low + high > 0.0
    a = -high if mirrored else low  # at most 0
    b = -low if mirrored else high
    upper = tail(abs(b))
    mass = (upper if b <= 0.0 else 1.0 - upper) - tail(-a)
    # the density in the middle, and its curvature: over a narrow stretch the difference would lose digits
    width = high - low
    middle = 0.5 * (low + high)
    curvature = 1.0 + width * width * (middle * middle - 1.0) / 24.0
    narrow = width * curvature * exponential(-0.5 * middle * middle - LOG_SQRT_2_PI)
    return narrow if width < _NARROW else mass


between = kernel(_between, fastmath={"contract"})
# for loops over arrays; one call by itself is not worth the time that copies of it take to compile
between_inlined = kernel(_between, fastmath={"contract"}, inline=True)


@kernel
def _ratio(r: float, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> float:
    """(a + b r + ... + h r^7) / (1 + i r + ... + o r^7)."""
    a, b, c, d, e, f, g, h = numerator
    i, j, k, l, m, n, o = denominator  # noqa: E741
    upper = ((((((h * r + g) * r + f) * r + e) * r + d) * r + c) * r + b) * r + a
    lower = ((((((o * r + n) * r + m) * r + l) * r + k) * r + j) * r + i) * r + 1.0
    return upper / lower


@kernel
def _central_quantile(q: float) -> float:
    """z with Phi(z) = 1/2 + q, for q in [-0.425, 0.425]."""
    return q * _ratio(
        0.180625 - q * q,
        (
            3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
            45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727,
        ),
        (
            42.313330701600911252, 687.18700749205790830, 5394.1960214247511077, 21213.794301586595867,
            39307.895800092710610, 28729.085735721942674, 5226.4952788528545610,
        ),
    )  # fmt: skip


@kernel
def normal_quantile(p: float) -> float:
    """z with Phi(z) = p, for p in (0, 1), to about 1e-15 (Wichura, algorithm AS 241, Applied Statistics 37, 1988)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return _central_quantile(q)
    r = math.sqrt(-math.log(min(p, 1.0 - p)))
    if r <= 5.0:
        z = _ratio(
            r - 1.6,
            (
                1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
                1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833,
                7.74545014278341407640e-4,
            ),
            (
                2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
                0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
                1.05075007164441684324e-9,
            ),
        )  # fmt: skip
    else:
        z = _ratio(
            r - 5.0,
            (
                6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
                0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
                2.71155556874348757815e-5, 2.01033439929228813265e-7,
            ),
            (
                0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
                7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                2.04426310338993978564e-15,
            ),
        )  # fmt: skip
    return z if q > 0.0 else -z


@kernel
def quantile_of_excess(q: float) -> float:
    """z with Phi(z) = 1/2 + q, for q in (-1/2, 1/2); near the mean to the last digits, which 1/2 + q would lose."""
    if abs(q) <= 0.425:
        return _central_quantile(q)
    return normal_quantile(0.5 + q)


@kernel
def truncated_normal(position: float, bandwidth: float, lower: float, mass: float, unit: float) -> float:
    """A number of the Gaussian at `position` in [0, 1], truncated to the unit axis.

    Args:
        position, bandwidth: of the Gaussian.
        lower: what mass it has below 0.
        mass: what mass it has on the unit axis.
        unit: a uniform number in [0, 1).
    """
    p = min(max(lower + unit * mass, 1e-300), 1.0 - 2.0**-53)
    return min(max(position + bandwidth * normal_quantile(p), 0.0), 1.0)


@kernel
def normal_scores(ranks: FloatArray, scores: FloatArray) -> None:
    """Quantiles of the normal distribution at ranks from 1/2 to n - 1/2, negative (a low rank is good), of mean 0."""
    n = len(ranks)
    mean = 0.0
    for k in range(n):
        scores[k] = -normal_quantile(ranks[k] / n)
        mean += scores[k] / n
    for k in range(n):
        scores[k] -= mean


@kernel
def normal_cdf(x: float) -> float:
    """Phi(x), the mass of the normal distribution below x."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@kernel
def normal_excess(z: float) -> float:
    """Phi(z) - 1/2, the mass of the normal distribution between the mean and z: negative below it."""
    return 0.5 * math.erf(z * math.sqrt(0.5))
