"""Choices that are no plain values, such as lists and classes: a study keeps a label of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.asking import choice_parameter
from fasthpo.space.choice_values import as_choice
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
        if not listed or all(map(is_plain, listed)):
            raise
    return choice_parameter([label_of(i, one) for i, one in enumerate(listed)]), listed


def label_of(place: int, choice: Any) -> str:
    """What stands for a choice in a study's files: the same in every process."""
    text = getattr(choice, "__qualname__", None) or repr(choice)
    return f"{place}: {type(choice).__name__ if ' at 0x' in text else text}"


class ObjectChoices:
    """The choices of a study's parameters that are no plain values; known while the study object lives."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Any, ...]] = {}
        self._given: dict[int, dict[str, Any]] = {}  # of trials that wait, before it was known of what

    def learn(self, name: str, objects: tuple[Any, ...] | None) -> None:
        """A parameter has these choices; None: plain ones."""
        if objects is not None:
            self._of[name] = objects

    def of(self, name: str) -> tuple[Any, ...] | None:
        """The choices of a parameter; None if they are plain, or not known."""
        return self._of.get(name)

    def plain(self, name: str, value: Any) -> Any:
        """What a study keeps of a value."""
        objects = self._of.get(name)
        return value if objects is None or value not in objects else label_of(objects.index(value), value)

    def object(self, name: str, value: Any) -> Any:
        """The value that a study keeps as this one."""
        objects = self._of.get(name, ())
        return next((one for i, one in enumerate(objects) if label_of(i, one) == value), value)

    def give(self, number: int, params: dict[str, Any]) -> None:
        """A trial that waits is to have these values, which are no plain ones."""
        if params:
            self._given[number] = params

    def given(self, number: int) -> dict[str, Any]:
        """What it is to have."""
        return self._given.get(number, {})


def is_plain(value: Any) -> bool:
    """Whether a value can be kept as it is."""
    try:
        as_choice(value)
    except InvalidSearchSpace:
        return False
    return True
