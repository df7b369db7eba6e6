"""The global random states that a training draws from: seeded, kept in checkpoints, and given back to the caller.

The generators belong to the process, and dropout takes no other, so trainings in several threads have to take turns.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch

from fasthpo.system.forked import renew_in_forked


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
    """Go on from `state`, which `random_state` returned, perhaps in another process.

    Raises:
        Exception: of any kind, if the state is of something else; some generators may then have been set.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), None if gauss is None else float(gauss)))
    kind, keys, position, *rest = state["numpy"]
    if not 0 <= position <= len(keys):  # NumPy does not look, and would read what lies behind the keys
        raise ValueError(f"the position in NumPy's state must be in 0 to {len(keys)}, got {position}")
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, *rest))
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        getattr(torch, device.type).set_rng_state(state["device"], *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is one, and torch.mps takes no argument for it


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the generators that `random_state` knows; not those of other devices, as `torch.manual_seed` would."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = getattr(torch, device.type)
        with module.device(device) if hasattr(module, "device") else nullcontext():
            module.manual_seed(seed)


class RandomStream:
    """The random numbers of one training, whatever other threads draw from the same generators for theirs.

    In `use` the generators stand where the stream does, and no other stream is in use. Afterwards they are left there,
    because it takes 0.1 ms to put them back, until another stream is used or this one is closed.

    Args:
        device: whose generator it has beside those of the CPU.

    Example:
        >>> import torch
        >>> stream, device = RandomStream(torch.device("cpu")), torch.device("cpu")
        >>> before = random_state(device)["torch"]
        >>> with stream.use():
        ...     _ = torch.rand(1)
        >>> stream.close()
        >>> torch.equal(random_state(device)["torch"], before)
        True
    """

    _lock: ClassVar[threading.RLock] = threading.RLock()
    _holder: ClassVar[RandomStream | None] = None  # where whose stream is the generators stand
    _in_use: ClassVar[RandomStream | None] = None
    _outside: ClassVar[dict[str, Any]] = {}  # where they stood before

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._state: dict[str, Any] | None = None  # where it stands, unless it is the holder; None: at its beginning

    @contextmanager
    def use(self) -> Iterator[None]:
        """Draw from this stream in the block."""
        with RandomStream._lock:
            outer = RandomStream._in_use  # of this thread, which trains something inside of another training
            RandomStream._hand_to(self)
            RandomStream._in_use = self
            try:
                yield
            finally:
                RandomStream._in_use = outer
                if outer is not None:
                    RandomStream._hand_to(outer)

    def state(self) -> dict[str, Any]:
        """Where it stands, as `random_state` says it; before its first use that is where the generators stand."""
        with RandomStream._lock:
            if RandomStream._holder is self or self._state is None:
                return random_state(self._device)
            return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.close()
        self._state = state

    def close(self) -> None:
        """Put the generators back to where they stood before, if they stand where this stream does."""
        with RandomStream._lock:
            if RandomStream._holder is self:
                RandomStream._hand_to(None)

    @classmethod
    def _hand_to(cls, stream: RandomStream | None) -> None:
        holder = RandomStream._holder
        if holder is stream:
            return
        if holder is not None:
            holder._state = random_state(holder._device)
            set_random_state(RandomStream._outside, holder._device)
        RandomStream._holder = stream
        if stream is not None:
            RandomStream._outside = random_state(stream._device)
            if stream._state is not None:
                set_random_state(stream._state, stream._device)


renew_in_forked(RandomStream, _lock=threading.RLock)


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Whatever is drawn or seeded in the block, the generators are afterwards where they were before.

    Within a stream's use it begins where that stream is; else no stream is in use meanwhile.
    """
    with RandomStream._lock:
        if RandomStream._in_use is None:
            RandomStream._hand_to(None)
        state = random_state(device)
        try:
            yield
        finally:
            set_random_state(state, device)
