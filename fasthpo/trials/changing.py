"""A study's history in another search space, and back again: nothing that was told is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.changing import carry, carry_part, check_known
from fasthpo.space.joined import joined
from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.former import Former, FormerTrials
from fasthpo.trials.frozen import Columns, Frozen
from fasthpo.trials.history import History
from fasthpo.trials.metrics import Measured
from fasthpo.trials.rebuilding import rebuild
from fasthpo.trials.segments import COLUMNS as SEGMENT_COLUMNS
from fasthpo.trials.table import INFRASTRUCTURE, NO_BRACKET, NO_DRAW, KeptElsewhere, TrialTable, has_point
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_RUNNING, _WAITING, _FAILED = TrialState.RUNNING, TrialState.WAITING, TrialState.FAILED
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
_TRUE = ("values", "states", "starts", "ends", "brackets")  # columns that the table has otherwise of trials outside
_BROKEN_OFF = "it was running when the search space was changed, and its point lies outside of the new one"


class Began(NamedTuple):
    """With what trials began: in which space, which trials, their rows there (k, d), and `FormerTrials.said`."""

    space: SearchSpace
    numbers: IntArray
    rows: FloatArray
    said: Mapping[str, Value]


class Whole(NamedTuple):
    """All trials of a history as they were.

    Attributes:
        columns: all but the parameters.
        began: the parameters, by space.
        waiting: numbers of those that wait, in the order in which they are to be asked.
        open_segments: as of `Frozen`.
    """

    columns: Columns
    began: list[Began]
    waiting: list[int]
    open_segments: list[tuple[int, float, int]]


def whole(history: History) -> Whole:
    """A history with the trials outside of its space as they were."""
    table, frozen = history.table, Frozen(history)
    columns, former = frozen.columns(), table.former
    waiting, opened = list(frozen.waiting), list(frozen.open_segments)
    if former is None:
        everyone = Began(table.space, np.arange(len(table)), np.ascontiguousarray(columns.params.T), {})
        return Whole(columns, [everyone], waiting, opened)
    trials, errors = dict(columns.trials), dict(columns.errors)
    began, here = [], np.ones(len(table), np.bool_)
    reports, segments = [], []
    for part in former.parts:
        numbers, its = part.numbers, Frozen(part.history).columns()
        for name in _TRUE:
            trials[name][numbers] = its.trials[name]
        errors |= {int(numbers[place]): text for place, text in its.errors.items()}
        reports.append((part.reports, {**its.reports, "trial": numbers[its.reports["trial"]]}))
        segments.append((part.segments, {**its.segments, "trial": numbers[its.segments["trial"]]}))
        rows = np.concatenate([its.params.T, part.rows])
        began.append(Began(part.space, np.append(numbers, part.kept), rows, part.said))
        here[began[-1].numbers] = False
        queue = [int(numbers[place]) for place in part.history.waiting]
        ran = [number for number in queue if trials["starts"][number] == trials["starts"][number]]
        waiting = ran + waiting + [number for number in queue if number not in set(ran)]
    rest = np.ascontiguousarray(columns.params[:, here].T)
    began.append(Began(table.space, np.flatnonzero(here), rest, former.fixed))
    stands_in = former.are_outside(columns.segments["trial"])
    real = {name: column[~stands_in] for name, column in columns.segments.items()}
    before = np.concatenate([np.empty(0, np.int64), *(at for at, _ in reports)])
    shift = np.sort(before)
    failures = {n: c + int(np.searchsorted(shift, c)) for n, c in columns.failures.items()}
    opened = [(n, start, c + int(np.searchsorted(shift, c))) for n, start, c in opened]
    columns = columns._replace(
        trials=trials,
        errors=errors,
        reports=_merged(columns.reports, reports),
        segments=_merged(real, segments),
        failures=failures,
        tell_order=columns.tell_order[np.isin(trials["states"][columns.tell_order], _FINISHED)],
    )
    columns.failures.update(_failures_of(former, columns))
    return Whole(columns, began, waiting, opened)


def _merged(
    columns: dict[str, npt.NDArray[Any]], others: list[tuple[IntArray, dict[str, npt.NDArray[Any]]]]
) -> dict[str, npt.NDArray[Any]]:
    """Long columns with entries of others among them, each after so many of the first."""
    before = np.concatenate([np.empty(0, np.int64), *(at for at, _ in others)])
    order = np.argsort(before, kind="stable")
    before = np.minimum(before[order], len(columns["trial"]))
    return {
        name: np.insert(column, before, np.concatenate([column[:0], *(its[name] for _, its in others)])[order], axis=0)
        for name, column in columns.items()
    }


def _failures_of(former: KeptElsewhere, columns: Columns) -> dict[int, int]:
    """Of failed trials outside that had reported, how many reports there were by then: as many as up to their last."""
    last = np.full(len(columns.trials["states"]), -1)
    last[columns.reports["trial"]] = np.arange(len(columns.reports["trial"]))
    failed = [n for n in former.numbers.tolist() if columns.trials["states"][n] == _FAILED and last[n] >= 0]
    return {number: int(last[number]) + 1 for number in failed}


def changed(history: History, space: SearchSpace, defaults: Mapping[str, Value], now: float) -> History:
    """A history in another space.

    Values keep their meaning: a choice is the same choice wherever it now stands in the list. Trials that are no points
    of the space stay, see `Former`; of those, the ones that wait are not asked, and the ones that run have failed.

    Args:
        history: in the space before.
        space: the other one.
        defaults: by name, what trials had of a parameter that they lack, and of one that is not in the space, or not
            everywhere, what it is from now on.
        now: seconds since the epoch.

    Raises:
        InvalidValue: a default is of a parameter that there never was, or no value of its kind.
        InvalidSearchSpace: nobody said what earlier trials had of a new parameter, or values are of another kind.
    """
    before = whole(history)
    check_known(defaults, [space, *(one.space for one in before.began)])
    fixed = {**(history.table.former.fixed if history.table.former is not None else {}), **defaults}
    fixed = {name: value for name, value in fixed.items() if name not in space or space[name].when}
    # of those that are gone a default says what they are from now on, not what they were
    new = {name: value for name, value in defaults.items() if name in space}
    began = [one._replace(said={**defaults, **one.said, **new}) for one in before.began]
    columns = before.columns
    states, n = columns.trials["states"].copy(), len(columns.trials["states"])
    params, outside = np.full((len(space), n), np.nan), np.zeros(n, np.bool_)
    asked = (states != _WAITING) | ~np.isnan(columns.trials["starts"])
    lacking: dict[str, list[int]] = {}
    kept: list[IntArray] = []
    is_damaged = False  # whether it is lost what some had, as a file was
    for one in began:
        known = has_point(one.rows) | one.space.is_open
        some = asked[one.numbers] & known
        is_damaged |= bool((asked[one.numbers] & ~known).any())
        numbers = one.numbers[some]
        carried = carry(one.space, one.rows[some], space, one.said, fixed)
        for name, those in carried.lacking.items():
            lacking.setdefault(name, []).extend(numbers[those].tolist())
        params[:, numbers] = carried.rows.T
        outside[numbers] = ~carried.are_inside
        # those that are to be told yet go on in the present space
        ended = np.isin(states[numbers], (*_FINISHED, TrialState.PAUSED))
        kept.append(np.sort(numbers[carried.are_inside & ~carried.are_same & ended]))
        waits = ~asked[one.numbers]
        for number, row in zip(one.numbers[waits].tolist(), one.rows[waits], strict=True):
            part = carry_part(one.space, row, space, fixed)
            outside[number] = part is None
            if part is not None:
                params[:, number] = part
    if lacking:
        _refuse(lacking)
    if not outside.any() and not any(map(len, kept)) and not (fixed and n) and not is_damaged:
        former = None
        table_columns, opened = columns._replace(params=params), before.open_segments
    else:
        columns, opened = _with_ends(columns, before.open_segments, outside, now)
        table_columns, parts = _parted(columns, params, outside, before._replace(began=began), kept, history.table, now)
        former = Former(parts, fixed)
        counted = np.append(0, np.cumsum(~outside[columns.reports["trial"]]))
        opened = [(number, start, int(counted[reports])) for number, start, reports in opened]
    waiting = [number for number in before.waiting if not outside[number]]
    noisy = history.table.evaluations is not None
    earlier = history.table.earlier
    other = rebuild(space, history.table.directions, table_columns, waiting, opened, noisy, earlier, former)
    other.next_draw, other.attributes = history.next_draw, history.attributes
    other.trial_attributes = history.trial_attributes
    return other


def _refuse(lacking: Mapping[str, list[int]]) -> None:
    name, numbers = next(iter(lacking.items()))
    more = f" (as are {[other for other in lacking if other != name]})" if len(lacking) > 1 else ""
    raise InvalidSearchSpace(
        f"{name!r} is missing in trial {min(numbers)}{f' and {len(numbers) - 1} others' if len(numbers) > 1 else ''}"
        f"{more}, and the new search space needs it there: say what earlier trials had, such as "
        f"Study.load(path, space=..., defaults={{{name!r}: ...}})"
    )


def _with_ends(
    columns: Columns, opened: list[tuple[int, float, int]], outside: npt.NDArray[np.bool_], now: float
) -> tuple[Columns, list[tuple[int, float, int]]]:
    """The columns, and the open segments, once the trials outside that run have failed.

    So have those of a population that were running and wait: others will have their places.
    """
    states, resources = columns.trials["states"], columns.trials["resources"]
    ends_now = outside & (states == _RUNNING)
    if columns.lineage:
        ends_now |= outside & (states == _WAITING) & (columns.lineage["member"] >= 0)
    broken = np.flatnonzero(ends_now)
    if not len(broken):
        return columns, opened
    trials = {**columns.trials, **{name: columns.trials[name].copy() for name in ("states", "values", "ends")}}
    trials["states"][broken], trials["values"][broken], trials["ends"][broken] = _FAILED, np.nan, now
    errors = columns.errors | dict.fromkeys(broken.tolist(), INFRASTRUCTURE + _BROKEN_OFF)
    failures, by = dict(columns.failures), len(columns.reports["trial"])
    failures |= dict.fromkeys(np.intersect1d(broken, columns.reports["trial"]).tolist(), by)
    starts = {number: start for number, start, _ in opened}
    run = broken[~np.isnan(resources[broken])].tolist()
    legs = [_leg(columns, number, 0, starts.get(number, now), now) for number in run]
    segments = _appended(columns.segments, legs)
    told = np.append(columns.tell_order, broken)
    ended = columns._replace(trials=trials, errors=errors, failures=failures, segments=segments, tell_order=told)
    return ended, [leg for leg in opened if not outside[leg[0]]]


def _leg(columns: Columns, number: int, charge: int, start: float, end: float) -> dict[str, Any]:
    """A segment of a trial that has failed."""
    values = columns.trials["values"]
    value = np.full(values.shape[1], np.nan) if values.ndim == 2 else np.nan
    resource = int(columns.trials["resources"][number])
    given = number, resource, value, charge, int(_FAILED), start, end, 0.0
    return dict(zip(SEGMENT_COLUMNS, given, strict=True))


def _appended(segments: dict[str, npt.NDArray[Any]], legs: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    if not legs:
        return segments
    return {
        name: np.concatenate([column, np.array([leg[name] for leg in legs], column.dtype)])
        for name, column in segments.items()
    }


def _parted(
    columns: Columns,
    params: FloatArray,
    outside: npt.NDArray[np.bool_],
    before: Whole,
    kept: list[IntArray],
    table: TrialTable,
    now: float,
) -> tuple[Columns, tuple[FormerTrials, ...]]:
    """What the table is to have, and by space what it has otherwise."""
    reported, told = outside[columns.reports["trial"]], outside[columns.segments["trial"]]
    reports_before, segments_before = np.cumsum(~reported), np.cumsum(~told)
    parts = []
    for one, others in zip(before.began, kept, strict=True):
        place = np.full(len(outside), -1)
        order = np.argsort(one.numbers)
        numbers = one.numbers[order]
        mine = outside[numbers]
        rows = one.rows[order][np.searchsorted(numbers, others)]
        numbers, its_rows = numbers[mine], one.rows[order][mine]
        if not len(numbers) and not len(others):
            continue
        place[numbers] = np.arange(len(numbers))
        here, there = place[columns.reports["trial"]] >= 0, place[columns.segments["trial"]] >= 0
        trials = {name: column[numbers] for name, column in columns.trials.items()}
        trials["draws"] = np.full(len(numbers), NO_DRAW)
        own_reports = _of(columns.reports, here, place)
        its = Columns(
            np.ascontiguousarray(its_rows.T),
            trials,
            Measured([], np.zeros(len(numbers), np.int64), np.empty(0, np.uint16), np.empty(0)),
            place[columns.tell_order[place[columns.tell_order] >= 0]],
            own_reports,
            _of(columns.segments, there, place),
            {int(place[number]): text for number, text in columns.errors.items() if place[number] >= 0},
            _failures(columns.failures, place, np.cumsum(here)),
            {},
        )
        waits = trials["states"] == _WAITING
        waiting = [int(place[n]) for n in before.waiting if place[n] >= 0 and waits[place[n]]]
        history = rebuild(one.space, table.directions, its, waiting)
        parts.append(
            FormerTrials(numbers, history, reports_before[here], segments_before[there], others, rows, one.said)
        )
    return _without(columns, params, outside, reported, now), tuple(parts)


def _of(
    columns: dict[str, npt.NDArray[Any]], some: npt.NDArray[np.bool_], place: IntArray
) -> dict[str, npt.NDArray[Any]]:
    """Some entries of long columns, with other numbers of their trials."""
    found = {name: column[some] for name, column in columns.items()}
    return {**found, "trial": place[found["trial"]]}


def _failures(failures: dict[int, int], place: IntArray, counts: IntArray) -> dict[int, int]:
    """What `Reports.failures` is among some of the reports, of which so many are there after each of all."""
    counted = np.append(0, counts)
    return {int(place[number]): int(counted[c]) for number, c in failures.items() if place[number] >= 0}


def _without(
    columns: Columns,
    params: FloatArray,
    outside: npt.NDArray[np.bool_],
    reported: npt.NDArray[np.bool_],
    now: float,
) -> Columns:
    """The columns as the table has them: trials outside have failed, at the cost that they had."""
    trials = {name: column.copy() for name, column in columns.trials.items()}
    trials["states"][outside] = _FAILED
    trials["values"][outside] = np.nan
    trials["brackets"][outside] = NO_BRACKET  # its places, at all rungs that it had reached, are others' now
    starts, ends = trials["starts"], trials["ends"]
    starts[outside & np.isnan(starts)] = now
    is_open = outside & np.isnan(ends)
    ends[is_open] = starts[is_open]
    numbers = np.flatnonzero(outside)
    is_told = np.isin(np.arange(len(outside)), columns.tell_order)
    told = np.concatenate([columns.tell_order, numbers[~is_told[numbers]]])
    place = np.where(outside, -1, np.arange(len(outside)))
    reports = {name: column[~reported] for name, column in columns.reports.items()}
    segments = columns.segments
    theirs = np.flatnonzero(outside[segments["trial"]])
    _, first = np.unique(segments["trial"][theirs], return_index=True)
    first = np.sort(theirs[first])
    charges = np.bincount(segments["trial"][theirs], segments["charge"][theirs], len(outside))
    seconds = (segments["end"] - segments["start"]).clip(min=0.0)[theirs]
    seconds = np.bincount(segments["trial"][theirs], seconds, len(outside))
    ran = segments["trial"][first]
    trials["ends"][ran] = trials["starts"][ran] + seconds[ran]  # without pauses
    stays = ~outside[segments["trial"]]
    stays[first] = True
    segments = {name: column.copy() for name, column in segments.items()}
    segments["state"][first], segments["value"][first] = _FAILED, np.nan
    segments["end"][first] = segments["start"][first] + seconds[segments["trial"][first]]
    segments["charge"][first] = charges[segments["trial"][first]].astype(np.int64)
    segments = {name: column[stays] for name, column in segments.items()}
    has_leg = np.isin(numbers, segments["trial"])
    lacks = numbers[~has_leg & ~np.isnan(trials["resources"][numbers])]
    segments = _appended(segments, [_leg(columns, n, 0, starts[n], ends[n]) for n in lacks.tolist()])
    errors = {number: text for number, text in columns.errors.items() if not outside[number]}
    return columns._replace(
        params=params,
        trials=trials,
        tell_order=told,
        reports=reports,
        segments=segments,
        errors=errors,
        failures=_failures(columns.failures, place, np.cumsum(~reported)),
    )


def shown_table(table: TrialTable) -> TrialTable:
    """All trials as they were told, with the values of all parameters that there ever were, for who shows them.

    Its space is an open one, and what a trial had there are its own values: of one inside those of the present space,
    of one outside those with which it began. A parameter that is gone has the values that trials began with.
    """
    former = table.former
    assert former is not None
    before = whole(History(table))
    n = len(table)
    inside = ~former.are_outside(np.arange(n))
    here = Began(table.space, np.flatnonzero(inside), np.ascontiguousarray(table.params[:, inside].T), {})
    parts = [here, *before.began[:-1]]
    space, found = joined([one.space for one in parts], [one.rows for one in parts])
    rows = np.full((n, len(space)), np.nan)
    for one, points in zip(reversed(parts), reversed(found), strict=True):  # the present one last
        known = ~np.isnan(points)
        rows[one.numbers] = np.where(known, points, rows[one.numbers])
    columns = before.columns._replace(params=rows.T)
    waiting = np.flatnonzero(columns.trials["states"] == _WAITING).tolist()
    shown = rebuild(space, table.directions, columns, waiting, before.open_segments).table
    shown.former = former
    return shown
