"""Hyperband: successive halving with several trade-offs between many trials and much training."""

from __future__ import annotations

from typing import Any, ClassVar

from fasthpo.samplers.base import Sampler
from fasthpo.strategies.asynchronous import AsynchronousBrackets
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.strategies.rungs import hyperband_plans
from fasthpo.strategies.synchronous import SynchronousBrackets
from fasthpo.values import check_flag


class Hyperband(MultiFidelity):
    """Brackets s = s_max ... 0 of successive halving, the first with the most trials and the least training.

    Bracket s starts n = ceil((s_max + 1) eta^s / (s + 1)) trials at resource R eta^-s, rounded down, and keeps
    floor(n / eta) from rung to rung up to R: 81, 34, 15, 8 and 5 trials for R = 81 and eta = 3, as in algorithm 1 of
    the paper. (Many programs start floor((s_max + 1) / (s + 1)) eta^s: 81, 27, 9, 6, 5.) The brackets repeat until the
    study ends. Within a bracket all is as in `SuccessiveHalving`, also under several objectives.

    With `sampler=TPESampler()` this is BOHB: the sampler's model is made of the trials at the largest resource that has
    enough of them, and every third trial is drawn at random.

    Args:
        max_resource: R, what a trial is trained to at most, in whatever unit the objective trains in (epochs, steps,
            samples, folds); the objective finds its own goal in `trial.resource`.
        min_resource: the least that a trial is trained to; s_max is the largest s with R eta^-s not below it.
        reduction_factor: eta, at least 2.
        sampler: where new trials look; by default at random.
        resumable: a trial that goes on is trained from where it paused (its weights wait in `trial.checkpoint_dir`),
            and costs the difference only. If False, it is trained from its beginning and costs all of it.
        asynchronous: a trial goes on as soon as it is among the best of its rung so far, as in `ASHA`; new trials are
            shared out among the brackets in proportion to their sizes. For many workers and trainings of unequal time.

    Raises:
        InvalidValue: an argument is out of its range.

    References:
        Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband. JMLR 18, 2018.
        Falkner, Klein, Hutter: BOHB. ICML 2018.

    Example:
        >>> import fasthpo
        >>> [plan.trials for plan in fasthpo.Hyperband(max_resource=81).plans]
        [81, 34, 15, 8, 5]
    """

    name: ClassVar[str] = "hyperband"

    def __init__(
        self,
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
        asynchronous: bool = False,
    ) -> None:
        self.asynchronous = check_flag("asynchronous", asynchronous)
        super().__init__(max_resource, min_resource, reduction_factor, sampler, resumable)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "asynchronous": self.asynchronous}

    def _make_brackets(self) -> SynchronousBrackets | AsynchronousBrackets:
        plans = hyperband_plans(self.min_resource, self.max_resource, self.reduction_factor)
        kind = AsynchronousBrackets if self.asynchronous else SynchronousBrackets
        return kind(plans, self.reduction_factor)
