"""The patient pruner: a trial is given time to get better."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, as_number, check_count, shown

_FIRST_ROWS = 4
_MOST_PATIENCE = 100_000  # reports, each of which takes 16 bytes a running trial
_MOST_WRAPPED = 32


class PatientPruner(Pruner):
    """Prunes a trial that no longer gets better, if another pruner agrees.

    A trial is pruned if the best of its last `patience` + 1 reports is not better by more than `min_delta` than the
    best of its reports before them, and the wrapped pruner would prune it. Reports are taken in the order of their
    steps; NaN ranks with the worst infinity. A trial with at most `patience` + 1 reports is never pruned.

    This is Optuna's pruner of the name with one difference: there a trial must have got worse by more than
    `min_delta`, so that one which stands still is never pruned; here `min_delta` means what it means in
    `EarlyStoppingConfig`, the smallest change that counts as getting better. Stopping when the last few values bring
    nothing new is early stopping, see Prechelt 1998, doi 10.1007/3-540-49430-8_3.

    A report costs O(patience), a question no more than the wrapped pruner's.

    Args:
        wrapped_pruner: the pruner that has to agree; None: patience decides alone.
        patience: how many reports may pass without getting better, 0 to 100,000.
        min_delta: the trial gets better only by more than this, in the unit of the reported values.

    Raises:
        InvalidValue: an argument is out of its range, or wrapped_pruner is no pruner.

    Example:
        >>> import fasthpo
        >>> pruner = fasthpo.PatientPruner(None, patience=1)
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=pruner)
        >>> trial = study.ask()
        >>> for step, loss in enumerate([0.9, 0.5, 0.6, 0.5]):
        ...     trial.report(loss, step)
        ...     print(trial.should_prune())
        False
        False
        False
        True
    """

    name = "patient"
    _depth: int  # how many patient pruners are wrapped in each other

    def __init__(self, wrapped_pruner: Pruner | None, patience: int, min_delta: float = 0.0) -> None:
        if wrapped_pruner is not None and not isinstance(wrapped_pruner, Pruner):
            raise InvalidValue(f"wrapped_pruner must be None or a Pruner, got wrapped_pruner={shown(wrapped_pruner)}")
        delta = as_number("min_delta", min_delta)
        if not 0 <= delta < math.inf:
            raise InvalidValue(f"min_delta must be finite and not negative, got min_delta={delta}")
        self._depth = 1 + (wrapped_pruner._depth if isinstance(wrapped_pruner, PatientPruner) else 0)
        if self._depth > _MOST_WRAPPED:
            raise InvalidValue(f"at most {_MOST_WRAPPED} patient pruners can be wrapped in each other, got more")
        self.wrapped_pruner = wrapped_pruner
        self.patience = check_count("patience", patience, most=_MOST_PATIENCE)
        self.min_delta = delta
        self._forget()

    def _forget(self) -> None:
        self._row: dict[int, int] = {}  # of the running trials that have reported
        self._free: list[int] = []
        self._stale = bytearray()  # by row: whether patience is at its end
        self._steps: IntArray = np.empty((0, self.patience + 2), np.int64)
        self._losses: FloatArray = np.empty((0, self.patience + 2))

    def attach(self, table: TrialTable) -> None:
        """Take up `table`; a trial's reports so far are read, once, when it reports or is asked about."""
        self._forget()
        if self.wrapped_pruner is not None:
            self.wrapped_pruner.attach(table)

    def on_report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        if self.wrapped_pruner is not None:
            self.wrapped_pruner.on_report(table, number, step, value)
        row = self._row.get(number)
        if row is None:
            self._take_up(table, number)  # finds this report in the table
        else:
            self._push(table, row, step, value)

    def on_end(self, table: TrialTable, number: int) -> None:
        if self.wrapped_pruner is not None:
            self.wrapped_pruner.on_end(table, number)
        row = self._row.pop(number, None)
        if row is not None:
            self._free.append(row)

    def should_prune(self, table: TrialTable, number: int) -> bool:
        row = self._row.get(number)
        if row is None:
            if table.reports.latest(number) == NONE:
                return False
            row = self._take_up(table, number)
        if not self._stale[row]:
            return False
        return self.wrapped_pruner is None or self.wrapped_pruner.should_prune(table, number)

    def _take_up(self, table: TrialTable, number: int) -> int:
        from fasthpo.kernels.pruning import patience  # imports numba

        self._kernels = patience
        if not self._free:
            old, rows = len(self._steps), max(_FIRST_ROWS, 2 * len(self._steps))
            for name in ("_steps", "_losses"):
                wider = np.empty((rows, self.patience + 2), getattr(self, name).dtype)
                wider[:old] = getattr(self, name)
                setattr(self, name, wider)
            self._stale.extend(bytes(rows - old))
            self._free.extend(range(old, rows))
        self._row[number] = row = self._free.pop()
        self._stale[row] = False
        patience.clear(self._steps, self._losses, row)
        for step, value in table.reports.of(number).items():
            self._push(table, row, step, value)
        return row

    def _push(self, table: TrialTable, row: int, step: int, value: float) -> None:
        loss = table.objectives.ranked_loss(value)
        self._stale[row] = self._kernels.push(self._steps, self._losses, row, step, loss, self.min_delta)

    def options(self) -> dict[str, Any]:
        return {"wrapped_pruner": self.wrapped_pruner, "patience": self.patience, "min_delta": self.min_delta}
