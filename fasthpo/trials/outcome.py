"""What a study is told: values, a state, or both, and what a trial keeps to; one trial or many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue
from fasthpo.trials.constraints import MOST_CONSTRAINTS
from fasthpo.trials.objectives import Values
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, as_number, check_text, elements, plain, shown, table_elements, whole

NAN_ERROR = "the objective's value was nan"  # why a trial failed that was told NaN in a batch
LONGEST_ERROR = 60_000  # characters, of which 16,384 trials have to fit into a record of less than 4 GiB
_LONGEST_NAME = 1_000  # characters
_FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def outcome(value: Any, state: TrialState | None, count: int = 1) -> tuple[TrialState, Values | None]:
    """The final state and value of a trial told `value` and `state`.

    Args:
        value: a number, or `count` numbers.
        state: None for what the value says.
        count: how many objectives there are.

    Raises:
        InvalidValue: the value is no number, or does not go with the state.
    """
    result: Values | None
    if count == 1:
        result = None if value is None else as_number("value", value)
        missing = result is None or result != result
    else:
        result = None if value is None else value_vector(value, count)
        missing = result is None or bool(np.isnan(result).any())
    if state is None:
        if result is None:
            what = "a number" if count == 1 else f"{count} numbers"
            raise InvalidValue(
                f"value must be {what}, got None; to end a trial without one, tell its state, such as "
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
    """The states of trials that were told `values` together, (n,) or (n, m): FAILED for NaN, or else COMPLETE."""
    missing = np.isnan(values if values.ndim == 1 else values.max(axis=1, initial=-np.inf))
    return np.where(missing, np.int8(TrialState.FAILED), np.int8(TrialState.COMPLETE))


def settled_values(values: FloatArray) -> FloatArray:
    """Values (n, m) of trials that were told together, where a NaN makes all of a trial's values missing."""
    if values.ndim == 1 or not np.isnan(values).any():
        return values
    return np.where(np.isnan(values.max(axis=1))[:, None], np.nan, values)


def batch_arrays(numbers: Any, values: Any, count: int = 1) -> tuple[IntArray, FloatArray]:
    """Trial numbers int64 (n,) and values float64 (n,), under several objectives (n, count), checked for form.

    Raises:
        InvalidValue: not n different integers and n numbers, or n times `count`.
    """
    asked = _integers("numbers", numbers)
    if len(np.unique(asked)) != len(asked):
        unique, times = np.unique(asked, return_counts=True)
        raise InvalidValue(f"numbers must not repeat, got {unique[times > 1][0]} more than once")
    if count > 1:
        return asked, settled_values(_rows("values", values, len(asked), count, "objective"))
    reached = numbers_by_position("values", values)
    if len(reached) != len(asked):
        raise InvalidValue(f"values must be {len(asked)} numbers, got an array of shape {reached.shape}")
    return asked, reached


def value_vector(values: Any, count: int) -> FloatArray:
    """So many numbers, one for each objective, float64 (count,).

    Raises:
        InvalidValue: they are not that.
    """
    if type(values) in (list, tuple) and len(values) == count and all(type(one) is float for one in values):
        return np.array(values)
    try:
        found = numbers_by_position("value", values)
    except InvalidValue as error:
        raise InvalidValue(f"value must be {count} numbers, one for each objective: {error}") from None
    if len(found) != count:
        raise InvalidValue(f"value must be {count} numbers, one for each objective, got {len(found)}: {shown(values)}")
    return found


def constraint_row(constraints: Any, count: int) -> FloatArray | None:
    """What a trial is told of its constraints, float64 (k,); None for nothing.

    Args:
        constraints: None, or numbers.
        count: how many each trial has so far, 0 if none was told any.

    Raises:
        InvalidValue: they are no numbers, one of them is NaN, or there are others than so far.
    """
    if constraints is None:
        return None
    found = numbers_by_position("constraints", constraints)
    if not len(found):
        return None
    if np.isnan(found).any():
        raise InvalidValue(
            "a constraint must be a number, at most 0 where it is kept, and not NaN, got "
            f"constraints={shown(constraints)}"
        )
    _check_count_of_constraints(len(found), count)
    return found


def constraint_rows(constraints: Any, trials: int, count: int) -> FloatArray | None:
    """The same of several trials, float64 (trials, k); a row of NaN is that of a trial that is told nothing."""
    if constraints is None:
        return None
    found = _rows("constraints", constraints, trials, None, "constraint")
    if not found.size:
        return None
    missing = np.isnan(found)
    for i in np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))[:1].tolist():
        raise InvalidValue(
            "a trial's constraints must be numbers, at most 0 where they are kept, or all of them NaN for a trial that "
            f"is told none, got constraints[{i}]={found[i].tolist()}"
        )
    _check_count_of_constraints(found.shape[1], count)
    return found


def _check_count_of_constraints(given: int, count: int) -> None:
    if count and given != count:
        raise InvalidValue(f"all trials of a study have the same constraints: there were {count} so far, got {given}")
    if given > MOST_CONSTRAINTS:
        raise InvalidValue(f"a trial may have at most {MOST_CONSTRAINTS} constraints, got {given}")


def _rows(what: str, table: Any, trials: int, width: int | None, each: str) -> FloatArray:
    """Numbers (trials, width), one for `each` of something."""
    shape = f"({trials}, {'k' if width is None else width})"
    rule = f"{what} must be an array of shape {shape}, a row a trial, a number for each {each}"
    try:
        found = table_elements(table)
        rows = (
            []
            if isinstance(found, np.ndarray)
            else [numbers_by_position(f"{what}[{i}]", row) for i, row in enumerate(found)]
        )
    except TypeError as error:
        raise InvalidValue(f"{rule}; {what} {error}") from None
    except InvalidValue as error:
        raise InvalidValue(f"{rule}; {error}") from None
    if not isinstance(found, np.ndarray):
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise InvalidValue(f"{rule}, got rows of {min(lengths)} to {max(lengths)} numbers")
        found = np.array(rows, np.float64) if rows else np.empty((0, width or 0))
    if len(found) != trials or (width is not None and found.shape[1] != width):
        raise InvalidValue(f"{rule}, got one of shape {found.shape}")
    return found.astype(np.float64)


def _elements(what: str, column: Any) -> npt.NDArray[Any] | list[Any]:
    try:
        return elements(column)
    except TypeError as error:
        raise InvalidValue(f"{what} {error}") from None


def numbers_by_position(what: str, column: Any) -> FloatArray:
    """A column of numbers, float64 (n,), whatever labels it has; NaN for what is masked or a null.

    Raises:
        InvalidValue: one is no number.
    """
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
