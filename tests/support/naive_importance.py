"""What importance means, slowly: every point of a grid of codes, every split, every normal distribution."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy import stats

# --- functional ANOVA


class Leaf:
    """A box of codes with one value."""

    def __init__(self, low: list[int], high: list[int], value: float) -> None:
        self.low, self.high, self.value = low, high, value

    def holds(self, point: tuple[int, ...]) -> bool:
        return all(a <= x < b for a, x, b in zip(self.low, point, self.high, strict=True))


def active(point: tuple[int, ...], j: int, conditions: list[tuple[int, int, set[int]]]) -> bool:
    """Whether parameter j is active; conditions are (child, ancestor, codes that make it inactive)."""
    return not any(child == j and point[ancestor] in out for child, ancestor, out in conditions)


def grown(codes: Any, values: Any, weights: Any, counts: Any, conditions: Any, masses: Any) -> list[Leaf]:
    """The leaves of a tree, grown as the kernel's docstring says."""
    leaves: list[Leaf] = []

    def always(j: int, low: list[int], high: list[int]) -> str:
        boxes = [set(range(a, b)) for a, b in zip(low, high, strict=True)]
        outs = [boxes[ancestor] & out for child, ancestor, out in conditions if child == j]
        wholly = [boxes[ancestor] <= out for child, ancestor, out in conditions if child == j]
        return "never" if any(wholly) else "always" if not any(outs) else "partly"

    def score(samples: list[int]) -> float:
        weight = sum(weights[i] for i in samples)
        return sum(weights[i] * values[i] for i in samples) ** 2 / weight

    def best_of(j: int, samples: list[int]) -> tuple[float, int] | None:
        found = None
        seen = sorted({int(codes[j, i]) for i in samples})
        for a, b in itertools.pairwise(seen):
            left = [i for i in samples if codes[j, i] <= a]
            right = [i for i in samples if codes[j, i] >= b]
            total = score(left) + score(right)
            if found is None or total > found[0]:
                found = total, (a + b + 1) // 2
        return found

    def first_part(j: int, samples: list[int], low: list[int], high: list[int]) -> tuple[int, int] | None:
        for child, ancestor, out in conditions:
            if child == j and always(ancestor, low, high) == "always":
                seen = [int(codes[ancestor, i]) for i in samples]
                for code in range(max(low[ancestor], min(seen)) + 1, min(high[ancestor] - 1, max(seen)) + 1):
                    if (code in out) != (code - 1 in out):
                        return ancestor, code
        return None

    def grow(samples: list[int], low: list[int], high: list[int]) -> None:
        best: tuple[float, int, int] | None = None
        if len({float(values[i]) for i in samples}) > 1:
            for j in range(len(counts)):
                kind = always(j, low, high)
                if high[j] - low[j] < 2 or kind == "never":
                    continue
                if kind == "always":
                    found = best_of(j, samples)
                    candidate = None if found is None else (found[0] - score(samples), j, found[1])
                else:
                    inside = [i for i in samples if codes[j, i] >= 0]
                    others = [i for i in samples if codes[j, i] < 0]
                    found = best_of(j, inside) if inside and others else None
                    part = first_part(j, samples, low, high) if found else None
                    if found is None or part is None:
                        continue
                    candidate = 0.5 * (found[0] + score(others) - score(samples)), *part
                if candidate is not None and (best is None or candidate[0] > best[0]):
                    best = candidate
        if best is None:
            weight = sum(weights[i] for i in samples)
            leaves.append(Leaf(low, high, sum(weights[i] * values[i] for i in samples) / weight))
            return
        _, j, threshold = best
        grow([i for i in samples if codes[j, i] < threshold], low, [*high[:j], threshold, *high[j + 1 :]])
        grow([i for i in samples if codes[j, i] >= threshold], [*low[:j], threshold, *low[j + 1 :]], high)

    grow([i for i in range(len(values)) if weights[i] > 0], [0] * len(counts), list(counts))
    return leaves


def shares(leaves: list[Leaf], counts: Any, conditions: Any, masses: Any) -> tuple[list[float], float]:
    """Each parameter's share of the variance, and the variance, from every point of the grid."""
    points = list(itertools.product(*(range(count) for count in counts)))
    mass = [math.prod(masses[j][x] for j, x in enumerate(point)) for point in points]
    value = [next(leaf.value for leaf in leaves if leaf.holds(point)) for point in points]
    mean = sum(m * v for m, v in zip(mass, value, strict=True))
    variance = sum(m * (v - mean) ** 2 for m, v in zip(mass, value, strict=True))
    found = []
    for j, count in enumerate(counts):
        marginals, own = [], []
        for code in range(count):
            some = [k for k, point in enumerate(points) if point[j] == code and active(point, j, conditions)]
            own.append(sum(mass[k] for k in some))
            marginals.append(sum(mass[k] * value[k] for k in some) / own[-1] if own[-1] else 0.0)
        total = sum(own)
        middle = sum(w * m for w, m in zip(own, marginals, strict=True)) / total if total else 0.0
        found.append(sum(w * (m - middle) ** 2 for w, m in zip(own, marginals, strict=True)))
    return [one / variance if variance > 1e-3 else 0.0 for one in found], variance


# --- PED-ANOVA


def divergence(top: Any, all_of_them: Any, is_ordered: bool) -> float:
    """The Pearson divergence of the density of one grid of counts from that of another."""
    p, q = (density(np.asarray(counts), is_ordered) + 1e-12 for counts in (top, all_of_them))
    return float((q * (p / q - 1) ** 2).sum())


def density(counts: Any, is_ordered: bool) -> Any:
    """Scott's estimate over a grid, with one observation of the prior."""
    g = len(counts)
    seen = np.flatnonzero(counts)
    weights = np.append(counts[seen], 1.0) / (counts.sum() + 1)
    if not is_ordered:
        rows = np.full((len(seen) + 1, g), 1.0 / (len(seen) + 1))
        rows[np.arange(len(seen)), seen] += 1
        return weights @ (rows / rows.sum(axis=1, keepdims=True))
    every = np.repeat(np.arange(g), counts)
    spread = every.std() * math.sqrt(len(every) / max(1, len(every) - 1))
    cumulative = np.cumsum(counts[seen])
    first = seen[np.searchsorted(cumulative, len(every) // 4, "left")]
    third = seen[min(len(seen) - 1, np.searchsorted(cumulative, len(every) * 3 // 4, "right"))]
    width = max(1.059 * min((third - first) / 1.34, spread) * len(every) ** -0.2, 0.5 / 1.64)
    found = np.zeros(g)
    for centre, width_of_it, weight in zip([*seen, (g - 1) / 2], [*[width] * len(seen), g], weights, strict=True):
        edges = stats.norm.cdf(np.arange(g + 1) - 0.5, centre, width_of_it)
        found += weight * np.diff(edges) / (edges[-1] - edges[0])
    return found
