"""What is noted down with a study and its trials: anything while the study object lives, JSON for longer."""

from __future__ import annotations

import json
from typing import Any

from fasthpo.compat.optuna.logging import get_logger
from fasthpo.study.study import Study
from fasthpo.values import element

CONSTRAINT = "constraint:"  # attributes of a trial that begin so are numbers, at most 0 where a limit is kept
_SYSTEM = "system:"  # names of attributes of the study that are not the user's


class Notes:
    """The attributes of a study and of its trials.

    Args:
        study: keeps what is JSON.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._objects: dict[tuple[int | None, str], Any] = {}  # as they were given, where JSON has them otherwise

    def of_study(self, system: bool) -> dict[str, Any]:
        """The user's attributes of the study, or the other ones."""
        stored = self._study.attributes
        kept = {
            name.removeprefix(_SYSTEM): value for name, value in stored.items() if name.startswith(_SYSTEM) == system
        }
        more = {
            name.removeprefix(_SYSTEM): value
            for (number, name), value in self._objects.items()
            if number is None and name.startswith(_SYSTEM) == system
        }
        return {**kept, **more}

    def set_on_study(self, system: bool, name: str, value: Any) -> None:
        name = _SYSTEM + name if system else name
        is_json, plain = _as_json(value)
        if is_json:
            self._study.set_attribute(name, plain)
        self._remember(None, name, value, is_json, plain)

    def of_trial(self, number: int, scope: str) -> dict[str, Any]:
        """The attributes of a trial whose names begin with a scope, without it."""
        stored = self._study.trial_attributes(number)
        found = {name.removeprefix(scope): value for name, value in stored.items() if name.startswith(scope)}
        if self._objects:
            known = {name for at, name in self._objects if at == number and name.startswith(scope)}
            found.update({name.removeprefix(scope): self._objects[number, name] for name in known})
        return found

    def set_on_trial(self, number: int, scope: str, name: str, value: Any) -> None:
        is_json, plain = _as_json(value)
        if is_json:
            self._study.set_trial_attribute(number, scope + name, plain)
        self._remember(number, scope + name, value, is_json, plain)

    def _remember(self, number: int | None, name: str, value: Any, is_json: bool, plain: Any) -> None:
        if is_json and type(plain) is type(value) and plain == value:
            self._objects.pop((number, name), None)
            return
        self._objects[number, name] = value
        if not is_json and self._study.storage is not None:
            get_logger().warning(
                "The attribute %r is not kept in %s: a %s is no JSON", name, self._study.storage, type(value).__name__
            )


def _as_json(value: Any) -> tuple[bool, Any]:
    """Whether a value can be written as JSON, and what it is then."""
    try:
        return True, json.loads(json.dumps(value, default=element))
    except (TypeError, ValueError, RecursionError):
        return False, None
