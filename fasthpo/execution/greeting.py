"""Who may speak with a run: a worker and the run prove to each other that they know the run's key.

Either sends 32 random bytes, and gets them back as a digest that only the key can make. Until then nothing is read but
these bytes, so many and no more, and whoever is slow, silent or a stranger holds up nobody.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import AuthenticationError

_SIZE = 32  # bytes of a challenge, and of a digest
_SECONDS = 10.0  # that a caller may take
_MOST = 100  # callers that are waited for at the same time; each takes a file, of which a process may have 256 on macOS
_LEAST_SECONDS = 1.0  # that a caller has in any case, however many others there are
_BREATH = 0.05  # seconds
_PATIENCE = 60.0  # seconds in which a run has to answer, which may have other things to do


def _digest(key: bytes, who: bytes, asked: bytes, other: bytes) -> bytes:
    """The answer to `asked`; `who` makes sure that nobody can send back what he was sent."""
    return hmac.digest(key, who + asked + other, "sha256")


def greet(connected: socket.socket, key: bytes) -> None:
    """A worker's part, over a connection that a run is to accept.

    Raises:
        AuthenticationError: the other end does not know the key.
        OSError, EOFError: it is gone, or is no run.
    """
    connected.settimeout(_PATIENCE)
    asked, own = _receive(connected), secrets.token_bytes(_SIZE)
    connected.sendall(own + _digest(key, b"worker", asked, own))
    if not hmac.compare_digest(_receive(connected), _digest(key, b"run", own, asked)):
        raise AuthenticationError("the other end does not know the run's key")
    connected.settimeout(None)


def _receive(connected: socket.socket) -> bytes:
    parts = b""
    while len(parts) < _SIZE:
        piece = connected.recv(_SIZE - len(parts))
        if not piece:
            raise EOFError("the connection was closed")
        parts += piece
    return parts


class _Caller:
    """A connection at whose other end a worker may be.

    Raises:
        OSError: the other end is gone.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.since = time.monotonic()
        self._asked = secrets.token_bytes(_SIZE)
        self._said = b""
        connected.setblocking(False)
        connected.sendall(self._asked)  # into a buffer that is empty

    def knows(self, key: bytes) -> bool:
        """Read what has come; whether that is complete and right.

        Raises:
            AuthenticationError, EOFError, OSError: it is wrong, or all that will come.
        """
        piece = self.socket.recv(2 * _SIZE - len(self._said))
        if not piece:
            raise EOFError("the connection was closed")
        self._said += piece
        if len(self._said) < 2 * _SIZE:
            return False
        other, answer = self._said[:_SIZE], self._said[_SIZE:]
        if not hmac.compare_digest(answer, _digest(key, b"worker", self._asked, other)):
            raise AuthenticationError("the other end does not know the run's key")
        self.socket.sendall(_digest(key, b"run", other, self._asked))
        return True


class GreetingServer:
    """Lets in all who know the key, in a thread of its own.

    Args:
        listener: where they call; the door's from now on.
        key: the run's.
        let_in: called, in that thread, with the connection of each who knows it.
    """

    def __init__(self, listener: socket.socket, key: bytes, let_in: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._key = key
        self._let_in = let_in
        self._callers: list[_Caller] = []  # the one who has waited longest first
        self._rests_until = 0.0
        self._listens = False
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        self._listener.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="fasthpo-accept", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            self._give_up(_SECONDS)
            self._listen(len(self._callers) < _MOST and time.monotonic() >= self._rests_until)
            for key, _ in self._selector.select(None if self._listens and not self._callers else _BREATH):
                if isinstance(key.data, _Caller):
                    self._hear(key.data)
                elif key.fileobj is self._listener:
                    self._accept()
            if len(self._callers) >= _MOST:
                self._give_up(_LEAST_SECONDS, most=1)

    def _listen(self, listens: bool) -> None:
        if listens and not self._listens:
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif self._listens and not listens:
            self._selector.unregister(self._listener)
        self._listens = listens

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # this process has as many files open as it may
                self._give_up(_LEAST_SECONDS, most=1)
                self._rests_until = time.monotonic() + _BREATH
            return
        try:
            caller = _Caller(connected)
            self._selector.register(connected, selectors.EVENT_READ, caller)
        except OSError:
            connected.close()
            return
        self._callers.append(caller)

    def _hear(self, caller: _Caller) -> None:
        try:
            if not caller.knows(self._key):
                return
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, EOFError, AuthenticationError):
            self._end(caller)
            return
        self._forget(caller)
        with contextlib.suppress(OSError):
            self._let_in(caller.socket)
            return
        caller.socket.close()

    def _give_up(self, seconds: float, most: int = _MOST) -> None:
        """End the calls that go on for so long."""
        late = time.monotonic() - seconds
        for caller in [caller for caller in self._callers[:most] if caller.since < late]:
            self._end(caller)

    def _forget(self, caller: _Caller) -> None:
        self._callers.remove(caller)
        self._selector.unregister(caller.socket)

    def _end(self, caller: _Caller) -> None:
        self._forget(caller)
        caller.socket.close()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._rope.send(b"!")
        self._thread.join()
        for caller in tuple(self._callers):
            self._end(caller)
        self._selector.close()
        for one in (self._listener, self._bell, self._rope):
            one.close()
