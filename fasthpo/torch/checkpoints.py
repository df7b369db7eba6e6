"""A training's checkpoint: one file, replaced as a whole or not at all, and read without running any code.

It is what `torch.save` writes, a zip archive, with a comment at its end: the CRC-32 of all that comes before it. torch
itself looks at no checksum, so that a file with a bit flipped would load with other weights.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.storage.atomic import atomic_file, storage_error
from fasthpo.system.paths import absolute
from fasthpo.values import shown

FILE_NAME = "training.pt"
_VERSION = 3  # 1 has no state of the loss, 2 no checksum; both can still be read
_CHECKED_SINCE = 3
_COMMENT = "fasthpo crc32 {:08x}"
_COMMENT_PATTERN = re.compile(rb"fasthpo crc32 ([0-9a-f]{8})")
_COMMENT_SIZE = len(_COMMENT.format(0))
_COMMENT_LENGTH = struct.Struct("<H")  # stands before a zip archive's comment
_CHUNK = 2**20
_ENTRIES: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "model": Mapping,
    "loss": (Mapping, type(None)),
    "optimizer": Mapping,
    "scaler": Mapping,
    "random": Mapping,
    "early_stopping": (Mapping, type(None)),
    "history": list,
    "data": Mapping,
    "arguments": Mapping,
    "schedule": Mapping,
}


class Weights:
    """The state of what is trained, as one: of the model, and of the loss if it has any.

    Args:
        model: a `torch.nn.Module`.
        loss: the same, or None if it is a function.
    """

    def __init__(self, model: torch.nn.Module, loss: torch.nn.Module | None = None) -> None:
        self._model, self._loss = model, loss

    def both(self) -> dict[str, Any]:
        """The states under "model" and "loss"."""
        return {"model": self._model.state_dict(), "loss": self._loss.state_dict() if self._loss is not None else {}}

    def load_both(self, state: Mapping[str, Any]) -> None:
        """Take over what `both` returned; without a loss, as in checkpoints of version 1, only the model's state.

        Raises:
            RuntimeError: it is of another model or loss.
        """
        _check_types(self._model, state["model"])
        self._model.load_state_dict(state["model"])
        loss = state.get("loss")
        if loss is not None and self._loss is not None:
            _check_types(self._loss, loss)
            self._loss.load_state_dict(loss)
        elif loss:
            raise RuntimeError(f"the loss has no state now, but there {list(loss)}")

    def state_dict(self) -> Any:
        """The model's state alone, if the loss has none."""
        both = self.both()
        return both if both["loss"] else both["model"]

    def load_state_dict(self, state: Any) -> None:
        """Take over what `state_dict` returned."""
        is_both = state.keys() == {"model", "loss"} and isinstance(state["model"], Mapping)
        self.load_both(state if is_both else {"model": state})


def _check_types(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """torch would turn numbers of another type into those of the module, whatever is lost."""
    for name, own in module.state_dict().items():
        other = state.get(name)
        if isinstance(own, torch.Tensor) and isinstance(other, torch.Tensor) and own.dtype != other.dtype:
            raise RuntimeError(f"{name} is of {other.dtype} there, of {own.dtype} here")


class _Checked:
    """What `torch.save` writes to: passes a zip archive on to a file, with its checksum as the archive's comment."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = 0
        self._held = b""  # the last bytes so far, which may be the length of the comment: none

    def write(self, data: Any) -> int:
        data = memoryview(data).cast("B")
        if len(data) < _COMMENT_LENGTH.size:
            data = memoryview(self._held + bytes(data))
        else:
            self._pass_on(self._held)
        cut = max(0, len(data) - _COMMENT_LENGTH.size)
        self._pass_on(data[:cut])
        self._held = bytes(data[cut:])
        return len(data)

    def _pass_on(self, data: bytes | memoryview) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._file.write(data)

    def flush(self) -> None:
        """torch calls it."""

    def finish(self) -> None:
        """Write the comment."""
        self._pass_on(_COMMENT_LENGTH.pack(_COMMENT_SIZE))
        self._file.write(_COMMENT.format(self._checksum).encode())


def save_training(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values to a file.

    Raises:
        StorageError: it can't be written.
    """
    path = absolute(path)
    try:
        with atomic_file(path) as file:
            checked = _Checked(file)
            torch.save({"fasthpo": _VERSION, **state}, checked)
            checked.finish()
    except OSError as error:
        raise storage_error(error, f"the training's checkpoint can't be written to {path}") from error


def load_training(path: Path) -> dict[str, Any]:
    """The state that `save_training` wrote, its tensors on the CPU: with all its entries, each of its kind.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptCheckpoint: the file is damaged, or no checkpoint of a version known here.
        OSError: it can't be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would have its opening wait for ever
        raise CorruptCheckpoint(f"{path} is no file, and so no training's checkpoint")
    with open(path, "rb") as file:
        is_checked = _verify(path, file)
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch's reader and unpickler make of a damaged file
            raise CorruptCheckpoint(f"{path} can't be read as a training's checkpoint: {error}") from error
    if not isinstance(state, dict) or "fasthpo" not in state:
        raise CorruptCheckpoint(f"{path} is no checkpoint of a fasthpo training")
    version = state["fasthpo"]
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise CorruptCheckpoint(f"{path} has version {shown(version)}; this fasthpo reads up to version {_VERSION}")
    if version >= _CHECKED_SINCE and not is_checked:
        raise CorruptCheckpoint(f"{path} is damaged: it has no checksum at its end")
    state = {"loss": None, **state}
    _check_entries(path, state)
    return state


def _verify(path: Path, file: BinaryIO) -> bool:
    """Whether the file has a checksum, which is then right; files of older versions have none. Leaves it at its begin.

    Raises:
        CorruptCheckpoint: the checksum is wrong, or the file is nothing that `torch.save` writes.
    """
    if file.read(4) != b"PK\x03\x04":  # nor is it to take up one of its older formats, which fasthpo never wrote
        raise CorruptCheckpoint(f"{path} can't be read as a training's checkpoint: it is no archive of torch's")
    left = max(0, file.seek(0, os.SEEK_END) - _COMMENT_SIZE)
    file.seek(left)
    comment = _COMMENT_PATTERN.fullmatch(file.read())
    file.seek(0)
    if comment is None:
        return False
    checksum = 0
    while left and (data := file.read(min(_CHUNK, left))):
        checksum, left = zlib.crc32(data, checksum), left - len(data)
    file.seek(0)
    if checksum != int(comment[1], 16):
        raise CorruptCheckpoint(f"{path} is damaged: its checksum does not match")
    return True


def _check_entries(path: Path, state: Mapping[str, Any]) -> None:
    """Make sure that a state has what every training's has."""
    for name, kind in _ENTRIES.items():
        if name not in state:
            raise CorruptCheckpoint(f"{path} lacks the entry {name!r}")
        value = state[name]
        is_right = isinstance(value, kind) and not isinstance(value, bool)
        if not is_right or (isinstance(value, Mapping) and not all(isinstance(key, str) for key in value)):
            raise CorruptCheckpoint(f"{path}: the entry {name!r} is of the wrong kind: {shown(value)}")
    if state["step"] < 0:
        raise CorruptCheckpoint(f"{path}: the entry 'step' must not be negative, got {state['step']}")
    for one in state["history"]:
        is_right = isinstance(one, Mapping) and all(
            isinstance(name, str) and isinstance(value, (int, float)) and not isinstance(value, bool)
            for name, value in one.items()
        )
        if not is_right or not math.isfinite(one.get("step", math.nan)) or not 0 <= one["step"] < 2**53:
            raise CorruptCheckpoint(f"{path}: the entry 'history' has what is no evaluation: {shown(one)}")


def check_like(what: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Make sure that saved numbers have the names and types that one's own have.

    Raises:
        ValueError: they have not, or one is not finite.
    """
    if saved.keys() != own.keys():
        raise ValueError(f"{what} must have {list(own)}, not {list(saved)}")
    for name, value in saved.items():
        if type(value) is not type(own[name]) or not math.isfinite(value):
            raise ValueError(f"{name} of {what} must be a finite {type(own[name]).__name__}, got {shown(value)}")


def check_same(
    path: Path,
    what: str,
    saved: Mapping[str, Any],
    now: dict[str, Any],
    hint: str = "remove the file to begin anew, or train(resume=False)",
) -> None:
    """Refuse a checkpoint of another training.

    Args:
        path: the file.
        what: what is compared.
        saved, now: its entries there and here.
        hint: what to do.

    Raises:
        InvalidValue: an entry differs.
        CorruptCheckpoint: an entry can't be compared.
    """
    for name, value in now.items():
        try:
            differs = bool(saved.get(name) != value)
        except Exception as error:  # of a tensor with several elements, for instance
            raise CorruptCheckpoint(f"{path}: {name} of {what} is of the wrong kind: {shown(saved[name])}") from error
        if differs:
            raise InvalidValue(
                f"{path} holds a training with another {what}: {name}={shown(saved.get(name))} there, "
                f"{name}={value!r} here; {hint}"
            )
