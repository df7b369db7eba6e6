"""What belongs to one study object."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fasthpo.compat.optuna.choices import ObjectChoices
from fasthpo.compat.optuna.notes import Notes, Objects
from fasthpo.study.study import Study

_kept: weakref.WeakKeyDictionary[Study, tuple[ObjectChoices, Objects]] = weakref.WeakKeyDictionary()


def objects_of(study: Study) -> tuple[ObjectChoices, Objects]:
    """What a study can't keep itself: choices and attributes as they were given, for all that have it open here."""
    return _kept.setdefault(study, (ObjectChoices(), {}))


@dataclass(frozen=True)
class Parts:
    """What a study object, its trials and its runs share.

    Attributes:
        own: fasthpo's study.
        notes: what is noted down with it and its trials.
        objects: choices that are no plain values.
        fixed: parameters that have the same value in all trials.
    """

    own: Study
    notes: Notes
    objects: ObjectChoices
    fixed: Mapping[str, Any]
