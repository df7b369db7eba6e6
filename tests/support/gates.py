"""Gates: where objectives in any process wait until a test lets them go on."""

from __future__ import annotations

import socket
import threading
from typing import Self


class Gate:
    """Objectives call `arrive`, which returns when the gate is opened, or when its test is over.

    Args:
        opens_at: it opens by itself when so many have arrived; None: when `open` is called.
    """

    def __init__(self, opens_at: int | None = None) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self._arrived = threading.Semaphore(0)
        self._opens_at = opens_at
        self._is_open = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        return self._server.getsockname()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.open()
        self._is_open = True
        socket.create_connection(self.address).close()  # wakes up the thread
        self._thread.join()
        self._server.close()
        self.open()

    def _serve(self) -> None:
        while True:
            one, _ = self._server.accept()
            if self._is_open:
                one.close()
                return
            with self._lock:
                self._held.append(one)
                full = len(self._held) == self._opens_at
            self._arrived.release()
            if full:
                self.open()

    def wait_for(self, n: int) -> None:
        """Until `n` more have arrived."""
        for _ in range(n):
            assert self._arrived.acquire(timeout=60), "nobody arrives"

    def has(self, n: int) -> bool:
        """Whether so many are waiting."""
        with self._lock:
            return len(self._held) >= n

    def open(self) -> None:
        """Let all go on that wait."""
        with self._lock:
            held, self._held = self._held, []
        for one in held:
            one.close()


def arrive(address: tuple[str, int]) -> None:
    """Wait at a gate."""
    with socket.create_connection(address) as waiting:
        waiting.recv(1)
