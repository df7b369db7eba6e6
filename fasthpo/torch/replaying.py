"""Training one model with a schedule that a population has found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fasthpo.errors import InvalidParameters, InvalidValue, StorageError
from fasthpo.space.parameter import Parameter, Value
from fasthpo.storage.atomic import storage_errors
from fasthpo.study.schedule import Schedule, SchedulePiece
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.trial import NOTED, Trial, TrialState
from fasthpo.values import shown


class _Replayed:
    """What a trial's handle reads while a piece of a schedule is trained; a `TrialSource`."""

    def __init__(self, piece: SchedulePiece, before: SchedulePiece | None, directory: Path) -> None:
        self._piece = piece
        self._before = before
        self._directory = directory
        self._reports: dict[int, Any] = {}
        self._attributes: dict[str, Any] = {}

    @property
    def directions(self) -> tuple[str, ...]:
        return ("minimize",)

    @property
    def learns_space(self) -> bool:
        return False

    def suggest(self, number: int, name: str, parameter: Parameter) -> Value:
        if name not in self._piece.params:
            raise InvalidParameters(f"the schedule has no parameter {name!r}, only {list(self._piece.params)}")
        return self._piece.params[name]

    def set_trial_attribute(self, number: int, name: str, value: Any) -> None:
        self._attributes[name] = value

    def trial_attributes(self, number: int) -> dict[str, Any]:
        return {NOTED + name: value for name, value in self._attributes.items()}

    def __len__(self) -> int:
        return self._piece.trial + 1

    def trial_params(self, number: int) -> dict[str, Value]:
        return dict(self._piece.params)

    def trial_original_params(self, number: int) -> dict[str, Value]:
        return self.trial_params(number)

    def trial_is_outside(self, number: int) -> bool:
        return False

    def trial_state(self, number: int) -> TrialState:
        return TrialState.RUNNING

    def _nothing(self, number: int) -> None:
        return None

    trial_value = trial_values = trial_constraints = trial_error = _nothing

    def trial_reports(self, number: int) -> dict[int, Any]:
        return dict(sorted(self._reports.items()))

    def trial_metrics(self, number: int) -> dict[str, float]:
        return {}

    def trial_times(self, number: int) -> tuple[float, float, float]:
        return float("nan"), float("nan"), float("nan")

    def trial_resource(self, number: int) -> int | None:
        return self._piece.end

    def trial_start_resource(self, number: int) -> int:
        return self._piece.start

    def trial_fork(self, number: int) -> tuple[int, int, int, int] | None:
        return 0, 0, -1 if self._before is None else self._before.trial, self._piece.start

    def trial_rungs(self, number: int) -> dict[int, Any]:
        return {}

    def trial_checkpoint_dir(self, number: int) -> Path:
        return self._directory

    def report(self, number: int, value: float | Sequence[float], step: int) -> None:
        self._reports.setdefault(step, value)

    def should_prune(self, number: int) -> bool:
        return False


def replay(schedule: Schedule, objective: Callable[[Trial], Any], checkpoint_dir: str | Path) -> Any:
    """Train one model from scratch, with the parameters of a schedule; what the objective came to in the end.

    The objective is called once for each piece, as the study has called it: with a trial that has the piece's
    parameters, `start_resource` and `resource`, and `checkpoint_dir`, where it finds what it saved in the piece before.
    Reports go nowhere, and nothing is pruned.

    On the CPU, `fasthpo.torch.Trainer` ends with the very weights of the study's trial, bit by bit, if that is the only
    one of its lineage; else with those of one model that was trained with the whole schedule, whose random numbers (if
    the objective draws some by the trial's number) are not those of all the trials of the lineage.

    Args:
        schedule: such as `study.schedule()`, or `fasthpo.Schedule.from_json(path)`.
        objective: the function that the study was run with.
        checkpoint_dir: an empty directory, or one that is still to be made; the weights stay there.

    Raises:
        InvalidValue: an argument is of the wrong kind, or the directory is not empty.
        StorageError: it can't be made.

    Example:
        >>> import fasthpo, tempfile
        >>> from fasthpo.torch import replay
        >>> schedule = fasthpo.Schedule((fasthpo.SchedulePiece(0, 3, 0, {"rate": 0.5}),))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     replay(schedule, lambda trial: trial["rate"] ** trial.resource, directory)
        0.125
    """
    if not isinstance(schedule, Schedule):
        raise InvalidValue(f"schedule must be a fasthpo.Schedule, such as study.schedule(), got {shown(schedule)}")
    if not callable(objective):
        raise InvalidValue(f"objective must be callable with a trial, got {shown(objective)}")
    directory = absolute(given_path("checkpoint_dir", checkpoint_dir))
    with storage_errors(f"{directory} can't be used"):
        if directory.exists() and not directory.is_dir():
            raise StorageError(None, f"{directory} is no directory")
        directory.mkdir(parents=True, exist_ok=True)
        if os.listdir(directory):
            raise InvalidValue(f"checkpoint_dir must be empty, as the training begins from scratch, got {directory}")
    came_to = None
    for i, piece in enumerate(schedule):
        source = _Replayed(piece, schedule[i - 1] if i else None, directory)
        came_to = objective(Trial(piece.trial, source))
    return came_to
