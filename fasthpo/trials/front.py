"""The front of a study: its trials that no other is better than in every objective (the Pareto front)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fasthpo.trials.objectives import Objectives
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, masked

_ONE_BY_ONE = 100  # trials that are compared with the front one after the other, rather than sorted all together


class ToldTrials(Protocol):
    """What the front is found in: the table."""

    objectives: Objectives

    @property
    def best_number(self) -> int | None: ...
    @property
    def tell_order(self) -> IntArray: ...
    @property
    def values(self) -> FloatArray: ...
    @property
    def states(self) -> npt.NDArray[np.int8]: ...
    @property
    def violations(self) -> FloatArray: ...


class _Found(NamedTuple):
    """The front of the first trials that were told."""

    told: int  # how many
    numbers: IntArray  # of those on the front, ascending (f,)
    losses: FloatArray  # theirs, (f, m)


class Front:
    """The trials on the front: COMPLETE, feasible, all values finite, and no other such trial is better.

    One is better than another if it is nowhere worse and somewhere better. Of trials with equal values the earliest is
    on the front. It is found when it is asked for, from what it was and the trials told since, so that a tell costs
    nothing, and asking after each tell a comparison with the trials on the front.

    Args:
        table: the trials.
    """

    def __init__(self, table: ToldTrials) -> None:
        self._table = table
        several = table.objectives.count
        self._found = _Found(0, np.empty(0, np.int64), np.empty((0, several)))

    @property
    def numbers(self) -> IntArray:
        """The trials' numbers, ascending, int64 (f,); with one objective that of the best trial."""
        table = self._table
        if table.objectives.count == 1:
            best = table.best_number
            return np.array([] if best is None else [best], np.int64)
        return self._up_to_date().numbers

    @property
    def losses(self) -> FloatArray:
        """Their losses, (f, m)."""
        table = self._table
        if table.objectives.count == 1:
            return table.objectives.losses(table.values[self.numbers])[:, None]
        return self._up_to_date().losses

    def _up_to_date(self) -> _Found:
        table, found = self._table, self._found
        order = table.tell_order
        if found.told < len(order):
            new = order[found.told :]
            values = table.values[new]
            counts = (table.states[new] == TrialState.COMPLETE) & np.isfinite(values).all(axis=1)
            counts &= ~(table.violations[new] > 0)
            numbers, losses = new[counts], table.objectives.losses(values[counts])
            if len(numbers) <= _ONE_BY_ONE:
                for number, loss in zip(numbers.tolist(), losses, strict=True):
                    found = _with(found, number, loss)
            else:
                found = _with_many(found, numbers, losses)
            self._found = found._replace(told=len(order))
        return self._found

    def knee(self) -> int | None:
        """The trial on the front that gives up least of each objective to be good in all; None below three trials.

        Each objective is scaled to go from 0, the best on the front, to 1, the worst there; the knee has the least sum,
        which is to be furthest from the plane through the ends of the front, on the better side (Das: On characterizing
        the "knee" of the Pareto curve. Structural Optimization 18, 1999).
        """
        numbers, losses = self.numbers, self.losses
        if len(numbers) < 3 or losses.shape[1] == 1:
            return None
        return int(numbers[np.argmin(scaled(losses).sum(axis=1))])


@masked
def scaled(losses: FloatArray) -> FloatArray:
    """Losses (n, m) so that each objective goes from 0 to 1; 0 where all are equal."""
    halves = losses / 2  # the difference of two floats may overflow
    distances = halves - halves.min(axis=0)
    spans = distances.max(axis=0)
    found: FloatArray = np.divide(distances, spans, out=np.zeros_like(distances), where=spans > 0)
    return found


def _with(found: _Found, number: int, losses: FloatArray) -> _Found:
    """The front once another trial is compared with it."""
    _, numbers, known = found
    no_worse, no_better = (known <= losses).all(axis=1), (known >= losses).all(axis=1)
    if no_worse.any():
        equal = np.flatnonzero(no_worse & no_better)
        if not len(equal) or numbers[equal[0]] < number:
            return found
    kept = ~no_better
    numbers, known = numbers[kept], known[kept]
    place = int(np.searchsorted(numbers, number))
    return found._replace(numbers=np.insert(numbers, place, number), losses=np.insert(known, place, losses, axis=0))


def _with_many(found: _Found, numbers: IntArray, losses: FloatArray) -> _Found:
    """The same with many others."""
    from fasthpo.kernels.multi_objective.dominance import front

    numbers, losses = np.concatenate([found.numbers, numbers]), np.concatenate([found.losses, losses])
    by_number = np.argsort(numbers)
    numbers, losses = numbers[by_number], losses[by_number]
    kept = np.empty(len(numbers), np.int64)
    kept = kept[: front(losses, kept)]  # equal ones stand one after the other, the earliest first
    if len(kept):
        kept = np.sort(kept[np.append(True, (losses[kept][1:] != losses[kept][:-1]).any(axis=1))])
    return found._replace(numbers=numbers[kept], losses=losses[kept])
