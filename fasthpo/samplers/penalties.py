"""What keeps trials from being compared by their losses, as a number: that constraints are broken, and others."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

FAILED = math.inf  # the penalty of a trial without finite losses
INFEASIBLE = 1.0  # that of a trial that breaks a constraint is above it, that of one that was given up below


def losses_and_penalties(table: TrialTable, numbers: IntArray) -> tuple[FloatArray, FloatArray]:
    """Losses (n, m) of trials that have ended, and the penalties (n,) by which they are ordered before these.

    The penalty is 0 of a complete trial that breaks no constraint. Behind those come pruned ones, by how far they came;
    then those that break a constraint, by how much they break them all (Deb et al. 2002, section VI); last those that
    came to no finite losses, which all rank alike.

    Args:
        table: the trials.
        numbers: of trials that have ended, (n,).
    """
    losses = _rows(table, table.values[numbers])
    penalties = penalties_of(table, numbers, losses)
    pruned = table.states[numbers] != TrialState.COMPLETE
    if pruned.any():
        for i in np.flatnonzero(pruned & (penalties == 0)).tolist():
            reports, number = table.reports, int(numbers[i])
            last = float(reports.highest[number]) if reports.latest(number) != NONE else -1.0
            penalties[i] = INFEASIBLE / (2.0 + last)
    return losses, penalties


def leg_losses_and_penalties(table: TrialTable, legs: IntArray) -> tuple[FloatArray, FloatArray]:
    """The same of legs under a multi-fidelity strategy: what trials were told at a resource, also of constraints.

    Args:
        table: the trials.
        legs: indices of segments, (n,).
    """
    segments = table.segments
    losses = _rows(table, segments.value[legs])
    penalties = _penalties(losses, segments.violation[legs])
    states = segments.state[legs]
    penalties[(states != TrialState.PAUSED) & (states != TrialState.COMPLETE)] = FAILED
    return losses, penalties


def penalties_of(table: TrialTable, numbers: IntArray, losses: FloatArray) -> FloatArray:
    """Penalties (n,) of complete trials with losses (n, m)."""
    return _penalties(losses, table.violations[numbers] if table.has_constraints else np.zeros(len(numbers)))


def _penalties(losses: FloatArray, violations: FloatArray) -> FloatArray:
    penalties = np.where(np.isfinite(losses).all(axis=1), 0.0, FAILED)
    broken = (penalties == 0) & (violations > 0)  # NaN where none was told
    finite = np.minimum(violations[broken], np.finfo(float).max)
    penalties[broken] = INFEASIBLE + finite / (1.0 + finite)
    return penalties


def _rows(table: TrialTable, values: FloatArray) -> FloatArray:
    """The losses of values, as rows (n, m)."""
    losses = table.objectives.losses(values)
    return losses[:, None] if losses.ndim == 1 else losses
