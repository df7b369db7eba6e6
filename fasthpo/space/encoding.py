"""Many points at once: columns of user values to rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters
from fasthpo.space.parameter import Numeric, Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, IntArray, check_index, element, elements, exact, number, shown


def _is_nothing(value: Any) -> bool:
    try:
        found = number(value)
    except (TypeError, OverflowError):
        return element(value) is None
    return found != found


def _encode(name: str, parameter: Parameter, values: list[Any] | npt.NDArray[Any], active: Any) -> FloatArray:
    """One column, NaN where `active` is False; each active value is checked."""
    column = np.full(len(values), np.nan)
    if isinstance(parameter, Numeric) and isinstance(values, np.ndarray):
        numbers = values.astype(np.float64)
        (low, high), inside = parameter.bounds, parameter.reach[0]
        snapped = np.where(active, numbers, inside)
        with np.errstate(invalid="ignore"):
            good = (snapped >= low) & (snapped <= high) & np.isfinite(snapped)
        if parameter.step and low != high:
            snapped = np.where(good, snapped, inside)
            snapped = parameter.at(parameter.cell(snapped))
            good &= (snapped == numbers) | ~active
        if good.all():
            column[active] = snapped[active]
            return column
    # the slow way: choices, lists, near-steps, and finding the value to complain of
    none_is_a_choice = parameter.choices is not None and any(choice is None for choice in parameter.choices)
    nan_is_a_choice = parameter.choices is not None and any(choice != choice for choice in parameter.choices)
    for i in np.flatnonzero(active).tolist():
        value = values[i]
        if none_is_a_choice and not (nan_is_a_choice and value is not None) and _is_nothing(value):
            value = None  # a column of strings in a data frame can't hold it
        try:
            column[i] = parameter.encode(value)
        except InvalidParameters as error:
            raise InvalidParameters(f"{name!r} at position {i} {error}") from None
    return column


def encode_columns(space: SearchSpace, params: Mapping[str, Any], only_allowed: bool = True) -> FloatArray:
    """Rows (n, d) of the points whose columns are `params`.

    Args:
        space: the search space.
        params: for each parameter a column of n values, by position; None, NaN or nothing (masked, a null) where it is
            inactive. A conditional parameter may be left out if it is active nowhere.
        only_allowed: refuse points that break a relation.

    Raises:
        InvalidParameters: a column that is unknown, missing or of another length, or a value outside the space.
    """
    if not isinstance(params, Mapping) or not params:
        hint = "; make it {name: frame[name] for name in frame.columns}" if hasattr(params, "columns") else ""
        raise InvalidParameters(f"parameters must map names to columns of values, got {shown(params)}{hint}")
    given = {exact(name): params[name] for name in params}
    unknown = [name for name in given if name not in space.position]
    if unknown:
        raise InvalidParameters(f"the space has no parameter {shown(unknown[0])}; it has {shown(list(space.names))}")
    columns = {}
    for name, values in given.items():
        try:
            columns[name] = elements(values)
        except TypeError as error:
            raise InvalidParameters(f"{name!r} {error}") from None
    lengths = {name: len(values) for name, values in columns.items()}
    n = next(iter(lengths.values()))
    if set(lengths.values()) != {n}:
        raise InvalidParameters(f"all columns must have the same length, got {lengths}")
    rows = np.full((n, len(space)), np.nan)
    for j in space.order:
        name, parameter = space.names[j], space.parameters[j]
        active = np.ones(n, np.bool_)
        for condition in space.conditions[j]:
            active &= condition.allowed.hold(rows[:, condition.parent])
        if name not in columns:
            if active.any() and not space.is_open:
                raise InvalidParameters(f"{name!r} is missing; the space needs it at position {np.argmax(active)}")
            continue
        values = columns[name]
        if space.is_open:  # any trial may lack any parameter
            active = np.array([not _is_nothing(value) for value in values], np.bool_)
        rows[:, j] = _encode(name, parameter, values, active)
        inactive = ~active & ~np.isnan(values) if isinstance(values, np.ndarray) else ~active
        for i in np.flatnonzero(inactive).tolist():
            if not _is_nothing(values[i]):
                raise InvalidParameters(
                    f"{name!r} is inactive at position {i} (it needs {dict(parameter.when)}), got {shown(values[i])}"
                )
    if only_allowed and space.relations:
        space._check_relations(rows)
    return rows


class Batch:
    """Several trials that were asked for at once.

    Attributes:
        numbers: their trial numbers, int64 (n,).
        params: a column (n,) a parameter: float64 with NaN where inactive; for a categorical an object array of
            choices with None where inactive.
        resources: under a multi-fidelity strategy how far to train each, float64 (n,); NaN under any other.
        active: a bool column (n,) a parameter, False where its conditions do not hold.

    `batch[i]` is a dict of the active parameters of the i-th trial, as plain Python values, and `batch[i:j]` a `Batch`.
    """

    def __init__(self, space: SearchSpace, numbers: IntArray, rows: FloatArray, resources: FloatArray) -> None:
        self.numbers = numbers
        self.resources = resources
        self._space = space
        self._rows = rows
        self._params: dict[str, npt.NDArray[Any]] | None = None

    @property
    def active(self) -> dict[str, npt.NDArray[np.bool_]]:
        return {name: ~np.isnan(self._rows[:, j]) for j, name in enumerate(self._space.names)}

    @property
    def params(self) -> dict[str, npt.NDArray[Any]]:
        if self._params is None:
            self._params = {
                name: decode_column(parameter, self._rows[:, j].copy())
                for j, (name, parameter) in enumerate(self._space.items())
            }
        return self._params

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> dict[str, Value]: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> dict[str, Value] | Batch:
        if isinstance(index, slice):
            return Batch(self._space, self.numbers[index], self._rows[index], self.resources[index])
        return self._space.decode(self._rows[check_index("the batch", index, len(self))])

    def __repr__(self) -> str:
        return f"Batch({len(self)} trials of {list(self._space.names)})"


def decode_column(parameter: Parameter, column: FloatArray) -> npt.NDArray[Any]:
    """The values of a column (n,): the floats themselves, or for a categorical its choices, None where inactive."""
    if parameter.choices is None:
        return column
    count = len(parameter.choices)
    choices = np.empty(count + 1, object)
    for i, choice in enumerate(parameter.choices):  # at once, NumPy would take tuples apart
        choices[i] = choice  # the last entry, None, stands for inactive
    return choices[np.where(np.isnan(column), count, column).astype(np.int64)]
