"""What is looked at: the columns of a study's trials as they are at one moment, while the study goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue
from fasthpo.space.search_space import SearchSpace
from fasthpo.study.reader import StudyReader
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, element, shown


@dataclass(frozen=True, eq=False)
class TrialData:
    """All trials of a study; the arrays are copies. Those outside of a space that was changed wait, as if for ever.

    Attributes:
        title: the name of the directory where the study is kept, or "study".
        space: the search space.
        directions: "minimize" or "maximize", one an objective.
        params: column values (d, n), NaN where inactive.
        values: (n, m), NaN where there is none.
        states: `TrialState` of each trial, int8 (n,).
        starts, ends: seconds since the epoch, NaN where there is none, (n,).
        violations: by how much trials broke constraints in all; 0 or NaN if not at all, (n,).
        tell_order: the trials that have ended, in the order of the tells.
        believed: the best trial of a study with `noisy=True`, whose lowest value may be a lucky one; else None.
    """

    title: str
    space: SearchSpace
    directions: tuple[str, ...]
    params: FloatArray
    values: FloatArray
    states: npt.NDArray[np.int8]
    starts: FloatArray
    ends: FloatArray
    violations: FloatArray
    tell_order: IntArray
    believed: int | None

    def __len__(self) -> int:
        return len(self.states)

    def in_state(self, *states: TrialState) -> npt.NDArray[np.bool_]:
        """Which trials are in one of the states, (n,)."""
        return np.isin(self.states, states)

    def losses(self, objective: int) -> FloatArray:
        """The values of an objective, turned so that lower is better, (n,)."""
        sign = 1.0 if self.directions[objective] == "minimize" else -1.0
        return sign * self.values[:, objective]

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """Which trials completed with finite values only, (n,)."""
        return self.in_state(TrialState.COMPLETE) & np.isfinite(self.values).all(axis=1)

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """Those of them that broke no constraint: one of these is the best, (n,)."""
        return self.finite & ~(self.violations > 0)

    def contest(self, objective: int) -> FloatArray:
        """Losses of which the lowest is that of the best trial, infinite where a trial can't be it, (n,)."""
        usable = self.feasible
        if self.believed is not None:
            usable &= np.arange(len(self)) == self.believed
        return np.where(usable, self.losses(objective), np.inf)


def trial_data(study: StudyReader) -> TrialData:
    """The trials of a study as they are now.

    Raises:
        InvalidValue: it is no study.
    """
    check_study(study)
    with study._lock:
        table = study.table
        values = np.array(table.values)
        # what lies outside of a space that was changed is no point of any picture
        states, starts, ends = table.states.copy(), table.starts.copy(), table.ends.copy()
        order, outside = table.tell_order, study.outside
        states[outside], starts[outside], ends[outside] = TrialState.WAITING, np.nan, np.nan
        directions = directions_of(study)
        return TrialData(
            study_title(study),
            table.space,
            directions,
            table.params.copy(),
            values.reshape(len(values), len(directions)),
            states,
            starts,
            ends,
            np.array(getattr(table, "violations", np.zeros(len(values)))),
            order[~outside[order]],
            table.best_number if study.noisy else None,
        )


def check_study(study: Any) -> None:
    """Make sure that it is a study.

    Raises:
        InvalidValue: it is something else.
    """
    if isinstance(study, StudyReader):
        return
    hint = ""
    if isinstance(study, (str, Path)):
        hint = ": open a directory with fasthpo.Study.load(path, read_only=True)"
    elif isinstance(getattr(type(study), "study", None), property):
        hint = ": give its .study"
    raise InvalidValue(f"study must be a Study, got {shown(study)}{hint}")


def directions_of(study: StudyReader) -> tuple[str, ...]:
    """The direction of each objective."""
    several = getattr(study, "directions", None) or getattr(study.table, "directions", None)
    return tuple(several) if several else (study.table.direction,)


def study_title(study: StudyReader) -> str:
    """The name of the directory where a study is kept, or else "study"."""
    directory = study.storage if isinstance(study, Study) else None
    if directory is None and isinstance(study, Study) and study._loaded is not None:
        directory = study._loaded.directory
    return "study" if directory is None else directory.name or "study"


def check_objective(data: TrialData, objective: Any) -> int:
    """The objective's index itself.

    Raises:
        InvalidValue: there is no such objective.
    """
    found = element(objective)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(data.directions):
        raise InvalidValue(
            f"objective must be an index from 0 to {len(data.directions) - 1}, got objective={shown(objective)}"
        )
    return found


def check_parameter(space: SearchSpace, name: Any) -> int:
    """The position of a parameter.

    Raises:
        InvalidValue: the space has no such parameter.
    """
    if not isinstance(name, str) or name not in space.position:
        raise InvalidValue(f"the space has no parameter {shown(name)}; it has {shown(list(space))}")
    return space.position[name]


def check_parameters(space: SearchSpace, params: Sequence[str] | None) -> list[int] | None:
    """The positions of the parameters; None for none given.

    Raises:
        InvalidValue: no list of different parameters of the space.
    """
    if params is None:
        return None
    if isinstance(params, str) or not hasattr(params, "__iter__"):
        raise InvalidValue(f"params must be a list of parameters' names, got params={shown(params)}")
    found = [check_parameter(space, name) for name in params]
    if not found or len(set(found)) < len(found):
        raise InvalidValue(f"params must name at least one parameter, and none twice, got params={shown(params)}")
    return found
