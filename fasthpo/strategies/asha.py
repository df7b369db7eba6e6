"""ASHA: successive halving that never waits."""

from __future__ import annotations

from typing import ClassVar

from fasthpo.samplers.base import Sampler
from fasthpo.strategies.asynchronous import AsynchronousBrackets
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.strategies.rungs import Plan, rung_resources


class ASHA(MultiFidelity):
    """Asynchronous successive halving, promotion type: a trial goes on once it is among the best of its rung so far.

    The rungs are min_resource * eta^k as long as that is below max_resource, then max_resource itself. On each ask,
    from the highest rung down, the best trial that is among the best floor(n / eta) of the n told at its rung, and has
    not gone on yet, goes on; if there is none, a new trial starts. So no worker ever waits, and good trials reach
    max_resource early. Ties go to the earlier trial. A promoted trial that fails leaves its place to another; one that
    diverged (an infinite value) or was pruned does not go on. A decision costs O(log n).

    Under several objectives the best are the first in the order of non-dominated layers and, inside a layer, along an
    epsilon-net that covers it: its first trial has the lowest first loss, and each next one is furthest from those
    before, where each loss goes from 0 to 1 in the layer (MO-ASHA: Schmucker et al. 2021, arXiv 2106.12639). Behind
    these come trials that break constraints, by how much they were told to when the leg ended. One with an infinity
    among its values does not go on. Of a rung the latest 256 trials are compared: n counts these,
    and a decision costs some hundred microseconds, however many have come.

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
        Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A system for massively parallel
        hyperparameter tuning. MLSys 2020.
        Schmucker, Donini, Zafar, Salinas, Archambeau: Multi-objective asynchronous successive halving.
        arXiv 2106.12639, 2021.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.ASHA(max_resource=9, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, strategy=strategy)
        >>> for _ in range(4):  # of the first three trials, the best goes on
        ...     trial = study.ask()
        ...     state = study.tell(trial, trial["x"] + 1 / trial.resource)
        >>> trial.resource, trial.start_resource, trial["x"] == min(study.columns["x"])
        (3, 1, True)
    """

    name: ClassVar[str] = "asha"

    def __init__(
        self,
        max_resource: int,
        min_resource: int = 1,
        reduction_factor: int = 3,
        sampler: Sampler | None = None,
        resumable: bool = True,
    ) -> None:
        super().__init__(max_resource, min_resource, reduction_factor, sampler, resumable)

    def _make_brackets(self) -> AsynchronousBrackets:
        resources = rung_resources(self.min_resource, self.max_resource, self.reduction_factor)
        return AsynchronousBrackets([Plan(1, resources)], self.reduction_factor)
