"""What a study is told: a value, a state, or both; one trial or many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, as_number, check_text, elements, plain, shown, whole

NAN_ERROR = "the objective's value was nan"  # why a trial failed that was told NaN in a batch
LONGEST_ERROR = 60_000  # characters, of which 16,384 trials have to fit into a record of less than 4 GiB
_LONGEST_NAME = 1_000  # characters
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
    given, state = state, plain(state)
    if isinstance(state, bool) or not isinstance(state, int) or state not in _FINAL:
        raise InvalidValue(
            f"a trial can be told COMPLETE, PRUNED or FAILED, such as state=TrialState.FAILED, got state={shown(given)}"
        )
    if state == TrialState.COMPLETE and missing:
        raise InvalidValue(f"a COMPLETE trial needs a value that is not NaN, got value={value}")
    if state == TrialState.FAILED and not missing:
        raise InvalidValue(f"a FAILED trial has no value, got value={value}")
    return TrialState(state), None if missing else result


def final_states(values: FloatArray) -> npt.NDArray[np.int8]:
    """The states of trials that were told `values` (n,) together: FAILED for NaN, or else COMPLETE."""
    return np.where(np.isnan(values), np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))


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
        InvalidValue: they are no mapping, a name is no string or too long, or one is no number.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise InvalidValue(f"metrics must map names to numbers, got metrics={shown(metrics)}")
    return {metric_name(name): as_number(f"metric {shown(name)}", one) for name, one in metrics.items()}


def metric_name(name: Any) -> str:
    """The name of a metric.

    Raises:
        InvalidValue: it is no string, or too long.
    """
    text = check_text("a metric's name", name)
    if len(text) > _LONGEST_NAME:
        raise InvalidValue(f"a metric's name must have at most {_LONGEST_NAME} characters, got {shown(name)}")
    return text


def error_text(error: Any) -> str | None:
    """Why a trial failed, shortened in its middle if it is too long; None if no reason is given.

    Raises:
        InvalidValue: it is no string.
    """
    if error is None:
        return None
    text = plain(error)
    if not isinstance(text, str):
        raise InvalidValue(
            f"error must be a string, such as str(error) or traceback.format_exc(), got error={shown(error)} of type "
            f"{type(error).__name__}"
        )
    if len(text) > LONGEST_ERROR:
        half = LONGEST_ERROR // 2
        text = f"{text[:half]}\n... ({len(text) - 2 * half} characters are left out) ...\n{text[-half:]}"
    return text
