"""Authenticated connections between workers and a run: messages over TCP, and one place where all of them are read."""

from __future__ import annotations

import contextlib
import math
import queue
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing import AuthenticationError
from typing import Any, NamedTuple, NoReturn

from fasthpo.errors import TrialStateError
from fasthpo.execution.greeting import GreetingServer, greet
from fasthpo.execution.messages import CorruptMessage, Message, Reader, Says, pack
from fasthpo.execution.remote_trial import read_reply
from fasthpo.system.forked import renew_in_forked

LOOPBACK = "127.0.0.1"
_CONNECT_SECONDS = 5.0  # to reach one of several addresses
_SEND_SECONDS = 10.0  # for a worker to take a message; it waits for one, so that it takes microseconds
_MESSAGE_SECONDS = 10.0  # from the first byte of a message to its last, and what a long one takes at this rate:
_LEAST_RATE = 2**18  # bytes a second
_CHUNK = 2**16
_PIECE = 2**20


class Connection:
    """One connection, over which messages go as a stream.

    Args:
        connected: belongs to the wire from now on, and to nothing else: a descriptor that two objects close may be
            another file's when the second one does.
        bounded: whether the other end is a worker, whose messages are small.
    """

    def __init__(self, connected: socket.socket, bounded: bool = False) -> None:
        self.socket = connected
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a report must not wait for its neighbour
        self._reader = Reader(bounded)

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
        yield from self._reader.complete()

    @property
    def unfinished(self) -> int:
        """How many bytes have come of a message that is not complete."""
        return self._reader.unfinished

    def receive(self) -> Message:
        """The next message, however long it takes."""
        while True:
            for message in self._reader.complete():
                return message
            self._feed()

    def _feed(self) -> None:
        try:
            piece = self.socket.recv(_CHUNK)
        except OSError as error:
            raise EOFError(str(error)) from None
        if not piece:
            raise EOFError("the connection was closed")
        self._reader.feed(piece)

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


class ConnectionChannel:
    """A `Channel` over a wire."""

    def __init__(self, wire: Connection) -> None:
        self.wire = wire
        self._lock = threading.Lock()  # an objective may report from threads of its own
        renew_in_forked(self, _lock=threading.Lock)

    def send(self, message: Message) -> None:
        with self._lock, _run_is_over():
            self.wire.send(message)

    def request(self, message: Message) -> Any:
        return read_reply(self.exchange(message))

    def exchange(self, message: Message) -> Message:
        """Ask something; the reply as it came."""
        with self._lock, _run_is_over():
            self.wire.send(message)
            return self.wire.receive()


@contextlib.contextmanager
def _run_is_over() -> Any:
    try:
        yield
    except (OSError, EOFError) as error:
        raise TrialStateError(f"the run that this trial belongs to is over: {error}") from None


class Connected(NamedTuple):
    """A worker has connected."""

    wire: Connection


class Said(NamedTuple):
    """A worker has sent a message."""

    wire: Connection
    message: Message


class Gone(NamedTuple):
    """A connection has ended; `error` is set if that is because of what was sent."""

    wire: Connection
    error: CorruptMessage | None


class ConnectionServer:
    """Lets workers connect, and reads what they send; all but the greetings in the thread that calls `wait`.

    Args:
        host: the address to listen on; "" for all of this machine's.
    """

    def __init__(self, host: str = LOOPBACK) -> None:
        self.key = secrets.token_bytes(32)  #: who does not know it is not let in
        listener = socket.create_server((host, 0), backlog=128)
        self.port: int = listener.getsockname()[1]
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._wires: set[Connection] = set()
        self._unfinished: dict[Connection, float] = {}  # since when, as of `_listened`, a message of it is not complete
        self._listened = 0.0  # seconds in which all that came could have been read at once
        self._door = GreetingServer(listener, self.key, self._let_in)

    def _let_in(self, connected: socket.socket) -> None:
        wire = Connection(connected, bounded=True)
        wire.socket.settimeout(_SEND_SECONDS)
        self.post(Connected(wire))

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
        timeout = min(math.inf if timeout is None else max(0.0, timeout), self._until_late())
        begin = time.monotonic()
        ready = self._selector.select(None if timeout == math.inf else timeout)
        self._listened += time.monotonic() - begin
        for key, _ in ready:
            if key.fileobj is self._bell:
                rung = True
            else:
                events += self.read(key.data)
        if self._unfinished:
            events += self._hang_up_late()
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

    def _until_late(self) -> float:
        """Seconds until a message should be complete that is not; infinite if there is none."""
        due = (
            since + _MESSAGE_SECONDS + wire.unfinished / _LEAST_RATE - self._listened
            for wire, since in self._unfinished.items()
        )
        return max(0.0, min(due, default=math.inf))

    def _hang_up_late(self) -> list[Any]:
        """Give up who has begun a message and does not go on, or hardly so."""
        late = []
        for wire, since in tuple(self._unfinished.items()):
            taken = self._listened - since
            if taken >= _MESSAGE_SECONDS + wire.unfinished / _LEAST_RATE:
                self.hang_up(wire)
                late.append(Gone(wire, CorruptMessage(f"it began a message that was not complete {taken:.0f} s later")))
        return late

    def read(self, wire: Connection) -> list[Any]:
        """What a wire has to say, which is ready to be read."""
        events: list[Any] = []
        try:
            for message in wire.arrived():
                events.append(Said(wire, message))  # noqa: PERF401  (those before an error count)
        except (EOFError, CorruptMessage) as error:
            self.hang_up(wire)
            events.append(Gone(wire, error if isinstance(error, CorruptMessage) else None))
            return events
        if not wire.unfinished:
            self._unfinished.pop(wire, None)
        elif events or wire not in self._unfinished:
            self._unfinished[wire] = self._listened
        return events

    def hand_out(self, wire: Connection, data: bytes) -> None:
        """Send bytes, which may be many, in a thread of their own; then close the connection."""
        self._leave(wire)

        def send() -> None:
            with contextlib.suppress(OSError):
                wire.socket.settimeout(None)
                wire.socket.sendall(data)
            wire.close()

        threading.Thread(target=send, name="fasthpo-hand-out", daemon=True).start()

    def hang_up(self, wire: Connection) -> None:
        """Close a connection."""
        if wire in self._wires:
            self._leave(wire)
        wire.close()

    def _leave(self, wire: Connection) -> None:
        self._wires.discard(wire)
        self._unfinished.pop(wire, None)
        self._selector.unregister(wire.socket)

    def close(self) -> None:
        """Close all connections and let nobody in any more."""
        for wire in tuple(self._wires):
            self.hang_up(wire)
        self._door.close()
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


def connect(hosts: Iterable[str], port: int, key: bytes) -> Connection:
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
            greet(connected, key)
            return Connection(connected)
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
