"""What is new in a study of Optuna's: no trial that has ended is looked at twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.storages import InMemoryStorage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class StudyReplaced(Exception):
    """A storage has another study in the place of the one that was followed: it has fewer trials."""


class News:
    """The trials of one study that are new, or that had not ended when they were looked at last.

    In memory each of them is looked up by its number, so that the cost does not depend on how many trials there are.
    Other storages are asked for all trials, as Optuna asks them itself for each trial: what comes from a database is
    what had not ended yet, and from a journal what was appended; a list of all is made of it.

    Attributes:
        unended: the numbers of the trials seen that had not ended.
        seen: how many trials were seen.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.unended: set[int] = set()
        self._running: set[int] = set()
        self._waiting: deque[int] = deque()  # Optuna starts them in this order

    def read(self, study: Study) -> list[FrozenTrial]:
        """Those that run, and those that have ended since the last call, by number.

        If this is broken off, there is no telling what is new: follow the study anew.

        Raises:
            StudyReplaced: it was deleted, and there is one in its place.
        """
        at = self._by_number(study)
        found: list[FrozenTrial] = []
        for number in sorted(self._running):
            trial = at(number)
            if trial is not None:
                self._sort(trial, found)
        while self._waiting:
            trial = at(self._waiting[0])
            if trial is None or trial.state.name == "WAITING":
                break
            self._waiting.popleft()
            self._sort(trial, found)
        while (trial := at(self.seen)) is not None:
            self.seen += 1
            if trial.state.name == "WAITING":
                self._waiting.append(trial.number)
                self.unended.add(trial.number)
            else:
                self._sort(trial, found)
        found.sort(key=lambda trial: trial.number)
        return found

    def _sort(self, trial: FrozenTrial, found: list[FrozenTrial]) -> None:
        found.append(trial)
        if trial.state.is_finished():
            self._running.discard(trial.number)
            self.unended.discard(trial.number)
        else:
            self._running.add(trial.number)
            self.unended.add(trial.number)

    def _by_number(self, study: Study) -> Callable[[int], FrozenTrial | None]:
        storage: Any = study._storage
        study_id = study._study_id
        if not isinstance(storage, InMemoryStorage):
            trials = storage.get_all_trials(study_id, deepcopy=False)
            if len(trials) < self.seen:
                raise StudyReplaced
            return lambda number: trials[number] if number < len(trials) else None

        def look_up(number: int) -> FrozenTrial | None:
            try:
                trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
            except KeyError:
                return None
            found: FrozenTrial = storage.get_trial(trial_id)
            return found

        return look_up

    def ended(self, study: Study) -> list[FrozenTrial]:
        """All trials that `read` has shown as ended, in the order in which they ended."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)[: self.seen]
        return in_order([trial for trial in trials if trial.number not in self.unended])


def in_order(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that have ended, in the order in which they did."""
    return sorted(trials, key=lambda trial: (seconds(trial.datetime_complete or trial.datetime_start), trial.number))


def seconds(moment: Any) -> float:
    """A time of Optuna's, in seconds since the epoch."""
    return 0.0 if moment is None else moment.timestamp()
