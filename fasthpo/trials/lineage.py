"""Which trials were begun from the weights of which others: the lineages of a population."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.values import IntArray, grow

NO_PARENT = -1
COLUMNS = ("member", "generation", "parent", "fork_step")
_NONE = -1  # in each column, of a trial that is in no population


class Fork(NamedTuple):
    """Where a trial of a population comes from."""

    member: int  # its place in the population, from 0
    generation: int  # of the trials in that place; 0 for one that was not forked
    parent: int = NO_PARENT  # the trial from whose weights it begins
    step: int = 0  # the resource that those weights have reached


class Lineage:
    """The forks of a study's trials, as columns that are made when the first trial of a population starts.

    Attributes:
        is_empty: whether no trial is in a population.
    """

    def __init__(self) -> None:
        self.is_empty = True
        self._columns: dict[str, IntArray] = {}
        self._length = 0  # trials beyond it have no entry

    def __contains__(self, number: int) -> bool:
        return not self.is_empty and number < self._length and self._columns["member"][number] != _NONE

    def of(self, number: int) -> Fork | None:
        """The fork of one trial; None if it is in no population."""
        return Fork(*(int(self._columns[name][number]) for name in COLUMNS)) if number in self else None

    def step(self, number: int) -> int:
        """The resource that a trial's parent had reached, 0 without one."""
        return max(int(self._columns["fork_step"][number]), 0) if number in self else 0

    def columns(self, length: int) -> dict[str, IntArray]:
        """The columns by name for the first `length` trials, int64 (length,), -1 where there is nothing (copies)."""
        found = {}
        for name in COLUMNS:
            found[name] = np.full(length, _NONE, np.int64)
            known = min(length, self._length)
            if not self.is_empty:
                found[name][:known] = self._columns[name][:known]
        return found

    def set(self, number: int, fork: Fork | None) -> None:
        """A trial has a fork; None: none any more."""
        if self.is_empty:
            if fork is None:
                return
            self._columns = {name: np.full(number + 1, _NONE, np.int64) for name in COLUMNS}
        if number >= len(self._columns["member"]):
            for name, column in self._columns.items():
                self._columns[name] = grow(column, max(number + 1, 2 * len(column)), _NONE)  # type: ignore[assignment]
        for name, value in zip(COLUMNS, (_NONE,) * len(COLUMNS) if fork is None else fork, strict=True):
            self._columns[name][number] = value
        self._length = max(self._length, number + 1)
        self.is_empty = False

    def fill(self, columns: dict[str, IntArray]) -> None:
        """Take over saved columns (n,), which the caller has checked."""
        members = columns["member"]
        if (members != _NONE).any():
            self._columns = {name: columns[name].copy() for name in COLUMNS}
            self._length, self.is_empty = len(members), False
