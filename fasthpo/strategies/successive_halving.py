"""Successive halving: train many a little, keep the best, train these further."""

from __future__ import annotations

from typing import ClassVar

from fasthpo.samplers.base import Sampler
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.strategies.rungs import halving_plan
from fasthpo.strategies.synchronous import SynchronousBrackets


class SuccessiveHalving(MultiFidelity):
    """Rung by rung, the best floor(n / eta) of n trials go on to eta times the resource.

    The rungs are min_resource * eta^k as long as that is below max_resource, then max_resource itself; with K rungs a
    bracket starts eta^(K - 1) trials. A rung is complete before any of it go on. While it waits for running trials, the
    next bracket starts; brackets repeat until the study ends. Ties go to the earlier trial. A failed trial leaves its
    place to another; one that diverged (an infinite value) or was pruned does not go on.

    Under several objectives the best are the first in the order of non-dominated layers and, inside a layer, along an
    epsilon-net that covers it: its first trial has the lowest first loss, and each next one is furthest from those
    before, where each loss goes from 0 to 1 in the layer (MO-ASHA: Schmucker et al. 2021, arXiv 2106.12639). Behind
    these come trials that break constraints, by how much they were told to when the leg ended. One with an infinity
    among its values does not go on.

    Args:
        max_resource: what a trial is trained to at most, in whatever unit the objective trains in (epochs, steps,
            samples, folds); the objective finds its own goal in `trial.resource`.
        min_resource: the least that a trial is trained to.
        reduction_factor: eta, at least 2.
        sampler: where new trials look; by default at random.
        resumable: a trial that goes on is trained from where it paused (its weights wait in `trial.checkpoint_dir`),
            and costs the difference only. If False, it is trained from its beginning and costs all of it.

    Raises:
        InvalidValue: an argument is out of its range.

    Reference:
        Jamieson, Talwalkar: Non-stochastic best arm identification and hyperparameter optimization. AISTATS 2016.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.SuccessiveHalving(max_resource=9, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy)
        >>> for _ in range(13):  # 9 to resource 1, of these 3 to resource 3, of these 1 to resource 9
        ...     trial = study.ask()
        ...     state = study.tell(trial, trial["x"] + 1 / trial.resource)
        >>> state.name, trial.resource, study.best_trial.number == trial.number
        ('COMPLETE', 9, True)
    """

    name: ClassVar[str] = "successive_halving"

    def __init__(
        self,
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
    ) -> None:
        super().__init__(max_resource, min_resource, reduction_factor, sampler, resumable)

    def _make_brackets(self) -> SynchronousBrackets:
        plan = halving_plan(self.min_resource, self.max_resource, self.reduction_factor)
        return SynchronousBrackets([plan], self.reduction_factor)
