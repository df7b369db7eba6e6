"""At which points of earlier studies a new one starts: those that all of them together make one expect most of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fasthpo.samplers.base import Sampler
from fasthpo.samplers.encoding import EncodedSpace, encode_space, positions_of_rows
from fasthpo.samplers.penalties import losses_and_penalties
from fasthpo.samplers.targets import normal_targets
from fasthpo.space.partial import completed_row
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.earlier import Earlier, Recalled
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

EVERY, COUNT = 2, 5  # trials: the first one of so many starts at an earlier study's point, so often
_AMONG = 16  # of a study's best points are those
_APART = 0.1  # of the range, in the mean over the parameters, that a point is at least from all trials
_FEWEST = 5  # points of a study, for a process
_STEPS, _FIRST_LENGTH_SCALE, _NOISE = 10, -0.5, -4.0  # as of `GaussianProcess`
_DOUBT = 1.0  # how many trials a weight's first value counts for
_ROUNDS, _CONVERGED = 100, 1e-6  # of the search for weights, and the change of one after which it ends
_ATTEMPTS = 1000  # to complete a point where relations restrict the space


def is_start(number: int) -> bool:
    """Whether a trial may start at an earlier study's point, by its number."""
    return number < EVERY * COUNT and number % EVERY == 0


def can_start(sampler: Sampler) -> bool:
    """Whether a study's trials may be others than the sampler's: not where that has a list of its own, as a grid."""
    return type(sampler).draw_limit is Sampler.draw_limit


class _Process(NamedTuple):
    """A Gaussian process over the points of one earlier study; as kernels take it."""

    fitted: Any
    known: np.ndarray[Any, np.dtype[np.bool_]]  # which parameters the study had, (d,)


class EarlierStarts:
    """The points of earlier studies where a new one starts, chosen one after the other.

    Each earlier study makes one expect something of each point: the mean of a Gaussian process over its own points. The
    next start is the one, of all studies' best points, of which the weighted sum of that is highest. The weights are
    those that explain the ranks of the trials that have ended by now: a study that does not agree with what is seen
    loses its say, and if none agrees, there is no further start.

    Args:
        earlier: what is known of earlier studies.
        space: the new study's.

    Reference:
        Feurer, Letham, Bakshy: Scalable meta-learning for Bayesian optimization using ranking-weighted Gaussian process
            ensembles. AutoML at ICML 2018, arXiv 1802.02219 (processes of earlier studies, weighted by agreement).
    """

    def __init__(self, earlier: Earlier, space: SearchSpace) -> None:
        self.space = space
        self._encoded = encode_space(space)
        self._unordered = np.array([not parameter.is_ordered for parameter in space.parameters])
        recalled = earlier.recalled(space)
        self._processes = [_fitted(one, self._encoded) for one in recalled]
        self._rows = np.concatenate([one.rows[:_AMONG] for one in recalled])
        self._positions = positions_of_rows(self._encoded, self._rows)
        self._expected = self._means(self._positions)
        first = 0
        for k, one in enumerate(recalled):  # what is known is not to be smoothed
            scores = one.scores[:_AMONG]
            self._expected[k, first : first + len(scores)] = scores
            first += len(scores)

    def _means(self, positions: FloatArray) -> FloatArray:
        """What each study makes one expect at positions (d, n), (s, n)."""
        from fasthpo.kernels.gaussian_process import predict

        means = np.zeros((len(self._processes), positions.shape[1]))
        for k, process in enumerate(self._processes):
            if process is not None:
                here = np.where(process.known[:, None], positions, 0.0)
                predict(process.fitted, here, means[k], np.empty(means.shape[1]))
        return means

    def row(self, table: TrialTable, seed: int) -> FloatArray | None:
        """The row (d,) at which the next trial is to start; None if at none of an earlier study.

        Args:
            table: the trials so far, in the space.
            seed: decides the values of parameters that no earlier study knows.
        """
        number = len(table)
        if not is_start(number) or not len(self._rows):
            return None
        begun = np.flatnonzero(table.states != TrialState.WAITING)
        positions = positions_of_rows(self._encoded, table.params[:, begun].T)
        weights = self._weights(table, begun, positions)
        if not weights.any():
            return None
        for place in np.argsort(-(weights @ self._expected), kind="stable").tolist():
            if self._is_apart(self._positions[:, place], positions):
                row = completed_row(self.space, self._rows[place], seed, number, _ATTEMPTS)
                if row is not None and (table.tried is None or not table.tried.holds(row)):
                    return row
        return None

    def _weights(self, table: TrialTable, begun: IntArray, positions: FloatArray) -> FloatArray:
        """How much each study counts, (s,)."""
        told = ~np.isin(table.states[begun], (TrialState.RUNNING, TrialState.WAITING)) & ~table.are_lost(begun)
        losses, penalties = losses_and_penalties(table, begun[told])
        if table.objectives.count > 1:
            from fasthpo.kernels.multi_objective.dominance import constrained_layers

            keys = np.empty(len(losses), np.int64)
            constrained_layers(losses, penalties, keys)
        else:
            order = np.lexsort((losses[:, 0], penalties))
            pairs = np.column_stack([penalties, np.where(penalties == np.inf, 0.0, losses[:, 0])])[order]
            steps = (pairs[1:] != pairs[:-1]).any(axis=1)
            keys = np.empty(len(losses), np.int64)
            keys[order] = np.cumsum([0, *steps])[: len(order)]
        _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - counts / 2)[places]
        return weights_of(self._means(positions[:, told]), normal_targets(ranks))

    def _is_apart(self, place: FloatArray, positions: FloatArray) -> bool:
        """Whether a point (d,) is none of points (d, n), and not near one."""
        if not positions.shape[1]:
            return True
        differences = np.abs(positions - place[:, None])
        lacking = np.isnan(positions) != np.isnan(place)[:, None]
        differences = np.where(np.isnan(differences), lacking, differences)
        differences = np.where(self._unordered[:, None], differences > 0, differences)
        return float(differences.mean(axis=0).min()) >= _APART


def _fitted(one: Recalled, encoded: EncodedSpace) -> _Process | None:
    """The process of an earlier study; None if it has too few points."""
    from fasthpo.kernels import gaussian_process
    from fasthpo.samplers.gaussian_process import length_scale_prior

    if len(one.scores) < _FEWEST or not np.ptp(one.scores) > 0:
        return None
    points = np.where(one.known[:, None], positions_of_rows(encoded, one.rows), 0.0)
    targets = one.scores - one.scores.mean()
    targets /= targets.std()
    n, hyperparameters = len(targets), np.array([_FIRST_LENGTH_SCALE] * len(points) + [_NOISE])
    process = encoded.categorical, hyperparameters, points
    gaussian_process.optimize_hyperparameters(*process, targets, *length_scale_prior(encoded, _NOISE), _STEPS)
    cholesky, alpha = np.zeros((n, n)), np.empty(n)
    scale = gaussian_process.fit(*process, targets, cholesky, alpha)
    return _Process(gaussian_process.FittedProcess(*process, n, scale, cholesky, alpha), one.known)


def weights_of(means: FloatArray, targets: FloatArray) -> FloatArray:
    """The weights (s,) by which means explain targets best, in the sense of least squares; none is negative.

    As if some further trials had been explained by the mean of all.

    Args:
        means: (s, n).
        targets: (n,), of mean 0.
    """
    s = len(means)
    centred = means - (means.mean(axis=1, keepdims=True) if means.size else 0.0)
    products = centred @ centred.T + _DOUBT * np.eye(s)
    goals = centred @ targets + _DOUBT / s
    weights = np.full(s, 1.0 / s)
    for _ in range(_ROUNDS):
        before = weights.copy()
        for k in range(s):
            others = products[k] @ weights - products[k, k] * weights[k]
            weights[k] = max((goals[k] - others) / products[k, k], 0.0)
        if np.abs(weights - before).max() < _CONVERGED:
            break
    return weights
