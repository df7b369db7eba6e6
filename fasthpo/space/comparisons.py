"""Conditions on the order of a parent's values, or on all values but some: `when={"layers": at_least(3)}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import as_choice, choice_to_json
from fasthpo.values import element, number, shown, steady_repr

_VALUES = {"at_least": 1, "at_most": 1, "between": 2, "not_in": None}  # how many each operator has


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What the value of a parent must be, made by `at_least`, `at_most`, `between` or `not_in`.

    Attributes:
        operator: the name of the function that made it.
        values: what it was given.
    """

    operator: str
    values: tuple[Any, ...]

    def __repr__(self) -> str:
        given = [list(self.values)] if self.operator == "not_in" else self.values
        return f"{self.operator}({', '.join(map(steady_repr, given))})"

    def words(self) -> str:
        """It as a text for people, such as "at least 3"."""
        named = [shown(value) for value in self.values]
        if self.operator == "between":
            return f"between {named[0]} and {named[1]}"
        return f"{self.operator.replace('_', ' ')} {', '.join(named)}"

    def to_json(self) -> dict[str, Any]:
        """It in plain JSON values, such as {"at_least": 3}; `comparison_from_json` reads it."""
        values = [choice_to_json(value) for value in self.values]
        return {self.operator: values[0] if _VALUES[self.operator] == 1 else values}


def at_least(value: Any) -> Comparison:
    """Active where the parent is `value` or more.

    Args:
        value: a number, or one of an `Ordinal` parent's choices.

    Raises:
        InvalidSearchSpace: it can't be compared.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({
        ...     "layers": fasthpo.Discrete(1, 4),
        ...     "dropout": fasthpo.Continuous(0.0, 0.5, when={"layers": fasthpo.at_least(3)}),
        ... })
        >>> space.contains({"layers": 2}), space.contains({"layers": 3, "dropout": 0.1})
        (True, True)
    """
    return Comparison("at_least", (condition_value(value),))


def at_most(value: Any) -> Comparison:
    """Active where the parent is `value` or less.

    Args:
        value: a number, or one of an `Ordinal` parent's choices.

    Raises:
        InvalidSearchSpace: it can't be compared.

    Example:
        >>> import fasthpo
        >>> fasthpo.Continuous(0.0, 0.5, when={"learning_rate": fasthpo.at_most(1e-3)}).when["learning_rate"]
        at_most(0.001)
    """
    return Comparison("at_most", (condition_value(value),))


def between(low: Any, high: Any) -> Comparison:
    """Active where the parent lies between `low` and `high`, both included.

    Args:
        low, high: numbers, or two of an `Ordinal` parent's choices.

    Raises:
        InvalidSearchSpace: they can't be compared.

    Example:
        >>> import fasthpo
        >>> fasthpo.Discrete(1, 8, when={"layers": fasthpo.between(2, 4)}).when["layers"]
        between(2, 4)
    """
    return Comparison("between", (condition_value(low), condition_value(high)))


def not_in(values: Iterable[Any]) -> Comparison:
    """Active where the parent is none of `values`.

    Args:
        values: a list of values that the parent can take, whatever its kind, unless it is a continuum.

    Raises:
        InvalidSearchSpace: no list, or an empty one.

    Example:
        >>> import fasthpo
        >>> fasthpo.Continuous(0.0, 0.99, when={"optimizer": fasthpo.not_in(["adam"])}).when["optimizer"]
        not_in(['adam'])
    """
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise InvalidSearchSpace(f"not_in needs a list of values, got {shown(values)}")
    listed = tuple(map(condition_value, values))
    if not listed:
        raise InvalidSearchSpace("not_in must list at least one value, got none")
    return Comparison("not_in", listed)


def condition_words(condition: Comparison | Iterable[Any]) -> str:
    """What a parent must be, as a text for people: "at least 3", or the values one of which it must have."""
    return condition.words() if isinstance(condition, Comparison) else " or ".join(map(shown, condition))


def condition_value(value: Any) -> Any:
    """A value of a condition, as a plain one."""
    found = element(value)
    if not isinstance(found, (str, tuple, frozenset)):
        try:
            return number(found)
        except (TypeError, OverflowError):
            pass  # no number: it may be a choice
    try:
        return as_choice(found)
    except InvalidSearchSpace as error:
        raise InvalidSearchSpace(
            f"when must list strings, booleans, numbers, None, or tuples or frozensets of these; {error}"
        ) from None


def comparison_from_json(definition: Mapping[str, Any], values: Iterable[Any]) -> Comparison:
    """The comparison that `to_json` described.

    Args:
        definition: what it wrote, a mapping of one entry.
        values: the values in it, made from JSON.

    Raises:
        InvalidSearchSpace: not such a description.
    """
    operator, listed = next(iter(definition), None), tuple(values)
    if len(definition) != 1 or operator not in _VALUES or len(listed) != (_VALUES[operator] or len(listed) or 1):
        raise InvalidSearchSpace(
            f"a condition must be a list of values, or one of {list(_VALUES)}, got {shown(definition)}"
        )
    return Comparison(operator, tuple(map(condition_value, listed)))
