"""What a study is told: a value, a state, or both; one trial or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.parameter import FloatArray
from fasthpo.reports import IntArray
from fasthpo.trial import TrialState, as_number

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
            raise InvalidValue("value must be a number, got None; to end a trial without one, tell its state")
        return (TrialState.FAILED, None) if missing else (TrialState.COMPLETE, result)
    if state not in _FINAL:
        raise InvalidValue(f"a trial can be told COMPLETE, PRUNED or FAILED, got state={state!r}")
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
    asked = np.asarray(numbers)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise InvalidValue(f"numbers must be a one-dimensional array of integers, got {numbers!r}")
    if len(np.unique(asked)) != len(asked):
        unique, times = np.unique(asked, return_counts=True)
        raise InvalidValue(f"numbers must not repeat, got {unique[times > 1][0]} more than once")
    reached = np.asarray(values)
    if reached.dtype.kind == "O":
        reached = np.array([as_number("value", one) for one in reached.ravel()]).reshape(reached.shape)
    if reached.dtype.kind not in "iuf" or reached.shape != asked.shape:
        raise InvalidValue(
            f"values must be {len(asked)} numbers, got an array of shape {reached.shape} and type {reached.dtype}"
        )
    return asked.astype(np.int64), reached.astype(np.float64)
