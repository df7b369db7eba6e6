"""The points of a finite space, numbered: 0 to size - 1, conditions respected, nothing materialised.

Parameters that depend on each other by conditions form a component. A component is counted by its first parameter
that has no condition: its values fall into classes, alike in which conditions they meet; given a class, what is left
falls apart into smaller components. Equal remainders are built once, so a chain or a tree of conditions costs no more
than its length. A number is then read digit by digit, as in a mixed radix, and an inactive parameter takes no digit.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.conditions import Condition, Conditions
from fasthpo.space.parameter import Lattice, Parameter
from fasthpo.values import FloatArray

INACTIVE = -1
LARGEST_INT64 = 2**63 - 1
_MOST_NODES = 2**13  # of a space with conditions; a parameter that shares none adds one of its own
_MOST_UNDECIDED = 2**19  # parameters in all components that are no trees: each takes about 50 bytes
_NOWHERE = Lattice(0.0, 0.0, 0, 1.0, 0.0, 0, False, 1.0)  # of a continuum, whose values are its grid's business

# a parameter that is still undecided, and those of its parents that are, too
_Undecided = frozenset[tuple[int, frozenset[int]]]
# undecided parameters that depend on each other; if they form a tree, and did so from the beginning, just its root
_Component = int | _Undecided


class Enumerable(Protocol):
    """What is numbered: a `SearchSpace`."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    @property
    def conditions(self) -> Conditions: ...
    @property
    def order(self) -> tuple[int, ...]: ...
    @property
    def is_conditional(self) -> bool: ...
    def __len__(self) -> int: ...


class _Branch(NamedTuple):
    """One class of a parameter's values: runs of cells."""

    firsts: list[int]  # of the runs, ascending
    ranks: list[int]  # of their first cells within the class
    parts: list[_Node]
    size_of_one: int  # points for each member
    start: int  # points of the branches before it

    def member(self, rank: int) -> int:
        """The value at a rank."""
        run = bisect.bisect_right(self.ranks, rank) - 1
        return self.firsts[run] + rank - self.ranks[run]

    def rank(self, value: int) -> int:
        """The rank of a value of this class."""
        run = bisect.bisect_right(self.firsts, value) - 1
        return self.ranks[run] + value - self.firsts[run]


class _Node(NamedTuple):
    """A component: its first parameter, the classes of its values, and how many points it has."""

    parameter: int
    branches: list[_Branch]
    firsts: list[int]  # of the runs of all branches, ascending
    branch_of_run: list[int]
    size: int

    def branch_of(self, value: int) -> _Branch:
        """The class of a value."""
        return self.branches[self.branch_of_run[bisect.bisect_right(self.firsts, value) - 1]]


class _Class(NamedTuple):
    """Values of a parameter that are alike in what they leave: a branch before its parts are built."""

    runs: list[tuple[int, int]]  # first and last cells
    parts: list[_Component]


class _Plan(NamedTuple):
    """A component before its parts are built."""

    parameter: int
    classes: list[_Class]


def _assembled(plan: _Plan, nodes: dict[_Component, _Node]) -> _Node:
    branches: list[_Branch] = []
    branch_of: dict[int, int] = {}
    start = 0
    for runs, parts in plan.classes:
        built = [nodes[part] for part in parts]
        size_of_one = math.prod(part.size for part in built)
        ranks = [0]
        for first, last in runs:
            branch_of[first] = len(branches)
            ranks.append(ranks[-1] + last - first + 1)
        branches.append(_Branch([first for first, _ in runs], ranks[:-1], built, size_of_one, start))
        start += ranks[-1] * size_of_one
    firsts = sorted(branch_of)
    return _Node(plan.parameter, branches, firsts, [branch_of[first] for first in firsts], start)


def _holds(runs: list[tuple[int, int]], cell: int) -> bool:
    """Whether one of some runs, in ascending order, holds a cell."""
    place = bisect.bisect_right(runs, cell, key=lambda run: run[0]) - 1
    return place >= 0 and cell <= runs[place][1]


class Cells:
    """The numbering of a space in which parameter j has `counts[j]` values.

    Args:
        space: names the conditions.
        counts: values a parameter; 0 for one that has infinitely many, so that points where it is active don't count.
        continua: of parameters that have infinitely many, those `counts` values that do count.

    Attributes:
        size: how many points there are; exact, and maybe beyond 2**63.
        radices: the counts, where a point's index is a plain mixed radix below 2**63; None with conditions.

    Raises:
        InvalidSearchSpace: conditions that share their parents in so many ways that the points can't be counted.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 3), "b": fasthpo.Categorical(["x", "y"])})
        >>> [space.decode(space.cells.point(i)) for i in (0, 5)]
        [{'a': 1, 'b': 'x'}, {'a': 3, 'b': 'y'}]
    """

    def __init__(
        self, space: Enumerable, counts: Sequence[int], continua: Mapping[int, FloatArray] | None = None
    ) -> None:
        self._space = space
        self._counts = list(counts)
        self._continua = continua or {}
        self._lattices = Lattice(*map(np.array, zip(*(p.lattice or _NOWHERE for p in space.parameters), strict=True)))
        everything = frozenset((j, frozenset(c.parent for c in space.conditions[j])) for j in range(len(space)))
        # the condition of `child` on `parent`, as runs of the parent's cells
        self._allowed = {
            (child, c.parent): self._runs_of(c) for child, needed in enumerate(space.conditions) for c in needed
        }
        self._rank = {j: rank for rank, j in enumerate(space.order)}
        self._children: list[list[int]] = [[] for _ in counts]
        for child, parent in self._allowed:
            self._children[parent].append(child)
        self._first: dict[int, int] = {}  # of the roots of trees, which parameter of the tree comes first in the space
        for j in reversed(space.order):
            below = self._children[j]
            if all(child in self._first and len(space.conditions[child]) == 1 for child in below):
                self._first[j] = min([j, *(self._first[child] for child in below)])
        self._nodes = self._built(self._components(everything))
        self.size = math.prod(node.size for node in self._nodes)
        self._strides: npt.NDArray[np.int64] | None = None
        self.radices: npt.NDArray[np.int64] | None = None
        if not space.is_conditional and self.size <= LARGEST_INT64:
            self.radices = np.array(self._counts, np.int64)
            strides = [1]
            for count in reversed(self._counts[1:]):
                strides.append(strides[-1] * count)
            self._strides = np.array(strides[::-1], np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        # without the nodes, which are nested as deeply as the conditions
        return Cells, (self._space, self._counts, self._continua)

    # --- building

    def _runs_of(self, condition: Condition) -> list[tuple[int, int]]:
        """The first and last cells of the runs that meet a condition."""
        parameter = self._space.parameters[condition.parent]
        if parameter.lattice is not None:
            return condition.allowed.cells(parameter)
        holds = condition.allowed.hold(self._continua.get(condition.parent, np.empty(0)))
        steps = np.diff(holds.astype(np.int8), prepend=0, append=0)
        return list(zip(np.flatnonzero(steps > 0).tolist(), (np.flatnonzero(steps < 0) - 1).tolist(), strict=True))

    def _components(self, undecided: _Undecided) -> list[_Component]:
        """The components of what is undecided, by their first parameter."""
        group = {j: j for j, _ in undecided}

        def leader(j: int) -> int:
            while group[j] != j:
                group[j] = group[group[j]]
                j = group[j]
            return j

        for j, parents in undecided:
            for parent in parents:
                group[leader(j)] = leader(parent)
        components: dict[int, list[tuple[int, frozenset[int]]]] = {}
        for one in sorted(undecided, key=lambda pair: pair[0]):
            components.setdefault(leader(one[0]), []).append(one)
        found: list[_Component] = []
        for component in components.values():
            root = next(j for j, parents in component if not parents)
            found.append(root if root in self._first else frozenset(component))
        return found

    def _built(self, components: list[_Component]) -> list[_Node]:
        """The nodes of components, made from the leaves up: a chain of conditions may be deeper than Python's stack."""
        nodes: dict[_Component, _Node] = {}
        plans: dict[_Component, _Plan] = {}
        todo = list(components)
        undecided = 0
        while todo:
            component = todo[-1]
            if component in nodes:
                todo.pop()
            elif component in plans:  # what it is made of has been made
                nodes[component] = _assembled(plans.pop(component), nodes)
            else:
                if undecided > _MOST_UNDECIDED or len(nodes) + len(plans) > _MOST_NODES + len(self._counts):
                    raise InvalidSearchSpace(
                        "the points of this space can't be counted: too many parameters depend on several parents each "
                        f"and share them; got {sum(len(c) > 1 for c in self._space.conditions)} such parameters"
                    )
                plans[component] = self._plan(component)
                parts = [part for one in plans[component].classes for part in one.parts]
                undecided += sum(len(part) for part in parts if not isinstance(part, int))
                todo += parts
        return [nodes[component] for component in components]

    def _plan(self, component: _Component) -> _Plan:
        if isinstance(component, int):
            root, children = component, self._children[component]
        else:
            root = min(j for j, parents in component if not parents)
            children = [j for j, parents in component if root in parents]
        allowed = [self._allowed[child, root] for child in children]
        # between two neighbouring edges all cells are alike
        inner = {edge for runs in allowed for first, last in runs for edge in (first, last + 1)}
        edges = sorted(edge for edge in inner | {0, self._counts[root]} if edge <= self._counts[root])
        classes: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
        for first, after in itertools.pairwise(edges):
            signature = tuple(_holds(runs, first) for runs in allowed)
            classes.setdefault(signature, []).append((first, after - 1))
        neither = (False,) * len(children)
        if neither in classes:  # the rest comes last
            classes[neither] = classes.pop(neither)
        classes_of = []
        for signature, runs in classes.items():
            met = {child for child, holds in zip(children, signature, strict=True) if holds}
            if isinstance(component, int):
                parts: list[_Component] = [*sorted(met, key=self._first.__getitem__)]
            else:
                parts = self._components(self._decide(component, root, met))
            classes_of.append(_Class(runs, parts))
        return _Plan(root, classes_of)

    def _decide(self, undecided: _Undecided, root: int, met: set[int]) -> _Undecided:
        """What is left once `root` has a value that meets the conditions of the children `met`, and of no others."""
        left: dict[int, tuple[int, frozenset[int]]] = {}
        for one in sorted(undecided, key=lambda pair: self._rank[pair[0]]):
            j, parents = one
            rest = parents - {root} if root in parents else parents
            is_met = root not in parents or j in met
            # a parameter whose parent is inactive is inactive, too, and parents come first
            if j != root and is_met and all(parent in left for parent in rest):
                left[j] = one if rest is parents else (j, rest)  # what stays the same is kept once
        return frozenset(left.values())

    # --- numbering

    def digits(self, index: int) -> list[int]:
        """The cell of each parameter at a point, -1 where it is inactive."""
        found = [INACTIVE] * len(self._counts)
        todo: list[tuple[list[_Node], int]] = [(self._nodes, index)]
        while todo:
            nodes, rest = todo.pop()
            for node in reversed(nodes):
                rest, own = divmod(rest, node.size)
                place = len(node.branches) - 1
                while node.branches[place].start > own:
                    place -= 1
                branch = node.branches[place]
                rank, own = divmod(own - branch.start, branch.size_of_one)
                found[node.parameter] = branch.member(rank)
                if branch.parts:
                    todo.append((branch.parts, own))
        return found

    def number(self, digits: Sequence[int]) -> int:
        """The index of the point with these cells; the inverse of `digits`."""
        index = 0
        todo: list[tuple[list[_Node], int]] = [(self._nodes, 1)]
        while todo:
            nodes, weight = todo.pop()
            for node in reversed(nodes):
                value = digits[node.parameter]
                branch = node.branch_of(value)
                index += weight * (branch.start + branch.rank(value) * branch.size_of_one)
                if branch.parts:
                    todo.append((branch.parts, weight))
                weight *= node.size
        return index

    def digits_of(self, rows: FloatArray) -> npt.NDArray[np.int64]:
        """The cells (n, d) of the points `rows`; a continuum's are not to be used."""
        if not self._space.is_conditional:
            return self._lattices.cell(rows)
        inactive = np.isnan(rows)
        digits = self._lattices.cell(np.where(inactive, 0.0, rows))
        digits[inactive] = INACTIVE
        return digits

    def numbers(self, digits: npt.NDArray[np.int64]) -> Sequence[int] | npt.NDArray[np.int64]:
        """The indices of the points with these cells (n, d)."""
        if self._strides is not None:  # nothing is conditional
            return digits @ self._strides
        return [self.number(one) for one in digits.tolist()]

    def rows(self, digits: npt.NDArray[np.int64]) -> FloatArray:
        """The row, or rows, (..., d) of cells; of a continuum's cells, 0."""
        return np.where(digits == INACTIVE, np.nan, self._lattices.at(digits))

    def point(self, index: int) -> FloatArray:
        """The row (d,) of a point."""
        return self.rows(np.array(self.digits(index), np.int64))

    def index(self, rows: FloatArray) -> Sequence[int] | npt.NDArray[np.int64]:
        """The indices of the points `rows` (n, d)."""
        return self.numbers(self.digits_of(rows))
