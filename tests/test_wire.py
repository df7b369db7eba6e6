"""Connections between workers and a run."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fasthpo.execution.connection import LOOPBACK, Connected, Said, Switchboard, Wire, connect
from fasthpo.execution.messages import Says


@pytest.fixture
def board() -> Iterator[Switchboard]:
    made = Switchboard()
    yield made
    made.close()


def connected(board: Switchboard) -> tuple[Wire, Wire]:
    """The two ends of a connection: the worker's, and the run's."""
    wire = connect([LOOPBACK], board.port, board.key)
    while True:
        for event in board.wait(10.0):
            if isinstance(event, Connected):
                return wire, event.wire


def assert_open(wire: Wire, other: Wire, board: Switchboard) -> None:
    """It still carries messages."""
    wire.send([Says.READY])
    assert board.wait(10.0) == [Said(other, [Says.READY])]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps, lambda wire: copy.deepcopy({"a": [wire]})])
def test_a_connection_is_not_copied_and_stays_open(way: object, board: Switchboard) -> None:
    wire, other = connected(board)
    with pytest.raises(TypeError, match="a connection can't be copied or pickled"):
        way(wire)  # type: ignore[operator]
    gc.collect()
    assert_open(wire, other, board)
    wire.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_was_closed_closes_no_other_file_when_it_is_collected(
    times: int, board: Switchboard, tmp_path: Path
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Switchboard
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


def test_who_does_not_know_the_key_is_not_let_in(board: Switchboard) -> None:
    with pytest.raises(OSError, match="the study can't be reached from this worker"):
        connect([LOOPBACK], board.port, b"another key")
    wire, other = connected(board)
    assert_open(wire, other, board)
    wire.close()
