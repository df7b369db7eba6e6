"""A training's checkpoint: one file, replaced as a whole or not at all, and read without running any code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.paths import absolute
from fasthpo.storage.atomic import atomic_file, storage_error

FILE_NAME = "training.pt"
_VERSION = 1


def save_training(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values to a file.

    Raises:
        StorageError: it can't be written.
    """
    path = absolute(path)
    try:
        with atomic_file(path) as file:
            torch.save({"fasthpo": _VERSION, **state}, file)
    except OSError as error:
        raise storage_error(error, f"the training's checkpoint can't be written to {path}") from error


def load_training(path: Path) -> dict[str, Any]:
    """The state that `save_training` wrote, its tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptCheckpoint: the file is damaged, or no checkpoint of a version known here.
    """
    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch's reader and unpickler make of a damaged file
            raise CorruptCheckpoint(f"{path} can't be read as a training's checkpoint: {error}") from error
    if not isinstance(state, dict) or "fasthpo" not in state:
        raise CorruptCheckpoint(f"{path} is no checkpoint of a fasthpo training")
    if state["fasthpo"] != _VERSION:
        raise CorruptCheckpoint(f"{path} has version {state['fasthpo']!r}; this fasthpo reads version {_VERSION}")
    return state


def check_same(path: Path, what: str, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a checkpoint of another training.

    Raises:
        InvalidValue: an entry differs.
    """
    for name, value in now.items():
        if saved.get(name) != value:
            raise InvalidValue(
                f"{path} holds a training with another {what}: {name}={saved.get(name)!r} there, {name}={value!r} "
                "here; remove the file to begin anew, or train(resume=False)"
            )
