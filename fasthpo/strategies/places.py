"""The places of a population: which trial holds each, and which is begun next, in step with all others or not.

Both kinds keep only what can be made of the table again. What they offer depends on the trials, not on the order in
which running ones end; so a synchronous population is the same one for any number of workers.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fasthpo.strategies.base import NextLeg
from fasthpo.strategies.exploring import PARENT_STREAM, member_uniforms
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState

_NONE = -1
_BUSY = (TrialState.RUNNING, TrialState.WAITING)
Key = tuple[float, float, int]  # by which members are ranked: violation, loss, member


class Selection(NamedTuple):
    """Truncation selection: the worst members go on from the weights of the best ones.

    Args:
        size: members of the population.
        quantile: the share that is replaced, and from which parents are drawn.
        seed: decides who follows whom.
    """

    size: int
    quantile: float
    seed: int

    @property
    def replaced(self) -> int:
        """How many members are replaced, if none has failed: at least one, where there are two."""
        return min(max(math.floor(self.quantile * self.size + 1e-9), 1), self.size // 2)

    def split(self, keys: Sequence[Key], failed: int) -> tuple[list[int], set[int]]:
        """The members from which parents are drawn, best first, and those that are replaced although they did not fail.

        Args:
            keys: of the members that did not fail, and have a value.
            failed: how many did.
        """
        order = [key[2] for key in sorted(keys)]
        return order[: self.replaced], set(order[self.replaced_from(len(order), failed) :])

    def replaced_from(self, count: int, failed: int) -> int:
        """From which rank on members are replaced, if so many have a value, and so many failed."""
        return max(self.replaced, count - max(self.replaced - failed, 0))

    def parent(self, best: Sequence[int], fork: Fork) -> int:
        """The member that a new one goes on from."""
        return best[int(member_uniforms(self.seed, fork, PARENT_STREAM, 1)[0] * len(best))]


class Places(Protocol):
    """What both kinds of population do; see `Strategy` for the meaning of the calls."""

    retired: list[int]

    @property
    def holders(self) -> list[int]:
        """The trial that holds each place; -1 where none does."""

    def attach(self, table: TrialTable) -> None:
        """Forget everything and take up a table."""

    def next_leg(self, new: bool) -> NextLeg | None:
        """What comes next; None while all wait for running trials, or at the end."""

    def new_leg(self) -> NextLeg | None:
        """The leg of a member that no trial was before; None if there is no place for one."""

    def start(self, leg: NextLeg, number: int) -> None:
        """A leg begins."""

    def end(self, number: int) -> None:
        """A leg has ended."""

    def may_go_on(self, number: int) -> bool:
        """Whether a paused trial still holds its place."""

    @property
    def is_complete(self) -> bool:
        """Whether every place has come to its end."""


def _by_member(key: Key) -> int:
    return key[2]


class _Held:
    """Which trial holds each place, and what the table says of it.

    Args:
        size: how many places there are.
        boundaries: resources at which legs end, ascending.
    """

    def __init__(self, size: int, boundaries: tuple[int, ...]) -> None:
        self.boundaries = boundaries
        self.numbers = [_NONE] * size
        self.table: TrialTable | None = None

    def key(self, member: int, at: int | None = None) -> Key | None:
        """By what a member is ranked: at a boundary, or by what it was told last; None: it failed, or has no value.

        Args:
            member: which.
            at: a resource; None: the latest.
        """
        table, number = self.table, self.numbers[member]
        assert table is not None
        if number == _NONE:
            return None
        legs = table.segments
        leg = legs.latest(number) if at is None else legs.latest_until(number, at)
        state = table.state(number) if at is None or leg == _NONE else legs.state[leg]  # it may have failed since
        if state in (TrialState.FAILED, TrialState.PRUNED):
            return None
        if leg == _NONE:  # until it has a value of its own, it has that of the weights with which it began
            leg = self._begun_with(number)
            if leg == _NONE:
                return None
        if at is not None and legs.resource[leg] < at:  # it lay outside of the space while the others went there
            return None
        loss = table.objectives.loss(float(legs.value[leg]))
        return (float(legs.violation[leg]), loss, member) if math.isfinite(loss) else None

    def _begun_with(self, number: int) -> int:
        """The leg of its parent's that has left the weights with which a trial has begun, or -1."""
        assert self.table is not None
        fork, legs = self.table.lineage.of(number), self.table.segments
        if fork is None or fork.parent == NO_PARENT:
            return _NONE
        return legs.latest_until(fork.parent, fork.step)

    def member(self, number: int) -> int:
        """The place of a trial that is in the population."""
        fork = None if self.table is None else self.table.lineage.of(number)
        assert fork is not None
        return fork.member

    def replace(self, member: int, number: int) -> list[int]:
        """A trial holds a place from now on; the paused one that it takes the place of, if it does."""
        before, self.numbers[member] = self.numbers[member], number
        if before in (number, _NONE) or self.table is None or self.table.state(before) != TrialState.PAUSED:
            return []
        return [before]

    def is_outside(self, number: int) -> bool:
        """Whether a trial lies outside of the search space, as that was changed."""
        former = None if self.table is None else self.table.former
        return former is not None and former.is_outside(number)

    def holds(self, number: int) -> bool:
        """Whether a trial has a place."""
        return self.table is not None and number in self.table.lineage and self.numbers[self.member(number)] == number

    def reached(self, member: int) -> int:
        """The resource that the weights in a place have reached."""
        assert self.table is not None
        number = self.numbers[member]
        return 0 if number == _NONE else self.table.reached(number)

    def next_boundary(self, resource: int) -> int:
        """The first boundary beyond a resource."""
        return self.boundaries[bisect_right(self.boundaries, resource)]

    def fork(self, member: int) -> Fork:
        """Where the trial in a place that has one comes from."""
        assert self.table is not None
        return self.table.lineage.of(self.numbers[member]) or Fork(member, 0)

    def has_value(self, member: int) -> bool:
        """Whether the trial in a place was told anything."""
        assert self.table is not None
        return self.table.segments.latest(self.numbers[member]) != _NONE

    def state(self, member: int) -> TrialState:
        """The state of the trial in a place that has one."""
        assert self.table is not None
        return self.table.state(self.numbers[member])


class SynchronousPlaces:
    """All members are trained to a boundary before any goes on from there.

    Those that are replaced begin before those that go on, so that a parent's weights are copied while it is paused.
    While no new trial may begin, a member that was to be replaced goes on as it is, or waits if it has failed.

    Args:
        selection: who is replaced by whom.
        boundaries: resources at which legs end.
    """

    def __init__(self, selection: Selection, boundaries: tuple[int, ...]) -> None:
        self._selection = selection
        self._held = _Held(selection.size, boundaries)
        self.retired: list[int] = []
        self._generation = 0
        self._legs: dict[int, NextLeg] = {}  # of this generation, by member, that are still to begin
        self._open: set[int] = set()  # members whose leg has not ended
        self._forks: dict[int, list[int]] = {}  # members that are to begin from the weights of a trial, by its number

    @property
    def holders(self) -> list[int]:
        return self._held.numbers

    def attach(self, table: TrialTable) -> None:
        held, self.retired = self._held, []
        held.table = table
        held.numbers = [_NONE] * self._selection.size
        columns = table.lineage.columns(len(table))
        begun = {
            (int(columns["member"][number]), int(columns["generation"][number])): number
            for number in np.flatnonzero(columns["member"] >= 0).tolist()
        }
        self._begin(max((generation for _, generation in begun), default=0), begun)
        if begun and all(number == _NONE or held.is_outside(number) for number in held.numbers):
            self._begin(self._generation + len(held.boundaries), {})
        self._end_generation()

    def _begin(self, generation: int, begun: Mapping[tuple[int, int], int]) -> None:
        """Take up a population from its trials, by member and generation, of which `generation` is one.

        One that begins anew, as none of its trials lies inside a changed space, counts its generations on.
        """
        held, table = self._held, self._held.table
        assert table is not None
        first = generation - generation % len(held.boundaries)
        begun = {place: number for place, number in begun.items() if place[1] >= first}
        held.numbers = [_NONE] * self._selection.size
        resources = table.resources
        latest = max((int(resources[number]) for number in begun.values()), default=0)
        self._generation, boundary = first, held.boundaries[0]
        while boundary < latest:  # a later one has begun, so this one has ended
            held.numbers = [begun.get((member, self._generation), number) for member, number in enumerate(held.numbers)]
            self._generation += 1
            boundary = held.boundaries[self._generation - first]
        self._plan({member for member, generation in begun if generation == self._generation > first})
        holders = (begun.get((member, self._generation), number) for member, number in enumerate(held.numbers))
        started = {
            member: number for member, number in enumerate(holders) if number != _NONE and resources[number] >= boundary
        }
        for member, number in started.items():
            held.numbers[member] = number
            del self._legs[member]
        for member, number in started.items():
            self._drop_forks_from(number)
            if table.state(number) not in _BUSY:
                self._open.discard(member)

    def _plan(self, replaced: Collection[int] = ()) -> None:
        """The legs of the generation that begins now, in which some members have been replaced already."""
        self._legs = self._legs_of(self._generation, replaced)
        self._open = set(self._legs)
        self._forks = {}
        for member, leg in self._legs.items():
            if leg.fork is not None and leg.fork.parent != NO_PARENT:
                self._forks.setdefault(leg.fork.parent, []).append(member)

    def _legs_of(self, generation: int, replaced: Collection[int] = ()) -> dict[int, NextLeg]:
        """The legs of a generation, by member, once all of those before have ended.

        Args:
            generation: which.
            replaced: members whose weights are gone, so that none begins with them. They were among the worst, but need
                not be any more if the space was changed, and others lie outside.
        """
        held, size, place = self._held, self._selection.size, generation % len(self._held.boundaries)
        boundary = held.boundaries[place]
        if place == 0:
            return {member: NextLeg(None, 0, boundary, Fork(member, generation)) for member in range(size)}
        before = held.boundaries[place - 1]
        there = (member for member in range(size) if member not in replaced)
        keys = [key for member in there if (key := held.key(member, before)) is not None]
        best, worst = self._selection.split(keys, failed=size - len(keys))
        forks, others = {}, {key[2]: NextLeg(held.numbers[key[2]], 0, boundary) for key in sorted(keys, key=_by_member)}
        for member in range(size):
            if member in others and member not in worst:
                continue
            others.pop(member, None)
            fork = Fork(member, generation)
            if best:
                parent = self._selection.parent(best, fork)
                fork = fork._replace(parent=held.numbers[parent], step=before)
            forks[member] = NextLeg(None, 0, boundary, fork)
        return forks | others

    def next_leg(self, new: bool) -> NextLeg | None:
        for member, leg in self._legs.items():
            if leg.number is not None or new:
                return leg
            if (without := self._without_fork(member, leg)) is not None:
                return without
        if not self._legs or len(self._legs) < len(self._open) or self._is_last:
            return None
        # no new trial may take the places that are left, so the others go on
        return next((leg for leg in self._legs_of(self._generation + 1).values() if leg.number is not None), None)

    def _without_fork(self, member: int, leg: NextLeg) -> NextLeg | None:
        """The leg of a member that goes on as it is, and is not replaced; None if there is nothing to go on."""
        number = self._held.numbers[member]
        can_go_on = number != _NONE and self._held.state(member) == TrialState.PAUSED
        return NextLeg(number, 0, leg.resource) if can_go_on else None

    def new_leg(self) -> NextLeg | None:
        legs = self._legs.values()
        return next((leg for leg in legs if leg.fork is not None and leg.fork.parent == NO_PARENT), None)

    def start(self, leg: NextLeg, number: int) -> None:
        member = self._held.member(number)
        if leg.resource > self._boundary:
            self._generation += 1
            self._plan()
        self._legs.pop(member, None)
        self._drop_forks_from(number)
        self.retired += self._held.replace(member, number)

    def _drop_forks_from(self, number: int) -> None:
        """A trial goes on from the weights with which others were to begin, so these are not replaced for now."""
        for member in self._forks.pop(number, ()):
            leg = self._legs.get(member)
            if leg is None or leg.fork is None:
                continue
            if (without := self._without_fork(member, leg)) is not None:
                self._legs[member] = without
            else:
                del self._legs[member]
                self._open.discard(member)

    def end(self, number: int) -> None:
        self._open.discard(self._held.member(number))
        self._end_generation()

    def _end_generation(self) -> None:
        if not self._open and not self._is_last:
            self._generation += 1
            self._plan()

    @property
    def _boundary(self) -> int:
        """To which resource this generation is trained."""
        return self._held.boundaries[self._generation % len(self._held.boundaries)]

    @property
    def _is_last(self) -> bool:
        return self._boundary == self._held.boundaries[-1]

    def may_go_on(self, number: int) -> bool:
        return self._held.holds(number)

    @property
    def is_complete(self) -> bool:
        return not self._open and self._is_last


class _Ordered:
    """An entry for each member that has one, the smallest first.

    Args:
        size: how many members there are.
    """

    def __init__(self, size: int) -> None:
        self._of: list[tuple[float, float, int] | None] = [None] * size
        self.entries: list[tuple[float, float, int]] = []

    def set(self, member: int, entry: tuple[float, float, int] | None) -> None:
        """A member has another entry, or none."""
        before, self._of[member] = self._of[member], entry
        if before == entry:
            return
        if before is not None:
            del self.entries[bisect_left(self.entries, before)]
        if entry is not None:
            insort(self.entries, entry)

    def rank(self, member: int) -> int | None:
        """How many entries are smaller than that of a member; None if it has none."""
        entry = self._of[member]
        return None if entry is None else bisect_left(self.entries, entry)


class AsynchronousPlaces:
    """Each member goes on by itself; the one that is furthest behind does so next.

    When it does, it is compared with what all others were told last. It goes on from the weights that its parent had
    when that was told last, though the parent may be on its way from there.

    Args:
        selection: who is replaced by whom.
        boundaries: resources at which legs end.
    """

    def __init__(self, selection: Selection, boundaries: tuple[int, ...]) -> None:
        self._selection = selection
        self._held = _Held(selection.size, boundaries)
        self.retired: list[int] = []
        self._forget()

    def _forget(self) -> None:
        size = self._selection.size
        self._keys = _Ordered(size)
        self._parents = _Ordered(size)  # of these, those that are not at their end
        self._idle = _Ordered(size)  # (reached, generation, member) of those that could go on
        self._known: set[int] = set()  # members that can be compared: they have a value, or have failed
        self._from_zero = [0] * size  # how many trials of each place were trained from the beginning
        self._complete: set[int] = set()  # or given up

    @property
    def holders(self) -> list[int]:
        return self._held.numbers

    def attach(self, table: TrialTable) -> None:
        held, self.retired = self._held, []
        held.table = table
        held.numbers = [_NONE] * self._selection.size
        self._forget()
        columns = table.lineage.columns(len(table))
        members, parents = columns["member"], columns["parent"]
        for number in np.flatnonzero(members >= 0).tolist():
            member = int(members[number])
            held.numbers[member] = number
            self._from_zero[member] += parents[number] == NO_PARENT and not held.is_outside(number)
        for member in range(self._selection.size):
            self._look_at(member)

    def _look_at(self, member: int) -> None:
        """Take up what the table says of a place now."""
        held, number = self._held, self._held.numbers[member]
        if number == _NONE:
            self._idle.set(member, (0, -1, member))
            return
        state, fork = held.state(member), held.fork(member)
        key = held.key(member)
        self._keys.set(member, key)
        if state not in _BUSY or fork.parent != NO_PARENT or held.has_value(member):
            self._known.add(member)
        # one that fails again and again is given up after as many attempts as a synchronous population has
        is_hopeless = key is None and state not in _BUSY and self._from_zero[member] >= len(held.boundaries)
        if state == TrialState.COMPLETE or is_hopeless:
            self._complete.add(member)
        self._parents.set(member, None if member in self._complete else key)
        can_go_on = state not in _BUSY and member not in self._complete
        self._idle.set(member, (held.reached(member), fork.generation, member) if can_go_on else None)

    def next_leg(self, new: bool) -> NextLeg | None:
        held = self._held
        for reached, generation, member in self._idle.entries:
            if generation < 0:
                if new:
                    return NextLeg(None, 0, held.boundaries[0], Fork(member, 0))
                continue
            if new and (fork := self._fork(Fork(member, int(generation) + 1))) is not None:
                return NextLeg(None, 0, held.next_boundary(fork.step), fork)
            if held.state(member) == TrialState.PAUSED:
                return NextLeg(held.numbers[member], 0, held.next_boundary(int(reached)))
        return None

    def _fork(self, fork: Fork) -> Fork | None:
        """Where the next trial in a place comes from; None: the present one goes on."""
        held, keys, replaced = self._held, self._keys.entries, self._selection.replaced
        rank = self._keys.rank(fork.member)
        if rank is not None:
            if 2 * len(self._known) < self._selection.size:
                return None  # too few have been told anything
            if rank < self._selection.replaced_from(len(keys), len(self._known) - len(keys)):
                return None
        parents, best = self._parents.entries, keys[:replaced]
        count = bisect_right(parents, best[-1]) if best else 0
        if rank is None and not count:  # all that could be a parent have come to their end, or failed
            count = len(parents[:replaced])
        if not count:
            return fork if rank is None else None
        parent = parents[self._selection.parent(range(count), fork)][2]
        return fork._replace(parent=held.numbers[parent], step=held.reached(parent))

    def new_leg(self) -> NextLeg | None:
        idle = self._idle.entries
        member = idle[0][2] if idle and idle[0][1] < 0 else None  # those without a trial come first
        return None if member is None else NextLeg(None, 0, self._held.boundaries[0], Fork(member, 0))

    def start(self, leg: NextLeg, number: int) -> None:
        member = self._held.member(number)
        self._from_zero[member] += leg.fork is not None and leg.fork.parent == NO_PARENT
        self.retired += self._held.replace(member, number)
        self._known.discard(member)
        self._look_at(member)

    def end(self, number: int) -> None:
        self._look_at(self._held.member(number))

    def may_go_on(self, number: int) -> bool:
        return self._held.holds(number)

    @property
    def is_complete(self) -> bool:
        return len(self._complete) == self._selection.size
