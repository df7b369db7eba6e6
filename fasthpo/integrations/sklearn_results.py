"""`cv_results_` of candidates, some of which were not evaluated on all folds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from fasthpo.integrations.sklearn_candidates import ONLY, Candidate, named_scores
from fasthpo.integrations.sklearn_folds import FoldResult

_SPLIT = re.compile(r"split(\d+)_(?:test|train)_")
_KINDS = ("test", "train")


def scorer_names(candidates: Sequence[Candidate]) -> list[str] | None:
    """The names of several scorers, as their scores have them; None if there is one scorer without a name."""
    found: dict[str, None] = {}
    for candidate in candidates:
        for result in candidate.evaluated:
            if not result["fit_error"]:
                found.update(dict.fromkeys(named_scores(result["test_scores"])))
    return None if list(found) in ([], [ONLY]) else list(found)


def cv_results(
    layout: Callable[..., dict[str, Any]],
    candidates: Sequence[Candidate],
    names: Sequence[str] | None,
    error_score: float,
) -> dict[str, Any]:
    """What scikit-learn has in `cv_results_`, with NaN where a fold was not evaluated.

    Such a candidate has no mean score and ranks with the worst; its times are those of the folds that it had.

    Args:
        layout: scikit-learn's own, from parameters, the number of folds, and results of all folds.
        candidates: in order.
        names: of several scorers.
        error_score: of a fold without a score.
    """
    folds = len(candidates[0].results)
    missing = np.array([[one is None for one in candidate.results] for candidate in candidates])
    # zeros in the place of what is missing, as NaN would have it warn of scores that have failed
    out = [_complete(one, names, error_score) for candidate in candidates for one in candidate.results]
    results = layout([candidate.params for candidate in candidates], folds, out)
    if missing.any():
        _leave_out(results, missing, out)
    return results


def _complete(result: FoldResult | None, names: Sequence[str] | None, error_score: float) -> FoldResult:
    """A result with all scores."""
    if result is None:
        result, error_score = {"fit_time": 0.0, "score_time": 0.0, "fit_error": True}, 0.0
    complete = {"fit_time": result["fit_time"], "score_time": result["score_time"]}
    for kind in _KINDS:
        scores = {} if result["fit_error"] else named_scores(result.get(f"{kind}_scores", {}))
        listed = {name: scores.get(name, error_score) for name in names or [ONLY]}
        complete[f"{kind}_scores"] = listed[ONLY] if names is None else listed
    return complete


def _leave_out(results: dict[str, Any], missing: npt.NDArray[np.bool_], out: Sequence[FoldResult]) -> None:
    """Take back what stands for folds that were not evaluated, and what was made of it.

    Args:
        results: to be changed.
        missing: (candidates, folds).
        out: the results of all folds, a candidate after the other.
    """
    partial = missing.any(axis=1)
    for name, values in results.items():
        if found := _SPLIT.match(name):
            values[missing[:, int(found[1])]] = math.nan
        elif re.match(r"(mean|std)_(test|train)_", name):
            values[partial] = math.nan
    for name in ("fit_time", "score_time"):
        times = np.ma.array([one[name] for one in out]).reshape(missing.shape)
        times[missing] = np.ma.masked
        results[f"mean_{name}"] = times.mean(axis=1).filled(math.nan)
        results[f"std_{name}"] = times.std(axis=1).filled(math.nan)
    for name in [name for name in results if name.startswith("rank_test_")]:
        means = results[f"mean_{name.removeprefix('rank_')}"]
        if not np.isnan(means).all():
            worst = np.nanmin(means) - 1
            results[name] = rankdata(-np.where(np.isnan(means), worst, means), method="min").astype(np.int32)


def chosen(refit: Callable[[dict[str, Any]], Any], results: dict[str, Any], candidates: Sequence[Candidate]) -> Any:
    """The candidate that a function of the user's chooses, which is shown those only that were evaluated on all folds.

    Others have no mean score, and the largest of an array with a NaN is the NaN.
    """
    whole = [i for i, candidate in enumerate(candidates) if None not in candidate.results]
    if len(whole) in (0, len(candidates)):
        return refit(results)
    shown = {
        name: [values[i] for i in whole] if isinstance(values, list) else values[whole]
        for name, values in results.items()
    }
    index = refit(shown)
    is_place = isinstance(index, (int, np.integer)) and 0 <= index < len(whole)
    return whole[int(index)] if is_place else index
