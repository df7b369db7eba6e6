"""The search space: named parameters, some of them active only under conditions.

A point of the space is a mapping of the active parameters to plain Python values. Inside fasthpo it is a *row*: one
float64 a parameter, in the order of the space; a number as itself, a choice as its index, NaN where inactive.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.kernels.streams import uniforms
from fasthpo.space.comparisons import condition_words
from fasthpo.space.conditions import Condition, Conditions, conditions_of, parents_first, refuse_dead_parameters
from fasthpo.space.definitions import parameter_from_dict
from fasthpo.space.dependent_bounds import Bound, close_bounds, refuse_empty
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.prior import Priors
from fasthpo.space.ranges import Ranges
from fasthpo.space.relations import Forbidden, Group, Relation, Requirement, groups_of, relation_from_dict
from fasthpo.system.html import table, titled
from fasthpo.values import FloatArray, IntArray, exact, shown

if TYPE_CHECKING:
    from fasthpo.space.allowed_cells import AllowedCells
    from fasthpo.space.enumeration import Cells

_MOST_PARAMETERS = 2**15
_PROBED, _MOST_NUMBERS = 1024, 2**20  # points, when bounds depend on each other, and their values in all
_DERIVED = "relations", "cells", "finite_cells", "_groups", "_rare"  # follow from the relations


class SearchSpace(Mapping[str, Parameter]):
    """An ordered, immutable mapping of names to parameters, and what else their values must hold.

    Args:
        parameters: the parameters by name. A parameter's `when` may name parents before or after it. Another search
            space gives its relations, too.

    `forbid` and `require` can be called until a study takes up the space.

    Raises:
        InvalidSearchSpace: an empty space or name, a condition on an unknown parent, on values that the parent
            cannot take or never takes while it is active, or a cycle of conditions.

    Example:
        >>> space = SearchSpace({"lr": LogUniform(1e-5, 1e-1), "layers": Discrete(1, 4)})
        >>> space.contains({"lr": 0.01, "layers": 2})
        True
    """

    is_open: ClassVar[bool] = False  # whether it is learnt as it is met; see `OpenSpace`

    # of one without parameters and relations, as `OpenSpace` begins
    _bounds: tuple[Bound, ...] = ()
    _bound_of: Mapping[int, Bound] = MappingProxyType({})
    _told: tuple[Relation, ...] = ()  # what was said of it, besides the bounds that depend on others
    _is_taken = False

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
        self._parameters, self._bounds = close_bounds({exact(name): one for name, one in parameters.items()})
        self.names: tuple[str, ...] = tuple(self._parameters)
        self.parameters: tuple[Parameter, ...] = tuple(self._parameters.values())
        self.position: dict[str, int] = {name: j for j, name in enumerate(self.names)}
        self.conditions: Conditions = conditions_of(self._parameters)
        self.order: tuple[int, ...] = parents_first(self.names, self.conditions)
        if self._bounds:
            both = with_parents_of_bounds(self.conditions, self._bounds)
            self.order = parents_first(self.names, both, "conditions and bounds")
        self.is_conditional: bool = any(self.conditions)
        refuse_dead_parameters(self.names, self.conditions, self.order)
        if isinstance(parameters, SearchSpace):
            self._told = parameters._told
        self._bound_of = {bound.child: bound for bound in self._bounds}
        if self._bounds:
            refuse_empty_bounds(self)

    @functools.cached_property
    def relations(self) -> tuple[Relation, ...]:
        """What relations there are: bounds that depend on other parameters, then those told, in order."""
        return (*self._bounds, *self._told)

    # --- relations

    def forbid(self, combination: Mapping[str, Any]) -> Self:
        """Never try a combination of values; returns the space itself.

        It says nothing of points at which one of its parameters is inactive.

        Args:
            combination: by name a value, or a collection of several, or a comparison such as `at_least(101)`; of a
                parameter with infinitely many values the two ends of a range, both included. All together are
                forbidden.

        Raises:
            InvalidSearchSpace: an unknown name or value, or a study has taken up the space.

        Example:
            >>> space = SearchSpace({"batch_size": Discrete(8, 128, 8), "layers": Discrete(1, 4)})
            >>> space.forbid({"batch_size": [120, 128], "layers": 4}).size
            62
        """
        return self._relate([Forbidden(combination, self._parameters)])

    def require(self, relation: str) -> Self:
        """Only try points at which a relation holds; returns the space itself.

        It says nothing of points at which one of its parameters is inactive.

        Args:
            relation: an expression of names of parameters, numbers, strings, `True`, `False`, `None`,
                `+ - * / // % **`, comparisons, `in`, `and`, `or` and `not`, with Python's meaning. A parameter whose
                name is no name in Python is written `params["its name"]`.

        Raises:
            InvalidSearchSpace: not such an expression; the message shows the place. Or it can never hold, or a study
                has taken up the space.

        Example:
            >>> space = SearchSpace({"low": Discrete(1, 4), "high": Discrete(1, 4)})
            >>> space.require("low <= high").size
            10
        """
        return self._relate([Requirement(relation, self._parameters)])

    def _relate(self, relations: Iterable[Relation]) -> Self:
        new = [relation for relation in dict.fromkeys(relations) if relation not in set(self._told)]
        if new and self._is_taken:
            raise InvalidSearchSpace(
                "what is forbidden or required must be said before a study takes up the space; tell it a copy, "
                "SearchSpace(space), and load the study with it, Study.load(path, space=copy)"
            )
        self._told += tuple(new)
        for name in _DERIVED:
            self.__dict__.pop(name, None)
        return self

    def _take_up(self) -> None:
        """A study begins to use the space: from here on its relations stay as they are."""
        self._is_taken = True

    @functools.cached_property
    def _groups(self) -> tuple[Group, ...]:
        """The relations, in groups that are independent of each other."""
        return groups_of(self.relations, self.conditions)

    @functools.cached_property
    def _rare(self) -> dict[int, FloatArray | None]:
        """What `allowed` knows of the groups: the allowed points of those of which hardly any is."""
        return {}

    def allows(self, rows: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether the relations allow the points `rows` (n, d); (n,)."""
        allowed = np.ones(len(rows), np.bool_)
        for relation in self.relations:
            allowed &= relation.hold(rows)
        return allowed

    def _check_relations(self, rows: FloatArray) -> None:
        """Make sure that the relations allow all points `rows` (n, d).

        Raises:
            InvalidParameters: one breaks a relation; names it, the first such point and its values.
        """
        for relation in self.relations:
            broken = np.flatnonzero(~relation.hold(rows))
            if len(broken):
                first = int(broken[0])
                values = self.decode(rows[first])
                values = {self.names[j]: values[self.names[j]] for j in relation.parameters if self.names[j] in values}
                place = f" at position {first}" if len(rows) > 1 else ""
                raise InvalidParameters(f"the point{place} must keep to {relation!r}, got {shown(values)}")

    # --- a mapping of names to parameters

    def __getitem__(self, name: str) -> Parameter:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __eq__(self, other: object) -> bool:
        """Equal if names, their order, the parameters' definitions and the relations, in any order, are."""
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return self.names == other.names and self.parameters == other.parameters and set(self._told) == set(other._told)

    def __hash__(self) -> int:
        return hash((self.names, self.parameters))

    def __repr__(self) -> str:
        return ".".join([f"SearchSpace({self._parameters!r})", *map(repr, self._told)])

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
        listed = table(rows, ("parameter", "kind", "values", "active when"))
        if self.relations:
            listed += table([(repr(relation),) for relation in self.relations], ("what else must hold",))
        return titled("SearchSpace", listed)

    def __reduce__(self) -> tuple[Any, ...]:
        # without the enumeration, which is nested as deeply as the conditions and can be made again
        return type(self)._restored, (self._parameters, [relation.to_dict() for relation in self._told])

    @classmethod
    def _restored(cls, parameters: Mapping[str, Parameter], relations: Sequence[Any]) -> Self:
        space = cls(parameters)
        return space._relate([relation_from_dict(one, space._parameters) for one in relations])

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

    def encode(self, params: Mapping[str, Any], only_allowed: bool = True) -> FloatArray:
        """The row (d,) of a point.

        Args:
            params: the point.
            only_allowed: refuse a point that breaks a relation.

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
        if only_allowed and self.relations:
            self._check_relations(row[None, :])
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
        """Rows (n, d) of the prior at quantiles `unit` (n, d) in [0, 1), inactive parameters NaN.

        Relations are not looked at; `allowed.prior_rows` does that.
        """
        return self.deactivate(self._values_at(unit))

    def _values_at(self, unit: FloatArray, parameters: IntArray | None = None) -> FloatArray:
        """As `from_unit`, but values of inactive parameters, too; of some parameters only, 0 for the others."""
        rows = np.zeros(unit.shape)
        some = set(range(len(self)) if parameters is None else parameters.tolist())
        if not some.intersection(self._bound_of):
            for j in some:
                rows[:, j] = self.parameters[j].from_unit(unit[:, j])
            return rows
        active = rows.copy()  # the same, NaN where inactive
        for j in self.order:
            if j in some:
                rows[:, j] = active[:, j] = self._drawn(j, unit[:, j], active)
                for condition in self.conditions[j]:
                    active[~condition.allowed.hold(active[:, condition.parent]), j] = np.nan
        return rows

    def _drawn(self, j: int, unit: FloatArray, rows: FloatArray) -> FloatArray:
        """Values (n,) of a parameter at quantiles (n,) of its prior in the points `rows` (n, d), NaN where inactive.

        Parameters before it in `order` have their values there.
        """
        bound = self._bound_of.get(j)
        return self.parameters[j].from_unit(unit) if bound is None else bound.from_unit(unit, rows)

    def put_inside(self, rows: FloatArray) -> FloatArray:
        """Rows (n, d), of which values that lie beyond a bound that depends on others are put on it.

        What becomes active by that has the middle of its range.
        """
        if not self._bounds:
            return rows
        inside = rows.copy()
        middle = np.full(len(rows), 0.5)
        for j in self.order:
            if self.conditions[j]:
                active = np.ones(len(rows), np.bool_)
                for condition in self.conditions[j]:
                    active &= condition.allowed.hold(inside[:, condition.parent])
                inside[~active, j] = np.nan
                lacking = active & np.isnan(inside[:, j])
                if lacking.any():
                    inside[lacking, j] = self._drawn(j, middle[lacking], inside[lacking])
            if j in self._bound_of:
                self._bound_of[j].put_inside(inside)
        return inside

    def deactivate(self, rows: FloatArray, parameters: IntArray | None = None) -> FloatArray:
        """Write NaN into `rows` (n, d), in place, wherever a parameter's conditions do not hold.

        Args:
            rows: the points.
            parameters: which are looked at; all of their parents must be among them.
        """
        if self.is_conditional:
            some = None if parameters is None else set(parameters.tolist())
            for j in self.order:
                if some is not None and j not in some:
                    continue
                for condition in self.conditions[j]:
                    rows[~condition.allowed.hold(rows[:, condition.parent]), j] = np.nan
        return rows

    @functools.cached_property
    def priors(self) -> Priors | None:
        """What is believed of the parameters; None if nothing is."""
        return Priors(self.parameters) if any(one.prior is not None for one in self.parameters) else None

    # --- size

    @functools.cached_property
    def cells(self) -> Cells | AllowedCells | None:
        """The enumeration of a finite space's points; None for an infinite space, or if they can't be counted."""
        counts = [parameter.count for parameter in self.parameters]
        return None if None in counts else self._enumerated([c for c in counts if c is not None])

    @functools.cached_property
    def finite_cells(self) -> Cells | AllowedCells | None:
        """The enumeration of those points of which all active parameters have finitely many values.

        In an infinite space there are some where conditions switch off each parameter that has infinitely many. None if
        there is no such point, or if they can't be counted.
        """
        if self.is_finite:
            return self.cells
        if any(p.count is None and not p.when for p in self.parameters):
            return None
        try:
            cells = self._enumerated([p.count or 0 for p in self.parameters])
        except InvalidSearchSpace:
            return None
        return cells if cells is not None and cells.size else None

    def _enumerated(self, counts: list[int]) -> Cells | AllowedCells | None:
        from fasthpo.space.allowed_cells import AllowedCells, TooManyCells
        from fasthpo.space.enumeration import Cells

        if not self.relations:
            return Cells(self, counts)
        try:
            return AllowedCells(self, counts)
        except TooManyCells:
            return None

    @property
    def is_finite(self) -> bool:
        """Whether there are finitely many points."""
        return all(parameter.count is not None for parameter in self.parameters)

    @property
    def size(self) -> int | None:
        """The exact number of points, conditions and relations respected.

        None if the space is infinite, or if relations join parameters of more than a million combinations.
        """
        return None if self.cells is None else self.cells.size

    # --- JSON

    def to_dict(self) -> dict[str, Any]:
        """The definition in plain JSON values: of each parameter by name; with relations, of both."""
        parameters = {name: parameter.to_dict() for name, parameter in self._parameters.items()}
        if not self._told:
            return parameters
        return {"parameters": parameters, "relations": [relation.to_dict() for relation in self._told]}

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any]) -> Self:
        """The space that `to_dict` described.

        Raises:
            InvalidSearchSpace: not such a description.
        """
        if not isinstance(definition, Mapping):
            raise InvalidSearchSpace(f"a search space is a mapping of name to parameter, got {shown(definition)}")
        parameters, relations = definition, []
        if isinstance(definition.get("relations"), list):  # a parameter of that name would be a mapping
            if set(definition) != {"parameters", "relations"} or not isinstance(definition["parameters"], Mapping):
                raise InvalidSearchSpace(
                    "a search space with relations is {'parameters': ..., 'relations': [...]}, "
                    f"got {shown(list(definition))}"
                )
            parameters, relations = definition["parameters"], definition["relations"]
        return cls._restored({name: parameter_from_dict(one) for name, one in parameters.items()}, relations)

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


def with_parents_of_bounds(conditions: Conditions, bounds: Sequence[Bound]) -> Conditions:
    """Conditions, and one more for each parameter that a bound names: for an order in which these come first."""
    more = list(conditions)
    for bound in bounds:
        more[bound.child] += tuple(Condition(parent, Ranges.between(1.0, 0.0)) for parent in bound.parents)
    return tuple(more)


def refuse_empty_bounds(space: SearchSpace) -> None:
    """Make sure that something lies between bounds that depend on others, in many random points and at the corners.

    Raises:
        InvalidSearchSpace: in one of them, nothing does.
    """
    probed = max(min(_PROBED, _MOST_NUMBERS // len(space)), 16)
    unit = uniforms(0, np.arange(probed), 0, len(space))
    unit[0], unit[1] = 0.0, 1 - 1e-12
    for j in range(min(len(space), probed // 4)):
        unit[2 * j + 2, j], unit[2 * j + 3, j] = 0.0, 1 - 1e-12
    rows = space.from_unit(unit)
    for bound in space._bounds:
        refuse_empty(bound, rows, space)
