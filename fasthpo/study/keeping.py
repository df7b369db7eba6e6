"""Where a study is kept: in memory, or in a directory, from which it goes on as if it had never stopped."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fasthpo.errors import (
    FastHPOError,
    InvalidValue,
    StorageError,
    StudyBusy,
    StudyClosed,
    StudyExists,
    TrialStateError,
)
from fasthpo.pruners.base import Claim, Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file, sync_directory
from fasthpo.storage.checks import MOST_NESTED, is_flat
from fasthpo.storage.definition import Parts, define
from fasthpo.storage.directory import (
    CHECKPOINT_FILE,
    JOURNAL_FILES,
    DirectoryMark,
    Loaded,
    directory_mark,
    exists,
    holds_study,
    present,
    remove_leftovers,
    remove_study,
)
from fasthpo.storage.durability import Durability, check_durability
from fasthpo.storage.gate import Barred, Gate
from fasthpo.storage.keeper import Keeper
from fasthpo.storage.lock import WriterLock
from fasthpo.storage.snapshot_reader import check_written
from fasthpo.storage.snapshot_writer import ID_SIZE, VERSION, Head, write_snapshot
from fasthpo.storage.weights import DIRECTORY, Keep, remove_trials, trials_in
from fasthpo.strategies.base import Strategy
from fasthpo.study.exporting import Exporting
from fasthpo.study.scheduler import Scheduler
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.frozen import Frozen
from fasthpo.trials.history import History
from fasthpo.trials.rebuilding import settled
from fasthpo.values import shown

# where a call stands that changes the study
IDLE = 0  # there is none
CHANGING = 1  # the history, and what follows it
WRITING = 2  # in memory all is done
REPORTING = 3  # a report is being added
_CALLS = frozenset(
    ("ask", "ask_within", "ask_batch", "enqueue", "report", "should_prune", "tell", "tell_batch", "add_trials",
     "set_attribute", "keep_checkpoints", "_keep_at", "sync", "compact", "_let_go")
)  # fmt: skip


class Keeping(Exporting):
    """Saves, loads and keeps a study's history. `Study` adds what changes it."""

    space: SearchSpace
    sampler: Sampler
    strategy: Strategy | None
    pruner: Pruner | None
    _history: History
    _scheduler: Scheduler
    _lock: threading.RLock
    _gate: Gate | None  # what every change has to pass; None for a study in memory
    _id: bytes
    _claim: Claim  # to its pruner
    _loaded: Loaded | None  # of a study that follows another one
    _stage: int  # of the call under way, or of one that was broken off
    _is_torn: bool  # a call within the one under way was broken off
    _has_strategy: bool | None  # whether its strategy is still its own, while a break is made good
    _left_in: Path | None  # where weights were copied to in vain, and could not be removed
    _closes: bool  # it is to be closed as soon as the call under way has ended
    _unobserved: deque[int]  # trials that have ended, of which the sampler is still to be told
    _observing: int | None  # the one of which it is being told

    def _start(self, history: History, with_strategy: bool = True) -> None:
        """Take up a history, and have the parts that follow it do so."""
        self._history = history
        self.table = history.table
        self._scheduler = Scheduler(history, self.sampler, self.strategy)
        keeper = self._keeper
        self._scheduler.log = None if keeper is None else keeper.recorder
        self._attach_pruner()
        if self._scheduler.strategy is not None and with_strategy:
            self._scheduler.strategy.attach(self.table)

    def _attach_pruner(self) -> None:
        """Have the pruner take up the table as it is now."""
        if self.pruner is not None and self._claim.lost is None:
            from fasthpo.pruners.claims import claimed

            self.pruner = claimed(self.pruner, self._claim)
            self.pruner.attach(self.table)

    def _definition(self) -> str:
        return define(self.space, self.table.direction, Parts(self.sampler, self.pruner, self.strategy))

    # --- changing: all with the lock held

    @property
    def _keeper(self) -> Keeper | None:
        return self._gate if isinstance(self._gate, Keeper) else None

    def _settle(self, own: int = 0) -> None:
        """Make good whatever a call that was broken off has left.

        Args:
            own: how many of `_CALLS` this is part of.

        Raises:
            StudyBusy: that call goes on: this is called by a signal handler, or by a part of the user's own, within it.
        """
        if self._stage != IDLE:
            if self._is_within_a_call(own):
                self._refuse_within()
            self._break_off()
            self._close_if_wanted()

    def _is_within_a_call(self, own: int) -> bool:
        """Whether this thread is in a call that changes the study, besides the `own` one that asks.

        The lock keeps other threads out, not what runs in the middle of a call: a signal handler, or a sampler.
        """
        frame, found = sys._getframe(1), 0
        while frame is not None and found <= own:
            found += frame.f_code.co_name in _CALLS and frame.f_locals.get("self") is self
            frame = frame.f_back  # type: ignore[assignment]
        return found > own

    def _refuse_within(self) -> None:
        raise StudyBusy(
            "the study is in the middle of another call, from which this one was made: a signal handler may note "
            "something down for later, raise an exception, or call study.save(path)"
        )

    def _enter_within(self, notes_only: bool) -> int:
        """Where the call stands within which this one is made; IDLE if it was broken off, and is made good now.

        Args:
            notes_only: whether this one changes no trials.

        Raises:
            StudyBusy: this one can't be made now.
        """
        if not self._is_within_a_call(own=1):
            self._break_off()
            self._close_if_wanted()
            return IDLE
        is_complete = self._stage == CHANGING and self._history.table.savepoint.extent is None
        if not is_complete and not (notes_only and self._stage == CHANGING and self._history.is_untouched):
            self._refuse_within()
        return self._stage

    def _check_strategy(self) -> None:
        strategy = self._scheduler.strategy
        if strategy is not None and not strategy.follows(self.table):
            raise TrialStateError(
                f"this study's {type(strategy).__name__} follows another study, to which it was given later: make a "
                "strategy of its own for each study"
            )

    def _break_off(self, error: BaseException | None = None) -> None:
        """A call does not come to its end: what it has begun is taken back; what was complete stands.

        Whoever follows the history takes it up anew, as if the study had been loaded.
        """
        keeper, savepoint = self._keeper, self._history.table.savepoint
        if self._stage == WRITING:
            if keeper is not None and not isinstance(error, StorageError):
                keeper.must_catch_up()
        elif not (isinstance(error, FastHPOError) and savepoint.extent is not None and self._history.is_untouched):
            if savepoint.extent is not None:
                self._unobserved.clear()
            elif self._observing is not None and isinstance(error, Exception):  # it was the sampler's own
                self._unobserved.remove(self._observing)
            strategy = self._scheduler.strategy
            if self._has_strategy is None:  # else a break came into this, too, and the strategy may follow either table
                self._has_strategy = strategy is None or strategy.follows(self.table)
            history = settled(self._history)
            if keeper is not None:
                keeper.follow(history)
            self._start(history, self._has_strategy)
            self._has_strategy = None
            self.sampler.forget()
            if self._forgets_observations():
                self._unobserved.clear()
                self._replay_observations()
            self._observe_rest()
            self.checkpoints.recount(self.table, self._may_go_on)
        self._history.commit()
        self._observing = None
        if keeper is not None and not isinstance(error, StorageError):
            self._stage = WRITING  # at once: the program may end now
            with suppress(FastHPOError):
                keeper.open()
                keeper.hand_over(strict=False)
        self._stage = IDLE

    def _leave(self, error: BaseException, outer: int) -> None:
        """A call does not come to its end that was made within another one, which stands at `outer`, if at all."""
        if outer == IDLE:
            self._break_off(error)
        else:  # so that one is broken off, too, whatever becomes of the error
            self._is_torn = True
            self._stage = outer
        self._close_if_wanted()

    def _close_if_wanted(self) -> None:
        """Called at the end of each call, in which a signal handler may have closed the study."""
        if self._closes and self._stage == IDLE:
            self.close()

    def _forgets_observations(self) -> bool:
        """Whether the sampler's `forget` is of the class that observes, or of one derived from it."""
        classes = type(self.sampler).__mro__
        observes = next(i for i, one in enumerate(classes) if "observe" in one.__dict__)
        return any("forget" in one.__dict__ for one in classes[: observes + 1]) and classes[observes] is not Sampler

    def _observe_rest(self) -> None:
        """Tell a sampler that observes of the trials that have ended."""
        while self._unobserved:
            self._observing = self._unobserved[0]
            self.sampler.observe(self.table, self._observing)
            self._unobserved.popleft()
        self._observing = None

    def _replay_observations(self) -> None:
        """Tell a sampler that observes of all that has happened, in order."""
        if type(self.sampler).observe is not Sampler.observe:
            legs, order = self.table.legs, self.table.tell_order
            for number in (legs.column("trial") if len(legs) else order).tolist():
                self.sampler.observe(self.table, number)

    def _check_pruner(self) -> None:
        if self._claim.lost is not None:
            self._refuse_lost_pruner()

    def _refuse_lost_pruner(self) -> None:
        raise TrialStateError(
            f"this study's {type(self._claim.lost).__name__} follows another study, to which it was given later: make "
            "a pruner of its own for each study"
        )

    def _hand_over(self, strict: bool = False) -> None:
        """The change is complete in memory; have it written, if the study is kept."""
        self._stage = WRITING
        if self._gate is not None:
            self._gate.hand_over(strict, now=strict)
        if strict and self.checkpoints.limited:
            self.checkpoints.clean()  # not before what makes weights useless has been written

    def _may_go_on(self, number: int) -> bool:
        """Whether a paused trial may still be promoted."""
        strategy = self._scheduler.strategy
        return strategy is None or strategy.may_go_on(number)

    # --- attributes

    @property
    def attributes(self) -> dict[str, Any]:
        """What was noted down with `set_attribute`, by name (a copy)."""
        return dict(self._history.attributes)

    def set_attribute(self, name: str, value: Any) -> None:
        """Note something down with the study, such as the version of the data it is about.

        Args:
            name: a string.
            value: None, a bool, int, float or str, or lists and string-keyed dicts of these, at most 100 in each other.

        Raises:
            InvalidValue: it is none of these.
        """
        if not isinstance(name, str):
            raise InvalidValue(f"an attribute's name must be a string, got {name!r}")
        try:
            text = json.dumps(value)
            same = json.loads(text) == value or value != value
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(f"an attribute must be made of plain JSON values, got {shown(value)}: {error}") from None
        if not same:
            raise InvalidValue(f"an attribute must be made of plain JSON values, got {shown(value)}")
        if not is_flat(value):
            raise InvalidValue(
                f"an attribute must not be nested more than {MOST_NESTED} levels deep, got {shown(value)}"
            )
        with self._lock, Change(self, notes_only=True):
            self._history.attributes[name] = json.loads(text)
            if self._scheduler.log is not None:
                self._scheduler.log.attribute(name, text)
            self._hand_over(strict=True)

    # --- weights

    def keep_checkpoints(self, keep: Keep) -> None:
        """Say which trials' weights (`Trial.checkpoint_dir`) stay; those of the others are removed as the study goes.

        Trials that run, wait, or are paused and may still be promoted keep theirs in any case, and the best trial, too.

        Args:
            keep: "all", as every study begins; "best": the best completed trial's; or n: those of the n best.

        Raises:
            InvalidValue: `keep` is something else.
        """
        with self._lock, Change(self):
            self._check_place()
            self.checkpoints.keep(keep, self.table, self._may_go_on)

    def trial_checkpoint_dir(self, number: int) -> Path:
        """As `Trial.checkpoint_dir`.

        Raises:
            StorageError: the study's directory was removed, or is another study's by now.
            OSError: the trial's directory can't be made.
        """
        with self._lock:
            self._check_place()
            return self.checkpoints.of(number)

    def _check_place(self) -> None:
        """Make sure that no other study's weights are overwritten or removed."""
        if self._keeper is not None:
            self._keeper.check()

    # --- in a directory

    @property
    def storage(self) -> Path | None:
        """The directory in which the study is kept; None for one in memory, and after `close`."""
        return None if self._keeper is None else self._keeper.directory

    def keep_at(self, path: str | Path, durability: Durability = "interval", overwrite: bool = False) -> None:
        """From now on keep the study in a directory, with all that it has so far; as `Study(..., storage=path)`.

        A study that was kept elsewhere is left there as it is, and its trials' weights are copied: so a study goes on
        whose disk is full or has failed. If weights can't be read any more, `save` and `Study.load` go on without them.

        Args:
            path: the directory; made if it is missing.
            durability: see `Study`.
            overwrite: remove a study that the directory holds, with its trials' weights.

        Raises:
            StudyExists: the directory holds a study, or weights that one has left.
            StudyInUse: another study has the directory.
            StudyReadOnly: this one follows another process's study, or was closed.
            OSError: the files can't be written, or weights can't be copied; the study stays where it was.
        """
        self._keep_at(path, durability, overwrite, overwrite)

    def _keep_at(self, path: str | Path, durability: Durability, overwrite: bool, overwrite_weights: bool) -> None:
        """As `keep_at`; with `overwrite_weights` also weights are removed that a study has left."""
        seconds = check_durability(durability)
        directory = absolute(given_path("path", path))  # the process may go elsewhere
        with self._lock:
            if self._keeper is not None:
                self._keeper.wait()
            with Change(self, moves=True):
                self._move(directory, seconds, overwrite, overwrite_weights)

    def _move(self, directory: Path, seconds: float | None, overwrite: bool, overwrite_weights: bool) -> None:
        """As `_keep_at`; if it is broken off, the study stays where it was, and the directory as it was."""
        root, before = directory / DIRECTORY, self._keeper
        has_weights = before is None and self.checkpoints.is_at(root)  # it was loaded from a file there
        directory.mkdir(parents=True, exist_ok=True)
        sync_directory(directory.parent)
        lock = WriterLock(directory)
        begun: Keeper | None = None
        try:
            if holds_study(directory):
                if not overwrite:
                    raise StudyExists(
                        f"{directory} holds a study already; go on with it by Study.load({str(directory)!r}), or "
                        "choose another directory"
                    )
                remove_study(directory)
            remove_leftovers(directory)
            head = Head(VERSION, 0, self._id, self._definition())
            keeper = Keeper(directory, lock, self._history, self._lock, seconds, head)
            if not has_weights:
                self._refuse_weights(root, overwrite_weights or root == self._left_in)
                if before is None or self.checkpoints.is_empty or before.is_in_place():
                    self.checkpoints.copy_to(root)
                else:  # what is there is another study's
                    self.checkpoints.forget()
            begun = keeper
            if len(self.table) or self._history.attributes:
                keeper.begin_with_all()
            else:
                keeper.begin()
            self._kept_by(keeper)
        except BaseException:
            if begun is not None:
                if not has_weights:
                    self._left_in = root  # unless all that was copied can be removed
                    remove_trials(root)
                    with suppress(OSError):
                        self._left_in = root if trials_in(root) else None
                self._kept_by(before)
                begun.drop()
                with suppress(OSError):
                    remove_study(directory)
            lock.release()
            raise
        if before is not None:
            before.drop()
        self.checkpoints.go_on_at(root)

    def _refuse_weights(self, root: Path, overwrite: bool) -> None:
        """Make sure that no trial finds weights that another study's has left."""
        if not trials_in(root):
            return
        if not overwrite:
            raise StudyExists(f"{root} holds weights of another study's trials; remove it, or choose another directory")
        shutil.rmtree(root, ignore_errors=True)

    def _keep_again(self, directory: Path, mark: DirectoryMark) -> None:
        """Keep the study in a directory that holds an earlier state of it, as `_let_go` left it there.

        Raises:
            StudyExists: another study is there, or this one has gone on there.
        """
        with self._lock:
            lock = WriterLock(directory)
            try:
                head, journal = present(directory)
                if head.study_id != self._id or directory_mark(directory) != mark:  # which nobody changes any more
                    raise StudyExists(f"{directory} holds a study that has changed since this one was kept there")
                remove_leftovers(directory)
                head = head._replace(definition=self._definition())
                keeper = Keeper(directory, lock, self._history, self._lock, check_durability("interval"), head)
                keeper.begin_with_all(journal)
            except BaseException:
                lock.release()
                raise
            self._kept_by(keeper)

    @property
    def _has_place(self) -> bool:
        """Whether the directory is still the study's; True for one in memory."""
        return self._keeper is None or self._keeper.is_in_place()

    def _let_go(self) -> None:
        """Write everything and let others have the study's directory; the study goes on in memory."""
        with self._lock, Writing(self):
            if self._keeper is not None:
                self._keeper.close()
                self._kept_by(None)

    def _kept_by(self, keeper: Keeper | None) -> None:
        self._gate = keeper
        self._scheduler.log = None if keeper is None else keeper.recorder

    def sync(self) -> None:
        """Have everything on the disk before this returns, whatever the durability; nothing for a study in memory.

        Raises:
            StorageError: it can't be written.
        """
        with self._lock, Writing(self):
            if self._keeper is not None:
                self._keeper.open()
                self._keeper.sync()

    def compact(self) -> None:
        """Make a checkpoint of the whole study now, which loads faster and is smaller than a journal.

        It is made by itself whenever the journal has grown to twice the size of the last one, and on `close`.

        Raises:
            StudyReadOnly: this process was forked from the one that keeps the study.
            StorageError: it can't be written; the journal goes on.
        """
        with self._lock, Writing(self):
            if self._keeper is not None:
                self._keeper.compact()

    def close(self) -> None:
        """Write everything, and let others have the study; it can still be read and saved, but not changed.

        A signal handler may call this in the middle of another call of the study, and then return or exit: the study is
        closed as soon as that call has ended, or was taken back.

        Raises:
            StorageError: what was told can't be written; the study stays open.
        """
        with self._lock:
            self._closes = self._stage != IDLE and self._is_within_a_call(own=0)
            if self._closes:
                return
            self._let_go()
            if self._gate is None:
                self._gate = Barred(StudyClosed("the study was closed; load it again to change it"))
            self._loaded = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- files

    def save(self, path: str | Path) -> Path:
        """Write the whole study to a file, replacing an older one at once and as a whole; its path.

        The file is a copy: what happens later is not in it. To have a study kept all the time, give it a `storage`.

        Args:
            path: the file, or an existing directory that is to hold `checkpoint.msgpack`.

        Raises:
            StudyExists: that directory is where a study is kept.
            OSError: the file can't be written.
        """
        path = given_path("path", path)
        target = path / CHECKPOINT_FILE if path.is_dir() else path
        if target.name == CHECKPOINT_FILE and any(exists(target.parent / name) for name in JOURNAL_FILES):
            raise StudyExists(f"{target.parent} is where a study is kept; save to another place")
        with atomic_file(absolute(target)) as file:
            frozen, head = self._frozen()
            columns = write_snapshot(file, frozen, head)
            file.flush()
            check_written(Path(file.name), frozen, columns, head)
        return target

    def _write(self, file: BinaryIO) -> None:
        """Write the whole study, as it is now, as a checkpoint."""
        write_snapshot(file, *self._frozen())

    def _frozen(self) -> tuple[Frozen, Head]:
        """The study as it is now, and what a file of it begins with."""
        with self._lock:
            history = self._history
            if self._stage != IDLE and self._is_within_a_call(own=0):  # as it was before that call
                history = history if self._stage == WRITING else settled(history)
            else:
                self._settle()
                history = self._history
            return Frozen(history), Head(VERSION, 0, self._id, self._definition())


class Change:
    """A call that changes a study: what it does is done wholly or not at all. Used with the study's lock held.

    Args:
        study: the study.
        moves: the call moves the study to another place; then it does not matter what the one before can do.
        notes_only: the call changes no trials, and may be made by a sampler that is asked for one.

    Raises:
        TrialStateError, StudyClosed, StudyReadOnly, StudyBusy: it can't be changed.
    """

    __slots__ = ("_moves", "_notes_only", "_outer", "_study")

    def __init__(self, study: Keeping, moves: bool = False, notes_only: bool = False) -> None:
        self._study = study
        self._moves = moves
        self._notes_only = notes_only
        self._outer = IDLE  # where the call stands within which this one is made

    def __enter__(self) -> None:
        study = self._study
        if study._stage != IDLE:
            self._outer = study._enter_within(self._notes_only)
        study._stage = CHANGING  # from here on no signal handler changes or closes it
        try:
            if study._scheduler.strategy is not None:
                study._check_strategy()
            if study._gate is not None and not (self._moves and study._keeper is not None):
                study._gate.open()
            if self._outer == IDLE or study._history.table.savepoint.extent is None:
                study._history.begin()
        except BaseException:  # nothing has changed
            if self._outer == IDLE:
                study._history.table.savepoint.extent = None
            study._stage = self._outer
            study._close_if_wanted()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        study = self._study
        if self._outer != IDLE:
            if error is None:
                study._stage = self._outer
            else:
                study._leave(error, self._outer)
            return
        try:
            if error is None and not study._is_torn:
                study._history.commit()
                study._stage = IDLE
            else:
                study._is_torn = False
                study._stage = study._stage if study._stage != IDLE else CHANGING
                study._break_off(error)
        except BaseException as late:  # a signal handler's
            if study._stage != IDLE:
                study._break_off(late)
            raise
        finally:
            study._close_if_wanted()


class Writing:
    """A call that writes what a study is, and changes nothing of it. Used with the study's lock held.

    Raises:
        StudyBusy: it can't be made in the middle of another call.
    """

    __slots__ = ("_study",)

    def __init__(self, study: Keeping) -> None:
        self._study = study

    def __enter__(self) -> None:
        study = self._study
        study._settle(own=1)
        if study._keeper is not None:
            study._keeper.wait()  # others may have the lock meanwhile
        study._stage = WRITING

    def __exit__(self, *_: object) -> None:
        self._study._stage = IDLE
        self._study._close_if_wanted()


def new_id() -> bytes:
    """A name for a study that no other has."""
    return secrets.token_bytes(ID_SIZE)
