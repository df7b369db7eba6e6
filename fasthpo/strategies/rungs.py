"""Rungs and brackets: the arithmetic of successive halving, in integers.

floor(log(R, eta)) is wrong where it matters: log(243, 3) is 4.999999999999999.
"""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """A bracket as planned: how many trials start in it, and the resource of each rung, ascending."""

    trials: int
    resources: tuple[int, ...]

    def sizes(self, reduction_factor: int) -> list[int]:
        """How many trials reach each rung if none fails: rung k + 1 keeps floor(n_k / reduction_factor)."""
        sizes = [self.trials]
        for _ in self.resources[1:]:
            sizes.append(sizes[-1] // reduction_factor)
        return sizes


def rung_resources(min_resource: int, max_resource: int, reduction_factor: int) -> tuple[int, ...]:
    """min_resource * reduction_factor^k as long as that is below max_resource, then max_resource itself."""
    resources = []
    resource = min_resource
    while resource < max_resource:
        resources.append(resource)
        resource *= reduction_factor
    return (*resources, max_resource)


def halving_plan(min_resource: int, max_resource: int, reduction_factor: int) -> Plan:
    """The one bracket of successive halving: as many trials as leave one at the last rung."""
    resources = rung_resources(min_resource, max_resource, reduction_factor)
    return Plan(reduction_factor ** (len(resources) - 1), resources)


def hyperband_plans(min_resource: int, max_resource: int, reduction_factor: int) -> list[Plan]:
    """The brackets s = s_max ... 0 of Hyperband, algorithm 1 of Li et al. (JMLR 18, 2018).

    Bracket s starts ceil((s_max + 1) eta^s / (s + 1)) trials; its rungs are R eta^-s, ..., R eta^-1, R, rounded down.
    s_max is the largest s whose first rung is not below min_resource.
    """
    most = 0
    while max_resource // reduction_factor ** (most + 1) >= min_resource:
        most += 1
    return [
        Plan(
            -(-(most + 1) * reduction_factor**s // (s + 1)),
            tuple(max_resource // reduction_factor**k for k in range(s, -1, -1)),
        )
        for s in range(most, -1, -1)
    ]
