"""What `FastSearchCV` searches: fasthpo's parameters, lists of anything, and SciPy's distributions, as one space."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, count, pairwise
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import as_choice, choice_key
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.normal import Normal
from fasthpo.space.ordinal import Ordinal
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import shown

_ALTERNATIVE = "alternative"
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
            - a frozen distribution of `scipy.stats`: `uniform`, `loguniform`, `randint` and `norm` become the parameter
              that they describe, any other with a `ppf` is searched by its quantile.

            Or a list of such mappings, of which a candidate takes one: a parameter "alternative" says which.

    Raises:
        InvalidSearchSpace: it is something else.
    """

    def __init__(self, given: Any) -> None:
        self._meanings: dict[str, Callable[[Any], Any]] = {}
        self._names: dict[str, str | None] = {}  # the estimator's, of parameters that are called otherwise here
        if isinstance(given, (list, tuple)) and len(given) == 1:
            given = given[0]
        if isinstance(given, SearchSpace):
            self.space = given
        elif isinstance(given, Mapping):
            self.space = SearchSpace({name: self._parameter(name, name, one) for name, one in given.items()})
        elif isinstance(given, (list, tuple)) and given and all(isinstance(one, Mapping) for one in given):
            self.space = SearchSpace(self._alternatives(given))
        else:
            raise InvalidSearchSpace(
                f"space must be a SearchSpace, or map names of parameters to what they may be, got {shown(given)}"
            )

    def params(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """What `set_params` takes for a point of the space: its active parameters."""
        found = {}
        for name, value in point.items():
            known_as = self._names.get(name, name)
            if known_as is not None:
                found[known_as] = self._meanings[name](value) if name in self._meanings else value
        return found

    def _alternatives(self, given: Sequence[Mapping[str, Any]]) -> dict[str, Parameter]:
        """A parameter that chooses a mapping, and those of all mappings, active if theirs is chosen."""
        if any(_ALTERNATIVE in mapping for mapping in given):
            raise InvalidSearchSpace(
                f"of several mappings none can have a parameter {_ALTERNATIVE!r}, which says which of them is taken: "
                "give one mapping, with conditions"
            )
        if any(isinstance(mapping, SearchSpace) and mapping.relations for mapping in given):
            raise InvalidSearchSpace(
                "of several mappings none can have relations, as its parameters are not always there: give one "
                "SearchSpace, with conditions"
            )
        self._names[_ALTERNATIVE] = None
        found: dict[str, Parameter] = {_ALTERNATIVE: Categorical(range(len(given)))}
        for i, mapping in enumerate(given):
            for name, one in mapping.items():
                unique = f"{name} [{i}]" if sum(name in other for other in given) > 1 else name
                self._names[unique] = name
                parameter = self._parameter(name, unique, one)
                if parameter.when:
                    raise InvalidSearchSpace(
                        f"{shown(name)} has a condition, which one of several mappings can't have: give one mapping, "
                        "with conditions for all that is not always there"
                    )
                found[unique] = parameter.under({_ALTERNATIVE: [i]})
        return found

    def _parameter(self, name: Any, unique: Any, given: Any) -> Parameter:
        """The parameter for what was given.

        Args:
            name: the estimator's.
            unique: the study's.
            given: for it.
        """
        if isinstance(given, Parameter):
            return given
        if hasattr(given, "rvs"):
            return self._of_distribution(name, unique, given)
        if isinstance(given, (str, bytes, Mapping, set, frozenset)) or not hasattr(given, "__iter__"):
            raise InvalidSearchSpace(
                f"{shown(name)} must be a parameter such as LogUniform(1e-3, 1e3), a list of choices, or a "
                f"distribution of scipy.stats, got {shown(given)}"
            )
        if not (choices := list(given)):
            raise InvalidSearchSpace(f"{shown(name)} must have at least one choice, got none")
        return self._of_choices(unique, choices)

    def _of_choices(self, unique: str, choices: list[Any]) -> Categorical:
        """The choices themselves, each once, or, of those that a study can't hold, their labels.

        Numbers that rise or fall have an order.
        """
        data: dict[Any, Any] = {}
        others = []
        for one in choices:
            try:
                choice = as_choice(one)
                data.setdefault(choice_key(choice), choice)
            except InvalidSearchSpace:
                others.append(one)
        if not others:
            return (Ordinal if _is_scale(list(data.values())) else Categorical)(list(data.values()))
        kinds = Counter(type(one).__name__ for one in others)
        meaning: dict[str, Any] = {}
        for one in others:
            label = _distinct(_label(one, kinds), {*data, *((str, taken) for taken in meaning)})
            meaning[label] = one
        self._meanings[unique] = lambda value: meaning.get(value, value) if isinstance(value, str) else value
        return Categorical([*data.values(), *meaning])

    def _of_distribution(self, name: str, unique: str, given: Any) -> Parameter:
        """The parameter that a frozen distribution describes, or else its quantile."""
        if not callable(getattr(given, "ppf", None)):
            raise InvalidSearchSpace(
                f"{shown(name)} must be a distribution with quantiles (ppf), as of scipy.stats, got {shown(given)}"
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
        if kind == "norm":
            return Normal(float(given.mean()), float(given.std()))
        is_whole = callable(getattr(given, "pmf", None))
        self._meanings[unique] = lambda quantile: (int if is_whole else float)(given.ppf(quantile))
        return Continuous(_LOWEST_QUANTILE, 1 - _LOWEST_QUANTILE)


def _is_scale(choices: list[Any]) -> bool:
    """Whether these are three numbers or more in order."""
    if len(choices) < 3 or not all(type(one) in (int, float) for one in choices):
        return False
    rises = {one < other for one, other in pairwise(choices)}
    return len(rises) == 1 and not any(math.isnan(one) for one in choices)


def _distinct(label: str, taken: Collection[Any]) -> str:
    """The label, with a number if it is taken."""
    numbered = (f"{label} ({number})" for number in count(2))
    return next(one for one in chain([label], numbered) if (str, one) not in taken)


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
