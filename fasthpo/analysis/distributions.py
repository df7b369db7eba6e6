"""The values of several studies as distributions: which share of the trials is at least so good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fasthpo.analysis.clouds import thinned
from fasthpo.analysis.progress import objective_name
from fasthpo.analysis.scales import Scale, value_scale
from fasthpo.analysis.trial_data import check_objective, trial_data
from fasthpo.errors import InvalidValue
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, shown

_MOST_STEPS = 500


class Distribution(NamedTuple):
    """The empirical distribution function of one study's values.

    Attributes:
        name: of the study.
        trials: how many have completed.
        value: the best first, (k,).
        share: of the completed trials that are at least so good, 0 to 1, (k,).
    """

    name: str
    trials: int
    value: FloatArray
    share: FloatArray


class Distributions(NamedTuple):
    """The distributions of several studies.

    Attributes:
        direction: "minimize" or "maximize".
        scale: of the values.
        studies: one each.
    """

    direction: str
    scale: Scale
    studies: tuple[Distribution, ...]


def edf(studies: StudyReader | Sequence[StudyReader] | Mapping[str, StudyReader], objective: int = 0) -> Distributions:
    """The empirical distribution functions of studies' values.

    Args:
        studies: one, several, or several by name; without names they are called after their directories.
        objective: which one, of several.

    Raises:
        InvalidValue: no studies, no such objective, or studies of different directions.
    """
    if isinstance(studies, StudyReader):
        studies = [studies]
    if isinstance(studies, Mapping):
        named = [(str(name), study) for name, study in studies.items()]
    elif isinstance(studies, (list, tuple)):
        named = [("", study) for study in studies]
    else:
        raise InvalidValue(f"studies must be a study, a list of studies, or a dict of them, got {shown(studies)}")
    if not named:
        raise InvalidValue("studies must hold at least one study, got none")
    seen = [(name, trial_data(study)) for name, study in named]
    objective = check_objective(seen[0][1], objective)
    directions = {data.directions[check_objective(data, objective)] for _, data in seen}
    if len(directions) > 1:
        raise InvalidValue("studies must all go in the same direction, got some that minimize and some that maximize")
    found, all_values, all_losses = [], [], []
    titles = [name or data.title for name, data in seen]
    for i, (_, data) in enumerate(seen):
        complete = data.in_state(TrialState.COMPLETE)
        values, losses = data.values[complete, objective], data.losses(objective)[complete]
        all_values.append(values)
        all_losses.append(losses)
        order = np.argsort(losses, kind="stable")
        some = order[thinned(len(order), _MOST_STEPS)]
        share = (thinned(len(order), _MOST_STEPS) + 1) / max(len(order), 1)
        name = titles[i] if titles.count(titles[i]) == 1 else f"{titles[i]} {i}"
        found.append(Distribution(name, len(order), values[some], share))
    scale = value_scale(objective_name(seen[0][1], objective), np.concatenate(all_values), np.concatenate(all_losses))
    return Distributions(directions.pop(), scale, tuple(found))
