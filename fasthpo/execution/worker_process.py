"""One worker process, from the outside: started with an environment of its own, watched, ended with its children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.spawn import get_executable
from typing import Any

from fasthpo.execution.following import Watchdog, let_go_in_forked
from fasthpo.system.forked import in_forked

# the parent's module path comes first, so that whatever can be imported there can be imported here; the script is not
# run again, see `main_module`, so that it needs no `if __name__ == "__main__"`
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from fasthpo.execution.worker_main import main; main()"
)


def interpreter_flags() -> list[str]:
    """The flags that this process's interpreter was started with, and that its children's are to be, too."""
    flags: list[str] = list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # as spawn does
    for name, value in sys._xoptions.items():  # which leaves out some
        flag = name if value is True else f"{name}={value}"
        if flag not in flags:
            flags += ["-X", flag]
    if getattr(sys.__stdout__, "write_through", False):  # of which the interpreter keeps no other note
        flags.append("-u")
    return flags


class WorkerProcess:
    """A process that runs `worker_main.main`. It never holds a copy of this one's memory, as a fork would.

    Args:
        parts: what it reads from its standard input, in pieces, which are not copied.
        environment: variables to set; what the process imports sees them from the beginning.
        on_exit: called from another thread when the process has ended.
        guard: ends it, and its children, after this process.
    """

    def __init__(
        self, parts: Sequence[bytes], environment: Mapping[str, str], on_exit: Callable[[], None], guard: Watchdog
    ) -> None:
        command = [get_executable(), *interpreter_flags(), "-c", _BOOT]
        group: dict[str, Any] = {"start_new_session": True}  # Ctrl-C is for the run, which tells its workers
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **environment}, **group)
        guard.add(self._process.pid)
        self._guard = guard
        self._on_exit = on_exit
        self._is_inherited = False
        self._reaping = threading.Lock()
        in_forked(self, WorkerProcess._disown)
        self._keeper = threading.Thread(target=self._keep, args=(parts,), name="fasthpo-keeper", daemon=True)
        self._keeper.start()

    def _disown(self) -> None:
        """In a process that was forked off, which neither ends the worker nor keeps it from ending."""
        self._is_inherited = True
        self._reaping = threading.Lock()
        let_go_in_forked(self._process.stdin)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _keep(self, parts: Sequence[bytes]) -> None:
        """Hand over what the process has to know, which may be large, then wait for its end."""
        stdin = self._process.stdin
        assert stdin is not None
        path = [entry for entry in sys.path if isinstance(entry, str)]
        with contextlib.suppress(OSError):  # it has ended already
            for part in (json.dumps(path).encode() + b"\n", *parts):
                stdin.write(part)
            stdin.flush()
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self.kill()  # its children, while its number can't belong to another process yet
            self._guard.remove(self.pid)
            with self._reaping:
                self._process.wait()
        else:  # Windows, and macOS before Python 3.13
            self._process.wait()
            if os.name == "posix":
                with contextlib.suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
            self._guard.remove(self.pid)
        with contextlib.suppress(OSError):
            stdin.close()
        self._on_exit()

    def kill(self) -> None:
        """End the process and its children, if they have not ended."""
        with self._reaping, contextlib.suppress(OSError):
            if self._is_inherited or self._process.returncode is not None:
                return
            if os.name == "posix":
                os.killpg(self.pid, signal.SIGKILL)
                return
            for child in self._children():
                with contextlib.suppress(Exception):  # it may have ended meanwhile
                    child.kill()
            self._process.kill()

    def join(self, timeout: float) -> bool:
        """Wait for the end; whether it has come."""
        self._keeper.join(timeout)
        return not self._keeper.is_alive()

    def _children(self) -> list[Any]:
        import psutil

        try:
            found: list[Any] = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            found = []
        return found

    def resident(self, children: bool) -> int:
        """Bytes of memory that the process holds; of its children, if asked, what they share with no one."""
        import psutil

        try:
            own: int = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return 0
        for child in self._children() if children else ():
            with contextlib.suppress(psutil.Error):
                own += child.memory_full_info().uss
        return own

    def why_ended(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        if code is None:
            return "its process is running"
        if code >= 0:
            return f"its process ended with exit code {code if code < 2**16 else hex(code)}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        hint = ", as the system does when memory runs out" if -code == getattr(signal, "SIGKILL", 0) else ""
        return f"its process was ended by signal {-code} ({name}{hint})"
