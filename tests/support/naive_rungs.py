"""What a rung of asynchronous halving means, without any bookkeeping: all entries sorted at each question."""

from __future__ import annotations

import math


class NaiveRung:
    """Entries (loss, number) of a rung, and which of them were promoted or failed after it."""

    def __init__(self, reduction_factor: int) -> None:
        self.reduction_factor = reduction_factor
        self.entries: list[tuple[float, int]] = []
        self.promoted: set[int] = set()
        self.extra = 0

    def best_ready(self) -> int | None:
        """The number of the best trial that may be promoted."""
        top = sorted(self.entries)[: len(self.entries) // self.reduction_factor + self.extra]
        return next((n for loss, n in top if n not in self.promoted and loss < math.inf), None)
