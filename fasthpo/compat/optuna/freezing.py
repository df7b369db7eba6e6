"""Trials of fasthpo's as Optuna's frozen ones."""

from __future__ import annotations

import datetime
import math
from typing import Any

from fasthpo.compat.optuna.distributions import BaseDistribution, distribution_of
from fasthpo.compat.optuna.frozen import FrozenTrial, TrialState
from fasthpo.compat.optuna.parts import Parts
from fasthpo.trials.trial import TrialState as OwnState

STATES = {
    OwnState.RUNNING: TrialState.RUNNING,
    OwnState.PAUSED: TrialState.RUNNING,
    OwnState.COMPLETE: TrialState.COMPLETE,
    OwnState.PRUNED: TrialState.PRUNED,
    OwnState.FAILED: TrialState.FAIL,
    OwnState.WAITING: TrialState.WAITING,
}


def frozen(parts: Parts, number: int) -> FrozenTrial:
    """A trial as it is now."""
    own = parts.own
    state = STATES[own.trial_state(number)]
    started, ended, _ = own.trial_times(number)
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name, value in own.trial_params(number).items():
        params[name] = parts.objects.object(name, value)
        if name in own.space:
            distributions[name] = distribution_of(own.space[name], parts.objects.of(name))
    if state == TrialState.WAITING:
        params.update(parts.objects.given(number))
    has_values = state in (TrialState.COMPLETE, TrialState.PRUNED)
    values = own.trial_values(number) if has_values else None
    found = FrozenTrial(
        number, state, None, _moment(started), _moment(ended) if state.is_finished() else None, params, distributions,
        parts.notes.of_trial(number, "user:"), parts.notes.of_trial(number, "system:"), own.trial_reports(number),
        number, values=values,
    )  # fmt: skip
    found.constraints.update(parts.notes.constraints(number))
    return found


def _moment(seconds: float) -> datetime.datetime | None:
    return None if math.isnan(seconds) else datetime.datetime.fromtimestamp(seconds)
