"""The window of last reports against sorted lists."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.kernels.pruning import patience as kernels

INF = math.inf
losses = st.one_of(st.sampled_from([0.0, 1.0, 2.0, -1.0, INF, -INF, 1.7e308, -1.7e308]), st.floats(allow_nan=False))


@given(
    st.dictionaries(st.one_of(st.integers(0, 50), st.integers(0, 2**63 - 1)), losses, max_size=25),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 1.0, 1e300]),
    st.booleans(),
    st.randoms(),
)
def test_every_push(curve, window, min_delta, in_order, random):
    steps, rows = np.empty((3, window + 1), np.int64), np.empty((3, window + 1))
    steps.fill(-7)
    rows.fill(7.0)
    kernels.clear(steps, rows, 1)
    order = sorted(curve) if in_order else random.sample(list(curve), len(curve))
    for n, step in enumerate(order, 1):
        stale = kernels.push(steps, rows, 1, step, curve[step], min_delta)
        seen = sorted(order[:n])
        before, after = [curve[s] for s in seen[:-window]], [curve[s] for s in seen[-window:]]
        assert steps[1, 0] == n
        assert steps[1, 1 : 1 + len(after)].tolist() == seen[-window:]
        assert rows[1, 1 : 1 + len(after)].tolist() == after
        assert rows[1, 0] == min(before, default=INF)
        if before and min(before) != min(after):
            assert stale == (not min(before) - min(after) > min_delta)
        else:
            assert stale == bool(before)
    assert (steps[[0, 2]] == -7).all() and (rows[[0, 2]] == 7.0).all()  # the neighbours are not touched
