"""A history as it is at one moment, while the study goes on.

Almost all of a history never changes: trials that have ended, reports and legs. So a frozen history refers to the very
arrays of the live one (those that grow are replaced, not moved) and holds copies of nothing but what may still change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.trials.history import History
from fasthpo.trials.metrics import Measured
from fasthpo.trials.notes import notes_of
from fasthpo.trials.segments import COLUMNS as SEGMENT_COLUMNS
from fasthpo.trials.table import TRIAL_COLUMNS
from fasthpo.trials.trial import TrialState
from fasthpo.values import IntArray


class Columns(NamedTuple):
    """All of a history but what is small: arrays that nothing changes any more.

    Attributes:
        params: float64 (d, n).
        trials: by name, the other columns of the table (n,); under several objectives values are (n, m), and
            constraints (n, k) are there if any were told.
        metrics: of the trials.
        tell_order: int64 (finished,).
        reports: trial, step and value (reports,) in the order in which they came.
        segments: by name, the columns of the segments that have ended.
        errors: by trial number.
        failures: by trial number, as in `Reports`.
        lineage: by name, the columns of `Lineage` (n,); empty if no trial is in a population.
    """

    params: npt.NDArray[np.float64]
    trials: dict[str, npt.NDArray[Any]]
    metrics: Measured
    tell_order: IntArray
    reports: dict[str, npt.NDArray[Any]]
    segments: dict[str, npt.NDArray[Any]]
    errors: dict[int, str]
    failures: dict[int, int]
    lineage: dict[str, IntArray]


class Frozen:
    """A history as it is now. Made while nothing else changes it; `columns` may then be called from another thread.

    Making one costs about 1 us a thousand trials, and what copying the unfinished ones takes.

    Args:
        history: the live one.

    Attributes:
        waiting, next_draw: as those of the history.
        attributes: the same, and those of trials, under `RESERVED` names.
        has_vectors: whether trials have several values, or constraints.
        has_lineage: whether any trial is in a population.
        former: of a study whose space was changed, see `Former`.
        open_segments: of the running trials, (number, start, reports), as in `OpenSegment`.
    """

    def __init__(self, history: History) -> None:
        table = history.table
        self._length = len(table)
        self.has_vectors = table.has_vectors
        self.has_lineage = not table.lineage.is_empty
        self._lineage = table.lineage.columns(self._length) if self.has_lineage else {}
        self.space, self.directions = table.space, table.directions
        self.former = table.former
        self.waiting = list(history.waiting)
        self.next_draw = history.next_draw
        self.attributes = notes_of(history)
        self.open_segments = [(number, leg.start, leg.reports) for number, leg in sorted(table.segments.open.items())]
        states = table.states
        self._unfinished = np.flatnonzero(
            (states == TrialState.RUNNING) | (states == TrialState.WAITING) | (states == TrialState.PAUSED)
        )
        # of a space that is learnt, running trials may still ask for parameters
        self._changing = self._unfinished if table.space.is_open else np.array(self.waiting, np.int64)
        self._params = table._params
        self._changing_rows = table._params[:, self._changing]
        self._trials = {name: getattr(table, f"_{name}") for name in TRIAL_COLUMNS}
        if (constraints := table._constraints.column) is not None:
            self._trials["constraints"] = constraints
        self._unfinished_trials = {name: column[self._unfinished] for name, column in self._trials.items()}
        self._metrics = table.metrics.frozen()
        self._tell_order = table.tell_order
        self._reports = table.reports.frozen()
        self._segments = {name: table.segments.column(name) for name in SEGMENT_COLUMNS}
        self._errors = dict(table.errors)

    def __len__(self) -> int:
        return self._length

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """How many trials, tells, reports and legs there were."""
        return self._length, len(self._tell_order), len(self._reports), len(self._segments["trial"])

    def columns(self) -> Columns:
        """The columns as they were; takes as much memory and time as copying them does."""
        n = self._length
        params = self._params[:, :n].copy()
        params[:, self._changing] = self._changing_rows
        trials = {}
        for name, column in self._trials.items():
            trials[name] = column[:n].copy()
            trials[name][self._unfinished] = self._unfinished_trials[name]
        metrics = self._metrics.measured(n)
        reports, count = self._reports, len(self._reports)
        reported = {"trial": reports.trial, "step": reports.step[:count].astype(np.int64), "value": reports.value}
        return Columns(
            params, trials, metrics, self._tell_order, reported, self._segments, self._errors, reports.failures,
            self._lineage,
        )  # fmt: skip
