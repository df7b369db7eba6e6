"""What a Gaussian process learns of trials, against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.samplers.ranks import WORST, SortKey
from fasthpo.samplers.targets import logarithmic_targets, normal_targets
from tests.support import naive_targets

FINITE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-10, 10),
    st.sampled_from([0.0, 1.0, 2.0, 5e-324, -5e-324, 1.7e308, -1.7e308]),
)


def ranked(complete: list[float], pruned: list[float], worst: int) -> tuple[list[SortKey], np.ndarray]:
    """Keys in ascending order, and ranks; each pruned trial is given by its place among the complete ones, 0 to 1."""
    keys: list[SortKey] = [(0, 0.0, loss, i) for i, loss in enumerate(sorted(complete))]
    keys += [(1, 0.0, place, 1000 + i) for i, place in enumerate(sorted(pruned))]
    keys += [(WORST, 0.0, math.inf, 2000 + i) for i in range(worst)]
    losses = sorted(complete)
    places = [(losses.index(loss) + len(losses) - losses[::-1].index(loss) - 1) / 2 for loss in losses]
    places += [0.5 + place * len(losses) for place in sorted(pruned)] + [math.inf] * worst
    order = sorted(places)
    ranks = [(order.index(p) + len(order) - order[::-1].index(p)) / 2 for p in places]
    return keys, np.array(ranks)


@settings(deadline=None)  # the first call compiles
@given(st.lists(FINITE, min_size=1, max_size=30), st.lists(st.floats(0, 1), max_size=6), st.integers(0, 5))
def test_targets_are_those_of_the_slow_twin(complete: list[float], pruned: list[float], worst: int) -> None:
    keys, ranks = ranked(complete, pruned, worst)
    np.testing.assert_allclose(normal_targets(ranks), naive_targets.normal(ranks.tolist()), atol=1e-9)
    targets = logarithmic_targets(keys, ranks)
    found = normal_targets(ranks) if targets is None else targets
    np.testing.assert_allclose(found, naive_targets.logarithmic(keys, ranks.tolist()), rtol=1e-6, atol=1e-6)
    assert np.isfinite(found).all()
    if targets is not None:
        assert abs(targets.mean()) < 1e-9 and targets.std() == pytest.approx(1)


def test_neither_the_scale_of_the_losses_nor_an_outlier_matters() -> None:
    losses = [0.0, 1.0, 2.0, 3.0, 4.0, 50.0]
    keys, ranks = ranked(losses, [], 0)
    plain = logarithmic_targets(keys, ranks)
    for factor, shift in ((1e-300, 0.0), (1e300, -1e300), (1.0, 7.0)):
        keys, ranks = ranked([loss * factor + shift for loss in losses], [], 0)
        np.testing.assert_allclose(logarithmic_targets(keys, ranks), plain, rtol=1e-9)
    keys, ranks = ranked([*losses[:5], 1e6], [], 0)
    np.testing.assert_allclose(logarithmic_targets(keys, ranks), plain, rtol=1e-9)


def test_failures_are_as_bad_as_the_worst_loss() -> None:
    keys, ranks = ranked([0.0, 1.0, 2.0, 3.0, 99.0], [], 2)
    targets = logarithmic_targets(keys, ranks)
    assert targets is not None and targets[4] == targets[5] == targets[6] == targets.min()


def test_a_plateau_of_best_losses_has_no_scale() -> None:
    keys, ranks = ranked([1.0, 1.0, 1.0, 2.0], [], 0)
    assert logarithmic_targets(keys, ranks) is None
