"""The places where a module holds its parameters and buffers: other tensors are put there for a forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fasthpo.errors import InvalidValue

_MISSING = object()


class Places:
    """The places of a module's trainable parameters and of its buffers.

    `torch.func.functional_call` does the same, but hides which buffers a forward has replaced, and looks for the places
    anew in each call.

    Args:
        model: the module.

    Attributes:
        trained: its trainable parameters by name, each once, however many places it has.
        buffers: its buffers by name, under each of their names.
    """

    def __init__(self, model: nn.Module) -> None:
        names: dict[int, str] = {}
        self.trained: dict[str, nn.Parameter] = {}
        self.buffers: dict[str, torch.Tensor] = {}
        self._parameters: list[tuple[dict[str, Any], str, Any, str]] = []
        self._buffers: list[tuple[dict[str, Any], str, Any, str]] = []
        for prefix, module in model.named_modules():
            for key, one in module._parameters.items():
                if one is not None and one.requires_grad:
                    name = names.setdefault(id(one), f"{prefix}.{key}" if prefix else key)
                    self.trained[name] = one
                    self._parameters.append((module._parameters, key, one, name))
            for key, one in module._buffers.items():
                name = f"{prefix}.{key}" if prefix else key
                if one is not None:
                    self.buffers[name] = one
                self._buffers.append((module._buffers, key, one, name))

    def has(self, holder: Any) -> bool:
        """Whether it is one of the dicts in which a module has its parameters or its buffers."""
        return any(holder is held for held, *_ in (*self._parameters, *self._buffers))

    @contextmanager
    def holding(self, weights: dict[str, Any], buffers: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """In the block the module holds these; which buffers it has replaced is in the dict afterwards.

        Raises:
            InvalidValue: a parameter was replaced, or something else than a tensor was put into a buffer's place.
        """
        replaced: dict[str, Any] = {}
        try:
            for held, key, _, name in self._parameters:
                held[key] = weights[name]
            for held, key, _, name in self._buffers:
                held[key] = buffers.get(name)
            yield replaced
            for held, key, _, name in self._parameters:
                if held.get(key) is not weights[name]:
                    raise InvalidValue(
                        f"the model's forward replaces its parameter {name}, so that another one would be trained than "
                        "is used; change it in place under torch.no_grad(), or train with Trainer"
                    )
            for held, key, _, name in self._buffers:
                now = held.get(key, _MISSING)
                if now is buffers.get(name):
                    continue
                if not isinstance(now, torch.Tensor):
                    raise InvalidValue(
                        f"the model's forward takes away its buffer {name}; a stack needs a tensor there, so train "
                        "with Trainer"
                    )
                replaced[name] = now
        finally:
            for held, key, original, _ in (*self._parameters, *self._buffers):
                held[key] = original
