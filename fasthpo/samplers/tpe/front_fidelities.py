"""TPE under a multi-fidelity strategy and several objectives: it learns from the largest resource that says enough."""

from __future__ import annotations

from collections import deque

import numpy as np

from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.penalties import FAILED, leg_losses_and_penalties
from fasthpo.samplers.tpe.front_split import FrontSplit, Told
from fasthpo.samplers.tpe.several_objectives import MOST_POINTS, FrontSearch
from fasthpo.trials.table import TrialTable


class FrontFidelities:
    """A split, and a search, for each resource that trials were told values at; by the rules of `Fidelities`.

    Args:
        space: the search space.
        enough: how many trials a resource needs.
        objectives: how many there are.
        searches: whether there are Gaussian processes.
    """

    def __init__(self, space: EncodedSpace, enough: int, objectives: int, searches: bool) -> None:
        self._space = space
        self._enough = enough
        self._objectives = objectives
        self._searches = searches
        self._splits: dict[int, FrontSplit] = {}
        self._search: dict[int, FrontSearch] = {}
        self._failures: deque[tuple[int, Told]] = deque(maxlen=MOST_POINTS)  # resources, and the latest
        self._resource: int | None = None
        self._none = FrontSplit(objectives)

    @property
    def current(self) -> FrontSplit:
        """The split that the model follows; an empty one if no resource has enough trials yet."""
        return self._none if self._resource is None else self._splits[self._resource]

    @property
    def search(self) -> FrontSearch | None:
        """The search at the same resource, which must be ready; None if there is to be none."""
        return None if self._resource is None else self._search.get(self._resource)

    @property
    def is_ready(self) -> bool:
        """Whether any resource has enough trials."""
        return self._resource is not None

    def add(self, table: TrialTable, leg: int) -> tuple[list[int], list[int]]:
        """A leg has ended; the trials that enter and leave below.

        Args:
            table: the study's trials.
            leg: the index of one that was told values, or has failed.
        """
        legs = np.array([leg])
        resource = int(table.segments.resource[leg])
        told = Told(table.segments.trial[legs].astype(np.int64), *leg_losses_and_penalties(table, legs))
        if resource not in self._splits:
            self._open(resource)
        if told.penalties[0] == FAILED:  # it would not have come to finite values at a larger resource either
            self._failures.append((resource, told))
            for other in self._splits:
                if other >= resource:
                    self._take(other, told)
            return [], []
        self._take(resource, told)
        split = self._splits[resource]
        if resource == self._resource:
            return split.settle()
        if len(split) < self._enough or (self._resource is not None and resource < self._resource):
            return [], []
        old = set(self.current.below)
        self._resource = resource
        split.settle()
        split.changed = True
        new = set(split.below)
        return sorted(new - old), sorted(old - new)

    def _open(self, resource: int) -> None:
        """A resource is reached for the first time."""
        self._splits[resource] = split = FrontSplit(self._objectives)
        if self._searches:
            self._search[resource] = FrontSearch(self._space, self._objectives, split)
        for reached, told in self._failures:
            if reached <= resource:
                self._take(resource, told)

    def _take(self, resource: int, told: Told) -> None:
        if self._searches:
            self._search[resource].add(told)  # which hands it on to the split
        else:
            self._splits[resource].keep(told)
