"""Where trials keep their weights: a directory each, under the study's own or a temporary one."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

DIRECTORY = "checkpoints"


class Checkpoints:
    """The directories of a study's trials, made when they are first asked for.

    Args:
        root: the directory that holds them; None for a temporary one, which goes when the program ends.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The directory that holds all of them."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="fasthpo-"))
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        return self._root

    def move_to(self, root: Path) -> None:
        """Keep them under `root` from now on; the caller knows that no trial has one yet."""
        self._root = root

    def of(self, number: int) -> Path:
        """The directory of one trial, which exists."""
        directory = self.root / f"trial-{number}"
        directory.mkdir(parents=True, exist_ok=True)
        return directory
