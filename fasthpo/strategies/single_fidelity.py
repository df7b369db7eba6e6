"""The strategies that train every trial in full; they differ by their sampler only."""

from __future__ import annotations

from fasthpo.samplers.grid import GridSampler
from fasthpo.samplers.random import RandomSampler
from fasthpo.samplers.tpe import TPESampler
from fasthpo.strategies.base import Strategy


class RandomSearch(Strategy):
    """Random search; see `RandomSampler`."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(RandomSampler(seed))


class GridSearch(Strategy):
    """Exhaustive search over a grid; see `GridSampler`."""

    def __init__(self, shuffle: bool = False, seed: int | None = None) -> None:
        super().__init__(GridSampler(shuffle=shuffle, seed=seed))


class BayesianOptimization(Strategy):
    """Search with a tree-structured Parzen estimator; see `TPESampler`."""

    def __init__(
        self,
        n_startup_trials: int = 10,
        n_ei_candidates: int = 24,
        multivariate: bool = True,
        seed: int | None = None,
        exact: bool = False,
    ) -> None:
        super().__init__(TPESampler(n_startup_trials, n_ei_candidates, multivariate, seed, exact))
