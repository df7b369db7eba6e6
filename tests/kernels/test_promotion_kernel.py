"""The rung's heaps against sorting everything at each question."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.kernels.halving import promotion
from tests.support.naive_rungs import NaiveRung

LOSSES = st.one_of(st.sampled_from([0.0, 1.0, -1.0, math.inf, -math.inf, 1e308, 5e-324]), st.floats(allow_nan=False))
ACTIONS = st.lists(st.one_of(LOSSES, st.sampled_from(["promote", "fail"])), max_size=60)


def arrays(capacity: int) -> tuple[np.ndarray, ...]:
    return (
        np.empty(capacity),
        np.empty(capacity, np.int64),
        np.zeros(capacity, np.int8),
        np.empty((3, capacity), np.int32),
        np.zeros(5, np.int64),
    )


def ready(rung: tuple[np.ndarray, ...]) -> int | None:
    entry = promotion.best_ready(*rung)
    return None if entry == promotion.NONE else int(rung[1][entry])


@given(ACTIONS, st.integers(2, 5), st.randoms(use_true_random=False))
def test_promotable_trials_are_those_of_the_definition(actions, eta, random) -> None:
    rung, naive = arrays(len(actions)), NaiveRung(eta)
    numbers = random.sample(range(1000), len(actions))
    for action, number in zip(actions, numbers, strict=True):
        if action == "promote":
            best = naive.best_ready()
            if best is not None:
                rung[2][promotion.best_ready(*rung)] |= promotion.PROMOTED
                naive.promoted.add(best)
        elif action == "fail":  # of those promoted, one fails at the next rung
            if naive.extra < len(naive.promoted):
                promotion.free_place(*rung, eta)
                naive.extra += 1
        else:
            promotion.add(*rung, action, number, False, eta)
            naive.entries.append((action, number))
        assert ready(rung) == naive.best_ready()


@given(st.lists(st.tuples(LOSSES, st.booleans()), max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_a_rung_built_again_in_any_order_answers_alike(entries, eta, extra) -> None:
    one, other, naive = arrays(len(entries)), arrays(len(entries)), NaiveRung(eta)
    for number, (loss, promoted) in enumerate(entries):
        promotion.add(*one, loss, number, promoted, eta)
        naive.entries.append((loss, number))
        naive.promoted |= {number} if promoted else set()
    for number, (loss, promoted) in reversed(list(enumerate(entries))):
        promotion.add(*other, loss, number, promoted, eta)
    naive.extra = min(extra, len(naive.promoted))
    for _ in range(naive.extra):
        promotion.free_place(*one, eta)
        promotion.free_place(*other, eta)
    assert ready(one) == ready(other) == naive.best_ready()


def test_all_promotions_of_a_large_rung() -> None:
    n = 3000
    losses = np.round(np.random.default_rng(0).random(n), 2)  # with many ties
    rung, naive = arrays(n), NaiveRung(3)
    for number, loss in enumerate(losses.tolist()):
        promotion.add(*rung, loss, number, False, 3)
        naive.entries.append((loss, number))
    expected = [number for _, number in sorted(naive.entries)[: n // 3]]
    promoted = []
    while (entry := promotion.best_ready(*rung)) != promotion.NONE:
        rung[2][entry] |= promotion.PROMOTED
        promoted.append(int(rung[1][entry]))
    assert promoted == expected
