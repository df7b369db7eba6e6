"""Where a study is kept, and whether it may change: in memory, in a directory, or closed."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fasthpo.errors import FastHPOError
from fasthpo.trials.history import History, Recorder


class Store(Protocol):
    """Keeps one study. All methods but `compact` are called with the study's lock held.

    Attributes:
        directory: where it is kept; None for none.
        refusal: what a call that would change the study is refused with; None where it may change.
    """

    @property
    def directory(self) -> Path | None: ...
    @property
    def refusal(self) -> FastHPOError | None: ...

    def attach(self, history: History) -> None:
        """From now on record what happens in a history, whose contents are kept already."""

    def follow(self, history: History) -> None:
        """Keep another history of the same study, which went back to before a call that was broken off."""

    def open(self, moves: bool = False) -> None:
        """Called before anything changes, or with `moves` before the study is kept elsewhere; raises if it mustn't."""

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Called when a change is complete in memory, to have it written; see `DirectoryStore.hand_over`."""

    def hand_over_soon(self) -> None:
        """As `hand_over`, of a change that may wait."""

    def redefine(self, definition: str) -> None:
        """The study goes on with other parts; the JSON of its definition."""

    def must_catch_up(self) -> None:
        """A call was broken off: what is written may lack something that the study has."""

    def check(self) -> None:
        """Make sure that the directory's files are still this study's; raises `StorageError` if not."""

    def is_in_place(self) -> bool:
        """Whether they are."""

    def wait(self) -> None:
        """Let what is written in the background come to its end."""

    def sync(self) -> None:
        """Have everything on the disk."""

    def compact(self) -> None:
        """Write a checkpoint of everything."""

    def release(self) -> Store:
        """Write everything, and let others have the directory; the store that takes this one's place."""

    def drop(self) -> None:
        """Let others have the directory, as it is."""


class MemoryStore:
    """Keeps nothing: the study lives as long as its process."""

    directory: Path | None = None
    refusal: FastHPOError | None = None

    def attach(self, history: History) -> None:
        history.recorder = Recorder()

    follow = attach

    def open(self, moves: bool = False) -> None:
        pass

    def hand_over(self, strict: bool, now: bool = False) -> None:
        pass

    def hand_over_soon(self) -> None:
        pass

    def redefine(self, definition: str) -> None:
        pass

    def must_catch_up(self) -> None:
        pass

    def check(self) -> None:
        pass

    def is_in_place(self) -> bool:
        return True

    def wait(self) -> None:
        pass

    def sync(self) -> None:
        pass

    def compact(self) -> None:
        pass

    def release(self) -> Store:
        return self

    def drop(self) -> None:
        pass


class ClosedStore(MemoryStore):
    """Of a study that can be read and saved, but not changed.

    Args:
        refusal: what is raised, and why.
        may_move: whether it may be kept elsewhere, and changed there.
    """

    def __init__(self, refusal: FastHPOError, may_move: bool = False) -> None:
        self.refusal: FastHPOError = refusal
        self._may_move = may_move

    def open(self, moves: bool = False) -> None:
        if not (moves and self._may_move):
            raise type(self.refusal)(*self.refusal.args)

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Something has changed, in a call that goes on in a process that was forked off within it."""
        self.open()

    def hand_over_soon(self) -> None:
        """As `hand_over`."""
        self.open()
