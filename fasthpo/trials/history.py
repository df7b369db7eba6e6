"""What has happened in a study, and nothing else: from this it goes on, whatever process it was in."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from fasthpo.trials.reports import Reports
from fasthpo.trials.savepoint import Extent
from fasthpo.trials.table import TrialTable


class History:
    """A study's trials, the queue of those that wait to be asked for, its sampler's draws and its attributes.

    What a sampler, pruner or strategy keeps can be rebuilt from it, so it is all that files of a study hold, besides
    the definition of the space and the parts.

    Args:
        table: the trials.

    Attributes:
        waiting: numbers of the WAITING trials in the order in which they will be asked.
        next_draw: how many draws the sampler has made.
        attributes: what the user noted down with the study, JSON values by name.
    """

    def __init__(self, table: TrialTable) -> None:
        self.table = table
        self.waiting: deque[int] = deque()
        self.next_draw = 0
        self.attributes: dict[str, Any] = {}

    @property
    def extent(self) -> Extent:
        """How much of everything there is."""
        table = self.table
        return table._length, table._told, table.reports._length, table.legs._length, self.next_draw

    def begin(self) -> None:
        """A call begins to change the history; see `Savepoint`."""
        self.table.savepoint.begin(self.extent)

    def commit(self) -> None:
        """The call's change is complete."""
        self.table.savepoint.extent = None

    @property
    def is_untouched(self) -> bool:
        """Whether the call that has begun has changed nothing that counts, or its change is complete."""
        savepoint = self.table.savepoint
        before = savepoint.extent
        return before is None or (savepoint.is_empty and before[:4] == self.extent[:4])

    def take_waiting(self) -> int:
        """Take the first of those that wait from the queue; its number."""
        if self.table.savepoint.extent is not None:
            self.table.savepoint.started.append(self.waiting[0])
        return self.waiting.popleft()

    def requeue_running(self) -> list[int]:
        """Have every running trial asked anew, before any other; the reports of its broken off leg are dropped.

        Returns:
            The numbers of these trials, ascending.
        """
        table = self.table
        running: list[int] = table.running.tolist()
        if not running:
            return running
        reports, count = table.reports, len(table.reports)
        # of each trial the reports before its `end` are kept
        end = np.full(len(table), count)
        for number in running:
            leg = table.legs.open.get(number)
            end[number] = 0 if leg is None else leg.reports
        trial, step, value = reports.trial, reports.step[:count].astype(np.int64), reports.value
        kept = np.arange(count) < end[trial]
        if not kept.all():
            before = np.append(0, np.cumsum(kept))  # of the first i reports, how many are kept
            table.reports = Reports()
            table.reports.fill(trial[kept], step[kept], value[kept])
            table.reports.failures = {number: int(before[i]) for number, i in reports.failures.items()}
        for number in running:
            table.requeue(number)
        self.waiting.extendleft(reversed(running))
        return running
