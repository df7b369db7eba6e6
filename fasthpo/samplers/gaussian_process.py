"""What TPE's candidates are compared by: a Gaussian process that predicts how good a point would be."""

from __future__ import annotations

import bisect
import math
from collections import deque

import numpy as np

from fasthpo.parameter import FloatArray
from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.ranks import WORST, Key, Ranks
from fasthpo.samplers.targets import logarithmic_targets, normal_targets
from fasthpo.table import TrialTable
from fasthpo.trial import TrialState

MOST_POINTS = 128  # trials that the process knows
_MOST_BEST = MOST_POINTS // 2  # of these are the best so far; the rest are the latest
_TOGETHER = MOST_POINTS // 16  # trials taken in at once, when there are more
_RUNNING = 8  # running trials that it knows at least, if there are so many
_MOST_RUNNING = 2 * _RUNNING  # and fewer than so many
_LOOK_BACK = 256  # trials among which running ones are looked for, at least
_STEPS = 10  # of the search for lengthscales
_FIRST_LENGTHSCALE = -0.5  # its logarithm, where that search begins
_NOISE = -4.0  # the mean of the logarithm, of the prior; its standard deviation is 1


class GaussianProcess:
    """A Gaussian process over the best and the latest trials; a function of the trials in order of tells.

    Values are logarithms of the distance to the best loss, in which neither the scale of the losses nor an outlier
    matters (see `targets`); normal scores where no parameter is continuous or losses have no scale. Lengthscales, one a
    parameter, are searched for anew whenever there are a tenth more trials. Up to `MOST_POINTS` trials it knows all of
    them; from then on the best half of that number and the latest others, and it takes in the values of new ones eight
    at a time. Of those that wait to be taken in, and of the latest running ones, it knows where they are.

    Priors are those of Hvarfner, Hellsten, Nardi: Vanilla Bayesian optimization performs great in high dimensions.
    ICML 2024 (a lengthscale's logarithm has the mean sqrt(2) + log(d) / 2 and the variance 3).

    Args:
        arrays: the space.
    """

    def __init__(self, arrays: EncodedSpace) -> None:
        from fasthpo.kernels.axes import CATEGORICAL, CONSTANT, CONTINUOUS, KIND

        kinds = arrays.axes[:, KIND]
        self._axes = arrays.axes
        self.choices = kinds == CATEGORICAL
        self._is_smooth = bool((kinds == CONTINUOUS).any())  # else a table of few values, where ranks say more
        d = len(kinds)
        free = max(int((kinds != CONSTANT).sum()), 1)
        self._centres: FloatArray = np.array([math.sqrt(2) + math.log(free) / 2] * d + [_NOISE])
        self._spreads: FloatArray = np.array([math.sqrt(3)] * d + [1.0])
        self._best: list[Key] = []
        self._latest: deque[Key] = deque(maxlen=MOST_POINTS)
        self._new: list[Key] = []
        self._count = 0
        self._next_search = 0
        self._searched: list[Key] | None = None  # the trials to search with, before the process is asked again
        self._changed = True
        self._awaited: list[int] = []
        self._ranks = Ranks()
        self.parameters: FloatArray = np.empty(0)
        self.points: FloatArray = np.empty((d, 0))
        self.has_failures = False  # whether a trial that it knows came to no finite value
        self.known = 0  # of the points; the others are room for trials without a value
        self.factor: FloatArray = np.empty((0, 0))
        self.pull: FloatArray = np.empty(0)
        self.scale = 1.0

    def add(self, key: Key) -> None:
        """A trial has finished."""
        self._new.append(key)
        self._count += 1
        if self._count > MOST_POINTS and len(self._new) < _TOGETHER:
            return
        for new in self._new:
            bisect.insort(self._best, new)
            self._latest.append(new)
        del self._best[_MOST_BEST:]
        self._new.clear()
        self._changed = True
        if self._count >= self._next_search:
            self._searched = self._known()
            self._next_search = self._count + max(self._count // 10, 1)

    def _known(self) -> list[Key]:
        """The keys of the best and the latest trials, best first."""
        best = {key[3] for key in self._best}
        others = [key for key in self._latest if key[3] not in best]
        return sorted(self._best + others[len(self._best) - MOST_POINTS :])

    def catch_up(self, table: TrialTable) -> None:
        """Learn what was added since the last call, and which trials are running."""
        from fasthpo.kernels.gaussian_process import condition, explain

        if self._searched is not None:
            points, targets = self._learnt(table, self._searched, room=0)
            self.parameters = np.array([_FIRST_LENGTHSCALE] * len(points) + [_NOISE])
            explain(self.choices, self.parameters, points, targets, self._centres, self._spreads, _STEPS)
            self._searched = None
        if self._changed:
            known = self._known()
            self.has_failures = bool(known) and known[-1][0] == WORST
            self.points, targets = self._learnt(table, known, room=_MOST_RUNNING + _TOGETHER)
            rows = self.points.shape[1]
            self.factor, self.pull = np.zeros((rows, rows)), np.empty(len(targets))
            self.scale = condition(self.choices, self.parameters, self.points, targets, self.factor, self.pull)
            self.known = len(targets)
            self._awaited = []
            self._changed = False
        awaited = [key[3] for key in self._new] + self._running_of(table)
        if awaited != self._awaited:
            self._await(table, awaited)

    @property
    def share(self) -> float:
        """How many of all trials it knows, from 0 to 1."""
        return min(MOST_POINTS / max(self._count, 1), 1.0)

    def room(self, table: TrialTable) -> int:
        """How many further suggestions, made one after the other, only add to the running trials that it knows."""
        running = len(self._awaited) - len(self._new)
        return min(_MOST_RUNNING - running, _LOOK_BACK - len(table) % _LOOK_BACK)

    def _learnt(self, table: TrialTable, keys: list[Key], room: int) -> tuple[FloatArray, FloatArray]:
        """Points (d, n + room) and their values (n,), of mean 0."""
        from fasthpo.kernels.axes import positions_of_values

        points = np.zeros((len(self._axes), len(keys) + room))
        numbers = np.array([key[3] for key in keys], np.int64)
        positions_of_values(self._axes, table.params, numbers, 0, points)
        ranks = self._ranks.of(table, keys)
        targets = logarithmic_targets(keys, ranks) if self._is_smooth else None
        return points, normal_targets(ranks) if targets is None else targets

    def _running_of(self, table: TrialTable) -> list[int]:
        """The latest trials that run, at least `_RUNNING` if there are as many; from one ask to the next the list grows
        at its end, and only now and then it starts later."""
        if not table.counts[TrialState.RUNNING]:
            return []
        first = max(len(table) - _LOOK_BACK, 0) // _LOOK_BACK * _LOOK_BACK
        running = first + np.flatnonzero(table.states[first:] == TrialState.RUNNING)
        start = max(len(running) - _RUNNING, 0) // _RUNNING * _RUNNING
        return running[start:].tolist()  # type: ignore[no-any-return]

    def _await(self, table: TrialTable, numbers: list[int]) -> None:
        """Have the process know that the values of trials will be known."""
        from fasthpo.kernels.axes import positions_of_values
        from fasthpo.kernels.gaussian_process import extend

        same = 0
        while same < min(len(numbers), len(self._awaited)) and numbers[same] == self._awaited[same]:
            same += 1
        first = len(self.pull) + same
        self.known = len(self.pull) + len(numbers)
        positions_of_values(self._axes, table.params, np.array(numbers[same:], np.int64), first, self.points)
        for i in range(first, self.known):
            extend(self.choices, self.parameters, self.points, i, self.factor)
        self._awaited = numbers
