"""When trials ran: on how many workers at a time, and which followed which.

A study does not know its workers. Trials are laid out on as few lanes as can hold them: each on the first lane that is
free, as a pool of equal workers takes them.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.analysis.trial_data import TrialData, trial_data
from fasthpo.study.reader import StudyReader
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

MOST_LANES = 48
MOST_BARS = 2_000
_BINS = 400


class Timeline(NamedTuple):
    """When trials ran; times are seconds since the first start.

    Attributes:
        title: of the study.
        began: the first start, in seconds since the epoch; NaN if no trial has run.
        seconds: from there to the last end, or to the last start of a running trial.
        lanes: how many trials ran at the same time, at most.
        lane, start, end, state, number: a bar for each trial (or segment of one), (k,); none where they are too many.
        edges: of bins of time (b + 1,).
        busy: how many trials ran, on average over each bin, by what they ended as: (4, b), in the order of
            `BUSY_STATES`.
        idle: the share of the lanes' time in which they had nothing to do, 0 to 1.
    """

    title: str
    began: float
    seconds: float
    lanes: int
    lane: IntArray
    start: FloatArray
    end: FloatArray
    state: npt.NDArray[np.int8]
    number: IntArray
    edges: FloatArray
    busy: FloatArray
    idle: float


BUSY_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)


def timeline(study: StudyReader) -> Timeline:
    """When trials ran, and side by side with how many others.

    Raises:
        InvalidValue: no study.
    """
    data = trial_data(study)
    number, start, end, state = _spans(study, data)
    order = np.lexsort((number, start))
    number, start, end, state = number[order], start[order], end[order], state[order]
    began = float(start[0]) if len(start) else np.nan
    start, end = start - began, end - began
    seconds = float(end.max(initial=0.0))
    lanes = most_at_once(start, end)
    few = lanes <= MOST_LANES and len(start) <= MOST_BARS
    lane = first_free_lanes(start, end) if few else np.empty(0, np.int64)
    bars = len(lane)
    edges = np.linspace(0.0, seconds or 1.0, _BINS + 1)
    kinds = [state == TrialState.COMPLETE, state == TrialState.PRUNED, state == TrialState.FAILED]
    kinds.append(state == TrialState.RUNNING)
    kinds[0] |= state == TrialState.PAUSED  # such a leg has ended well
    busy = np.array([_busy(start[kind], end[kind], edges) for kind in kinds])
    run = float((end - start).sum())
    idle = 1 - run / (lanes * seconds) if lanes and seconds else 0.0
    return Timeline(
        data.title, began, seconds, lanes, lane, start[:bars], end[:bars], state[:bars], number[:bars], edges, busy,
        max(idle, 0.0),
    )  # fmt: skip


def _spans(study: StudyReader, data: TrialData) -> tuple[IntArray, FloatArray, FloatArray, npt.NDArray[np.int8]]:
    """Trial, start, end and state of all that ran, a row each, or a row a segment."""
    with study._lock:
        segments = study.table.segments
        trial, began, ended, state = (np.array(segments.column(name)) for name in ("trial", "start", "end", "state"))
        open_start = {number: leg.start for number, leg in segments.open.items()}
        latest = study.table.latest_time
    alone = ~np.isin(np.arange(len(data)), np.append(trial, list(open_start)).astype(np.int64))
    alone &= ~np.isnan(data.starts) & ~data.in_state(TrialState.WAITING)
    some = np.flatnonzero(alone)
    running = np.array(sorted(open_start), np.int64)
    number = np.concatenate([trial, some, running])
    start = np.concatenate([began, data.starts[some], [open_start[one] for one in running.tolist()]])
    end = np.concatenate([ended, data.ends[some], np.full(len(running), latest)])
    kind = np.concatenate([state, data.states[some], np.full(len(running), TrialState.RUNNING)]).astype(np.int8)
    end = np.where(kind == TrialState.RUNNING, latest, end)
    end = np.fmax(end, start)
    return number, start, end, kind


def most_at_once(start: FloatArray, end: FloatArray) -> int:
    """How many of the spans (n,) overlap at most; one that begins when another one ends does not overlap it.

    A span without length counts as if it had one.
    """
    if not len(start):
        return 0
    begun = np.sort(start)
    over = np.sort(np.where(end > start, end, np.nextafter(start, np.inf)))
    return int((np.arange(1, len(begun) + 1) - np.searchsorted(over, begun, "right")).max())


def first_free_lanes(start: FloatArray, end: FloatArray) -> IntArray:
    """A lane for each span, the lowest that is free when it begins; spans (n,) in the order of their starts."""
    lane = np.empty(len(start), np.int64)
    free: list[int] = []
    taken: list[tuple[float, int]] = []  # (end, lane)
    for i, (begins, ends) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        while taken and taken[0][0] <= begins:
            heapq.heappush(free, heapq.heappop(taken)[1])
        lane[i] = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (max(ends, np.nextafter(begins, np.inf)), int(lane[i])))
    return lane


def _busy(start: FloatArray, end: FloatArray, edges: FloatArray) -> FloatArray:
    """How many of the spans there were on average in each bin."""
    begun, over = np.sort(start), np.sort(end)
    sums = [np.concatenate([[0.0], np.cumsum(column)]) for column in (begun, over)]
    counts = [np.searchsorted(column, edges, "right") for column in (begun, over)]
    # the time that all spans have had by each edge
    spent = (counts[0] - counts[1]) * edges - sums[0][counts[0]] + sums[1][counts[1]]
    found: FloatArray = np.diff(spent) / np.diff(edges)
    return np.maximum(found, 0.0)
