"""Frames: pieces of a file that say how long they are and whether they are intact.

A frame is a msgpack object of type ext 32, so that a file of frames is a msgpack stream:

    0xC9      1 byte    msgpack's mark of an ext 32
    length    4 bytes   big-endian, of what follows the type: the checksum and the payload
    type      1 byte    70, "F"
    checksum  4 bytes   big-endian, CRC-32 of the payload
    payload   length - 4 bytes, at least 1

A file is only ever written from its beginning to its end. So if what stands behind the last intact frame is broken, the
writing was broken off there: a *torn tail*. If intact frames follow behind broken bytes, the file was damaged later.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

_MARK, _TYPE = 0xC9, 70
_HEAD = struct.Struct(">BIbI")
HEAD_SIZE = _HEAD.size
_CHECKSUM_SIZE = 4
_LIKELY_FRAME = re.compile(rb"(?=\xc9[\s\S]{4}F)")


def frame(payload: bytes) -> bytes:
    """A payload of 1 to 2**32 - 5 bytes as a frame."""
    return _HEAD.pack(_MARK, len(payload) + _CHECKSUM_SIZE, _TYPE, zlib.crc32(payload)) + payload


class Broken(NamedTuple):
    """Where a file ceases to be a sequence of intact frames."""

    position: int  # of the first broken frame
    reason: str
    is_torn: bool  # nothing intact follows


def payload_at(data: bytes, position: int) -> bytes | str:
    """The payload of the frame at a position, or in what way there is none."""
    begin = position + HEAD_SIZE
    if begin > len(data):
        return "the file ends within the head of a record"
    mark, length, kind, checksum = _HEAD.unpack_from(data, position)
    if mark != _MARK or kind != _TYPE or length <= _CHECKSUM_SIZE:
        return "no record begins there"
    end = begin + length - _CHECKSUM_SIZE
    if end > len(data):
        return f"the file ends within a record of {length - _CHECKSUM_SIZE} bytes"
    payload = data[begin:end]
    if zlib.crc32(payload) != checksum:
        return "the checksum of a record does not match"
    return payload


def claimed_size(head: bytes) -> int:
    """How many bytes a frame has in all, as its first ones claim; only as many as these are if they are no head."""
    if len(head) < HEAD_SIZE:
        return len(head)
    return max(HEAD_SIZE, int(_HEAD.unpack(head)[1]) - _CHECKSUM_SIZE + HEAD_SIZE)


def read_frames(data: bytes, position: int = 0) -> tuple[list[tuple[int, bytes]], Broken | None]:
    """The intact frames from a position on, each as (position, payload), and what follows the last of them.

    Args:
        data: the file's bytes.
        position: where a frame begins.

    Returns:
        The frames, and None if they end where the file does.
    """
    frames: list[tuple[int, bytes]] = []
    while position < len(data):
        payload = payload_at(data, position)
        if isinstance(payload, str):
            return frames, Broken(position, payload, not _intact_frame_follows(data, position + 1))
        frames.append((position, payload))
        position += HEAD_SIZE + len(payload)
    return frames, None


def _intact_frame_follows(data: bytes, position: int) -> bool:
    work = 0
    for found in _LIKELY_FRAME.finditer(data, position):
        payload = payload_at(data, found.start())
        if not isinstance(payload, str):
            return True
        work += _claimed_work(data, found.start())
        if work > 64 * len(data):  # a file made to take long; it is damaged in any case
            return True
    return False


def _claimed_work(data: bytes, position: int) -> int:
    """How many bytes were summed to find that no frame stands at a position."""
    length = _HEAD.unpack_from(data, position)[1] if position + HEAD_SIZE <= len(data) else 0
    return length if length <= len(data) - position else 0
