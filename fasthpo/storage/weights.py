"""Where trials keep their weights: a directory each, under the study's own or a temporary one; and which ones stay."""

from __future__ import annotations

import errno
import heapq
import math
import os
import re
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from fasthpo.errors import InvalidValue, StudyExists
from fasthpo.storage.atomic import remove_temporary_in, storage_error
from fasthpo.storage.copying import copy_tree, remove_tree
from fasthpo.storage.owner import OWNER, owner, remove_abandoned
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.log import logger
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import plain, shown

DIRECTORY = "checkpoints"
_NAME = re.compile(r"trial-(0|[1-9][0-9]{0,17})")
# behind such a name: weights as they were when the trial paused, and a copy that is under way
_PAUSED, _COPYING = "-paused", "-copying"
_TEMPORARY = re.compile(rf"fasthpo-{OWNER}-.+")
_JUNCTION = 0xA0000003  # a link to a directory on Windows

Keep = Literal["best", "all"] | int


def check_keep(keep: Any) -> Keep:
    """Which weights are to stay.

    Raises:
        InvalidValue: neither "best", "all" nor a positive integer.
    """
    known = plain(keep)
    is_word = isinstance(known, str) and known in ("best", "all")
    if is_word or (isinstance(known, int) and not isinstance(known, bool) and 1 <= known < 2**63):
        return known  # type: ignore[no-any-return]
    raise InvalidValue(
        f"keep_checkpoints must be 'best', 'all' or a positive number of trials below 2**63, got "
        f"keep_checkpoints={shown(keep)}"
    )


def trials_in(root: Path) -> list[int]:
    """Numbers of the trials that have a directory under `root`."""
    try:
        names = [_NAME.fullmatch(entry.name) for entry in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name[1]) for name in names if name is not None]


def _is_link(path: Path) -> bool:
    status = os.lstat(path)
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


def _check_removable(root: Path, number: int) -> Path:
    """The directory of a trial, which lies under `root` itself and not behind a link: someone else's may be there.

    Raises:
        OSError: there is none, or it is a link or a file, or `root` is a link.
    """
    directory = root / f"trial-{number}"
    for path in (root, directory):
        if _is_link(path):
            raise OSError(errno.ELOOP, "nothing is removed through a link", str(path))
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    return directory


def check_removable(root: Path) -> None:
    """Make sure that `clear` can remove whatever looks like a trial's directory under `root`.

    Raises:
        StudyExists: something else has the name of one, or would be removed through a link.
    """
    for number in trials_in(root):
        try:
            _check_removable(root, number)
        except OSError as error:
            raise StudyExists(
                f"{root} holds weights of another study's trials that can't be removed: {error}; remove them, or "
                "choose another directory"
            ) from error


def clear(root: Path) -> None:
    """Remove the trials' directories under `root`, and nothing else that may be there.

    Raises:
        OSError: one can't be removed.
    """
    for number in trials_in(root):
        remove_tree(_check_removable(root, number))
        _remove_copies(root, number)


def _remove_copies(root: Path, number: int) -> None:
    """Remove what was copied of a trial's weights, or to them, and lies beside them."""
    for suffix in (_PAUSED, _COPYING):
        directory = root / f"trial-{number}{suffix}"
        if directory.is_dir() and not _is_link(directory):
            remove_tree(directory, ignore_errors=True)


def remove_trials(root: Path, numbers: Iterable[int]) -> None:
    """Remove these trials' directories under `root`, as far as that goes, and `root` if nothing else is there."""
    for number in numbers:
        with suppress(OSError):
            remove_tree(_check_removable(root, number), ignore_errors=True)
            _remove_copies(root, number)
    with suppress(OSError):
        root.rmdir()


def _remove_tree(directory: Path) -> None:
    if _is_link(directory):
        raise OSError(errno.ELOOP, "nothing is removed through a link", str(directory))
    remove_tree(directory)


def _remove(root: Path, process: int) -> None:
    if os.getpid() == process:  # a process that was forked off leaves it to its parent
        remove_tree(root, ignore_errors=True)


class Checkpoints:
    """The directories of a study's trials, made when they are first asked for.

    Args:
        root: the directory that holds them; None for a temporary one, which goes when the program ends.
        removes_retired: whether those of trials that failed, or will never go on, go in any case.
    """

    def __init__(self, root: Path | None = None, removes_retired: bool = False) -> None:
        self._root = root
        self._removes_retired = removes_retired
        self._is_temporary = False
        self._process = 0  # which has made the temporary directory
        self._making = threading.Lock()  # trials in threads ask for theirs at the same time
        renew_in_forked(self, _making=threading.Lock)
        self._most: float = math.inf  # directories of completed trials that stay
        self._made: set[int] = set()  # numbers of the trials that have a directory
        self._best: list[tuple[float, int]] = []  # a heap of those of the best: (-loss, -number), the worst first
        self._due: list[int] = []  # whose directories may go
        self._aside: set[int] = set()  # whose copies beside them may go, see `keep_as_paused`

    @property
    def root(self) -> Path:
        """The directory that holds all of them."""
        with self._making:
            if self._root is None:
                remove_abandoned(Path(tempfile.gettempdir()), _TEMPORARY)
                self._root = Path(tempfile.mkdtemp(prefix=f"fasthpo-{owner()}-"))
                self._is_temporary, self._process = True, os.getpid()
                weakref.finalize(self, _remove, self._root, self._process)
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
        """Whether they are under `root`, by whatever path."""
        return self._root is not None and os.path.realpath(self._root) == os.path.realpath(root)

    def copy_to(self, root: Path) -> list[int]:
        """Copy them to `root`, where there are none: all of them, or none at all; the trials' numbers.

        Raises:
            OSError: one can't be copied, for instance because there is one.
        """
        copied: list[int] = []
        try:
            for number in trials_in(self.root) if self._made else ():
                name = f"trial-{number}"
                (root / name).mkdir(parents=True)
                copied.append(number)
                copy_tree(self.root / name, root / name, exist_ok=True)
                if (self.root / f"{name}{_PAUSED}").is_dir():
                    copy_tree(self.root / f"{name}{_PAUSED}", root / f"{name}{_PAUSED}")
        except BaseException:
            remove_trials(root, copied)
            raise
        return copied

    def go_on_at(self, root: Path) -> None:
        """They are under `root` from now on, where they were copied to."""
        before = self._root if self._is_temporary else None
        self._root, self._is_temporary = root, False
        if before is not None:
            _remove(before, self._process)

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
        self.tidy(number)
        return directory

    def tidy(self, number: int) -> None:
        """Remove what a process that was killed has left half written among a trial's weights."""
        if number in self._made:
            remove_temporary_in(self.root / f"trial-{number}")

    # --- weights that others begin with

    def copy(self, parent: int, number: int, state: TrialState) -> None:
        """A new trial is to begin with the weights of its parent; nothing, if that has none.

        The copy appears as a whole, or not at all. What another trial of that number has left there goes, which was
        begun by a process that was killed before it could note that down.

        Args:
            parent: from whom.
            number: of the new trial.
            state: of the parent. What runs has put its weights aside; see `keep_as_paused`.

        Raises:
            StorageError: they can't be copied, for instance because the disk is full.
        """
        if parent not in self._made:
            return
        self.tidy(parent)
        source = self.root / f"trial-{parent}"
        if state != TrialState.PAUSED and (aside := self.root / f"trial-{parent}{_PAUSED}").is_dir():
            source = aside
        self._copy(source, self.root / f"trial-{number}", f"the weights of trial {parent}")
        self._made.add(number)

    def keep_as_paused(self, number: int) -> None:
        """Put a copy of the weights of a trial aside, which is about to go on from them.

        Raises:
            StorageError: as `copy`.
        """
        if number in self._made:
            self.tidy(number)
            name = f"trial-{number}"
            self._copy(self.root / name, self.root / f"{name}{_PAUSED}", f"the weights of trial {number}")

    def _copy(self, source: Path, target: Path, what: str) -> None:
        under_way = target.with_name(target.name.removesuffix(_PAUSED) + _COPYING)
        try:
            for old in (under_way, target):
                if old.is_dir():
                    _remove_tree(old)
            copy_tree(source, under_way)
            under_way.replace(target)
        except (OSError, shutil.Error) as error:
            remove_tree(under_way, ignore_errors=True)
            why = error if not isinstance(error, shutil.Error) else OSError(errno.EIO, str(error))
            raise storage_error(why, f"{what} can't be copied to {target}") from error

    # --- house-keeping

    @property
    def has_due(self) -> bool:
        """Whether some may go."""
        return bool(self._due or self._aside)

    @property
    def _limited(self) -> bool:
        return self._most < math.inf or self._removes_retired

    def keep(self, keep: Keep, table: TrialTable, may_go_on: Callable[[int], bool]) -> None:
        """Say whose weights stay, and remove those of the others.

        Always kept are those of trials that run, wait or are paused and may still go on. With "best" or a number n
        all others go but those of the best completed trial, or of the n best; with several objectives "best" is the
        front. A trial that breaks a constraint is none of the best.

        Args:
            keep: "best", "all" or n.
            table: the study's trials.
            may_go_on: whether a paused trial may still be promoted.

        Raises:
            InvalidValue: `keep` is something else, or a number and there are several objectives.
        """
        keep = check_keep(keep)
        if table.objectives.count > 1 and keep not in ("all", "best"):
            raise InvalidValue(
                f"with {table.objectives.count} objectives keep must be 'all', or 'best' for the trials on the front, "
                f"got keep={keep!r}"
            )
        self._most = math.inf if keep == "all" else 1 if keep == "best" else int(keep)
        self.recount(table, may_go_on)
        self.clean()

    def recount(self, table: TrialTable, may_go_on: Callable[[int], bool]) -> None:
        """Find out from the table whose weights may go; nothing is removed before `clean`."""
        self._best, self._due = [], []
        if not self._limited:
            return
        for number in sorted(self._made):
            if number >= len(table):  # not of this study's trials, as far as is known
                continue
            if table.former is not None and table.former.is_outside(number):
                continue  # it may come inside again
            state = table.state(number)
            if self._removes_retired and state in (TrialState.PAUSED, TrialState.COMPLETE):
                self._aside.add(number)
            if state == TrialState.PAUSED and not may_go_on(number):
                self._due.append(number)
            else:
                self._ended(table, number, state)

    def after_end(self, table: TrialTable, numbers: Iterable[int], retired: Iterable[int]) -> None:
        """Note that trials have ended or paused, and which paused ones will never go on; O(log n) each in what is kept.

        Nothing is removed before `clean`, so that what the trials were told can be written first.
        """
        if not self._limited:
            return
        for number in numbers:
            self._ended(table, number, table.state(number))
            if self._removes_retired and number in self._made:  # from now on it rests itself
                self._aside.add(number)
        self._due.extend(retired)

    def _ended(self, table: TrialTable, number: int, state: TrialState) -> None:
        if number not in self._made or state in (TrialState.RUNNING, TrialState.WAITING, TrialState.PAUSED):
            return
        if self._most == math.inf:  # only those go that never go on
            if state != TrialState.COMPLETE:
                self._due.append(number)
            return
        if table.objectives.count > 1:
            on_front = set(table.front.numbers.tolist())
            left = [key for key in self._best if -key[1] not in on_front]
            self._due += [-key[1] for key in left]
            self._best = [key for key in self._best if -key[1] in on_front]
            if number in on_front:
                self._best.append((0.0, -number))
            else:
                self._due.append(number)
            return
        loss = table.objectives.loss(float(table.values[number]))
        if state != TrialState.COMPLETE or not math.isfinite(loss) or table.violation(number) > 0:
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
                try:
                    remove_tree(_check_removable(self.root, number))
                    _remove_copies(self.root, number)
                except FileNotFoundError:
                    pass
                except OSError as error:  # such as a file that is open on Windows; the next run tries again
                    logger.warning("the weights of trial %d were not removed: %s", number, error)
                self._made.discard(number)
            self._due.pop()
        while self._aside:
            _remove_copies(self.root, self._aside.pop())
