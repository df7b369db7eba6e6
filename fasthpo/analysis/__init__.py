"""What a study found, as small arrays: whoever draws it, in whatever library, has little to draw.

Each function takes a study, also one that was loaded with `read_only=True`, and returns a tuple of names and arrays of
at most some thousand entries, however many trials there are. Names are looked up when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasthpo.system.lazy import lazy_attribute

if TYPE_CHECKING:
    from fasthpo.analysis.curves import learning_curves as learning_curves
    from fasthpo.analysis.distributions import edf as edf
    from fasthpo.analysis.failed import failures as failures
    from fasthpo.analysis.fronts import hypervolume_history as hypervolume_history
    from fasthpo.analysis.fronts import pareto_front as pareto_front
    from fasthpo.analysis.halving import rungs as rungs
    from fasthpo.analysis.importances import importance as importance
    from fasthpo.analysis.parameters import contour as contour
    from fasthpo.analysis.parameters import durations as durations
    from fasthpo.analysis.parameters import parallel_coordinates as parallel_coordinates
    from fasthpo.analysis.parameters import slices as slices
    from fasthpo.analysis.populations import lineages as lineages
    from fasthpo.analysis.progress import front_gains as front_gains
    from fasthpo.analysis.progress import gains as gains
    from fasthpo.analysis.progress import history as history
    from fasthpo.analysis.workers import timeline as timeline

_HOME = {
    "contour": "parameters",
    "durations": "parameters",
    "edf": "distributions",
    "failures": "failed",
    "front_gains": "progress",
    "gains": "progress",
    "history": "progress",
    "hypervolume_history": "fronts",
    "importance": "importances",
    "learning_curves": "curves",
    "lineages": "populations",
    "parallel_coordinates": "parameters",
    "pareto_front": "fronts",
    "rungs": "halving",
    "slices": "parameters",
    "timeline": "workers",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of str, though not a literal)


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for a known one

    def __getattr__(name: str) -> Any:
        return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return __all__
