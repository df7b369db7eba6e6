"""The search space of a study that learns it from its objective: parameters are added and widened as they are met."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.parameter import Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.space.widening import widened
from fasthpo.values import FloatArray, shown

_KEY = "define_by_run"  # of its definition in JSON, which no search space has that was declared


class Learnt(NamedTuple):
    """What was learnt of such a space from the trials that had ended: in it samplers make their suggestions.

    Attributes:
        space: with the conditions that were found; None before there were any parameters.
        told: how many trials had ended.
        gap: how many more are to end before it is learnt anew, if they do not fit.
        restarts: whether the sampler's draws began anew then, as the cells of a grid have other numbers.
    """

    space: SearchSpace | None = None
    told: int = 0
    gap: int = 1
    restarts: bool = False


NOTHING = Learnt()


class OpenSpace(SearchSpace):
    """An immutable mapping of the parameters met so far, any of which a trial may lack.

    Args:
        parameters: by name, in the order in which they were first asked for; without conditions.
        learnt: what samplers go by.
        is_stale: whether parameters have come or grown since that was learnt.
    """

    is_open = True

    def __init__(
        self, parameters: Mapping[str, Parameter] | None = None, learnt: Learnt = NOTHING, is_stale: bool = False
    ) -> None:
        if parameters:
            super().__init__(parameters)
        else:
            self._parameters = {}
            self.names = self.parameters = self.conditions = self.order = ()
            self.position = {}
            self.is_conditional = False
        if self.is_conditional:
            raise InvalidSearchSpace("a space that is learnt has no conditions of its own")
        self.learnt = learnt
        self.is_stale = is_stale

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        return same if not isinstance(other, OpenSpace) else bool(same) and self._rest() == other._rest()

    def _rest(self) -> tuple[Learnt, bool]:
        return self.learnt, self.is_stale

    __hash__ = SearchSpace.__hash__

    def __repr__(self) -> str:
        return f"<learnt as it is met: {self._parameters!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._parameters, self.learnt, self.is_stale)

    # --- how it grows

    def with_parameter(self, name: str, parameter: Parameter) -> OpenSpace:
        """The space in which a name has all values of a parameter, too.

        Raises:
            InvalidSearchSpace: it was asked for with another type, scale or other choices before.
        """
        known = self.get(name)
        try:
            wider = parameter if known is None else widened(known, parameter)
        except InvalidSearchSpace as error:
            raise InvalidSearchSpace(f"{name!r}: {error}") from None
        return self if wider is known else OpenSpace({**self._parameters, name: wider}, self.learnt, True)

    def as_stale(self) -> OpenSpace:
        """The same space, of which there is more to learn."""
        return OpenSpace(self._parameters, self.learnt, True)

    def with_learnt(self, learnt: Learnt) -> OpenSpace:
        """The same space, of which more was learnt."""
        return OpenSpace(self._parameters, learnt, False)

    # --- points: any of the parameters may be missing

    def encode(self, params: Mapping[str, Any], only_allowed: bool = True) -> FloatArray:
        return self.encode_part(params)

    @functools.cached_property
    def cells(self) -> None:
        """Such a space may grow, and has no number of points."""
        return

    @functools.cached_property
    def finite_cells(self) -> None:
        """As `cells`."""
        return


def definition_of(space: SearchSpace) -> dict[str, Any]:
    """The definition of a space in plain JSON values, for a study's files."""
    if not isinstance(space, OpenSpace):
        return space.to_dict()
    learnt = space.learnt
    fields = {
        "parameters": space.to_dict(),
        "learnt": None if learnt.space is None else learnt.space.to_dict(),
        "told": learnt.told,
        "gap": learnt.gap,
        "restarts": learnt.restarts,
        "is_stale": space.is_stale,
    }
    return {_KEY: fields}


def space_from_definition(definition: Any) -> SearchSpace:
    """The space that `definition_of` described.

    Raises:
        InvalidSearchSpace: not such a description.
    """
    fields = definition.get(_KEY) if isinstance(definition, Mapping) else None
    if not isinstance(fields, Mapping) or "type" in fields:
        return SearchSpace.from_dict(definition)
    try:
        given, found = fields["parameters"], fields["learnt"]
        told, gap, restarts, is_stale = (fields[name] for name in ("told", "gap", "restarts", "is_stale"))
    except KeyError as error:
        raise InvalidSearchSpace(f"a space that is learnt lacks {error}") from None
    if [type(one) for one in (told, gap, restarts, is_stale)] != [int, int, bool, bool] or told < 0 or gap < 1:
        raise InvalidSearchSpace(f"not a space that is learnt: {shown(fields)}")
    parameters = SearchSpace.from_dict(given) if given else {}
    learnt = None if found is None else SearchSpace.from_dict(found)
    if learnt is not None and not set(learnt) <= set(parameters):
        raise InvalidSearchSpace("what was learnt has parameters that the space has not")
    return OpenSpace(dict(parameters), Learnt(learnt, told, gap, restarts), is_stale)
