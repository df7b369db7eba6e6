"""The search space of a program that makes it up as it runs, so far as its trials in Optuna show it.

A name's distributions become one parameter that holds the values of them all. A parameter that some completed trials
do not have is active under conditions, if the values of others say in which trials it is there (`space/learning.py`).

What follows no such rule, and is missing in more than a tenth of the trials, stays out of the space, and is modelled by
itself. If it is missing in fewer, such as known results that were added without it, these stay out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.kinds import Categorical, Discrete, LogUniform
from fasthpo.space.learning import Conditions, conditions
from fasthpo.space.parameter import Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.space.widening import is_whole, stepped
from fasthpo.values import FloatArray

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_MOST_WITHOUT = 0.1  # of the trials, which then are no points of the space


class Column:
    """One parameter of an Optuna study: all its distributions, and their values in one column.

    Choices are held by their places, as Optuna's may be of any type.

    Args:
        name: the parameter's.
        distributions: all that it was given, at least one; the last one is what it is asked for with now.

    Raises:
        InvalidSearchSpace: they can't be one parameter, because a bound is infinite, say.
    """

    def __init__(self, name: str, distributions: Sequence[BaseDistribution]) -> None:
        self.name = name
        self.distribution = distributions[-1]
        self.choices: tuple[Any, ...] | None = getattr(self.distribution, "choices", None)
        self._distributions = list(distributions)
        try:
            self.parameter = self.when({})
        except InvalidSearchSpace as error:
            raise InvalidSearchSpace(f"the parameter {name!r} can't be searched: {error}") from None

    def when(self, when: Conditions) -> Parameter:
        """The parameter under conditions."""
        first: Any = self._distributions[0]
        if self.choices is not None:
            return Categorical(range(len(self.choices)), when)
        ranges: list[Any] = self._distributions
        low, high = min(one.low for one in ranges), max(one.high for one in ranges)
        if isinstance(low, int) and isinstance(high, int):
            step = math.gcd(*(one.step for one in ranges), *(one.low - low for one in ranges))
            return Discrete(low, high, 1 if first.log else step, first.log, when)
        if first.log:
            return LogUniform(low, high, when=when)
        step = first.step
        is_common = step is not None and all(one.step == step and is_whole((one.low - low) / step) for one in ranges)
        return stepped(low, high, step if is_common else None, when)

    def holds(self, distribution: BaseDistribution) -> bool:
        """Whether all values of a distribution are among the parameter's."""
        if distribution == self.distribution or distribution in self._distributions:
            self.distribution = distribution
            return True
        if self.choices is not None or type(distribution) is not type(self.distribution):
            return False
        other: Any = distribution
        mine: Any = self.parameter
        if other.low < mine.low or other.high > mine.high or other.log != mine.log:
            return False
        if mine.step is not None and not self._is_finer(mine, other):
            return False
        self.distribution = distribution
        return True

    @staticmethod
    def _is_finer(mine: Any, other: Any) -> bool:
        """Whether another lattice's values are among those of the parameter's."""
        if other.step is None:
            return False
        return is_whole(other.step / mine.step) and is_whole((other.low - mine.low) / mine.step)

    def with_distribution(self, distribution: BaseDistribution) -> Column:
        """The parameter that holds the values of one more distribution."""
        return Column(self.name, [*self._distributions, distribution])

    def encode(self, value: Any) -> float:
        """The column value; NaN for a value that is not among the parameter's, as a fixed one may be."""
        try:
            if self.choices is not None:
                return float(self.distribution.to_internal_repr(value))
            return self.parameter.encode(value)
        except (InvalidParameters, ValueError):
            return math.nan

    def decode(self, column_value: float) -> Any:
        """The value as the objective gets it."""
        return self.parameter.decode(column_value) if self.choices is None else self.choices[int(column_value)]


def nearest(value: Any, distribution: BaseDistribution) -> Any:
    """That value of a distribution which is nearest to a value of a number; a choice stays what it is."""
    if getattr(distribution, "choices", None) is not None:
        return value
    parameter = Column("", [distribution]).parameter
    low, high, step = parameter.low, parameter.high, distribution.step  # type: ignore[attr-defined]
    inside = min(max(float(value), low), high)
    if parameter.count is not None:
        inside = float(parameter.at(parameter.cell(np.array([inside])))[0])
    elif step is not None:  # so small a one that no column has it
        inside = min(low + round((inside - low) / step) * step, high)
    return parameter.decode(inside)


class Learned(NamedTuple):
    """What trials show of a space.

    Attributes:
        space: of the parameters whose conditions are known; None if there are none.
        columns: all parameters by name, also those that are not in the space.
        loose: those of the space that some trials do not have for no reason that is known.
    """

    space: SearchSpace | None
    columns: dict[str, Column]
    loose: frozenset[str]


def columns_of(trials: Sequence[FrozenTrial]) -> dict[str, Column]:
    """The parameters of trials by name, in the order in which they were first asked for."""
    given: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            known = given.setdefault(name, [])
            if not known:
                known.append(distribution)
            elif distribution != known[-1]:
                if distribution in known:
                    known.remove(distribution)
                known.append(distribution)
    return {name: Column(name, distributions) for name, distributions in given.items()}


def learn(trials: Sequence[FrozenTrial]) -> Learned:
    """The space that trials show.

    Args:
        trials: that have ended; which parameters belong together is seen from completed ones, or if there are none
            from pruned ones, or failed ones.

    Raises:
        InvalidSearchSpace: a parameter can't be searched.
    """
    columns = columns_of(trials)
    by_state: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        by_state.setdefault(trial.state.name, []).append(trial)
    examples = next((by_state[name] for name in ("COMPLETE", "PRUNED", "FAIL") if name in by_state), [])
    shown = _shown(columns, examples)
    known = {name: column.parameter for name, column in columns.items()}
    parameters: dict[str, Parameter] = {}
    loose: set[str] = set()
    for name, column in columns.items():
        if column.parameter.count == 1:  # of which Optuna itself knows the value
            continue
        there = ~np.isnan(shown[name])
        when = conditions(name, known, {one: shown[one] for one in (*parameters, name)})
        if when is None and there.mean() >= 1 - _MOST_WITHOUT:
            loose.add(name)
            when = {}
        if when is not None:
            parameters[name] = column.when(when)
    return Learned(SearchSpace(parameters) if parameters else None, columns, frozenset(loose))


def _shown(columns: Mapping[str, Column], trials: Sequence[FrozenTrial]) -> dict[str, FloatArray]:
    """What each parameter was in each trial (n,), NaN where it was not there.

    Trials are left out that have a value outside of its range, as fixed ones may be.
    """
    found = {name: np.full(len(trials), math.nan) for name in columns}
    is_inside = np.ones(len(trials), np.bool_)
    for name, column in columns.items():
        values = found[name]
        is_counted = column.parameter.count is not None
        for i, trial in enumerate(trials):
            if name in trial.params:
                # of a continuum, on whose values nothing may depend, it matters only that it was there
                values[i] = column.encode(trial.params[name]) if is_counted else 0.0
                if math.isnan(values[i]):
                    is_inside[i] = False
    return {name: values[is_inside] for name, values in found.items()} if is_inside.any() else found
