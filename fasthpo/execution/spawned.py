"""The script's definitions in a process that a worker has spawned: loaded when the first of them is looked up."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from fasthpo.execution.main_module import module_named, written_for_spawned
from fasthpo.execution.unpickling import load_definitions, read_head
from fasthpo.system.forked import renew_in_forked


class _Definitions:
    """All that goes by value."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renew_in_forked(self, _lock=threading.RLock)
        self._is_loaded = False

    def load(self) -> None:
        """Once; what is unpickled may look up more."""
        with self._lock:
            if not self._is_loaded:
                self._is_loaded = True
                pickled = written_for_spawned()
                if pickled is not None:
                    load_definitions(pickled)


_definitions = _Definitions()


def attribute(name: str) -> Any:
    """The `__getattr__` of `__main__`."""
    if not name.startswith("__"):
        _definitions.load()
        namespace = vars(sys.modules["__main__"])
        if name in namespace:
            return namespace[name]
    raise AttributeError(
        f"module '__main__' has no attribute {name!r}: in a process that a worker spawns, it has only what the "
        "objective uses of the script"
    )


class _Finder(MetaPathFinder, Loader):
    """Imports modules that were sent to the worker by value."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _definitions.load()
        return module_named(spec.name, {})

    def exec_module(self, module: ModuleType) -> None:
        pass


def prepare(name: str) -> None:
    """Called while `spawned_main` is run as a module of that name."""
    if name == "__main__":
        raise SystemExit(
            "a trial in a worker process can't start its script once more, as Lightning's strategy 'ddp' does; use one "
            "that spawns or forks, such as 'ddp_spawn'"
        )
    pickled = written_for_spawned()
    if pickled is not None and (names := read_head(pickled).modules):
        sys.meta_path.append(_Finder(names))
