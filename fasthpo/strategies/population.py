"""What population strategies share: their arguments, their places, and how they follow the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import NextLeg, Strategy
from fasthpo.strategies.exploring import perturbed
from fasthpo.strategies.multi_fidelity import check_resource
from fasthpo.strategies.places import AsynchronousPlaces, Places, Selection, SynchronousPlaces
from fasthpo.strategies.rungs import Plan
from fasthpo.strategies.summary import RungStatistics, progress, rung_statistics
from fasthpo.trials.lineage import Fork
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, as_number, check_count, check_flag, elements, plain, shown

_MOST_MEMBERS = 2**20
_MOST_LEGS = 2**20


def check_share(name: str, value: Any, most: float, least_open: bool = False) -> float:
    """A number from 0 to `most`.

    Raises:
        InvalidValue: it is none.
    """
    number = as_number(name, value)
    if not (number > 0 if least_open else number >= 0) or not number <= most:
        bounds = f"above 0 and at most {most:g}" if least_open else f"from 0 to {most:g}"
        raise InvalidValue(f"{name} must be {bounds}, got {name}={number:g}")
    return number


class Population(Strategy):
    """A population that is trained together; the worst go on from the weights of the best. See its subclasses.

    Args:
        max_resource: what each member is trained to in all.
        population: how many members there are.
        interval: the resource between two comparisons.
        quantile: the share that is replaced each time, and that parents are drawn from; above 0, at most 0.5. That is
            one member at least, where there are two.
        mutable: names of the parameters that may change; None: all.
        synchronous: whether all members are compared at the same resource.
        sampler: where the first members look; by default at random.
    """

    is_multi_fidelity = True
    is_population = True

    def __init__(
        self,
        max_resource: int,
        population: int,
        interval: int,
        quantile: float,
        mutable: Sequence[str] | None,
        synchronous: bool,
        sampler: Sampler | None,
    ) -> None:
        if sampler is not None and not isinstance(sampler, Sampler):
            raise InvalidValue(
                f"sampler must be None or a Sampler, such as RandomSampler(), got sampler={shown(sampler)}"
            )
        super().__init__(RandomSampler() if sampler is None else sampler)
        self.max_resource = check_resource("max_resource", max_resource)
        self.population = check_count("population", population, 1)
        self.interval = check_resource("interval", interval)
        if self.population > _MOST_MEMBERS or self.max_resource // self.interval >= _MOST_LEGS:
            raise InvalidValue(
                f"population and max_resource / interval must be at most 2**20, got population={self.population}, "
                f"max_resource={self.max_resource}, interval={self.interval}"
            )
        if self.interval > self.max_resource:
            raise InvalidValue(
                f"interval must not be above max_resource, got interval={self.interval}, "
                f"max_resource={self.max_resource}"
            )
        self.quantile = check_share("quantile", quantile, 0.5, least_open=True)
        self.mutable = None if mutable is None else _checked_names(mutable)
        self.synchronous = check_flag("synchronous", synchronous)
        boundaries = (*range(self.interval, self.max_resource, self.interval), self.max_resource)
        self.plans: tuple[Plan, ...] = (Plan(self.population, boundaries),)
        selection = Selection(self.population, self.quantile, self.sampler.seed)
        kind = SynchronousPlaces if self.synchronous else AsynchronousPlaces
        self._places: Places = kind(selection, boundaries)
        self._table: TrialTable | None = None

    def options(self) -> dict[str, Any]:
        return {
            "max_resource": self.max_resource,
            "population": self.population,
            "interval": self.interval,
            "quantile": self.quantile,
            "mutable": None if self.mutable is None else list(self.mutable),
            "synchronous": self.synchronous,
        }

    # --- following the table

    def attach(self, table: TrialTable) -> None:
        """Forget everything and take up a table.

        Raises:
            InvalidValue: its trials are those of another population, `mutable` names no parameter, or the space is one
                that is learnt.
        """
        if table.space.is_open:
            raise InvalidValue(
                f"{type(self).__name__} changes parameters within their bounds, so it needs a study with a space: "
                "Study(space, strategy=...)"
            )
        for name in self.mutable or ():
            if name not in table.space:
                raise InvalidValue(f"mutable must name parameters of the space, {list(table.space)}, got {name!r}")
        columns = table.lineage.columns(len(table))
        inside = np.flatnonzero(columns["member"] >= 0)
        members = 1 + int(columns["member"].max(initial=-1))
        if members > self.population:
            raise InvalidValue(f"the study's population has {members} members, this strategy's {self.population}")
        boundaries = self.plans[0].resources
        for number in inside[~np.isin(table.resources[inside], boundaries)][:1].tolist():
            raise InvalidValue(
                f"trial {number} was to be trained to {table.resource(number)}, where no interval of this strategy "
                f"ends: max_resource={self.max_resource}, interval={self.interval}"
            )
        self._table = table
        self._places.attach(table)

    def follows(self, table: TrialTable) -> bool:
        return self._table is table

    def next_leg(self, new: bool = True) -> NextLeg | None:
        return self._places.next_leg(new)

    def new_leg(self) -> NextLeg | None:
        return self._places.new_leg()

    def on_start(self, leg: NextLeg, number: int) -> None:
        self._places.start(leg, number)

    def state_at(self, resource: int) -> TrialState:
        return TrialState.COMPLETE if resource >= self.max_resource else TrialState.PAUSED

    def on_end(self, number: int) -> None:
        assert self._table is not None
        if number in self._table.lineage:
            self._places.end(number)

    def take_retired(self) -> list[int]:
        retired, self._places.retired = self._places.retired, []
        return retired

    def may_go_on(self, number: int) -> bool:
        return self._places.may_go_on(number)

    @property
    def is_complete(self) -> bool:
        return self._places.is_complete

    @property
    def parents_run(self) -> bool:
        return not self.synchronous

    # --- parameters

    def _mutable(self, space: SearchSpace) -> npt.NDArray[np.bool_]:
        return np.array([self.mutable is None or name in self.mutable for name in space.names])

    def _changed(self, fork: Fork, perturbation: float, resample_probability: float) -> FloatArray:
        """The parameters (d,) of a member that is begun from another one's weights: like those, but for a change."""
        assert self._table is not None
        space, row = self._table.space, self._table.params[:, fork.parent]
        return perturbed(space, row, self._mutable(space), perturbation, resample_probability, self.sampler.seed, fork)

    # --- what it says

    def rung_statistics(self) -> list[RungStatistics]:
        """What has happened at each boundary, by resource; empty before the strategy has a study."""
        return [] if self._table is None else rung_statistics(self._table, self.plans, lambda index: 0)

    def summary(self) -> str:
        """What is planned, and below it, once there are trials, what has happened at each boundary."""
        options = {name: value for name, value in self.options().items() if value is not None}
        head = ", ".join(f"{name}={value}" for name, value in options.items())
        lines = [
            f"{type(self).__name__}: {head}, {type(self.sampler).__name__}",
            f"{self.population} members, compared {len(self.plans[0].resources) - 1} times",
        ]
        if self._table is not None and len(self._table):
            forks = int((self._table.lineage.columns(len(self._table))["parent"] >= 0).sum())
            lines += [f"{forks} members were begun from the weights of others", ""]
            lines += progress(self._table, self.rung_statistics())
        return "\n".join(lines)


def _checked_names(given: Any) -> tuple[str, ...]:
    names = None if isinstance(given, str) else _listed(given)
    if names is None or any(not isinstance(name, str) for name in names):
        raise InvalidValue(f"mutable must be None or a list of parameters' names, got mutable={shown(given)}")
    return tuple(names)


def _listed(given: Any) -> list[Any] | None:
    try:
        return [plain(one) for one in elements(given)]
    except TypeError:
        return None
