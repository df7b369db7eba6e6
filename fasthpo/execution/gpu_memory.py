"""What is done between two trials of one process, so that the next one finds the memory that this one had."""

from __future__ import annotations

import gc
import time

from fasthpo.execution.attempt import torch_with_cuda

_SHARE = 50  # a collection may take at most one part in so many of the time that trials take


def free_gpu_memory() -> bool:
    """Give the memory of a GPU that no one uses any more back to the driver; nothing if no GPU was used.

    Returns:
        Whether the process is spoiled, as after an illegal access on a GPU.
    """
    torch = torch_with_cuda()
    if torch is None:
        return False
    gc.collect()
    try:
        torch.cuda.synchronize()  # an error that was not noticed yet is raised here
        torch.cuda.empty_cache()
    except Exception:  # the context is lost: nothing on the GPU works in this process any more
        return True
    return False


class MemoryCleaner:
    """Frees memory after trials, in a process of ours that runs many.

    Python's garbage is collected if trials have run for long enough since the last time that nobody notices, and always
    if a GPU is used: then its memory goes back to the driver, too, so that neighbours on the same GPU can have it.
    """

    def __init__(self) -> None:
        self._cost = 0.0
        self._last = time.monotonic()

    def tidy(self) -> bool:
        """Free what can be freed; whether the process is spoiled, as after an illegal access on a GPU."""
        if torch_with_cuda() is not None:
            return free_gpu_memory()
        begin = time.monotonic()
        if begin - self._last >= _SHARE * self._cost:
            gc.collect()
            self._last = time.monotonic()
            self._cost = self._last - begin
        return False
