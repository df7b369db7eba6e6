"""A history made of columns: of a file's, of another space's, or of another library's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fasthpo.columns import decode_column, encode_columns
from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.history import History
from fasthpo.legs import OpenLeg
from fasthpo.search_space import SearchSpace
from fasthpo.storage.freezing import Columns, Frozen
from fasthpo.table import Direction, TrialTable
from fasthpo.trial import TrialState


def rebuild(
    space: SearchSpace,
    direction: Direction,
    columns: Columns,
    waiting: Iterable[int] = (),
    open_legs: Iterable[tuple[int, float, int]] = (),
) -> History:
    """The history that columns describe, which the caller has checked.

    Args:
        space, direction: of the study.
        columns: the trials.
        waiting: the numbers of those that wait, in the order in which they will be asked.
        open_legs: (number, start, reports) of the running ones under a multi-fidelity strategy, as in `OpenLeg`.
    """
    table = TrialTable(space, direction)
    table.restore({"params": columns.params, **columns.trials, "tell_order": columns.tell_order})
    table.reports.fill(columns.reports["trial"], columns.reports["step"], columns.reports["value"])
    table.reports.failures = dict(columns.failures)
    legs = (column.tolist() for column in columns.legs.values())
    for trial, resource, value, charge, state, start, end in zip(*legs, strict=True):
        table.legs.append(trial, resource, value, charge, TrialState(state), start, end)
    for number, start, reports in open_legs:
        table.legs.open[number] = OpenLeg(start, reports)
    table.metrics = dict(columns.metrics)
    table.errors = dict(columns.errors)
    history = History(table)
    history.waiting.extend(waiting)
    return history


def fitted(history: History, space: SearchSpace) -> History:
    """A history in another space, which must hold every trial: choices may be added and bounds widened.

    A new parameter must be one that is inactive in all trials so far. Values keep their meaning: a choice is the same
    choice wherever it now stands in the list.

    Raises:
        InvalidSearchSpace: a trial is no point of the space; names the parameter and the value.
    """
    frozen = Frozen(history)
    columns, old = frozen.columns(), history.table.space
    states = columns.trials["states"]
    # a trial that was broken off waits with all its parameters
    begun = np.flatnonzero((states != TrialState.WAITING) | ~np.isnan(columns.trials["starts"]))
    params = np.full((len(space), len(states)), np.nan)
    try:
        given = {name: columns.params[j, begun] for j, name in enumerate(old.names)}
        decoded = {
            name: decode_column(old[name], column)
            for name, column in given.items()
            if name in space or not np.isnan(column).all()
        }
        params[:, begun] = encode_columns(space, decoded).T
        for number in history.waiting:
            if np.isnan(columns.trials["starts"][number]):
                row = columns.params[:, number]
                part = {name: old[name].decode(x) for name, x in zip(old.names, row, strict=True) if x == x}
                params[:, number] = space.encode_part(part)
    except InvalidParameters as error:
        raise InvalidSearchSpace(
            f"the new search space must hold every trial of the study, but {error}; "
            f"the study's space is {old!r}, the new one {space!r}"
        ) from error
    changed = rebuild(
        space, history.table.direction, columns._replace(params=params), history.waiting, frozen.open_legs
    )
    changed.next_draw, changed.attributes = history.next_draw, history.attributes
    return changed
