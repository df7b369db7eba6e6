"""Whether the parts that a study is to be made of go with each other, with its objectives and its space."""

from __future__ import annotations

from fasthpo import samplers, strategies
from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.base import Strategy
from fasthpo.values import shown


def check_parts(sampler: object, strategy: object, pruner: object) -> None:
    """Make sure that these are what they must be; each may be None.

    Raises:
        InvalidValue: one is something else.
    """
    check_type("sampler", sampler, Sampler, "TPESampler()")
    check_type("strategy", strategy, Strategy, "Hyperband(max_resource=81)")
    check_type("pruner", pruner, Pruner, "MedianPruner()")


def check_objectives(count: int, sampler: Sampler, strategy: Strategy | None, pruner: Pruner | None) -> None:
    """Make sure that the parts can work on so many objectives.

    Raises:
        InvalidValue: one can't.
    """
    if getattr(sampler, "cost_aware", False) and (count > 1 or (strategy is not None and strategy.is_multi_fidelity)):
        what = f"{count} directions" if count > 1 else type(strategy).__name__
        raise InvalidValue(
            f"cost_aware=True is for one objective, and for trials that are trained in full, got it with {what}"
        )
    if count == 1:
        return
    if not sampler.has_several_objectives:
        able = [kind.__name__ for kind in samplers.builtin().values() if kind.has_several_objectives]
        raise InvalidValue(
            f"{type(sampler).__name__} works on one objective, got {count} directions; samplers that work on several "
            f"are {', '.join(able)}"
        )
    if strategy is not None and strategy.is_multi_fidelity and not strategy.has_several_objectives:
        named = ", ".join(kind.__name__ for kind in strategies.builtin().values())
        raise InvalidValue(
            f"{type(strategy).__name__} works on one objective, got {count} directions; strategies that work on "
            f"several are {named}"
        )
    if pruner is not None and not pruner.has_several_objectives:
        raise InvalidValue(
            f"{shown(pruner)} works on one objective, got {count} directions; pruners that work on several are "
            "MedianPruner and PercentilePruner, with pool='all', and SuccessiveHalvingPruner"
        )


def check_noisy(noisy: bool, space: SearchSpace, count: int, strategy: Strategy | None) -> None:
    """Make sure that points can be evaluated again, if that is wanted.

    Raises:
        InvalidValue: they can't be.
    """
    several, is_multi_fidelity = count > 1, strategy is not None and strategy.is_multi_fidelity
    if noisy and (several or is_multi_fidelity or space.is_open):
        what = f"{count} directions" if several else type(strategy).__name__ if is_multi_fidelity else "no space"
        raise InvalidValue(
            "noisy=True is for one objective, a space that is given, and trials that are trained in full, got it with "
            f"{what}"
        )


def check_type(what: str, value: object, kind: type, example: str) -> None:
    if value is not None and not isinstance(value, kind):
        hint = f": call it, {value.__name__}(...)" if isinstance(value, type) and issubclass(value, kind) else ""
        raise InvalidValue(f"{what} must be a {kind.__name__}, such as {example}, got {shown(value)}{hint}")
