"""Which study a pruner follows: what a pruner keeps is about one study's trials, and must not mix with another's."""

from __future__ import annotations

from collections.abc import Iterator

from fasthpo.pruners import builtin
from fasthpo.pruners.base import Claim, Pruner


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
        if part._claim is not None and part._claim is not claim:
            part._claim.lost = part
        part._claim = claim
    return own


def _free(pruner: Pruner, claim: Claim) -> Pruner:
    """The pruner, with no built-in one in it that is under another claim."""
    if type(pruner) not in builtin().values():
        return pruner
    options = pruner.options()
    free = {name: _free(value, claim) if isinstance(value, Pruner) else value for name, value in options.items()}
    if pruner._claim in (None, claim) and all(free[name] is options[name] for name in options):
        return pruner
    return type(pruner)(**free)


def _with_those_inside(pruner: Pruner, seen: set[int]) -> Iterator[Pruner]:
    """The pruner and, at any depth, those among its attributes, alone or in a list, tuple, set or dict."""
    if id(pruner) in seen:
        return
    seen.add(id(pruner))
    yield pruner
    for value in list(getattr(pruner, "__dict__", {}).values()):
        several = value.values() if isinstance(value, dict) else value
        for one in list(several) if isinstance(value, (dict, list, tuple, set, frozenset)) else [value]:
            if isinstance(one, Pruner):
                yield from _with_those_inside(one, seen)
