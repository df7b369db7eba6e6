"""What the multi-fidelity strategies share: their arguments, and how they follow the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.parameter import LARGEST_INTEGER
from fasthpo.strategies.asynchronous import AsynchronousBrackets
from fasthpo.strategies.base import NextLeg, Strategy
from fasthpo.strategies.rungs import Plan
from fasthpo.strategies.summary import RungStatistics, progress, rung_statistics, schedule
from fasthpo.strategies.synchronous import SynchronousBrackets
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import check_flag, plain, shown


def check_resource(name: str, value: Any, least: int = 1) -> int:
    """A resource, or a factor of it, as an integer.

    Raises:
        InvalidValue: no integer from `least` to 2**53.
    """
    number = plain(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= LARGEST_INTEGER:
        raise InvalidValue(f"{name} must be an integer from {least} to 2**53, got {name}={shown(value)}")
    return number


class MultiFidelity(Strategy):
    """Trials are trained a little first; the best go on to larger resources. See its subclasses.

    Args:
        max_resource: what a trial is trained to at most, in whatever unit the objective trains in (epochs, steps,
            samples, folds).
        min_resource: the least that a trial is trained to.
        reduction_factor: eta; about one of so many goes on.
        sampler: where new trials look; by default at random.
        resumable: a trial that goes on is trained from where it paused, and costs the difference only; if False, it is
            trained from its beginning again and costs all of it.
    """

    is_multi_fidelity = True
    has_several_objectives = True

    def __init__(
        self,
        max_resource: int,
        min_resource: int,
        reduction_factor: int,
        sampler: Sampler | None,
        resumable: bool,
    ) -> None:
        if sampler is not None and not isinstance(sampler, Sampler):
            raise InvalidValue(f"sampler must be None or a Sampler, such as TPESampler(), got sampler={shown(sampler)}")
        super().__init__(RandomSampler() if sampler is None else sampler)
        self.max_resource = check_resource("max_resource", max_resource)
        self.min_resource = check_resource("min_resource", min_resource)
        self.reduction_factor = check_resource("reduction_factor", reduction_factor, least=2)
        if self.min_resource > self.max_resource:
            raise InvalidValue(
                f"min_resource must not be above max_resource, got min_resource={min_resource}, "
                f"max_resource={max_resource}"
            )
        self.resumable = check_flag("resumable", resumable)
        self._table: TrialTable | None = None
        self._brackets: SynchronousBrackets | AsynchronousBrackets = self._make_brackets()

    def _make_brackets(self) -> SynchronousBrackets | AsynchronousBrackets:
        raise NotImplementedError

    @property
    def plans(self) -> Sequence[Plan]:
        """The brackets as planned: how many trials start in each, and the resources of its rungs."""
        return self._brackets.plans

    def options(self) -> dict[str, Any]:
        return {
            "max_resource": self.max_resource,
            "min_resource": self.min_resource,
            "reduction_factor": self.reduction_factor,
            "resumable": self.resumable,
        }

    def attach(self, table: TrialTable) -> None:
        self._table = table
        self._brackets.attach(table)

    def follows(self, table: TrialTable) -> bool:
        return self._table is table

    def next_leg(self, new: bool = True) -> NextLeg | None:
        return self._brackets.next_leg(new)

    def new_leg(self) -> NextLeg | None:
        return self._brackets.new_leg()

    def on_start(self, leg: NextLeg, number: int) -> None:
        self._brackets.start(leg)

    def state_at(self, resource: int) -> TrialState:
        return TrialState.COMPLETE if resource >= self.max_resource else TrialState.PAUSED

    def on_end(self, number: int) -> None:
        table = self._table
        assert table is not None
        bracket = table.bracket(number)
        if bracket < 0:  # a known result, which no bracket has a place for
            return
        state = table.state(number)
        loss: Any = table.objectives.losses(table.segments.value[table.segments.latest(number)])
        goes_on = state != TrialState.PRUNED and bool(np.isfinite(loss).all())
        count = table.objectives.count
        if count == 1:
            loss = float(loss) if goes_on else math.inf
        elif not goes_on:
            loss = np.full(count, math.inf)
        self._brackets.end(number, bracket, table.resource(number), loss, state, table.violation(number))
        if state == TrialState.PAUSED and not goes_on:
            self._brackets.retired.append(number)

    def take_retired(self) -> list[int]:
        retired, self._brackets.retired = self._brackets.retired, []
        return retired

    def may_go_on(self, number: int) -> bool:
        assert self._table is not None
        segments, bracket = self._table.segments, self._table.bracket(number)
        leg = segments.latest(number)
        # one that diverged does not go on
        is_finite = bool(np.isfinite(segments.value[leg]).all())
        return is_finite and self._brackets.may_go_on(number, bracket, int(segments.resource[leg]))

    def rung_statistics(self) -> list[RungStatistics]:
        """What has happened at each rung, by bracket and resource; empty before the strategy has a study."""
        return [] if self._table is None else rung_statistics(self._table, self.plans, self._brackets.plan_of)

    def summary(self) -> str:
        """The planned brackets as a table, and below it, once there are trials, what has happened at each rung.

        Example:
            >>> import fasthpo
            >>> print(fasthpo.SuccessiveHalving(9).summary())
            SuccessiveHalving: max_resource=9, min_resource=1, reduction_factor=3, RandomSampler
            Brackets as planned (trials x resource):
            bracket  rung 0  rung 1  rung 2
                  0   9 x 1   3 x 3   1 x 9
        """
        options = {name: value for name, value in self.options().items() if not isinstance(value, bool) or value}
        options.pop("resumable", None)
        head = ", ".join(f"{name}={value}" for name, value in options.items())
        lines = [f"{type(self).__name__}: {head}, {type(self.sampler).__name__}"]
        lines += schedule(self.plans, self.reduction_factor, isinstance(self._brackets, AsynchronousBrackets))
        if self._table is not None and len(self._table):
            lines += ["", *progress(self._table, self.rung_statistics())]
        return "\n".join(lines)
