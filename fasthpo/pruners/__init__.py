"""Pruners: when to give a trial up. One pruner a file."""

from __future__ import annotations

from fasthpo.pruners.base import Pruner


def builtin() -> dict[str, type[Pruner]]:
    """The built-in pruners by the name that checkpoints use."""
    from fasthpo.pruners.median import MedianPruner
    from fasthpo.pruners.percentile import PercentilePruner

    kinds: tuple[type[Pruner], ...] = (MedianPruner, PercentilePruner)
    return {str(kind.name): kind for kind in kinds}
