"""The global random states that a training draws from: seeded, kept in checkpoints, and given back to the caller."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of the generators of Python, NumPy, and torch (of the CPU and of `device`), in plain values."""
    numbers: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = numbers
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = getattr(torch, device.type).get_rng_state(*_which(device))
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on from `state`, which `random_state` returned, perhaps in another process."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        getattr(torch, device.type).set_rng_state(state["device"], *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is one, and torch.mps takes no argument for it


def seed_all(seed: int) -> None:
    """Seed all generators of this process; on each GPU, too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Whatever is drawn or seeded in the block, the generators are afterwards where they were before."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
