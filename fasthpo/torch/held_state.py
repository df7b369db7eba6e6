"""What a module holds, as plain values by path: whether a call changed it, and whether two modules are alike.

A module's state is all that can be reached from it: its attributes and those of objects that it holds, the items of
containers, the tensors among them, what its classes hold, and, for functions such as hooks, what their closures and the
globals that they name hold, as far as these are values or containers of values. Objects that only a closure or a global
leads to are not looked into: these may be anything, a study or a logger that changes all the time.
"""

from __future__ import annotations

import copy
import functools
import io
import logging
import random
import re
import types
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fasthpo.errors import InvalidValue

_VALUES = (type(None), bool, int, float, complex, str, bytes, range, slice)
_CONTAINERS = (dict, list, tuple, deque, set, frozenset)
_TORCH_VALUES = (torch.dtype, torch.device, torch.layout, torch.memory_format)
# what has no state that a forward could depend on, or leads to everything there is
_OPAQUE = (
    type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, logging.Logger, weakref.ref, io.IOBase,
    RemovableHandle, torch.jit.ScriptModule, *_TORCH_VALUES,
)  # fmt: skip
_MISSING = object()

Leaf = Callable[[torch.Tensor], Any]


def _generator_state(one: Any) -> Any:
    """The state of a random number generator; None: it is none."""
    if isinstance(one, torch.Generator):
        return one.get_state().numpy().tobytes()
    if isinstance(one, np.random.Generator):
        return repr(one.bit_generator.state)
    if isinstance(one, np.random.RandomState):
        return repr(one.get_state(legacy=True))
    return one.getstate() if isinstance(one, random.Random) else None


def _content(one: Any) -> Any:
    """What tells whether a value that has no attributes to look at is still the same; None: it is no such value."""
    if isinstance(one, (np.ndarray, np.generic)):
        data = repr(one.tolist()).encode() if one.dtype.hasobject else np.ascontiguousarray(one).tobytes()
        return one.shape, one.dtype.str, zlib.crc32(data)
    state = _generator_state(one)
    if state is not None or hasattr(one, "__dict__") or isinstance(one, _CONTAINERS) or _slots(one):
        return state
    return _name(type(one)), re.sub(r" at 0x[0-9a-fA-F]+", "", repr(one))


def _name(kind: type) -> str:
    """A class by name: one that is defined where a module is made is another one each time."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _by_version(one: torch.Tensor) -> Any:
    """Which tensor it is and how often it was changed in place, without a look at its numbers."""
    return id(one), -1 if one.is_inference() else one._version, one.requires_grad


def _by_content(one: torch.Tensor) -> Any:
    if nn.parameter.is_lazy(one) or one.is_meta:
        return _name(type(one)), one.dtype, one.requires_grad
    numbers = one.detach().to_dense().cpu().contiguous()
    data = numbers.flatten().view(torch.uint8).numpy() if numbers.numel() else b""
    return tuple(one.shape), one.dtype, one.requires_grad, zlib.crc32(data)


def _slots(one: Any) -> dict[str, Any]:
    names: list[str] = []
    for kind in type(one).__mro__:
        own = vars(kind).get("__slots__", ())
        names += [own] if isinstance(own, str) else own
    found = {name: getattr(one, name, _MISSING) for name in names if name not in ("__dict__", "__weakref__")}
    return {name: value for name, value in found.items() if value is not _MISSING}


def _is_of_torch(one: Any) -> bool:
    return str(getattr(one, "__module__", "")).split(".")[0] == "torch"


class _Walk:
    """One look at everything that is reached.

    Attributes:
        leaves: by path: each value, and what `leaf` says of each tensor.
        tensors: each once.
        references: to tensors: path, tensor, and the dict of a module's parameters or buffers in which it is, if any.
        of_code: the paths of what classes and functions hold, and not the objects.
        dicts, sequences, sets, cells, slotted, globals: what holds other objects, each kind of it.
        changing: what has a content that may change in place.
    """

    def __init__(self, roots: dict[str, Any], leaf: Leaf, with_code: bool) -> None:
        self._leaf, self._with_code = leaf, with_code
        self._seen: dict[int, tuple[str, Any]] = {}  # with the object, so that its id stays its own
        self.leaves: dict[str, Any] = {}
        self.tensors: list[torch.Tensor] = []
        self.references: list[tuple[str, torch.Tensor, Any]] = []
        self.of_code: set[str] = set()
        self.dicts: list[Any] = []
        self.sequences: list[Any] = []
        self.sets: list[Any] = []
        self.cells: list[Any] = []
        self.slotted: list[Any] = []
        self.globals: list[tuple[dict[str, Any], str]] = []
        self.changing: list[Any] = []
        for path, one in roots.items():
            self._visit(path, one)

    def _visit(self, path: str, one: Any, data_only: bool = False, holder: Any = None) -> None:
        """Take in what is at the path; `data_only`: nothing but values, containers, functions and modules."""
        if isinstance(one, torch.Tensor):
            self.references.append((path, one, holder))
        if data_only:
            self.of_code.add(path)
        self.leaves[path] = _name(type(one))
        if isinstance(one, _VALUES):
            self.leaves[path] = _name(type(one)), one if one == one else "nan"
            return
        if not isinstance(one, (tuple, frozenset)):  # equal ones may be one object or several
            if id(one) in self._seen:
                self.leaves[path] = "as", self._seen[id(one)][0]
                return
            self._seen[id(one)] = path, one
        if isinstance(one, torch.Tensor):
            self.tensors.append(one)
            self.leaves[path] = self._leaf(one)
        elif isinstance(one, _OPAQUE):
            named = _name(one) if isinstance(one, type) else str(one) if isinstance(one, _TORCH_VALUES) else None
            self.leaves[path] = _name(type(one)), named
        elif isinstance(one, Iterator):
            raise InvalidValue(
                f"{path} is an iterator ({type(one).__name__}), which a forward may move on without that this can be "
                "seen, and all models of a stack would share it; train with Trainer"
            )
        elif isinstance(one, types.FunctionType):
            self._visit_function(path, one)
        elif isinstance(one, types.MethodType):
            self._visit(f"{path}.__func__", one.__func__)
            if isinstance(one.__self__, nn.Module):
                self._visit(f"{path}.__self__", one.__self__)
        elif isinstance(one, functools.partial):
            self._visit(f"{path}.func", one.func, data_only)
            self._visit(f"{path}.args", one.args, data_only)
            self._visit(f"{path}.keywords", one.keywords, data_only)
        elif isinstance(one, _CONTAINERS):
            self._visit_container(path, one, data_only)
        elif (content := _content(one)) is not None:
            self.leaves[path] = content
            self.changing.append(one)
        elif not data_only or isinstance(one, nn.Module):
            self._visit_object(path, one)

    def _visit_container(self, path: str, one: Any, data_only: bool) -> None:
        self.leaves[path] = _name(type(one)), len(one)
        parts = (*one.keys(), *one.values()) if isinstance(one, dict) else one
        if isinstance(one, (set, frozenset)):
            self.sets.append(one)
            values = frozenset(value for value in one if isinstance(value, _VALUES))
            self.leaves[path] = _name(type(one)), values, len(one)
        elif all(isinstance(part, _VALUES) for part in parts):  # such as a vocabulary: no path for each of its words
            (self.dicts if isinstance(one, dict) else self.sequences).append(one)
            self.leaves[path] = _name(type(one)), repr(one)
        elif isinstance(one, dict):
            self.dicts.append(one)
            # hooks are registered under numbers that count on for as long as the process runs
            named = not path.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
            for i, (key, value) in enumerate(list(one.items())):
                self._visit(f"{path}[{key!r}]" if named and isinstance(key, (*_VALUES, tuple)) else f"{path}[#{i}]",
                            value, data_only)  # fmt: skip
        else:
            self.sequences.append(one)
            for i, value in enumerate(list(one)):
                self._visit(f"{path}[{i}]", value, data_only)
        if hasattr(one, "__dict__") and not data_only:
            self._visit_attributes(path, one)

    def _visit_object(self, path: str, one: Any) -> None:
        if hasattr(one, "__dict__"):
            self._visit_attributes(path, one)
        slots = _slots(one)
        if slots:
            self.slotted.append(one)
            for name, value in slots.items():
                self._visit(f"{path}.{name}", value)
        if self._with_code:
            for kind in type(one).__mro__:
                if kind.__module__ != "builtins" and not _is_of_torch(kind):
                    self._visit_class(path, kind)

    def _visit_attributes(self, path: str, one: Any) -> None:
        held = vars(one)
        self.dicts.append(held)
        for name, value in list(held.items()):
            if isinstance(one, nn.Module) and name in ("_parameters", "_buffers", "_modules"):
                self.dicts.append(value)
                self.leaves[f"{path}.{name}"] = tuple(value)
                for own, held_by_name in list(value.items()):
                    self._visit(f"{path}.{own}", held_by_name, holder=value)
            elif not (isinstance(one, nn.RNNBase) and name.startswith("_flat_weight")):  # which it renews by itself
                self._visit(f"{path}.{name}", value)

    def _visit_class(self, path: str, kind: type) -> None:
        if id(kind) in self._seen:
            return
        self._seen[id(kind)] = path, kind
        held = vars(kind)
        self.dicts.append(held)
        for name, value in list(held.items()):
            inner = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            inner = inner.fget if isinstance(inner, property) else inner
            if isinstance(inner, types.FunctionType) or not name.startswith("__"):
                self._visit(f"{path}.__class__.{name}", inner, data_only=True)

    def _visit_function(self, path: str, one: types.FunctionType) -> None:
        if not self._with_code or _is_of_torch(one):
            return
        self.leaves[path] = one.__code__
        self._visit(f"{path}.__defaults__", one.__defaults__, data_only=True)
        self._visit(f"{path}.__kwdefaults__", one.__kwdefaults__, data_only=True)
        self._visit(f"{path}.__dict__", one.__dict__, data_only=True)
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
            self.cells.append(cell)
            held = _inside(cell)
            if held is not _MISSING:
                self._visit(f"{path}:{name}", held, data_only=True)
        for name in one.__code__.co_names:
            value = one.__globals__.get(name, _MISSING)
            if isinstance(value, (*_VALUES, *_CONTAINERS, np.ndarray, np.generic, torch.Tensor)):
                self.globals.append((one.__globals__, name))
                self._visit(f"{path}:{name}", value, data_only=True)


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty as yet
        return _MISSING


def _same(now: Iterable[Any], before: list[Any]) -> bool:
    return all(map(is_, now, before))


def _same_items(one: Any, keys: list[Any], values: list[Any]) -> bool:
    return len(one) == len(keys) and _same(one, keys) and _same(one.values(), values)


def _has_memory(one: torch.Tensor) -> bool:
    try:
        one.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def _differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """The paths at which two looks found something else."""
    yield from (path for path, leaf in other.items() if one.get(path, _MISSING) != leaf)
    yield from (path for path in one if path not in other)


class Watch:
    """Sees whether what some objects hold has been changed since.

    A look that finds nothing costs about a microsecond a module: it only compares which objects are held, and how often
    tensors were changed in place. Where other objects are found, which may be equal ones, all values are compared.

    Args:
        roots: objects to watch, by the name that they have in messages.
        exempt: tensors that may be changed in place.

    Raises:
        InvalidValue: they hold an iterator.

    Attributes:
        references: all references to tensors: path, tensor, and the dict of a module's parameters or buffers in which
            it is, if any.
    """

    def __init__(self, roots: dict[str, Any], exempt: Iterable[torch.Tensor] = ()) -> None:
        self._roots = roots
        self._exempt = {id(one): one for one in exempt}
        self._keep(self._look())

    def _leaf(self, one: torch.Tensor) -> Any:
        return (id(one), one.requires_grad) if id(one) in self._exempt else _by_version(one)

    def renew(self) -> None:
        """From now on what is held now is what should be held."""
        if not self._is_same():
            self._keep(self._look())

    def _keep(self, walk: _Walk) -> None:
        self._walk, self.references = walk, walk.references
        # most of what a module holds is a dict of hooks, and empty: all of these at once
        self._empty = [one for one in (*walk.dicts, *walk.sequences) if not len(one)]
        self._dicts = [(one, list(one), list(one.values())) for one in walk.dicts if len(one)]
        self._sequences = [(one, list(one)) for one in walk.sequences if len(one) and not isinstance(one, tuple)]
        self._sets = [(one, frozenset(one)) for one in walk.sets if not isinstance(one, frozenset)]
        self._cells = [(one, _inside(one)) for one in walk.cells]
        self._slotted = [(one, _slots(one)) for one in walk.slotted]
        self._globals = [(held, name, held[name]) for held, name in walk.globals]
        self._changing = [(one, _content(one)) for one in walk.changing]
        self._tensors = [(one, self._leaf(one)) for one in walk.tensors]

    def _is_same(self) -> bool:
        """Whether the very same objects are held and none of them was changed in place."""
        return (
            not any(self._empty)
            and all(_same_items(one, keys, values) for one, keys, values in self._dicts)
            and all(len(one) == len(values) and _same(one, values) for one, values in self._sequences)
            and all(one == values for one, values in self._sets)
            and all(_inside(one) is value for one, value in self._cells)
            and all(_same(_slots(one).values(), list(values.values())) for one, values in self._slotted)
            and all(held.get(name) is value for held, name, value in self._globals)
            and all(_content(one) == content for one, content in self._changing)
            and all(self._leaf(one) == leaf for one, leaf in self._tensors)
        )  # fmt: skip

    def changed(self) -> str | None:
        """The path of something that is no longer what it was when this was made or renewed; None: all is."""
        if self._is_same():
            return None
        walk = self._look()
        for path in _differences(self._walk.leaves, walk.leaves):
            return path
        self._keep(walk)  # equal, but other objects
        return None

    def follow(self) -> str | None:
        """As `changed`, but what `restore` would put back may change, and what is held now is held from now on.

        Such changes are those of attributes, lists, dicts and sets of the objects themselves, not of their classes or
        functions, which others share; and not to tensors that are there only during a `torch.vmap`.
        """
        if self._is_same():
            return None
        walk, known = self._look(), set(map(id, self._walk.tensors))
        different = list(_differences(self._walk.leaves, walk.leaves))
        for path in different:
            if path in walk.of_code or path in self._walk.of_code:
                return path
        for path, one, _ in walk.references:
            if id(one) not in known and not _has_memory(one):
                return path
        if different:
            now = copy.copy(self)
            now._keep(walk)
            self.restore()
            left = next(_differences(self._walk.leaves, self._look().leaves), None)
            now.restore()
            if left is not None:
                return left
        self._keep(walk)
        return None

    def _look(self) -> _Walk:
        return _Walk(self._roots, self._leaf, with_code=True)

    def restore(self) -> None:
        """Have dicts, lists and sets, such as a module's attributes, hold again what they held."""
        for one in self._empty:
            if len(one):
                one.clear()
        for one, keys, values in self._dicts:
            if isinstance(one, dict) and not _same_items(one, keys, values):
                one.clear()
                one.update(zip(keys, values, strict=True))
        for one, values in self._sequences:
            if not (len(one) == len(values) and _same(one, values)):
                one.clear()
                one.extend(values)
        for one, members in self._sets:
            if one != members:
                one.clear()
                one.update(members)


def contents(one: Any) -> dict[str, Any]:
    """All that an object holds, by path, with a checksum for the numbers of each tensor; not what its code holds."""
    return _Walk({"model": one}, _by_content, with_code=False).leaves


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The path of something in which two `contents` differ."""
    return next(_differences(one, other), None)
