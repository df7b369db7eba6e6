"""Lineages of a population: what its members came to, who was begun from whom, and the schedule of the best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fasthpo.analysis.clouds import thinned
from fasthpo.analysis.scales import Scale, parameter_scale, plain_scale, value_scale
from fasthpo.analysis.trial_data import check_study, directions_of, study_title
from fasthpo.errors import InvalidValue
from fasthpo.study.reader import StudyReader
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_MOST_TRIALS = 400  # besides those of the best one's lineage
_MOST_POINTS = 100  # of a trial


class LineageTrial(NamedTuple):
    """One trial of a population.

    Attributes:
        number: the trial.
        member: its place.
        parent: the trial from whose weights it began; None if from none.
        state: what has become of it.
        is_replaced: whether another one has its place.
        is_of_best: whether the best trial comes from it.
        resource, value: where it was told what, from its parent's value on, (k,).
        start, end: from which resource to which it was trained.
        params: its parameters as column values, (d,).
    """

    number: int
    member: int
    parent: int | None
    state: TrialState
    is_replaced: bool
    is_of_best: bool
    resource: FloatArray
    value: FloatArray
    start: float
    end: float
    params: FloatArray


class Lineages(NamedTuple):
    """A population.

    Attributes:
        title: of the study.
        direction: "minimize" or "maximize".
        members: how many places there are trials for.
        forks: how many trials were begun from others' weights.
        best: the number of the best member, or of the paused one that was told the best value; None if none has one.
        resource_scale, value_scale: of the axes.
        trials: all of them, or a choice: those of the best one's lineage, and others of all ages.
        changing: names of the parameters that differ along the best one's lineage.
        rows: which of the parameters they are.
        scales: of these parameters.
    """

    title: str
    direction: str
    members: int
    forks: int
    best: int | None
    resource_scale: Scale
    value_scale: Scale
    trials: tuple[LineageTrial, ...]
    changing: tuple[str, ...]
    rows: tuple[int, ...]
    scales: tuple[Scale, ...]


def lineages(study: StudyReader) -> Lineages:
    """What became of a population's members, and who was begun from whom.

    Args:
        study: what was run.

    Raises:
        InvalidValue: no study, or one without a population.
    """
    check_study(study)
    with study._lock:
        table = study.table
        if table.lineage.is_empty:
            raise InvalidValue("lineages are those of a study under PopulationTraining whose members have begun")
        columns = table.lineage.columns(len(table))
        inside = np.flatnonzero(columns["member"] >= 0)
        best = _best(table)
        line = _line(table, best)
        kept = sorted({*inside[thinned(len(inside), _MOST_TRIALS)].tolist(), *line})
        holders = dict(zip(columns["member"][inside].tolist(), inside.tolist(), strict=True))
        trials = tuple(_trial(table, number, holders, line) for number in kept)
        told = np.isin(table.segments.column("trial"), inside)
        values, resources = table.segments.column("value")[told].copy(), table.segments.column("resource")[told].copy()
        direction = directions_of(study)[0]
        params = table.params.copy()
        space = table.space
    sign = 1.0 if direction == "minimize" else -1.0
    resource_scale = plain_scale("resource", np.append(resources, 0).astype(float), log=False)
    differ = [j for j, row in enumerate(params[:, sorted(line)]) if len(row) and np.unique(row).size > 1]
    return Lineages(
        study_title(study), direction, len(holders), int((columns["parent"] != NO_PARENT).sum()), best,
        resource_scale._replace(is_whole=True, step=1.0), value_scale("value", values, sign * values), trials,
        tuple(space.names[j] for j in differ), tuple(differ),
        tuple(parameter_scale(space.names[j], space.parameters[j], params[j]) for j in differ),
    )  # fmt: skip


def _best(table: TrialTable) -> int | None:
    """The best member; if the best trial is none, the one that was told the best value at the largest resource."""
    if table.best_number is not None and table.lineage.of(table.best_number) is not None:
        return table.best_number
    segments = table.segments
    losses = table.objectives.losses(segments.column("value"))
    is_member = table.lineage.columns(len(table))["member"][segments.column("trial")] >= 0
    finite = np.flatnonzero(np.isfinite(losses) & is_member)
    if not len(finite):
        return None
    far = finite[segments.column("resource")[finite] == segments.column("resource")[finite].max()]
    return int(segments.column("trial")[far[np.argmin(losses[far])]])


def _line(table: TrialTable, best: int | None) -> set[int]:
    """The best trial and those from which it comes."""
    found: set[int] = set()
    while best is not None and best not in found:
        found.add(best)
        fork = table.lineage.of(best)
        best = None if fork is None or fork.parent == NO_PARENT else fork.parent
    return found


def _trial(table: TrialTable, number: int, holders: dict[int, int], line: set[int]) -> LineageTrial:
    fork = table.lineage.of(number)
    assert fork is not None
    told = table.segments.values_of(number)
    start = float(fork.step)
    end = float(max(told, default=fork.step))
    if fork.parent != NO_PARENT:
        before = table.segments.values_of(fork.parent)
        if fork.step in before:
            told = {fork.step: before[fork.step], **told}
    some = thinned(len(told), _MOST_POINTS)
    return LineageTrial(
        number, fork.member, None if fork.parent == NO_PARENT else fork.parent, table.state(number),
        holders[fork.member] != number, number in line,
        np.array(list(told), np.float64)[some], np.array(list(told.values()), np.float64)[some],
        start, end, table.params[:, number].copy(),
    )  # fmt: skip
