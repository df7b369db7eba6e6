"""TPE under a multi-fidelity strategy: which trials are good, at the largest resource that says enough."""

from __future__ import annotations

import math

from fasthpo.samplers.split import Split
from fasthpo.table import TrialTable
from fasthpo.trial import TrialState


class Levels:
    """A split for each resource that trials were told a value at; the model follows the largest with enough of them.

    So it is in BOHB (Falkner, Klein, Hutter: BOHB. ICML 2018, section 4). Unlike there, *above* are not only the other
    trials of that resource but all others, as those that never came so far were worse.

    Args:
        enough: how many trials a resource needs.
    """

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._splits: dict[int, Split] = {}
        self._resource: int | None = None
        self._none = Split()

    @property
    def current(self) -> Split:
        """The split that the model follows; an empty one if no resource has enough trials yet."""
        return self._none if self._resource is None else self._splits[self._resource]

    @property
    def is_ready(self) -> bool:
        """Whether any resource has enough trials."""
        return self._resource is not None

    def add(self, table: TrialTable, leg: int) -> tuple[list[int], list[int]]:
        """A leg has ended; the trials that enter and leave below.

        Args:
            table: the study's trials.
            leg: the index of one that was told a value.
        """
        legs = table.legs
        number, resource = int(legs.trial[leg]), int(legs.resource[leg])
        loss = table.sign * float(legs.value[leg])
        split = self._splits.setdefault(resource, Split())
        moves = split.add((0, 0.0, loss if math.isfinite(loss) else math.inf, number))
        if resource == self._resource:
            return moves
        if len(split) < self._enough or (self._resource is not None and resource < self._resource):
            return [], []
        old, new = set(self.current.below), set(split.below)
        self._resource = resource
        split.changed = True
        return sorted(new - old), sorted(old - new)


def has_value(table: TrialTable, leg: int) -> bool:
    """Whether a leg was told a value that ranks it among the others of its resource."""
    return table.legs.state[leg] in (TrialState.PAUSED, TrialState.COMPLETE)
