"""Authenticated connections between workers and a run: messages over TCP, and one place where all of them are read."""

from __future__ import annotations

import contextlib
import errno
import queue
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import answer_challenge, deliver_challenge
from typing import Any, NamedTuple, NoReturn

import msgpack

from fasthpo.errors import TrialStateError
from fasthpo.execution.messages import CorruptMessage, Message, Says, pack, unpacker
from fasthpo.execution.remote_trial import read_reply

LOOPBACK = "127.0.0.1"
_ACCEPTORS = 4  # threads that let connections in, so that one that stalls holds up no other
_CONNECT_SECONDS = 5.0  # to reach one of several addresses
_SEND_SECONDS = 10.0  # for a worker to take a message; it waits for one, so that it takes microseconds
_BREATH = 0.05  # seconds
_CHUNK = 2**16
_PIECE = 2**20


class Wire:
    """One connection, over which messages go as a stream.

    Args:
        connected: belongs to the wire from now on, and to nothing else: a descriptor that two objects close may be
            another file's when the second one does.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a report must not wait for its neighbour
        self._unpacker = unpacker()

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: the other end is gone.
        """
        self.socket.sendall(pack(message))

    def arrived(self) -> Iterator[Message]:
        """Messages that are complete by now; waits for at most one piece of one.

        Raises:
            EOFError: the other end has closed the connection, or is gone.
            CorruptMessage: what came is no stream of messages.
        """
        self._feed()
        yield from self._complete()

    def receive(self) -> Message:
        """The next message, however long it takes."""
        while True:
            for message in self._complete():
                return message
            self._feed()

    def _feed(self) -> None:
        try:
            piece = self.socket.recv(_CHUNK)
        except OSError as error:
            raise EOFError(str(error)) from None
        if not piece:
            raise EOFError("the connection was closed")
        try:
            self._unpacker.feed(piece)
        except msgpack.BufferFull:
            raise CorruptMessage("a message of it is too long") from None

    def _complete(self) -> Iterator[Message]:
        while True:
            try:
                message = next(self._unpacker)
            except StopIteration:
                return
            except Exception as error:  # msgpack's own, ValueError, UnicodeDecodeError
                raise CorruptMessage(f"what it sent can't be read: {error or type(error).__name__}") from None
            if not isinstance(message, list) or not message:
                raise CorruptMessage(f"what it sent is no message: {message!r:.200}")
            yield message

    def receive_bytes(self, size: int) -> bytes:
        """So many bytes, which are no message."""
        parts = bytearray()
        while len(parts) < size:
            piece = self.socket.recv(min(size - len(parts), _PIECE))
            if not piece:
                raise EOFError("the connection was closed")
            parts += piece
        return bytes(parts)

    def is_silent(self) -> bool:
        """Whether the other end is there and has said nothing that was not read."""
        before = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(before)
        return False

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __del__(self) -> None:
        if "socket" in vars(self):
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection can't be copied or pickled")


class WireLine:
    """A `Line` over a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._lock = threading.Lock()  # an objective may report from threads of its own

    def send(self, message: Message) -> None:
        with self._lock, _run_is_over():
            self.wire.send(message)

    def request(self, message: Message) -> Any:
        with self._lock, _run_is_over():
            self.wire.send(message)
            reply = self.wire.receive()
        return read_reply(reply)


@contextlib.contextmanager
def _run_is_over() -> Any:
    try:
        yield
    except (OSError, EOFError) as error:
        raise TrialStateError(f"the run that this trial belongs to is over: {error}") from None


class Connected(NamedTuple):
    """A worker has connected."""

    wire: Wire


class Said(NamedTuple):
    """A worker has sent a message."""

    wire: Wire
    message: Message


class Gone(NamedTuple):
    """A connection has ended; `error` is set if that is because of what was sent."""

    wire: Wire
    error: CorruptMessage | None


class Switchboard:
    """Lets workers connect, and reads what they send; all but the greetings in the thread that calls `wait`.

    Args:
        host: the address to listen on; "" for all of this machine's.
    """

    def __init__(self, host: str = LOOPBACK) -> None:
        self.key = secrets.token_bytes(32)  #: who does not know it is not let in
        self._listener = socket.create_server((host, 0), backlog=128)
        self._host = host
        self.port: int = self._listener.getsockname()[1]
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._wires: set[Wire] = set()
        self._closed = False
        self._acceptors = [
            threading.Thread(target=self._accept, name="fasthpo-accept", daemon=True) for _ in range(_ACCEPTORS)
        ]
        for thread in self._acceptors:
            thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                wire = self._let_in()
            except (EOFError, OSError, AuthenticationError) as error:  # a stranger, or one who left
                if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(_BREATH)  # this process has as many files open as it may
                continue
            wire.socket.settimeout(_SEND_SECONDS)
            self.post(Connected(wire))

    def _let_in(self) -> Wire:
        connected, _ = self._listener.accept()
        try:
            greeting: Any = _Greeting(connected)
            deliver_challenge(greeting, self.key)
            answer_challenge(greeting, self.key)
            return Wire(connected)
        except BaseException:
            connected.close()
            raise

    def post(self, event: Any) -> None:
        """Have `wait` return an event; from any thread."""
        self._posted.put(event)
        self.wake()

    def wake(self) -> None:
        """Have `wait` return soon; from any thread or a signal handler."""
        with contextlib.suppress(OSError):  # it rings already, or all is over
            self._rope.send(b"!")

    def wait(self, timeout: float | None) -> list[Any]:
        """What has happened: `Connected`, `Said`, `Gone`, and what was posted; [] if nothing within `timeout` seconds.

        What a worker has sent comes before what was posted.
        """
        events: list[Any] = []
        rung = False
        for key, _ in self._selector.select(None if timeout is None else max(0.0, timeout)):
            if key.fileobj is self._bell:
                rung = True
            else:
                events += self.read(key.data)
        if rung:
            with contextlib.suppress(BlockingIOError):
                self._bell.recv(_CHUNK)
            with contextlib.suppress(queue.Empty):
                while True:
                    event = self._posted.get_nowait()
                    if isinstance(event, Connected):
                        self._wires.add(event.wire)
                        self._selector.register(event.wire.socket, selectors.EVENT_READ, event.wire)
                    events.append(event)
        return events

    def read(self, wire: Wire) -> list[Any]:
        """What a wire has to say, which is ready to be read."""
        events: list[Any] = []
        try:
            for message in wire.arrived():
                events.append(Said(wire, message))  # noqa: PERF401  (those before an error count)
        except (EOFError, CorruptMessage) as error:
            self.hang_up(wire)
            events.append(Gone(wire, error if isinstance(error, CorruptMessage) else None))
        return events

    def hand_out(self, wire: Wire, data: bytes) -> None:
        """Send bytes, which may be many, in a thread of their own; then close the connection."""
        self._wires.discard(wire)
        self._selector.unregister(wire.socket)

        def send() -> None:
            with contextlib.suppress(OSError):
                wire.socket.settimeout(None)
                wire.socket.sendall(data)
            wire.close()

        threading.Thread(target=send, name="fasthpo-hand-out", daemon=True).start()

    def hang_up(self, wire: Wire) -> None:
        """Close a connection."""
        if wire in self._wires:
            self._wires.discard(wire)
            self._selector.unregister(wire.socket)
        wire.close()

    def close(self) -> None:
        """Close all connections and let nobody in any more."""
        self._closed = True
        for wire in tuple(self._wires):
            self.hang_up(wire)
        for _ in self._acceptors:  # each is woken up by a caller who says nothing
            with contextlib.suppress(OSError):
                socket.create_connection((self._host or LOOPBACK, self.port), 1.0).close()
        for thread in self._acceptors:
            thread.join(1.0)
        self._listener.close()
        while True:
            try:
                event = self._posted.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, Connected):
                event.wire.close()
        self._selector.close()
        self._bell.close()
        self._rope.close()


class _Greeting:
    """What `multiprocessing.connection` needs to find out, over a socket, whether the other end knows the key."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send_bytes(self, message: bytes) -> None:
        self._socket.sendall(len(message).to_bytes(4, "big") + message)

    def recv_bytes(self, most: int) -> bytes:
        size = int.from_bytes(self._receive(4), "big")
        if size > most:
            raise OSError(f"a greeting has at most {most} bytes, got {size}")
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            piece = self._socket.recv(size - len(parts))
            if not piece:
                raise EOFError("the connection was closed")
            parts += piece
        return parts


def connect(hosts: Iterable[str], port: int, key: bytes) -> Wire:
    """A wire to a run's switchboard, at the first of several addresses where it answers.

    Raises:
        OSError: at none.
    """
    problem: Exception = OSError("no address was given")
    for host in hosts:
        try:
            # an address may lead nowhere from this machine, which takes minutes to find out
            connected = socket.create_connection((host, port), None if host == LOOPBACK else _CONNECT_SECONDS)
        except OSError as error:
            problem = error
            continue
        try:
            connected.settimeout(None)
            greeting: Any = _Greeting(connected)
            answer_challenge(greeting, key)
            deliver_challenge(greeting, key)
            return Wire(connected)
        except (OSError, EOFError, AuthenticationError) as error:
            connected.close()
            problem = error
        except BaseException:
            connected.close()
            raise
    raise OSError(f"the study can't be reached from this worker: {problem}") from problem


def fetch(hosts: Iterable[str], port: int, key: bytes, size: int) -> bytes:
    """The pickled objective of a run, which has `size` bytes.

    Raises:
        OSError, EOFError: the run can't be reached any more.
    """
    wire = connect(hosts, port, key)
    try:
        wire.send([Says.FETCH])
        return wire.receive_bytes(size)
    finally:
        wire.close()
