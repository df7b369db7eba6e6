"""Schedules: which parameters a model was trained with, and for how long, over all the trials of its lineage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

from fasthpo.errors import InvalidValue
from fasthpo.space.choice_values import choice_from_json, choice_to_json
from fasthpo.space.parameter import Value
from fasthpo.storage.atomic import storage_errors, write_text
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.table import TrialTable
from fasthpo.values import element, shown

_FORMAT, _VERSION = "fasthpo-schedule", 1
_LARGEST = 2**53


class SchedulePiece(NamedTuple):
    """Parameters that hold for a while.

    Attributes:
        start, end: from which resource to which, such as epochs done.
        trial: the number of the trial that had them.
        params: by name.
    """

    start: int
    end: int
    trial: int
    params: dict[str, Value]


@dataclass(frozen=True)
class Schedule(Sequence[SchedulePiece]):
    """Parameters as a function of the resource, constant in pieces that follow one another from 0 on.

    Args:
        pieces: at least one; each begins where the one before ends.

    Raises:
        InvalidValue: they are no such pieces.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.PopulationTraining(8, population=4, interval=2, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"rate": fasthpo.LogUniform(0.01, 1.0)}, strategy=strategy)
        >>> while (trial := study.ask_within()) is not None:
        ...     state = study.tell(trial, abs(trial["rate"] - 0.1) + 1 / trial.resource)
        >>> schedule = study.schedule()
        >>> schedule[0].start, schedule[-1].end, schedule[-1].trial == study.best_trial.number
        (0, 8, True)
        >>> schedule.at(7) == study.best_params
        True
    """

    pieces: tuple[SchedulePiece, ...]

    def __post_init__(self) -> None:
        end = 0
        for piece in self.pieces:
            if piece.start != end or piece.end <= piece.start:
                raise InvalidValue(
                    "the pieces of a schedule must follow one another from 0 on, got "
                    f"{[(one.start, one.end) for one in self.pieces]}"
                )
            end = piece.end
        if not self.pieces:
            raise InvalidValue("a schedule must have at least one piece, got none")

    def __len__(self) -> int:
        return len(self.pieces)

    @overload
    def __getitem__(self, index: int) -> SchedulePiece: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[SchedulePiece, ...]: ...
    def __getitem__(self, index: int | slice) -> SchedulePiece | tuple[SchedulePiece, ...]:
        return self.pieces[index]

    def __iter__(self) -> Iterator[SchedulePiece]:
        return iter(self.pieces)

    def at(self, resource: float) -> dict[str, Value]:
        """The parameters to train with after so much was trained, such as epochs done; from the end on the last ones.

        Raises:
            InvalidValue: it is negative.
        """
        if not resource >= 0:
            raise InvalidValue(f"resource must not be negative, got resource={shown(resource)}")
        return dict(next((one.params for one in self.pieces if resource < one.end), self.pieces[-1].params))

    # --- as JSON

    def to_dict(self) -> dict[str, Any]:
        """The schedule in plain JSON values; `from_dict` reads it."""
        pieces = []
        for start, end, trial, params in self.pieces:
            plain = {name: choice_to_json(value) for name, value in params.items()}
            pieces.append({"start": start, "end": end, "trial": trial, "params": plain})
        return {"format": _FORMAT, "version": _VERSION, "pieces": pieces}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The schedule that `to_dict` described.

        Raises:
            InvalidValue: it describes none.
        """
        try:
            if (fields["format"], fields["version"]) != (_FORMAT, _VERSION):
                raise ValueError(f"its format is {fields['format']!r:.60}, version {fields['version']!r:.60}")
            pieces = tuple(_piece(one) for one in fields["pieces"])
        except KeyError as error:
            raise InvalidValue(f"not a schedule of fasthpo: it has no {error!s:.60}") from error
        except (TypeError, ValueError) as error:
            raise InvalidValue(f"not a schedule of fasthpo: {error!s:.300}") from error
        return cls(pieces)

    def to_json(self, path: str | Path) -> Path:
        """Write the schedule to a JSON file; the path.

        Raises:
            StorageError: it can't be written.
        """
        path = given_path("path", path)
        with storage_errors(f"{path} can't be written"):
            write_text(absolute(path), json.dumps(self.to_dict(), indent=2) + "\n")
        return path

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """The schedule in a file that `to_json` wrote.

        Raises:
            InvalidValue: the file holds none.
            OSError: it can't be read.
        """
        text = given_path("path", path).read_bytes()
        try:
            fields = json.loads(text)
            return cls.from_dict(fields)
        except InvalidValue as error:
            raise InvalidValue(f"{path}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"{path}: not a schedule of fasthpo, as it is no JSON: {error!s:.300}") from error


def _piece(fields: Any) -> SchedulePiece:
    start, end, trial = (element(fields[name]) for name in ("start", "end", "trial"))
    if any(type(one) is not int or not 0 <= one <= _LARGEST for one in (start, end, trial)):
        raise ValueError(f"start, end and trial must be integers that are not negative, got {start}, {end}, {trial}")
    return SchedulePiece(
        start, end, trial, {str(name): choice_from_json(one) for name, one in fields["params"].items()}
    )


def schedule_of(table: TrialTable, number: int, params_of: Callable[[int], dict[str, Value]], reached: int) -> Schedule:
    """With which parameters the weights of a trial were trained.

    Args:
        table: the trials.
        number: of the trial.
        params_of: the parameters with which a trial began.
        reached: how far it was trained.

    Raises:
        InvalidValue: the trial was not trained under a strategy that says how far, or not yet told a value.
    """
    end = reached
    if not end:
        raise InvalidValue(
            f"trial {number} has no schedule: one needs a value that was told under PopulationTraining, or another "
            "strategy that says how far to train"
        )
    pieces: list[SchedulePiece] = []
    while True:
        fork = table.lineage.of(number)
        start = 0 if fork is None else fork.step
        if end > start:
            pieces.append(SchedulePiece(start, end, number, params_of(number)))
        if fork is None or fork.parent == NO_PARENT:
            return Schedule(tuple(reversed(pieces)))
        number, end = fork.parent, start
