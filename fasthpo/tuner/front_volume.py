"""The hypervolume of a study's front while it runs, to a reference that stays as it is."""

from __future__ import annotations

import time

import numpy as np

from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_FIRST = 10  # completed trials that make the reference
_MOST_OBJECTIVES = 3  # with more, the hypervolume of a long front takes too long
_SHARE = 0.02  # of the time at most is spent on it


class FrontVolume:
    """The hypervolume of a study's front, to the worst values of its first ten completed trials.

    Those are the first that were told finite values, whether they keep the constraints or not; the reference is the
    worst value of each objective among them. So it is known once there are ten, never changes, and is the same when
    the study is resumed; the hypervolume grows whenever the front gains on it, and is what `study.hypervolume` says
    of that reference. With more than three objectives it costs too much, and there is none.

    Args:
        study: the study.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._seen = 0  # trials told that have been looked at
        self._first: list[FloatArray] = []  # losses of the first ten, (m,) each
        self._losses: FloatArray | None = None  # of the front that `_volume` is of
        self._volume = 0.0
        self._next = 0.0  # when it may be computed again

    def reference(self) -> FloatArray | None:
        """The reference, as values (m,); None as long as too few trials have completed."""
        study = self._study
        if len(self._first) < _FIRST:
            with study._lock:
                table = study.table
                order = table.tell_order
                while self._seen < len(order) and len(self._first) < _FIRST:
                    number = int(order[self._seen])
                    if table.state(number) == TrialState.COMPLETE and np.isfinite(table.values[number]).all():
                        self._first.append(table.objectives.losses(table.values[number]))
                    self._seen += 1
        if len(self._first) < _FIRST:
            return None
        return study.table.objectives.losses(
            np.max(self._first, axis=0)
        )  # turned back: the signs are their own inverse

    def now(self, at_once: bool = False) -> float | None:
        """The hypervolume; None if there is none, or no reference yet.

        Args:
            at_once: also if it was computed not long ago for the time that it takes.
        """
        if self._study.table.objectives.count > _MOST_OBJECTIVES or (reference := self.reference()) is None:
            return None
        with self._study._lock:
            losses = self._study.table.front.losses
        begin = time.monotonic()
        if losses is not self._losses and (at_once or begin >= self._next):
            self._volume, self._losses = self._study.hypervolume(reference), losses
            now = time.monotonic()
            self._next = now + (now - begin) / _SHARE
        return self._volume
