"""Functional ANOVA: which share of a function's variance comes from each parameter alone.

Hutter, Hoos, Leyton-Brown: An efficient approach for assessing hyperparameter importance. ICML 2014, PMLR 32. A forest
of regression trees is fitted to the trials. A tree is constant on boxes, so that its mean over all parameters but one,
the *marginal* of that one, is found exactly from its leaves (their algorithm 1); the share of parameter j in a tree is

    V_j / V = sum_c p_j(c) (m_j(c) - m)^2 / sum_leaf p(leaf) (v_leaf - m)^2                                 (eqs. 5, 6)

Parameters are *codes*, 0 to count - 1: bins of the axis of a number, or choices, in an order in which neighbours are
alike. `cumulative` (d, b + 1) says how much of the prior lies below each code.

A parameter with conditions is split only in boxes in which it is active throughout; where it would be a good split in
part of a box, that part is split off first. Its marginal is the mean over the points at which it is active, and its
variance counts as often as that is the case; what its being active or not does is its ancestors' part. All boxes
together then have a measure of 1 under the prior with its conditions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..arrays import BoolArray, FloatArray, IntArray
from ..compiling import kernel

_FEW = 16  # samples of a node that are sorted; of more the sums by code are found in passes over them and the codes
_MOST_NODES = 256  # that wait, one a level of a tree: the smaller part of a node is always looked at first
CodeArray: TypeAlias = npt.NDArray[np.int16]
Scratch: TypeAlias = tuple[IntArray, FloatArray, FloatArray, FloatArray, FloatArray]  # of `best_split`
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
def best_split(
    codes: CodeArray,
    weights: FloatArray,
    sums: FloatArray,
    count: int,
    low: int,
    high: int,
    scratch: Scratch,
    found: IntArray,
) -> float:
    """The best split of samples by one parameter.

    Args:
        codes, weights, sums: of the samples, `sums` being weight times value; the first `count` of them.
        low, high: all codes are in low <= code < high.
        scratch: written.
        found: int64 (2,), written: the neighbouring codes that are split from each other.

    Returns:
        sum_left^2 / weight_left + sum_right^2 / weight_right; -1 if all codes are the same.
    """
    few, few_weights, few_sums, code_weights, code_sums = scratch
    total_weight = total = left_weight = left = 0.0
    best = -1.0
    if count <= _FEW:
        for i in range(count):
            code, weight, value = codes[i], weights[i], sums[i]
            total_weight += weight
            total += value
            k = i - 1
            while k >= 0 and few[k] > code:
                few[k + 1], few_weights[k + 1], few_sums[k + 1] = few[k], few_weights[k], few_sums[k]
                k -= 1
            few[k + 1], few_weights[k + 1], few_sums[k + 1] = code, weight, value
        for i in range(count - 1):
            left_weight += few_weights[i]
            left += few_sums[i]
            if few[i] != few[i + 1]:
                right = total - left
                score = left * left / left_weight + right * right / (total_weight - left_weight)
                if score > best:
                    best = score
                    found[0], found[1] = few[i], few[i + 1]
        return best
    for code in range(low, high):
        code_weights[code] = 0.0
        code_sums[code] = 0.0
    for i in range(count):
        code_weights[codes[i]] += weights[i]
        code_sums[codes[i]] += sums[i]
        total_weight += weights[i]
        total += sums[i]
    last = -1
    for code in range(low, high):
        if code_weights[code] == 0.0:
            continue
        if last >= 0:
            right = total - left
            score = left * left / left_weight + right * right / (total_weight - left_weight)
            if score > best:
                best = score
                found[0], found[1] = last, code
        left_weight += code_weights[code]
        left += code_sums[code]
        last = code
    return best


@kernel
def split_off(
    child: int,
    low: IntArray,
    high: IntArray,
    active: FloatArray,
    codes: CodeArray,
    members: IntArray,
    conditions: IntArray,
    excluded: FloatArray,
    found: IntArray,
) -> bool:
    """Find a split of a box between points at which a parameter is active and others at which it is not.

    Args:
        child: the parameter, which is active in part of the box.
        low, high, active, conditions, excluded: as in `active_shares`.
        codes: of all samples, (d, n).
        members: the samples in the box, int64 (k,).
        found: int64 (2,), written: an ancestor of the parameter, and the first code of the upper part.

    Returns:
        whether there is one with samples on both sides.
    """
    for c in range(len(conditions)):
        ancestor = conditions[c, ANCESTOR]
        if conditions[c, CHILD] != child or active[ancestor] < 1.0:
            continue
        least = most = codes[ancestor, members[0]]
        for i in range(1, len(members)):
            least, most = min(least, codes[ancestor, members[i]]), max(most, codes[ancestor, members[i]])
        for code in range(max(low[ancestor], least) + 1, min(high[ancestor] - 1, most) + 1):
            is_out = excluded[c, code + 1] > excluded[c, code]
            if is_out != (excluded[c, code] > excluded[c, code - 1]):
                found[0], found[1] = ancestor, code
                return True
    return False


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
    codes: CodeArray,
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
        codes: of all samples, int16 (d, n); -1 where inactive.
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
    scratch = np.empty(_FEW, np.int64), np.empty(_FEW), np.empty(_FEW), np.empty(width), np.empty(width)
    most_members = len(members)
    part = np.empty(most_members, codes.dtype)
    own_weights, own_sums = np.empty(most_members), np.empty(most_members)
    part_weights, part_sums = np.empty(most_members), np.empty(most_members)
    found = np.empty(2, np.int64)
    active = np.ones(d)
    sums, measures, moments = np.zeros((d, width)), np.zeros((d, width)), np.zeros(3)
    begins, ends = np.empty(_MOST_NODES, np.int64), np.empty(_MOST_NODES, np.int64)
    lows, highs = np.empty((_MOST_NODES, d), np.int64), np.empty((_MOST_NODES, d), np.int64)
    low, high = np.empty(d, np.int64), np.empty(d, np.int64)
    begins[0], ends[0] = 0, most_members
    lows[0] = 0
    highs[0] = counts
    waiting = 1
    while waiting:
        waiting -= 1
        begin, end = begins[waiting], ends[waiting]
        low[:] = lows[waiting]
        high[:] = highs[waiting]
        active_shares(low, high, conditions, excluded, cumulative, active)
        size = end - begin
        weight = total = 0.0  # of the values less the first of them
        base = values[members[begin]]
        differ = False
        for i in range(size):
            sample = members[begin + i]
            own_weights[i] = weights[sample]
            own_sums[i] = weights[sample] * (values[sample] - base)
            weight += own_weights[i]
            total += own_sums[i]
            differ = differ or values[sample] != base
        best, chosen, threshold = 0.0, -1, 0
        for j in range(d if differ else 0):
            if high[j] - low[j] < 2 or active[j] == 0.0:
                continue
            if active[j] == 1.0:
                for i in range(size):
                    part[i] = codes[j, members[begin + i]]
                score = best_split(part, own_weights, own_sums, size, low[j], high[j], scratch, found)
                gain = score - total * total / weight
                if score >= 0.0 and (chosen < 0 or gain > best):
                    best, chosen, threshold = gain, j, (found[0] + found[1] + 1) // 2
                continue
            count = 0
            others_weight = others = 0.0
            for i in range(size):
                code = codes[j, members[begin + i]]
                if code >= 0:
                    part[count], part_weights[count], part_sums[count] = code, own_weights[i], own_sums[i]
                    count += 1
                else:
                    others_weight += own_weights[i]
                    others += own_sums[i]
            if count == 0 or count == size:
                continue
            score = best_split(part, part_weights, part_sums, count, low[j], high[j], scratch, found)
            # it takes two splits, the first of which only parts those where it is active from the others
            gain = 0.5 * (score + others * others / others_weight - total * total / weight)
            if (
                score >= 0.0
                and (chosen < 0 or gain > best)
                and split_off(j, low, high, active, codes, members[begin:end], conditions, excluded, found)
            ):
                best, chosen, threshold = gain, found[0], found[1]
        if chosen < 0:
            add_leaf(base + total / weight, low, high, active, cumulative, sums, measures, moments)
            continue
        middle = begin
        for i in range(begin, end):
            sample = members[i]
            if codes[chosen, sample] < threshold:
                members[i] = members[middle]
                members[middle] = sample
                middle += 1
        left_is_larger = middle - begin > end - middle
        for side in range(2):  # the larger part waits below the smaller one
            is_left = (side == 0) == left_is_larger
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
    codes: CodeArray,
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
