"""When trials start and end: seconds since the epoch, of which any two differ by as much time as has passed."""

from __future__ import annotations

import time

_END = 253370764800.0  # the year 9999, in seconds since the epoch: no file or date has a time much beyond it
_AHEAD = 2 * 86400.0  # seconds that a study may be ahead of the system clock: a wrong time zone, not a wrong year


def _system_time(otherwise: float = 0.0) -> float:
    """Seconds since the epoch; or else, where the system's clock is before it, beyond the year 9998, or no number."""
    now = time.time()
    return now if 0 <= now < _END else otherwise


class StudyClock:
    """Begins with the system clock and goes on with the monotonic one, which nobody sets.

    So a system clock that is set meanwhile makes no trial's duration wrong, and a time in which the machine sleeps
    counts as far as the monotonic clock does so. Times never go back, that of a study which was kept included: else
    trials that ran one after the other would seem to have run side by side.

    Args:
        latest: the latest time that the study has; 0 for a new one.
    """

    def __init__(self, latest: float = 0.0) -> None:
        now = _system_time(min(latest, _END))
        ahead = latest - now
        self._offset = now - time.monotonic() + (ahead if 0 < ahead < _AHEAD else 0.0)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._offset + time.monotonic()

    def catch_up(self) -> None:
        """Take over what the system clock is ahead, after a sleep for instance; while no trial is running."""
        self._offset = max(self._offset, _system_time() - time.monotonic())
