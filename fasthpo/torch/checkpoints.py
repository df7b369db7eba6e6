"""A training's checkpoint: one file, replaced as a whole or not at all, and read without running any code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.storage.atomic import atomic_file, storage_error
from fasthpo.system.paths import absolute

FILE_NAME = "training.pt"
_VERSION = 2  # 1 has no state of the loss


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
        self._model.load_state_dict(state["model"])
        loss = state.get("loss")
        if loss is not None and self._loss is not None:
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
    if state["fasthpo"] not in (1, _VERSION):
        raise CorruptCheckpoint(f"{path} has version {state['fasthpo']!r}; this fasthpo reads up to version {_VERSION}")
    return {"loss": None, **state}


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
