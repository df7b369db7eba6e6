"""Slow, obvious twins of pruning and halving under several objectives: everything anew from what has happened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fasthpo.trials import latest as latest_trials
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from tests.support.naive_multi_objective import constrained_layers, layers
from tests.support.naive_percentile import percentile

LARGEST = float(np.finfo(float).max)


def net(losses: np.ndarray) -> list[int]:
    """A layer along its epsilon-net: the lowest first loss, then always the one furthest from all before."""
    halves = np.clip(losses, -LARGEST, LARGEST) / 2
    spans = halves.max(axis=0) - halves.min(axis=0)
    scaled = [
        [
            (half - low) / span if span > 0 else 0.0
            for half, low, span in zip(row, halves.min(axis=0), spans, strict=True)
        ]
        for row in halves
    ]

    def apart(a: int, b: int) -> float:
        return sum(((x - y) * (x - y) for x, y in zip(scaled[a], scaled[b], strict=True)), 0.0)

    order = [min(range(len(losses)), key=lambda i: (losses[i][0], i))]
    while len(order) < len(losses):
        left = [i for i in range(len(losses)) if i not in order]
        order.append(max(left, key=lambda i: (min(apart(i, k) for k in order), -i)))
    return order


def in_order(losses: np.ndarray, penalties: np.ndarray) -> list[int]:
    """Layer by layer, and along the net in each; those with a penalty as they stand."""
    ranks = constrained_layers(losses, penalties)
    order: list[int] = []
    for rank in sorted(set(ranks)):
        members = [i for i in range(len(losses)) if ranks[i] == rank]
        order += [members[i] for i in net(losses[members])] if penalties[members[0]] == 0 else members
    return order


def best_vector(table: TrialTable, number: int, step: int) -> list[float]:
    """The least loss in each objective at steps <= step; NaN where nothing is known."""
    signs = [1.0 if direction == "minimize" else -1.0 for direction in table.directions]
    rows = [values for at, values in table.reports.of(number).items() if at <= step]
    known = [[sign * row[j] for row in rows if row[j] == row[j]] for j, sign in enumerate(signs)]
    return [min(column) if column else math.nan for column in known]


def ranked(vector: Sequence[float]) -> list[float]:
    """NaN ranks worst."""
    return [math.inf if x != x else x for x in vector]


def should_prune(table: TrialTable, number: int, percent: float, n_startup_trials: int, min_steps: int) -> bool:
    """The decision of `PercentilePruner`."""
    has_ended = [table.state(one) in (TrialState.COMPLETE, TrialState.PRUNED) for one in range(len(table))]
    steps = list(table.reports.of(number))
    if not steps or max(steps) < min_steps or sum(has_ended) < n_startup_trials:
        return False
    step = max(steps)
    own = best_vector(table, number, step)
    if all(math.isnan(x) for x in own):
        return True
    others = []
    for other in range(len(table)):
        reported = list(table.reports.of(other))
        if other != number and (step in reported or (has_ended[other] and reported and max(reported) < step)):
            others.append(ranked(best_vector(table, other, step)))
    if not others:
        return False
    *of_others, mine = layers(np.array([*others, ranked(own)]))
    return mine > percentile([float(one) for one in of_others], percent / 100)


def legs_in_order(told: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Those told ((violation, losses), number), best first; in the place of the pair an infinity: never to go on."""
    by_number = sorted(told, key=lambda one: one[1])
    width = next((len(loss[1]) for loss, _ in told if loss != math.inf), 1)
    losses = np.array([[math.inf] * width if loss == math.inf else loss[1] for loss, _ in by_number])
    penalties = np.array([math.inf if loss == math.inf else loss[0] for loss, _ in by_number])
    return [by_number[i] for i in in_order(losses.reshape(len(told), width), penalties)]


class Halving:
    """The rungs of `SuccessiveHalvingPruner`, told events (trial, step, values), or (trial, None, None): failed."""

    def __init__(self, events: Sequence[Any], directions: Sequence[str], min_resource: int, eta: int) -> None:
        signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
        self.rungs: dict[int, list[tuple[int, np.ndarray]]] = {}
        self.stopped: set[int] = set()
        failed: set[int] = set()
        for number, step, values in events:
            if step is None:
                failed.add(number)
                continue
            level = min_resource
            while level <= step:
                rung = self.rungs.setdefault(level, [])
                if number not in [one for one, _ in rung]:
                    rung.append((number, np.array(ranked(signs * np.array(values)))))
                    latest = sorted(
                        (one for one in rung[-latest_trials.MOST :] if one[0] not in failed), key=lambda one: one[0]
                    )
                    order = in_order(np.array([losses for _, losses in latest]), np.zeros(len(latest)))
                    best = [latest[i][0] for i in order[: max(1, len(latest) // eta)]]
                    if number not in best:
                        self.stopped.add(number)
                level *= eta
