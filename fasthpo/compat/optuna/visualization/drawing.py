"""Optuna's functions that draw a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fasthpo import plots
from fasthpo.compat.optuna.frozen import FrozenTrial, TrialState
from fasthpo.compat.optuna.study import Study
from fasthpo.compat.optuna.visualization.picture import Picture
from fasthpo.errors import InvalidValue

Target = Callable[[FrozenTrial], float] | None


def is_available() -> bool:
    """Whether pictures can be drawn: matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def plot_optimization_history(
    study: Study | Sequence[Study], *, target: Target = None, target_name: str = "", error_bar: bool = False
) -> Picture:
    one = _only(study)
    return Picture(plots.history(one.own, objective_of(one, target)))


def plot_intermediate_values(study: Study) -> Picture:
    return Picture(plots.learning_curves(study.own))


def plot_parallel_coordinate(
    study: Study, params: list[str] | None = None, *, target: Target = None, target_name: str = ""
) -> Picture:
    return Picture(plots.parallel_coordinates(study.own, params, objective_of(study, target)))


def plot_contour(
    study: Study, params: list[str] | None = None, *, target: Target = None, target_name: str = ""
) -> Picture:
    """Of the first two parameters that are named, or of the two that matter most."""
    x, y = (None, None) if params is None or len(params) < 2 else params[:2]
    return Picture(plots.contour(study.own, x, y, objective_of(study, target)))


def plot_slice(
    study: Study, params: list[str] | None = None, *, target: Target = None, target_name: str = ""
) -> Picture:
    return Picture(plots.slices(study.own, params, objective_of(study, target)))


def plot_param_importances(
    study: Study,
    evaluator: Any = None,
    params: list[str] | None = None,
    *,
    target: Target = None,
    target_name: str = "",
) -> Picture:
    method = getattr(evaluator, "method", "fanova")
    return Picture(plots.importance(study.own, method, objective_of(study, target), params))


def plot_edf(study: Study | Sequence[Study], *, target: Target = None, target_name: str = "") -> Picture:
    several = [study] if isinstance(study, Study) else list(study)
    named = {one.study_name: one.own for one in several}
    return Picture(plots.edf(named, objective_of(several[0], target)))


def plot_pareto_front(study: Study, *, targets: Any = None, **options: Any) -> Picture:
    """With more than two objectives, of all pairs of them."""
    return Picture(plots.pareto_front(study.own))


def plot_hypervolume_history(study: Study, reference_point: Sequence[float]) -> Picture:
    return Picture(plots.hypervolume_history(study.own, reference_point))


def plot_timeline(study: Study, **options: Any) -> Picture:
    return Picture(plots.timeline(study.own))


def _only(study: Study | Sequence[Study]) -> Study:
    if isinstance(study, Study):
        return study
    several = list(study)
    if len(several) != 1:
        raise InvalidValue(f"a history is drawn of one study, got {len(several)}; see fasthpo.plots.edf for several")
    return several[0]


def objective_of(study: Study, target: Target) -> int:
    """Which objective a target is: pictures are of objectives.

    Raises:
        InvalidValue: it is none of them, or there are several and it is not said which.
    """
    count = len(study.directions)
    if target is None:
        if count > 1:
            raise InvalidValue("with several objectives say which one: target=lambda trial: trial.values[0]")
        return 0
    trials = study.get_trials(False, (TrialState.COMPLETE,))
    for k in range(count):
        if all(trial.values is not None and target(trial) == trial.values[k] for trial in trials):
            return k
    raise InvalidValue("a target must be one of the objectives, such as lambda trial: trial.values[0]")
