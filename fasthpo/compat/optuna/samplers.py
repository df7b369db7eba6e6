"""Optuna's samplers by their names, each of which says which of fasthpo's makes the suggestions.

Arguments that fasthpo's sampler has, too, are handed on. The others are taken and make no difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.samplers.auto import AutoSampler
from fasthpo.samplers.base import Sampler, check_seed
from fasthpo.samplers.cma_es import CmaEsSampler as OwnCmaEs
from fasthpo.samplers.grid import GridSampler as OwnGrid
from fasthpo.samplers.nsga_ii import NSGAIISampler as OwnNSGAII
from fasthpo.samplers.qmc import QMCSampler as OwnQMC
from fasthpo.samplers.random import RandomSampler as OwnRandom
from fasthpo.samplers.tpe import TPESampler as OwnTPE
from fasthpo.values import shown

Constraints = Callable[[Any], Sequence[float]]


class BaseSampler:
    """What stands for one of fasthpo's samplers. It is made anew for each study, and one can be given to several.

    Args:
        seed: 0 to 2**64 - 1; None draws one for each study.
        constraints_func: called with each trial that was completed or pruned, it returns numbers that are at most 0
            where a limit is kept.
    """

    def __init__(self, seed: int | None = None, constraints_func: Constraints | None = None) -> None:
        self.seed = seed
        self.constraints_func = constraints_func

    def own(self) -> Sampler:
        """The sampler that makes the suggestions.

        Raises:
            InvalidValue: this is a sampler of the user's own, of Optuna's kind.
        """
        raise InvalidValue(
            f"{type(self).__name__} is a sampler of Optuna's kind, which can't run here: derive it from "
            "fasthpo.Sampler, or use Optuna itself"
        )

    def reseed_rng(self) -> None:
        """Nothing: what is drawn depends on the trial, and on no state of a generator."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed})"


class TPESampler(BaseSampler):
    """fasthpo's TPE."""

    def __init__(
        self,
        *,
        n_startup_trials: int = 10,
        n_ei_candidates: int = 24,
        multivariate: bool = True,
        seed: int | None = None,
        constraints_func: Constraints | None = None,
        **others: Any,
    ) -> None:
        super().__init__(seed, constraints_func)
        _known(others, "consider_prior prior_weight consider_magic_clip consider_endpoints gamma weights group "
               "warn_independent_sampling constant_liar categorical_distance_func")  # fmt: skip
        self._options = {
            "n_startup_trials": max(n_startup_trials, 1),
            "n_ei_candidates": n_ei_candidates,
            "multivariate": multivariate,
        }

    @staticmethod
    def hyperopt_parameters() -> dict[str, Any]:
        """Hyperopt's settings, as far as they make a difference here."""
        return {"n_startup_trials": 20, "n_ei_candidates": 24}

    def own(self) -> Sampler:
        return OwnTPE(seed=self.seed, **self._options)  # type: ignore[arg-type]


MOTPESampler = TPESampler


class RandomSampler(BaseSampler):
    """fasthpo's random sampler."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)

    def own(self) -> Sampler:
        return OwnRandom(seed=self.seed)


class GPSampler(BaseSampler):
    """`AutoSampler`, whose suggestions a Gaussian process compares."""

    def __init__(self, *, seed: int | None = None, constraints_func: Constraints | None = None, **others: Any) -> None:
        super().__init__(seed, constraints_func)
        _known(others, "independent_sampler n_startup_trials deterministic_objective warn_independent_sampling")

    def own(self) -> Sampler:
        return AutoSampler(seed=self.seed)


class CmaEsSampler(BaseSampler):
    """fasthpo's CMA-ES."""

    def __init__(
        self,
        x0: Mapping[str, Any] | None = None,
        sigma0: float | None = None,
        n_startup_trials: int = 1,
        *,
        seed: int | None = None,
        popsize: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__(seed)
        _known(others, "independent_sampler warn_independent_sampling consider_pruned_trials restart_strategy "
               "inc_popsize use_separable_cma with_margin lr_adapt source_trials")  # fmt: skip
        self._population_size = popsize

    def own(self) -> Sampler:
        return OwnCmaEs(seed=self.seed, population_size=self._population_size)


class NSGAIISampler(BaseSampler):
    """fasthpo's NSGA-II."""

    def __init__(
        self,
        *,
        population_size: int = 50,
        seed: int | None = None,
        constraints_func: Constraints | None = None,
        **others: Any,
    ) -> None:
        super().__init__(seed, constraints_func)
        _known(others, "mutation_prob crossover crossover_prob swapping_prob elite_population_selection_strategy "
               "child_generation_strategy after_trial_strategy reference_points dividing_parameter")  # fmt: skip
        self._population_size = population_size

    def own(self) -> Sampler:
        return OwnNSGAII(population_size=self._population_size, seed=self.seed)


NSGAIIISampler = NSGAIISampler


class QMCSampler(BaseSampler):
    """fasthpo's quasi-random sampler, of Sobol's sequence."""

    def __init__(
        self, *, qmc_type: str = "sobol", scramble: bool = True, seed: int | None = None, **others: Any
    ) -> None:
        super().__init__(seed)
        _known(others, "independent_sampler warn_asynchronous_seeding warn_independent_sampling")
        self._scramble = scramble

    def own(self) -> Sampler:
        return OwnQMC(seed=self.seed, scramble=self._scramble)


class BruteForceSampler(BaseSampler):
    """fasthpo's grid over all that the objective asks for."""

    def __init__(self, seed: int | None = None, avoid_premature_stop: bool = False) -> None:
        super().__init__(seed)

    def own(self) -> Sampler:
        return OwnGrid()


class GridSampler(BaseSampler):
    """Every point of a grid once, in an order that the seed decides; then `optimize` ends.

    Args:
        search_space: the values of each parameter.
        seed: of the order.
    """

    def __init__(self, search_space: Mapping[str, Sequence[Any]], seed: int | None = None) -> None:
        super().__init__(seed)
        self._values = {name: list(values) for name, values in search_space.items()}
        sizes = [len(values) for values in self._values.values()]
        if not sizes or not all(sizes):
            raise InvalidValue(f"a grid needs values of each parameter, got {shown(dict(search_space))}")
        self._grid = list(itertools.product(*self._values.values()))
        order = np.random.default_rng(check_seed(0 if seed is None else seed)).permutation(len(self._grid))
        self._order: list[int] = order.tolist()

    def __len__(self) -> int:
        return len(self._grid)

    def point(self, place: int) -> dict[str, Any]:
        """The point that is tried at a place of the order."""
        return dict(zip(self._values, self._grid[self._order[place]], strict=True))

    def own(self) -> Sampler:
        return OwnRandom(seed=self.seed)


class PartialFixedSampler(BaseSampler):
    """Another sampler, with some of the parameters fixed.

    Raises:
        InvalidValue: the other one is a `GridSampler`, which says itself what is tried.
    """

    def __init__(self, fixed_params: Mapping[str, Any], base_sampler: BaseSampler | Sampler) -> None:
        if isinstance(base_sampler, GridSampler):
            raise InvalidValue("of a grid fix a parameter by giving it one value, as in GridSampler({'x': [1]})")
        super().__init__(base_sampler.seed, getattr(base_sampler, "constraints_func", None))
        self.fixed_params = {**getattr(base_sampler, "fixed_params", {}), **fixed_params}
        self._base = base_sampler

    def own(self) -> Sampler:
        return own_sampler(self._base)


def own_sampler(given: BaseSampler | Sampler | None) -> Sampler:
    """fasthpo's sampler for what `create_study(sampler=...)` was given.

    Raises:
        InvalidValue: it is no sampler of this module and none of fasthpo's.
    """
    if given is None:
        return AutoSampler()
    if isinstance(given, Sampler):
        return given
    if isinstance(given, BaseSampler):
        return given.own()
    hint = "; import the samplers from fasthpo.compat.optuna, too" if _is_optunas(given) else ""
    raise InvalidValue(f"sampler must be one of optuna.samplers or of fasthpo's, got {shown(given)}{hint}")


def _is_optunas(part: object) -> bool:
    return (type(part).__module__ or "").startswith("optuna.")


def _known(given: Mapping[str, Any], names: str) -> None:
    """Make sure that arguments which make no difference here are such as Optuna has."""
    for name in given:
        if name not in names.split():
            raise TypeError(f"the sampler has no argument {name!r}")
