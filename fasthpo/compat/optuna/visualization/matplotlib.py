"""The same pictures as Matplotlib's axes, as `optuna.visualization.matplotlib` returns them."""

from __future__ import annotations

from typing import Any

from fasthpo.compat.optuna.visualization import drawing
from fasthpo.compat.optuna.visualization.drawing import is_available

_NAMES = (
    "plot_contour", "plot_edf", "plot_hypervolume_history", "plot_intermediate_values", "plot_optimization_history",
    "plot_parallel_coordinate", "plot_param_importances", "plot_pareto_front", "plot_slice", "plot_timeline",
)  # fmt: skip

__all__ = ["is_available", *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def draw(*arguments: Any, **options: Any) -> Any:
        axes = getattr(drawing, name)(*arguments, **options).figure.axes
        return axes[0] if len(axes) == 1 else axes

    return draw
