"""What `FastSearchCV` searches: fasthpo's parameters, lists of anything, and SciPy's distributions, as one space."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import plain, shown

_LONGEST_LABEL = 80
_LOWEST_QUANTILE = 1e-4  # distributions without bounds have infinite quantiles at 0 and 1


class EstimatorSpace:
    """A search space, and what its points mean for an estimator.

    Attributes:
        space: what a study searches. Choices that a study can't hold, such as estimators and tuples, have labels there.

    Args:
        given: a `SearchSpace`, or a mapping of the names of the estimator's parameters to one of

            - a parameter of fasthpo's, with conditions if need be;
            - a list of choices, which may be anything: numbers, strings, tuples, functions, estimators;
            - a frozen distribution of `scipy.stats`: `uniform`, `loguniform` and `randint` become the parameter that
              they describe, any other with a `ppf` is searched by its quantile.

    Raises:
        InvalidSearchSpace: it is something else.
    """

    def __init__(self, given: Any) -> None:
        self._meanings: dict[str, Callable[[Any], Any]] = {}
        if isinstance(given, SearchSpace):
            self.space = given
            return
        if not isinstance(given, Mapping):
            hint = (
                "; for alternatives with parameters of their own, give one mapping with conditions, such as "
                "gamma=LogUniform(1e-4, 1, when={'kernel': ['rbf']})"
                if isinstance(given, (list, tuple))
                else ""
            )
            raise InvalidSearchSpace(
                f"space must be a SearchSpace, or map names of parameters to what they may be, got {shown(given)}{hint}"
            )
        self.space = SearchSpace({name: self._parameter(name, one) for name, one in given.items()})

    def params(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """What `set_params` takes for a point of the space: its active parameters."""
        meanings = self._meanings
        return {name: meanings[name](value) if name in meanings else value for name, value in point.items()}

    def _parameter(self, name: Any, given: Any) -> Parameter:
        if isinstance(given, Parameter):
            return given
        if hasattr(given, "rvs"):
            return self._of_distribution(name, given)
        if isinstance(given, (str, bytes, Mapping, set, frozenset)) or not hasattr(given, "__iter__"):
            raise InvalidSearchSpace(
                f"{shown(name)} must be a parameter such as LogUniform(1e-3, 1e3), a list of choices, or a "
                f"distribution of scipy.stats, got {shown(given)}"
            )
        return self._of_choices(name, list(given))

    def _of_choices(self, name: str, choices: list[Any]) -> Categorical:
        """The choices themselves, or, of those that a study can't hold, their labels."""
        listed = [plain(one) for one in choices]
        if all(map(_is_storable, listed)):
            return Categorical(listed)
        kinds = Counter(type(one).__name__ for one in listed)
        meaning: dict[Value, Any] = {}
        for one in listed:
            label = one if _is_storable(one) else _label(one, kinds)
            copies, unique = 1, label
            while unique in meaning and label is not one:
                copies += 1
                unique = f"{label} ({copies})"
            meaning[unique] = one
        self._meanings[name] = meaning.__getitem__
        return Categorical(list(meaning))

    def _of_distribution(self, name: str, given: Any) -> Parameter:
        """The parameter that a frozen distribution describes, or else its quantile."""
        if not callable(getattr(given, "ppf", None)):
            raise InvalidSearchSpace(
                f"{shown(name)} must be a distribution with quantiles (ppf), as those of scipy.stats, got {shown(given)}"
            )
        kind = getattr(getattr(given, "dist", None), "name", None)
        low, high = map(float, given.support())
        if kind == "randint":
            return Discrete(int(low), int(high))
        if kind == "uniform":
            return Continuous(low, high)
        # shifted by loc it is not uniform in the logarithm
        if kind in ("loguniform", "reciprocal") and math.isclose(given.ppf(0.5), math.sqrt(low * high), rel_tol=1e-6):
            return LogUniform(low, high)
        is_whole = callable(getattr(given, "pmf", None))
        self._meanings[name] = lambda quantile: (int if is_whole else float)(given.ppf(quantile))
        return Continuous(_LOWEST_QUANTILE, 1 - _LOWEST_QUANTILE)


def _is_storable(choice: Any) -> bool:
    """Whether a study can hold it as it is."""
    if isinstance(choice, float):
        return type(choice) is float and math.isfinite(choice)
    return type(choice) in (str, bool, int, type(None))


def _label(choice: Any, kinds: Mapping[str, int]) -> str:
    """What a choice is called in a study: the same whenever the program runs.

    Args:
        choice: it.
        kinds: how many choices there are of each class.
    """
    if callable(choice) and isinstance(name := getattr(choice, "__name__", None), str):
        return name
    kind = type(choice).__name__
    if hasattr(choice, "get_params") and kinds[kind] == 1:
        return kind  # by which conditions are easy to write
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(choice).split()))
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 3]}..."
