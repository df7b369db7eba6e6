"""Reading on where a live study's writer has gone on."""

from __future__ import annotations

from pathlib import Path

from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage.directory import JOURNAL_FILES, Loaded, checkpoint_mark, read_study
from fasthpo.storage.framing import read_frames
from fasthpo.storage.journal import journal_head


def follow(loaded: Loaded) -> Loaded | None:
    """The study with what has been written since; None if that is nothing.

    While the writer appends to the same journal, only the new records are read. Once it has made a checkpoint, all of
    the study is read again, and has a history of its own.

    Args:
        loaded: the study as it was read last; its history is changed.

    Raises:
        FileNotFoundError: there is no study any more.
        CorruptCheckpoint: a file is damaged, or of another study.
    """
    directory = loaded.directory
    assert directory is not None
    if loaded.journal is None or checkpoint_mark(directory) != loaded.mark:
        return _read_again(loaded, directory)
    head = journal_head(loaded.head)
    for name in JOURNAL_FILES:
        try:
            with open(directory / name, "rb") as file:
                if file.read(len(head)) != head:
                    continue
                file.seek(loaded.end)
                data = file.read()
        except FileNotFoundError:
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
