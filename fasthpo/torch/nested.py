"""Tensors in mappings, tuples, lists and dataclasses, in any depth, as batches, targets and outputs hold them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch


def parts_of(structure: Any) -> dict[Any, Any] | None:
    """What a structure holds, by name or place; None if it is no structure."""
    if isinstance(structure, (tuple, list)):
        return dict(enumerate(structure))
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        return {field.name: getattr(structure, field.name) for field in dataclasses.fields(structure)}
    if isinstance(structure, Mapping):
        return dict(structure)
    return None


def rebuilt(structure: Any, parts: dict[Any, Any]) -> Any:
    """A structure of the same kind that holds `parts`."""
    if isinstance(structure, (tuple, list)):
        values = parts.values()
        return type(structure)(*values) if hasattr(structure, "_fields") else type(structure)(values)
    if dataclasses.is_dataclass(structure):  # before mappings: outputs of transformers are both, and refuse `update`
        made: Any = copy.copy(structure)
        put = object.__setattr__ if type(made).__dataclass_params__.frozen else setattr
        for name, part in parts.items():
            put(made, name, part)
        return made
    try:
        if not isinstance(structure, MutableMapping):
            return type(structure)(parts)
        made = copy.copy(structure)
        made.update(parts)
        return made
    except TypeError:  # a mapping that can't be made so, as torch's own loader has it
        return parts


def tensors(structure: Any) -> Iterator[Any]:
    """What stands at the ends of a structure: tensors, and whatever else is no structure."""
    parts = parts_of(structure)
    if parts is None:
        yield structure
    for part in (parts or {}).values():
        yield from tensors(part)


def mapped(function: Callable[[Any], Any], structure: Any, method: str = "") -> Any:
    """The structure with `function` of each tensor in its place; other values stay.

    Args:
        function: of a tensor.
        structure: a tensor, or what holds some.
        method: objects that have a method of this name are treated as tensors are, such as packed sequences by "to".
    """
    if isinstance(structure, torch.Tensor):
        return function(structure)
    if method and not isinstance(structure, Mapping) and callable(getattr(structure, method, None)):
        return function(structure)
    parts = parts_of(structure)
    if parts is None:
        return structure
    return rebuilt(structure, {name: mapped(function, part, method) for name, part in parts.items()})


def joined(structures: Sequence[Any]) -> Any:
    """One structure from those of several batches, their tensors put one after the other.

    Raises:
        TypeError, ValueError, RuntimeError: they are not alike, or hold something else than tensors that fit together.
    """
    first = structures[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(structures))
    if all(one is None for one in structures):
        return None
    parts = [parts_of(one) for one in structures]
    names = None if parts[0] is None else parts[0].keys()
    if names is None or any(one is None or one.keys() != names for one in parts):
        raise TypeError(f"{type(first).__name__} is no tensor")
    return rebuilt(first, {name: joined([one[name] for one in parts if one is not None]) for name in names})
