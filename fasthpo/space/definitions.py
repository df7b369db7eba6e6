"""Parameters made from their definitions in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import choice_from_json
from fasthpo.space.comparisons import comparison_from_json
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.normal import LogNormal, Normal
from fasthpo.space.ordinal import Ordinal
from fasthpo.space.parameter import Parameter
from fasthpo.values import shown

_KINDS: dict[str, type[Parameter]] = {
    c.kind: c for c in (Continuous, LogUniform, Discrete, Categorical, Ordinal, Normal, LogNormal)
}


def parameter_from_dict(definition: Mapping[str, Any]) -> Parameter:
    """The parameter that `Parameter.to_dict` described.

    Raises:
        InvalidSearchSpace: not such a description.
    """
    if not isinstance(definition, Mapping) or definition.get("type") not in list(_KINDS):
        raise InvalidSearchSpace(f"a parameter's type must be one of {sorted(_KINDS)}, got {shown(definition)}")
    kind = _KINDS[definition["type"]]
    arguments = {str(k): v for k, v in definition.items() if k != "type"}
    unknown = set(arguments) - set(kind.fields) - {"when", "prior"}
    if unknown:
        raise InvalidSearchSpace(f"{kind.__name__} has no field {sorted(unknown)}; it has {list(kind.fields)}")
    if isinstance(arguments.get("choices"), list):
        arguments["choices"] = list(map(choice_from_json, arguments["choices"]))
    if isinstance(arguments.get("when"), Mapping):
        arguments["when"] = {parent: condition_from_json(one) for parent, one in arguments["when"].items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise InvalidSearchSpace(f"incomplete definition of {kind.__name__}: {error}") from error


def condition_from_json(one: Any) -> Any:
    """A condition of JSON's as `when` takes it."""
    if isinstance(one, list):
        return list(map(choice_from_json, one))
    if isinstance(one, Mapping) and choice_from_json(one) is one:
        values = next(iter(one.values()), None)
        listed = values if isinstance(values, list) and "at_least" not in one and "at_most" not in one else [values]
        return comparison_from_json(one, map(choice_from_json, listed))
    return choice_from_json(one)
