"""Which of the trials that wait may start, where one may have to be alone."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ExclusiveQueue(Generic[T]):
    """A queue of what is to start. What is to be alone waits until nothing runs; what is behind it waits for its end.

    Attributes:
        running: how many have started and not ended.
    """

    def __init__(self) -> None:
        self.running = 0
        self._alone = False  # what runs is not to have company
        self._waiting: deque[tuple[T, bool]] = deque()

    def add(self, one: T, alone: bool = False) -> None:
        """Put something at the end of the queue."""
        self._waiting.append((one, alone))

    def take(self) -> list[T]:
        """All that may start now; it counts as running."""
        taken: list[T] = []
        while self._waiting and not self._alone and not (self.running and self._waiting[0][1]):
            one, self._alone = self._waiting.popleft()
            taken.append(one)
            self.running += 1
        return taken

    def end(self, count: int = 1) -> None:
        """So many of those that were running have ended."""
        self.running -= count
        if count:
            self._alone = False
