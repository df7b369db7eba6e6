"""How much each parameter matters for an objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fasthpo.analysis.clouds import thinned
from fasthpo.analysis.progress import objective_name
from fasthpo.analysis.trial_data import TrialData, check_objective, check_parameters, trial_data
from fasthpo.errors import InvalidValue, NoCompletedTrials
from fasthpo.kernels.streams import uniforms
from fasthpo.space.normal import NormalNumber
from fasthpo.space.open_space import OpenSpace
from fasthpo.space.ranges import Ranges
from fasthpo.space.search_space import SearchSpace
from fasthpo.study.reader import StudyReader
from fasthpo.trials.projection import points_of
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, masked, plain, shown

METHODS = ("fanova", "ped_anova")
_TOP = 0.1  # of the trials, which PED-ANOVA compares with all
_CELLS = 50  # of PED-ANOVA's grid at most
_LEAST_IN_REGIME = 2  # trials in which a conditional parameter was active
_TREES = 64  # for few trials; for many half of them differ less
_FEW_TRIALS = 2_500
_ENOUGH_TREES, _ENOUGH_TRIALS = 16, 1_000  # to tell which parameters to show
_MOST_TRIALS = 10_000  # that a forest is fitted to
_BINS = 64  # of a number's axis at most, for a forest
_LEAST_MASS = 1e-12  # of such a bin
_FAR = 10.0  # how many times as far from the best as nine in ten losses are: what lies beyond counts as if it lay there


class Importance(NamedTuple):
    """How much each parameter matters, the most important first.

    Attributes:
        title: of the study.
        method: "fanova" or "ped_anova".
        objective: what the objective is called.
        trials: how many completed trials it was found from.
        names: the parameters, (d,).
        shares: what each one's share of all of them is; their sum is 1, or 0 if none matters; (d,).
        raw: with "fanova" the share of the variance over the whole space that each parameter explains alone (what is
            missing to 1 are interactions); with "ped_anova" the divergence; (d,).
        spread: with "fanova" the standard deviation of `raw` over the trees; with "ped_anova" zeros; (d,).
    """

    title: str
    method: str
    objective: str
    trials: int
    names: tuple[str, ...]
    shares: FloatArray
    raw: FloatArray
    spread: FloatArray

    def to_dict(self) -> dict[str, float]:
        """The shares by name, the most important first."""
        return dict(zip(self.names, self.shares.tolist(), strict=True))


def importance(
    study: StudyReader, method: str = "fanova", objective: int = 0, params: Sequence[str] | None = None
) -> Importance:
    """How much each parameter matters for an objective, found from the trials that completed.

    - "fanova": which share of the objective's variance over the whole space, under its prior, each parameter explains
      alone, by a forest of regression trees (Hutter et al., ICML 2014). Of more than 10,000 trials, 10,000 spread
      evenly over all ranks are looked at. Losses more than ten times as far from the best as nine in ten are count as
      if they were so far.
    - "ped_anova": how different the best tenth of the trials is distributed over the parameter from all of them
      (Watanabe et al., IJCAI 2023): what mattered to come among the best, whatever became of the others.

    A conditional parameter counts as far as it matters where it is active; what its being active does is its parent's
    part (for PED-ANOVA theorem 4.2 of Conditional PED-ANOVA, arXiv 2601.20800).

    Args:
        study: what was run.
        method: "fanova" or "ped_anova".
        objective: which one, of several.
        params: which parameters to compare; None: all. All are looked at together, whichever these are.

    Raises:
        InvalidValue: no study, no such objective, method or parameter.
        NoCompletedTrials: fewer than two trials have completed.

    Example:
        >>> import fasthpo
        >>> from fasthpo.analysis import importance
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-1.0, 1.0), "y": fasthpo.Continuous(-1.0, 1.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
        >>> batch = study.ask_batch(500)
        >>> _ = study.tell_batch(batch.numbers, 10 * batch.params["x"] + batch.params["y"])
        >>> list(importance(study).to_dict())
        ['x', 'y']
    """
    known = plain(method)
    if not isinstance(known, str) or known not in METHODS:
        raise InvalidValue(f"method must be 'fanova' or 'ped_anova', got method={shown(method)}")
    data = trial_data(study)
    objective = check_objective(data, objective)
    given = check_parameters(data.space, params)
    chosen = list(range(len(data.space))) if given is None else given
    values = data.values[:, objective]
    some = np.flatnonzero(data.in_state(TrialState.COMPLETE) & ~np.isnan(values))
    if len(some) < 2:
        raise NoCompletedTrials(f"importance needs at least 2 completed trials, got {len(some)}")
    losses = data.losses(objective)[some]
    spread = np.zeros(len(data.space))
    if known == "fanova":
        raw, spread = fanova(data.space, data.params[:, some], losses)
    else:
        raw = ped_anova(data.space, data.params[:, some], losses)
    order = [chosen[k] for k in np.argsort(-raw[chosen], kind="stable").tolist()]
    total = float(raw[order].sum())
    return Importance(
        data.title, known, objective_name(data, objective), len(some), tuple(data.space.names[j] for j in order),
        raw[order] / total if total > 0 else np.zeros(len(order)), raw[order], spread[order],
    )  # fmt: skip


def most_important(data: TrialData, positions: Sequence[int], some: IntArray, losses: FloatArray) -> list[int]:
    """Parameters in the order of what a small forest says of them; as given if there are too few trials.

    Args:
        data: the trials.
        positions: of the parameters.
        some: the trials that count, int64 (k,).
        losses: what is to be small, (k,).
    """
    if len(some) < 2:
        return list(positions)
    kept = np.argsort(losses, kind="stable")[thinned(len(losses), _ENOUGH_TRIALS)]
    found, _ = fanova(data.space, data.params[:, some[kept]], losses[kept], _ENOUGH_TREES)
    return sorted(positions, key=lambda j: -found[j])


# --- PED-ANOVA


def ped_anova(space: SearchSpace, params: FloatArray, losses: FloatArray) -> FloatArray:
    """The divergence of the best tenth of the trials from all, for each parameter, (d,).

    Args:
        space: the search space.
        params: column values of the trials, (d, n), n at least 1.
        losses: of the trials, no NaN, (n,).
    """
    from fasthpo.kernels.importance.ped_anova import divergence  # imports numba

    n = len(losses)
    last = math.ceil(_TOP * n) - 1
    best = losses <= np.partition(losses, last)[last]
    found = np.zeros(len(space))
    for j, parameter in enumerate(space.parameters):
        active = ~np.isnan(params[j])
        count, top = int(active.sum()), int((active & best).sum())
        if parameter.count == 1 or count < _LEAST_IN_REGIME or not top:
            continue
        cells, size = _grid_cells(parameter, params[j])
        all_of_them = np.bincount(cells[active], minlength=size)
        of_the_best = np.bincount(cells[active & best], minlength=size)
        alpha, beta = top / best.sum(), count / n
        found[j] = alpha**2 / beta * divergence(of_the_best, all_of_them, parameter.is_ordered)
    return found * float(best.mean()) ** 2


def _grid_cells(parameter: Any, column: FloatArray) -> tuple[IntArray, int]:
    """The cells of a grid in which column values lie (0 for NaN), and how many cells there are."""
    low, high = parameter.reach
    column = np.where(np.isnan(column), low, column)
    if parameter.choices is not None:
        return column.astype(np.int64), parameter.count
    size = _CELLS
    if isinstance(parameter, NormalNumber):
        return np.minimum(parameter.to_unit(column) * size, size - 1).astype(np.int64), size
    if parameter.log and parameter.count is not None:
        size = min(math.ceil(math.log2(high - low + 1)) + 1, size)
    elif parameter.count is not None:
        size = min(parameter.count, size)
    if parameter.log:
        low, high, column = math.log(low), math.log(high), np.log(column)
    with np.errstate(all="ignore"):
        distance = (high / 2 - low / 2) / (size - 1)  # halves: high - low may overflow
        cells = np.ceil((column / 2 - low / 2) / distance - 0.5)
    return np.clip(cells, 0, size - 1).astype(np.int64), size


# --- functional ANOVA


class Coded(NamedTuple):
    """Trials and their space as `kernels/importance/fanova.py` sees them; see there."""

    codes: npt.NDArray[np.int16]
    counts: IntArray
    cumulative: FloatArray
    conditions: IntArray
    excluded: FloatArray


@masked
def bounded(losses: FloatArray) -> FloatArray:
    """Losses (n,) moved and scaled so that the best is 0 and most lie below 1; those far off, and infinite ones, are
    where they still say that they are far.
    """
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return np.where(losses > 0, _FAR, 0.0)
    best, usual, worst = finite.min() / 2, np.quantile(finite, 0.9) / 2, finite.max() / 2
    unit = (usual - best) or (worst - best) or 1.0
    worst = min((worst - best) / unit, _FAR)
    scaled = np.where(np.isneginf(losses), 0.0, (losses / 2 - best) / unit)
    return np.where(np.isposinf(losses), worst, np.clip(scaled, 0.0, worst))


def fanova(
    space: SearchSpace, params: FloatArray, losses: FloatArray, trees: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """The share of the variance that each parameter explains alone, (d,), and how much it differs between trees, (d,).

    Args:
        space: the search space.
        params: column values of the trials, (d, n), n at least 1.
        losses: of the trials, no NaN, (n,).
        trees: how many; None: as many as are needed.
    """
    from fasthpo.kernels.importance.fanova import forest_shares  # imports numba

    if isinstance(space, OpenSpace):
        return _fanova_of_learnt(space, params, losses, trees)
    if len(losses) > _MOST_TRIALS:
        some = np.sort(np.argsort(losses, kind="stable")[thinned(len(losses), _MOST_TRIALS)])
        params, losses = params[:, some], losses[some]
    values = bounded(losses)
    coded = code(space, params, values)
    n = len(values)
    trees = trees or (_TREES if n <= _FEW_TRIALS else _TREES // 2)
    chosen = (uniforms(0, np.arange(trees), 0, n) * n).astype(np.int64)
    has_variance, shares = np.zeros(trees, np.bool_), np.zeros((trees, len(space)))
    forest_shares(
        coded.codes, values, chosen, coded.conditions, coded.excluded, coded.counts, coded.cumulative, has_variance,
        shares,
    )  # fmt: skip
    if not has_variance.any():
        return np.zeros(len(space)), np.zeros(len(space))
    shares = shares[has_variance]
    shares[:, coded.counts == 1] = 0.0  # of what has one value, rounding would leave something
    return shares.mean(axis=0), shares.std(axis=0)


def _fanova_of_learnt(
    space: OpenSpace, params: FloatArray, losses: FloatArray, trees: int | None
) -> tuple[FloatArray, FloatArray]:
    """The same of a space that is learnt: in what was learnt of it, as its samplers see it."""
    shares, spread = np.zeros(len(space)), np.zeros(len(space))
    learnt = space.learnt.space
    if learnt is not None:
        places = [space.position[name] for name in learnt]
        points = points_of(learnt, np.ascontiguousarray(params[places].T), np.arange(params.shape[1]), 0)
        shares[places], spread[places] = fanova(learnt, points.T, losses, trees)
    return shares, spread


def code(space: SearchSpace, params: FloatArray, values: FloatArray) -> Coded:
    """Trials as codes: choices in the order of their mean value, numbers in bins that hold about as many trials each.

    Where a condition depends on a number, bins begin and end where its ranges do.
    """
    d = len(space)
    parents: list[set[float]] = [set() for _ in range(d)]
    for own in space.conditions:
        for condition in own:
            parents[condition.parent].update(_edges(space.parameters[condition.parent], condition.allowed))
    codes = np.full(params.shape, -1, np.int16)
    masses: list[FloatArray] = []
    edges: list[npt.NDArray[Any]] = []  # of the bins, or the codes of choices
    for j, parameter in enumerate(space.parameters):
        column = params[j]
        active = ~np.isnan(column)
        if not parameter.is_ordered:
            rank = _choice_ranks(parameter.count or 0, column[active], values[active])
            codes[j, active] = rank[column[active].astype(np.int64)]
            masses.append(np.full(len(rank), 1.0 / len(rank)))
            edges.append(rank)
        elif parameter.count == 1:
            codes[j, active] = 0
            masses.append(np.ones(1))
            edges.append(np.empty(0))
        else:
            places, cuts = _cuts(parameter, column[active], sorted(parents[j]))
            codes[j, active] = np.searchsorted(cuts, places, "right")
            masses.append(np.diff(np.concatenate([[0.0], cuts, [1.0]])))
            edges.append(cuts)
    width = max(map(len, masses)) + 1
    cumulative = np.ones((d, width))
    for j, mass in enumerate(masses):
        cumulative[j, : len(mass)] = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    conditions, excluded = [], []
    for j in range(d):
        for ancestor, allowed in _on_what_it_depends(space, j).items():
            inactive = np.ones(len(masses[ancestor]))
            inactive[_codes_of(space.parameters[ancestor], edges[ancestor], allowed)] = 0.0
            conditions.append((j, ancestor))
            below = np.concatenate([[0.0], np.cumsum(inactive * masses[ancestor])])
            excluded.append(np.concatenate([below, np.full(width - len(below), below[-1])]))
    return Coded(
        codes, np.array([len(mass) for mass in masses]), cumulative,
        np.array(conditions, np.int64).reshape(-1, 2), np.array(excluded).reshape(-1, width),
    )  # fmt: skip


def _choice_ranks(count: int, column: FloatArray, values: FloatArray) -> IntArray:
    """The code of each choice: its place in the order of the mean values; choices never tried stand in the middle."""
    index = column.astype(np.int64)
    size = np.bincount(index, minlength=count)
    mean = np.bincount(index, values, minlength=count) / np.maximum(size, 1)
    mean[size == 0] = np.median(mean[size > 0]) if size.any() else 0.0
    rank = np.empty(count, np.int64)
    rank[np.argsort(mean, kind="stable")] = np.arange(count)
    return rank


def _position(parameter: Any, column: FloatArray) -> FloatArray:
    """Where column values lie on the unit axis of a number."""
    from fasthpo.kernels.axes import LOG, OFFSET, SPAN

    if isinstance(parameter, NormalNumber):
        return parameter.to_unit(column)
    axis = parameter.axis()
    values = np.log(column) if axis[LOG] else column
    found: FloatArray = np.clip(values / axis[SPAN] - axis[OFFSET] / axis[SPAN], 0.0, 1.0)
    return found


def _cuts(parameter: Any, column: FloatArray, parts: list[float]) -> tuple[FloatArray, FloatArray]:
    """The positions of a number's column values, and those at which bins end: between values that were tried."""
    places = _position(parameter, column)
    ordered = np.sort(places)
    kept = ordered[thinned(len(ordered), _BINS)] if len(ordered) else ordered
    kept = np.unique(kept)
    cuts = (kept[:-1] + kept[1:]) / 2
    if parts:
        low, high = parameter.reach
        around = np.array(parts)
        around = around[(around > low) & (around < high)]
        cuts = np.union1d(cuts, _position(parameter, around))
    inside = cuts[(cuts > _LEAST_MASS) & (cuts < 1 - _LEAST_MASS)]
    return places, inside[np.append(True, np.diff(inside) > _LEAST_MASS)[: len(inside)]]


def _on_what_it_depends(space: SearchSpace, j: int) -> dict[int, Ranges]:
    """The ancestors of a parameter, and the column values of each that it needs to be active."""
    needed: dict[int, Ranges] = {}
    todo = [j]
    while todo:
        for condition in space.conditions[todo.pop()]:
            known = needed.get(condition.parent)
            needed[condition.parent] = condition.allowed if known is None else known.common(condition.allowed)
            if known is None:
                todo.append(condition.parent)
    return needed


def _edges(parameter: Any, allowed: Ranges) -> list[float]:
    """The numbers at which ranges of a parameter's column values begin and end: between the values of a stepped one."""
    half = 0.0 if parameter.lattice is None else float(parameter.lattice.step) / 2
    return [edge for low, high in allowed.ends() for edge in (low - half, high + half)]


def _codes_of(parameter: Any, edges: Any, allowed: Ranges) -> IntArray:
    """The codes that stand for column values."""
    if not parameter.is_ordered:
        ranks: IntArray = edges[allowed.hold(np.arange(len(edges), dtype=np.float64))]
        return ranks
    if parameter.count == 1:
        return np.zeros(1, np.int64)
    low, high = parameter.reach
    ends = np.clip(np.array(allowed.ends()), low, high)
    # the bins between two edges of a range; of one that holds a single value, its own
    first = np.searchsorted(edges, _position(parameter, ends[:, 0]), "right")
    last = np.searchsorted(edges, _position(parameter, ends[:, 1]), "right")
    if parameter.lattice is None:  # the next bin begins at the upper edge
        last = np.maximum(first, np.searchsorted(edges, _position(parameter, ends[:, 1]), "left"))
    codes: IntArray = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
    return codes
