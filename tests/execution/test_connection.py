"""Connections between workers and a run."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from fasthpo.execution import connection as wires
from fasthpo.execution import greeting
from fasthpo.execution.backends.base import Ended
from fasthpo.execution.connection import LOOPBACK, Connected, Connection, ConnectionServer, Gone, Said, connect
from fasthpo.execution.messages import CorruptMessage, Reader, Says, pack, pack_ended, unpack_ended


@pytest.fixture
def board() -> Iterator[ConnectionServer]:
    made = ConnectionServer()
    yield made
    made.close()


def connected(board: ConnectionServer) -> tuple[Connection, Connection]:
    """The two ends of a connection: the worker's, and the run's."""
    wire = connect([LOOPBACK], board.port, board.key)
    while True:
        for event in board.wait(10.0):
            if isinstance(event, Connected):
                return wire, event.wire


def assert_open(wire: Connection, other: Connection, board: ConnectionServer) -> None:
    """It still carries messages."""
    wire.send([Says.READY])
    assert board.wait(10.0) == [Said(other, [Says.READY])]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps, lambda wire: copy.deepcopy({"a": [wire]})])
def test_a_connection_is_not_copied_and_stays_open(way: object, board: ConnectionServer) -> None:
    wire, other = connected(board)
    with pytest.raises(TypeError, match="a connection can't be copied or pickled"):
        way(wire)  # type: ignore[operator]
    gc.collect()
    assert_open(wire, other, board)
    wire.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_was_closed_closes_no_other_file_when_it_is_collected(
    times: int, board: ConnectionServer, tmp_path: Path
) -> None:
    wire, _ = connected(board)
    number = wire.socket.fileno()
    for _ in range(times):
        wire.close()
    taken = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)  # gets the lowest number that is free
    assert taken == number or os.name == "nt"
    cycle = [wire]
    cycle.append(cycle)  # type: ignore[arg-type]
    del wire, cycle
    gc.collect()
    os.write(taken, b"still open")
    os.close(taken)


def test_a_connection_that_breaks_while_it_is_made_closes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: ConnectionServer
) -> None:
    numbers: list[int] = []

    class Refusing(socket.socket):
        def setsockopt(self, *arguments: object) -> None:  # type: ignore[override]
            numbers.append(self.fileno())
            raise OSError("the other end is gone")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(OSError, match="the study can't be reached from this worker"):
        connect([LOOPBACK], board.port, board.key)
    monkeypatch.undo()
    taken = [os.open(tmp_path / f"{i}", os.O_CREAT | os.O_RDWR) for i in range(8)]
    assert numbers and (set(numbers) & set(taken) or os.name == "nt")
    gc.collect()
    for one in taken:
        os.write(one, b"still open")
        os.close(one)


def test_who_does_not_know_the_key_is_not_let_in(board: ConnectionServer) -> None:
    with pytest.raises(OSError, match="the study can't be reached from this worker"):
        connect([LOOPBACK], board.port, b"another key")
    wire, other = connected(board)
    assert_open(wire, other, board)
    wire.close()


# --- strangers


def callers(board: ConnectionServer, count: int, say: bytes, held: ExitStack) -> list[socket.socket]:
    made = [held.enter_context(socket.create_connection((LOOPBACK, board.port), 10.0)) for _ in range(count)]
    for one in made:
        one.sendall(say)
    return made


def is_hung_up(one: socket.socket) -> bool:
    """Whether the other end closes the connection within ten seconds."""
    one.settimeout(10.0)
    try:
        while one.recv(2**10):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize(
    ("count", "say"),
    [(8, b""), (80, b""), (80, bytes(63)), (300, b"\x00")],
    ids=["eight", "eighty", "all but one byte", "more than are waited for"],
)
def test_strangers_who_are_silent_keep_no_worker_out(count: int, say: bytes, board: ConnectionServer) -> None:
    with ExitStack() as held:
        callers(board, count, say, held)
        made: list[Connection] = []
        thread = threading.Thread(target=lambda: made.append(connect([LOOPBACK], board.port, board.key)), daemon=True)
        thread.start()
        thread.join(20.0)
        assert made, "it is not let in"
        made[0].close()


def test_strangers_who_are_silent_or_slow_are_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "_SECONDS", 0.3)
    board = ConnectionServer()
    with ExitStack() as held:
        held.callback(board.close)
        silent, slow = callers(board, 2, b"", held)
        over = threading.Event()
        held.callback(over.set)

        def drip() -> None:
            with suppress(OSError):
                while not over.wait(0.1):
                    slow.sendall(b"\x00")

        threading.Thread(target=drip, daemon=True).start()
        assert is_hung_up(silent)
        assert is_hung_up(slow)


def test_of_a_stranger_few_bytes_are_read(board: ConnectionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(socket.socket):
        def recv(self, size: int, *more: Any) -> bytes:
            asked.append(size)
            return super().recv(size, *more)

    monkeypatch.setattr(socket, "socket", Counting)
    with ExitStack() as held:
        (one,) = callers(board, 1, b"", held)
        with suppress(OSError):
            for _ in range(100):
                one.sendall(b"\x80" * 2**16)
        assert is_hung_up(one)
        assert 64 in asked and max(size for size in asked if size != 2**10) <= 64


def test_workers_get_in_once_a_process_has_files_to_open_again(
    board: ConnectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, failures = socket.socket.accept, iter(range(3))

    def failing(one: socket.socket) -> Any:
        if next(failures, None) is not None:
            raise OSError(24, "too many open files")
        return accept(one)

    monkeypatch.setattr(socket.socket, "accept", failing)
    one, other = connected(board)
    assert next(failures, None) is None
    assert_open(one, other, board)
    one.close()


def test_a_run_that_does_not_know_the_key_is_not_believed(board: ConnectionServer) -> None:
    """Who listens in the run's place, and sends back what it was sent, gets no further."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def pretend() -> None:
            one, _ = server.accept()
            with one:
                one.sendall(bytes(32))
                said = one.recv(64, socket.MSG_WAITALL)
                one.sendall(said[32:])

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(OSError, match="the other end does not know the run's key"):
            connect([LOOPBACK], server.getsockname()[1], board.key)
        thread.join()


# --- messages that do not end, or are more than they seem


def events_of(board: ConnectionServer, wanted: type, seconds: float = 20.0) -> list[Any]:
    """What happens until there is an event of a kind."""
    found: list[Any] = []
    until = time.monotonic() + seconds
    while not any(isinstance(event, wanted) for event in found):
        assert time.monotonic() < until, found
        found += board.wait(until - time.monotonic())
    return found


@pytest.mark.parametrize("way", ["silent", "slow"])
def test_who_begins_a_message_and_does_not_go_on_is_given_up(
    way: str, board: ConnectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "_MESSAGE_SECONDS", 0.5)
    (stuck, at_stuck), (good, at_good) = connected(board), connected(board)
    stuck.send([Says.READY])
    stuck.socket.sendall(b"\x92\x04\xdb\x00\xff\xff\xff")  # a string of 16 MB is announced
    good.send([Says.READY])
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not over.wait(0.05):
                good.send([Says.REPORT, 1.0, 1])
                if way == "slow":
                    stuck.socket.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        found = events_of(board, Gone)
    finally:
        over.set()
        thread.join()
    assert [event.wire for event in found if isinstance(event, Gone)] == [at_stuck]
    assert "it began a message that was not complete" in str(found[-1].error or found[-2].error)
    assert Said(at_stuck, [Says.READY]) in found and Said(at_good, [Says.REPORT, 1.0, 1]) in found
    stuck.close()
    good.close()


def test_a_long_message_takes_its_time(board: ConnectionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the run does something else meanwhile."""
    monkeypatch.setattr(wires, "_MESSAGE_SECONDS", 0.2)
    one, other = connected(board)
    data = pack([Says.UNLOADABLE, "x" * 2**21])
    one.socket.sendall(data[: 2**20])
    while not other.unfinished:
        assert board.wait(10.0) == []
    time.sleep(0.3)
    assert board.wait(0.0) == []

    def rest() -> None:
        for begin in range(2**20, len(data), 2**18):
            time.sleep(0.1)
            one.socket.sendall(data[begin : begin + 2**18])

    thread = threading.Thread(target=rest)
    thread.start()
    assert events_of(board, Said) == [Said(other, [Says.UNLOADABLE, "x" * 2**21])]
    thread.join()
    assert not other.unfinished
    one.close()


def nested(depth: int) -> bytes:
    """Empty mappings, in lists of eight, of which each holds eight."""
    return b"\x80" if not depth else b"\x98" + nested(depth - 1) * 8


BOMBS = {
    "a list of empty mappings": b"\xdd\x03\x93\x87\x00" + b"\x80" * 60_000_000,
    "a list of empty lists": b"\xdd\x03\x93\x87\x00" + b"\x90" * 60_000_000,
    "lists of lists of empty mappings": b"\x94\x09" + nested(8) * 3,
    "a mapping of empty mappings": b"\xdf\x01\xc9\xc3\x80" + b"".join(b"\xce%b\x80" % i.to_bytes(4) for i in range(10**6)),
    "a list that is announced only": b"\xdd\xff\xff\xff\xff",
    "a mapping that is announced only": b"\x91\xdf\xff\xff\xff\xff",
    "lists in each other": b"\x91" * 10_000_000,
    "mappings in each other": b"\x81\x00" * 10_000_000,
    "numbers in small lists": b"\x94" + b"\x98" + b"\x01" * 8 + b"\x98" * 8 + (b"\x98" + b"\x01" * 8) * 6_000_000,
    "bytes": b"\x92\x09\xc6\x00\x10\x00\x00" + bytes(2**20),
    "an extension": b"\x92\x09\xc9\x00\x10\x00\x00\x01" + bytes(2**20),
}  # fmt: skip


@pytest.mark.parametrize("piece", [100, 2**16])
@pytest.mark.parametrize("kind", BOMBS)
def test_a_message_takes_no_more_memory_than_it_has_bytes(kind: str, piece: int) -> None:
    reader, data = Reader(bounded=True), BOMBS[kind]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptMessage):
            for begin in range(0, len(data), piece):
                reader.feed(data[begin : begin + piece])
                list(reader.complete())
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_many_messages_in_a_row_are_not_taken_for_one_that_is_too_large() -> None:
    reader = Reader(bounded=True)
    ended = Ended(7, value=1.0, metrics={f"m{i}": float(i) for i in range(1000)})
    data = pack([Says.DONE, pack_ended(ended), False]) * 50
    found = []
    for begin in range(0, len(data), 999):
        reader.feed(data[begin : begin + 999])
        found += list(reader.complete())
    assert len(found) == 50 and not reader.unfinished
    assert unpack_ended(found[-1][1], 7) == ended


def test_of_more_metrics_than_a_study_keeps_some_are_sent() -> None:
    reader = Reader(bounded=True)
    ended = Ended(7, value=1.0, metrics={f"m{i}": float(i) for i in range(10**5)})
    reader.feed(pack([Says.DONE, pack_ended(ended), False]))
    (message,) = reader.complete()
    assert len(unpack_ended(message[1], 7).metrics) == 2**16
