"""What is noted down with a study and its trials: anything while the study object lives, JSON for longer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from fasthpo.compat.optuna.logging import get_logger
from fasthpo.errors import InvalidValue
from fasthpo.study.study import Study
from fasthpo.values import as_number, element

CONSTRAINT = "constraint:"  # attributes of a trial that begin so are numbers, at most 0 where a limit is kept
CONSTRAINTS = "constraints"  # the system attribute that has those which a sampler's function returned
_SYSTEM = "system:"  # names of attributes of the study that are not the user's

Objects = dict[tuple[int | None, str], Any]  # by trial, None of the study, and name


class Notes:
    """The attributes of a study and of its trials.

    Args:
        study: keeps what is JSON.
        objects: has those that JSON has otherwise, as they were given.
    """

    def __init__(self, study: Study, objects: Objects) -> None:
        self._study = study
        self._objects = objects

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

    def constraints(self, number: int) -> dict[str, float]:
        """What is known of a trial's constraints by name, which is a number for what a sampler's function returned."""
        returned = self.of_trial(number, "system:").get(CONSTRAINTS) or ()
        return {**{str(i): float(one) for i, one in enumerate(returned)}, **self.of_trial(number, CONSTRAINT)}

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


def as_constraint(value: Any) -> float:
    """A number that is at most 0 where a limit is kept.

    Raises:
        InvalidValue: it is none, or NaN.
    """
    number = as_number("a constraint", value)
    if math.isnan(number):
        raise InvalidValue("a constraint must not be NaN")
    return number


def violation(constraints: Iterable[float]) -> list[float] | None:
    """What a study is told of a trial's constraints: one number, as trials need not have the same ones; None of none.

    Of a trial that breaks some it is by how much in all, which is what samplers go by.
    """
    found = list(constraints)
    broken = [one for one in found if one > 0]
    return [math.fsum(broken) if broken else max(found)] if found else None


def _as_json(value: Any) -> tuple[bool, Any]:
    """Whether a value can be written as JSON, and what it is then."""
    try:
        return True, json.loads(json.dumps(value, default=element))
    except (TypeError, ValueError, RecursionError):
        return False, None
