"""Trees, marginals and densities, against every point of a grid and every split tried one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo.kernels.importance import fanova, ped_anova
from tests.support import naive_importance as naive

LEVELS = (0, 1009, 2503, 3907, 5711, 7919, 10007, 12553, 15013)


@st.composite
def forests(draw):
    """Codes of up to 40 samples in up to four parameters, the later ones perhaps with conditions on the earlier."""
    d = draw(st.integers(1, 4))
    counts = [draw(st.integers(1, 4)) for _ in range(d)]
    masses = [np.array(draw(st.lists(st.integers(1, 5), min_size=count, max_size=count)), float) for count in counts]
    masses = [mass / mass.sum() for mass in masses]
    conditions: list[tuple[int, int, set[int]]] = []
    for j in range(1, d):
        if draw(st.booleans()):
            parent = draw(st.integers(0, j - 1))
            out = draw(st.sets(st.integers(0, counts[parent] - 1), max_size=counts[parent] - 1))
            conditions.append((j, parent, out))
            conditions += [(j, ancestor, more) for child, ancestor, more in conditions if child == parent]
    n = draw(st.integers(1, 40))
    codes = np.array([[draw(st.integers(0, count - 1)) for _ in range(n)] for count in counts], np.int16)
    for j in range(d):
        for i in range(n):
            if any(child == j and int(codes[a, i]) in out for child, a, out in conditions if codes[a, i] >= 0):
                codes[j, i] = -1
    # sums of integers are exact, so that equal splits are equal in any order; and no two splits are equal by chance
    values = np.array(draw(st.lists(st.sampled_from(LEVELS), min_size=n, max_size=n)), float)
    weights = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), float)
    weights[draw(st.integers(0, n - 1))] = 1.0
    return codes, values, weights, counts, masses, conditions


def as_arrays(counts, masses, conditions):
    width = max(counts) + 1
    cumulative = np.ones((len(counts), width))
    for j, mass in enumerate(masses):
        cumulative[j, : counts[j]] = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    excluded = np.zeros((len(conditions), width))
    for c, (_, ancestor, out) in enumerate(conditions):
        inside = [masses[ancestor][code] if code in out else 0.0 for code in range(counts[ancestor])]
        excluded[c, 1 : counts[ancestor] + 1] = np.cumsum(inside)
        excluded[c, counts[ancestor] + 1 :] = sum(inside)
    pairs = np.array([(child, ancestor) for child, ancestor, _ in conditions], np.int64).reshape(-1, 2)
    return np.array(counts, np.int64), cumulative, pairs, excluded


@settings(max_examples=150)
@given(forests())
def test_a_tree_is_the_slow_one_and_its_shares_are_those_of_every_point(forest):
    codes, values, weights, counts, masses, conditions = forest
    leaves = naive.grown(codes, values, weights, counts, conditions, masses)
    expected, variance = naive.shares(leaves, counts, conditions, masses)
    many, cumulative, pairs, excluded = as_arrays(counts, masses, conditions)
    shares = np.empty(len(counts))
    members = np.flatnonzero(weights)
    found = fanova.tree_shares(codes, values, weights, members, pairs, excluded, many, cumulative, shares)
    assert found == pytest.approx(variance, rel=1e-9, abs=1e-3)
    if variance > 1e-3:
        assert shares == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert sorted(members) == np.flatnonzero(weights).tolist()


@pytest.mark.parametrize("seed", range(40))
def test_trees_weigh_splits_of_what_is_active_in_part_against_those_of_all(seed):
    """A parameter of which few examples drawn at random say much: one that matters most where it is active."""
    rng = np.random.default_rng(seed)
    counts, n = [3, 4, 4], 24
    masses = [rng.integers(1, 6, count) / 1.0 for count in counts]
    masses = [mass / mass.sum() for mass in masses]
    conditions = [(1, 0, {int(rng.integers(0, 3))})]
    codes = rng.integers(0, np.array(counts)[:, None], (3, n)).astype(np.int16)
    codes[1, codes[0] == next(iter(conditions[0][2]))] = -1
    # as good on average without the parameter as with it, so that its parent alone says little
    effect = np.where(codes[1] < 0, 1.5, codes[1] % 2 * 3)
    values = 1000.0 * effect + 17.0 * codes[2] + rng.permutation(n)
    leaves = naive.grown(codes, values, np.ones(n), counts, conditions, masses)
    expected, variance = naive.shares(leaves, counts, conditions, masses)
    many, cumulative, pairs, excluded = as_arrays(counts, masses, conditions)
    shares = np.empty(3)
    found = fanova.tree_shares(codes, values, np.ones(n), np.arange(n), pairs, excluded, many, cumulative, shares)
    assert found == pytest.approx(variance, rel=1e-9)
    assert shares == pytest.approx(expected, rel=1e-7, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(-9, 9)), min_size=1, max_size=60))
def test_the_best_split_is_the_best_of_all(samples):
    codes, weights, values = (np.array(column) for column in zip(*samples, strict=True))
    codes, weights, sums = codes.astype(np.int16), weights.astype(float), (weights * values).astype(float)
    scratch = np.empty(60, np.int64), np.empty(60), np.empty(60), np.empty(6), np.empty(6)
    found = np.empty(2, np.int64)
    score = fanova.best_split(codes, weights, sums, len(codes), 0, 6, scratch, found)
    tried = {}
    for a in sorted(set(codes.tolist()))[:-1]:
        left, right = codes <= a, codes > a
        tried[a] = sum(sums[side].sum() ** 2 / weights[side].sum() for side in (left, right))
    assert score == pytest.approx(max(tried.values(), default=-1.0), rel=1e-12)
    if tried:
        assert tried[found[0]] == pytest.approx(score, rel=1e-12)
        assert found[1] == codes[codes > found[0]].min()


@pytest.mark.parametrize("out", [set(some) for k in range(6) for some in itertools.combinations(range(5), k)], ids=str)
def test_a_box_is_split_where_a_parameter_begins_or_ceases_to_be_active(out):
    """Wherever the codes that make it inactive lie, and whichever part of the axis the box and its samples have."""
    mass = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    # the first condition is another parameter's, and of other codes
    others = {(2 * code + 1) % 5 for code in out}
    conditions = [(1, 0, others), (2, 0, out)]
    _, cumulative, pairs, excluded = as_arrays([5, 2, 2], [mass, np.full(2, 0.5), np.full(2, 0.5)], conditions)
    for first, last in itertools.combinations(range(6), 2):
        low, high = np.array([first, 0, 0]), np.array([last, 2, 2])
        active = np.empty(3)
        fanova.active_shares(low, high, pairs, excluded, cumulative, active)
        parts = [mass[[code for code in range(first, last) if code not in some]].sum() for some in (others, out)]
        assert active == pytest.approx([1.0, *(part / mass[first:last].sum() for part in parts)])
        for least, most in itertools.combinations_with_replacement(range(first, last), 2):
            codes = np.array([[least, most], [0, 0], [0, 0]], np.int16)
            found = np.array([-1, -1])
            is_there = fanova.split_off(2, low, high, active, codes, np.array([1, 0]), pairs, excluded, found)
            borders = [code for code in range(least + 1, most + 1) if (code in out) != (code - 1 in out)]
            assert is_there == bool(borders)
            assert found.tolist() == ([0, borders[0]] if borders else [-1, -1])


@given(forests(), st.integers(0, 2**32))
def test_each_tree_of_a_forest_is_grown_from_the_samples_drawn_for_it(forest, seed):
    codes, values, _, counts, masses, conditions = forest
    many, cumulative, pairs, excluded = as_arrays(counts, masses, conditions)
    n = len(values)
    chosen = np.random.default_rng(seed).integers(0, n, (3, n))
    has_variance, shares = np.zeros(3, np.bool_), np.zeros((3, len(counts)))
    fanova.forest_shares(codes, values, chosen, pairs, excluded, many, cumulative, has_variance, shares)
    for tree in range(3):
        weights = np.bincount(chosen[tree], minlength=n).astype(float)
        own = np.empty(len(counts))
        members = np.flatnonzero(weights)
        variance = fanova.tree_shares(codes, values, weights, members, pairs, excluded, many, cumulative, own)
        assert has_variance[tree] == (variance > 0.0)
        assert shares[tree].tolist() == own.tolist()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=50), st.booleans())
def test_the_divergence_is_that_of_the_sums_of_normals(counts, is_ordered):
    top = np.array([a for a, _ in counts])
    top[0] += 1
    all_of_them = top + np.array([b for _, b in counts])
    found = ped_anova.divergence(top, all_of_them, is_ordered)
    assert found == pytest.approx(naive.divergence(top, all_of_them, is_ordered), rel=1e-6, abs=1e-12)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.booleans())
def test_nothing_diverges_from_itself_and_densities_sum_to_one(counts, is_ordered):
    counts = np.array(counts)
    counts[-1] += 1
    assert ped_anova.divergence(counts, counts, is_ordered) == 0.0
    density = np.empty(len(counts))
    (ped_anova.density_of_numbers if is_ordered else ped_anova.density_of_choices)(counts, density)
    assert density.sum() == pytest.approx(1.0) and (density > 0).all()
