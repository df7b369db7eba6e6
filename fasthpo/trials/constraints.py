"""What trials were told of their constraints, which are limits that a configuration keeps where they are at most 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fasthpo.values import FloatArray, IntArray, grow_rows, masked

MOST_CONSTRAINTS = 64  # a table has room for each of a trial's, which a file must not make much of


@masked
def violations_of(rows: FloatArray) -> FloatArray:
    """The sum of what is above 0 in each row (n, k), so that 0 is feasible; NaN for a row of NaN."""
    found: FloatArray = np.where(np.isnan(rows).all(axis=1), np.nan, np.maximum(rows, 0.0).sum(axis=1))
    return found


class Constraints:
    """The constraints of a study's trials, as columns that are made when the first are told.

    Attributes:
        count: k, how many each trial has that was told any; 0 before the first was.
    """

    def __init__(self) -> None:
        self.count = 0
        self._values: FloatArray = np.empty((0, 0))
        self._violations: FloatArray = np.empty(0)

    @classmethod
    def of(cls, values: FloatArray) -> Constraints:
        """Constraints that were read, (n, k); rows of NaN are those of trials that were told none."""
        made = cls()
        made._values, made._violations, made.count = values, violations_of(values), values.shape[1]
        return made

    # --- reading

    def values(self, length: int) -> FloatArray:
        """Those of the first `length` trials, a read-only view (length, k)."""
        return _read_only(self._values[:length] if self.count else np.empty((length, 0)))

    def violations(self, length: int) -> FloatArray:
        """By how much the first `length` trials break theirs, a read-only view (length,); NaN where none were told."""
        return _read_only(self._violations[:length] if self.count else np.broadcast_to(np.nan, length))

    def violation(self, number: int) -> float:
        """By how much a trial breaks its constraints; 0 if it was told none."""
        if not self.count:
            return 0.0
        violation = self._violations.item(number)
        return violation if violation == violation else 0.0

    def are_feasible(self, numbers: IntArray) -> npt.NDArray[np.bool_]:
        """Whether trials (n,) break none."""
        if not self.count:
            return np.ones(len(numbers), np.bool_)
        return ~(self._violations[numbers] > 0)

    @property
    def column(self) -> FloatArray | None:
        """The array that holds them, with the rows of trials to come; None before any were told."""
        return self._values if self.count else None

    # --- writing

    def set(self, numbers: IntArray, rows: FloatArray, capacity: int) -> None:
        """Keep those of trials (n,), as rows (n, k); a row of NaN leaves a trial as it is.

        Args:
            numbers, rows: as above.
            capacity: for how many trials there is to be room.
        """
        told = ~np.isnan(rows).all(axis=1)
        if not told.any():
            return
        if not self.count:
            self._values = np.full((capacity, rows.shape[1]), np.nan)
            self._violations = np.full(capacity, np.nan)
        self._values[numbers[told]] = rows[told]
        self._violations[numbers[told]] = violations_of(rows[told])
        self.count = rows.shape[1]

    def make_room(self, capacity: int) -> None:
        """There are to be so many trials, most of which are still to come."""
        if self.count:
            self._values = grow_rows(self._values, capacity, np.nan)  # type: ignore[assignment]
            self._violations = grow_rows(self._violations, capacity, np.nan)  # type: ignore[assignment]


def _read_only(view: FloatArray) -> FloatArray:
    view.flags.writeable = False
    return view
