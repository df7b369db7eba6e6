"""Trials of fasthpo's as Optuna's frozen ones."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from fasthpo.compat.optuna.choices import label_of
from fasthpo.compat.optuna.distributions import BaseDistribution, distribution_of
from fasthpo.compat.optuna.frozen import FrozenTrial, TrialState
from fasthpo.trials.trial import TrialState as OwnState

if TYPE_CHECKING:
    from fasthpo.compat.optuna.study import Study

STATES = {
    OwnState.RUNNING: TrialState.RUNNING,
    OwnState.PAUSED: TrialState.RUNNING,
    OwnState.COMPLETE: TrialState.COMPLETE,
    OwnState.PRUNED: TrialState.PRUNED,
    OwnState.FAILED: TrialState.FAIL,
    OwnState.WAITING: TrialState.WAITING,
}


def frozen(study: Study, number: int) -> FrozenTrial:
    """A trial as it is now."""
    own = study._study
    state = STATES[own.trial_state(number)]
    started, ended, _ = own.trial_times(number)
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name, value in own.trial_params(number).items():
        objects = study._objects.get(name)
        if objects is not None:
            value = next((one for i, one in enumerate(objects) if label_of(i, one) == value), value)
        params[name] = value
        if name in own.space:
            distributions[name] = distribution_of(own.space[name], objects)
    has_values = state in (TrialState.COMPLETE, TrialState.PRUNED)
    values = own.trial_values(number) if has_values else None
    return FrozenTrial(
        number, state, None, _moment(started), _moment(ended) if state.is_finished() else None, params, distributions,
        study._notes.of_trial(number, "user:"), study._notes.of_trial(number, "system:"), own.trial_reports(number),
        number, values=values,
    )  # fmt: skip


def _moment(seconds: float) -> datetime.datetime | None:
    return None if math.isnan(seconds) else datetime.datetime.fromtimestamp(seconds)
