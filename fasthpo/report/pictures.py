"""The pictures of the page, as the numbers that its script draws: the analysis layer's arrays, in few digits."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.clouds import Cloud
from fasthpo.analysis.parameters import Slices
from fasthpo.analysis.progress import best_label
from fasthpo.analysis.scales import Scale
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_DIGITS = 5  # of what is drawn; the table has all
_MOST_OBJECTIVES = 3  # that have pictures of their own
_MOST_TOGETHER = {1: 4}  # parameters of which two each are shown together, by how many objectives there are; else 3


def value_names(study: Study) -> list[str]:
    """What the columns of the objectives' values are called."""
    several = len(study.directions)
    return ["value"] if several == 1 else [f"values_{k}" for k in range(several)]


def pictures_of(study: Study) -> dict[str, Any]:
    """All pictures that a study has something for, by name; empty ones are left out.

    Returns:
        "study": those of the study as a whole; "objectives": for each objective its name, its direction, and its own.
    """
    table = study.table
    names = value_names(study)[:_MOST_OBJECTIVES]
    if not len(table):
        return {"study": {}, "objectives": []}
    several = len(study.directions)
    return {
        "study": _of_the_study(study),
        "objectives": [
            {
                "name": "value" if several == 1 else f"objective {k}",
                "direction": study.directions[k],
                "pictures": _of_an_objective(study, k, name),
            }
            for k, name in enumerate(names)
        ],
    }


def _of_the_study(study: Study) -> dict[str, Any]:
    pictures: dict[str, Any] = {}
    table = study.table
    if len(study.directions) > 1 and table.counts[TrialState.COMPLETE]:
        pictures["front"] = _front(study)
        pictures["hypervolume"] = _hypervolume(study)
    if isinstance(study.strategy, MultiFidelity):
        pictures["rungs"] = _rungs(study)
    timeline = _timeline(study)
    if timeline["seconds"]:
        pictures["timeline"] = timeline
        durations = _panels(analysis.durations(study), "duration")
        durations["y"]["seconds"] = True
        pictures["durations"] = durations
    return pictures


def _of_an_objective(study: Study, k: int, column: str) -> dict[str, Any]:
    pictures: dict[str, Any] = {"history": _history(study, k, column)}
    if len(study.table.reports) and len(study.directions) == 1:
        pictures["curves"] = _curves(study)
    if study.table.counts[TrialState.COMPLETE] < 2:
        return pictures
    pictures["importance"] = _importance(study, k)
    if len(study.table.space) > 1:
        most = _MOST_TOGETHER.get(len(study.directions), 3)
        pictures["contour"] = _contours(study, k, pictures["importance"]["methods"][0]["names"][:most])
    pictures["slices"] = _panels(analysis.slices(study, objective=k), column)
    pictures["parallel"] = _parallel(study, k)
    pictures["edf"] = _edf(study, k)
    return pictures


def rounded(values: Any) -> list[Any]:
    """Numbers in few digits; None for NaN."""
    return [None if value != value else float(f"{value:.{_DIGITS}g}") for value in np.asarray(values).tolist()]


def _rows(values: FloatArray) -> list[list[Any]]:
    return [rounded(row) for row in values]


def _scale(scale: Scale, name: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": scale.name if name is None else name, "low": scale.low, "high": scale.high}
    if scale.log:
        found["log"] = True
    if scale.labels is not None:
        found["labels"] = list(scale.labels)
    if scale.is_whole:
        found["whole"] = True
    if scale.beyond:
        found["beyond"] = scale.beyond
    return found


def _cloud(cloud: Cloud) -> dict[str, Any]:
    x, y, number, x_edges, y_edges, count, best = cloud
    if count is None:
        return {"size": len(x), "x": rounded(x), "y": rounded(y), "number": number.tolist()}
    assert best is not None
    row, column = np.nonzero(count)
    cells = np.stack([row, column, count[row, column], best[row, column]], axis=1).tolist()
    return {
        "size": int(count.sum()), "count": True, "cells": cells, "x": [], "y": [],
        "xe": rounded(x_edges), "ye": rounded(y_edges),
    }  # fmt: skip


def _history(study: Study, k: int, column: str) -> dict[str, Any]:
    found = analysis.history(study, k)
    best = [[n, value] for n, value in zip(found.best_number.tolist(), rounded(found.best_value), strict=True)]
    return {
        "column": column,
        "direction": found.direction,
        "x": _scale(found.number_scale),
        "y": _scale(found.value_scale, ""),
        "complete": _cloud(found.complete),
        "partial": _cloud(found.partial),
        "best": best,
        "bestLabel": best_label(study),
        "failedEdges": rounded(found.failed_edges),
        "failed": found.failed.tolist(),
        "infeasible": _cloud(found.infeasible),
    }


def _curves(study: Study) -> dict[str, Any]:
    found = analysis.learning_curves(study)
    return {
        "trials": found.trials,
        "x": _scale(found.step_scale),
        "y": _scale(found.value_scale, ""),
        "best": found.best,
        "bandStep": rounded(found.band_step),
        "band": _rows(found.band),
        "curves": [
            {"number": one.number, "state": int(one.state), "step": rounded(one.step), "value": rounded(one.value)}
            for one in found.curves
        ],
    }


def _importance(study: Study, k: int) -> dict[str, Any]:
    found = [analysis.importance(study, method, k) for method in ("fanova", "ped_anova")]
    methods = [
        {"method": one.method, "trials": one.trials, "names": list(one.names), "shares": rounded(one.shares)}
        for one in found
    ]
    return {"methods": methods}


def _contours(study: Study, k: int, names: list[str]) -> dict[str, Any]:
    """Each pair of these parameters."""
    pairs = []
    for x, y in combinations(names, 2):
        found = analysis.contour(study, x, y, k)
        known = found.value[~np.isnan(found.value)]
        scale = found.value_scale  # of the colours, which are for the values that are seen
        if len(known) and known.min() < known.max():
            scale = scale._replace(low=float(known.min()), high=float(known.max()))
        pairs.append(
            {
                "x": _scale(found.x_scale),
                "y": _scale(found.y_scale, y),
                "xColumn": f"params.{x}",
                "yColumn": f"params.{y}",
                "scale": _scale(scale),
                "xs": rounded(found.x),
                "ys": rounded(found.y),
                "value": _rows(found.value),
                "trials": _cloud(found.trials),
                "best": None if found.best is None else list(found.best[:2]),
            }
        )
    return {"direction": study.directions[k], "pairs": pairs}


def _panels(found: Slices, column: str) -> dict[str, Any]:
    return {
        "column": column,
        "y": _scale(found.scale, ""),
        "leftOut": list(found.left_out),
        "panels": [
            {
                "x": _scale(panel.scale),
                "column": f"params.{panel.name}",
                "cloud": _cloud(panel.cloud),
                "trend": rounded(panel.trend),
                "median": rounded(panel.median),
                "best": rounded(panel.best),
            }
            for panel in found.panels
        ],
    }


def _parallel(study: Study, k: int) -> dict[str, Any]:
    found = analysis.parallel_coordinates(study, objective=k)
    return {
        "direction": found.direction,
        "trials": found.trials,
        "scales": [_scale(scale) for scale in found.scales],
        "valueScale": _scale(found.value_scale),
        "number": found.number.tolist(),
        "position": _rows(found.position),
        "value": rounded(found.value),
    }


def _edf(study: Study, k: int) -> dict[str, Any]:
    found = analysis.edf(study, k)
    (one,) = found.studies
    return {"x": _scale(found.scale), "value": rounded(one.value), "share": rounded(one.share)}


def _front(study: Study) -> dict[str, Any]:
    found = analysis.pareto_front(study)
    names = value_names(study)
    return {
        "onFront": found.on_front,
        "infeasible": found.infeasible,
        "directions": list(found.directions),
        "number": found.number.tolist(),
        "values": _rows(found.values.T),
        "pairs": [
            {"a": a, "b": b, "x": _scale(found.scales[a]), "y": _scale(found.scales[b]), "xColumn": names[a],
             "yColumn": names[b], "cloud": _cloud(cloud), "infeasible": _cloud(broken)}
            for (a, b), cloud, broken in zip(found.pairs, found.clouds, found.infeasible_clouds, strict=True)
        ],
    }  # fmt: skip


def _hypervolume(study: Study) -> dict[str, Any]:
    found = analysis.hypervolume_history(study)
    return {
        "reference": rounded(found.reference),
        "trials": found.trials,
        "n": found.number.tolist(),
        "volume": rounded(found.hypervolume),
    }


def _rungs(study: Study) -> dict[str, Any]:
    found = analysis.rungs(study)
    return {
        "strategy": found.strategy,
        "spent": found.spent,
        "full": found.full,
        "rungs": [
            {
                "bracket": rung.bracket, "resource": rung.resource, "told": rung.told, "promoted": rung.promoted,
                "pruned": rung.pruned, "failed": rung.failed, "running": rung.running, "best": rung.best_value,
                "spent": rung.resource_spent,
            }
            for rung in found.rungs
        ],
    }  # fmt: skip


def _timeline(study: Study) -> dict[str, Any]:
    found = analysis.timeline(study)
    return {
        "seconds": found.seconds,
        "lanes": found.lanes,
        "idle": found.idle,
        "lane": found.lane.tolist(),
        "start": rounded(found.start),
        "end": rounded(found.end),
        "state": found.state.tolist(),
        "number": found.number.tolist(),
        "edges": rounded(found.edges),
        "busy": _rows(found.busy),
    }
