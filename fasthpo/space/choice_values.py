"""What a choice can be, which choices are the same, and how JSON keeps them.

A choice is data: a string, a boolean, an integer, a float, None, or a tuple or frozenset of these, nested as deeply as
wanted. JSON has a tuple as a list, which no choice is; what it lacks is an object of one entry:

    (3, (1, "a"))          [3, [1, "a"]]
    nan, inf, -inf         {"float": "nan"}, {"float": "inf"}, {"float": "-inf"}
    frozenset({1, 2})      {"frozenset": [1, 2]}
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.values import element, shown

SCALARS = (str, bool, int, float, type(None))
_LARGEST = int(sys.float_info.max)
_MOST_NESTED = 50  # tuples in each other
_WAYS_OUT = {
    list: "make it a tuple",
    set: "make it a frozenset",
    dict: "make it a tuple of pairs",
}


def as_choice(value: Any, depth: int = 0) -> Any:
    """A value as plain data: a NumPy scalar becomes a number, a named tuple a tuple.

    Raises:
        InvalidSearchSpace: it is no data of the kinds that a choice can be.
    """
    # an enumeration's member would come back from a file as something else
    found = value if isinstance(value, Enum) else element(value)
    if type(found) in SCALARS:
        if type(found) is int and abs(found) > _LARGEST:
            raise InvalidSearchSpace(f"a choice must be finite, got {shown(found)}")
        return found
    if isinstance(found, (tuple, frozenset)) and not isinstance(found, Enum):
        if depth >= _MOST_NESTED:
            raise InvalidSearchSpace(f"a choice is nested at most {_MOST_NESTED} levels deep, got {shown(value)}")
        inside = [as_choice(one, depth + 1) for one in found]
        return tuple(inside) if isinstance(found, tuple) else frozenset(inside)
    way_out = next(
        (hint for kind, hint in _WAYS_OUT.items() if isinstance(found, kind)),
        "use a string and look the object up in your objective",
    )
    raise InvalidSearchSpace(
        "a choice must be a str, bool, int, float or None, or a tuple or frozenset of these, "
        f"got {shown(value)} of type {type(value).__name__}; {way_out}"
    )


def choice_key(choice: Any, exactly: bool = True) -> Any:
    """What is equal for the same choices only: 1, 1.0 and True are three, and nan is one.

    Args:
        choice: made by `as_choice`.
        exactly: tell 1 from 1.0, but not from True.
    """
    if isinstance(choice, tuple):
        return tuple, tuple(choice_key(one, exactly) for one in choice)
    if isinstance(choice, frozenset):
        return frozenset, frozenset(choice_key(one, exactly) for one in choice)
    kind = type(choice)
    if kind is float and choice != choice:
        return float, "nan"
    if not exactly and kind is int:
        return float, choice
    return kind, choice


def choice_to_json(choice: Any) -> Any:
    """A choice in plain JSON values."""
    if isinstance(choice, tuple):
        return [choice_to_json(one) for one in choice]
    if isinstance(choice, frozenset):
        # in an order that does not differ from run to run
        return {"frozenset": [choice_to_json(one) for one in sorted(choice, key=lambda one: repr(choice_to_json(one)))]}
    if isinstance(choice, float) and not math.isfinite(choice):
        return {"float": repr(choice)}
    return choice


def is_plain_json(choice: Any) -> bool:
    """Whether JSON has a choice as it is: a string, a boolean, a finite number or None."""
    return isinstance(choice, SCALARS) and choice_to_json(choice) is choice


def choice_from_json(value: Any, depth: int = 0) -> Any:
    """The choice that `choice_to_json` wrote; anything that it has not written, unchanged."""
    if depth > _MOST_NESTED:
        return value
    if isinstance(value, (list, tuple)):
        return tuple(choice_from_json(one, depth + 1) for one in value)
    if isinstance(value, Mapping) and len(value) == 1:
        (kind, inside), *_ = value.items()
        if kind == "float" and inside in ("nan", "inf", "-inf"):
            return float(inside)
        if kind == "frozenset" and isinstance(inside, list):
            members = [choice_from_json(one, depth + 1) for one in inside]
            try:
                return frozenset(members)
            except TypeError:  # of what is no choice
                return value
    return value
