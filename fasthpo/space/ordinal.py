"""Choices that have an order."""

from __future__ import annotations

from fasthpo.space.kinds import Categorical


class Ordinal(Categorical):
    """One of several choices in a given order, such as sizes that are no regular steps: 16, 32, 64, 256.

    The order is what counts: samplers work with a choice's place in the list, so that neighbours are taken for alike,
    and the distance between neighbours is the same everywhere. `fasthpo.at_least` and its like compare by place, too.

    Args:
        choices: at least one choice, from the lowest to the highest, none twice; as of `Categorical`.
        when: active only if every named parent has one of the listed values, or meets the comparison.
        prior: a guess of the best value, or a `Prior` that says how sure it is; None: nothing is believed.

    Raises:
        InvalidSearchSpace: no choices, a repeated one, or one of another type.

    Example:
        >>> Ordinal(["small", "medium", "large"]).count
        3
    """

    __slots__ = ()
    kind = "ordinal"
    is_ordered = True

    def axis(self) -> list[float]:
        from fasthpo.kernels.axes import numeric_axis  # imports numba

        return numeric_axis(*self.bounds, 1.0, False, self.count)
