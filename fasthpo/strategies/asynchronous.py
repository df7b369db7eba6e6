"""Ladders of asynchronous halving: a trial is promoted as soon as it is among the best of its rung so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.strategies.base import NextLeg
from fasthpo.strategies.layered import LayeredRung
from fasthpo.strategies.rungs import Plan
from fasthpo.strategies.synchronous import ended_segments
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow


class _Rung:
    """The trials that were told a value at one resource, in the arrays of `kernels/halving/promotion.py`."""

    def __init__(self, reduction_factor: int) -> None:
        from fasthpo.kernels.halving import promotion  # imports numba

        self._kernels = promotion
        self._reduction_factor = reduction_factor
        self._losses: FloatArray = np.empty(FIRST_CAPACITY)
        self._numbers: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self._flags: npt.NDArray[np.int8] = np.zeros(FIRST_CAPACITY, np.int8)
        self._heaps: npt.NDArray[np.int32] = np.empty((3, FIRST_CAPACITY), np.int32)
        self._sizes: IntArray = np.zeros(5, np.int64)
        self.started = 0  # trials that were given the resource, without those that failed there

    def __len__(self) -> int:
        return int(self._sizes[0])

    def end(self, number: int, loss: float, violation: float, promoted: bool = False) -> None:
        """A trial was told; an infinite loss is never promoted. With one objective violations do not count."""
        capacity = len(self._losses)
        if len(self) == capacity:
            for name in ("_losses", "_numbers", "_flags", "_heaps"):
                setattr(self, name, grow(getattr(self, name), 2 * capacity))
        self._kernels.add(
            self._losses, self._numbers, self._flags, self._heaps, self._sizes, loss, number, promoted,
            self._reduction_factor,
        )  # fmt: skip

    def best(self) -> int | None:
        """The number of the best trial that may be promoted."""
        entry = self._kernels.best_ready(self._losses, self._numbers, self._flags, self._heaps, self._sizes)
        return None if entry == self._kernels.NONE else int(self._numbers[entry])

    def best_of_all(self) -> int | None:
        """The number of the best trial that was not promoted, whether or not it is among the top; a pass over all."""
        n = len(self)
        losses = np.where(self._flags[:n] & self._kernels.PROMOTED, np.inf, self._losses[:n])
        first = np.lexsort((self._numbers[:n], losses))[:1]
        return int(self._numbers[first[0]]) if n and losses[first[0]] < np.inf else None

    def promote(self, number: int) -> None:
        """The trial that `best` or `best_of_all` named goes on."""
        entry = self._kernels.best_ready(self._losses, self._numbers, self._flags, self._heaps, self._sizes)
        if entry == self._kernels.NONE or self._numbers[entry] != number:
            entry = int(np.flatnonzero(self._numbers[: len(self)] == number)[0])
        self._flags[entry] |= self._kernels.PROMOTED

    def free_place(self, number: int) -> None:
        """A promoted trial has failed; another may take its place."""
        self._kernels.free_place(
            self._losses, self._numbers, self._flags, self._heaps, self._sizes, self._reduction_factor
        )

    def may_go_on(self, number: int) -> bool:
        """Whether a trial that was told a finite value may still be promoted: always, as the rung may grow."""
        return True


class AsynchronousBrackets:
    """Each plan is a ladder of rungs that never closes; new trials are shared out in proportion to the plans' sizes.

    A trial is promoted if it is among the best floor(n / eta) of the n at its rung and has not been before; under
    several objectives n are the latest (see `LayeredRung`). The highest rung that has one comes first. Nothing ever
    waits (Li et al.: A system for massively parallel hyperparameter tuning. MLSys 2020).

    Args:
        plans: at least one.
        reduction_factor: eta.
    """

    def __init__(self, plans: Sequence[Plan], reduction_factor: int) -> None:
        self.plans = plans
        self._reduction_factor = reduction_factor
        self._ends = np.cumsum([plan.trials for plan in plans]).tolist()
        self._ladders: list[list[_Rung | LayeredRung]] = []
        self.retired: list[int] = []  # paused trials that will never go on, until someone takes them
        self._begun = 0

    def plan_of(self, index: int) -> int:
        """Which of the plans a bracket follows."""
        return index

    def attach(self, table: TrialTable) -> None:
        """Forget everything and take up the trials of `table`."""
        count = table.objectives.count
        self._ladders = [[self._make(count) for _ in plan.resources] for plan in self.plans]
        self.retired = []
        in_bracket = np.flatnonzero(table.brackets >= 0)
        self._begun = len(in_bracket)
        for b, (plan, ladder) in enumerate(zip(self.plans, self._ladders, strict=True)):
            resources = table.resources[in_bracket[table.brackets[in_bracket] == b]]
            for k, rung in enumerate(ladder):
                rung.started = int((resources >= plan.resources[k]).sum())
        for number, resource, loss, state, violation in ended_segments(table):
            if (bracket := int(table.brackets[number])) < 0:
                continue
            k = self.plans[bracket].resources.index(resource)
            if state == TrialState.FAILED:
                self._fail(number, bracket, k)
            else:
                promoted = bool(table.resources[number] > resource)
                self._ladders[bracket][k].end(number, loss, violation, promoted)

    def _make(self, objectives: int) -> _Rung | LayeredRung:
        eta = self._reduction_factor
        return _Rung(eta) if objectives == 1 else LayeredRung(eta, objectives)

    def may_go_on(self, number: int, bracket: int, resource: int) -> bool:
        """Whether a trial that is paused at a rung may still go on, if its value is finite."""
        return self._ladders[bracket][self.plans[bracket].resources.index(resource)].may_go_on(number)

    def next_leg(self, new: bool) -> NextLeg | None:
        """See `Strategy.next_leg`. When no new trials may start, the best of a rung goes on if none has before."""
        for b, (plan, ladder) in enumerate(zip(self.plans, self._ladders, strict=True)):
            for k in range(len(ladder) - 2, -1, -1):
                number = ladder[k].best()
                if number is None and not new and not ladder[k + 1].started:
                    number = ladder[k].best_of_all()
                if number is not None:
                    return NextLeg(number, b, plan.resources[k + 1])
        return self.new_leg() if new else None

    def new_leg(self) -> NextLeg:
        """See `Strategy.new_leg`."""
        turn = self._begun % self._ends[-1]
        bracket = next(b for b, end in enumerate(self._ends) if turn < end)
        return NextLeg(None, bracket, self.plans[bracket].resources[0])

    def start(self, leg: NextLeg) -> None:
        """The leg begins."""
        k = self.plans[leg.bracket].resources.index(leg.resource)
        self._ladders[leg.bracket][k].started += 1
        if leg.number is None:
            self._begun += 1
        else:
            self._ladders[leg.bracket][k - 1].promote(leg.number)

    def end(self, number: int, bracket: int, resource: int, loss: Any, state: TrialState, violation: float) -> None:
        """A trial's leg to `resource` has ended.

        Args:
            number, bracket, resource, state: of the trial.
            loss: infinite for one that is never to be promoted; of several objectives (m,).
            violation: by how much it breaks its constraints, as it was told at this resource.
        """
        k = self.plans[bracket].resources.index(resource)
        if state == TrialState.FAILED:
            self._fail(number, bracket, k)
        elif (left := self._ladders[bracket][k].end(number, loss, violation)) is not None:
            self.retired.append(left)

    def _fail(self, number: int, bracket: int, k: int) -> None:
        self._ladders[bracket][k].started -= 1
        if k:
            self._ladders[bracket][k - 1].free_place(number)
