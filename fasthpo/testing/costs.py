"""Whether what a trial costs grows with the number of trials before it."""

from __future__ import annotations

import time
from collections.abc import Callable

from fasthpo.study.study import Study
from fasthpo.testing.interrupting import count_instructions
from fasthpo.testing.rules import require

_MOST_GROWTH = 0.5  # instructions a trial more; to look at one takes at least as many as a loop has, three
_ROUNDS = 25  # at most, until the shortest times show that nothing grows: others may use the machine
_FACTOR, _SLACK = 2.0, 30e-6  # seconds; to find the missing values of 100,000 trials takes 100e-6


def require_as_many_instructions(begin: Callable[[int], Study], cycle: Callable[[Study], None], times: int) -> None:
    """Raise AssertionError if a cycle runs more instructions of Python, the more trials there are.

    Args:
        begin: a study with so many trials.
        cycle: asks for a trial and tells it.
        times: how often, at each size.
    """
    few, many = 200, 1200
    counts = []
    for trials in (few, many):
        cycles = _repeated(begin(trials), cycle, times)
        cycles()  # what is derived is made, and kernels are compiled
        counts.append(count_instructions(cycles) / times)
    growth = (counts[1] - counts[0]) / (many - few)
    require(
        growth < _MOST_GROWTH,
        f"a trial takes {counts[0]:.0f} instructions of Python after {few} trials and {counts[1]:.0f} after {many}, "
        f"{growth:.1f} a trial more",
    )


def require_as_much_time(begin: Callable[[int], Study], cycle: Callable[[Study], None], many: int) -> None:
    """Raise AssertionError if a cycle takes longer, the more trials there are, as with passes over whole columns.

    Args:
        begin: a study with so many trials.
        cycle: asks for a trial and tells it.
        many: how many trials are compared with 1,000.
    """
    sizes, times = (1_000, many), 16
    runs = [_repeated(begin(trials), cycle, times) for trials in sizes]
    for run in runs:
        run()
    shortest = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            shortest[i] = min(shortest[i], (time.perf_counter() - start) / times)
        if shortest[1] < _FACTOR * shortest[0] + _SLACK:
            return
    few, more = (f"{1e6 * seconds:.0f} us" for seconds in shortest)
    raise AssertionError(f"a trial takes {few} after {sizes[0]:,} trials and {more} after {sizes[1]:,}")


def _repeated(study: Study, cycle: Callable[[Study], None], times: int) -> Callable[[], None]:
    def cycles() -> None:
        for _ in range(times):
            cycle(study)

    return cycles
