"""Optuna's distributions, and the parameters that they mean here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fasthpo.compat.optuna.choices import parameter_of_choices
from fasthpo.errors import InvalidParameters
from fasthpo.space.asking import float_parameter, int_parameter
from fasthpo.space.parameter import Parameter

CategoricalChoiceType: TypeAlias = bool | int | float | str | None


class BaseDistribution(ABC):
    """What every distribution is."""

    @abstractmethod
    def parameter(self) -> Parameter:
        """The parameter that it means."""

    def single(self) -> bool:
        """Whether it has one value only."""
        return self.parameter().count == 1

    def _contains(self, value: Any) -> bool:
        return self.parameter().contains(value)


@dataclass(frozen=True)
class FloatDistribution(BaseDistribution):
    """A float from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        self.parameter()

    def parameter(self) -> Parameter:
        return float_parameter(self.low, self.high, self.step, self.log)


@dataclass(frozen=True)
class IntDistribution(BaseDistribution):
    """An integer from `low` to `high`."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        self.parameter()

    def parameter(self) -> Parameter:
        return int_parameter(self.low, self.high, self.step, self.log)


@dataclass(frozen=True)
class CategoricalDistribution(BaseDistribution):
    """One of several choices."""

    choices: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        self.parameter()

    def parameter(self) -> Parameter:
        return parameter_of_choices(self.choices)[0]

    def _contains(self, value: Any) -> bool:
        return value in self.choices

    def to_internal_repr(self, value: Any) -> float:
        """The index of a choice."""
        if value not in self.choices:
            raise InvalidParameters(f"must be one of {list(self.choices)}, got {value!r}")
        return float(self.choices.index(value))


def UniformDistribution(low: float, high: float) -> FloatDistribution:  # noqa: N802  (a class in earlier Optunas)
    """`FloatDistribution(low, high)`, as programs for earlier versions have it."""
    return FloatDistribution(low, high)


def LogUniformDistribution(low: float, high: float) -> FloatDistribution:  # noqa: N802
    """`FloatDistribution(low, high, log=True)`, as programs for earlier versions have it."""
    return FloatDistribution(low, high, log=True)


def DiscreteUniformDistribution(low: float, high: float, q: float) -> FloatDistribution:  # noqa: N802
    """`FloatDistribution(low, high, step=q)`, as programs for earlier versions have it."""
    return FloatDistribution(low, high, step=q)


def IntUniformDistribution(low: int, high: int, step: int = 1) -> IntDistribution:  # noqa: N802
    """`IntDistribution(low, high, step=step)`, as programs for earlier versions have it."""
    return IntDistribution(low, high, step=step)


def IntLogUniformDistribution(low: int, high: int, step: int = 1) -> IntDistribution:  # noqa: N802
    """`IntDistribution(low, high, log=True)`, as programs for earlier versions have it."""
    return IntDistribution(low, high, log=True, step=step)


def distribution_of(parameter: Parameter, objects: Sequence[Any] | None = None) -> BaseDistribution:
    """The distribution of a parameter's values.

    Args:
        parameter: of a study's space.
        objects: the choices that it stands for, if these are no plain values.
    """
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices if objects is None else objects)
    one: Any = parameter
    if parameter.is_whole:
        return IntDistribution(one.low, one.high, one.log, one.step)
    return FloatDistribution(*parameter.reach, one.log, one.step)
