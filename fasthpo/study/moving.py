"""A study goes to a directory, where it is kept from now on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fasthpo.errors import StudyExists
from fasthpo.storage.directory import (
    DirectoryMark,
    directory_mark,
    holds_study,
    present,
    remove_leftovers,
    remove_study,
)
from fasthpo.storage.directory_store import DirectoryStore
from fasthpo.storage.durability import check_durability
from fasthpo.storage.lock import WriterLock
from fasthpo.storage.snapshot_writer import VERSION, Head
from fasthpo.storage.weights import DIRECTORY, check_removable, clear, remove_trials, trials_in
from fasthpo.study.state import StudyState


def move(
    state: StudyState, study_id: bytes, definition: str, directory: Path, seconds: float | None, overwrite: bool
) -> None:
    """Keep a study in a directory; if this is broken off, it stays where it was, and the directory as it was.

    Args:
        state: the study's.
        study_id: its name for the files.
        definition: the JSON of what it is made of.
        directory: where it goes, which exists.
        seconds: see `Journal`.
        overwrite: remove a study that the directory holds, with its trials' weights.

    Raises:
        StudyExists, StudyInUse, OSError: see `Study.keep_at`.
    """
    checkpoints, before = state.checkpoints, state.store
    root = directory / DIRECTORY
    has_weights = before.directory is None and checkpoints.is_at(root)  # it was loaded from a file there
    lock = WriterLock(directory)
    begun: DirectoryStore | None = None
    copied: list[int] = []
    try:
        if holds_study(directory) and not overwrite:
            raise StudyExists(
                f"{directory} holds a study already; go on with it by Study.load({str(directory)!r}), or "
                "choose another directory"
            )
        if not has_weights:
            _refuse_weights(root, overwrite)
        if holds_study(directory):
            remove_study(directory)
        if not has_weights:  # not before the study: weights alone are refused, a study alone would miss them
            clear(root)
        remove_leftovers(directory)
        head = Head(VERSION, 0, study_id, definition)
        store = DirectoryStore(directory, lock, state.history, state.lock, seconds, head)
        if not has_weights:
            if checkpoints.is_empty or before.is_in_place():
                copied = checkpoints.copy_to(root)
            else:  # what is there is another study's
                checkpoints.forget()
        begun = store
        if len(state.table) or state.history.attributes:
            store.begin_with_all()
        else:
            store.begin()
        state.keep_in(store)
    except BaseException:
        if begun is not None:
            if copied:
                remove_trials(root, copied)
            state.keep_in(before)
            begun.drop(keeps_lock=True)
            with suppress(OSError):
                remove_study(directory)
        lock.release(unused=True)
        raise
    before.drop()
    checkpoints.go_on_at(root)


def _refuse_weights(root: Path, overwrite: bool) -> None:
    """Make sure that no trial is to find weights that another study's has left."""
    if trials_in(root) and not overwrite:
        raise StudyExists(
            f"{root} holds weights of another study's trials; remove it, choose another directory, or have them "
            "removed by overwrite=True (of TunerConfig, or Study.keep_at)"
        )
    check_removable(root)


def keep_again(state: StudyState, study_id: bytes, definition: str, directory: Path, mark: DirectoryMark) -> None:
    """Keep a study in a directory that holds an earlier state of it, as it left it there, when it had this `mark`.

    Raises:
        StudyExists: another study is there, or this one has gone on there.
    """
    root, checkpoints = directory / DIRECTORY, state.checkpoints
    copied: list[int] = []
    lock = WriterLock(directory)
    try:
        head, journal = present(directory)
        if head.study_id != study_id or directory_mark(directory) != mark:  # which nobody changes any more
            raise StudyExists(f"{directory} holds a study that has changed since this one was kept there")
        remove_leftovers(directory)
        head = head._replace(definition=definition)
        if not checkpoints.is_at(root):  # there was none yet when this study was loaded
            copied = checkpoints.copy_to(root)
        store = DirectoryStore(directory, lock, state.history, state.lock, check_durability("interval"), head)
        store.begin_with_all(journal)
    except BaseException:
        if copied:
            remove_trials(root, copied)
        lock.release()
        raise
    checkpoints.go_on_at(root)
    state.keep_in(store)
