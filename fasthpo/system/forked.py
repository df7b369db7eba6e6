"""What is put right in a process that is forked off while other threads of its parent are at work.

Of all threads only the one that forks goes on there. A lock that another one held then stays taken for ever, and what
that one was changing stays half changed. So whoever has a lock, or state that is not to be used there, says here what
is to be done first.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_live: weakref.WeakKeyDictionary[Any, list[Callable[[Any], None]]] = weakref.WeakKeyDictionary()


def in_forked(owner: T, function: Callable[[T], None]) -> None:
    """Have a function called with `owner` in each process that is forked off, before anything else, while it lives.

    Args:
        owner: what the function is about; it is not kept alive by this.
        function: does not hold on to `owner`.
    """
    _live.setdefault(owner, []).append(function)


def renew_in_forked(owner: Any, **kinds: Callable[[], Any]) -> None:
    """Have attributes of `owner`, by name, made anew in each process that is forked off: locks, above all.

    The thread that forks may hold one itself; it then lets go of the old one, as it goes on.

    Example:
        >>> import threading
        >>> class Counter:
        ...     def __init__(self):
        ...         self.lock = threading.Lock()
        ...         renew_in_forked(self, lock=threading.Lock)
    """

    def renew(owner: Any) -> None:
        for name, kind in kinds.items():
            setattr(owner, name, kind())

    in_forked(owner, renew)


def _put_right() -> None:
    for owner, functions in list(_live.items()):
        for function in functions:
            try:
                function(owner)
            except Exception:  # the others are to be put right, too
                sys.excepthook(*sys.exc_info())


if hasattr(os, "register_at_fork"):  # all but Windows
    os.register_at_fork(after_in_child=_put_right)
