"""NSGA-II: the sampler, and the population that it breeds from.

What may enter is a part of the genetic algorithm; its loops are in `kernels/multi_objective/breeding.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.samplers.nsga_ii.sampler import NSGAIISampler as NSGAIISampler
else:

    def __getattr__(name: str) -> Any:
        if name != "NSGAIISampler":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fasthpo.samplers.nsga_ii.sampler import NSGAIISampler

        return NSGAIISampler
