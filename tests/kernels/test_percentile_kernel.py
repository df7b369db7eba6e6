"""The running percentile against sorted lists and numpy.percentile."""

from __future__ import annotations

import bisect
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.kernels.pruning import percentile as kernels
from fasthpo.trials.reports import Reports
from tests.support import naive_percentile as naive

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
INF = math.inf

# few distinct values make ties and exact hits; 3.3 and 0.1 do not add up exactly
values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.3, 0.1, -1.0, INF, -INF, 1.7e308, -1.7e308, 5e-324]),
    st.floats(allow_nan=False),
)
fractions = st.one_of(
    st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9, 0.999, 1.0]), st.integers(0, 1000).map(lambda i: i / 1000)
)


def insert_all(pool, stream, q):
    for value in stream:
        while not kernels.insert(pool, value, q):
            pool = kernels.widen(pool)
    return pool


def check_heaps(pool):
    """Each entry ranks no better than its parent, and the lower heap lies below the other and has its size."""
    size, low = int(pool[kernels.SIZE]), int(pool[kernels.LOW_SIZE])
    below, above = pool[kernels.HEADER : kernels.HEADER + low], pool[::-1][: size - low]
    assert all(below[i] <= below[(i - 1) // 2] for i in range(1, low))
    assert all(above[i] >= above[(i - 1) // 2] for i in range(1, size - low))
    if 0 < low < size:
        assert below[0] <= above[0]


def assert_same(found, expected):
    assert found == expected or (math.isnan(found) and math.isnan(expected)), (found, expected)


@settings(deadline=None)  # the first call compiles
@given(st.lists(values, max_size=60), fractions)
def test_percentile_after_every_insert(stream, q):
    pool = kernels.build(np.empty(0), q)
    assert math.isnan(kernels.percentile(pool, q))
    ordered: list[float] = []
    for value in stream:
        bisect.insort(ordered, value)
        pool = insert_all(pool, [value], q)
        check_heaps(pool)
        assert pool[kernels.LOW_SIZE] == kernels.low_size(len(ordered), q)
        assert kernels.contents(pool).tolist() == ordered
        assert_same(kernels.percentile(pool, q), naive.percentile(ordered, q))


@settings(deadline=None)  # the first call compiles
@given(st.lists(values, min_size=1, max_size=40), fractions)
def test_percentile_of_others_leaves_out_exactly_one(stream, q):
    pool = insert_all(kernels.build(np.empty(0), q), stream, q)
    for i, own in enumerate(stream):
        assert_same(kernels.percentile_of_others(pool, q, own), naive.percentile(stream[:i] + stream[i + 1 :], q))


@settings(deadline=None)  # the first call compiles
@given(st.lists(values, max_size=40), st.lists(values, max_size=40), fractions, st.integers(0, 9))
def test_built_pool_goes_on_as_an_inserted_one(first, later, q, cursor):
    built = kernels.build(np.sort(np.array(first, float)), q, cursor)
    check_heaps(built)
    assert built[kernels.CURSOR] == cursor
    built = insert_all(built, later, q)
    check_heaps(built)
    grown = insert_all(kernels.build(np.empty(0), q), first + later, q)
    assert built[kernels.CURSOR] == cursor
    assert kernels.contents(built).tolist() == kernels.contents(grown).tolist() == sorted(first + later)
    assert_same(kernels.percentile(built, q), kernels.percentile(grown, q))


@settings(deadline=None)  # the first call compiles
@given(st.lists(values, min_size=1, max_size=40), st.data(), fractions)
def test_replace_keeps_the_rest(stream, data, q):
    pool = insert_all(kernels.build(np.empty(0), q), stream, q)
    for _ in range(5):
        i = data.draw(st.integers(0, len(stream) - 1))
        new = data.draw(values.filter(lambda value, old=stream[i]: value <= old))
        kernels.replace(pool, stream[i], new)
        stream[i] = new
        check_heaps(pool)
        assert kernels.contents(pool).tolist() == sorted(stream)
        assert_same(kernels.percentile(pool, q), naive.percentile(stream, q))


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50), st.integers(0, 1000))
def test_finite_values_as_numpy_bit_for_bit(stream, percent):
    q = percent / 10 / 100
    pool = insert_all(kernels.build(np.empty(0), q), stream, q)
    assert kernels.percentile(pool, q) == np.percentile(stream, percent / 10)


@pytest.mark.parametrize(
    ("a", "b", "fraction", "expected"),
    [
        (1.0, 2.0, 0.25, 1.25),
        (1.0, INF, 0.0, 1.0),  # numpy has NaN here
        (1.0, INF, 0.1, INF),
        (INF, INF, 0.5, INF),
        (-INF, 1.0, 0.5, -INF),
        (-INF, INF, 0.0, -INF),
        (-INF, -INF, 0.5, -INF),
        (-1.7e308, 1.7e308, 0.5, 0.0),  # the difference overflows
    ],
)
def test_interpolation_never_yields_nan(a, b, fraction, expected):
    assert kernels.interpolate(a, b, fraction) == expected


def test_full_pool_refuses_and_stays():
    pool = kernels.build(np.arange(8.0), 0.5)
    while kernels.insert(pool, 4.0, 0.5):
        pass
    before = pool.copy()
    assert pool[kernels.SIZE] == len(pool) - kernels.HEADER
    assert not kernels.insert(pool, 1.0, 0.5)
    assert pool.tolist() == before.tolist()
    wider = kernels.widen(pool)
    assert kernels.contents(wider).tolist() == kernels.contents(pool).tolist()
    assert kernels.insert(wider, 1.0, 0.5)


STREAMS = {
    "random": lambda n: np.random.default_rng(1).standard_normal(n),
    "ascending": lambda n: np.arange(n, dtype=float),
    "descending": lambda n: np.arange(n, 0, -1, dtype=float),
    "ties": lambda n: np.random.default_rng(2).integers(0, 10, n).astype(float),
    "heavy": lambda n: np.random.default_rng(3).standard_cauchy(n),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("q", [0.25, 0.5, 0.9])
def test_many_inserts(name, q):
    n = 300_000 if COMPILED else 3_000
    stream = STREAMS[name](n)
    checkpoints = {10**k for k in range(1, 7)} | {n}
    pool = kernels.build(np.empty(0), q)
    for i, value in enumerate(stream.tolist(), 1):
        while not kernels.insert(pool, value, q):
            pool = kernels.widen(pool)
        if i in checkpoints:
            assert kernels.percentile(pool, q) == np.percentile(stream[:i], 100 * q)
            rest = np.delete(stream[:i], i // 2)
            assert kernels.percentile_of_others(pool, q, float(stream[i // 2])) == np.percentile(rest, 100 * q)
    assert (kernels.contents(pool) == np.sort(stream)).all()
    assert len(pool) <= 1.3 * n + 10  # compact


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.sampled_from([0.0, 1.0, 2.0, -1.0, INF, math.nan]))),
    st.sampled_from([1.0, -1.0]),
    st.sampled_from([1, 2**40]),
)
def test_running_best(entries, sign, unit):
    entries = list({(number, step): (number, step * unit, value) for number, step, value in entries}.values())
    reports = Reports()
    for entry in entries:
        reports.append(*entry)
    n = len(reports)
    trial, step = reports.trial, reports.step[:n]
    best, out = np.full(4, np.nan), np.empty(n)
    kernels.running_best(reports.last[:4], step, reports.gap[:n], sign * reports.value, best, out)
    for i in range(n):
        assert_same(out[i], np.fmin.reduce(sign * reports.value[(trial == trial[i]) & (step <= step[i])]))
    for number in range(4):
        losses = sign * reports.value[trial == number]
        assert_same(best[number], np.fmin.reduce(losses) if len(losses) else math.nan)


def test_running_best_of_a_long_trial_in_any_order():
    reports, random = Reports(), np.random.default_rng(4)
    steps, values = random.permutation(300), random.standard_normal(300)
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        reports.append(0, step, value)
    best, out = np.full(1, np.nan), np.empty(300)
    kernels.running_best(reports.last[:1], reports.step[:300], reports.gap[:300], reports.value, best, out)
    assert out[np.argsort(steps)].tolist() == np.minimum.accumulate(values[np.argsort(steps)]).tolist()
    assert best[0] == values.min()
