"""What must be true of a study's columns, whatever a file says. Each raises `CorruptCheckpoint` where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fasthpo.errors import CorruptCheckpoint
from fasthpo.space.kinds import Continuous
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.json_values import MOST_NESTED, is_flat
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.table import NO_DRAW
from fasthpo.trials.trial import TrialState
from fasthpo.values import IntArray

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
LARGEST = 2**62  # of draws
END_OF_TIME = 253402300800.0  # the year 10000, in seconds since the epoch


def check_attribute(value: Any) -> Any:
    """An attribute of a study, which JSON has been read from.

    Raises:
        CorruptCheckpoint: it is nested too deeply.
    """
    if not is_flat(value):
        raise CorruptCheckpoint(f"an attribute is nested more than {MOST_NESTED} levels deep")
    return value


def check_trials(columns: dict[str, npt.NDArray[Any]]) -> None:
    """States, draws, brackets, resources and times are such as a study writes.

    Raises:
        CorruptCheckpoint: they are not.
    """
    states = columns["states"]
    if not np.isin(states, list(TrialState)).all():
        raise CorruptCheckpoint("a state is none of those known")
    if len(states) and not (columns["draws"].min() >= NO_DRAW and columns["draws"].max() < LARGEST):
        raise CorruptCheckpoint("a draw is out of range")
    resources = columns["resources"]
    whole = np.isnan(resources) | ((resources >= 0) & (resources <= 2.0**53) & (resources == np.floor(resources)))
    if not whole.all():
        raise CorruptCheckpoint("a resource is no integer that is not negative")
    for name in ("starts", "ends"):
        times = columns[name][~np.isnan(columns[name])]
        if len(times) and not 0 <= times.min() <= times.max() < END_OF_TIME:
            raise CorruptCheckpoint("a time is none between the years 1970 and 9999")
    begun = states != TrialState.WAITING
    ended = np.isin(states, (*FINISHED, TrialState.PAUSED))
    if np.isnan(columns["starts"][begun]).any() or np.isnan(columns["ends"][ended]).any():
        raise CorruptCheckpoint("a trial has no time at which it started or ended")


class SteppedParents:
    """The stepped floats on which other parameters depend: their values have to be the very ones of the conditions.

    A file may have been written when they were computed in another way, and 0.3 was 0.30000000000000004.

    Args:
        space: the search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        parents = sorted({condition.parent for needed in space.conditions for condition in needed})
        self._stepped = [(j, space.parameters[j]) for j in parents if isinstance(space.parameters[j], Continuous)]

    def settle(self, params: npt.NDArray[np.float64]) -> None:
        """Write the values of today into columns (d, n), in place of those that are off by a rounding error."""
        for j, parameter in self._stepped:
            column = params[j]
            inside = np.flatnonzero((column >= parameter.low) & (column <= parameter.high))  # type: ignore[attr-defined]
            if parameter.step is not None:  # type: ignore[attr-defined]
                today = parameter.at(parameter.cell(column[inside]))
                close = np.abs(today - column[inside]) <= 1e-6 * parameter.step  # type: ignore[attr-defined]
                column[inside[close]] = today[close]


def without_outside(
    params: npt.NDArray[np.float64], states: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Columns (d, n) and states (n,) of the trials that do not lie outside of a space that was changed."""
    inside = ~(np.isnan(params).all(axis=0) & (states == TrialState.FAILED))
    return params[:, inside], states[inside]


def check_rows(space: SearchSpace, params: npt.NDArray[np.float64], states: npt.NDArray[np.int8]) -> None:
    """Each trial that has been asked for is a point of the space, and what is given of the others lies within it.

    Args:
        space: the search space.
        params: (d, n).
        states: (n,).

    Raises:
        CorruptCheckpoint: one is not.
    """
    asked = params[:, states != TrialState.WAITING]
    expected = space.deactivate(np.where(np.isnan(asked), np.inf, asked).T)
    if space.is_open:  # of which a trial may lack any parameter
        expected = asked.T
    if np.isinf(expected).any() or not np.array_equal(np.isnan(expected), np.isnan(asked.T)):
        raise CorruptCheckpoint("a trial's active parameters are not those that the conditions name")
    for name, parameter, column in zip(space.names, space.parameters, params, strict=True):
        values = column[~np.isnan(column)]
        low, high = parameter.bounds
        if len(values) and not (low <= values.min() <= values.max() <= high and np.isfinite(values).all()):
            raise CorruptCheckpoint(f"a value of {name!r} lies outside its bounds")


def check_lineage(columns: dict[str, IntArray], first: int) -> None:
    """Trials of a population have a place, a generation, and a parent that is older, or none.

    Args:
        columns: those of `Lineage` for the trials from `first` on; none if there is no population.
        first: number of the first of these trials.

    Raises:
        CorruptCheckpoint: one has not.
    """
    if not columns:
        return
    member, generation, parent, step = columns.values()
    inside = member >= 0
    numbers = first + np.arange(len(member))
    whole = inside & (generation >= 0) & (parent >= NO_PARENT) & (parent < numbers) & (step >= 0) & (step <= 2**53)
    none = (member == -1) & (generation == -1) & (parent == -1) & (step == -1)
    if not (whole | none).all() or (member >= 2**31).any() or (generation >= 2**31).any():
        raise CorruptCheckpoint("a trial's place in its population is none")


def check_failures(failures: dict[int, int], states: npt.NDArray[np.int8], trial: IntArray) -> None:
    """Trials that are said to have failed after so many reports have done so after all of their own.

    Raises:
        CorruptCheckpoint: one has not.
    """
    numbers = np.array(list(failures), np.int64)
    last = np.full(len(states), len(trial))
    last[trial] = np.arange(len(trial))
    if (states[numbers] != TrialState.FAILED).any() or (last[numbers] >= list(failures.values())).any():
        raise CorruptCheckpoint("a trial that failed has reported later, or never")


def check_reports(trial: IntArray, step: IntArray) -> None:
    """No trial has reported twice at one step, or at a negative one.

    Raises:
        CorruptCheckpoint: one has.
    """
    if not len(trial):
        return
    if step.min() < 0:
        raise CorruptCheckpoint(f"a report's step must not be negative, got {step.min()}")
    order = np.lexsort((step, trial))
    if ((np.diff(trial[order]) == 0) & (np.diff(step[order]) == 0)).any():
        raise CorruptCheckpoint("a trial has two reports at one step")
