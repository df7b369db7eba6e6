"""Functional ANOVA: which share of a function's variance comes from each parameter alone.

Hutter, Hoos, Leyton-Brown: An efficient approach for assessing hyperparameter importance. ICML 2014, PMLR 32. A forest
of regression trees is fitted to the trials. A tree is constant on boxes, so that its mean over all parameters but one,
the *marginal* of that one, is found exactly from its leaves (their algorithm 1); the share of parameter j in a tree is

    V_j / V = sum_c p_j(c) (m_j(c) - m)^2 / sum_leaf p(leaf) (v_leaf - m)^2                                 (eqs. 5, 6)

Parameters are *codes*, 0 to count - 1: bins of the axis of a number, or choices, in an order in which neighbours are
alike. `cumulative` (d, b + 1) says how much of the prior lies below each code.

A parameter with conditions is split only in boxes in which it is active throughout. Its marginal is the mean over the
points at which it is active, and its variance counts as often as that is the case; what its being active or not does
is its parents' part. All boxes together then have a measure of 1 under the prior with its conditions.
"""

from __future__ import annotations

import numpy as np

from ..arrays import BoolArray, FloatArray, IntArray
from ..compiling import kernel

_FEW = 24  # samples of a node that are sorted; of more the sums by code are found in passes over them and the codes
_MOST_NODES = 256  # that wait, one a level of a tree: the smaller part of a node is always looked at first
CHILD, ANCESTOR = range(2)  # columns of `conditions`


@kernel
def active_shares(
    low: IntArray,
    high: IntArray,
    conditions: IntArray,
    excluded: FloatArray,
    cumulative: FloatArray,
    shares: FloatArray,
) -> None:
    """Write in which share of a box each parameter is active.

    Args:
        low, high: the box, codes low[j] <= code < high[j], int64 (d,).
        conditions: rows (child, ancestor), int64 (c, 2): all on which it depends whether the child is active.
        excluded: how much of the ancestor's prior lies below each code and makes the child inactive, (c, b + 1).
        cumulative: (d, b + 1).
        shares: (d,), written: exactly 1 where nothing in the box makes the parameter inactive.
    """
    shares[:] = 1.0
    for c in range(len(conditions)):
        ancestor = conditions[c, ANCESTOR]
        first, last = low[ancestor], high[ancestor]
        inactive = (excluded[c, last] - excluded[c, first]) / (cumulative[ancestor, last] - cumulative[ancestor, first])
        shares[conditions[c, CHILD]] *= max(1.0 - inactive, 0.0)


@kernel
def split_of_few(
    codes: IntArray, weights: FloatArray, sums: FloatArray, count: int, found: IntArray
) -> float:
    """The best split of a few samples by one parameter.

    Args:
        codes, weights, sums: of the samples, `sums` being weight times value; sorted by code on return.
        count: how many samples there are.
        found: int64 (2,), written: the codes on both sides of the split.

    Returns:
        sum_left^2 / weight_left + sum_right^2 / weight_right; -1 if all codes are the same.
    """
    total_weight = total = 0.0
    for i in range(count):
        code, weight, value = codes[i], weights[i], sums[i]
        total_weight += weight
        total += value
        k = i - 1
        while k >= 0 and codes[k] > code:
            codes[k + 1], weights[k + 1], sums[k + 1] = codes[k], weights[k], sums[k]
            k -= 1
        codes[k + 1], weights[k + 1], sums[k + 1] = code, weight, value
    best = -1.0
    left_weight = left = 0.0
    for i in range(count - 1):
        left_weight += weights[i]
        left += sums[i]
        if codes[i] != codes[i + 1]:
            right = total - left
            score = left * left / left_weight + right * right / (total_weight - left_weight)
            if score > best:
                best = score
                found[0], found[1] = codes[i], codes[i + 1]
    return best


@kernel
def split_of_many(weights: FloatArray, sums: FloatArray, low: int, high: int, found: IntArray) -> float:
    """As `split_of_few`, of sums by code: `weights` and `sums` (b,), of which the codes low to high - 1 count."""
    total_weight = total = 0.0
    for code in range(low, high):
        total_weight += weights[code]
        total += sums[code]
    best = -1.0
    left_weight = left = 0.0
    last = -1
    for code in range(low, high):
        if weights[code] == 0.0:
            continue
        if last >= 0:
            right = total - left
            score = left * left / left_weight + right * right / (total_weight - left_weight)
            if score > best:
                best = score
                found[0], found[1] = last, code
        left_weight += weights[code]
        left += sums[code]
        last = code
    return best


@kernel
def add_leaf(
    value: float,
    low: IntArray,
    high: IntArray,
    shares: FloatArray,
    cumulative: FloatArray,
    sums: FloatArray,
    measures: FloatArray,
    moments: FloatArray,
) -> None:
    """Add a leaf to the marginals of a tree.

    Args:
        value: of the leaf.
        low, high: its box, int64 (d,).
        shares: in which share of it each parameter is active, (d,).
        cumulative: (d, b + 1).
        sums, measures: (d, b + 1), added to: at which codes the sum of value times measure, and the measure, change.
        moments: (3,), added to: the measure of all leaves, and the means of the value and of its square.
    """
    measure = 1.0
    for j in range(len(low)):
        measure *= cumulative[j, high[j]] - cumulative[j, low[j]]
    moments[0] += measure
    moments[1] += measure * value
    moments[2] += measure * value * value
    for j in range(len(low)):
        others = shares[j] * measure / (cumulative[j, high[j]] - cumulative[j, low[j]])
        sums[j, low[j]] += others * value
        sums[j, high[j]] -= others * value
        measures[j, low[j]] += others
        measures[j, high[j]] -= others


@kernel
def variances_of_marginals(
    sums: FloatArray, measures: FloatArray, cumulative: FloatArray, variances: FloatArray
) -> None:
    """Write how much variance each parameter's marginal has, weighted by how often it is active, into (d,)."""
    for j in range(len(variances)):
        value = measure = total = mean = square = 0.0
        for code in range(cumulative.shape[1] - 1):
            value += sums[j, code]
            measure += measures[j, code]
            mass = cumulative[j, code + 1] - cumulative[j, code]
            if mass > 0.0 and measure > 0.0:
                marginal = value / measure
                total += mass * measure
                mean += mass * measure * marginal
                square += mass * measure * marginal * marginal
        variances[j] = 0.0 if total <= 0.0 else max(square - mean * mean / total, 0.0)


@kernel
def tree_shares(
    codes: IntArray,
    values: FloatArray,
    weights: FloatArray,
    members: IntArray,
    conditions: IntArray,
    excluded: FloatArray,
    counts: IntArray,
    cumulative: FloatArray,
    shares: FloatArray,
) -> float:
    """Grow a tree, each leaf of which has samples of one value or of one point, and find each parameter's share.

    Args:
        codes: of all samples, int64 (d, n); that of an inactive parameter is not read.
        values: of all samples (n,).
        weights: how often each sample counts (n,).
        members: the samples that count, int64 (k,), k at least 1; reordered on return.
        conditions, excluded: as in `active_shares`.
        counts: of each parameter's codes, int64 (d,); one that can't be split has 1.
        cumulative: (d, b + 1), 1 from `counts` on.
        shares: (d,), written: 0 where the tree has no variance.

    Returns:
        the variance of the tree.
    """
    d, width = cumulative.shape
    few = np.empty(_FEW, np.int64)
    few_weights, few_sums = np.empty(_FEW), np.empty(_FEW)
    code_weights, code_sums = np.zeros(width), np.zeros(width)
    found = np.empty(2, np.int64)
    active = np.ones(d)
    sums, measures, moments = np.zeros((d, width)), np.zeros((d, width)), np.zeros(3)
    begins, ends = np.empty(_MOST_NODES, np.int64), np.empty(_MOST_NODES, np.int64)
    lows, highs = np.empty((_MOST_NODES, d), np.int64), np.empty((_MOST_NODES, d), np.int64)
    low, high = np.empty(d, np.int64), np.empty(d, np.int64)
    begins[0], ends[0] = 0, len(members)
    lows[0] = 0
    highs[0] = counts
    waiting = 1
    while waiting:
        waiting -= 1
        begin, end = begins[waiting], ends[waiting]
        low[:] = lows[waiting]
        high[:] = highs[waiting]
        weight = total = 0.0
        least = most = values[members[begin]]
        for i in range(begin, end):
            value = values[members[i]]
            weight += weights[members[i]]
            total += weights[members[i]] * value
            least, most = min(least, value), max(most, value)
        active_shares(low, high, conditions, excluded, cumulative, active)
        best, chosen, threshold = -1.0, -1, 0
        if most > least:
            size = end - begin
            for j in range(d):
                if high[j] - low[j] < 2 or active[j] < 1.0:
                    continue
                if size <= _FEW:
                    for i in range(size):
                        sample = members[begin + i]
                        few[i] = codes[j, sample]
                        few_weights[i] = weights[sample]
                        few_sums[i] = weights[sample] * (values[sample] - least)
                    score = split_of_few(few, few_weights, few_sums, size, found)
                else:
                    for code in range(low[j], high[j]):
                        code_weights[code] = 0.0
                        code_sums[code] = 0.0
                    for i in range(begin, end):
                        sample = members[i]
                        code = codes[j, sample]
                        code_weights[code] += weights[sample]
                        code_sums[code] += weights[sample] * (values[sample] - least)
                    score = split_of_many(code_weights, code_sums, low[j], high[j], found)
                if score > best:
                    best, chosen = score, j
                    threshold = (found[0] + found[1] + 1) // 2
        if chosen < 0:
            add_leaf(total / weight, low, high, active, cumulative, sums, measures, moments)
            continue
        middle = begin
        for i in range(begin, end):
            sample = members[i]
            if codes[chosen, sample] < threshold:
                members[i] = members[middle]
                members[middle] = sample
                middle += 1
        left_is_larger = middle - begin > end - middle
        for part in range(2):  # the larger part waits below the smaller one
            is_left = (part == 0) == left_is_larger
            begins[waiting], ends[waiting] = (begin, middle) if is_left else (middle, end)
            lows[waiting] = low
            highs[waiting] = high
            if is_left:
                highs[waiting, chosen] = threshold
            else:
                lows[waiting, chosen] = threshold
            waiting += 1
    variances_of_marginals(sums, measures, cumulative, shares)
    mean = moments[1] / moments[0]
    variance = max(moments[2] / moments[0] - mean * mean, 0.0)
    for j in range(d):
        shares[j] = shares[j] / variance if variance > 0.0 else 0.0
    return variance


@kernel
def forest_shares(
    codes: IntArray,
    values: FloatArray,
    chosen: IntArray,
    conditions: IntArray,
    excluded: FloatArray,
    counts: IntArray,
    cumulative: FloatArray,
    has_variance: BoolArray,
    shares: FloatArray,
) -> None:
    """Write each parameter's share of the variance of each tree of a forest.

    Args:
        codes, values, conditions, excluded, counts, cumulative: as in `tree_shares`.
        chosen: the samples that each tree is given, drawn with replacement, int64 (trees, n).
        has_variance: (trees,), written: whether the tree has more than one value.
        shares: (trees, d), written.
    """
    n = len(values)
    weights, members = np.empty(n), np.empty(n, np.int64)
    for tree in range(len(chosen)):
        weights[:] = 0.0
        for i in range(chosen.shape[1]):
            weights[chosen[tree, i]] += 1.0
        count = 0
        for i in range(n):
            if weights[i] > 0.0:
                members[count] = i
                count += 1
        variance = tree_shares(
            codes, values, weights, members[:count], conditions, excluded, counts, cumulative, shares[tree]
        )
        has_variance[tree] = variance > 0.0
