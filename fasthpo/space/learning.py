"""Which parameters are there under which conditions, learnt from trials of a program that asks for them as it runs.

A parameter that some trials do not have is active under conditions, if the values of others say in which it is there:

- one of them alone, or several of which all must hold;
- of a number the values between the least and the largest with which the parameter was there, and those beyond, if
  there was no trial without it there: so `units_2` needs `layers` of at least 3 before all numbers of layers were seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fasthpo.space.parameter import Parameter, Value
from fasthpo.values import FloatArray

_MOST_VALUES = 1000  # of a parameter that others may depend on
_MOST_LISTED = 32  # values of a number that are a condition without being all between two of them

Conditions = dict[str, list[Value]]  # as `when` of a parameter


def conditions(name: str, parameters: Mapping[str, Parameter], shown: Mapping[str, FloatArray]) -> Conditions | None:
    """Under which values of parameters before it one is there; None if they do not say.

    Args:
        name: the parameter's.
        parameters: all of them.
        shown: column values (n,), NaN where not there, of the parameters before it, and of itself.
    """
    there = ~np.isnan(shown[name])
    if there.all() or not there.any():  # in the second case the trials that have it ended early
        return {}
    rules: dict[str, tuple[list[float], npt.NDArray[np.bool_]]] = {}
    for parent, values in shown.items():
        count = parameters[parent].count
        if parent != name and count is not None and 1 < count <= _MOST_VALUES and not np.isnan(values[there]).any():
            allowed = _allowed(parameters[parent], values, there)
            rules[parent] = allowed, np.isin(values, allowed)
    # the fewest values first: what decides is more often a switch than a number
    order = sorted(rules, key=lambda parent: (parameters[parent].is_ordered, parameters[parent].count))
    for parent in order:
        if (rules[parent][1] == there).all():
            return {parent: [parameters[parent].decode(x) for x in rules[parent][0]]}
    together = np.logical_and.reduce([rules[parent][1] for parent in order]) if order else ~there
    if not order or not (together == there).all():
        return None
    needed = list(order)
    for parent in reversed(order):
        others = [one for one in needed if one != parent]
        if others and (np.logical_and.reduce([rules[one][1] for one in others]) == there).all():
            needed = others
    return {parent: [parameters[parent].decode(x) for x in rules[parent][0]] for parent in needed}


def _allowed(parameter: Parameter, values: FloatArray, there: npt.NDArray[np.bool_]) -> list[float]:
    """With which column values of one parameter another was there."""
    seen: list[float] = np.unique(values[there]).tolist()
    if not parameter.is_ordered or parameter.count is None:
        return seen
    without = values[~there & ~np.isnan(values)]
    low, high = seen[0], seen[-1]
    between = (without >= low) & (without <= high)
    if between.any() and len(seen) <= _MOST_LISTED and not np.isin(without, seen).any():
        return seen
    every = parameter.at(np.arange(parameter.count))
    least = without[without < low].max(initial=-math.inf)
    largest = without[without > high].min(initial=math.inf)
    inside = (every > least) & (every < largest)
    if math.isfinite(least):
        inside &= every >= low
    if math.isfinite(largest):
        inside &= every <= high
    allowed: list[float] = every[inside].tolist()
    return allowed
