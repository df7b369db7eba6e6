"""Draws from a space's prior that its relations allow, and whether there are enough of them.

A draw that breaks a relation is drawn anew, but only in those parameters that the relation joins: groups of parameters
that share no relation are independent of each other, so the draws are exactly those of the prior, given that all
relations hold, and ten independent relations cost ten times one, not one to the power of ten. What is drawn depends on
the seed, the index of the draw and the index of the attempt only.
"""

from __future__ import annotations

import numpy as np

from fasthpo.errors import InvalidSearchSpace
from fasthpo.kernels.streams import uniforms
from fasthpo.space.allowed_cells import ListedPoints, TooManyCells
from fasthpo.space.enumeration import INACTIVE, Cells
from fasthpo.space.relations import Group
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, IntArray

_STREAM = 2**16  # and one more for each group
_MOST_ATTEMPTS = 2**22  # by far more than are needed where the probe below has found enough
_MOST_ROWS = 2**13
_MOST_AT_ONCE = 2**13  # attempts
_MOST_NUMBERS = 2**21  # the same, times the parameters
_ENOUGH, _MOST_PROBED = 8, 2**18  # points that must be allowed, of how many


def prior_rows(space: SearchSpace, unit: FloatArray, seed: int, draws: IntArray) -> FloatArray:
    """Rows (n, d) of the prior at quantiles `unit` (n, d), drawn anew where they break a relation.

    Args:
        space: the search space.
        unit: in [0, 1).
        seed: 0 to 2**64 - 1.
        draws: indices of the draws, int64 (n,), below 2**32.
    """
    if not space.relations:
        return space.from_unit(unit)
    parts = [
        _allowed_rows(space, unit[first : first + _MOST_ROWS], seed, draws[first : first + _MOST_ROWS])
        for first in range(0, max(len(unit), 1), _MOST_ROWS)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def is_allowed(space: SearchSpace, row: FloatArray) -> bool:
    """Whether all relations hold for a row (d,)."""
    return not space.relations or bool(space.allows(row[None, :])[0])


def _allowed_rows(space: SearchSpace, unit: FloatArray, seed: int, draws: IntArray) -> FloatArray:
    values = space._values_at(unit)
    rows = space.deactivate(values.copy())
    for place, group in enumerate(space._groups):
        broken = np.flatnonzero(~group.hold(rows))
        if len(broken):
            members = group.parameters
            values[np.ix_(broken, members)] = _drawn_anew(space, place, group, seed, draws[broken])
    return space.deactivate(values)


def _drawn_anew(space: SearchSpace, place: int, group: Group, seed: int, draws: IntArray) -> FloatArray:
    """Values (n, k) of a group's parameters, active or not, for each of several draws the first that are allowed."""
    points = _rare_points(space, place)
    if points is not None:
        unit = uniforms(seed, draws, _STREAM + place, 1)[:, 0]
        rare: FloatArray = points[(unit * len(points)).astype(np.int64)]
        return rare
    found = np.empty((len(draws), len(group.parameters)))
    left = np.arange(len(draws))
    first, width = 0, 4
    most = max(min(_MOST_AT_ONCE, _MOST_NUMBERS // len(space)), 64)
    while len(left):
        if first >= _MOST_ATTEMPTS:
            raise _nearly_all_forbidden(group, 0, first)
        attempts = np.arange(first, first + width)
        values, holds = _attempts(space, place, group, seed, draws[left], attempts)
        has = holds.any(axis=1)
        found[left[has]] = values[has, holds[has].argmax(axis=1)]
        left = left[~has]
        first += width
        width = min(2 * width, max(most // max(len(left), 1), 1))
    return found


def _attempts(
    space: SearchSpace, place: int, group: Group, seed: int, draws: IntArray, attempts: IntArray
) -> tuple[FloatArray, np.ndarray]:
    """Values (n, m, k) of a group's parameters at several attempts of several draws, and whether they are allowed."""
    members = group.parameters
    words = (draws[:, None] + (attempts << 32)[None, :]).ravel()
    unit = np.zeros((len(words), len(space)))
    unit[:, members] = uniforms(seed, words, _STREAM + place, len(members))
    values = space._values_at(unit, members)
    drawn = values[:, members]
    holds = group.hold(space.deactivate(values, members))
    return drawn.reshape(len(draws), len(attempts), -1), holds.reshape(len(draws), len(attempts))


def _rare_points(space: SearchSpace, place: int) -> FloatArray | None:
    """The allowed points (n, k) of a group's parameters, if these are too rare to be found by chance; else None.

    Raises:
        InvalidSearchSpace: they are too rare, and too many combinations to be listed; or there are none.
    """
    if place not in space._rare:
        group, found, first, width = space._groups[place], 0, 0, 64
        most = max(min(_MOST_AT_ONCE, _MOST_NUMBERS // len(space)), 64)
        points: FloatArray | None = None
        while found < _ENOUGH and first < _MOST_PROBED:
            attempts = np.arange(first, first + width)
            found += int(_attempts(space, place, group, 0, np.zeros(1, np.int64), attempts)[1].sum())
            first += width
            width = min(2 * width, most)
            if found < _ENOUGH and first >= _MOST_AT_ONCE and (points := _listed_points(space, group)) is not None:
                break
        if points is not None and not len(points):
            relations = ", ".join(map(repr, group.relations))
            raise InvalidSearchSpace(f"no point of the search space is allowed by {relations}")
        if points is None and found < _ENOUGH:
            raise _nearly_all_forbidden(group, found, first)
        space._rare[place] = points
    return space._rare[place]


def check_allowed(space: SearchSpace) -> None:
    """Make sure that enough points are allowed to find them.

    Raises:
        InvalidSearchSpace: none is, or so few that they can't be found by chance; says how many were.
    """
    for place in range(len(space._groups)):
        _rare_points(space, place)


def _listed_points(space: SearchSpace, group: Group) -> FloatArray | None:
    """The allowed points of the parameters of a group, (n, k); None if they are too many to list."""
    counts = [parameter.count or 0 for parameter in space.parameters]
    if not all(counts[j] for j in group.parameters.tolist()):
        return None
    rows_of = Cells(space, counts).rows
    try:
        listed = ListedPoints(space, group.relations, group.parameters, counts, rows_of)
    except TooManyCells:
        return None
    digits = np.full((len(listed), len(space)), INACTIVE, np.int64)
    digits[:, group.parameters] = listed.digits(listed.codes)
    points = rows_of(digits)[:, group.parameters]
    # what is inactive there has a value all the same, which nothing reads
    return np.where(np.isnan(points), 0.0, points)


def _nearly_all_forbidden(group: Group, found: int, of: int) -> InvalidSearchSpace:
    relations = ", ".join(map(repr, group.relations))
    share = (found or 3) / of  # of none in n, less than 3 / n is allowed with a probability of 95 %
    return InvalidSearchSpace(
        f"nearly all points of the search space are forbidden: of {of} random ones {found} are allowed by {relations}, "
        f"so {'less than ' if not found else 'about '}{100 * share:.2g} % are, and at least {_ENOUGH} are needed; "
        'give the parameters bounds that fit, or make one the bound of another, such as Continuous(0.0, "high")'
    )
