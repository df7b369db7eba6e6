"""Samplers: where to look next. One sampler a file, and one that has parts of its own a folder.

Beside them stands what several use: the order and the ranks of trials, spaces as the kernels take them, the Gaussian
process. What may enter learns from the trials' columns only, and depends on (seed, draw) and on nothing else.
"""

from __future__ import annotations

from fasthpo.samplers.base import Sampler


def builtin() -> dict[str, type[Sampler]]:
    """The built-in samplers by the name that checkpoints use."""
    from fasthpo.samplers.auto import AutoSampler
    from fasthpo.samplers.cma_es import CmaEsSampler
    from fasthpo.samplers.grid import GridSampler
    from fasthpo.samplers.nsga_ii import NSGAIISampler
    from fasthpo.samplers.qmc import QMCSampler
    from fasthpo.samplers.random import RandomSampler
    from fasthpo.samplers.tpe import TPESampler

    kinds: tuple[type[Sampler], ...] = (
        RandomSampler,
        GridSampler,
        QMCSampler,
        TPESampler,
        CmaEsSampler,
        AutoSampler,
        NSGAIISampler,
    )
    return {str(kind.name): kind for kind in kinds}
