"""When and how a study learns its search space from the trials that have ended."""

from __future__ import annotations

import numpy as np

from fasthpo.errors import InvalidSearchSpace
from fasthpo.samplers.base import Sampler
from fasthpo.space.learning import conditions
from fasthpo.space.open_space import Learnt, OpenSpace
from fasthpo.space.parameter import Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.history import History
from fasthpo.trials.projection import Projection
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_SHARE = 20  # of the trials, that end between two times at which the space is learnt if each does not fit
_MOST_EXAMPLES = 2048  # trials over all of a study from which conditions are learnt, and as many of the latest


def is_due(history: History) -> bool:
    """Whether the space is to be learnt anew: trials have ended that do not fit, and enough since the last time.

    If each does not fit, that is ever rarer, so that in all it costs each trial the same.
    """
    space = history.table.space
    if not isinstance(space, OpenSpace) or not (space.is_stale or history.rewritten_rows):
        return False
    told = history.table._told
    return told > 0 and len(space) > 0 and told - space.learnt.told >= space.learnt.gap


def learn(history: History, sampler: Sampler) -> None:
    """Learn the space from the trials that have ended.

    Raises:
        InvalidSearchSpace: the sampler can't work on it.
    """
    table = history.table
    space = table.space
    assert isinstance(space, OpenSpace)
    told, before = table._told, space.learnt
    since = told - before.told
    gap = 1 if since > 4 * before.gap else min(2 * before.gap, max(told // _SHARE, 1))
    found = _learnt_space(space, table)
    sampler.check_space(found)
    history.widened(space.with_learnt(Learnt(found, told, gap, sampler.draw_limit(found) is not None)))


def project(history: History, seed: int) -> None:
    """Have samplers see the trials as points of what was learnt last, if anything was."""
    space = history.table.space
    found = space.learnt.space if isinstance(space, OpenSpace) else None
    history.projection = None
    if found is not None:
        history.projection = Projection(history.table, found, seed, history.rewritten_rows)


def _learnt_space(space: OpenSpace, table: TrialTable) -> SearchSpace:
    """The parameters with the conditions that trials show; those without a rule are taken to be there always."""
    shown = _examples(space, table)
    parameters: dict[str, Parameter] = {}
    for name, parameter in space.items():
        known = {one: shown[one] for one in (*parameters, name)}
        when = conditions(name, space, known)
        parameters[name] = parameter.under(when) if when else parameter
    found = SearchSpace(parameters)
    try:
        _ = found.finite_cells
    except InvalidSearchSpace:  # conditions so entangled that its points can't be counted
        return SearchSpace(space)
    return found


def _examples(space: OpenSpace, table: TrialTable) -> dict[str, FloatArray]:
    """What each parameter was in trials that went furthest, (n,), NaN if they lack it: the latest and some others."""
    states = table.states
    for kinds in ((TrialState.COMPLETE, TrialState.PAUSED), (TrialState.PRUNED,), (TrialState.FAILED,)):
        numbers = np.flatnonzero(np.isin(states, kinds))
        if len(numbers):
            break
    if len(numbers) > 2 * _MOST_EXAMPLES:
        some = np.linspace(0, len(numbers) - 1, _MOST_EXAMPLES).astype(np.int64)
        numbers = np.union1d(numbers[some], numbers[-_MOST_EXAMPLES:])
    return {name: table.params[j, numbers] for j, name in enumerate(space.names)}
