"""Messages through files of a shared file system: each file has one process that appends and one that reads.

A message is a frame with a checksum. A reader that meets the beginning of one, or bytes that a network file system has
made room for and not written yet, reads on from there later. Each time the file is opened anew, as network file systems
show what another machine has written to those who open a file, and send what was written when it is closed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from fasthpo.execution.messages import CorruptMessage, Message, Reader, pack
from fasthpo.storage.framing import HEAD_SIZE, frame, read_frames

PAUSES = (0.1, 0.5, 2.0)  # seconds before a write that has failed is tried again


def append(path: Path, messages: Iterable[Message]) -> None:
    """Append messages to a file that exists; all, or none. A network file system may fail for a moment, so it is tried
    several times.

    Raises:
        OSError: it does not exist, or can't be written to.
    """
    data = b"".join(frame(pack(message)) for message in messages)
    for pause in PAUSES:
        try:
            return _append(path, data)
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause)
    _append(path, data)


def _append(path: Path, data: bytes) -> None:
    with open(path, "r+b", buffering=0) as file:
        end = file.seek(0, 2)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:  # the disk is full, say, and nobody can read on behind half a message
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


class MessageFile:
    """Reads the messages of a file, each once.

    Args:
        path: the file.
        bounded: whether a worker writes it, whose messages are small.
    """

    def __init__(self, path: Path, bounded: bool = False) -> None:
        self._path = path
        self._bounded = bounded
        self._position = 0

    def read(self) -> list[Message]:
        """The messages that have come since the last call.

        Raises:
            OSError: there is no such file, or it can't be read.
            CorruptMessage: an intact frame holds no message.
        """
        with open(self._path, "rb", buffering=0) as file:
            file.seek(self._position)
            data = file.read()
        messages: list[Message] = []
        for _, payload in read_frames(data)[0]:
            self._position += HEAD_SIZE + len(payload)
            reader = Reader(self._bounded)
            reader.feed(payload)
            one = list(reader.complete())
            if len(one) != 1:
                raise CorruptMessage("a frame of it holds no message")
            messages += one
        return messages
