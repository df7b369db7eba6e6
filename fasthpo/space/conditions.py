"""Conditions: which parameters are active, depending on the values of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.choice_values import choice_key
from fasthpo.space.comparisons import Comparison, condition_words
from fasthpo.space.parameter import Parameter
from fasthpo.space.ranges import Ranges
from fasthpo.values import shown


class Condition(NamedTuple):
    """A parameter is active only if the column value of `parent` lies in one of the ranges `allowed`."""

    parent: int
    allowed: Ranges


_SLACK = 1e-6  # of a step, that a number may be off

Conditions = tuple[tuple[Condition, ...], ...]
"""By parameter what must hold for it to be active: all of its conditions, and all of its parents must be active."""


def conditions_of(parameters: Mapping[str, Parameter]) -> Conditions:
    """The conditions that the parameters' `when` mean.

    Raises:
        InvalidSearchSpace: one is on an unknown parent, or on a value that the parent can't take.
    """
    position = {name: j for j, name in enumerate(parameters)}
    known: dict[Any, Ranges] = {}
    return tuple(_resolved(name, parameters, position, known) for name in parameters)


def _resolved(
    name: str, parameters: Mapping[str, Parameter], position: Mapping[str, int], known: dict[Any, Ranges]
) -> tuple[Condition, ...]:
    """The conditions of a parameter; `known` are ranges by parent and values, which many have in common."""
    conditions = []
    for parent, values in parameters[name].when.items():
        if parent not in position:
            raise InvalidSearchSpace(
                f"{shown(name)} depends on {shown(parent)}, which is not in the space {shown(list(parameters))}"
            )
        if isinstance(values, Comparison):
            key = parent, values.operator, *map(choice_key, values.values)
        else:
            key = parent, "", *map(choice_key, values)
        if key not in known:
            known[key] = ranges_of(name, parent, parameters[parent], values)
        conditions.append(Condition(position[parent], known[key]))
    return tuple(conditions)


def ranges_of(name: str, parent: str, source: Parameter, values: Sequence[Any] | Comparison) -> Ranges:
    """The column values of a parameter `source`, called `parent`, that a condition of `name` means.

    Raises:
        InvalidSearchSpace: it is on a value that the parent can't take, or on none.
    """
    if not isinstance(values, Comparison):
        allowed = Ranges.of_values(source, _column_values(name, parent, source, values))
    elif values.operator == "not_in":
        excluded = _column_values(name, parent, source, values.values)
        allowed = _all_but(source, source.cell(np.array(excluded)).tolist())
    else:
        allowed = _compared(name, parent, source, values)
    if not allowed:
        raise InvalidSearchSpace(f"{name!r} needs {parent!r} {condition_words(values)}, which it never is: {source!r}")
    return allowed


def _column_values(name: str, parent: str, source: Parameter, values: Sequence[Any]) -> list[float]:
    """The column values that a condition lists, in ascending order."""
    if source.count is None:
        raise InvalidSearchSpace(
            f"{name!r} depends on {parent!r}, whose values are a continuum; "
            "a condition needs a Categorical, Discrete or stepped parent, or a range such as fasthpo.at_least(0.5)"
        )
    column_values: set[float] = set()
    for value in values:
        column_value = _encoded(name, parent, source, value, values)
        if column_value in column_values:
            raise InvalidSearchSpace(f"{name!r} lists {parent!r}={shown(value)} twice in its condition")
        column_values.add(column_value)
    return sorted(column_values)


def _encoded(name: str, parent: str, source: Parameter, value: Any, values: Sequence[Any] = ()) -> float:
    try:
        return source.encode(value)
    except InvalidParameters as error:
        text = f"{name!r} depends on {parent!r}={shown(value)}, but {parent!r} {error}"
        hint = f"; the tuple itself is [{tuple(values)!r}]" if values and source.contains(tuple(values)) else ""
        raise InvalidSearchSpace(text + hint) from None


def _all_but(source: Parameter, excluded: Sequence[int]) -> Ranges:
    """All of a parameter's finitely many values, without those in some cells."""
    assert source.count is not None
    first = np.array([0, *(cell + 1 for cell in excluded)], np.int64)
    last = np.array([*(cell - 1 for cell in excluded), source.count - 1], np.int64)
    some = first <= last
    return Ranges(source.at(first[some]), source.at(last[some]))


def _compared(name: str, parent: str, source: Parameter, comparison: Comparison) -> Ranges:
    """What lies on the named side of one value, or between two."""
    if not source.is_ordered:
        raise InvalidSearchSpace(
            f"{name!r} needs {parent!r} {comparison.words()}, but the choices of {parent!r} have no order; "
            "list them, or make it an Ordinal"
        )
    if source.choices is None:
        ends = [_end(name, parent, value) for value in comparison.values]
    else:
        ends = [_encoded(name, parent, source, value) for value in comparison.values]
    low = ends[0] if comparison.operator != "at_most" else -math.inf
    high = ends[-1] if comparison.operator != "at_least" else math.inf
    if low > high:
        raise InvalidSearchSpace(f"{name!r} needs {parent!r} {comparison.words()}, whose first is larger")
    least, most = source.reach  # what lies beyond is never suggested
    if low > most or high < least:
        return Ranges.between(1.0, 0.0)
    if source.lattice is None:
        least, most = source.bounds
        return Ranges.between(max(low, least), min(high, most))
    low, high = max(low, least), min(high, most)
    # 0.1 * 3 is meant to be 0.3
    slack = 0.0 if source.is_whole or source.choices is not None else _SLACK * float(source.lattice.step)
    first, last = source.cell(np.array([low, high])).tolist()
    first += float(source.at(np.array(first))) < low - slack
    last -= float(source.at(np.array(last))) > high + slack
    return Ranges.between(*source.at(np.array([first, last])).tolist()) if first <= last else Ranges.between(1.0, 0.0)


def _end(name: str, parent: str, value: Any) -> float:
    """A number that a parent is compared with."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise InvalidSearchSpace(f"{name!r} compares {parent!r}, a number, with {shown(value)}")
    return float(value)


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
    allowed = [{c.parent: c.allowed for c in own} for own in conditions]
    common: dict[int, Ranges] = {}  # values that meet all conditions on a parent
    for needed in allowed:
        for parent, values in needed.items():
            common[parent] = common[parent].common(values) if parent in common else values
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
                needs[parent] = needs[parent].common(values) if parent in needs else values
                if not needs[parent]:
                    raise InvalidSearchSpace(
                        f"{names[j]!r} can never be active: its conditions on "
                        f"{names[parent]!r}, with those of its parents, contradict each other"
                    )
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
