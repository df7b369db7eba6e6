"""What an objective may return, and what it means."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from fasthpo.errors import InvalidValue
from fasthpo.system.headline import headline_of, with_headline
from fasthpo.system.log import logger
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.limits import MetricLimit
from fasthpo.trials.outcome import metric_name
from fasthpo.trials.trial import Trial, TrialResult, numbers_of
from fasthpo.values import as_number, shown

Returned: TypeAlias = float | Sequence[float] | Mapping[str, Any] | TrialResult
Objective: TypeAlias = Callable[[Trial], Returned]


class OutcomeSpec(NamedTuple):
    """What is to be made of that which an objective returns.

    Attributes:
        metrics: which entries of a mapping are the objectives, (m,); None if there is to be no mapping.
        objectives: m, how many values there are to be.
        limits: the constraints over metrics.
    """

    metrics: tuple[str, ...] | None = None
    objectives: int = 1
    limits: tuple[MetricLimit, ...] = ()


class Outcome(NamedTuple):
    """What an objective reached: a value that is not NaN, or several, and further metrics; or else why it failed."""

    value: float | tuple[float, ...] | None
    metrics: dict[str, float]
    error: str | None
    constraints: tuple[float, ...] | None = None


def read_outcome(returned: Any, spec: OutcomeSpec) -> Outcome:
    """What a returned number, list of numbers, mapping of metrics or `TrialResult` says.

    Args:
        returned: what the objective returned.
        spec: what is to be made of it.

    Raises:
        InvalidValue: it is none of these, or lacks a metric.
    """
    metrics: Mapping[str, Any] = {}
    own: Sequence[float] = ()
    if isinstance(returned, TrialResult):
        if returned.metrics is None:
            return Outcome(None, {}, returned.error or "the objective returned a TrialResult without metrics")
        value, metrics, own = returned.metrics.value, returned.metrics.metrics, returned.constraints or ()
    elif isinstance(returned, Mapping):
        value, metrics = _objective(returned, spec.metrics)
    elif returned is None:
        what = "a number" if spec.objectives == 1 else f"a list of {spec.objectives} numbers"
        raise InvalidValue(f"the objective returned None; it must return {what}, a mapping of metrics or a TrialResult")
    else:
        value = returned
    reached: tuple[float, ...]
    if spec.objectives == 1:
        reached = (as_number("the objective's value", value),)
    else:
        reached = numbers_of("the objective's values", value)
        if len(reached) != spec.objectives:
            raise InvalidValue(
                f"the objective must return a value for each of {spec.objectives} objectives, got {shown(value)}"
            )
    kept = _numbers(metrics)
    if any(one != one for one in reached):
        return Outcome(None, kept, "the objective returned NaN")
    known = {**metrics, **dict(zip(spec.metrics or (), reached, strict=False))}
    constraints = (*(limit.excess(known) for limit in spec.limits), *own)
    if len(constraints) > MOST_CONSTRAINTS:
        raise InvalidValue(f"a trial may have at most {MOST_CONSTRAINTS} constraints, got {len(constraints)}")
    return Outcome(reached[0] if spec.objectives == 1 else reached, kept, None, constraints or None)


def _objective(metrics: Mapping[str, Any], names: tuple[str, ...] | None) -> tuple[Any, dict[str, Any]]:
    """The entry that is named, or all that are, and the others."""
    listed = [str(one) for one in metrics]
    if names is None:
        raise InvalidValue(
            f"the objective returned a mapping of metrics, {listed}; say which of them is the objective: "
            "TunerConfig(..., objective_metric=...)"
        )
    for name in names:
        if name not in metrics:
            raise InvalidValue(f"the objective's mapping must hold objective_metric={name!r}, got {listed}")
    others = {other: value for other, value in metrics.items() if other not in names}
    return metrics[names[0]] if len(names) == 1 else [metrics[name] for name in names], others


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
