"""An objective as bytes for other processes, with what the script defines, which none of them can import."""

from __future__ import annotations

import importlib.machinery
import io
import multiprocessing
import os
import pickle
import sys
import threading
import types
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import cloudpickle

from fasthpo.errors import InvalidValue
from fasthpo.execution.initializing import Initializer
from fasthpo.execution.main_module import module_named, namespace
from fasthpo.execution.objective import Objective
from fasthpo.execution.unpickling import Head
from fasthpo.system.forked import renew_in_forked

is_sending: ContextVar[bool] = ContextVar("is_sending", default=False)  # something is pickled for a worker
_dumping = threading.Lock()  # cloudpickle's list of modules that go by value is one for all threads
renew_in_forked(sys.modules[__name__], _dumping=threading.Lock)


def pickle_objective(objective: Objective, initializer: Initializer | None = None) -> bytes:
    """The objective and the initializer for other processes.

    What is defined in `__main__`, or in a module that can't be imported anew, goes by value; all else by reference.

    Raises:
        InvalidValue: it holds what can't leave this process.
    """
    file = io.BytesIO()
    with _dumping:
        pickler = _Pickler(file)
        before = is_sending.set(True)
        try:
            what = "initializer"
            pickler.dump(initializer)
            what = "objective"
            pickler.dump(objective)
            pickler.dump((_attributes(sys.modules["__main__"]), pickler.definitions))
        except Exception as error:
            raise InvalidValue(
                f"the {what} can't be sent to another process: {error}; make what it needs inside of it, or use "
                'backend="threads"'
            ) from error
        finally:
            is_sending.reset(before)
            for module in pickler.by_value.values():
                cloudpickle.unregister_pickle_by_value(module)
    return pickle.dumps(tuple(_head(pickler.by_value))) + file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Has all go by value that can't be imported, and notes it, so that it can be found by its names there.

    Attributes:
        by_value: the modules that go by value, besides `__main__`.
        definitions: modules, qualified names, and the functions and classes that they stand for.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.by_value: dict[str, types.ModuleType] = {}
        self.definitions: list[tuple[str, str, Any]] = []
        self._importable: dict[str, bool] = {"__main__": False}
        self._share(sys.modules["__main__"])

    def _share(self, module: types.ModuleType) -> None:
        """Functions that go by value have the namespace of their module there, as they have here."""
        self.globals_ref[id(vars(module))] = _Namespace(module)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            if sys.modules.get(obj.__name__) is obj and not self._is_importable(obj.__name__):
                return _reduced(obj)
        elif isinstance(obj, (types.FunctionType, type)):
            module = getattr(obj, "__module__", None)
            if isinstance(module, str) and not self._is_importable(module) and _is_found(obj, module):
                self.definitions.append((_name(sys.modules[module]), obj.__qualname__, obj))
                if isinstance(obj, types.FunctionType):  # runpy and multiprocessing copy a namespace into a module
                    self.globals_ref.setdefault(id(obj.__globals__), _Namespace(sys.modules[module]))
        return super().reducer_override(obj)

    def _is_importable(self, name: str) -> bool:
        known = self._importable.get(name)
        if known is None:
            module = sys.modules.get(name)  # of what is in none, cloudpickle knows that it has to go by value
            known = module is None or (module is not sys.modules["__main__"] and is_importable(name))
            self._importable[name] = known
            if module is not None and not known and module.__name__ == name:
                self._share(module)
                if name not in cloudpickle.list_registry_pickle_by_value():  # the user's own wish
                    cloudpickle.register_pickle_by_value(module)
                    self.by_value[name] = module
        return known


def _head(by_value: Mapping[str, types.ModuleType]) -> Head:
    names = tuple(name for name, module in by_value.items() if _name(module) != "__main__")
    arguments = [os.fsdecode(one) if isinstance(one, (bytes, os.PathLike)) else str(one) for one in sys.argv]
    return Head(arguments, multiprocessing.get_start_method(allow_none=True), names)


class _Namespace(dict[str, Any]):
    """Stands for the namespace of a module, which it is there."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__()
        self._reduced = namespace, (_name(module), _attributes(module))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


def _attributes(module: types.ModuleType) -> dict[str, Any]:
    """What a module knows of itself, and its functions use."""
    return {
        key: vars(module)[key] for key in ("__name__", "__package__", "__file__", "__path__") if key in vars(module)
    }


def _name(module: types.ModuleType) -> str:
    """The name of a module; the script's is "__main__", also where its parent was spawned."""
    return "__main__" if module is sys.modules["__main__"] else module.__name__


def _reduced(module: types.ModuleType) -> tuple[Any, ...]:
    """A module that can't be imported, with all that is in it; of the script only what goes along anyway."""
    made = module_named, (_name(module), _attributes(module))
    if _name(module) == "__main__":
        return made
    state = {key: value for key, value in vars(module).items() if not (key.startswith("__") and key.endswith("__"))}
    return *made, state, None, None, _fill


def _fill(module: types.ModuleType, state: dict[str, Any]) -> None:
    vars(module).update(state)


def _is_found(obj: Any, module: str) -> bool:
    """Whether a function or class is what stands under its name in its module."""
    found: Any = sys.modules[module]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def is_importable(name: str) -> bool:
    """Whether a new process that looks in the same places can import a module that is loaded here.

    Modules of other kinds than Python source are said to be: no definition of theirs could go by value.
    """
    try:
        module = sys.modules[name]
        file = vars(module).get("__file__")
        if not isinstance(file, str) or not file.endswith(".py") or not os.path.isfile(file):
            return True
        if module.__name__ != name or name.startswith("_frozen_importlib"):
            return True  # a second name that a library has given it, and will there
        spec = _spec(name)
        if spec is None:
            return False
        if "." in name or "__path__" in vars(module) or spec.origin is None:
            return True
        found, there = os.path.realpath(spec.origin), os.path.realpath(file)  # another one of the same name?
        return found == there or os.path.dirname(there) in map(os.path.realpath, sys.path)
    except Exception:  # an odd module, or an odd finder: as if nothing had been asked
        return True


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would be imported from, whatever is loaded already."""
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        package = _spec(parent)
        if package is None:
            return None
        path = getattr(sys.modules.get(parent), "__path__", None)
        if path is None:
            path = package.submodule_search_locations
        if path is None:
            return None
    for finder in sys.meta_path:
        spec: importlib.machinery.ModuleSpec | None = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None
