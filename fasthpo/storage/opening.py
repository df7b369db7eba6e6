"""Opening a study that was kept or saved, to go on with it or to look at it while another process goes on."""

from __future__ import annotations

import filecmp
import shutil
import threading
import time
from pathlib import Path
from typing import NamedTuple

from fasthpo.errors import CorruptCheckpoint, FastHPOError, InvalidValue
from fasthpo.space.open_space import OpenSpace
from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file
from fasthpo.storage.definition import Definition, Given, Parts
from fasthpo.storage.directory import (
    JOURNAL_FILES,
    STUDY_FILES,
    Loaded,
    checkpoint_mark,
    exists,
    holds_study,
    read_study,
    remove_leftovers,
)
from fasthpo.storage.directory_store import DirectoryStore
from fasthpo.storage.framing import read_frames
from fasthpo.storage.journal import journal_head
from fasthpo.storage.lock import WriterLock
from fasthpo.storage.regular import regular_opener
from fasthpo.storage.weights import DIRECTORY
from fasthpo.system.log import logger
from fasthpo.trials.changing import changed
from fasthpo.trials.history import History


class Opened(NamedTuple):
    """A study that was read, and the right to go on with it.

    Attributes:
        path: of its directory or file.
        loaded: what was read.
        parts: its sampler, pruner and strategy.
        history: its trials, in the space to go on in.
        is_changed: whether they stand there otherwise than they were read.
        weights: where its trials' weights are; None if there is no such place.
    """

    path: Path
    loaded: Loaded
    parts: Parts
    history: History
    is_changed: bool
    weights: Path | None


def writer_lock(path: Path, read_only: bool) -> WriterLock | None:
    """The right to write where a study is kept; None for a file, or if it is only read.

    Raises:
        StudyInUse: another process, or this one, has it.
    """
    return WriterLock(path) if path.is_dir() and holds_study(path) and not read_only else None


class Wanted(NamedTuple):
    """The search space that a study is to go on in.

    Attributes:
        space: None for the one that it has.
        defaults: by name, what trials had of parameters that they lack.
        requeues: whether trials that were running are to wait, to be asked again.
    """

    space: SearchSpace | None
    defaults: dict[str, Value]
    requeues: bool


def open_study(path: Path, given: Given, wanted: Wanted, recover: bool) -> Opened:
    """Read a study, and make the parts that it goes on with.

    Args:
        path: its directory, or a file.
        given: parts to go on with instead of those that it was kept with.
        wanted: the search space to go on in.
        recover: of a damaged study, take what is intact and comes before the damage.

    Raises:
        FileNotFoundError: there is no study.
        CorruptCheckpoint: a file is damaged, or not of a version known here.
        InvalidValue: the study used a part of the user's own and none is given, or a default makes no sense.
        InvalidSearchSpace: nobody said what trials had of a new parameter, or a parameter's values are of another kind.
        OSError: a file can't be read.
    """
    loaded = read_study(path, recover)
    try:
        definition = Definition(loaded.replayer.definition)
        parts = definition.parts(given)
    except FastHPOError as error:
        raise type(error)(f"{path}: {error}") from error
    history = loaded.history
    is_changed = wanted.space is not None or bool(wanted.defaults)
    space = wanted.space or history.table.space
    is_other = space != history.table.space or bool(wanted.defaults)
    if wanted.defaults and space.is_open:
        raise InvalidValue(
            "defaults are of a search space that is declared, and the study learns its own as it is met: give space=, "
            "too"
        )
    if is_other:
        if wanted.requeues:
            history.requeued()
        history = changed(history, space, wanted.defaults, time.time())
        _tell_of_outside(path, history)
    # the cells of a grid have other numbers in another space, or have not been drawn at all
    is_new = is_other or not definition.is_of(parts.sampler)
    drawn: SearchSpace | None = history.table.space
    if isinstance(drawn, OpenSpace):
        drawn = drawn.learnt.space
    if is_new and drawn is not None and parts.sampler.draw_limit(drawn) is not None:
        history.next_draw, is_changed = 0, True
        history.table.forget_draws()
    root = (path if path.is_dir() else path.parent) / DIRECTORY
    # beside a file of any other name stands nothing of this study
    has_root = path.is_dir() or (path.name in STUDY_FILES and root.exists())
    return Opened(path, loaded, parts, history, is_changed, root if has_root else None)


def _tell_of_outside(path: Path, history: History) -> None:
    """Say how many trials lie outside of the space, if any do."""
    former = history.table.former
    if former is not None and len(former.numbers):
        logger.warning(
            "%s: %d of %d trials lie outside of the search space as it is now; they stay in the study, and nothing is "
            "learnt from them", path, len(former.numbers), len(history.table),
        )  # fmt: skip


def keep_on(
    opened: Opened,
    lock: WriterLock,
    history: History,
    busy: threading.RLock,
    seconds: float | None,
    definition: str,
    is_requeued: bool,
) -> DirectoryStore:
    """Go on keeping a study where it was read; the store.

    Args:
        opened: the study.
        lock: the right to write there.
        history: as the study goes on with it.
        busy: the study's lock.
        seconds: see `Journal`.
        definition: the JSON of what the study is made of now.
        is_requeued: whether trials that were running wait, since it was read.

    Raises:
        StorageError: it can't be written.
    """
    path, loaded = opened.path, opened.loaded
    store = DirectoryStore(path, lock, history, busy, seconds, loaded.head._replace(definition=definition))
    remove_leftovers(path)
    for file in loaded.damaged:
        _keep_aside(file)
    if loaded.journal is None or loaded.damage is not None or opened.is_changed:
        store.begin_with_all(loaded.journal)
        return store
    store.go_on(loaded.journal, loaded.end)
    if definition != loaded.replayer.definition:
        store.redefine(definition)
    if is_requeued:
        store.recorder.requeued()
    store.hand_over(strict=False)
    return store


def _keep_aside(file: Path) -> None:
    """Copy a damaged file to a name of its own beside it."""
    number = 1
    while True:
        copy = file.with_name(f"{file.stem}.damaged-{number}{file.suffix}")
        if not exists(copy):
            break
        if filecmp.cmp(file, copy, shallow=False):  # from a load that failed afterwards
            return
        number += 1
    with atomic_file(copy) as target, open(file, "rb", opener=regular_opener) as source:
        shutil.copyfileobj(source, target)
    logger.warning("the damaged %s is kept as %s", file, copy)


def compact_study(directory: Path) -> tuple[int, int]:
    """Make a checkpoint of all of a study that nobody has open, and change nothing of it; its files' bytes before and
    after.

    Raises:
        FileNotFoundError: there is no study.
        StudyInUse: another process, or this one, has it open.
        CorruptCheckpoint: a file is damaged.
        StorageError: the checkpoint can't be written; what was there is still there.
    """
    if not directory.is_dir() or not holds_study(directory):
        read_study(directory)  # has an error of its own where there is none
        raise InvalidValue(
            f"only a study's directory can be made smaller, and {directory} is a file, which is as small"
        )
    lock = WriterLock(directory)
    try:
        loaded = read_study(directory)
        before = _bytes_of(directory)
        head = loaded.head._replace(definition=loaded.replayer.definition)
        store = DirectoryStore(directory, lock, loaded.history, threading.RLock(), None, head)
        remove_leftovers(directory)
        store.begin_with_all(loaded.journal)
        store.release()
    except BaseException:
        lock.release()
        raise
    return before, _bytes_of(directory)


def _bytes_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / name for name in STUDY_FILES) if exists(path))


def follow(loaded: Loaded) -> Loaded | None:
    """The study with what has been written since; None if that is nothing.

    While the writer appends to the same journal, only the new records are read. Once it has made a checkpoint, all of
    the study is read again, and has a history of its own.

    Args:
        loaded: the study as it was read last; its history is changed.

    Raises:
        FileNotFoundError: there is no study any more.
        CorruptCheckpoint: a file is damaged, or of another study.
        StorageError: in the place of a file is a link, a directory, a FIFO or a device.
    """
    directory = loaded.directory
    assert directory is not None
    if loaded.journal is None or checkpoint_mark(directory) != loaded.mark:
        return _read_again(loaded, directory)
    head = journal_head(loaded.head)
    for name in JOURNAL_FILES:
        try:
            with open(directory / name, "rb", opener=regular_opener) as file:
                if file.read(len(head)) != head:
                    continue
                file.seek(loaded.end)
                data = file.read()
        except (FileNotFoundError, IsADirectoryError):
            continue
        frames, broken = read_frames(data)
        if broken is not None and not broken.is_torn:
            raise CorruptCheckpoint(f"{directory / name} is damaged at byte {loaded.end + broken.position}")
        for position, payload in frames:
            try:
                loaded.replayer.replay(payload)
            except CorruptCheckpoint as error:
                raise CorruptCheckpoint(f"{directory / name}, byte {loaded.end + position}: {error}") from error
        loaded.replayer.check()
        # what is just being written is read next time
        return loaded._replace(end=loaded.end + (len(data) if broken is None else broken.position)) if frames else None
    return _read_again(loaded, directory)


def _read_again(loaded: Loaded, directory: Path) -> Loaded:
    newer = read_study(directory)
    if newer.head.study_id != loaded.head.study_id:
        raise CorruptCheckpoint(f"{directory} holds another study by now")
    return newer
