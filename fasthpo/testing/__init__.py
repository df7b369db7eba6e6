"""What a sampler, pruner or strategy of one's own must hold, as checks to run on it, with pytest or without.

Nothing in the library imports this room. Names are looked up when they are first used, as in `fasthpo` itself.

    import pytest, fasthpo.testing

    @pytest.mark.parametrize("check", fasthpo.testing.sampler_checks())
    def test_my_sampler(check):
        check(MySampler)  # or any function of a seed that returns a new one: lambda seed: MySampler(7, seed=seed)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasthpo.system.lazy import lazy_attribute

if TYPE_CHECKING:
    from fasthpo.testing.pruners import check_pruner as check_pruner
    from fasthpo.testing.pruners import pruner_checks as pruner_checks
    from fasthpo.testing.samplers import check_sampler as check_sampler
    from fasthpo.testing.samplers import sampler_checks as sampler_checks
    from fasthpo.testing.strategies import check_strategy as check_strategy
    from fasthpo.testing.strategies import strategy_checks as strategy_checks

_HOME = {
    "check_pruner": "pruners",
    "check_sampler": "samplers",
    "check_strategy": "strategies",
    "pruner_checks": "pruners",
    "sampler_checks": "samplers",
    "strategy_checks": "strategies",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of str, though not a literal)


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for a known one

    def __getattr__(name: str) -> Any:
        return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return __all__
