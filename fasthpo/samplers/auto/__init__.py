"""The sampler for every space and every budget: which of the others makes a suggestion, and the branches of a space.

What stands here chooses, and asks `TPESampler` and CMA-ES's `Evolution`; it stores nothing of which was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.samplers.auto.sampler import AutoSampler as AutoSampler
else:

    def __getattr__(name: str) -> Any:
        if name != "AutoSampler":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fasthpo.samplers.auto.sampler import AutoSampler

        return AutoSampler
