"""Building a search space step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.normal import LogNormal, Normal
from fasthpo.space.ordinal import Ordinal
from fasthpo.space.parameter import Parameter, Value, When
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import exact, shown


class SearchSpaceBuilder:
    """Builds a `SearchSpace` by chained calls, one a parameter.

    Example:
        >>> space = SearchSpaceBuilder().log_uniform("lr", 1e-5, 1e-1).discrete("layers", 1, 4).build()
        >>> list(space)
        ['lr', 'layers']
    """

    def __init__(self) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._forbidden: list[Mapping[str, Any]] = []
        self._required: list[str] = []

    def add(self, name: str, parameter: Parameter) -> Self:
        """Add any parameter.

        Raises:
            InvalidSearchSpace: the name is taken.
        """
        if not isinstance(name, str):
            raise InvalidSearchSpace(f"a parameter's name must be a string that is not empty, got {shown(name)}")
        name = exact(name)
        if name in self._parameters:
            raise InvalidSearchSpace(f"a parameter's name must be unique, got {shown(name)} twice")
        self._parameters[name] = parameter
        return self

    def continuous(
        self,
        name: str,
        low: float | str,
        high: float | str,
        step: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
        prior: Any = None,
    ) -> Self:
        """Add a `Continuous` parameter."""
        return self.add(name, Continuous(low, high, step, n_points, when, prior))

    def log_uniform(
        self,
        name: str,
        low: float | str,
        high: float | str,
        n_points: int | None = None,
        when: When | None = None,
        prior: Any = None,
    ) -> Self:
        """Add a `LogUniform` parameter."""
        return self.add(name, LogUniform(low, high, n_points, when, prior))

    def discrete(
        self,
        name: str,
        low: int | str,
        high: int | str,
        step: int = 1,
        log: bool = False,
        when: When | None = None,
        prior: Any = None,
    ) -> Self:
        """Add a `Discrete` parameter."""
        return self.add(name, Discrete(low, high, step, log, when, prior))

    def ordinal(self, name: str, choices: Sequence[Value], when: When | None = None, prior: Any = None) -> Self:
        """Add an `Ordinal` parameter."""
        return self.add(name, Ordinal(choices, when, prior))

    def normal(
        self,
        name: str,
        mean: float,
        sd: float,
        low: float | None = None,
        high: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
    ) -> Self:
        """Add a `Normal` parameter."""
        return self.add(name, Normal(mean, sd, low, high, n_points, when))

    def log_normal(
        self,
        name: str,
        mean: float,
        sd: float,
        low: float | None = None,
        high: float | None = None,
        n_points: int | None = None,
        when: When | None = None,
    ) -> Self:
        """Add a `LogNormal` parameter."""
        return self.add(name, LogNormal(mean, sd, low, high, n_points, when))

    def categorical(self, name: str, choices: Sequence[Value], when: When | None = None, prior: Any = None) -> Self:
        """Add a `Categorical` parameter."""
        return self.add(name, Categorical(choices, when, prior))

    def forbid(self, combination: Mapping[str, Any]) -> Self:
        """As `SearchSpace.forbid`; the parameters may be added later."""
        self._forbidden.append(combination)
        return self

    def require(self, relation: str) -> Self:
        """As `SearchSpace.require`; the parameters may be added later."""
        self._required.append(relation)
        return self

    def build(self) -> SearchSpace:
        """The space of the parameters added so far.

        Raises:
            InvalidSearchSpace: as `SearchSpace`.
        """
        space = SearchSpace(self._parameters)
        for combination in self._forbidden:
            space.forbid(combination)
        for relation in self._required:
            space.require(relation)
        return space
