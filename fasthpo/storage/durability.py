"""When what was written is put on the disk, so that a power cut can't take it."""

from __future__ import annotations

import threading
from typing import Any, Literal

from fasthpo.errors import InvalidValue
from fasthpo.storage.atomic import sync_file
from fasthpo.system.log import logger
from fasthpo.values import plain, shown

Durability = Literal["tell", "interval", "system"] | float
_INTERVAL = 1.0  # seconds


def check_durability(durability: Any) -> float | None:
    """After how many seconds a file is synced at the latest: 0 for at once, None for whenever the system does it.

    Raises:
        InvalidValue: neither "tell", "interval", "system" nor a positive number of seconds.
    """
    known = {"tell": 0.0, "interval": _INTERVAL, "system": None}
    seconds = plain(durability)
    if isinstance(seconds, str) and seconds in known:
        return known[seconds]
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < threading.TIMEOUT_MAX:
        return float(seconds)
    raise InvalidValue(
        "durability must be 'tell', 'interval', 'system' or a positive number of seconds, got "
        f"durability={shown(durability)}"
    )


class _State:
    """What the thread sees; it knows nothing of the journal, which may so be collected when nobody needs it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.wanted = threading.Event()
        self.stopped = threading.Event()
        self.in_use = threading.Lock()  # while the file is synced it must not be closed
        self.descriptor: int | None = None
        self.error: OSError | None = None


def _run(state: _State) -> None:
    while not state.stopped.is_set():
        state.wanted.wait()
        if state.stopped.wait(state.seconds):
            return
        state.wanted.clear()
        with state.in_use:
            if state.descriptor is not None:
                try:
                    sync_file(state.descriptor)
                except OSError as error:
                    logger.error("what was written can't be put on the disk: %s", error)
                    state.error = error


class Syncer:
    """Syncs a file from a thread of its own, at most so many seconds after something was written.

    The thread starts with the first write, and sleeps while nothing is written.

    Args:
        seconds: how long what was written may be in memory only.
    """

    def __init__(self, seconds: float) -> None:
        self._state = _State(seconds)
        self._thread: threading.Thread | None = None

    def note(self) -> bool:
        """Something was written; whether it will be synced. It won't when the program is about to end."""
        if not self._state.wanted.is_set():
            self._state.wanted.set()
            if self._thread is None:
                thread = threading.Thread(target=_run, args=(self._state,), name="fasthpo-sync", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return False
                self._thread = thread
        return True

    def use(self, descriptor: int | None) -> None:
        """From now on sync this file, or none; the one before may be closed then."""
        with self._state.in_use:
            self._state.descriptor = descriptor

    def take_error(self) -> OSError | None:
        """What went wrong since the last call."""
        error, self._state.error = self._state.error, None
        return error

    def stop(self) -> None:
        """No further sync; the file may be closed."""
        self._state.stopped.set()
        self._state.wanted.set()
        self.use(None)
