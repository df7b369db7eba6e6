"""Earlier studies, reduced to what a new one is to know of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.earlier_starts import can_start
from fasthpo.samplers.penalties import FAILED, INFEASIBLE, losses_and_penalties
from fasthpo.samplers.ranks import INFEASIBLE as BREAKS
from fasthpo.samplers.ranks import WORST, SortKey
from fasthpo.samplers.targets import logarithmic_targets, normal_targets
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.directory import read_study
from fasthpo.study.reader import StudyReader
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.earlier import MOST_POINTS, MOST_STUDIES, Earlier, EarlierStudy
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, shown

_MOST_RANKED = 2048  # trials of a study that are compared with each other
_BEST = MOST_POINTS // 2  # of the points that are kept; the others are spread over the ranks


def known_of(given: Any, space: SearchSpace, directions: Sequence[str], sampler: Sampler) -> Earlier | None:
    """What is known of earlier studies; None if there are none.

    Args:
        given: studies, or the paths where they are kept.
        space, directions, sampler: of the new study.

    Raises:
        InvalidValue: it lists something else, a study that says nothing here, or the sampler can't learn from any.
        FileNotFoundError: there is no study at a path.
        CorruptCheckpoint: a file is damaged.
        OSError: a file can't be read.
    """
    listed = _listed(given)
    if not listed:
        return None
    if not can_start(sampler):
        raise InvalidValue(
            f"{type(sampler).__name__} tries points of its own in an order of its own, so it can't learn from earlier "
            f"studies: give learn_from to another sampler, such as AutoSampler(), got {type(sampler).__name__}"
        )
    found: list[EarlierStudy] = []
    for k, one in enumerate(listed):
        if isinstance(one, StudyReader):
            with one._lock:
                found.append(_digest(one.table, k, len(directions)))
        elif isinstance(one, (str, os.PathLike)):
            table = read_study(absolute(given_path(f"learn_from[{k}]", one))).history.table
            found.append(_digest(table, k, len(directions)))
        else:
            raise InvalidValue(f"learn_from[{k}] must be a study or the path of one, got {shown(one)}")
    earlier = Earlier(found)
    if not space.is_open:
        _check_known(earlier, space)
    return earlier


def _listed(given: Any) -> list[Any]:
    # a set has another order in the next run
    is_no_list = isinstance(given, (str, bytes, os.PathLike, StudyReader, Mapping, Set))
    if is_no_list or not isinstance(given, Iterable):
        raise InvalidValue(f"learn_from must list studies, or paths of studies, such as [study], got {shown(given)}")
    listed = list(given)
    if len(listed) > MOST_STUDIES:
        raise InvalidValue(f"learn_from takes at most {MOST_STUDIES} studies, got {len(listed)}")
    return listed


def _digest(table: TrialTable, k: int, objectives: int) -> EarlierStudy:
    """The points of a study that are kept: half of them its best, the others spread over all ranks.

    Raises:
        InvalidValue: it has another number of objectives, or no trial has come to a finite value.
    """
    if table.objectives.count != objectives:
        raise InvalidValue(
            f"a study learns from earlier ones with as many objectives, got {objectives}, and learn_from[{k}] with "
            f"{table.objectives.count}"
        )
    numbers = _compared(table)
    losses, penalties = losses_and_penalties(table, numbers)
    paused = np.flatnonzero((table.states[numbers] == TrialState.PAUSED) & (penalties < INFEASIBLE))
    penalties[paused] = [INFEASIBLE / (2.0 + table.segments.reached(number)) for number in numbers[paused].tolist()]
    if not np.isfinite(penalties).any():
        raise InvalidValue(f"learn_from[{k}] has no trial with a finite value, so there is nothing to learn from it")
    order, scores = (_by_loss if objectives == 1 else _by_layers)(losses, penalties)
    if len(order) > MOST_POINTS:
        spread = np.linspace(_BEST, len(order) - 1, MOST_POINTS - _BEST).round().astype(np.int64)
        kept = np.concatenate([np.arange(_BEST), spread])
        order, scores = order[kept], scores[kept]
    numbers = numbers[order]
    params: dict[str, tuple[IntArray, list[Any]]] = {}
    columns = table.params[:, numbers]
    for name, parameter, column in zip(table.space.names, table.space.parameters, columns, strict=True):
        at = np.flatnonzero(~np.isnan(column))
        params[name] = at, [parameter.decode(x) for x in column[at].tolist()]
    return EarlierStudy(len(table), params, scores)


def _compared(table: TrialTable) -> IntArray:
    """The trials that say something of their points, (k,), but for most of very many."""
    numbers = np.flatnonzero(~np.isin(table.states, (TrialState.RUNNING, TrialState.WAITING)))
    numbers = numbers[~table.are_lost(numbers)]
    if len(numbers) <= _MOST_RANKED:
        return numbers
    half = _MOST_RANKED // 2
    if table.objectives.count > 1:
        best = table.front.numbers[:half]
    else:
        is_whole = table.states[numbers] == TrialState.COMPLETE
        losses = np.where(is_whole, table.objectives.losses(table.values[numbers]), np.inf)
        if table.has_constraints:
            losses = np.where(table.violations[numbers] > 0, np.inf, losses)
        best = numbers[np.argsort(losses, kind="stable")[:half]]
    rest = np.setdiff1d(numbers, best)
    return np.concatenate([best, rest[np.linspace(0, len(rest) - 1, half).round().astype(np.int64)]])


def _by_loss(losses: FloatArray, penalties: FloatArray) -> tuple[IntArray, FloatArray]:
    """The places of trials, the best first, and the scores in that order."""
    keys: list[SortKey] = []
    for place, (loss, penalty) in enumerate(zip(losses[:, 0].tolist(), penalties.tolist(), strict=True)):
        if penalty == FAILED:
            keys.append((WORST, 0.0, np.inf, place))
        else:
            kind = 0 if penalty == 0 else BREAKS if penalty > INFEASIBLE else 1
            keys.append((kind, penalty, loss, place))
    keys.sort()
    ranks = _ranks([key[:3] for key in keys])
    targets = logarithmic_targets(keys, ranks)
    return np.array([key[3] for key in keys], np.int64), _standard(
        normal_targets(ranks) if targets is None else targets
    )


def _by_layers(losses: FloatArray, penalties: FloatArray) -> tuple[IntArray, FloatArray]:
    """The same of several objectives: by non-dominated layers, and the first of them well spread."""
    from fasthpo.kernels.multi_objective.dominance import constrained_layers
    from fasthpo.kernels.multi_objective.spreading import first_along_nets

    layers = np.empty(len(losses), np.int64)
    constrained_layers(losses, penalties, layers)
    first = np.empty(min(_BEST, len(losses)), np.int64)
    first_along_nets(losses, penalties, first)
    others = np.argsort(layers, kind="stable")
    order = np.concatenate([first, others[~np.isin(others, first)]])
    return order, _standard(normal_targets(_ranks(layers[order].tolist())))


def _ranks(keys: Sequence[Any]) -> FloatArray:
    """Ranks (n,) from 1/2 to n - 1/2 of keys in their order; equal ones share the mean."""
    ranks = np.empty(len(keys))
    first = 0
    for last in range(1, len(keys) + 1):
        if last == len(keys) or keys[last] != keys[first]:
            ranks[first:last] = (first + last) / 2
            first = last
    return ranks


def _standard(targets: FloatArray) -> FloatArray:
    """Scores of mean 0 and variance 1, which fall."""
    falling = np.minimum.accumulate(targets)
    falling -= falling.mean()
    spread = falling.std()
    standard: FloatArray = falling / spread if spread > 0 else falling
    return standard


def _check_known(earlier: Earlier, space: SearchSpace) -> None:
    """Make sure that every study says something here.

    Raises:
        InvalidValue: one has none of the parameters, or no point in the space.
    """
    for k, (study, one) in enumerate(zip(earlier.studies, earlier.recalled(space), strict=True)):
        if not one.known.any():
            raise InvalidValue(
                f"learn_from[{k}] has none of the study's parameters: {shown(list(study.params))}, not "
                f"{shown(list(space.names))}"
            )
        if not len(one.rows):
            raise InvalidValue(
                f"learn_from[{k}] has no trial that lies in the study's space: it has other values of "
                f"{shown([name for name in space.names if name in study.params])}"
            )
