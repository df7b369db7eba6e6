"""The study: ask, report, tell; its read side, the scheduler that starts its trials, and how it is saved and loaded.

What stands here changes a history, and has everybody who follows it hear of that. `from fasthpo.study import Study`
works as well as `fasthpo.Study`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthpo.study.study import Study as Study

__all__ = ["Study"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name != "Study":
            raise AttributeError(f"module 'fasthpo.study' has no attribute {name!r}")
        from fasthpo.study.study import Study

        return Study
