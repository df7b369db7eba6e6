"""What an objective may return, and what it means."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from fasthpo.errors import InvalidValue
from fasthpo.system.headline import headline_of, with_headline
from fasthpo.system.log import logger
from fasthpo.trials.outcome import metric_name
from fasthpo.trials.trial import Trial, TrialResult
from fasthpo.values import as_number, shown

Returned: TypeAlias = float | Mapping[str, Any] | TrialResult
Objective: TypeAlias = Callable[[Trial], Returned]


class Outcome(NamedTuple):
    """What an objective reached: a value that is not NaN and further metrics, or else why it failed."""

    value: float | None
    metrics: dict[str, float]
    error: str | None


def read_outcome(returned: Any, objective_metric: str | None) -> Outcome:
    """What a returned number, mapping of metrics or `TrialResult` says.

    Args:
        returned: what the objective returned.
        objective_metric: which entry of a mapping is the objective.

    Raises:
        InvalidValue: it is none of these, or the mapping does not have the metric.
    """
    metrics: Mapping[str, Any] = {}
    if isinstance(returned, TrialResult):
        if returned.metrics is None:
            return Outcome(None, {}, returned.error or "the objective returned a TrialResult without metrics")
        value, metrics = returned.metrics.value, returned.metrics.metrics
    elif isinstance(returned, Mapping):
        value, metrics = _objective(returned, objective_metric)
    elif returned is None:
        raise InvalidValue(
            "the objective returned None; it must return a number, a mapping of metrics or a TrialResult"
        )
    else:
        value = returned
    number = as_number("the objective's value", value)
    kept = _numbers(metrics)
    if number != number:
        return Outcome(None, kept, "the objective returned NaN")
    return Outcome(number, kept, None)


def _objective(metrics: Mapping[str, Any], name: str | None) -> tuple[Any, dict[str, Any]]:
    """The entry `name`, and the others."""
    listed = [str(one) for one in metrics]
    if name is None:
        raise InvalidValue(
            f"the objective returned a mapping of metrics, {listed}; say which of them is the objective: "
            "TunerConfig(..., objective_metric=...)"
        )
    if name not in metrics:
        raise InvalidValue(f"the objective's mapping must hold objective_metric={name!r}, got {listed}")
    return metrics[name], {other: value for other, value in metrics.items() if other != name}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of the metrics that are numbers; a trial that has its value does not fail for what else it returned."""
    kept = {}
    for name, value in metrics.items():
        try:
            kept[metric_name(name if isinstance(name, str) else str(name))] = as_number(f"metric {shown(name)}", value)
        except InvalidValue as error:
            logger.warning("%s; the metric is not kept", error)
    return kept


def traceback_text(error: BaseException, more: str = "") -> str:
    """The traceback as text, without the frame that caught it, and `more` below it; `headline` finds the message."""
    frames = error.__traceback__
    if frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames)).rstrip("\n")
    except Exception as raised:  # by what the exception has: it is looked at for suggestions
        text = f"Traceback (most recent call last):\n  not to be shown: {headline_of(raised)}\n{headline_of(error)}"
    return with_headline(f"{text}\n{more}" if more else text, error)
