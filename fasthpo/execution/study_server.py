"""The study's end of all connections: takes what workers report and answers what they ask."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fasthpo.execution.backends.base import Ended, FailureKind
from fasthpo.execution.messages import CorruptMessage, Message, Says, Told, outline
from fasthpo.execution.objective import traceback_text
from fasthpo.space.choice_values import choice_to_json
from fasthpo.space.definitions import parameter_from_dict
from fasthpo.space.parameter import Parameter
from fasthpo.study.study import Study
from fasthpo.system.headline import message_of
from fasthpo.trials.trial import Trial

READABLE = (
    "trial_state", "trial_value", "trial_values", "trial_constraints", "trial_reports", "trial_metrics", "trial_error",
    "trial_times", "trial_rungs", "trial_fork", "trial_checkpoint_dir",
)  # fmt: skip


class Repeated:
    """The study as a trial sees it that is tried once more: reports that an earlier attempt has made are known already.

    A `TrialSource`; everything but `report` is the study's.
    """

    def __init__(self, study: Study, number: int) -> None:
        self._study = study
        self._known = frozenset(study.trial_reports(number))

    def __len__(self) -> int:
        return len(self._study)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def report(self, number: int, value: float | Sequence[float], step: int) -> None:
        if step not in self._known:
            self._study.report(number, value, step)


class StudyServer:
    """Deals with the messages of running trials, in the thread of the run.

    Args:
        study: the study.
        stop: called if a trial says that the run is to end.
    """

    def __init__(self, study: Study, stop: Callable[[], None]) -> None:
        self._study = study
        self._stop = stop
        self._repeated: dict[int, Repeated] = {}
        self._wrong: dict[int, Exception] = {}  # what was wrong with a report, until its trial can be told

    @property
    def identity(self) -> tuple[bytes, Path | None]:
        """The study's name that no other has, and where it is kept, if it is."""
        return self._study._id, self._study.storage

    def repeat(self, number: int) -> None:
        """The trial is about to be tried once more."""
        self._repeated[number] = Repeated(self._study, number)

    def handle(self, trial: Trial) -> Trial:
        """The handle for an objective that runs in this process."""
        repeated: Any = self._repeated.get(trial.number)
        return trial if repeated is None else Trial(trial.number, repeated)

    def take(self, number: int, message: Message) -> Message | None:
        """Deal with what the worker of a trial says; the reply to send, if it waits for one.

        Raises:
            CorruptMessage: it is no such message.
        """
        match message:
            case [Says.REPORT, float() | list() as value, int(step)]:
                try:
                    self._repeated.get(number, self._study).report(number, value, step)
                except Exception as raised:  # a pruner of the user's own may raise anything
                    self._wrong.setdefault(number, raised)
                return None
            case [Says.PRUNE]:
                return self._reply(number, lambda: self._study.should_prune(number))
            case [Says.READ, "trial_attributes"]:
                return self._reply(number, lambda: json.dumps(self._study.trial_attributes(number)))
            case [Says.READ, str(name)] if name in READABLE:
                return self._reply(number, lambda: _plain(getattr(self._study, name)(number)))
            case [Says.SUGGEST, str(name), str(text)]:
                return self._reply(number, lambda: choice_to_json(self._study.suggest(number, name, _parameter(text))))
            case [Says.NOTE, str(name), str(text)]:
                return self._reply(number, lambda: self._study.set_trial_attribute(number, name, json.loads(text)))
            case [Says.SYNC]:
                return self._reply(number, lambda: True)
            case [Says.STOP]:
                self._stop()
                return None
        raise CorruptMessage(f"its message can't be read: {outline(message)}")

    def _reply(self, number: int, answer: Callable[[], Any]) -> Message:
        try:
            if number in self._wrong:
                raise self._wrong.pop(number)
            return [Told.REPLY, answer()]
        except Exception as raised:
            return [Told.REFUSED, type(raised).__name__, message_of(raised)]

    def end(self, ended: Ended) -> Ended:
        """An attempt has ended; as a failure if one of its reports was refused and it could not be told any more."""
        self._repeated.pop(ended.number, None)
        wrong = self._wrong.pop(ended.number, None)
        if wrong is None or ended.failure is not None:
            return ended
        error = traceback_text(wrong)
        return replace(ended, value=None, pruned=None, failure=FailureKind.ERROR, error=error, cause=wrong)


@functools.lru_cache(4096)
def _parameter(text: str) -> Parameter:
    """The parameter that a worker asks for; always the same object for one definition, so that it is known again."""
    return parameter_from_dict(json.loads(text))


def _plain(value: Any) -> Any:
    """What msgpack can carry."""
    return str(value.absolute()) if isinstance(value, Path) else value  # workers may be in another directory
