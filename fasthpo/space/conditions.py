"""Conditions: which parameters are active, depending on the values of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.parameter import Parameter
from fasthpo.values import FloatArray, shown


class Condition(NamedTuple):
    """Parameter `child` is active only if the column of `parent` holds one of `allowed`."""

    parent: int
    allowed: FloatArray  # sorted column values


Conditions = tuple[tuple[Condition, ...], ...]
"""By parameter what must hold for it to be active: all of its conditions, and all of its parents must be active."""


def conditions_of(parameters: Mapping[str, Parameter]) -> Conditions:
    """The conditions that the parameters' `when` mean.

    Raises:
        InvalidSearchSpace: one is on an unknown parent, or on a value that the parent can't take.
    """
    position = {name: j for j, name in enumerate(parameters)}
    return tuple(_resolved(name, parameters, position) for name in parameters)


def _resolved(name: str, parameters: Mapping[str, Parameter], position: Mapping[str, int]) -> tuple[Condition, ...]:
    conditions = []
    for parent, values in parameters[name].when.items():
        if parent not in position:
            raise InvalidSearchSpace(
                f"{shown(name)} depends on {shown(parent)}, which is not in the space {shown(list(parameters))}"
            )
        source = parameters[parent]
        if source.count is None:
            raise InvalidSearchSpace(
                f"{name!r} depends on {parent!r}, whose values are a continuum; "
                "a condition needs a Categorical, Discrete or stepped parent"
            )
        allowed = set()
        for value in values:
            try:
                column_value = source.encode(value)
            except InvalidParameters as error:
                raise InvalidSearchSpace(
                    f"{name!r} depends on {parent!r}={shown(value)}, but {parent!r} {error}"
                ) from None
            if column_value in allowed:
                raise InvalidSearchSpace(f"{name!r} lists {parent!r}={shown(value)} twice in its condition")
            allowed.add(column_value)
        conditions.append(Condition(position[parent], np.array(sorted(allowed))))
    return tuple(conditions)


def parents_first(names: Sequence[str], conditions: Conditions, what: str = "conditions") -> tuple[int, ...]:
    """An order of the parameters in which each stands behind its parents; `what` makes them parents.

    Raises:
        InvalidSearchSpace: there is none, as conditions form a cycle.
    """
    order: list[int] = []
    children: list[list[int]] = [[] for _ in names]
    for j, own in enumerate(conditions):
        for condition in own:
            children[condition.parent].append(j)
    missing = [len(own) for own in conditions]
    ready = [j for j, count in enumerate(missing) if not count]
    while ready:  # generation by generation, each in the order of the space
        order += ready
        freed = [child for j in ready for child in children[j]]
        for child in freed:
            missing[child] -= 1
        ready = sorted({child for child in freed if not missing[child]})
    if len(order) < len(names):
        circle = ", ".join(repr(names[j]) for j in sorted(set(range(len(names))) - set(order)))
        raise InvalidSearchSpace(f"{what} must not form a cycle, got one among {circle}")
    return tuple(order)


def refuse_dead_parameters(names: Sequence[str], conditions: Conditions, order: Sequence[int]) -> None:
    """Make sure that each parameter is active somewhere.

    Raises:
        InvalidSearchSpace: conditions of one, and of its parents, contradict each other.
    """
    allowed = [{c.parent: frozenset(c.allowed.tolist()) for c in own} for own in conditions]
    common: dict[int, frozenset[float]] = {}  # values that meet all conditions on a parent
    for needed in allowed:
        for parent, values in needed.items():
            common[parent] = common.get(parent, values) & values
    if all(common.values()):
        return  # nothing contradicts anything, so that a long chain need not be walked up from each parameter
    for j in order:
        if len(allowed[j]) < 2:
            continue  # one condition contradicts nothing that its parent needs, which has been looked at
        needs = dict(allowed[j])  # what must hold for the parameter to be active
        todo = list(needs)
        seen = set(todo)
        while todo:
            for parent, values in allowed[todo.pop()].items():
                needs[parent] = needs.get(parent, values) & values
                if not needs[parent]:
                    raise InvalidSearchSpace(
                        f"{names[j]!r} can never be active: its conditions on "
                        f"{names[parent]!r}, with those of its parents, contradict each other"
                    )
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
