"""A study that is shown in Optuna while it runs: its trials are appended to a journal file of Optuna's by a thread.

The file is what `optuna.storages.JournalStorage` reads, and so does optuna-dashboard: a JSON object a line, each an
operation. What an operation creates is numbered by how many were created before it, by whichever program; so the thread
reads what it and others have appended, and knows from that which of its trials are in the file. Nothing else is kept of
trials that have ended, and a program that is killed leaves nothing that has to be known.

A trial that was asked for again after a break keeps its place. PAUSED trials are RUNNING there until they end.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fasthpo.errors import InvalidValue
from fasthpo.exchange.optuna import frozen_trial, load_optuna, to_distribution
from fasthpo.space.search_space import SearchSpace
from fasthpo.system.forked import in_forked
from fasthpo.system.log import logger
from fasthpo.trials.table import KeptElsewhere, TrialTable
from fasthpo.trials.trial import Trial, TrialSequence, TrialState

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_EVERY = 1.0  # seconds
_SHARE = 20  # the thread works at most one of so many seconds
_AT_ONCE = 250  # new trials
_ID = "fasthpo:study_id"
_UNENDED = (TrialState.RUNNING, TrialState.WAITING, TrialState.PAUSED)


class _Operation(IntEnum):
    """The operations of a journal of Optuna's that are read or written here."""

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    SET_STUDY_USER_ATTR = 2
    CREATE_TRIAL = 4
    SET_TRIAL_PARAM = 5
    SET_TRIAL_STATE_VALUES = 6
    SET_TRIAL_INTERMEDIATE_VALUE = 7
    SET_TRIAL_USER_ATTR = 8
    SET_TRIAL_SYSTEM_ATTR = 9


class Shown(Protocol):
    """What is shown: a study, which may be gone; then nothing changes any more."""

    @property
    def _whole(self) -> TrialTable: ...
    def _place(self, number: int) -> tuple[TrialTable, int]: ...
    def trial_state(self, number: int) -> TrialState: ...
    def trial_reports(self, number: int) -> dict[int, Any]: ...
    @property
    def table(self) -> TrialTable: ...
    @property
    def trials(self) -> TrialSequence: ...
    @property
    def attributes(self) -> dict[str, Any]: ...
    @property
    def is_gone(self) -> bool: ...
    @property
    def _lock(self) -> threading.RLock: ...


class _Journal:
    """The file, and how many studies and trials it has so far.

    Attributes:
        study: the number of our study in it; None before it is there.
        unended: our trials that have not ended there: their numbers there, by those in our study.
        created: how many trials our study has there.
    """

    def __init__(self, path: Path, name: str, key: str) -> None:
        from optuna.storages.journal import JournalFileOpenLock

        self._path = path
        self._name = name
        self._key = key
        self._lock = JournalFileOpenLock(str(path))
        self._worker = f"fasthpo-{secrets.token_hex(8)}"
        self._offset = 0
        self._studies: dict[int, str] = {}
        self._next_study = self._next_trial = 0
        self.study: int | None = None
        self.holder: str | None = None  # the key of the study that has our name
        self.created = 0
        self.unended: dict[int, int] = {}
        self._numbers: dict[int, int] = {}  # the same, the other way round

    def read(self) -> None:
        """Take in what was appended."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._take(json.loads(line))
                self._offset += len(line)

    def _take(self, log: dict[str, Any]) -> None:
        match log["op_code"]:
            case _Operation.CREATE_STUDY:
                if log["study_name"] not in self._studies.values():
                    self._studies[self._next_study] = log["study_name"]
                    if log["study_name"] == self._name:
                        self.study = self._next_study
                    self._next_study += 1
            case _Operation.DELETE_STUDY:
                self._studies.pop(log["study_id"], None)
                if log["study_id"] == self.study:
                    self.study, self.holder, self.created = None, None, 0
                    self.unended.clear()
                    self._numbers.clear()
            case _Operation.SET_STUDY_USER_ATTR if log["study_id"] == self.study and _ID in log["user_attr"]:
                self.holder = log["user_attr"][_ID]
            case _Operation.CREATE_TRIAL if log["study_id"] in self._studies:
                if log["study_id"] == self.study:
                    if log.get("state", 0) in (0, 4):  # RUNNING, WAITING
                        self.unended[self.created] = self._next_trial
                        self._numbers[self._next_trial] = self.created
                    self.created += 1
                self._next_trial += 1
            case _Operation.SET_TRIAL_STATE_VALUES if log["state"] not in (0, 4):
                number = self._numbers.pop(log["trial_id"], None)
                if number is not None:
                    del self.unended[number]

    def append(self, logs: list[dict[str, Any]]) -> None:
        """Append operations."""
        text = "".join(json.dumps({**log, "worker_id": self._worker}, separators=(",", ":")) + "\n" for log in logs)
        with self._locked(), self._path.open("r+b") as file:  # which must not make a file in the place of a lost one
            file.seek(0, 2)
            file.write(text.encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def mend(self) -> None:
        """Remove a line at the end that a program was killed in the middle of; make the file if there is none."""
        with self._locked(), self._path.open("a+b") as file:
            size = file.seek(0, 2)
            end = size
            while end:
                begin = max(end - 4096, 0)
                file.seek(begin)
                place = file.read(end - begin).rfind(b"\n")
                if place >= 0:
                    end = begin + place + 1
                    break
                end = begin
            if end < size:
                file.truncate(end)


class LiveCopy:
    """A study's trials in a journal of Optuna's, kept up to date by a thread until `stop`, or the study is gone.

    What is missing then is appended, as it is when the program ends.

    Trouble with the file ends in the log, and is tried again later; the study never hears of it.

    Args:
        shown: the study.
        key: a name of it that no other has.
        path: the journal, made if it is missing; there may be other studies in it.
        name: the study's name there; None: one made of `key`.

    Raises:
        MissingPackage: Optuna is not installed.
        InvalidValue: there is another study of that name, or one that has more trials.
        OSError: the file can't be read or written.
    """

    def __init__(self, shown: Shown, key: str, path: Path, name: str | None) -> None:
        self._optuna = load_optuna()
        self._shown = shown
        self._path = path
        self.name = f"fasthpo-{key[:8]}" if name is None else name
        self._journal = _Journal(path, self.name, key)
        self._space: SearchSpace | None = None  # of which these are
        self._former: KeptElsewhere | None = None
        self._distributions: dict[str, BaseDistribution] = {}
        self._as_json: dict[str, str] = {}
        self._take_space(shown)
        self._reported: dict[int, set[int]] = {}  # the steps of which reports of unended trials are there
        self._state: dict[int, TrialState] = {}  # of unended trials, as they are there
        self._attributes: dict[str, Any] = {}
        self._working = threading.Lock()
        self._stopped = threading.Event()
        self._open(shown, key)
        threading.Thread(target=self._run, name="fasthpo-optuna", daemon=True).start()
        atexit.register(self.stop)
        in_forked(self, LiveCopy._disown)

    def _disown(self) -> None:
        """The process that was forked off has no such thread, and must not write."""
        self._stopped.set()
        self._working = threading.Lock()

    def _take_space(self, shown: Shown) -> None:
        """Know the distributions of all parameters, of which a space that is learnt may have more by now."""
        space, former = shown.table.space, shown.table.former
        if space is self._space and former is self._former:
            return
        self._space, self._former = space, former
        if former is not None:  # trials outside have other values
            space = shown._whole.space
        self._distributions = {one: to_distribution(parameter) for one, parameter in space.items()}
        self._as_json = {
            one: self._optuna.distributions.distribution_to_json(distribution)
            for one, distribution in self._distributions.items()
        }

    def _open(self, shown: Shown, key: str) -> None:
        journal = self._journal
        journal.mend()
        journal.read()
        if journal.study is None:
            directions = [1 if one == "minimize" else 2 for one in shown.table.directions]
            create = {"op_code": _Operation.CREATE_STUDY, "study_name": self.name, "directions": directions}
            journal.append([create])
            journal.read()
            journal.append([self._attribute(_ID, key)])
            journal.read()
        if journal.holder != key:
            raise InvalidValue(f"{self._path} has another study named {self.name!r}; give study_name another one")
        if journal.created > len(shown.table):
            raise InvalidValue(
                f"{self._path} has {journal.created} trials of {self.name!r}, which has {len(shown.table)} itself: "
                "give study_name another one"
            )

    def study(self) -> OptunaStudy:
        """The study as Optuna reads it from the file."""
        journal = self._optuna.storages.journal
        backend = journal.JournalFileBackend(str(self._path), journal.JournalFileOpenLock(str(self._path)))
        storage = self._optuna.storages.JournalStorage(backend)
        theirs: OptunaStudy = self._optuna.load_study(study_name=self.name, storage=storage)
        return theirs

    # --- the thread's work

    def update(self) -> bool:
        """Append what is new, so much as is done at once; whether that was all."""
        shown = self._shown
        with self._working:
            journal = self._journal
            journal.read()
            if journal.study is None:
                raise InvalidValue(f"the study {self.name!r} was deleted")
            logs = self._changed_attributes(shown)
            for number, trial_id in journal.unended.items():
                logs += self._changes(shown, number, trial_id)
            last = min(len(shown.table), journal.created + _AT_ONCE)
            for number in range(journal.created, last):
                logs.append(self._created(shown, number))
            if logs:
                journal.append(logs)
                journal.read()
            for number in self._state.keys() - journal.unended.keys():
                del self._state[number]
                self._reported.pop(number, None)
            return last == len(shown.table)

    def _attribute(self, name: str, value: Any) -> dict[str, Any]:
        return {
            "op_code": _Operation.SET_STUDY_USER_ATTR,
            "study_id": self._journal.study,
            "user_attr": {name: value},
        }

    def _changed_attributes(self, shown: Shown) -> list[dict[str, Any]]:
        with shown._lock:
            attributes = shown.attributes
        new = {name: value for name, value in attributes.items() if self._attributes.get(name, _NOTHING) != value}
        self._attributes.update(new)
        return [self._attribute(name, value) for name, value in new.items()]

    def _look(self, shown: Shown, number: int) -> FrozenTrial:
        """A trial as Optuna sees it; one that is paused runs."""
        with shown._lock:
            trial: Trial = shown.trials[number]
            state = trial.state
            self._take_space(shown)
            found = frozen_trial(self._optuna, trial, self._distributions, _error(shown, number))
            self._state[number] = state
        if shown.table.space.is_open and state == TrialState.RUNNING:  # it may still ask for others
            found.params = {}
        if state == TrialState.PAUSED:
            found.state, found.values, found.datetime_complete = self._optuna.trial.TrialState.RUNNING, None, None
            del found.user_attrs["fasthpo:state"]
        return found

    def _created(self, shown: Shown, number: int) -> dict[str, Any]:
        trial = self._look(shown, number)
        self._reported[number] = set(trial.intermediate_values)
        log = {
            "op_code": _Operation.CREATE_TRIAL,
            "study_id": self._journal.study,
            "datetime_start": _time(trial.datetime_start),
            "state": trial.state,
            "value": None,
            "values": trial.values,
            "distributions": {name: self._as_json[name] for name in trial.params},
            "params": {name: self._internal(name, value) for name, value in trial.params.items()},
            "user_attrs": trial.user_attrs,
            "system_attrs": trial.system_attrs,
            "intermediate_values": trial.intermediate_values,
        }
        if trial.datetime_complete is not None:
            log["datetime_complete"] = _time(trial.datetime_complete)
        return log

    def _internal(self, name: str, value: Any) -> float:
        internal: float = self._distributions[name].to_internal_repr(value)
        return internal

    def _params(self, trial: FrozenTrial, trial_id: int) -> Iterator[dict[str, Any]]:
        """The parameters of a trial that had not ended."""
        for name, value in trial.params.items():
            yield {
                "op_code": _Operation.SET_TRIAL_PARAM,
                "trial_id": trial_id,
                "param_name": name,
                "param_value_internal": self._internal(name, value),
                "distribution": self._as_json[name],
            }

    def _changes(self, shown: Shown, number: int, trial_id: int) -> Iterator[dict[str, Any]]:
        """What has become of a trial that had not ended."""
        state = shown.trial_state(number)
        before = self._state.get(number)
        if state == before and state != TrialState.RUNNING:
            return
        steps = self._reported.setdefault(number, set())
        if state == before and not shown.trial_reports(number).keys() - steps:
            return
        trial = self._look(shown, number)
        state = self._state[number]
        if state == TrialState.WAITING:
            return
        if before is None or before == TrialState.WAITING:
            yield {
                "op_code": _Operation.SET_TRIAL_STATE_VALUES,
                "trial_id": trial_id,
                "state": 0,
                "values": None,
                "datetime_start": _time(trial.datetime_start),
            }
            yield from self._params(trial, trial_id)
        elif before == TrialState.RUNNING and shown.table.space.is_open:
            yield from self._params(trial, trial_id)
        for step, value in trial.intermediate_values.items():
            if step not in steps:
                yield {
                    "op_code": _Operation.SET_TRIAL_INTERMEDIATE_VALUE,
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": value,
                }
        steps.update(trial.intermediate_values)
        if state in _UNENDED:
            return
        for what, attributes in (("user_attr", trial.user_attrs), ("system_attr", trial.system_attrs)):
            code = _Operation.SET_TRIAL_USER_ATTR if what == "user_attr" else _Operation.SET_TRIAL_SYSTEM_ATTR
            for name, value in attributes.items():
                yield {"op_code": code, "trial_id": trial_id, what: {name: value}}
        yield {
            "op_code": _Operation.SET_TRIAL_STATE_VALUES,
            "trial_id": trial_id,
            "state": trial.state,
            "values": trial.values,
            "datetime_complete": _time(trial.datetime_complete),
        }

    def _run(self) -> None:
        pause, has_warned = _EVERY, False
        while not self._stopped.wait(pause):
            begin = time.perf_counter()
            is_gone = self._shown.is_gone
            try:
                self.update()
                has_warned = False
            except Exception as error:
                if not has_warned:
                    self._warn(error)
                has_warned = True
            if is_gone:
                self.stop()
            pause = max(_EVERY, (_SHARE - 1) * (time.perf_counter() - begin))

    def stop(self) -> None:
        """Append all that is missing, and end the thread."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        atexit.unregister(self.stop)
        try:
            while not self.update():
                pass
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        logger.warning(
            "what Optuna is shown in %s can't be brought up to date, and the study goes on: %s", self._path, error
        )


_NOTHING = object()


def _error(shown: Shown, number: int) -> str | None:
    """Why a trial failed, as the study keeps it."""
    table, place = shown._place(number)
    return table.errors.get(place)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")
