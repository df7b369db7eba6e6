"""Calls that Ctrl-C must not break off, because a library is of no use afterwards.

An import that was broken off can't be made good for libraries with compiled parts: half of their modules are there. So
it is with numba's first compile, which fills its registries. Signals are handled in the main thread only: what runs in
another one goes on to its end, while the main thread, which waits for it, may leave at once.
"""

from __future__ import annotations

import _thread
import atexit
import importlib
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import ParamSpec, TypeVar

from fasthpo.system.forked import renew_in_forked

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 30.0  # seconds that the end of the program waits for what goes on
_running: set[_thread.LockType] = set()  # a lock that is held for each call that goes on

renew_in_forked(sys.modules[__name__], _running=set)  # none goes on there


def uninterrupted(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function so that no signal handler can break it off; what it returns or raises.

    If the main thread is interrupted meanwhile, it goes on with the interrupt, and the function to its end.

    Example:
        >>> uninterrupted(max, 1, 2)
        2
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
    returned: list[T] = []
    raised: list[BaseException] = []
    # bare threads and locks: to start one, and to wait for the other, is a single step each
    running = _thread.allocate_lock()
    running.acquire()

    def work() -> None:
        try:
            returned.append(function(*args, **kwargs))
        except BaseException as error:
            raised.append(error)
        _running.discard(running)
        running.release()

    _running.add(running)
    _thread.start_new_thread(work, ())
    running.acquire()
    if raised:
        raise raised[0]
    return returned[0]


def import_whole(name: str) -> ModuleType:
    """Import a module, as `uninterrupted`; one that has been imported before costs nothing."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    return uninterrupted(importlib.import_module, name)


def _wait() -> None:
    """The program ends after an interrupt: a compiler that is still at work would crash."""
    for running in list(_running):
        running.acquire(timeout=_PATIENCE)


atexit.register(_wait)
