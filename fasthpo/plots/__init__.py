"""Pictures of what a study found, drawn by matplotlib. Needs `fasthpo[plots]`.

Each function takes a study, also one that was loaded with `read_only=True`, and returns a `matplotlib.figure.Figure`.
It is made without pyplot: it works without a display, nothing is left behind, and `figure.savefig(path)` writes it.
A notebook shows it. matplotlib is imported when a function is first called.

    fasthpo.plots.history(study).savefig("history.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasthpo.system.lazy import lazy_attribute

if TYPE_CHECKING:
    from fasthpo.plots.comparing import edf as edf
    from fasthpo.plots.comparing import importance as importance
    from fasthpo.plots.fronts import hypervolume_history as hypervolume_history
    from fasthpo.plots.fronts import pareto_front as pareto_front
    from fasthpo.plots.parameters import contour as contour
    from fasthpo.plots.parameters import durations as durations
    from fasthpo.plots.parameters import parallel_coordinates as parallel_coordinates
    from fasthpo.plots.parameters import slices as slices
    from fasthpo.plots.populations import lineages as lineages
    from fasthpo.plots.progress import history as history
    from fasthpo.plots.progress import learning_curves as learning_curves
    from fasthpo.plots.running import rungs as rungs
    from fasthpo.plots.running import timeline as timeline

_HOME = {
    "contour": "parameters",
    "durations": "parameters",
    "edf": "comparing",
    "history": "progress",
    "hypervolume_history": "fronts",
    "importance": "comparing",
    "learning_curves": "progress",
    "lineages": "populations",
    "parallel_coordinates": "parameters",
    "pareto_front": "fronts",
    "rungs": "running",
    "slices": "parameters",
    "timeline": "running",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of str, though not a literal)


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for a known one

    def __getattr__(name: str) -> Any:
        return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return __all__
