"""Rungs that stop trials against sorted lists."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.kernels.halving import stopping as kernels

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
LOW, HIGH = 0, 1

losses = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, math.inf, -math.inf, 1.7e308, 5e-324]), st.floats(allow_nan=False)
)
# a loss that enters, or which of those there is withdrawn
steps = st.lists(st.one_of(losses, losses, losses, st.integers(0, 100)), max_size=60)


def enter(rung, withdrawn, number, loss, eta):
    answer = kernels.enter(rung, withdrawn, number, loss, eta)
    while answer == kernels.FULL:
        rung = kernels.widen(rung)
        answer = kernels.enter(rung, withdrawn, number, loss, eta)
    return rung, answer


def pairs(rung, side):
    n = int(rung[kernels.ENTRIES + side])
    if side == LOW:
        flat = rung[kernels.HEADER : kernels.HEADER + 2 * n].reshape(n, 2)
    else:
        flat = rung[len(rung) - 2 * n :].reshape(n, 2)[::-1]
    return [(loss, int(number)) for loss, number in flat.tolist()]


def check(rung, withdrawn, there, eta):
    """Both heaps are heaps, and the live ones of the lower are the best."""
    live = {}
    for side, order in ((LOW, -1), (HIGH, 1)):
        entries = pairs(rung, side)
        for i in range(1, len(entries)):
            above, below = entries[(i - 1) // 2], entries[i]
            assert (above <= below) if order == 1 else (above >= below)
        live[side] = {pair for pair in entries if not withdrawn[pair[1]]}
        assert len(live[side]) == rung[kernels.LIVE + side]
    ranked = sorted((loss, number) for number, loss in there.items())
    assert live[LOW] | live[HIGH] == set(ranked)
    assert live[LOW] == set(ranked[: max(1, len(ranked) // eta)])


@given(steps, st.integers(2, 5), st.booleans())
def test_every_step_against_a_sorted_list(sequence, eta, descending):
    rung, withdrawn, there = kernels.empty(), np.zeros(100, np.int8), {}
    for i, what in enumerate(sequence):
        number = 99 - i if descending else i
        if isinstance(what, float):
            there[number] = what
            rung, answer = enter(rung, withdrawn, number, what, eta)
            rank = sorted((loss, other) for other, loss in there.items()).index((what, number))
            assert answer == (kernels.IN if rank < max(1, len(there) // eta) else kernels.OUT)
        elif there:
            gone = list(there)[what % len(there)]
            withdrawn[gone] = 1
            kernels.withdraw(rung, withdrawn, gone, there.pop(gone), eta)
        check(rung, withdrawn, there, eta)


def test_a_withdrawn_trial_does_not_come_back():
    rung, withdrawn = kernels.empty(), np.zeros(3, np.int8)
    for number in range(2):
        enter(rung, withdrawn, number, float(number), 2)
    withdrawn[0] = 1
    kernels.withdraw(rung, withdrawn, 0, 0.0, 2)
    assert kernels.enter(rung, withdrawn, 0, -1.0, 2) == kernels.OUT
    check(rung, withdrawn, {1: 1.0}, 2)


def test_a_full_rung_refuses_and_stays():
    rung, withdrawn = kernels.empty(), np.zeros(20, np.int8)
    for number in range(6):
        assert kernels.enter(rung, withdrawn, number, float(number), 2) != kernels.FULL
    before = rung.copy()
    assert kernels.enter(rung, withdrawn, 6, 0.5, 2) == kernels.FULL
    assert rung.tolist() == before.tolist()
    rung, answer = enter(rung, withdrawn, 6, 0.5, 2)
    assert answer == kernels.IN
    check(rung, withdrawn, {6: 0.5} | {number: float(number) for number in range(6)}, 2)


@pytest.mark.parametrize("stream", ["random", "ascending", "descending", "ties"])
def test_many_trials_of_which_some_are_withdrawn(stream):
    n = 50_000 if COMPILED else 500
    random = np.random.default_rng(1)
    values = {
        "random": random.standard_normal(n), "ascending": np.arange(n) * 1.0, "descending": np.arange(n, 0.0, -1.0),
        "ties": random.integers(0, 5, n) * 1.0,
    }[stream]  # fmt: skip
    fails = random.random(n) < 0.3
    rung, withdrawn, passed = kernels.empty(), np.zeros(n, np.int8), 0
    for number, loss in enumerate(values.tolist()):
        rung, answer = enter(rung, withdrawn, number, loss, 3)
        passed += answer == kernels.IN
        if fails[number]:
            withdrawn[number] = 1
            kernels.withdraw(rung, withdrawn, number, loss, 3)
    there = {number: values[number] for number in np.flatnonzero(~fails).tolist()}
    check(rung, withdrawn, there, 3)
    assert len(rung) <= 2 * 1.6 * n + 100
    share = {"random": (0.3, 0.37), "ascending": (0, 5 / n), "descending": (1, 1)}.get(stream, (0, 1))
    assert share[0] <= passed / n <= share[1]
