"""What is noted down with a study and with its trials, as one JSON object, which is how files have it."""

from __future__ import annotations

from typing import Any

from fasthpo.errors import CorruptCheckpoint
from fasthpo.trials.history import History

RESERVED = "fasthpo:"  # names of a study's attributes that begin so are not the user's
_TRIALS = RESERVED + "trials"
_REWRITTEN = RESERVED + "rewritten"


def notes_of(history: History) -> dict[str, Any]:
    """The attributes of a study, and under reserved names those of its trials and the rows that they began with."""
    notes = dict(history.attributes)
    if history.trial_attributes:
        notes[_TRIALS] = {str(number): dict(one) for number, one in history.trial_attributes.items()}
    if history.rewritten_rows:
        notes[_REWRITTEN] = {str(number): list(row) for number, row in history.rewritten_rows.items()}
    return notes


def take_notes(history: History, notes: dict[str, Any]) -> None:
    """Give a history what `notes_of` another one was.

    Raises:
        CorruptCheckpoint: it does not go with the trials.
    """
    for name, value in notes.items():
        if not name.startswith(RESERVED):
            history.attributes[name] = value
            continue
        if name not in (_TRIALS, _REWRITTEN) or type(value) is not dict:
            raise CorruptCheckpoint(f"the attribute {name!r} is none that is known")
        for key, one in value.items():
            if not key.isdecimal() or int(key) >= len(history.table):
                raise CorruptCheckpoint(f"there are attributes of {key!r:.60}, which is no trial")
            if name == _TRIALS and type(one) is dict:
                history.trial_attributes[int(key)] = one
            elif name == _REWRITTEN and type(one) is list and all(type(x) is float for x in one):
                history.rewritten_rows[int(key)] = one
            else:
                raise CorruptCheckpoint(f"the attributes of trial {key} are not as they must be")
