"""A study as others are shown it: what it was when it was looked at last, once it is there no more."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from fasthpo.errors import StudyReadOnly
from fasthpo.study.reader import StudyReader
from fasthpo.trials.history import History
from fasthpo.trials.table import TrialTable

_Parts: TypeAlias = tuple[TrialTable, threading.RLock, History]


class Showing(StudyReader):
    """The read side of a study that does not keep it alive, nor its directory locked.

    Args:
        study: the `Study`.
    """

    def __init__(self, study: Any) -> None:
        self._study: weakref.ref[Any] = weakref.ref(study)
        self._seen: _Parts = study.table, study._lock, study._state.history

    def _look(self) -> _Parts:
        study = self._study()
        if study is not None:
            self._seen = study.table, study._lock, study._state.history
        return self._seen

    @property
    def is_gone(self) -> bool:
        """Whether the study is there no more, and nothing changes."""
        return self._study() is None

    @property
    def table(self) -> TrialTable:
        return self._look()[0]

    @property
    def _lock(self) -> threading.RLock:
        return self._look()[1]

    @property
    def attributes(self) -> dict[str, Any]:
        """As of `Study`."""
        return dict(self._look()[2].attributes)

    def trial_attributes(self, number: int) -> dict[str, Any]:
        return self._look()[2].trial_attributes.get(number, {})

    def report(self, number: int, value: float | Sequence[float], step: int) -> NoReturn:
        raise StudyReadOnly(_READ_ONLY)

    def should_prune(self, number: int) -> NoReturn:
        raise StudyReadOnly(_READ_ONLY)

    def trial_start_resource(self, number: int) -> NoReturn:
        raise StudyReadOnly(_READ_ONLY)

    def trial_checkpoint_dir(self, number: int) -> Path:
        raise StudyReadOnly(_READ_ONLY)


_READ_ONLY = "what is shown of a study is for reading its trials only"
