"""Halving as defined, worked out anew from all that has happened at each question; no bookkeeping.

Events are what a study did: ("start", number, bracket, resource) and ("end", number, resource, loss), where the loss is
None for a failure and infinite for a trial that is never to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Event = tuple[Any, ...]
Order = Callable[[list[tuple[Any, int]]], list[tuple[Any, int]]]  # of (loss, number), best first
Leg = tuple[int | None, int, int]  # a paused trial's number or None, bracket, resource


class History:
    """Which trials started and ended where."""

    def __init__(self, events: list[Event]) -> None:
        self.started: dict[tuple[int, int], list[int]] = {}  # (bracket, resource) -> numbers, failed ones left out
        self.told: dict[tuple[int, int], list[tuple[Any, int]]] = {}
        self.bracket: dict[int, int] = {}
        self.failed: dict[tuple[int, int], set[int]] = {}
        for kind, number, *rest in events:
            if kind == "start":
                bracket, resource = rest
                self.bracket[number] = bracket
                self.started.setdefault((bracket, resource), []).append(number)
            else:
                resource, loss = rest
                key = (self.bracket[number], resource)
                if loss is None:
                    self.started[key].remove(number)
                    self.failed.setdefault(key, set()).add(number)
                else:
                    self.told.setdefault(key, []).append((loss, number))
        self.gone_on = {
            (bracket, resource): {
                n for (b, r), numbers in self.ever(events).items() if b == bracket and r > resource for n in numbers
            }
            for bracket, resource in self.told
        }

    @staticmethod
    def ever(events: list[Event]) -> dict[tuple[int, int], list[int]]:
        found: dict[tuple[int, int], list[int]] = {}
        for kind, number, *rest in events:
            if kind == "start":
                found.setdefault((rest[0], rest[1]), []).append(number)
        return found

    def candidates(self, bracket: int, resource: int, order: Order, latest: int | None = None) -> list[int]:
        """Who has not gone on from a rung, best first; of those told latest, if it says how many."""
        told = order(self.told.get((bracket, resource), [])[-latest if latest else 0 :])
        gone = self.gone_on.get((bracket, resource), set())
        return [number for loss, number in told if number not in gone and loss != math.inf]


def bracket_offer(
    history: History, bracket: int, trials: int, resources: list[int], eta: int, order: Order
) -> Leg | None:
    """What a synchronous bracket wants next; None if it waits, or is done."""
    size = trials
    for k, resource in enumerate(resources):
        started = len(history.started.get((bracket, resource), []))
        told = len(history.told.get((bracket, resource), []))
        if started < size:
            if k == 0:
                return None, bracket, resource
            candidates = history.candidates(bracket, resources[k - 1], order)
            if candidates:
                return candidates[0], bracket, resource
        if told < started:
            return None
        size = min(size, started) // eta
    return None


def synchronous(events: list[Event], plans: list[tuple[int, list[int]]], eta: int, order: Order = sorted) -> Leg:
    """The next leg of synchronous halving or Hyperband."""
    history = History(events)
    bracket = 0
    while True:
        trials, resources = plans[bracket % len(plans)]
        offer = bracket_offer(history, bracket, trials, resources, eta, order)
        if offer is not None:
            return offer
        bracket += 1


def asynchronous(
    events: list[Event], plans: list[tuple[int, list[int]]], eta: int, order: Order = sorted, latest: int | None = None
) -> Leg:
    """The next leg of ASHA or asynchronous Hyperband."""
    history = History(events)
    for bracket, (_, resources) in enumerate(plans):
        for k in range(len(resources) - 2, -1, -1):
            told = order(history.told.get((bracket, resources[k]), [])[-latest if latest else 0 :])
            failed = history.failed.get((bracket, resources[k + 1]), set())
            extra = sum(number in failed for _, number in told)
            top = {number for _, number in told[: len(told) // eta + extra]}
            best = next((n for n in history.candidates(bracket, resources[k], order, latest) if n in top), None)
            if best is not None:
                return best, bracket, resources[k + 1]
    turn = len(history.bracket) % sum(trials for trials, _ in plans)
    for bracket, (trials, resources) in enumerate(plans):
        if turn < trials:
            return None, bracket, resources[0]
        turn -= trials
    raise AssertionError
