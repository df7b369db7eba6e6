"""Brackets of synchronous halving: a rung is complete before the best of it go on."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.strategies.base import NextLeg
from fasthpo.strategies.rungs import Plan
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import IntArray


class _Rung:
    """The trials of one bracket at one resource.

    `started` counts those that were given the resource, without those that failed there; `ended` those of them that
    were told. A failed trial has left its place.
    """

    def __init__(self, objectives: int) -> None:
        self.started = 0
        self.ended = 0
        self._objectives = objectives
        self._numbers = array("q")
        self._losses = array("d")  # of several objectives those of a trial one after the other
        self._violations = array("d")
        self._promoted: set[int] = set()
        self._ranked: IntArray | None = None  # the finite ones, best first, once the rung is asked for its best
        self._next = 0

    def end(self, number: int, loss: Any, violation: float) -> None:
        """A trial was told; an infinite loss, or all m infinite, is never promoted."""
        self.ended += 1
        self._numbers.append(number)
        self._losses.extend([loss] if self._objectives == 1 else loss)
        self._violations.append(violation)
        self._ranked = None

    def promote(self, number: int) -> None:
        """A trial goes on to the next rung."""
        self._promoted.add(number)

    def left(self) -> list[int]:
        """The trials that have not gone on, of those that could have: no pruned ones, and none that diverged."""
        m = self._objectives
        ended = zip(self._numbers, self._losses[::m], strict=True)  # all of a trial's are infinite, or none
        return [number for number, loss in ended if number not in self._promoted and math.isfinite(loss)]

    def best(self) -> int | None:
        """The best trial that has not gone on; None if no finite one is left."""
        if self._ranked is None:
            self._ranked, self._next = self._in_order(), 0
        while self._next < len(self._ranked) and self._ranked[self._next] in self._promoted:
            self._next += 1
        return int(self._ranked[self._next]) if self._next < len(self._ranked) else None

    def _in_order(self) -> IntArray:
        """The trials that may be promoted, best first."""
        numbers, losses = np.array(self._numbers, np.int64), np.array(self._losses)
        if self._objectives == 1:
            order = np.lexsort((numbers, losses))
            return numbers[order[: np.isfinite(losses).sum()]]
        from fasthpo.kernels.multi_objective.spreading import first_along_nets  # imports numba

        by_number = np.argsort(numbers)
        rows = losses.reshape(len(numbers), self._objectives)[by_number]
        violations = np.minimum(np.array(self._violations)[by_number], np.finfo(float).max)
        penalties = np.where(np.isfinite(rows).all(axis=1), violations, np.inf)
        chosen = np.empty(np.isfinite(penalties).sum(), np.int64)
        first_along_nets(rows, penalties, chosen)
        return numbers[by_number[chosen]]


class _Bracket:
    """One round of halving. What it offers depends on its trials only, not on the order of events."""

    def __init__(self, index: int, plan: Plan, reduction_factor: int, objectives: int) -> None:
        self.index = index
        self.plan = plan
        self._reduction_factor = reduction_factor
        self.rungs = [_Rung(objectives) for _ in plan.resources]
        self.is_done = False
        self.closed = 0  # rungs from which no trial goes on any more

    def next_leg(self, new: bool) -> NextLeg | None:
        """A new trial, a paused one, or None while it waits for running trials or is done."""
        size = self.plan.trials
        for k, rung in enumerate(self.rungs):
            if k == 0:
                if rung.started < size and new:
                    return NextLeg(None, self.index, self.plan.resources[0])
            elif rung.started < size and (number := self.rungs[k - 1].best()) is not None:
                return NextLeg(number, self.index, self.plan.resources[k])
            if rung.ended < rung.started:
                return None
            if new:
                self.closed = max(self.closed, k)
            kept = min(size, rung.started)  # fewer than planned if trials failed, or no new ones may start
            size = kept // self._reduction_factor
            if not new and kept:
                size = max(1, size)  # so that a study that ends has trained a trial to the end
        self.is_done = new
        return None

    def rung_of(self, resource: int) -> _Rung:
        return self.rungs[self.plan.resources.index(resource)]

    def start(self, number: int | None, resource: int) -> None:
        """A trial begins the leg to `resource`; `number` is a paused one's."""
        k = self.plan.resources.index(resource)
        self.rungs[k].started += 1
        if number is not None:
            self.rungs[k - 1].promote(number)


class SynchronousBrackets:
    """Brackets one after the other, in the order of `plans`, again and again.

    The oldest bracket that can go on does. While all wait for running trials, the next one begins, so that no worker is
    ever idle.

    Args:
        plans: at least one.
        reduction_factor: eta.
    """

    def __init__(self, plans: Sequence[Plan], reduction_factor: int) -> None:
        self.plans = plans
        self._reduction_factor = reduction_factor
        self.retired: list[int] = []  # paused trials that will never go on, until someone takes them
        self._open: dict[int, _Bracket] = {}
        self._ready: list[int] = []  # a heap of the brackets that may have something to offer, each once
        self._listed: set[int] = set()
        self._begun = 0
        self._objectives = 1

    def plan_of(self, index: int) -> int:
        """Which of the plans a bracket follows."""
        return index % len(self.plans)

    def attach(self, table: TrialTable) -> None:
        """Forget everything and take up the trials of `table`.

        Raises:
            InvalidValue: there are more brackets than so many trials can fill.
        """
        self._open, self._ready, self._listed = {}, [], set()
        self._objectives = table.objectives.count
        self._begun = 1 + int(table.brackets.max(initial=-1))
        # one begins only once the one before has all its trials
        rounds, more = divmod(max(0, self._begun - 1), len(self.plans))
        needed = rounds * sum(plan.trials for plan in self.plans) + sum(plan.trials for plan in self.plans[:more])
        if needed > len(table):
            raise InvalidValue(f"{self._begun} brackets need at least {needed} trials, got {len(table)}")
        brackets = [self._make(index) for index in range(self._begun)]
        in_bracket = np.flatnonzero(table.brackets >= 0)
        for number in in_bracket.tolist():
            bracket = brackets[table.brackets[number]]
            resource = int(table.resources[number])
            for k, reached in enumerate(bracket.plan.resources):
                if reached <= resource:
                    bracket.start(number if k else None, reached)
        for trial, resource, loss, state, violation in ended_segments(table):
            if table.brackets[trial] >= 0:
                rung = brackets[table.brackets[trial]].rung_of(resource)
                _end(rung, trial, loss, state, violation)
        for bracket in brackets:
            if bracket.next_leg(True) is not None:
                self._list(bracket.index)
            if not bracket.is_done:
                self._open[bracket.index] = bracket
        self.retired = []

    def _make(self, index: int) -> _Bracket:
        return _Bracket(index, self.plans[self.plan_of(index)], self._reduction_factor, self._objectives)

    def next_leg(self, new: bool) -> NextLeg | None:
        """See `Strategy.next_leg`."""
        if not new:
            segments = (self._open[index].next_leg(False) for index in sorted(self._open))
            return next((leg for leg in segments if leg is not None), None)
        while self._ready:
            bracket = self._open.get(self._ready[0])
            leg = None if bracket is None else bracket.next_leg(True)
            if leg is not None:
                return leg
            self._listed.discard(heapq.heappop(self._ready))
        return NextLeg(None, self._begun, self.plans[self.plan_of(self._begun)].resources[0])

    def new_leg(self) -> NextLeg:
        """See `Strategy.new_leg`: in the oldest bracket that still takes new trials."""
        for index in sorted(self._ready):
            leg = self._open[index].next_leg(True) if index in self._open else None
            if leg is not None and leg.number is None:
                return leg
        return NextLeg(None, self._begun, self.plans[self.plan_of(self._begun)].resources[0])

    def start(self, leg: NextLeg) -> None:
        """The leg begins."""
        if leg.bracket == self._begun:
            self._open[leg.bracket] = self._make(leg.bracket)
            self._list(leg.bracket)
            self._begun += 1
        self._open[leg.bracket].start(leg.number, leg.resource)

    def end(self, number: int, bracket: int, resource: int, loss: Any, state: TrialState, violation: float) -> None:
        """See `AsynchronousBrackets.end`."""
        own = self._open[bracket]
        closed = own.closed
        _end(own.rung_of(resource), number, loss, state, violation)
        if own.next_leg(True) is not None:
            self._list(bracket)
        elif own.is_done:
            del self._open[bracket]
        for rung in own.rungs[closed : own.closed]:
            self.retired += rung.left()

    def may_go_on(self, number: int, bracket: int, resource: int) -> bool:
        """Whether a trial that is paused at a rung of a bracket may still go on, if its value is finite."""
        own = self._open.get(bracket)
        return own is not None and own.plan.resources.index(resource) >= own.closed

    def _list(self, index: int) -> None:
        if index not in self._listed:
            self._listed.add(index)
            heapq.heappush(self._ready, index)


def _end(rung: _Rung, number: int, loss: Any, state: TrialState, violation: float) -> None:
    if state == TrialState.FAILED:
        rung.started -= 1
    else:
        rung.end(number, loss, violation)


def ended_segments(table: TrialTable) -> list[tuple[int, int, Any, TrialState, float]]:
    """The legs that have ended as (trial, resource, loss, state, violation); the loss is infinite where none counts.

    Of several objectives it is a list of them.
    """
    segments = table.segments
    losses = table.objectives.losses(segments.column("value"))
    states = segments.column("state")
    told = (states == TrialState.PAUSED) | (states == TrialState.COMPLETE)
    if losses.ndim == 1:
        losses = np.where(told & np.isfinite(losses), losses, np.inf)
    else:
        losses = np.where((told & np.isfinite(losses).all(axis=1))[:, None], losses, np.inf)
    columns = (segments.column("trial"), segments.column("resource"), losses, states, segments.column("violation"))
    return list(zip(*(column.tolist() for column in columns), strict=True))
