"""TPE under a multi-fidelity strategy: it learns from the largest resource that says enough."""

from __future__ import annotations

import math
from collections import deque

from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.gaussian_process import MOST_POINTS, GaussianProcess
from fasthpo.samplers.ranks import SortKey, worst_key
from fasthpo.samplers.tpe.split import Split
from fasthpo.trials.table import TrialTable


class Fidelities:
    """A split for each resource that trials were told a value at; the model follows the largest with enough of them.

    So it is in BOHB (Falkner, Klein, Hutter: BOHB. ICML 2018, section 4). Unlike there, *above* are not only the other
    trials of that resource but all others, as those that never came so far were worse. A Gaussian process knows those
    of its resource only: how much worse the others would have become there, nobody knows. But a trial that came to no
    finite value would not have come to one at a larger resource either, and ranks worst there, too.

    Args:
        space: the search space.
        enough: how many trials a resource needs.
    """

    def __init__(self, space: EncodedSpace, enough: int) -> None:
        self._space = space
        self._enough = enough
        self._splits: dict[int, Split] = {}
        self._gaussian_processes: dict[int, GaussianProcess] = {}
        self._failures: deque[tuple[int, SortKey]] = deque(maxlen=MOST_POINTS)  # resources and keys of the latest
        self._resource: int | None = None
        self._none = Split()

    @property
    def current(self) -> Split:
        """The split that the model follows; an empty one if no resource has enough trials yet."""
        return self._none if self._resource is None else self._splits[self._resource]

    @property
    def gaussian_process(self) -> GaussianProcess:
        """The Gaussian process of the same resource; it must be ready."""
        assert self._resource is not None
        return self._gaussian_processes[self._resource]

    @property
    def is_ready(self) -> bool:
        """Whether any resource has enough trials."""
        return self._resource is not None

    def add(self, table: TrialTable, leg: int) -> tuple[list[int], list[int]]:
        """A leg has ended; the trials that enter and leave below.

        Args:
            table: the study's trials.
            leg: the index of one that was told a value, or has failed.
        """
        segments = table.segments
        number, resource = int(segments.trial[leg]), int(segments.resource[leg])
        loss = table.objectives.loss(float(segments.value[leg]))
        if resource not in self._splits:
            self._open(resource)
        if not math.isfinite(loss):
            self._fail(resource, worst_key(number))
            return [], []
        key: SortKey = (0, 0.0, loss, number)
        self._gaussian_processes[resource].add([key])
        split = self._splits[resource]
        moves = split.add([key])
        if resource == self._resource:
            return moves
        if len(split) < self._enough or (self._resource is not None and resource < self._resource):
            return [], []
        old, new = set(self.current.below), set(split.below)
        self._resource = resource
        split.changed = True
        return sorted(new - old), sorted(old - new)

    def _open(self, resource: int) -> None:
        """A resource is reached for the first time."""
        self._splits[resource] = Split()
        self._gaussian_processes[resource] = gaussian_process = GaussianProcess(self._space)
        for reached, key in self._failures:
            if reached <= resource:
                gaussian_process.add([key])

    def _fail(self, resource: int, key: SortKey) -> None:
        """A trial came to no finite value at a resource."""
        self._failures.append((resource, key))
        for other, gaussian_process in self._gaussian_processes.items():
            if other >= resource:
                gaussian_process.add([key])
