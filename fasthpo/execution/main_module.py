"""`__main__` where trials run: a module with what the objective uses of the script, which is never run again.

Functions and classes of a script go to a worker by value. There they are put into a module of the name that they have
in the script, so that the worker can pickle them by that name, as `torch.save` of a whole model, `multiprocessing` and
their like do. A process that `multiprocessing` spawns runs the script of its parent, with `__name__ == "__mp_main__"`.
One that a worker spawns is given `spawned_main` to run instead, which loads the same definitions when one of them is
looked up.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

from fasthpo.storage.owner import OWNER, owner, remove_abandoned
from fasthpo.system.forked import renew_in_forked

_SPAWNED = "fasthpo.execution.spawned_main"
_VARIABLE = "FASTHPO_DEFINITIONS"  # the file that spawned processes read
_OURS = re.compile(rf"fasthpo-[0-9a-f]{{24}}-{OWNER}[.-].+")


class Source(NamedTuple):
    """Where a process can get once more what it was sent, for those that it spawns."""

    key: bytes  # tells runs apart
    fetch: Callable[[], bytes]


class WorkerModule(ModuleType):
    """A module of the script's, in a worker: what the objective uses of it.

    Args:
        name: the module's.
        own: the module that has the name in this process otherwise, where all else is looked up.
    """

    __slots__ = ("own",)

    def __init__(self, name: str, own: ModuleType | None) -> None:
        super().__init__(name)
        self.own: ModuleType | None = own

    def __getattr__(self, name: str) -> Any:
        if self.own is not None and not name.startswith("__"):
            with contextlib.suppress(AttributeError):
                return getattr(self.own, name)
        raise AttributeError(f"{self!r} has no attribute {name!r}; an objective that names it brings it along")

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} of a worker, which has only what the objective uses of the script>"


class _Spec(ModuleSpec):
    """Of a worker's `__main__`; `multiprocessing` asks for its name when it spawns a process, and runs that there."""

    def __init__(self, source: Source, package: str | None) -> None:
        self._source = source
        self._package = package
        super().__init__(_SPAWNED, None)

    @property
    def name(self) -> str:
        _files.write(self._source)
        return _SPAWNED

    @name.setter
    def name(self, value: str) -> None:
        pass

    @property
    def parent(self) -> str | None:
        return self._package  # to which functions of the script import relatively


_modules: dict[str, ModuleType] = {}  # those that are being received, or were last
_source: Source | None = None


@contextlib.contextmanager
def receiving(source: Source) -> Iterator[None]:
    """What is unpickled meanwhile makes up its modules anew."""
    global _source  # noqa: PLW0603  (what is unpickled can be given nothing)
    _modules.clear()
    _source = source
    try:
        yield
    finally:
        _source = None


def received() -> Mapping[str, dict[str, Any]]:
    """The namespaces of the modules that were received, by name."""
    return {name: vars(module) for name, module in _modules.items()}


def module_named(name: str, attributes: Mapping[str, Any]) -> ModuleType:
    """The module for definitions of a module of this name; called when one is unpickled.

    Args:
        name: of the module.
        attributes: `__file__` and its like.
    """
    module = _modules.get(name)
    if name == "__main__" and _source is None:  # in a process that a worker has spawned, where it stays "__mp_main__"
        attributes = {key: value for key, value in attributes.items() if key != "__name__"}
    if module is None:
        if name == "__main__" and _source is None:
            module = sys.modules["__main__"]
        else:
            module = WorkerModule(str(attributes.get("__name__", name)), own_main.get() if name == "__main__" else None)
            if name == "__main__":
                assert _source is not None
                module.__spec__ = _Spec(_source, attributes.get("__package__"))
                use_main(module)
            elif isinstance(sys.modules.get(name), (WorkerModule, type(None))):
                sys.modules[name] = module
        _modules[name] = module
    vars(module).update(attributes)
    return module


def namespace(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The namespace of `module_named`, for functions that are unpickled."""
    return vars(module_named(name, attributes))


def use_main(module: ModuleType) -> None:
    """Have `__main__` be this module."""
    sys.modules["__main__"] = sys.modules[module.__name__] = module  # "__mp_main__", if the script's parent was spawned


class _OwnMain:
    """Gives a process that is an executor's or Ray's its own `__main__` back when no trial runs in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renew_in_forked(self, _lock=threading.Lock)
        self._trials = 0
        self._own: dict[str, ModuleType | None] = {}

    def get(self) -> ModuleType | None:
        """It, while trials run in such a process."""
        return self._own.get("__main__") if self._trials else None

    def __enter__(self) -> None:
        with self._lock:
            if not self._trials:
                self._own = {name: sys.modules.get(name) for name in ("__main__", "__mp_main__")}
            self._trials += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._trials -= 1
            for name, module in self._own.items() if not self._trials else ():
                if module is not None:
                    sys.modules[name] = module
                else:
                    sys.modules.pop(name, None)


own_main = _OwnMain()  # entered for the time of a trial


# --- for processes that this one spawns


class _Files:
    """Writes what a spawned process needs to a file of this process, not before one is spawned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renew_in_forked(self, _lock=threading.Lock)
        self._path: Path | None = None
        self._process = 0
        self._holds: bytes | None = None  # of which run

    def write(self, source: Source) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._process, self._holds = os.getpid(), None
                directory = Path(tempfile.gettempdir())
                remove_abandoned(directory, _OURS)
                self._path = directory / f"{_prefix(source.key)}-{owner()}.pickle"
                atexit.register(_remove, self._path, os.getpid())
            assert self._path is not None
            if self._holds != source.key or not self._path.exists():
                prefix = f"{_prefix(source.key)}-{owner()}-"
                descriptor, temporary = tempfile.mkstemp(prefix=prefix)  # which nobody else may read
                try:
                    with open(descriptor, "wb") as file:
                        file.write(source.fetch())
                    os.replace(temporary, self._path)
                except BaseException:
                    _remove(Path(temporary), os.getpid())
                    raise
                self._holds = source.key
            os.environ[_VARIABLE] = str(self._path)


_files = _Files()


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            path.unlink()


def _prefix(key: bytes) -> str:
    return f"fasthpo-{hashlib.sha256(key).hexdigest()[:24]}"


def remove_files(key: bytes) -> None:
    """Remove what workers of a run on this machine have left that were ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix(key)}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def written_for_spawned() -> bytes | None:
    """What the process that has spawned this one has written; None if that was no worker."""
    path = os.environ.get(_VARIABLE)
    return None if path is None else Path(path).read_bytes()
