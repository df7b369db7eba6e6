"""Optuna's `optuna.trial`: trials and their states."""

from __future__ import annotations

from fasthpo.compat.optuna.frozen import FixedTrial, FrozenTrial, TrialState, create_trial
from fasthpo.compat.optuna.running import Trial
from fasthpo.compat.optuna.suggesting import BaseTrial

__all__ = ["BaseTrial", "FixedTrial", "FrozenTrial", "Trial", "TrialState", "create_trial"]
