"""Strategies: which trial comes next, and how far it goes. One strategy a file.

What stands here has a sampler that says where new trials look, and keeps only what can be made of the table again.
"""

from __future__ import annotations

from fasthpo.strategies.base import Strategy


def builtin() -> dict[str, type[Strategy]]:
    """The built-in multi-fidelity strategies by the name that checkpoints use."""
    from fasthpo.strategies.asha import ASHA
    from fasthpo.strategies.hyperband import Hyperband
    from fasthpo.strategies.pb2 import PB2
    from fasthpo.strategies.population_training import PopulationTraining
    from fasthpo.strategies.successive_halving import SuccessiveHalving

    kinds: tuple[type[Strategy], ...] = (SuccessiveHalving, Hyperband, ASHA, PopulationTraining, PB2)
    return {str(kind.name): kind for kind in kinds}
