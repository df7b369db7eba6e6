"""The latest trials that came to a rung under several objectives, and which of them are first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fasthpo.values import FIRST_CAPACITY, FloatArray, IntArray, grow_unset

MOST = 256  # trials, so that a decision costs the same however many have come


class LatestTrials:
    """The latest `MOST` trials that came, each once, with their losses; older ones give way.

    They are ordered by non-dominated layers and, inside a layer, along an epsilon-net (Schmucker et al. 2021,
    arXiv 2106.12639): its first trial has the lowest first loss, and each next one is furthest from those before, where
    each loss goes from 0 to 1 in the layer. Behind all of these come those with a penalty, by its size. Equal ones go
    by their numbers.

    Args:
        objectives: m.

    Attributes:
        numbers: of the trials, int64 (n,), in no order.
        losses: theirs, (n, m), without NaN in those that have no penalty.
        penalties: not negative, (n,).
        marks: whatever the owner notes of each, int8 (n,); 0 at first.
    """

    def __init__(self, objectives: int) -> None:
        self._length = 0
        self._next = 0  # where the next one will stand
        self._numbers: IntArray = np.empty(FIRST_CAPACITY, np.int64)
        self._losses: FloatArray = np.empty((FIRST_CAPACITY, objectives))
        self._penalties: FloatArray = np.empty(FIRST_CAPACITY)
        self._marks: npt.NDArray[np.int8] = np.zeros(FIRST_CAPACITY, np.int8)

    def __len__(self) -> int:
        return self._length

    @property
    def numbers(self) -> IntArray:
        return self._numbers[: self._length]

    @property
    def losses(self) -> FloatArray:
        return self._losses[: self._length]

    @property
    def penalties(self) -> FloatArray:
        return self._penalties[: self._length]

    @property
    def marks(self) -> npt.NDArray[np.int8]:
        return self._marks[: self._length]

    @property
    def oldest(self) -> int | None:
        """Where the one stands that gives way to the next; None while there is room."""
        return self._next if self._length == MOST else None

    def add(self, number: int, losses: FloatArray, penalty: float = 0.0) -> int:
        """A trial has come, for the first time; where it stands now."""
        place = self._next
        if self._length < MOST:
            if self._length == len(self._numbers):
                for name in ("_numbers", "_losses", "_penalties", "_marks"):
                    setattr(self, name, grow_unset(getattr(self, name), min(MOST, 2 * self._length)))
            self._length += 1
        self._numbers[place], self._losses[place], self._penalties[place] = number, losses, penalty
        self._marks[place] = 0
        self._next = (place + 1) % MOST
        return place

    def find(self, number: int) -> int | None:
        """Where a trial stands; None if it has given way, or never came."""
        found = np.flatnonzero(self.numbers == number)
        return int(found[0]) if len(found) else None

    def first(self, count: int, among: npt.NDArray[np.bool_] | None = None) -> IntArray:
        """Where the first ones stand, the very first one first.

        Args:
            count: how many; at most as many as there are.
            among: which take part, bool (n,); None: all.
        """
        from fasthpo.kernels.multi_objective.spreading import first_along_nets  # imports numba

        places = np.arange(self._length) if among is None else np.flatnonzero(among)
        places = places[np.argsort(self._numbers[places])]
        chosen = np.empty(count, np.int64)
        first_along_nets(self._losses[places], self._penalties[places], chosen)
        found: IntArray = places[chosen]
        return found
