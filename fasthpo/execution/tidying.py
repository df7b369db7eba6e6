"""What a worker does between two trials, so that the next one finds the memory that this one had."""

from __future__ import annotations

import gc
import time

from fasthpo.execution.attempt import torch_with_cuda

_SHARE = 50  # a collection may take at most one part in so many of the time that trials take


class Tidier:
    """Frees memory after trials, in a process that runs many.

    Python's garbage is collected if trials have run for long enough since the last time that nobody notices, and always
    if a GPU is used: then its memory goes back to the driver, too, so that neighbours on the same GPU can have it.
    """

    def __init__(self) -> None:
        self._cost = 0.0
        self._last = time.monotonic()

    def tidy(self) -> bool:
        """Free what can be freed; whether the process is spoiled, as after an illegal access on a GPU."""
        torch = torch_with_cuda()
        begin = time.monotonic()
        if torch is not None or begin - self._last >= _SHARE * self._cost:
            gc.collect()
            self._last = time.monotonic()
            self._cost = self._last - begin
        if torch is not None:
            try:
                torch.cuda.synchronize()  # an error that was not noticed yet is raised here
                torch.cuda.empty_cache()
            except Exception:  # the context is lost: nothing on the GPU works in this process any more
                return True
        return False
