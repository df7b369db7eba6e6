"""Where trials keep their weights: a directory each, under the study's own or a temporary one; and which ones stay."""

from __future__ import annotations

import heapq
import math
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from fasthpo.errors import InvalidValue
from fasthpo.storage.atomic import storage_error
from fasthpo.system.log import logger
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import plain, shown

DIRECTORY = "checkpoints"
_NAME = re.compile(r"trial-(0|[1-9][0-9]{0,17})")

Keep = Literal["best", "all"] | int


def check_keep(keep: Any) -> Keep:
    """Which weights are to stay.

    Raises:
        InvalidValue: neither "best", "all" nor a positive integer.
    """
    keep = plain(keep)
    if keep in ("best", "all") or (isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1):
        return keep  # type: ignore[no-any-return]
    raise InvalidValue(
        f"keep_checkpoints must be 'best', 'all' or a positive number of trials, got keep_checkpoints={shown(keep)}"
    )


def trials_in(root: Path) -> list[int]:
    """Numbers of the trials that have a directory under `root`."""
    try:
        names = [_NAME.fullmatch(entry.name) for entry in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name[1]) for name in names if name is not None]


def remove_trials(root: Path) -> None:
    """Remove the trials' directories under `root`, as far as that goes, and `root` if nothing else is there."""
    with suppress(OSError):
        for number in trials_in(root):
            shutil.rmtree(root / f"trial-{number}", ignore_errors=True)
        root.rmdir()


def _remove(root: Path, process: int) -> None:
    if os.getpid() == process:  # a process that was forked off leaves it to its parent
        shutil.rmtree(root, ignore_errors=True)


class Checkpoints:
    """The directories of a study's trials, made when they are first asked for.

    Args:
        root: the directory that holds them; None for a temporary one, which goes when the program ends.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._is_temporary = False
        self._making = threading.Lock()  # trials in threads ask for theirs at the same time
        self._most: float = math.inf  # directories of completed trials that stay
        self._made: set[int] = set()  # numbers of the trials that have a directory
        self._best: list[tuple[float, int]] = []  # a heap of those of the best: (-loss, -number), the worst first
        self._due: list[int] = []  # whose directories may go

    @property
    def root(self) -> Path:
        """The directory that holds all of them."""
        with self._making:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="fasthpo-"))
                self._is_temporary = True
                weakref.finalize(self, _remove, self._root, os.getpid())
            return self._root

    @property
    def known_root(self) -> Path | None:
        """The same, if any trial has asked for its directory or the study is kept in one; else None."""
        return self._root

    def use(self, root: Path) -> None:
        """They are under `root`."""
        self._made = set(trials_in(root))
        self._root, self._is_temporary = root, False

    def is_at(self, root: Path) -> bool:
        """Whether they are under `root`."""
        return self._root == root

    def copy_to(self, root: Path) -> None:
        """Copy them to `root`, where there are none: all of them, or none at all.

        Raises:
            OSError: one can't be copied.
        """
        try:
            for number in trials_in(self.root) if self._made else ():
                name = f"trial-{number}"
                shutil.copytree(self.root / name, root / name)
        except BaseException:
            remove_trials(root)
            raise

    def go_on_at(self, root: Path) -> None:
        """They are under `root` from now on, where they were copied to."""
        if self._is_temporary and self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        self._root, self._is_temporary = root, False

    @property
    def is_empty(self) -> bool:
        """Whether no trial has weights."""
        return not self._made

    def forget(self) -> None:
        """No trial has weights any more."""
        self._made.clear()

    def of(self, number: int) -> Path:
        """The directory of one trial, which exists.

        Raises:
            StorageError: it can't be made, for instance because the study's directory was removed.
        """
        root = self.root
        directory = root / f"trial-{number}"
        try:
            root.mkdir(parents=self._is_temporary, exist_ok=True)  # weights are of no use without the study beside them
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"the directory of a trial's weights, {directory}, can't be made") from error
        self._made.add(number)
        return directory

    # --- house-keeping

    @property
    def limited(self) -> bool:
        """Whether any go at all."""
        return self._most < math.inf

    def keep(self, keep: Keep, table: TrialTable, may_go_on: Callable[[int], bool]) -> None:
        """Say whose weights stay, and remove those of the others.

        Always kept are those of trials that run, wait or are paused and may still go on. With "best" or a number n
        all others go but those of the best completed trial, or of the n best.

        Args:
            keep: "best", "all" or n.
            table: the study's trials.
            may_go_on: whether a paused trial may still be promoted.

        Raises:
            InvalidValue: `keep` is something else.
        """
        keep = check_keep(keep)
        self._most = math.inf if keep == "all" else 1 if keep == "best" else int(keep)
        self.recount(table, may_go_on)
        self.clean()

    def recount(self, table: TrialTable, may_go_on: Callable[[int], bool]) -> None:
        """Find out from the table whose weights may go; nothing is removed before `clean`."""
        self._best, self._due = [], []
        if not self.limited:
            return
        for number in sorted(self._made):
            state = table.state(number) if number < len(table) else TrialState.FAILED
            if state == TrialState.PAUSED and not may_go_on(number):
                self._due.append(number)
            else:
                self._ended(table, number, state)

    def after_end(self, table: TrialTable, number: int, retired: Iterable[int]) -> None:
        """Note that a trial has ended or paused, and which paused ones will never go on; O(log n) in what is kept.

        Nothing is removed before `clean`, so that what the trial was told can be written first.
        """
        if not self.limited:
            return
        self._ended(table, number, table.state(number))
        self._due.extend(retired)

    def _ended(self, table: TrialTable, number: int, state: TrialState) -> None:
        if number not in self._made or state in (TrialState.RUNNING, TrialState.WAITING, TrialState.PAUSED):
            return
        loss = table.sign * float(table.values[number])
        if state != TrialState.COMPLETE or not math.isfinite(loss):
            self._due.append(number)
            return
        heapq.heappush(self._best, (-loss, -number))
        if len(self._best) > self._most:
            self._due.append(-heapq.heappop(self._best)[1])

    def clean(self) -> None:
        """Remove what may go."""
        while self._due:
            number = self._due[-1]
            if number in self._made:
                directory = self.root / f"trial-{number}"
                try:
                    shutil.rmtree(directory)
                except FileNotFoundError:
                    pass
                except OSError as error:  # such as a file that is open on Windows; the next run tries again
                    logger.warning("the weights in %s were not removed: %s", directory, error)
                self._made.discard(number)
            self._due.pop()
