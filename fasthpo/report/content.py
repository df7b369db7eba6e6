"""What the page says, as plain values: the result, the trials, the failures, the space, the configuration."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fasthpo import __version__
from fasthpo.analysis.failed import failures
from fasthpo.analysis.progress import best_estimate, gains, told_cost
from fasthpo.analysis.trial_data import study_title
from fasthpo.report.pictures import pictures_of, value_names
from fasthpo.report.rows import trial_rows
from fasthpo.space.comparisons import condition_words
from fasthpo.space.parameter import Parameter
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.tuner.results import StudyStatistics, busy_seconds
from fasthpo.values import steady_str

_MOST_GROUPS = 50  # of failures
_MOST_ON_FRONT = 200  # rows of its table
_LONGEST_ERROR = 8_000  # characters
_LONGEST_TEXT = 2_000  # of an attribute, or of a parameter's choices
_PACKAGES = ("numpy", "numba", "scipy", "torch")
_SHOWN_ALWAYS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def report_content(study: Study, name: str | None = None) -> dict[str, Any]:
    """All that the page of a study shows, in plain values."""
    pictures = pictures_of(study)
    with study._lock:
        statistics = StudyStatistics.of(study, busy_seconds(study.table))
        title = study_title(study) if name is None else name
        several = len(study.directions) > 1
        return {
            "name": title,
            "about": _about(study),
            "version": __version__,
            "tiles": _tiles(statistics, study),
            "gains": "" if several or study.noisy or not len(study.best_trials) else str(gains(study)),
            "best": _best(study),
            "front": _front(study),
            "nothing": _nothing(study),
            "trials": trial_rows(study, pictures),
            "pictures": pictures,
            "failures": _failures(study),
            "space": [
                *(_parameter(one, parameter) for one, parameter in study.space.items()),
                *(("", "relation", _text(str(relation)), "") for relation in study.space._told),
            ],
            "configuration": _configuration(study),
        }


def _about(study: Study) -> str:
    goals = [{"minimize": "smallest", "maximize": "largest"}[one] for one in study.directions]
    goal = f"{goals[0]} value" if len(goals) == 1 else f"{', '.join(goals[:-1])} and {goals[-1]} values"
    return f"{len(study):,} trials in search of the {goal}, over {len(study.space)} parameters"


def _nothing(study: Study) -> str:
    kept = " and kept its constraints" if study.table.has_constraints else ""
    return f"No trial has completed with a finite value{kept} yet."


def _tiles(statistics: StudyStatistics, study: Study) -> list[tuple[str, str, str | None]]:
    """Numbers at the top: name, value, and the state whose colour it has."""
    table = study.table
    tiles: list[tuple[str, str, str | None]] = []
    if statistics.best_value is not None:
        tiles.append(("best value", f"{statistics.best_value:.6g}", None))
    if statistics.front_trials is not None:
        tiles.append(("on the front", f"{len(statistics.front_trials):,}", None))
    tiles.append(("trials", f"{len(table):,}", None))
    outside = int(study.outside.sum())
    if outside:
        tiles.append(("outside the space", f"{outside:,}", None))
    for state, count in study.counts.items():
        if count or state in _SHOWN_ALWAYS:
            tiles.append((state.name.lower(), f"{count:,}", state.name.lower()))
    if table.has_constraints:
        tiles.append(("infeasible", f"{statistics.infeasible_trials:,}", None))
    if statistics.average_trial_duration is not None:
        tiles.append(("busy", _duration(statistics.total_duration), None))
        tiles.append(("average trial", _duration(statistics.average_trial_duration), None))
    if statistics.rungs:
        tiles.append(("resource spent", f"{statistics.resource_spent:,}", None))
    if cost := told_cost(study):
        tiles.append(("cost spent", cost, None))
    if statistics.resource_saved:
        tiles.append(("saved by pruning", f"{statistics.resource_saved:,.0f}", None))
    return tiles


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} \N{MICRO SIGN}s"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, length, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds / length < most:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def _best(study: Study) -> list[dict[str, Any]]:
    if len(study.directions) > 1 or not len(study.best_trials):
        return []
    trial = study.best_trial
    pairs = [("value", repr(trial.value)), *((name, _text(value)) for name, value in trial.params.items())]
    if believed := best_estimate(study):
        pairs.insert(1, ("estimate", believed))
    pairs += [(f"metric {name}", f"{value:.6g}") for name, value in trial.metrics.items()]
    return [{"number": trial.number, "title": f"Best trial: {trial.number}", "pairs": pairs}]


def _front(study: Study) -> dict[str, Any] | None:
    """The trials on the front of several objectives, in the order of the first of them."""
    if len(study.directions) == 1:
        return None
    numbers, values = study.front()
    order = np.argsort(values[:, 0], kind="stable")[:_MOST_ON_FRONT]
    note = f"{len(numbers):,} trials, none of which is better than another in every objective"
    return {
        "note": note if len(order) == len(numbers) else f"{note}; {len(order)} of them are here",
        "head": [f"{name} ({way})" for name, way in zip(value_names(study), study.directions, strict=True)],
        "rows": [[int(numbers[i]), *values[i].tolist()] for i in order],
    }


def _text(value: object, most: int = _LONGEST_TEXT) -> str:
    text = repr(value) if isinstance(value, float) else steady_str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _failures(study: Study) -> dict[str, Any]:
    found = [group._asdict() for group in failures(study)]
    rest = sum(group["trials"] for group in found[_MOST_GROUPS:])
    count = sum(group["trials"] for group in found)
    note = f"{count:,} trials failed, for {len(found)} reasons; errors that differ in numbers only are one."
    if rest:
        note += f" The {_MOST_GROUPS} most frequent are here; {rest:,} trials failed for others."
    return {
        "note": note,
        "groups": [
            {
                "count": group["trials"],
                "reason": group["reason"],
                "words": _words(**group),
                "error": _middle_out(group["error"]),
            }
            for group in found[:_MOST_GROUPS]
        ],
    }


def _words(trials: int, first: int, last: int, infrastructure: bool, **_: Any) -> str:
    which = f"Trial {first}" if trials == 1 else f"Trials {first} to {last}"
    blame = "; what it ran on was to blame" if infrastructure else ""
    return f"{which}{blame}" if trials == 1 else f"{which}{blame}; the last one's error:"


def _middle_out(error: str) -> str:
    half = _LONGEST_ERROR // 2
    return error if len(error) <= _LONGEST_ERROR else f"{error[:half]}\n[...]\n{error[-half:]}"


def _parameter(name: str, parameter: Parameter) -> tuple[str, str, str, str]:
    """A row of the table of parameters: name, kind, values, conditions."""
    fields = parameter.to_dict()
    kind = str(fields["type"]).replace("_", " ")
    if parameter.choices is not None:
        values = _text(", ".join(map(repr, parameter.choices)))
    elif "sd" in fields:
        bounds = [
            f"{word} {fields[name]}" for word, name in (("from", "low"), ("to", "high")) if fields[name] is not None
        ]
        values = " ".join([f"mean {fields['mean']}, sd {fields['sd']}", *bounds])
    else:
        values = f"{fields['low']} to {fields['high']}"
        values += f" in steps of {fields['step']}" if fields.get("step") not in (None, 1) else ""
        values += ", logarithmic" if fields.get("log") else ""
    when = "; ".join(f"{parent} is {condition_words(allowed)}" for parent, allowed in parameter.when.items())
    return name, kind, values, _text(when)


def _configuration(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titles and pairs: what the study is made of, what was noted down, and what made the page."""
    parts = study_definition(study)
    made = [("directions" if "directions" in parts else "direction", ", ".join(study.directions))]
    for what in ("sampler", "pruner", "strategy"):
        part = parts[what]
        if part is None:
            continue
        made.append((what, part["type"]))
        made += [(f"{what}: {name}", _option(value)) for name, value in part["options"].items()]
    if study.table.earlier is not None:
        made.append(("learns from", str(study.table.earlier)))
    noted = [(name, _text(json.dumps(value))) for name, value in study.attributes.items()]
    here = [("fasthpo", __version__), ("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            here.append((package, version(package)))
        except PackageNotFoundError:
            continue
    here += [("system", platform.platform()), ("byte order", sys.byteorder)]
    return [("Search", made), ("Attributes", noted), ("Versions where this page was made", here)]


def _option(value: Any) -> str:
    if isinstance(value, dict) and "part" in value:
        return "None" if value["part"] is None else str(value["part"]["type"])
    return _text(value)


def study_definition(study: Study) -> dict[str, Any]:
    """What a study is made of, as its files have it: of one that is only looked at, what its writer goes on with."""
    loaded = study._loaded
    found: dict[str, Any] = json.loads(study._definition() if loaded is None else loaded.replayer.definition)
    return found
