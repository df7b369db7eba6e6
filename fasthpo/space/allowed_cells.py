"""The allowed points of a finite space, numbered: 0 to size - 1, none of the forbidden ones among them.

Parameters that are joined by relations, by conditions or by both form a component, whose allowed points are listed;
all parameters without relations are numbered as ever. So a relation between two of fifty parameters costs as much as
these two have combinations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fasthpo.space.conditions import Condition, Conditions
from fasthpo.space.enumeration import INACTIVE, Cells, Enumerable
from fasthpo.space.parameter import Parameter
from fasthpo.space.relations import Relation, leaders
from fasthpo.values import FloatArray, IntArray

_MOST_LISTED = 2**20  # combinations of a component's parameters
_AT_ONCE, _MOST_NUMBERS = 2**14, 2**21  # points, and these times the parameters

Digits = npt.NDArray[np.int64]


class TooManyCells(Exception):
    """A component has too many combinations to list those that are allowed."""

    def __init__(self, combinations: int) -> None:
        super().__init__(
            f"the parameters that relations join have {combinations} combinations, and at most {_MOST_LISTED} are "
            "listed"
        )


class Restricted(Enumerable, Protocol):
    """What is numbered: a `SearchSpace` with relations."""

    @property
    def relations(self) -> tuple[Relation, ...]: ...
    def deactivate(self, rows: FloatArray, parameters: IntArray | None = None) -> FloatArray: ...


class _Part(NamedTuple):
    """Some parameters of a space with their conditions, all of whose parents are among them, as a space of its own."""

    parameters: tuple[Parameter, ...]
    conditions: Conditions
    order: tuple[int, ...]
    is_conditional: bool

    def __len__(self) -> int:
        return len(self.parameters)


def part_of(space: Enumerable, members: IntArray) -> _Part:
    """Parameters of a space as a space of their own; all of their parents must be among them."""
    place = {int(j): i for i, j in enumerate(members)}
    conditions = tuple(
        tuple(Condition(place[c.parent], c.allowed) for c in space.conditions[j]) for j in members.tolist()
    )
    order = tuple(place[j] for j in space.order if j in place)
    return _Part(tuple(space.parameters[j] for j in members.tolist()), conditions, order, any(conditions))


class ListedPoints:
    """The points of some parameters that their relations allow, as codes: indices of a mixed radix, inactive as 0.

    Args:
        space: the search space.
        relations: about these parameters only.
        members: the parameters; all of their parents must be among them.
        counts: how many values each parameter of the space has; 0 for infinitely many.
        rows_of: the rows (n, d) of cells (n, d).

    Raises:
        TooManyCells: there are too many.
    """

    def __init__(
        self,
        space: Restricted,
        relations: Sequence[Relation],
        members: IntArray,
        counts: Sequence[int],
        rows_of: Callable[[Digits], FloatArray],
    ) -> None:
        self.members = members
        self._space, self._rows_of = space, rows_of
        self._radices = tuple(max(counts[j], 1) for j in members.tolist())
        infinite = np.array([counts[j] == 0 for j in members.tolist()])
        combinations = math.prod(self._radices)
        if combinations > _MOST_LISTED:
            raise TooManyCells(combinations)
        listed: list[IntArray] = [np.empty(0, np.int64)]
        some = max(min(_AT_ONCE, _MOST_NUMBERS // len(space)), 16)
        for first in range(0, combinations, some):
            codes = np.arange(first, min(first + some, combinations))
            own = self.digits(codes)
            inactive = own == INACTIVE
            # each point once, with 0 for what is inactive; and none at which a continuum is active
            once = (self._codes(own) == codes) & (inactive | ~infinite).all(axis=1)
            codes, own = codes[once], own[once]
            digits = np.full((len(codes), len(space)), INACTIVE, np.int64)
            digits[:, members] = own
            rows = rows_of(digits)
            allowed = np.ones(len(codes), np.bool_)
            for relation in relations:
                allowed &= relation.hold(rows)
            listed.append(codes[allowed])
        self.codes = np.concatenate(listed)

    def __len__(self) -> int:
        return len(self.codes)

    def digits(self, codes: IntArray) -> Digits:
        """The cells (n, k) of points by their codes (n,)."""
        own = np.stack(np.unravel_index(codes, self._radices), axis=1).astype(np.int64)
        digits = np.full((len(codes), len(self._space)), INACTIVE, np.int64)
        digits[:, self.members] = own
        rows = self._space.deactivate(self._rows_of(digits), self.members)
        return np.where(np.isnan(rows[:, self.members]), INACTIVE, own)

    def _codes(self, digits: Digits) -> IntArray:
        codes: IntArray = np.ravel_multi_index(tuple(np.maximum(digits, 0).T), self._radices).astype(np.int64)
        return codes

    def index(self, digits: Digits) -> IntArray:
        """Which of the points have these cells (n, k); -1 for one that is forbidden."""
        if not len(self.codes):
            return np.full(len(digits), -1)
        codes = self._codes(digits)
        places = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[places] == codes, places, -1)


class _Component:
    """Parameters that depend on no others, with their points: those listed, or all of `cells`."""

    def __init__(self, members: IntArray, points: ListedPoints | Cells) -> None:
        self.members = members.tolist()
        self._points = points
        self.size = len(points) if isinstance(points, ListedPoints) else points.size

    def digits(self, index: int) -> list[int]:
        points = self._points
        if isinstance(points, Cells):
            return points.digits(index)
        found: list[int] = points.digits(points.codes[index : index + 1])[0].tolist()
        return found

    def number(self, digits: list[int]) -> int:
        """-1 for a point that is forbidden."""
        if isinstance(self._points, Cells):
            return self._points.number(digits)
        return int(self._points.index(np.array([digits]))[0])


class AllowedCells:
    """The numbering of the allowed points; see `Cells`, whose methods it has.

    Args:
        space: names the conditions and the relations.
        counts: values a parameter; 0 for one that has infinitely many, as in `Cells`.
        rows_of: the rows (n, d) of cells (n, d); None: the space's own values.
        continua: as of `Cells`.

    Raises:
        TooManyCells: parameters that relations join have too many combinations.
        InvalidSearchSpace: as `Cells`.
    """

    radices: None = None

    def __init__(
        self,
        space: Restricted,
        counts: Sequence[int],
        rows_of: Callable[[Digits], FloatArray] | None = None,
        continua: Mapping[int, FloatArray] | None = None,
    ) -> None:
        continua = continua or {}
        self._all = Cells(space, counts, continua)
        rows_of = rows_of or self._all.rows
        self._d = len(space)
        self._components: list[_Component] = []
        free: list[int] = []
        for members, relations in _components(space):
            if relations:
                own = np.array(members)
                self._components.append(_Component(own, ListedPoints(space, relations, own, counts, rows_of)))
            else:
                free += members
        if free:
            rest = np.array(sorted(free))
            own_counts = [counts[j] for j in rest.tolist()]
            decided = {place: continua[j] for place, j in enumerate(rest.tolist()) if j in continua}
            self._components.append(_Component(rest, Cells(part_of(space, rest), own_counts, decided)))
        # the first parameter of the space varies slowest, as without relations
        self._components.sort(key=lambda component: component.members[0])
        self.size = math.prod(component.size for component in self._components)

    def digits(self, index: int) -> list[int]:
        """See `Cells.digits`."""
        found = [INACTIVE] * self._d
        for component in reversed(self._components):
            index, own = divmod(index, component.size)
            for j, digit in zip(component.members, component.digits(own), strict=True):
                found[j] = digit
        return found

    def digits_of(self, rows: FloatArray) -> Digits:
        """See `Cells.digits_of`."""
        return self._all.digits_of(rows)

    def numbers(self, digits: Digits) -> list[int]:
        """The indices of those of the points (n, d) that are allowed."""
        found = []
        for one in digits.tolist():
            index = 0
            for component in self._components:
                own = component.number([one[j] for j in component.members])
                if own < 0:
                    break
                index = index * component.size + own
            else:
                found.append(index)
        return found

    def rows(self, digits: Digits) -> FloatArray:
        """See `Cells.rows`."""
        return self._all.rows(digits)

    def point(self, index: int) -> FloatArray:
        """See `Cells.point`."""
        return self._all.rows(np.array(self.digits(index), np.int64))

    def index(self, rows: FloatArray) -> list[int]:
        """The indices of those of the points `rows` (n, d) that are allowed."""
        return self.numbers(self.digits_of(rows))


def _components(space: Restricted) -> list[tuple[list[int], list[Relation]]]:
    """The parameters that relations or conditions join, with the relations between them."""
    conditional = ((j, *(c.parent for c in own)) for j, own in enumerate(space.conditions))
    leader = leaders(len(space), [*conditional, *(relation.parameters for relation in space.relations)])
    members: dict[int, list[int]] = {}
    for j in range(len(space)):
        members.setdefault(leader[j], []).append(j)
    relations: dict[int, list[Relation]] = {}
    for relation in space.relations:
        relations.setdefault(leader[relation.parameters[0]], []).append(relation)
    return [(own, relations.get(first, [])) for first, own in members.items()]
