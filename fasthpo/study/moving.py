"""A study goes to a directory, where it is kept from now on."""

from __future__ import annotations

import shutil
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
from fasthpo.storage.weights import DIRECTORY, remove_trials, trials_in
from fasthpo.study.state import StudyState


def move(
    state: StudyState, study_id: bytes, definition: str, directory: Path, seconds: float | None, overwrite: bool,
    overwrite_weights: bool,
) -> None:  # fmt: skip
    """Keep a study in a directory; if this is broken off, it stays where it was, and the directory as it was.

    Args:
        state: the study's.
        study_id: its name for the files.
        definition: the JSON of what it is made of.
        directory: where it goes.
        seconds: see `Journal`.
        overwrite: remove a study that the directory holds.
        overwrite_weights: remove weights that a study has left there.

    Raises:
        StudyExists, StudyInUse, OSError: see `Study.keep_at`.
    """
    checkpoints, before = state.checkpoints, state.store
    root = directory / DIRECTORY
    has_weights = before.directory is None and checkpoints.is_at(root)  # it was loaded from a file there
    lock = WriterLock(directory)
    begun: DirectoryStore | None = None
    try:
        if holds_study(directory):
            if not overwrite:
                raise StudyExists(
                    f"{directory} holds a study already; go on with it by Study.load({str(directory)!r}), or "
                    "choose another directory"
                )
            remove_study(directory)
        remove_leftovers(directory)
        head = Head(VERSION, 0, study_id, definition)
        store = DirectoryStore(directory, lock, state.history, state.lock, seconds, head)
        if not has_weights:
            _refuse_weights(root, overwrite_weights)
            if checkpoints.is_empty or before.is_in_place():
                checkpoints.copy_to(root)
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
            if not has_weights:
                remove_trials(root)
            state.keep_in(before)
            begun.drop(keeps_lock=True)
            with suppress(OSError):
                remove_study(directory)
        lock.release(unused=True)
        raise
    before.drop()
    checkpoints.go_on_at(root)


def _refuse_weights(root: Path, overwrite: bool) -> None:
    """Make sure that no trial finds weights that another study's has left."""
    if not trials_in(root):
        return
    if not overwrite:
        raise StudyExists(f"{root} holds weights of another study's trials; remove it, or choose another directory")
    shutil.rmtree(root, ignore_errors=True)


def keep_again(state: StudyState, study_id: bytes, definition: str, directory: Path, mark: DirectoryMark) -> None:
    """Keep a study in a directory that holds an earlier state of it, as it left it there, when it had this `mark`.

    Raises:
        StudyExists: another study is there, or this one has gone on there.
    """
    lock = WriterLock(directory)
    try:
        head, journal = present(directory)
        if head.study_id != study_id or directory_mark(directory) != mark:  # which nobody changes any more
            raise StudyExists(f"{directory} holds a study that has changed since this one was kept there")
        remove_leftovers(directory)
        head = head._replace(definition=definition)
        store = DirectoryStore(directory, lock, state.history, state.lock, check_durability("interval"), head)
        store.begin_with_all(journal)
    except BaseException:
        lock.release()
        raise
    state.keep_in(store)
