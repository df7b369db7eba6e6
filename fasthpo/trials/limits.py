"""Constraints as users write them: a limit to a metric, such as "memory_gb <= 8"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fasthpo.errors import InvalidValue
from fasthpo.values import as_number, check_text, shown

_LIMIT = re.compile(r"\s*(?P<metric>[^<>=]*[^<>=\s])\s*(?P<sign><=|>=)\s*(?P<bound>[^<>=\s]+)\s*")


class MetricLimit(NamedTuple):
    """A metric that must not be more, or not be less, than a bound.

    Attributes:
        metric: its name.
        is_upper: whether the bound is the most that it may be; else the least.
        bound: a finite number.

    Example:
        >>> limit = MetricLimit.of("memory_gb <= 8")
        >>> limit.excess({"memory_gb": 9.5})
        1.5
    """

    metric: str
    is_upper: bool
    bound: float

    @classmethod
    def of(cls, text: Any) -> MetricLimit:
        """The limit that a text describes: a metric's name, <= or >=, and a number.

        Raises:
            InvalidValue: it is no such text.
        """
        found = _LIMIT.fullmatch(check_text("a constraint", text))
        try:
            bound = math.nan if found is None else float(found["bound"])
        except ValueError:
            bound = math.nan
        if found is None or not math.isfinite(bound):
            raise InvalidValue(
                "a constraint must be a metric's name, <= or >=, and a number, such as 'memory_gb <= 8', got "
                f"{shown(text)}"
            )
        return cls(found["metric"], found["sign"] == "<=", bound)

    def excess(self, metrics: Mapping[str, Any]) -> float:
        """By how much a trial's metrics go beyond the limit: at most 0 where it is kept.

        Raises:
            InvalidValue: the metric is not there, or is no number.
        """
        if self.metric not in metrics:
            raise InvalidValue(f"the constraint {str(self)!r} needs the metric {self.metric!r}, got {list(metrics)}")
        value = as_number(f"metric {shown(self.metric)}", metrics[self.metric])
        if math.isnan(value):
            raise InvalidValue(f"the constraint {str(self)!r} needs the metric {self.metric!r}, which was nan")
        return value - self.bound if self.is_upper else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.is_upper else '>='} {self.bound:g}"
