"""The points of a finite space, numbered: 0 to size - 1, conditions respected, nothing materialised.

Parameters that depend on each other by conditions form a component. A component is counted by its first parameter
that has no condition: its values fall into classes, alike in which conditions they meet; given a class, what is left
falls apart into smaller components. Equal remainders are built once, so a chain or a tree of conditions costs no more
than its length. A number is then read digit by digit, as in a mixed radix, and an inactive parameter takes no digit.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidSearchSpace
from fasthpo.parameter import FloatArray, Lattice

if TYPE_CHECKING:
    from fasthpo.search_space import SearchSpace

INACTIVE = -1
LARGEST_INT64 = 2**63 - 1
_MOST_NODES = 2**13  # of a space with conditions; a parameter that shares none adds one of its own
_NOWHERE = Lattice(0.0, 0.0, 0, 1.0, 0.0, 0, False, 1.0)  # of a continuum, whose values are its grid's business

# a parameter that is still undecided, and those of its parents that are, too
_Undecided = frozenset[tuple[int, frozenset[int]]]


class _Branch(NamedTuple):
    """One class of a parameter's values: `members`, or all but the `members` if it is the rest."""

    is_rest: bool
    members: list[int]
    parts: list[_Node]
    size_of_one: int  # points for each member
    start: int  # points of the branches before it

    def member(self, rank: int) -> int:
        """The value at a rank."""
        if not self.is_rest:
            return self.members[rank]
        for excluded in self.members:
            rank += excluded <= rank
        return rank

    def rank(self, value: int) -> int:
        """The rank of a value of this class."""
        place = bisect.bisect_left(self.members, value)
        return value - place if self.is_rest else place


class _Node(NamedTuple):
    """A component: its first parameter, the classes of its values, and how many points it has."""

    parameter: int
    branches: list[_Branch]
    branch_of: dict[int, int]  # values named by a condition; the others belong to the last branch
    size: int


class Cells:
    """The numbering of a space in which parameter j has `counts[j]` values.

    Args:
        space: names the conditions.
        counts: values a parameter; 0 for one that has infinitely many, so that points where it is active don't count.

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

    def __init__(self, space: SearchSpace, counts: Sequence[int]) -> None:
        self._space = space
        self._counts = list(counts)
        self._known: dict[_Undecided, _Node] = {}
        self._lattices = Lattice(*map(np.array, zip(*(p.lattice or _NOWHERE for p in space.parameters), strict=True)))
        everything = frozenset((j, frozenset(c.parent for c in space.conditions[j])) for j in range(len(space)))
        # the condition of `child` on `parent`, in cells of the parent
        self._allowed = {
            (child, c.parent): frozenset(space.parameters[c.parent].cell(c.allowed).tolist())
            for child, needed in enumerate(space.conditions)
            for c in needed
        }
        self._nodes = self._parts(everything)
        self.size = 1
        for node in self._nodes:
            self.size *= node.size
        self._strides: npt.NDArray[np.int64] | None = None
        self.radices: npt.NDArray[np.int64] | None = None
        if not space.is_conditional and self.size <= LARGEST_INT64:
            self.radices = np.array(self._counts, np.int64)
            strides = [1]
            for count in reversed(self._counts[1:]):
                strides.append(strides[-1] * count)
            self._strides = np.array(strides[::-1], np.int64)

    # --- building

    def _parts(self, undecided: _Undecided) -> list[_Node]:
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
        return [self._node(frozenset(component)) for component in components.values()]

    def _node(self, undecided: _Undecided) -> _Node:
        if undecided in self._known:
            return self._known[undecided]
        if len(self._known) > _MOST_NODES + len(self._counts):
            raise InvalidSearchSpace(
                "the points of this space can't be counted: too many parameters depend on several parents each and "
                f"share them; got {sum(len(needed) > 1 for needed in self._space.conditions)} such parameters"
            )
        root = min(j for j, parents in undecided if not parents)
        children = [j for j, parents in undecided if root in parents]
        named = sorted({cell for child in children for cell in self._allowed[child, root]})
        classes: dict[tuple[bool, ...], list[int]] = {}
        for cell in named:
            classes.setdefault(tuple(cell in self._allowed[child, root] for child in children), []).append(cell)
        branches: list[_Branch] = []
        branch_of: dict[int, int] = {}
        start = 0
        choices = [(False, signature, cells, len(cells)) for signature, cells in classes.items()]
        if len(named) < self._counts[root]:
            choices.append((True, (False,) * len(children), named, self._counts[root] - len(named)))
        for is_rest, signature, cells, members in choices:
            met = {child for child, holds in zip(children, signature, strict=True) if holds}
            parts = self._parts(self._decide(undecided, root, met))
            size_of_one = 1
            for part in parts:
                size_of_one *= part.size
            if not is_rest:
                branch_of.update(dict.fromkeys(cells, len(branches)))
            branches.append(_Branch(is_rest, cells, parts, size_of_one, start))
            start += members * size_of_one
        node = self._known[undecided] = _Node(root, branches, branch_of, start)
        return node

    @staticmethod
    def _decide(undecided: _Undecided, root: int, met: set[int]) -> _Undecided:
        """What is left once `root` has a value that meets the conditions of the children `met`, and of no others."""
        left = {j: parents - {root} for j, parents in undecided if j != root and (root not in parents or j in met)}
        while True:  # a parameter whose parent is inactive is inactive, too
            dead = [j for j, parents in left.items() if any(parent not in left for parent in parents)]
            if not dead:
                return frozenset(left.items())
            for j in dead:
                del left[j]

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
        return self._number(self._nodes, digits)

    def _number(self, nodes: list[_Node], digits: Sequence[int]) -> int:
        index = 0
        for node in nodes:
            value = digits[node.parameter]
            branch = node.branches[node.branch_of.get(value, len(node.branches) - 1)]
            own = branch.start + branch.rank(value) * branch.size_of_one + self._number(branch.parts, digits)
            index = index * node.size + own
        return index

    def rows(self, digits: npt.NDArray[np.int64]) -> FloatArray:
        """The row, or rows, (..., d) of cells; of a continuum's cells, 0."""
        return np.where(digits == INACTIVE, np.nan, self._lattices.at(digits))

    def point(self, index: int) -> FloatArray:
        """The row (d,) of a point."""
        return self.rows(np.array(self.digits(index), np.int64))

    def index(self, rows: FloatArray) -> Sequence[int] | npt.NDArray[np.int64]:
        """The indices of the points `rows` (n, d)."""
        if self._strides is not None:  # nothing is conditional
            return self._lattices.cell(rows) @ self._strides
        inactive = np.isnan(rows)
        digits = self._lattices.cell(np.where(inactive, 0.0, rows))
        digits[inactive] = INACTIVE
        return [self.number(one) for one in digits.tolist()]
