"""Keeps a live study in its directory: every change goes to the journal, and now and then all of it to a checkpoint."""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fasthpo.errors import FastHPOError, StorageError, StudyClosed, StudyReadOnly
from fasthpo.storage.atomic import sync_directory, sync_file, temporary_beside
from fasthpo.storage.definition import with_space
from fasthpo.storage.directory import CHECKPOINT_FILE, FIRST_GENERATION, JOURNAL_FILE, NEXT_JOURNAL_FILE, refuse_other
from fasthpo.storage.journal import Journal, gone, journal_head, version_for
from fasthpo.storage.lock import LOCK_FILE, WriterLock
from fasthpo.storage.records import JournalRecorder
from fasthpo.storage.regular import refuse_irregular
from fasthpo.storage.snapshot_reader import check_written
from fasthpo.storage.snapshot_writer import Head, write_snapshot
from fasthpo.storage.store import MemoryStore
from fasthpo.system.forked import in_forked
from fasthpo.system.log import logger
from fasthpo.trials.frozen import Frozen
from fasthpo.trials.history import History

_LEAST = 2**20  # bytes of a journal that are worth a checkpoint
_REPORTS_WAIT = 0.05  # seconds that reports are held back at most, if others follow
_GROWTH = 2  # a checkpoint is made when the journal is so many times as large as the last one
_LOCK_TRUSTED = 0.01  # seconds after which a look is taken whether somebody else writes here
_PATIENCE = 5.0  # seconds that the end of the program waits for a call in another thread

_stores: weakref.WeakSet[DirectoryStore] = weakref.WeakSet()


class DirectoryStore:
    """The only writer of a study's directory, for as long as it is open.

    Args:
        directory: the study's.
        lock: the right to write there; the store's from now on.
        history: the study's.
        busy: the study's lock. All methods but `compact` are called while it is held.
        seconds: see `Journal`.
        head: of the files; the next ones get a higher generation.

    Attributes:
        refusal: None, as the study may change.
        recorder: makes the records.
        directory, head: as above, of the present journal.
    """

    refusal: FastHPOError | None = None

    def __init__(
        self,
        directory: Path,
        lock: WriterLock,
        history: History,
        busy: threading.RLock,
        seconds: float | None,
        head: Head,
    ) -> None:
        self.directory = directory
        self.head = head
        self.recorder = JournalRecorder(history)
        self._history = history
        self._lock = lock
        self._busy = busy  # entered itself, in one step, not through the condition: or Ctrl-C might leave it held
        self._idle = threading.Condition(busy)  # no checkpoint is being made in the background
        self._seconds = seconds
        self._journal: Journal | None = None
        self._is_compacting = False
        self._is_closing = False
        self._compact_at = _LEAST
        self._is_inherited = False
        self._is_ended = False
        self._is_dropped = False
        self._warned = False
        self._handed_over = 0.0
        self._lock_checked = 0.0
        self._held = history.extent[:4]  # how many trials, tells, reports and legs the files have at least
        self._finalizer: weakref.finalize | None = None  # type: ignore[type-arg]
        _stores.add(self)
        in_forked(self, DirectoryStore._disown)

    # --- opening

    def begin(self) -> None:
        """Keep a study that has no trial yet, where there is none.

        Raises:
            OSError: the files can't be written.
        """
        version = self._version_needed
        self.head = self.head._replace(version=version, generation=FIRST_GENERATION)
        self._use(Journal.create(self.directory / JOURNAL_FILE, self.head, self._seconds))

    def go_on(self, journal: Path, size: int) -> None:
        """Append to a journal that was read, of whose bytes the first `size` are intact.

        Raises:
            OSError: it can't be written.
        """
        self._use(Journal(journal, size, self._seconds))
        with suppress(OSError):
            self._compact_at = max(_LEAST, _GROWTH * (self.directory / CHECKPOINT_FILE).stat().st_size)
        self._tidy()

    def begin_with_all(self, present: Path | None = None) -> None:
        """Keep a study as it is now, in the place of an earlier state of it, if the directory holds one.

        Args:
            present: the journal of that state.

        Raises:
            StorageError: the files can't be written; what was there is still there.
        """
        self._compact_now(present)

    def _use(self, journal: Journal) -> None:
        old, self._journal = self._journal, journal
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _give_up, journal, self.recorder, self._lock)
        self._finalizer.atexit = False  # see `end`
        if old is not None:
            old.close()

    # --- going on

    def attach(self, history: History) -> None:
        """From now on record what happens in the history, which is the one that is kept."""
        history.recorder = self.recorder

    def follow(self, history: History) -> None:
        """Keep another history of the same study, which went back to before a call that was broken off."""
        self.must_catch_up()
        self._history = history
        self.recorder = JournalRecorder(history)
        self.attach(history)

    def redefine(self, definition: str) -> None:
        """The study goes on with other parts: the journal says so, and the next checkpoint begins with it."""
        self.recorder.defined(definition)
        self.head = self.head._replace(definition=definition)

    def must_catch_up(self) -> None:
        """A call was broken off: the journal may lack what the study has. The next call makes a checkpoint of all."""
        if self._journal is not None:
            self._journal.is_suspect = True

    def open(self, moves: bool = False) -> None:
        """Called before anything changes; if the study `moves` to another place, it does not matter what this one can.

        Raises:
            StudyReadOnly: this process was forked from the one that keeps the study.
            StudyClosed: the program is ending, or `close` was broken off when it was all but done.
        """
        if moves:
            return
        self._refuse_inherited()
        if self._is_ended:
            raise StudyClosed(f"the program is ending; the study in {self.directory} can't be changed any more")
        if self._is_dropped:
            raise StudyClosed("the study was closed; load it again to change it")

    def _disown(self) -> None:
        """In a process that was just forked off."""
        self._is_inherited = True
        self._is_compacting = False  # here, no thread does
        self._busy = threading.RLock()
        self._idle = threading.Condition(self._busy)

    def _refuse_inherited(self) -> None:
        if self._is_inherited:
            raise StudyReadOnly(
                f"{self.directory} is kept by the process that this one was forked from; only that can change the study"
            )

    def hand_over(self, strict: bool, now: bool = False) -> None:
        """Hand all records to the operating system.

        Args:
            strict: raise what goes wrong; else it is tried again with the next call.
            now: whether they must be on the disk, with `durability="tell"`.

        Raises:
            StorageError: they can't be written.
            StudyReadOnly: as `open`; this process was forked in the middle of the call.
        """
        self._refuse_inherited()
        journal = self._journal
        assert journal is not None
        try:
            if time.monotonic() - self._lock_checked > _LOCK_TRUSTED:
                self._check_lock()
                self._lock_checked = time.monotonic()
            if journal.is_suspect or self._is_outgrown:
                self.wait()  # for a checkpoint that was begun before
                if self._journal is journal or self._is_outgrown:
                    self._compact_now()
                journal = self._journal
                assert journal is not None
            journal.append(self.recorder.take(), now)
            failure = journal.failure()
            if failure is not None:
                raise failure
        except StorageError as error:
            if strict:
                raise
            if not self._warned:
                logger.warning("%s", error)
                self._warned = True
            return
        except BaseException:  # Ctrl-C between taking the records and having them written
            self.must_catch_up()
            raise
        self._warned = False
        if strict:
            self._held = self._history.extent[:4]
        self._handed_over = time.monotonic()
        if journal.size > self._compact_at and not self._is_compacting and not self._is_closing:
            self._start_compacting()

    @property
    def _version_needed(self) -> int:
        table = self._history.table
        return version_for(table.has_vectors, not table.lineage.is_empty)

    @property
    def _is_outgrown(self) -> bool:
        """Whether the journal is of a version that has no room for what trials have by now, such as constraints."""
        return self.head.version < self._version_needed

    def hand_over_soon(self) -> None:
        """Hand all records over if that was not done just now; else they wait for the next call."""
        if time.monotonic() - self._handed_over > _REPORTS_WAIT:
            self.hand_over(strict=False)

    def sync(self) -> None:
        """Have everything on the disk.

        Raises:
            StorageError: that can't be.
        """
        self.open()
        self.hand_over(strict=True)
        self.check()
        assert self._journal is not None
        self._journal.sync()

    def check(self) -> None:
        """Make sure that the directory's files are still this study's.

        Raises:
            StorageError: they are not; see `Journal.check`.
        """
        assert self._journal is not None
        self._check_lock()
        self._journal.check_head()

    def _check_lock(self) -> None:
        """Make sure that nobody else writes here, as is possible once the lock file was removed.

        Raises:
            StorageError: somebody does.
        """
        if self._lock.is_taken_over():
            self.must_catch_up()  # from now on nothing is appended to what is another's
            raise gone(self.directory / LOCK_FILE)

    def is_in_place(self) -> bool:
        """Whether the directory's files are still this study's.

        Raises:
            StorageError: that can't be found out.
        """
        try:
            self.check()
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    # --- checkpoints

    def compact(self) -> None:
        """Make a checkpoint of everything, now.

        Raises:
            StudyReadOnly: as `open`.
            StorageError: it can't be written; the journal goes on.
        """
        self._refuse_inherited()
        with self._busy:
            self.wait()
            self._compact_now()

    def wait(self) -> None:
        """Let a checkpoint that is being made in the background be finished; others may hold the lock meanwhile."""
        while self._is_compacting:
            self._idle.wait()

    def _compact_now(self, present: Path | None = None) -> None:
        old = self._journal
        was_suspect = old is not None and old.is_suspect
        self.must_catch_up()  # if this is broken off when the new checkpoint may be there, the old journal is of no use
        try:
            frozen = Frozen(self._history)
            self._check_complete(frozen)
            self._compact(frozen, present)
        except Exception as error:  # also one of ours: the journal is not given up for a checkpoint that can't be made
            if old is not None:
                old.is_suspect = was_suspect
            if isinstance(error, StorageError):
                raise
            number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (errno.EIO, repr(error))
            raise StorageError(
                number,
                f"the study's checkpoint can't be written: {reason}; write the study to another place with "
                "study.save(path). The file is",
                str(self.directory / CHECKPOINT_FILE),
            ) from error

    def _check_complete(self, frozen: Frozen) -> None:
        """Make sure that a checkpoint holds what the files hold already."""
        if any(have < held for have, held in zip(frozen.extent, self._held, strict=True)):
            raise StorageError(
                errno.EIO,
                f"a checkpoint was not made, as it would lack what the journal has: {frozen.extent} trials, tells, "
                f"reports and legs, not {self._held}",
                str(self.directory / CHECKPOINT_FILE),
            )

    def _start_compacting(self) -> None:
        frozen, begin = Frozen(self._history), self._journal.size  # type: ignore[union-attr]
        work = _Background(weakref.ref(self), frozen, begin)
        self._is_compacting = True
        try:
            threading.Thread(target=work, name="fasthpo-checkpoint", daemon=True).start()
        except RuntimeError:  # the interpreter is ending
            self._is_compacting = False
        except BaseException:  # whether the thread runs or not
            work.is_cancelled = True
            self._is_compacting = False
            raise

    def _compact(self, frozen: Frozen, present: Path | None = None, begin: int | None = None) -> None:
        """The steps that `directory` describes.

        Args:
            frozen: the history as it was at some moment.
            present: the journal that is out of date afterwards, if it is not the open one.
            begin: where the open journal was at that moment; None if that is now, and the lock is held.
        """
        version = version_for(frozen.has_vectors, frozen.has_lineage)
        definition = with_space(self.head.definition, frozen.space)
        head = self.head._replace(version=version, generation=self.head.generation + 1, definition=definition)
        target = self.directory / CHECKPOINT_FILE
        temporary = temporary_beside(target)
        fresh: Journal | None = None
        old = self._journal
        self._check_old(old)
        try:
            with open(temporary, "xb") as file:
                columns = write_snapshot(file, frozen, head)
                file.flush()
                sync_file(file.fileno())
                size = file.tell()
            check_written(temporary, frozen, columns, head)
            del columns
            present = present if old is None else old.path
            other = NEXT_JOURNAL_FILE if present is not None and present.name == JOURNAL_FILE else JOURNAL_FILE
            self._check_old(old)
            fresh = Journal.create(self.directory / other, head, self._seconds)
            if begin is not None and old is not None:
                copied = fresh.copy_from(old, begin)
                with self._busy:
                    fresh.copy_from(old, copied)
                    old.mirror = fresh  # from now on both get all records
                fresh.sync()
            with self._busy:
                if begin is not None:
                    self._check_not_ended()
                fresh.append(b"")
                self._check_old(old)
                refuse_irregular(target)
                refuse_other(target, head)
                os.replace(temporary, target)
        except BaseException:
            with self._busy:
                if old is not None:
                    old.mirror = None
            if fresh is not None:
                if temporary.exists():
                    fresh.remove()
                else:  # it has taken the old checkpoint's place, and this journal has to stay beside it
                    fresh.close()
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(self.directory)
        with self._busy:
            self.head = head
            if begin is None:
                self.recorder.discard()  # what it has is in the checkpoint
            elif old is not None:
                fresh.take_over(old)
            self._use(fresh)
            self._compact_at = max(_LEAST, _GROWTH * size)
            self._tidy()

    def _check_old(self, old: Journal | None) -> None:
        """Make sure that no other study's files are replaced; without a journal the study's lock was just taken."""
        if old is not None:
            with self._busy:  # or its size may just be changing
                self._check_lock()
                old.check_head()

    def _tidy(self) -> None:
        """Give the journal its usual name, if nobody has the old one open (which matters on Windows only)."""
        assert self._journal is not None
        try:
            self._journal.check_head()
            if self._journal.path.name == NEXT_JOURNAL_FILE:
                self._journal.move(self.directory / JOURNAL_FILE)
            else:
                (self.directory / NEXT_JOURNAL_FILE).unlink(missing_ok=True)
        except OSError as error:
            logger.debug("the journals keep their names: %s", error)

    # --- the end

    def release(self) -> MemoryStore:
        """Write all, make a checkpoint of it if there is anything new, and let others have the study.

        A process that was forked off writes nothing.

        Returns:
            What takes this one's place.

        Raises:
            StorageError: what was told can't be written; then the study stays open.
        """
        if self._is_inherited:
            self.drop()
            return MemoryStore()
        with self._busy:
            if not self._is_dropped:
                self._is_closing = True
                try:
                    self.wait()
                    self.hand_over_all()
                except BaseException:
                    self._is_closing = False
                    raise
            self.drop()
        return MemoryStore()

    def hand_over_all(self) -> None:
        """Make a checkpoint if there is anything new; if the disk is too full for that, write the journal at least.

        Raises:
            StorageError: what was told can't be written.
        """
        assert self._journal is not None
        if (
            self._journal.size == len(journal_head(self.head))
            and self.recorder.is_empty
            and not self._journal.is_behind
            and not self._journal.is_suspect
        ):
            self.check()
            return
        try:
            self._compact_now()
        except StorageError as error:
            self.sync()
            logger.warning("%s", error)

    def drop(self, keeps_lock: bool = False) -> None:
        """Let others have the study, whatever can be written. If this is broken off, it is to be called again.

        Args:
            keeps_lock: they have to wait until the caller has released the lock.
        """
        self._is_dropped = True
        if self._finalizer is not None:
            self._finalizer.detach()
        _stores.discard(self)
        if self._is_inherited:
            return
        if self._journal is not None:
            _abandon(self._journal, self.recorder, self._lock)
        if not keeps_lock:
            self._lock.release()

    def end(self) -> None:
        """The program ends, while other threads may go on for a moment: write all, and let nothing change any more.

        What is being written by a checkpoint in the background stays as it is then, as after a crash.
        """
        if self._is_inherited or not self._busy.acquire(timeout=_PATIENCE):
            return
        try:
            self._is_ended = True
            if not self._is_compacting:
                if self._journal is not None and self._journal.is_suspect:
                    with suppress(OSError):
                        self._compact_now()
                self.drop()
            elif self._journal is not None and not self._journal.is_suspect:
                with suppress(StorageError):
                    self._check_lock()
                    self._journal.append(self.recorder.take())
        finally:
            self._busy.release()

    def _check_not_ended(self) -> None:
        if self._is_ended:
            raise StudyClosed("the program is ending")


class _Background:
    """Makes a checkpoint in a thread, without keeping a study alive that nobody has any more."""

    def __init__(self, store: Callable[[], DirectoryStore | None], frozen: Frozen, begin: int) -> None:
        self._store = store
        self._frozen = frozen
        self._begin = begin
        self.is_cancelled = False

    def __call__(self) -> None:
        store = self._store()
        if store is None:
            return
        with store._busy:
            if self.is_cancelled:
                return
        try:
            store._compact(self._frozen, begin=self._begin)
        except StudyClosed:
            logger.debug("no checkpoint was made of %s: the program is ending", store.directory)
        except Exception as error:
            logger.warning("no checkpoint was made of %s, and is tried again later: %s", store.directory, error)
            with store._busy:
                if store._journal is not None:
                    store._compact_at = _GROWTH * store._journal.size
        finally:
            with store._busy:
                store._is_compacting = False
                store._idle.notify_all()


def _give_up(journal: Journal, recorder: JournalRecorder, lock: WriterLock) -> None:
    """Nobody has the study any more."""
    _abandon(journal, recorder, lock)
    lock.release()


def _abandon(journal: Journal, recorder: JournalRecorder, lock: WriterLock) -> None:
    """Write what is left, unless the directory is another's by now."""
    if lock.is_taken_over():
        journal.is_suspect = True  # nothing is appended
    journal.abandon(recorder.take())


def _end_all() -> None:
    for store in list(_stores):
        store.end()


atexit.register(_end_all)
