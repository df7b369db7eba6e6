"""What every strategy is: it decides which trial comes next and how far it goes."""

from __future__ import annotations

from fasthpo.samplers.base import Sampler


class Strategy:
    """Which trial next, and how far; its sampler decides where.

    Args:
        sampler: where new trials look.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
