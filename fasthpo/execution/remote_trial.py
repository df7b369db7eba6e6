"""A worker's end of a line to the study, and the trial that an objective sees there."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from fasthpo import errors
from fasthpo.errors import FastHPOError, InvalidValue, RemoteFailure, TrialStateError
from fasthpo.execution.backends.base import Job
from fasthpo.execution.messages import Message, Says, Told
from fasthpo.space.choice_values import choice_from_json
from fasthpo.space.parameter import Parameter, Value
from fasthpo.trials.json_values import as_json
from fasthpo.trials.outcome import value_vector
from fasthpo.trials.trial import TrialState
from fasthpo.values import as_number, check_text, element, shown

_here = threading.local()  # .line: of the trial that this thread is running


class Channel(Protocol):
    """What a worker speaks through."""

    def send(self, message: Message) -> None:
        """Say something that needs no answer; it may be on its way for a while."""

    def request(self, message: Message) -> Any:
        """Ask something, wait for the answer, and return it, or raise the error that it is."""


def read_reply(reply: Any) -> Any:
    """The value of a reply.

    Raises:
        FastHPOError: what the study refused with.
    """
    match reply:
        case [Told.REPLY, value]:
            return value
        case [Told.REFUSED, str(name), str(text)]:
            kind = getattr(errors, name, None)
            if isinstance(kind, type) and issubclass(kind, FastHPOError):
                raise kind(text)
            raise RemoteFailure(f"{name}: {text}")
    raise RemoteFailure(f"the study's reply can't be read: {reply!r:.200}")


def current_channel() -> Channel | None:
    """The line of the trial that the calling thread is running in a worker; None anywhere else."""
    found: Channel | None = getattr(_here, "line", None)
    return found


class RemoteTrial:
    """The one trial that a worker knows of; what `fasthpo.Trial` handles there read from and report to.

    What the trial is made of came with its job. A report is on its way when `report` returns; `should_prune` waits for
    the study's own answer. All else is read from the study when it is asked for.

    Args:
        job: the trial's.
        line: to the study.
    """

    def __init__(self, job: Job, line: Channel) -> None:
        self._job = job
        self._line = line
        self._over = False
        self._asked: dict[str, tuple[Parameter, Value]] = {}

    def __enter__(self) -> RemoteTrial:
        _here.line = self._line
        return self

    def __exit__(self, *error: object) -> None:
        _here.line = None
        self._over = True

    def __len__(self) -> int:
        return self._job.number + 1

    @property
    def directions(self) -> tuple[str, ...]:
        return tuple(self._job.directions)

    def report(self, number: int, value: float | Sequence[float], step: int) -> None:
        count = len(self.directions)
        reported = as_number("value", value) if count == 1 else value_vector(value, count).tolist()
        step = element(step)
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
            raise InvalidValue(f"step must be an integer that is not negative, got step={shown(step)}")
        self._still_on()
        self._line.send([Says.REPORT, reported, step])

    def should_prune(self, number: int) -> bool:
        self._still_on()
        return bool(self._line.request([Says.PRUNE]))

    def _still_on(self) -> None:
        if self._over:  # the line is the next trial's by now
            raise TrialStateError(f"trial {self._job.number} has ended in this worker")

    @property
    def learns_space(self) -> bool:
        return self._job.learns_space

    def suggest(self, number: int, name: str, parameter: Parameter) -> Value:
        name = check_text("a parameter's name", name)
        before = self._asked.get(name)
        if before is None or before[0] is not parameter:
            self._still_on()
            definition = json.dumps(parameter.to_dict())
            value = choice_from_json(self._line.request([Says.SUGGEST, name, definition]))
            before = self._asked[name] = parameter, value
        return before[1]

    def set_trial_attribute(self, number: int, name: str, value: Any) -> None:
        name = check_text("an attribute's name", name)
        self._still_on()
        self._line.request([Says.NOTE, name, json.dumps(as_json(name, value))])

    def trial_attributes(self, number: int) -> dict[str, Any]:
        noted: dict[str, Any] = json.loads(self._read("trial_attributes"))
        return noted

    def trial_params(self, number: int) -> dict[str, Value]:
        if self._job.learns_space and self._asked:
            return {name: value for name, (_, value) in self._asked.items()}
        return self._job.params

    def trial_original_params(self, number: int) -> dict[str, Value]:
        return self.trial_params(number)

    def trial_is_outside(self, number: int) -> bool:
        return False  # or it would not run

    def trial_resource(self, number: int) -> int | None:
        return self._job.resource

    def trial_start_resource(self, number: int) -> int:
        return self._job.start_resource

    def trial_state(self, number: int) -> TrialState:
        return TrialState(self._read("trial_state"))

    def trial_value(self, number: int) -> float | None:
        value: float | None = self._read("trial_value")
        return value

    def trial_values(self, number: int) -> tuple[float, ...] | None:
        values = self._read("trial_values")
        return None if values is None else tuple(values)

    def trial_constraints(self, number: int) -> tuple[float, ...] | None:
        constraints = self._read("trial_constraints")
        return None if constraints is None else tuple(constraints)

    def trial_reports(self, number: int) -> dict[int, Any]:
        return _by_key(self._read("trial_reports"))

    def trial_metrics(self, number: int) -> dict[str, float]:
        return dict(self._read("trial_metrics"))

    def trial_error(self, number: int) -> str | None:
        error: str | None = self._read("trial_error")
        return error

    def trial_times(self, number: int) -> tuple[float, float, float]:
        start, end, duration = self._read("trial_times")
        return start, end, duration

    def trial_fork(self, number: int) -> tuple[int, int, int, int] | None:
        fork = self._read("trial_fork")
        return None if fork is None else tuple(fork)

    def trial_rungs(self, number: int) -> dict[int, Any]:
        return _by_key(self._read("trial_rungs"))

    def trial_checkpoint_dir(self, number: int) -> Path:
        directory = Path(self._read("trial_checkpoint_dir"))
        directory.mkdir(parents=True, exist_ok=True)  # where another machine does not see the study's
        return directory

    def _read(self, name: str) -> Any:
        self._still_on()
        return self._line.request([Says.READ, name])


def _by_key(read: dict[int, Any]) -> dict[int, Any]:
    """Values as the study has them: of several objectives tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}
