"""What can be read of a study: its trials as columns, one by one, and the best of them; and all of it for others."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue, NoCompletedTrials, StudyReadOnly, TrialStateError, UnknownTrial
from fasthpo.exchange.json_files import about_directions, write_json
from fasthpo.space.parameter import Parameter, Value
from fasthpo.storage.atomic import storage_errors
from fasthpo.study.schedule import Schedule, schedule_of
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.costs import Costs
from fasthpo.trials.evaluations import Estimate, Evaluations
from fasthpo.trials.objectives import Direction
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import COST, Trial, TrialSequence, TrialState
from fasthpo.values import FloatArray, IntArray, check_count, element, elements, number, shown


class StudyReader(ABC):
    """The read side of a study: of a `Study`, and of the trials of a pickled result."""

    # made when first asked for
    _costs: Costs | None = None
    _evaluations: Evaluations | None = None

    # --- what it reads, and what its trials' handles do

    @property
    @abstractmethod
    def table(self) -> TrialTable:
        """The trials as columns, as samplers and pruners see them."""

    @property
    @abstractmethod
    def _lock(self) -> threading.RLock:
        """Held while trials are read together."""

    @abstractmethod
    def report(self, number: int, value: float | Sequence[float], step: int) -> None:
        """As `Trial.report`."""

    @abstractmethod
    def should_prune(self, number: int) -> bool:
        """As `Trial.should_prune`."""

    @abstractmethod
    def trial_start_resource(self, number: int) -> int:
        """As `Trial.start_resource`."""

    @abstractmethod
    def trial_checkpoint_dir(self, number: int) -> Path:
        """As `Trial.checkpoint_dir`."""

    # --- trials

    def __len__(self) -> int:
        return len(self.table)

    @property
    def trials(self) -> TrialSequence:
        """All trials by number; handles are made when they are looked at."""
        return TrialSequence(self)

    @property
    def best_trial(self) -> Trial:
        """The COMPLETE trial with the best finite value; of equals the earliest. One that breaks a constraint is none.

        Of a study with `noisy=True` it is a trial of the point whose `estimate` is best, mean and standard error taken
        together: of its evaluations the one in the middle, of two the worse one, whose value is no lucky one.

        Raises:
            NoCompletedTrials: there is none yet.
            InvalidValue: there are several objectives; see `best_trials`.
        """
        table = self.table
        if table.objectives.count > 1:
            raise InvalidValue(
                f"with {table.objectives.count} objectives no trial is the best: `best_trials` are those that no other "
                "is better than in all of them (the front)"
            )
        number = table.best_number
        if number is None:
            counts = {state.name: count for state, count in self.counts.items() if count}
            outside = int(self.outside.sum())
            hint = ". Paused trials complete at the last rung: run the study for longer" if "PAUSED" in counts else ""
            lie = f", of which {outside} lie outside of the search space as it is now" if outside else ""
            kept = " and kept its constraints" if table.has_constraints else ""
            raise NoCompletedTrials(
                f"no trial has completed with a finite value{kept} yet; trials so far: {counts or 'none'}{lie}{hint}"
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
    def noisy(self) -> bool:
        """Whether points are evaluated again before they are believed; see `Study`."""
        return self.table.evaluations is not None

    def estimate(self, trial: Trial | int) -> Estimate:
        """What all complete trials of a trial's point say of it.

        Raises:
            UnknownTrial: the study has no such trial.
            InvalidValue: there are several objectives.

        Example:
            >>> import fasthpo
            >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
            >>> _ = study.tell(study.ask(), 0.5)
            >>> _ = study.tell(study.ask(repeat=0), 0.75)
            >>> study.estimate(0).mean, study.estimate(0).evaluations
            (0.625, 2)
        """
        if isinstance(trial, Trial) and trial._source is not self:
            raise UnknownTrial(f"trial {trial.number} belongs to another study")
        number = trial.number if isinstance(trial, Trial) else check_count("trial", trial)
        with self._lock:
            table = self.table
            if table.objectives.count > 1:
                raise InvalidValue("an estimate is of one objective, and there are several")
            if number >= len(table):
                raise UnknownTrial(f"the study has no trial {number}; it has given out {len(table)} numbers")
            if table.evaluations is not None:
                return table.evaluations.estimate(number)
            if self._evaluations is None or self._evaluations.table is not table or table.space.is_open:
                self._evaluations = Evaluations(table)
            return self._evaluations.estimate(number)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Whether the values of each objective are to be small or large, (m,)."""
        return self.table.directions

    @property
    def best_trials(self) -> TrialSequence:
        """The trials on the front (the Pareto front) as it is now, by number; handles are made when looked at.

        These are the COMPLETE trials that keep their constraints, have finite values only, and that no other such trial
        is better than: nowhere worse, and somewhere better. Of trials with equal values it is the earliest. With one
        objective it is the best trial.
        """
        with self._lock:
            return TrialSequence(self, self.table.front.numbers)

    def front(self) -> tuple[IntArray, FloatArray]:
        """The front as arrays: the numbers of `best_trials`, int64 (f,), and their values, (f, m).

        Example:
            >>> import fasthpo
            >>> space = {"x": fasthpo.Continuous(0.0, 1.0)}
            >>> study = fasthpo.Study(
            ...     space, sampler=fasthpo.RandomSampler(seed=0), directions=["maximize", "minimize"]
            ... )
            >>> for accuracy, milliseconds in [(0.8, 20.0), (0.9, 50.0), (0.7, 30.0)]:
            ...     _ = study.tell(study.ask(), [accuracy, milliseconds])
            >>> study.front()[0].tolist()
            [0, 1]
        """
        with self._lock:
            numbers, values = self.table.front.numbers, self.table.values
            return numbers.copy(), values[numbers].reshape(len(numbers), self.table.objectives.count)

    def hypervolume(self, reference: Any) -> float:
        """How much of the space between a reference point and what is best the front dominates; the larger the better.

        Only what is better than the reference in every objective counts.

        Args:
            reference: a value for each objective, m finite numbers, such as the worst that are still of interest.

        Raises:
            InvalidValue: it is not that.
        """
        objectives = self.table.objectives
        try:
            point = np.array([float(number(one)) for one in elements(reference)])
        except (TypeError, OverflowError):
            point = np.empty(0)
        if len(point) != objectives.count or not np.isfinite(point).all():
            raise InvalidValue(
                f"reference must be a finite number for each of {objectives.count} objectives, got "
                f"reference={shown(reference)}"
            )
        from fasthpo.kernels.multi_objective.hypervolume import hypervolume

        with self._lock:
            losses = self.table.front.losses
        return float(hypervolume(losses, objectives.losses(point).reshape(objectives.count)))

    def schedule(self, trial: Trial | int | None = None) -> Schedule:
        """With which parameters the weights of a trial were trained, piece by piece over its whole lineage.

        Under `PopulationTraining` a piece is as long as one trial's parameters held. Under another multi-fidelity
        strategy there is one piece.

        Args:
            trial: a trial or its number; None: the best one.

        Raises:
            NoCompletedTrials: there is no best one yet.
            UnknownTrial: there is no such trial.
            InvalidValue: the trial was not told a value, or not under a strategy that says how far it was trained.
        """
        asked = self.best_trial if trial is None else trial
        found = element(asked.number if isinstance(asked, Trial) else asked)
        if isinstance(found, bool) or not isinstance(found, int):
            raise InvalidValue(f"trial must be a Trial or its number, got {shown(trial)}")
        with self._lock:
            if not 0 <= found < len(self.table):
                raise UnknownTrial(f"the study has no trial {shown(found)}; it has given out {len(self.table)} numbers")
            there, place = self._place(found)
            return schedule_of(self.table, found, self.trial_original_params, there.segments.reached(place))

    @property
    def columns(self) -> Mapping[str, FloatArray]:
        """Parameters by name, read-only views (n,): NaN where inactive, indices for categoricals."""
        params = self.table.params
        return {name: params[j] for j, name in enumerate(self.table.space.names)}

    @property
    def values(self) -> FloatArray:
        """Objective values, a read-only view (n,), under several objectives (n, m): NaN where there is none."""
        return self._as_told("values", self.table.values)

    @property
    def states(self) -> npt.NDArray[np.int8]:
        """`TrialState` of each trial, a read-only view (n,)."""
        return self._as_told("states", self.table.states)

    @property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Which trials lie outside of the search space, as that was changed since, (n,); see `Study.load`."""
        table = self.table
        numbers = np.arange(len(table))
        return np.zeros(len(numbers), np.bool_) if table.former is None else table.former.are_outside(numbers)

    @property
    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state."""
        table = self.table
        if table.former is None or not len(table.former.numbers):
            return dict(table.counts)
        counts = {state: table.counts[state] for state in TrialState}
        counts[TrialState.FAILED] -= len(table.former.numbers)
        for part in table.former.parts:
            for state, count in part.history.table.counts.items():
                counts[state] += count
        return counts

    def _as_told(self, name: str, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A column of the table, in which trials outside of the space are as they were told: then a copy."""
        former = self.table.former
        if former is None or not len(former.numbers):
            return column
        told = column.copy()
        for part in former.parts:
            told[part.numbers] = getattr(part.history.table, name)
        told.flags.writeable = False
        return told

    @property
    def _whole(self) -> TrialTable:
        """The trials as columns, as they were told: what is shown of them. Of an unchanged space it is the table."""
        table = self.table
        if table.former is None:
            return table
        from fasthpo.trials.changing import shown_table

        with self._lock:
            return shown_table(self.table)

    @property
    def costs(self) -> FloatArray:
        """What trials were told that they have cost, float64 (n,); NaN where nothing was told."""
        with self._lock:
            return self.table.metrics.column(COST, len(self.table))

    @property
    def cost_spent(self) -> float:
        """What all trials have cost that have ended, or paused.

        If any trial was told a cost, these count; one that was told none is taken to cost as much a second as the
        others do. If none was told any, each costs the seconds that it ran.

        Example:
            >>> import fasthpo
            >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
            >>> _ = study.tell(study.ask(), 0.5, cost=2.5)
            >>> _ = study.tell(study.ask(), 0.4, cost=0.25)
            >>> study.cost_spent, study.trials[1].cost
            (2.75, 0.25)
        """
        with self._lock:
            if self._costs is None or self._costs.table is not self.table:
                self._costs = Costs(self.table)
            return self._costs.spent()

    # --- for other programs

    def to_json(self, path: str | Path) -> Path:
        """Write all trials as JSON, one a line, with the directions and the search space; the path.

        What JSON lacks becomes a string: "NaN", "Infinity", "-Infinity".

        Args:
            path: the file; compressed if its name ends with ".gz".

        Raises:
            StorageError: the file can't be written.
        """
        path = given_path("path", path)
        with storage_errors(f"{path} can't be written"), self._lock:
            write_json(absolute(path), self._whole, about_directions(self.table), self.table.space)
        return path

    def to_csv(self, path: str | Path) -> Path:
        """Write all trials as a table, a row each; the path.

        Columns are number, state, outside if the search space was changed, value (with several objectives values_0,
        values_1, ...), params_..., metrics_..., constraints_0, ... if there are any, start_time, end_time, duration,
        reports (a JSON object of step to value) and error, and under a multi-fidelity strategy resource and rungs, of a
        population member, generation, parent and fork_step. What a trial does not have is empty; the choice None is
        "None". If two choices of a parameter would read alike, such as None and "None", or 1 and "1", or one is the
        empty string, all of that parameter are JSON: null, "None", 1, "1".

        A text that a spreadsheet would take for a formula, as it begins with =, +, -, @, a tab or a line break, gets an
        apostrophe before it; so does one that has apostrophes before these. Numbers stay as they are.

        Args:
            path: the file; compressed if its name ends with ".gz".

        Raises:
            StorageError: the file can't be written.
        """
        from fasthpo.exchange.tables import write_csv

        path = given_path("path", path)
        with storage_errors(f"{path} can't be written"), self._lock:
            write_csv(absolute(path), self._whole)
        return path

    def to_arrow(self) -> Any:
        """All trials as a `pyarrow.Table` with the columns of `to_csv`, typed; `.to_pandas()` makes it a data frame.

        Choices of one type keep it, others are JSON text. Reports are lists of (step, value). Needs `fasthpo[arrow]`.

        Raises:
            MissingPackage: pyarrow is not installed.
        """
        from fasthpo.exchange.tables import to_arrow

        with self._lock:
            return to_arrow(self._whole, self.table.space)

    def to_pandas(self) -> Any:
        """All trials as a `pandas.DataFrame` with the columns of `to_arrow`. Needs `fasthpo[arrow]` and pandas.

        Raises:
            MissingPackage: pyarrow or pandas is not installed.
        """
        from fasthpo.exchange.tables import to_pandas

        with self._lock:
            return to_pandas(self._whole, self.table.space)

    def to_polars(self) -> Any:
        """All trials as a `polars.DataFrame` with the columns of `to_arrow`. Needs `fasthpo[arrow]` and polars.

        Raises:
            MissingPackage: pyarrow or polars is not installed.
        """
        from fasthpo.exchange.tables import to_polars

        with self._lock:
            return to_polars(self._whole, self.table.space)

    def to_parquet(self, path: str | Path) -> Path:
        """Write the table of `to_arrow` as Parquet; the path.

        Raises:
            MissingPackage: pyarrow is not installed.
            StorageError: the file can't be written.
        """
        from fasthpo.exchange.tables import write_parquet

        path = given_path("path", path)
        with storage_errors(f"{path} can't be written"), self._lock:
            write_parquet(absolute(path), self._whole, self.table.space)
        return path

    # --- what a Trial handle reads (see `TrialSource`)

    @property
    def learns_space(self) -> bool:
        return self.table.space.is_open

    def suggest(self, number: int, name: str, parameter: Parameter) -> Value:
        """As `Trial.suggest_float` and its kin."""
        raise TrialStateError(f"suggest needs a running trial, and trial {number} is only read")

    def set_trial_attribute(self, number: int, name: str, value: Any) -> None:
        """As `Trial.set_attribute`."""
        raise StudyReadOnly(f"trial {number} is only read")

    @abstractmethod
    def trial_attributes(self, number: int) -> dict[str, Any]:
        """What was noted down with a trial, the user's under names that begin with `NOTED`."""

    def trial_original_params(self, number: int) -> dict[str, Value]:
        former = self.table.former
        began = None if former is None else former.began_with(number)
        return self.trial_params(number) if began is None else began

    def trial_is_outside(self, number: int) -> bool:
        former = self.table.former
        return former is not None and former.is_outside(number)

    def _place(self, number: int) -> tuple[TrialTable, int]:
        """The table in which a trial is as it was told, and its number there."""
        table = self.table
        found = None if table.former is None else table.former.outside(number)
        return (table, number) if found is None else found

    def trial_params(self, number: int) -> dict[str, Value]:
        space = self.table.space
        if self.trial_is_outside(number):
            return self.trial_original_params(number)
        with self._lock:
            if self.table.state(number) == TrialState.WAITING:  # partly given: the rest is not known yet
                row = self.table.params[:, number]
                names = [name for name, x in zip(space.names, row, strict=True) if x == x]
                return {name: space[name].decode(row[space.position[name]]) for name in names}
            return space.decode(self.table.params[:, number])

    def trial_state(self, number: int) -> TrialState:
        table, number = self._place(number)
        return table.state(number)

    def trial_value(self, number: int) -> float | None:
        if self.table.objectives.count > 1:
            raise InvalidValue(
                f"a trial of several objectives has no single value: see trial {number}'s `objective_values()`"
            )
        table, number = self._place(number)
        value = float(table.values[number])
        return None if value != value else value

    def trial_values(self, number: int) -> tuple[float, ...] | None:
        table, number = self._place(number)
        values = table.values[number]
        return None if np.isnan(values).any() else tuple(np.atleast_1d(values).tolist())

    def trial_constraints(self, number: int) -> tuple[float, ...] | None:
        told = self.table.constraints[number]
        return tuple(told.tolist()) if len(told) and told[0] == told[0] else None

    def trial_reports(self, number: int) -> dict[int, Any]:
        table, number = self._place(number)
        return table.reports.of(number)

    def trial_metrics(self, number: int) -> dict[str, float]:
        return self.table.metrics.of(number)

    def trial_error(self, number: int) -> str | None:
        table, number = self._place(number)
        return table.error(number)

    def trial_times(self, number: int) -> tuple[float, float, float]:
        table, number = self._place(number)
        return table.times(number)

    def trial_resource(self, number: int) -> int | None:
        resource = float(self.table.resources[number])
        return None if resource != resource else int(resource)

    def trial_fork(self, number: int) -> tuple[int, int, int, int] | None:
        """Of a population the place of a trial, its generation, its parent or -1, and where that was."""
        fork = self.table.lineage.of(number)
        return None if fork is None else (fork.member, fork.generation, fork.parent, fork.step)

    def trial_rungs(self, number: int) -> dict[int, Any]:
        table, number = self._place(number)
        return table.segments.values_of(number)
