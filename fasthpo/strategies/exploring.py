"""How the parameters of a member of a population are changed when it is begun from another one's weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fasthpo.kernels.streams import uniforms
from fasthpo.space.parameter import Numeric, Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.lineage import Fork
from fasthpo.values import FloatArray

PARENT_STREAM, _CHANGE_STREAM, _SIDE_STREAM, _PRIOR_STREAM = 80, 81, 82, 83
_STREAMS = 2**10  # by which those of the next attempt are higher
_ATTEMPTS = 16  # at a change that the space's relations allow
_LARGEST = 2**32  # more members than any population has: (generation, member) is one index of a draw


def member_index(fork: Fork) -> int:
    """The index of a member's draws, which depends on its generation and its place."""
    return fork.generation * _LARGEST + fork.member


def member_uniforms(seed: int, fork: Fork, stream: int, count: int) -> FloatArray:
    """Uniform numbers (count,) that depend on the seed, the generation and the member only."""
    numbers: FloatArray = uniforms(seed, np.array([member_index(fork)]), stream, count)[0]
    return numbers


def perturbed(
    space: SearchSpace,
    row: FloatArray,
    mutable: npt.NDArray[np.bool_],
    perturbation: float,
    resample_probability: float,
    seed: int,
    fork: Fork,
) -> FloatArray:
    """The parameters (d,) of a member that is begun from the weights of one with the parameters `row` (d,).

    Each mutable parameter is drawn anew with a probability of `resample_probability`, and else moved up or down, with
    equal probability. A parameter of a branch that opens is drawn from the prior, mutable or not. A change that a
    relation of the space forbids, or that would move the bound of a parameter that may not change beyond its value, is
    drawn anew; the parent's parameters stay if no change is allowed.

    Args:
        space: the search space.
        row: the parent's.
        mutable: which parameters may change, (d,).
        perturbation: see `moved`.
        resample_probability: from 0 to 1.
        seed, fork: decide what is drawn.
    """
    for attempt in range(_ATTEMPTS if space.relations else 1):
        found = _change(space, row, mutable, perturbation, resample_probability, seed, fork, attempt * _STREAMS)
        inside = space.put_inside(found[None, :])
        if are_possible(space, inside, row, mutable)[0]:
            possible: FloatArray = inside[0]
            return possible
    return row.copy()


def are_possible(
    space: SearchSpace, rows: FloatArray, parent: FloatArray, mutable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which rows (n, d) keep the space's relations, and what the parent (d,) has where that may not change: (n,)."""
    kept: npt.NDArray[np.bool_] = (mutable | (rows == parent) | np.isnan(rows) | np.isnan(parent)).all(1)
    return kept & space.allows(rows) if space.relations else kept


def _change(
    space: SearchSpace,
    row: FloatArray,
    mutable: npt.NDArray[np.bool_],
    perturbation: float,
    resample_probability: float,
    seed: int,
    fork: Fork,
    streams: int,
) -> FloatArray:
    d = len(space)
    change = member_uniforms(seed, fork, _CHANGE_STREAM + streams, d)
    side = member_uniforms(seed, fork, _SIDE_STREAM + streams, d)
    unit = member_uniforms(seed, fork, _PRIOR_STREAM + streams, d)
    found = np.full(d, np.nan)
    for j in space.order:
        if not all(one.allowed.holds(found[one.parent]) for one in space.conditions[j]):
            continue
        parameter = space.parameters[j]
        if np.isnan(row[j]) or (mutable[j] and change[j] < resample_probability):
            found[j] = parameter.from_unit(unit[j : j + 1])[0]
        else:
            found[j] = moved(parameter, float(row[j]), side[j] < 0.5, perturbation) if mutable[j] else row[j]
    return found


def moved(parameter: Parameter, value: float, down: bool, perturbation: float) -> float:
    """A value of a parameter near another one, within its bounds and on its steps.

    On a logarithmic scale it is divided or multiplied by 1 + perturbation, on a linear one it moves by half of
    `perturbation` of the range (which is the same in the middle of a range from 0). A finite parameter moves by one
    step at least, a choice to its neighbour in the list. What would leave the bounds ends at them.
    """
    sign = -1 if down else 1
    goal = value
    if isinstance(parameter, Numeric):
        if parameter.log:
            goal = value * (1 + perturbation) ** sign
        else:
            least, most = parameter.reach
            goal = value + sign * perturbation / 2 * (most - least)
        goal = min(max(goal, parameter.low), parameter.high)
    if parameter.count is None:
        return goal
    cell, nearest = parameter.cell(np.array([value, goal])).tolist()
    index = min(nearest, cell - 1) if down else max(nearest, cell + 1)
    return float(parameter.at(np.array(min(max(index, 0), parameter.count - 1))))
