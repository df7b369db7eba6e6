"""What can be read of a study's trials: as columns, one by one, and the best of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fasthpo.errors import NoCompletedTrials
from fasthpo.space.parameter import Value
from fasthpo.storage.weights import Checkpoints
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import Trial, TrialSequence, TrialSource, TrialState
from fasthpo.values import FloatArray


class TrialViews(TrialSource):
    """Reads a table of trials. `Study` adds what changes it."""

    table: TrialTable
    checkpoints: Checkpoints
    _lock: threading.RLock

    def __len__(self) -> int:
        return len(self.table)

    @property
    def trials(self) -> TrialSequence:
        """All trials by number; handles are made when they are looked at."""
        return TrialSequence(self)

    @property
    def best_trial(self) -> Trial:
        """The COMPLETE trial with the best finite value; of equals the earliest.

        Raises:
            NoCompletedTrials: there is none yet.
        """
        number = self.table.best_number
        if number is None:
            counts = {state.name: count for state, count in self.table.counts.items() if count}
            hint = ". Paused trials complete at the last rung: run the study for longer" if "PAUSED" in counts else ""
            raise NoCompletedTrials(
                f"no trial has completed with a finite value yet; trials so far: {counts or 'none'}{hint}"
            )
        return Trial(number, self)

    @property
    def best_value(self) -> float:
        """The value of `best_trial`."""
        return float(self.table.values[self.best_trial.number])

    @property
    def best_params(self) -> dict[str, Value]:
        """The parameters of `best_trial`."""
        return self.best_trial.params

    @property
    def columns(self) -> Mapping[str, FloatArray]:
        """Parameters by name, read-only views (n,): NaN where inactive, indices for categoricals."""
        params = self.table.params
        return {name: params[j] for j, name in enumerate(self.table.space.names)}

    @property
    def values(self) -> FloatArray:
        """Objective values, a read-only view (n,): NaN where there is none."""
        return self.table.values

    @property
    def states(self) -> npt.NDArray[np.int8]:
        """`TrialState` of each trial, a read-only view (n,)."""
        return self.table.states

    # --- what a Trial handle reads (see `TrialSource`)

    def trial_params(self, number: int) -> dict[str, Value]:
        space = self.table.space
        with self._lock:
            if self.table.state(number) == TrialState.WAITING:  # partly given: the rest is not known yet
                row = self.table.params[:, number]
                names = [name for name, x in zip(space.names, row, strict=True) if x == x]
                return {name: space[name].decode(row[space.position[name]]) for name in names}
            return space.decode(self.table.params[:, number])

    def trial_state(self, number: int) -> TrialState:
        return self.table.state(number)

    def trial_value(self, number: int) -> float | None:
        value = float(self.table.values[number])
        return None if value != value else value

    def trial_reports(self, number: int) -> dict[int, float]:
        return self.table.reports.of(number)

    def trial_metrics(self, number: int) -> dict[str, float]:
        columns = self.table.metrics.items()
        return {name: float(c[number]) for name, c in columns if number < len(c) and c[number] == c[number]}

    def trial_error(self, number: int) -> str | None:
        return self.table.error(number)

    def trial_times(self, number: int) -> tuple[float, float, float]:
        return self.table.times(number)

    def trial_resource(self, number: int) -> int | None:
        resource = float(self.table.resources[number])
        return None if resource != resource else int(resource)

    def trial_rungs(self, number: int) -> dict[int, float]:
        return self.table.legs.values_of(number)
