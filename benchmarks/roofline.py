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
from fasthpo.kernels.tpe.densities import Above, Tables, Tiles
from fasthpo.samplers.encoding import encode_space

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
    arrays = encode_space(fasthpo.SearchSpace({f"x{j}": fasthpo.Continuous(0.0, 1.0) for j in range(d)}))
    rows, factors = np.empty(d, np.int64), np.empty(d)
    direct, count = above.arrange(arrays.space, BANDWIDTH, rows, factors)
    store, offsets = np.zeros((-(-n // above.TILE), count * above.TILE)), np.full(n + above.TILE, -np.inf)
    tiles = Tiles(rows, factors, direct, store, offsets)
    above.observe(arrays.space, BANDWIDTH, tiles, np.ascontiguousarray(points.T), np.arange(n), np.arange(n))
    queries = np.zeros((d, 4, CANDIDATES))
    parzen.describe(arrays.space.axes, np.random.default_rng(1).random((CANDIDATES, d)), queries)
    tables = Tables(np.zeros((0, 0), np.int64), *(np.zeros(0, np.int64) for _ in range(3)))
    g = Above(tiles, n, 1.0, tables, np.zeros((d, 1, 1)), n + 1.0, BANDWIDTH)
    log_below, scores = np.zeros(CANDIDATES), np.empty(CANDIDATES)
    return lambda: above.above_joint(arrays.space, g, queries, log_below, True, scores)


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
