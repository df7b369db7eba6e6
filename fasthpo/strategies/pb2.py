"""Population based bandits: population based training whose changes are suggested by a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from fasthpo.samplers.base import Sampler
from fasthpo.strategies.bandit_model import BanditModel
from fasthpo.strategies.population import Population
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray

_PERTURBATION, _RESAMPLE_PROBABILITY = 0.2, 0.25  # where there is too little to learn from, and near the parent


class PB2(Population):
    """Population based bandits: as `PopulationTraining`, but where a member goes on is suggested by a model.

    A Gaussian process learns from the latest 128 intervals where members stood at their end, among all, depending on
    their parameters, on when that was, and on where they had stood before. A member that begins from another one's
    weights gets those parameters, of some hundred candidates, that are best by the upper confidence bound of that rank;
    what others of its generation were given (the latest 128) counts as known. It is meant for small populations, of 4
    to 8 members.

    The first members, and those that begin before four intervals were told, are drawn and changed as
    `PopulationTraining` does it.

    Args:
        max_resource, population, interval, quantile, mutable, synchronous, sampler: as of `PopulationTraining`.

    Raises:
        InvalidValue: an argument is out of its range.

    Reference:
        Parker-Holder, Nguyen, Roberts: Provably efficient online hyperparameter optimization with population-based
        bandits. NeurIPS 2020, arXiv 2002.02518. There time is a factor of the covariance that is chosen by hand, and
        improvements are learnt. Here time is an axis of the process, with a length scale of its own, and ranks are
        learnt, as improvements have another scale early than late.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.PB2(8, population=4, interval=2, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"rate": fasthpo.LogUniform(0.01, 1.0)}, strategy=strategy)
        >>> while (trial := study.ask_within()) is not None:
        ...     state = study.tell(trial, abs(trial["rate"] - 0.1) + 1 / trial.resource)
        >>> strategy.is_complete, study.best_trial.resource
        (True, 8)
    """

    name: ClassVar[str] = "pb2"

    def __init__(
        self,
        max_resource: int,
        population: int = 8,
        interval: int = 1,
        *,
        quantile: float = 0.25,
        mutable: Sequence[str] | None = None,
        synchronous: bool = True,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__(max_resource, population, interval, quantile, mutable, synchronous, sampler)
        self._model: BanditModel | None = None

    def attach(self, table: TrialTable) -> None:
        super().attach(table)
        self._model = None

    def row(self, fork: Fork) -> FloatArray | None:
        table = self._table
        if fork.parent == NO_PARENT or table is None:
            return None
        if self._model is None:
            self._model = BanditModel(table)
        mutable = self._mutable(table.space)
        until, pending = None, table.running
        if self.synchronous:  # what the others of its generation have come to meanwhile must not matter
            until, pending = fork.step, np.array(sorted(self._begun(table, fork.generation)), np.int64)
        found = self._model.row(
            fork, mutable, _PERTURBATION, self.sampler.seed, until, self.max_resource, pending.astype(np.int64)
        )
        return self._changed(fork, _PERTURBATION, _RESAMPLE_PROBABILITY) if found is None else found

    def _begun(self, table: TrialTable, generation: int) -> Iterator[int]:
        """The trials of a generation that have begun from the weights of others."""
        for number in self._places.holders:
            fork = table.lineage.of(number) if number >= 0 else None
            if fork is not None and fork.generation == generation and fork.parent != NO_PARENT:
                yield number
