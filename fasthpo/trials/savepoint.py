"""What a history was before the call that is changing it, so that a call that is broken off leaves no trace.

Ctrl-C, a signal handler that raises, an exception in a part of the user's own: any of them may come between two steps
of a change. A history grows at its ends only, but for a few entries of the trials that a call is about. So it is enough
to remember how long it was, and those entries; nothing is copied in advance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Extent = tuple[int, int, int, int, int]  # how many trials, tells, reports, legs and draws there were
# what a table had of one trial, in the order of its columns; its parameters if they change; and its open leg, if any
Entries = tuple[tuple[float | int, ...], npt.NDArray[np.float64] | None, Any]


class Savepoint:
    """The state to which a history goes back if the call that is changing it is broken off.

    Whoever changes an entry of a trial that was there before notes down the old one first, so that at any moment the
    notes are enough to go back.

    Attributes:
        extent: how much there was; None while nothing changes, or once the change is complete and stands.
        entries: by number, what the table had of trials that the call has changed.
        columns: the same of many trials at once: their numbers, and by name what these columns had.
        constraints: numbers of trials, and what they were told of the constraints, (n, k), in the order of the changes.
        metrics: (number, where its metrics stood, how many names there were) in the order of the changes.
        forks: by number, the places in a population that trials had which were there before.
        started: numbers taken from the queue of those that wait, in the order of the queue.
    """

    def __init__(self) -> None:
        self.extent: Extent | None = None
        self.entries: dict[int, Entries] = {}
        self.columns: list[tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]] = []
        self.constraints: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
        self.metrics: list[tuple[int, int, int]] = []
        self.forks: dict[int, Any] = {}
        self.started: list[int] = []

    def begin(self, extent: Extent) -> None:
        """A call begins to change the history."""
        if not self.is_empty:
            self.extent = None
            self.entries, self.columns, self.constraints, self.metrics, self.started = {}, [], [], [], []
            self.forks = {}
        self.extent = extent

    @property
    def is_empty(self) -> bool:
        """Whether no entry of an earlier trial was changed."""
        return not (self.entries or self.columns or self.constraints or self.metrics or self.forks or self.started)
