"""Several objectives, the slow and obvious way: layers by peeling, volumes by counting the cells of a grid."""

from __future__ import annotations

import itertools
import math

import numpy as np


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def layers(losses: np.ndarray) -> list[int]:
    """Peel off one front after the other; rows with a NaN last."""
    found = [-1] * len(losses)
    left = [i for i in range(len(losses)) if not np.isnan(losses[i]).any()]
    layer = 0
    while left:
        front = [i for i in left if not any(dominates(losses[k], losses[i]) for k in left)]
        for i in front:
            found[i] = layer
        left = [i for i in left if i not in front]
        layer += 1
    return [layer if one < 0 else one for one in found]


def constrained_layers(losses: np.ndarray, penalties: np.ndarray) -> list[int]:
    """Free ones by `layers`, then the others by their penalties."""
    penalties = np.where(np.isnan(penalties), np.inf, penalties)
    free = [i for i in range(len(losses)) if penalties[i] == 0]
    own = layers(losses[free])
    found = dict(zip(free, own, strict=True))
    first = max(own, default=-1) + 1
    ranks = sorted({p for p in penalties if p > 0})
    return [found[i] if i in found else first + ranks.index(penalties[i]) for i in range(len(losses))]


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """The sum of the cells of the grid through all points that one of them dominates."""
    points = [p for p in losses if (p < reference).all()]
    if not points:
        return 0.0
    edges = [sorted({p[j] for p in points} | {reference[j]}) for j in range(len(reference))]
    total = 0.0
    for cell in itertools.product(*(range(len(edge) - 1) for edge in edges)):
        corner = [edge[k] for edge, k in zip(edges, cell, strict=True)]
        if any(all(x <= c for x, c in zip(p, corner, strict=True)) for p in points):
            total += math.prod(edge[k + 1] - edge[k] for edge, k in zip(edges, cell, strict=True))
    return total


def contributions(losses: np.ndarray, reference: np.ndarray) -> list[float]:
    """What the front would lose without each of its points."""
    front = [i for i, layer in enumerate(layers(losses)) if layer == 0]
    every = hypervolume(losses, reference)
    rest = [[k for k in front if k != i] for i in range(len(losses))]
    return [every - hypervolume(losses[rest[i]], reference) if i in front else 0.0 for i in range(len(losses))]


def select(losses: np.ndarray, reference: np.ndarray, count: int) -> list[int]:
    """The best one to add, so many times; of equal ones the first."""
    chosen: list[int] = []
    while len(chosen) < count:
        gains = {
            i: hypervolume(losses[[*chosen, i]], reference) - hypervolume(losses[chosen], reference)
            for i in range(len(losses))
            if i not in chosen
        }
        chosen.append(max(gains, key=lambda i: (gains[i], -i)))
    return chosen


def crowding(losses: np.ndarray) -> list[float]:
    """Crowding distances of one layer."""
    distances = [0.0] * len(losses)
    for j in range(losses.shape[1]):
        order = sorted(range(len(losses)), key=lambda i: losses[i, j])
        span = losses[order[-1], j] - losses[order[0], j]
        if span > 0:
            for place, i in enumerate(order):
                at_end = place in (0, len(order) - 1)
                gap = math.inf if at_end else losses[order[place + 1], j] - losses[order[place - 1], j]
                distances[i] += gap / span
    return distances


def first_by_layers(losses: np.ndarray, penalties: np.ndarray, count: int) -> list[int]:
    """Whole layers, and of the last one the best by `select`, with a reference a tenth of the range beyond the worst."""
    ranks = constrained_layers(losses, penalties)
    chosen: list[int] = []
    for layer in sorted(set(ranks)):
        members = [i for i in range(len(losses)) if ranks[i] == layer]
        missing = count - len(chosen)
        if len(members) > missing and penalties[members[0]] == 0:
            own = losses[members]
            low, high = own.min(axis=0), own.max(axis=0)
            reference = np.where(high > low, high + 0.1 * (high - low), high + np.maximum(abs(high), 1))
            members = [members[i] for i in select(own, reference, missing)]
        chosen += members[:missing]
    return chosen


def survivors(losses: np.ndarray, penalties: np.ndarray, count: int) -> list[int]:
    """By layers, and in a layer by crowding distances."""
    ranks = constrained_layers(losses, penalties)
    order: list[int] = []
    for layer in sorted(set(ranks)):
        members = [i for i in range(len(losses)) if ranks[i] == layer]
        distances = crowding(losses[members]) if penalties[members[0]] == 0 else [0.0] * len(members)
        order += [members[i] for i in sorted(range(len(members)), key=lambda i: -distances[i])]
    return order[:count]
