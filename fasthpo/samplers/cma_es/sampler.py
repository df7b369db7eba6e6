"""CMA-ES, the covariance matrix adaptation evolution strategy: a Gaussian that learns where to look, and how far."""

from __future__ import annotations

from typing import Any, ClassVar

from fasthpo.errors import InvalidSearchSpace, InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.cma_es.evolution import MOST_MEMBERS, Evolution
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, check_count, plain, shown

_LEAST_MEMBERS = 4
_MOST_SIGMA = 0.5
_MOST_NUMBERS = 1000  # parameters; the covariance has a row and a column for each
_MOST_AT_ONCE = 1000  # suggestions; then Ctrl-C is heard


class CmaEsSampler(Sampler):
    """Draws points from a Gaussian whose mean, step size and covariance follow the best of each generation.

    Take it for numeric parameters, cheap trials, and some hundreds of them or more: it goes on to the last digits where
    `TPESampler`, which is better with few trials, no longer gets closer. A suggestion costs the same however many
    trials there are.

    A generation is the next `population_size` trials that are told, whichever they are: any number may run at the same
    time, and one that was drawn some generations ago counts from where it is. Only the ranking of the values matters.
    Pruned trials rank behind complete ones, by how far they came, then failed ones. The better half draws the mean to
    it, and the worse half narrows the distribution where it lies. All happens on a unit cube, to which logarithmic
    parameters are mapped by their logarithms, and normal ones by a wider normal distribution. What lies beyond a bound
    is drawn once more, then tried on the bound, and counts where it was drawn, while the mean stays inside: so an
    optimum on a bound is found exactly.

    A stepped or ordinal parameter takes the cell that the Gaussian falls in, with a margin: another cell stays possible
    however small the step size has become. Choices are drawn from a distribution of their own, which learns from the
    same generations, with a margin, too. Conditional parameters are drawn always and shown where they are active;
    elsewhere the value that was drawn counts. So every member is complete, and the ranking, which does not depend on
    such values, does not narrow them.

    A search ends when the best values of 10 + 30 d / population_size generations are the same to seven digits, when its
    deviations are 1e-12 of the first ones, or when its covariance has degenerated. The next begins at a random point
    with twice the population, up to 512 times the first one (IPOP).

    What relations forbid is drawn anew, as the next member. A search begins at an allowed point.

    Trials that are not its own (`add_trials`, `enqueue`, another sampler), told before the first that is, make a warm
    start: at the best of them, with the spread of the best tenth, if at least ten have a value. Of fewer the best is a
    member of the first generation. A later one counts if it is better than all of the present search.

    Under a multi-fidelity strategy a generation is the next `population_size` values told at one resource, whichever.
    So those at a low resource, of which there are most, lead the search, and those at a high one correct it.

    What the sampler knows is a function of the trials in the order of their tells: a study that was loaded goes on as
    if it had never stopped, to the bit on the same machine.

    Args:
        population_size: trials a generation of the first search, from 4 to 100,000; None: 4 + 3 log(d), rounded down,
            d being the number of parameters, and more where so many run at the same time that most are three
            generations old when they are told.
        sigma: the standard deviation at the first start, as a share of each parameter's range, above 0 and up to 0.5;
            None: 0.2, or what a warm start gives.
        seed: 0 to 2**64 - 1; None draws one.

    Raises:
        InvalidValue: an argument is not what it must be.
        InvalidSearchSpace: more than 1,000 parameters that are numbers.

    References:
        Hansen: The CMA evolution strategy: a tutorial. arXiv 1604.00772, 2016.
        Auger, Hansen: A restart CMA evolution strategy with increasing population size. CEC 2005.
        Hamano, Saito, Nomura, Shirakawa: CMA-ES with margin. GECCO 2022, arXiv 2205.13482 (stepped parameters).
        Hamano, Saito, Nomura, Uchida, Shirakawa: CatCMA. GECCO 2024, arXiv 2405.09962 (choices).
        Hansen: Injecting external solutions into CMA-ES. arXiv 1110.4181, 2011 (trials of others).
        Nomura, Watanabe, Akimoto, Ozaki, Onishi: Warm starting CMA-ES for hyperparameter optimization. AAAI 2021.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0), "y": fasthpo.Continuous(-5.0, 5.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.CmaEsSampler(seed=0))
        >>> for _ in range(500):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, (trial["x"] - 2) ** 2 + 100 * (trial["y"] + 1) ** 2)
        >>> study.best_value < 1e-9
        True
    """

    name: ClassVar[str] = "cma_es"
    _derived = ("_evolution",)
    has_batches = True

    def __init__(self, population_size: int | None = None, sigma: float | None = None, seed: int | None = None) -> None:
        super().__init__(seed)
        if population_size is not None:
            population_size = check_count("population_size", population_size, _LEAST_MEMBERS)
            if population_size > MOST_MEMBERS:
                raise InvalidValue(
                    f"population_size must be at most {MOST_MEMBERS}, got population_size={population_size}"
                )
        self.population_size = population_size
        sigma = plain(sigma)
        is_number = isinstance(sigma, (int, float)) and not isinstance(sigma, bool)
        if sigma is not None and not (is_number and 0 < sigma <= _MOST_SIGMA):
            raise InvalidValue(
                f"sigma must be None or a number above 0 and up to {_MOST_SIGMA}, got sigma={shown(sigma)}"
            )
        self.sigma = None if sigma is None else float(sigma)
        self.forget()

    def forget(self) -> None:
        self._evolution: Evolution | None = None

    def check_space(self, space: SearchSpace) -> None:
        numbers = sum(parameter.is_ordered for parameter in space.parameters)
        if numbers > _MOST_NUMBERS:
            raise InvalidSearchSpace(f"CMA-ES takes at most {_MOST_NUMBERS} parameters that are numbers, got {numbers}")

    def options(self) -> dict[str, Any]:
        return {"population_size": self.population_size, "sigma": self.sigma, "seed": self.seed}

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        return self._of(table).row(draw)

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        # what runs has no influence, so draws that are asked for together are those asked for one by one
        return self._of(table).rows(draws[:_MOST_AT_ONCE])

    def _of(self, table: TrialTable) -> Evolution:
        evolution = self._evolution  # of this table, whatever another study's thread puts there meanwhile
        if evolution is None or not evolution.follows(table):
            self._evolution = evolution = Evolution(table, self.seed, self.population_size, self.sigma)
        return evolution
