"""Strategies: which trial comes next, and how far it goes. One strategy a file.

What stands here has a sampler that says where new trials look, and keeps only what can be made of the table again.
"""

from __future__ import annotations

from fasthpo.strategies.multi_fidelity import MultiFidelity


def builtin() -> dict[str, type[MultiFidelity]]:
    """The built-in multi-fidelity strategies by the name that checkpoints use."""
    from fasthpo.strategies.asha import ASHA
    from fasthpo.strategies.hyperband import Hyperband
    from fasthpo.strategies.successive_halving import SuccessiveHalving

    kinds: tuple[type[MultiFidelity], ...] = (SuccessiveHalving, Hyperband, ASHA)
    return {str(kind.name): kind for kind in kinds}
