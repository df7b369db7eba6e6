"""NSGA-II, the non-dominated sorting genetic algorithm: children of trials that are good and unlike each other."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.latin_hypercube import LatinHypercube
from fasthpo.samplers.nsga_ii.population import Population
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, check_count

_STARTUP_STREAM = 0
_LEAST_MEMBERS, _MOST_MEMBERS = 4, 10_000
_MOST_AT_ONCE = 1000  # suggestions; then Ctrl-C is heard


class NSGAIISampler(Sampler):
    """Breeds trials from a population that is good in several objectives and spread over the front.

    Take it for thousands of cheap trials: a suggestion costs a tenth of `TPESampler`'s, which is far better with few
    trials. It works with one objective, too.

    The first generation is a Latin hypercube. A generation is the next `population_size` trials that are told,
    whichever they are: any number may run at the same time, and trials from elsewhere (`add_trials`, `enqueue`) count
    like its own. The survivors are the best so many of the generation and the survivors before it: by non-dominated
    layers, and in the last one those whose neighbours are furthest apart. Pruned trials rank behind complete ones, by
    how far they came; behind these are all that break a constraint, by how much they break them together; last are
    failed ones, and those without a finite value. One whose worker was lost (`infrastructure` in `Study.tell`) is left
    out.

    Each parent of a child is the better of two survivors that are drawn. The child has each parameter from either of
    them, and on average one of those that are active mutates: a number to one near it (polynomially, on an axis on
    which a logarithmic parameter is its logarithm), a stepped one to another value at least, a choice to any other. A
    conditional parameter that is active in a child and in neither parent is drawn anew.

    Under a multi-fidelity strategy there is a population for each resource, and children are those of the largest one
    that has a first generation. What the sampler knows is a function of the trials in the order of their tells: a study
    that was loaded goes on as if it had never stopped.

    Args:
        population_size: trials a generation, from 4 to 10,000.
        seed: 0 to 2**64 - 1; None draws one.

    Raises:
        InvalidValue: an argument is not what it must be.

    References:
        Deb, Pratap, Agarwal, Meyarivan: A fast and elitist multiobjective genetic algorithm: NSGA-II. IEEE Transactions
            on Evolutionary Computation 6, 2002.
        Deb, Goyal: A combined genetic adaptive search (GeneAS) for engineering design. Computer Science and Informatics
            26, 1996.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0), "y": fasthpo.Continuous(0.0, 1.0)})
        >>> study = fasthpo.Study(space, directions=["minimize", "maximize"], sampler=fasthpo.NSGAIISampler(seed=0))
        >>> for _ in range(200):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, [trial["x"] ** 2 + trial["y"], trial["x"] - trial["y"]])
        >>> len(study.best_trials) > 50
        True
    """

    name: ClassVar[str] = "nsga_ii"
    _derived = ("_population",)
    has_batches = True
    has_several_objectives = True

    def __init__(self, population_size: int = 50, seed: int | None = None) -> None:
        super().__init__(seed)
        self.population_size = check_count("population_size", population_size, _LEAST_MEMBERS)
        if population_size > _MOST_MEMBERS:
            raise InvalidValue(
                f"population_size must be at most {_MOST_MEMBERS}, got population_size={population_size}"
            )
        self.forget()

    def forget(self) -> None:
        self._startup = LatinHypercube(self.seed, _STARTUP_STREAM, self.population_size)
        self._population: Population | None = None

    def options(self) -> dict[str, Any]:
        return {"population_size": self.population_size, "seed": self.seed}

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        population = self._of(table)
        return population.row(draw) if population.exists else self._startup.row(table.space, draw)

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        # what runs has no influence, so draws that are asked for together are those asked for one by one
        population, draws = self._of(table), draws[:_MOST_AT_ONCE]
        if population.exists:
            return population.rows(draws)
        return np.array([self._startup.row(table.space, draw) for draw in draws.tolist()])

    def _of(self, table: TrialTable) -> Population:
        """The population of a table, as of all trials so far."""
        population = self._population  # of this table, whatever another study's thread puts there meanwhile
        if population is None or not population.follows(table):
            self._population = population = Population(table, self.seed, self.population_size)
        population.catch_up()
        return population
