"""A rule and its check: a function that takes what is to be checked, and raises AssertionError if the rule is broken.

A check's docstring is the rule, in plain words, and is what the error says first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fasthpo.errors import InvalidValue

Make = TypeVar("Make", bound=Callable[..., Any])


def require(condition: object, found: str) -> None:
    """Raise AssertionError with what was found, unless the condition holds; also under `python -O`."""
    if not condition:
        raise AssertionError(found)


def rule(check: Callable[[Make], None]) -> Callable[[Make], None]:
    """The check, whose errors say the rule that it is about."""
    words = " ".join((inspect.getdoc(check) or "").split("\n\n")[0].split())

    @functools.wraps(check)
    def checked(make: Make) -> None:
        try:
            check(make)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {words} But {error}") from error
        except Exception as error:
            error.add_note(f"raised while {check.__name__} was checked: {words}")
            raise

    return checked


def run_checks(checks: Iterable[Callable[[Make], None]], make: Make, skip: Iterable[str]) -> None:
    """Run checks one after the other.

    Args:
        checks: to run.
        make: what they take.
        skip: the names of those to leave out.

    Raises:
        AssertionError: a rule is broken.
        InvalidValue: a name in `skip` is no check's.
    """
    named = {check.__name__: check for check in checks}
    left_out = {skip} if isinstance(skip, str) else set(skip)
    if unknown := sorted(left_out - set(named)):
        raise InvalidValue(f"skip must name checks, such as {next(iter(named))!r}, got {unknown[0]!r}")
    for name, check in named.items():
        if name not in left_out:
            check(make)
