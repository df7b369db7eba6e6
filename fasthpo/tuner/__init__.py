"""The tuner: runs an objective through a study; what goes into a run, and what comes out of it.

What stands here is about whole runs: their configuration, callbacks, progress, results and files for people. `from
fasthpo.tuner import HyperparameterTuner` works as well as `fasthpo.HyperparameterTuner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.tuner.tuner import HyperparameterTuner as HyperparameterTuner

__all__ = ["HyperparameterTuner"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name != "HyperparameterTuner":
            raise AttributeError(f"module 'fasthpo.tuner' has no attribute {name!r}")
        from fasthpo.tuner.tuner import HyperparameterTuner

        return HyperparameterTuner
