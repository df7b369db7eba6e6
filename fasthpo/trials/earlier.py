"""What a study knows of earlier ones: a few of their points by value, and how good these were among the others there.

It is part of the study's definition, so that the earlier studies may change or go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fasthpo.errors import InvalidParameters
from fasthpo.space.choice_values import choice_from_json, choice_to_json
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, IntArray

MOST_POINTS = 64  # of one earlier study
MOST_STUDIES = 16
_LARGEST = 1e6  # of scores, whose variance is 1 over at most some thousand trials


class EarlierStudy(NamedTuple):
    """Points of one earlier study, the best first.

    Attributes:
        trials: how many it had.
        params: of each of its parameters, which of the points have a value for it, (k,), and these values.
        scores: how good the points are, (n,): falling, of mean 0 and variance 1 over the study's trials.
    """

    trials: int
    params: Mapping[str, tuple[IntArray, Sequence[Value]]]
    scores: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """The same in plain JSON values; `from_dict` reads it."""
        params = {
            name: {
                **({} if len(at) == len(self.scores) else {"at": at.tolist()}),
                "values": [choice_to_json(value) for value in values],
            }
            for name, (at, values) in self.params.items()
        }
        return {"trials": self.trials, "scores": self.scores.tolist(), "params": params}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EarlierStudy:
        """The study that `to_dict` described.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it describes none.
        """
        scores = np.array(fields["scores"], np.float64)
        n = len(scores)
        is_falling = scores.ndim == 1 and (np.abs(scores) < _LARGEST).all() and np.diff(scores).max(initial=0.0) <= 0
        if not is_falling or not 1 <= n <= MOST_POINTS:
            raise ValueError("the scores of an earlier study are not as they must be")
        params: dict[str, tuple[IntArray, Sequence[Value]]] = {}
        for name, one in fields["params"].items():
            at = np.array(one["at"], np.int64) if "at" in one else np.arange(n)
            values = [choice_from_json(value) for value in one["values"]]
            if at.ndim != 1 or len(at) != len(values) or (len(at) and not (0 <= at.min() <= at.max() < n)):
                raise ValueError(f"the values of {name!r} in an earlier study are not as they must be")
            params[str(name)] = at, values
        trials = fields["trials"]
        if type(trials) is not int or trials < n:
            raise ValueError("an earlier study has fewer trials than points")
        return cls(trials, params, scores)


class Recalled(NamedTuple):
    """Points of an earlier study that lie in a search space.

    Attributes:
        rows: column values (n, d); NaN where a parameter is inactive, or unknown there.
        scores: see `EarlierStudy`, (n,).
        known: which parameters the study had, (d,).
    """

    rows: FloatArray
    scores: FloatArray
    known: np.ndarray[Any, np.dtype[np.bool_]]


class Earlier:
    """What is known of several earlier studies.

    Args:
        studies: at least one.
    """

    def __init__(self, studies: Sequence[EarlierStudy]) -> None:
        self.studies = tuple(studies)
        # of the space that was asked for last, as one object: another thread may put another one there meanwhile
        self._recalled: tuple[SearchSpace, tuple[Recalled, ...]] | None = None

    def __str__(self) -> str:
        """What they are, in a few words."""
        trials = [f"{study.trials:,}" for study in self.studies]
        what = "an earlier study" if len(trials) == 1 else f"{len(trials)} earlier studies"
        listed = " and ".join([", ".join(trials[:-1]), trials[-1]] if len(trials) > 1 else trials)
        return f"{what}, of {listed} trial{'' if trials == ['1'] else 's'}"

    def to_list(self) -> list[dict[str, Any]]:
        """The studies in plain JSON values; `from_list` reads them."""
        return [study.to_dict() for study in self.studies]

    @classmethod
    def from_list(cls, described: Sequence[Any]) -> Earlier:
        """The studies that `to_list` described.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it describes none.
        """
        if not isinstance(described, list) or not 1 <= len(described) <= MOST_STUDIES:
            raise ValueError(f"there must be 1 to {MOST_STUDIES} earlier studies")
        return cls([EarlierStudy.from_dict(one) for one in described])

    def recalled(self, space: SearchSpace) -> tuple[Recalled, ...]:
        """Of each earlier study the points that lie in a space."""
        found = self._recalled
        if found is None or found[0] is not space:
            self._recalled = found = space, tuple(_recalled(study, space) for study in self.studies)
        return found[1]


def _recalled(study: EarlierStudy, space: SearchSpace) -> Recalled:
    rows = np.full((len(study.scores), len(space)), np.nan)
    inside = np.ones(len(rows), bool)
    known = np.zeros(len(space), bool)
    for j, (name, parameter) in enumerate(space.items()):
        if name in study.params:
            known[j] = True
            at, values = study.params[name]
            rows[at, j] = columns = np.array([_column_value(parameter, value) for value in values], np.float64)
            inside[at[np.isnan(columns)]] = False
    inside &= known.any()  # points of which nothing is known here say nothing
    rows = space.deactivate(rows[inside])
    return Recalled(rows, study.scores[inside], known)


def _column_value(parameter: Parameter, value: Value) -> float:
    """The column value of an earlier study's value, the nearest one of a lattice; NaN for one outside the parameter."""
    try:
        return parameter.encode(value)
    except InvalidParameters:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if parameter.choices is not None or parameter.lattice is None or not is_number:
            return math.nan
        low, high = parameter.bounds
        if not low <= value <= high:  # type: ignore[operator]
            return math.nan
        return float(parameter.at(parameter.cell(np.array([float(value)])))[0])  # type: ignore[arg-type]
