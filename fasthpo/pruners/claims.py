"""Which study a pruner follows: what a pruner keeps is about one study's trials, and must not mix with another's."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from fasthpo.pruners import builtin
from fasthpo.pruners.base import Claim, Pruner

# by the pruner's id, as pruners may be equal, frozen, or copied with all their attributes
_claims: dict[int, tuple[weakref.ref[Pruner], Claim]] = {}


def _claim_of(pruner: Pruner) -> Claim | None:
    held = _claims.get(id(pruner))
    return held[1] if held is not None and held[0]() is pruner else None


def _hold(pruner: Pruner, claim: Claim) -> None:
    key = id(pruner)

    def forget(dead: weakref.ref[Pruner]) -> None:
        if key in _claims and _claims[key][0] is dead:
            del _claims[key]

    _claims[key] = weakref.ref(pruner, forget), claim


def claimed(pruner: Pruner, claim: Claim) -> Pruner:
    """The pruner that is to follow a study's trials: the one given, or one like it.

    A built-in pruner that follows another study is made again. One of the user's own can't be: it goes to the study
    that claims it last, and the claim that it was under says so (`Claim.lost`).

    Args:
        pruner: the user's, which may ask others.
        claim: the study's.
    """
    own = _free(pruner, claim)
    for part in _with_those_inside(own, set()):
        before = _claim_of(part)
        if before is not None and before is not claim:
            before.lost = part
        _hold(part, claim)
    return own


def any_prunes_by_rank(pruner: Pruner) -> bool:
    """Whether a pruner, or one that it asks, gives up trials that rank low at their step."""
    return any(part.prunes_by_rank for part in _with_those_inside(pruner, set()))


def _free(pruner: Pruner, claim: Claim) -> Pruner:
    """The pruner, with no built-in one in it that is under another claim."""
    if type(pruner) not in builtin().values():
        return pruner
    options = pruner.options()
    free = {name: _free(value, claim) if isinstance(value, Pruner) else value for name, value in options.items()}
    if _claim_of(pruner) in (None, claim) and all(free[name] is options[name] for name in options):
        return pruner
    return type(pruner)(**free)


def _with_those_inside(pruner: Pruner, seen: set[int]) -> Iterator[Pruner]:
    """The pruner and those among its attributes, at any depth, also in lists, tuples, sets and dicts."""
    todo: list[Any] = [pruner]
    while todo:
        one = todo.pop()
        if isinstance(one, Pruner | dict | list | tuple | set | frozenset):
            if id(one) in seen:
                continue
            seen.add(id(one))
        if isinstance(one, Pruner):
            yield one
            todo.extend(getattr(one, "__dict__", {}).values())
        elif isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, list | tuple | set | frozenset):
            todo.extend(one)
