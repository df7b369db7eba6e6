"""What a run comes back with."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from fasthpo.errors import NotCopyable, StudyReadOnly
from fasthpo.space.parameter import Value
from fasthpo.storage.snapshot_reader import read_snapshot
from fasthpo.strategies.summary import RungStatistics, aligned
from fasthpo.study.reader import StudyReader
from fasthpo.study.study import Study
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.html import preformatted
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import Trial, TrialSequence, TrialState
from fasthpo.values import FloatArray, IntArray

_MOST_ROWS = 20  # of the front, as it is printed
_WIDEST = 118  # characters of such a row
_DIGITS = 4  # of a parameter there


class StopReason(StrEnum):
    """What ended a run. Each is also its plain text: `result.stop_reason == "max_trials"`."""

    MAX_TRIALS = "max_trials"  #: the study has as many trials as it may have
    MAX_DURATION = "max_duration"  #: the time was up
    MAX_COST = "max_cost"  #: the trials have cost as much as they may
    MAX_TOTAL_RESOURCE = "max_total_resource"  #: what comes next would cost more resource than is left
    POPULATION_COMPLETE = "population_complete"  #: every member of the population was trained to its end
    SPACE_EXHAUSTED = "space_exhausted"  #: every point of the space, or of the grid, was tried
    NO_IMPROVEMENT = "no_improvement"  #: the last trials have brought no improvement (`TunerConfig.stop_when`)
    STOPPED = "stopped"  #: `tuner.stop()` was called
    INTERRUPTED = "interrupted"  #: Ctrl-C
    MAX_CONSECUTIVE_FAILURES = "max_consecutive_failures"  #: so many trials failed in a row


@dataclass(frozen=True)
class StudyStatistics:
    """A study in numbers. Finished trials are those that completed, were pruned, or failed.

    Attributes:
        total_trials: how many trials the study has, unfinished ones included.
        completed_trials, failed_trials, pruned_trials: how many ended so.
        paused_trials: how many a multi-fidelity strategy has left at a rung below the last.
        success_rate: 100 * completed / finished, in percent; 0 if none has finished.
        pruning_rate: 100 * pruned / finished, in percent; 0 if none has finished.
        best_value: the best finite value; None if there is none, or if there are several objectives.
        best_trial_number: the trial that reached it.
        total_duration: seconds that `optimize` has run, over all calls. For the part before a checkpoint was loaded,
            the seconds during which at least one trial was running.
        average_trial_duration: seconds from start to end, averaged over the finished trials; None if there is none.
            Pauses between rungs do not count.
        resource_spent: what all trials have cost. Under a multi-fidelity strategy in its unit; under any other a report
            counts as one unit.
        resource_saved: what pruned trials would have cost beyond that, had they gone on: to the end of their rung;
            without a multi-fidelity strategy to as many reports as the completed trials made on average.
        rungs: what has happened at each rung of a multi-fidelity strategy (`RungStatistics`); else empty.
        front_trials: with several objectives the numbers of the trials on the front; else None.
        infeasible_trials: how many of the completed trials break a constraint.
    """

    total_trials: int
    completed_trials: int
    failed_trials: int
    pruned_trials: int
    success_rate: float
    pruning_rate: float
    best_value: float | None
    best_trial_number: int | None
    total_duration: float
    average_trial_duration: float | None
    paused_trials: int = 0
    resource_spent: int = 0
    resource_saved: float = 0.0
    rungs: tuple[RungStatistics, ...] = ()
    front_trials: tuple[int, ...] | None = None
    infeasible_trials: int = 0

    @classmethod
    def of(cls, study: Study, total_duration: float) -> StudyStatistics:
        """The statistics of a study's trials after `total_duration` seconds."""
        with study._lock:
            return cls._of(study, total_duration)

    @classmethod
    def _of(cls, study: Study, total_duration: float) -> StudyStatistics:
        table, strategy, told = study.table, study.strategy, study._whole
        complete, pruned, failed = (
            told.counts[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
        )
        finished = complete + pruned + failed
        ended = told.tell_order
        best = table.best_number
        return cls(
            total_trials=len(table),
            completed_trials=complete,
            failed_trials=failed,
            pruned_trials=pruned,
            success_rate=100 * complete / finished if finished else 0.0,
            pruning_rate=100 * pruned / finished if finished else 0.0,
            best_value=None if best is None else float(table.values[best]),
            best_trial_number=best,
            total_duration=total_duration,
            average_trial_duration=_busy(told, ended) / finished if finished else None,
            paused_trials=told.counts[TrialState.PAUSED],
            resource_spent=told.segments.spent if len(told.segments) else len(told.reports),
            resource_saved=_saved(told),
            rungs=() if strategy is None else tuple(strategy.rung_statistics()),
            front_trials=tuple(table.front.numbers.tolist()) if table.objectives.count > 1 else None,
            infeasible_trials=int(((told.states == TrialState.COMPLETE) & (told.violations > 0)).sum()),
        )

    def to_dict(self) -> dict[str, Any]:
        """The statistics in plain values; the front where there are several objectives, infeasible trials where any."""
        found = {**asdict(self), "rungs": [rung._asdict() for rung in self.rungs]}
        front = found.pop("front_trials")
        if not self.infeasible_trials:
            del found["infeasible_trials"]
        return found if front is None else {**found, "front_trials": list(front)}


def _busy(table: TrialTable, numbers: IntArray) -> float:
    """Seconds that trials have run, in all."""
    segments = table.segments
    if not len(segments):
        return float((table.ends[numbers] - table.starts[numbers]).clip(min=0.0).sum())
    own = np.isin(segments.column("trial"), numbers)
    return float((segments.column("end")[own] - segments.column("start")[own]).clip(min=0.0).sum())


def _saved(table: TrialTable) -> float:
    """The resource that pruned trials did not take."""
    segments, reports, states = table.segments, table.reports, table.states
    if len(segments):
        pruned = np.flatnonzero(segments.column("state") == TrialState.PRUNED)
        # at a rung of its own each; what came before has been charged already
        begun = np.where(segments.previous[pruned] == NONE, 0, segments.resource[segments.previous[pruned]])
        return float((segments.resource[pruned] - begun - segments.charge[pruned]).clip(min=0).sum())
    counts = np.bincount(reports.trial[: len(reports)], minlength=len(table))
    complete = counts[(states == TrialState.COMPLETE) & (counts > 0)]
    if not len(complete):
        return 0.0
    return float((complete.mean() - counts[states == TrialState.PRUNED]).clip(min=0.0).sum())


def busy_seconds(table: TrialTable) -> float:
    """For how many seconds at least one of the finished trials was running."""
    segments = table.segments
    starts, ends = (
        (segments.column("start"), segments.column("end"))
        if len(segments)
        else (table.starts[table.tell_order], table.ends[table.tell_order])
    )
    order = np.argsort(starts)
    starts, ends = starts[order], ends[order]
    latest_before = np.concatenate([[-np.inf], np.maximum.accumulate(ends)[:-1]])
    return float(np.maximum(0.0, ends - np.maximum(starts, latest_before)).sum())


class SavedTrials(StudyReader):
    """The trials of a study as they were when its result was pickled or copied, to be read only.

    Args:
        checkpoint: what `Study.save` writes.
        weights: where the study's trials had their weights; None if none had any.
        resumable: whether its strategy resumes a trial from what it has reached.
    """

    def __init__(self, checkpoint: bytes, weights: str | None, resumable: bool) -> None:
        self._history = read_snapshot(checkpoint).history
        self._reading = threading.RLock()
        renew_in_forked(self, _reading=threading.RLock)
        self.made_of = checkpoint, weights, resumable

    @property
    def table(self) -> TrialTable:
        return self._history.table

    @property
    def _lock(self) -> threading.RLock:
        return self._reading

    def trial_attributes(self, number: int) -> dict[str, Any]:
        return self._history.trial_attributes.get(number, {})

    def report(self, number: int, value: float | Sequence[float], step: int) -> NoReturn:
        raise StudyReadOnly(_NO_STUDY)

    def should_prune(self, number: int) -> NoReturn:
        raise StudyReadOnly(_NO_STUDY)

    def trial_start_resource(self, number: int) -> int:
        return self.table.reached(number) if self.made_of[2] else 0

    def trial_checkpoint_dir(self, number: int) -> Path:
        weights = self.made_of[1]
        if weights is None or not (directory := Path(weights) / f"trial-{number}").is_dir():
            raise StudyReadOnly(f"the weights of trial {number} are not here: {_NO_STUDY}")
        return directory

    def __reduce__(self) -> tuple[Any, ...]:
        return SavedTrials, self.made_of


_NO_STUDY = (
    "a copied result has its trials, but no study: write that with study.save(path), and take it up with "
    "fasthpo.Study.load(path)"
)


def _packed(study: Study) -> tuple[bytes, str | None, bool]:
    checkpoint = io.BytesIO()
    study._write(checkpoint)
    strategy = study.strategy
    resumable = strategy is not None and strategy.is_multi_fidelity and strategy.resumable
    weights = study.checkpoints.known_root
    return checkpoint.getvalue(), None if weights is None else str(weights), resumable


class TuningResult:
    """What `optimize` returns. `print(result)` shows the best parameters as a table, or the trials on the front.

    It can be pickled and deep-copied. What comes of that has the trials as they are then, to be read, and no study.

    Attributes:
        study_name: the study's name.
        statistics: `StudyStatistics` at the end of the run.
        stop_reason: `StopReason`, what ended the run.
        objective_metrics: what the objectives are called, one name for each; None if nobody has named them.
    """

    def __init__(
        self,
        study: Study | SavedTrials,
        study_name: str,
        statistics: StudyStatistics,
        stop_reason: StopReason,
        objective_metrics: Sequence[str] | None = None,
    ) -> None:
        self._trials = study
        self.study_name = study_name
        self.statistics = statistics
        self.stop_reason = stop_reason
        self.objective_metrics = objective_metrics

    def __copy__(self) -> Self:
        return type(self)(self._trials, *self._said)

    @property
    def _said(self) -> tuple[str, StudyStatistics, StopReason, Sequence[str] | None]:
        return self.study_name, self.statistics, self.stop_reason, self.objective_metrics

    def __reduce__(self) -> tuple[Any, ...]:
        trials = self._trials
        made_of = trials.made_of if isinstance(trials, SavedTrials) else _packed(trials)
        return _unpacked, (type(self), made_of, *self._said)

    @property
    def study(self) -> Study:
        """The study with all its trials; it goes on if `optimize` is called again.

        Raises:
            NotCopyable: this is a result that was pickled or copied.
        """
        if isinstance(self._trials, SavedTrials):
            raise NotCopyable(_NO_STUDY)
        return self._trials

    @property
    def trials(self) -> TrialSequence:
        """All trials by number."""
        return self._trials.trials

    @property
    def best_trial(self) -> Trial:
        """The completed trial with the best finite value.

        Raises:
            NoCompletedTrials: there is none.
            InvalidValue: there are several objectives; see `best_trials`.
        """
        return self._trials.best_trial

    @property
    def best_trials(self) -> TrialSequence:
        """The trials on the front of several objectives; see `Study.best_trials`."""
        return self._trials.best_trials

    def front(self) -> tuple[IntArray, FloatArray]:
        """The front as arrays of numbers (f,) and values (f, m); see `Study.front`."""
        return self._trials.front()

    def hypervolume(self, reference: Any) -> float:
        """How much the front dominates; see `Study.hypervolume`."""
        return self._trials.hypervolume(reference)

    @property
    def best_value(self) -> float:
        """The value of `best_trial`."""
        return self._trials.best_value

    @property
    def best_params(self) -> dict[str, Value]:
        """The parameters of `best_trial`."""
        return self._trials.best_params

    @property
    def total_duration(self) -> float:
        """Seconds that `optimize` has run; see `StudyStatistics`."""
        return self.statistics.total_duration

    def __str__(self) -> str:
        from fasthpo.analysis.progress import best_estimate, latest_gains, told_cost

        of = self.statistics
        infeasible = f" ({of.infeasible_trials} of them break a constraint)" if of.infeasible_trials else ""
        lines = [
            f"Study {self.study_name}: {of.total_trials} trials in {of.total_duration:.1f} s "
            f"({of.completed_trials} complete{infeasible}, {of.pruned_trials} pruned, {of.failed_trials} failed"
            f"{f', {of.paused_trials} paused' if of.rungs else ''}), ended by {self.stop_reason}"
        ]
        if of.resource_saved or of.rungs:
            saved = f", {of.resource_saved:.0f} saved by pruning" if of.resource_saved else ""
            lines.append(f"Resource spent: {of.resource_spent}{saved}")
        if cost := told_cost(self._trials):
            lines.append(f"Cost spent: {cost}")
        if not len(self._trials.best_trials):
            kept = " and kept its constraints" if of.infeasible_trials else ""
            lines.append(f"No trial has completed with a finite value{kept}.")
            if rungs := [rung for rung in of.rungs if rung.best_value is not None]:
                highest = max(rungs, key=lambda rung: rung.resource)
                lines.append(
                    f"The best paused at resource {highest.resource} with {_shown(highest.best_value)}: run the study "
                    "for longer to train it to the end."
                )
            return "\n".join(lines)
        gained = [line for line in [latest_gains(self._trials)] if line]
        if of.front_trials is not None:
            return "\n".join([*lines, *self._front_as_text(), *gained])
        best = self.best_trial
        rows = [("value", _shown(best.value)), *((name, _shown(value)) for name, value in best.params.items())]
        if believed := best_estimate(self._trials):
            rows.insert(1, ("estimate", believed))
        width = max(len(name) for name, _ in rows)
        lines.append(f"Best trial: {best.number}")
        lines += [f"  {name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *gained])

    def _front_as_text(self) -> list[str]:
        """The front, a line a trial, the best of the first objective first; the knee is marked."""
        table = self._trials.table
        with self._trials._lock:
            numbers, losses, knee = table.front.numbers, table.front.losses, table.front.knee()
        numbers = numbers[np.lexsort((*losses.T[::-1],))]
        m = table.objectives.count
        names = list(self.objective_metrics or (f"values_{j}" for j in range(m)))
        goals = ", ".join(f"{one} {name}" for one, name in zip(table.directions, names, strict=True))
        lines = [f"On the front: {len(numbers)} trial{'s'[: len(numbers) > 1]}, best {names[0]} first ({goals})"]
        if len(numbers) > _MOST_ROWS:  # some, evenly spaced, with both ends and the knee
            some = {int(numbers[i]) for i in np.linspace(0, len(numbers) - 1, _MOST_ROWS - 1).round().astype(int)}
            numbers = numbers[[number == knee or number in some for number in numbers.tolist()]]
            lines[0] += f"; {len(numbers)} of them:"
        trials = [Trial(number, self._trials) for number in numbers.tolist()]
        columns = [["trial", *(str(trial.number) for trial in trials)]]
        values = table.values[numbers]
        columns += [[name, *_alike(values[:, j].tolist())] for j, name in enumerate(names)]
        params = [trial.params for trial in trials]
        left: list[str] = []
        for name in table.space.names:
            column = [name, *(_shown(one[name], _DIGITS) if name in one else "-" for one in params)]
            width = sum(2 + max(map(len, one)) for one in [*columns, column])
            if width <= _WIDEST and not left:
                columns.append(column)
            else:
                left.append(name)
        columns.append(["", *("<- knee" if trial.number == knee else "" for trial in trials)])
        lines += [f"  {line}" for line in aligned([list(row) for row in zip(*columns, strict=True)])]
        if left:
            lines.append(f"  Further parameters, see result.best_trials: {', '.join(left)}")
        return lines

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def __repr__(self) -> str:
        shown = f"{len(self._trials)} trials" if isinstance(self._trials, SavedTrials) else repr(self._trials)
        return f"TuningResult({self.study_name!r}, {shown}, stop_reason={str(self.stop_reason)!r})"


def _unpacked(kind: type[TuningResult], made_of: tuple[Any, ...], *others: Any) -> TuningResult:
    return kind(SavedTrials(*made_of), *others)


def _shown(value: Value, digits: int = 6) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _alike(values: Sequence[float]) -> list[str]:
    """Numbers as texts of as many decimals each, where none of them has an exponent."""
    texts = [_shown(value) for value in values]
    if any("e" in text for text in texts):
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{value:.{decimals}f}" for value in values]
