"""CMA-ES: the sampler, and the search distribution that it draws from.

What may enter is a part of the evolution strategy; its equations are in `kernels/cma_es.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.samplers.cma_es.sampler import CmaEsSampler as CmaEsSampler
else:

    def __getattr__(name: str) -> Any:
        if name != "CmaEsSampler":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fasthpo.samplers.cma_es.sampler import CmaEsSampler

        return CmaEsSampler
