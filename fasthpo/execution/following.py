"""Worker processes end with the program, also if it is killed, and if they are stuck in compiled code themselves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from fasthpo.system.forked import in_forked

_SET_DEATH_SIGNAL = 1  # of Linux's prctl
# each line that it reads names all groups that are to be ended, once there are no more lines
_SCRIPT = 'groups=; while read -r line; do groups=$line; done; [ -z "$groups" ] || kill -s KILL -- $groups'


def end_with_parent(parent: int) -> None:
    """Have the system end this process when its parent ends, whatever either is doing; on Linux only.

    What counts is the end of the thread that has started this process: it must live as long as this one is of use.

    Args:
        parent: its process id, which this process has been told.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # where there is no such function
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def follow_starter() -> None:
    """Have this process, which is a local executor's, end when the program ends that has started it."""
    parent = os.getppid()
    if _is_of_main_thread(parent):
        end_with_parent(parent)
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_end_after, args=(starter,), name="fasthpo-lifeline", daemon=True).start()


def _is_of_main_thread(parent: int) -> bool:
    """Whether the parent's main thread, which lives as long as the parent, has started this process."""
    with contextlib.suppress(OSError, ValueError):  # Linux only, and not every one
        return os.getpid() in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return False


def _end_after(starter: Any) -> None:
    import psutil

    try:
        starter.join()
    except (OSError, ValueError, TypeError):  # as of loky's processes, which can't wait for it and end by themselves
        return
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    os._exit(1)


def let_go_in_forked(pipe: Any) -> None:
    """In a process that was forked off: at this end of a pipe another process waits for the end of this one's parent.

    It is not closed, which might write what is left in its buffer.
    """
    with contextlib.suppress(OSError, ValueError):  # it was closed
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, pipe.fileno(), inheritable=False)
        os.close(nothing)


class Watchdog:
    """Ends groups of processes when this process has ended, however it did: a shell that waits for that.

    So also those end that a worker has started, whatever it is doing itself. On Windows there is no such shell.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._shell: subprocess.Popen[bytes] | None = None
        if os.name != "posix":
            return
        nothing: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with contextlib.suppress(OSError):  # there is no shell, or no process can be started
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT], stdin=subprocess.PIPE, bufsize=0, cwd="/", start_new_session=True, **nothing
            )
            in_forked(self, Watchdog._let_go)

    def _let_go(self) -> None:
        if self._shell is not None:
            let_go_in_forked(self._shell.stdin)

    def add(self, group: int) -> None:
        """Have a group ended."""
        with self._lock:
            self._groups.add(group)
            self._tell()

    def remove(self, group: int) -> None:
        """The group has ended, and its number may soon be another's."""
        with self._lock:
            self._groups.discard(group)
            self._tell()

    def _tell(self) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # somebody has ended it; or it was closed
                self._shell.stdin.write(" ".join(f"-{group}" for group in sorted(self._groups)).encode() + b"\n")

    def close(self) -> None:
        """All groups have ended, or were ended."""
        with self._lock:
            self._groups.clear()
            self._tell()
            if self._shell is not None and self._shell.stdin is not None:
                with contextlib.suppress(OSError):
                    self._shell.stdin.close()
                self._shell.wait()
