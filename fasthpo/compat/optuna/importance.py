"""How much parameters matter, with Optuna's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fasthpo.analysis.importances import fanova, importance, ped_anova
from fasthpo.compat.optuna.frozen import FrozenTrial, TrialState
from fasthpo.compat.optuna.study import Study
from fasthpo.errors import InvalidValue, NoCompletedTrials


class FanovaImportanceEvaluator:
    """By functional ANOVA."""

    method = "fanova"

    def __init__(self, *others: Any, **options: Any) -> None:
        pass


class MeanDecreaseImpurityImportanceEvaluator(FanovaImportanceEvaluator):
    """By functional ANOVA, too."""


class PedAnovaImportanceEvaluator(FanovaImportanceEvaluator):
    """By PED-ANOVA."""

    method = "ped_anova"


def get_param_importances(
    study: Study,
    *,
    evaluator: Any = None,
    params: Sequence[str] | None = None,
    target: Callable[[FrozenTrial], float] | None = None,
    normalize: bool = True,
) -> dict[str, float]:
    """The importance of each parameter by name, the most important first.

    Args:
        study: of one objective, or with a `target`.
        evaluator: by which method; by default functional ANOVA.
        params: which ones; None: all.
        target: what of a trial is to be explained; by default its value.
        normalize: whether they are to add up to 1.

    Raises:
        NoCompletedTrials: fewer than two trials have completed.
        InvalidValue: there are several objectives and no target.
    """
    method = getattr(evaluator, "method", "fanova")
    if target is None:
        if len(study.directions) > 1:
            raise InvalidValue("with several objectives say which one: target=lambda trial: trial.values[0]")
        found = importance(study.own, method, params=params)
        shares = found.shares if normalize else found.raw
        return dict(zip(found.names, shares.tolist(), strict=True))
    trials = study.get_trials(False, (TrialState.COMPLETE,))
    if len(trials) < 2:
        raise NoCompletedTrials(f"importance needs at least 2 completed trials, got {len(trials)}")
    values = np.array([float(target(trial)) for trial in trials])
    space, numbers = study.own.space, [trial.number for trial in trials]
    columns = study.own.table.params[:, numbers]
    raw = fanova(space, columns, values)[0] if method == "fanova" else ped_anova(space, columns, values)
    by_name = {name: float(raw[space.position[name]]) for name in (params or space)}
    total = sum(by_name.values()) if normalize else 1.0
    ordered = sorted(by_name.items(), key=lambda item: -item[1])
    return {name: one / total if total > 0 else 0.0 for name, one in ordered}
