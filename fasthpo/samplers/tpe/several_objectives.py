"""TPE under several objectives: a Gaussian process an objective, and candidates that may improve the front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasthpo.kernels.arrays import WordArray
from fasthpo.kernels.tpe.densities import Below
from fasthpo.samplers.encoding import EncodedSpace
from fasthpo.samplers.gaussian_process import (
    FIRST_LENGTH_SCALE,
    MOST_PENDING,
    STEPS,
    length_scale_prior,
    running_of,
)
from fasthpo.samplers.penalties import FAILED, INFEASIBLE
from fasthpo.samplers.tpe.front_split import FrontSplit, Told
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, masked

if TYPE_CHECKING:
    from fasthpo.kernels.multi_objective.processes import Processes

MOST_POINTS = 96  # trials whose losses they are fitted to
_BEST = MOST_POINTS // 2  # of these are the best so far; the rest are the latest
_BATCH = 8  # trials taken in at once, when there are more
_NOISE = -6.0  # the mean of the logarithm, of the prior; its standard deviation is 1
CONFIDENCE = 2.0  # posterior standard deviations between the mean and the lower confidence bound
CLIMBERS = 8  # candidates from which others climb
CHILDREN = 3  # of each of them, in a round
ROUNDS = 2  # of climbing
STREAMS = 3 + ROUNDS + 1  # random streams of a suggestion
_LARGEST = float(np.finfo(float).max)


@masked
def scaled_losses(losses: FloatArray, best: FloatArray) -> FloatArray:
    """Losses (n, m) so that the front goes from 0 to 1; beyond it, on either side, only their logarithms grow.

    So the hypervolume that the front gains is the same but for a factor, and a loss that is far from it, however large,
    does not bend what is learnt of the others. Only trials that break a constraint can lie before the front.

    Args:
        losses: finite.
        best: those of the front, (k, m), k at least 1.
    """
    low, high = best.min(axis=0) / 8, best.max(axis=0) / 8  # an eighth, as the difference of two floats may overflow
    far = losses / 8 - low
    spans = high - low
    middle = np.median(far, axis=0)
    spans = np.where(
        spans > 0, spans, np.where(middle > 0, middle, np.where(far.max(axis=0) > 0, far.max(axis=0), 1.0))
    )
    units = np.clip(far / spans, -_LARGEST, _LARGEST)
    above, under = 1 + np.log(np.maximum(units, 1)), -np.log1p(np.maximum(-units, 0))
    scaled: FloatArray = np.where(units > 1, above, np.where(units < 0, under, units))
    return scaled


class FrontSearch:
    """Gaussian processes over the best and the latest trials, one an objective; a function of the order of tells.

    Losses are scaled by `scaled_losses`. A candidate's score is the hypervolume that its lower confidence bounds add to
    the front; with more than four objectives, where that costs too much, their weighted maximum, by weights that are
    drawn anew for each suggestion. Candidates are drawn from the density of the below trials; then some differ a little
    from the best ones. If trials break constraints, one more process learns which, and the score is multiplied by the
    probability that none is broken. Hyperparameters, and which trials are known, are as in `GaussianProcess`.

    The acquisition is that of Ponweiser, Wagner, Biermann, Vincze: Multiobjective optimization on a limited budget of
    evaluations using model-assisted S-metric selection. PPSN 2008.

    Args:
        space: the search space.
        objectives: how many there are.
        split: which trials are the best; whoever has this one adds to it.
    """

    def __init__(self, space: EncodedSpace, objectives: int, split: FrontSplit) -> None:
        from fasthpo.kernels import axes, gaussian_process
        from fasthpo.kernels.multi_objective import dominance, processes, proposing

        self._geometry, self._single, self._dominance = axes, gaussian_process, dominance
        self._several, self._proposing = processes, proposing
        self._encoded = space
        self._objectives = objectives
        self._split = split
        self._prior_means, self._prior_deviations = length_scale_prior(space, _NOISE)
        self._latest = self._best = Told(np.empty(0, np.int64), np.empty((0, objectives)), np.empty(0))
        self._new: list[Told] = []  # trials that wait to be taken in
        self._new_numbers: list[int] = []
        self._count = 0
        self._next_optimization = 0
        self._optimized_with: Told | None = None  # trials to optimise with, before the next prediction
        self._changed = True
        self._pending: list[int] = []
        self._hyperparameters: FloatArray = np.empty((0, len(self._prior_means)))
        self._processes: Processes
        self._front: FloatArray = np.empty((0, objectives))
        self._reference: FloatArray = np.ones(objectives)

    def add(self, told: Told) -> None:
        """Trials have finished, in this order; they are handed on to the split."""
        done, total = 0, len(told.numbers)
        while done < total:
            due = 1 if self._count < MOST_POINTS else _BATCH - len(self._new_numbers)
            if self._count >= MOST_POINTS and not self._new_numbers:
                # of many, all are taken at once that lead to the next search for hyperparameters, or to the end
                until_search = -(-(self._next_optimization - self._count) // _BATCH)
                due = _BATCH * max(min(until_search, (total - done) // _BATCH), 1)
            some = told.at(slice(done, done + due))
            done += len(some.numbers)
            self._split.keep(some)
            self._count += len(some.numbers)
            self._new.append(some)
            self._new_numbers += some.numbers.tolist()
            if self._count > MOST_POINTS and len(self._new_numbers) < _BATCH:
                return
            self._latest = Told.joined([self._latest, *self._new]).at(slice(-MOST_POINTS, None))
            self._new, self._new_numbers = [], []
            self._changed = True
            is_last = total - done < (1 if self._count < MOST_POINTS else _BATCH)
            is_due = self._count >= self._next_optimization
            if is_last or is_due:
                self._best = self._split.first(_BEST)
            if is_due:
                self._optimized_with = self._fitted()
                self._next_optimization = self._count + max(self._count // 10, 1)

    def _fitted(self) -> Told:
        """The best and the latest trials, by number."""
        others = self._latest.at(np.flatnonzero(~np.isin(self._latest.numbers, self._best.numbers)))
        room = MOST_POINTS - len(self._best.numbers)
        fitted = Told.joined([self._best, others.at(slice(max(len(others.numbers) - room, 0), None))])
        return fitted.at(np.argsort(fitted.numbers))

    def catch_up(self, table: TrialTable) -> None:
        """Fit to what was added since the last call, and take in which trials are running."""
        if self._optimized_with is not None:
            points, targets, _, _ = self._training_data(table, self._optimized_with, room=0)
            self._hyperparameters = np.array([[FIRST_LENGTH_SCALE] * len(points) + [_NOISE]] * len(targets))
            for hyperparameters, values in zip(self._hyperparameters, targets, strict=True):
                self._single.optimize_hyperparameters(
                    self._encoded.categorical,
                    hyperparameters,
                    points,
                    values,
                    self._prior_means,
                    self._prior_deviations,
                    STEPS,
                )
            self._optimized_with = None
        if self._changed:
            self._fit(table)
            self._changed = False
        pending = self._new_numbers + running_of(table)
        if pending != self._pending:
            self._add_pending(table, pending)

    def _fit(self, table: TrialTable) -> None:
        points, targets, centers, spreads = self._training_data(table, self._fitted(), MOST_PENDING + _BATCH)
        if len(self._hyperparameters) < len(targets):  # the first infeasible trial since they were optimised
            first = [[FIRST_LENGTH_SCALE] * len(points) + [_NOISE]]
            self._hyperparameters = np.concatenate([self._hyperparameters, first])
        count, rows = len(targets), points.shape[1]
        cholesky, alpha = np.zeros((count, rows, rows)), np.empty(targets.shape)
        scales = np.empty(count)
        hyperparameters = self._hyperparameters[:count]
        for p in range(count):
            scales[p] = self._single.fit(
                self._encoded.categorical, hyperparameters[p], points, targets[p], cholesky[p], alpha[p]
            )
        self._processes = self._several.Processes(
            self._encoded.categorical,
            hyperparameters,
            points,
            targets.shape[1],
            scales,
            cholesky,
            alpha,
            centers,
            spreads,
        )
        self._pending = []

    def _training_data(
        self, table: TrialTable, told: Told, room: int
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Points (d, n + room), their values (p, n), of mean 0 and variance 1, and what these were (p,)."""
        numbers, losses, penalties = told
        points = np.zeros((len(self._prior_means) - 1, len(numbers) + room))
        self._geometry.positions_of_values(self._encoded.space.axes, table.params, numbers, 0, points)
        broken = (penalties > INFEASIBLE) & (penalties < FAILED)
        usable = (penalties == 0) | broken  # neither pruned nor failed
        targets = np.zeros((len(numbers), self._objectives))
        if usable.any():
            kept = np.empty(len(numbers), np.int64)
            free = np.flatnonzero(penalties == 0)
            among = free if len(free) else np.flatnonzero(usable)
            front = among[kept[: self._dominance.front(losses[among], kept)]]
            targets[usable] = scaled_losses(losses[usable], losses[front])
            targets[~usable] = targets[usable].max(axis=0)
            self._front = targets[front]
            margin = 1.0 / max(len(front) - 1, 1)
            self._reference = np.maximum(self._front.max(axis=0), 1.0) + min(max(margin, 0.1), 1.0)
        if broken.any():
            violations = np.where(broken, penalties - INFEASIBLE, -0.5)
            targets = np.column_stack([targets, violations])
        values = targets.T.copy()
        centers, spreads = values.mean(axis=1), values.std(axis=1)
        spreads[spreads == 0] = 1.0
        return points, (values - centers[:, None]) / spreads[:, None], centers, spreads

    def _add_pending(self, table: TrialTable, numbers: list[int]) -> None:
        """Append points whose values are still to come."""
        known, same = self._processes, 0
        while same < min(len(numbers), len(self._pending)) and numbers[same] == self._pending[same]:
            same += 1
        first = known.alpha.shape[1] + same
        size = first + len(numbers) - same
        new: IntArray = np.array(numbers[same:], np.int64)
        self._geometry.positions_of_values(self._encoded.space.axes, table.params, new, first, known.points)
        self._several.add_pending_points(known, first, size)
        self._processes = known._replace(size=size)
        self._pending = numbers

    def candidates(self, below: Below, keys: WordArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows of column values, and their scores.

        Args:
            below: the density from which they are drawn.
            keys: of the random streams, (STREAMS, 5).
            count: `n_ei_candidates`.
        """
        drawn = -(-count // self._proposing.PARTS) * self._proposing.PARTS
        total = drawn + CHILDREN * CLIMBERS * ROUNDS
        values, scores = np.empty((total, len(self._prior_means) - 1)), np.empty(total)
        share = min(MOST_POINTS / max(self._count, 1), 1.0)
        self._proposing.propose(
            self._encoded.space,
            below,
            self._processes,
            self._front,
            self._reference,
            CONFIDENCE * share,
            drawn,
            CLIMBERS,
            CHILDREN,
            keys,
            values,
            scores,
        )
        return values, scores
