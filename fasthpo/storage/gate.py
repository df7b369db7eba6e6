"""What every change of a study has to pass, unless the study is in memory only."""

from __future__ import annotations

from typing import Protocol

from fasthpo.errors import FastHPOError


class Gate(Protocol):
    """Lets changes pass and writes them, or does not let them pass."""

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
    """

    def __init__(self, why: FastHPOError) -> None:
        self._why = why

    def open(self) -> None:
        raise type(self._why)(*self._why.args)

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Nothing has changed."""

    def hand_over_soon(self) -> None:
        """Nothing has changed."""
