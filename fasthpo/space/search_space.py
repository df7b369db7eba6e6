"""The search space: named parameters, some of them active only under conditions.

A point of the space is a mapping of the active parameters to plain Python values. Inside fasthpo it is a *row*: one
float64 a parameter, in the order of the space; a number as itself, a choice as its index, NaN where inactive.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.space.comparisons import condition_words
from fasthpo.space.conditions import Conditions, conditions_of, parents_first, refuse_dead_parameters
from fasthpo.space.definitions import parameter_from_dict
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.prior import Priors
from fasthpo.system.html import table, titled
from fasthpo.values import FloatArray, exact, shown

if TYPE_CHECKING:
    from fasthpo.space.enumeration import Cells

_MOST_PARAMETERS = 2**15


class SearchSpace(Mapping[str, Parameter]):
    """An ordered, immutable mapping of names to parameters.

    Args:
        parameters: the parameters by name. A parameter's `when` may name parents before or after it.

    Raises:
        InvalidSearchSpace: an empty space or name, a condition on an unknown parent, on values that the parent
            cannot take or never takes while it is active, or a cycle of conditions.

    Example:
        >>> space = SearchSpace({"lr": LogUniform(1e-5, 1e-1), "layers": Discrete(1, 4)})
        >>> space.contains({"lr": 0.01, "layers": 2})
        True
    """

    is_open: ClassVar[bool] = False  # whether it is learnt as it is met; see `OpenSpace`

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        if not isinstance(parameters, Mapping):
            raise InvalidSearchSpace(f"a search space is a mapping of name to parameter, got {shown(parameters)}")
        if not parameters:
            raise InvalidSearchSpace("a search space needs at least one parameter, got none")
        if len(parameters) > _MOST_PARAMETERS:
            raise InvalidSearchSpace(f"a search space has at most {_MOST_PARAMETERS} parameters, got {len(parameters)}")
        for name, parameter in parameters.items():
            if not isinstance(name, str) or not name.strip():
                raise InvalidSearchSpace(f"a parameter's name must be a string that is not empty, got {shown(name)}")
            if not isinstance(parameter, Parameter):
                raise InvalidSearchSpace(
                    f"{shown(name)} must be a parameter such as Continuous, Discrete or Categorical, "
                    f"got {shown(parameter)}"
                )
        self._parameters = {exact(name): parameter for name, parameter in parameters.items()}
        self.names: tuple[str, ...] = tuple(self._parameters)
        self.parameters: tuple[Parameter, ...] = tuple(self._parameters.values())
        self.position: dict[str, int] = {name: j for j, name in enumerate(self.names)}
        self.conditions: Conditions = conditions_of(self._parameters)
        self.order: tuple[int, ...] = parents_first(self.names, self.conditions)
        self.is_conditional: bool = any(self.conditions)
        refuse_dead_parameters(self.names, self.conditions, self.order)

    # --- a mapping of names to parameters

    def __getitem__(self, name: str) -> Parameter:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __eq__(self, other: object) -> bool:
        """Equal if names, their order and the parameters' definitions are."""
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return self.names == other.names and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.names, self.parameters))

    def __repr__(self) -> str:
        return f"SearchSpace({self._parameters!r})"

    def _repr_html_(self) -> str:
        rows = []
        for name, parameter in self.items():
            values = ", ".join(
                f"{field}={shown(one)}"
                for field, one in parameter.arguments().items()
                if one is not None and one is not False
            )
            when = " and ".join(f"{parent} is {condition_words(one)}" for parent, one in parameter.when.items())
            rows.append((name, type(parameter).__name__, values, when))
        return titled("SearchSpace", table(rows, ("parameter", "kind", "values", "active when")))

    def __reduce__(self) -> tuple[Any, ...]:
        # without the enumeration, which is nested as deeply as the conditions and can be made again
        return type(self), (self._parameters,)

    # --- points and rows

    def validate(self, params: Mapping[str, Any]) -> None:
        """Check that `params` is a point of the space: all active parameters, no others, each inside its bounds.

        Raises:
            InvalidParameters: it is not; the message names the parameter, the rule and the value.
        """
        self.encode(params)

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether `params` is a point of the space."""
        try:
            self.encode(params)
        except InvalidParameters:
            return False
        return True

    def encode_part(self, params: Mapping[str, Any]) -> FloatArray:
        """The row (d,) of the given parameters, NaN for the others; each is checked, completeness is not."""
        if not isinstance(params, Mapping):
            raise InvalidParameters(f"parameters must be a mapping of name to value, got {shown(params)}")
        given = {exact(name): params[name] for name in params}
        unknown = [name for name in given if name not in self.position]
        if unknown:
            raise InvalidParameters(f"the space has no parameter {shown(unknown[0])}; it has {shown(list(self.names))}")
        row = np.full(len(self), np.nan)
        for name, value in given.items():
            try:
                row[self.position[name]] = self._parameters[name].encode(value)
            except InvalidParameters as error:
                raise InvalidParameters(f"{name!r} {error}") from None
        return row

    def encode(self, params: Mapping[str, Any]) -> FloatArray:
        """The row (d,) of a point.

        Raises:
            InvalidParameters: not a point of the space.
        """
        row = self.encode_part(params)
        for j in self.order:
            active = all(c.allowed.holds(row[c.parent]) for c in self.conditions[j])
            if active and np.isnan(row[j]):
                raise InvalidParameters(f"{self.names[j]!r} is missing; the space needs it here")
            if not active and not np.isnan(row[j]):
                raise InvalidParameters(
                    f"{self.names[j]!r} is inactive here (it needs {dict(self.parameters[j].when)}), "
                    f"got {shown(params[self.names[j]])}"
                )
        return row

    def decode(self, row: Sequence[float] | FloatArray) -> dict[str, Value]:
        """The point that a row stands for: the active parameters with plain Python values."""
        listed = row.tolist() if isinstance(row, np.ndarray) else row
        return {
            name: parameter.decode(x)
            for name, parameter, x in zip(self.names, self.parameters, listed, strict=True)
            if x == x  # NaN marks an inactive parameter
        }

    def from_unit(self, unit: FloatArray) -> FloatArray:
        """Rows (n, d) of the prior at quantiles `unit` (n, d) in [0, 1), inactive parameters NaN."""
        rows = np.empty(unit.shape)
        for j, parameter in enumerate(self.parameters):
            rows[:, j] = parameter.from_unit(unit[:, j])
        return self.deactivate(rows)

    def deactivate(self, rows: FloatArray) -> FloatArray:
        """Write NaN into `rows` (n, d), in place, wherever a parameter's conditions do not hold."""
        if self.is_conditional:
            for j in self.order:
                for condition in self.conditions[j]:
                    rows[~condition.allowed.hold(rows[:, condition.parent]), j] = np.nan
        return rows

    @functools.cached_property
    def priors(self) -> Priors | None:
        """What is believed of the parameters; None if nothing is."""
        return Priors(self.parameters) if any(one.prior is not None for one in self.parameters) else None

    # --- size

    @functools.cached_property
    def cells(self) -> Cells | None:
        """The enumeration of a finite space's points; None for an infinite space."""
        from fasthpo.space.enumeration import Cells

        counts = [parameter.count for parameter in self.parameters]
        return None if None in counts else Cells(self, [c for c in counts if c is not None])

    @functools.cached_property
    def finite_cells(self) -> Cells | None:
        """The enumeration of those points of which all active parameters have finitely many values.

        In an infinite space there are some where conditions switch off each parameter that has infinitely many. None if
        there is no such point, or if they can't be counted.
        """
        from fasthpo.space.enumeration import Cells

        if self.cells is not None:
            return self.cells
        if any(p.count is None and not p.when for p in self.parameters):
            return None
        try:
            cells = Cells(self, [p.count or 0 for p in self.parameters])
        except InvalidSearchSpace:
            return None
        return cells if cells.size else None

    @property
    def size(self) -> int | None:
        """The exact number of points, conditions respected; None if the space is infinite."""
        return None if self.cells is None else self.cells.size

    # --- JSON

    def to_dict(self) -> dict[str, Any]:
        """The definition in plain JSON values."""
        return {name: parameter.to_dict() for name, parameter in self._parameters.items()}

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any]) -> Self:
        """The space that `to_dict` described.

        Raises:
            InvalidSearchSpace: not such a description.
        """
        if not isinstance(definition, Mapping):
            raise InvalidSearchSpace(f"a search space is a mapping of name to parameter, got {shown(definition)}")
        return cls({name: parameter_from_dict(one) for name, one in definition.items()})

    def to_json(self) -> str:
        """The definition as JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The space that `to_json` wrote.

        Raises:
            InvalidSearchSpace: not such a text.
        """
        try:
            definition = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidSearchSpace(f"not JSON: {error}") from error
        return cls.from_dict(definition)
