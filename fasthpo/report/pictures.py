"""The pictures of the page, as the numbers that its script draws: the analysis layer's arrays, in few digits."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from fasthpo import analysis
from fasthpo.analysis.clouds import Cloud
from fasthpo.analysis.parameters import Slices
from fasthpo.analysis.scales import Scale
from fasthpo.errors import NoCompletedTrials
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_DIGITS = 5  # of what is drawn; the table has all
_MOST_TOGETHER = 4  # parameters of which two each are shown together
_PANELS_WITH_POINTS = 400  # points of a panel in which single ones can be told apart


def pictures_of(study: Study) -> dict[str, dict[str, Any]]:
    """All pictures that a study has something for, by name; empty ones are left out."""
    table = study.table
    pictures: dict[str, dict[str, Any]] = {}
    complete = table.counts[TrialState.COMPLETE]
    if not len(table):
        return pictures
    pictures["history"] = _history(study)
    if len(table.reports):
        pictures["curves"] = _curves(study)
    if complete >= 2:
        importances = _importance(study)
        if importances["methods"]:
            pictures["importance"] = importances
            if len(table.space) > 1:
                pictures["contour"] = _contours(study, importances["methods"][0]["names"])
        pictures["slices"] = _panels(analysis.slices(study), "value")
        pictures["parallel"] = _parallel(study)
        pictures["edf"] = _edf(study)
    if isinstance(study.strategy, MultiFidelity):
        pictures["rungs"] = _rungs(study)
    timeline = _timeline(study)
    if timeline["seconds"]:
        pictures["timeline"] = timeline
        durations = _panels(analysis.durations(study), "duration")
        durations["y"]["seconds"] = True
        pictures["durations"] = durations
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
    if cloud.count is None:
        return {"size": len(cloud), "x": rounded(cloud.x), "y": rounded(cloud.y), "number": cloud.number.tolist()}
    assert cloud.x_edges is not None and cloud.y_edges is not None and cloud.best is not None
    row, column = np.nonzero(cloud.count)
    cells = np.stack([row, column, cloud.count[row, column], cloud.best[row, column]], axis=1).tolist()
    return {
        "size": len(cloud), "count": True, "cells": cells, "x": [], "y": [],
        "xe": rounded(cloud.x_edges), "ye": rounded(cloud.y_edges),
    }  # fmt: skip


def _history(study: Study) -> dict[str, Any]:
    found = analysis.history(study)
    best = [[n, value] for n, value in zip(found.best_number.tolist(), rounded(found.best_value), strict=True)]
    return {
        "column": "value",
        "direction": found.direction,
        "x": _scale(found.number_scale),
        "y": _scale(found.value_scale, ""),
        "complete": _cloud(found.complete),
        "partial": _cloud(found.partial),
        "best": best,
        "failedEdges": rounded(found.failed_edges),
        "failed": found.failed.tolist(),
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


def _importance(study: Study) -> dict[str, Any]:
    methods = []
    for method in ("fanova", "ped_anova"):
        try:
            found = analysis.importance(study, method)
        except NoCompletedTrials:
            continue
        methods.append(
            {"method": method, "trials": found.trials, "names": list(found.names), "shares": rounded(found.shares)}
        )
    return {"methods": methods}


def _contours(study: Study, names: list[str]) -> dict[str, Any]:
    """Pairs of the parameters that matter most."""
    pairs = []
    direction = study.direction
    for x, y in combinations(names[:_MOST_TOGETHER], 2):
        found = analysis.contour(study, x, y)
        pairs.append(
            {
                "x": _scale(found.x_scale),
                "y": _scale(found.y_scale, y),
                "xColumn": f"params.{x}",
                "yColumn": f"params.{y}",
                "scale": _scale(found.value_scale),
                "xs": rounded(found.x),
                "ys": rounded(found.y),
                "value": _rows(found.value),
                "trials": _cloud(found.trials),
                "best": None if found.best is None else list(found.best[:2]),
            }
        )
    return {"direction": direction, "pairs": pairs}


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


def _parallel(study: Study) -> dict[str, Any]:
    found = analysis.parallel_coordinates(study)
    return {
        "direction": found.direction,
        "trials": found.trials,
        "scales": [_scale(scale) for scale in found.scales],
        "valueScale": _scale(found.value_scale),
        "number": found.number.tolist(),
        "position": _rows(found.position),
        "value": rounded(found.value),
    }


def _edf(study: Study) -> dict[str, Any]:
    found = analysis.edf(study)
    (one,) = found.studies
    return {"x": _scale(found.scale), "value": rounded(one.value), "share": rounded(one.share)}


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
