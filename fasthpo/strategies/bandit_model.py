"""What PB2 learns of a population: with which parameters members have come to stand best, and when."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.kernels.arrays import BoolArray
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.targets import normal_targets
from fasthpo.strategies.exploring import are_possible, member_index, perturbed
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_CANDIDATE_STREAM = 84
_MOST_LEGS = 128  # the latest ones, to which the process is fitted; and so many that are pending, at most
_LEAST_LEGS = 4
_CANDIDATES, _NEAR = 256, 64  # drawn from the prior; near the parent
_STEPS = 15  # of the search for length scales
_FIRST_LENGTH_SCALE, _NOISE = -0.5, -2.0  # logarithms; legs are noisy
_MORE = 2  # axes besides the parameters: when a leg began, and where its member stood then
_WEIGHT, _GROWTH = 0.2, 0.4  # of the deviation, as in the authors' program


class _Told:
    """The legs of a population by the resource to which they went, as far as later decisions may need them.

    Args:
        table: the trials, from which legs are taken up as they are told.
    """

    def __init__(self, table: TrialTable) -> None:
        self._table = table
        self._taken = 0
        self._by_resource: dict[int, list[int]] = {}

    def latest(self, until: int | None) -> IntArray:
        """The legs to the largest resources, all of those to each: at least `_MOST_LEGS`, if there are so many.

        They are ordered by resource and trial, and so the same for any number of workers. Those to smaller resources
        are forgotten, as none of them is ever among the latest again.

        Args:
            until: legs that went further are not looked at, which is never less than it was before; None: all are.
        """
        table, legs = self._table, self._table.segments
        for leg in range(self._taken, len(legs)):
            if int(legs.trial[leg]) in table.lineage:
                self._by_resource.setdefault(int(legs.resource[leg]), []).append(leg)
        self._taken = len(legs)
        found: list[int] = []
        for resource in sorted(self._by_resource, reverse=True):
            if until is not None and resource > until:
                continue
            if len(found) >= _MOST_LEGS:
                del self._by_resource[resource]
            else:
                found += self._by_resource[resource]
        chosen = np.array(found, np.int64)
        ordered: IntArray = chosen[np.lexsort((legs.trial[chosen], legs.resource[chosen]))]
        return ordered


class _Legs:
    """Legs that a decision may know of, in the order of resource and trial.

    Args:
        table: the trials.
        chosen: which legs, all of those to each resource, (n,).
        largest: resource.

    Attributes:
        trial: the trial of each, (n,).
        start: the resource at which it began, as a share of the largest.
        standing: where its member stood then among those that it was compared with, from 0 (best) to 1.
        target: the rank of its value among the legs to the same resource, as a normal score; the higher, the better.
    """

    def __init__(self, table: TrialTable, chosen: IntArray, largest: int) -> None:
        legs = table.segments
        end, loss = legs.resource[chosen], _losses(table, chosen)
        earlier = np.array([_before(table, leg) for leg in chosen.tolist()], np.int64)
        begun = earlier != NONE
        before, start = np.full(len(chosen), np.nan), np.zeros(len(chosen))
        before[begun], start[begun] = _losses(table, earlier[begun]), legs.resource[earlier[begun]]
        self.trial: IntArray = legs.trial[chosen]
        self.start: FloatArray = start / largest
        self.standing: FloatArray = np.full(len(chosen), 0.5)
        self.target: FloatArray = np.zeros(len(chosen))
        for resource in np.unique(end):
            group = np.flatnonzero(end == resource)
            self.target[group] = normal_targets(_ranks(loss[group]))
            group = group[begun[group]]
            if len(group):
                self.standing[group] = _ranks(before[group]) / len(group)

    def latest(self, most: int) -> _Legs:
        """The last ones only."""
        for name in ("trial", "start", "standing", "target"):
            setattr(self, name, getattr(self, name)[-most:])
        return self


def _losses(table: TrialTable, legs: IntArray) -> FloatArray:
    """What legs came to, to be minimised; infinite if that is nothing."""
    value = table.segments.value[legs]
    loss = np.where(np.isfinite(value), table.objectives.losses(value), np.inf)
    loss[np.isin(table.segments.state[legs], (TrialState.FAILED, TrialState.PRUNED))] = np.inf
    return loss


def _before(table: TrialTable, leg: int) -> int:
    """The leg that left the weights with which a leg began, or -1."""
    legs = table.segments
    if legs.previous[leg] != NONE:
        return int(legs.previous[leg])
    fork = table.lineage.of(int(legs.trial[leg]))
    if fork is None or fork.parent == NO_PARENT:
        return NONE
    return legs.latest_until(fork.parent, fork.step)


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1/2 to n - 1/2; equal values share theirs."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values)) + 0.5
    _, group = np.unique(values, return_inverse=True)
    shared: FloatArray = (np.bincount(group, ranks) / np.bincount(group))[group]
    return shared


class BanditModel:
    """A Gaussian process over parameters, time and standing, and the candidate whose upper confidence bound is highest.

    Time is one more axis of the process, whose length scale is learnt: how fast old legs lose their meaning. Members
    that were begun in the same generation are pending: near them the deviation is small already.

    Args:
        table: the trials.
    """

    def __init__(self, table: TrialTable) -> None:
        self._table = table
        self._told = _Told(table)
        self._space = table.space
        self._encoded = encode_space(table.space)
        self._categorical = np.append(self._encoded.categorical, [False] * _MORE)

    def row(
        self,
        fork: Fork,
        mutable: BoolArray,
        perturbation: float,
        seed: int,
        until: int | None,
        largest: int,
        pending: IntArray,
    ) -> FloatArray | None:
        """The parameters (d,) of a member that begins; None if there is too little to learn from, or none is possible.

        Args:
            fork: where it comes from.
            mutable: which parameters may change, (d,).
            perturbation: how far candidates near the parent's parameters are, see `moved`.
            seed: decides what is drawn.
            until: legs that went further are not looked at; None: all are.
            largest: resource.
            pending: trials that have begun, and are not told yet; the latest ones count.
        """
        from fasthpo.kernels import axes, gaussian_process  # imports numba

        table, pending = self._table, pending[-_MOST_LEGS:]
        legs = _Legs(table, self._told.latest(until), largest).latest(_MOST_LEGS)
        if len(legs.trial) < _LEAST_LEGS or not legs.target.any():
            return None
        space, d, n, size = self._encoded.space, len(self._space), len(legs.trial), len(legs.trial) + len(pending)
        points = np.zeros((d + _MORE, size))
        axes.positions_of_values(space.axes, table.params, np.append(legs.trial, pending), 0, points[:d])
        now = fork.step / largest
        points[d, :n], points[d, n:] = legs.start, now
        points[d + 1, :n], points[d + 1, n:] = legs.standing, 0.0  # those that begin stand where the best do
        free = max(int((self._encoded.numeric | self._encoded.categorical).sum()), 1) + _MORE
        means = np.array([math.sqrt(2) + math.log(free) / 2] * (d + _MORE) + [_NOISE])
        deviations = np.array([math.sqrt(3)] * (d + _MORE) + [1.0])
        hyperparameters = np.array([_FIRST_LENGTH_SCALE] * (d + _MORE) + [_NOISE])
        known = np.ascontiguousarray(points[:, :n])
        gaussian_process.optimize_hyperparameters(
            self._categorical, hyperparameters, known, legs.target, means, deviations, _STEPS
        )
        cholesky, alpha = np.zeros((size, size)), np.empty(n)
        fitted = self._categorical, hyperparameters, points
        scale = gaussian_process.fit(*fitted, legs.target, cholesky, alpha)
        for i in range(n, size):
            gaussian_process.extend_cholesky(*fitted, i, cholesky)
        process = gaussian_process.FittedProcess(*fitted, size, scale, cholesky, alpha)
        rows = self._candidates(table.params[:, fork.parent], fork, mutable, perturbation, seed)
        if not len(rows):
            return None
        candidates = np.zeros((d + _MORE, len(rows)))
        axes.positions_of_values(space.axes, np.ascontiguousarray(rows.T), np.arange(len(rows)), 0, candidates[:d])
        candidates[d] = now
        mean, deviation = np.empty(len(rows)), np.empty(len(rows))
        gaussian_process.predict(process, candidates, mean, deviation)
        weight = math.sqrt(_WEIGHT + max(0.0, math.log(_GROWTH * n)))
        row: FloatArray = rows[np.argmax(mean + weight * deviation)]
        return row

    def _candidates(
        self, parent: FloatArray, fork: Fork, mutable: BoolArray, perturbation: float, seed: int
    ) -> FloatArray:
        """Points (m, d) that a member may go on with: drawn from the prior where it may change, and near the parent."""
        space = self._space
        units = uniforms(seed, np.array([member_index(fork)]), _CANDIDATE_STREAM, _CANDIDATES * len(space))
        units = units.reshape(_CANDIDATES, len(space))
        rows = np.empty((_CANDIDATES, len(space)))
        for j, parameter in enumerate(space.parameters):
            kept = not mutable[j] and not np.isnan(parent[j])
            rows[:, j] = parent[j] if kept else parameter.from_unit(units[:, j])
        first = fork.member * _NEAR
        near = [
            perturbed(space, parent, mutable, perturbation * (1 + k % 4), 0.1, seed, fork._replace(member=first + k))
            for k in range(_NEAR)
        ]
        rows = np.concatenate([space.put_inside(space.deactivate(rows)), near])  # those near it are inside
        found: FloatArray = rows[are_possible(space, rows, parent, mutable)]
        return found
