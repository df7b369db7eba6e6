"""A trial as it was at one moment, and one with given parameters, on which objectives can be called, too."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from fasthpo.compat.optuna.distributions import BaseDistribution
from fasthpo.compat.optuna.suggesting import BaseTrial
from fasthpo.errors import InvalidValue


class TrialState(IntEnum):
    """Where a trial stands."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    def is_finished(self) -> bool:
        """Whether the trial has ended."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

    def __repr__(self) -> str:
        return f"TrialState.{self.name}"


class _KnownTrial(BaseTrial):
    """A trial that does not run, on which an objective can be called all the same."""

    params: dict[str, Any]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]

    def report(self, value: float, step: int) -> None:
        """Nothing: no study goes by it."""

    def should_prune(self) -> bool:
        """No: no pruner looks at it."""
        return False

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def set_system_attr(self, key: str, value: Any) -> None:
        self.system_attrs[key] = value


class FrozenTrial(_KnownTrial):
    """All that is known of a trial; it does not change when the trial goes on."""

    def __init__(
        self,
        number: int,
        state: TrialState,
        value: float | None,
        datetime_start: datetime.datetime | None,
        datetime_complete: datetime.datetime | None,
        params: dict[str, Any],
        distributions: dict[str, BaseDistribution],
        user_attrs: dict[str, Any],
        system_attrs: dict[str, Any],
        intermediate_values: dict[int, float],
        trial_id: int,
        *,
        values: Sequence[float] | None = None,
    ) -> None:
        self.number = number
        self.state = state
        self.values = [value] if value is not None else None if values is None else list(values)
        self.datetime_start = datetime_start
        self.datetime_complete = datetime_complete
        self.params = params
        self.distributions = distributions
        self.user_attrs = user_attrs
        self.system_attrs = system_attrs
        self.intermediate_values = intermediate_values
        self.constraints: dict[str, float] = {}
        self._trial_id = trial_id

    @property
    def value(self) -> float | None:
        """The value of the one objective; None if there is none."""
        if self.values is not None and len(self.values) > 1:
            raise RuntimeError("a trial of several objectives has no single value: see `values`")
        return None if self.values is None else self.values[0]

    @property
    def last_step(self) -> int | None:
        """The highest step that was reported."""
        return max(self.intermediate_values, default=None)

    @property
    def duration(self) -> datetime.timedelta | None:
        """From the start to the end."""
        if self.datetime_start is None or self.datetime_complete is None:
            return None
        return self.datetime_complete - self.datetime_start

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        return _given(self.params, name, distribution)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenTrial) and self.__dict__ == other.__dict__

    def __lt__(self, other: FrozenTrial) -> bool:
        return self.number < other.number

    def __hash__(self) -> int:
        return hash((self.number, self.state))

    def __repr__(self) -> str:
        return (
            f"FrozenTrial(number={self.number}, state={self.state!r}, values={self.values}, params={self.params}, "
            f"user_attrs={self.user_attrs}, intermediate_values={self.intermediate_values}, "
            f"datetime_start={self.datetime_start!r}, datetime_complete={self.datetime_complete!r})"
        )


class FixedTrial(_KnownTrial):
    """A trial with given parameters, to call an objective on."""

    def __init__(self, params: Mapping[str, Any], number: int = 0) -> None:
        self.params = dict(params)
        self.number = number
        self.user_attrs: dict[str, Any] = {}
        self.system_attrs: dict[str, Any] = {}
        self.datetime_start = datetime.datetime.now()
        self.distributions: dict[str, BaseDistribution] = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        value = _given(self.params, name, distribution)
        self.distributions[name] = distribution
        return value


def _given(params: Mapping[str, Any], name: str, distribution: BaseDistribution) -> Any:
    if name not in params:
        raise InvalidValue(f"the trial has no parameter {name!r}; it has {list(params)}")
    value = params[name]
    if not distribution._contains(value):
        raise InvalidValue(f"the trial's {name!r} is {value!r}, which lies outside of {distribution}")
    return value


def create_trial(
    *,
    state: TrialState = TrialState.COMPLETE,
    value: float | None = None,
    values: Sequence[float] | None = None,
    params: dict[str, Any] | None = None,
    distributions: dict[str, BaseDistribution] | None = None,
    user_attrs: dict[str, Any] | None = None,
    system_attrs: dict[str, Any] | None = None,
    intermediate_values: dict[int, float] | None = None,
) -> FrozenTrial:
    """A trial whose result is known, for `Study.add_trial`.

    Raises:
        InvalidValue: parameters and distributions have other names, a value lies outside, or a trial that is complete
            has none.
    """
    params, distributions = params or {}, distributions or {}
    if params.keys() != distributions.keys():
        raise InvalidValue(
            f"params and distributions must have the same names, got {list(params)} and {list(distributions)}"
        )
    for name, distribution in distributions.items():
        _given(params, name, distribution)
    if state == TrialState.COMPLETE and value is None and values is None:
        raise InvalidValue("a trial that is complete needs a value")
    now = datetime.datetime.now()
    started = None if state == TrialState.WAITING else now
    return FrozenTrial(
        -1, TrialState(state), value, started, now if state.is_finished() else None, dict(params), dict(distributions),
        dict(user_attrs or {}), dict(system_attrs or {}), dict(intermediate_values or {}), -1, values=values,
    )  # fmt: skip
