"""Optuna's pruners by their names, each of which makes one of fasthpo's.

Arguments that fasthpo's pruner has, too, are handed on. The others are taken and make no difference.
"""

from __future__ import annotations

from typing import Any

from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.median import MedianPruner as OwnMedian
from fasthpo.pruners.patient import PatientPruner as OwnPatient
from fasthpo.pruners.percentile import PercentilePruner as OwnPercentile
from fasthpo.pruners.successive_halving import SuccessiveHalvingPruner as OwnHalving
from fasthpo.pruners.threshold import ThresholdPruner as OwnThreshold
from fasthpo.pruners.wilcoxon import WilcoxonPruner as OwnWilcoxon
from fasthpo.values import shown


class BasePruner:
    """What stands for one of fasthpo's pruners."""

    def own(self) -> Pruner | None:
        """The pruner that decides; None: nothing is pruned.

        Raises:
            InvalidValue: this is a pruner of the user's own, of Optuna's kind.
        """
        raise InvalidValue(
            f"{type(self).__name__} is a pruner of Optuna's kind, which can't run here: derive it from fasthpo.Pruner, "
            "or use Optuna itself"
        )


class NopPruner(BasePruner):
    """Nothing is pruned."""

    def own(self) -> Pruner | None:
        return None


class MedianPruner(BasePruner):
    """fasthpo's, with Optuna's pool: trials that have completed."""

    def __init__(
        self, n_startup_trials: int = 5, n_warmup_steps: int = 0, interval_steps: int = 1, *, n_min_trials: int = 1
    ) -> None:
        self._options = n_startup_trials, n_warmup_steps

    def own(self) -> Pruner | None:
        return OwnMedian(*self._options, pool="completed")


class PercentilePruner(BasePruner):
    """fasthpo's, with Optuna's pool: trials that have completed."""

    def __init__(
        self,
        percentile: float,
        n_startup_trials: int = 5,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
        *,
        n_min_trials: int = 1,
    ) -> None:
        self._options = percentile, n_startup_trials, n_warmup_steps

    def own(self) -> Pruner | None:
        return OwnPercentile(*self._options, pool="completed")


class SuccessiveHalvingPruner(BasePruner):
    """fasthpo's; with `min_resource="auto"` the first rung is at step 1."""

    def __init__(
        self,
        min_resource: str | int = "auto",
        reduction_factor: int = 4,
        min_early_stopping_rate: int = 0,
        bootstrap_count: int = 0,
    ) -> None:
        first = min_resource if isinstance(min_resource, int) else 1
        self._options = first * reduction_factor**min_early_stopping_rate, reduction_factor

    def own(self) -> Pruner | None:
        return OwnHalving(*self._options)


class HyperbandPruner(BasePruner):
    """One bracket of it, the one that prunes most: fasthpo's `SuccessiveHalvingPruner`."""

    def __init__(
        self,
        min_resource: int = 1,
        max_resource: str | int = "auto",
        reduction_factor: int = 3,
        bootstrap_count: int = 0,
    ) -> None:
        self._options = min_resource, reduction_factor

    def own(self) -> Pruner | None:
        return OwnHalving(*self._options)


class ThresholdPruner(BasePruner):
    """fasthpo's."""

    def __init__(
        self,
        lower: float | None = None,
        upper: float | None = None,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
    ) -> None:
        self._options = lower, upper, n_warmup_steps
        self.own()  # says what is wrong with the bounds

    def own(self) -> Pruner | None:
        return OwnThreshold(*self._options)


class PatientPruner(BasePruner):
    """fasthpo's."""

    def __init__(self, wrapped_pruner: BasePruner | Pruner | None, patience: int, min_delta: float = 0.0) -> None:
        self._wrapped = wrapped_pruner
        self._options = patience, min_delta

    def own(self) -> Pruner | None:
        wrapped = None if self._wrapped is None else own_pruner(self._wrapped)
        if wrapped is None and self._wrapped is not None:  # of one that prunes nothing nothing is pruned
            return None
        return OwnPatient(wrapped, *self._options)


class WilcoxonPruner(BasePruner):
    """fasthpo's."""

    def __init__(self, *, p_threshold: float = 0.1, n_startup_steps: int = 2) -> None:
        self._options = p_threshold, n_startup_steps

    def own(self) -> Pruner | None:
        return OwnWilcoxon(*self._options)


def own_pruner(given: Any) -> Pruner | None:
    """fasthpo's pruner for what `create_study(pruner=...)` was given.

    Raises:
        InvalidValue: it is no pruner of this module and none of fasthpo's.
    """
    if isinstance(given, Pruner):
        return given
    if isinstance(given, BasePruner):
        return given.own()
    is_optunas = (type(given).__module__ or "").startswith("optuna.")
    hint = "; import the pruners from fasthpo.compat.optuna, too" if is_optunas else ""
    raise InvalidValue(f"pruner must be one of optuna.pruners or of fasthpo's, got {shown(given)}{hint}")
