"""How an objective asks for parameters: Optuna's methods, each of which names a parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from fasthpo.compat.optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


class BaseTrial(ABC):
    """What every kind of trial has."""

    @abstractmethod
    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        """The value of a parameter."""

    @abstractmethod
    def report(self, value: float, step: int) -> None:
        """An intermediate value."""

    @abstractmethod
    def should_prune(self) -> bool:
        """Whether the trial is to end."""

    @abstractmethod
    def set_user_attr(self, key: str, value: Any) -> None:
        """Note something down with the trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        value: float = self._suggest(name, FloatDistribution(low, high, log, step))
        return value

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        value: int = self._suggest(name, IntDistribution(low, high, log, step))
        return value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)
