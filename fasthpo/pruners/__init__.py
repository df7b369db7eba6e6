"""Pruners: when to give a trial up. One pruner a file.

What stands here reads the table of trials, and keeps only what can be made of it again. It says what
should end; who ends it is above.
"""

from __future__ import annotations

from fasthpo.pruners.base import Pruner


def builtin() -> dict[str, type[Pruner]]:
    """The built-in pruners by the name that checkpoints use."""
    from fasthpo.pruners.median import MedianPruner
    from fasthpo.pruners.patient import PatientPruner
    from fasthpo.pruners.percentile import PercentilePruner
    from fasthpo.pruners.successive_halving import SuccessiveHalvingPruner
    from fasthpo.pruners.threshold import ThresholdPruner
    from fasthpo.pruners.wilcoxon import WilcoxonPruner

    kinds: tuple[type[Pruner], ...] = (
        MedianPruner, PatientPruner, PercentilePruner, SuccessiveHalvingPruner, ThresholdPruner, WilcoxonPruner,
    )  # fmt: skip
    return {str(kind.name): kind for kind in kinds}
