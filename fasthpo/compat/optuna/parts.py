"""What belongs to one study object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fasthpo.compat.optuna.choices import ObjectChoices
from fasthpo.compat.optuna.notes import Notes
from fasthpo.study.study import Study


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
