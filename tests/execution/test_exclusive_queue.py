"""Who may start while others run."""

from __future__ import annotations

from fasthpo.execution.exclusive_queue import ExclusiveQueue


def test_one_that_is_to_be_alone() -> None:
    turns: ExclusiveQueue[str] = ExclusiveQueue()
    assert turns.take() == [] and turns.running == 0
    for name in "ab":
        turns.add(name)
    assert turns.take() == ["a", "b"] and turns.running == 2
    turns.add("c", alone=True)
    turns.add("d")
    turns.end()
    assert turns.take() == []  # b is running, and d waits for its turn
    turns.end()
    assert turns.take() == ["c"]
    assert turns.take() == []
    turns.end(0)
    assert turns.take() == []
    turns.end()
    turns.add("e", alone=True)
    assert turns.take() == ["d"] and turns.running == 1
    turns.end()
    assert turns.take() == ["e"]
