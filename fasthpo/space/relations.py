"""What excludes points that every single parameter would allow: relations that must hold, forbidden combinations.

A relation, or a combination, says nothing of a point at which one of its parameters is inactive: such a point is
allowed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.choice_values import choice_to_json
from fasthpo.space.comparisons import Comparison
from fasthpo.space.conditions import Conditions, ranges_of
from fasthpo.space.definitions import condition_from_json
from fasthpo.space.expressions import read_truth
from fasthpo.space.parameter import Parameter
from fasthpo.space.ranges import Ranges
from fasthpo.values import FloatArray, IntArray, element, exact, number, shown, steady_repr


class Relation(ABC):
    """What excludes points of a space. Two are equal when their definitions are.

    Attributes:
        parameters: the positions of those that it is about, ascending.
    """

    parameters: tuple[int, ...]

    def hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether it allows the points `rows` (n, d), which it does where one of its parameters is inactive; (n,)."""
        active = self._speaks_of(rows)
        if active.all():
            return self._hold(rows)
        allowed = np.ones(len(rows), np.bool_)
        if active.any():
            allowed[active] = self._hold(rows[active])
        return allowed

    def _speaks_of(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether it says something of the points: all of its parameters are active, (n,)."""
        active: npt.NDArray[np.bool_] = np.logical_not(np.isnan(rows[:, list(self.parameters)]).any(axis=1))
        return active

    @abstractmethod
    def _hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """The same of rows of which it says something."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The definition in plain JSON values."""

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other) if isinstance(other, Relation) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))


class Requirement(Relation):
    """A relation that must hold.

    Args:
        text: an expression, see `expressions`.
        parameters: those of the space, in its order.

    Raises:
        InvalidSearchSpace: no such expression.
    """

    def __init__(self, text: Any, parameters: Mapping[str, Parameter]) -> None:
        self._expression = read_truth(text, parameters)
        self.parameters = self._expression.parameters

    def _hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            found = self._expression.evaluate(rows)
        return np.broadcast_to(np.asarray(found, np.bool_), (len(rows),))

    def to_dict(self) -> dict[str, Any]:
        return {"require": self._expression.text}

    def __repr__(self) -> str:
        return f"require({self._expression.text!r})"

    def __str__(self) -> str:
        return self._expression.text


class Forbidden(Relation):
    """A combination that must not occur.

    Args:
        combination: by name a value, a collection of them, or a comparison such as `at_least(3)`; of a parameter with
            infinitely many values the two ends of a range, both included.
        parameters: those of the space, in its order.

    Raises:
        InvalidSearchSpace: no such combination.
    """

    def __init__(self, combination: Any, parameters: Mapping[str, Parameter]) -> None:
        if not isinstance(combination, Mapping) or not combination:
            raise InvalidSearchSpace(
                "what is forbidden is a mapping of names to values, such as {'optimizer': 'sgd', 'amsgrad': True}, "
                f"got {shown(combination)}"
            )
        position = {name: j for j, name in enumerate(parameters)}
        given: dict[int, tuple[str, Any]] = {}
        for name, values in combination.items():
            if name not in position:
                raise InvalidSearchSpace(
                    f"{shown(name)} is forbidden, but no parameter of the space, which has {shown(list(parameters))}"
                )
            given[position[name]] = exact(name), values
        self.parameters = tuple(sorted(given))
        self._names = [given[j][0] for j in self.parameters]
        found = {
            name: _forbidden(name, parameters[name], given[j][1])
            for j, name in zip(self.parameters, self._names, strict=True)
        }
        self._values = [found[name][0] for name in self._names]
        self._shown = {name: found[name][1] for name in self._names}

    def _hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        occurs = np.ones(len(rows), np.bool_)
        for j, values in zip(self.parameters, self._values, strict=True):
            occurs &= values.hold(rows[:, j])
        return ~occurs

    def to_dict(self) -> dict[str, Any]:
        values = {
            name: one.to_json() if isinstance(one, Comparison) else choice_to_json(tuple(one))
            for name, one in self._shown.items()
        }
        return {"forbid": values}

    def __repr__(self) -> str:
        shorter = {name: one if isinstance(one, Comparison) else _shorter(one) for name, one in self._shown.items()}
        return f"forbid({steady_repr(shorter)})"

    __str__ = __repr__


def _shorter(values: tuple[Any, ...]) -> Any:
    """One value instead of a list of it, unless it would be taken for a list."""
    return values[0] if len(values) == 1 and not isinstance(values[0], (tuple, frozenset)) else values


def _forbidden(name: str, parameter: Parameter, given: Any) -> tuple[Ranges, Any]:
    """What is forbidden of a parameter, as column values and as it is shown."""
    if isinstance(given, Comparison):
        return ranges_of("what is forbidden", name, parameter, given), given
    several = isinstance(given, (list, tuple, set, frozenset, range)) or (
        isinstance(given, np.ndarray) and given.ndim > 0
    )
    listed = list(given) if several and not parameter.contains(given) else [given]
    if not listed:
        raise InvalidSearchSpace(f"forbid must list at least one value of {name!r}, got none")
    if parameter.count is None and len(listed) == 2 and not isinstance(given, (set, frozenset)):
        return _range(name, parameter, listed)
    try:
        column_values = sorted({parameter.encode(element(value)) for value in listed})
    except InvalidParameters as error:
        raise InvalidSearchSpace(f"what is forbidden of {name!r} {error}") from None
    if parameter.count is None:
        low, high = parameter.reach
        raise InvalidSearchSpace(
            f"of {name!r}, which has infinitely many values, a range is forbidden, such as ({low}, {high}), ends "
            f"included, got {shown(given)}"
        )
    ranges = Ranges.of_values(parameter, column_values)
    return ranges, tuple(parameter.decode(x) for x in column_values)


def _range(name: str, parameter: Parameter, ends: list[Any]) -> tuple[Ranges, Any]:
    try:
        low, high = (float(number(end)) for end in ends)
    except (TypeError, OverflowError):
        raise InvalidSearchSpace(f"a range of {name!r} has two numbers, got {shown(ends)}") from None
    if not low <= high:
        raise InvalidSearchSpace(f"a range of {name!r} begins with its lower end, got {shown(ends)}")
    least, most = parameter.reach
    if high < least or low > most:
        raise InvalidSearchSpace(
            f"what is forbidden of {name!r} must lie between {least} and {most}, got {shown(ends)}"
        )
    if math.isinf(low) or math.isinf(high):
        low, high = max(low, least), min(high, most)
    return Ranges.between(low, high), (low, high)


def relation_from_dict(definition: Any, parameters: Mapping[str, Parameter]) -> Relation:
    """The relation that `Relation.to_dict` described.

    Raises:
        InvalidSearchSpace: not such a description.
    """
    if isinstance(definition, Mapping) and len(definition) == 1:
        if "require" in definition:
            return Requirement(definition["require"], parameters)
        if "forbid" in definition:
            forbidden = definition["forbid"]
            if isinstance(forbidden, Mapping):
                forbidden = {name: condition_from_json(one) for name, one in forbidden.items()}
            return Forbidden(forbidden, parameters)
    raise InvalidSearchSpace(f"a relation is {{'require': ...}} or {{'forbid': ...}}, got {shown(definition)}")


class Group(NamedTuple):
    """Parameters that relations join, with all that decides whether they are active; and these relations."""

    parameters: IntArray
    relations: tuple[Relation, ...]

    def hold(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether all of its relations allow the points `rows` (n, d); (n,)."""
        allowed = self.relations[0].hold(rows)
        for relation in self.relations[1:]:
            allowed = allowed & relation.hold(rows)
        return allowed


def leaders(count: int, joined: Iterable[Iterable[int]]) -> list[int]:
    """For each of 0 to count - 1 one that stands for all those that it is joined with, directly or by others."""
    leader = list(range(count))

    def find(j: int) -> int:
        while leader[j] != j:
            leader[j] = leader[leader[j]]
            j = leader[j]
        return j

    for members in joined:
        first, *others = members
        for j in others:
            leader[find(j)] = find(first)
    return [find(j) for j in range(count)]


def groups_of(relations: tuple[Relation, ...], conditions: Conditions) -> tuple[Group, ...]:
    """The relations, in groups that have no parameter in common and so are independent of each other."""
    joined: list[set[int]] = []
    for relation in relations:
        todo, seen = list(relation.parameters), set(relation.parameters)
        while todo:
            for condition in conditions[todo.pop()]:
                if condition.parent not in seen:
                    seen.add(condition.parent)
                    todo.append(condition.parent)
        joined.append(seen)
    first = leaders(len(conditions), joined)
    groups: dict[int, list[int]] = {}
    for j in sorted(set().union(*joined)):
        groups.setdefault(first[j], []).append(j)
    return tuple(
        Group(np.array(members), tuple(r for r in relations if first[r.parameters[0]] == leader))
        for leader, members in groups.items()
    )
