"""What TPE's candidates are compared by: a Gaussian process over the trials, whose values are `targets`."""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.ranks import WORST, Ranks, SortKey
from fasthpo.samplers.targets import logarithmic_targets, normal_targets
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

if TYPE_CHECKING:
    from fasthpo.kernels.gaussian_process import FittedProcess

MOST_POINTS = 128  # trials whose values it is fitted to
_MOST_BEST = MOST_POINTS // 2  # of these are the best so far; the rest are the latest
_BATCH = MOST_POINTS // 16  # trials taken in at once, when there are more
_PENDING = 8  # running trials that it holds as pending at least, if there are so many
MOST_PENDING = 2 * _PENDING  # and fewer than so many
_LOOK_BACK = 256  # trials among which running ones are looked for, at least
_LEAST_DISTINCT = 0.95  # of the trials' losses, else there are plateaus
STEPS = 10  # of the search for hyperparameters
FIRST_LENGTH_SCALE = -0.5  # its logarithm, where that search begins
_NOISE = -4.0  # the mean of the logarithm, of the prior; its standard deviation is 1


def length_scale_prior(space: EncodedSpace, noise: float) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of the logarithms of the length scales and, last, of the noise, (d + 1,) each.

    The prior of Hvarfner, Hellsten, Nardi: Vanilla Bayesian optimization performs great in high dimensions. ICML 2024.

    Args:
        space: the search space.
        noise: the mean of the noise's logarithm.
    """
    d = len(space.space.axes)
    free = max(int((space.numeric | space.categorical).sum()), 1)
    return np.array([math.sqrt(2) + math.log(free) / 2] * d + [noise]), np.array([math.sqrt(3)] * d + [1.0])


def running_of(table: TrialTable) -> list[int]:
    """The latest trials that run, at least `_PENDING` if there are as many; from one ask to the next the list grows at
    its end, and only now and then it starts later."""
    if not table.counts[TrialState.RUNNING]:
        return []
    first = max(len(table) - _LOOK_BACK, 0) // _LOOK_BACK * _LOOK_BACK
    running = first + np.flatnonzero(table.states[first:] == TrialState.RUNNING)
    start = max(len(running) - _PENDING, 0) // _PENDING * _PENDING
    return running[start:].tolist()  # type: ignore[no-any-return]


class GaussianProcess:
    """A Gaussian process over the best and the latest trials; a function of the trials in order of tells.

    Values are logarithms of the distance to the best loss, in which neither the scale of the losses nor an outlier
    matters (see `targets`); normal scores where no parameter is continuous or losses have no scale. Length scales, one
    a parameter, are optimised anew whenever there are a tenth more trials. Up to `MOST_POINTS` trials it is fitted to
    all of them; from then on to the best half of that number and the latest others, and it takes in the values of new
    ones eight at a time. Those that wait to be taken in, and the latest running ones, are pending: points without a
    value, near which the posterior deviation is small already.

    Priors are those of Hvarfner, Hellsten, Nardi: Vanilla Bayesian optimization performs great in high dimensions.
    ICML 2024 (a length scale's logarithm has the mean sqrt(2) + log(d) / 2 and the variance 3).

    Args:
        space: the search space.

    Attributes:
        arrays: what it knows, as the kernels take it; there is room for more pending points. Made by `catch_up`.
        has_failures: whether a trial that it is fitted to came to no finite value.
        has_plateaus: whether losses repeat among the trials that it is fitted to, as if read from a table.
    """

    arrays: FittedProcess

    def __init__(self, space: EncodedSpace, pruned_by_rank: bool = False) -> None:
        from fasthpo.kernels import axes, gaussian_process  # imports numba

        self._geometry, self._kernels = axes, gaussian_process
        self._axes = space.space.axes
        self._categorical = space.categorical
        self._is_smooth = bool(space.continuous.any())  # else a table of few values, where ranks say more
        self._prior_means, self._prior_deviations = length_scale_prior(space, _NOISE)
        self._best: list[SortKey] = []
        self._latest: deque[SortKey] = deque(maxlen=MOST_POINTS)
        self._new: list[SortKey] = []
        self._count = 0
        self._next_optimization = 0
        self._optimized_with: list[SortKey] | None = None  # trials to optimise with, before the next prediction
        self._changed = True
        self._pending: list[int] = []
        self._ranks = Ranks(pruned_by_rank)
        self._hyperparameters: FloatArray = np.empty(0)
        self.has_failures = self.has_plateaus = False

    def add(self, keys: list[SortKey]) -> None:
        """Trials have finished."""
        for key in keys:
            self._new.append(key)
            self._count += 1
            if self._count <= MOST_POINTS or len(self._new) == _BATCH:
                self._take_new()

    def _take_new(self) -> None:
        for new in self._new:
            if len(self._best) < _MOST_BEST or new < self._best[-1]:
                bisect.insort(self._best, new)
                del self._best[_MOST_BEST:]
        self._latest.extend(self._new)
        self._new.clear()
        self._changed = True
        if self._count >= self._next_optimization:
            self._optimized_with = self._fitted()
            self._next_optimization = self._count + max(self._count // 10, 1)

    def _fitted(self) -> list[SortKey]:
        """The keys of the best and the latest trials, best first."""
        best = {key[3] for key in self._best}
        others = [key for key in self._latest if key[3] not in best]
        return sorted(self._best + others[len(self._best) - MOST_POINTS :])

    def catch_up(self, table: TrialTable) -> None:
        """Fit to what was added since the last call, and take in which trials are running."""
        if self._optimized_with is not None:
            points, targets = self._training_data(table, self._optimized_with, room=0)
            self._hyperparameters = np.array([FIRST_LENGTH_SCALE] * len(points) + [_NOISE])
            self._kernels.optimize_hyperparameters(
                self._categorical,
                self._hyperparameters,
                points,
                targets,
                self._prior_means,
                self._prior_deviations,
                STEPS,
            )
            self._optimized_with = None
        if self._changed:
            fitted = self._fitted()
            self.has_failures = bool(fitted) and fitted[-1][0] == WORST
            self.has_plateaus = len({key[:3] for key in fitted}) < _LEAST_DISTINCT * len(fitted)
            points, targets = self._training_data(table, fitted, room=MOST_PENDING + _BATCH)
            rows = points.shape[1]
            cholesky, alpha = np.zeros((rows, rows)), np.empty(len(targets))
            space, size = (self._categorical, self._hyperparameters, points), len(targets)
            output_scale = self._kernels.fit(*space, targets, cholesky, alpha)
            self.arrays = self._kernels.FittedProcess(*space, size, output_scale, cholesky, alpha)
            self._pending = []
            self._changed = False
        pending = [key[3] for key in self._new] + running_of(table)
        if pending != self._pending:
            self._add_pending(table, pending)

    def ranked(self) -> list[int]:
        """The trials that it is fitted to, the best first."""
        return [key[3] for key in self._fitted()]

    @property
    def sees_slopes(self) -> bool:
        """Whether its expected improvement is worth climbing: it knows all trials, and losses change with the point."""
        return self._is_smooth and self._count <= MOST_POINTS and not (self.has_failures or self.has_plateaus)

    @property
    def share(self) -> float:
        """How many of all trials it is fitted to, from 0 to 1."""
        return min(MOST_POINTS / max(self._count, 1), 1.0)

    def room(self, table: TrialTable) -> int:
        """How many further suggestions, made one after the other, only add to the running trials that it holds."""
        running = len(self._pending) - len(self._new)
        return min(MOST_PENDING - running, _LOOK_BACK - len(table) % _LOOK_BACK)

    def _training_data(self, table: TrialTable, keys: list[SortKey], room: int) -> tuple[FloatArray, FloatArray]:
        """Points (d, n + room) and their values (n,), of mean 0."""
        points = np.zeros((len(self._axes), len(keys) + room))
        numbers = np.array([key[3] for key in keys], np.int64)
        self._geometry.positions_of_values(self._axes, table.params, numbers, 0, points)
        ranks = self._ranks.of(table, keys)
        targets = logarithmic_targets(keys, ranks) if self._is_smooth else None
        return points, normal_targets(ranks) if targets is None else targets

    def _add_pending(self, table: TrialTable, numbers: list[int]) -> None:
        """Append points whose values are still to come."""
        known, same = self.arrays, 0
        while same < min(len(numbers), len(self._pending)) and numbers[same] == self._pending[same]:
            same += 1
        first, size = len(known.alpha) + same, len(known.alpha) + len(numbers)
        new = np.array(numbers[same:], np.int64)
        self._geometry.positions_of_values(self._axes, table.params, new, first, known.points)
        for i in range(first, size):
            self._kernels.extend_cholesky(known.categorical, known.hyperparameters, known.points, i, known.cholesky)
        self.arrays = known._replace(size=size)
        self._pending = numbers
