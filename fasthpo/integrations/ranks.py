"""A trial in a training that runs as several processes: rank 0 reports and decides, and all ranks do the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from fasthpo.errors import InvalidValue, TrialStateError
from fasthpo.trials.trial import takes_one_value

_GO_ON, _STOP, _FAILED = 0.0, 1.0, 2.0


def is_rank_zero() -> bool:
    """Whether this process leads, or is the only one."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def from_rank_zero(number: float, device: torch.device) -> float:
    """The number that rank 0 gave, on every rank; all of them must call it."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return number
    shared = torch.tensor(number, dtype=torch.float64, device=device)
    distributed.broadcast(shared, src=0)
    return float(shared.item())


class SharedTrial:
    """Reports to a trial of which only rank 0 needs to know.

    Args:
        trial: the trial; what other ranks have here is not used, and may be None.
    """

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def check(self) -> None:
        """Raise `InvalidValue` if rank 0 has no trial."""
        if is_rank_zero() and not (hasattr(self._trial, "report") and hasattr(self._trial, "should_prune")):
            raise InvalidValue(f"trial must be a Trial, at least on rank 0, got {self._trial!r}")

    def resource(self, device: torch.device) -> float | None:
        """The epochs that a multi-fidelity strategy gives the trial; None under any other."""
        given = getattr(self._trial, "resource", None) if is_rank_zero() else None
        shared = from_rank_zero(0.0 if given is None else float(given), device)
        return shared or None

    def report(self, value: float, step: int, device: torch.device) -> bool:
        """Report on rank 0; whether the trial should end, the same on all ranks. With several objectives it goes on.

        Raises:
            TrialStateError: on the other ranks, if the report failed on rank 0, where its own error is raised.
        """
        answer, failure = _GO_ON, None
        if is_rank_zero() and takes_one_value(self._trial):
            try:
                self._trial.report(value, step)
                answer = _STOP if self._trial.should_prune() else _GO_ON
            except Exception as error:  # told to the others first, which would wait for ever
                answer, failure = _FAILED, error
        answer = from_rank_zero(answer, device)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame
        if answer == _FAILED:
            raise TrialStateError("the trial can't go on: rank 0 failed to report to it, see its error")
        return answer == _STOP
