"""Samplers: where to look next. One sampler a file."""

from __future__ import annotations

from fasthpo.samplers.base import Sampler


def builtin() -> dict[str, type[Sampler]]:
    """The built-in samplers by the name that checkpoints use."""
    from fasthpo.samplers.cma_es import CmaEsSampler
    from fasthpo.samplers.grid import GridSampler
    from fasthpo.samplers.qmc import QMCSampler
    from fasthpo.samplers.random import RandomSampler
    from fasthpo.samplers.tpe import TPESampler

    kinds: tuple[type[Sampler], ...] = (RandomSampler, GridSampler, QMCSampler, TPESampler, CmaEsSampler)
    return {str(kind.name): kind for kind in kinds}
