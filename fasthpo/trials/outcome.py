"""What a study is told: a value, a state, or both; one trial or many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, as_number, elements, plain, shown, whole

NAN_ERROR = "the objective's value was nan"  # why a trial failed that was told NaN in a batch
_FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def outcome(value: float | None, state: TrialState | None) -> tuple[TrialState, float | None]:
    """The final state and value of a trial told `value` and `state`.

    Raises:
        InvalidValue: the value is no number, or does not go with the state.
    """
    result = None if value is None else as_number("value", value)
    missing = result is None or result != result
    if state is None:
        if result is None:
            raise InvalidValue(
                "value must be a number, got None; to end a trial without one, tell its state, such as "
                "state=TrialState.FAILED"
            )
        return (TrialState.FAILED, None) if missing else (TrialState.COMPLETE, result)
    if not isinstance(plain(state), int) or state not in _FINAL:
        raise InvalidValue(
            f"a trial can be told COMPLETE, PRUNED or FAILED, such as state=TrialState.FAILED, got state={shown(state)}"
        )
    if state == TrialState.COMPLETE and missing:
        raise InvalidValue(f"a COMPLETE trial needs a value that is not NaN, got value={value}")
    if state == TrialState.FAILED and not missing:
        raise InvalidValue(f"a FAILED trial has no value, got value={value}")
    return TrialState(state), None if missing else result


def batch_arrays(numbers: Any, values: Any) -> tuple[IntArray, FloatArray]:
    """Trial numbers int64 (n,) and values float64 (n,), checked for form.

    Raises:
        InvalidValue: not n different integers and n numbers.
    """
    asked = _integers("numbers", numbers)
    if len(np.unique(asked)) != len(asked):
        unique, times = np.unique(asked, return_counts=True)
        raise InvalidValue(f"numbers must not repeat, got {unique[times > 1][0]} more than once")
    reached = _numbers("values", values)
    if len(reached) != len(asked):
        raise InvalidValue(f"values must be {len(asked)} numbers, got an array of shape {reached.shape}")
    return asked, reached


def _elements(what: str, column: Any) -> npt.NDArray[Any] | list[Any]:
    try:
        return elements(column)
    except TypeError as error:
        raise InvalidValue(f"{what} {error}") from None


def _numbers(what: str, column: Any) -> FloatArray:
    found = _elements(what, column)
    if not isinstance(found, np.ndarray):
        for i, one in enumerate(found):
            if one is None:  # more likely a forgotten return than a failure
                raise InvalidValue(f"{what}[{i}] must be a number, got None; a trial that failed has NaN")
        found = np.array([as_number(f"{what}[{i}]", one) for i, one in enumerate(found)], np.float64)
    return found.astype(np.float64)


def _integers(what: str, column: Any) -> IntArray:
    found = _elements(what, column)
    if not isinstance(found, np.ndarray) or found.dtype.kind != "i":
        found = np.array([_integer(f"{what}[{i}]", one) for i, one in enumerate(found)], np.int64)
    return found.astype(np.int64)


def _integer(what: str, value: Any) -> int:
    found = whole(value)
    if isinstance(found, bool) or not isinstance(found, int) or not -(2**63) <= found < 2**63:
        raise InvalidValue(f"trial numbers must be integers, got {what}={shown(value)}")
    return found


def metric_numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Further metrics as floats by name.

    Raises:
        InvalidValue: they are no mapping, or one is no number.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise InvalidValue(f"metrics must map names to numbers, got metrics={shown(metrics)}")
    return {str(name): as_number(f"metric {name!r}", one) for name, one in metrics.items()}
