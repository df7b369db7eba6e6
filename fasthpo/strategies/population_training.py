"""Population based training: schedules of parameters, learnt while a population trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.strategies.population import Population, check_share
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.values import FloatArray, as_number


class PopulationTraining(Population):
    """Population based training (PBT): members train side by side; the worst go on from the best ones' weights.

    Each member trains for an `interval`, is told its value, and pauses. Then those in the worst quantile, and those
    that failed, are replaced: a new trial begins from the weights of a member of the best quantile, drawn at random,
    with parameters that are like its, but for a change. What is found is a schedule (`Study.schedule`): the parameters
    that the best trial and those from which it comes had, each for a while.

    A trial has the place (`trial.member`) of the one that it replaces, and `trial.parent`, whose weights it finds in
    `trial.checkpoint_dir`; it is trained from `trial.start_resource` to `trial.resource`, and told its value there. One
    that reaches `max_resource` is COMPLETE. When all have, or failed at the last boundary, nothing is left to be asked.

    A parameter on a logarithmic scale is multiplied or divided by 1 + perturbation, another number moves by half of
    `perturbation` of its range, what has steps by one at least, and a choice moves to its neighbour in the list.
    Nothing leaves its bounds. A parameter of a branch that opens is drawn from the prior. What is drawn depends on the
    sampler's seed, the generation and the member, and on nothing else.

    A synchronous population waits, at the end of each interval, for all its members; it is the same one for any number
    of workers. In an asynchronous one each member goes on by itself, compared with what the others were told last; the
    one that is furthest behind goes next. A place whose trials fail from the beginning as often as there are intervals
    stays free.

    The weights of replaced members are removed, whatever `keep_checkpoints` says of others.

    Args:
        max_resource: what each member is trained to in all, in whatever unit the objective trains in.
        population: how many members there are.
        interval: the resource between two comparisons.
        quantile: the share that is replaced each time, and that parents are drawn from; above 0, at most 0.5. That is
            one member at least, where there are two.
        perturbation: how far a parameter moves, see above.
        resample_probability: with which a parameter is drawn from the prior instead.
        mutable: names of the parameters that may change while training, such as the learning rate; None: all. The
            others, such as a number of layers, come with the weights.
        synchronous: see above.
        sampler: where the first members look; by default at random. Its seed is that of all that is drawn.

    Raises:
        InvalidValue: an argument is out of its range.

    Reference:
        Jaderberg et al.: Population based training of neural networks. 2017, arXiv 1711.09846.

    Example:
        >>> import fasthpo
        >>> strategy = fasthpo.PopulationTraining(8, population=4, interval=2, sampler=fasthpo.RandomSampler(seed=0))
        >>> study = fasthpo.Study({"rate": fasthpo.LogUniform(0.01, 1.0)}, strategy=strategy)
        >>> while (trial := study.ask_within()) is not None:
        ...     state = study.tell(trial, abs(trial["rate"] - 0.1) + 1 / trial.resource)
        >>> strategy.is_complete, study.best_trial.resource, len(study)  # four members, and one for each replaced one
        (True, 8, 7)
    """

    name: ClassVar[str] = "population_training"

    def __init__(
        self,
        max_resource: int,
        population: int = 16,
        interval: int = 1,
        *,
        quantile: float = 0.25,
        perturbation: float = 0.2,
        resample_probability: float = 0.25,
        mutable: Sequence[str] | None = None,
        synchronous: bool = True,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__(max_resource, population, interval, quantile, mutable, synchronous, sampler)
        self.perturbation = as_number("perturbation", perturbation)
        if not 0 < self.perturbation <= 10:
            raise InvalidValue(f"perturbation must be above 0 and at most 10, got perturbation={self.perturbation:g}")
        self.resample_probability = check_share("resample_probability", resample_probability, 1.0)

    def options(self) -> dict[str, Any]:
        return {
            **super().options(),
            "perturbation": self.perturbation,
            "resample_probability": self.resample_probability,
        }

    def row(self, fork: Fork) -> FloatArray | None:
        if fork.parent == NO_PARENT:
            return None
        return self._changed(fork, self.perturbation, self.resample_probability)
