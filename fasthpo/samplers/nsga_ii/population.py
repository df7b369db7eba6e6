"""What NSGA-II knows of a study: the survivors of each generation, from which the next trials are bred."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.penalties import leg_losses_and_penalties, losses_and_penalties
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_STREAM = 1  # of children
_BLOCK = 16  # children made at once: a call's cost is then shared by several asks
_WORD = 0xFFFFFFFF
MUTATION_SPREAD = 5.0  # the distribution index (benchmarks/ABLATIONS.md)


class Members(NamedTuple):
    """Trials that are compared with each other, best first."""

    numbers: IntArray  # (k,)
    losses: FloatArray  # (k, m)
    penalties: FloatArray  # (k,)


class Population:
    """The population of one table; a function of the table's trials and their order of tells.

    Under a multi-fidelity strategy there is one for each resource, of what was told there; children are those of the
    largest resource that has one.

    Args:
        table: the trials.
        seed: 0 to 2**64 - 1.
        size: how many trials a generation has.
    """

    def __init__(self, table: TrialTable, seed: int, size: int) -> None:
        from fasthpo.kernels.multi_objective import breeding

        self._kernels = breeding
        self.table = table
        self._size = size
        self._encoded = encode_space(table.space)
        self._key = np.array([seed & _WORD, seed >> 32, 0, 0, _STREAM], np.uint64)
        self._by_legs = len(table.segments) > 0
        self._told = 0
        self._waiting: dict[int | None, list[int]] = {}  # trials, or legs, that the next generations are made of
        self._members: dict[int | None, Members] = {}
        self._parents: FloatArray | None = None  # coordinates, (k, d)
        self._made: tuple[int, FloatArray] = -1, np.empty((0, 0))  # the block of children made last

    def follows(self, table: TrialTable) -> bool:
        """Whether it is made of this table's trials, as they are now: one by one or, once there are any, by legs."""
        return self.table is table and (self._by_legs or not len(table.segments) or not self._told)

    @property
    def exists(self) -> bool:
        """Whether a first generation is complete."""
        return self._parents is not None

    def catch_up(self) -> None:
        """Take in the generations that were completed since the last call."""
        table, segments = self.table, self.table.segments
        self._by_legs = len(segments) > 0
        if not self._by_legs:
            order = table.tell_order
            waiting = self._waiting.setdefault(None, [])
            while len(order) - self._told >= self._size - len(waiting):
                last = self._told + self._size - len(waiting)
                # what failed because of what it ran on says nothing of its point
                waiting += [number for number in order[self._told : last].tolist() if not table.is_lost(number)]
                self._told = last
                if len(waiting) == self._size:
                    self._evolve(None)
            return
        for leg in range(self._told, len(segments)):
            number, resource = int(segments.trial[leg]), int(segments.resource[leg])
            if segments.state[leg] != TrialState.FAILED or not table.is_lost(number):
                self._waiting.setdefault(resource, []).append(leg)
                if len(self._waiting[resource]) == self._size:
                    self._evolve(resource)
            self._told = leg + 1

    def _evolve(self, resource: int | None) -> None:
        """A generation is complete: the best of it and of the survivors before it are the next survivors."""
        table = self.table
        waiting: IntArray = np.array(self._waiting[resource], np.int64)
        self._waiting[resource].clear()
        if resource is None:
            numbers, (losses, penalties) = waiting, losses_and_penalties(table, waiting)
        else:
            numbers = table.segments.trial[waiting].astype(np.int64)
            losses, penalties = leg_losses_and_penalties(table, waiting)
        if resource in self._members:
            before = self._members[resource]
            numbers = np.concatenate([before.numbers, numbers])
            losses = np.concatenate([before.losses, losses])
            penalties = np.concatenate([before.penalties, penalties])
        chosen = np.empty(self._size, np.int64)
        self._kernels.survivors(losses, penalties, chosen)
        self._members[resource] = members = Members(numbers[chosen], losses[chosen], penalties[chosen])
        if resource is None or resource == max(r for r in self._members if r is not None):
            self._parents = np.empty((self._size, len(self._encoded.space.axes)))
            self._kernels.coordinates_of(self._encoded.space.axes, table.params, members.numbers, self._parents)
            self._made = -1, self._made[1]

    def row(self, draw: int) -> FloatArray:
        """One child, as a row (d,) of column values."""
        block, place = divmod(draw, _BLOCK)
        made, rows = self._made
        if made != block:
            rows = self.rows(np.arange(block * _BLOCK, (block + 1) * _BLOCK))
            self._made = block, rows
        row: FloatArray = rows[place]
        return row

    def rows(self, draws: IntArray) -> FloatArray:
        """Children of draws (n,), as rows (n, d)."""
        assert self._parents is not None
        rows = np.empty((len(draws), self._parents.shape[1]))
        self._kernels.breed(
            self._encoded.space,
            self._parents,
            MUTATION_SPREAD,
            self._key.copy(),
            draws.astype(np.uint64),
            rows,
        )
        return self._encoded.on_lattice(rows)
