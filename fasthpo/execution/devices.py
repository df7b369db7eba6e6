"""Which worker gets which device, and the environment that makes it so."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fasthpo.errors import InvalidValue
from fasthpo.values import plain

_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS",
)  # fmt: skip
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Slot(NamedTuple):
    """Where one worker runs.

    `device` is "cuda:0", "cpu", or "" for wherever the objective goes by itself; `shared` says whether other slots have
    the same GPU, or may have.
    """

    device: str = ""
    shared: bool = False


def gpu_count() -> int:
    """How many CUDA GPUs this process may use; none is touched for that."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        count: int = torch.cuda.device_count()
        return count
    if (visible := _visible()) is not None:
        return len(visible)
    try:
        command = ["nvidia-smi", "--list-gpus"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def cpu_count() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_slots(devices: Any, workers: int | None) -> list[Slot]:
    """The slots of a run: `workers` of those that `devices` names, or all of them.

    Args:
        devices: None, "auto", "cpu", a device such as "cuda:0", a sequence of devices, or a mapping of device to the
            number of slots that share it.
        workers: how many are needed; None for as many as there are GPU slots, or else 1.

    Raises:
        InvalidValue: no such device, or more workers than slots.
    """
    if devices is None:
        return [Slot(shared=(workers or 1) > 1)] * (workers or 1)
    if isinstance(devices, str) and devices == "auto":
        gpus = gpu_count()
        devices = [f"cuda:{i}" for i in range(gpus)] if gpus else "cpu"
    if isinstance(devices, str) and devices == "cpu":
        return [Slot("cpu")] * (workers or 1)
    listed = _listed([devices] if isinstance(devices, str) else devices)
    counts = Counter(listed)
    slots = [Slot(device, counts[device] > 1 and device != "cpu") for device in _spread(counts)]
    if workers is not None and workers > len(slots):
        raise InvalidValue(
            f"workers={workers} needs as many slots, but devices={devices!r} has {len(slots)}; a GPU takes several "
            'with devices={"cuda:0": 2}'
        )
    return slots[:workers]


def _listed(devices: Any) -> list[str]:
    if isinstance(devices, Mapping):
        listed = []
        for device, count in devices.items():
            n = plain(count)
            if isinstance(n, bool) or not isinstance(n, int) or n < 1:
                raise InvalidValue(
                    f"devices must give each device a number of slots from 1 on, got {device!r}: {count!r}"
                )
            listed += [device] * n
    elif isinstance(devices, Sequence):
        listed = list(devices)
    else:
        raise InvalidValue(
            f'devices must be None, "auto", "cpu", a list such as ["cuda:0", "cuda:1"] or a mapping such as '
            f'{{"cuda:0": 2}}, got devices={devices!r}'
        )
    if not listed:
        raise InvalidValue(f"devices must name at least one device, got devices={devices!r}")
    gpus = None
    for device in listed:
        if device == "cpu":
            continue
        match = re.fullmatch(r"cuda:(\d+)", device) if isinstance(device, str) else None
        if match is None:
            raise InvalidValue(f'a device must be "cpu" or "cuda:" with a number, got {device!r}')
        gpus = gpu_count() if gpus is None else gpus
        if int(match[1]) >= gpus:
            raise InvalidValue(f"there is no {device} here; the number of GPUs that can be used is {gpus}")
    return listed


def _spread(counts: Counter[str]) -> list[str]:
    """The devices with their counts, in rounds, so that the first workers get different ones."""
    rounds = range(max(counts.values()))
    return [device for k in rounds for device in counts if counts[device] > k]


def _visible() -> list[str] | None:
    """The GPUs to which this process is restricted already, None if it is not."""
    listed = os.environ.get(_VISIBLE)
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def environment(slot: Slot, workers: int) -> dict[str, str]:
    """The variables that bind a worker to its slot: the one GPU that it sees, and its share of the cores.

    A number of threads that the user has set in the environment stays, and OMP_NUM_THREADS is a limit for the others.
    """
    share = max(1, cpu_count() // workers)
    wanted = os.environ.get(_THREADS[0], "")
    share = min(share, int(wanted)) if wanted.isdecimal() and int(wanted) else share
    variables = {name: str(share) for name in _THREADS if name not in os.environ}
    if slot.device == "cpu":
        variables[_VISIBLE] = ""
    elif slot.device:
        index = int(slot.device.removeprefix("cuda:"))
        visible = _visible()
        variables[_VISIBLE] = str(index) if visible is None else visible[index]
    return variables
