"""The threshold pruner: bounds on what a trial reports."""

from __future__ import annotations

import math
from typing import Any

from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.values import as_number, check_count


def _bound(name: str, value: Any) -> float | None:
    if value is None:
        return None
    bound = as_number(name, value)
    if math.isnan(bound):
        raise InvalidValue(f"{name} must be a number or None, got {name}=nan")
    return bound


class ThresholdPruner(Pruner):
    """Prunes a trial whose value at its largest step is out of bounds or NaN.

    It knows no other trial and no direction; it is for values that tell that training has gone wrong, such as a loss
    that diverges. A value equal to a bound is within it. The idea and the arguments are those of Optuna's pruner of
    the name (`min_steps` is its `n_warmup_steps`).

    Args:
        lower: the smallest value allowed; None: any.
        upper: the largest value allowed; None: any.
        min_steps: no pruning while a trial's step is smaller.

    Raises:
        InvalidValue: neither bound is given, lower is greater than upper, or an argument is no number.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=fasthpo.ThresholdPruner(upper=100.0))
        >>> trial = study.ask()
        >>> trial.report(99.0, 0)
        >>> trial.should_prune()
        False
        >>> trial.report(float("nan"), 1)
        >>> trial.should_prune()
        True
    """

    name = "threshold"

    def __init__(self, lower: float | None = None, upper: float | None = None, min_steps: int = 0) -> None:
        self.lower = _bound("lower", lower)
        self.upper = _bound("upper", upper)
        if self.lower is None and self.upper is None:
            raise InvalidValue("a threshold needs lower, upper, or both; got neither")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise InvalidValue(f"lower must not be greater than upper, got lower={self.lower}, upper={self.upper}")
        self.min_steps = check_count("min_steps", min_steps)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        reports = table.reports
        if reports.latest(number) == NONE or reports.highest[number] < self.min_steps:
            return False
        value = reports.value_at(reports.top.item(number))
        if value != value:
            return True
        return (self.lower is not None and value < self.lower) or (self.upper is not None and value > self.upper)

    def options(self) -> dict[str, Any]:
        return {"lower": self.lower, "upper": self.upper, "min_steps": self.min_steps}
