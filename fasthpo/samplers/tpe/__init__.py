"""TPE: the sampler, and its model of the trials in parts; which they are is looked up when they are first used.

What may enter is a part of the model that no other sampler has; what others use, too, stands beside this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.samplers.tpe.sampler import TPESampler as TPESampler
else:

    def __getattr__(name: str) -> Any:
        if name != "TPESampler":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fasthpo.samplers.tpe.sampler import TPESampler

        return TPESampler
