"""Attributes: plain JSON values that a user notes down with a study or a trial."""

from __future__ import annotations

import json
from typing import Any

from fasthpo.errors import InvalidValue
from fasthpo.values import shown

MOST_NESTED = 100  # lists and dicts in each other, in an attribute; Python's limit depends on the caller's depth
_LONGEST = 10**7  # characters of its name and its JSON


def is_flat(value: Any, most: int = MOST_NESTED) -> bool:
    """Whether a JSON value is nested no deeper than can always be written and read again."""
    level = [value]
    for _ in range(most + 1):
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return True
        level = [inside for one in level for inside in (one.values() if isinstance(one, dict) else one)]
    return False


def as_json(name: str, value: Any, most: int = MOST_NESTED) -> Any:
    """A value of an attribute as it comes back from JSON.

    Args:
        name: the attribute's.
        value: None, a bool, int, float or str, or lists and string-keyed dicts of these.
        most: how many lists and dicts may lie in each other.

    Raises:
        InvalidValue: it is none of these, or too large.
    """
    try:
        text = json.dumps(value)
        same = json.loads(text) == value or value != value
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"an attribute must be made of plain JSON values, got {shown(value)}: {error}") from None
    if not same:
        raise InvalidValue(f"an attribute must be made of plain JSON values, got {shown(value)}")
    if len(name) + len(text) > _LONGEST:
        raise InvalidValue(f"an attribute's name and JSON must have at most {_LONGEST} characters, got {shown(value)}")
    if not is_flat(value, most):
        raise InvalidValue(f"an attribute must not be nested more than {most} levels deep, got {shown(value)}")
    return json.loads(text)
