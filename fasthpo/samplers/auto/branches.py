"""The branches of a space, what came of each, and which of them a suggestion has to look into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.ranks import WORST, SortKey, sort_key
from fasthpo.space.partial import completed_row
from fasthpo.space.ranges import Ranges
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray

_STREAM = 48
_FIRST = 30  # draw that may look into another branch than the best trial's, once each was tried
_FEWEST = 2  # trials of each branch, before every second suggestion is free
_LEAST_SHARE, _MOST_SHARE = 1 / 8, 1 / 4  # of the suggestions that look into other branches than the best trial's
_PATIENCE = 20  # trials without an improvement, after which that share would be one
_EVENLY = 1 / 4  # of these look into the branch that was tried least
_MOST_CHOICES = 64  # of a parameter whose choices count as branches
_MOST_HELD = 64  # values of a parameter on which a branch depends, that are tried by turns


class Branch(NamedTuple):
    """Where a parameter has one of its choices."""

    parameter: int
    choice: int


def branches_of(space: SearchSpace) -> list[Branch]:
    """The choices of all parameters on which others depend.

    A number or an ordinal on which others depend opens none: near values are alike, whatever is active there. Nor does
    a choice that is active in a range of a continuum only, of which no value stands for the others.
    """
    parents = {condition.parent for needed in space.conditions for condition in needed}
    counts = {
        j: space.parameters[j].count or 0
        for j in sorted(parents)
        if not space.parameters[j].is_ordered
        and all(space.parameters[parent].count is not None for parent in _needs(space, Branch(j, 0)))
    }
    return [Branch(j, choice) for j, count in counts.items() if 1 < count <= _MOST_CHOICES for choice in range(count)]


def in_branch(
    space: SearchSpace, branch: Branch, seed: int, draw: int, values: Sequence[float] | None = None
) -> FloatArray | None:
    """A row (d,) of the prior in a branch that the relations allow; None if none is found.

    Args:
        space, branch, seed, draw: of what.
        values: at which the parameters that the branch needs are held, in the order of `needs_of`.
    """
    row = np.full(len(space), np.nan)
    row[branch.parameter] = branch.choice
    if values is not None:
        row[list(needs_of(space, branch))] = values
    return completed_row(space, row, seed, draw)


def _needs(space: SearchSpace, branch: Branch) -> dict[int, Ranges]:
    """What must hold in a branch: the parameters that it needs, with the column values that each may have."""
    choice = float(branch.choice)
    needs: dict[int, Ranges] = {branch.parameter: Ranges.between(choice, choice)}
    todo = [branch.parameter]
    while todo:
        for parent, allowed in space.conditions[todo.pop()]:
            needs[parent] = needs[parent].common(allowed) if parent in needs else allowed
            todo.append(parent)
    return needs


def needs_of(space: SearchSpace, branch: Branch) -> dict[int, FloatArray]:
    """The parameters that a branch needs, with column values that each may have, sorted: all, or some of very many."""
    found = {}
    for j, allowed in _needs(space, branch).items():
        parameter = space.parameters[j]
        count = allowed.count(parameter)
        few = min(count, _MOST_HELD)
        found[j] = allowed.values(parameter, np.array([rank * count // few for rank in range(few)]))
    return found


class Record:
    """What came of one branch."""

    def __init__(self) -> None:
        self.asked = 0
        self.best = math.inf  # loss; a failure counts as infinity, as does a trial that was pruned


class Branches:
    """The branches of one table's space; what is known of them is a function of the asks and tells taken in.

    Args:
        table: the trials.
        seed: 0 to 2**64 - 1.
    """

    def __init__(self, table: TrialTable, seed: int) -> None:
        self._table = table
        self._seed = seed
        self.records = {branch: Record() for branch in branches_of(table.space)}
        self._choices: dict[int, list[Branch]] = {}
        for branch in self.records:
            self._choices.setdefault(branch.parameter, []).append(branch)
        self._parameters = list(self._choices)
        # trials that were begun before a relation was told may be in others
        space = table.space
        self._allowed = [one for one in self.records if not space.relations or in_branch(space, one, 0, 0) is not None]
        self._best: SortKey | None = None
        self._since = 0  # trials told since the best one was

    def of(self, number: int) -> list[Branch]:
        """The branches that a trial is in."""
        values = self._table.params[self._parameters, number].tolist()
        return [self._choices[j][int(x)] for j, x in zip(self._parameters, values, strict=True) if x == x]

    def take_asked(self, numbers: Sequence[int]) -> None:
        """Trials have begun to run."""
        if len(numbers) == 1:
            for branch in self.of(numbers[0]):
                self.records[branch].asked += 1
            return
        for j, branches in self._choices.items():
            values = self._table.params[j, numbers]
            counts = np.bincount(values[~np.isnan(values)].astype(np.int64), minlength=len(branches))
            for branch, count in zip(branches, counts.tolist(), strict=True):
                self.records[branch].asked += count

    def take_told(self, number: int) -> tuple[SortKey, list[Branch]] | None:
        """A trial has ended; its key and the branches that it is in, None if it says nothing of its point."""
        branches = self.of(number)
        if self._table.is_lost(number):
            for branch in branches:
                self.records[branch].asked -= 1
            return None
        key = sort_key(self._table, number)
        self._since += 1
        if key[0] != WORST and (self._best is None or key[:3] < self._best[:3]):
            self._best, self._since = key, 0
        for branch in branches:
            record = self.records[branch]
            record.best = min(record.best, key[2] if key[0] == 0 else math.inf)
        return key, branches

    def chosen(self, draw: int) -> Branch | None:
        """The branch that a draw has to look into; None if the model of the whole space chooses."""
        if self._best is None:
            return None
        if draw % 2 and self._allowed:
            fewest = self._least_tried(self._allowed)
            if self.records[fewest].asked < _FEWEST:
                return fewest
        active = self.of(self._best[3])
        if not active:
            return None
        units = uniforms(self._seed, np.array([draw]), _STREAM, 3)[0].tolist()
        if draw < _FIRST or units[0] >= max(_LEAST_SHARE, min(_MOST_SHARE, self._since / _PATIENCE)):
            return None
        own = active[int(units[1] * len(active))]
        others = [branch for branch in self._allowed if branch.parameter == own.parameter and branch != own]
        if not others:
            return None
        return self._least_tried(others) if units[2] < _EVENLY else self._best_of(others)

    def _least_tried(self, branches: list[Branch]) -> Branch:
        return min(branches, key=lambda branch: self.records[branch].asked)

    def _best_of(self, branches: list[Branch]) -> Branch:
        return min(branches, key=lambda branch: self.records[branch].best)
