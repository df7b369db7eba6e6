"""A trial that runs, as an objective sees it."""

from __future__ import annotations

import datetime
from typing import Any

from fasthpo.compat.optuna.choices import parameter_of_choices
from fasthpo.compat.optuna.distributions import BaseDistribution, CategoricalDistribution
from fasthpo.compat.optuna.notes import CONSTRAINT, as_constraint
from fasthpo.compat.optuna.parts import Parts
from fasthpo.compat.optuna.suggesting import BaseTrial
from fasthpo.space.choice_values import choice_to_json
from fasthpo.study.asking import GIVEN
from fasthpo.trials.trial import Trial as OwnTrial


class Trial(BaseTrial):
    """A running trial of a study; made by the study only.

    Args:
        study: whose trial it is; an `optuna.Study`.
        parts: what belongs to that.
        trial: fasthpo's own handle of it.
    """

    def __init__(self, study: Any, parts: Parts, trial: OwnTrial) -> None:
        self.study = study
        self._parts = parts
        self._trial = trial
        self._trial_id = self.number = trial.number
        self.distributions: dict[str, BaseDistribution] = {}
        self._values: dict[str, Any] = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        own, known = self._parts.own, self._parts.objects
        if isinstance(distribution, CategoricalDistribution):
            parameter, objects = parameter_of_choices(distribution.choices)
            known.learn(name, objects)
        else:
            parameter = distribution.parameter()
        fixed = {**self._parts.fixed, **known.given(self.number)}
        if name in fixed and name not in self._values:
            own.set_trial_attribute(self.number, GIVEN + name, choice_to_json(known.plain(name, fixed[name])))
        value = known.object(name, own.suggest(self.number, name, parameter))
        self.distributions.setdefault(name, distribution)
        return self._values.setdefault(name, value)

    def report(self, value: float, step: int) -> None:
        """An intermediate value; the first one at a step stands."""
        self._trial.report(value, step)

    def should_prune(self) -> bool:
        """Whether the study's pruner would end the trial now."""
        return self._trial.should_prune()

    @property
    def params(self) -> dict[str, Any]:
        """What the trial has asked for so far."""
        return dict(self._values)

    @property
    def relative_params(self) -> dict[str, Any]:
        """What was suggested before the trial asked: nothing that could be seen here."""
        return {}

    @property
    def datetime_start(self) -> datetime.datetime:
        """When it was asked for."""
        return datetime.datetime.fromtimestamp(self._trial.start_time)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What was noted down with it (a copy)."""
        return self._parts.notes.of_trial(self.number, "user:")

    @property
    def system_attrs(self) -> dict[str, Any]:
        """The same of `set_system_attr`."""
        return self._parts.notes.of_trial(self.number, "system:")

    def set_user_attr(self, key: str, value: Any) -> None:
        """Note something down with the trial. What is no JSON is known as long as the study object lives only."""
        self._parts.notes.set_on_trial(self.number, "user:", key, value)

    def set_system_attr(self, key: str, value: Any) -> None:
        """The same, apart from what the user notes down."""
        self._parts.notes.set_on_trial(self.number, "system:", key, value)

    def set_constraint(self, key: str, value: float) -> None:
        """A number that is at most 0 where a limit is kept."""
        self._parts.notes.set_on_trial(self.number, CONSTRAINT, key, as_constraint(value))

    @property
    def constraints(self) -> dict[str, float]:
        """What was set so far."""
        return self._parts.notes.constraints(self.number)

    def __repr__(self) -> str:
        return f"Trial(number={self.number}, params={self._values})"
