"""Choices that are no plain values, such as tuples and classes: a study keeps a label of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.asking import choice_parameter
from fasthpo.space.parameter import Parameter


def parameter_of_choices(choices: Sequence[Any]) -> tuple[Parameter, tuple[Any, ...] | None]:
    """The parameter of choices of any type, and the choices themselves where it has labels of them; else None.

    Raises:
        InvalidSearchSpace: there is none, or the same one twice.
    """
    listed = tuple(choices)
    try:
        return choice_parameter(listed), None
    except InvalidSearchSpace:
        if not listed or all(one is None or isinstance(one, (str, bool, int)) for one in listed):
            raise
    return choice_parameter([label_of(i, one) for i, one in enumerate(listed)]), listed


def label_of(place: int, choice: Any) -> str:
    """What stands for a choice in a study's files: the same in every process."""
    text = getattr(choice, "__qualname__", None) or repr(choice)
    return f"{place}: {type(choice).__name__ if ' at 0x' in text else text}"
