"""How far the kernel of TPE's joint density is from what the machine can do.

    python benchmarks/roofline.py

The kernel multiplies two matrices (candidates by observations) and sums exponentials. Beside it the same in NumPy on
one core: a BLAS product, and `np.exp`, each alone, and both together with the sum. The first two are the roof.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np

import fasthpo
from fasthpo.kernels.tpe import above, parzen
from fasthpo.samplers.encoding import encode

CANDIDATES, PARAMETERS, BANDWIDTH = 24, 20, 0.15
SIZES = (1024, 4096, 16384, 65536)


def median_seconds(function: Callable[[], object]) -> float:
    """Of 31 calls, after one to warm up."""
    function()
    seconds = []
    for _ in range(31):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def kernel(points: np.ndarray) -> Callable[[], object]:
    """The compiled kernel over observations `points` (n, d), every candidate exact."""
    n, d = points.shape
    arrays = encode(fasthpo.SearchSpace({f"x{j}": fasthpo.Continuous(0.0, 1.0) for j in range(d)}))
    rows, factors = np.empty(d, np.int64), np.empty(d)
    direct, count = above.arrange(arrays.axes, arrays.conditional, BANDWIDTH, rows, factors)
    store, offsets = np.zeros((-(-n // above.TILE), count * above.TILE)), np.full(n + above.TILE, -np.inf)
    numbers = np.arange(n)
    above.observe(
        arrays.axes, arrays.conditional, BANDWIDTH, rows, factors, np.ascontiguousarray(points.T), numbers, numbers,
        store, offsets,
    )  # fmt: skip
    queries = np.zeros((d, 4, CANDIDATES))
    parzen.describe(arrays.axes, np.random.default_rng(1).random((CANDIDATES, d)), queries)
    cells, below, scores = np.zeros((d, 1, 1)), np.zeros(CANDIDATES), np.empty(CANDIDATES)
    return lambda: above.above_joint(
        arrays.axes, arrays.conditional, BANDWIDTH, rows, factors, direct, cells, store, offsets, n, 1.0, n + 1.0,
        queries, below, True, scores,
    )  # fmt: skip


def main() -> None:
    print(f"{CANDIDATES} candidates, {PARAMETERS} parameters, one core; microseconds")
    names = ("observations", "kernel", "BLAS", "np.exp", "NumPy in all", "kernel, ns a pair")
    print(" ".join(f"{name:>{max(9, len(name))}s}" for name in names))
    for n in SIZES:
        points = np.random.default_rng(0).random((n, PARAMETERS))
        coefficients = np.random.default_rng(1).random((CANDIDATES, PARAMETERS))
        features = np.ascontiguousarray(points.T)
        exponents = -50.0 * np.random.default_rng(2).random((CANDIDATES, n))
        ours = median_seconds(kernel(points))
        product = median_seconds(lambda c=coefficients, f=features: c @ f)
        exponential = median_seconds(lambda e=exponents: np.exp(e))
        whole = median_seconds(lambda c=coefficients, f=features: np.exp(c @ f - 50.0).sum(1))
        micro = [f"{1e6 * s:9.0f}" for s in (ours, product, exponential)]
        print(f"{n:12,d} {' '.join(micro)} {1e6 * whole:12.0f} {1e9 * ours / (n * CANDIDATES):17.2f}")


if __name__ == "__main__":
    main()
