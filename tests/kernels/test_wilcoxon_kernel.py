"""The signed-rank test against SciPy's, and against every choice of signs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.kernels.pruning import wilcoxon as kernels
from tests.support import naive_pruners as naive

INF = math.inf
TAILS = kernels.exact_tails()

differences = st.lists(
    st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, INF, -INF, 5e-324, 1.7e308, -1.7e308]),
        st.floats(allow_nan=False),
        st.integers(-100, 100).map(lambda i: i / 7),
    ),
    min_size=1,
    max_size=70,
)


def p_value(values):
    return kernels.p_value(np.array(values, float), TAILS)


@given(differences)
def test_as_scipy(values):
    assert p_value(values) == pytest.approx(naive.signed_rank(values), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("n", range(1, 13))
def test_exact_is_the_share_of_signs(n):
    ranks, random = np.arange(1, n + 1), np.random.default_rng(n)
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=n)])
    for _ in range(20):
        signs = random.integers(0, 2, n)
        values = random.permutation(np.where(signs, 1.0, -1.0) * ranks * 0.25)
        assert p_value(values) == np.mean(sums >= np.dot(ranks, signs))


def test_every_tail_adds_up():
    position = 0
    for n in range(1, kernels.LARGEST_EXACT + 1):
        most = n * (n + 1) // 2
        tail = TAILS[position : position + most + 1]
        assert tail[0] == 1.0 and tail[-1] == 0.5**n  # any sum, and all ranks
        assert (np.diff(tail) < 0).all()
        assert tail[1 : most + 1] + tail[:0:-1] == pytest.approx(np.ones(most), abs=1e-12)  # symmetric
        position += most + 1
    assert position == len(TAILS)


def test_known_values():
    assert p_value([0.0, 0.0]) == 0.5
    assert p_value([1.0]) == 0.5 and p_value([-1.0]) == 1.0
    assert p_value([1.0, 2.0, 3.0, 4.0]) == 1 / 16
    # 19 sets of the ranks 1 to 12 add up to 7 or less: the critical value at 1 %, two-sided
    twelve = [-7.0, *(float(i) for i in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12))]
    assert p_value(twelve) == 19 / 2**12
    fifty = np.arange(1.0, 51.0) * np.where(np.arange(50) % 3, 1, -1)
    more = np.append(fifty, 51.0)
    assert p_value(fifty) == pytest.approx(naive.signed_rank(fifty.tolist()), abs=1e-13)
    assert p_value(more) == pytest.approx(naive.signed_rank(more.tolist()), abs=1e-13)  # no longer exact


@given(st.lists(st.floats(allow_nan=False), max_size=60))
def test_sort_by_size(values):
    array = np.array(values, float)
    kernels.sort_by_size(array)
    assert np.abs(array).tolist() == sorted(np.abs(values).tolist())
    assert sorted(array.tolist()) == sorted(values)


curves = st.dictionaries(st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.0, 3.5, INF, -INF]), max_size=25)


@given(curves, curves, st.integers(0, 5), st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 1.0]), st.randoms())
def test_is_worse(own, best, least, threshold, random):
    steps, losses = np.empty(30, np.int64), np.empty(30)
    for count, step in enumerate(random.sample(list(own), len(own))):  # in any order
        kernels.enter(steps, losses, count, step, own[step])
    assert steps[: len(own)].tolist() == sorted(own)
    assert losses[: len(own)].tolist() == [own[step] for step in sorted(own)]
    best_steps = np.array(sorted(best), np.int64)
    best_losses = np.array([best[step] for step in sorted(best)], float)
    found = kernels.is_worse(steps, losses, len(own), best_steps, best_losses, TAILS, least, threshold)
    common = sorted(own.keys() & best.keys())
    d = [0.0 if own[step] == best[step] else own[step] - best[step] for step in common]
    p = naive.signed_rank(d) if d else 1.0
    if abs(p - threshold) > 1e-12:
        assert found == (bool(d) and len(d) >= least and sum(d) > 0 and p < threshold)
