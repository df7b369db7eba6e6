"""What a study is made of, as JSON: its space, its direction, and what made its sampler, pruner and strategy.

    {"space": ..., "direction": "minimize", "sampler": part, "pruner": part or null, "strategy": part or null}

Of several objectives there is "directions": ["minimize", "maximize"] in the place of the direction. Of a noisy one
there is "noisy": true. Of one that learns from earlier ones there is "earlier": what is known of each.

A part is {"name": ..., "type": ..., "options": {...}}: the name of a built-in kind, or null for one of the user's own,
the class's name, and the constructor's arguments, in which a pruner may stand as {"part": part}. The strategy is null
unless it is a multi-fidelity one. Only built-in kinds are ever made from a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fasthpo import pruners, samplers, strategies
from fasthpo.errors import CorruptCheckpoint, FastHPOError, InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.open_space import definition_of, space_from_definition
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.trials.earlier import Earlier
from fasthpo.trials.objectives import Direction, check_direction, check_directions
from fasthpo.values import shown


class Parts(NamedTuple):
    """A study's sampler, pruner and strategy; one that is not a multi-fidelity one makes no difference."""

    sampler: Sampler
    pruner: Pruner | None
    strategy: Strategy | None


class Given(NamedTuple):
    """The parts that a user wants to go on with in the place of the saved ones."""

    sampler: Sampler | None = None
    pruner: Pruner | None = None
    strategy: Strategy | None = None


def define(
    space: SearchSpace,
    directions: Sequence[Direction],
    parts: Parts,
    noisy: bool = False,
    earlier: Earlier | None = None,
) -> str:
    """The JSON of a study's definition."""
    strategy = parts.strategy
    definition = {
        "space": definition_of(space),
        **({"direction": directions[0]} if len(directions) == 1 else {"directions": list(directions)}),
        "sampler": _described(parts.sampler),
        "pruner": _described(parts.pruner),
        "strategy": _described(strategy if strategy is not None and strategy.is_multi_fidelity else None),
        **({"noisy": True} if noisy else {}),
        **({} if earlier is None else {"earlier": earlier.to_list()}),
    }
    return json.dumps(definition)  # of a pruner, infinities may be options


def define_trials(space: SearchSpace, directions: Sequence[Direction]) -> str:
    """The JSON of what trials are made of that have no parts of their own."""
    return json.dumps(
        {
            "space": definition_of(space),
            **({"direction": directions[0]} if len(directions) == 1 else {"directions": list(directions)}),
            **dict.fromkeys(("sampler", "pruner", "strategy")),
        }
    )


def _described(part: Sampler | Pruner | Strategy | None) -> dict[str, Any] | None:
    if part is None:
        return None
    # a subclass of a built-in sampler is the user's own, though it inherits the name
    kinds = (samplers.builtin(), pruners.builtin(), strategies.builtin())
    built_in = any(type(part) is known for names in kinds for known in names.values())
    options = {
        name: {"part": _described(value)} if isinstance(value, Pruner) else value
        for name, value in (part.options() if built_in else {}).items()
    }
    return {"name": part.name if built_in else None, "type": type(part).__name__, "options": options}


def with_space(definition: str, space: SearchSpace) -> str:
    """The JSON of a study's definition with the space as it is now, if it is one that grows."""
    if not space.is_open:
        return definition
    return json.dumps({**json.loads(definition), "space": definition_of(space)})


class Definition:
    """A definition that was read; everything in it has been checked but the parts.

    Args:
        text: the JSON.

    Raises:
        CorruptCheckpoint: it is no definition.
    """

    def __init__(self, text: str) -> None:
        try:
            fields = json.loads(text)
            self.space = space_from_definition(fields["space"])
            if "directions" in fields:
                self.directions = check_directions(fields["directions"])
            else:
                self.directions = (check_direction(fields["direction"]),)
            self.noisy = fields.get("noisy", False) is True and len(self.directions) == 1
            self.earlier = Earlier.from_list(fields["earlier"]) if "earlier" in fields else None
            self._fields = {name: fields[name] for name in ("sampler", "pruner", "strategy")}
        except (FastHPOError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CorruptCheckpoint(f"not the definition of a study: {shown(error, 1000)}") from error

    def check_points(self) -> None:
        """Make sure that the points of the space can be counted, where their number is finite.

        Raises:
            CorruptCheckpoint: they can't be.
        """
        try:
            _ = self.space.finite_cells
        except FastHPOError as error:
            raise CorruptCheckpoint(f"not the definition of a study: {shown(error, 1000)}") from error

    def is_of(self, sampler: Sampler) -> bool:
        """Whether the study's sampler was made as this one was."""
        described: Any = json.loads(json.dumps(_described(sampler)))
        return bool(described == self._fields["sampler"])

    def parts(self, given: Given) -> Parts:
        """The parts to go on with: those given, else the saved ones made anew.

        Raises:
            InvalidValue: one was the user's own, and none is given.
            CorruptCheckpoint: a saved one can't be made.
        """
        sampler = given.sampler if given.strategy is None else given.strategy.sampler
        sampler = self._part("sampler", samplers.builtin(), sampler)
        if sampler is None:
            raise CorruptCheckpoint("the study has no sampler")
        pruner = self._part("pruner", pruners.builtin(), given.pruner)
        strategy = self._part("strategy", strategies.builtin(), given.strategy, sampler=sampler)
        return Parts(sampler, pruner, strategy)

    def _part(self, what: str, kinds: Mapping[str, Any], given: Any, **more: Any) -> Any:
        if given is not None:
            return given
        try:
            return _made(what, kinds, self._fields[what], more)
        except _OwnPartNeeded as error:
            raise InvalidValue(str(error)) from None
        except (FastHPOError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CorruptCheckpoint(f"the {what} can't be made again: {shown(error, 1000)}") from error


class _OwnPartNeeded(Exception):
    """The study used a part that only its user can make."""


def _made(what: str, kinds: Mapping[str, Any], part: Any, more: Mapping[str, Any]) -> Any:
    if part is None:
        return None
    if part["name"] is None:
        raise _OwnPartNeeded(f"the study used a {what} of your own, {part['type']}; pass one as {what}=")
    if part["name"] not in kinds:
        raise CorruptCheckpoint(f"unknown {what} {part['name']!r}; known: {sorted(kinds)}")
    options = {
        name: _made(what, kinds, value["part"], {}) if isinstance(value, dict) else value
        for name, value in part["options"].items()
    }
    return kinds[part["name"]](**options, **more)
