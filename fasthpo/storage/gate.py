"""What every change of a study has to pass, unless the study is in memory only."""

from __future__ import annotations

from typing import Protocol

from fasthpo.errors import FastHPOError


class Gate(Protocol):
    """Lets changes pass and writes them, or does not let them pass."""

    is_passed_by_moves: bool  # whether a study can be moved to another place, whatever `open` says

    def open(self) -> None:
        """Called before something changes."""

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Called after something has changed; see `Keeper.hand_over`."""

    def hand_over_soon(self) -> None:
        """Called after something has changed that may wait."""


class Barred:
    """A gate that nothing passes.

    Args:
        why: what is raised.
        is_passed_by_moves: see `Gate`.
    """

    def __init__(self, why: FastHPOError, is_passed_by_moves: bool = False) -> None:
        self._why = why
        self.is_passed_by_moves = is_passed_by_moves

    def open(self) -> None:
        raise type(self._why)(*self._why.args)

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Something has changed in a call that goes on in a process that was forked off within it."""
        self.open()

    def hand_over_soon(self) -> None:
        """As `hand_over`."""
        self.open()
